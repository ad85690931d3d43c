"""comparison.html: several experiments side by side, the same photo in each row, scores with differences.

The page has no script. All text from files is escaped.
"""

import json
import os
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from pipeline.reconstruction.images import PhotoError
from pipeline.runs.files import write_text
from report import pictures
from report.collect import Experiment, PhotoResults
from report.page import address, document

# (key, label, digits, better: 1 higher, -1 lower, 0 neither)
SCORES = (
    ("rendering.psnr", "PSNR, dB", 2, 1),
    ("rendering.ssim", "SSIM", 4, 1),
    ("identity.arcface", "identity", 3, 1),
    ("seconds.all", "seconds", 1, 0),
)
SHOWN = ("rendering", "texture", "right", "left")
TILE = 200  # pixels
PAGE_BYTES, PHOTO_BYTES = 1_200_000, 900_000  # limits for the page and for one photo


def write_side_by_side(experiments: Sequence[Experiment], path: Path) -> None:
    """Writes the page. experiments: at least two; the others are compared with the first. Raises RunFolderError."""
    names = photo_names(experiments)
    body = f"""<header class="top"><div><p class="brand">FaceRefiner</p>\
<h1>{escape(" / ".join(experiment.name for experiment in experiments))}</h1></div>\
<p class="quiet">{len(names)} photos; differences are relative to {escape(experiments[0].name)}</p></header>
<main>
{_summary(experiments, names)}
{_settings(experiments)}
{_photos(experiments, names, path.parent)}
</main>"""
    write_text(path, document("Comparison - FaceRefiner", {}, [], body))


def photo_names(experiments: Sequence[Experiment]) -> list[str]:
    """The names of all photos, in the order of the experiments."""
    return list(dict.fromkeys(photo.name for experiment in experiments for photo in experiment.photos))


def _summary(experiments: Sequence[Experiment], names: Sequence[str]) -> str:
    """HTML: mean scores over the photos that have a score in every experiment."""
    figures = [{photo.name: photo.figures() for photo in experiment.photos} for experiment in experiments]
    rows = []
    for key, label, digits, sign in SCORES:
        common = [name for name in names if all(key in known.get(name, {}) for known in figures)]
        if common:
            means = [float(np.mean([known[name][key] for name in common])) for known in figures]
            scores = [_score(mean, means[0] if number else None, digits, sign) for number, mean in enumerate(means)]
            cells = "".join(f"<td>{score}</td>" for score in scores)
            rows.append(f'<tr><th scope="row">{label}</th>{cells}<td class="quiet">{len(common)} photos</td></tr>')
    done = "".join(
        f"<td>{sum(photo.status != 'failed' for photo in experiment.photos)} of {len(experiment.photos)}</td>"
        for experiment in experiments
    )
    return (
        f'<section class="panel"><h2>Means over common photos</h2><div class="scroll" tabindex="0"><table>'
        f"<thead><tr><th></th>{_headings(experiments)}<th></th></tr></thead>"
        f'<tbody><tr><th scope="row">done</th>{done}<td></td></tr>{"".join(rows)}</tbody></table></div></section>'
    )


def _settings(experiments: Sequence[Experiment]) -> str:
    """HTML: the settings that differ."""
    keys = dict.fromkeys(key for experiment in experiments for key in experiment.settings)
    different = [key for key in keys if len({repr(experiment.settings.get(key)) for experiment in experiments}) > 1]
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th>'
        + "".join(f"<td>{escape(_as_yaml(experiment.settings.get(key)))}</td>" for experiment in experiments)
        + "</tr>"
        for key in different
    )
    content = '<p class="quiet">All settings are the same.</p>'
    if rows:
        content = f"<table><thead><tr><th></th>{_headings(experiments)}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        '<section class="panel"><h2>Settings that differ</h2>'
        f'<div class="scroll" tabindex="0">{content}</div></section>'
    )


