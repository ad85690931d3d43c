"""The surface point of each texel, and per-texel confidence that the photo shows it."""

from dataclasses import dataclass

import cv2
import numpy as np

from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.mesh import Mesh, normalised, vertex_normals
from renderer.rasterize import rasterize, rasterize_uv

REFERENCE_TEXTURE = 1024  # texels on the longer side; `erosion` and `ramp` are measured at this size
DEPTH_BUFFER = (1024, 2048)  # px, least and largest longer side of the z-buffer
STEEPEST = 8.0  # largest slope (depth change per step on the surface) that the occlusion test follows


@dataclass(frozen=True)
class TexelGeometry:
    """The surface under each texel of an H x W texture.

    positions [H, W, 3] float32: camera space. normals [H, W, 3] float32: unit, smooth, oriented by the winding (see
    outward_sign). mask [H, W] bool: texels whose centre lies in a UV island; the other arrays are 0 elsewhere.
    """

    positions: np.ndarray
    normals: np.ndarray
    mask: np.ndarray


def texel_geometry(mesh: Mesh, height: int, width: int) -> TexelGeometry:
    """The surface under the texel centres of a height x width texture. Raises RasterizeError for invalid sizes."""
    fragments = rasterize_uv(mesh.uvs, mesh.uv_faces, height, width)
    positions = interpolate(mesh.vertices, mesh.faces, fragments)
    normals = normalised(interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, fragments))
    return TexelGeometry(positions.astype(np.float32), normals.astype(np.float32), fragments.face_ids >= 0)


