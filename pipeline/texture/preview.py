"""preview.png: photo | rendering over the photo | texture | turned 45 degrees to either side."""

import sys
from pathlib import Path

import cv2
import numpy as np

from pipeline.reconstruction.images import as_bytes, read_photo
from pipeline.runs.files import write_image
from renderer.camera import Camera
from renderer.mesh import Mesh
from renderer.render import render

TURN = 45.0  # degrees
BACKDROP = 0.18
FOCAL = 3.0  # of the picture's side: a portrait lens


def turned_view(texture: np.ndarray, mesh: Mesh, degrees: float, size: int) -> np.ndarray:
    """A rendering [size, size, 3] of a mesh in the head frame, turned about its upright axis; positive: towards its left.

    texture: [h, w, 3], 0..1.
    """
    angle = np.deg2rad(degrees)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = (mesh.vertices - centre) @ turn.T * (1, -1, -1)  # to camera axes
    reach = np.linalg.norm(mesh.vertices - centre, axis=1).max()
    points[:, 2] += reach * FOCAL * 1.9
    camera = Camera(size, size, FOCAL * size * 0.9, FOCAL * size * 0.9, size / 2, size / 2)
    image, _ = render(texture, Mesh(points, mesh.faces, mesh.uvs, mesh.uv_faces), camera, BACKDROP)
    return image


def preview(photo: np.ndarray, overlay: np.ndarray, texture: np.ndarray, head: Mesh, size: int) -> np.ndarray:
    """The picture, uint8 [size, 5 size, 3].

    photo, overlay: [H, W, 3]; texture: [h, w, 3]; all 0..1. head: the mesh in the head frame.
    """
    tiles = [_fit(image, size) for image in (photo, overlay, texture)]
    tiles += [turned_view(texture, head, degrees, size) for degrees in (-TURN, TURN)]
    return as_bytes(np.concatenate(tiles, axis=1))


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


def main() -> None:
    """`python -m pipeline.texture.preview OUT PICTURE`: the previews of a run, one row per photo."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python -m pipeline.texture.preview OUT PICTURE (got {len(sys.argv) - 1} arguments)")
    out, picture = map(Path, sys.argv[1:])
    paths = sorted(out.glob("*/preview.png"))
    if not paths:
        raise SystemExit(f"{out} holds no finished photos (no */preview.png)")
    rows = [read_photo(path) for path in paths]
    width = min(row.shape[1] for row in rows)
    rows = [cv2.resize(row, (width, round(row.shape[0] * width / row.shape[1])), interpolation=cv2.INTER_AREA) for row in rows]
    write_image(picture, np.concatenate(rows))


if __name__ == "__main__":
    main()
