"""comparison.html: several experiments beside each other, the same photo in each row, scores with differences.

The page has no script: it is made here, every text from files escaped.
"""

import json
import os
import warnings
from html import escape

import numpy as np

from pipeline.reconstruction.images import PhotoError
from pipeline.runs.files import RunFolderError, write_text
from report import pictures
from report.page import address, document

# (key, label, digits, sign of what is better: 1 higher, -1 lower, 0 neither)
SCORES = (
    ("rendering.psnr", "PSNR, dB", 2, 1),
    ("rendering.ssim", "SSIM", 4, 1),
    ("identity.arcface", "identity", 3, 1),
    ("seconds.all", "seconds", 1, 0),
)
SHOWN = ("rendering", "texture", "right", "left")
TILE = 200  # pixels
PAGE_BYTES, PHOTO_BYTES = 1_200_000, 900_000  # of the whole, and of each photo in it


def write_side_by_side(experiments, path):
    """Write the page. experiments: collect's, the first is what the others are held against."""
    if len(experiments) < 2:
        raise RunFolderError("a comparison needs at least two experiments: python -m report OUT OUT")
    names = photo_names(experiments)
    body = "\n".join(
        [
            '<header class="top"><div><p class="brand">FaceRefiner</p><h1>'
            + escape(" / ".join(experiment.name for experiment in experiments))
            + f'</h1></div><p class="quiet">{len(names)} photos; differences are to {escape(experiments[0].name)}</p></header>',
            "<main>",
            _summary(experiments, names),
            _settings(experiments),
            _photos(experiments, names, path.parent),
            "</main>",
        ]
    )
    write_text(path, document("Comparison - FaceRefiner", {}, [], body))


def photo_names(experiments):
    """All photos' names, in the order of the experiments."""
    return list(dict.fromkeys(photo.name for experiment in experiments for photo in experiment.photos))


def _summary(experiments, names):
    """Means over the photos that every experiment has a score of."""
    figures = [{photo.name: photo.figures() for photo in experiment.photos} for experiment in experiments]
    rows = []
    for key, label, digits, sign in SCORES:
        common = [name for name in names if all(key in known.get(name, {}) for known in figures)]
        if common:
            means = [float(np.mean([known[name][key] for name in common])) for known in figures]
            cells = "".join(
                f"<td>{_score(mean, means[0] if number else None, digits, sign)}</td>" for number, mean in enumerate(means)
            )
            rows.append(f'<tr><th scope="row">{label}</th>{cells}<td class="quiet">{len(common)} photos</td></tr>')
    done = "".join(
        f"<td>{sum(photo.status != 'failed' for photo in experiment.photos)} of {len(experiment.photos)}</td>"
        for experiment in experiments
    )
    return (
        f'<section class="panel"><h2>Means over photos that all have</h2><div class="scroll" tabindex="0"><table>'
        f"<thead><tr><th></th>{_headings(experiments)}<th></th></tr></thead>"
        f'<tbody><tr><th scope="row">done</th>{done}<td></td></tr>{"".join(rows)}</tbody></table></div></section>'
    )


def _settings(experiments):
    """The settings that are not the same in all."""
    keys = dict.fromkeys(key for experiment in experiments for key in experiment.settings)
    different = [key for key in keys if len({repr(experiment.settings.get(key)) for experiment in experiments}) > 1]
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th>'
        + "".join(f"<td>{escape(_as_yaml(experiment.settings.get(key)))}</td>" for experiment in experiments)
        + "</tr>"
        for key in different
    )
    content = (
        f"<table><thead><tr><th></th>{_headings(experiments)}</tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else '<p class="quiet">All settings are the same.</p>'
    )
    return (
        '<section class="panel"><h2>Settings that differ</h2>' f'<div class="scroll" tabindex="0">{content}</div></section>'
    )


def _as_yaml(value):
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def _photos(experiments, names, place):
    """A row per photo, a column per experiment. Rows beyond what a page may hold have no pictures, and the page says so."""
    found = [{photo.name: photo for photo in experiment.photos} for experiment in experiments]
    rows, used, pictured = [], 0, 0
    for name in names:
        reference = found[0][name].figures() if name in found[0] else {}
        strips = [_strip(known[name]) if name in known else None for known in found]
        size = sum(len(strip) for strip in strips if strip)
        has_room = used + size <= PAGE_BYTES + PHOTO_BYTES * 24 and size <= PHOTO_BYTES
        used, pictured = used + size * has_room, pictured + has_room
        cells = [
            _cell(experiment, known.get(name), strip if has_room else None, reference if number else None, place)
            for number, (experiment, known, strip) in enumerate(zip(experiments, found, strips, strict=True))
        ]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    note = "" if pictured == len(names) else f'<p class="notice">To stay small, this page shows pictures of {pictured} of {len(names)} photos.</p>'
    return (
        f'<section class="panel"><h2>Photos</h2>{note}<p class="quiet">Rendering over the photo, texture, turned by 45 degrees to '
        'its right and left.</p><div class="scroll" tabindex="0"><table class="side-by-side">'
        f"<thead><tr><th>Photo</th>{_headings(experiments)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _headings(experiments):
    return "".join(f'<th scope="col">{escape(experiment.name)}</th>' for experiment in experiments)


def _cell(experiment, photo, strip, reference, place):
    if photo is None:
        return '<td class="quiet">not in this run</td>'
    parts = []
    if strip:
        words = escape(f"{photo.name} in {experiment.name}: rendering, texture, turned to either side", quote=True)
        there = escape(os.path.relpath(experiment.path, place))
        link = escape("/".join([address(*there.split("/")), "report.html"]), quote=True)
        parts.append(f'<a href="{link}"><img src="{strip}" alt="{words}" width="{TILE * len(SHOWN)}" height="{TILE}"></a>')
    if photo.message:
        parts.append(f'<p class="message">{escape(photo.message)}</p>')
    figures = photo.figures()
    scores = [
        f"<div><dt>{label}</dt><dd>{_score(figures[key], None if reference is None else reference.get(key), digits, sign)}</dd></div>"
        for key, label, digits, sign in SCORES
        if key in figures
    ]
    parts.append(f"<dl>{''.join(scores)}</dl>" if scores else '<p class="quiet">no result</p>')
    return f"<td>{''.join(parts)}</td>"


def _score(value, reference, digits, sign):
    """A score, and its difference to the first experiment's, coloured where one direction is better."""
    text = f"<b>{value:.{digits}f}</b>"
    if reference is None:
        return text
    difference = round(value - reference, digits)
    word = "" if not sign or difference == 0 else ' class="better"' if difference * sign > 0 else ' class="worse"'
    return f"{text} <span{word}>{difference:+.{digits}f}</span>" if difference else f'{text} <span class="quiet">±0</span>'


def _strip(photo):
    """The photo's pictures beside each other as a data: address, or None."""
    if not photo.metrics:
        return None
    try:
        shown = pictures.tiles(photo)
    except PhotoError as error:
        warnings.warn(f"comparison: {photo.name} is shown without pictures: {error}", stacklevel=2)
        return None
    strip = np.concatenate([pictures.shrunk(shown[name], TILE) for name in SHOWN], axis=1)
    return pictures.as_webp(strip, 80)
