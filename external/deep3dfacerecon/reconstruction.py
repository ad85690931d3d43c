"""Computes mesh and camera in this project's conventions (`renderer`) from the face model's coefficients.

The published camera shows a 224 px crop of the resized photo, with y and z in opposite direction. Our camera shows the
corresponding part of the original photo, at its original resolution.
"""

import numpy as np
import torch

from external.deep3dfacerecon.alignment import CROP_SIZE, Alignment, placement
from external.deep3dfacerecon.face_model import CAMERA_DISTANCE, CENTRE, FOCAL, FaceModel
from external.geometry import FaceGeometry, FaceGeometryError, crop_within
from renderer.camera import Camera
from renderer.mesh import Mesh

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
    vertices, rotation, translation, colour = (
        values[0].cpu().double().numpy() for values in (faces.vertices, faces.rotation, faces.translation, faces.colour)
    )
    if not vertices[:, 2].min() > 0.1 * CAMERA_DISTANCE:
        raise FaceGeometryError(
            "the predicted face reaches behind the camera; check that the photo shows a face and the points are right"
        )
    photo_width, photo_height = alignment[:2]
    width, height, left, top = placement(alignment)
    across, down = photo_width / width, photo_height / height
    right, bottom = (left + CROP_SIZE) * across, (top + CROP_SIZE) * down
    crop = crop_within(left * across, top * down, right, bottom, photo_width, photo_height)
    camera = Camera(CROP_SIZE, CROP_SIZE, FOCAL, FOCAL, CENTRE, CENTRE).cropped(-left, -top, width, height)
    camera = camera.resized(photo_width, photo_height).cropped(*crop)

    pose = np.eye(4)
    pose[:3, :3] = HALF_TURN @ rotation.T
    pose[:3, 3] = HALF_TURN @ translation + [0, 0, CAMERA_DISTANCE]
    triangles = model.faces.cpu().numpy()
    mesh = Mesh(vertices * [1, -1, 1], triangles, model.uvs, triangles)
    return FaceGeometry(mesh, camera, crop, pose, colour=colour)
