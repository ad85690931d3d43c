"""The fixed linear map from texels to pixels, with its adjoint.

Geometry and camera do not change while a texture is optimised, so rendering is one sparse matrix A [N, h w]: row n
holds the texels that covered pixel n averages, with their weights. The gradient is the product with the transpose of A,
stored as a second matrix. It needs no atomics, so results on a CPU are identical for any number of threads.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import sparse

from renderer.camera import Camera
from renderer.kernels import gather_texels, multiply_rows
from renderer.mesh import Mesh
from renderer.rasterize import Fragments, check_size, rasterize

SparseMatrix = sparse.csr_array | torch.Tensor  # on a CPU, and on other devices (CSR)
MAXIMUM_SUPERSAMPLING = 4
BAND_SAMPLES = 1 << 21  # samples rasterised at a time, which bounds memory
DENSITY_PROBE = 512  # px, longer side of the image in which texel_density is measured


class _Product(torch.autograd.Function):
    """matrix [N, P] @ values [P, 3], whose gradient is adjoint [P, N] @ gradient [N, 3].

    It is linear, so it can be differentiated again. planar: store the result channel by channel, as textures are.
    """

    @staticmethod
    def forward(
        context: Any, values: torch.Tensor, matrix: SparseMatrix, adjoint: SparseMatrix, planar: bool
    ) -> torch.Tensor:  # [N, 3]
        context.matrix, context.adjoint, context.planar = matrix, adjoint, planar
        if isinstance(matrix, torch.Tensor):
            return matrix @ values.contiguous()
        rows = matrix.shape[0]
        result = values.new_empty(3, rows).T if planar else values.new_empty(rows, 3)
        arguments = matrix.indptr, matrix.indices, matrix.data, values.numpy(), result.numpy()
        # Each row is summed by one thread in one order, so the split does not change the result.
        bounds = np.linspace(0, rows, torch.get_num_threads() + 1).astype(int)
        list(_threads().map(lambda part: multiply_rows(*arguments, *part), pairwise(bounds)))
        return result

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # [N, 3] -> [P, 3]
        return _Product.apply(gradient, context.adjoint, context.matrix, not context.planar), None, None, None


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="lookup")


@dataclass(frozen=True, eq=False)
class TextureLookup:
    """Differentiable rendering of textures of one size; made by build_lookup.

    height, width: image size. texture_height, texture_width: texture size. pixels [N] int64: covered pixels, row by
    row, as indices into the flattened image. coverage [N] float32: share of each pixel's samples that hit the mesh,
    above 0 up to 1. supersampling: samples along a pixel's side.
    A call with a texture [1, 3, texture_height, texture_width] returns the colours [N, 3] of the covered pixels.
    """

    height: int
    width: int
    texture_height: int
    texture_width: int
    supersampling: int
    pixels: torch.Tensor
    coverage: torch.Tensor
    matrix: sparse.csr_array = field(repr=False)
    _prepared: dict = field(default_factory=dict, repr=False)

    def __call__(self, texture: torch.Tensor) -> torch.Tensor:
        """Colours [N, 3] of the covered pixels, with the texture's device and type; differentiable.

        Raises ValueError when the texture is not [1, 3, texture_height, texture_width] floats.
        """
        expected = (1, 3, self.texture_height, self.texture_width)
        if tuple(texture.shape) != expected or texture.dtype not in (torch.float32, torch.float64):
            given = f"{texture.dtype} of shape {tuple(texture.shape)}"
            raise ValueError(f"the texture is {given}; float32 or float64 {expected} is needed")
        matrix, adjoint = self._matrices(texture.device, texture.dtype)
        return _Product.apply(texture.reshape(3, -1).T, matrix, adjoint, False)

    def to(self, device: torch.device | str) -> "TextureLookup":
        """The same look-up with its tensors on a device. (Calls follow the texture's device in any case.)"""
        return replace(self, pixels=self.pixels.to(device), coverage=self.coverage.to(device))

    def of_texels(self, ids: np.ndarray) -> "TextureLookup":
        """The look-up of a list of texels [M] (ids into the flattened texture), as of a texture 1 x M.

        Right in pixels that read no other texel.
        """
        place = np.full(self.texture_height * self.texture_width, -1, dtype=np.int32)
        place[ids] = np.arange(len(ids), dtype=np.int32)
        columns = place[self.matrix.indices]
        kept = columns >= 0
        starts = np.concatenate([[0], np.cumsum(kept)])[self.matrix.indptr].astype(np.int32)
        parts = (self.matrix.data[kept], columns[kept], starts)
        matrix = sparse.csr_array(parts, shape=(self.matrix.shape[0], len(ids)))
        return replace(self, texture_height=1, texture_width=len(ids), matrix=matrix, _prepared={})

    def to_image(self, colours: torch.Tensor, background: "float | torch.Tensor" = 0.0) -> torch.Tensor:
        """The image [1, 3, H, W] of colours [N, 3] over a background, blended by coverage; differentiable.

        background: a number, or a tensor that broadcasts to [1, 3, H, W] (a photo, or one colour [1, 3, 1, 1]).
        """
        if tuple(colours.shape) != (len(self.pixels), 3):
            raise ValueError(f"colours have shape {tuple(colours.shape)}; {(len(self.pixels), 3)} is needed")
        background = torch.as_tensor(background, dtype=colours.dtype, device=colours.device)
        canvas = background.expand(1, 3, self.height, self.width).reshape(3, -1).T
        pixels = self.pixels.to(colours.device)
        share = self.coverage.to(colours.device, colours.dtype)[:, None]
        blended = colours * share + canvas[pixels] * (1 - share)
        return canvas.index_copy(0, pixels, blended).T.reshape(1, 3, self.height, self.width)

    def _matrices(self, device: torch.device, dtype: torch.dtype) -> tuple[SparseMatrix, SparseMatrix]:
        """The matrix and its transpose for a device and type; built once for each."""
        key = "cpu" if device.type == "cpu" else (device, dtype)
        if key not in self._prepared:
            pair = self.matrix, self.matrix.T.tocsr()
            self._prepared[key] = pair if key == "cpu" else tuple(_sparse_tensor(each, device, dtype) for each in pair)
        return self._prepared[key]


def _sparse_tensor(matrix: sparse.csr_array, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    parts = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data.astype(np.float64)))
    starts, columns, values = (part.to(device) for part in parts)
    with warnings.catch_warnings():
        # torch labels its CSR tensors as beta; only products with dense matrices are used here, and these are stable.
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values.to(dtype), size=matrix.shape)


