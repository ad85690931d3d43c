"""The reconstruction systems, alike to the stage that calls them: faces in, mesh, camera and crop out.

Each has `parse(upright pixels, face)` or None (see pipeline.reconstruction.detect), `metres_per_unit` of its meshes,
`batch`, how many photos it takes at once, and `make`: of photos, for each a list of Made, one per face. It raises where
one photo fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from external.anny import HeadLayout, HeadModel, load_head_layout
from external.anny.fit import FitError
from external.anny.limits import NO_FACE_SPREAD, check_head, check_points, spread_of
from external.anny.points import HeadPoints, load_head_points
from external.anny.reconstruction import HeadFit, HeadFitter
from external.assets import FACE_MODEL, RECONSTRUCTION_NETWORK, assets_folder, missing_files
from external.face_mesh.landmarks import POINTS
from external.geometry import PUPIL_DISTANCE, FaceGeometry
from external.mtcnn import Face
from external.setup import COMMAND as SETUP_COMMAND
from pipeline.reconstruction.detect import FoundFaces
from pipeline.reconstruction.head_data import set_up_head_model
from pipeline.reconstruction.rig import Rig
from pipeline.reconstruction.witnesses import Witnesses
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config, ReconstructSettings
from renderer.camera import Camera
from renderer.mesh import Mesh

LIPS_OF_PHOTO = "photoLips"  # the target that opens the lips as in the photo; they are closed at rest


@dataclass(frozen=True)
class Made:
    """What a system made of a face."""

    geometry: FaceGeometry
    system: type  # of SYSTEMS: the one that made it
    rig: Rig | None = None
    witnesses: Witnesses | None = None  # of its crop
    note: str = ""  # why it was made by another system than usual


class FaceMesh:
    """MediaPipe Face Mesh and our template; both come with the installation."""

    name = "MTCNN + MediaPipe Face Mesh + face template"
    parts = ("mtcnn", "face_mesh")
    metres_per_unit = 1.0
    symmetric = True
    batch = 1

    def __init__(self, config: Config):
        self._settings = config.reconstruct

    def parse(self, pixels: np.ndarray, face: Face) -> np.ndarray | None:
        """Landmarks [468, 3] of a face in the upright photo, uint8 [H, W, 3]; None where there are none."""
        from external.face_mesh.landmarks import find_landmarks

        return find_landmarks(pixels, face.box, face.points)

    def make(self, found: Sequence[FoundFaces]) -> list[list[Made]]:
        """Raises FaceGeometryError."""
        return [
            [made_of_face_mesh(photo.pixels, landmarks, self._settings) for _, landmarks in photo.faces] for photo in found
        ]


def made_of_face_mesh(pixels: np.ndarray, landmarks: np.ndarray, settings: ReconstructSettings, note: str = "") -> Made:
    """What Face Mesh makes of a face in the upright photo, uint8 [H, W, 3]. Raises FaceGeometryError."""
    from external.face_mesh.face_mask import face_mask
    from external.face_mesh.reconstruction import reconstruct

    height, width = pixels.shape[:2]
    result = reconstruct(landmarks[:POINTS], width, height, settings.crop_margin, settings.subdivisions)
    crop = cut(pixels, result.crop)
    geometry = replace(result, mask=face_mask(crop, result, PUPIL_DISTANCE))
    return Made(geometry, FaceMesh, witnesses=find_witnesses(crop), note=note)


@dataclass(frozen=True)
class SureLandmarks:
    """A face's points and how far they are to be trusted."""

    points: np.ndarray  # [478, 3]
    spread: float  # mean distance from those found in the mirrored photo, share of the face's height


class Head:
    """The head model, fitted to Face Mesh's points; its data is made by the set-up."""

    name = "MTCNN + MediaPipe Face Mesh + head model"
    parts = ("mtcnn", "face_mesh", "head")
    metres_per_unit = 1.0
    symmetric = True
    batch = 1

    def __init__(self, config: Config):
        """Raises ConfigError for data that is not what the set-up makes."""
        self._settings = config.reconstruct
        self._model = set_up_head_model()
        self._layout = load_head_layout()

    @cached_property
    def _fitter(self) -> HeadFitter:
        return HeadFitter(self._model)

    @cached_property
    def _topology(self) -> "HeadTopology":
        return HeadTopology.of(self._model, self._layout)

    def parse(self, pixels: np.ndarray, face: Face) -> SureLandmarks | None:
        """Landmarks, with the irises, of a face in the upright photo; None where there are none, or others in the
        mirrored photo."""
        from external.face_mesh.landmarks import find_landmarks

        landmarks = find_landmarks(pixels, face.box, face.points, irises=True)
        mirrored = find_landmarks(pixels, face.box, face.points, mirror=load_head_points().mirror)
        if landmarks is None or mirrored is None:
            return None
        spread = spread_of(landmarks, mirrored)
        return SureLandmarks(landmarks, spread) if spread <= NO_FACE_SPREAD else None

    def make(self, found: Sequence[FoundFaces]) -> list[list[Made]]:
        """Raises FaceGeometryError."""
        return [[self._made(photo, sure.points, sure.spread) for _, sure in photo.faces] for photo in found]

    def _made(self, photo: FoundFaces, landmarks: np.ndarray, spread: float) -> Made:
        from external.face_mesh.face_mask import face_mask
        from external.face_mesh.reconstruction import crop_around

        height, width = photo.pixels.shape[:2]
        try:
            check_points(landmarks, (width, height), spread)
            fit = self._fitter.fit(landmarks, (width, height), photo.focal, photo.pixels)
            check_head(fit, self._model, load_head_points())
        except FitError as error:
            if self._settings.system == "head":
                raise
            note = f"a face instead of a head: {error}"
            return made_of_face_mesh(photo.pixels, landmarks, self._settings, note)
        crop = left, top, *size = crop_around(landmarks, width, height, self._settings.crop_margin)
        whole = fit.camera
        camera = Camera(*size, whole.fx, whole.fy, whole.cx - left, whole.cy - top)
        topology = self._topology
        mesh = Mesh(fit.vertices[topology.vertices], topology.faces, self._layout.uvs, self._layout.uv_triangles)
        result = FaceGeometry(mesh, camera, crop, fit.head_to_camera)
        point_uvs = topology.point_uvs(load_head_points())
        pixels = cut(photo.pixels, crop)
        mask = face_mask(pixels, result, PUPIL_DISTANCE, point_uvs)
        return Made(replace(result, mask=mask), Head, topology.rig(fit, self._model), find_witnesses(pixels))


