"""What a photo tells, pixel by pixel, of what is in front of the skin: the channels that labels.py reads.

All are measured against the person's own skin, on a grid of SCALE pixels per millimetre of the face: colour under the
fitted light, texture, features of HED's trunk against seeds that the mesh makes sure, the mirror point on the other
half of the face, thin structures, and how far a pixel lies from sure skin across edges.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from skimage.graph import MCP_Geometric

from external.face_mesh.template import load_template
from external.geometry import PUPIL_DISTANCE
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.witnesses import Witnesses
from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.light import fit_light, spherical_harmonics
from renderer.mesh import Mesh, normalised, vertex_normals
from renderer.rasterize import Fragments, rasterize, rasterize_uv
from style_transfer.features import VGG16Hypercolumns

# Positions are in millimetres at rest: x to the person's left, y up, z out of the face, from the middle between the
# eyes, on a head with PUPIL_DISTANCE between them.
SCALE = 1.6  # pixels of the grid per mm
MARGIN = 25.0  # mm around the mesh
EYE_DEPTH = 10.0  # mm from the middle of an eyeball to the lids
LARGEST = 900  # px, longest side of the grid
OFFSET = 0.04  # added before logarithms
BLUR = 0.6  # mm
RIDGE = 0.02
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [-1 / 3, 2 / 3, -1 / 3]], np.float32)
TWIN_GRID = 384  # texels, of the look-up of mirror points
SEED_OVAL = ((0.0, -32.0), (56.0, 80.0))  # centre and radii, x and y: sure skin lies within
SEED_COSINE, FEWEST_SEEDS = 0.35, 50  # of the viewing angle; pixels of sure skin without which nothing can be told
SPREADS = (0.05, 0.015, 0.01), (0.2, 0.08, 0.05)  # least and most of the skin's own deviation, natural log units
DARKER, BRIGHTER, RED_BLUE, GREEN = 0.7, 0.5, 0.2, 0.12  # natural log units that count as a difference of 1
SCALP, OUTSIDE = 74.0, 8.0  # mm: y above which hair is usual; distance from the mesh from which nothing is skin
TRUNK_MAPS = (2, 4, 7)  # of VGG16Hypercolumns.maps: ReLU 1_2, 2_2, 3_3
COMPONENTS, SEED_RIDGE = 24, 0.02  # of the trunk's features; of the classifier, relative to the features' variance

# The channels, in the order in which labels.py takes them. Those of a pixel's mirror point end with _twin, differences
# from it with _differs. x counts to both sides alike.
CHANNELS = (
    "brightness", "red_blue", "green", "brightness_z", "red_blue_z", "green_z", "unlike", "fine_deviation",
    "middle_deviation", "thin_dark", "thin_bright", "thick_dark", "thick_bright", "edge", "trunk_0", "trunk_1",
    "trunk_2", "trunk_away", "trunk_twin", "from_skin", "from_outside", "brightness_twin", "brightness_differs",
    "red_blue_twin",
    "red_blue_differs", "green_twin", "green_differs", "unlike_twin", "from_skin_twin", "twin_seen", "person", "hand",
    "x", "y", "z", "signed", "facing",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """The face on the grid [h, w] that the channels are measured on."""

    photo_size: tuple[int, int]  # width, height, px
    window: tuple[int, int, int, int]  # left, top, right, bottom in the photo, px
    image: np.ndarray  # [h, w, 3] float32, 0..1
    inside: np.ndarray  # [h, w] bool, covered by the mesh
    positions: np.ndarray  # [h, w, 3] float32, mm at rest; continued outside the mesh
    normals: np.ndarray  # [h, w, 3] head frame; continued
    facing: np.ndarray  # [h, w] cosine of the viewing angle; 0 outside
    twin: np.ndarray  # [h, w, 2] float32, x and y on the grid of the mirror point
    twin_seen: np.ndarray  # [h, w] float32, 0..1: the photo shows that point

    def cut(self, image: np.ndarray) -> np.ndarray:
        """An image [H, W] or [H, W, C] of the photo's size, on the grid, float32."""
        left, top, right, bottom = self.window
        cut = np.ascontiguousarray(image[top:bottom, left:right], np.float32)
        size = self.inside.shape[::-1]
        shrinks = cut.shape[1] > size[0]
        return cv2.resize(cut, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def of_twin(self, image: np.ndarray) -> np.ndarray:
        """An image [h, w] or [h, w, C] as it is at the mirror points."""
        image = np.ascontiguousarray(image, np.float32)
        x, y = (np.ascontiguousarray(self.twin[..., k]) for k in (0, 1))
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def at_rest(reconstruction: Reconstruction) -> np.ndarray:
    """Vertices [V, 3] float32, mm in the frame above; approximate for other meshes than heads and our template."""
    rig, mesh = reconstruction.rig, reconstruction.mesh
    if rig is not None and len(rig.eye_names) == 2:
        points, eyes = rig.neutral.astype(np.float64), rig.eye_centres.astype(np.float64)
        distance = max(np.linalg.norm(eyes[0] - eyes[1]), 1e-9)
        return ((points - eyes.mean(0)) * (1000 * PUPIL_DISTANCE / distance)).astype(np.float32)
    for level in range(5):
        template = load_template(level)
        if template.positions.shape[0] > len(mesh.vertices):
            break
        if template.positions.shape[0] == len(mesh.vertices) and np.array_equal(template.faces, mesh.faces):
            points = template.positions @ template.shape
            eyes = template.shape[[33, 133]].mean(0), template.shape[[362, 263]].mean(0)
            unit = 1000 * PUPIL_DISTANCE / np.linalg.norm(eyes[1] - eyes[0])
            return ((points - np.mean(eyes, 0)) * unit + (0, 0, EYE_DEPTH)).astype(np.float32)
    pose = reconstruction.head_to_camera
    points = (mesh.vertices - pose[:3, 3]) @ pose[:3, :3]
    width = np.ptp(points[:, 0])
    return ((points - np.median(points, axis=0)) * (150 / max(width, 1e-9))).astype(np.float32)


def look(photo: np.ndarray, reconstruction: Reconstruction) -> View | None:
    """The face on the grid. photo: [H, W, 3] float, 0..1. None where the camera does not see the mesh."""
    mesh, camera = reconstruction.mesh, reconstruction.camera
    rest = at_rest(reconstruction)
    homogeneous = camera.homogeneous(mesh.vertices)
    if not (homogeneous[:, 2] > 0).all():
        return None
    projected = homogeneous[:, :2] / homogeneous[:, 2:]
    corners = mesh.vertices[mesh.faces]
    lengths = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    rest_lengths = np.linalg.norm(rest[mesh.faces[:, 0]] - rest[mesh.faces[:, 1]], axis=1)
    unit = np.median(lengths[rest_lengths > 0] / rest_lengths[rest_lengths > 0])
    pixels = camera.fx * unit / np.median(mesh.vertices[:, 2])  # of the photo, per mm
    low, high = projected.min(0) - MARGIN * pixels, projected.max(0) + MARGIN * pixels
    left, top = np.maximum(np.floor(low), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high), (camera.width, camera.height)).astype(int)
    if right - left < 16 or bottom - top < 16:
        return None
    scale = min(SCALE / pixels, LARGEST / max(right - left, bottom - top))
    size = max(round((right - left) * scale), 16), max(round((bottom - top) * scale), 16)
    cut = np.ascontiguousarray(photo[top:bottom, left:right], np.float32)
    image = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    ratio = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    shifted = Camera(
        size[0], size[1], camera.fx * ratio[0], camera.fy * ratio[1],
        (camera.cx - left) * ratio[0], (camera.cy - top) * ratio[1],
    )  # fmt: skip
    fragments = rasterize(mesh, shifted)
    inside = fragments.face_ids >= 0
    if inside.sum() < 100:
        return None
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, fragments)
    rays = normalised(interpolate(mesh.vertices, mesh.faces, fragments))
    cosine = (normals * rays).sum(-1)
    outward = -1.0 if np.median(cosine[inside]) > 0 else 1.0  # normals point to the camera
    normals = outward * normals @ reconstruction.head_to_camera[:3, :3]
    facing = np.where(inside, np.abs(cosine), 0).astype(np.float32)
    positions = interpolate(rest, mesh.faces, fragments)
    _, nearest = distance_transform_edt(~inside, return_indices=True)
    rows, columns = np.indices(inside.shape)
    right_axis, up_axis = _image_axes(positions, inside)
    beside, above = (columns - nearest[1]) / SCALE, (nearest[0] - rows) / SCALE
    offsets = beside[..., None] * right_axis + above[..., None] * up_axis
    positions = positions[tuple(nearest)] + offsets
    twin, twin_seen = _mirror_points(mesh, shifted, fragments, inside, reconstruction.symmetric)
    return View(
        (camera.width, camera.height), (int(left), int(top), int(right), int(bottom)), image, inside,
        positions.astype(np.float32), normals[tuple(nearest)].astype(np.float32), facing, twin, twin_seen,
    )  # fmt: skip


