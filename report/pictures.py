"""Pictures and meshes of a run, reduced for a page."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.texture.preview import FACE_VIEWS, PICTURES, square_names
from renderer.mesh import Mesh, joined_corners, vertex_normals
from report.collect import PhotoResults

TILES = (*PICTURES, *FACE_VIEWS)  # squares that every preview.png has


def tiles(photo: PhotoResults) -> dict[str, np.ndarray]:
    """{name: uint8 [S, S, 3]}: the squares of a photo's preview.png, at least those of TILES. Raises PhotoError."""
    picture = read_photo(photo.folder / "preview.png")
    size = picture.shape[0]
    names = square_names(picture.shape[1] // size) if picture.shape[1] % size == 0 else None
    if names is None:
        raise PhotoError(f"{photo.folder / 'preview.png'} is not a row of squares as the refinement writes it")
    return {name: picture[:, number * size : (number + 1) * size] for number, name in enumerate(names)}


def photo_and_rendering(photo: PhotoResults) -> list[np.ndarray]:
    """The photo and the rendering over it, uint8 [H, W, 3] each, in full size. Raises PhotoError.

    Where the reconstruction is not in OUT, the small ones of the preview.
    """
    native = photo.file("reconstruction/photo.png"), photo.file("rendering.png")
    if all(native):
        pair = [read_photo(path) for path in native]
        if pair[0].shape == pair[1].shape:
            return pair
    small = tiles(photo)
    return [small["photo"], small["rendering"]]


def shrunk(image: np.ndarray, longest: int) -> np.ndarray:  # uint8 [H, W, 3] -> uint8 [h, w, 3]
    """The image, reduced so that its longer side is at most `longest` px."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def as_webp(image: np.ndarray, quality: int) -> str:
    """An image, uint8 [H, W, 3], as WebP in a data URL. quality: 0..100."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def packed_mesh(mesh: Mesh) -> tuple[dict, dict]:
    """A mesh in the head frame as viewer.js reads it: (shape, layout), both for JSON; photos can share the layout.

    Positions and UVs are quantised to 16 bits over their range; for a head, a step is a few micrometres.
    """
    vertex_ids, uv_ids, faces = joined_corners(mesh)
    small = len(vertex_ids) <= 65536
    places = quantised(mesh.vertices[vertex_ids])
    normals = np.round(vertex_normals(mesh.vertices, mesh.faces)[vertex_ids] * 127).astype("i1")
    shape = {"positions": places.pop("positions"), "normals": as_base64(normals), **places}
    layout = {
        "uvs": as_base64(np.round(mesh.uvs[uv_ids].clip(0, 1) * 65535).astype("<u2")),
        "faces": as_base64(faces.astype("<u2" if small else "<u4")),
        "bytes_per_index": 2 if small else 4,
    }
    return shape, layout


def quantised(positions: np.ndarray) -> dict:  # [N, 3]
    """Positions in 16 bits over their range, for JSON."""
    low, high = positions.min(0), positions.max(0)
    steps = np.round((positions - low) / np.maximum(high - low, 1e-12) * 65535).astype("<u2")
    return {"positions": as_base64(steps), "low": low.tolist(), "high": high.tolist()}


def as_base64(array: np.ndarray) -> str:
    """An array's bytes as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
