"""Identity of photo and rendering by ArcFace, where its weights are there: an evaluation, never a loss."""

from functools import cache

import numpy as np

from external import arcface
from external.assets import IDENTITY_NETWORK, assets_folder
from pipeline.config import ConfigError
from pipeline.photos import as_bytes


def available(setting):
    """Whether ArcFace's weights are in the assets folder. setting: `assets`."""
    return (assets_folder(setting) / IDENTITY_NETWORK).is_file()


@cache
def _network(setting):
    try:
        return arcface.load(assets_folder(setting) / IDENTITY_NETWORK)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def identity_similarity(setting, photo, rendering, points):
    """Cosine similarity, -1..1, of the faces in photo and rendering over the photo, both [H, W, 3], 0..1.

    setting: `assets`. points: [5, 2] px, pixel centres at +0.5. None without the weights or the points.
    Raises ConfigError where the weights are another network's.
    """
    if points is None or not available(setting):
        return None
    crops = [arcface.align(as_bytes(image), np.asarray(points) - 0.5) for image in (photo, rendering)]
    first, second = arcface.embed(_network(setting), np.stack(crops))
    return float(arcface.similarity(first, second))
