"""VGG16's weights: torchvision's, trained on ImageNet, or the trunk of HED, fine-tuned from such weights to find
edges."""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor

from external import hed, setup
from external.assets import VGG16, VGG16_URL
from external.checkpoints import read_weights
from external.download import difference
from external.wheel_pins import HED
from style_transfer.features import vgg16_layers

HED_ENDING = ".npz"  # of a file with the trunk of HED; torchvision's are .pth
PREFIX = "features."  # of the convolutions; the classifier is left out


def read_network(path: str | Path) -> dict:
    """What `VGG16Hypercolumns` takes of a file of weights, HED's (.npz) or torchvision's: weights and zero.

    Raises FileNotFoundError: no such file. ValueError: not such weights.
    """
    path = Path(path)
    if path.suffix != HED_ENDING:
        return {"weights": read_vgg16(path)}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with {setup.COMMAND}")
    if wrong := difference(path, HED.makes):
        raise ValueError(
            f"{path}: not the trunk of HED that the set-up makes ({wrong}): remove it, and {setup.COMMAND}"
        )
    weights, zero = hed.read_trunk(path)
    return {"weights": {name: torch.from_numpy(array) for name, array in weights.items()}, "zero": zero.tolist()}


def read_vgg16(path: str | Path) -> dict[str, Tensor]:
    """The convolutions of a vgg16 state dict, named as `VGG16Hypercolumns` takes them ("0.weight", "0.bias", ...).

    A file with another checksum than the published one's is used with a warning.
    Raises FileNotFoundError and ValueError as `external.checkpoints.read_weights`.
    """
    path = Path(path)
    with torch.device("meta"):
        wanted = vgg16_layers().state_dict()
    weights = read_weights(path, wanted, "VGG16", f"torchvision's VGG16 ({VGG16_URL})", prefix=PREFIX)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    published = VGG16.removesuffix(".pth").split("-")[1]
    if not checksum.startswith(published):
        warnings.warn(
            f"{path}: SHA-256 starts with {checksum[:8]}, the published file's with {published}; "
            "used as it is, results will differ from the paper's",
            stacklevel=2,
        )
    return weights
