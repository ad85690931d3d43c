"""The sampled texture I_S: the photo resampled into the texture, with per-texel confidence."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.reconstruction.folder import Reconstruction, ReconstructionError
from pipeline.reconstruction.images import as_float
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN, PhotoComparison, optimise
from pipeline.texture.eyes import Eye, find_eyes
from pipeline.texture.head_parts import HeadTexels, head_texels, not_skin
from pipeline.texture.labels import Labels, labels_of
from pipeline.texture.mouth import mouth_seen
from pipeline.texture.own_skin import Labelled, labelled, own_skin
from pipeline.texture.relight import texture_density
from pipeline.texture.scalp import Scalp, find_scalp
from renderer.dilate import dilate
from renderer.unwrap import unwrap
from renderer.visibility import REFERENCE_TEXTURE, TexelGeometry, outward_sign, texel_geometry, visibility

BORDER_RAMP = 0.6  # mm on the head beside hidden texels, over which confidence rises


@dataclass(frozen=True)
class Sampled:
    """I_S with confidence and surface of its texels; arrays are float32, 0..1."""

    texture: np.ndarray  # I_S [H, W, 3], 0 where visibility is 0
    visibility: np.ndarray  # [H, W], confidence that the photo shows a texel
    geometry: TexelGeometry
    outward: float  # 1 if the winding's normals point out of the mesh, else -1
    head: HeadTexels | None = None  # of a whole head
    eyes: dict[str, Eye] = field(default_factory=dict)  # of a whole head, by name
    likeness: np.ndarray | None = None  # [H, W], 0..1, of a whole head: how much like skin a seen texel is
    labels: Labels | None = None  # of the photo's pixels; they decided what is seen
    scalp: Scalp | None = None  # of a whole head with hair
    notes: tuple[str, ...] = ()  # what the photo does not show, one line each

    def extended(self, texture: np.ndarray) -> np.ndarray:
        """A texture [H, W, 3] with colours outside the islands."""
        return dilate(texture, self.mask) if self.head is None else self.head.extended(texture)

    @property
    def mask(self) -> np.ndarray:
        """[H, W] bool, texels inside the islands."""
        return self.geometry.mask


def unwrap_photo(reconstruction: Reconstruction, config: Config) -> Sampled:
    """Resamples the photo into the texture. Raises ReconstructionError where mesh, camera and photo do not match.

    The labels of the photo's pixels decide what is skin and hair; without any, the reconstruction's mask and the colours.
    """
    mesh, camera, size = reconstruction.mesh, reconstruction.camera, config.texture_size
    geometry = texel_geometry(mesh, size, size)
    if not geometry.mask.any():
        raise ReconstructionError("no texel centre lies inside the mesh's UVs: they must cover part of the unit square")
    settings = config.unwrap
    head = head_texels(reconstruction, size, size)
    density = texture_density((size, size)) if head is None else head.texels_per_mm
    texels_per_mm = density * REFERENCE_TEXTURE / size
    lengths = settings.erosion * texels_per_mm, BORDER_RAMP * texels_per_mm
    seen = visibility(geometry, mesh, camera, settings.full_cosine, settings.zero_cosine, *lengths)
    if head is not None:
        seen = mouth_seen(head, geometry, reconstruction, seen)
    # Only what is seen is sampled, and its neighbours, which tell how the photo is scaled there.
    around = cv2.dilate((seen > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    near = replace(geometry, mask=geometry.mask & around)
    sampled = unwrap(as_float(reconstruction.photo), near, camera)
    labels, shares = labels_of(reconstruction, config), None
    if labels is not None:
        if head is None:
            per_mm = _photo_density(geometry, seen, density, camera.fx)
        else:
            per_mm = _pixels_per_mm(reconstruction, head)
        shares = Labelled(*np.moveaxis(unwrap(labelled(labels.labels, per_mm), near, camera), -1, 0))
    elif reconstruction.mask is not None and settings.exclude_hair:
        face_share = unwrap(as_float(np.repeat(reconstruction.mask[..., None], 3, 2)), near, camera)[..., 0]
        seen = seen * np.clip(face_share, 0, 1)
    outward, eyes, likeness = outward_sign(geometry, seen > 0), {}, None
    scalp, notes = None, []
    if head is not None:
        normals = geometry.normals @ reconstruction.head_to_camera[:3, :3] * outward
        if shares is not None:
            if config.completion.scalp == "hair":
                scalp, notes = find_scalp(head, sampled, seen, shares, reconstruction, labels.labels, per_mm)
            skin, likeness = own_skin(head, sampled, seen, shares, scalp and scalp.near, normals)
            seen = skin if scalp is None else np.minimum(skin + scalp.shown, seen)
        elif settings.exclude_hair:
            foreign, likeness = not_skin(head, sampled, seen, normals)
            seen = seen * (1 - foreign)
        eyes, seen = find_eyes(head, sampled, seen, _pixels_per_mm(reconstruction, head))
    elif shares is not None:
        seen = seen * shares.skin
    if not (seen > SEEN).any():
        raise ReconstructionError(
            "the photo shows no texel of the mesh well enough: check that mesh and camera match the photo"
        )
    sampled = np.where(seen[..., None] > 0, sampled, 0)
    return Sampled(sampled, seen, geometry, outward, head, eyes, likeness, labels, scalp, tuple(notes))


def _pixels_per_mm(reconstruction: Reconstruction, head: HeadTexels) -> float:
    """Pixels of the photo along a millimetre of the face."""
    centre = head.origin @ reconstruction.head_to_camera[:3, :3].T + reconstruction.head_to_camera[:3, 3]
    return reconstruction.camera.fx / (max(centre[2], 1e-9) * head.scale)


def _photo_density(geometry: TexelGeometry, seen: np.ndarray, density: float, focal_length: float) -> float:
    """Pixels of the photo along a millimetre of a face: median of seen texels. density: texels along a millimetre."""
    steps = np.linalg.norm(np.diff(geometry.positions, axis=1), axis=-1)
    pairs = (seen[:, 1:] > SEEN) & (seen[:, :-1] > SEEN)
    pixels = focal_length * steps[pairs] / np.maximum(geometry.positions[:, 1:, 2][pairs], 1e-9)
    return float(np.median(pixels)) * density if pixels.size else 1.0


def fit_to_photo(
    sampled: Sampled,
    comparison: PhotoComparison,
    config: Config,
    steps: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Sampled:
    """Optimises I_S so that its rendering matches the photo; unchanged where `unwrap.fit_iterations` is 0.

    Unwrapping resamples the photo and so blurs it. The fit removes this blur before the completion uses I_S.
    steps(done, total, losses): progress.
    """
    if not config.unwrap.fit_iterations:
        return sampled
    seen, known = sampled.visibility, dilate(sampled.texture, sampled.visibility > 0)
    settings = config.refine.changed(transfers=1, iterations=0, rendering_iterations=config.unwrap.fit_iterations)
    fitted, _ = optimise(comparison, known, known, seen, sampled.mask, known, None, settings, config.seed, steps)
    return replace(sampled, texture=np.where(seen[..., None] > 0, fitted, 0))
