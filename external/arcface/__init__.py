"""Identity embeddings by ArcFace (Deng et al. 2019; insightface's arcface_torch, ms1mv3 r50).

They measure whether a rendering still shows the person in the photo. Users obtain the weights themselves; these are
licensed for non-commercial research.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from external.checkpoints import read_weights

WEIGHTS_FILE = "backbone.pth"
WEIGHTS_ORIGIN = f"{WEIGHTS_FILE} of ms1mv3_arcface_r50_fp16 (arcface_torch of github.com/deepinsight/insightface)"
CROP_SIZE = 112  # px
EMBEDDING = 512

# Positions of eyes, nose and mouth corners in the crop, px, with pixel centres at whole numbers.
STANDARD_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


class Block(nn.Module):
    """Pre-activation residual block, without an activation after the sum."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:  # [B, channels, H, W] -> [B, width, H / stride, W / stride]
        change = self.conv1(self.bn1(features))
        change = self.bn3(self.conv2(self.prelu(self.bn2(change))))
        return change + (features if self.downsample is None else self.downsample(features))


class IResNet50(nn.Module):
    """The 50-layer residual network of ArcFace. Parameter names are those of the published backbone.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        channels = 64
        for number, (width, depth) in enumerate(((64, 3), (128, 4), (256, 14), (512, 3)), start=1):
            blocks = [Block(channels, width, stride=2)] + [Block(width, width, stride=1) for _ in range(depth - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            channels = width
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * 7 * 7, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)

    def forward(self, crops: Tensor) -> Tensor:  # [B, 3, 112, 112] -> [B, 512]
        """Embeddings [B, 512], normalised to length 1 (the published network leaves that to its callers).

        crops: aligned faces [B, 3, 112, 112], RGB, -1..1.
        """
        if crops.ndim != 4 or crops.shape[1:] != (3, CROP_SIZE, CROP_SIZE):
            raise ValueError(f"IResNet50: got {list(crops.shape)}, need crops [B, 3, {CROP_SIZE}, {CROP_SIZE}]")
        features = self.prelu(self.bn1(self.conv1(crops)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
        return F.normalize(self.features(self.fc(self.bn2(features).flatten(1))), dim=1)


def load(path: str | Path) -> IResNet50:
    """The network with the weights of a backbone.pth, on the CPU, for inference only.

    Raises FileNotFoundError, and ValueError for a file that is damaged or belongs to another network
    (`external.checkpoints.read_weights`).
    """
    network = IResNet50()
    network.load_state_dict(read_weights(path, network.state_dict(), "ArcFace's IResNet-50", WEIGHTS_ORIGIN))
    return network.eval().requires_grad_(False)


def align(photo: np.ndarray, points: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Crops a face as for the network's training, by the similarity that best maps five points to the standard ones.

    photo: uint8 [H, W, 3], RGB. points: [5, 2], x right and y down, px, with pixel centres at whole numbers
    (`external.mtcnn.Face.points` minus 0.5): left eye, right eye, nose, left and right mouth corner as seen in the
    image. Returns uint8 [112, 112, 3], bilinear, black outside the photo.
    Raises ValueError for points of another shape, or where all points coincide.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"align: got points of shape {points.shape}, need [5, 2] finite pixel positions")
    # In the complex plane a similarity is q = turn * p + shift, so this is a line fit (same optimum as Umeyama 1991).
    source, target = points @ [1, 1j], STANDARD_POINTS @ [1, 1j]
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 1e-6:
        raise ValueError("align: the five points coincide; eyes, nose and mouth corners are needed")
    turn = np.vdot(centred, target) / spread
    shift = target.mean() - turn * source.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return cv2.warpAffine(photo, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)


def embed(network: IResNet50, crops: np.ndarray) -> Tensor:
    """Embeddings [B, 512], on the network's device, of aligned crops, uint8 [B, 112, 112, 3], RGB."""
    images = torch.from_numpy(np.asarray(crops)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(images.to(next(network.parameters()).device).float() / 127.5 - 1)


def similarity(first: Tensor, second: Tensor) -> Tensor:  # [..., 512], [..., 512] -> [...]
    """Cosine similarity of embeddings, -1..1; different people are near 0, the same person mostly above 0.3."""
    return F.cosine_similarity(first, second, dim=-1)
