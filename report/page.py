"""report.html: a run in one file, which needs no network and no other file.

Everything that comes from files (names, messages, settings) is data: JSON in the page, which page.js shows as text. The
page's content security policy allows its own scripts, by their hashes, and pictures inside it, and nothing else.
"""

import base64
import hashlib
import html
import json
import os
import time
import warnings
from pathlib import Path
from urllib.parse import quote

import numpy as np

from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.runs.files import write_text
from pipeline.texture.provenance import LEGEND
from renderer.mesh import MeshError
from report import pictures
from report.collect import collect

EMBEDDED_PHOTOS = 24  # photos with all pictures and the mesh in the page
PICTURED_PHOTOS = 300  # photos with a small picture
PHOTO_BYTES = 900_000  # of a photo's part of the page
LAYOUT_BYTES = 1_200_000  # of all UV layouts and triangles, which photos share

# Plain scripts one after another: a page from disk may not load modules.
SCRIPTS = ("viewer.js", "elements.js", "overview.js", "charts.js", "photo.js", "page.js")

_ROOM = Path(__file__).parent
_STEPS = (1.0, 0.75, 0.5, 0.35, 0.25)  # to which pictures are reduced until a photo's part is small enough


def write_report(out, embedded=EMBEDDED_PHOTOS):
    """Write OUT/report.html from the files in OUT. embedded: number of photos with everything. Returns its path.

    Raises RunFolderError. What cannot be read of a photo is left out, with a warning.
    """
    experiment = collect(out)
    scripts = _data_blocks(experiment, embedded)
    page = document(f"{experiment.name} - FaceRefiner", scripts, SCRIPTS)
    path = experiment.path / "report.html"
    write_text(path, page)
    return path


def report_or_reason(out):
    """One line: where the report is, or why there is none. A run is not to fail because of its report."""
    try:
        return f"report: {write_report(out)}"
    except Exception as error:  # noqa: BLE001  whatever it is, the results are finished and the user is told
        return f"no report was made ({type(error).__name__}: {error}); python -m report {out} tries again"


def document(title, data, scripts, body='<div id="app"></div>'):
    """A whole page. title: text. data: {element id: value for JSON}. scripts: files of this room. body: HTML."""
    style = (_ROOM / "page.css").read_text(encoding="utf-8")
    code = [(_ROOM / name).read_text(encoding="utf-8") for name in scripts]
    allowed = " ".join(map(_hash, code)) or "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    blocks = [f'<script type="application/json" id="{name}">{_json(value)}</script>' for name, value in data.items()]
    needs_script = '<noscript><p class="notice">This page needs JavaScript, its own; it loads nothing.</p></noscript>'
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            body,
            needs_script if code else "",
            *blocks,
            *(f"<script>{text}</script>" for text in code),
            "</body>",
            "</html>",
            "",
        ]
    )


