"""Stage 1, photos to reconstruction folders: `python -m pipeline.reconstruct [PHOTO | FOLDER]... -o OUT`.

Takes the command line of run.sh. MTCNN finds the faces, MediaPipe Face Mesh and our template give mesh and camera.
"""

import hashlib
import json
import sys
import time
from dataclasses import replace

import numpy as np

from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import Config, fingerprint, to_yaml
from pipeline.photos import PhotoError, find_photos, read_photo, sample_photos
from pipeline.progress import Progress
from pipeline.reconstruction_folder import is_reconstruction, save_reconstruction
from pipeline.run_folder import RunFolder, is_finished, results_fingerprint

VERSION = "1"  # of what this stage writes; raised when the same photo gives another reconstruction
TURNS = (0, 1, 3, 2)  # quarter turns tried, in this order


class FaceError(ValueError):
    """No usable face in a photo; one line."""


def main(argv=None):
    arguments = parse(argv, __doc__.splitlines()[0])
    # The command line is that of both stages; a reconstruction that was made elsewhere is the second one's business.
    given = [path for path in arguments.photos if not is_reconstruction(path)]
    photos = find_photos(given) if given else [] if arguments.photos else sample_photos()
    config = arguments.config
    relevant = fingerprint(replace(Config(), detect=config.detect, reconstruct=config.reconstruct))
    if arguments.dry_run:
        print(f"reconstruct: {len(photos)} photos into {arguments.out}")
        for photo in photos:
            print(f"  {photo.path} -> {arguments.out / photo.name / 'reconstruction'}")
        return ALL_DONE
    if not photos:
        return ALL_DONE
    failed = 0
    with RunFolder(arguments.out) as run, Progress("reconstruct", len(photos)) as progress:
        from external.assets import used_by  # the catalogue asks installed packages for their versions

        run.start(
            "reconstruction",
            [photo.name for photo in photos],
            config_name=arguments.config_name,
            config_yaml=to_yaml(config),
            seed=config.seed,
            device="cpu",
            assets=used_by("mtcnn", "face_mesh") + (used_by("sample_photos") if not arguments.photos else []),
        )
        for photo in photos:
            started = time.perf_counter()
            try:
                mark = results_fingerprint(relevant, [photo.path], VERSION)
                names = finished_faces(run, photo.name, mark)
                if names:
                    for name in names:
                        run.record(name, "skipped", message="")
                    progress.photo_done(f"{photo.name}: reconstruction is finished already")
                    continue
                names = reconstruct_photo(run, photo, config, mark)
                seconds = time.perf_counter() - started
                for name in names:
                    run.record(name, "done", seconds=seconds / len(names))
                faces = "" if len(names) == 1 else f" of {len(names)} faces"
                progress.photo_done(f"{photo.name}: reconstruction{faces} in {seconds:.1f} s")
            except (PhotoError, FaceError) as error:
                failed += 1
                run.record(photo.name, "failed", message=str(error), seconds=time.perf_counter() - started)
                progress.photo_done(f"{photo.name}: failed: {error}")
        run.write_summary()
    return SOME_FAILED if failed else ALL_DONE


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


def reconstruct_photo(run, photo, config, mark):
    """Reconstruct the chosen faces of a photo and write their folders. Returns their names.

    Raises PhotoError, FaceError, RunFolderError.
    """
    from external.assets import used_by
    from external.face_mesh.face_mask import face_mask
    from external.face_mesh.landmarks import find_landmarks
    from external.face_mesh.reconstruction import PUPIL_DISTANCE, reconstruct
    from external.mtcnn import detect_faces

    pixels = read_photo(photo.path)
    digest = hashlib.sha256(photo.path.read_bytes()).hexdigest()
    detect = config.detect
    detected, usable = 0, []
    for turn in TURNS if detect.try_turned else TURNS[:1]:
        upright = np.ascontiguousarray(np.rot90(pixels, turn))
        faces = detect_faces(upright, detect.minimum_confidence, detect.minimum_size)
        detected += len(faces)
        # What MTCNN takes for a face in a turned photo has no features; another turn may show the true one.
        landmarks = [find_landmarks(upright, face.box, face.points) for face in faces]
        usable = [pair for pair in zip(faces, landmarks, strict=True) if pair[1] is not None]
        if usable:
            break
    if detected and not usable:
        raise FaceError("a face was detected, but its features were not: it may be too small, blurred, covered or turned away")
    found = choose_faces(usable, detect.face)
    names = face_names(photo.name, len(found))
    height, width = upright.shape[:2]
    for name, (face, landmarks) in zip(names, found, strict=True):
        try:
            result = reconstruct(landmarks, width, height, config.reconstruct.crop_margin, config.reconstruct.subdivisions)
        except ValueError as error:
            raise FaceError(str(error)) from error
        left, top, crop_width, crop_height = result.crop
        crop = np.ascontiguousarray(upright[top : top + crop_height, left : left + crop_width])
        source = {
            "system": "MTCNN + MediaPipe Face Mesh + face template",
            "assets": used_by("mtcnn", "face_mesh"),
            "head_to_camera": result.head_to_camera.tolist(),
            "points": (face.points - [left, top]).tolist(),
            "uv_symmetry": "u=0.5",
            "photo": {"name": photo.path.name, "sha256": digest, "quarter_turns": turn, "crop": list(result.crop)},
            "faces": names,
            "fingerprint": mark,
        }
        with run.replaced_reconstruction(name) as folder:
            mask = face_mask(crop, result, PUPIL_DISTANCE)
            save_reconstruction(folder, result.mesh, result.camera, crop, mask, source)
    return names


def choose_faces(faces, which):
    """faces: largest first. which: largest, all, or a number in that order. Raises FaceError."""
    if not faces:
        raise FaceError("no face was found: photos need a face of 40 px or more, not turned away (see detect.* in --help)")
    if which == "all":
        return faces
    index = 0 if which == "largest" else which
    if index >= len(faces):
        raise FaceError(f"detect.face is {which}, but {len(faces)} faces were found; 0 is the largest, 1 the next")
    return [faces[index]]


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
