"""texture_makehuman.png: the texture of a head in MakeHuman's UV layout, for characters of MakeHuman, MPFB and Anny.

Face, scalp, neck, eye sockets, mouth, eyeballs, tongue and teeth come from our texture. The rest, above all the body's
skin, has one colour, into which the neck fades.
"""

from functools import cache

import cv2
import numpy as np

from external.anny import HeadLayout, HeadModel, load_head_layout
from external.anny.head_layout import makehuman_lookup
from pipeline.reconstruction.head_data import set_up_head_model
from renderer.dilate import dilate, nearest
from renderer.mesh import Mesh

SKIN = "skin"
SAMPLES = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))  # of a texel, from its centre
SAMPLE_SIDE = 0.5  # texels along a side of what a sample stands for
LEVELS = 6  # of the pyramid of our texture; MakeHuman's eyeballs have 20 times fewer texels along a mm
NECK_FADE = 80.0  # mm of the body over which the neck's colour becomes the body's
BACK = (0.5, 0.9)  # of the neck's half width in the layout: from where on, and where fully, left and right become equal
GUTTER = 2.5 / 1024  # of the texture's side: how far islands keep their colour beyond the edge, then fade over as much
SAME_UV = 1e-4  # how far texture coordinates of a mesh may lie from those of our layout


def is_in_head_layout(mesh: Mesh) -> bool:
    """Whether a mesh is the head model's in our layout."""
    layout = _layout()
    return (
        mesh.uvs.shape == layout.uvs.shape
        and np.array_equal(mesh.uv_faces, layout.uv_triangles)
        and bool(np.abs(mesh.uvs - layout.uvs).max() < SAME_UV)
    )


def makehuman_texture(texture: np.ndarray) -> np.ndarray:
    """A head's texture [S, S, 3] float, 0..1, in MakeHuman's layout: [S, S, 3] float32.

    texture: in our layout, extended beyond the islands. Raises ConfigError without the data of the head model.
    """
    model, layout, side = set_up_head_model(), _layout(), texture.shape[0]
    colours, triangles = _resampled(texture.astype(np.float32), model, layout)
    part = np.append(model.parts, len(model.part_names)).astype(np.int16)[triangles]  # -1 is the last: no part
    skin, inside = part == model.part_names.index(SKIN), triangles >= 0
    neck = np.append(neck_area(model), False)[triangles]
    result = np.empty_like(colours)
    result[:] = np.median(colours[skin], axis=0)  # plain skin: most of scalp and neck is filled with it
    fade = NECK_FADE * neck_density(model) * side
    near = _window(neck, round(fade) + 1)
    _blend_below_neck(result[near], colours[near], neck[near], fade)
    others, reach = inside & ~neck, GUTTER * side
    near, away = nearest(colours, others)
    _blend(result, near, np.clip(2 - away / reach, 0, 1))
    result[inside] = colours[inside]
    return result


def neck_area(model: HeadModel) -> np.ndarray:
    """Whether each triangle [T] is of the neck: in the island of MakeHuman's layout that head and body share."""
    loop = np.isin(model.triangles, model.neck_loop())
    reached = np.zeros(len(model.uvs), bool)
    reached[model.uv_triangles[loop]] = True
    while True:
        found = reached[model.uv_triangles].any(axis=1)
        if reached[model.uv_triangles[found]].all():
            return found & (model.parts == model.part_names.index(SKIN))
        reached[model.uv_triangles[found]] = True


def neck_density(model: HeadModel) -> float:
    """Sides of MakeHuman's texture to a mm on the neck at its cut; median."""
    at_cut = np.isin(model.triangles, model.neck_loop()).any(axis=1) & (model.parts == model.part_names.index(SKIN))
    flat = _areas(model.uvs[model.uv_triangles[at_cut]])
    return float(np.median(np.sqrt(flat / _areas(1000 * model.vertices[model.triangles[at_cut]]))))


