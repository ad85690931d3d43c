"""The head model in use: neutral head, identity axes, expressions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class HeadModel:
    """A head with eyeballs, tongue and teeth, as a linear model (one-sided linear per axis).

    Metres; x to the person's left, y up, z to where the face looks; the origin lies midway between the eyeballs.
    V vertices, T triangles, N texture coordinates, A identity axes, 52 expressions.
    """

    vertices: np.ndarray  # [V, 3] float32: the neutral head, lids open, lips closed but for a slit of .7 mm
    triangles: np.ndarray  # [T, 3] int32, counter-clockwise from outside; 2 k and 2 k + 1 are a quad
    parts: np.ndarray  # [T] uint8, index into part_names
    part_names: tuple[str, ...]
    uvs: np.ndarray  # [N, 2] float32: MakeHuman's layout, u to the right, v up, 0..1
    uv_triangles: np.ndarray  # [T, 3] int32, into uvs
    mirror: np.ndarray  # [V] int32: the vertex at -x; itself on the plane of symmetry
    base_vertices: np.ndarray  # [V] int32: number in MakeHuman's base mesh (hm08)
    identity_names: tuple[str, ...]  # [A], as MakeHuman's; l- and r- are the person's left and right
    identity_groups: tuple[str, ...]  # [A]: phenotype, or the region of the head
    identity_minimum: np.ndarray  # [A] float32: -1, or 0 where the axis has no negative side. The maximum is 1
    identity_negative: np.ndarray  # [A, V, 3] float32: offset at -1; zero where the axis has no negative side
    identity_positive: np.ndarray  # [A, V, 3] float32: offset at 1
    identity_mirror: np.ndarray  # [A] int32: the axis of the mirrored change; itself for changes of both sides
    identity_mirror_sign: np.ndarray  # [A] float32: -1 for sideways shifts, whose mirror image is their opposite
    expression_names: tuple[str, ...]  # [52], ARKit's, in alphabetical order
    expressions: np.ndarray  # [52, V, 3] float32: offset at 1. The range is 0..1
    expression_mirror: np.ndarray  # [52] int32: eyeBlinkLeft and eyeBlinkRight, ...; itself for both sides

    def evaluate(
        self,
        identity: np.ndarray | Mapping[str, float] | None = None,
        expression: np.ndarray | Mapping[str, float] | None = None,
    ) -> np.ndarray:
        """Vertices [V, 3] float32 at the given coefficients.

        identity: [A], identity_minimum..1, or by name; a coefficient x adds x times identity_positive, or -x times
        identity_negative where it is negative. expression: [52], 0..1, or by name. Values outside are extrapolated.
        Raises KeyError: unknown name. ValueError: wrong number of coefficients.
        """
        vertices = self.vertices.copy()
        given = _coefficients(identity, self.identity_names, "identity")
        acting = _coefficients(expression, self.expression_names, "expression")
        for weights, shapes in (
            (np.maximum(given, 0), self.identity_positive),
            (np.maximum(-given, 0), self.identity_negative),
            (acting, self.expressions),
        ):
            used = np.flatnonzero(weights)
            if len(used):
                vertices += np.tensordot(weights[used], shapes[used], axes=1)
        return vertices

    def part(self, *names: str) -> np.ndarray:
        """Ids, ascending, of the triangles of parts. Raises ValueError: unknown name."""
        return np.flatnonzero(np.isin(self.parts, [self.part_names.index(name) for name in names]))

    def vertices_of(self, *names: str) -> np.ndarray:
        """Ids, ascending, of the vertices of parts. Raises ValueError: unknown name."""
        return np.unique(self.triangles[self.part(*names)])

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """Centres of rotation [2, 3] (left, right) of the eyeballs of a head [V, 3] that looks ahead."""
        return np.stack([vertices[self.vertices_of(f"eye_{side}")].mean(axis=0) for side in ("left", "right")])

    def neck_loop(self) -> np.ndarray:
        """Ids of the vertices around the open neck, in order, starting at the throat, counter-clockwise from above."""
        faces = self.triangles[self.part("skin", "mouth", "eye_socket_left", "eye_socket_right")]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
        known = set(map(tuple, edges))
        following = {first: second for first, second in edges if (second, first) not in known}
        start = max(following, key=lambda vertex: (-abs(self.vertices[vertex, 0]), self.vertices[vertex, 2]))
        loop = [start]
        while (vertex := following[loop[-1]]) != start:
            loop.append(vertex)
        return np.array(loop, dtype=np.int32)


def load_head_model(path: Path) -> HeadModel:
    """Reads the file that `convert` made. Raises OSError, ValueError, KeyError: not this file."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    step = np.float32(arrays.pop("step"))
    for name in ("identity_negative", "identity_positive", "expressions"):
        arrays[name] = arrays[name] * step
    for name in ("part_names", "identity_names", "identity_groups", "expression_names"):
        arrays[name] = tuple(arrays[name].tolist())
    return HeadModel(**arrays)


def _coefficients(given: np.ndarray | Mapping[str, float] | None, names: tuple[str, ...], what: str) -> np.ndarray:
    """Coefficients [len(names)] float32 from an array, from values by name, or zeros."""
    if given is None or isinstance(given, Mapping):
        known = {name: k for k, name in enumerate(names)}
        values = np.zeros(len(names), dtype=np.float32)
        for name, value in (given or {}).items():
            if name not in known:
                raise KeyError(f"there is no {what} {name!r}")
            values[known[name]] = value
        return values
    values = np.asarray(given, dtype=np.float32)
    if values.shape != (len(names),):
        raise ValueError(f"{what} has shape {values.shape}; [{len(names)}] is needed")
    return values
