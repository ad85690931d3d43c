"""results.csv, summary.json and summary.md."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.defects import DEFECTS
from evaluation.measures import MEASURES
from evaluation.methods import DEFECT_PREFIX
from evaluation.statistics import FEWEST, Estimate, Estimates, differences, means, verdict, worsened
from evaluation.views import Record
from pipeline.runs.files import write_json, write_text

GROUPS = (
    (
        "Skin that the picture does not show",
        False,
        ("unseen_psnr", "unseen_ssim", "unseen_ciede2000", "tint", "high_frequency_ratio", "high_frequency_error",
         "patch_distance", "patch_distance_1", "patch_distance_2", "patch_distance_4", "seam", "unseen_lpips",
         "seconds"),
    ),
    (
        "Renderings from the front and from the side that the picture does not show; texels that it shows",
        False,
        ("seen_psnr", "frontal_psnr", "frontal_ssim", "frontal_identity", "frontal_arcface", "frontal_lpips",
         "opposite_psnr", "opposite_ssim", "opposite_identity", "opposite_arcface", "opposite_lpips"),
    ),
    (
        "The photo itself (same view)",
        True,
        ("photo_psnr", "photo_ssim", "photo_identity", "photo_arcface", "photo_lpips", "uv_psnr", "uv_ssim", "seconds"),
    ),
)  # fmt: skip


def write_results(path: Path, records: Sequence[Record]) -> None:
    """results.csv: photo, view, method, measure, value; one line per score."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("photo", "view", "method", "measure", "value"))
    for record in records:
        for measure, value in record.scores.items():
            rows.writerow((record.photo, record.angle, record.method, measure, f"{value:.6g}"))
    write_text(path, text.getvalue())


def summarise(records: Sequence[Record], methods: Sequence[str], baseline: str, about: dict) -> dict:
    """Everything that summary.json holds. methods: names in order. about: what the run was, a dict."""
    summary = {**about, "baseline": baseline, "problems": _problems(records)}
    for key, is_photo_view in (("reprojection", False), ("photo", True)):
        summary[key] = {
            "means": _as_dict(means(records, methods, is_photo_view)),
            "differences": _as_dict(differences(records, methods, baseline, is_photo_view)),
        }
    defects = {name: DEFECT_PREFIX + name for name in DEFECTS if DEFECT_PREFIX + name in methods}
    if defects:
        summary["defects_seen_by"] = {name: worsened(records, method, "completion") for name, method in defects.items()}
    return summary


def write_summary(folder: Path, records: Sequence[Record], methods: Sequence[str], baseline: str, about: dict) -> dict:
    """summary.json and summary.md. Returns the summary."""
    summary = summarise(records, methods, baseline, about)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.md", markdown(records, methods, baseline, summary))
    return summary


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
        lines += _table(scored, shown, lambda method, measure, found=found: _value(measure, found[method].get(measure)))
        changes = differences(records, methods, baseline, is_photo_view)
        if changes and baseline in methods:
            marks = f"**better** or *worse* where {FEWEST} photos or more leave the interval clear of 0"
            lines += [f"Difference to {baseline}, paired by photo; {marks}:", ""]
            lines += _table(
                [method for method in scored if method != baseline], shown,
                lambda method, measure, changes=changes: _change(measure, changes[method].get(measure)),
            )  # fmt: skip
    if "defects_seen_by" in summary:
        lines += [
            "## Planted defects",
            "",
            "Measures that are significantly worse than the completion's, paired by view:",
            "",
        ]
        lines += [
            f"- {name}: {', '.join(seen) if seen else 'NOT SEEN by any measure'}"
            for name, seen in summary["defects_seen_by"].items()
        ]
        lines.append("")
    if summary["left_out"]:
        lines += ["## Left out", ""] + [f"- {reason}" for reason in summary["left_out"]] + [""]
    if summary["problems"]:
        lines += ["## Problems", ""] + [f"- {problem}" for problem in summary["problems"]] + [""]
    return "\n".join(lines)


def _table(methods: Sequence[str], measures: Sequence[str], cell: Callable[[str, str], str]) -> list[str]:
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    titles = [MEASURES[measure].title + arrows[MEASURES[measure].better] for measure in measures]
    lines = ["| method | " + " | ".join(titles) + " |", "|---" * (len(measures) + 1) + "|"]
    lines += [f"| {method} | " + " | ".join(cell(method, measure) for measure in measures) + " |" for method in methods]
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


def _problems(records: Sequence[Record]) -> list[str]:
    return [f"{r.photo} {r.angle} {r.method}: {r.problem}" for r in records if r.problem]


def _as_dict(estimates: Estimates) -> dict:
    return {
        method: {measure: asdict(found) for measure, found in scores.items()} for method, scores in estimates.items()
    }
