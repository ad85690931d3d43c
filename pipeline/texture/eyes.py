"""Eyeballs: what the photo shows between the lids, and the rest of iris, pupil and sclera completed around it.

The eyes of the texture can turn, so it holds no lid, lash or highlight. Directions are in degrees from the eye's axis
at rest, by angle from the axis and around it (azimuthal equidistant), x to the person's left, y up.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from pipeline.reconstruction.rig import EYES
from pipeline.texture.head_parts import HeadTexels, brightness_of_light

IRIS_DIAMETER = 11.7  # mm
RADII = (0.85, 1.2)  # range of the iris's radius, relative to the mean person's
OFFSETS, OFFSET_STEP = 5.0, 1.0  # degrees, how far the iris may lie from where the eye looks
OFFSET_SPREAD = (3.0, 1.5)  # degrees, across and up; lids hide most of the iris's upper and lower edge
EDGE = 4.0  # degrees to either side of the iris's edge that are compared
PUPIL = 0.34  # of the iris's radius
LID_SHADOW, UPPER_LID_SHADOW, FEATHER = 0.7, 1.3, 0.7  # mm beside the lids that do not count; ramp of confidence
# Natural log units
LASH, HIGHLIGHT, LID_HUE = 0.5, 0.25, 0.16
REJECTED_MARGIN = 0.5  # mm
LEAST_IRIS, LEAST_SCLERA = 8.0, 3.0  # square mm that must be seen
LEAST_PIXELS = 8.0  # px across the iris
LIMBUS = 3.0  # degrees over which iris becomes sclera
BINS = (40, 180)  # of the completion: along the radius and around
SCLERA_REACH = 3.0  # mm over which seen shades of the sclera fade
CORNER = (28.0, 65.0)  # degrees between which the sclera reddens
CORNER_FACTOR = np.array([0.66, 0.45, 0.42])
WORSE, DARKER = 0.5, 0.5  # seen area relative to the other eye, and log brightness below it: then that eye's colours count
PLAIN_IRIS, PLAIN_PUPIL, PLAIN_SCLERA = np.array([0.23, 0.14, 0.09]), 0.03, np.array([0.74, 0.69, 0.66])
OFFSET = 0.02  # added before logarithms


@dataclass(frozen=True)
class Eye:
    """One eyeball in the texture, as the photo shows it. N texels."""

    where: np.ndarray  # [H, W] bool
    window: tuple[slice, slice]  # rows and columns around it
    directions: np.ndarray  # [N, 2] degrees from the axis
    centre: np.ndarray  # [2] degrees: the middle of the iris
    radius: float  # degrees, of the iris
    texels_per_mm: float
    iris: float  # square mm of it that are seen
    sclera: float
    iris_is_seen: bool  # enough of it, and not much worse than the other eye's
    sclera_is_seen: bool


def find_eyes(
    head: HeadTexels, sampled: np.ndarray, seen: np.ndarray, pixels_per_mm: float
) -> tuple[dict[str, Eye], np.ndarray]:
    """The eyes by name, and `seen` [H, W] without lids, lashes and highlights on them.

    sampled: the photo in the texture [H, W, 3], 0..1. pixels_per_mm: of the photo, at the face.
    """
    eyes, seen = {}, seen.copy()
    for name in EYES:
        if name not in head.rig.eye_names.tolist() or not (where := head.eye(name)).any():
            continue
        eye, confidence = _find(head, name, where, sampled, seen, pixels_per_mm)
        eyes[name], seen[where] = eye, confidence
    for name, eye in eyes.items():
        others = [other for other in eyes.values() if other is not eye and other.iris_is_seen]
        if eye.iris_is_seen and others and _is_worse(eye, others[0], sampled, seen):
            seen[eye.where] = 0  # mostly lid and lashes
            eyes[name] = replace(eye, iris_is_seen=False, sclera_is_seen=False)
            break
    return eyes, seen


def _is_worse(eye: Eye, other: Eye, sampled: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the other eye shows this one's colours better."""
    if eye.iris < WORSE * other.iris:
        return True
    bodies = []
    for each in (eye, other):
        from_centre = np.linalg.norm(each.directions - each.centre, axis=1) / each.radius
        body = (seen[each.where] > 0.5) & (from_centre > 0.45) & (from_centre < 0.85)
        bodies.append(np.log(np.median(sampled[each.where][body].mean(1)) + OFFSET) if body.any() else -np.inf)
    return bodies[0] < bodies[1] - DARKER


