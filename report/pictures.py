"""Pictures and meshes of a run, small enough to be part of a page."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from pipeline.reconstruction.images import PhotoError, read_photo
from renderer.mesh import joined_corners, load_mesh, vertex_normals

TILES = ("photo", "rendering", "texture", "right", "left")  # of preview.png, from left to right


def tiles(photo):
    """{name: uint8 [S, S, 3]}: the squares of a photo's preview.png. Raises PhotoError."""
    picture = read_photo(photo.folder / "preview.png")
    size = picture.shape[0]
    if picture.shape[1] != len(TILES) * size:
        raise PhotoError(f"{photo.folder / 'preview.png'} does not show {len(TILES)} squares")
    return {name: picture[:, number * size : (number + 1) * size] for number, name in enumerate(TILES)}


def photo_and_rendering(photo):
    """The photo and the rendering over it, uint8 [H, W, 3] each, as large as there are. Raises PhotoError.

    Where the reconstruction is not part of OUT, those of the preview.
    """
    native = photo.file("reconstruction/photo.png"), photo.file("rendering.png")
    if all(native):
        pair = [read_photo(path) for path in native]
        if pair[0].shape == pair[1].shape:
            return pair
    small = tiles(photo)
    return [small["photo"], small["rendering"]]


def shrunk(image, longest):
    """The image, reduced so that its longer side is at most `longest`."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    return cv2.resize(image, (max(round(width * scale), 1), max(round(height * scale), 1)), interpolation=cv2.INTER_AREA)


def as_webp(image, quality):
    """uint8 [H, W, 3] as WebP in a data: address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def packed_mesh(path):
    """A mesh in the head frame as viewer.js takes it: (shape, layout), both for JSON; the layout is what photos share.

    Positions and UVs are whole numbers of 16 bits over their range: of a head, steps of a few micrometres.
    Raises MeshError.
    """
    mesh = load_mesh(path)
    vertex_ids, uv_ids, faces = joined_corners(mesh)
    vertices = mesh.vertices[vertex_ids]
    low, high = vertices.min(0), vertices.max(0)
    steps = np.round((vertices - low) / np.maximum(high - low, 1e-12) * 65535).astype("<u2")
    normals = np.round(vertex_normals(mesh.vertices, mesh.faces)[vertex_ids] * 127).astype("i1")
    small = len(vertices) <= 65536
    shape = {"positions": _base64(steps), "normals": _base64(normals), "low": low.tolist(), "high": high.tolist()}
    layout = {
        "uvs": _base64(np.round(mesh.uvs[uv_ids].clip(0, 1) * 65535).astype("<u2")),
        "faces": _base64(faces.astype("<u2" if small else "<u4")),
        "bytes_per_index": 2 if small else 4,
    }
    return shape, layout


def _base64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
