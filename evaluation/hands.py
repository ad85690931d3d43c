"""A hand before the face, seen from its back: fingers, palm and forearm as one smooth height over the image.

The hand is made of round cones whose heights are blended. It lies on the face's surface, has nails and creases, and is lit
as the person's skin is.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from evaluation.face_frame import FINE, FaceFrame
from evaluation.layers import Layer, texture_noise
from renderer.mesh import normalised

# From the wrist, mm, towards the middle finger and towards the thumb: first knuckles of index to little finger.
KNUCKLES = np.array([(88.0, 25.0), (92.0, 6.0), (87.0, -13.0), (78.0, -30.0)])
LENGTHS = np.array([(43.0, 25.0, 20.0), (47.0, 29.0, 21.0), (43.0, 27.0, 21.0), (34.0, 20.0, 18.0)])
RADII = np.array([(10.2, 9.0, 8.3, 6.9), (10.4, 9.2, 8.4, 7.0), (9.9, 8.7, 7.9, 6.6), (8.8, 7.6, 6.9, 5.8)])
THUMB, THUMB_LENGTHS, THUMB_RADII = (24.0, 26.0), (42.0, 32.0, 25.0), (15.0, 12.0, 10.6, 8.6)
PALM_BLEND, FINGER_BLEND, JOIN_BLEND = 5.0, 0.9, 2.4  # mm over which heights are blended
TONES = {"light": (0.86, 0.68, 0.59), "medium": (0.66, 0.47, 0.36), "dark": (0.34, 0.22, 0.17)}
SAME_TONE = 0.5  # share of hands in the person's own skin colour
NAIL, NAIL_TINT = 8.6, np.array([1.05, 0.92, 0.92])  # mm from the tip's middle; factor of the skin's colour


@dataclass
class _Hand:
    """Joints in mm of the face's frame."""

    fingers: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # joints [4, 3], radii [4]
    palm: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # likewise, [2, 3] and [2]
    shows_nails: list[bool] = field(default_factory=list)


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
    thumb_way = -side  # image side of the thumb, from the hand's own axis
    spread = generator.uniform(0, 5)
    if pose == "mouth":
        middle, angle = np.array([side * 12 + jitter(4), -76 + jitter(5)]), np.radians(generator.uniform(35, 62))
        curl, thumb = [0, 0, 0, 0], np.radians(generator.uniform(12, 28))
    elif pose == "cheek":
        middle, angle = np.array([side * (58 + jitter(3)), -62 + jitter(6)]), np.radians(generator.uniform(-4, 14))
        curl, thumb = [0, 0, 0, 0], np.radians(generator.uniform(28, 45))
    else:
        middle, angle = np.array([side * (16 + jitter(4)), -116 + jitter(4)]), np.radians(generator.uniform(-6, 20))
        curl, thumb = [int(generator.random() < 0.5), 1, 1, 1], np.radians(generator.uniform(18, 34))
    u = np.array([-side * np.sin(angle), np.cos(angle)])
    v = thumb_way * np.array([np.cos(angle), side * np.sin(angle)])
    wrist = middle - KNUCKLES[1] @ np.stack([u, v])
    hand = _Hand()

    def placed(flat: np.ndarray, radii: np.ndarray, above: float = 0.0) -> np.ndarray:
        x, y = flat[:, 0], flat[:, 1]
        z = frame.surface(np.clip(x, -72, 72), np.clip(y, -112, 95)) + radii + 0.5 + above
        return np.column_stack([x, y, z])

    axes = np.stack([u, v])
    for k in range(4):
        way = np.radians((1.5 - k) * spread + jitter(1.5) + (1.5 - k) * 2.0)
        turn = np.array([np.cos(way), np.sin(way)])
        lengths = LENGTHS[k] * (1 if not curl[k] else np.array([0.72, 0.30, 0.15]))
        along = np.concatenate([[0], np.cumsum(lengths)])
        bend = np.radians(jitter(2.0)) * np.array([0, 0.3, 1, 2.0])
        local = KNUCKLES[k] + np.stack([along * np.cos(bend), along * np.sin(bend)], 1) @ np.array([turn, (-turn[1], turn[0])])
        joints = placed(local @ axes + wrist, RADII[k])
        joints[0, 2] = max(joints[0, 2], joints[1, 2] - 6)
        if curl[k]:
            joints[:, 2] += np.array([6, 5, -4, -12])
        hand.fingers.append((joints, RADII[k]))
        hand.shows_nails.append(not curl[k])
    start = np.array(THUMB)
    steps = [start]
    for n, length in enumerate(THUMB_LENGTHS):
        turn = thumb + np.radians((14, 0, -10)[n])
        steps.append(steps[-1] + length * np.array([np.cos(turn), np.sin(turn)]))
    hand.fingers.append((placed(np.array(steps) @ axes + wrist, np.array(THUMB_RADII), 2.0), np.array(THUMB_RADII)))
    hand.shows_nails.append(True)
    back = max(float(joints[0, 2]) for joints, _ in hand.fingers[:4])
    base = np.array([(8, 17), (6, 6), (6, -6), (8, -17)], float)
    for k in range(4):
        ends = np.array([base[k], KNUCKLES[k]]) @ axes + wrist
        radii = np.array([13.0, RADII[k][0] + 1.0])
        z = np.array([back - 2, hand.fingers[k][0][0, 2]])
        hand.palm.append((np.column_stack([ends, z]), radii))
    for a, b in ((0, 1), (1, 2), (2, 3)):  # between the bones
        ends = np.array([(base[a] + base[b]) / 2, 0.5 * (KNUCKLES[a] + KNUCKLES[b]) - (6, 0)]) @ axes + wrist
        hand.palm.append((np.column_stack([ends, [back - 4, back - 5]]), np.array([12.0, 10.0])))
    muscle = np.array([(14, 16), (56, 30)]) @ axes + wrist
    hand.palm.append((np.column_stack([muscle, [back - 6, back - 8]]), np.array([14.0, 13.0])))
    for offset in (-12.0, 12.0):
        arm = np.array([(4, offset), (-190, 1.7 * offset)]) @ axes + wrist
        hand.palm.append((np.column_stack([arm, [back - 3, back + 8]]), np.array([17.0, 26.0])))
    return hand


