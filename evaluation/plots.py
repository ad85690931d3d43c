"""Plots and the contact sheet."""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot, ticker
from matplotlib.axes import Axes

from evaluation.measures import MEASURES
from evaluation.reprojection import over_grey, turned
from evaluation.statistics import by_view
from evaluation.views import PHOTO, Record, View
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.reconstruction.images import as_bytes, as_float, read_photo
from pipeline.runs.files import write_bytes, write_image
from renderer.lookup import build_lookup

PLOTTED = ("unseen_psnr", "unseen_ciede2000", "high_frequency_ratio", "patch_distance", "seam", "opposite_identity")
QUALITIES = ("unseen_psnr", "patch_distance", "seam")
TILE = 256
HEADER = 24
CROPPED = 0.07  # of a picture's side, at each of its borders
INK = (30, 30, 30)


def write_yaw_plot(path: Path, records: Sequence[Record], methods: Sequence[str]) -> None:
    """score_against_yaw.png: the mean over photos of main measures, one line per method."""
    angles = _turned_angles(records)
    yaws = [_yaw(angle) for angle in angles]

    def draw(axis: Axes, measure: str) -> None:
        for number, method in enumerate(methods):
            values = [_mean(records, method, measure, [angle]) for angle in angles]
            axis.plot(yaws, values, label=method, **_style(number))
        if measure == "high_frequency_ratio":
            axis.axhline(1, color="0.6", linewidth=0.8)
        axis.set_xlabel("yaw of the picture (degrees)", fontsize=9)
        axis.set_xticks(yaws)

    if angles:
        _write_plots(path, records, PLOTTED, (2, 3), 8.5, draw)


def write_seconds_plot(path: Path, records: Sequence[Record], methods: Sequence[str]) -> None:
    """quality_against_seconds.png: means over the turned pictures, one point per method."""
    angles = _turned_angles(records)
    times = {method: _mean(records, method, "seconds", angles) for method in methods}
    timed = {method: seconds for method, seconds in times.items() if seconds is not None}

    def draw(axis: Axes, measure: str) -> None:
        for number, (method, seconds) in enumerate(timed.items()):
            value = _mean(records, method, measure, angles)
            if value is not None:
                axis.plot([seconds], [value], label=method, **{**_style(number), "linestyle": "none"})
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_xlabel("seconds per texture", fontsize=9)

    if timed:
        _write_plots(path, records, QUALITIES, (1, 3), 4.8, draw)


def write_contact_sheet(path: Path, views: Sequence[View], methods: Sequence[str]) -> None:
    """contact_sheet.png: for each photo its most turned pictures; of each the picture, the truth seen from the opposite
    side, and every method from there."""
    by_photo = defaultdict(list)
    for view in views:
        if view.yaw is not None and (view.place / "truth.png").is_file():
            by_photo[view.photo].append(view)
    rows = []
    for of_photo in by_photo.values():
        yaws = sorted(view.yaw for view in of_photo)
        rows += [_row(view, methods) for view in of_photo if view.yaw in (yaws[0], yaws[-1])]
    if not rows:
        return
    names = ["picture", "truth, opposite side", *methods]
    header = np.concatenate([_written(np.full((HEADER, TILE, 3), 255, np.uint8), name) for name in names], axis=1)
    write_image(path, np.concatenate([header, *rows]))


def _row(view: View, methods: Sequence[str]) -> np.ndarray:
    """A line of the contact sheet, uint8 [TILE, W, 3]."""
    picture = load_reconstruction(view.place / "picture")
    opposite = turned(picture, -view.yaw, 2 * TILE)
    size = view.scoring.size
    lookup = build_lookup(opposite.mesh, opposite.camera, size, size, supersampling=2)
    tiles = [_tile(as_float(picture.photo))]
    for name in ("truth", *methods):
        path = view.place / f"{name}.png"
        if path.is_file():
            tiles.append(_tile(over_grey(lookup, as_float(read_photo(path)))))
        else:
            tiles.append(np.full((TILE, TILE, 3), 128, np.uint8))
    return _written(np.concatenate(tiles, axis=1), view.name)


def _tile(image: np.ndarray) -> np.ndarray:
    """A picture [H, H, 3], 0..1, without its borders, as uint8 [TILE, TILE, 3]."""
    cut = round(CROPPED * image.shape[0])
    small = cv2.resize(image[cut:-cut, cut:-cut], (TILE, TILE), interpolation=cv2.INTER_AREA)
    return as_bytes(small)


def _written(image: np.ndarray, text: str) -> np.ndarray:
    """The image, uint8 [H, W, 3], with a text at its lower left."""
    return cv2.putText(image, text, (6, len(image) - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)


def _write_plots(
    path: Path, records: Sequence[Record], wanted: Sequence[str], shape: tuple[int, int], height: float,
    draw: Callable[[Axes, str], None],
) -> None:  # fmt: skip
    """A plot by draw(axis, measure) for each wanted measure that there is. shape: rows and columns. height: inches."""
    measures = [measure for measure in wanted if any(measure in record.scores for record in records)]
    if not measures:
        return
    figure, axes = pyplot.subplots(*shape, figsize=(15, height), squeeze=False)
    for axis, measure in zip(axes.flat, measures, strict=False):
        draw(axis, measure)
        axis.set_title(_title(measure), fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(measures) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), 7), fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    pyplot.close(figure)
    write_bytes(path, data.getvalue())


def _style(number: int) -> dict:
    # Methods often coincide: later markers are smaller and leave the earlier ones visible.
    look = {"color": f"C{number % 10}", "marker": "osv^DPX*"[number % 8], "linestyle": "-" if number < 10 else "--"}
    return {**look, "markersize": max(11 - number, 4), "fillstyle": "none"}


def _title(measure: str) -> str:
    better = MEASURES[measure].better
    return MEASURES[measure].title + (f" ({better} is better)" if better else " (1 is right)")


def _yaw(angle: str) -> float:
    return float(angle.removeprefix("yaw"))


def _turned_angles(records: Sequence[Record]) -> list[str]:
    return sorted({record.angle for record in records} - {PHOTO}, key=_yaw)


def _mean(records: Sequence[Record], method: str, measure: str, angles: Sequence[str]) -> float | None:
    values = [value for (_, angle), value in by_view(records, method, measure).items() if angle in angles]
    return float(np.mean(values)) if values else None