def address(*parts):
    """A relative address of a file, from the names of folders and file."""
    return "/".join(quote(os.fsencode(part), safe="") for part in parts)


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value):
    """JSON that no HTML parser takes for the end of its element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# ---- the run's data --------------------------------------------------------------------------------------------------


def _data_blocks(experiment, embedded):
    """{element id: data}: the run, what each photo has of its own, and the layouts of meshes, which photos share."""
    photos, details, layouts = [], {}, {}
    for number, photo in enumerate(experiment.photos):
        entry = _card(photo, len(photos) < PICTURED_PHOTOS)
        if photo.metrics:
            detail = _texts(photo, experiment)
            if len(details) < embedded:
                try:
                    detail |= _mesh(photo, layouts)
                    detail |= _pictures(photo, PHOTO_BYTES - len(_json(detail)))
                except (PhotoError, MeshError, OSError) as error:
                    warnings.warn(f"report: {photo.name} is shown without pictures: {error}", stacklevel=2)
            details[f"photo-{number}"] = detail
        photos.append(entry)
    manifest = experiment.manifest
    run = {key: manifest.get(key) for key in ("config", "seed", "command", "started", "device", "features", "renderer")}
    run |= {
        "name": experiment.name,
        "settings": experiment.settings_text,
        "software": manifest.get("software"),
        "assets": manifest.get("assets", []),
        "non_commercial": manifest.get("non_commercial_because_of", []),
        "legend": {name: {"colour": list(colour), "text": text} for name, (colour, text) in LEGEND.items()},
        "embedded": embedded,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "photos": photos,
    }
    return {"run": run, **details, **{f"layout-{number}": layout for number, layout in layouts.values()}}


def _card(photo, pictured):
    entry = {
        "name": photo.name,
        "status": photo.status,
        "message": photo.message,
        "seconds": photo.seconds,
        "figures": photo.figures(),
        "has_results": bool(photo.metrics),
    }
    if photo.metrics and pictured:
        try:
            shown = pictures.tiles(photo)
        except PhotoError:
            return entry
        pair = np.concatenate([pictures.shrunk(shown[name], 256) for name in ("photo", "right")], axis=1)
        entry["picture"] = pictures.as_webp(pair, 72)
    return entry


def _texts(photo, experiment):
    """What is known of a photo without its pictures."""
    metrics = photo.metrics
    files = [
        ("Texture (PNG)", photo.exported("_texture.png") or photo.file("texture.png")),
        ("Mesh and texture (GLB)", photo.exported(".glb")),
        ("Mesh (OBJ)", photo.exported(".obj")),
        ("Its material (MTL)", photo.exported(".mtl")),
        ("Provenance (PNG)", photo.file("provenance.png")),
        ("Scores (JSON)", photo.file("metrics.json")),
    ]
    return {
        "losses": metrics.get("loss_curve", []),
        "notes": metrics.get("notes", []),
        "shares": metrics.get("shares", {}),
        "features": metrics.get("features"),
        "command": metrics.get("command") or experiment.manifest.get("command"),
        "settings": metrics.get("settings") or experiment.settings_text,
        "files": [
            {"label": label, "name": path.name, "href": address(photo.name, path.name), "bytes": path.stat().st_size}
            for label, path in files
            if path
        ],
    }


def _pictures(photo, most_bytes):
    """A photo's pictures as data: addresses, reduced until all of them fit. Raises PhotoError."""
    before, after = pictures.photo_and_rendering(photo)
    preview = pictures.tiles(photo)
    turned = np.concatenate([preview["right"], preview["left"]], axis=1)
    images = {"photo": (before, 860, 82), "rendering": (after, 860, 82), "turned": (turned, 800, 75)}
    for name, file, longest, quality in (
        ("sampled", "sampled.png", 640, 75),
        ("visibility", "visibility.png", 400, 70),
        ("initial", "initial.png", 1024, 90),
        ("refined", "texture.png", 1024, 90),
        ("provenance", "provenance.png", 512, 75),
    ):
        if photo.file(file):
            images[name] = (read_photo(photo.folder / file), longest, quality)
    for step in _STEPS:
        shown = {
            name: {"src": pictures.as_webp(small, quality), "width": small.shape[1], "height": small.shape[0]}
            for name, (image, longest, quality) in images.items()
            for small in [pictures.shrunk(image, round(longest * step))]
        }
        if sum(len(image["src"]) for image in shown.values()) < most_bytes:
            break
    return {"images": shown}


def _mesh(photo, layouts):
    """The photo's mesh; its layout goes into `layouts`, {content: (number, layout)}, if it is new. Raises MeshError."""
    path = photo.exported(".obj")
    if path is None:
        return {}
    shape, layout = pictures.packed_mesh(path)
    content = layout["uvs"] + layout["faces"]
    known = content in layouts
    if len(shape["positions"]) + len(shape["normals"]) > PHOTO_BYTES / 2 or (
        not known and sum(map(len, layouts)) + len(content) > LAYOUT_BYTES
    ):
        return {"mesh_left_out": "this page would become too large with its mesh; open the GLB"}
    if not known:
        layouts[content] = (len(layouts), layout)
    return {"mesh": {**shape, "layout": layouts[content][0]}}
