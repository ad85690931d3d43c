"""A stage of a run, from OUT's lock to its summary. Both stages' programs run through it."""

from collections.abc import Callable, Iterable

from pipeline.runs.manifest import Outcome, Plan, recorded
from pipeline.runs.progress import Forecast, Progress
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import Arguments
from pipeline.settings.errors import reason


def failure(name: str, error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a photo that failed; raises the error again where it ends the run."""
    message = reason(error)
    return Outcome(name, "failed", f"failed: {message}", message, seconds)


def run_stage(
    stage: str, arguments: Arguments, plan: Plan, work: Callable[[Callable[[float, str], None]], Iterable[Outcome]]
) -> int:
    """Do a stage with OUT locked; every outcome is in the manifest and on the terminal as soon as it is known.

    stage: of manifest.STAGES. work(progress): yields the outcomes that are not known yet; progress(share, text) shows how
    far the present photo is. Returns the number of failures. Raises RunFolderError where OUT cannot be used.
    """
    failed = 0
    with RunFolder(arguments.out), Progress(stage, len(plan.names)) as progress:
        forecast = Forecast(plan.todo, plan.at_once, plan.seconds_each)
        progress.show(plan.headline, forecast.before())
        for number, outcome in enumerate(recorded(arguments.out, stage, arguments, plan, work(progress.within))):
            expected = forecast.after(outcome.seconds) if number >= len(plan.known) else ""
            progress.photo_done(f"{outcome.name}: {outcome.line}", expected)
            failed += outcome.status == "failed"
    return failed
