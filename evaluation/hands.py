"""A hand before the face, seen from its back: fingers, palm and forearm as one smooth height over the image.

The hand is made of round cones whose heights are blended. It lies on the face's surface, has nails and creases, and is
lit as the person's skin is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import make_interp_spline

from evaluation.face_frame import FINE, FaceFrame
from evaluation.layers import Layer, texture_noise
from renderer.mesh import normalised

# From the wrist, mm, towards the middle finger and towards the thumb: first knuckles of index to little finger.
KNUCKLES = np.array([(86.0, 25.0), (91.0, 7.0), (87.0, -11.0), (79.0, -28.0)])
LENGTHS = np.array([(44.0, 25.0, 19.0), (48.0, 29.0, 20.0), (45.0, 27.0, 20.0), (36.0, 20.0, 17.0)])
RADII = np.array([(10.4, 9.3, 8.6, 7.4), (10.6, 9.6, 8.8, 7.6), (10.2, 9.1, 8.3, 7.1), (9.2, 8.0, 7.3, 6.3)])
THUMB, THUMB_LENGTHS, THUMB_RADII = (26.0, 24.0), (40.0, 33.0, 23.0), (15.0, 12.5, 11.0, 9.2)
PALM = np.array([
    (-300, -38), (-60, -30), (0, -27), (30, -33), (62, -38), (84, -37), (97, -35), (104, -21), (110, -11), (113, 6),
    (110, 16), (106, 31), (88, 36), (66, 38), (44, 40), (22, 34), (0, 27), (-60, 30), (-300, 38),
], float)  # fmt: skip
PALM_EDGE, PALM_DEPTH = 19.0, 19.0  # mm: width of its rounded edge, and its height
TENDON, KNOB = 0.7, 2.2  # mm: heights of tendons and first knuckles above the palm
SMOOTH, JOIN_BLEND = 0.9, 9.0  # mm: blur of the fingers' heights; over which fingers and palm are blended
TONES = {"light": (0.86, 0.68, 0.59), "medium": (0.66, 0.47, 0.36), "dark": (0.34, 0.22, 0.17)}
SAME_TONE = 0.5  # share of hands in the person's own skin colour
NAIL = 8.4  # mm, half of a nail's length
FOLLOWS = 0.35  # how far fingers follow the face's surface from the hand's plane


@dataclass
class _Hand:
    """fingers: joints [4, 3] mm and radii [4]. palm: outline [n, 3] mm. bones: ends of tendons [2, 3] mm."""

    fingers: list[tuple[np.ndarray, np.ndarray]]
    palm: np.ndarray
    bones: list[np.ndarray]


def draw_hand(frame: FaceFrame, generator: np.random.Generator) -> Layer:
    """Before mouth, cheek or chin; in the person's own or another skin colour."""
    hand = _posed(frame, generator)
    own = generator.random() < SAME_TONE
    tone = np.array(list(TONES.values())[generator.integers(len(TONES))]) * frame.exposure
    ratio = generator.uniform(0.92, 1.05) * np.ones(3) if own else np.clip(tone / frame.skin_colour, 0.15, 4)
    return _drawn(frame, hand, ratio, generator)


