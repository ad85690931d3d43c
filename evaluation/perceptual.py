"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1, AlexNet.

Only where its two files are there; nothing is downloaded.
"""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from external.checkpoints import read_weights

BACKBONE_FILE, LINEAR_FILE = "alexnet-owt-7be5be79.pth", "lpips_alex.pth"
ORIGINS = {
    BACKBONE_FILE: f"https://download.pytorch.org/models/{BACKBONE_FILE}",
    LINEAR_FILE: "lpips/weights/v0.1/alex.pth of github.com/richzhang/PerceptualSimilarity",
}
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
CHANNELS = (64, 192, 384, 256, 256)
COMPARED = (1, 4, 7, 9, 11)  # outputs of AlexNet's five ReLUs


class LPIPS(nn.Module):
    """The distance's networks; parameters are named as in the published files."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.linear = nn.ParameterDict(
            {str(level): nn.Parameter(torch.zeros(1, width, 1, 1)) for level, width in enumerate(CHANNELS)}
        )
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # [B, 3, H, W], -1..1 -> [B]
        """Sum over five layers of the weighted squared difference of unit features, averaged over the image."""
        total = first.new_zeros(len(first))
        pair = [(image - self.shift) / self.scale for image in (first, second)]
        level = 0
        for index, layer in enumerate(self.features):
            pair = [layer(features) for features in pair]
            if index in COMPARED:
                # The published code normalises with the length plus 1e-10, not with its maximum.
                unit = [features / (features.norm(dim=1, keepdim=True) + 1e-10) for features in pair]
                total = total + ((unit[0] - unit[1]) ** 2 * self.linear[str(level)]).sum(1).mean((1, 2))
                level += 1
        return total


def missing(folder) -> str:
    """Why LPIPS cannot be had from a folder of weights, in one line; empty where it can."""
    absent = [name for name in ORIGINS if not (Path(folder) / name).is_file()]
    if not absent:
        return ""
    return f"LPIPS: {Path(folder) / absent[0]} is not there (from {ORIGINS[absent[0]]})"


@cache
def load(folder) -> LPIPS:
    """The networks with the weights in a folder, on the CPU. Raises FileNotFoundError, and ValueError for other files."""
    network, folder = LPIPS(), Path(folder)
    own = {name: weights for name, weights in _backbone(folder / BACKBONE_FILE).items() if name.startswith("features.")}
    linear = {f"lin{level}.model.1.weight": weight for level, weight in network.linear.items()}
    published = read_weights(folder / LINEAR_FILE, linear, "LPIPS's linear layers", ORIGINS[LINEAR_FILE])
    own |= {f"linear.{level}": published[f"lin{level}.model.1.weight"] for level in network.linear}
    own |= {"shift": network.shift, "scale": network.scale}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{folder / BACKBONE_FILE}: not the weights of AlexNet; need {ORIGINS[BACKBONE_FILE]}") from error
    return network.eval().requires_grad_(False)


def _backbone(path):
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not the weights of AlexNet, or damaged; need {ORIGINS[BACKBONE_FILE]}") from error


def distance(first: np.ndarray, second: np.ndarray, folder) -> float:
    """LPIPS of two images [H, W, 3], 0..1; at least 64 px. 0 for equal ones."""
    images = [torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None] * 2 - 1 for image in (first, second)]
    with torch.no_grad():
        return float(load(str(folder))(*images))
