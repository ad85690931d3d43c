"""report.html: a self-contained page of a run; it needs no network and no other file.

Everything read from files (names, messages, settings) is data: JSON in the page, which the scripts show as text. The
page's content security policy allows only its own scripts, by hash, and pictures inside the page.
"""

import base64
import hashlib
import html
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.reconstruction.rig import RigError, load_rig
from pipeline.runs.files import write_text
from pipeline.texture.provenance import LEGEND
from renderer.mesh import Mesh, MeshError, load_mesh
from report import pictures
from report.collect import Experiment, PhotoResults, collect
from report.face import packed_face

EMBEDDED_PHOTOS = 24  # photos with all pictures and the mesh in the page
PICTURED_PHOTOS = 300  # photos with a thumbnail
PHOTO_BYTES = 900_000  # limit for one photo's data without its face
FACE_BYTES = 200_000  # limit for a face that moves, without what photos share
LAYOUT_BYTES = 1_200_000  # limit for all UV layouts, triangles and morph targets, which photos share

# Plain scripts in this order: browsers do not load modules in pages opened from disk.
SCRIPTS = ("viewer.js", "face.js", "elements.js", "overview.js", "charts.js", "photo.js", "page.js")

_ROOM = Path(__file__).parent
_STEPS = (1.0, 0.75, 0.5, 0.35, 0.25)  # scales tried for the pictures until a photo's data is small enough


def write_report(out: str | Path, embedded: int = EMBEDDED_PHOTOS) -> Path:
    """Writes OUT/report.html from the files in OUT; returns its path. embedded: photos with all pictures and the mesh.

    Raises RunFolderError. Parts of a photo that cannot be read are omitted with a warning.
    """
    experiment = collect(out)
    path = experiment.path / "report.html"
    write_text(path, document(f"{experiment.name} - FaceRefiner", _data_blocks(experiment, embedded), SCRIPTS))
    return path


def report_or_reason(out: str | Path) -> str:
    """Writes the report; returns one line: its path, or why it could not be made. A report never fails a run."""
    try:
        return f"report: {write_report(out)}"
    except Exception as error:  # noqa: BLE001  the results are complete; the user reads the reason
        return f"no report was made ({type(error).__name__}: {error}); to try again: python -m report {out}"


def document(title: str, data: Mapping[str, Any], scripts: Sequence[str], body: str = '<div id="app"></div>') -> str:
    """A complete HTML page. data: {element id: value for JSON}. scripts: file names in this folder. body: HTML."""
    style = (_ROOM / "page.css").read_text(encoding="utf-8")
    code = [(_ROOM / name).read_text(encoding="utf-8") for name in scripts]
    allowed = " ".join(map(_hash, code)) or "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    blocks = [f'<script type="application/json" id="{name}">{_json(value)}</script>' for name, value in data.items()]
    needs_script = (
        '<noscript><p class="notice">Please enable JavaScript to see this report. '
        "All scripts are part of this file; it loads nothing.</p></noscript>"
    )
    scripts = [f"<script>{text}</script>" for text in code]
    content = "\n".join([body, needs_script if code else "", *blocks, *scripts])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
{content}
</body>
</html>
"""


def address(*parts: str) -> str:
    """A relative URL of a file, from the names of its folders and of the file."""
    return "/".join(quote(os.fsencode(part), safe="") for part in parts)


def _hash(text: str) -> str:
    """The hash of a script or style for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON without "<", so that it cannot close its <script> element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# ---- the run's data --------------------------------------------------------------------------------------------------


def _data_blocks(experiment: Experiment, embedded: int) -> dict[str, Any]:
    """{element id: data}: the run, the data of each photo, and what photos share: mesh layouts and morph targets."""
    details, layouts, targets = {}, {}, {}
    for number, photo in enumerate(experiment.photos):
        if photo.metrics:
            detail = _texts(photo, experiment)
            if len(details) < embedded:
                try:
                    path = photo.exported(".obj")
                    mesh = load_mesh(path) if path else None
                    detail |= _mesh(mesh, layouts, targets) if mesh else {}
                    detail |= _pictures(photo, PHOTO_BYTES - len(_json(detail)))
                    detail |= _face(photo, mesh, layouts, targets) if "mesh" in detail else {}
                except (PhotoError, MeshError, OSError) as error:
                    warnings.warn(f"report: {photo.name} is shown without pictures: {error}", stacklevel=2)
            details[f"photo-{number}"] = detail
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
        "photos": [_card(photo, number < PICTURED_PHOTOS) for number, photo in enumerate(experiment.photos)],
    }
    return {"run": run, **details, **{f"layout-{number}": layout for number, layout in layouts.values()}, **targets}


def _card(photo: PhotoResults, pictured: bool) -> dict:
    """A photo's entry in the overview. pictured: with a thumbnail."""
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


def _texts(photo: PhotoResults, experiment: Experiment) -> dict:
    """A photo's data without its pictures."""
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


def _pictures(photo: PhotoResults, most_bytes: int) -> dict:
    """A photo's pictures as data URLs, reduced until they fit into `most_bytes`. Raises PhotoError."""
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


def _mesh(mesh: Mesh, layouts: dict[str, tuple[int, dict]], targets: Mapping[str, dict]) -> dict:
    """A photo's mesh; adds its layout to `layouts`, {content: (number, layout)}, if it is new.

    targets: what the faces added to the page, see _face.
    """
    shape, layout = pictures.packed_mesh(mesh)
    content = layout["uvs"] + layout["faces"]
    known = content in layouts
    if len(shape["positions"]) + len(shape["normals"]) > PHOTO_BYTES / 2 or (
        not known and _size(layouts, targets) + len(content) > LAYOUT_BYTES
    ):
        return {"mesh_left_out": "the mesh is too large for this page; open the GLB file instead"}
    if not known:
        layouts[content] = (len(layouts), layout)
    return {"mesh": {**shape, "layout": layouts[content][0]}}


def _face(photo: PhotoResults, mesh: Mesh, layouts: Mapping[str, Any], targets: dict[str, dict]) -> dict:
    """What moves a photo's face, if it has a rig; adds what photos share of it to `targets`, {element id: data}.

    mesh: in the head frame. A face that cannot be moved is omitted with a warning.
    """
    path = photo.file("reconstruction/rig.npz")
    if path is None:
        return {}
    try:
        face, shared = packed_face(mesh, load_rig(path, mesh=mesh, head_to_camera=np.eye(4)))
    except RigError as error:
        warnings.warn(f"report: {photo.name} is shown without expressions: {error}", stacklevel=3)
        return {}
    if len(_json(face)) > FACE_BYTES or _size(layouts, {**targets, **shared}) > LAYOUT_BYTES:
        what = "its expressions are too large for the page"
        warnings.warn(f"report: {photo.name} is shown without expressions: {what}", stacklevel=3)
        return {}
    targets.update(shared)
    return {"face": face}


def _size(layouts: Mapping[str, Any], targets: Mapping[str, dict]) -> int:
    """Bytes of what photos share."""
    return sum(map(len, layouts)) + sum(len(_json(target)) for target in targets.values())
