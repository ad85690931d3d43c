"""results.csv, summary.json and summary.md."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.defects import DEFECTS
from evaluation.measures import MEASURES, OF_OTHER_SIDES, OF_PHOTO, OF_SHARED, OF_UNSEEN
from evaluation.options import DEFECT_PREFIX
from evaluation.statistics import FEWEST, Estimate, Estimates, differences, means, verdict, worsened
from evaluation.views import Record
from pipeline.runs.files import write_json, write_text

# (title, whether of the photo's own view, measures)
GROUPS = (
    ("Skin that the picture does not show", False, (*OF_UNSEEN, "seconds")),
    ("Renderings from the front and from the side that the picture does not show; texels that it shows", False,
        OF_OTHER_SIDES),
    ("The face that face mask and head share, in the face mask's layout", False, OF_SHARED),
    ("The photo itself (same view)", True, (*OF_PHOTO, "seconds")),
)  # fmt: skip


def write_results(path: Path, records: Sequence[Record]) -> None:
    """results.csv: photo, view, method, measure, value; one line per score."""
    write_scores(path, ("photo", "view", "method"), [((r.photo, r.angle, r.method), r.scores) for r in records])


def write_scores(path: Path, columns: Sequence[str], scored: Iterable[tuple[Sequence, Mapping[str, float]]]) -> None:
    """A CSV file with one line per score: what was scored, in these columns, then measure and value."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*columns, "measure", "value"))
    for what, scores in scored:
        for measure, value in scores.items():
            rows.writerow((*what, measure, f"{value:.6g}"))
    write_text(path, text.getvalue())


def write_summary(folder: Path, records: Sequence[Record], methods: Sequence[str], baseline: str, about: dict) -> dict:
    """summary.json and summary.md. methods: names in order. about: what the run was. Returns summary.json's content."""
    problems = [f"{r.photo} {r.angle} {r.method}: {r.problem}" for r in records if r.problem]
    summary = {**about, "baseline": baseline, "problems": problems}
    for key, is_photo_view in (("reprojection", False), ("photo", True)):
        summary[key] = {
            "means": _as_dict(means(records, methods, is_photo_view)),
            "differences": _as_dict(differences(records, methods, baseline, is_photo_view)),
        }
    defects = {name: DEFECT_PREFIX + name for name in DEFECTS if DEFECT_PREFIX + name in methods}
    pictures = {(record.photo, record.angle) for record in records if record.method in defects.values()}
    if defects and len(pictures) < FEWEST:
        summary["left_out"] = [*summary["left_out"], f"planted defects: {too_few_pictures(len(pictures))}"]
    elif defects:
        summary["defects_seen_by"] = {name: worsened(records, method, "completion") for name, method in defects.items()}
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.md", markdown(records, methods, baseline, summary))
    return summary


def too_few_pictures(count: int) -> str:
    """Why planted defects cannot be judged."""
    needed = f"{FEWEST} are needed to tell whether a measure sees a defect"
    return f"there are {count} pictures; {needed}: give more photos or --yaws"


def markdown(records: Sequence[Record], methods: Sequence[str], baseline: str, summary: dict) -> str:
    """The tables, with means and 95 % t intervals over photos."""
    lines = ["# Evaluation", "", f"    {summary['command']}", ""]
    lines += [f"{summary['date']}, {summary['machine']}. {summary['views']}", ""]
    legend = "Means over photos with 95 % t intervals; a photo's value is the mean of its views. "
    lines += [legend + "An arrow shows which direction is better.", ""]
    for title, is_photo_view, wanted in GROUPS:
        found = means(records, methods, is_photo_view)
        shown = [measure for measure in wanted if any(measure in scores for scores in found.values())]
        if not shown:
            continue
        photos = max(scores[measure].count for scores in found.values() for measure in shown if measure in scores)
        lines += [f"## {title}", "", f"{photos} photos.", ""]
        scored = [method for method in methods if any(measure in found[method] for measure in shown)]
        lines += _table(scored, shown, found, _value)
        changes = differences(records, methods, baseline, is_photo_view)
        if changes:
            marks = f"**better** or *worse* where {FEWEST} photos or more leave the interval clear of 0"
            lines += [f"Difference to {baseline}, paired by photo; {marks}:", ""]
            lines += _table([method for method in scored if method != baseline], shown, changes, _change)
    if "defects_seen_by" in summary:
        lines += ["## Planted defects", ""]
        lines += ["Measures that are significantly worse than the completion's, paired by view:", ""]
        seen_by = summary["defects_seen_by"].items()
        lines += [f"- {name}: {', '.join(seen) or 'NOT SEEN by any measure'}" for name, seen in seen_by] + [""]
    for title, entries in (("Left out", summary["left_out"]), ("Problems", summary["problems"])):
        if entries:
            lines += [f"## {title}", "", *(f"- {entry}" for entry in entries), ""]
    return "\n".join(lines)


def _table(
    methods: Sequence[str], measures: Sequence[str], found: Estimates, cell: Callable[[str, Estimate | None], str]
) -> list[str]:
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    titles = [MEASURES[measure].title + arrows[MEASURES[measure].better] for measure in measures]
    lines = ["| method | " + " | ".join(titles) + " |", "|---" * (len(measures) + 1) + "|"]
    for method in methods:
        lines.append(f"| {method} | " + " | ".join(cell(name, found[method].get(name)) for name in measures) + " |")
    return [*lines, ""]


def _value(measure: str, found: Estimate | None, sign: str = "") -> str:
    if found is None:
        return "-"
    form = f"{sign}.{MEASURES[measure].digits}f"
    interval = "" if found.low is None else f" [{found.low:{form}}, {found.high:{form}}]"
    return f"{found.mean:{form}}{interval}"


def _change(measure: str, found: Estimate | None) -> str:
    text = _value(measure, found, "+")
    marks = {"better": "**", "worse": "*", "": ""}
    mark = marks[verdict(measure, found)] if found is not None else ""
    return f"{mark}{text}{mark}"


def _as_dict(estimates: Estimates) -> dict:
    return {method: {name: asdict(each) for name, each in found.items()} for method, found in estimates.items()}
