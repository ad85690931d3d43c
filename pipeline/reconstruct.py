"""Stage 1, photos to reconstruction folders: `python -m pipeline.reconstruct [PHOTO | FOLDER]... -o OUT`.

Takes the command line of run.sh. Faces are found by MTCNN, or taken from detections/*.txt; `reconstruct.system` makes
mesh and camera of them.
"""

import hashlib
import signal
import sys
import time

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded

from dataclasses import replace

from external.assets import used_by
from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import Config, fingerprint, to_yaml
from pipeline.costs import RECONSTRUCTION, Forecast
from pipeline.faces import detections_of, find_faces
from pipeline.failures import reason
from pipeline.photos import as_bytes, find_photos, read_photo, sample_photos
from pipeline.progress import Progress, printable
from pipeline.reconstruction_folder import face_names, faces_of, is_reconstruction, save_reconstruction
from pipeline.requirements import require_assets
from pipeline.run_folder import InputFileError, RunFolder, is_finished, results_fingerprint
from pipeline.systems import SYSTEMS, assets_of, cut

VERSION = "1"  # of what this stage writes; raised when the same photo gives another reconstruction


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
        )
        failed = reconstruct_all(run, progress, photos, config, system)
        run.write_summary()
    return SOME_FAILED if failed else ALL_DONE


def reconstruct_all(run, progress, photos, config, system):
    """Reconstruct the photos that are not finished, in batches of the system's. Returns how many failed."""
    failed = 0

    def fail(photo, error, started):
        nonlocal failed
        failed += 1
        run.record(photo.name, "failed", message=reason(error), seconds=time.perf_counter() - started)
        progress.photo_done(f"{photo.name}: failed: {reason(error)}")

    todo = []  # photos with the fingerprint of what their reconstruction follows from
    skipped = []
    settings = settings_mark(config)
    for photo in photos:
        started = time.perf_counter()
        try:
            mark = results_fingerprint(settings, [photo.path, *detections_of(photo.path, config.detect)], VERSION)
        except InputFileError as error:
            fail(photo, error, started)
            continue
        names = finished_faces(run, photo.name, mark)
        if names:
            skipped += names
            progress.photo_done(f"{photo.name}: reconstruction is finished already")
        else:
            todo.append((photo, mark))
    run.record_skipped(skipped)
    forecast = Forecast(len(todo), 1, RECONSTRUCTION[config.reconstruct.system])
    progress.line(forecast.before())

    ready = None  # the system itself, made when the first photo needs it: it loads its networks
    waiting = []
    for photo, mark in [*todo, (None, "")]:
        if photo is not None:
            started = time.perf_counter()
            try:
                pixels = read_photo(photo.path, config.limits)
                ready = ready or system(config)
                found = find_faces(photo.path, pixels, config.detect, ready.understand)
                waiting.append((photo, mark, found, time.perf_counter() - started))
            except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
                fail(photo, error, started)
        if waiting and (photo is None or len(waiting) == system.batch):
            started = time.perf_counter()
            results = made_of(ready, [found for _, _, found, _ in waiting])
            shared = (time.perf_counter() - started) / len(waiting)
            for (done, done_mark, found, spent), made in zip(waiting, results, strict=True):
                started = time.perf_counter() - spent - shared
                if isinstance(made, Exception):
                    fail(done, made, started)
                    continue
                try:
                    names = write(run, done, done_mark, found, made, system)
                except Exception as error:  # noqa: BLE001
                    fail(done, error, started)
                    continue
                seconds = time.perf_counter() - started
                for name in names:
                    run.record(name, "done", seconds=seconds / len(names))
                faces = "" if len(names) == 1 else f" of {len(names)} faces"
                progress.photo_done(f"{done.name}: reconstruction{faces} in {seconds:.1f} s")
            waiting = []
    return failed


def settings_mark(config):
    """Of the settings that a reconstruction follows from."""
    mark = fingerprint(replace(Config(), detect=config.detect, reconstruct=config.reconstruct))
    return f"{mark} {config.texture_size}" if config.reconstruct.model_colours else mark


def made_of(system, found):
    """What the system makes of each; where a batch of several fails, each alone. Exceptions stand in the place of results."""
    try:
        return system.make(found)
    except Exception as error:  # noqa: BLE001
        if len(found) == 1:
            return [error]
        return [result for photo in found for result in made_of(system, [photo])]


def write(run, photo, mark, found, made, system):
    """Write the reconstruction folders of a photo's faces. Returns their names."""
    names = face_names(photo.name, len(made))
    with open(photo.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for name, (face, _), result in zip(names, found.faces, made, strict=True):
        source = {
            "system": system.name,
            "assets": assets_of(system),
            "head_to_camera": result.head_to_camera.tolist(),
            "points": (face.points - result.crop[:2]).tolist(),
            **({"uv_symmetry": "u=0.5"} if system.symmetric else {}),
            "photo": {
                "name": photo.path.name,
                "sha256": digest,
                "quarter_turns": found.quarter_turns,
                "crop": list(result.crop),
            },
            "faces": names,
            "fingerprint": mark,
        }
        content = None if result.content is None else as_bytes(result.content)
        with run.replaced_reconstruction(name) as folder:
            crop = cut(found.pixels, result.crop)
            save_reconstruction(folder, result.mesh, result.camera, crop, result.mask, source, content)
    return names


def finished_faces(run, photo_name, mark):
    """Names of the photo's faces where all of them are reconstructed from the same photo and settings; else []."""
    first = run.reconstruction(photo_name)
    if not is_finished(first, mark, marker="source.json"):
        return []
    names = faces_of(first, photo_name)
    return names if all(is_finished(run.reconstruction(name), mark, marker="source.json") for name in names) else []


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