def _image_axes(positions: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions [3], [3] at rest, without their part along z, of the image's right and up."""
    across = inside[:, 1:] & inside[:, :-1]
    down = inside[1:] & inside[:-1]
    right = np.median((positions[:, 1:] - positions[:, :-1])[across], axis=0)
    up = -np.median((positions[1:] - positions[:-1])[down], axis=0)
    unit = lambda v: np.array([v[0], v[1], 0]) / max(np.hypot(v[0], v[1]), 1e-9)
    return unit(right), unit(up)


def _mirror_points(
    mesh: Mesh, camera: Camera, fragments: Fragments, inside: np.ndarray, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The mirror point of each pixel [h, w, 2] and whether it is seen [h, w], 0..1."""
    height, width = inside.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    here = np.stack([columns, rows], -1)
    if not symmetric:
        return here, np.zeros(inside.shape, np.float32)
    layout = rasterize_uv(mesh.uvs, mesh.uv_faces, TWIN_GRID, TWIN_GRID)
    covered = layout.face_ids >= 0
    points = interpolate(mesh.vertices, mesh.faces, layout)
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, layout)
    homogeneous = camera.homogeneous(points[covered].astype(np.float64))
    at = (homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 1e-9) - 0.5).astype(np.float32)
    table = np.zeros((TWIN_GRID, TWIN_GRID, 3), np.float32)
    table[covered, :2] = at
    x, y = np.clip(np.round(at), 0, (width - 1, height - 1)).astype(int).T
    within = (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)
    depth = points[covered][:, 2]
    extent = np.ptp(mesh.vertices[:, 2])
    seen = within & inside[y, x] & (depth < fragments.depth[y, x] + 0.02 * extent)
    rays = normalised(points[covered])
    seen &= np.abs((normals[covered] * rays).sum(-1)) > 0.2
    table[covered, 2] = seen
    _, nearest = distance_transform_edt(~covered, return_indices=True)
    table = table[tuple(nearest)][:, ::-1]  # mirrored at u = .5
    uvs = interpolate(mesh.uvs, mesh.uv_faces, fragments)
    u, v = np.float32(uvs[..., 0] * TWIN_GRID - 0.5), np.float32((1 - uvs[..., 1]) * TWIN_GRID - 0.5)
    # Texels of different islands must not be mixed: the nearest one.
    found = cv2.remap(table, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    twin = np.where(inside[..., None], found[..., :2], here)
    smooth = cv2.blur(np.ascontiguousarray(twin), (3, 3))
    close = np.abs(smooth - twin).max(-1, keepdims=True) < 2
    return np.where(close, smooth, twin).astype(np.float32), np.where(inside, found[..., 2], 0).astype(np.float32)


# ---- channels --------------------------------------------------------------------------------------------------------

def own_features(positions: np.ndarray) -> np.ndarray:
    """Eyes with brows, nostrils and mouth [h, w] bool, which differ from skin but belong to the face."""
    x, y = np.abs(positions[..., 0]), positions[..., 1]
    eyes = (x > 10) & (x < 60) & (y > -14) & (y < 34)
    mouth = (x < 32) & (y > -88) & (y < -54)
    nostrils = (x < 16) & (y > -54) & (y < -42)
    return eyes | mouth | nostrils


def sure_skin(view: View) -> np.ndarray:
    """Where the mesh says skin [h, w] bool: the front of the face without its features. Things may be before it."""
    x, y = view.positions[..., 0], view.positions[..., 1]
    (cx, cy), (rx, ry) = SEED_OVAL
    oval = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
    return view.inside & oval & ~own_features(view.positions) & (view.facing > SEED_COSINE)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean. sigma: mm."""
    return cv2.GaussianBlur(np.ascontiguousarray(image, np.float32), (0, 0), sigma * SCALE)


def colour_channels(view: View) -> dict[str, np.ndarray]:
    """Difference from the person's skin under the fitted light: brightness and two hues, in natural log units."""
    logs = np.log(blurred(view.image, BLUR) + OFFSET) @ OPPONENT.T
    seeds = sure_skin(view)
    basis = spherical_harmonics(view.normals)
    light = fit_light(basis[seeds], logs[seeds], RIDGE, rounds=8)
    difference = (logs - basis @ light).astype(np.float32)
    spread = 1.4826 * np.median(np.abs(difference[seeds]), axis=0)
    spread = np.clip(spread, *SPREADS).astype(np.float32)
    names = ("brightness", "red_blue", "green")
    channels = {name: difference[..., k] for k, name in enumerate(names)}
    channels |= {f"{name}_z": np.tanh(difference[..., k] / spread[k] / 4) for k, name in enumerate(names)}
    return channels


def texture_channels(view: View) -> dict[str, np.ndarray]:
    """Variation of brightness at two scales, thin dark and thin bright structures, edges; relative to the skin's."""
    seeds = sure_skin(view)
    log = np.log(view.image + OFFSET)
    grey = log.mean(-1)
    channels = {}
    for name, fine, wide in (("fine", 0.0, 1.0), ("middle", 0.8, 3.0)):
        base = blurred(grey, fine) if fine else grey
        mean = blurred(base, wide)
        deviation = np.sqrt(np.maximum(blurred(base * base, wide) - mean * mean, 0))
        usual = max(float(np.median(deviation[seeds])), 0.01)
        channels[f"{name}_deviation"] = np.tanh(np.log((deviation + 0.01) / (usual + 0.01)) / 2)
    for name, width in (("thin", 3.0), ("thick", 8.0)):
        size = 2 * round(width * SCALE / 2) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        smooth = blurred(log, 0.4)
        channels[f"{name}_dark"] = np.tanh(cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, kernel).mean(-1) * 3)
        channels[f"{name}_bright"] = np.tanh(cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, kernel).mean(-1) * 3)
    smooth = blurred(log, 0.5)
    gradient = np.sqrt(sum(cv2.Sobel(smooth, cv2.CV_32F, *way, ksize=3) ** 2 for way in ((1, 0), (0, 1))).sum(-1)) / 8
    channels["edge"] = np.tanh(gradient * 5)
    return channels


