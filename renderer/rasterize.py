"""Rasterisation: the face at each pixel and the position on it, in the camera's image or in the texture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from renderer.camera import Camera
from renderer.kernels import rasterize_homogeneous
from renderer.mesh import Mesh, MeshError, checked_indices, checked_positions

MAXIMUM_SIZE = 16384  # px on a side
MAXIMUM_COORDINATE = 1e30
BACKENDS = ("cpu", "nvdiffrast")


class RasterizeError(ValueError):
    """Invalid geometry or image size for a rasterisation."""


@dataclass(frozen=True)
class Fragments:
    """The result of rasterising an H x W image.

    face_ids [H, W] int32: 0-based, -1 = no face. barycentrics [H, W, 3] float32: in the order of the face's vertices,
    perspective-correct, >= 0, sum 1; 0 without a face. depth [H, W] float32: z in camera space, inf without a face.
    """

    face_ids: np.ndarray
    barycentrics: np.ndarray
    depth: np.ndarray


def rasterize(mesh: Mesh | tuple[np.ndarray, np.ndarray], camera: Camera, backend: str = "cpu") -> Fragments:
    """Finds the nearest face at every pixel centre of the camera's image.

    mesh: a Mesh or a pair (vertices [V, 3] in camera space, faces [F, 3] integers). Front and back faces are drawn.
    A centre on a shared edge belongs to exactly one of its faces (exact top-left rule). At equal depth (float32) the
    lowest face id wins. Degenerate faces and parts behind the camera (z <= 0) are not drawn.
    backend: cpu, or nvdiffrast, which differs close to edges (see `renderer.nvdiffrast_backend`). One backend never
    replaces the other. Raises RasterizeError, RendererUnavailable.
    """
    if backend not in BACKENDS:
        raise RasterizeError(f"the backend is {backend!r}; {' or '.join(BACKENDS)} is needed")
    vertices, faces = (mesh.vertices, mesh.faces) if isinstance(mesh, Mesh) else mesh
    vertices, faces = _checked(vertices, faces, 3, "vertices")
    if backend == "nvdiffrast":
        from renderer import nvdiffrast_backend  # imports torch, which the CPU backend does not need

        _check_limits(vertices, camera.height, camera.width)
        return Fragments(*nvdiffrast_backend.draw(vertices, faces, camera))
    return _draw(camera.homogeneous(vertices), faces, camera.height, camera.width)


def rasterize_uv(uvs: np.ndarray, uv_faces: np.ndarray, height: int, width: int) -> Fragments:
    """Finds the face at every texel centre of a height x width texture; where islands overlap, the lowest face id wins.

    uvs [T, 2] (v up), uv_faces [F, 3]. The barycentrics are affine and the depth of covered texels is 0.
    Raises RasterizeError.
    """
    uvs, uv_faces = _checked(uvs, uv_faces, 2, "uvs")
    positions = np.stack([uvs[:, 0] * width, (1 - uvs[:, 1]) * height, np.ones(len(uvs))], axis=1)
    fragments = _draw(positions, uv_faces, height, width)
    fragments.depth[fragments.face_ids >= 0] = 0
    return fragments


def _checked(positions: Any, faces: Any, columns: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions as float64 [N, columns] and faces as int32 [F, 3]. Raises RasterizeError for other content."""
    try:
        positions = checked_positions(positions, name, columns)
        return positions, checked_indices(faces, "faces", name, len(positions))
    except MeshError as error:
        raise RasterizeError(str(error)) from None


def check_size(what: str, height: int, width: int, unit: str) -> None:
    """Raises RasterizeError for a size beyond the limits. what: whose size."""
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, (int, np.integer)) or not 1 <= size <= MAXIMUM_SIZE:
            raise RasterizeError(f"{what}'s {name} is {size!r}; 1 to {MAXIMUM_SIZE} {unit} are needed")


def _check_limits(positions: np.ndarray, height: int, width: int) -> None:
    """Raises RasterizeError for an image size or a coordinate beyond the limits. positions: [N, 3]."""
    check_size("the image", height, width, "pixels")
    largest = np.abs(positions).max(initial=0)
    if largest > MAXIMUM_COORDINATE:
        raise RasterizeError(f"a coordinate reaches {largest:.3g}; below {MAXIMUM_COORDINATE:g} is needed")


def _draw(positions: np.ndarray, faces: np.ndarray, height: int, width: int) -> Fragments:
    """Draws faces [F, 3] of homogeneous image positions [V, 3]."""
    _check_limits(positions, height, width)
    face_ids = np.full((height, width), -1, dtype=np.int32)
    barycentrics = np.zeros((height, width, 3), dtype=np.float32)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    rasterize_homogeneous(np.ascontiguousarray(positions), faces, face_ids, barycentrics, depth)
    return Fragments(face_ids, barycentrics, depth)
