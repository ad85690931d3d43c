"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric") with AlexNet, by
the package lpips, version 0.1 of its weights.

The package holds the linear layers. AlexNet's weights are the user's to give; nothing is downloaded.
"""

import warnings
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import alexnet

from external.checkpoints import read_weights
from pipeline.settings.errors import ConfigError

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
BACKBONE_ORIGIN = f"https://download.pytorch.org/models/{BACKBONE_FILE}"
SMALLEST = 64  # px of an image's side
VERSION = metadata.version("lpips")


def backbone_path(given: str | Path) -> Path:
    """The file of AlexNet's weights: the given one, or the file of this name in a given folder. Raises ConfigError."""
    path = Path(given) / BACKBONE_FILE if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise ConfigError(f"--lpips: {path} does not exist: download {BACKBONE_ORIGIN} to it, or leave out --lpips")
    return path


@cache
def load(path: str) -> nn.Module:
    """The distance's networks, on the CPU, with AlexNet's weights from a file (`backbone_path`).

    Raises FileNotFoundError, and ValueError for a file that is damaged or of another network.
    """
    import lpips  # here: it takes a second, and most runs are without it

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips names an argument of torchvision that is deprecated
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    with torch.device("meta"):
        wanted = alexnet().state_dict()
    published = read_weights(path, wanted, "AlexNet", BACKBONE_ORIGIN)
    own = network.net.state_dict()  # slice1.0.weight is AlexNet's features.0.weight
    network.net.load_state_dict({name: published["features." + name.partition(".")[2]] for name in own})
    return network.eval().requires_grad_(False)


def distance(first: np.ndarray, second: np.ndarray, path: str) -> float:
    """LPIPS of two images [H, W, 3], 0..1, at least 64 px high and wide; 0 for equal ones. path: as for `load`."""
    if first.shape != second.shape or first.ndim != 3 or first.shape[2] != 3 or min(first.shape[:2]) < SMALLEST:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise ValueError(f"LPIPS: got images {shapes}, need [H, W, 3], {SMALLEST} px or more")
    images = torch.from_numpy(np.stack([first, second]).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return float(load(path)(*images.split(1), normalize=True))
