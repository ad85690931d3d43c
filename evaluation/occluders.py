"""Things drawn over photos, of which is known what they hide: fringes, hats, glasses, hands, microphones.

They are anchored to the reconstruction's face, lit by the photo's light, cast shadows on the skin, and get the photo's
sharpness and noise. All randomness comes from a generator that is passed in.
"""

from collections.abc import Callable

import cv2
import numpy as np

from evaluation.face_frame import SKULL_CENTRE, FaceFrame
from evaluation.hands import draw_hand
from evaluation.layers import Layer, Surface, compose, draw_strands, draw_surface, layer_of, shade, texture_noise
from renderer.mesh import normalised

VERSION = "1"  # raised when the same photo and seed give another picture
HAIR, GLASSES, OTHER = "hair", "glasses", "other"
OWN_HAIR = 0.5  # share of fringes in the person's own colour

HAIR_COLOURS = {
    "black": (0.07, 0.06, 0.06), "dark brown": (0.17, 0.11, 0.08), "brown": (0.32, 0.20, 0.13),
    "blond": (0.66, 0.53, 0.37), "red": (0.42, 0.20, 0.12), "grey": (0.58, 0.57, 0.56),
    "light blond": (0.80, 0.71, 0.56),
}  # fmt: skip
FRAME_COLOURS = {
    "black": (0.03, 0.03, 0.035), "brown": (0.20, 0.10, 0.05), "red": (0.42, 0.05, 0.07), "blue": (0.06, 0.10, 0.30),
    "tortoise": (0.30, 0.15, 0.05), "grey": (0.35, 0.35, 0.37),
}  # fmt: skip
METALS = {"gold": (0.72, 0.55, 0.30), "silver": (0.62, 0.63, 0.66), "gunmetal": (0.18, 0.18, 0.20)}
CLOTHS = {
    "black": (0.06, 0.06, 0.07), "navy": (0.08, 0.12, 0.25), "red": (0.55, 0.07, 0.09), "grey": (0.42, 0.42, 0.44),
    "beige": (0.70, 0.60, 0.46), "green": (0.16, 0.26, 0.16), "white": (0.85, 0.84, 0.82),
    "mustard": (0.68, 0.47, 0.10),
}  # fmt: skip
FOAMS = {
    "black": (0.05, 0.05, 0.055),
    "red": (0.55, 0.09, 0.09),
    "blue": (0.10, 0.17, 0.42),
    "yellow": (0.76, 0.61, 0.16),
}


