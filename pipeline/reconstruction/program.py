"""Stage 1, photos to reconstruction folders: `python -m pipeline.reconstruction [PHOTO | FOLDER]... -o OUT`.

Takes the command line of run.sh. Faces are found by MTCNN, or taken from detections/*.txt; `reconstruct.system` makes
mesh and camera of them.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from external.assets import require, used_by
from pipeline.reconstruction.detect import FoundFaces, detections_of, find_faces
from pipeline.reconstruction.folder import save_reconstruction
from pipeline.reconstruction.images import as_bytes, read_focal_length, read_photo
from pipeline.reconstruction.photos import Photo, face_names, faces_of, find_photos, is_reconstruction, sample_photos
from pipeline.reconstruction.systems import SYSTEMS, Made, cut, present
from pipeline.runs.files import is_finished, results_fingerprint
from pipeline.runs.manifest import Outcome, Plan
from pipeline.runs.run_folder import RunFolder
from pipeline.runs.stage import failure, run_stage
from pipeline.settings.command_line import ALL_DONE, SOME_FAILED, parse
from pipeline.settings.loading import fingerprint
from pipeline.settings.schema import Config, DetectSettings

VERSION = "2"  # of what this stage writes; raised when the same photo gives another reconstruction
SECONDS_EACH = {"auto": 2.0, "head": 2.0, "face_mesh": 1.0, "deep3dfacerecon": 1.0}  # for a photo, on 2 x86-64 cores
BATCH_PIXELS = 64e6  # decoded photos that wait for a batch hold fewer pixels than these and one photo more


def main(argv: list[str] | None = None) -> int:
    """Reconstruct every photo that a command line names; returns the exit code."""
    arguments = parse(argv, __doc__.splitlines()[0])
    # The command line is that of both stages; a reconstruction that was made elsewhere is the second one's business.
    given = [path for path in arguments.photos if not is_reconstruction(path)]
    photos = find_photos(given) if given else [] if arguments.photos else sample_photos()
    config, missing = present(arguments.config)
    needed = (config.reconstruction_needs if photos else []) + config.refinement_needs
    require(needed, config.assets, config.refine.vgg16_weights, config.content, may_fetch=not arguments.dry_run)
    if not photos:
        return ALL_DONE
    system = SYSTEMS[config.reconstruct.system]
    with nullcontext(RunFolder(arguments.out)) if arguments.dry_run else RunFolder(arguments.out) as run:
        reconstructor = Reconstructor(run, config, system)
        planned = [reconstructor.plan(photo) for photo in photos]
        pending = [found for found in planned if isinstance(found, Pending)]
        plan = Plan(
            names=[photo.name for photo in photos],
            known=[found for found in planned if isinstance(found, Outcome)],
            todo=[f"{one.photo.path} -> {arguments.out / one.photo.name / 'reconstruction'}" for one in pending],
            headline=f"reconstruct: {len(photos)} photos into {arguments.out} by {system.name}{missing}",
            device="cpu",
            assets=used_by(*system.parts) + (used_by("sample_photos") if not arguments.photos else []),
            seconds_each=SECONDS_EACH[config.reconstruct.system],
        )
        failed = run_stage("reconstruction", arguments, plan, lambda progress: reconstructor.outcomes(pending))
    return SOME_FAILED if failed else ALL_DONE


@dataclass(frozen=True)
class Pending:
    """A photo that is to be reconstructed."""

    photo: Photo
    fingerprint: str  # of all that its reconstruction follows from


@dataclass(frozen=True)
class Found:
    """A photo whose faces are found."""

    task: Pending
    faces: FoundFaces
    seconds: float


class Reconstructor:
    """Reconstructs photos into OUT by one of pipeline.reconstruction.systems."""

    def __init__(self, run: RunFolder, config: Config, system: type):
        self._run, self._config, self._system = run, config, system
        self._loaded = None  # the system itself, made when the first photo needs it: it loads its networks
        detect = config.detect.changed(glasses=DetectSettings().glasses)  # which the refinement alone reads
        self._settings = fingerprint(Config().changed(detect=detect, reconstruct=config.reconstruct))
        if config.reconstruct.model_colours:
            self._settings += f" {config.texture_size}"

    def plan(self, photo: Photo) -> Pending | Outcome:
        """The task of a photo; the outcome where it cannot be read, or is finished with the same settings."""
        try:
            files = [photo.path, *detections_of(photo.path, self._config.detect)]
            mark = results_fingerprint(self._settings, files, VERSION)
        except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
            return failure(photo.name, error)
        names = faces_of(self._run.reconstruction(photo.name), photo.name)
        if all(is_finished(self._run.reconstruction(name), mark, marker="source.json") for name in names):
            return Outcome(photo.name, "skipped", "reconstruction is finished already", faces=tuple(names))
        return Pending(photo, mark)

    def outcomes(self, tasks: Sequence[Pending]) -> Iterator[Outcome]:
        """Reconstruct photos, in batches of the system's size; their outcomes in the same order but for failures."""
        waiting: list[Found] = []
        for task in tasks:
            started = time.perf_counter()
            try:
                pixels = read_photo(task.photo.path, self._config.limits)
                self._loaded = self._loaded or self._system(self._config)
                faces = find_faces(task.photo.path, pixels, self._config.detect, self._loaded.parse)
                faces = replace(faces, focal=read_focal_length(task.photo.path, *pixels.shape[1::-1]))
            except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
                yield failure(task.photo.name, error, time.perf_counter() - started)
                continue
            waiting.append(Found(task, faces, time.perf_counter() - started))
            held = sum(np.prod(found.faces.pixels.shape[:2]) for found in waiting)
            if len(waiting) == self._system.batch or held > BATCH_PIXELS:
                yield from self._batch(waiting)
                waiting = []
        yield from self._batch(waiting)

    def _batch(self, batch: list[Found]) -> Iterator[Outcome]:
        """Reconstruct a batch; where the system fails on a batch of several photos, each is tried alone."""
        started = time.perf_counter()
        try:
            geometries = self._loaded.make([found.faces for found in batch]) if batch else []
        except Exception as error:  # noqa: BLE001
            if len(batch) > 1:
                for found in batch:
                    yield from self._batch([found])
            else:
                yield failure(batch[0].task.photo.name, error, batch[0].seconds + time.perf_counter() - started)
            return
        shared = (time.perf_counter() - started) / max(len(batch), 1)
        for found, made in zip(batch, geometries, strict=True):
            name, started = found.task.photo.name, time.perf_counter() - found.seconds - shared
            try:
                names = self._write(found, made)
            except Exception as error:  # noqa: BLE001
                yield failure(name, error, time.perf_counter() - started)
                continue
            seconds, faces = time.perf_counter() - started, "" if len(names) == 1 else f" of {len(names)} faces"
            notes = "".join(f"; {note}" for note in dict.fromkeys(one.note for one in made if one.note))
            line = f"reconstruction{faces} in {seconds:.1f} s{notes}"
            yield Outcome(name, "done", line, seconds=seconds, faces=tuple(names))

    def _write(self, found: Found, made: list[Made]) -> list[str]:
        """Write the reconstruction folders of a photo's faces. Returns their names."""
        photo, names = found.task.photo, face_names(found.task.photo.name, len(made))
        with open(photo.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        of_photo = {"name": photo.path.name, "sha256": digest, "quarter_turns": found.faces.quarter_turns}
        for name, (face, _), one in zip(names, found.faces.faces, made, strict=True):
            result = one.geometry
            source = {
                "system": one.system.name,
                "assets": used_by(*one.system.parts),
                "head_to_camera": result.head_to_camera.tolist(),
                "points": (face.points - result.crop[:2]).tolist(),
                **({"uv_symmetry": "u=0.5"} if one.system.symmetric else {}),
                **({"metres_per_unit": one.system.metres_per_unit} if one.system.metres_per_unit != 1 else {}),
                "photo": {**of_photo, "crop": list(result.crop)},
                "faces": names,
                "fingerprint": found.task.fingerprint,
            }
            content = None if result.content is None else as_bytes(result.content)
            with self._run.replaced_reconstruction(name) as folder:
                crop = cut(found.faces.pixels, result.crop)
                save_reconstruction(
                    folder, result.mesh, result.camera, crop, result.mask, source, content, one.rig, one.witnesses
                )
        return names
