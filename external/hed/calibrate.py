"""Mean activations of HED's trunk on textures, for `external.hed.ACTIVATIONS`.

    python -m external.hed.calibrate TEXTURE.png ... [--sizes 256 512] [--uncalibrated FILE.pth]

The numbers in the code are of the textures that a run without photos makes (the packaged sample photos).
--uncalibrated also writes the trunk as it is, for refine.vgg16_weights=FILE: to see what the calibration is for.
"""

import argparse
import os
from pathlib import Path

import cv2
import torch
from torch import Tensor

from external.hed import CONVOLUTIONS, read_trunk
from external.setup import FOLDER
from external.wheel_pins import HED
from style_transfer.features import VGG16Hypercolumns


def mean_activations(network: VGG16Hypercolumns, image: Tensor) -> list[float]:
    """Mean of every convolution's output after its ReLU. image: [1, 3, H, W], RGB, -1..1."""
    feature = network.normalised(image) - network.zero
    found, convolutions = [], [number for block in CONVOLUTIONS for number in block]
    for number, layer in enumerate(network.layers):
        feature = layer(feature)
        if number - 1 in convolutions:  # the ReLU behind it
            found.append(feature.mean(dtype=torch.float64).item())
    return found


def write_uncalibrated(network: VGG16Hypercolumns, path: Path) -> None:
    """In the form of torchvision's file. What the network takes for zero goes into the first bias, which is exact but
    for the padding at the border."""
    weights = {f"features.{name}": value.contiguous() for name, value in network.layers.state_dict().items()}
    moved = (weights["features.0.weight"] * network.zero.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    weights["features.0.bias"] = weights["features.0.bias"] - moved
    beside = path.with_name(f".{path.name}.part")
    torch.save(weights, beside)
    os.replace(beside, path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("textures", nargs="+", type=Path, metavar="TEXTURE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--uncalibrated", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    weights, zero = read_trunk(FOLDER / HED.makes.path, calibrated=False)
    network = VGG16Hypercolumns({name: torch.from_numpy(array) for name, array in weights.items()}, zero=zero.tolist())
    if given.uncalibrated:
        write_uncalibrated(network, given.uncalibrated)
    found = []
    for path in given.textures:
        texture = cv2.imread(str(path))
        if texture is None:
            parser.error(f"{path} is no image that can be read: give textures")
        for size in given.sizes:
            image = cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1].copy()
            with torch.no_grad():
                found.append(mean_activations(network, torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1))
    print("ACTIVATIONS = (" + ", ".join(f"{sum(values) / len(found):.4g}" for values in zip(*found, strict=True)) + ")")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
