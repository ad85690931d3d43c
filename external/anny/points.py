"""Where the 468 points of MediaPipe Face Mesh lie on the head model, and what they mean there."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from external.anny.head_model import HeadModel

FILE = Path(__file__).with_name("face_mesh_points.npz")  # made by data.make_head_points
POINTS = 468
TOP, CHIN = 10, 152  # whose distance is the face's height

# The person's right is first. Contours of the lids' edges and of the inner border of the lips, each from one corner to
# the other one: upper half, lower half.
LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
)
LIPS = ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
IRISES = (468, 473)  # centres: the person's right, left


@dataclass(frozen=True)
class HeadPoints:
    """Point k is the sum of barycentrics[k] times the vertices[k] of the head."""

    vertices: np.ndarray  # [468, 3] int32, corners of a triangle of the head model
    barycentrics: np.ndarray  # [468, 3] float64, >= 0, sum 1
    mirror: np.ndarray  # [468] int32, the point on the other side; itself in the middle
    depths: np.ndarray  # [468] float64, m: how much further away Face Mesh puts the point, on average over people

    def at(self, shapes: np.ndarray) -> np.ndarray:
        """The points [..., 468, 3] on heads, or offsets of heads, [..., V, 3]."""
        return np.einsum("nk,...nkc->...nc", self.barycentrics, shapes[..., self.vertices, :])


@cache
def load_head_points() -> HeadPoints:
    """Reads the file of the repository."""
    with np.load(FILE, allow_pickle=False) as archive:
        return HeadPoints(
            vertices=archive["vertices"],
            barycentrics=archive["barycentrics"].astype(np.float64),
            mirror=archive["mirror"],
            depths=archive["depths"].astype(np.float64),
        )


def lid_edges(model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [28] of the edges of the right and the left lids: the skin's first loop outside of the eye socket.

    The border between skin and socket itself lies 1 to 3 mm inside the eyeball. Ascending.
    """
    return _first_loop(model, "eye_socket_right"), _first_loop(model, "eye_socket_left")


def lip_line(model: HeadModel) -> np.ndarray:
    """Vertices [38] where the lips end as seen from ahead: the skin's first loop outside of the mouth. Ascending."""
    return _first_loop(model, "mouth")


def lip_edge(model: HeadModel) -> np.ndarray:
    """Vertices [38] of the border between the skin and the mouth's inside; 1 mm behind the lip line. Ascending."""
    return np.intersect1d(model.vertices_of("skin"), model.vertices_of("mouth"))


def lip_chains(model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """The same vertices, of the upper and of the lower lip, each from the right to the left corner of the mouth without
    the corners."""
    lips = lip_edge(model)
    corners = lips[np.argmin(model.vertices[lips, 0])], lips[np.argmax(model.vertices[lips, 0])]
    ends = np.stack([_edges(model.triangles[model.part(part)], lips) for part in ("skin", "mouth")])
    border = ends.all(axis=0)
    chains = []
    for first in np.flatnonzero(border[np.searchsorted(lips, corners[0])]):
        chain, last = [lips[first]], corners[0]
        while chain[-1] != corners[1]:
            beside = lips[border[np.searchsorted(lips, chain[-1])]]
            step = beside[(beside != last)][0]
            last = chain[-1]
            chain.append(step)
        chains.append(np.array(chain[:-1], dtype=np.int32))
    lower, upper = sorted(chains, key=lambda chain: model.vertices[chain, 1].mean())
    return upper, lower


def _edges(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Whether an edge of the triangles [T, 3] joins each two of the vertices [N], ascending: [N, N] bool."""
    joined = np.zeros((len(vertices),) * 2, dtype=bool)
    for k in range(3):
        ends = triangles[:, [k, (k + 1) % 3]]
        first, second = np.searchsorted(vertices, ends[np.isin(ends, vertices).all(axis=1)]).T
        joined[first, second] = joined[second, first] = True
    return joined


def _first_loop(model: HeadModel, part: str) -> np.ndarray:
    """Vertices of the skin's first loop outside of its border with a part, ascending."""
    skin = model.triangles[model.part("skin")]
    # The sides of the quads that leave the border: from a vertex of the border to the skin. Diagonals do not count.
    quads = np.stack([skin[0::2], skin[1::2]], axis=1)
    border = np.intersect1d(model.vertices_of("skin"), model.vertices_of(part))
    at = np.isin(quads, border).any(axis=(1, 2))
    corners = [set(quad.ravel().tolist()) - set(border.tolist()) for quad in quads[at]]
    return np.array(sorted(set().union(*(c for c in corners if len(c) == 2))), dtype=np.int32)
