"""Which faces the refinement is about, and the initial textures made elsewhere for them."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from external.assets import ROOT, used_by
from pipeline.config import ConfigError
from pipeline.photos import IMAGE_ENDINGS, PhotoError, find_photos, read_photo, safe_name, sample_photos
from pipeline.reconstruction_folder import faces_of, is_reconstruction
from pipeline.run_folder import OWN_FILES

# The reconstruction stage has said why, and the manifest holds it.
NOT_RECONSTRUCTED = "not refined, its reconstruction failed"


class InputError(ValueError):
    """A face that cannot be worked on; one line."""


@dataclass(frozen=True)
class Face:
    name: str  # of the folder of results
    folder: Path  # the reconstruction
    photo_stem: str  # what a content image is matched by
    problem: str = ""  # why there is nothing to work on


def faces_meant(arguments):
    """The faces meant by a command line: those of photos, reconstructed into OUT before, and reconstruction folders.

    arguments: pipeline.arguments.Arguments. Raises PhotoError.
    """
    faces, photo_arguments = [], []
    for given in arguments.photos:
        path = Path(given)
        if not is_reconstruction(path):
            missing = [name for name in ("mesh.obj", "camera.json") if not (path / name).is_file()]
            if len(missing) == 1 and path.is_dir():
                raise PhotoError(f"{path} looks like a reconstruction folder, but has no {missing[0]}")
            photo_arguments.append(given)
            continue
        faces.append(_given_face(path.resolve(), arguments.out))
    if photo_arguments or not arguments.photos:
        failures = _failed_reconstructions(arguments.out)
        for photo in find_photos(photo_arguments) if photo_arguments else sample_photos():
            faces += _faces_of(photo, arguments.out, failures)
    times = Counter(face.name.casefold() for face in faces)
    twice = next((face.name for face in faces if times[face.name.casefold()] > 1), None)
    if twice is not None:
        raise PhotoError(f"two inputs would write {arguments.out / twice}: give them in separate runs, or rename a folder")
    return faces


def _given_face(folder, out):
    """The face of a reconstruction folder that was named itself. folder: resolved."""
    stem = folder.parent.name if folder.name == "reconstruction" else folder.name
    name = safe_name(stem)
    if name.casefold() in OWN_FILES:
        name += "_"
    if (out / name).resolve() == folder:
        return Face(name, folder, stem, f"its results would take the place of {folder} itself: choose another folder with -o")
    return Face(name, folder, stem)


def _faces_of(photo, out, failures):
    first = out / photo.name / "reconstruction"
    if photo.name in failures:
        return [Face(photo.name, first, photo.path.stem, NOT_RECONSTRUCTED)]
    if not is_reconstruction(first):
        return [Face(photo.name, first, photo.path.stem, f"{first} does not exist: run python -m pipeline.reconstruct first")]
    return [Face(name, out / name / "reconstruction", photo.path.stem) for name in faces_of(first, photo.name)]


def _failed_reconstructions(out):
    """Names of the photos that the last reconstruction into OUT failed on."""
    try:
        photos = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["photos"]
        stages = {name: entry["stages"].get("reconstruction", {}) for name, entry in photos.items()}
        return {name for name, stage in stages.items() if stage.get("status") == "failed"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def content_place(setting):
    """The image or folder that `content` names: from the current folder, else (data/ostec) from the project's own."""
    path = Path(setting).expanduser()
    return path if path.exists() else ROOT / path


class ContentImages:
    """The initial textures of `content`: none, one image for all, or a folder matched by the photos' stems."""

    def __init__(self, setting):
        self._place = content_place(setting) if setting else None
        if self._place is not None and not self._place.exists():
            raise ConfigError(f"content is {setting!r}, which does not exist: give an image or a folder of images")
        self._images = {}  # by stem; listed once, for thousands of photos
        if self._place is not None and self._place.is_dir():
            found = sorted((path for path in self._place.iterdir() if path.suffix.lower() in IMAGE_ENDINGS), reverse=True)
            self._images = {path.stem: path for path in found}

    def assets(self):
        """What a manifest says of them: their licence is their generator's."""
        if self._place is None:
            return []
        if self._place.name == "ostec":
            return used_by("ostec")
        return [{"name": "Initial textures", "used_by": "content", "licence": "their generator's", "origin": str(self._place)}]

    def path_of(self, stem):
        """Path of the image for this photo, or None without content. Raises InputError."""
        if self._place is None or not self._place.is_dir():
            return self._place
        if stem not in self._images:
            raise InputError(f"the content folder {self._place} has no image named {stem}")
        return self._images[stem]

    def of(self, stem):
        """(image uint8 [h, w, 3], its path), or (None, None) without content. Raises InputError, PhotoError."""
        path = self.path_of(stem)
        return (None, None) if path is None else (read_photo(path), path)
