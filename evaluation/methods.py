"""What is compared: each method makes a texture from one reconstruction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from evaluation.defects import DEFECTS
from evaluation.options import DEFECT_PREFIX
from evaluation.prepared import Prepared
from evaluation.published import published_config, published_texture
from evaluation.reprojection import at_size
from external.assets import Obtained, require
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import IMAGE_ENDINGS, as_bytes, as_float
from pipeline.runs.backends import Features, choose_device, choose_features, schedule
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN
from pipeline.texture.refined import refine
from pipeline.texture.sampled import Sampled
from pipeline.texture.tasks import ContentError, ContentImages
from renderer.dilate import dilate

VERSION = "3"  # of what the methods of this file make; raised when the same input gives other textures


@dataclass(frozen=True)
class Method:
    """kind: one of BASELINES, refine, textures (finished ones in `folder`), or DEFECT_PREFIX and a defect's name.

    config: with the texture size to work at.
    """

    name: str
    kind: str
    config: Config
    folder: str = ""


def baseline_methods(names: Sequence[str], config: Config) -> list[Method]:
    """Methods of these baselines, with the config's settings of unwrapping and completion, but for the fit: they are
    made from the sampled texture as it is."""
    config = _unfitted(config)
    configs = {"completion_rendering": _with_features("none", config)}
    if "published" in names:  # without features there is nothing to transfer by
        without = features_of(config).kind == "none"
        configs["published"] = published_config(_with_features("patches", config) if without else config)
    return [Method(name, name, configs.get(name, config)) for name in names]


def defect_methods(config: Config) -> list[Method]:
    """Each planted defect, on the completion."""
    return [Method(DEFECT_PREFIX + name, DEFECT_PREFIX + name, _unfitted(config)) for name in DEFECTS]


def _unfitted(config: Config) -> Config:
    return config.changed(unwrap=config.unwrap.changed(fit_iterations=0))


def _with_features(kind: str, config: Config) -> Config:
    return config.changed(refine=config.refine.changed(features=kind, content_noise=False))


def features_of(config: Config) -> Features:
    """What `refine.features` means here. Raises MissingAssets, and ConfigError for a device that is not there."""
    return _once(choose_features(config.refine, choose_device(config.device), _obtained(config).vgg16))


@cache
def _once(features: Features) -> Features:
    """For equal features the same object: it holds the network, which is loaded once in a process."""
    return features


def content_of(config: Config, stem: str) -> Path | None:
    """The image of an initial texture made elsewhere, for a photo of this file stem; None without `content`.

    Raises ContentError where there is none of this name.
    """
    return ContentImages(_obtained(config).content).path_of(stem)


def _obtained(config: Config) -> Obtained:
    """Where what the config asks for lies. Raises MissingAssets."""
    given = config.refine.vgg16_weights, config.content
    return require(config.refinement_needs, config.assets, *given, may_fetch=False)


def image_named(folder: str, name: str) -> Path | None:
    """The image of this file stem in a folder, or None."""
    found = (path for path in Path(folder).iterdir() if path.stem == name and path.suffix.lower() in IMAGE_ENDINGS)
    return min(found, default=None)


def finished_texture(folder: str, name: str) -> Path:
    """The path of the image of this name in a folder. Raises ContentError where there is none."""
    found = image_named(folder, name)
    if found is None:
        raise ContentError(f"{folder} has no texture named {name}")
    return found


def make_texture(method: Method, reconstruction: Reconstruction, prepared: Prepared, size: int) -> np.ndarray:
    """A texture [size, size, 3] float32, 0..1, as its 8-bit file holds it, by any method but finished ones.

    prepared: by `prepare` with the method's config. Raises DivergedError.
    """
    config, sampled, initial, comparison = method.config, prepared.sampled, prepared.initial, prepared.comparison
    if method.kind in FILL:
        texture = FILL[method.kind](sampled)
    elif method.kind == "completion":
        texture = initial.texture
    elif method.kind.startswith(DEFECT_PREFIX):
        spoil = DEFECTS[method.kind.removeprefix(DEFECT_PREFIX)]
        texture = spoil(initial.texture, np.where(sampled.mask, 1 - sampled.visibility, 0), config.seed)
    elif method.kind == "published":
        extractor = features_of(config).extractor
        texture = published_texture(reconstruction, sampled, initial, config, extractor, comparison.device)
    else:
        features = features_of(config)
        settings = schedule(config, features.kind, has_content="given" in initial.provenance)
        texture = refine(initial, sampled, comparison, features.extractor, settings, config.seed).texture
    return as_float(as_bytes(at_size(texture, size)))


def nearest_fill(sampled: Sampled) -> np.ndarray:
    """Texels that are not seen take the colour of the nearest seen one."""
    return _filled(sampled, sampled.texture, sampled.visibility > SEEN)


def mirror_fill(sampled: Sampled) -> np.ndarray:
    """Texels that are not seen take their mirror image's colour; what neither side shows, the nearest known texel's."""
    seen = sampled.visibility > SEEN
    known = np.where(seen[..., None], sampled.texture, sampled.texture[:, ::-1])
    return _filled(sampled, known, seen | (seen[:, ::-1] & sampled.mask))


FILL = {"nearest_fill": nearest_fill, "mirror_fill": mirror_fill}


def _filled(sampled: Sampled, colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """colours [H, W, 3] with those of the nearest known texel, known [H, W] bool, elsewhere."""
    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = colours[rows, columns]
    seen = sampled.visibility[..., None]
    return dilate(filled + seen * (sampled.texture - filled), sampled.mask)
