"""Makes the report of a run again from its files, and compares runs: `python -m report OUT...`."""

import argparse
import sys
from pathlib import Path

from pipeline.settings.command_line import ALL_DONE, Parser, run_main
from report.collect import collect
from report.figure import COLUMNS, DEFAULT_COLUMNS, DEFAULT_ROWS, DEFAULT_TILE, write_figure
from report.page import EMBEDDED_PHOTOS, write_report
from report.side_by_side import write_side_by_side


def main(argv=None):
    parser = Parser(
        prog="python -m report",
        description=__doc__ + "\n\nWrites OUT/report.html for each; comparison.png; of several also comparison.html.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("outs", nargs="+", metavar="OUT", type=Path, help="folder of a run; the first is what others are held against")
    parser.add_argument(
        "-o", "--out", metavar="FOLDER", type=Path, help="where comparisons go (default: OUT, of several the folder that holds the first)"
    )
    parser.add_argument(
        "--columns",
        metavar="A,B,...",
        type=_columns,
        default=DEFAULT_COLUMNS,
        help=f"of comparison.png: {', '.join(COLUMNS)} (default: {','.join(DEFAULT_COLUMNS)})",
    )
    parser.add_argument("--photos", metavar="A,B,...", type=lambda text: text.split(","), help="rows of comparison.png, by name")
    parser.add_argument(
        "--rows", type=_number(1, 1000), default=DEFAULT_ROWS, help=f"most rows of comparison.png without --photos (default: {DEFAULT_ROWS})"
    )
    parser.add_argument("--tile", type=_number(32, 2048), default=DEFAULT_TILE, help=f"pixels of its squares (default: {DEFAULT_TILE})")
    parser.add_argument(
        "--embed",
        type=_number(0, 100_000),
        default=EMBEDDED_PHOTOS,
        help=f"photos of which report.html holds all pictures and the 3D view, at most 1 MB each (default: {EMBEDDED_PHOTOS})",
    )
    given = parser.parse_args(argv)
    experiments = [collect(out) for out in given.outs]
    for out in given.outs:
        print(write_report(out, given.embed))
    place = given.out or (given.outs[0] if len(experiments) == 1 else given.outs[0].resolve().parent)
    place.mkdir(parents=True, exist_ok=True)
    if len(experiments) > 1:
        write_side_by_side(experiments, place / "comparison.html")
        print(place / "comparison.html")
    if not any(photo.metrics for experiment in experiments for photo in experiment.photos):
        print("no comparison.png: no photo is finished")
        return ALL_DONE
    found = write_figure(experiments, place / "comparison.png", given.columns, given.tile, given.photos, given.rows)
    rows = f": the first {given.rows} of {found} photos, --rows and --photos choose others" if not given.photos and found > given.rows else ""
    print(f"{place / 'comparison.png'}{rows}")
    return ALL_DONE


def _columns(text):
    columns = text.split(",")
    for column in columns:
        if column not in COLUMNS:
            raise argparse.ArgumentTypeError(f"{column!r} is no column, allowed are {', '.join(COLUMNS)}")
    return columns


def _number(least, most):
    def number(text):
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return number


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
