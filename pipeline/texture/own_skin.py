"""What of a photo is the person's own skin and hair in the texture, by the labels of its pixels (labels.py)."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.texture.ears import EAR_OUT, out_of_head
from pipeline.texture.head_parts import BROWS, COARSE, EAR_FILL, SIDES, HeadTexels, skin_difference
from pipeline.texture.labels import HAIR, SKIN
from renderer.interpolate import interpolate

# Lengths are in millimetres on the face.
# Margins of the labels on a surface that faces the camera, from which on a texel counts as seen.
SKIN_MARGIN, EDGE_MARGIN, MARGIN_RAMP = 2.5, 1.5, 1.5  # of skin to the others; of hair to all but skin; full after
RIM, RIM_BLUR = 10.0, 1.5  # beside what is not skin, within which rims are looked for
RIM_LIKENESS, DARK, EAR_DARK = 0.25, 0.8, 0.9  # likeness; natural logs below the usual brightness of skin, and of ears
LEAST_SOURCE = 0.15  # weight of labelled skin in smooth fills
OFFSET = 0.05  # added before the logarithm


@dataclass(frozen=True)
class Labelled:
    """How far a texel shows skin and hair by the photo's labels, [H, W] float32, 0..1."""

    skin: np.ndarray  # away from all that is not skin
    own: np.ndarray  # skin or hair, away from glasses, other things and background
    hair: np.ndarray  # hair, away from glasses, other things and background


def labelled(labels: np.ndarray, pixels_per_mm: float) -> np.ndarray:
    """The photo's labels [H, W] as an image [H, W, 3] float32, 0..1: the fields of `Labelled`."""
    away = lambda area: cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = lambda depth, margin: np.clip((depth / pixels_per_mm - margin) / MARGIN_RAMP, 0, 1)
    skin, hair = labels == SKIN, labels == HAIR
    own = ramp(away(skin | hair), EDGE_MARGIN)
    return np.stack([ramp(away(skin), SKIN_MARGIN), own, own * hair], axis=-1).astype(np.float32)


def own_skin(
    head: HeadTexels,
    sampled: np.ndarray,  # the photo in the texture [H, W, 3], 0..1
    visibility: np.ndarray,  # [H, W], 0..1, whatever is in front of the mesh
    shares: Labelled,
    near: np.ndarray | None,  # [H, W], 0..1, of `Scalp`, beside natural hairlines; None: there are none
    normals: np.ndarray,  # [H, W, 3], outward, head frame
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence that a texel shows the person's skin, and how much like skin it looks: both [H, W] float32, 0..1."""
    skin = shares.skin
    if near is not None:
        skin = skin + near * (shares.own - shares.hair - shares.skin)  # hair that grows there needs no margin
    skin = visibility * np.clip(skin, 0, 1)
    score = skin_difference(head, sampled, skin, normals)
    if score is None:
        return skin, np.ones(skin.shape, np.float32)
    likeness = np.exp(-(score**2)).astype(np.float32)
    out = interpolate(out_of_head(head)[:, None], head.mesh.faces, head.coarse_fragments)[..., 0]
    small = lambda image: cv2.resize(image, out.shape[::-1], interpolation=cv2.INTER_AREA)
    large = lambda image: cv2.resize(image, skin.shape[::-1], interpolation=cv2.INTER_LINEAR)
    bright = np.log(small(sampled).mean(-1) + OFFSET)
    usual = np.median(bright[(small(skin) > 0.9) & (likeness > 0.5)]) if (likeness > 0.5).any() else 0.0
    doubtful = (bright < usual - np.where(out > 0, EAR_DARK, DARK)) | ((likeness < RIM_LIKENESS) & (out <= 0))
    if near is not None:
        doubtful &= small(near) < 0.5
    x, y, z = np.moveaxis(head.coarse[1], -1, 0)
    doubtful &= (np.abs(x) > BROWS[0]) | (np.abs(y) > BROWS[1]) | (z < SIDES)  # brows and lashes are dark by themselves
    skin = skin * (1 - large(_rims(head, small(visibility), small(skin), doubtful)))
    likeness = np.maximum(likeness, LEAST_SOURCE)  # skin in the shadow fills what is beside it
    likeness[out > EAR_OUT / 2] *= EAR_FILL
    return skin, large(likeness)


def _rims(head: HeadTexels, visibility: np.ndarray, skin: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Share [h, w], 0..1, of rims in coarse texels: doubtful ones beside what is not skin, such as the shadows of hair.

    visibility, skin [h, w], 0..1, as in `own_skin`. doubtful [h, w] bool: dark or unlike skin.
    """
    coarse, _ = head.coarse
    unit = head.texels_per_mm / COARSE
    foreign = coarse & (visibility > 0.5) & (skin < 0.5 * visibility)
    away = cv2.distanceTransform((~foreign).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / unit
    rim = (coarse & (away < RIM) & (skin > 0.5) & doubtful) | foreign
    _, areas = cv2.connectedComponents(rim.astype(np.uint8), connectivity=8)
    rim &= np.isin(areas, np.unique(areas[foreign])) & ~foreign  # connected with what is not skin
    return np.clip(3 * cv2.GaussianBlur(rim.astype(np.float32), (0, 0), max(RIM_BLUR * unit, 0.5)), 0, 1)