def _posed(frame: FaceFrame, generator: np.random.Generator) -> _Hand:
    pose = ("mouth", "cheek", "chin")[generator.integers(3)]
    side = generator.choice((-1.0, 1.0))  # which side the hand comes from
    jitter = lambda scale: generator.normal(0, scale)
    if pose == "mouth":
        middle, angle = np.array([side * (36 + jitter(4)), -84 + jitter(5)]), np.radians(generator.uniform(48, 74))
    elif pose == "cheek":
        middle, angle = np.array([side * (60 + jitter(3)), -84 + jitter(8)]), np.radians(generator.uniform(-2, 16))
    else:
        middle, angle = np.array([side * (44 + jitter(4)), -122 + jitter(4)]), np.radians(generator.uniform(58, 78))
    thumb = np.radians(generator.uniform(18, 40))
    u = np.array([-side * np.sin(angle), np.cos(angle)])
    v = side * np.array([np.cos(angle), side * np.sin(angle)])
    axes = np.stack([u, v])
    wrist = middle - KNUCKLES[1] @ axes
    spread = generator.uniform(-0.6, 3.2)
    flat = []
    for k in range(4):
        way = np.radians((1.5 - k) * spread + jitter(1.2))
        bend = np.cumsum([0, way, np.radians(jitter(1.5)), np.radians(jitter(1.5))])[1:]
        steps = LENGTHS[k][:, None] * np.stack([np.cos(bend), np.sin(bend)], 1)
        flat.append(KNUCKLES[k] + np.concatenate([[(0, 0)], np.cumsum(steps, 0)]))
    turns = thumb + np.radians((16, 0, -12))
    steps = np.array(THUMB_LENGTHS)[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
    flat.append(np.array(THUMB) + np.concatenate([[(0, 0)], np.cumsum(steps, 0)]))

    def below(local: np.ndarray) -> np.ndarray:
        x, y = (local @ axes + wrist).T
        return frame.surface(np.clip(x, -70, 70), np.clip(y, -108, 92))

    # The hand's plane: it rises along the hand as the face under it does, and clears the face.
    along = np.linspace(60, 170, 12)
    ground = below(np.stack([along, np.zeros(12)], 1))
    slope = np.clip(np.polyfit(along, ground, 1)[0], -0.5, 0.5)
    joints = np.concatenate(flat[:4])
    level = np.percentile(below(joints) - slope * joints[:, 0], 75) + 2.0
    plane = lambda local: level + slope * np.maximum(local[..., 0], -40)

    def placed(local: np.ndarray, radii: np.ndarray) -> np.ndarray:
        z = plane(local)
        follow = np.clip(below(local) + 1.0 - z, -12, 12) * FOLLOWS * np.linspace(0.0, 1, len(local))
        return np.column_stack([local @ axes + wrist, z + follow + radii * 0.9])

    radii = [*RADII, np.array(THUMB_RADII)]
    fingers = [(placed(local, r), r) for local, r in zip(flat, radii, strict=True)]
    for joints, _ in fingers[:4]:  # they come out of the palm
        joints[0, 2] -= 5
    fingers[4][0][0, 2] -= 8
    lift = np.column_stack([PALM @ axes + wrist, plane(PALM)])
    bones = []
    for k in range(4):
        ends = np.array([(8, 7 - 5 * k), KNUCKLES[k]])
        bones.append(np.column_stack([ends @ axes + wrist, plane(ends) + PALM_DEPTH]))
    return _Hand(fingers, lift, bones)


def _drawn(frame: FaceFrame, hand: _Hand, ratio: np.ndarray, generator: np.random.Generator) -> Layer:
    # At the photo's resolution, as outlines are smoothed by their distance.
    unit, camera = frame.pixels_per_mm / FINE, frame.reconstruction.camera
    project = lambda points: frame.project(points) / (FINE, FINE, 1)
    everything = np.concatenate([project(hand.palm)[:, :2], *(project(joints)[:, :2] for joints, _ in hand.fingers)])
    low = np.maximum(np.floor(everything.min(0) - 35 * unit), 0).astype(int)
    high = np.minimum(np.ceil(everything.max(0) + 35 * unit), (camera.width, camera.height)).astype(int)
    low = np.minimum(low, (camera.width - 8, camera.height - 8))
    high = np.maximum(high, low + 8)
    columns, rows = (np.arange(low[k], high[k], dtype=np.float32) + 0.5 for k in (0, 1))
    grid = np.stack(np.meshgrid(columns, rows), -1)
    depth_of_eyes = frame.project(np.zeros(3))[2]

    def cone(ends: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height, px before the eyes, and distance inside of the outline, px; each [h, w]."""
        height, inner = (np.full(grid.shape[:2], value, np.float32) for value in (-1e4, -1e3))
        places = project(ends)
        (a, b), z = places[:, :2].astype(np.float32), (depth_of_eyes - places[:, 2]) * unit
        r, reach = radii * unit, (radii.max() + 8) * unit
        first = np.clip(np.floor(np.minimum(a, b) - reach - low), 0, None).astype(int)
        last = np.clip(np.ceil(np.maximum(a, b) + reach - low), 0, None).astype(int)
        part = np.s_[first[1] : last[1], first[0] : last[0]]
        if not height[part].size:
            return height, inner
        offset, axis = grid[part] - a, b - a
        t = np.clip((offset @ axis) / max(float(axis @ axis), 1e-6), 0, 1)
        away = offset - t[..., None] * axis
        radius, middle = r[0] + t * (r[1] - r[0]), z[0] + t * (z[1] - z[0])
        d2 = (away**2).sum(-1)
        inner[part] = radius - np.sqrt(d2)
        rounded = np.sqrt(np.maximum(radius**2 - d2, 0))
        height[part] = middle + np.where(inner[part] > 0, rounded, 3 * inner[part])
        return height, inner

    parts, inside = [], None
    for joints, radii in hand.fingers:
        height = None
        for n in range(3):
            here, edge = cone(joints[n : n + 2], radii[n : n + 2])
            height = here if height is None else np.maximum(height, here)
            inside = edge if inside is None else np.maximum(inside, edge)
        for n in (1, 2):  # joints are thicker
            here, edge = cone(joints[[n, n]], 1.025 * radii[[n, n]])
            height, inside = np.maximum(height, here), np.maximum(inside, edge)
        height = cv2.GaussianBlur(height, (0, 0), SMOOTH * unit)
        parts.append(height)
    palm, palm_edge = _palm(hand, project, grid, low, unit, depth_of_eyes)
    inside = _blended(inside, palm_edge, 2.0 * unit)
    owner = np.argmax(np.stack([*parts, palm]), 0)
    fingers = parts[0]
    for part in parts[1:]:
        fingers = _blended(fingers, part, 0.6 * unit)
    height = _blended(fingers, palm, JOIN_BLEND * unit)

    crease, red, nail, white = (np.zeros(height.shape, np.float32) for _ in range(4))
    for k, (joints, radii) in enumerate(hand.fingers):
        own = cv2.GaussianBlur((owner == k).astype(np.float32), (0, 0), max(0.3 * unit, 0.5))
        places = project(joints)[:, :2]
        for n, lines in ((1, 4), (2, 3)):
            s, across = _local(grid, places[n], places[n + 1] - places[n - 1], unit)
            fade = np.exp(-((across / (0.7 * radii[n])) ** 4))
            for line in range(lines):
                at = (line - (lines - 1) / 2) * 1.7 + generator.normal(0, 0.3)
                bow = 0.10 * across**2 / radii[n] * np.sign(at or 1)
                wavy = at + bow + 0.3 * np.sin(across * generator.uniform(0.4, 1.0) + generator.uniform(0, 6))
                crease += own * fade * np.exp(-(((s - wavy) / 0.32) ** 2)) * generator.uniform(0.2, 0.8)
            red += own * np.exp(-((s / (1.1 * radii[n])) ** 2) - (across / (1.3 * radii[n])) ** 2) * 0.4
        s, across = _local(grid, places[3], places[3] - places[2], unit)
        red += own * np.exp(-(((s - 1) / 9.0) ** 2)) * 0.4
        s, across = s + 1.0, across / (0.70 * radii[3])
        bed = np.abs(across) ** 2.6 + np.abs(s / NAIL) ** 2.6
        nail = np.maximum(nail, own * np.clip((1.0 - bed) / 0.22, 0, 1))
        white = np.maximum(white, own * np.clip((s - 0.62 * NAIL + 0.8 * across**2) / 0.5, 0, 1))
        white = np.maximum(white, 0.5 * own * np.clip((-s - 0.62 * NAIL - 1.5 * across**2) / 0.5, 0, 1))
    for bone in hand.bones:
        s, across = _local(grid, project(bone)[1, :2], np.array([0, 1.0]), unit)
        red += 0.35 * np.exp(-((s**2 + across**2) / 9.0**2))
    pores = texture_noise(height.shape, 1.1 * unit, generator, 2)
    height = height - crease * 0.22 * unit + 0.012 * unit * pores
    height = height - 0.35 * unit * (cv2.GaussianBlur(nail, (0, 0), 0.35 * unit) - 0.8 * nail)
    smooth = cv2.GaussianBlur(height, (0, 0), max(0.25 * unit, 0.6))
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    normals = normalised(np.stack([-dx, -dy, np.ones_like(dx)], -1)) * np.float32((1, 1, -1))
    normals = normals @ frame.rotation

    alpha = np.clip(inside + 0.5, 0, 1)
    solid = (alpha > 0.5).astype(np.float32)
    within = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / unit
    weight = cv2.GaussianBlur(solid, (0, 0), 3.2 * unit)
    around = cv2.GaussianBlur(height * solid, (0, 0), 3.2 * unit) / np.maximum(weight, 1e-3)
    sunk = np.clip((around - height) / (5.0 * unit), 0, 1) * np.clip(within / 3.0, 0, 1)
    colours = frame.lit_skin(normals) * ratio
    half = normalised(frame.light_direction + frame.viewer)
    blotches = texture_noise(height.shape, 22 * unit, generator)
    lines = texture_noise(height.shape, 2.2 * unit, generator, 3)
    grain = frame.skin_grain * (0.6 * pores + 0.5 * lines) * (1 - 0.8 * nail)
    colours = colours * np.exp(grain + 0.025 * blotches)[..., None]
    colours = colours * np.exp(-np.clip(red + 0.12 * blotches, 0, 1.2)[..., None] * np.array([0.0, 0.13, 0.12]))
    colours = colours * np.exp(-crease[..., None] * np.array([0.10, 0.15, 0.16]))
    colours = colours * np.exp(-sunk[..., None] * np.array([0.7, 0.95, 1.05]))
    sheen = np.clip(normals @ half, 0, 1) ** 22
    colours = colours + 0.04 * (sheen * (1 + 0.5 * pores))[..., None] * frame.exposure
    plate = (
        colours * (1.0, 0.93, 0.94)
        + 0.10 * frame.exposure * ratio.mean() ** 0.5
        + 0.12 * white[..., None] * frame.exposure
    )
    plate = plate + 0.20 * (np.clip(normals @ half, 0, 1) ** 60)[..., None] * frame.exposure
    rim = np.clip(1 - np.abs(nail - 0.4) * 2.5, 0, 1)
    colours = colours + nail[..., None] * 0.75 * (plate - colours) - 0.13 * rim[..., None] * colours
    # Skin turns darker and redder where it turns away.
    facing = np.clip(normals @ frame.viewer, 0, 1)
    colours = colours * np.exp(-((1 - facing)[..., None] ** 2) * np.array([0.15, 0.35, 0.38]))

    size = (camera.height, camera.width)
    image, opacity = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    image[window], opacity[window] = np.clip(colours, 0, 1) * alpha[..., None], alpha
    return Layer(image, opacity, gap=11.0, shadow=0.7)


def _palm(
    hand: _Hand, project: Callable, grid: np.ndarray, low: np.ndarray, unit: float, depth_of_eyes: float
) -> tuple[np.ndarray, np.ndarray]:
    """Height, px, and distance inside of the outline, px, of palm and forearm; each [h, w]."""
    places = project(hand.palm)
    outline = np.zeros(grid.shape[:2], np.uint8)
    # A spline through the corners: nobody's hand has any.
    closed = np.concatenate([places[-1:], places, places[:1]])
    t, steps = np.arange(len(closed)), np.linspace(1, len(places), 40 * len(places))
    curve = make_interp_spline(t, closed[:, :2] - low)(steps)
    cv2.fillPoly(outline, [np.round(curve * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    inner = cv2.distanceTransform((outline > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outer = cv2.distanceTransform((outline <= 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.GaussianBlur(inner - outer, (0, 0), 1.0)
    plane, *_ = np.linalg.lstsq(
        np.column_stack([places[1:-1, :2], np.ones(len(places) - 2)]), places[1:-1, 2], rcond=None
    )
    base = (depth_of_eyes - (grid @ plane[:2].astype(np.float32) + np.float32(plane[2]))) * unit
    t = np.clip(inner / (PALM_EDGE * unit), 0, 1)
    dome = cv2.GaussianBlur(np.sqrt(1 - (1 - t) ** 2), (0, 0), 0.8 * unit)
    height = base + PALM_DEPTH * unit * dome + np.minimum(inside, 0) * 3
    for bone in hand.bones:
        ends = project(bone)[:, :2]
        s, across = _local(grid, ends[1], ends[1] - ends[0], unit)
        ridge = np.exp(-((across / 2.6) ** 2)) * np.clip((s + 62) / 20, 0, 1) * np.clip(-s / 12, 0, 1)
        height += (TENDON * ridge + KNOB * np.exp(-((s / 8.5) ** 2) - (across / 7.5) ** 2)) * unit * (inside > 0)
    return height.astype(np.float32), inside


def _blended(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The larger of two heights, rounded within `width`."""
    top = np.maximum(a, b)
    near = np.clip(1 - np.abs(a - b) / width, 0, 1)
    return top + 0.25 * width * near**2


def _local(grid: np.ndarray, origin: np.ndarray, axis: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Places [h, w] along and across an axis from an origin, mm."""
    way = axis / max(float(np.hypot(*axis)), 1e-6)
    offset = (grid - origin.astype(np.float32)) / unit
    return offset @ way.astype(np.float32), offset @ np.float32((-way[1], way[0]))