def _as_yaml(value: object) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def _photos(experiments: Sequence[Experiment], names: Sequence[str], folder: Path) -> str:
    """HTML: a row per photo, a column per experiment. folder: of the page.

    Rows beyond the page's size limit have no pictures; a notice on the page says so.
    """
    found = [{photo.name: photo for photo in experiment.photos} for experiment in experiments]
    rows, used, pictured = [], 0, 0
    for name in names:
        reference = found[0][name].figures() if name in found[0] else {}
        strips = [_strip(known[name]) if name in known else None for known in found]
        size = sum(len(strip) for strip in strips if strip)
        has_room = used + size <= PAGE_BYTES + PHOTO_BYTES * 24 and size <= PHOTO_BYTES
        used, pictured = used + size * has_room, pictured + has_room
        cells = [
            _cell(experiment, known.get(name), strip if has_room else None, reference if number else {}, folder)
            for number, (experiment, known, strip) in enumerate(zip(experiments, found, strips, strict=True))
        ]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    note = f'<p class="notice">To limit its size, this page shows pictures of {pictured} of {len(names)} photos.</p>'
    note = note if pictured < len(names) else ""
    return (
        f'<section class="panel"><h2>Photos</h2>{note}<p class="quiet">Rendering over the photo, texture, head turned '
        'by 45 degrees to its right and left.</p><div class="scroll" tabindex="0"><table class="side-by-side">'
        f"<thead><tr><th>Photo</th>{_headings(experiments)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _headings(experiments: Sequence[Experiment]) -> str:
    return "".join(f'<th scope="col">{escape(experiment.name)}</th>' for experiment in experiments)


def _cell(
    experiment: Experiment, photo: PhotoResults | None, strip: str | None, reference: dict[str, float], folder: Path
) -> str:
    """strip: pictures, data URL. reference: the first experiment's scores, {} for its own. folder: of the page."""
    if photo is None:
        return '<td class="quiet">not in this run</td>'
    parts = []
    if strip:
        words = escape(f"{photo.name} in {experiment.name}: rendering, texture, head turned to both sides", quote=True)
        link = address(*Path(os.path.relpath(experiment.path, folder), "report.html").parts)
        image = f'<img src="{strip}" alt="{words}" width="{TILE * len(SHOWN)}" height="{TILE}">'
        parts.append(f'<a href="{link}">{image}</a>')
    if photo.message:
        parts.append(f'<p class="message">{escape(photo.message)}</p>')
    figures = photo.figures()
    scores = [
        f"<div><dt>{label}</dt><dd>{_score(figures[key], reference.get(key), digits, sign)}</dd></div>"
        for key, label, digits, sign in SCORES
        if key in figures
    ]
    parts.append(f"<dl>{''.join(scores)}</dl>" if scores else '<p class="quiet">no result</p>')
    return f"<td>{''.join(parts)}</td>"


def _score(value: float, reference: float | None, digits: int, sign: int) -> str:
    """HTML: a score and its difference from the reference, coloured as better or worse. sign: `better` of SCORES."""
    text = f"<b>{value:.{digits}f}</b>"
    if reference is None:
        return text
    difference = round(value - reference, digits)
    if not difference:
        return f'{text} <span class="quiet">±0</span>'
    word = "" if not sign else ' class="better"' if difference * sign > 0 else ' class="worse"'
    return f"{text} <span{word}>{difference:+.{digits}f}</span>"


def _strip(photo: PhotoResults) -> str | None:
    """The photo's pictures SHOWN, side by side, as a data URL, or None."""
    if not photo.metrics:
        return None
    try:
        shown = pictures.tiles(photo)
    except PhotoError as error:
        warnings.warn(f"comparison: {photo.name} is shown without pictures: {error}", stacklevel=2)
        return None
    strip = np.concatenate([pictures.shrunk(shown[name], TILE) for name in SHOWN], axis=1)
    return pictures.as_webp(strip, 80)
