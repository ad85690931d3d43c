"""How good textures are, above all on skin that the photo does not show: tables, plots and a contact sheet.

    evaluate.py [PHOTO | FOLDER]... [-o OUT] [-c CONFIG]... [--quick] [key=value ...]      --help says more

    OUT/results.csv                   photo, view, method, measure, value
    OUT/summary.json, summary.md      means and paired differences with 95 % bootstrap intervals over photos
    OUT/score_against_yaw.png, quality_against_seconds.png, contact_sheet.png
    OUT/views/<photo>/<view>/         the picture as a reconstruction folder, every method's texture and scores

The same command again goes on where the last one stopped. Exit code: 0 all done, 1 something failed, 2 wrong use.
"""

import os
import platform
import shlex
import sys
import time
from pathlib import Path

# Before torch is loaded: threads that spin while they wait make a run three times slower on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from evaluation.options import parse
from pipeline.runs.progress import Progress
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import ALL_DONE, SOME_FAILED, run_main
from pipeline.settings.errors import ConfigError


def main(argv):
    arguments = parse(argv)
    from evaluation import tasks as work  # torch takes a second; wrong use should not wait for it
    from evaluation.methods import features_of

    methods = work.make_methods(arguments)
    names = [method.name for method in methods]
    left_out = work.left_out(arguments)
    if any(line.startswith("LPIPS") for line in left_out) and arguments.lpips:
        raise ConfigError(left_out[-1])
    features = {method.name: features_of(method) for method in methods if method.kind in ("refine", "published")}
    if arguments.dry_run:
        for face in work.find_and_reconstruct(arguments):
            print(f"{face.name}: the photo, and pictures at {', '.join(f'{yaw:+g}' for yaw in arguments.yaws)} degrees")
        print(f"methods: {', '.join(names)}; into {arguments.out}")
        return ALL_DONE

    started = time.perf_counter()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with RunFolder(arguments.out):
        faces = work.find_and_reconstruct(arguments)
        tasks, lines, failures = work.make_tasks(arguments, faces, methods)
        with Progress("evaluate", len(tasks), "view") as progress:
            progress.show(f"evaluate: {len(faces)} faces, {len(tasks)} views, methods {', '.join(names)}")
            for line in [*lines, *left_out]:
                progress.show(line)
            failures += work.run_all(tasks, arguments.jobs, progress) if tasks else 0
        views = {task.view for task in tasks}
        about = {
            "command": shlex.join(["evaluate.py", *argv]),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{_processor()}, {os.cpu_count()} processors, Python {platform.python_version()}",
            "views": f"{len({task.photo for task in tasks})} photos, views {', '.join(sorted(views))}, "
            f"{arguments.size} x {arguments.size} texels; features: {_listed(features)}.",
            "size": arguments.size,
            "seed": next(iter(arguments.configs.values())).seed,
            "seconds": round(time.perf_counter() - started, 1),
            "left_out": left_out + lines,
        }
        summary = write_all(arguments, tasks, names, about)
    unseen = [name for name, measures in summary.get("defects_seen_by", {}).items() if not measures]
    for name in unseen:
        print(f"the planted defect {name} is not seen by any measure")
    print(f"evaluate: {about['seconds']:.0f} s -> {arguments.out / 'summary.md'}")
    return SOME_FAILED if failures or unseen else ALL_DONE


def write_all(arguments, tasks, names, about):
    """Tables and pictures from the records on disk. Returns the summary."""
    from evaluation import pictures, tables
    from evaluation.views import read_records

    out, (records, views_left_out) = arguments.out, read_records(tasks)
    about["left_out"] += views_left_out
    tables.write_results(out / "results.csv", records)
    summary = tables.write_summary(out, records, names, arguments.baseline, about["seed"], about)
    shown = [name for name in names if not name.startswith("defect_")]
    pictures.write_yaw_plot(out / "score_against_yaw.png", records, shown)
    pictures.write_seconds_plot(out / "quality_against_seconds.png", records, shown)
    pictures.write_contact_sheet(out / "contact_sheet.png", tasks, shown)
    return summary


def _listed(features):
    return ", ".join(f"{name} {kind}" for name, kind in features.items()) or "none"


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
