"""Finds the pixels of the crop that show the face itself, not hair, hat, collar, hand or background over the mesh.

None of the packages in use contains a face parsing network, so this compares each pixel with the person's skin under
the photo's light. The colour of reliable skin (cheeks, nose, chin, between the brows) is fitted as a function of the
surface normal: log colour over the nine second-order spherical harmonics (Ramamoorthi and Hanrahan 2001). The fit
predicts the colour of the whole face. Regions that differ strongly and are connected to the face's outline are not the
face. Eyes, brows, lips and shadows inside the face are not connected to the outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import ConvexHull
from skimage.filters import apply_hysteresis_threshold

from external.face_mesh.template import load_template
from external.geometry import FaceGeometry
from renderer.interpolate import interpolate
from renderer.light import fit_light, spherical_harmonics
from renderer.mesh import normalised, vertex_normals
from renderer.rasterize import rasterize

WORKING_PUPIL_DISTANCE = 100.0  # px; the photo is resized to this scale
RIDGE = 0.02  # of the light fit, which extrapolates to normals that are rare in the reliable skin
BLUR = 1.5  # px at this scale: removes single hairs and pores
CERTAIN, POSSIBLE = 1.6, 1.0  # hysteresis thresholds of the difference from skin
# Natural log units that count as a difference of 1; DARKER_BELOW: in the lower half of the face, because of beards.
DARKER, DARKER_BELOW, BRIGHTER, HUE = 0.45, 0.9, 0.5, 0.3
SAFE_COSINE, RIM = 0.7, 0.45  # at smaller viewing cosines the thresholds shrink, at most to the share RIM
OWN_COSINE = 0.25  # of the viewing angle: at smaller cosines background may show beside eyes, nose and mouth
USUAL, MOST_LINED = 0.6, 1.3  # usual 90th percentile of the skin's difference from its own fit; largest correction
BORDER, FADING = 0.03, 0.09  # of the pupil distance: margin around foreign regions and width of the mask's soft edge


def face_mask(
    crop: np.ndarray, reconstruction: FaceGeometry, pupil_distance: float, point_uvs: np.ndarray | None = None
) -> np.ndarray:
    """Mask of the face in the crop, uint8 [H, W].

    crop: uint8 [H, W, 3], RGB, the camera's image. pupil_distance: in the unit of the reconstruction's mesh.
    point_uvs: where Face Mesh's points lie in the mesh's UV layout, [468, 2]; None: the mesh is the template.
    The mask is 255 where the crop shows the face, 0 where something else is in front of the face, with values in
    between at borders. Pixels outside the mesh are not examined and are 255.
    """
    camera, mesh = reconstruction.camera, reconstruction.mesh
    distance = np.median(mesh.vertices[:, 2])
    scale = WORKING_PUPIL_DISTANCE / (camera.fx * pupil_distance / distance)
    size = max(round(camera.width * scale), 8), max(round(camera.height * scale), 8)
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    fragments = rasterize(mesh, camera.resized(*size))
    inside = fragments.face_ids >= 0
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, fragments)
    rays = normalised(interpolate(mesh.vertices, mesh.faces, fragments))
    facing = np.abs((normals * rays).sum(-1))
    normals = normals @ reconstruction.head_to_camera[:3, :3]
    uvs = interpolate(mesh.uvs, mesh.uv_faces, fragments)
    layout = _Layout.of(load_template(0).uvs if point_uvs is None else point_uvs)
    colours = np.log(cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), BLUR) + 0.05)

    skin = inside & layout.reliable_skin(uvs)
    if np.count_nonzero(skin) < 100:
        return np.full(crop.shape[:2], 255, np.uint8)
    light = fit_light(spherical_harmonics(normals[skin]), colours[skin], RIDGE)
    difference = np.where(inside[..., None], colours - spherical_harmonics(normals) @ light, 0)
    brightness = difference.mean(-1)
    hue = np.linalg.norm(difference - brightness[..., None], axis=-1)
    darker = np.where(uvs[..., 1] > layout.centre[1], DARKER, DARKER_BELOW)
    score = np.hypot(np.where(brightness < 0, -brightness / darker, brightness / BRIGHTER), hue / HUE)
    # Near the silhouette the mesh may extend beyond the face, so a smaller difference counts as background.
    score = score / np.clip(facing / SAFE_COSINE, RIM, 1)
    # Deeply lined or freckled skin varies more, which raises the thresholds.
    score = score / np.clip(np.percentile(score[skin], 90) / USUAL, 1.0, MOST_LINED)
    own = layout.own_features(uvs) & (facing > OWN_COSINE)
    foreign = apply_hysteresis_threshold(np.where(inside & ~own, score, 0), POSSIBLE, CERTAIN)

    _, labels = cv2.connectedComponents(foreign.astype(np.uint8), connectivity=8)
    rim = inside & (cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=0) == 0)
    connected = np.unique(labels[rim & foreign])
    foreign = np.isin(labels, connected[connected > 0])
    distance = cv2.distanceTransform((~foreign).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    mask = 255 * np.clip((distance / WORKING_PUPIL_DISTANCE - BORDER) / FADING, 0, 1).astype(np.float32)
    if not foreign.any():
        mask[:] = 255
    mask = cv2.resize(mask, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.round(mask), 0, 255).astype(np.uint8)


# Face Mesh points that border a feature, and the margin around them in the UV layout.
RIGHT_EYE_AND_BROW = (33, 133, 145, 159, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_EYE_AND_BROW = (263, 362, 374, 386, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
MOUTH, NOSTRILS, NOSE = (61, 291, 0, 17), (98, 327, 2), (98, 327, 6)
MARGIN = 0.02


@dataclass(frozen=True)
class _Layout:
    """Parts of the face in a UV layout, by the Face Mesh points around them. Methods take [H, W, 2], give bool [H, W]."""

    point_uvs: np.ndarray  # [468, 2]
    centre: np.ndarray  # [2], of the face
    extent: np.ndarray  # [2], relative to the template's

    @classmethod
    def of(cls, point_uvs: np.ndarray) -> "_Layout":
        template = load_template(0).uvs
        extent = np.ptp(point_uvs, axis=0) / np.ptp(template, axis=0)
        return cls(point_uvs, (0.5 - template.min(0)) * extent + point_uvs.min(0), extent)

    def own_features(self, uvs: np.ndarray) -> np.ndarray:
        """Eyes with brows, nose and mouth, which differ from skin but belong to the face."""
        return np.any([self._within(uvs, points) for points in (RIGHT_EYE_AND_BROW, LEFT_EYE_AND_BROW, MOUTH, NOSE)], axis=0)

    def reliable_skin(self, uvs: np.ndarray) -> np.ndarray:
        """The front of the face without its features, where hair, hats and collars are rare."""
        across, up = np.moveaxis((uvs - self.centre) / self.extent, -1, 0)
        features = [self._within(uvs, points) for points in (RIGHT_EYE_AND_BROW, LEFT_EYE_AND_BROW, MOUTH, NOSTRILS)]
        return ((across / 0.31) ** 2 + (up / 0.37) ** 2 < 1) & ~np.any(features, axis=0)

    def _within(self, uvs: np.ndarray, points: tuple[int, ...]) -> np.ndarray:
        """Whether uvs lie in the convex hull of points, or within MARGIN of it."""
        hull = ConvexHull(self.point_uvs[list(points)])
        return (uvs @ hull.equations[:, :2].T + hull.equations[:, 2] < MARGIN * self.extent.min()).all(-1)
