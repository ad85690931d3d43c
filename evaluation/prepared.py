"""A reconstruction prepared for refinement, as refine.py does it: what all methods of a view start from."""

from dataclasses import dataclass

import numpy as np

from pipeline.reconstruction.folder import Reconstruction
from pipeline.runs.backends import choose_device, choose_renderer
from pipeline.settings.schema import Config
from pipeline.texture.comparison import PhotoComparison
from pipeline.texture.initial import Initial, complete_texture
from pipeline.texture.sampled import Sampled, fit_to_photo, unwrap_photo


@dataclass(frozen=True)
class Prepared:
    """A reconstruction before it is refined, as a config prepares it."""

    comparison: PhotoComparison
    sampled: Sampled  # I_S
    initial: Initial  # I_C


def prepare(reconstruction: Reconstruction, config: Config, content: np.ndarray | None = None) -> Prepared:
    """Unwrap, fit and complete, as refine.py does. content: initial texture made elsewhere, uint8 [h, w, 3].

    Raises ReconstructionError where mesh, camera and photo do not fit each other, ConfigError for a device or renderer
    that is not there.
    """
    device = choose_device(config.device)
    renderer = choose_renderer(config.renderer, device)
    comparison = PhotoComparison(reconstruction, config.render, device, renderer.kind)
    sampled = fit_to_photo(unwrap_photo(reconstruction, config), comparison, config)
    return Prepared(comparison, sampled, complete_texture(sampled, reconstruction, content, config))
