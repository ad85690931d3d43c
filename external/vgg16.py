"""VGG16's ImageNet weights as torchvision publishes them."""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor

from external.assets import VGG16, VGG16_URL
from external.checkpoints import read_weights
from style_transfer.features import vgg16_layers

PREFIX = "features."  # of the convolutions; the classifier is left out


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
