"""The published algorithm's choices, on our geometry, initial texture and features, to compare with.

After HarshWinterBytes/FaceRefiner: vertices take their nearest texel and triangles blend them; what is seen is decided by
the angle alone; five transfers, each from the last one's result stretched to its minimum and maximum and rounded to
8 bits; Laplacian pyramid and SGD; moments in the style loss; mirrored style; style moves every texel. One thing is less:
30 steps per transfer and scale instead of 150, for time.
"""

from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy import sparse

from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes, as_float
from pipeline.settings.schema import Config
from pipeline.texture.comparison import inside_silhouette
from pipeline.texture.initial import Initial
from pipeline.texture.sampled import Sampled
from renderer.dilate import dilate
from renderer.lookup import TextureLookup
from renderer.mesh import normalised
from renderer.rasterize import rasterize
from renderer.unwrap import unwrap
from renderer.visibility import texel_geometry
from style_transfer.refine import RenderTarget, refine_texture

TRANSFERS = 5
STEPS = 30
LEARNING_RATE = 0.3
SEEN_COSINE, SEEN_COSINE_TURNED = 0.4, 0.6  # the second where the head is turned by more than 25 degrees
TURNED = np.deg2rad(25)
SILHOUETTE_EROSION = 1 / 40  # an ellipse of a 20th of the image's height


def published_texture(
    reconstruction: Reconstruction, known: Sampled, initial: Initial, config: Config, features: object, device: torch.device
) -> np.ndarray:
    """The texture [H, W, 3] float32, 0..1, continued past the islands."""
    size = config.texture_size
    geometry = texel_geometry(reconstruction.mesh, size, size)
    seen = _seen_by_angle(reconstruction, geometry, known.outward)
    photo = as_float(reconstruction.photo)
    sampled = unwrap(photo, geometry, reconstruction.camera)
    if reconstruction.mask is not None:
        # What is made up in a benchmark's picture is not the algorithm's to see.
        own = unwrap(as_float(np.repeat(reconstruction.mask[..., None], 3, 2)), geometry, reconstruction.camera)[..., 0]
        seen &= own > 0.99
    settings = replace(
        config.refine, transfers=1, iterations=STEPS, rendering_iterations=0, parameters="pyramid", optimiser="sgd",
        learning_rate=LEARNING_RATE, decay_learning_rate=False, moment_weight=1.0, style_region="all", mirrored_style=True,
    )  # fmt: skip
    as_tensor = lambda image: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device)
    generator = torch.Generator(device="cpu").manual_seed(config.seed)
    texture = initial.texture
    for transfer in range(TRANSFERS):
        weights = {
            "content_weight": config.refine.content_weight / config.refine.content_decay**transfer,
            "rendering_weight": config.refine.rendering_weight * config.refine.rendering_growth**transfer,
        }
        result = refine_texture(
            as_tensor(texture),
            as_tensor(np.where(seen[..., None], sampled, 0)),
            as_tensor(seen[..., None].astype(np.float32)),
            as_tensor(geometry.mask[..., None]),
            lambda height, width: _target(reconstruction, photo, height, width, device),
            features,
            replace(settings, **weights),
            generator,
        )
        texture = result.texture[0].permute(1, 2, 0).cpu().numpy()
        texture = dilate(stretched(texture, geometry.mask), geometry.mask)
    return texture


def stretched(texture, mask):
    """The texture [H, W, 3] with the least and greatest value in the mask at 0 and 1, in steps of 1/255."""
    low, high = texture[mask].min(), texture[mask].max()
    return as_float(as_bytes((texture - low) / max(high - low, 1e-6)))


def vertex_lookup(mesh, camera, height, width):
    """TextureLookup [height, width] of vertex colours: each pixel blends three vertices, each the colour of one texel."""
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


def _target(reconstruction, photo, height, width, device):
    lookup = vertex_lookup(reconstruction.mesh, reconstruction.camera, height, width)
    inside = torch.from_numpy(inside_silhouette(lookup, SILHOUETTE_EROSION).astype(np.float32))
    pixels = torch.from_numpy(photo.reshape(-1, 3)[lookup.pixels.numpy()])
    return RenderTarget(lookup.to(device), pixels.to(device), inside.to(device))


def _seen_by_angle(reconstruction, geometry, outward):
    """Texels [H, W] bool that are turned towards the camera, hidden or not, inside the photo."""
    cosines = -outward * np.einsum("hwc,hwc->hw", geometry.normals, normalised(geometry.positions))
    rotation = reconstruction.head_to_camera[:3, :3]
    yaw = abs(np.arctan2(rotation[0, 2], -rotation[2, 2]))
    seen = geometry.mask & (cosines >= (SEEN_COSINE_TURNED if yaw > TURNED else SEEN_COSINE))
    camera = reconstruction.camera
    places = camera.project(geometry.positions[seen])
    seen[seen] = ((places >= 0) & (places <= [camera.width, camera.height])).all(1)
    # Style is drawn between whole texels: a rim of half-seen ones would be black.
    return cv2.erode(seen.astype(np.uint8), np.ones((3, 3))) > 0
