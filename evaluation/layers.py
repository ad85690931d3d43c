"""Layers that are put over a photo: surfaces and strands drawn in the fine image, and their composition with the photo.

A layer's shadow falls on the face; its colours get the photo's sharpness and noise.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from evaluation.face_frame import FINE, FaceFrame
from renderer.mesh import normalised, vertex_normals
from renderer.rasterize import rasterize

SHADOW_TINT = np.array([0.85, 1.0, 1.06], np.float32)  # light that passes through skin is red
NEAR = 6.0  # mm behind the face's surface where a layer still counts as before it: the mesh is not exact
STEEPEST, EDGE_RANGE = 98.0, 0.22  # percentile of edges, and their least height, that tell the photo's sharpness


@dataclass(frozen=True)
class Layer:
    """Something before the face, in the fine image h x w."""

    colour: np.ndarray  # [h, w, 3] float32, 0..1, times alpha
    alpha: np.ndarray  # [h, w] float32, 0..1
    gap: float  # mm between it and the skin
    shadow: float  # 0..1, the darkest of its shadow
    coverage: np.ndarray | None = None  # [h, w], 0..1: what it hides; None: its alpha

    @property
    def covered(self) -> np.ndarray:
        return self.alpha if self.coverage is None else self.coverage


@dataclass(frozen=True)
class Surface:
    """The visible part of drawn surfaces; N pixels of the fine image."""

    where: np.ndarray  # [h, w] bool
    window: tuple[slice, slice]  # that holds them
    uv: np.ndarray  # [N, 2], places on the grid, 0..1 along its rows and columns
    normals: np.ndarray  # [N, 3], towards the viewer, in the face's frame
    points: np.ndarray  # [N, 3], mm

    def noise(self, cell: float, generator: np.random.Generator, octaves: int = 3) -> np.ndarray:
        """Smooth noise [N] of the image (`texture_noise`)."""
        within = self.where[self.window]
        return texture_noise(within.shape, cell, generator, octaves)[within]


def draw_surface(frame: FaceFrame, *grids: np.ndarray, near: float = NEAR) -> Surface:
    """The visible part of surfaces given by grids of points [m, n, 3] mm, before the face or `near` mm behind it."""
    points, faces, normals, uvs, count = [], [], [], [], 0
    for grid in grids:
        rows, columns = grid.shape[:2]
        ids = np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
        triangles = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
        u, v = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
        flat = grid.reshape(-1, 3).astype(np.float64)
        points.append(flat)
        normals.append(_grid_normals(flat, triangles, grid))
        uvs.append(np.stack([u.ravel(), v.ravel()], 1))
        faces.append(triangles + count)
        count += len(flat)
    points, faces, normals, uvs = (np.concatenate(parts) for parts in (points, faces, normals, uvs))
    camera, where = frame.fine_camera, np.zeros((frame.fine_camera.height, frame.fine_camera.width), bool)
    places = np.nan_to_num(frame.project(points)[:, :2])
    first = np.clip(np.floor(places.min(0)).astype(int) - 1, 0, (camera.width - 1, camera.height - 1))
    last = np.clip(np.ceil(places.max(0)).astype(int) + 1, first + 1, (camera.width, camera.height))
    window = np.s_[first[1] : last[1], first[0] : last[0]]
    fragments = rasterize(
        (frame.to_camera(points), faces.astype(np.int32)), camera.cropped(*first.tolist(), *(last - first).tolist())
    )
    within = (fragments.face_ids >= 0) & (fragments.depth * frame.scale < frame.fine_depth[window] + near)
    where[window] = within
    corners, weights = faces[fragments.face_ids[within]], fragments.barycentrics[within][..., None]
    blend = lambda values: (values[corners] * weights).sum(1)
    normals = normalised(blend(normals))
    normals = normals * np.where((normals @ frame.viewer)[:, None] < 0, -1, 1)
    return Surface(where, window, blend(uvs), normals, blend(points))


def _grid_normals(points: np.ndarray, faces: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Normals [m n, 3], the same on both sides of a column where the grid closes."""
    normals = vertex_normals(points, faces).reshape(grid.shape)
    if np.allclose(grid[:, 0], grid[:, -1]):
        normals[:, 0] = normals[:, -1] = normalised(normals[:, 0] + normals[:, -1])
    if np.allclose(grid[0], grid[-1]):
        normals[0] = normals[-1] = normalised(normals[0] + normals[-1])
    return normals.reshape(-1, 3)


def layer_of(
    surface: Surface, colours: np.ndarray, gap: float, shadow: float, alpha: np.ndarray | None = None
) -> Layer:
    """The layer of a drawn surface with colours [N, 3], 0..1, and alpha [N], 0..1; opaque without."""
    opacity = np.zeros(surface.where.shape, np.float32)
    opacity[surface.where] = 1 if alpha is None else alpha
    image = np.zeros((*surface.where.shape, 3), np.float32)
    image[surface.where] = np.clip(colours, 0, 1)
    return Layer(image * opacity[..., None], opacity, gap, shadow)


def shade(
    frame: FaceFrame, albedo: np.ndarray, normals: np.ndarray, gloss: float = 0.0, power: float = 40.0
) -> np.ndarray:
    """Colours [N, 3] of a surface of albedo [N, 3] or [3] under the photo's light. gloss: brightness of highlights, of
    the sharpness `power`."""
    colours = np.asarray(albedo) * frame.exposure * frame.shading(normals)
    if gloss:
        half = normalised(frame.light_direction + frame.viewer)
        colours = colours + gloss * frame.exposure * np.clip(normals @ half, 0, 1)[..., None] ** power
    return colours


