"""The reprojection benchmark: pictures with known geometry and known truth, made from a near-frontal photo.

The texture of what the photo surely shows is the truth T*. The same mesh, turned about the head's upright axis and
rendered with it over mid-grey, is a picture of which everything is known. What the photo did not show has made-up
colours: it counts as covered in the picture (mask.png), so that no method can copy it, and is never scored. Of a whole
head only skin is scored, without eyeballs, the inside of the mouth and the scalp.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from evaluation.prepared import prepare
from evaluation.shared import SharedFace, carried, face_mask, shared_face
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes
from pipeline.settings.schema import Config
from pipeline.texture.comparison import SEEN, surely_shown
from pipeline.texture.head_parts import FOREHEAD, SKIN, HeadTexels
from pipeline.texture.sampled import unwrap_photo
from renderer.camera import Camera
from renderer.lookup import TextureLookup, build_lookup
from renderer.mesh import Mesh
from renderer.render import render

GREY = 0.5
NEAR_FRONTAL = 35.0  # degrees
UNSEEN = 0.01
HEAD_SHARE = 0.8  # of the picture's height; of a whole head's picture the face has it, divided by SharedFace.scale
BACK = -110.0  # mm behind the eyes, from where on a head's skin counts as scalp


@dataclass(frozen=True)
class Truth:
    """The texture of what a photo surely shows."""

    texture: np.ndarray  # T* [S, S, 3] float32, 0..1, complete for rendering
    known: np.ndarray  # [S, S] bool, where it is truth: what is scored
    mask: np.ndarray  # [S, S] bool, texels inside the islands
    shown: np.ndarray  # [S, S] bool, what pictures show of it: `known`, and a head's eyes, mouth and scalp


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
    inside: np.ndarray | None = None  # [H, W, 1], 0..1: what is rendered of the head; None: all of it

    def render(self, texture: np.ndarray) -> np.ndarray:
        """Rendering [H, W, 3] float32 over mid-grey of a texture [S, S, 3], 0..1."""
        image = over_grey(self.lookup, texture)
        return image if self.inside is None else GREY + self.inside * (image - GREY)

    def of_shared(self, shared: SharedFace, known: np.ndarray) -> "Viewpoint":
        """The same view of the shared face alone, over mid-grey. known: [S, S] bool, texels with a truth."""
        size = known.shape
        inside = over_grey(self.lookup, np.repeat(shared.inside(*size)[..., None], 3, 2))
        background = over_grey(self.lookup, np.zeros((*size, 3), np.float32))
        shown = surely_shown(self.lookup, known & shared.region(*size))
        return replace(self, shown=shown, inside=(inside - background)[..., :1])


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
    shown = sampled.mask & (sampled.visibility > SEEN)
    known = shown if sampled.head is None else shown & face_skin(sampled.head, shared_face(reconstruction))
    # A given initial texture fills the rest as well as anything; nothing of it is scored.
    return Truth(prepared.initial.texture, known, sampled.mask, shown)


def face_skin(head: HeadTexels, shared: SharedFace | None) -> np.ndarray:
    """Texels [S, S] bool of a head's skin without its scalp: the face, ears, throat and neck.

    The scalp begins above the forehead and behind the ears; the shared face is none of it.
    """
    height, width = head.part.shape
    skin, points = head.coarse
    scalp = (skin & ((points[..., 1] > FOREHEAD) | (points[..., 2] < BACK))).astype(np.uint8)
    scalp = cv2.resize(scalp, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    if shared is not None:
        scalp &= ~shared.region(height, width)
    return head.of(SKIN) & ~scalp


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
    shared = None if reconstruction.rig is None else shared_face(reconstruction)
    if shared is None:
        focal = HEAD_SHARE * size * distance / np.ptp(head[:, 1])
    else:
        height, depth = np.ptp(shared.points(head, mesh.faces)[:, 1]), np.median(shared.points(vertices, mesh.faces)[:, 2])
        focal = HEAD_SHARE * size / shared.scale * depth / height
    new_mesh = Mesh(vertices, mesh.faces, mesh.uvs, mesh.uv_faces)
    camera, photo = Camera(size, size, focal, focal, size / 2, size / 2), np.full((size, size, 3), 128, np.uint8)
    return replace(reconstruction, mesh=new_mesh, camera=camera, photo=photo, mask=None, content=None,
        head_to_camera=new_pose)  # fmt: skip


def photographed(reconstruction: Reconstruction, truth: Truth) -> Reconstruction:
    """The reconstruction with a photo, uint8, of the truth, and the mask of what of it is known."""
    picture, _ = render(truth.texture, reconstruction.mesh, reconstruction.camera, GREY)
    shown, _ = render(np.repeat(truth.shown[..., None], 3, 2), reconstruction.mesh, reconstruction.camera, 0.0)
    return replace(reconstruction, photo=as_bytes(picture), mask=as_bytes(shown[..., 0]))


def regions(reconstruction: Reconstruction, truth: Truth) -> Regions:
    """Which texels of known truth a picture shows.

    Raises ReconstructionError where it shows none.
    """
    seen = unwrap_photo(reconstruction, standard(truth.mask.shape[0])).visibility
    return Regions(truth.known, truth.known & (seen < UNSEEN), truth.known & (seen > SEEN), seen)


def shared_regions(found: Regions, shared: SharedFace, size: int) -> Regions:
    """Regions of the shared face, in the layout of the face mask, [size, size]. found: in the layout of `shared`."""
    there = shared.region(*found.known.shape)
    move = lambda image: carried(image.astype(np.float32), shared, face_mask(), size)
    region = face_mask().region(size, size)
    known, unseen, seen = (region & (move(each & there) > SEEN) for each in (found.known, found.unseen, found.seen))
    return Regions(known, unseen, seen, np.clip(move(found.visibility), 0, 1))


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
