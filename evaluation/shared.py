"""The face that the Face Mesh mask and the head have in common, in the texture layout of either.

The shared face is the skin inside the outline of the Face Mesh mask, without the openings between the lids and between
the lips. Face Mesh's 468 points are known in both layouts (on the head by external/anny/face_mesh_points.npz). The
subdivided template through these points tells which texels of the two layouts are the same place of the face.
"""

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from evaluation.options import HEAD_SCALE
from external.anny import HeadModel, load_head_layout
from external.anny.points import LIDS, LIPS, POINTS, load_head_points
from external.face_mesh.template import Template, load_template
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.head_data import set_up_head_model
from pipeline.reconstruction.systems import HeadTopology
from pipeline.settings.errors import ConfigError
from renderer.dilate import nearest
from renderer.interpolate import interpolate
from renderer.rasterize import rasterize_uv

SKIN = "skin"
LEVELS = 2  # of the template's subdivision
MASKS = (468, 1833, 7257, 28881, 115233)  # vertices of the face mask by its levels of subdivision
SAME = 1e-4  # how far the texture coordinates of one layout may differ
FRACTION_BITS = 8  # of a texel, to which contours are drawn


@dataclass(frozen=True)
class SharedFace:
    """The shared face in one layout."""

    uvs: np.ndarray  # [V, 2] where the vertices of the template, subdivided LEVELS times, lie
    scale: int  # size of a texture over that of a face mask's texture with about the same texels on the face
    # Of a head: Face Mesh's points are sums of vertices, which are known by a face's corner, as parts of a head may share them.
    corners: np.ndarray | None = field(default=None, repr=False)  # [468, 3], into the mesh's faces, flat
    barycentrics: np.ndarray | None = field(default=None, repr=False)  # [468, 3]
    skin: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)  # of a head: uvs and uv_faces of its skin

    def inside(self, height: int, width: int) -> np.ndarray:
        """Texels [height, width] bool inside the outline, with the openings of lids and lips."""
        return rasterize_uv(self.uvs, _template().faces, height, width).face_ids >= 0

    def region(self, height: int, width: int) -> np.ndarray:
        """Texels [height, width] bool of the shared face."""
        openings = np.zeros((height, width), np.uint8)
        for upper, lower in (*LIDS, LIPS):
            u, v = self.uvs[[*upper, *reversed(lower)]].T
            contour = np.stack([u * width - 0.5, (1 - v) * height - 0.5], axis=1)
            cv2.fillPoly(openings, [np.round(contour * 2**FRACTION_BITS).astype(np.int32)], 1, shift=FRACTION_BITS)
        found = self.inside(height, width) & (openings == 0)
        return found if self.skin is None else found & (rasterize_uv(*self.skin, height, width).face_ids >= 0)

    def points(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Face Mesh's points [468, 3] on a mesh of this layout, or of what its vertices [N, 3] have. faces: [F, 3]."""
        if self.corners is None:  # the vertices begin with the points
            return vertices[:POINTS]
        return np.einsum("nk,nkc->nc", self.barycentrics, vertices[faces.ravel()[self.corners]])


def face_mask(level: int = LEVELS) -> SharedFace:
    """The shared face in the layout of the Face Mesh mask. level: of its subdivision, with which the layout changes a little."""
    return _face_mask(level)


@cache
def _face_mask(level: int) -> SharedFace:
    template, uvs = _template(), load_template(level).uvs
    places = uvs if level == LEVELS else template.positions @ uvs[:POINTS]
    return SharedFace(places, 1)


@cache
def head() -> SharedFace | None:
    """The shared face in the head's layout; None without the head model, which the set-up makes."""
    try:
        return _of_head(set_up_head_model())
    except ConfigError:
        return None


def _of_head(model: HeadModel) -> SharedFace:
    layout, points = load_head_layout(), load_head_points()
    uvs = _template().positions @ HeadTopology.of(model, layout).point_uvs(points)
    of_model, corner_of = np.unique(model.triangles, return_index=True)
    corners = corner_of[np.searchsorted(of_model, points.vertices)]
    skin = layout.uvs, layout.uv_triangles[model.part(SKIN)]
    return SharedFace(uvs, HEAD_SCALE, corners, points.barycentrics, skin)


def shared_face(reconstruction: Reconstruction) -> SharedFace | None:
    """The shared face in a reconstruction's layout, which its texture coordinates tell; None in any other layout."""
    uvs = reconstruction.mesh.uvs
    if len(uvs) in MASKS and _same(uvs, load_template(level := MASKS.index(len(uvs))).uvs):
        return face_mask(level)
    return head() if reconstruction.rig is not None and _same(uvs, load_head_layout().uvs) else None


def carried(image: np.ndarray, source: SharedFace, target: SharedFace, size: int) -> np.ndarray:
    """A texture [h, w, C] float32 of one layout in another one, [size, size, C]: bicubic, extended beyond the outline."""
    if source is target and image.shape[:2] == (size, size):
        return image
    faces = _template().faces
    fragments = rasterize_uv(target.uvs, faces, size, size)
    u, v = np.moveaxis(interpolate(source.uvs, faces, fragments), -1, 0)
    height, width = image.shape[:2]
    columns, rows = (u * width - 0.5).astype(np.float32), ((1 - v) * height - 0.5).astype(np.float32)
    found = cv2.remap(image, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).reshape(size, size, -1)
    found = nearest(found, fragments.face_ids >= 0)[0]
    return found[..., 0] if image.ndim == 2 else found


def _same(uvs: np.ndarray, layout: np.ndarray) -> bool:
    return uvs.shape == layout.shape and float(np.abs(uvs - layout).max()) < SAME


@cache
def _template() -> Template:
    return load_template(LEVELS)