def draw_strands(
    frame: FaceFrame,
    strands: np.ndarray,
    colours: np.ndarray,
    generator: np.random.Generator,
    gap: float,
    shadow: float,
) -> Layer:
    """Strands [S, n, 3] mm with colours [S, n, 3], 0..1, drawn in their order."""
    camera = frame.fine_camera
    places = frame.project(strands)
    hidden = _sampled(frame.fine_depth, places[..., :2]) + NEAR < places[..., 2]
    canvas = np.zeros((camera.height, camera.width, 4), np.uint8)
    shift = 4
    pixels = np.round((places[..., :2] - 0.5) * (1 << shift)).astype(np.int64)
    pixels = np.clip(pixels, -(1 << 20), 1 << 20).astype(int).tolist()
    values = np.clip(np.round(colours * 255), 0, 255).astype(int).tolist()
    width = max(1, round(0.09 * frame.pixels_per_mm))
    hidden = hidden.tolist()
    for line, tones, behind in zip(pixels, values, hidden, strict=True):
        for k in range(len(line) - 1):
            if not behind[k]:
                cv2.line(canvas, line[k], line[k + 1], (*tones[k], 255), width, cv2.LINE_AA, shift)
    image = canvas.astype(np.float32) / 255
    return Layer(image[..., :3], image[..., 3], gap, shadow)


def _sampled(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values of an image [h, w] at the nearest pixels of places [..., 2]; inf outside."""
    columns, rows = np.floor(np.nan_to_num(places, nan=-1)).astype(int).transpose(-1, *range(places.ndim - 1))
    within = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    return np.where(within, image[np.where(within, rows, 0), np.where(within, columns, 0)], np.inf)


def texture_noise(shape: tuple[int, int], cell: float, generator: np.random.Generator, octaves: int = 3) -> np.ndarray:
    """Smooth noise [h, w] of about unit deviation; cell: px of its largest features."""
    total, weight = np.zeros(shape, np.float32), 1.0
    for octave in range(octaves):
        size = [max(int(np.ceil(side * 2**octave / cell)), 2) for side in shape]
        grain = generator.normal(size=size).astype(np.float32)
        total += weight * cv2.resize(grain, shape[::-1], interpolation=cv2.INTER_CUBIC)
        weight *= 0.5
    return total


def shadowed(frame: FaceFrame, layers: list[Layer]) -> np.ndarray:
    """The photo [H, W, 3] with the shadows that layers cast on the face."""
    light, photo = frame.light_direction, frame.photo.copy()
    towards = frame.project(np.stack([np.zeros(3), light * 10]))[:, :2]
    step = (towards[1] - towards[0]) / FINE / 10 / max(float(light @ frame.viewer), 0.5)  # px for a gap of 1 mm
    inside = cv2.GaussianBlur(frame.inside.astype(np.float32), (0, 0), 2.0)
    unit = frame.pixels_per_mm / FINE
    for layer in layers:
        covered = cv2.resize(layer.covered, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
        for share, gap, spread in (
            (0.6, layer.gap, 0.3 * layer.gap + 0.5),
            (0.5, 0.35 * layer.gap, 0.12 * layer.gap + 0.7),
        ):
            move = np.float32([[1, 0, -step[0] * gap], [0, 1, -step[1] * gap]])
            cast = cv2.warpAffine(covered, move, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            cast = cv2.GaussianBlur(cast, (0, 0), max(spread * unit, 0.5)) * inside * layer.shadow * share
            photo *= np.exp(-1.1 * cast[..., None] * SHADOW_TINT)
    return photo


def sharpness(photo: np.ndarray) -> float:
    """Sigma, px, of the blur of the photo's sharpest edges; 0.4 to 2.5.

    The slope of an edge blurred by a Gaussian is its height over sigma sqrt(2 pi).
    """
    grey = photo.mean(-1)
    slopes = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8))
    window = np.ones((9, 9))
    height = cv2.dilate(grey, window) - cv2.erode(grey, window)
    edges = height > EDGE_RANGE
    if np.count_nonzero(edges) < 100:
        return 1.0
    steepest = np.percentile(slopes[edges] / height[edges], STEEPEST)
    sigma = 1 / (max(steepest, 1e-3) * np.sqrt(2 * np.pi))
    return float(np.clip(np.sqrt(max(sigma**2 - 0.5, 0.16)), 0.4, 2.5))  # Sobel's own blur off


def noise_of(photo: np.ndarray) -> float:
    """Deviation of the photo's noise, 0..1, by a difference of Laplacians that hardly sees edges (Immerkaer 1996)."""
    mask = np.float32([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    return float(np.median(np.abs(cv2.filter2D(photo, cv2.CV_32F, mask))) / (0.6745 * 6))


def compose(frame: FaceFrame, layers: list[Layer], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The photo under layers, the last on top: picture [H, W, 3] and what they hide, [H, W]; float32, 0..1."""
    picture, hidden = shadowed(frame, layers), np.zeros(frame.photo.shape[:2], np.float32)
    blur, noise = sharpness(frame.photo), noise_of(frame.photo)
    size = picture.shape[1::-1]
    for layer in layers:
        small = lambda image: cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), blur)
        colour, alpha, covered = small(layer.colour), small(layer.alpha), small(layer.covered)
        grain = cv2.GaussianBlur(generator.normal(size=colour.shape).astype(np.float32), (0, 0), 0.6)
        colour = colour + alpha[..., None] * grain * noise / max(grain.std(), 1e-6)
        picture = picture * (1 - alpha[..., None]) + colour
        hidden = 1 - (1 - hidden) * (1 - covered)
    return np.clip(picture, 0, 1).astype(np.float32), np.clip(hidden, 0, 1).astype(np.float32)
