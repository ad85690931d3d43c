"""Compares rendered textures with the photo, and runs the optimisation based on that comparison."""

from collections.abc import Callable
from functools import cache, partial

import cv2
import numpy as np
import torch

from external.errors import UserError
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_float
from pipeline.settings.schema import RenderSettings
from renderer.lookup import TextureLookup, build_lookup
from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.refine import RefinedTexture, RenderTarget, refine_texture
from style_transfer.settings import RefineSettings

SEEN = 0.99  # visibility from which a pixel counts as inside the seen face
HALF_SEEN = 0.8  # visibility below which a pixel's goal is no longer the photo


class DivergedError(UserError):
    """The optimisation diverged: a step size of the settings is too large."""


class PhotoComparison:
    """A reconstruction's photo and the look-ups that render textures over it; one look-up for each texture size."""

    def __init__(
        self,
        reconstruction: Reconstruction,
        settings: RenderSettings,
        device: torch.device | str = "cpu",
        backend: str = "cpu",
    ) -> None:
        """device: of the optimisation. backend: of the renderer, cpu or nvdiffrast."""
        camera, photo = reconstruction.camera, reconstruction.photo
        longest = max(camera.width, camera.height)
        if longest > settings.maximum_size:
            shrink = settings.maximum_size / longest
            camera = camera.resized(max(round(camera.width * shrink), 1), max(round(camera.height * shrink), 1))
            photo = cv2.resize(photo, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        self.device = torch.device(device)
        self._pixels = as_float(photo.reshape(-1, 3))
        self._settings = settings
        # lookup(height, width) of a texture -> TextureLookup; built on first use.
        self.lookup = cache(partial(build_lookup, reconstruction.mesh, camera, backend=backend))

    def targets(self, visibility: np.ndarray, goal: np.ndarray) -> Callable[[int, int], RenderTarget]:
        """The function `targets(h, w)` of `refine_texture`: the image that the rendering should match.

        visibility: [H, W] float, 0..1. goal: [H, W, 3] float, 0..1. The target is the photo where pixels show seen
        texels. Where they show half-seen texels it fades into the rendering of the goal texture; otherwise a line would
        appear at the border of the rendering loss.
        """

        def target(height: int, width: int) -> RenderTarget:
            lookup = self.lookup(height, width)
            resized = lambda image: cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            shown = seen_share(lookup, resized(visibility))
            blended = lookup.matrix @ resized(goal).reshape(-1, 3)
            sure = np.clip((shown - HALF_SEEN) / (SEEN - HALF_SEEN), 0, 1)[:, None]
            colours = blended + sure * (self._pixels[lookup.pixels.numpy()] - blended)
            inside = inside_silhouette(lookup, self._settings.silhouette_erosion)
            weights = ((shown > 0) & inside).astype(np.float32)
            if self._settings.mean_over == "photo":
                weights *= len(weights) / (lookup.height * lookup.width)
            as_tensor = lambda array: torch.from_numpy(array.astype(np.float32)).to(self.device)
            rendering_of = lambda ids: lookup.of_texels(ids.cpu().numpy()).to(self.device)
            return RenderTarget(lookup.to(self.device), as_tensor(colours), as_tensor(weights), rendering_of)

        return target


def seen_share(lookup: TextureLookup, seen: np.ndarray) -> np.ndarray:
    """Share [N], 0..1, of seen texels in each covered pixel. seen: visibility [h, w] of the look-up's texture size."""
    return np.clip(lookup.matrix @ seen.reshape(-1).astype(np.float32), 0, 1)


def surely_shown(lookup: TextureLookup, seen: np.ndarray) -> np.ndarray:
    """Pixels [H, W] bool of the look-up's image that show seen texels only. seen: as in `seen_share`."""
    shown = np.zeros(lookup.height * lookup.width, bool)
    inside = (seen_share(lookup, seen) > SEEN) & inside_silhouette(lookup, 0.0)
    shown[lookup.pixels.numpy()[inside]] = True
    return shown.reshape(lookup.height, lookup.width)


def rendered_over(lookup: TextureLookup, texture: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Rendering [H, W, 3] of a texture [h, w, 3], 0..1, over a photo [H, W, 3], 0..1, of the look-up's image size."""
    overlay = photo.reshape(-1, 3).copy()
    pixels, coverage = lookup.pixels.numpy(), lookup.coverage.numpy()[:, None]
    overlay[pixels] += coverage * (lookup.matrix @ texture.reshape(-1, 3) - overlay[pixels])
    return overlay.reshape(photo.shape)


def inside_silhouette(lookup: TextureLookup, erosion: float) -> np.ndarray:
    """Covered pixels [N] bool inside the eroded silhouette. erosion: share of the image's longer side."""
    pixels = lookup.pixels.numpy()
    silhouette = np.zeros(lookup.height * lookup.width, np.uint8)
    silhouette[pixels] = lookup.coverage.numpy() > 0.999
    silhouette = silhouette.reshape(lookup.height, lookup.width)
    radius = round(erosion * max(lookup.height, lookup.width))
    if radius:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        # The photo's border is not part of the silhouette.
        silhouette = cv2.erode(silhouette, kernel, borderValue=1)
    return silhouette.reshape(-1)[pixels] > 0


def optimise(
    comparison: PhotoComparison,
    content: np.ndarray,  # I_C [H, W, 3]
    style: np.ndarray,  # I_S [H, W, 3]
    visibility: np.ndarray,  # [H, W]
    mask: np.ndarray,  # [H, W] bool, texels inside the islands
    goal: np.ndarray,  # [H, W, 3], see `PhotoComparison.targets`
    features: VGG16Hypercolumns | PatchFeatures | None,
    settings: RefineSettings,
    seed: int,
    steps: Callable[[int, int, dict[str, float]], None] | None = None,
) -> tuple[np.ndarray, RefinedTexture]:
    """Calls `style_transfer.refine.refine_texture` with NumPy images, float32, 0..1.

    features: None: rendering loss only. steps(done, total, losses): progress.
    Returns the texture [H, W, 3] and the complete result. Raises DivergedError.
    """
    torch.manual_seed(seed)
    as_tensor = lambda image: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(comparison.device)
    images = [as_tensor(image) for image in (content, style, visibility[..., None], mask[..., None])]
    targets, generator = comparison.targets(visibility, goal), torch.Generator(device="cpu").manual_seed(seed)
    try:
        result = refine_texture(*images, targets, features, settings, generator, steps)
    except FloatingPointError as error:
        raise DivergedError(str(error)) from error
    return result.texture[0].permute(1, 2, 0).cpu().numpy(), result
