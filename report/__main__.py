"""Makes the reports of finished runs from their files, and compares runs: `python -m report OUT...`.

Writes OUT/report.html for each run, comparison.png, and comparison.html for several runs.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.settings.command_line import ALL_DONE, Parser, run_main
from report.collect import collect
from report.figure import COLUMNS, DEFAULT_COLUMNS, write_figure
from report.page import EMBEDDED_PHOTOS, write_report
from report.side_by_side import write_side_by_side


def main(argv: list[str]) -> int:
    """Writes the reports that the command line names; returns the exit code."""
    parser = Parser(prog="python -m report", description=__doc__.strip())
    add = parser.add_argument
    add("outs", nargs="+", metavar="OUT", type=Path, help="folder of a run; others are compared with the first")
    add("-o", "--out", metavar="FOLDER", type=Path, help="folder for comparison.png and comparison.html "
        "(default: OUT; for several runs the parent of the first)")  # fmt: skip
    add("--columns", metavar="A,B,...", type=_columns, default=DEFAULT_COLUMNS,
        help=f"columns of comparison.png: {', '.join(COLUMNS)} (default: {','.join(DEFAULT_COLUMNS)})")  # fmt: skip
    add("--photos", metavar="A,B,...", type=lambda text: text.split(","),
        help="photos (rows) of comparison.png, by name")  # fmt: skip
    add("--rows", type=_number(1, 1000), default=12,
        help="maximum number of rows of comparison.png without --photos (default: %(default)s)")  # fmt: skip
    add("--tile", type=_number(32, 2048), default=256,
        help="size in pixels of the squares of comparison.png (default: %(default)s)")  # fmt: skip
    add("--embed", type=_number(0, 100_000), default=EMBEDDED_PHOTOS, help="number of photos with all pictures and the "
        "3D view in report.html, at most 1 MB each (default: %(default)s)")  # fmt: skip
    given = parser.parse_args(argv)
    experiments = [collect(out) for out in given.outs]
    for out in given.outs:
        print(write_report(out, given.embed))
    folder = given.out or (given.outs[0] if len(experiments) == 1 else given.outs[0].resolve().parent)
    folder.mkdir(parents=True, exist_ok=True)
    if len(experiments) > 1:
        write_side_by_side(experiments, folder / "comparison.html")
        print(folder / "comparison.html")
    if not any(photo.metrics for experiment in experiments for photo in experiment.photos):
        print("no comparison.png: no photo has results")
        return ALL_DONE
    found = write_figure(experiments, folder / "comparison.png", given.columns, given.tile, given.photos, given.rows)
    rows = ""
    if not given.photos and found > given.rows:
        rows = f": the first {given.rows} of {found} photos; choose others with --rows or --photos"
    print(f"{folder / 'comparison.png'}{rows}")
    return ALL_DONE


def _columns(text: str) -> list[str]:
    columns = text.split(",")
    for column in columns:
        if column not in COLUMNS:
            raise argparse.ArgumentTypeError(f"{column!r} is not a column, allowed are {', '.join(COLUMNS)}")
    return columns


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return number


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
