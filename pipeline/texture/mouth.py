"""What the photo shows between the lips, and teeth and tongue completed where it shows none.

Whatever is visible between the lips takes the photo's colours, like skin, so that the head looks like the photo in its
view even where the mesh has tongue and the photo teeth. Teeth that are not seen take the colours of the other side,
else a drawn row of teeth: enamel as seen, gaps, gums, darker towards the back.
"""

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from pipeline.reconstruction.folder import Reconstruction
from pipeline.texture.head_parts import (
    MOUTH,
    SKIN,
    TEETH,
    TONGUE,
    HeadTexels,
    brightness_of_light,
    face_parts,
    put_unseen,
)
from renderer.rasterize import rasterize
from renderer.visibility import TexelGeometry, unoccluded

BUFFER = 1024  # px, largest longer side of the picture in which the opening is measured
LEAST_OPENING = 1.5  # mm; nothing is seen of the teeth of a mouth that is less open
BESIDE, LEVEL = 0.25, 2.5  # of vertices along a row of teeth: radians around its middle; mm in height
STRIP = 2.0  # mm, of the mouth's lining beside the lips
OFFSET = 0.05  # added before the logarithm

# Teeth, mm. From the middle to the back: widths and heights of the crowns.
WIDTHS = {TEETH[0]: (8.6, 6.7, 7.7, 7.0, 6.8, 10.2, 9.8, 9.0), TEETH[1]: (5.4, 6.0, 6.9, 7.1, 7.2, 11.2, 10.6, 10.0)}
HEIGHTS = {TEETH[0]: (10.4, 9.2, 10.0, 8.6, 7.8, 7.0, 6.8, 6.5), TEETH[1]: (8.8, 9.0, 10.0, 8.6, 7.8, 7.0, 6.8, 6.5)}
TALLEST = 1.35  # largest factor of the heights
PAPILLA = 3.2  # height of the gum between two teeth
GAP = 0.28  # half the width of the dark between two teeth
NOTCH, NOTCH_HEIGHT = 0.55, 2.0  # by which it widens towards the edge, from this height on
ROUNDED = 0.30  # natural log by which a tooth darkens to its sides
EDGE, EDGE_DARK = 1.2, 0.12  # a thin edge is less bright
BACK_START, BACK_END, BACK_DARK = 16.0, 50.0, np.array([1.2, 1.6, 1.6])  # along the row, mm; natural logs
INNER, INNER_DARK = 3.5, 0.6  # mm that its vertices lie behind the edge; natural log, of the side towards the tongue
ENAMEL = np.array([0.80, 0.74, 0.64])
GUM_SHARE = np.array([0.92, 0.72, 0.74])  # of the colour of the lips
BETWEEN = 0.28  # brightness of gaps, of the enamel's
BRIGHT, PALE = 0.9, 0.18  # logs: teeth are no darker than the brightest of them, no redder than these
LEAST_PALER = 0.08  # than lips, log of red to green
ENOUGH = 15.0  # square mm of seen teeth whose colour counts
REACH = 5.0  # mm over which the colours of seen teeth are continued
MIRROR_EDGE = 1.0  # mm over which mirrored teeth fade out
TONGUE_SHARE, TONGUE_DEPTH = np.array([0.80, 0.62, 0.64]), 22.0  # of the lip's colour; mm