@dataclass(frozen=True)
class HeadTopology:
    """The head model's triangles with vertices of their own for each part, as a rig needs them."""

    vertices: np.ndarray  # [V] the model's vertex
    faces: np.ndarray  # [T, 3]
    vertex_parts: np.ndarray  # [V]
    vertex_uvs: np.ndarray  # [the model's vertices, 2], of the skin

    @classmethod
    def of(cls, model: HeadModel, layout: HeadLayout) -> "HeadTopology":
        keys = model.parts[:, None].astype(np.int64) * len(model.vertices) + model.triangles
        unique, faces = np.unique(keys, return_inverse=True)
        skin = model.part("skin")
        uvs = np.full((len(model.vertices), 2), np.nan)
        uvs[model.triangles[skin]] = layout.uvs[layout.uv_triangles[skin]]
        parts, vertices = np.divmod(unique, len(model.vertices))
        return cls(vertices, faces.reshape(model.triangles.shape).astype(np.int32), parts, uvs)

    def point_uvs(self, points: HeadPoints) -> np.ndarray:
        """Where Face Mesh's points [468] lie in the UV layout, [468, 2]; the inside of the mouth and sockets counts as
        the skin beside it."""
        uvs = self.vertex_uvs[points.vertices]
        weights = np.where(np.isnan(uvs[..., :1]), 0, points.barycentrics[..., None])
        return (np.nan_to_num(uvs) * weights).sum(axis=1) / weights.sum(axis=1)

    def rig(self, fit: HeadFit, model: HeadModel) -> Rig:
        balls = [model.vertices_of(f"eye_{side}") for side in ("left", "right")]
        radii = [
            np.linalg.norm(fit.neutral[ball] - centre, axis=1).mean()
            for ball, centre in zip(balls, fit.eye_centres, strict=True)
        ]
        return Rig(
            neutral=fit.neutral[self.vertices],
            target_names=np.array([*model.expression_names, LIPS_OF_PHOTO]),
            target_offsets=np.concatenate([model.expressions, fit.lips[None]])[:, self.vertices],
            weights=np.array([*(fit.expression.get(name, 0.0) for name in model.expression_names), 1.0]),
            part_names=np.array(model.part_names),
            vertex_parts=self.vertex_parts,
            eye_names=np.array(["left", "right"]),
            eye_parts=np.array([model.part_names.index(f"eye_{side}") for side in ("left", "right")]),
            eye_centres=fit.eye_centres,
            eye_radii=np.array(radii),
            eye_directions=fit.eye_directions,
        )


class Deep3DFaceRecon:
    """The paper's reconstruction. The user obtains its files (`python -m external.assets doctor`)."""

    name = "MTCNN + Deep3DFaceRecon + Basel Face Model 2009"
    parts = ("mtcnn", "deep3dfacerecon")
    metres_per_unit = 0.1
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

    def make(self, found: Sequence[FoundFaces]) -> list[list[Made]]:
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
        made = (Made(one, Deep3DFaceRecon) for one in made)
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


def find_witnesses(crop: np.ndarray) -> Witnesses:
    """What MediaPipe's other networks say of a photo's crop, uint8 [H, W, 3]."""
    from external.face_mesh.person import find_hands, person_share

    return Witnesses(person_share(crop), find_hands(crop))


SYSTEMS = {"auto": Head, "head": Head, "face_mesh": FaceMesh, "deep3dfacerecon": Deep3DFaceRecon}


def present(config: Config) -> tuple[Config, str]:
    """The config with what `reconstruct.system: auto` stands for, and why: face_mesh if the set-up could not make the
    head model."""
    if config.reconstruct.system != "auto" or not missing_files("head", config.assets):
        return config, ""
    face = config.changed(reconstruct=config.reconstruct.changed(system="face_mesh"))
    return face, f"; faces instead of heads: the head model is missing ({SETUP_COMMAND})"
