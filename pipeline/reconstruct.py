"""Stage 1, photos to reconstruction folders: `python -m pipeline.reconstruct [PHOTO | FOLDER]... -o OUT`.

Takes the command line of run.sh. Faces are found by MTCNN, or taken from detections/*.txt; `reconstruct.system` makes
mesh and camera of them.
"""

import hashlib
import json
import sys
import time
from dataclasses import replace

from external.assets import used_by
from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import Config, fingerprint, to_yaml
from pipeline.faces import FaceError, detections_of, find_faces
from pipeline.photos import PhotoError, as_bytes, find_photos, read_photo, sample_photos
from pipeline.progress import Progress
from pipeline.reconstruction_folder import is_reconstruction, save_reconstruction
from pipeline.requirements import require_assets
from pipeline.run_folder import RunFolder, is_finished, results_fingerprint
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
            print(f"  {photo.path} -> {arguments.out / photo.name / 'reconstruction'}")
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
        failed = reconstruct_all(run, progress, photos, config, system)
        run.write_summary()
    return SOME_FAILED if failed else ALL_DONE


def reconstruct_all(run, progress, photos, config, system):
    """Reconstruct the photos that are not finished, in batches of the system's. Returns how many failed."""
    failed = 0
    settings = fingerprint(replace(Config(), detect=config.detect, reconstruct=config.reconstruct))
    if config.reconstruct.model_colours:
        settings += f" {config.texture_size}"
    ready = None  # the system itself, made when the first photo needs it: it loads its networks

    def fail(photo, error, started):
        nonlocal failed
        failed += 1
        run.record(photo.name, "failed", message=str(error), seconds=time.perf_counter() - started)
        progress.photo_done(f"{photo.name}: failed: {error}")

    waiting = []
    for photo in [*photos, None]:
        if photo is not None:
            started = time.perf_counter()
            try:
                mark = results_fingerprint(settings, [photo.path, *detections_of(photo.path, config.detect)], VERSION)
                names = finished_faces(run, photo.name, mark)
                if names:
                    for name in names:
                        run.record(name, "skipped")
                    progress.photo_done(f"{photo.name}: reconstruction is finished already")
                    continue
                pixels = read_photo(photo.path)
                ready = ready or system(config)
                found = find_faces(photo.path, pixels, config.detect, ready.understand)
                waiting.append((photo, mark, found, time.perf_counter() - started))
            except (PhotoError, FaceError) as error:
                fail(photo, error, started)
        if waiting and (photo is None or len(waiting) == system.batch):
            started = time.perf_counter()
            results = ready.make([found for _, _, found, _ in waiting])
            shared = (time.perf_counter() - started) / len(waiting)
            for (done, mark, found, spent), made in zip(waiting, results, strict=True):
                started = time.perf_counter()
                if isinstance(made, FaceError):
                    fail(done, made, started - spent - shared)
                    continue
                names = write(run, done, mark, found, made, system)
                seconds = spent + shared + time.perf_counter() - started
                for name in names:
                    run.record(name, "done", seconds=seconds / len(names))
                faces = "" if len(names) == 1 else f" of {len(names)} faces"
                progress.photo_done(f"{done.name}: reconstruction{faces} in {seconds:.1f} s")
            waiting = []
    return failed


def write(run, photo, mark, found, made, system):
    """Write the reconstruction folders of a photo's faces. Returns their names."""
    names = face_names(photo.name, len(made))
    digest = hashlib.sha256(photo.path.read_bytes()).hexdigest()
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


def face_names(photo_name, count):
    """Folder names of a photo's faces: its own, then -face2, -face3 ..."""
    return [photo_name] + [f"{photo_name}-face{number}" for number in range(2, count + 1)]


def finished_faces(run, photo_name, mark):
    """Names of the photo's faces where all of them are reconstructed from the same photo and settings; else []."""
    first = run.reconstruction(photo_name)
    if not is_finished(first, mark, marker="source.json"):
        return []
    names = json.loads((first / "source.json").read_text(encoding="utf-8")).get("faces", [photo_name])
    return names if all(is_finished(run.reconstruction(name), mark, marker="source.json") for name in names) else []


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
