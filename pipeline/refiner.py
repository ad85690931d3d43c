"""The refinement of single faces, in this process or in others: the same results whatever the number of processes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import choices
from pipeline.config import Config, fingerprint, to_yaml
from pipeline.failures import reason
from pipeline.inputs import NOT_RECONSTRUCTED, ContentImages, Face, InputError
from pipeline.photos import read_photo
from pipeline.processes import Died, in_processes
from pipeline.reconstruction_folder import input_files, load_reconstruction
from pipeline.refinement import VERSION, refine_photo
from pipeline.run_folder import RunFolder, is_finished, results_fingerprint


@dataclass(frozen=True)
class Task:
    """A face that is to be done."""

    face: Face
    mark: str  # fingerprint of all that the results follow from
    content: Path | None  # initial texture made elsewhere


@dataclass(frozen=True)
class Outcome:
    """What became of a face."""

    status: str  # done, failed or skipped, as in the manifest
    line: str  # for people, without the face's name
    message: str = ""  # for the manifest
    seconds: float = 0.0


class Refiner:
    """Refines faces into OUT, in the process that made it. The main process holds OUT's lock and keeps the manifest."""

    def __init__(self, out: Path, config: Config, command: str = "", threads: int = 0):
        """command: the command line, for metrics.json. threads: of this process; 0 leaves torch's own. Raises ConfigError for what the config asks for and is not there."""
        self._run, self._config, self._command = RunFolder(out), config, command  # not opened: the main process holds the lock
        self.device = choices.choose_device(config.device)
        self.features = choices.choose_features(config.refine, self.device, config.assets)
        self.renderer = choices.choose_renderer(config.renderer, self.device)
        self.content = ContentImages(config.content)
        choices.set_up_torch(threads, self.device)

    def prepare(self, face: Face) -> Task | Outcome:
        """A task, or the outcome of a face for which there is nothing to do."""
        if face.problem == NOT_RECONSTRUCTED:  # the manifest says why
            return Outcome("failed", face.problem)
        try:
            if face.problem:
                raise InputError(face.problem)
            content = self.content.path_of(face.photo_stem)
            files = input_files(face.folder) + ([content] if content else [])
            settings = f"{fingerprint(self._config)} {self.features.kind} {self.renderer.kind}"
            mark = results_fingerprint(settings, files, VERSION)
        except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
            return _failed(error, 0.0)
        if is_finished(self._run.results(face.name), mark):
            return Outcome("skipped", "finished already with the same settings")
        return Task(face, mark, content)

    def __call__(self, task: Task, progress=None) -> Outcome:
        """Do a task. progress(share, text). Raises what ends the run: RunFolderError, ConfigError."""
        started = time.perf_counter()
        try:
            reconstruction = load_reconstruction(task.face.folder, self._config.limits)
            given = reconstruction.content if task.content is None else read_photo(task.content, self._config.limits)
            with self._run.replaced_results(task.face.name) as folder:
                metrics = refine_photo(
                    folder,
                    reconstruction,
                    self._config,
                    self.features.extractor(),
                    self.device,
                    self.renderer.kind,
                    given,
                    progress,
                    {
                        "fingerprint": task.mark,
                        "features": self.features.kind,
                        "command": self._command,
                        "settings": to_yaml(self._config),
                    },
                    name=task.face.name,
                )
        except Exception as error:  # noqa: BLE001  whatever it is, the other photos go on
            return _failed(error, time.perf_counter() - started)
        seconds, scores = time.perf_counter() - started, metrics["rendering"]
        line = (
            f"rendering {_shown(scores['psnr'], '.1f')} dB, SSIM {_shown(scores['ssim'], '.4f')}, {seconds:.1f} s -> "
            f"{self._run.results(task.face.name)}"
        )
        return Outcome("done", line, seconds=seconds)

    def all(self, tasks: list[Task], jobs: int, threads: int, progress=None) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, as they are finished. jobs: 1 works in this process, so that steps show."""
        if jobs == 1:
            for task in tasks:
                yield task, self(task, progress)
            return
        for task, outcome in in_processes(partial(Refiner, self._run.path, self._config, self._command, threads), tasks, jobs):
            yield task, Outcome("failed", f"failed: {outcome}", str(outcome)) if isinstance(outcome, Died) else outcome


def _failed(error, seconds):
    message = reason(error)
    return Outcome("failed", f"failed: {message}", message, seconds)


def _shown(value, form):
    return "-" if value is None else format(value, form)
