"""preview.png: photo | rendering over the photo | texture | turned views, a head's also in profile.

The turned views of a head are lightly shaded: without it ears of an even colour do not show.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.reconstruction.images import as_bytes, read_photo
from pipeline.runs.files import write_image
from pipeline.settings.command_line import run_main
from pipeline.settings.errors import ConfigError
from renderer.camera import Camera
from renderer.dilate import dilate
from renderer.interpolate import interpolate
from renderer.mesh import Mesh, normalised, vertex_normals
from renderer.rasterize import rasterize_uv
from renderer.render import render

PICTURES = ("photo", "rendering", "texture")  # the first squares
# {square: degrees that the head is turned by}, the other squares. A face mask ends before the ears and has no profile.
FACE_VIEWS = {"right": -45.0, "left": 45.0}
HEAD_VIEWS = {"right_profile": -90.0, **FACE_VIEWS, "left_profile": 90.0}
BACKDROP = 0.18
FOCAL = 3.0  # of the picture's side: a portrait lens
SHADE = 0.35  # share of the brightness that a surface without light lacks
LIGHT = np.array([0.0, 0.6, 0.8])  # direction to the light: from above the camera
NORMALS_SIZE = 512  # texels along a side of the map of normals


def square_names(count: int) -> tuple[str, ...] | None:
    """What the squares of a preview show, from left to right; None for a number of squares that no preview has."""
    return next(
        ((*PICTURES, *views) for views in (FACE_VIEWS, HEAD_VIEWS) if len(PICTURES) + len(views) == count), None
    )


def turned_view(
    texture: np.ndarray, mesh: Mesh, degrees: float, size: int, normals: np.ndarray | None = None
) -> np.ndarray:
    """A rendering [size, size, 3] of a mesh in the head frame, turned about its upright axis; positive: towards its left.

    texture: [h, w, 3], 0..1. normals: of `normal_map`; None: unlit.
    """
    angle = np.deg2rad(degrees)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    if normals is not None:
        lit = np.maximum(normals @ (LIGHT @ turn), 0).astype(np.float32)
        texture = texture * (1 - SHADE + SHADE * cv2.resize(lit, texture.shape[1::-1])[..., None])
    points = (mesh.vertices - centre) @ turn.T * (1, -1, -1)  # to camera axes
    reach = np.linalg.norm(mesh.vertices - centre, axis=1).max()
    points[:, 2] += reach * FOCAL * 1.9
    camera = Camera(size, size, FOCAL * size * 0.9, FOCAL * size * 0.9, size / 2, size / 2)
    image, _ = render(texture, Mesh(points, mesh.faces, mesh.uvs, mesh.uv_faces), camera, BACKDROP)
    return image


def normal_map(mesh: Mesh) -> np.ndarray:
    """Normals [NORMALS_SIZE, NORMALS_SIZE, 3] of a mesh in its layout, continued past the islands."""
    fragments = rasterize_uv(mesh.uvs, mesh.uv_faces, NORMALS_SIZE, NORMALS_SIZE)
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, fragments)
    return normalised(dilate(normals, fragments.face_ids >= 0))


def preview(
    photo: np.ndarray, overlay: np.ndarray, texture: np.ndarray, head: Mesh, size: int, whole: bool = False
) -> np.ndarray:
    """The picture, uint8 [size, N size, 3]: N squares, see `square_names`.

    photo, overlay: [H, W, 3]; texture: [h, w, 3]; all 0..1. head: the mesh in the head frame. whole: it is a whole
    head, not a face mask.
    """
    tiles = [_fit(image, size) for image in (photo, overlay, texture)]
    views, normals = (HEAD_VIEWS, normal_map(head)) if whole else (FACE_VIEWS, None)
    tiles += [turned_view(texture, head, degrees, size, normals) for degrees in views.values()]
    return as_bytes(np.concatenate(tiles, axis=1))


def stacked(previews: list[np.ndarray]) -> np.ndarray:
    """Previews, uint8 [H, W, 3] each, below each other with squares of one size; shorter rows end in the backdrop."""
    size = min(row.shape[0] for row in previews)
    rows = [
        cv2.resize(row, (round(row.shape[1] * size / row.shape[0]), size), interpolation=cv2.INTER_AREA)
        for row in previews
    ]
    picture = np.full((size * len(rows), max(row.shape[1] for row in rows), 3), round(BACKDROP * 255), np.uint8)
    for number, row in enumerate(rows):
        picture[number * size : (number + 1) * size, : row.shape[1]] = row
    return picture


def _fit(image: np.ndarray, size: int) -> np.ndarray:
    """The image [H, W, 3], scaled to fit a square [size, size, 3] of the backdrop's colour."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    tile = np.full((size, size, 3), BACKDROP, np.float32)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    tile[top : top + shape[1], left : left + shape[0]] = small
    return tile


def main(arguments: list[str]) -> int:
    """`python -m pipeline.texture.preview OUT PICTURE`: the previews of a run, one row per photo.

    Raises ConfigError, RunFolderError, PhotoError.
    """
    usage = "usage: python -m pipeline.texture.preview OUT PICTURE"
    if len(arguments) != 2:
        raise ConfigError(f"{usage} (got {len(arguments)} arguments)")
    out, picture = map(Path, arguments)
    if Image.registered_extensions().get(picture.suffix.lower()) not in Image.SAVE:
        example = f"{picture.stem or 'previews'}.png"
        raise ConfigError(f"{picture} does not end like a picture: give a name such as {example}")
    paths = sorted(out.glob("*/preview.png"))
    if not paths:
        raise ConfigError(f"{out} holds no finished photos (no */preview.png)")
    write_image(picture, stacked([read_photo(path) for path in paths]))
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
