"""Rasterisation on an NVIDIA GPU by nvdiffrast (Laine et al. 2020, "Modular Primitives for High-Performance
Differentiable Rendering"). Used only, and imported only, with `backend="nvdiffrast"`.

nvdiffrast decides which face a pixel shows. This module computes barycentrics and depth from the face, in double
precision. They agree with the CPU backend up to rounding, and only two of nvdiffrast's conventions matter: its first
image row is at y = -1 of clip space, so clip space with y downwards gives our row order without a flip; and its face
ids count from 1, with 0 for no face. Like our rasteriser, it draws front and back faces alike.

nvdiffrast snaps vertices to a sixteenth of a pixel: a pixel whose centre is closer to an edge than that may show the
neighbouring face. At equal depth any of the faces may win, and nothing is drawn outside the planes of `near_and_far`.
"""

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch

from renderer.camera import Camera

INSTALL = (
    "pip install ninja && pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast.git "
    "(this builds it; needs nvcc of the same major version as torch's CUDA; not on PyPI; non-commercial licence)"
)
LARGEST_TILE = 2048  # px, the side of nvdiffrast's viewport
LARGEST_FACE_COUNT = 1 << 24  # face ids come as float32
NEAREST_SHARE = 1e-4  # of the farthest vertex's depth: the near plane where faces reach behind the camera


class RendererUnavailable(RuntimeError):
    """A renderer is not installed on this machine; the message is one line with the command that installs it."""


def load() -> ModuleType:
    """The module nvdiffrast.torch. Raises RendererUnavailable where it or an NVIDIA GPU is missing."""
    if not torch.cuda.is_available():
        raise RendererUnavailable("renderer nvdiffrast needs an NVIDIA GPU, but torch finds none; use renderer=cpu")
    try:
        import nvdiffrast.torch
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise RendererUnavailable(f"renderer nvdiffrast is not installed ({reason}): {INSTALL}") from error
    return nvdiffrast.torch


def is_available() -> bool:
    """Whether `load` would succeed."""
    try:
        load()
    except RendererUnavailable:
        return False
    return True


def draw(vertices: np.ndarray, faces: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rasterises on the current GPU; returns face_ids, barycentrics and depth as in `renderer.rasterize.Fragments`.

    vertices [V, 3] float64 in camera space, faces [F, 3] int32; both checked by `renderer.rasterize`.
    Raises RendererUnavailable, and ValueError for more faces than nvdiffrast can number.
    """
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None
    library = load()
    return draw_with(library, _context(library, device), vertices, faces, camera, device)


def draw_with(
    library: Any, context: Any, vertices: np.ndarray, faces: np.ndarray, camera: Camera, device: torch.device | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`draw` with a given library (a module with nvdiffrast's `rasterize`), its context and its device."""
    if len(faces) >= LARGEST_FACE_COUNT:
        limit = f"fewer than {LARGEST_FACE_COUNT}; use renderer=cpu"
        raise ValueError(f"there are {len(faces)} faces; nvdiffrast can number {limit}")
    face_ids = np.full((camera.height, camera.width), -1, dtype=np.int32)
    barycentrics = np.zeros((camera.height, camera.width, 3), dtype=np.float32)
    depth = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
    depths = vertices[faces][:, :, 2]
    if not (depths > 0).any():
        return face_ids, barycentrics, depth
    planes = near_and_far(depths)
    triangles = torch.from_numpy(faces).to(device)
    corners = torch.from_numpy(np.ascontiguousarray(vertices)).to(device)
    for top in range(0, camera.height, LARGEST_TILE):
        for left in range(0, camera.width, LARGEST_TILE):
            height, width = min(LARGEST_TILE, camera.height - top), min(LARGEST_TILE, camera.width - left)
            tile = camera.cropped(left, top, width, height)
            positions = torch.from_numpy(clip_positions(vertices, tile, *planes)).to(device)
            drawn, _ = library.rasterize(context, positions[None], triangles, (height, width), grad_db=False)
            ids = drawn[0, :, :, 3].round().int() - 1
            found = ids, *fragments_of(ids, corners, triangles, tile)
            for whole, part in zip((face_ids, barycentrics, depth), found, strict=True):
                whole[top : top + height, left : left + width] = part.cpu().numpy()
    return face_ids, barycentrics, depth


def near_and_far(depths: np.ndarray) -> tuple[float, float]:
    """Depths of the near and far planes, which enclose everything in front of the camera. depths: of all vertices."""
    nearest, farthest = float(depths.min()), float(depths.max())
    return (nearest / 2 if nearest > 0 else NEAREST_SHARE * farthest), 2 * farthest


def clip_positions(vertices: np.ndarray, camera: Camera, near: float, far: float) -> np.ndarray:
    """Clip space [V, 4] (x, y, z, w; float32) of vertices [V, 3] in camera space.

    y points down, w is the depth, visible points have |z| <= w. x / w = -1 and 1 are the left and right borders of the
    image, y / w = -1 and 1 the upper and lower ones, z / w = -1 and 1 the depths near and far.
    """
    x, y, depth = camera.homogeneous(vertices).T
    z = ((far + near) * depth - 2 * far * near) / (far - near)
    return np.stack([2 * x / camera.width - depth, 2 * y / camera.height - depth, z, depth], axis=1).astype(np.float32)


def fragments_of(
    face_ids: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor, camera: Camera
) -> tuple[torch.Tensor, torch.Tensor]:
    """Barycentrics [H, W, 3] and depth [H, W], float32, of the faces that the pixels show.

    face_ids [H, W] int32, -1 = no face. vertices [V, 3] float64, camera space. faces [F, 3] int32.
    Evaluates the homogeneous edge functions of the CPU backend at the pixel centres in double precision.
    """
    height, width = face_ids.shape
    barycentrics = torch.zeros(height, width, 3, device=face_ids.device)
    depth = torch.full((height, width), torch.inf, device=face_ids.device)
    rows, columns = torch.nonzero(face_ids >= 0, as_tuple=True)
    points = vertices[faces[face_ids[rows, columns].long()].long()]
    x = camera.fx * points[..., 0] + camera.cx * points[..., 2]
    y = camera.fy * points[..., 1] + camera.cy * points[..., 2]
    # Relative to the pixel centre, so that small results are not differences of large numbers.
    x = x - (columns + 0.5)[:, None] * points[..., 2]
    y = y - (rows + 0.5)[:, None] * points[..., 2]
    after, before = [1, 2, 0], [2, 0, 1]
    areas = x[:, after] * y[:, before] - y[:, after] * x[:, before]
    # Vertex snapping may put a centre slightly outside its face; it counts as on the edge.
    areas = (areas * areas.sum(dim=1, keepdim=True).sign()).clamp_min(0)
    total = areas.sum(dim=1, keepdim=True)
    weights = torch.where(total > 0, areas / total, 1 / 3)
    barycentrics[rows, columns] = weights.float()
    depth[rows, columns] = (weights * points[..., 2]).sum(dim=1).float()
    return barycentrics, depth


@lru_cache(maxsize=4)
def _context(library: Any, device: torch.device | None) -> Any:
    return library.RasterizeCudaContext(device=device)
