"""Stage 1, photos to reconstruction folders: `python -m pipeline.reconstruct [PHOTO | FOLDER]... -o OUT`.

Takes the command line of run.sh. Faces are found by MTCNN, or taken from detections/*.txt; `reconstruct.system` makes
mesh and camera of them.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded

from external.assets import used_by
from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import to_yaml
from pipeline.costs import RECONSTRUCTION, Forecast
from pipeline.failures import reason
from pipeline.photos import find_photos, sample_photos
from pipeline.progress import Progress, printable
from pipeline.reconstruction_folder import is_reconstruction
from pipeline.reconstructor import Reconstructor
from pipeline.requirements import require_assets
from pipeline.run_folder import InputFileError, RunFolder
from pipeline.systems import SYSTEMS, assets_of


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0])
    # The command line is that of both stages; a reconstruction that was made elsewhere is the second one's business.
    given = [path for path in arguments.photos if not is_reconstruction(path)]
    photos = find_photos(given) if given else [] if arguments.photos else sample_photos()
    config = arguments.config
    require_assets(config, bool(photos), may_fetch=not arguments.dry_run)
    system = SYSTEMS[config.reconstruct.system]
    if arguments.dry_run:
        print(f"reconstruct: {len(photos)} photos into {arguments.out} by {system.name}")
        for photo in photos:
            print(printable(f"  {photo.path} -> {arguments.out / photo.name / 'reconstruction'}"))
        return ALL_DONE
    if not photos:
        return ALL_DONE
    with RunFolder(arguments.out) as run, Progress("reconstruct", len(photos)) as progress:
        run.start(
            "reconstruction",
            [photo.name for photo in photos],
            config_name=arguments.config_name,
            config_yaml=to_yaml(config),
            seed=config.seed,
            device="cpu",
            assets=assets_of(system) + (used_by("sample_photos") if not arguments.photos else []),
            command=arguments.command,
        )
        reconstructor = Reconstructor(run, config, system)
        failed = 0

        def fail(photo, error, seconds):
            nonlocal failed
            failed += 1
            message = reason(error)
            run.record(photo.name, "failed", message=message, seconds=seconds)
            progress.photo_done(f"{photo.name}: failed: {message}")

        todo, skipped = [], []
        for photo in photos:
            try:
                mark = reconstructor.mark(photo)
            except InputFileError as error:
                fail(photo, error, 0.0)
                continue
            names = reconstructor.finished(photo, mark)
            skipped += names
            if names:
                progress.photo_done(f"{photo.name}: reconstruction is finished already")
            else:
                todo.append((photo, mark))
        run.record_skipped(skipped)
        progress.line(Forecast(len(todo), 1, RECONSTRUCTION[config.reconstruct.system]).before())
        for photo, outcome, seconds in reconstructor.all(todo):
            if isinstance(outcome, Exception):
                fail(photo, outcome, seconds)
                continue
            for name in outcome:
                run.record(name, "done", seconds=seconds / len(outcome))
            faces = "" if len(outcome) == 1 else f" of {len(outcome)} faces"
            progress.photo_done(f"{photo.name}: reconstruction{faces} in {seconds:.1f} s")
        run.write_summary()
    return SOME_FAILED if failed else ALL_DONE


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
