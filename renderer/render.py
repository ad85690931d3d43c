"""Renders an image of a textured mesh, for previews."""

import numpy as np
import torch

from renderer.camera import Camera
from renderer.lookup import MAXIMUM_SUPERSAMPLING, build_lookup, texel_density
from renderer.mesh import Mesh


def render(
    texture: np.ndarray, mesh: Mesh, camera: Camera, background: float | np.ndarray = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Renders a texture [h, w, 3] (RGB, float) unlit, with at least 2 x 2 samples per pixel.

    background: a number, a colour [3] or an image [H, W, 3]. Returns the image [H, W, 3] float32, blended over the
    background by coverage, and the coverage [H, W] float32, 0..1. Raises ValueError for a texture of another shape.
    """
    texture = np.asarray(texture, dtype=np.float32)
    if texture.ndim != 3 or texture.shape[2] != 3:
        raise ValueError(f"the texture has shape {texture.shape}; [h, w, 3] is needed")
    height, width = texture.shape[:2]
    samples = int(np.clip(np.ceil(texel_density(mesh, camera, height, width) - 0.1), 2, MAXIMUM_SUPERSAMPLING))
    lookup = build_lookup(mesh, camera, height, width, supersampling=samples)
    colours = lookup.matrix @ texture.reshape(-1, 3)
    shape = (camera.height, camera.width, 3)
    backdrop = torch.from_numpy(np.broadcast_to(np.asarray(background, dtype=np.float32), shape).copy())
    image = lookup.to_image(torch.from_numpy(colours), backdrop.permute(2, 0, 1)[None])
    coverage = np.zeros(camera.height * camera.width, dtype=np.float32)
    coverage[lookup.pixels.numpy()] = lookup.coverage.numpy()
    return image[0].permute(1, 2, 0).numpy(), coverage.reshape(camera.height, camera.width)
