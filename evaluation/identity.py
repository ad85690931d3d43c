"""Distances between the faces in two pictures of the same view, by networks that no loss uses.

Facial points are found once, in the photo, and carried over the mesh into every view: two renderings of one view are
then cut out alike, and no detector has a say.
"""

import importlib.util
from functools import cache
from pathlib import Path

import dlib
import numpy as np

from external import arcface
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes
from renderer.rasterize import rasterize

DETECTOR_SIZE = 640  # px: dlib's detector finds faces of 80 px and more, and is slow on large photos
CHIP = 150  # px, what dlib's network takes
CHIP_PADDING = 0.25


@cache
def _dlib_networks() -> tuple:
    place = Path(importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]) / "models"
    landmarks = dlib.shape_predictor(str(place / "shape_predictor_5_face_landmarks.dat"))
    embedding = dlib.face_recognition_model_v1(str(place / "dlib_face_recognition_resnet_model_v1.dat"))
    return dlib.get_frontal_face_detector(), landmarks, embedding


arcface_network = cache(arcface.load)


class FacePoints:
    """Where the facial points of a photo lie on the head: dlib's five, and the reconstruction's five for ArcFace."""

    def __init__(self, reconstruction: Reconstruction):
        self._dlib = lifted(reconstruction, dlib_points(reconstruction.photo))
        points = reconstruction.source.get("points")
        self._arcface = lifted(reconstruction, None if points is None else np.asarray(points, np.float64))

    def distances(
        self, first: np.ndarray, second: np.ndarray, reconstruction: Reconstruction, arcface_weights: str = ""
    ) -> dict[str, float]:
        """{"identity": dlib's distance, "arcface": cosine similarity} between pictures [H, W, 3], 0..1, of one view.

        reconstruction: the view's, of the same head. Without points, or without weights, an entry is missing. dlib: the
        Euclidean distance of embeddings; its authors take 0.6 as the border between people.
        """
        images, found = [as_bytes(first), as_bytes(second)], {}
        if self._dlib is not None:
            points = _in_view(self._dlib, reconstruction)
            embeddings = [dlib_embedding(image, points) for image in images]
            found["identity"] = float(np.linalg.norm(embeddings[0] - embeddings[1]))
        if self._arcface is not None and arcface_weights:
            points = _in_view(self._arcface, reconstruction) - 0.5
            crops = np.stack([arcface.align(image, points) for image in images])
            found["arcface"] = float(arcface.similarity(*arcface.embed(arcface_network(arcface_weights), crops)))
        return found


def dlib_points(photo: np.ndarray) -> np.ndarray | None:
    """Five points [5, 2] px, pixel centres at +0.5, of the largest face dlib finds in a photo, uint8; None without one.

    Two corners of each eye, and the base of the nose.
    """
    detector, predictor, _ = _dlib_networks()
    shrink = min(DETECTOR_SIZE / max(photo.shape[:2]), 1.0)
    rows, columns = (np.arange(round(side * shrink)) / shrink for side in photo.shape[:2])
    small = np.ascontiguousarray(photo[rows.astype(int)[:, None], columns.astype(int)])
    boxes = detector(small, 0) or detector(small, 1)
    if not boxes:
        return None
    box = max(boxes, key=lambda box: box.area())
    sides = [round(side / shrink) for side in (box.left(), box.top(), box.right(), box.bottom())]
    shape = predictor(np.ascontiguousarray(photo), dlib.rectangle(*sides))
    return np.array([[part.x, part.y] for part in shape.parts()]) + 0.5


def dlib_embedding(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Embedding [128] of the face at five points [5, 2] px in an image, uint8 [H, W, 3]."""
    left, top, right, bottom = (round(float(value)) for value in (*points.min(0), *points.max(0)))
    parts = [dlib.point(round(float(x) - 0.5), round(float(y) - 0.5)) for x, y in points]
    shape = dlib.full_object_detection(dlib.rectangle(left, top, right, bottom), parts)
    chip = dlib.get_face_chip(np.ascontiguousarray(image), shape, CHIP, CHIP_PADDING)
    return np.array(_dlib_networks()[2].compute_face_descriptor(chip))


def lifted(reconstruction: Reconstruction, points: np.ndarray | None) -> np.ndarray | None:
    """Image points [N, 2] px on the mesh, in the head frame [N, 3]; beside the mesh at its middle depth."""
    if points is None:
        return None
    camera, mesh = reconstruction.camera, reconstruction.mesh
    depth = rasterize(mesh, camera).depth
    columns, rows = (np.clip(points[:, axis].astype(int), 0, depth.shape[1 - axis] - 1) for axis in (0, 1))
    z = depth[rows, columns].astype(np.float64)
    z = np.where(np.isfinite(z), z, np.median(mesh.vertices[:, 2]))
    x_and_y = (points - (camera.cx, camera.cy)) * z[:, None] / (camera.fx, camera.fy)
    in_camera = np.column_stack([x_and_y, z])
    pose = reconstruction.head_to_camera
    return (in_camera - pose[:3, 3]) @ pose[:3, :3]


def _in_view(points: np.ndarray, reconstruction: Reconstruction) -> np.ndarray:
    """Points [N, 3] of the head frame in the reconstruction's image, [N, 2] px."""
    pose = reconstruction.head_to_camera
    return reconstruction.camera.project(points @ pose[:3, :3].T + pose[:3, 3])
