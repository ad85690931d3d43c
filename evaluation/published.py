"""The published algorithm's choices, on our geometry, initial texture and features, to compare with.

After HarshWinterBytes/FaceRefiner: vertices take their nearest texel and triangles blend them; what is seen is decided
by the angle alone; five transfers, each from the last one's result stretched to its minimum and maximum and stored in 8
bits; Laplacian pyramid and SGD; moments in the style loss; style drawn from all of the sampled texture, black where
nothing is seen, and from its mirror image; style moves every texel; the rendering loss is a mean over the whole photo.

Two things are not as published: 30 steps per transfer and scale instead of 150, for time; and what
`style_transfer.refine.refine_texture` lists.
"""

import numpy as np
import torch
from scipy import sparse

from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_float
from pipeline.settings.loading import load_config
from pipeline.settings.schema import Config
from pipeline.texture.comparison import DivergedError, inside_silhouette
from pipeline.texture.initial import Initial
from pipeline.texture.sampled import Sampled
from renderer.camera import Camera
from renderer.dilate import dilate
from renderer.lookup import TextureLookup
from renderer.mesh import Mesh, normalised
from renderer.rasterize import rasterize
from renderer.unwrap import unwrap
from renderer.visibility import TexelGeometry
from style_transfer.refine import RenderTarget, refine_texture, stretched

STEPS = 30  # per transfer and scale; published: 150
SEEN_COSINE, SEEN_COSINE_TURNED = 0.4, 0.6  # the second where the head is turned by more than 25 degrees
TURNED = np.deg2rad(25)


def published_config(config: Config) -> Config:
    """The config with the published settings of rendering and refinement, which configs/facerefiner.yaml holds, but
    with fewer steps, the texture stored in 8 bits after each transfer, and the config's own features."""
    paper = load_config("facerefiner")
    refine = paper.refine.changed(
        features=config.refine.features, vgg16_weights=config.refine.vgg16_weights, iterations=STEPS,
        stretch_between_transfers=True,
    )  # fmt: skip
    return config.changed(render=paper.render, refine=refine)


def published_texture(
    reconstruction: Reconstruction, known: Sampled, initial: Initial, config: Config, features: object,
    device: torch.device,
) -> np.ndarray:  # fmt: skip
    """The texture [H, W, 3] float32, 0..1, continued past the islands.

    config: by `published_config`. known, initial: as it prepares them. features: of `style_transfer.features`.
    Raises DivergedError.
    """
    geometry = known.geometry
    seen = _seen_by_angle(reconstruction, geometry, known.outward)
    photo = as_float(reconstruction.photo)
    sampled = unwrap(photo, geometry, reconstruction.camera)
    if reconstruction.mask is not None:
        # What is made up in a benchmark's picture is not the algorithm's to see.
        own = unwrap(as_float(np.repeat(reconstruction.mask[..., None], 3, 2)), geometry, reconstruction.camera)[..., 0]
        seen &= own > 0.99
    as_tensor = lambda image: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device)
    try:
        result = refine_texture(
            as_tensor(initial.texture), as_tensor(np.where(seen[..., None], sampled, 0)),
            as_tensor(seen[..., None].astype(np.float32)), as_tensor(geometry.mask[..., None]),
            lambda *size: _target(reconstruction, photo, *size, config.render.silhouette_erosion, device),
            features, config.refine, torch.Generator(device="cpu").manual_seed(config.seed),
        )  # fmt: skip
    except FloatingPointError as error:
        raise DivergedError(str(error)) from error
    # The last result is stored in the same way as those between the transfers.
    return dilate(stretched(result.texture)[0].permute(1, 2, 0).cpu().numpy(), geometry.mask)


def vertex_lookup(mesh: Mesh, camera: Camera, height: int, width: int) -> TextureLookup:
    """Look-up of a texture [height, width] by vertex colours: a pixel blends three vertices, each of one texel."""
    fragments = rasterize(mesh, camera)
    pixels = np.flatnonzero(fragments.face_ids >= 0)
    corners = mesh.uvs[mesh.uv_faces[fragments.face_ids.reshape(-1)[pixels]]]
    columns = np.clip((corners[..., 0] * width).astype(np.int32), 0, width - 1)
    rows = np.clip(((1 - corners[..., 1]) * height).astype(np.int32), 0, height - 1)
    weights = fragments.barycentrics.reshape(-1, 3)[pixels]
    starts = np.arange(0, 3 * len(pixels) + 1, 3)
    matrix = sparse.csr_array(
        (weights.reshape(-1), (rows * width + columns).reshape(-1), starts), shape=(len(pixels), height * width)
    )
    matrix.sum_duplicates()
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    whole = torch.ones(len(pixels))
    return TextureLookup(camera.height, camera.width, height, width, 1, torch.from_numpy(pixels), whole, matrix)


def _target(
    reconstruction: Reconstruction, photo: np.ndarray, height: int, width: int, erosion: float, device: torch.device
) -> RenderTarget:
    """What a texture [height, width] has to reproduce of the photo [H, W, 3], 0..1. erosion: of the silhouette."""
    lookup = vertex_lookup(reconstruction.mesh, reconstruction.camera, height, width)
    weights = inside_silhouette(lookup, erosion).astype(np.float32)
    # The loss is the mean over the pixels that the mesh covers: with these weights it is that over the whole photo.
    weights *= len(weights) / (lookup.height * lookup.width)
    pixels = photo.reshape(-1, 3)[lookup.pixels.numpy()]
    return RenderTarget(lookup.to(device), torch.from_numpy(pixels).to(device), torch.from_numpy(weights).to(device))


def _seen_by_angle(reconstruction: Reconstruction, geometry: TexelGeometry, outward: float) -> np.ndarray:
    """Texels [H, W] bool that are turned towards the camera, hidden or not, inside the photo."""
    cosines = -outward * np.einsum("hwc,hwc->hw", geometry.normals, normalised(geometry.positions))
    rotation = reconstruction.head_to_camera[:3, :3]
    yaw = abs(np.arctan2(rotation[0, 2], -rotation[2, 2]))
    seen = geometry.mask & (cosines >= (SEEN_COSINE_TURNED if yaw > TURNED else SEEN_COSINE))
    camera = reconstruction.camera
    places = camera.project(geometry.positions[seen])
    seen[seen] = ((places >= 0) & (places <= [camera.width, camera.height])).all(1)
    return seen
