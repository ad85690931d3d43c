"""comparison.png, for a paper: one row per photo, chosen columns, labelled."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.runs.files import RunFolderError, write_image
from pipeline.texture.provenance import LEGEND
from report.collect import Experiment, PhotoResults
from report.pictures import TILES, photo_and_rendering, tiles
from report.side_by_side import photo_names

COLUMNS = {
    "photo": "photo",
    "sampled": "sampled",
    "visibility": "visibility",
    "initial": "initial",
    "texture": "refined",
    "provenance": "provenance",
    "rendering": "rendering",
    "right": "turned right",
    "left": "turned left",
}
DEFAULT_COLUMNS = ("photo", "sampled", "initial", "texture", "rendering", "right", "left")
GAP = 4
MISSING = 235  # grey of missing tiles
INK = (30, 30, 30)


def write_figure(
    experiments: Sequence[Experiment], path: Path, columns: Sequence[str], tile: int, photos: Sequence[str] | None,
    rows: int,
) -> int:  # fmt: skip
    """Writes the figure. With several experiments every column except the photo appears once for each.

    columns: keys of COLUMNS. tile: px, side of each square. photos: names, in order; None: the first `rows` photos with
    results, of which there is one or more. Returns their number. Raises RunFolderError for names without results.
    """
    finished = [name for name in photo_names(experiments) if any(_of(experiment, name) for experiment in experiments)]
    unknown = [name for name in photos or [] if name not in finished]
    if unknown:
        raise RunFolderError(
            f"there are no results of a photo named {unknown[0]}: choose from {', '.join(finished[:20])}"
        )
    names = photos or finished[:rows]
    # The photo is the same in all experiments, so it gets one column.
    plan = [(column, experiments) for column in columns if column == "photo"]
    plan += [(column, [experiment]) for column in columns if column != "photo" for experiment in experiments]
    labels = [
        COLUMNS[column] if column == "photo" or len(experiments) == 1 else f"{shown[0].name}: {COLUMNS[column]}"
        for column, shown in plan
    ]
    table = [[_tile(column, shown, name, tile) for column, shown in plan] for name in names]
    write_image(path, _compose(table, labels, names, tile, "provenance" in columns))
    return len(finished)


def _of(experiment: Experiment, name: str) -> PhotoResults | None:
    """The photo of this name, if it has results."""
    return next((photo for photo in experiment.photos if photo.name == name and photo.metrics), None)


def _tile(column: str, experiments: Sequence[Experiment], name: str, size: int) -> np.ndarray | None:
    """A photo's picture for a column, uint8 [size, size, 3], from the first experiment that has it, or None."""
    for photo in filter(None, (_of(experiment, name) for experiment in experiments)):
        try:
            return _fit(_picture(column, photo), size)
        except PhotoError:
            continue
    return None


def _picture(column: str, photo: PhotoResults) -> np.ndarray:  # uint8 [H, W, 3]
    if column in ("photo", "rendering"):
        return photo_and_rendering(photo)[column == "rendering"]
    if column in TILES and column != "texture":
        return tiles(photo)[column]
    return read_photo(photo.folder / f"{column}.png")


def _fit(image: np.ndarray, size: int) -> np.ndarray:  # uint8 [H, W, 3] -> uint8 [size, size, 3]
    """The image resized to fit a white square."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    square = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    square[top : top + shape[1], left : left + shape[0]] = small
    return square


def _compose(
    table: Sequence[Sequence[np.ndarray | None]], labels: Sequence[str], names: Sequence[str], tile: int,
    with_legend: bool,
) -> np.ndarray:  # uint8 [H, W, 3]  # fmt: skip
    """The tiles with labels above the columns, photo names beside the rows and, if wanted, the provenance legend.

    table: tiles, uint8 [tile, tile, 3], by row and column; None where one is missing.
    """
    letters = max(round(tile / 14), 10)
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", letters)
    margin = 2 * letters
    height = margin + len(table) * (tile + GAP) + with_legend * margin
    width = margin + len(labels) * (tile + GAP)
    canvas = Image.new("RGB", (width, height), "white")
    for column, label in enumerate(labels):
        canvas.paste(_text(label, font, tile, margin), (margin + column * (tile + GAP), 0))
    for row, name in enumerate(names):
        top = margin + row * (tile + GAP)
        canvas.paste(_text(name, font, tile, margin).rotate(90, expand=True), (0, top))
        for column, image in enumerate(table[row]):
            left = margin + column * (tile + GAP)
            picture = (MISSING,) * 3 if image is None else Image.fromarray(image)
            canvas.paste(picture, (left, top, left + tile, top + tile))
    if with_legend:
        draw, left, middle = ImageDraw.Draw(canvas), margin, height - margin / 2
        for name, (colour, _) in LEGEND.items():
            draw.rectangle((left, middle - letters / 2, left + letters, middle + letters / 2), fill=colour)
            draw.text((left + 1.5 * letters, middle), name, fill=INK, font=font, anchor="lm")
            left += 3 * letters + font.getlength(name)
    return np.asarray(canvas)


def _text(text: str, font: ImageFont.FreeTypeFont, width: int, height: int) -> Image.Image:
    """A label, centred in width x height px and truncated to fit."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\n", " ")
    shown = text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[:-1]
        shown = text + "…"
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).text((width / 2, height / 2), shown, fill=INK, font=font, anchor="mm")
    return picture
