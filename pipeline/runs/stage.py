"""A stage of a run, from its plan to its summary. Both stages' programs run through it."""

from collections.abc import Callable, Iterable

from pipeline.runs.manifest import STAGES, Outcome, Plan, recorded
from pipeline.runs.progress import Forecast, Progress
from pipeline.settings.command_line import Arguments
from pipeline.settings.errors import reason
from pipeline.settings.loading import to_yaml


def failure(name: str, error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a photo that failed; raises the error again where it ends the run."""
    message = reason(error)
    return Outcome(name, "failed", f"failed: {message}", message, seconds)


def run_stage(
    stage: str, arguments: Arguments, plan: Plan, work: Callable[[Callable[[float, str], None]], Iterable[Outcome]]
) -> int:
    """Do a stage, in OUT's open RunFolder; every outcome is in the manifest and on the terminal as soon as it is known.

    stage: of manifest.STAGES. work(progress): yields the outcomes that are not known yet; progress(share, text) shows how
    far the present photo is. With --dry-run the plan is shown and nothing done. Returns the number of failures.
    Raises RunFolderError where OUT cannot be written.
    """
    progress = Progress(stage, len(plan.names))
    if arguments.dry_run:
        if stage == STAGES[-1]:
            print(to_yaml(arguments.config), end="")
        progress.show(plan.headline, *(f"  {line}" for line in plan.todo))
        progress.show(*(f"  {outcome.name}: {outcome.line}" for outcome in plan.known))
        return 0
    failed = 0
    with progress:
        forecast = Forecast(len(plan.todo), plan.at_once, plan.seconds_each)
        progress.show(plan.headline, forecast.before())
        for number, outcome in enumerate(recorded(arguments.out, stage, arguments, plan, work(progress.within))):
            expected = forecast.after(outcome.seconds) if number >= len(plan.known) else ""
            progress.photo_done(f"{outcome.name}: {outcome.line}", expected)
            failed += outcome.status == "failed"
    return failed