def _resampled(texture: np.ndarray, model: HeadModel, layout: HeadLayout) -> tuple[np.ndarray, np.ndarray]:
    """Colours [S, S, 3] float32 in MakeHuman's layout, 0 outside its head, and the triangle of each texel [S, S] or -1.

    Where MakeHuman has fewer texels, each sample comes from the level of a pyramid that fits.
    """
    side = texture.shape[0]
    pyramid = [texture]
    while len(pyramid) < LEVELS and pyramid[-1].shape[0] >= 2:
        half = pyramid[-1].shape[0] // 2
        pyramid.append(cv2.resize(pyramid[-1], (half, half), interpolation=cv2.INTER_AREA))
    ours, theirs = (_areas(uvs) for uvs in (layout.uvs[layout.uv_triangles], model.uvs[model.uv_triangles]))
    spread = SAMPLE_SIDE * np.sqrt(ours / np.maximum(theirs, 1e-12))  # of our texels along a sample
    levels = np.clip(np.log2(np.maximum(spread, 1e-6)), 0, len(pyramid) - 1).astype(np.float32)
    total, count = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    triangles = np.full((side, side), -1, np.int32)
    for shift in SAMPLES:
        places, found = makehuman_lookup(model, layout, side, shift)
        hit = found >= 0
        total[hit] += _trilinear(pyramid, places[hit].astype(np.float32), levels[found[hit]])
        count += hit
        triangles = np.where(hit, found, triangles)
    return total / np.maximum(count, 1)[..., None], triangles


def _trilinear(pyramid: list[np.ndarray], uvs: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Colours [N, 3] at places [N, 2] (v up) and levels [N] of a pyramid of square images, which are blended."""
    colours = np.zeros((len(uvs), 3), np.float32)
    for number, image in enumerate(pyramid):
        share = 1 - np.abs(levels - number)
        chosen = np.flatnonzero(share > 0)
        for part in np.array_split(chosen, len(chosen) // 30000 + 1):  # cv2.remap takes less than 2^15 rows
            if len(part):
                x, y = (uvs[part] * (1, -1) + (0, 1)).T * image.shape[0] - 0.5
                maps = (x[:, None].astype(np.float32), y[:, None].astype(np.float32))
                seen = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
                colours[part] += share[part, None] * seen
    return colours


def _blend_below_neck(body: np.ndarray, colours: np.ndarray, neck: np.ndarray, fade: float) -> None:
    """Continues the neck into the body, in place: both lie in one island, which is cut down the back.

    body, colours: [H, W, 3]; neck: [H, W] bool, symmetric about the middle column. fade: texels.
    """
    away = cv2.distanceTransform((~neck).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    continued = dilate(colours, neck)
    # The sides of the cut, to the left and right of the neck, become equal.
    columns = np.flatnonzero(neck.any(axis=0))
    from_middle = np.abs(np.arange(neck.shape[1]) - (neck.shape[1] - 1) / 2) / (np.ptp(columns) / 2)
    share = _smooth_step((from_middle - BACK[0]) / (BACK[1] - BACK[0])) * _smooth_step(away / (fade / 4))
    share = np.maximum(share, _smooth_step((from_middle - BACK[1]) / (1 - BACK[1])))  # at once beside the cut's ends
    _blend(continued, continued[:, ::-1].copy(), share / 2)
    _blend(body, continued, _smooth_step(1 - away / fade))


def _window(area: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of an area [H, W] bool, which is not empty, and a margin around it."""
    lines = (np.flatnonzero(area.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(each[0] - margin, 0), each[-1] + 1 + margin) for each in lines)


def _areas(triangles: np.ndarray) -> np.ndarray:
    """Areas [N] of triangles [N, 3, 2 or 3]."""
    first, second = np.moveaxis(triangles[:, 1:].astype(np.float64) - triangles[:, :1], 1, 0)
    squared = (first**2).sum(1) * (second**2).sum(1) - (first * second).sum(1) ** 2
    return np.sqrt(np.maximum(squared, 0)) / 2


def _blend(texture: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Blends another texture [H, W, 3] over one, in place, by its share [H, W], 0..1."""
    texture += share[..., None].astype(np.float32) * (other - texture)


def _smooth_step(values: np.ndarray) -> np.ndarray:
    t = np.clip(values, 0, 1)
    return t * t * (3 - 2 * t)


@cache
def _layout() -> HeadLayout:
    return load_head_layout()
