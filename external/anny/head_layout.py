"""Our UV layout of the head model, and the parts of the head that it favours."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from external.anny.head_model import HeadModel

LAYOUT = Path(__file__).resolve().parents[2] / "data" / "head_layout.npz"

# The face of the neutral head, m: up to the brows, down to the jaw, back to the ears.
BROWS, CHIN, JAW_SLOPE, EARS = 0.032, -0.122, 0.75, -0.068
EAR_AXES, EAR_MOTION = ("l-ear-wing-decr-incr", "r-ear-wing-decr-incr"), 0.002  # identity axes, m


@dataclass(frozen=True)
class HeadLayout:
    """UV layout of the head model's T triangles, symmetric about u = 0.5; the person's left is at u > 0.5.

    No triangle is flipped and none overlap. N texture coordinates, S seam edges.
    """

    uvs: np.ndarray  # [N, 2] float32, v up, 0..1
    uv_triangles: np.ndarray  # [T, 3] int32 into uvs, in the order of HeadModel.triangles
    seams: np.ndarray  # [S, 2, 2] int32 into uvs: two edges that are one edge of the mesh, from the same vertex
    islands: np.ndarray  # [T] uint8, index into island_names
    island_names: tuple[str, ...]


def load_head_layout(path: Path = LAYOUT) -> HeadLayout:
    """Reads the file that `data.make_head_layout` made. Raises OSError, ValueError, KeyError: not this file."""
    with np.load(path, allow_pickle=False) as archive:
        return HeadLayout(
            uvs=archive["uvs"],
            uv_triangles=archive["uv_triangles"].astype(np.int32),
            seams=archive["seams"].astype(np.int32),
            islands=archive["islands"],
            island_names=tuple(archive["island_names"].tolist()),
        )


def ear_area(model: HeadModel) -> np.ndarray:
    """Whether each triangle [T] belongs to an ear: MakeHuman's change that makes the ears stand out moves all of it."""
    axes = [model.identity_names.index(name) for name in EAR_AXES]
    moved = np.linalg.norm(model.identity_positive[axes], axis=2).max(axis=0) > EAR_MOTION
    return moved[model.triangles].all(axis=1)


def face_area(model: HeadModel) -> np.ndarray:
    """Whether each triangle [T] is skin between brows and chin and from ear to ear, by its centre."""
    _, y, z = model.vertices[model.triangles].mean(axis=1).T
    inside = (y < BROWS) & (z > EARS) & (y > CHIN - JAW_SLOPE * np.minimum(z, 0))
    inside &= ~ear_area(model)
    skin = np.zeros(len(inside), dtype=bool)
    skin[model.part("skin")] = True
    return inside & skin


def makehuman_lookup(
    model: HeadModel, layout: HeadLayout, side: int, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Where each texel of MakeHuman's layout lies in ours: [side, side, 2], u and v; NaN where MakeHuman has no head.
    And the triangle that it lies in [side, side], -1 where there is none.

    shift: to the right and down, in texels, from a texel's centre to its point that is looked up. Bilinear sampling of
    our texture gives the texture in MakeHuman's layout.
    """
    # Here, because the set-up imports this package before the renderer is compiled.
    from renderer.interpolate import interpolate
    from renderer.rasterize import rasterize_uv

    uvs = model.uvs.astype(np.float64) + np.array([-shift[0], shift[1]]) / side
    fragments = rasterize_uv(uvs, model.uv_triangles, side, side)
    places = interpolate(layout.uvs, layout.uv_triangles, fragments)
    return np.where((fragments.face_ids >= 0)[..., None], places, np.nan), fragments.face_ids
