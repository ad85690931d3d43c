"""A face in its photo, measured in millimetres: where things that are drawn over it lie, and the light on them.

The frame has its origin midway between the eyes, x to the person's left, y up, z out of the face; lengths are in
millimetres on a head with PUPIL_DISTANCE between the eyes. "Fine" images have FINE times the photo's pixels along a
side.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, map_coordinates
from scipy.spatial import cKDTree

from external.geometry import PUPIL_DISTANCE
from pipeline.reconstruction.folder import Reconstruction, ReconstructionError
from pipeline.reconstruction.images import as_float
from pipeline.texture.head_parts import SKIN, face_parts
from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.light import fit_light, spherical_harmonics
from renderer.mesh import normalised, vertex_normals
from renderer.rasterize import Fragments, rasterize

FINE = 2
EYE_DEPTH = 12.0  # mm from the middle of an eyeball to the surface: where only the surface is known
SKULL_CENTRE = np.array([0.0, 20.0, -80.0])
SKULL_RADII = np.array([76.0, 90.0, 98.0])  # where the mesh shows no skull
SKULL_STEP = 5  # degrees between directions of the skull's map
HOLE = 51  # mm, odd: holes of the skin up to this width are closed where things lie on it
GRAIN = 1.0  # mm
RIDGE = 0.05  # of the light fit
FACE_CENTRE, FACE_WIDTH, FACE_HEIGHTS = -30.0, 57.0, (98.0, 78.0)  # mm: y of the oval's middle, half width; up and down
OVAL = 2.5  # its exponent: between an ellipse's 2 and a rectangle's
BACK = -55.0  # z behind which is no face
EYES = (32.0, 17.0, 16.0)  # mm: x of an eye's middle, half width and half height with its lids and lashes
UPPER, BROWS = 10.0, 28.0  # y above which hair often hangs into the face; above the brows
LEAST_PART = 0.03  # of the face: smaller parts are skin between strands of hair
UNLIKE_SKIN = 1.0  # difference from the lit skin, in the units of `skin_difference`
STRAND, STRANDS = 1.2, 0.10  # mm; deviation of the log brightness within it that counts as a difference of 1: hair
HAIR_MARGIN, RIM, FACING = 2.5, 1.5, 0.4  # mm left out around hair and along the outline; least viewing cosine
DARKER, BRIGHTER, HUE = 0.6, 0.5, 0.25  # natural log units that count as a difference of 1


@dataclass(frozen=True)
class FaceFrame:
    """The frame of a reconstruction's face, and what its photo shows of it."""

    reconstruction: Reconstruction
    origin: np.ndarray  # [3] in the head frame of the reconstruction
    scale: float  # millimetres in the mesh's unit

    @classmethod
    def of(cls, reconstruction: Reconstruction) -> "FaceFrame":
        """Raises ReconstructionError where neither the rig nor source.json says where the eyes are."""
        rig, pose = reconstruction.rig, reconstruction.head_to_camera
        if rig is not None and len(rig.eye_names) == 2:
            eyes, depth = rig.eye_centres.astype(np.float64), 0.0
        else:
            points = np.asarray(reconstruction.source.get("points", ()), np.float64)
            if points.shape != (5, 2):
                raise ReconstructionError(
                    "nothing says where the eyes are: a rig with eyes, or points in source.json, is needed"
                )
            eyes, depth = _on_surface(reconstruction, points[:2]), EYE_DEPTH
            eyes = (eyes - pose[:3, 3]) @ pose[:3, :3]
        scale = 1000 * PUPIL_DISTANCE / max(float(np.linalg.norm(eyes[0] - eyes[1])), 1e-9)
        return cls(reconstruction, eyes.mean(0) - (0, 0, depth / scale), scale)

    # ---- places ------------------------------------------------------------------------------------------------------

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3] from this frame's axes to the camera's."""
        return self.reconstruction.head_to_camera[:3, :3]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] mm in camera space, in the mesh's unit."""
        return (np.asarray(points) / self.scale + self.origin) @ self.rotation.T + self.reconstruction.head_to_camera[
            :3, 3
        ]

    def from_camera(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] mm of points in camera space."""
        return ((points - self.reconstruction.head_to_camera[:3, 3]) @ self.rotation - self.origin) * self.scale

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] mm in the fine image: x, y in its pixels and the depth of the camera in mm, [..., 3]."""
        points = np.asarray(points, np.float64)
        flat = self.to_camera(points.reshape(-1, 3))
        return np.concatenate([self.fine_camera.project(flat), flat[:, 2:] * self.scale], 1).reshape(points.shape)

    @property
    def pixels_per_mm(self) -> float:
        """Pixels of the fine image along a millimetre at the eyes."""
        return self.fine_camera.fx / (self.to_camera(np.zeros(3))[2] * self.scale)

    @cached_property
    def viewer(self) -> np.ndarray:
        """Direction [3] from the face to the camera."""
        return normalised(-self.to_camera(np.zeros(3)) @ self.rotation)

    @cached_property
    def vertices(self) -> np.ndarray:
        """The mesh's vertices [V, 3] mm, as in the photo."""
        return self.from_camera(self.reconstruction.mesh.vertices)

    @cached_property
    def skin_faces(self) -> np.ndarray:
        """[F] bool: triangles of skin; all where the mesh has no parts."""
        rig, mesh = self.reconstruction.rig, self.reconstruction.mesh
        if rig is None or SKIN not in rig.part_names.tolist():
            return np.ones(len(mesh.faces), bool)
        return face_parts(rig, mesh) == rig.part_names.tolist().index(SKIN)

    # ---- the skull, as distances from its middle ---------------------------------------------------------------------

    @cached_property
    def _skull(self) -> np.ndarray:
        """Distances [elevations, sides] mm from SKULL_CENTRE to the head's surface; -90..270, -90..90 degrees."""
        elevations, sides = np.arange(-90, 271, SKULL_STEP), np.arange(-90, 91, SKULL_STEP)
        wanted = direction(*np.meshgrid(elevations, sides, indexing="ij")).reshape(-1, 3)
        points = self.vertices[np.unique(self.reconstruction.mesh.faces[self.skin_faces])] - SKULL_CENTRE
        distances = np.linalg.norm(points, axis=1)
        angles, near = cKDTree(points / distances[:, None]).query(wanted, k=4)
        usual = 1 / np.linalg.norm(wanted / SKULL_RADII, axis=1)
        known = angles[:, 0] < np.radians(1.5 * SKULL_STEP)
        found = np.where(known, np.median(distances[near], axis=1), usual).reshape(len(elevations), len(sides))
        return cv2.GaussianBlur(found, (0, 0), 1.2)

    def skull(self, elevation: np.ndarray, side: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Points [..., 3] mm, `lift` mm above the head's surface, in these directions (`direction`) from its middle."""
        elevation, side = np.broadcast_arrays(elevation, side)
        places = np.stack([(elevation + 90) / SKULL_STEP, (side + 90) / SKULL_STEP])
        distance = map_coordinates(self._skull, places, order=1, mode="nearest") + lift
        return SKULL_CENTRE + direction(elevation, side) * distance[..., None]

    @cached_property
    def _front(self) -> np.ndarray:
        """z [241, 161] mm of the face seen from the front, y from 100 to -140, x from -80 to 80; steps of 1 mm."""
        camera = Camera(161, 241, 1e6, 1e6, 80.5, 100.5)
        vertices = self.vertices * (1, -1, -1) + (0, 0, 1e6)
        depth = rasterize((vertices, self.reconstruction.mesh.faces[self.skin_faces]), camera).depth
        known = np.isfinite(depth)
        _, labels = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        values = np.zeros(labels.max() + 1)
        values[labels[known]] = 1e6 - depth[known]
        # An open mouth and the eyes are holes of the skin, through which the back of the head would count.
        whole = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (HOLE, HOLE))
        return cv2.GaussianBlur(cv2.morphologyEx(values[labels], cv2.MORPH_CLOSE, whole), (0, 0), 2.0)

    def surface(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """z mm of the face's foremost surface at x, y mm."""
        columns, rows = np.broadcast_arrays(np.asarray(x) + 80, 100 - np.asarray(y))
        places = np.stack([rows.ravel(), columns.ravel()])
        return map_coordinates(self._front, places, order=1, mode="nearest").reshape(rows.shape)

    # ---- the photo ---------------------------------------------------------------------------------------------------

    @cached_property
    def fine_camera(self) -> Camera:
        camera = self.reconstruction.camera
        return camera.resized(FINE * camera.width, FINE * camera.height)

    @cached_property
    def fine_depth(self) -> np.ndarray:
        """Depth [FINE H, FINE W] mm of the mesh in the fine image, inf without it."""
        return rasterize(self.reconstruction.mesh, self.fine_camera).depth * self.scale

    @cached_property
    def photo(self) -> np.ndarray:
        """[H, W, 3] float32, 0..1."""
        return as_float(self.reconstruction.photo)

    @cached_property
    def _fragments(self) -> Fragments:
        return rasterize(self.reconstruction.mesh, self.reconstruction.camera)

    @cached_property
    def inside(self) -> np.ndarray:
        """[H, W] bool, pixels that the mesh covers."""
        return self._fragments.face_ids >= 0

    @cached_property
    def positions(self) -> np.ndarray:
        """Points [H, W, 3] mm of the mesh's surface at the pixels; 0 outside."""
        return interpolate(self.vertices, self.reconstruction.mesh.faces, self._fragments)

    @cached_property
    def normals(self) -> np.ndarray:
        """Normals [H, W, 3] towards the camera, in this frame's axes, at the pixels that the mesh covers."""
        mesh = self.reconstruction.mesh
        normals = normalised(interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, self._fragments))
        normals = normals @ self.rotation
        return normals * np.where((normals @ self.viewer)[..., None] < 0, -1, 1)

    @cached_property
    def face(self) -> np.ndarray:
        """[H, W] bool: pixels of the face without ears, neck and scalp."""
        x, y, z = np.moveaxis(self.positions, -1, 0)
        height = np.where(y > FACE_CENTRE, *FACE_HEIGHTS)
        oval = np.abs(x / FACE_WIDTH) ** OVAL + np.abs((y - FACE_CENTRE) / height) ** OVAL < 1
        return self.inside & oval & (z > BACK)

    @cached_property
    def light(self) -> np.ndarray:
        """[9, 3]: coefficients of the log of the skin's colour under the photo's light (`renderer.light`)."""
        x, y, _ = np.moveaxis(self.positions, -1, 0)
        eyes = (np.abs(np.abs(x) - EYES[0]) < EYES[1] + 4) & (np.abs(y) < EYES[2] + 12)
        mouth = (np.abs(x) < 30) & (y < -55) & (y > -90)
        skin = self.face & ~eyes & ~mouth & (y < 40) & (self.normals @ self.viewer > 0.4)
        colours = np.log(cv2.GaussianBlur(self.photo, (0, 0), max(0.4 * self.pixels_per_mm / FINE, 0.5)) + 0.05)
        return fit_light(spherical_harmonics(self.normals[skin])[::5], colours[skin][::5], RIDGE)

    @cached_property
    def skin_colour(self) -> np.ndarray:
        """[3], 0..1: the skin as it is lit from the front."""
        return np.clip(np.exp(spherical_harmonics(self.viewer) @ self.light) - 0.05, 0.02, 0.98)

    def lit_skin(self, normals: np.ndarray) -> np.ndarray:
        """Colours [..., 3] of this person's skin with these normals [..., 3] under the photo's light."""
        return np.clip(self.skin_colour * self.shading(normals, 1.0), 0, 1)

    def shading(self, normals: np.ndarray, coloured: float = 0.5) -> np.ndarray:
        """Factors [..., 3] of a surface's brightness, 1 facing the camera. coloured: share of the light's hue."""
        log = spherical_harmonics(normals) @ self.light - spherical_harmonics(self.viewer) @ self.light
        grey = log.mean(-1, keepdims=True)
        return np.exp(np.clip(grey + coloured * (log - grey), -1.3, 0.35))

    @cached_property
    def light_direction(self) -> np.ndarray:
        """[3], length 1, towards most of the light; at least in part from the camera's side."""
        linear = self.light.mean(1)[[3, 1, 2]]
        return normalised(linear / max(np.linalg.norm(linear), 1e-6) + 0.9 * self.viewer + np.array([0, 0.35, 0]))

    @cached_property
    def exposure(self) -> np.ndarray:
        """[3]: colour of a white surface in the photo, roughly."""
        bright = np.percentile(self.photo.reshape(-1, 3)[::7], 93, axis=0)
        bright = 0.6 * bright.mean() + 0.4 * bright
        return np.clip(bright / 0.85, 0.5, 1.1)

    @cached_property
    def skin_difference(self) -> np.ndarray:
        """How far each pixel's colour [H, W] is from the person's lit skin; 1: clearly different; 9: no mesh."""
        blurred = cv2.GaussianBlur(self.photo, (0, 0), max(0.5 * self.pixels_per_mm / FINE, 0.5))
        log = np.log(blurred + 0.05) - spherical_harmonics(self.normals) @ self.light
        brightness = log.mean(-1)
        hue = np.linalg.norm(log - brightness[..., None], axis=-1)
        score = np.hypot(np.where(brightness < 0, -brightness / DARKER, brightness / BRIGHTER), hue / HUE)
        return np.where(self.inside, score, 9.0)

    @cached_property
    def skin_grain(self) -> float:
        """Relative deviation of the skin's brightness within GRAIN mm: pores, fine lines and make-up."""
        unit = self.pixels_per_mm / FINE
        log = np.log(self.photo.mean(-1) + 0.05)
        detail = cv2.GaussianBlur(log, (0, 0), max(0.15 * unit, 0.5)) - cv2.GaussianBlur(log, (0, 0), GRAIN * unit)
        return float(np.clip(np.median(np.abs(detail[self.surely_skin])) / 0.6745, 0.003, 0.08))

    @cached_property
    def surely_skin(self) -> np.ndarray:
        """[H, W] bool: pixels that show the face itself, with eyes, brows, lips and beard, whatever a mask says.

        The face but for what hangs into it from above: pixels of its upper part that are unlike skin and connected with
        its border.
        """
        unit = self.pixels_per_mm / FINE
        log = np.log(cv2.GaussianBlur(self.photo.mean(-1), (0, 0), max(0.2 * unit, 0.5)) + 0.05)
        blurred = lambda image: cv2.GaussianBlur(image, (0, 0), STRAND * unit)
        strands = blurred(np.sqrt(blurred((log - blurred(log)) ** 2))) / STRANDS
        strands = np.where(self.positions[..., 1] > BROWS, strands, 0)
        unlike = np.hypot(self.skin_difference, strands) > UNLIKE_SKIN
        unlike = (self.face & (self.positions[..., 1] > UPPER) & unlike).astype(np.uint8)
        _, labels = cv2.connectedComponents(unlike, connectivity=4)
        rim = self.face & (cv2.erode(self.face.astype(np.uint8), np.ones((5, 5)), borderValue=0) == 0)
        hair = np.isin(labels, np.setdiff1d(labels[rim], 0)).astype(np.uint8)
        disc = lambda mm: cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(mm * unit) + 1,) * 2)
        hair = cv2.dilate(hair, disc(HAIR_MARGIN))
        # Eyes, mouth and nostrils are enclosed by what faces the camera; the outline is not.
        facing = binary_fill_holes(self.inside & (self.normals @ self.viewer > FACING)).astype(np.uint8)
        facing = cv2.erode(facing, disc(RIM), borderValue=0)
        free = (self.face & (facing > 0) & (hair == 0)).astype(np.uint8)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
        large = statistics[:, cv2.CC_STAT_AREA] > LEAST_PART * max(np.count_nonzero(free), 1)
        large[0] = False
        return large[labels]


def direction(elevation: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Unit vectors [..., 3]. elevation: degrees from the front over the top (90) to the back (180).

    side: degrees to the person's left.
    """
    e, s = np.radians(elevation), np.radians(side)
    return np.stack(np.broadcast_arrays(np.sin(s), np.cos(s) * np.sin(e), np.cos(s) * np.cos(e)), axis=-1)


def _on_surface(reconstruction: Reconstruction, pixels: np.ndarray) -> np.ndarray:
    """Points [N, 3] in camera space, at the depth that the mesh has nearest to pixels [N, 2]."""
    camera = reconstruction.camera
    depth = rasterize(reconstruction.mesh, camera).depth
    rows, columns = np.nonzero(np.isfinite(depth))
    if not len(rows):
        raise ReconstructionError("the mesh covers no pixel of the photo: check mesh and camera")
    _, near = cKDTree(np.stack([columns + 0.5, rows + 0.5], 1)).query(pixels)
    z = depth[rows[near], columns[near]].astype(np.float64)
    return np.stack([(pixels[:, 0] - camera.cx) / camera.fx * z, (pixels[:, 1] - camera.cy) / camera.fy * z, z], 1)
