"""HED's VGG16 trunk (Xie and Tu 2015, "Holistically-Nested Edge Detection"): VGG16, fine-tuned to detect edges."""

import zipfile
from pathlib import Path

import numpy as np

# Number of each convolution in torchvision's vgg16 `features`, by block.
CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


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
