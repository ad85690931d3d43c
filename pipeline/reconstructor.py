"""Photos to reconstruction folders: which are to be done, and the doing, in batches of the system's."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.config import Config, fingerprint
from pipeline.faces import detections_of, find_faces
from pipeline.photos import Photo, as_bytes, read_photo
from pipeline.reconstruction_folder import face_names, faces_of, save_reconstruction
from pipeline.run_folder import RunFolder, is_finished, results_fingerprint
from pipeline.systems import assets_of, cut

VERSION = "1"  # of what this stage writes; raised when the same photo gives another reconstruction


@dataclass(frozen=True)
class Found:
    """A photo whose faces are found, and what they follow from."""

    photo: Photo
    mark: str
    faces: object  # pipeline.faces.FoundFaces
    seconds: float


class Reconstructor:
    """Reconstructs photos into OUT by one of pipeline.systems."""

    def __init__(self, run: RunFolder, config: Config, system: type):
        self._run, self._config, self._system = run, config, system
        self._ready = None  # the system itself, made when the first photo needs it: it loads its networks
        self._settings = fingerprint(replace(Config(), detect=config.detect, reconstruct=config.reconstruct))
        if config.reconstruct.model_colours:
            self._settings += f" {config.texture_size}"

    def mark(self, photo: Photo) -> str:
        """Fingerprint of all that a photo's reconstruction follows from. Raises InputFileError."""
        return results_fingerprint(self._settings, [photo.path, *detections_of(photo.path, self._config.detect)], VERSION)

    def finished(self, photo: Photo, mark: str) -> list[str]:
        """Names of the photo's faces where all of them are reconstructed from the same photo and settings; else []."""
        first = self._run.reconstruction(photo.name)
        if not is_finished(first, mark, marker="source.json"):
            return []
        names = faces_of(first, photo.name)
        done = (is_finished(self._run.reconstruction(name), mark, marker="source.json") for name in names)
        return names if all(done) else []

    def all(self, photos: list[tuple[Photo, str]]) -> Iterator[tuple[Photo, list[str] | Exception, float]]:
        """Every photo with the names of its faces, or with the exception it failed by, and the seconds it took.

        photos: with their marks.
        """
        waiting: list[Found] = []
        for photo, mark in photos:
            started = time.perf_counter()
            try:
                pixels = read_photo(photo.path, self._config.limits)
                self._ready = self._ready or self._system(self._config)
                faces = find_faces(photo.path, pixels, self._config.detect, self._ready.understand)
            except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
                yield photo, error, time.perf_counter() - started
                continue
            waiting.append(Found(photo, mark, faces, time.perf_counter() - started))
            if len(waiting) == self._system.batch:
                yield from self._batch(waiting)
                waiting = []
        yield from self._batch(waiting)

    def _batch(self, batch: list[Found]):
        started = time.perf_counter()
        results = self._made([found.faces for found in batch])
        shared = (time.perf_counter() - started) / max(len(batch), 1)
        for found, made in zip(batch, results, strict=True):
            started = time.perf_counter() - found.seconds - shared
            try:
                if isinstance(made, Exception):
                    raise made
                outcome = self._write(found, made)
            except Exception as error:  # noqa: BLE001
                outcome = error
            yield found.photo, outcome, time.perf_counter() - started

    def _made(self, faces):
        """What the system makes of each photo, or an exception; where a batch of several fails, each is tried alone."""
        if not faces:
            return []
        try:
            return self._ready.make(faces)
        except Exception as error:  # noqa: BLE001
            return [error] if len(faces) == 1 else [result for one in faces for result in self._made([one])]

    def _write(self, found: Found, made) -> list[str]:
        """Write the reconstruction folders of a photo's faces. Returns their names."""
        photo, names = found.photo, face_names(found.photo.name, len(made))
        with open(photo.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for name, (face, _), result in zip(names, found.faces.faces, made, strict=True):
            source = {
                "system": self._system.name,
                "assets": assets_of(self._system),
                "head_to_camera": result.head_to_camera.tolist(),
                "points": (face.points - result.crop[:2]).tolist(),
                **({"uv_symmetry": "u=0.5"} if self._system.symmetric else {}),
                "photo": {
                    "name": photo.path.name,
                    "sha256": digest,
                    "quarter_turns": found.faces.quarter_turns,
                    "crop": list(result.crop),
                },
                "faces": names,
                "fingerprint": found.mark,
            }
            content = None if result.content is None else as_bytes(result.content)
            with self._run.replaced_reconstruction(name) as folder:
                crop = cut(found.faces.pixels, result.crop)
                save_reconstruction(folder, result.mesh, result.camera, crop, result.mask, source, content)
        return names
