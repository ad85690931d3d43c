"""The reconstruction systems, alike to the stage that calls them: faces in, mesh, camera and crop out.

Each has `parse(upright pixels, face)` or None (see pipeline.reconstruction.detect), `batch`, how many photos it takes at
once, and `make`: of photos, for each a list of FaceGeometry, one per face. It raises where one photo fails.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from external.assets import FACE_MODEL, RECONSTRUCTION_NETWORK, assets_folder
from external.geometry import PUPIL_DISTANCE, FaceGeometry
from external.mtcnn import Face
from pipeline.reconstruction.detect import FoundFaces
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config
from renderer.mesh import Mesh


class FaceMesh:
    """MediaPipe Face Mesh and our template; both come with the installation."""

    name = "MTCNN + MediaPipe Face Mesh + face template"
    parts = ("mtcnn", "face_mesh")
    symmetric = True
    batch = 1

    def __init__(self, config: Config):
        self._settings = config.reconstruct

    def parse(self, pixels: np.ndarray, face: Face) -> np.ndarray | None:
        """Landmarks [468, 3] of a face in the upright photo, uint8 [H, W, 3]; None where there are none."""
        from external.face_mesh.landmarks import find_landmarks

        return find_landmarks(pixels, face.box, face.points)

    def make(self, found: Sequence[FoundFaces]) -> list[list[FaceGeometry]]:
        """Raises FaceGeometryError."""
        return [[self._geometry(photo.pixels, landmarks) for _, landmarks in photo.faces] for photo in found]

    def _geometry(self, pixels: np.ndarray, landmarks: np.ndarray) -> FaceGeometry:
        from external.face_mesh.face_mask import face_mask
        from external.face_mesh.reconstruction import reconstruct

        height, width = pixels.shape[:2]
        result = reconstruct(landmarks, width, height, self._settings.crop_margin, self._settings.subdivisions)
        return replace(result, mask=face_mask(cut(pixels, result.crop), result, PUPIL_DISTANCE))


class Deep3DFaceRecon:
    """The paper's reconstruction. The user obtains its files (`python -m external.assets doctor`)."""

    name = "MTCNN + Deep3DFaceRecon + Basel Face Model 2009"
    parts = ("mtcnn", "deep3dfacerecon")
    symmetric = False  # the layout of the Basel Face Model is symmetric only roughly
    parse = None
    batch = 16

    def __init__(self, config: Config):
        """Raises ConfigError for files of model and network that are missing or not what they should be."""
        from external.deep3dfacerecon import load_face_model, load_network

        folder = assets_folder(config.assets)
        self._colours = config.texture_size if config.reconstruct.model_colours else 0
        try:
            self._model = load_face_model((folder / FACE_MODEL).parent)
            _ = self._model.uvs  # read when first asked for
            self._network = load_network(folder / RECONSTRUCTION_NETWORK)
        except (FileNotFoundError, ValueError) as error:
            raise ConfigError(str(error)) from error

    def make(self, found: Sequence[FoundFaces]) -> list[list[FaceGeometry]]:
        """Raises FaceGeometryError where the points of any of the photos are no face's."""
        import torch
        from PIL import Image

        from external.deep3dfacerecon import align, reconstruct

        faces = [(photo, face) for photo in found for face, _ in photo.faces]
        aligned = [align(Image.fromarray(photo.pixels), face.points - 0.5) for photo, face in faces]
        crops = torch.from_numpy(np.stack([crop for crop, _ in aligned])).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            coefficients = self._network(crops)
        results = zip(coefficients, (alignment for _, alignment in aligned), strict=True)
        made = (reconstruct(row, alignment, self._model) for row, alignment in results)
        if self._colours:
            made = (replace(one, content=model_texture(one.mesh, one.colour, self._colours)) for one in made)
        return [list(islice(made, len(photo.faces))) for photo in found]


def model_texture(mesh: Mesh, colours: np.ndarray, size: int) -> np.ndarray:
    """The face model's colours as a texture [size, size, 3] float32, 0..1, continued past the island.

    colours: [V, 3], per vertex. They are kept as they are; the published system divides them by their maximum.
    """
    from renderer.dilate import dilate
    from renderer.interpolate import interpolate
    from renderer.rasterize import rasterize_uv

    fragments = rasterize_uv(mesh.uvs, mesh.uv_faces, size, size)
    texture = np.clip(interpolate(colours, mesh.faces, fragments), 0, 1).astype(np.float32)
    return dilate(texture, fragments.face_ids >= 0)


def cut(pixels: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    """The crop (left, top, width, height) of a photo [H, W, 3], pixel for pixel."""
    left, top, width, height = crop
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


SYSTEMS = {"face_mesh": FaceMesh, "deep3dfacerecon": Deep3DFaceRecon}
