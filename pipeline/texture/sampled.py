"""The sampled texture I_S: the photo resampled into the texture, with per-texel confidence."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.reconstruction.folder import Reconstruction, ReconstructionError
from pipeline.reconstruction.images import as_float
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN, PhotoComparison, optimise
from renderer.dilate import dilate
from renderer.unwrap import unwrap
from renderer.visibility import TexelGeometry, outward_sign, texel_geometry, visibility


@dataclass(frozen=True)
class Sampled:
    """I_S with confidence and surface of its texels; arrays are float32, 0..1."""

    texture: np.ndarray  # I_S [H, W, 3], 0 where visibility is 0
    visibility: np.ndarray  # [H, W], confidence that the photo shows a texel
    geometry: TexelGeometry
    outward: float  # 1 if the winding's normals point out of the mesh, else -1

    @property
    def mask(self) -> np.ndarray:
        """[H, W] bool, texels inside the islands."""
        return self.geometry.mask


def unwrap_photo(reconstruction: Reconstruction, config: Config) -> Sampled:
    """Resamples the photo into the texture. Raises ReconstructionError where mesh, camera and photo do not match."""
    mesh, camera, size = reconstruction.mesh, reconstruction.camera, config.texture_size
    geometry = texel_geometry(mesh, size, size)
    if not geometry.mask.any():
        raise ReconstructionError("no texel centre lies inside the mesh's UVs: they must cover part of the unit square")
    settings = config.unwrap
    seen = visibility(geometry, mesh, camera, settings.full_cosine, settings.zero_cosine, settings.erosion)
    sampled = unwrap(as_float(reconstruction.photo), geometry, camera)
    if reconstruction.mask is not None and settings.exclude_hair:
        face_share = unwrap(as_float(np.repeat(reconstruction.mask[..., None], 3, 2)), geometry, camera)[..., 0]
        seen = seen * np.clip(face_share, 0, 1)
    if not (seen > SEEN).any():
        raise ReconstructionError(
            "the photo shows no texel of the mesh well enough: check that mesh and camera match the photo"
        )
    return Sampled(np.where(seen[..., None] > 0, sampled, 0), seen, geometry, outward_sign(geometry, mesh, camera))


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
