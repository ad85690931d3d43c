"""Computes mesh and camera from the 468 points of a photo.

Face Mesh gives image positions and a relative depth, but no camera. The head is placed at DISTANCE, scaled by the mean
adult distance between the pupils, with the principal point at the face's centre. Every point is moved along its ray to
its depth. The camera therefore reproduces the detected positions exactly, whatever the true lens was.
"""

import numpy as np

from external.face_mesh.template import load_template
from external.geometry import PUPIL_DISTANCE, FaceGeometry, FaceGeometryError, crop_within
from renderer.camera import Camera
from renderer.mesh import Mesh

DISTANCE = 1.0  # m, between camera and the head's centre
RIGHT_EYE, LEFT_EYE = (33, 133), (362, 263)  # corners


def reconstruct(
    landmarks: np.ndarray, photo_width: int, photo_height: int, crop_margin: float = 0.6, subdivisions: int = 2
) -> FaceGeometry:
    """Mesh, camera and crop of one face.

    landmarks: [468, 3] from `find_landmarks`, px. crop_margin: of the face's longer side, kept around it.
    Raises FaceGeometryError where the face is outside the photo or the points are not those of a face.
    """
    template = load_template(subdivisions)
    centre = (landmarks[:, :2].min(0) + landmarks[:, :2].max(0)) / 2
    crop = left, top, width, height = crop_around(landmarks, photo_width, photo_height, crop_margin)
    points = template.positions @ landmarks
    eyes = landmarks[list(RIGHT_EYE)].mean(0) - landmarks[list(LEFT_EYE)].mean(0)
    pixels_per_metre = np.linalg.norm(eyes) / PUPIL_DISTANCE
    focal = DISTANCE * pixels_per_metre
    depth = DISTANCE + points[:, 2:] / pixels_per_metre
    if depth.min() < 0.1 * DISTANCE:
        raise FaceGeometryError("the detected points reach behind the camera; they are not those of a face")
    vertices = np.concatenate([(points[:, :2] - centre) / focal * depth, depth], axis=1)
    mesh = Mesh(vertices, template.faces, template.uvs, template.faces)
    camera = Camera(width, height, focal, focal, centre[0] - left, centre[1] - top)
    pose = rigid_pose(template.shape, vertices[: len(template.shape)])
    return FaceGeometry(mesh, camera, crop, pose)


def crop_around(
    landmarks: np.ndarray, photo_width: int, photo_height: int, crop_margin: float
) -> tuple[int, int, int, int]:
    """The crop (left, top, width, height) around landmarks [N, 2 or 3], px. Raises FaceGeometryError: outside."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    centre, reach = (low + high) / 2, (0.5 + crop_margin) * (high - low).max()
    return crop_within(*centre - reach, *centre + reach, photo_width, photo_height)


def rigid_pose(shape: np.ndarray, points: np.ndarray) -> np.ndarray:  # [N, 3], [N, 3] -> [4, 4]
    """Rotation and translation of the best similarity from shape to points (Umeyama 1991), without its scale."""
    source, target = shape - shape.mean(0), points - points.mean(0)
    u, _, vt = np.linalg.svd(target.T @ source)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    pose = np.eye(4)
    pose[:3, :3] = rotation
    scale = np.linalg.norm(target) / np.linalg.norm(source)
    pose[:3, 3] = points.mean(0) - scale * rotation @ shape.mean(0)
    return pose
