"""Which pixels of the crop show the face itself: no hair, hat, collar, hand or background in front of the mesh.

No parser network comes with the wheels we may use, so this asks what a parser would be asked of skin: does it look like
the skin of this person under this light? The colour of the sure skin (cheeks, nose, chin, between the brows) is fitted
as a function of the surface normal, log colour over the nine second-order spherical harmonics (Ramamoorthi and Hanrahan
2001), and predicted for the whole face. What differs much and is joined to the face's outline is not the face; eyes,
brows, lips and shadows inside the face are never joined to it.
"""

import cv2
import numpy as np
from scipy.spatial import ConvexHull
from skimage.filters import apply_hysteresis_threshold

from external.face_mesh.template import load_template
from renderer.interpolate import interpolate
from renderer.light import fit_light, spherical_harmonics
from renderer.mesh import normalised, vertex_normals
from renderer.rasterize import rasterize

WORKING_PUPIL_DISTANCE = 100.0  # px; the size at which the photo is examined
RIDGE = 0.02  # of the fitted light: it is asked for normals that the sure skin hardly has
BLUR = 1.5  # px there: single hairs and pores are no evidence
SURE, POSSIBLE = 1.6, 1.0  # difference at which a place is foreign by itself, or when joined to such a place
DARKER, DARKER_BELOW, BRIGHTER, HUE = 0.45, 0.9, 0.5, 0.3  # natural log units that make a difference of 1; below: beards
SAFE_COSINE, RIM = 0.7, 0.45  # where the surface is seen more obliquely, the differences above shrink to this share
OWN_COSINE = 0.25  # eyes and nose are the face's own, but where seen more obliquely background shows beside them
USUAL, MOST_LINED = 0.6, 1.3  # nine tenths of most people's skin differ less than this from their own fit; at most
BORDER, FADING = 0.03, 0.09  # of the pupil distance: what is foreign has a soft edge and casts a shadow


def face_mask(crop, reconstruction, pupil_distance):
    """crop: uint8 [H, W, 3] RGB, what the camera sees; pupil_distance in metres of the reconstruction's mesh.
    Returns uint8 [H, W]: 255 where the crop shows the face (outside the mesh too, where nothing is examined), 0 where
    something else is in front of it, rising in between."""
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
    uvs = interpolate(mesh.uvs, mesh.faces, fragments)
    colours = np.log(cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), BLUR) + 0.05)

    skin = inside & _sure_skin(uvs)
    if np.count_nonzero(skin) < 100:
        return np.full(crop.shape[:2], 255, np.uint8)
    light = fit_light(spherical_harmonics(normals[skin]), colours[skin], RIDGE)
    difference = np.where(inside[..., None], colours - spherical_harmonics(normals) @ light, 0)
    brightness = difference.mean(-1)
    hue = np.linalg.norm(difference - brightness[..., None], axis=-1)
    darker = np.where(uvs[..., 1] > 0.5, DARKER, DARKER_BELOW)
    score = np.hypot(np.where(brightness < 0, -brightness / darker, brightness / BRIGHTER), hue / HUE)
    # Towards the silhouette the mesh may lie beside the face: less is needed to call a place background.
    score = score / np.clip(facing / SAFE_COSINE, RIM, 1)
    # Deeply lined or freckled skin differs from itself.
    score = score / np.clip(np.percentile(score[skin], 90) / USUAL, 1.0, MOST_LINED)
    own = _own_features(uvs) & (facing > OWN_COSINE)
    foreign = apply_hysteresis_threshold(np.where(inside & ~own, score, 0), POSSIBLE, SURE)

    _, labels = cv2.connectedComponents(foreign.astype(np.uint8), connectivity=8)
    rim = inside & (cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=0) == 0)
    joined = np.unique(labels[rim & foreign])
    foreign = np.isin(labels, joined[joined > 0])
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


def _within(uvs, points):
    """Where [H, W] bool uvs [H, W, 2] lie in the convex hull of the template's points, or within MARGIN of it."""
    hull = ConvexHull(load_template(0).uvs[list(points)])
    return (uvs @ hull.equations[:, :2].T + hull.equations[:, 2] < MARGIN).all(-1)


def _own_features(uvs):
    """Eyes with brows, nose and mouth: they differ from skin and are the face all the same."""
    return np.any([_within(uvs, points) for points in (RIGHT_EYE_AND_BROW, LEFT_EYE_AND_BROW, MOUTH, NOSE)], axis=0)


def _sure_skin(uvs):
    """The front of the face but for its features; hair, hats and collars never hang there."""
    centre = ((uvs[..., 0] - 0.5) / 0.31) ** 2 + ((uvs[..., 1] - 0.5) / 0.37) ** 2 < 1
    features = [_within(uvs, points) for points in (RIGHT_EYE_AND_BROW, LEFT_EYE_AND_BROW, MOUTH, NOSTRILS)]
    return centre & ~np.any(features, axis=0)
