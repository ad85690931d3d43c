"""Runs a stage, from its plan to its summary. The programs of both stages use it."""

from collections.abc import Callable, Iterable

from pipeline.runs.manifest import STAGES, Outcome, Plan, record_outcomes
from pipeline.runs.progress import Forecast, Progress
from pipeline.settings.command_line import Arguments
from pipeline.settings.errors import reason
from pipeline.settings.loading import to_yaml


def failure(name: str, error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a failed photo. Raises the error again if it must end the run."""
    message = reason(error)
    return Outcome(name, "failed", f"failed: {message}", message, seconds)


def run_stage(
    stage: str, arguments: Arguments, plan: Plan, work: Callable[[Callable[[float, str], None]], Iterable[Outcome]]
) -> int:
    """Runs a stage in OUT's open RunFolder; records and prints every outcome as soon as it is known.

    stage: one of manifest.STAGES. work(progress): does the work and yields the outcomes that the plan does not know;
    progress(share, text) shows the progress of the current photo. With --dry-run only the plan is printed.
    Returns the number of failures. Raises RunFolderError where OUT cannot be written.
    """
    if arguments.dry_run:
        if stage == STAGES[-1]:
            print(to_yaml(arguments.config), end="")
        Progress.show(plan.headline, *(f"  {line}" for line in plan.todo))
        Progress.show(*(f"  {outcome.name}: {outcome.line}" for outcome in plan.known))
        return 0
    failed = 0
    with Progress(stage, len(plan.names)) as progress:
        forecast = Forecast(len(plan.todo), plan.at_once, plan.seconds_each)
        progress.show(plan.headline, forecast.before())
        outcomes = record_outcomes(arguments.out, stage, arguments, plan, work(progress.within))
        for number, outcome in enumerate(outcomes):
            seconds = outcome.seconds if outcome.status == "done" else None
            expected = forecast.after(seconds) if number >= len(plan.known) else ""
            progress.photo_done(f"{outcome.name}: {outcome.line}", expected)
            failed += outcome.status == "failed"
    return failed