def _drawn(frame: FaceFrame, hand: _Hand, ratio: np.ndarray, generator: np.random.Generator) -> Layer:
    # At the photo's resolution, as outlines are smoothed by their distance.
    unit, camera = frame.pixels_per_mm / FINE, frame.reconstruction.camera
    project = lambda points: frame.project(points) / (FINE, FINE, 1)
    everything = np.concatenate([project(joints)[:, :2] for joints, _ in (*hand.fingers, *hand.palm)])
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
            height = here if height is None else _blended(height, here, FINGER_BLEND * unit)
            inside = edge if inside is None else np.maximum(inside, edge)
        for n in (1, 2):  # joints are thicker
            here, edge = cone(joints[[n, n]], 1.05 * radii[[n, n]])
            height = _blended(height, here - 0.02 * radii[n] * unit, FINGER_BLEND * unit)
            inside = np.maximum(inside, edge)
        parts.append(height)
    palm, edges = None, []
    for ends, radii in hand.palm:
        here, edge = cone(ends, radii)
        palm = here if palm is None else _blended(palm, here, PALM_BLEND * unit)
        edges.append(edge)
    palm_edge = edges[0]
    for edge in edges[1:]:
        palm_edge = _blended(palm_edge, edge, PALM_BLEND * unit)
    inside = _blended(inside, palm_edge, JOIN_BLEND * unit)
    owner = np.argmax(np.stack([*parts, palm]), 0)
    fingers = parts[0]
    for part in parts[1:]:
        fingers = np.maximum(fingers, part)
    height = _blended(fingers, palm, JOIN_BLEND * unit)

    crease, red, nail, white = (np.zeros(height.shape, np.float32) for _ in range(4))
    for k, ((joints, radii), shows) in enumerate(zip(hand.fingers, hand.shows_nails, strict=True)):
        own = cv2.GaussianBlur((owner == k).astype(np.float32), (0, 0), max(0.3 * unit, 0.5))
        flat = project(joints)[:, :2]
        for n, lines in ((1, 4), (2, 2)):
            s, across = _local(grid, flat[n], flat[n + 1] - flat[n - 1], unit)
            fade = np.exp(-((across / (0.75 * radii[n])) ** 4))
            for line in range(lines):
                at = (line - (lines - 1) / 2) * 2.1 + generator.normal(0, 0.3)
                wavy = at + 0.12 * (across**2) / radii[n] * np.sign(at or 1) + 0.25 * np.sin(across * generator.uniform(0.5, 1.2))
                crease += own * fade * np.exp(-(((s - wavy) / 0.38) ** 2)) * generator.uniform(0.5, 1.0)
            red += own * np.exp(-((s / (1.1 * radii[n])) ** 2) - (across / (1.3 * radii[n])) ** 2) * 0.7
        s, across = _local(grid, flat[3], flat[3] - flat[2], unit)
        red += own * np.exp(-(((s - 1) / 9.0) ** 2)) * 0.8
        s, across = s + 1.5, across / (0.72 * radii[3])
        if shows:
            bed = (np.abs(across) ** 3 + np.abs(s / (0.72 * NAIL)) ** 3)
            nail = np.maximum(nail, own * np.clip((1.12 - bed) / 0.18, 0, 1))
            white = np.maximum(white, own * np.clip((s - 0.50 * NAIL) / 0.8, 0, 1))
    for k in range(4):
        s, across = _local(grid, project(hand.fingers[k][0][0])[:2], np.array([0, 1.0]), unit)
        red += 0.55 * np.exp(-((s**2 + across**2) / 9.0**2))
    pores = texture_noise(height.shape, 1.6 * unit, generator, 3)
    height = height - crease * 0.42 * unit + 0.05 * unit * pores - 0.25 * unit * cv2.GaussianBlur(nail, (0, 0), 0.3 * unit)
    smooth = cv2.GaussianBlur(height, (0, 0), max(0.25 * unit, 0.6))
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    normals = normalised(np.stack([-dx, -dy, np.ones_like(dx)], -1)) * np.float32((1, 1, -1))
    normals = normals @ frame.rotation

    alpha = np.clip(inside + 0.5, 0, 1)
    solid = alpha > 0.5
    filled = np.where(solid, height, np.where(solid, height, 0)) if solid.any() else height
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 3.2 * unit)
    around = cv2.GaussianBlur(filled * solid, (0, 0), 3.2 * unit) / np.maximum(weight, 1e-3)
    sunk = np.clip((around - height) / (5.5 * unit), 0, 1)
    colours = frame.lit_skin(normals) * ratio
    half = normalised(frame.light_direction + frame.viewer)
    blotches = texture_noise(height.shape, 22 * unit, generator)
    colours = colours * (1 + 0.022 * pores + 0.035 * blotches)[..., None]
    colours = colours * np.exp(-np.clip(red + 0.15 * blotches, 0, 1.2)[..., None] * np.array([0.0, 0.13, 0.12]))
    colours = colours * np.exp(-crease[..., None] * np.array([0.16, 0.22, 0.24]))
    colours = colours * np.exp(-sunk[..., None] * np.array([0.75, 1.0, 1.1]))
    sheen = np.clip(normals @ half, 0, 1) ** 22
    colours = colours + 0.05 * (sheen * (1 + 0.5 * pores))[..., None] * frame.exposure
    plate = colours * NAIL_TINT * (1.08 + 0.16 * white[..., None])
    plate = plate + 0.22 * (np.clip(normals @ half, 0, 1) ** 60)[..., None] * frame.exposure
    rim = np.clip(1 - np.abs(nail - 0.5) * 2, 0, 1)
    colours = colours + nail[..., None] * 0.8 * (plate - colours) - 0.10 * rim[..., None] * colours
    # Skin turns darker and redder where it turns away.
    facing = np.clip(normals @ frame.viewer, 0, 1)
    colours = colours * np.exp(-(1 - facing)[..., None] ** 2 * np.array([0.35, 0.55, 0.6]))

    size = (camera.height, camera.width)
    image, opacity = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    image[window], opacity[window] = np.clip(colours, 0, 1) * alpha[..., None], alpha
    return Layer(image, opacity, gap=11.0, shadow=0.7)


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