def fill_eyes(head: HeadTexels, eyes: dict[str, Eye], texture: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The texture [H, W, 3] with complete eyeballs, and what was not seen, in words.

    texture: with complete skin, and the photo where seen [H, W], 0..1. An eye that is badly seen takes the other's colours.
    """
    result, notes = texture.copy(), []
    lit = brightness_of_light(head, texture)
    described = {name: _Looks(eye, texture, seen) for name, eye in eyes.items()}
    for name, eye in eyes.items():
        others = [described[each] for each in eyes if each != name]
        shared = [described[name], *others]
        iris = next((looks for looks in shared if looks.eye.iris_is_seen), None)
        sclera = max((looks for looks in shared if looks.eye.sclera_is_seen), key=lambda looks: looks.eye.sclera, default=None)
        if sclera is not None and described[name].eye.sclera > WORSE * sclera.eye.sclera:
            sclera = described[name] if described[name].eye.sclera_is_seen else sclera
        white = PLAIN_SCLERA * lit if sclera is None else sclera.white
        filled = described[name].completed(iris, others, white, lit)
        share = seen[eye.where][:, None]
        result[eye.where] = np.clip(share * texture[eye.where] + (1 - share) * filled, 0, 1)
        if iris is None:
            notes.append(f"the iris of the {name} eye is not seen: a plain dark brown one is used")
        elif iris is not described[name]:
            notes.append(f"the iris of the {name} eye is not seen: the other eye's is used")
    return result, notes


def _find(
    head: HeadTexels, name: str, where: np.ndarray, sampled: np.ndarray, seen: np.ndarray, pixels_per_mm: float
) -> tuple[Eye, np.ndarray]:
    """The eye and the confidence [N] of its texels."""
    index = head.rig.eye_names.tolist().index(name)
    points = head.positions(where) - (head.rig.eye_centres[index] - head.origin) * head.scale
    lengths = np.linalg.norm(points, axis=1)
    angle = np.degrees(np.arccos(np.clip(points[:, 2] / lengths, -1, 1)))
    directions = points[:, :2] / np.maximum(np.linalg.norm(points[:, :2], axis=1), 1e-9)[:, None] * angle[:, None]
    radius_mm = float(head.rig.eye_radii[index]) * head.scale
    # Texels of the disc: equal steps of the angle.
    near = angle < 45
    texels_per_mm = np.sqrt(near.sum() / (np.pi * (np.radians(45) * radius_mm) ** 2)) if near.any() else head.texels_per_mm
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = where[window]

    # Away from the lids, more so from the upper one with its lashes.
    shown = np.pad((seen[window] > 0.5) & inside, 1)
    away = cv2.distanceTransform(shown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    shift = max(round((UPPER_LID_SHADOW - LID_SHADOW) * texels_per_mm), 0)
    below = np.zeros_like(away)
    below[shift:] = away[: len(away) - shift]
    away = np.minimum(away, below)[1:-1, 1:-1][inside] / texels_per_mm
    confidence = np.clip((away - LID_SHADOW) / FEATHER, 0, 1).astype(np.float32) * seen[where]

    colours = np.log(sampled[where] + OFFSET)
    expected = np.degrees(np.arcsin(min(IRIS_DIAMETER / 2 / radius_mm, 0.9)))
    centre, radius = _find_iris(directions, colours.mean(1), confidence > 0.5, expected)
    from_centre = np.linalg.norm(directions - centre, axis=1)
    good = _clean(from_centre, colours, confidence > 0, radius)
    bad = np.zeros(inside.shape, np.uint8)
    bad[inside] = (confidence > 0) & ~good
    distance = cv2.distanceTransform(1 - bad, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[inside] / texels_per_mm
    confidence *= np.clip((distance - REJECTED_MARGIN / 2) / REJECTED_MARGIN, 0, 1)

    area = lambda chosen: float((confidence[chosen] > 0.5).sum()) / texels_per_mm**2
    iris, sclera = area(from_centre < radius), area(from_centre > radius + LIMBUS)
    iris_seen = iris > LEAST_IRIS and pixels_per_mm * IRIS_DIAMETER > LEAST_PIXELS
    sclera_seen = sclera > LEAST_SCLERA
    if not iris_seen:
        confidence[:] = 0  # a strip of an eye cannot be told from lid and lashes
        centre, radius, sclera_seen = np.zeros(2), expected, False
    eye = Eye(where, window, directions, centre, radius, texels_per_mm, iris, sclera, iris_seen, sclera_seen)
    return eye, confidence


def _find_iris(
    directions: np.ndarray, brightness: np.ndarray, shown: np.ndarray, expected: float
) -> tuple[np.ndarray, float]:
    """Centre [2] and radius of the iris, degrees: where the brightness [N], logs, rises most from inside to outside."""
    chosen = np.flatnonzero(shown & (np.linalg.norm(directions, axis=1) < expected * RADII[1] + OFFSETS + EDGE))
    if len(chosen) < 100:
        return np.zeros(2), expected
    chosen = chosen[:: max(len(chosen) // 3000, 1)]
    places, values = directions[chosen], brightness[chosen]
    values = np.minimum(values, np.percentile(values, 90))  # highlights
    steps = np.arange(-OFFSETS, OFFSETS + OFFSET_STEP / 2, OFFSET_STEP)
    best, found = -np.inf, (np.zeros(2), expected)
    for x in steps:
        for y in steps:
            from_centre = np.hypot(places[:, 0] - x, places[:, 1] - y)
            cost = (x / OFFSET_SPREAD[0]) ** 2 + (y / OFFSET_SPREAD[1]) ** 2
            bins = np.arange(RADII[0] * expected - EDGE, RADII[1] * expected + EDGE + 0.5, 0.5)
            number = np.digitize(from_centre, bins)
            count = np.cumsum(np.bincount(number, minlength=len(bins) + 1))
            total = np.cumsum(np.bincount(number, values, minlength=len(bins) + 1))
            reach = round(EDGE / 0.5)
            for k in range(reach, len(bins) - reach):
                outside, inside = count[k + reach] - count[k], count[k] - count[k - reach]
                if min(outside, inside) < 0.01 * len(chosen):
                    continue
                rise = (total[k + reach] - total[k]) / outside - (total[k] - total[k - reach]) / inside
                cost_here = cost + ((bins[k] / expected - 1) / 0.1) ** 2
                score = rise - 0.03 * cost_here
                if score > best:
                    best, found = score, (np.array([x, y]), float(bins[k]))
    return found


def _clean(from_centre: np.ndarray, colours: np.ndarray, shown: np.ndarray, radius: float) -> np.ndarray:
    """Texels [N] bool that are neither lash nor lid nor highlight. colours: [N, 3], logs. shown: [N] bool."""
    good = shown.copy()
    brightness = colours.mean(1)
    hue = colours[:, 0] - colours[:, 1:].mean(1)  # red against the rest
    sclera = shown & (from_centre > radius + LIMBUS)
    if sclera.any():
        bright = sclera & (brightness >= np.percentile(brightness[sclera], 50))
        white, red = np.percentile(brightness[bright], 60), np.median(hue[bright])
        good &= ~(sclera & (brightness < white - LASH))
        good &= ~(sclera & (brightness > white + HIGHLIGHT))
        good &= ~(sclera & (hue > red + LID_HUE))
    for inner, outer in ((0, PUPIL), (PUPIL, 0.6), (0.6, 0.85), (0.85, 1.0)):
        ring = shown & (from_centre >= inner * radius) & (from_centre < outer * radius)
        if ring.any():
            usual = np.percentile(brightness[ring], 35 if outer == PUPIL else 50)
            good &= ~(ring & (brightness > usual + HIGHLIGHT * (1 if outer < 1 else 2)))
    return good


class _Looks:
    """Colours of an eye by radius and angle about the middle of its iris."""

    def __init__(self, eye: Eye, texture: np.ndarray, seen: np.ndarray):
        self.eye = eye
        self._seen, self._colours = seen[eye.where], np.log(np.maximum(texture[eye.where], 0) + OFFSET)
        away = eye.directions - eye.centre
        self.from_centre, self.around = np.hypot(*away.T), np.arctan2(away[:, 1], away[:, 0])
        sure = self._seen > 0.9
        sclera = sure & (self.from_centre > eye.radius + LIMBUS)
        self.white = np.exp(np.median(self._colours[sclera], axis=0)) - OFFSET if sclera.any() else PLAIN_SCLERA
        self.profile = self._radial(sure)
        self.detail, self.known = self._polar()

    @property
    def _reach(self) -> float:
        return self.eye.radius + LIMBUS

    def _radial(self, sure: np.ndarray) -> np.ndarray:
        """Median log colour [BINS[0], 3] at each radius, 0 to _reach."""
        count = BINS[0]
        radii = (np.arange(count) + 0.5) / count * self._reach
        medians, known = np.zeros((count, 3)), np.zeros(count, bool)
        for k, radius in enumerate(radii):
            ring = sure & (np.abs(self.from_centre - radius) < self._reach / count)
            known[k] = ring.sum() > 8
            if known[k]:
                medians[k] = np.median(self._colours[ring], axis=0)
        if known.sum() < 3:
            return np.log(np.broadcast_to(PLAIN_IRIS, (count, 3)) + OFFSET)
        profile = np.stack([np.interp(radii, radii[known], column[known]) for column in medians.T], axis=1)
        return cv2.GaussianBlur(profile[:, None].astype(np.float64), (1, 3), 0.7, borderType=cv2.BORDER_REPLICATE)[:, 0]

    def _polar(self) -> tuple[np.ndarray, np.ndarray]:
        """Log colour minus profile [BINS, 3] and its confidence [BINS], by radius and angle."""
        radii = (np.arange(BINS[0]) + 0.5) / BINS[0] * self._reach
        angles = (np.arange(BINS[1]) + 0.5) / BINS[1] * 2 * np.pi - np.pi
        places = self.eye.centre + radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        nearest = cKDTree(self.eye.directions).query(places.reshape(-1, 2))[1].reshape(BINS)
        detail = np.clip(self._colours[nearest] - self.profile[:, None], -0.6, 0.6)
        known = self._seen[nearest]
        known = np.minimum(known, _blur_around(known, 3.0)) ** 2
        return detail.astype(np.float32), known.astype(np.float32)

    def completed(self, iris: "_Looks | None", others: list["_Looks"], white: np.ndarray, lit: float) -> np.ndarray:
        """Colours [N, 3], 0..1, of all texels. iris: whose iris this eye has. white: the sclera's colour [3]."""
        eye = self.eye
        relative = self.from_centre / eye.radius
        if iris is None:
            dark = 1 - 0.35 * np.clip((relative - 0.75) / 0.25, 0, 1)
            inside = np.log(PLAIN_IRIS * lit * dark[:, None] + OFFSET)
            pupil = np.full(3, PLAIN_PUPIL)
        else:
            inside = iris.at(relative, self.around, iris is not self, others if iris is self else [])
            ring = (np.arange(BINS[0]) + 0.5) / BINS[0] * (iris.eye.radius + LIMBUS) / iris.eye.radius
            body = np.exp(iris.profile[(ring > 0.45) & (ring < 0.9)].mean(0)) - OFFSET
            centre = np.exp(iris.profile[ring < 0.25].min(0)) - OFFSET
            pupil = np.clip(np.minimum(centre, 0.45 * body), 0.01, 0.12)
        within = _step(relative, PUPIL + 0.05, PUPIL - 0.05)[:, None]
        inside += within * (np.minimum(np.log(pupil + OFFSET), inside) - inside)
        outside = np.log(np.maximum(white, 0.02) + OFFSET) + self._sclera_shades(white)
        angle = np.linalg.norm(eye.directions, axis=1)
        corner = np.clip((angle - CORNER[0]) / (CORNER[1] - CORNER[0]), 0, 1)[:, None]
        outside = outside + corner * np.log(CORNER_FACTOR)
        edge = _step(self.from_centre, eye.radius - LIMBUS / 2, eye.radius + LIMBUS / 2)[:, None]
        return np.exp(inside + edge * (outside - inside)) - OFFSET

    def at(self, relative: np.ndarray, around: np.ndarray, mirrored: bool, others: list["_Looks"]) -> np.ndarray:
        """Log colours [N, 3] of the iris at radii relative to its own, and angles. mirrored: for the other eye."""
        detail = self.detail * self.known[..., None]
        left = 1 - self.known
        flipped = lambda image: np.roll(image[:, ::-1], BINS[1] // 2, axis=1)  # x to -x
        fine = self.detail - _blur_around(self.detail, 12.0, self.known)
        sources = [(flipped(self.detail), flipped(self.known))]
        for other in others:
            if other.eye.iris_is_seen:
                theirs = other.detail - _blur_around(other.detail, 12.0, other.known)
                sources += [(flipped(theirs), flipped(other.known))]
        sources += [(fine[:, ::-1], self.known[:, ::-1])]  # y to -y
        sources += [(np.roll(fine, turn, axis=1), np.roll(self.known, turn, axis=1)) for turn in (45, -45, 90, -90)]
        for values, weight in sources:
            share = left * weight
            detail += share[..., None] * values
            left = left - share
        image = (self.profile[:, None] + detail).astype(np.float32)
        image = flipped(image) if mirrored else image
        padded = np.concatenate([image[:, -1:], image, image[:, :1]], axis=1)
        rows = relative * self.eye.radius / self._reach * BINS[0] - 0.5
        columns = (around + np.pi) / (2 * np.pi) * BINS[1] + 0.5
        maps = (columns.astype(np.float32)[:, None], np.clip(rows, 0, BINS[0] - 1).astype(np.float32)[:, None])
        places = [np.array_split(each, len(each) // 30000 + 1) for each in maps]
        parts = [cv2.remap(padded, *pair, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for pair in zip(*places, strict=True)]
        return np.concatenate(parts)[:, 0].astype(np.float64)

    def _sclera_shades(self, white: np.ndarray) -> np.ndarray:
        """How the seen sclera differs from its usual colour [N, 3], log, carried on around it and fading."""
        eye = self.eye
        sclera = self.from_centre > eye.radius + LIMBUS
        weights = np.zeros(eye.where[eye.window].shape, np.float32)
        inside = eye.where[eye.window]
        weights[inside] = self._seen * sclera
        if not weights.any():
            return np.zeros_like(self._colours)
        shades = np.zeros((*weights.shape, 3), np.float32)
        shades[inside] = np.clip(self._colours - np.log(np.maximum(white, 0.02) + OFFSET), -0.6, 0.3)
        sigma = 0.4 * SCLERA_REACH * eye.texels_per_mm
        total = cv2.GaussianBlur(weights, (0, 0), sigma)
        means = cv2.GaussianBlur(shades * weights[..., None], (0, 0), sigma) / np.maximum(total, 1e-4)[..., None]
        return (means * np.clip(4 * total, 0, 1)[..., None])[inside]


def _blur_around(image: np.ndarray, sigma: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted mean along the angle, and a little along the radius, of [BINS] or [BINS, 3]. sigma: bins."""
    wide = lambda array: np.concatenate([array] * 3, axis=1)
    blurred = lambda array: cv2.GaussianBlur(wide(array), (0, 0), sigmaX=sigma, sigmaY=1.0)[:, BINS[1] : 2 * BINS[1]]
    if weights is None:
        return blurred(image)
    return blurred(image * weights[..., None]) / np.maximum(blurred(weights), 1e-3)[..., None]


def _step(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """Smooth step from 0 at start to 1 at end."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)
