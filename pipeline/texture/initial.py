"""The initial texture I_C: complete colours, from a given content image or from what the photo shows."""

from dataclasses import dataclass

import numpy as np

from pipeline.reconstruction.folder import Reconstruction
from pipeline.settings.schema import Config
from pipeline.texture.completion import complete
from pipeline.texture.content import content_as_texture
from pipeline.texture.sampled import Sampled
from renderer.dilate import dilate


@dataclass(frozen=True)
class Initial:
    """I_C and where it comes from; arrays are float32, 0..1."""

    texture: np.ndarray  # I_C [H, W, 3], complete, continued past the islands
    goal: np.ndarray  # [H, W, 3], I_C with the sampled texture over it as far as it is seen
    provenance: dict[str, np.ndarray]  # {name in pipeline.texture.provenance.LEGEND: share [H, W] of each texel's colour}


def complete_texture(
    sampled: Sampled, reconstruction: Reconstruction, content: np.ndarray | None, config: Config
) -> Initial:
    """I_C of a sampled texture. content: initial texture made elsewhere, uint8 [h, w, 3], in place of the completion."""
    seen, mask = sampled.visibility, sampled.mask
    if content is not None:
        given = np.where(mask[..., None], content_as_texture(content, config.texture_size), 0)
        texture = dilate(given, mask)
        goal = dilate(texture + seen[..., None] * (sampled.texture - texture), mask)
        return Initial(texture, goal, {"observed": seen, "given": 1 - seen})
    normals = None
    if reconstruction.symmetric:
        normals = (sampled.geometry.normals @ reconstruction.head_to_camera[:3, :3]) * sampled.outward
    completion = complete(sampled.texture, seen, mask, normals, config.completion)
    texture = dilate(completion.texture, mask)
    return Initial(
        texture, texture, {"observed": seen, "mirrored": completion.mirrored, "synthesised": completion.smooth}
    )
