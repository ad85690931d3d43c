"""What is to be done for a face, or why nothing is."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.reconstruction.folder import input_files
from pipeline.reconstruction.photos import NOT_RECONSTRUCTED, Subject
from pipeline.runs.backends import Backends
from pipeline.runs.files import is_finished, results_fingerprint
from pipeline.runs.manifest import Outcome
from pipeline.runs.stage import failure
from pipeline.settings.command_line import Arguments
from pipeline.settings.errors import UserError
from pipeline.settings.loading import fingerprint
from pipeline.texture.content import ContentImages
from pipeline.texture.results import VERSION


@dataclass(frozen=True)
class Task:
    """A face that is to be refined."""

    name: str  # of its folder of results
    reconstruction: Path  # folder
    content: Path | None  # initial texture made elsewhere
    fingerprint: str  # of all that the results follow from


def plan(subject: Subject, arguments: Arguments, backends: Backends, content: ContentImages) -> Task | Outcome:
    """The task of a face; the outcome where it cannot be done, or is finished with the same settings and input."""
    if subject.problem == NOT_RECONSTRUCTED:  # the manifest says why
        return Outcome(subject.name, "failed", subject.problem)
    try:
        if subject.problem:
            raise UserError(subject.problem)
        image = content.path_of(subject.photo_stem)
        files = input_files(subject.folder) + ([image] if image else [])
        settings = f"{fingerprint(arguments.config)} {backends.features.kind} {backends.renderer.kind}"
        mark = results_fingerprint(settings, files, VERSION)
    except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
        return failure(subject.name, error)
    if is_finished(arguments.out / subject.name, mark):
        return Outcome(subject.name, "skipped", "finished already with the same settings")
    return Task(subject.name, subject.folder, image, mark)
