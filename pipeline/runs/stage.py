"""One stage of a run: OUT locked, the manifest kept, progress shown. Both stages' programs work through it."""

from collections.abc import Mapping, Sequence
from typing import Self

from pipeline.runs.forecast import Forecast
from pipeline.runs.manifest import Manifest, Outcome
from pipeline.runs.progress import Progress
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import Arguments
from pipeline.settings.errors import reason


def failure(name: str, error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a photo that failed; raises the error again where it ends the run."""
    message = reason(error)
    return Outcome(name, "failed", f"failed: {message}", message, seconds)


class Stage:
    """Use as `with Stage(...) as stage:`. Raises RunFolderError where OUT cannot be used."""

    def __init__(self, name: str, arguments: Arguments, names: Sequence[str]):
        """name: of run_folder.STAGES. names: of all photos and faces, in order."""
        self.failed = 0
        self._name, self._arguments, self._names = name, arguments, names
        self._run = RunFolder(arguments.out)
        self._progress = Progress(name, len(names))
        self._forecast: Forecast | None = None

    def __enter__(self) -> Self:
        self._run.__enter__()
        self._manifest = Manifest(self._run.path)
        self._progress.__enter__()
        return self

    def __exit__(self, kind, *exception) -> None:
        try:
            if kind is None:
                self._manifest.write_summary()
        finally:
            self._progress.__exit__(kind, *exception)
            self._run.__exit__(kind, *exception)

    def start(self, device: str, assets: Sequence[Mapping], notes: Mapping[str, str] | None = None, line: str = "") -> None:
        """Write the head of the manifest. assets: what the stage uses. notes: what else it holds. line: for the terminal."""
        self._manifest.start(self._name, self._names, self._arguments, device, assets, notes or {})
        self._progress.line(line)

    def forecast(self, photos: int, jobs: int, seconds_each: float | None) -> None:
        """Report how long the photos that are left will take, where that is long."""
        self._forecast = Forecast(photos, jobs, seconds_each)
        self._progress.line(self._forecast.before())

    def within(self, share: float, text: str) -> None:
        """Show how far the work on the present photo is, 0..1."""
        self._progress.within(share, text)

    def record(self, outcome: Outcome) -> None:
        """Into the manifest, and a line on the terminal."""
        self.record_all([outcome])
        if self._forecast and outcome.status == "done":
            self._progress.line(self._forecast.after(outcome.seconds))

    def record_all(self, outcomes: Sequence[Outcome]) -> None:
        """As `record`; the manifest is written once for all."""
        self.failed += sum(outcome.status == "failed" for outcome in outcomes)
        self._manifest.record(outcomes)
        for outcome in outcomes:
            self._progress.photo_done(f"{outcome.name}: {outcome.line}")
