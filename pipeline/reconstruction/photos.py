"""Which photos and reconstruction folders a run is about, and what their results are called."""

import importlib.util
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.reconstruction.images import IMAGE_ENDINGS, PhotoError
from pipeline.reconstruction.painted import LABELS, is_painted
from pipeline.runs.files import read_json
from pipeline.runs.manifest import read_manifest
from pipeline.runs.run_folder import OWN_FILES

MARKS = ("mesh.obj", "camera.json")  # files that mark a folder as a reconstruction
# A file name may have 255 bytes; results are made in a folder with a longer name.
_LONGEST_NAME_BYTES = 180


@dataclass(frozen=True)
class Photo:
    """A photo and the name of its folder of results."""

    path: Path
    name: str


def find_photos(arguments: Sequence[str | Path]) -> list[Photo]:
    """Photos named by files and folders, in natural order of their file names.

    A folder is read without its sub-folders; in it, hidden files and files without an image ending are passed over. A
    photo named twice counts once. Names are the files' stems, made safe as folder names; where stems are equal,
    `<stem>_<ending>`, and where these are equal too, numbered.

    Raises PhotoError for what does not exist, a file without an image ending, and a folder without photos.
    """
    paths = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            paths += _photos_in(path)
        elif not path.exists():
            raise PhotoError(f"{path} does not exist: give photos, or folders of photos")
        elif not path.is_file():
            raise PhotoError(f"{path} is neither a file nor a folder: give photos, or folders of photos")
        elif path.suffix.lower() not in IMAGE_ENDINGS:
            raise PhotoError(f"{path} has no image ending: photos end in {' '.join(IMAGE_ENDINGS)}")
        else:
            paths.append(path)
    unique = {path.absolute(): None for path in paths}
    ordered = sorted(unique, key=lambda path: (_natural(path.name), _natural(str(path)), str(path)))
    return [Photo(path, name) for path, name in zip(ordered, _names(ordered), strict=True)]


