"""HED's VGG16 trunk (Xie and Tu 2015, "Holistically-Nested Edge Detection"): VGG16, fine-tuned to detect edges.

`convert` makes our file of it at set-up; `read_trunk` turns that into weights for torchvision's normalised input.
"""

import zipfile
from pathlib import Path

import numpy as np

# Number of each convolution in torchvision's vgg16 `features`, by block.
CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))

MEAN = (104.00699, 116.66877, 122.67892)  # of the network's input: BGR, 0..255

# Mean of every convolution's output after its ReLU, over the textures of the two packaged sample photos at 256 and 512,
# by `python -m external.hed.calibrate TEXTURE ...`. Left as they are, the first layers are 10 to 40 times as strong as
# those of torchvision's VGG16, so that cosine distances and moments see little else.
ACTIVATIONS = (12.18, 17.41, 12.48, 3.168, 5.782, 6.107, 2.506, 4.004, 2.194, 1.109, 1.038, 1.375, 3.176)


def read_trunk(path: Path, calibrated: bool = True) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The trunk for inputs normalised as torchvision's (RGB, 0..1, ImageNet mean and deviation).

    calibrated: each convolution's output is divided by its entry of ACTIVATIONS. A ReLU network so rescaled computes
    the same up to one factor per layer.
    Returns (weights, zero): weights by torchvision's names without "features." ("0.weight" [64, 3, 3, 3], ...), for the
    normalised input less `zero` [3], which is what HED takes for zero. Padding is then zero as in HED, and the result
    is HED's at the border too.
    Raises OSError, ValueError, KeyError: not this file.
    """
    from style_transfer.features import IMAGENET_MEAN, IMAGENET_STD  # what the input is normalised by

    mean, std = (np.array(values, dtype=np.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    numbers = [number for block in CONVOLUTIONS for number in block]
    with np.load(path, allow_pickle=False) as archive:
        weights = {f"{at}.{kind}": archive[f"features.{at}.{kind}"] for at in numbers for kind in ("weight", "bias")}
    # BGR to RGB; value = 255 std (input - zero).
    first = weights["0.weight"][:, ::-1].astype(np.float64) * (255 * std)[:, None, None]
    weights["0.weight"] = np.ascontiguousarray(first, dtype=np.float32)
    before = 1.0
    for number, activation in zip(numbers, ACTIVATIONS if calibrated else (1.0,) * len(numbers), strict=True):
        weights[f"{number}.weight"] = weights[f"{number}.weight"] * np.float32(before / activation)
        weights[f"{number}.bias"] = weights[f"{number}.bias"] / np.float32(activation)
        before = activation
    return weights, ((np.array(MEAN[::-1]) / 255 - mean) / std).astype(np.float32)


def convert(weights: Path, target: Path) -> None:
    """Writes the trunk of HED's weights (Keras, HDF5) as an .npz; the same input gives the same bytes.

    Names are those of torchvision's vgg16, "features.0.weight" [64, 3, 3, 3] (out, in, rows, columns) and
    "features.0.bias" [64] to "features.28.bias" [512], float32. The input stays the network's own: BGR, 0..255, minus
    the mean (see `external.wheel_pins`). HED's side outputs are left out.
    Raises ImportError: no h5py. OSError, KeyError: not this file.
    """
    import h5py

    # Written entry by entry, because numpy.savez does not promise its zip headers.
    with h5py.File(weights) as file, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for block, numbers in enumerate(CONVOLUTIONS, start=1):
            for at, number in enumerate(numbers):
                layer = file[f"block{block}/layers/conv2d{f'_{at}' if at else ''}/vars"]
                kernel = np.asarray(layer["0"], dtype=np.float32)  # [rows, columns, in, out]
                _write(archive, f"features.{number}.weight", kernel.transpose(3, 2, 0, 1))
                _write(archive, f"features.{number}.bias", np.asarray(layer["1"], dtype=np.float32))


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # the same on every system
    with archive.open(entry, "w") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0))
