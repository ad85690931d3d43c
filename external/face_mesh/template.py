"""Our face template: topology and UV layout over the 468 Face Mesh points, made by `data.make_template`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from external.face_mesh.landmarks import POINTS
from external.face_mesh.subdivision import subdivision
from renderer.mesh import load_mesh

TEMPLATE = Path(__file__).resolve().parents[2] / "data" / "face_template.obj"


@dataclass(frozen=True)
class Template:
    """The subdivided template. Vertices are `positions @ landmarks`; the first 468 are the landmarks."""

    shape: np.ndarray  # [468, 3] symmetric mean shape; x to the person's left, y up, z out of the face; eye distance 1
    positions: np.ndarray  # [V, 468]
    faces: np.ndarray  # [F, 3]
    uvs: np.ndarray  # [V, 2], symmetric about u = 0.5


@cache
def load_template(subdivisions: int) -> Template:
    """The template. subdivisions: number of levels, 0 or more; each splits every face into four."""
    control = load_mesh(TEMPLATE)
    positions, faces = subdivision(control.faces, POINTS, subdivisions, interpolating=True)
    # The layout is not interpolated: a smooth surface through its points would fold at the thin lips.
    smooth, _ = subdivision(control.faces, POINTS, subdivisions, interpolating=False)
    return Template(control.vertices, positions, faces, smooth @ control.uvs)