def visibility(
    geometry: TexelGeometry, mesh: Mesh, camera: Camera,
    full_cosine: float = 0.35, zero_cosine: float = 0.15, erosion: float = 2.0, ramp: float = 3.0,
) -> np.ndarray:  # fmt: skip
    """Confidence [H, W] float32, 0..1, that the photo shows a texel: viewing angle factor times occlusion factor.

    The angle factor is a smooth step of the cosine between the outward normal and the direction to the camera: 0 at
    zero_cosine, 1 at full_cosine. The occlusion factor is 0 for texels that the mesh hides or that project outside the
    photo, and within `erosion` texels of them; it rises to 1 over `ramp` more texels (both in texels of a 1024 texture;
    other sizes in proportion). A caller that knows the size of the surface gives both as lengths on it, times the
    texels along a length. Outside the islands the confidence is 0. Raises ValueError for values out of order.
    """
    if not -1 <= zero_cosine < full_cosine <= 1 or erosion < 0 or ramp <= 0:
        given = f"zero_cosine {zero_cosine}, full_cosine {full_cosine}, erosion {erosion}, ramp {ramp}"
        raise ValueError(f"{given}: -1 <= zero_cosine < full_cosine <= 1, erosion >= 0 and ramp > 0 are needed")
    seen = unoccluded(geometry, mesh, camera)
    cosines = _view_cosines(geometry)
    cosines *= _sign(cosines, seen, geometry.mask)
    step = np.clip((cosines - zero_cosine) / (full_cosine - zero_cosine), 0, 1)
    angle = step * step * (3 - 2 * step)

    hidden = geometry.mask & ~seen
    if hidden.any():
        scale = max(geometry.mask.shape) / REFERENCE_TEXTURE
        distance = cv2.distanceTransform((~hidden).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Distances are between texel centres; the border of the hidden area is half a texel nearer.
        angle = angle * np.clip((distance - 0.5 - erosion * scale) / (ramp * scale), 0, 1)
    return np.where(seen, angle, 0).astype(np.float32)


def outward_sign(geometry: TexelGeometry, seen: np.ndarray) -> float:
    """1 when the winding's normals point out of the surface, -1 when they point in.

    The outward side is the one that most texels which the photo shows, weighted by their cosines, turn to the camera.
    seen: [H, W] bool, such as `unoccluded` or a visibility above 0.
    """
    return _sign(_view_cosines(geometry), seen, geometry.mask)


def unoccluded(geometry: TexelGeometry, mesh: Mesh, camera: Camera) -> np.ndarray:
    """Texels [H, W] bool in front of the camera, inside the photo and not hidden by another part of the mesh.

    Uses a z-buffer of 1024 to 2048 pixels on the longer side. A texel is compared with the faces at the four pixels
    around its projection, each extended as a plane to the texel's exact position. A surface then does not hide itself,
    whatever its slope; the tolerance is about a pixel's size on the surface. The four votes are weighted bilinearly, so
    that occlusion borders have sub-pixel accuracy.
    """
    longest = max(camera.width, camera.height)
    buffer = camera.scaled(np.clip(longest, *DEPTH_BUFFER) / longest)
    face_ids = rasterize(mesh, buffer).face_ids
    planes = _inverse_depth_planes(mesh, buffer)

    positions = geometry.positions[geometry.mask].astype(np.float64)
    depth = positions[:, 2]
    image = buffer.project(positions)
    inside = ((image >= 0) & (image <= [buffer.width, buffer.height])).all(axis=1)
    positions, depth, image = positions[inside], depth[inside], image[inside]

    cosines = np.abs(_view_cosines(geometry)[geometry.mask][inside])
    slopes = np.minimum(np.sqrt(1 - np.minimum(cosines, 1) ** 2) / np.maximum(cosines, 1e-6), STEEPEST)
    pixel = depth / min(buffer.fx, buffer.fy)
    tolerance = pixel * (0.5 + 0.5 * slopes)

    corner = np.floor(image - 0.5).astype(np.int64)
    fraction = image - 0.5 - corner
    votes = np.zeros(len(depth))
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        columns = np.clip(corner[:, 0] + right, 0, buffer.width - 1)
        rows = np.clip(corner[:, 1] + below, 0, buffer.height - 1)
        faces = face_ids[rows, columns]
        plane = planes[faces]
        at_pixel = plane[:, 0] * (columns + 0.5) + plane[:, 1] * (rows + 0.5) + plane[:, 2]
        at_texel = plane[:, 0] * image[:, 0] + plane[:, 1] * image[:, 1] + plane[:, 2]
        # The plane of a face seen edge-on is followed no further than a slope of STEEPEST over one pixel.
        reach = STEEPEST * pixel / depth**2
        nearest = np.clip(at_texel, at_pixel - reach, at_pixel + reach)
        free = (faces < 0) | (nearest * (depth - tolerance) <= 1)
        across = np.where(right, fraction[:, 0], 1 - fraction[:, 0])
        down = np.where(below, fraction[:, 1], 1 - fraction[:, 1])
        votes += across * down * free
    inside[inside] = votes > 0.5
    result = np.zeros(geometry.mask.shape, dtype=bool)
    result[geometry.mask] = inside
    return result


def _view_cosines(geometry: TexelGeometry) -> np.ndarray:  # [H, W]
    """Cosines between the winding's normals and the directions to the camera, which is at the origin."""
    return -np.einsum("hwc,hwc->hw", geometry.normals, normalised(geometry.positions))


def _sign(cosines: np.ndarray, seen: np.ndarray, mask: np.ndarray) -> float:  # [H, W] float, bool, bool
    chosen = seen if seen.any() else mask
    return 1.0 if cosines[chosen].sum(dtype=np.float64) >= 0 else -1.0


def _inverse_depth_planes(mesh: Mesh, camera: Camera) -> np.ndarray:
    """Coefficients (a, b, c) [F, 3] of each face's plane as 1/z = a x + b y + c in the image."""
    first, second, third = (camera.homogeneous(mesh.vertices)[mesh.faces[:, corner]] for corner in range(3))
    normals = np.cross(first, second) + np.cross(second, third) + np.cross(third, first)
    volumes = np.einsum("fc,fc->f", first, np.cross(second, third))[:, None]
    return np.divide(normals, volumes, out=np.zeros_like(normals), where=volumes != 0)