def build_lookup(
    mesh: Mesh, camera: Camera, height: int, width: int, supersampling: int | None = None, backend: str = "cpu"
) -> TextureLookup:
    """Builds the look-up of height x width textures on a mesh seen by a camera.

    A covered pixel is the mean of those of its samples (a regular supersampling x supersampling grid) that hit the
    mesh. Each sample is bilinear between texel centres and clamped to the texture's border; the weights of a pixel sum
    to 1. supersampling: 1 to 4; None chooses it from the texture's density in the image, so that a fine texture does
    not alias. backend: as for `rasterize`; it affects the rasterisation only.
    Raises ValueError (sizes), RasterizeError (geometry) or RendererUnavailable.
    """
    check_size("the texture", height, width, "texels")
    if supersampling is None:
        density = texel_density(mesh, camera, height, width, backend)
        supersampling = int(np.clip(np.ceil(density - 0.1), 1, MAXIMUM_SUPERSAMPLING))
    elif supersampling not in range(1, MAXIMUM_SUPERSAMPLING + 1):
        raise ValueError(f"supersampling is {supersampling!r}; 1 to {MAXIMUM_SUPERSAMPLING} or None is needed")
    s = supersampling
    fine = camera.resized(camera.width * s, camera.height * s)
    band_rows = max(1, BAND_SAMPLES // (fine.width * s))
    parts = []
    for top in range(0, camera.height, band_rows):
        rows = min(band_rows, camera.height - top)
        fragments = rasterize(mesh, fine.cropped(0, top * s, fine.width, rows * s), backend)
        parts.append(_matrix_rows(fragments, mesh, height, width, s, top * camera.width))
    pixels, coverage, lengths, texels, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if starts[-1] >= 2**31:
        raise ValueError(f"{len(pixels)} pixels read {starts[-1]} texels, 2^31 is the limit; use a smaller image")
    # 32-bit indices halve the memory that the products read.
    matrix = sparse.csr_array((weights, texels, starts.astype(np.int32)), shape=(len(pixels), height * width))
    return TextureLookup(
        camera.height, camera.width, int(height), int(width), s,
        torch.from_numpy(pixels), torch.from_numpy(coverage), matrix,
    )  # fmt: skip


def _matrix_rows(
    fragments: Fragments, mesh: Mesh, height: int, width: int, per_pixel: int, first_pixel: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matrix rows of a band of the image: pixels, coverage and entry counts [N], texels and weights [entries].

    fragments: of the band with per_pixel^2 samples per pixel. first_pixel: index of the band's first pixel.
    """
    rows, columns = (size // per_pixel for size in fragments.face_ids.shape)
    hit = fragments.face_ids.reshape(rows, per_pixel, columns, per_pixel) >= 0
    room = int(hit.any(axis=(1, 3)).sum())
    pixels = np.empty(room, dtype=np.int64)
    coverage = np.empty(room, dtype=np.float32)
    lengths = np.empty(room, dtype=np.int32)
    texels = np.empty(room * 4 * per_pixel**2, dtype=np.int32)
    weights = np.empty(room * 4 * per_pixel**2, dtype=np.float32)
    count, entries = gather_texels(
        fragments.face_ids, fragments.barycentrics, mesh.uvs, mesh.uv_faces, height, width, per_pixel,
        pixels, coverage, lengths, texels, weights,
    )  # fmt: skip
    texels, weights = texels[:entries].copy(), weights[:entries].copy()
    return pixels[:count] + first_pixel, coverage[:count], lengths[:count], texels, weights


def texel_density(mesh: Mesh, camera: Camera, height: int, width: int, backend: str = "cpu") -> float:
    """Upper quartile over the covered pixels of the texels along a pixel's side; 0 when no pixel is covered."""
    ids = rasterize(mesh, camera.scaled(min(1.0, DENSITY_PROBE / max(camera.width, camera.height))), backend).face_ids
    ids = ids[ids >= 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        in_image = _areas(camera.project(mesh.vertices)[mesh.faces])
        ratio = np.sqrt(_areas(mesh.uvs[mesh.uv_faces] * [width, height]) / in_image)[ids]
    ratio = ratio[np.isfinite(ratio)]
    return float(np.percentile(ratio, 75)) if len(ratio) else 0.0


def _areas(triangles: np.ndarray) -> np.ndarray:  # [F, 3, 2] -> [F]
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
