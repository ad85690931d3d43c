"""What is compared: each method makes a texture from one reconstruction."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.choices import choose_device, choose_features
from pipeline.config import Config, ConfigError
from pipeline.evaluation.defects import DEFECTS
from pipeline.evaluation.published import published_texture
from pipeline.evaluation.reprojection import at_size
from pipeline.inputs import InputError
from pipeline.photos import IMAGE_ENDINGS, as_bytes, as_float
from pipeline.refinement import SEEN, refine_prepared
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
    return choose_features(method.config.refine, device, method.config.assets).kind


def finished_texture(folder, name):
    """The path of the image of this name in a folder. Raises InputError where there is none."""
    found = sorted(path for path in Path(folder).iterdir() if path.stem == name and path.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise InputError(f"{folder} has no texture named {name}")
    return found[0]


def make_texture(method, reconstruction, textures, size):
    """A texture [size, size, 3] float32, 0..1, as its 8-bit file holds it, by any method but finished ones.

    textures: what `pipeline.refinement.prepare` made of the reconstruction with the method's config.
    Raises FloatingPointError.
    """
    if method.kind in FILL:
        texture = FILL[method.kind](textures)
    elif method.kind == "completion":
        texture = textures.initial
    elif method.kind.startswith(DEFECT_PREFIX):
        spoil = DEFECTS[method.kind.removeprefix(DEFECT_PREFIX)]
        texture = spoil(textures.initial, np.where(textures.mask, 1 - textures.visibility, 0), method.config.seed)
    else:
        device = choose_device(method.config.device)
        features = choose_features(method.config.refine, device, method.config.assets).extractor()
        if method.kind == "published":
            texture = published_texture(reconstruction, textures, method.config, features, device)
        else:
            texture, _ = refine_prepared(textures, method.config, features)
    return as_float(as_bytes(at_size(texture, size)))


def nearest_fill(textures):
    """Texels that are not seen take the colour of the nearest seen one."""
    return _filled(textures, textures.sampled, textures.visibility > SEEN)


def mirror_fill(textures):
    """Texels that are not seen take their mirror image's colour; what neither side shows, the nearest known texel's."""
    seen = textures.visibility > SEEN
    known = np.where(seen[..., None], textures.sampled, textures.sampled[:, ::-1])
    return _filled(textures, known, seen | (seen[:, ::-1] & textures.mask))


FILL = {"nearest_fill": nearest_fill, "mirror_fill": mirror_fill}


def _filled(textures, colours, known):
    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = colours[rows, columns]
    seen = textures.visibility[..., None]
    return dilate(filled + seen * (textures.sampled - filled), textures.mask)
