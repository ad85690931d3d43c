"""comparison.png, for a paper: one row per photo, chosen columns, labelled."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.runs.files import RunFolderError, write_image
from pipeline.texture.provenance import LEGEND
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
DEFAULT_TILE, DEFAULT_ROWS = 256, 12
GAP = 4
MISSING = 235  # grey
INK = (30, 30, 30)


def write_figure(experiments, path, columns=DEFAULT_COLUMNS, tile=DEFAULT_TILE, photos=None, rows=DEFAULT_ROWS):
    """Write the picture. With several experiments every column but the photo's is there once for each.

    columns: of COLUMNS. tile: pixels of each square. photos: names, in order; None: the first `rows` that have results.
    Returns how many photos there were to choose from. Raises RunFolderError for names that are not there.
    """
    finished = [name for name in photo_names(experiments) if any(_of(experiment, name) for experiment in experiments)]
    unknown = [name for name in photos or [] if name not in finished]
    if unknown:
        raise RunFolderError(f"no results of a photo named {unknown[0]}: there are {', '.join(finished[:20]) or 'none'}")
    if not finished:
        raise RunFolderError(f"{experiments[0].path} holds no finished photo: nothing can be shown")
    names = photos or finished[:rows]
    several = len(experiments) > 1
    # The photo is the same in all.
    plan = [(column, None) for column in columns if column == "photo"]
    plan += [(column, experiment) for column in columns if column != "photo" for experiment in experiments]
    labels = [
        f"{experiment.name}: {COLUMNS[column]}" if several and experiment else COLUMNS[column] for column, experiment in plan
    ]
    table = [
        [_tile(column, [experiment] if experiment else experiments, name, tile) for column, experiment in plan] for name in names
    ]
    write_image(path, _composed(table, labels, names, tile, "provenance" in columns))
    return len(finished)


def _of(experiment, name):
    """The photo of this name, if it has results."""
    return next((photo for photo in experiment.photos if photo.name == name and photo.metrics), None)


def _tile(column, experiments, name, size):
    """uint8 [size, size, 3], or None where there is no such picture."""
    for experiment in experiments:
        photo = _of(experiment, name)
        if photo is None:
            continue
        try:
            return _fitted(_picture(column, photo), size)
        except PhotoError:
            continue
    return None


def _picture(column, photo):
    if column in ("photo", "rendering"):
        return photo_and_rendering(photo)[column == "rendering"]
    if column in TILES and column != "texture":
        return tiles(photo)[column]
    return read_photo(photo.folder / f"{column}.png")


def _fitted(image, size):
    """The image in a square, on white."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    square = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    square[top : top + shape[1], left : left + shape[0]] = small
    return square


def _composed(table, labels, names, tile, with_legend):
    """uint8 [H, W, 3]: the tiles, labels above the columns, the photos' names upright along the rows, provenance's legend."""
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
            if image is None:
                image = np.full((tile, tile, 3), MISSING, np.uint8)
            canvas.paste(Image.fromarray(image), (left, top))
    if with_legend:
        draw, left, middle = ImageDraw.Draw(canvas), margin, height - margin / 2
        for name, (colour, _) in LEGEND.items():
            draw.rectangle((left, middle - letters / 2, left + letters, middle + letters / 2), fill=colour)
            draw.text((left + 1.5 * letters, middle), name, fill=INK, font=font, anchor="lm")
            left += 3 * letters + font.getlength(name)
    return np.asarray(canvas)


def _text(text, font, width, height):
    """A label in the middle of its place; what is too long is cut."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\n", " ")
    shown = text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[:-1]
        shown = text + "…"
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).text((width / 2, height / 2), shown, fill=INK, font=font, anchor="mm")
    return picture
