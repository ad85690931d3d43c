"""Where each texel's colour comes from: shares per texel, their means, and a picture of them.

observed      the photo shows it, and the refinement ends on the photo
mirrored      its mirror image on the other half of the face, relit
synthesised   filled smoothly from its surroundings
given         an initial texture made elsewhere
"""

from collections.abc import Mapping

import numpy as np

# Okabe and Ito's colours, which colour-blind people tell apart, sRGB.
LEGEND = {
    "observed": ((0, 158, 115), "the photo shows it"),
    "mirrored": ((86, 180, 233), "taken from the other half of the face, relit"),
    "synthesised": ((230, 159, 0), "shown on neither side: filled from the surroundings"),
    "given": ((204, 121, 167), "from the initial texture made elsewhere"),
}
OUTSIDE = (96, 96, 96)  # no part of the mesh


def mean_shares(provenance: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, float]:
    """{name: 0..1} of the islands' area. provenance: {name: [H, W], 0..1}. mask: [H, W] bool, inside the islands."""
    return {name: float(share[mask].mean(dtype=np.float64)) for name, share in provenance.items()}


def provenance_picture(provenance: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the legend's colours, blended by share. Arguments as in `mean_shares`."""
    blended = sum(share[..., None] * np.float32(LEGEND[name][0]) for name, share in provenance.items())
    return np.where(mask[..., None], np.round(blended), OUTSIDE).clip(0, 255).astype(np.uint8)