def sample_photos() -> list[Photo]:
    """Two faces in the public domain that come with installed packages: scikit-image's astronaut, matplotlib's Hopper.

    Found without importing the packages. Raises PhotoError where one is not installed.
    """
    places = (("skimage", "data/astronaut.png"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"))
    photos = []
    for package, place in places:
        found = importlib.util.find_spec(package)
        path = Path(found.submodule_search_locations[0] if found else package, place)
        if not path.is_file():
            raise PhotoError(f"the sample photo {place} of the package {package} is missing: name photos of your own")
        photos.append(Photo(path, path.stem))
    return photos


def _photos_in(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise PhotoError(f"the folder {folder} cannot be read: {error.strerror}") from error
    is_photo = lambda path: path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and path.is_file()
    photos = list(filter(is_photo, entries))
    if not photos:
        raise PhotoError(f"the folder {folder} holds no photos (files ending in {' '.join(IMAGE_ENDINGS)})")
    return photos


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts photo2 before photo10."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", text).casefold())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _names(paths: Sequence[Path]) -> list[str]:
    """One folder name per photo, different even where upper and lower case are one."""
    stems = [safe_name(path.stem) for path in paths]
    occurrences = Counter(map(_folded, stems))
    unambiguous = {stem for stem in stems if occurrences[_folded(stem)] == 1 and not _is_reserved(stem, occurrences)}
    names, taken = [], set(map(_folded, unambiguous))
    for path, stem in zip(paths, stems, strict=True):
        name = stem
        if stem not in unambiguous:
            base = f"{stem}_{path.suffix.lower().lstrip('.')}"
            candidates = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
            name = next(candidate for candidate in candidates if _folded(candidate) not in taken)
            taken.add(_folded(name))
        names.append(name)
    return names


def safe_name(stem: str) -> str:
    """`stem` without what could leave the folder of results, hide in it or be unwritable somewhere; never empty."""
    kept = "".join("_" if unicodedata.category(c) in ("Cc", "Cs") or c in '/\\:*?"<>|' else c for c in stem)
    kept = kept.strip().rstrip(".")
    if kept.startswith("."):
        kept = "_" + kept[1:]
    return kept.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore").rstrip(" .") or "photo"


def _is_reserved(name: str, occurrences: Counter) -> bool:
    """Whether the name is that of a file of OUT, or of a further face of another photo of this run."""
    further_face = re.fullmatch(r"(.+)-face[0-9]+", _folded(name))
    return _folded(name) in OWN_FILES or bool(further_face and further_face[1] in occurrences)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def is_reconstruction(path: str | Path) -> bool:
    """Whether a path is a reconstruction folder."""
    return all(Path(path, name).is_file() for name in MARKS)


def face_names(photo_name: str, count: int) -> list[str]:
    """Folder names of a photo's faces: its own, then -face2, -face3 ..."""
    return [photo_name] + [f"{photo_name}-face{number}" for number in range(2, count + 1)]


def faces_of(folder: str | Path, photo_name: str) -> list[str]:
    """Names of all faces of a photo, by the reconstruction of its first one; its own alone where that lists no such names."""
    names = read_json(Path(folder) / "source.json").get("faces")
    # What a file says is not trusted as a path.
    return names if isinstance(names, list) and names == face_names(photo_name, len(names)) else [photo_name]


def input_files(folder: str | Path) -> list[Path]:
    """The files a refinement of this folder depends on, in a fixed order."""
    names = ("mesh.obj", "camera.json", "photo.png", "content.png", "mask.png", "rig.npz", "witnesses.npz", "source.json")
    found = [Path(folder) / name for name in names if (Path(folder) / name).is_file()]
    return [*found, Path(folder) / LABELS] if is_painted(Path(folder)) else found  # else it is made of the others


# The manifest says why: the reconstruction stage wrote it there.
NOT_RECONSTRUCTED = "not refined, its reconstruction failed"


@dataclass(frozen=True)
class Subject:
    """One face to refine."""

    name: str  # of the folder of results
    folder: Path  # the reconstruction
    photo_stem: str  # what a content image is matched by
    problem: str = ""  # why it cannot be refined

    @property
    def files(self) -> list[Path]:
        """The files of the reconstruction, in a fixed order."""
        return input_files(self.folder)


def resolve_inputs(given: Sequence[str], out: Path) -> list[Subject]:
    """The faces that a command line names: those of photos, reconstructed into OUT before, and reconstruction folders.

    given: photos and folders; none: the sample photos. Raises PhotoError.
    """
    subjects, photos = [], []
    for path in map(Path, given):
        missing = [name for name in MARKS if not (path / name).is_file()]
        if not missing:
            subjects.append(_given_subject(path.resolve(), out))
        elif len(missing) == 1:
            raise PhotoError(f"{path} looks like a reconstruction folder, but has no {missing[0]}")
        else:
            photos.append(path)
    if photos or not given:
        failures = _failed_reconstructions(out)
        for photo in find_photos(photos) if photos else sample_photos():
            subjects += _subjects_of(photo, out, failures)
    times = Counter(subject.name.casefold() for subject in subjects)
    for name in (subject.name for subject in subjects):
        if times[name.casefold()] > 1:
            raise PhotoError(f"two inputs would write {out / name}: give them in separate runs, or rename a folder")
    return subjects


def _given_subject(folder: Path, out: Path) -> Subject:
    """The face of a reconstruction folder that was named itself. folder: resolved."""
    stem = folder.parent.name if folder.name == "reconstruction" else folder.name
    name = safe_name(stem)
    if name.casefold() in OWN_FILES:
        name += "_"
    replaced = (out / name).resolve() == folder
    problem = f"its results would take the place of {folder} itself: choose another folder with -o" if replaced else ""
    return Subject(name, folder, stem, problem)


def _subjects_of(photo: Photo, out: Path, failures: set[str]) -> list[Subject]:
    first = out / photo.name / "reconstruction"
    if photo.name in failures:
        return [Subject(photo.name, first, photo.path.stem, NOT_RECONSTRUCTED)]
    if not is_reconstruction(first):
        return [Subject(photo.name, first, photo.path.stem, f"{first} does not exist: run python -m pipeline.reconstruction first")]
    return [Subject(name, out / name / "reconstruction", photo.path.stem) for name in faces_of(first, photo.name)]


def _failed_reconstructions(out: Path) -> set[str]:
    """Names of the photos that the last reconstruction into OUT failed on."""
    stages = {name: entry["stages"].get("reconstruction") for name, entry in read_manifest(out)["photos"].items()}
    return {name for name, stage in stages.items() if stage and stage["status"] == "failed"}
