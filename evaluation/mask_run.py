"""`evaluate.py --occluders`: pictures, their reconstructions, scores and tables.

OUT/occluders.csv, occluders.json and occluders.md hold the scores, by kind and by photo; OUT/occluders.png shows them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from evaluation import inputs, masks
from evaluation.layout import OCCLUDERS, RECONSTRUCTIONS
from evaluation.masks import NOTHING, TITLES, Case, MaskScores
from evaluation.occluders import KINDS
from evaluation.options import EvaluationArguments
from evaluation.statistics import estimate
from evaluation.tables import write_scores
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import Subject, resolve_inputs
from pipeline.runs.backends import choose_device, set_up_torch
from pipeline.runs.files import write_image, write_json, write_text
from pipeline.runs.jobs import Died, run_tasks, threads_each
from pipeline.runs.progress import Progress

TILE = 240  # px


def run(arguments: EvaluationArguments, subjects: Sequence[Subject], about: dict) -> int:
    """Everything of `--occluders`; returns the number of failures. about: what the run was, for the tables."""
    usable = [subject for subject in subjects if not subject.problem]
    problems = [f"{subject.name}: {subject.problem}" for subject in subjects if subject.problem]
    out, config = arguments.out, arguments.first
    cases = masks.make_cases(usable, arguments.kinds, arguments.draws, out.resolve(), config)
    undrawn = {}
    with Progress("draw", len(cases), "picture") as progress:
        progress.show(f"occluders: {len(usable)} faces, {', '.join(arguments.kinds)}")
        for case, problem in _all(partial(_drawer, arguments), cases, arguments):
            undrawn[case.name] = str(problem) if isinstance(problem, Died) else problem
            progress.photo_done(f"{case.name}: {undrawn[case.name] or 'drawn'}")
    drawn = [case for case in cases if case.kind != NOTHING and not undrawn[case.name]]
    faces: dict[str, list[Subject]] = {}
    if drawn:
        pictures = [str(case.path("pictures")) for case in drawn]
        inputs.reconstruct(pictures, out / OCCLUDERS, config)
        for face in resolve_inputs(pictures, out / OCCLUDERS / RECONSTRUCTIONS):
            faces.setdefault(face.photo_stem, []).append(face)
    tasks = [(case, faces.get(case.name, [])) for case in cases if not undrawn[case.name]]
    scores = [
        MaskScores(case.photo, case.kind, case.number, problem=undrawn[case.name])
        for case in cases
        if undrawn[case.name]
    ]
    with Progress("score", len(tasks), "picture") as progress:
        for (case, _), outcome in _all(partial(_scorer, arguments), tasks, arguments):
            if isinstance(outcome, Died):
                outcome = MaskScores(case.photo, case.kind, case.number, problem=str(outcome))
            scores.append(outcome)
            progress.photo_done(f"{case.name}: {outcome.problem or _line(outcome.scores)}")
    order = {case.name: place for place, case in enumerate(cases)}
    scores.sort(key=lambda one: order.get(_name(one), 0))
    write_tables(arguments, scores, {**about, "problems": problems})
    write_sheet(arguments, cases)
    return len(problems) + sum(bool(one.problem) for one in scores)


def _all(make_work: Callable, tasks: Sequence, arguments: EvaluationArguments):
    return run_tasks(make_work, tasks, min(arguments.jobs, max(len(tasks), 1)))


def _drawer(arguments: EvaluationArguments) -> Callable[[Case], str]:
    cv2.setNumThreads(1)
    return masks.draw_picture


def _scorer(arguments: EvaluationArguments) -> Callable[[tuple[Case, list[Subject]]], MaskScores]:
    set_up_torch(arguments.first.threads or threads_each(arguments.jobs), choose_device("cpu"))
    return _score


def _score(task: tuple[Case, list[Subject]]) -> MaskScores:
    return masks.score(*task)


def _name(one: MaskScores) -> str:
    return f"{one.photo}_{one.kind}" + (f"-{one.number}" if one.number > 1 else "")


def _line(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) or "nothing to score"


# ---- tables ----------------------------------------------------------------------------------------------------------


def write_tables(arguments: EvaluationArguments, scores: Sequence[MaskScores], about: dict) -> None:
    """occluders.csv, occluders.json and occluders.md."""
    rows = [((one.photo, one.kind, one.number), one.scores) for one in scores]
    write_scores(arguments.out / "occluders.csv", ("photo", "kind", "number"), rows)
    kinds = [kind for kind in KINDS if kind in arguments.kinds]
    by_kind = {kind: _means([one for one in scores if one.kind == kind]) for kind in [*kinds, NOTHING]}
    problems = [*about["problems"], *(f"{_name(one)}: {one.problem}" for one in scores if one.problem)]
    found = {**about, "by_kind": by_kind, "problems": problems}
    write_json(arguments.out / "occluders.json", found)
    write_text(arguments.out / "occluders.md", markdown(scores, kinds, found))


def markdown(scores: Sequence[MaskScores], kinds: Sequence[str], about: dict) -> str:
    """The tables. about: command, date, machine, by_kind, problems."""
    lines = [
        "# Masks under drawn occluders",
        "",
        f"    {about['command']}",
        "",
        f"{about['date']}, {about['machine']}.",
        "",
    ]
    lines += ["Means over photos with 95 % t intervals; a photo's value is the mean of its drawings.", ""]
    lines += ["## By kind", "", "| kind | photos | " + " | ".join(title for title, _ in TITLES.values()) + " |"]
    lines += ["|---" * (len(TITLES) + 2) + "|"]
    for kind, means in about["by_kind"].items():
        count = len({one.photo for one in scores if one.kind == kind and one.scores})
        lines.append(
            f"| {kind} | {count} | "
            + " | ".join(_cell(means.get(name), digits) for name, (_, digits) in TITLES.items())
            + " |"
        )
    lines += [
        "",
        "## By photo",
        "",
        "IoU of each kind; skin wrongly masked, mean over the kinds and with nothing drawn.",
        "",
    ]
    lines += [
        "| photo | " + " | ".join(kinds) + " | skin, drawn | skin, nothing drawn |",
        "|---" * (len(kinds) + 3) + "|",
    ]
    for photo in dict.fromkeys(one.photo for one in scores):
        of = lambda name, *which, at=photo: _mean(
            [one.scores[name] for one in scores if one.photo == at and one.kind in which and name in one.scores]
        )
        cells = [_number(of("iou", kind), 3) for kind in kinds]
        cells += [_number(of("skin_lost", *kinds), 4), _number(of("skin_lost", NOTHING), 4)]
        lines.append(f"| {photo} | " + " | ".join(cells) + " |")
    if about["problems"]:
        lines += ["", "## Problems", "", *(f"- {problem}" for problem in about["problems"])]
    return "\n".join([*lines, ""])


def _means(scores: Sequence[MaskScores]) -> dict[str, dict]:
    """{score: mean, low, high, count} over photos."""
    found = {}
    for name in TITLES:
        by_photo: dict[str, list[float]] = {}
        for one in scores:
            if name in one.scores:
                by_photo.setdefault(one.photo, []).append(one.scores[name])
        if by_photo:
            mean = estimate([float(np.mean(values)) for values in by_photo.values()])
            found[name] = {"mean": mean.mean, "low": mean.low, "high": mean.high, "count": mean.count}
    return found


def _cell(found: dict | None, digits: int) -> str:
    if found is None:
        return "-"
    interval = "" if found["low"] is None else f" [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
    return f"{found['mean']:.{digits}f}{interval}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def write_sheet(arguments: EvaluationArguments, cases: Sequence[Case]) -> None:
    """occluders.png: a row of `shown` pictures for each photo."""
    rows = []
    for photo in dict.fromkeys(case.photo for case in cases):
        tiles = []
        for case in cases:
            if case.photo != photo or case.number > 1:
                continue
            tile = np.full((TILE, TILE, 3), 128, np.uint8)
            if case.path("shown").is_file():
                image = read_photo(case.path("shown"))
                shrink = TILE / max(image.shape[:2])
                image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)[:TILE, :TILE]
                tile[: image.shape[0], : image.shape[1]] = image
            tiles.append(tile)
        rows.append(np.concatenate(tiles, axis=1))
    if rows:
        write_image(arguments.out / "occluders.png", np.concatenate(rows))
