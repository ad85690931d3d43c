"""Where the teeth lie behind the lips, by the photo, and lips that meet at rest.

The expressions of the model leave the upper teeth alone and turn the lower ones with the jaw, so both may be moved
rigidly in the head frame: the morph targets stay as they are.
"""

from dataclasses import dataclass

import numpy as np

from external.anny.displacement import Field
from external.anny.head_model import HeadModel
from external.anny.points import LIPS, lip_edge
from renderer.camera import Camera
from renderer.rasterize import rasterize

# Lengths in m. Shifts are downwards from where the displacement leaves the teeth.
UPPER, LOWER = (0.0, 0.008), (-0.006, 0.009)  # ranges of the shifts
LOWERED = 0.003  # largest shift of the lower teeth below where the upper ones cover OVERBITE of them
STEP = 0.0005
USUAL = 0.003  # of the upper teeth, where the photo shows none: in photos that do, 2 to 6 mm
OVERBITE, DEEPEST_BITE = 0.0025, 0.007  # by which upper teeth cover lower ones with the jaw closed: usual, largest
GAP = 0.0006  # between them in the model
BEHIND = 0.003  # of the lower teeth behind the upper ones, which the model has one above the other
TONGUE_DOWN, TONGUE_BACK = 0.008, 0.006  # the model's tongue is raised: it hides the dark between the teeth
SPREAD = 0.006  # of the shifts around the usual ones; the photo decides, this breaks ties

# Closing lips: they end SHOWN above the edge of the upper teeth, if that is LOWEST at most below halfway; skin further from them stays; variances relative to the field's own
SHOWN, LOWEST = 0.004, 0.003
AROUND_LIPS, STILL, MET = 0.014, 1e-3, 1e-6

CLOSED, OPEN = 0.0008, 0.0020  # gaps between the points of the lips

# Evidence of the photo
WIDTH = 160  # px of the picture across the mouth
LEAST_OPENING = 0.0015  # height of a mouth whose teeth can be seen
LEAST_TEETH = 0.12  # share of the opening that shows teeth; with less, the shifts are the usual ones
OFFSET = 0.03  # added to colours before the logarithm, of 0..1
DARK, BRIGHT = 1.3, 0.5  # natural logs below the brightest teeth: surely none, surely teeth
LEAST_BRIGHTNESS = 1.2  # natural logs by which teeth are darker than lips at most
HUE_SHARE, HUE_WIDTH = 0.5, 0.08  # from lips to white, log of red to green: half of it divides; softness


@dataclass(frozen=True)
class TeethPlace:
    upper: float  # m, shift downwards of the upper teeth
    lower: float  # of the lower teeth
    seen: bool  # the photo shows teeth and decided


