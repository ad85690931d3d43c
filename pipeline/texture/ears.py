"""The ears of a whole head: where they are, and plausible shading of what the photo does not show of them."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

from pipeline.texture.head_parts import SKIN, HeadTexels
from renderer.interpolate import interpolate
from renderer.mesh import vertex_normals

# Lengths are in millimetres at rest (head_parts.py), x to the person's left, y up, z out of the face.
# Ears stand out from a smooth surface through the sides of the head around them.
BOX, SURROUND = ((-65.0, 50.0), (-125.0, -45.0)), ((-80.0, 75.0), (-145.0, -25.0))  # y, z
SIDE, EAR_OUT = 35.0, 4.0  # |x|; out of the surface
CORE, AROUND = 6.0, 6.0  # out of the surface, which only ears are; from there, within which the rest of them lies
HOLLOW = 7.0  # radius of the neighbourhood whose hollows are shaded
HOLLOW_DARK, DARKEST, BRIGHTEST = 1.3, 0.55, 1.05  # brightness for a hollow's depth, relative to HOLLOW; bounds
TINT = np.array([1.04, 0.96, 0.95], np.float32)  # of ears against the skin around them


def out_of_head(head: HeadTexels) -> np.ndarray:
    """How far vertices [V] stand out from the sides of the head, mm; -EAR_OUT away from the ears."""
    x, y, z = np.abs(head.at_rest[:, 0]), *head.at_rest[:, 1:].T
    skin = np.zeros(len(x), bool)
    skin[skin_vertices(head)] = True
    within = lambda box: (
        (x > SIDE) & (y > box[0][0]) & (y < box[0][1]) & (z > box[1][0]) & (z < box[1][1]) & skin
    )  # fmt: skip
    inner = within(BOX)
    around = within(SURROUND) & ~inner
    result = np.full(len(x), -EAR_OUT, np.float32)
    if around.sum() < 20:
        return result
    v, w = y / 50, (z + 85) / 50
    basis = np.stack([np.ones_like(v), v, w, v * v, v * w, w * w, v**3, v * v * w], axis=1)
    smooth = np.linalg.lstsq(basis[around], x[around], rcond=None)[0]
    result[inner] = (x - basis @ smooth)[inner]
    core = result > CORE
    if not core.any():
        return np.full(len(x), -EAR_OUT, np.float32)
    apart = cKDTree(head.at_rest[core]).query(head.at_rest[inner])[0] > AROUND
    result[np.flatnonzero(inner)[apart]] = -EAR_OUT  # other places where the head is not smooth
    return result


def skin_vertices(head: HeadTexels) -> np.ndarray:
    """Ids [N] of the skin's vertices."""
    return np.unique(head.mesh.faces[head._face_parts == head._number(SKIN)])


def of_vertices(head: HeadTexels, values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Values [N] at the texels of an area [H, W] bool inside the islands, from values [V] of vertices."""
    corners = head.mesh.faces[head.fragments.face_ids[where]]
    return np.einsum("nk,nk->n", values[corners].astype(np.float32), head.fragments.barycentrics[where])


def skin_around(head: HeadTexels, area: np.ndarray) -> np.ndarray:
    """Texels [H, W] bool of the skin in and around an area [h, w] bool of the coarse texture."""
    grown = cv2.dilate(area.astype(np.uint8), np.ones((3, 3), np.uint8))
    return head.of(SKIN) & (cv2.resize(grown, head.part.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def shade_ears(head: HeadTexels, texture: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """The texture [H, W, 3] with ears that are redder than the skin around them and darker in their hollows.

    filled [H, W], 0..1: share of each texel that was filled from its surroundings; only that changes.
    """
    out, faces = out_of_head(head), head.mesh.faces[head._face_parts == head._number(SKIN)]
    ids, all_ids = np.flatnonzero(out > 0), skin_vertices(head)
    if not len(ids):
        return texture
    points, normals = head.at_rest.astype(np.float64), vertex_normals(head.at_rest.astype(np.float64), faces)
    normals *= np.sign(np.einsum("vc,vc->", normals[ids], points[ids] * (1, 0, 0))) or 1
    near = cKDTree(points[all_ids]).query_ball_point(points[ids], HOLLOW)
    hollow = [np.mean((points[all_ids[around]] - points[i]) @ normals[i]) for i, around in zip(ids, near, strict=True)]
    bright = np.ones(len(points))
    bright[ids] = np.clip(1 - HOLLOW_DARK * np.array(hollow) / HOLLOW, DARKEST, BRIGHTEST)
    coarse = interpolate(out[:, None], head.mesh.faces, head.coarse_fragments)[..., 0]
    where = skin_around(head, head.coarse[0] & (coarse > -EAR_OUT)) & (filled > 0)
    share = np.clip(of_vertices(head, out, where) / EAR_OUT, 0, 1) * filled[where]
    factor = of_vertices(head, bright, where)[:, None] * TINT
    result = texture.copy()
    result[where] *= 1 + share[:, None] * (factor - 1)
    return np.clip(result, 0, 1)
