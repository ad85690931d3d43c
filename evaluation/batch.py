"""All views of a run: which they are, by which methods, and their work, divided among processes."""

from collections.abc import Callable, Sequence
from functools import partial

from evaluation import identity, perceptual
from evaluation.methods import Method, baseline_methods, defect_methods
from evaluation.options import DEFECT_PREFIX, EvaluationArguments
from evaluation.statistics import FEWEST
from evaluation.tables import too_few_pictures
from evaluation.views import Scoring, View, run_view, suits_reprojection
from external.errors import UserError
from pipeline.reconstruction.photos import Subject
from pipeline.runs.backends import choose_device, set_up_torch
from pipeline.runs.jobs import Died, run_tasks, threads_each
from pipeline.runs.progress import Progress
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config


def make_methods(arguments: EvaluationArguments) -> list[Method]:
    """All methods, baselines first. Raises RunError for what the first config asks for and is not there."""
    first = arguments.first
    methods = baseline_methods(arguments.baselines, first)
    methods += [Method(name, "refine", config) for name, config in arguments.configs.items()]
    methods += [Method(name, "textures", first, str(folder)) for name, folder in arguments.textures.items()]
    return methods + (defect_methods(first) if arguments.defects else [])


def make_scoring(arguments: EvaluationArguments) -> Scoring:
    """What all views share. Raises ConfigError for weights that cannot be read."""
    lpips = str(perceptual.backbone_path(arguments.lpips)) if arguments.lpips else ""
    try:
        if lpips:
            perceptual.load(lpips)
        if arguments.arcface:
            identity.arcface_network(arguments.arcface)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    out, first = arguments.out.resolve(), arguments.first
    return Scoring(out, arguments.size, first.seed, first.limits, arguments.truth, arguments.arcface, lpips)


def make_views(
    scoring: Scoring, subjects: Sequence[Subject], methods: Sequence[Method], yaws: Sequence[float]
) -> tuple[list[View], list[str], int]:
    """Views, the lines to report on faces that are left out, and the number of failures among these."""
    views, lines, failures = [], [], 0
    of_photo = [method for method in methods if not method.kind.startswith(DEFECT_PREFIX)]
    for subject in subjects:
        try:
            if subject.problem:
                raise UserError(subject.problem)
            suitable, yaw = suits_reprojection(subject.folder, scoring.limits)
        except UserError as error:
            failures += 1
            lines.append(f"{subject.name}: {error}")
            continue
        view = partial(View, subject.name, subject.photo_stem, subject.folder, scoring=scoring)
        views.append(view(yaw=None, methods=of_photo))
        if suitable:
            views += [view(yaw=angle, methods=list(methods)) for angle in yaws]
        elif yaws:
            why = f"turned by {yaw:.0f} degrees, too far for the reprojection benchmark: own view only"
            lines.append(f"{subject.name}: {why}")
    return views, lines, failures


def require_pictures(views: Sequence[View]) -> None:
    """Raises ConfigError where there are too few pictures to tell whether a measure sees a planted defect."""
    count = sum(view.yaw is not None for view in views)
    if count < FEWEST:
        raise ConfigError(f"--defects: {too_few_pictures(count)}")


def missing_measures(scoring: Scoring) -> list[str]:
    """Measures that lack their weights, one line each."""
    lines = [] if scoring.arcface else ["ArcFace: no weights given (--arcface FILE)"]
    return lines + ([] if scoring.lpips else ["LPIPS: no weights given (--lpips FILE)"])


def run_views(views: Sequence[View], jobs: int, config: Config, progress: Progress) -> int:
    """Do all views, a line for each to the progress. config: for device and threads. Returns the number of problems."""
    jobs = min(jobs, len(views))
    threads = config.threads or threads_each(jobs)
    problems = 0
    for view, outcome in run_tasks(partial(_set_up, threads, config.device), views, jobs):
        line, count = (f"{view.name}: {outcome}", 1) if isinstance(outcome, Died) else outcome
        problems += count
        progress.photo_done(line)
    return problems


def _set_up(threads: int, device: str) -> Callable[[View], tuple[str, int]]:
    """In each process, once."""
    set_up_torch(threads, choose_device(device))
    return run_view
