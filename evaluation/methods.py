"""What is compared: each method makes a texture from one reconstruction."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from evaluation.defects import DEFECTS
from evaluation.prepared import Prepared
from evaluation.published import published_texture
from evaluation.reprojection import at_size
from external.assets import require
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import IMAGE_ENDINGS, as_bytes, as_float
from pipeline.runs.backends import choose_device, choose_features, schedule
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN
from pipeline.texture.refined import refine
from pipeline.texture.sampled import Sampled
from pipeline.texture.tasks import ContentError
from renderer.dilate import dilate

VERSION = "2"  # of what the methods of this file make; raised when the same input gives other textures
BASELINES = ("nearest_fill", "mirror_fill", "completion", "completion_rendering", "published")
DEFECT_PREFIX = "defect_"


@dataclass(frozen=True)
class Method:
    """kind: one of BASELINES, refine, textures (finished ones in `folder`), or a planted defect. config: with the
    texture size to work at."""

    name: str
    kind: str
    config: Config
    folder: str = ""


def baseline_methods(names, config):
    """Methods of these baselines. They share the config's settings of unwrapping, completion and rendering, but for the fit:
    they are made from the sampled texture as it is.

    Raises ConfigError for an unknown name.
    """
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise ConfigError(f"there is no baseline {unknown[0]}: allowed are {', '.join(BASELINES)}")
    config = _unfitted(config)
    with_features = lambda features: replace(config, refine=replace(config.refine, features=features))
    configs = {"completion_rendering": with_features("none"), "published": config}
    if "published" in names and features_of(Method("published", "published", config)) == "none":
        configs["published"] = with_features("patches")  # without features there is nothing to transfer by
    return [Method(name, name, configs.get(name, config)) for name in names]


def defect_methods(config):
    """Each planted defect, on the completion."""
    return [Method(DEFECT_PREFIX + name, DEFECT_PREFIX + name, _unfitted(config)) for name in DEFECTS]


def _unfitted(config):
    return replace(config, unwrap=replace(config.unwrap, fit_iterations=0))


def features_of(method):
    """What `auto` and the rest of refine.features mean here, in a word. Raises ConfigError."""
    device = choose_device(method.config.device)
    return _features(method.config, device).kind


def _features(config, device):
    return choose_features(config.refine, device, require([], config.assets, config.refine.vgg16_weights).vgg16)


def finished_texture(folder, name):
    """The path of the image of this name in a folder. Raises ContentError where there is none."""
    found = sorted(path for path in Path(folder).iterdir() if path.stem == name and path.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise ContentError(f"{folder} has no texture named {name}")
    return found[0]


def make_texture(method: Method, reconstruction: Reconstruction, prepared: Prepared, size: int) -> np.ndarray:
    """A texture [size, size, 3] float32, 0..1, as its 8-bit file holds it, by any method but finished ones.

    prepared: by `prepare` with the method's config. Raises DivergedError.
    """
    if method.kind in FILL:
        texture = FILL[method.kind](prepared.sampled)
    elif method.kind == "completion":
        texture = prepared.initial.texture
    elif method.kind.startswith(DEFECT_PREFIX):
        spoil = DEFECTS[method.kind.removeprefix(DEFECT_PREFIX)]
        sampled = prepared.sampled
        texture = spoil(prepared.initial.texture, np.where(sampled.mask, 1 - sampled.visibility, 0), method.config.seed)
    else:
        device = choose_device(method.config.device)
        features = _features(method.config, device).extractor
        if method.kind == "published":
            texture = published_texture(reconstruction, prepared.sampled, prepared.initial, method.config, features, device)
        else:
            settings = schedule(method.config, _features(method.config, device).kind, "given" in prepared.initial.provenance)
            texture = refine(
                prepared.initial, prepared.sampled, prepared.comparison, features, settings, method.config.seed
            ).texture
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


def _filled(sampled, colours, known):
    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = colours[rows, columns]
    seen = sampled.visibility[..., None]
    return dilate(filled + seen * (sampled.texture - filled), sampled.mask)