def trunk_maps(image: np.ndarray, features: VGG16Hypercolumns) -> list[np.ndarray]:
    """Maps [h / 2^k, w / 2^k, C] float32 of the trunk, of an image [h, w, 3], 0..1."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] * 2 - 1
    with torch.no_grad():
        maps = features.first_maps(tensor, TRUNK_MAPS[-1] + 1)
    return [maps[k][0].permute(1, 2, 0).float().clamp_min(0).sqrt_().numpy() for k in TRUNK_MAPS]


def trunk_channels(
    view: View, maps: list[np.ndarray], skin: np.ndarray, others: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """How much each pixel looks like seeds, by features of the trunk.

    maps: of `trunk_maps`. skin, others: weights [h, w] float, 0..1, of seeds: of sure skin, and of what is not skin.
    A ridge classifier per photo; the distance from the skin's own distribution; and from the mirror point's features.
    """
    size = maps[-1].shape[:2]
    scaled = [one / np.sqrt((one * one).sum(-1).mean()) for one in maps]
    columns = np.concatenate([_pooled(one, size) for one in scaled], -1).reshape(-1, sum(m.shape[-1] for m in maps))
    seeds = _pooled(np.stack([skin, *others], -1), size).reshape(len(columns), -1)  # [N, K]
    seeds = seeds * np.minimum(1, 1 / np.maximum(seeds.sum(0), 1e-6))  # each kind weighs the same
    enlarge = lambda image: _enlarged(image, view.inside.shape)
    weights = seeds.sum(1)
    targets = seeds / np.maximum(weights, 1e-12)[:, None]
    mean = (columns * weights[:, None]).sum(0) / max(weights.sum(), 1e-6)
    centred = columns - mean
    gram = (centred * weights[:, None]).T @ centred
    ridge = SEED_RIDGE * np.trace(gram) / len(gram)
    wanted = (centred * weights[:, None]).T @ (targets - 1 / seeds.shape[1])
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram), dtype=np.float32), wanted)
    splits = np.cumsum([m.shape[-1] for m in maps])[:-1]
    scores = 0
    for one, part, at in zip(scaled, np.split(solved, splits), np.split(mean, splits), strict=True):
        scores = scores + enlarge((one - at) @ part)
    channels = {f"trunk_{k}": np.tanh(scores[..., k] * 2) for k in range(seeds.shape[1])}
    # The skin's own distribution, in the principal components of all.
    _, vectors = np.linalg.eigh(np.cov(columns[::3].T))
    components = (columns - mean) @ vectors[:, -COMPONENTS:]
    own = seeds[:, 0] / max(seeds[:, 0].sum(), 1e-9)
    middle = own @ components
    spread = (components - middle).T @ ((components - middle) * own[:, None])
    spread += np.eye(COMPONENTS) * 0.02 * np.trace(spread) / COMPONENTS
    away = np.einsum("nk,nk->n", (components - middle) @ np.linalg.inv(spread), components - middle) / COMPONENTS
    channels["trunk_away"] = np.tanh(np.log(enlarge(away.reshape(*size, 1))[..., 0].clip(0.01)) / 3)
    whitened = (components / np.sqrt(np.diag(spread))).reshape(*size, COMPONENTS)
    whitened = enlarge(whitened)
    other = np.concatenate([view.of_twin(whitened[..., k : k + 4]) for k in range(0, COMPONENTS, 4)], -1)
    difference = np.linalg.norm(whitened - other, axis=-1) / np.sqrt(COMPONENTS)
    channels["trunk_twin"] = np.where(view.twin_seen > 0.5, np.tanh(difference / 3), 0)
    return channels


def _pooled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Means of an image [H, W, C] over the cells of a grid of `size` (h, w)."""
    tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    factor = max(image.shape[0] // size[0], 1)
    return F.avg_pool2d(tensor, factor)[0, :, : size[0], : size[1]].permute(1, 2, 0).numpy()


def _enlarged(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [h, w, C], bilinear on a grid of `size` (H, W)."""
    tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    return F.interpolate(tensor, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()


def _rim(area: np.ndarray) -> np.ndarray:
    """The border [h, w] bool of an area [h, w] bool."""
    return area & (cv2.erode(area.astype(np.uint8), np.ones((3, 3)), borderType=cv2.BORDER_REPLICATE) == 0)


def reach_channels(view: View, edge: np.ndarray, unlike: np.ndarray) -> dict[str, np.ndarray]:
    """How far a pixel lies from sure skin across edges, and from outside through what is unlike skin. 0..1."""
    small = tuple(max(side // 2, 8) for side in view.inside.shape[::-1])
    shrink = lambda image: cv2.resize(np.ascontiguousarray(image, np.float32), small, interpolation=cv2.INTER_AREA)
    full = view.inside.shape[::-1]
    enlarge = lambda image: cv2.resize(image.astype(np.float32), full, interpolation=cv2.INTER_LINEAR)
    edges, differing = shrink(edge), shrink(unlike)
    skin, inside = shrink(sure_skin(view)) > 0.5, shrink(view.inside) > 0.5
    step = 2 / SCALE
    x, y = (shrink(view.positions[..., k]) for k in (0, 1))
    start = skin & (differing < 0.35) & (np.abs(x) < 40) & (y < 0)
    channels = {}
    if start.any():
        cost = step * (0.02 + edges**2 * 2 + differing**2)
        found, _ = MCP_Geometric(cost).find_costs(np.argwhere(_rim(start)))
        found[start] = 0
        channels["from_skin"] = enlarge(np.tanh(found / 6))
    else:
        channels["from_skin"] = np.ones(view.inside.shape, np.float32)
    cost = step * (0.01 + (1 - differing) ** 2)
    if (~inside).any():
        found, _ = MCP_Geometric(cost).find_costs(np.argwhere(_rim(~inside)))
        found[~inside] = 0
        channels["from_outside"] = enlarge(np.tanh(found / 15))
    else:
        channels["from_outside"] = np.ones(view.inside.shape, np.float32)
    return channels


def unlike_skin(channels: dict[str, np.ndarray]) -> np.ndarray:
    """How far a pixel's colour is from the lit skin's [h, w], 0..1. channels: of `colour_channels`."""
    brightness = channels["brightness"] / np.where(channels["brightness"] < 0, DARKER, BRIGHTER)
    squares = brightness**2 + (channels["red_blue"] / RED_BLUE) ** 2 + (channels["green"] / GREEN) ** 2
    return np.tanh(0.7 * np.sqrt(squares))


def place_channels(view: View) -> dict[str, np.ndarray]:
    """Where a pixel lies on the head, and how far inside the mesh's outline."""
    x, y, z = np.moveaxis(view.positions, -1, 0)
    channels = {"x": np.abs(x) / 80, "y": y / 80, "z": z / 80, "facing": view.facing}
    return channels | {"signed": np.tanh(depth_inside(view) / 15)}


def depth_inside(view: View) -> np.ndarray:
    """Distance [h, w] mm to the mesh's outline, below 0 outside."""
    distance = lambda area: cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 5)
    return (distance(view.inside) - distance(~view.inside)) / SCALE


def twin_channels(view: View, channels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the mirror point shows, and the difference from it; neutral where the photo does not show that point."""
    seen = view.twin_seen > 0.5
    result = {"twin_seen": view.twin_seen}
    for name, factor in (("brightness", 2), ("red_blue", 6), ("green", 8)):
        other = view.of_twin(channels[name])
        result[f"{name}_twin"] = np.where(seen, np.tanh(factor * other), 0)
        result[f"{name}_differs"] = np.where(seen, np.tanh(factor * (channels[name] - other)), 0)
    for name in ("unlike", "from_skin"):
        result[f"{name}_twin"] = np.where(seen, view.of_twin(channels[name]), 0.5)
    return result


def measure(
    view: View, features: VGG16Hypercolumns | None, witnesses: Witnesses | None = None
) -> dict[str, np.ndarray] | None:
    """The CHANNELS [h, w] float32, about -1..1; None where too little sure skin is seen to tell anything.

    features: HED's trunk. witnesses: None where nothing is known. Channels of what is missing are neutral.
    """
    sure = sure_skin(view)
    if sure.sum() < FEWEST_SEEDS:
        return None
    channels = colour_channels(view)
    unlike = channels["unlike"] = unlike_skin(channels)
    channels |= texture_channels(view)
    if features is None:
        channels |= {name: np.zeros(view.inside.shape) for name in CHANNELS if name.startswith("trunk_")}
    else:
        depth = depth_inside(view)
        skin = sure * np.exp(-((unlike / 0.5) ** 2))
        hair = ((view.positions[..., 1] > SCALP) & (depth > -20) & (unlike > 0.4)) * unlike
        away = (depth < -OUTSIDE) * 1.0
        channels |= trunk_channels(view, trunk_maps(view.image, features), skin, [hair, away])
    channels |= reach_channels(view, channels["edge"], unlike)
    channels |= twin_channels(view, channels)
    for name, factor in (("brightness", 1), ("red_blue", 3), ("green", 4)):
        channels[name] = np.tanh(factor * channels[name])
    channels["person"], channels["hand"] = np.ones(view.inside.shape), np.zeros(view.inside.shape)
    if witnesses is not None:
        channels["person"] = view.cut(witnesses.person_in(*view.photo_size))
        channels["hand"] = blurred(view.cut(witnesses.hands_in(*view.photo_size)), 2.0)
    channels |= place_channels(view)
    return {name: np.asarray(channels[name], np.float32) for name in CHANNELS}
