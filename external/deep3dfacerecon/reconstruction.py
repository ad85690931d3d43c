"""Computes meshes and cameras in this project's conventions (`renderer`) from photos and five points.

The published camera shows a 224 px crop of the resized photo, with y and z in opposite direction. Our camera shows the
corresponding part of the original photo, at its original resolution.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from external.deep3dfacerecon.alignment import CROP_SIZE, Alignment, align, placement
from external.deep3dfacerecon.face_model import CAMERA_DISTANCE, CENTRE, FOCAL, FaceModel, Faces
from external.deep3dfacerecon.network import ReconstructionNetwork
from external.geometry import FaceGeometry, FaceGeometryError
from renderer.camera import Camera
from renderer.mesh import Mesh

PUPIL_DISTANCE = 0.63  # decimetres, adult mean
# From the published axes (x right, y up, z towards the camera) to OpenCV's: a rotation by 180 degrees about x.
HALF_TURN = np.diag([1.0, -1.0, -1.0])


def reconstruct(coefficients: torch.Tensor | np.ndarray, alignment: Alignment, model: FaceModel) -> FaceGeometry:
    """Mesh, camera and crop of one face.

    coefficients: [257], of the network. alignment: of `align`, for the same photo.
    Raises FaceGeometryError where the face is behind the camera or outside the photo; FileNotFoundError, ValueError for
    the files of texture coordinates in the model's folder.
    """
    with torch.no_grad():
        faces = model(torch.as_tensor(coefficients).reshape(1, -1))
    return _placed(faces, 0, alignment, model)


def reconstruct_batch(
    photos: Sequence[np.ndarray], points: Sequence[np.ndarray], network: ReconstructionNetwork, model: FaceModel
) -> list[FaceGeometry]:
    """Mesh, camera and crop of several faces, by one pass of the network (on its device).

    photos: uint8 [H, W, 3], RGB, of any sizes; repeat a photo for each of its faces. points: [5, 2] for each, as in
    `align`: pixel centres at whole numbers. Raises FaceGeometryError where a face is behind the camera or outside its
    photo; ValueError, FileNotFoundError.
    """
    if len(photos) != len(points) or not len(photos):
        raise ValueError(
            f"reconstruct_batch: got {len(photos)} photos and {len(points)} sets of points, "
            "need equal numbers, at least 1"
        )
    aligned = [align(Image.fromarray(photo), five) for photo, five in zip(photos, points, strict=True)]
    crops = torch.from_numpy(np.stack([crop for crop, _ in aligned])).permute(0, 3, 1, 2)
    with torch.no_grad():
        faces = model(network(crops.to(next(network.parameters()).device).float() / 255))
    return [_placed(faces, index, alignment, model) for index, (_, alignment) in enumerate(aligned)]


def _placed(faces: Faces, index: int, alignment: Alignment, model: FaceModel) -> FaceGeometry:
    """Mesh, camera and crop of one of the faces in its photo. Raises as `reconstruct`."""
    vertices, rotation, translation, texture, colour = (
        values[index].cpu().double().numpy()
        for values in (faces.vertices, faces.rotation, faces.translation, faces.texture, faces.colour)
    )
    if not vertices[:, 2].min() > 0.1 * CAMERA_DISTANCE:
        raise FaceGeometryError(
            "the predicted face reaches behind the camera; check that the photo shows a face and the points are right"
        )
    photo_width, photo_height = alignment[:2]
    width, height, left, top = placement(alignment)
    across, down = photo_width / width, photo_height / height
    seen_left, seen_top = max(math.floor(left * across), 0), max(math.floor(top * down), 0)
    seen_right = min(math.ceil((left + CROP_SIZE) * across), photo_width)
    seen_bottom = min(math.ceil((top + CROP_SIZE) * down), photo_height)
    if seen_right - seen_left < 2 or seen_bottom - seen_top < 2:
        raise FaceGeometryError("the face lies outside the photo")
    crop = seen_left, seen_top, seen_right - seen_left, seen_bottom - seen_top
    camera = Camera(CROP_SIZE, CROP_SIZE, FOCAL, FOCAL, CENTRE, CENTRE).cropped(-left, -top, width, height)
    camera = camera.resized(photo_width, photo_height).cropped(*crop)

    pose = np.eye(4)
    pose[:3, :3] = HALF_TURN @ rotation.T
    pose[:3, 3] = HALF_TURN @ translation + [0, 0, CAMERA_DISTANCE]
    triangles = model.faces.cpu().numpy()
    mesh = Mesh(vertices * [1, -1, 1], triangles, model.uvs, triangles)
    return FaceGeometry(mesh, camera, crop, pose, texture=texture, colour=colour)