def draw(kind: str, frame: FaceFrame, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """A thing of a kind of KINDS over a frame's photo.

    Returns the picture [H, W, 3] and the share of each pixel that the thing hides [H, W], both float32, 0..1, and what
    it is: HAIR, GLASSES or OTHER. The clear part of a lens hides nothing.
    """
    label, make = KINDS[kind]
    picture, coverage = compose(frame, make(frame, generator), generator)
    return picture, coverage, label


def _one_of(generator: np.random.Generator, choices: dict) -> np.ndarray:
    return np.array(list(choices.values())[generator.integers(len(choices))], np.float64)


# ---- hair ------------------------------------------------------------------------------------------------------------


def _fringe(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    """Locks from the top of the head over the forehead: straight, swept aside, parted or thin; and single hairs."""
    style = ("straight", "swept", "curtain", "thin")[generator.integers(4)]
    own = _hair_colour(frame)
    colour = own if own is not None and generator.random() < OWN_HAIR else _one_of(generator, HAIR_COLOURS)
    locks, each = (46, 70) if style == "thin" else (110, 52)
    side, parting = generator.choice((-1, 1)), generator.uniform(-12, 12)
    t = np.linspace(0, 1, 30)
    lowest, wave = generator.uniform(0, 12), generator.uniform(0.4, 2.6)
    starts = np.clip(generator.normal(0, 24, locks), -58, 58)
    strands, tones = [], []
    for rank, at in enumerate(starts):
        outer = np.abs(at) / 50
        if style == "swept":
            drift, end = side * generator.normal(26, 6), lowest + 16 * (at * side < -10) - 10 * outer * (at * side > 10)
        elif style == "curtain":
            away = np.sign(at - parting) or 1.0
            drift = away * generator.normal(24, 4)
            end = 34 - 1.1 * min(abs(at - parting + drift), 50)
        else:
            drift, end = generator.normal(0, 4.5), lowest - 9 * outer**2
        end = end + generator.normal(0, 3.5)
        count = max(int(each * generator.uniform(0.5, 1.3)), 8)
        wide, gathered = generator.uniform(1.6, 3.4), generator.uniform(0.5, 0.9)
        own_places = generator.normal(0, wide, (count, 1)) * (1 - gathered * t**1.4)
        phase, turns = generator.uniform(0, 6), generator.uniform(2.0, 5.0)
        sway = wave * generator.normal(0, 1.0) * np.sin(t * turns + phase) * t
        loose = generator.normal(0, 0.5, (count, 1)) * np.sin(t * generator.uniform(3, 9, (count, 1)) + phase) * t
        sides = at + own_places + drift * t**1.7 + sway + loose
        ends = end + np.abs(generator.normal(0, 4.0, (count, 1))) + generator.exponential(3.0, (count, 1))
        begins = generator.normal(84, 7, (count, 1))
        elevation = begins + (ends - begins) * t**0.95 + 0.5 * sway
        depth = rank / locks + generator.normal(0, 0.12, (count, 1))  # outer ones are drawn later
        bulge = np.sin(np.pi * np.clip(1.1 - t, 0, 1)) ** 2 * generator.uniform(0.5, 1.3)
        lift = (1.5 + 5.5 * np.clip(depth, 0, 1)) * (0.35 + bulge) + 1.0
        strands.append(frame.skull(elevation, np.clip(sides, -85, 85), lift))
        lighter = generator.normal(0, 0.16) + generator.normal(0, 0.15, (count, 1))
        tones.append(np.stack(np.broadcast_arrays(depth, lighter, t), -1))
    count = 50
    sides = generator.normal(0, 28, (count, 1)) + generator.normal(0, 16, (count, 1)) * t**1.5
    begins = generator.normal(70, 14, (count, 1))
    ends = lowest + 14 + np.abs(generator.normal(0, 12, (count, 1)))
    bow = generator.normal(0, 4.0, (count, 1)) * np.sin(np.pi * t)
    lift = generator.uniform(3, 11, (count, 1)) * np.sin(np.pi * np.clip(t + 0.05, 0, 1)) + 1.5
    strands.append(frame.skull(begins + (ends - begins) * t, np.clip(sides + bow, -80, 80), lift))
    tones.append(np.stack(np.broadcast_arrays(np.ones((count, 1)), generator.normal(0, 0.2, (count, 1)), t), -1))
    strands, tones = np.concatenate(strands), np.concatenate(tones)
    order = np.argsort(tones[:, 0, 0], kind="stable")
    return [_hair(frame, strands[order], tones[order], colour, generator)]


def _hair_colour(frame: FaceFrame) -> np.ndarray | None:
    """The person's own hair [3] as albedo, of what is unlike skin on the upper head; None with too little of it."""
    x, y, _ = np.moveaxis(frame.positions, -1, 0)
    where = frame.inside & (y > 70) & (np.abs(x) < 60) & (frame.skin_difference > 1.2)
    if np.count_nonzero(where) < 400:
        return None
    return np.median(frame.photo[where], axis=0) / (frame.exposure * 0.72)


def _hair(
    frame: FaceFrame, strands: np.ndarray, tones: np.ndarray, colour: np.ndarray, generator: np.random.Generator
) -> Layer:
    """Strands [S, n, 3] mm, inner ones first. tones [S, n, 3]: how far outside, log brightness, place along the strand.

    Diffuse and specular terms as Kajiya and Kay (1989) have them.
    """
    tangents = normalised(np.gradient(strands, axis=1))
    outward = normalised(strands - SKULL_CENTRE)
    light, view = frame.light_direction, frame.viewer
    along, seen = tangents @ light, tangents @ view
    sines = np.sqrt(np.clip(1 - along**2, 0, 1)), np.sqrt(np.clip(1 - seen**2, 0, 1))
    shift = 0.12 * tones[..., 1]
    gloss = np.clip(sines[0] * sines[1] - along * seen + shift, 0, 1) ** 28 * np.clip(outward @ light + 0.15, 0, 1)
    depth, tone, t = np.moveaxis(tones, -1, 0)
    diffuse = (0.45 + 0.55 * sines[0]) * (0.42 + 0.58 * np.clip(depth + 0.15, 0, 1))
    body = colour * np.exp(tone)[..., None] * (1 + 0.25 * np.clip(t - 0.5, 0, 1))[..., None]
    body = body * frame.shading(outward, 0.15) * diffuse[..., None]
    sheen = gloss[..., None] * (0.04 + 0.22 * colour + 0.10 * colour.mean())
    return draw_strands(frame, strands, (body + sheen) * frame.exposure, generator, gap=7.0, shadow=0.6)


# ---- hats ------------------------------------------------------------------------------------------------------------


def _hat(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    """A knitted hat, a cap, or a hat with a brim all around."""
    style = ("beanie", "cap", "brimmed")[generator.integers(3)]
    cloth = _one_of(generator, CLOTHS)
    axis = normalised(np.array([generator.normal(0, 0.04), 1.0, generator.uniform(-0.34, -0.22)]))
    forward = normalised(np.array([0, 0, 1.0]) - axis * axis[2])
    left = np.cross(axis, forward)
    edge = generator.uniform(81, 89) if style == "beanie" else generator.uniform(79, 86)

    def crown(polar: np.ndarray, ring: np.ndarray, lift: np.ndarray | float) -> np.ndarray:
        """Points [..., 3] mm; polar: degrees from the hat's axis, ring: degrees around it from the front."""
        p, r = np.radians(polar)[..., None], np.radians(ring)[..., None]
        way = np.cos(p) * axis + np.sin(p) * (np.cos(r) * forward + np.sin(r) * left)
        sides = np.degrees(np.arcsin(np.clip(way[..., 0], -1, 1)))
        elevation = np.degrees(np.arctan2(way[..., 1], way[..., 2]))
        return frame.skull(np.where(elevation < -90, elevation + 360, elevation), sides, lift)

    polar, ring = np.meshgrid(np.linspace(0.5, edge, 90), np.linspace(0, 360, 241), indexing="ij")
    t = polar / edge
    puff = {"beanie": generator.uniform(24, 34), "cap": 25.0, "brimmed": 34.0}[style]
    lift = 6 + puff * np.clip(1 - t**2.2, 0, 1) ** 0.8
    if style == "beanie":
        lift = lift + 4.0 / (1 + np.exp(-(t - generator.uniform(0.66, 0.74)) * 120))  # the cuff
        lift = lift - 4.0 * np.clip((t - 0.97) / 0.03, 0, 1) ** 2
        wobble = texture_noise(t.shape, 40, generator)
        lift = lift + 1.2 * wobble * np.clip(np.minimum(ring, 360 - ring) / 20, 0, 1)
    elif style == "brimmed":
        lift = lift - 9 * np.exp(-((t / 0.30) ** 2)) * (1 + 0.6 * np.cos(np.radians(2 * ring)))  # the dent
    grid = crown(polar, ring, lift)
    grid[:, -1] = grid[:, 0]
    surface = draw_surface(frame, grid)
    normals, colours = _woven(frame, surface, cloth, style, generator)
    layers = [layer_of(surface, _cloth(frame, colours, normals), gap=6.0, shadow=0.55)]
    if style == "beanie":
        return layers
    return [*layers, _brim(frame, generator, cloth, style, crown(np.full(241, edge), np.linspace(0, 360, 241), 5.5))]


def _cloth(frame: FaceFrame, albedo: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Colours [N, 3] of cloth, whose fibres catch light at grazing angles."""
    fuzz = (1 - np.clip(normals @ frame.viewer, 0, 1)) ** 2
    return shade(frame, albedo + (0.02 + 0.05 * fuzz)[:, None], normals)


def _woven(
    frame: FaceFrame, surface: Surface, cloth: np.ndarray, style: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Normals and albedo [N, 3] of cloth: ribs of a knitted hat; seams, ribbon and weave of others. Dark inside."""
    t, ring = surface.uv.T
    count = len(t)
    normals = surface.normals
    if style == "beanie":
        ribs, rows = 2 * np.pi * ring * 120, 2 * np.pi * t * 95
        bump = np.sin(ribs)
        stitch = np.sin(rows + np.pi * (bump > 0)) * 0.6
        tone = 1 + 0.13 * bump + 0.12 * stitch + generator.normal(0, 0.07, count)
        across = normalised(np.cross(normals, np.array([0, 1.0, 0])))
        normals = normalised(normals + across * (0.28 * np.cos(ribs))[:, None])
    else:
        weave = np.sin(2 * np.pi * t * 210) * np.sin(2 * np.pi * ring * 560)
        near = ((ring * 6) % 1 - 0.5) * np.sin(np.clip(t, 0.05, 1) * 1.5)
        seam = np.exp(-((near / 0.008) ** 2)) if style == "cap" else 0
        stitches = (
            0.5 * np.exp(-(((np.abs(near) - 0.03) / 0.005) ** 2)) * (np.sin(t * 700) > 0) if style == "cap" else 0
        )
        tone = 1 + 0.06 * weave - 0.4 * seam - 0.3 * stitches + generator.normal(0, 0.05, count)
        if style == "brimmed":
            tone = np.where(t > 0.84, 0.4 * tone, tone)  # ribbon
    folds = surface.noise(26 * frame.pixels_per_mm, generator)
    tone = tone * (1 + 0.045 * folds) * (1 - 0.35 * np.clip((t - 0.95) / 0.05, 0, 1))
    inside = ((surface.points - SKULL_CENTRE) * surface.normals).sum(1) < 0
    return normals, cloth * (tone * np.where(inside, 0.25, 1.0))[:, None]


def _brim(frame: FaceFrame, generator: np.random.Generator, cloth: np.ndarray, style: str, rim: np.ndarray) -> Layer:
    """The peak of a cap, or a brim all around. rim: the crown's edge [241, 3] mm, from the front around."""
    if style == "cap":
        ring = np.linspace(-60, 60, 121)
        rim = np.concatenate([rim[-41:-1], rim[:41]])
        ring = np.linspace(-60, 60, len(rim))
        length = generator.uniform(55, 70) * np.clip(np.cos(np.radians(ring) * 1.5), 0, 1) ** 0.5
        way = normalised(np.column_stack([0.25 * np.sin(np.radians(ring)), 0 * ring, np.ones(len(ring))]))
        droop, bend = -generator.uniform(0.30, 0.55), -16 * (rim[:, 0] / 70) ** 2
    else:
        length = np.full(len(rim), generator.uniform(36, 58))
        way = normalised((rim - rim.mean(0)) * (1, 0, 1))
        droop, bend = -generator.uniform(0.12, 0.40), -6 * np.abs(rim[:, 0] / 80)
    s = np.linspace(0, 1, 30)[:, None]
    grid = rim + (s * length)[..., None] * way
    grid[..., 1] += droop * s * length + bend * s
    if style != "cap":
        grid[:, -1] = grid[:, 0]
    surface = draw_surface(frame, grid)
    s = surface.uv[:, 0]
    below = surface.normals[:, 1] < 0
    tone = 1 + 0.05 * generator.normal(size=len(s)) + 0.05 * surface.noise(20 * frame.pixels_per_mm, generator)
    if style == "cap":
        tone = tone * (1 - 0.16 * np.exp(-((((s * 7) % 1 - 0.5) / 0.06) ** 2)))
    tone = tone * (1 - 0.3 * (s > 0.965)) * np.where(below, 0.6, 1.0)
    return layer_of(surface, _cloth(frame, cloth * tone[:, None], surface.normals), gap=24.0, shadow=0.8)


# ---- glasses ---------------------------------------------------------------------------------------------------------


def _glasses(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    return _spectacles(frame, generator, dark=False)


def _sunglasses(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    return _spectacles(frame, generator, dark=True)


def _spectacles(frame: FaceFrame, generator: np.random.Generator, dark: bool) -> list[Layer]:
    """Frame with temples, and lenses: clear or tinted with reflections."""
    shape = ("round", "square", "aviator", "half rim")[generator.integers(4)]
    is_metal = shape == "aviator" or generator.random() < 0.4
    width = generator.uniform(0.9, 1.4) if is_metal else generator.uniform(2.8, 5.2)
    colour = _one_of(generator, METALS if is_metal or shape == "aviator" else FRAME_COLOURS)
    half_width, half_height = {
        "round": (23.0, 22.0), "square": (26.0, 18.5), "aviator": (28.0, 24.0), "half rim": (26.0, 16.5),
    }[shape]  # fmt: skip
    scale = generator.uniform(0.94, 1.06)
    half_width, half_height = half_width * scale, half_height * scale
    middle_x, middle_y = max(32.0, half_width + 8.0), generator.uniform(-6, -2) - (5 if shape == "aviator" else 0)
    nose = float(frame.surface(0.0, 3.0))
    brows = [float(frame.surface(x, 20.0)) for x in (-46.0, -34.0, -20.0, 20.0, 34.0, 46.0)]
    front = max(nose + 2.0, max(brows) + 4.0)
    tilt = np.radians(generator.uniform(5, 11))
    angles = np.linspace(0, 2 * np.pi, 145)

    def outline(side: float, factor: float = 1.0) -> np.ndarray:
        power = {"round": 1.0, "square": 0.52, "aviator": 0.85, "half rim": 0.58}[shape]
        c, s = np.cos(angles), np.sin(angles)
        x, y = np.sign(c) * np.abs(c) ** power * half_width, np.sign(s) * np.abs(s) ** power * half_height
        if shape == "aviator":  # a drop whose lower end points outwards
            x = x * (1 - 0.20 * np.clip(-y / half_height, 0, 1)) + 3.5 * np.clip(-y / half_height, 0, 1)
        return _in_plane(np.stack([side * (middle_x + factor * x), middle_y + factor * y], -1))

    def _in_plane(flat: np.ndarray) -> np.ndarray:
        x, y = np.moveaxis(flat, -1, 0)
        z = front - 0.0022 * x**2 + np.tan(tilt) * (y - 4)
        return np.stack([x, y, z], -1)

    thick = 0.8 * width if is_metal else 3.2
    tubes, lens_layers = [], []
    for side in (-1.0, 1.0):
        rim = outline(side)
        if shape == "half rim":
            upper = (angles <= np.pi * 1.04) | (angles >= np.pi * 1.96)
            first = np.flatnonzero(~upper)[-1] + 1
            rim = np.roll(rim[:-1], -(first % 144), axis=0)[: int(upper[:-1].sum())]
        tubes.append(_tube(rim, width * np.ones(len(rim)), thick, closed=shape != "half rim"))
        hinge = _in_plane(np.array([side * (middle_x + half_width + 0.5), middle_y + 0.55 * half_height]))
        ear = np.array([side * _ear_width(frame), 6.0, -92.0])
        ahead = hinge + (side * 4.0, 0, -3.0)
        line = np.concatenate([np.linspace(hinge, ahead, 4)[:-1], np.linspace(ahead, ear, 40)])
        tubes.append(_tube(line, np.linspace(max(width, 2.0), max(0.7 * width, 1.6), len(line)), 1.6, upright=True))
        lens_layers.append(
            _lens(frame, generator, outline(side, 0.98), _in_plane(np.array([side * middle_x, middle_y])), dark)
        )
    inner = middle_x - half_width
    x = np.linspace(-inner - 0.5, inner + 0.5, 30)
    bow = middle_y + 0.28 * half_height + 2.2 * (1 - (x / inner) ** 2)
    bridge = _in_plane(np.stack([x, bow], -1)) + np.stack([0 * x, 0 * x, 1.5 * (1 - (x / inner) ** 2)], -1)
    tubes.append(_tube(bridge, np.full(len(x), max(0.9 * width, 1.3)), thick))
    if shape == "aviator":
        x = np.linspace(-inner - 6, inner + 6, 30)
        tubes.append(
            _tube(_in_plane(np.stack([x, np.full(x.shape, middle_y + 0.78 * half_height)], -1)), np.full(30, 1.3), 1.3)
        )
    if is_metal:
        for side in (-1.0, 1.0):
            x = np.linspace(inner + 1, inner - 3.5, 8) * side
            pad = np.stack([x, np.linspace(middle_y + 1, middle_y - 6, 8), front - np.linspace(1, 7, 8)], -1)
            tubes.append(_tube(pad, np.full(8, 1.0), 0.8))
    mottled = colour is not None and np.allclose(colour, FRAME_COLOURS["tortoise"])
    surface = draw_surface(frame, *tubes, near=2.5)
    albedo = np.tile(colour, (len(surface.uv), 1))
    if mottled:
        blotch = surface.noise(5 * frame.pixels_per_mm, generator)
        albedo = albedo * np.exp(1.1 * np.clip(blotch - 0.1, -1, 0.8))[:, None]
    gloss = (0.9, 30.0) if is_metal else (0.55, 60.0)
    colours = shade(frame, albedo, surface.normals, *gloss)
    if not is_metal:  # the sky on polished plastic
        colours = colours + 0.10 * np.clip(surface.normals[:, 1:2], 0, 1) * frame.exposure
    front_part = np.clip((surface.points[:, 2] + 45) / 15, 0, 1)
    alpha = front_part + (1 - front_part) * _shown_at_temples(frame)[surface.where]
    alpha = alpha * np.clip((surface.points[:, 2] + 88) / 10, 0, 1)
    return [*lens_layers, layer_of(surface, colours, gap=4.0, shadow=0.5, alpha=alpha)]


def _ear_width(frame: FaceFrame) -> float:
    """Half of the head's width mm at the root of the ears."""
    points = frame.vertices
    near = (np.abs(points[:, 1] - 6) < 8) & (np.abs(points[:, 2] + 75) < 10)
    return float(np.clip(np.percentile(np.abs(points[near, 0]), 60) if near.sum() > 5 else 74, 66, 84)) + 1.0


def _shown_at_temples(frame: FaceFrame) -> np.ndarray:
    """[h, w] of the fine image, 0..1: where the photo shows skin, no hair that lies over a temple."""
    likeness = np.exp(-((frame.skin_difference / 1.3) ** 2)).astype(np.float32)
    likeness = cv2.GaussianBlur(likeness, (0, 0), 0.7 * frame.pixels_per_mm)
    return cv2.resize(likeness, (frame.fine_camera.width, frame.fine_camera.height), interpolation=cv2.INTER_LINEAR)


def _tube(
    path: np.ndarray, width: np.ndarray, thickness: float, closed: bool = False, upright: bool = False
) -> np.ndarray:
    """Grid [m, n, 3] around a path [m, 3] mm: `width` [m] across, `thickness` mm deep, with rounded edges.

    upright: it is wide in y, as a temple is, else in the plane of the face.
    """
    tangents = np.gradient(path, axis=0)
    if closed:
        tangents[0] = tangents[-1] = path[1] - path[-2]
    tangents = normalised(tangents)
    if upright:
        across = normalised(np.array([0, 1.0, 0]) - tangents * tangents[:, 1:2])
        deep = np.cross(tangents, across)
    else:
        deep = normalised(np.array([0, 0, 1.0]) - tangents * tangents[:, 2:])
        across = np.cross(tangents, deep)
    angles = np.linspace(0, 2 * np.pi, 21)
    c, s = (np.sign(f(angles)) * np.abs(f(angles)) ** 0.6 for f in (np.cos, np.sin))
    grid = (
        path[:, None]
        + across[:, None] * (width[:, None] * c / 2)[..., None]
        + deep[:, None] * (thickness * s / 2)[None, :, None]
    )
    if closed:
        grid[-1] = grid[0]
    return grid


def _lens(frame: FaceFrame, generator: np.random.Generator, rim: np.ndarray, middle: np.ndarray, dark: bool) -> Layer:
    """A lens within its rim [n, 3] mm: darkens what is behind it, and reflects a window and the surroundings."""
    r = np.linspace(0, 1, 30)[:, None, None]
    grid = middle + r * (rim - middle)
    grid[..., 2] += 2.2 * (1 - r[..., 0] ** 2)  # a base curve
    surface = draw_surface(frame, grid, near=4.0)
    normals = normalised(surface.normals)
    mirrored = 2 * (normals @ frame.viewer)[:, None] * normals - frame.viewer
    x, y = mirrored[:, 0], mirrored[:, 1]
    pane_x, pane_y = generator.uniform(-0.35, 0.35), generator.uniform(0.05, 0.35)
    soft = lambda value, edge: 1 / (1 + np.exp(-value / edge))
    half = generator.uniform(0.06, 0.12), generator.uniform(0.08, 0.16)
    window = soft(half[0] - np.abs(x - pane_x - 0.15 * (y - pane_y)), 0.008) * soft(half[1] - np.abs(y - pane_y), 0.008)
    bars = 1 - 0.8 * np.exp(-(((x - pane_x) / 0.008) ** 2))
    sky = soft(y - 0.12 - 0.08 * np.sin(6 * x + generator.uniform(0, 6)), 0.05)
    strength = generator.uniform(0.15, 0.75)
    glow = strength * window * bars + (0.05 + 0.10 * generator.random()) * sky
    tint = np.array([0.9, 1.0, 1.08]) * frame.exposure
    if dark:
        body = _one_of(
            generator, {"grey": (0.03, 0.03, 0.035), "brown": (0.05, 0.03, 0.02), "green": (0.03, 0.04, 0.03)}
        )
        passed = generator.uniform(0.06, 0.16) + 0.10 * np.clip(-(surface.points[:, 1] - middle[1]) / 20, 0, 1)
        alpha = 1 - passed
        colours = body + 1.3 * glow[:, None] * tint
        layer = layer_of(surface, colours, gap=10.0, shadow=0.35, alpha=alpha)
        return Layer(layer.colour, layer.alpha, 10.0, 0.35, (layer.alpha > 0.5).astype(np.float32))
    shade_of = generator.uniform(0.03, 0.07) if generator.random() < 0.6 else generator.uniform(0.12, 0.25)
    # What is added over what is behind: alpha darkens, the glow brightens.
    alpha = np.clip(shade_of + 0.85 * glow, 0, 1)
    colours = (0.85 * glow[:, None] * tint + shade_of * np.array([0.10, 0.10, 0.11])) / np.maximum(alpha, 1e-3)[:, None]
    layer = layer_of(surface, colours, gap=9.0, shadow=0.10, alpha=alpha)
    hides = np.zeros(surface.where.shape, np.float32)
    hides[surface.where] = np.clip((glow - 0.12) / 0.2, 0, 1)
    return Layer(layer.colour, layer.alpha, 9.0, 0.10, hides)


# ---- microphones -----------------------------------------------------------------------------------------------------


def _microphone(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    """A ball of wire or foam on a stick, before or below the mouth."""
    is_foam = generator.random() < 0.5
    x, y = generator.normal(0, 10), generator.uniform(-92, -66)
    radius = generator.uniform(21, 26) if not is_foam else generator.uniform(24, 34)
    gap = generator.uniform(4, 22)
    skin = np.array([x, y, float(frame.surface(x, y))])
    ball = skin + (radius + gap) * normalised(frame.viewer + (0, 0, 0.4))  # before the mouth as it is seen
    axis = normalised(np.array([generator.normal(0, 0.45), -1.0, generator.uniform(0.1, 0.8)]))
    side = normalised(np.cross(axis, np.array([0.2, 0.1, 1.0])))
    other = np.cross(axis, side)
    angles = np.linspace(0, 2 * np.pi, 97)
    around = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other

    def turned(profile: np.ndarray) -> np.ndarray:
        """Surface of revolution of (place along the axis, radius) [m, 2] mm."""
        grid = ball + profile[:, None, :1] * axis + profile[:, None, 1:] * around
        grid[:, -1] = grid[:, 0]
        return grid

    polar = np.linspace(0.01, np.pi * (0.80 if not is_foam else 0.9), 60)
    stretch = 1.0 if not is_foam else 1.18
    head = turned(np.stack([-np.cos(polar) * radius * stretch, np.sin(polar) * radius], 1))
    end = float(-np.cos(polar[-1]) * radius * stretch)
    thin = np.sin(polar[-1]) * radius
    handle = np.array([[0, thin], [6, 0.92 * thin], [20, 0.8 * thin], [230, 0.62 * thin]]) + (end - 1, 0)
    steps = np.linspace(0, 3, 60)
    handle = np.stack([np.interp(steps, range(4), handle[:, k]) for k in (0, 1)], 1)
    body = draw_surface(frame, turned(handle))
    dark = np.array([0.055, 0.055, 0.06]) if generator.random() < 0.7 else np.array([0.45, 0.46, 0.48])
    worn = 1 + 0.05 * body.noise(8 * frame.pixels_per_mm, generator)
    layers = [layer_of(body, shade(frame, dark * worn[:, None], body.normals, 0.35, 18.0), gap=34.0, shadow=0.35)]
    surface = draw_surface(frame, head)
    t, ring = surface.uv.T
    if is_foam:
        colour = _one_of(generator, FOAMS)
        pores = surface.noise(1.3 * frame.pixels_per_mm, generator, 2)
        soft = 1 + 0.11 * pores
        facing = np.clip(surface.normals @ frame.viewer, 0, 1)
        above = 1 + 0.22 * surface.normals[:, 1:2]  # more light comes from above
        colours = above * shade(frame, colour * soft[:, None] * (0.5 + 0.5 * facing**0.7)[:, None], surface.normals)
        colours = colours + 0.02 * (1 - facing)[:, None] ** 3 * frame.exposure  # light in the pores
    else:
        metal = np.array([0.52, 0.53, 0.55]) if generator.random() < 0.7 else np.array([0.16, 0.16, 0.17])
        turns = 2 * np.pi * radius / 1.9
        a, b = (ring * turns + t * 22) % 1, (ring * turns - t * 22) % 1
        wire = np.maximum(np.exp(-(((a - 0.5) / 0.20) ** 2)), np.exp(-(((b - 0.5) / 0.20) ** 2)))
        colours = shade(frame, metal * (0.22 + 0.9 * wire)[:, None], surface.normals, 0.0)
        half = normalised(frame.light_direction + frame.viewer)
        colours = colours + (0.7 * wire * np.clip(surface.normals @ half, 0, 1) ** 14)[:, None] * frame.exposure
    layers.append(layer_of(surface, colours, gap=gap + 8, shadow=0.6))
    if not is_foam:
        band = turned(np.stack([end + np.linspace(-3, 7, 8), thin + 1.6 * np.sin(np.linspace(0, np.pi, 8))], 1))
        ring_surface = draw_surface(frame, band)
        layers.append(
            layer_of(ring_surface, shade(frame, np.array([0.4, 0.4, 0.42]), ring_surface.normals, 0.6, 25.0), 20.0, 0.2)
        )
    return layers


# ---- hands -----------------------------------------------------------------------------------------------------------


def _hand(frame: FaceFrame, generator: np.random.Generator) -> list[Layer]:
    return [draw_hand(frame, generator)]


_Make = Callable[[FaceFrame, np.random.Generator], list[Layer]]
KINDS: dict[str, tuple[str, _Make]] = {
    "fringe": (HAIR, _fringe),
    "hat": (OTHER, _hat),
    "glasses": (GLASSES, _glasses),
    "sunglasses": (GLASSES, _sunglasses),
    "hand": (OTHER, _hand),
    "microphone": (OTHER, _microphone),
}
