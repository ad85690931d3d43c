"""How good textures are, above all on skin that the photo does not show: tables, plots and a contact sheet.

    evaluate.py [PHOTO | FOLDER]... [-o OUT] [-c CONFIG]... [--quick] [key=value ...]      --help says more

    OUT/results.csv                   photo, view, method, measure, value
    OUT/summary.json, summary.md      means and paired differences with 95 % t intervals over photos
    OUT/score_against_yaw.png, quality_against_seconds.png, contact_sheet.png
    OUT/occluders.md, .csv, .png      instead, with --occluders: scores of masks under things drawn over the photos
    OUT/views/<photo>/<view>/         the picture as a reconstruction folder, every method's texture and scores

Rerunning resumes an interrupted run. Exit code: 0 all done, 1 something failed, 2 wrong use.
"""

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is loaded: threads that spin while they wait make a run three times slower on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from evaluation.layout import OWN_FILES
from evaluation.options import EvaluationArguments, parse
from pipeline.runs.machine import processors
from pipeline.runs.progress import Progress
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import ALL_DONE, SOME_FAILED, run_main

if TYPE_CHECKING:
    from evaluation.views import View


def main(argv: list[str]) -> int:
    """Evaluate what a command line names; returns the exit code."""
    arguments = parse(argv)
    if arguments.occluders:
        return main_of_occluders(arguments, argv)
    from evaluation import batch, inputs  # torch takes a second; wrong use should not wait for it
    from evaluation.methods import features_of

    methods = batch.make_methods(arguments)
    names = [method.name for method in methods]
    scoring = batch.make_scoring(arguments)
    left_out = batch.missing_measures(scoring)
    features = [f"{m.name} {features_of(m.config).kind}" for m in methods if m.kind in ("refine", "published")]
    if arguments.dry_run:
        for subject in inputs.find_and_reconstruct(arguments):
            yaws = ", ".join(f"{yaw:+g}" for yaw in arguments.yaws)
            print(f"{subject.name}: the photo, and pictures at {yaws} degrees")
        print(f"methods: {', '.join(names)}; into {arguments.out}")
        return ALL_DONE

    started = time.perf_counter()
    with RunFolder(arguments.out, OWN_FILES):
        subjects = inputs.find_and_reconstruct(arguments)
        views, lines, failures = batch.make_views(scoring, subjects, methods, arguments.yaws)
        if arguments.defects:
            batch.require_pictures(views)
        with Progress("evaluate", len(views), "view") as progress:
            head = f"evaluate: {len(subjects)} faces, {len(views)} views, methods {', '.join(names)}"
            progress.show(head, *lines, *left_out)
            failures += batch.run_views(views, arguments.jobs, arguments.first, progress) if views else 0
        about = {
            **_about(argv),
            "views": f"{len({view.photo for view in views})} photos, "
            f"views {', '.join(sorted({view.angle for view in views}))}, {arguments.size} x {arguments.size} texels; "
            f"features: {', '.join(features)}.",
            "size": arguments.size,
            "seed": scoring.seed,
            "seconds": round(time.perf_counter() - started, 1),
            "left_out": left_out + lines,
        }
        summary = write_all(arguments, views, names, about)
    unseen = [name for name, measures in summary.get("defects_seen_by", {}).items() if not measures]
    for name in unseen:
        print(f"the planted defect {name} is not seen by any measure")
    unknown = arguments.defects and "defects_seen_by" not in summary
    if unknown:
        print(summary["left_out"][-1])
    print(f"evaluate: {about['seconds']:.0f} s -> {arguments.out / 'summary.md'}")
    return SOME_FAILED if failures or unseen or unknown else ALL_DONE


def main_of_occluders(arguments: EvaluationArguments, argv: list[str]) -> int:
    """Score masks and what is completed under them, of things drawn over the photos; returns the exit code."""
    from evaluation import inputs, mask_run

    if arguments.dry_run:
        for subject in inputs.find_and_reconstruct(arguments):
            print(f"{subject.name}: nothing, {', '.join(arguments.kinds)}, {arguments.draws} of each")
        return ALL_DONE
    started = time.perf_counter()
    with RunFolder(arguments.out, OWN_FILES):
        subjects = inputs.find_and_reconstruct(arguments)
        failures = mask_run.run(arguments, subjects, _about(argv))
    print(f"evaluate: {time.perf_counter() - started:.0f} s -> {arguments.out / 'occluders.md'}")
    return SOME_FAILED if failures else ALL_DONE


def _about(argv: list[str]) -> dict:
    """Command, date and machine of a run."""
    return {
        "command": shlex.join(["evaluate.py", *argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {processors()} processors, Python {platform.python_version()}",
    }


def write_all(arguments: EvaluationArguments, views: list["View"], names: list[str], about: dict) -> dict:
    """Tables and pictures from the records on disk. Returns the summary."""
    from evaluation import plots, tables
    from evaluation.views import read_records

    out, (records, views_left_out) = arguments.out, read_records(views)
    about["left_out"] += views_left_out
    tables.write_results(out / "results.csv", records)
    summary = tables.write_summary(out, records, names, arguments.baseline, about)
    shown = [name for name in names if not name.startswith("defect_")]
    plots.write_yaw_plot(out / "score_against_yaw.png", records, shown)
    plots.write_seconds_plot(out / "quality_against_seconds.png", records, shown)
    plots.write_contact_sheet(out / "contact_sheet.png", views, shown)
    return summary


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