def find_teeth(
    model: HeadModel, vertices: np.ndarray, camera: Camera, down: np.ndarray, pixels: np.ndarray, points: np.ndarray
) -> TeethPlace:
    """The shifts of the teeth that agree best with the photo.

    Bright pixels between the lips that are less red than they are teeth. vertices: [V, 3] camera space, as in the
    photo. down: [3], the head's direction downwards in camera space, length 1. pixels: [H, W, 3] uint8, the whole
    photo. points: [468 or more, 2 or 3] px of Face Mesh.
    """
    window, view = _view(camera, pixels, points)
    ids = rasterize((vertices, model.triangles), view).face_ids
    opening = (ids >= 0) & np.isin(model.parts[ids], [model.part_names.index(n) for n in INSIDE])
    unit = view.fx / vertices[model.vertices_of("upper_teeth"), 2].mean()  # px/m
    height = opening.sum(axis=0)
    if np.sort(height)[-max(len(height) // 6, 1) :].mean() < LEAST_OPENING * unit:
        return usual_place()
    share = teeth_share(window, opening, _between_lips(view, camera, points))
    if share[opening].mean() < LEAST_TEETH:
        return usual_place()
    vote = np.where(opening, 2 * share - 1, 0)

    def drawn(part: str, shift: float) -> np.ndarray:
        moved = vertices + shift * down
        return rasterize((moved, model.triangles[model.part(part)]), view).face_ids >= 0

    uppers = np.arange(UPPER[0], UPPER[1] + STEP / 2, STEP)
    lowers = np.arange(LOWER[0], LOWER[1] + STEP / 2, STEP)
    upper, lower = [drawn("upper_teeth", shift) for shift in uppers], [drawn("lower_teeth", shift) for shift in lowers]
    best, found = -np.inf, (USUAL, 0.0)
    for shift, above in zip(uppers, upper, strict=True):
        for other, below in zip(lowers, lower, strict=True):
            if not shift - GAP - DEEPEST_BITE <= other <= usual_lower(shift) + LOWERED:
                continue
            prior = ((shift - USUAL) / SPREAD) ** 2 + ((other - usual_lower(shift)) / SPREAD) ** 2
            score = vote[above | below].sum() - 0.01 * opening.sum() * prior
            if score > best:
                best, found = score, (float(shift), float(other))
    return TeethPlace(*found, True)


INSIDE = ("mouth", "tongue", "upper_teeth", "lower_teeth")


def usual_place() -> TeethPlace:
    """Where teeth lie that the photo does not show."""
    return TeethPlace(USUAL, usual_lower(USUAL), False)


def usual_lower(upper: float) -> float:
    """Shift downwards, m, of the lower teeth, so that the upper ones cover OVERBITE of them."""
    return upper - GAP - OVERBITE


def teeth_share(window: np.ndarray, opening: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """How much each pixel [H, W] of the opening looks like teeth, 0..1. window: [H, W, 3], 0..1.

    opening, lips: [H, W] bool.
    """
    logs = np.log(window.astype(np.float64) + OFFSET)
    hue, brightness = logs[..., 0] - logs[..., 1], logs.mean(-1)
    if not lips.any() or not opening.any():
        return np.zeros(opening.shape)
    lip_hue, lip_brightness = np.median(hue[lips]), np.median(brightness[lips])
    white = min(np.percentile(hue[opening], 10), lip_hue - 0.15)
    limit = lip_hue + HUE_SHARE * (max(white, 0.0) - lip_hue)
    pale = 1 / (1 + np.exp(np.clip((hue - limit) / (HUE_WIDTH / 2), -30, 30)))
    teeth = opening & (pale > 0.5)
    if not teeth.any():
        return np.zeros(opening.shape)
    brightest = np.percentile(brightness[teeth], 90)
    if brightest < lip_brightness - LEAST_BRIGHTNESS:
        return np.zeros(opening.shape)
    bright = np.clip((brightness - brightest + DARK) / (DARK - BRIGHT), 0, 1)
    return pale * bright


def _view(camera: Camera, pixels: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, Camera]:
    """The photo around the mouth [H, WIDTH, 3], 0..1, and its camera."""
    import cv2

    lips = points[OUTER_LIPS, :2]
    low, high = lips.min(axis=0), lips.max(axis=0)
    scale = WIDTH / max(high[0] - low[0], 1.0)
    height = int(np.clip(round((high[1] - low[1]) * scale), 8, 4 * WIDTH))
    view = Camera(WIDTH, height, camera.fx * scale, camera.fy * scale, *((camera.cx, camera.cy) - low) * scale)
    # Pixel centres lie at .5; OpenCV's at 0.
    shift = 0.5 * scale - 0.5 - low * scale
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    smaller = pixels
    if scale < 0.5:  # as OpenCV does not average when it shrinks
        smaller = cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale)
    window = cv2.warpAffine(smaller, matrix, (WIDTH, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return window.astype(np.float32) / 255, view


OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]


def _between_lips(view: Camera, camera: Camera, points: np.ndarray) -> np.ndarray:
    """Pixels [H, W] bool of the red of the lips."""
    import cv2

    scale = view.fx / camera.fx
    places = (points[:, :2] - (camera.cx, camera.cy)) * scale + (view.cx, view.cy)
    inner = [*LIPS[0], *LIPS[1][-2:0:-1]]
    drawn = np.zeros((view.height, view.width), np.uint8)
    cv2.fillPoly(drawn, [np.round(places[OUTER_LIPS]).astype(np.int32)], 1)
    cv2.fillPoly(drawn, [np.round(places[inner]).astype(np.int32)], 0)
    cv2.polylines(drawn, [np.round(places[inner]).astype(np.int32)], True, 0, 5)
    return drawn > 0


def opened(points: np.ndarray, unit: float) -> float:
    """How far the lips are open in the photo: 0 for closed ones, which the points leave slightly apart, to 1.

    points: [468 or more, 2 or 3] px. unit: px/m.
    """
    upper, lower = (points[list(half), :2] for half in LIPS)
    gap = np.linalg.norm(upper - lower, axis=1).max() / unit
    return float(np.clip((gap - CLOSED) / (OPEN - CLOSED), 0, 1))


def place_teeth(model: HeadModel, vertices: np.ndarray, place: TeethPlace) -> None:
    """Moves teeth and tongue of a head [V, 3] in the head frame, in place."""
    vertices[model.vertices_of("upper_teeth")] += (0, -place.upper, 0)
    vertices[model.vertices_of("lower_teeth")] += (0, -place.lower, -BEHIND)
    vertices[model.vertices_of("tongue")] += (0, -place.lower - TONGUE_DOWN, -TONGUE_BACK)


def closed_lips(field: Field, head: np.ndarray, lower_by: float = 0.0) -> np.ndarray:
    """Offsets [V, 3], m, that close the lips of a head [V, 3], without the teeth.

    The lips' borders meet halfway, or m below; the skin and the inside of the mouth follow smoothly, what is away from the mouth
    stays.
    """
    prepared = field.prepared
    model, (upper, lower) = prepared.model, field.lips
    edge = lip_edge(model)
    corners = edge[[model.vertices[edge, 0].argmin(), model.vertices[edge, 0].argmax()]]
    places = [np.concatenate([[corners[0]], chain, [corners[1]]]) for chain in (upper, lower)]
    along = [model.vertices[chain, 0].astype(np.float64) for chain in places]
    between = lambda where, known, values: np.stack([np.interp(where, known, column) for column in values.T], axis=1)
    middle = (head[places[1]] + between(along[1], along[0], head[places[0]])) / 2
    middle -= (0, lower_by, 0) * np.sin(np.linspace(0, np.pi, len(middle)))[:, None]
    wanted = np.concatenate([between(along[0][1:-1], along[1], middle) - head[upper], middle[1:-1] - head[lower]])
    points = prepared.points.at(model.vertices.astype(np.float64))
    far = np.linalg.norm(points[:, None] - model.vertices[np.concatenate(places)], axis=2).min(axis=1) > AROUND_LIPS
    still = np.flatnonzero(far)
    chosen = np.concatenate([still, field.of_lips])
    values = np.concatenate([np.zeros((len(still), 3)), wanted])
    variance = np.concatenate([np.full(len(still), STILL), np.full(len(wanted), MET)])
    offsets = np.zeros(head.shape)
    offsets[field.used] = field.through(values, variance, chosen)
    inside = model.vertices_of("mouth")  # which has no points that keep it
    away = np.linalg.norm(model.vertices[inside, None] - model.vertices[np.concatenate(places)], axis=2).min(axis=1)
    offsets[inside] *= np.clip(2 - away / AROUND_LIPS, 0, 1)[:, None]
    offsets[np.concatenate(field.lips)] = wanted
    return offsets


def lip_drop(field: Field, neutral: np.ndarray) -> float:
    """By how much, m, lips that close halfway end too high above the edge of the upper teeth of a neutral head [V, 3].

    A fit explains some of the raised lip of a smile by the shape of the head.
    """
    upper, lower = (neutral[chain, 1] for chain in field.lips)
    halfway = (np.median(upper) + np.median(lower)) / 2
    edge = neutral[field.prepared.model.vertices_of("upper_teeth"), 1].min()
    return float(np.clip(halfway - edge - SHOWN, 0, LOWEST))
