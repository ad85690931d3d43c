"""Plans the refinement: a task for each face, or the reason why it needs none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from external.assets import used_by
from external.errors import UserError
from pipeline.reconstruction.images import IMAGE_ENDINGS
from pipeline.reconstruction.photos import NOT_RECONSTRUCTED, Subject
from pipeline.runs.files import is_finished, results_fingerprint
from pipeline.runs.manifest import Outcome
from pipeline.runs.stage import failure
from pipeline.settings.loading import fingerprint
from pipeline.settings.schema import Config
from pipeline.texture.results import VERSION


class ContentError(UserError):
    """The content folder has no initial texture for a photo."""


@dataclass(frozen=True)
class Task:
    """A face to refine."""

    name: str  # of its results folder
    reconstruction: Path  # folder
    content: Path | None  # image of a given initial texture
    fingerprint: str  # of everything that the results depend on


class ContentImages:
    """The initial textures of the setting `content`: none, one image for all photos, or a folder matched by stem."""

    def __init__(self, place: Path | None) -> None:
        """place: `content` of `external.assets.Obtained`, which exists."""
        self._place = place
        listed = sorted(place.iterdir(), reverse=True) if place is not None and place.is_dir() else ()
        # {stem: path}; listed once, as there may be thousands of photos
        self._images = {path.stem: path for path in listed if path.suffix.lower() in IMAGE_ENDINGS}

    @property
    def assets(self) -> list[dict]:
        """Entries for the manifest. The licence of given textures depends on their generator."""
        if self._place is None:
            return []
        if self._place.name == "ostec":
            return used_by("ostec")
        licence = "their generator's"
        return [{"name": "Initial textures", "used_by": "content", "licence": licence, "origin": str(self._place)}]

    def path_of(self, stem: str) -> Path | None:
        """Path of the image for a photo's stem, or None without content. Raises ContentError."""
        if self._place is None or not self._place.is_dir():
            return self._place
        if stem not in self._images:
            raise ContentError(f"the content folder {self._place} has no image named {stem}: add {stem}.png")
        return self._images[stem]


def plan_tasks(
    subjects: Sequence[Subject], content: ContentImages, config: Config, backends: str, out: Path
) -> tuple[list[Task], list[Outcome]]:
    """The tasks, and the outcomes of faces that cannot be refined or are already done with the same settings and input.

    backends: kinds of features and renderer, on which results depend. out: OUT.
    """
    tasks, known = [], []
    settings = f"{fingerprint(config)} {backends}"
    for subject in subjects:
        if subject.problem == NOT_RECONSTRUCTED:  # the manifest says why
            known.append(Outcome(subject.name, "failed", subject.problem))
            continue
        try:
            if subject.problem:
                raise UserError(subject.problem)
            image = content.path_of(subject.photo_stem)
            files = [*subject.files, image] if image else subject.files
            roles = " ".join(path.name for path in subject.files)  # a file's bytes do not say what it is read as
            mark = results_fingerprint(f"{settings} {roles}", files, VERSION)
        except Exception as error:  # noqa: BLE001  one face's error must not stop the others
            known.append(failure(subject.name, error))
            continue
        if is_finished(out / subject.name, mark):
            known.append(Outcome(subject.name, "skipped", "finished already with the same settings"))
        else:
            tasks.append(Task(subject.name, subject.folder, image, mark))
    return tasks, known
