"""The reprojection benchmark: pictures with known geometry and known truth, made from a near-frontal photo.

The texture of what the photo surely shows is the truth T*. The same mesh, turned about the head's upright axis and
rendered with it over mid-grey, is a picture of which everything is known. What the photo did not show has made-up
colours: it counts as covered in the picture (mask.png), so that no method can copy it, and is never scored.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from evaluation.prepared import prepare
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN, surely_shown
from pipeline.texture.sampled import unwrap_photo
from renderer.camera import Camera
from renderer.lookup import TextureLookup, build_lookup
from renderer.mesh import Mesh
from renderer.render import render

GREY = 0.5
NEAR_FRONTAL = 35.0  # degrees
UNSEEN = 0.01
HEAD_SHARE = 0.8  # of the picture's height


@dataclass(frozen=True)
class Truth:
    """The texture of what a photo surely shows."""

    texture: np.ndarray  # T* [S, S, 3] float32, 0..1, complete for rendering
    known: np.ndarray  # [S, S] bool, where it is truth
    mask: np.ndarray  # [S, S] bool, texels inside the islands


@dataclass(frozen=True)
class Regions:
    """Texels [S, S] of one picture."""

    known: np.ndarray  # bool, with a truth
    unseen: np.ndarray  # bool, known ones that the picture surely does not show
    seen: np.ndarray  # bool, known ones that it surely shows
    visibility: np.ndarray  # float32, 0..1


@dataclass(frozen=True)
class Viewpoint:
    """The truth's head seen from a known place."""

    reconstruction: Reconstruction
    lookup: TextureLookup
    shown: np.ndarray  # [H, W] bool, pixels that show known truth and nothing else

    def render(self, texture: np.ndarray) -> np.ndarray:
        """Rendering [H, W, 3] float32 over mid-grey of a texture [S, S, 3], 0..1."""
        return over_grey(self.lookup, texture)


def over_grey(lookup: TextureLookup, texture: np.ndarray) -> np.ndarray:
    """Rendering [H, W, 3] float32 over mid-grey of a texture [S, S, 3], 0..1."""
    colours = torch.from_numpy(lookup.matrix @ np.ascontiguousarray(texture, np.float32).reshape(-1, 3))
    return lookup.to_image(colours, GREY)[0].permute(1, 2, 0).numpy()


def yaw_of(reconstruction: Reconstruction) -> float:
    """Degrees by which the head is turned away from the camera; positive: the nose to the right in the image."""
    rotation = reconstruction.head_to_camera[:3, :3]
    return float(np.rad2deg(np.arctan2(rotation[0, 2], -rotation[2, 2])))


def standard(size: int) -> Config:
    """The default config at a texture size, rendered on the CPU: what decides on truth and regions, whatever the
    config of a method is."""
    return Config().changed(texture_size=size, renderer="cpu")


def make_truth(reconstruction: Reconstruction, size: int) -> Truth:
    """Truth of what a photo surely shows, size x size texels. Raises ReconstructionError."""
    prepared = prepare(reconstruction, standard(size))
    sampled = prepared.sampled
    # A given initial texture fills the rest as well as anything; nothing of it is scored.
    return Truth(prepared.initial.texture, sampled.mask & (sampled.visibility > SEEN), sampled.mask)


def turned(reconstruction: Reconstruction, degrees: float, size: int) -> Reconstruction:
    """The same head upright, turned by a yaw in degrees: mesh, camera [size x size px] and pose. The photo is grey."""
    pose, mesh = reconstruction.head_to_camera, reconstruction.mesh
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    head = (mesh.vertices - pose[:3, 3]) @ pose[:3, :3]
    centre = (head.min(0) + head.max(0)) / 2
    distance = np.median(mesh.vertices[:, 2])
    new_pose = np.eye(4)
    new_pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ turn
    new_pose[:3, 3] = [0, 0, distance] - new_pose[:3, :3] @ centre
    vertices = head @ new_pose[:3, :3].T + new_pose[:3, 3]
    focal = HEAD_SHARE * size * distance / np.ptp(head[:, 1])
    new_mesh = Mesh(vertices, mesh.faces, mesh.uvs, mesh.uv_faces)
    camera, photo = Camera(size, size, focal, focal, size / 2, size / 2), np.full((size, size, 3), 128, np.uint8)
    return replace(reconstruction, mesh=new_mesh, camera=camera, photo=photo, mask=None, content=None,
        head_to_camera=new_pose)  # fmt: skip


def photographed(reconstruction: Reconstruction, truth: Truth) -> Reconstruction:
    """The reconstruction with a photo, uint8, of the truth, and the mask of what of it is known."""
    picture, _ = render(truth.texture, reconstruction.mesh, reconstruction.camera, GREY)
    known, _ = render(np.repeat(truth.known[..., None], 3, 2), reconstruction.mesh, reconstruction.camera, 0.0)
    return replace(reconstruction, photo=as_bytes(picture), mask=as_bytes(known[..., 0]))


def regions(reconstruction: Reconstruction, truth: Truth) -> Regions:
    """Which texels of known truth a picture shows.

    Raises ReconstructionError where it shows none.
    """
    seen = unwrap_photo(reconstruction, standard(truth.mask.shape[0])).visibility
    return Regions(truth.known, truth.known & (seen < UNSEEN), truth.known & (seen > SEEN), seen)


def viewpoint(reconstruction: Reconstruction, truth: Truth) -> Viewpoint:
    """Viewpoint of a turned head."""
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, *truth.mask.shape)
    return Viewpoint(reconstruction, lookup, surely_shown(lookup, truth.known))


def at_size(texture: np.ndarray, size: int) -> np.ndarray:
    """A texture [h, w, 3] resampled to [size, size, 3], 0..1."""
    if texture.shape[:2] == (size, size):
        return texture
    shrinks = min(texture.shape[:2]) > size
    return cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC).clip(0, 1)
