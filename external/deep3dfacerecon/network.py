"""The network that predicts the face model's coefficients (Deng et al. 2019, section 3)."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from external.checkpoints import read_weights

CHECKPOINT_FILE = "epoch_latest.pth"
CHECKPOINT_ORIGIN = (
    f"Deep3DFaceRecon's {CHECKPOINT_FILE} (folder face_recon of github.com/sicxu/Deep3DFaceRecon_pytorch)"
)
FEATURES = 2048

# Identity, expression, texture, angles, lighting, translation in x and y, translation in z.
HEADS = (80, 64, 80, 3, 27, 2, 1)


class ReconstructionNetwork(nn.Module):
    """ResNet-50 without its last layer, and one linear layer (1 x 1 convolution) for each kind of coefficient.

    Parameter names are those of the published checkpoint's `net_recon`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet50(weights=None)
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(FEATURES, width, 1) for width in HEADS)

    def forward(self, crops: Tensor) -> Tensor:  # [B, 3, 224, 224] -> [B, 257]
        """Coefficients [B, 257] of aligned crops [B, 3, 224, 224], RGB, 0..1 (without mean and deviation scaling)."""
        if crops.ndim != 4 or crops.shape[1:] != (3, 224, 224):
            raise ValueError(f"ReconstructionNetwork: got {list(crops.shape)}, need crops [B, 3, 224, 224]")
        features = self.backbone(crops)[:, :, None, None]
        return torch.cat([layer(features) for layer in self.final_layers], dim=1).flatten(1)


def load_network(path: str | Path) -> ReconstructionNetwork:
    """The network with the weights of an epoch_latest.pth, on the CPU, for inference only.

    Raises FileNotFoundError, and ValueError for a file that is damaged or belongs to another network
    (`external.checkpoints.read_weights`).
    """
    network = ReconstructionNetwork()
    wanted = network.state_dict()
    network.load_state_dict(read_weights(path, wanted, "Deep3DFaceRecon's network", CHECKPOINT_ORIGIN, key="net_recon"))
    return network.eval().requires_grad_(False)
