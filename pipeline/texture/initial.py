"""The initial texture I_C: complete colours, from a given content image or from the sampled texture."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.reconstruction.folder import Reconstruction, ReconstructionError
from pipeline.reconstruction.images import as_float, read_photo
from pipeline.settings.schema import Config, LimitSettings
from pipeline.texture.completion import OFFSET, SEEN, complete
from pipeline.texture.ears import shade_ears
from pipeline.texture.eyes import fill_eyes
from pipeline.texture.head_parts import COARSE, SKIN, fill_bags
from pipeline.texture.mouth import fill_mouth
from pipeline.texture.sampled import Sampled
from pipeline.texture.scalp import paint_scalp
from renderer.dilate import dilate, push_pull

DETAIL_REACH = 15.0  # mm over which continued detail fades on a whole head, whose scalp would show its repetition
LEAST_PLAIN, PLAIN_REACH = 100.0, 16.0  # square mm of skin; mm from it at which filled texels become plain skin
PLAIN_BELOW, PLAIN_BEHIND, PLAIN_RAMP = -60.0, -85.0, 30.0  # y and z, mm at rest: of neck and back; full after
PLAIN_DARK = 0.35  # darker than usual, natural logs: skin in the shadow, which counts less for plain skin
EMPTY = 2  # of 255: values up to this count as black
EMPTY_AREA = 5e-4  # of the image: larger black areas are unpainted, smaller ones may be pupils


@dataclass(frozen=True)
class Initial:
    """I_C and its provenance; arrays are float32, 0..1."""

    texture: np.ndarray  # I_C [H, W, 3], complete, extended beyond the islands
    goal: np.ndarray  # [H, W, 3], the sampled texture blended over I_C by visibility
    provenance: dict[str, np.ndarray]  # {name in provenance.LEGEND: share [H, W] of each texel's colour}
    notes: tuple[str, ...] = ()  # what had to be made up, one line each


def complete_texture(
    sampled: Sampled, reconstruction: Reconstruction, content: np.ndarray | None, config: Config
) -> Initial:
    """I_C of a sampled texture. content: a given initial texture, uint8 [h, w, 3], instead of the completion."""
    seen, mask = sampled.visibility, sampled.mask
    if content is not None:
        given = np.where(mask[..., None], content_as_texture(content, config.texture_size), 0)
        texture = dilate(given, mask)
        goal = dilate(texture + seen[..., None] * (sampled.texture - texture), mask)
        return Initial(texture, goal, {"observed": seen, "given": 1 - seen})
    normals = None
    if reconstruction.symmetric:
        normals = (sampled.geometry.normals @ reconstruction.head_to_camera[:3, :3]) * sampled.outward
    if sampled.head is not None:
        return _complete_head(sampled, normals, config)
    completion = complete(sampled.texture, seen, mask, normals, config.completion)
    texture = dilate(completion.texture, mask)
    shares = {"observed": seen, "mirrored": completion.mirrored, "synthesised": completion.smooth}
    return Initial(texture, texture, shares)


def _complete_head(sampled: Sampled, normals: np.ndarray | None, config: Config) -> Initial:
    """I_C of a whole head: its skin by itself, then eyes, mouth and sockets. normals: as in `complete`."""
    head, seen, mask = sampled.head, sampled.visibility, sampled.mask
    skin = head.of(SKIN)
    scalp = sampled.scalp
    seen_skin = np.where(skin, seen if scalp is None else np.maximum(seen - scalp.shown, 0), 0)
    if not (seen_skin > SEEN).any():
        raise ReconstructionError("the photo shows no skin of the head well enough: check that mesh, camera and mask match it")
    completion = complete(
        sampled.texture, seen_skin, skin, normals, config.completion, head.texels_per_mm, DETAIL_REACH, sampled.likeness,
        head.front,
    )  # fmt: skip
    texture = np.where(skin[..., None], completion.texture, sampled.texture)
    if sampled.labels is not None:
        texture = _fade_to_skin(texture, completion.smooth, sampled, seen_skin)
        texture = shade_ears(head, texture, completion.smooth)
    mirrored = completion.mirrored
    if scalp is not None:
        texture, mirrored_hair = paint_scalp(head, scalp, texture, sampled.texture, seen * skin)
        mirrored = np.minimum(mirrored * (1 - scalp.hair) + mirrored_hair, 1 - seen)
    texture = head.without_seam(texture, seen)
    texture, lips = fill_bags(head, texture, seen)
    fill_mouth(head, texture, seen, lips)
    texture, notes = fill_eyes(head, sampled.eyes, texture, seen)
    texture = head.extended(texture)
    shares = {"observed": seen, "mirrored": mirrored, "synthesised": np.where(mask, 1 - seen - mirrored, 0)}
    return Initial(texture, texture, shares, (*sampled.notes, *notes))


def _fade_to_skin(texture: np.ndarray, smooth: np.ndarray, sampled: Sampled, seen: np.ndarray) -> np.ndarray:
    """The texture [H, W, 3] with smoothly filled texels, a share smooth [H, W], that become plain skin further away.

    seen [H, W]: of skin. A beard or a shadow at the border so continues a little, and does not colour neck and back.
    """
    head = sampled.head
    skin, points = head.coarse
    small = lambda image: cv2.resize(image, skin.shape[::-1], interpolation=cv2.INTER_AREA)
    unit = head.texels_per_mm / COARSE
    weights = np.where(skin & (small(seen) > SEEN), np.clip(2 * small(sampled.likeness) - 1, 0, 1), 0)
    weights = weights.astype(np.float32)
    if weights.sum() < LEAST_PLAIN * unit**2:
        return texture
    colours = small(sampled.texture)
    bright = np.log(colours.mean(-1) + OFFSET)
    usual = np.median(bright[weights > 0.5]) if (weights > 0.5).any() else np.median(bright[weights > 0])
    weights *= np.exp(-((np.minimum(bright - usual, 0) / PLAIN_DARK) ** 2))
    plain = push_pull(colours, weights)
    unknown = ~skin | (small(smooth) > 0.5 * small(head.of(SKIN).astype(np.float32)))
    away = cv2.distanceTransform(unknown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / unit
    # Beside the face the fill keeps the light of its surroundings.
    off_face = np.maximum((PLAIN_BELOW - points[..., 1]) / PLAIN_RAMP, (PLAIN_BEHIND - points[..., 2]) / PLAIN_RAMP)
    off_face[~skin] = 1  # the back's seam and the neck's end are the skin's borders
    share = (np.clip(off_face, 0, 1) * (1 - np.exp(-((away / PLAIN_REACH) ** 2)))).astype(np.float32)
    large = lambda image: cv2.resize(image, seen.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return texture + (smooth * large(share))[..., None] * (large(plain) - texture)


def read_content(path: Path | None, reconstruction: Reconstruction, limits: LimitSettings) -> np.ndarray | None:
    """The given initial texture, uint8 [h, w, 3]: the image at `path`, else the reconstruction's, or None."""
    return reconstruction.content if path is None else read_photo(path, limits)


def content_as_texture(content: np.ndarray, size: int) -> np.ndarray:
    """A given initial texture, uint8 [h, w, 3], resampled to [size, size, 3] float32, 0..1, with empty areas filled.

    Generators leave unpainted areas black (around the island, in the mouth), and the ragged edges of these areas may
    differ from the mesh's islands. Larger black areas, and those at the image's border, take the colours next to them.
    An all-black image stays black.
    """
    black = (content.max(axis=2) <= EMPTY).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(black, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= EMPTY_AREA * black.size
    large[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True  # at the image's border
    large[0] = False  # label 0: painted pixels
    empty = cv2.dilate(large[labels].astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
    image = as_float(content)
    if empty.any() and not empty.all():
        image = dilate(image, ~empty)
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC).clip(0, 1)
