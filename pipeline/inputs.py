"""Which faces the refinement is about, and the initial textures made elsewhere for them."""

import json
from dataclasses import dataclass
from pathlib import Path

from external.assets import ROOT, used_by
from pipeline.config import ConfigError
from pipeline.photos import IMAGE_ENDINGS, PhotoError, find_photos, read_photo, sample_photos
from pipeline.reconstruction_folder import is_reconstruction

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
        path = path.resolve()
        name = path.parent.name if path.name == "reconstruction" else path.name
        faces.append(Face(name, path, name))
    if photo_arguments or not arguments.photos:
        failures = _failed_reconstructions(arguments.out)
        for photo in find_photos(photo_arguments) if photo_arguments else sample_photos():
            faces += _faces_of(photo, arguments.out, failures)
    names = [face.name for face in faces]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PhotoError(f"two inputs would write {arguments.out / twice}: give them in separate runs, or rename a folder")
    return faces


def _faces_of(photo, out, failures):
    first = out / photo.name / "reconstruction"
    if photo.name in failures:
        return [Face(photo.name, first, photo.path.stem, NOT_RECONSTRUCTED)]
    if not is_reconstruction(first):
        return [Face(photo.name, first, photo.path.stem, f"{first} does not exist: run python -m pipeline.reconstruct first")]
    try:
        names = json.loads((first / "source.json").read_text(encoding="utf-8")).get("faces", [photo.name])
    except (OSError, ValueError):
        names = [photo.name]
    return [Face(name, out / name / "reconstruction", photo.path.stem) for name in names]


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

    def assets(self):
        """What a manifest says of them: their licence is their generator's."""
        if self._place is None:
            return []
        if self._place.name == "ostec":
            return used_by("ostec")
        return [{"name": "Initial textures", "used_by": "content", "licence": "their generator's", "origin": str(self._place)}]

    def of(self, stem):
        """(image uint8 [h, w, 3], its path), or (None, None) without content. Raises InputError, PhotoError."""
        if self._place is None:
            return None, None
        path = self._place
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.stem == stem and p.suffix.lower() in IMAGE_ENDINGS)
            if not found:
                raise InputError(f"the content folder {path} has no image named {stem}")
            path = found[0]
        return read_photo(path), path