def mouth_seen(head: HeadTexels, geometry: TexelGeometry, reconstruction: Reconstruction, seen: np.ndarray) -> np.ndarray:
    """Confidence [H, W] with that of the mouth's texels: 1 where the photo shows them, at any angle.

    seen: [H, W], 0..1, of `renderer.visibility`. Teeth and tongue are not seen in a mouth that is closed, whose points
    leave a slit.
    """
    inside, bag = head.of(MOUTH, TONGUE, *TEETH), head.of(MOUTH)
    if not inside.any():
        return seen
    if opening(head, reconstruction) < LEAST_OPENING:
        return np.where(inside & ~bag, 0, seen)
    rows = np.flatnonzero(inside.any(axis=1))
    rows = slice(rows[0], rows[-1] + 1)
    part = replace(
        geometry, positions=geometry.positions[rows], normals=geometry.normals[rows], mask=(geometry.mask & inside)[rows]
    )  # fmt: skip
    result = seen.copy()
    shown = unoccluded(part, reconstruction.mesh, reconstruction.camera)
    # A strip beside the lips that is seen edge-on would carry the colours of teeth around the lips.
    parts = head.rig.vertex_parts
    names = head.rig.part_names.tolist()
    skin, lining = (head.at_rest[parts == names.index(name)] for name in (SKIN, MOUTH))
    rim = lining[cKDTree(skin).query(lining)[0] < 1e-2]
    strip = np.zeros(inside.shape, bool)
    if len(rim):
        strip[bag] = cKDTree(rim).query(head.positions(bag))[0] < STRIP
    # Pixels at the border of what is visible also show the texels beside it.
    shown = cv2.dilate(shown.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shown &= inside[rows] & geometry.mask[rows] & ~strip[rows]
    result[rows] = np.where(inside[rows], np.maximum(shown, np.where(bag, seen, 0)[rows]), seen[rows])
    return result


def opening(head: HeadTexels, reconstruction: Reconstruction) -> float:
    """Height in mm of the opening between the lips in the photo: of its highest sixth."""
    mesh, camera = reconstruction.mesh, reconstruction.camera
    longest = max(camera.width, camera.height)
    camera = camera.scaled(min(BUFFER, longest) / longest)
    numbers = [head.rig.part_names.tolist().index(n) for n in (MOUTH, TONGUE, *TEETH) if n in head.rig.part_names]
    inside = np.isin(face_parts(head.rig, mesh), numbers)
    corners = camera.project(mesh.vertices[np.unique(mesh.faces[inside])])
    low = np.clip(np.floor(corners.min(axis=0)), 0, (camera.width, camera.height)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, (camera.width, camera.height)).astype(int)
    if (high <= low).any():
        return 0.0
    window = replace(
        camera, width=int(high[0] - low[0]), height=int(high[1] - low[1]), cx=camera.cx - low[0], cy=camera.cy - low[1]
    )
    shown = np.append(inside, False)[rasterize(mesh, window).face_ids]
    heights = np.sort(shown.sum(axis=0))[::-1]
    width = np.count_nonzero(heights)
    if not width:
        return 0.0
    depth = mesh.vertices[np.unique(mesh.faces[inside]), 2].mean()
    return float(heights[: max(width // 6, 1)].mean() * depth / camera.fx * head.scale)


def fill_mouth(head: HeadTexels, texture: np.ndarray, seen: np.ndarray, lips: np.ndarray) -> None:
    """Puts teeth and tongue into the texture [H, W, 3], in place, as far as they are not seen [H, W], 0..1.

    lips: [3], their colour.
    """
    where = head.of(TONGUE)
    if where.any():
        points = head.positions(where)
        back = np.clip((points[:, 2].max() - points[:, 2:]) / TONGUE_DEPTH, 0, 1)
        put_unseen(texture, where, lips * TONGUE_SHARE * (1 - 0.65 * back), seen)
    own = {name: _enamel_of(head, head.of(name), texture, seen, lips) for name in TEETH}
    known = [colour for colour, _ in own.values() if colour is not None]
    enamel = known[0] if known else ENAMEL * brightness_of_light(head, texture)
    for name in TEETH:
        if (where := head.of(name)).any():
            colour, like_teeth = own[name]
            _fill_teeth(head, name, texture, seen, enamel if colour is None else colour, like_teeth, lips)


def _enamel_of(
    head: HeadTexels, where: np.ndarray, texture: np.ndarray, seen: np.ndarray, lips: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """The colour [3] of seen teeth, None where there are too few, and which texels [H, W] bool show teeth."""
    like_teeth = np.zeros(where.shape, bool)
    shown = where & (seen > 0.9)
    if not shown.any():
        return None, like_teeth
    logs = np.log(texture[shown] + OFFSET)
    brightness, hue = logs.mean(axis=1), logs[:, 0] - logs[:, 1]
    brightest = brightness > np.percentile(brightness, 75)
    usual = np.median(hue[brightest]) if brightest.any() else np.inf
    lip_hue = np.log(lips[0] + OFFSET) - np.log(lips[1] + OFFSET)
    good = (brightness > np.percentile(brightness, 90) - BRIGHT) & (hue < usual + PALE) & (hue < lip_hue - LEAST_PALER)
    like_teeth[shown] = good
    if good.sum() < ENOUGH * _texels_per_mm(head) ** 2:
        return None, np.zeros_like(like_teeth)
    return np.percentile(texture[like_teeth], 70, axis=0), like_teeth


def _fill_teeth(
    head: HeadTexels, name: str, texture: np.ndarray, seen: np.ndarray, enamel: np.ndarray, like_teeth: np.ndarray,
    lips: np.ndarray,
) -> None:  # fmt: skip
    """Puts one row of teeth into the texture, in place. like_teeth: [H, W] bool, seen texels that show teeth."""
    where = head.of(name)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside, area = where[window], texture[window]
    drawn = np.zeros((*inside.shape, 3), np.float32)
    drawn[inside] = drawn_teeth(head, name, where, enamel, lips, like_teeth)
    # What is seen differs from the drawn teeth by light and by the teeth: continued beside it.
    unit = _texels_per_mm(head)
    weights = like_teeth[window].astype(np.float32)
    difference = (np.log(area + OFFSET) - np.log(drawn + OFFSET)) * weights[..., None]
    total = cv2.GaussianBlur(weights, (0, 0), REACH * unit)
    smooth = cv2.GaussianBlur(difference.astype(np.float32), (0, 0), REACH * unit)
    smooth /= np.maximum(total, 0.02)[..., None]
    drawn = (drawn + OFFSET) * np.exp(np.clip(smooth, -0.7, 0.7)) - OFFSET
    if head.symmetric and columns[0] + columns[-1] in range(where.shape[1] - 2, where.shape[1] + 1):
        theirs = cv2.erode(like_teeth[window][:, ::-1].astype(np.uint8), np.ones((3, 3), np.uint8))
        distance = cv2.distanceTransform(theirs, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        share = np.clip(distance / max(MIRROR_EDGE * unit, 1e-6), 0, 1)[..., None]
        drawn += share * (area[:, ::-1] - drawn)
    put_unseen(texture, where, drawn[inside], seen)


def drawn_teeth(
    head: HeadTexels, name: str, where: np.ndarray, enamel: np.ndarray, lips: np.ndarray, like_teeth: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Colours [N, 3] of the texels of a row of teeth [H, W] bool: crowns, gaps between them and gums.

    Crowns are at least as high as seen ones. like_teeth: [H, W] bool, texels that show teeth.
    """
    along, height, inner = tooth_places(head, name, where)
    ends = np.cumsum(WIDTHS[name])
    number = np.minimum(np.searchsorted(ends, np.abs(along)), len(ends) - 1)
    width = np.array(WIDTHS[name])[number]
    across = np.clip((np.abs(along) - ends[number] + width / 2) / (width / 2), -1, 1)  # -1..1 over a tooth
    from_gap = (1 - np.abs(across)) * width / 2  # mm
    gap = max(GAP, 0.5 / _texels_per_mm(head)) + NOTCH * np.clip(1 - height / NOTCH_HEIGHT, 0, 1) ** 2
    dark = np.clip(1.5 - from_gap / gap, 0, 1)
    shade = -ROUNDED * across**4 - EDGE_DARK * np.clip(1 - height / EDGE, 0, 1)
    shade = shade[:, None] * (0.9, 1.0, 1.1)
    crown = enamel * np.exp(shade)
    crown += dark[:, None] * (BETWEEN * enamel * (1.0, 0.75, 0.65) - crown)
    taller = 1.0
    if like_teeth is not None and like_teeth.any():
        front = like_teeth[where] & (np.abs(along) < ends[1])
        taller = np.clip((np.percentile(height[front], 95) + 1) / HEIGHTS[name][1], 1, TALLEST) if front.any() else 1.0
    line = taller * np.array(HEIGHTS[name])[number] - PAPILLA * across**2
    gum = np.clip((height - line) / 0.6 + 0.5, 0, 1)[:, None]
    colours = crown + gum * (lips * GUM_SHARE * (1 - 0.15 * across[:, None] ** 2) - crown)
    back = np.clip((np.abs(along) - BACK_START) / (BACK_END - BACK_START), 0, 1)
    return colours * np.exp(-BACK_DARK * back[:, None] - INNER_DARK * inner[:, None])


def tooth_places(head: HeadTexels, name: str, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of texels [H, W] bool of a row of teeth: mm along the row from its middle, height above the teeth's edges in mm,
    and whether they are on the side of the tongue. Each [N]."""
    points = head.positions(where).astype(np.float64)
    own = head.at_rest[head.rig.vertex_parts == head.rig.part_names.tolist().index(name)].astype(np.float64)
    upwards = 1.0 if name == TEETH[0] else -1.0
    back = own[:, 2].min() - 1.0
    middle = (own[:, 0].min() + own[:, 0].max()) / 2
    angle = lambda places: np.arctan2(places[:, 0] - middle, places[:, 2] - back)
    of_own, of_texels = angle(own), angle(points)
    # The edge: vertices that no vertex beside them lies below.
    beside = np.abs(of_own[:, None] - of_own) < BESIDE
    lowest = np.where(beside, upwards * own[:, 1], np.inf).min(axis=1)
    tips = np.flatnonzero(upwards * own[:, 1] < lowest + LEVEL)
    tips = tips[np.argsort(of_own[tips])]
    outline, edge, centres = own[tips][:, [0, 2]], upwards * own[tips, 1], of_own[tips]
    lengths = np.append(0, np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1)))
    lengths -= np.interp(0.0, centres, lengths)
    along = np.interp(of_texels, centres, lengths)
    height = np.maximum(upwards * points[:, 1] - np.interp(of_texels, centres, edge), 0)
    all_points = head.at_rest.astype(np.float64)
    radius = np.interp(angle(all_points), centres, np.linalg.norm(outline - (middle, back), axis=1))
    behind = np.hypot(all_points[:, 0] - middle, all_points[:, 2] - back) < radius - INNER
    corners = head.mesh.faces[head.fragments.face_ids[where]]
    inner = (behind[corners] * head.fragments.barycentrics[where]).sum(axis=1)
    return along, height, np.clip(inner / 0.1, 0, 1)


def _texels_per_mm(head: HeadTexels) -> float:
    """Of the teeth's islands, which have about half of the face's density."""
    return head.texels_per_mm / 2
