"""Which part of a head a texel belongs to, where it lies on the head at rest, and how the parts are completed.

For reconstructions with a rig (docs/contract.md) whose parts have the names below. The skin is completed like any face
(completion.py), by itself. Eye sockets and the mouth take the colour of the skin at their rim and darken inwards;
teeth and tongue get plain colours. The texture is symmetric along the seam down the back of the head, so that the seam
does not show.
"""

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from scipy.spatial import cKDTree
from skimage.filters import apply_hysteresis_threshold

from external.geometry import PUPIL_DISTANCE
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.rig import Rig
from renderer.dilate import dilate, nearest
from renderer.interpolate import interpolate
from renderer.light import fit_light, spherical_harmonics
from renderer.mesh import Mesh
from renderer.rasterize import Fragments, rasterize_uv

SKIN, MOUTH, TONGUE = "skin", "mouth", "tongue"
SOCKETS = {"left": "eye_socket_left", "right": "eye_socket_right"}
TEETH = ("upper_teeth", "lower_teeth")
COARSE = 4  # work on broad regions is done in a texture this many times smaller: a share of it, whatever its size

# Lengths are in millimetres on a head with PUPIL_DISTANCE between the eyes, whose midpoint is the origin.
SEAM_WIDTH = 100.0  # from the seam, within which the texture becomes symmetric
FRONT = -60.0  # z in front of which texels are counted for the density
FRONT_TOP = 55.0  # y

# Skin: where a collar, hair or background is looked for, and how it differs from the person's skin.
FOREHEAD, CHIN, SIDES = 40.0, -105.0, -35.0  # y, y, z: bounds of the face, in which the reconstruction's mask decides,
FACE_CENTRE, FACE_RADII = -32.0, (56.0, 74.0)  # y; x, y: within this ellipse
BROWS = (58.0, 32.0)  # x, y: and up to the ends of the brows
SKIN_RIDGE, SKIN_BLUR = 0.1, 1.25  # of the light fit; mm
DARKER, BRIGHTER, HUE = 0.6, 0.5, 0.2  # natural log units that count as a difference of 1
STRANDS, STRAND_WIDTH = 0.09, 2.5  # deviation of the log brightness within mm that counts as a difference of 1: hair
SCALP_FACTOR = 1.3  # of differences above the forehead, where hair is likely
LEAST_FILL = 1e-5  # weight of the least skin-like texels in smooth fills
EAR_FILL = 2e-3  # factor of it on ears, redder than what is around: their colour fades within a few millimetres
CERTAIN, POSSIBLE = 1.4, 0.9  # hysteresis thresholds
OPENING = 7.0  # strands and gaps narrower than this are no skin
FOREIGN_MARGIN = 3.0
# Ears: folds and shadows are usual there, and hair may part them from the face.
EAR_SIDE, EAR_HEIGHTS, EAR_FACTOR, EAR_AREA = 66.0, (-70.0, 22.0), 0.6, 300.0  # x; y; of differences; least square mm

# Bags behind lids and lips: {part: (depth over which they darken, factor of the rim's colour there)}
BAGS = {
    SOCKETS["left"]: (3.0, (0.55, 0.42, 0.40)),
    SOCKETS["right"]: (3.0, (0.55, 0.42, 0.40)),
    MOUTH: (9.0, (0.30, 0.14, 0.13)),
}
RIM_NEIGHBOURS = 6
SKIN_BRIGHTNESS = 0.62  # of well lit skin


@dataclass(frozen=True)
class HeadTexels:
    """The texels of a head's texture, H x W, and the rig that they come from."""

    rig: Rig
    mesh: Mesh
    part: np.ndarray  # [H, W] int8, index into the rig's part_names; -1 outside the islands
    fragments: Fragments = field(repr=False)  # of the layout
    symmetric: bool  # the layout is symmetric about u = 0.5

    @cached_property
    def origin(self) -> np.ndarray:
        """Midpoint [3] between the eyes, head frame; the frame's origin without eyes."""
        return self.rig.eye_centres.astype(np.float64).mean(0) if len(self.rig.eye_names) == 2 else np.zeros(3)

    @cached_property
    def scale(self) -> float:
        """Millimetres in the rig's unit of length, on a head with PUPIL_DISTANCE between the eyes."""
        if len(self.rig.eye_names) != 2:
            return 1000.0
        return 1000 * PUPIL_DISTANCE / max(float(np.linalg.norm(np.subtract(*self.rig.eye_centres))), 1e-9)

    @cached_property
    def at_rest(self) -> np.ndarray:
        """Vertices [V, 3] float32 at rest, mm from the origin."""
        return ((self.rig.neutral - self.origin) * self.scale).astype(np.float32)

    @cached_property
    def texels_per_mm(self) -> float:
        """Texels along a millimetre of the face: median over its area in the texture."""
        faces = np.flatnonzero(self._face_parts == self._number(SKIN))
        corners, uvs = self.at_rest[self.mesh.faces[faces]], self.mesh.uvs[self.mesh.uv_faces[faces]]
        front = corners[..., 2].mean(1) > FRONT
        corners, uvs = (corners[front], uvs[front]) if front.any() else (corners, uvs)
        sides = corners[:, 1:] - corners[:, :1]
        surface = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)
        flat = (uvs[:, 1:] - uvs[:, :1]) * self.part.shape[::-1]
        texels = np.abs(flat[:, 0, 0] * flat[:, 1, 1] - flat[:, 0, 1] * flat[:, 1, 0])
        order = np.argsort(density := texels / np.maximum(surface, 1e-12))
        middle = np.searchsorted(np.cumsum(texels[order]), texels.sum() / 2)
        return float(np.sqrt(density[order[min(middle, len(order) - 1)]]))

    @property
    def _face_parts(self) -> np.ndarray:
        return face_parts(self.rig, self.mesh)

    def _number(self, name: str) -> int:
        names = self.rig.part_names.tolist()
        return names.index(name) if name in names else -2

    def of(self, *names: str) -> np.ndarray:
        """Texels [H, W] bool of parts; none of a part that the rig does not have."""
        return np.isin(self.part, [self._number(name) for name in names])

    def eye(self, name: str) -> np.ndarray:
        """Texels [H, W] bool of the left or right eyeball."""
        return self.part == self.rig.eye_parts[self.rig.eye_names.tolist().index(name)]

    def positions(self, where: np.ndarray) -> np.ndarray:
        """Points [N, 3] float32 at rest, mm, of the texels of an area [H, W] bool inside the islands."""
        corners = self.mesh.faces[self.fragments.face_ids[where]]
        return np.einsum("nkc,nk->nc", self.at_rest[corners], self.fragments.barycentrics[where])

    @cached_property
    def coarse_fragments(self) -> Fragments:
        """Of the layout of the texture COARSE times smaller."""
        size = [max(side // COARSE, 1) for side in self.part.shape]
        return rasterize_uv(self.mesh.uvs, self.mesh.uv_faces, *size)

    @cached_property
    def coarse(self) -> tuple[np.ndarray, np.ndarray]:
        """Skin [h, w] bool and points [h, w, 3] float32 at rest, mm, of the texture COARSE times smaller."""
        fragments = self.coarse_fragments
        covered = fragments.face_ids >= 0
        skin = covered & (self._face_parts[fragments.face_ids] == self._number(SKIN))
        return skin, interpolate(self.at_rest, self.mesh.faces, fragments)

    @property
    def front(self) -> np.ndarray:
        """Texels [H, W] bool of the front of the head, from the forehead to the throat and nearly to the ears."""
        skin, points = self.coarse
        front = skin & (points[..., 2] > FRONT) & (points[..., 1] < FRONT_TOP)
        return cv2.resize(front.astype(np.uint8), self.part.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0

    @cached_property
    def seam_weight(self) -> np.ndarray:
        """How far the texture is to be symmetric [H, W] float32: 1 at the seam, 0 from SEAM_WIDTH on; outside too."""
        skin, points = self.coarse
        ends = seam_points(self.mesh, self.at_rest, self._face_parts == self._number(SKIN)) if self.symmetric else []
        if not len(ends) or not skin.any():
            return np.zeros(self.part.shape, np.float32)
        distance = np.full(skin.shape, np.inf, np.float32)
        distance[skin] = cKDTree(ends).query(points[skin], distance_upper_bound=SEAM_WIDTH)[0]
        rising = np.clip(2 - 2 * distance / SEAM_WIDTH, 0, 1)  # 1 up to half of the width, which coarse mip levels reach
        weight = rising * rising * (3 - 2 * rising)
        if not skin.all():
            weight = nearest(weight[..., None], skin)[0][..., 0]
        weight = cv2.resize(weight.astype(np.float32), self.part.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return np.maximum(weight, weight[:, ::-1])

    def without_seam(self, texture: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The texture [H, W, 3], symmetric at the seam but for seen [H, W], 0..1, texels."""
        weight = self.seam_weight * (1 - np.maximum(seen, seen[:, ::-1]))
        rows = np.flatnonzero(weight.any(1))
        if not len(rows):
            return texture
        rows = slice(rows[0], rows[-1] + 1)
        result, here = texture.copy(), texture[rows]
        result[rows] = here + 0.5 * weight[rows][..., None] * (here[:, ::-1] - here)
        return result

    def extended(self, texture: np.ndarray) -> np.ndarray:
        """Colours [H, W, 3] with those outside the islands: near an island its own, further away the skin's."""
        inside = self.part >= 0
        extended = dilate(texture, inside, self.of(SKIN).astype(np.float32))
        # Coarse mip levels blend the seam's sides with what lies outside.
        return self.without_seam(extended, inside.astype(np.float32)) if self.symmetric else extended


def head_texels(reconstruction: Reconstruction, height: int, width: int) -> HeadTexels | None:
    """The parts of the texels; None without a rig that has skin."""
    rig, mesh = reconstruction.rig, reconstruction.mesh
    if rig is None or SKIN not in rig.part_names.tolist():
        return None
    fragments = rasterize_uv(mesh.uvs, mesh.uv_faces, height, width)
    part = np.append(face_parts(rig, mesh), -1)[fragments.face_ids].astype(np.int8)
    return HeadTexels(rig, mesh, part, fragments, reconstruction.symmetric)


def face_parts(rig: Rig, mesh: Mesh) -> np.ndarray:
    """Part [F] of each face: that of its corners."""
    return rig.vertex_parts[mesh.faces].max(axis=1)


def seam_points(mesh: Mesh, vertices: np.ndarray, of_skin: np.ndarray) -> np.ndarray:
    """Points [N, 3] along the edges where the skin's island is cut into two mirror images. of_skin: [F] bool.

    vertices: [V, 3]. Every edge gives its ends and three points between.
    """
    faces, uv_faces = mesh.faces[of_skin], mesh.uv_faces[of_skin]
    pairs = np.concatenate([np.stack([faces[:, [k, k - 1]], uv_faces[:, [k, k - 1]]], 2) for k in range(3)])
    order = np.argsort(pairs[..., 0], axis=1)[..., None]
    pairs = np.take_along_axis(pairs, order, axis=1)  # [E, 2 ends, vertex and uv]
    pairs = pairs[np.lexsort(pairs[..., 0].T)]
    first, second = pairs[:-1], pairs[1:]
    same = (first[..., 0] == second[..., 0]).all(1) & (first[..., 1] != second[..., 1]).any(1)
    first, second = first[same], second[same]
    mirrored = mesh.uvs[second[..., 1]] * (-1, 1) + (1, 0)
    cut = first[np.abs(mesh.uvs[first[..., 1]] - mirrored).max(axis=(1, 2)) < 1e-3][..., 0]
    shares = np.linspace(0, 1, 5)[:, None, None]
    return (vertices[cut[:, 0]] * (1 - shares) + vertices[cut[:, 1]] * shares).reshape(-1, 3)


def _face_and_cheeks(head: HeadTexels) -> tuple[np.ndarray, np.ndarray]:
    """Coarse texels [h, w] bool of the face, and those of them that tell the light on its skin."""
    x, y, z = np.moveaxis(head.coarse[1], -1, 0)
    face = (y < FOREHEAD) & (y > CHIN - 0.4 * z) & (z > SIDES)
    oval = (x / FACE_RADII[0]) ** 2 + ((y - FACE_CENTRE) / FACE_RADII[1]) ** 2 < 1
    face &= oval | ((np.abs(x) < BROWS[0]) & (np.abs(y) < BROWS[1]))
    cheeks = face & (np.abs(x) < 60) & (((y < -25) & (y > -60) & (np.abs(x) > 22)) | ((y > 28) & (np.abs(x) < 40)))
    return face, cheeks


def skin_difference(
    head: HeadTexels, sampled: np.ndarray, seen: np.ndarray, normals: np.ndarray
) -> np.ndarray | None:
    """How much the coarse texels [h, w] differ from the skin of the cheeks under the same light; None: these are hidden.

    Arguments as of `not_skin`.
    """
    skin, _ = head.coarse
    small = lambda image: cv2.resize(image, skin.shape[::-1], interpolation=cv2.INTER_AREA)
    shown = skin & (small(seen) > 0.5)
    cheeks = shown & _face_and_cheeks(head)[1]
    if cheeks.sum() < 50:
        return None
    weights = shown.astype(np.float32)
    unit = head.texels_per_mm / COARSE
    skin_blur = max(SKIN_BLUR * unit, 0.3)  # OpenCV takes no Gaussian of width 0
    blurred = cv2.GaussianBlur(small(sampled) * weights[..., None], (0, 0), skin_blur)
    blurred /= np.maximum(cv2.GaussianBlur(weights, (0, 0), skin_blur), 1e-3)[..., None]
    colours, basis = np.log(blurred + 0.05), spherical_harmonics(small(normals))
    light = fit_light(basis[cheeks], colours[cheeks], SKIN_RIDGE)
    difference = colours - basis @ light
    brightness = difference.mean(-1)
    hue = np.linalg.norm(difference - brightness[..., None], axis=-1)
    score = np.hypot(np.where(brightness < 0, -brightness / DARKER, brightness / BRIGHTER), hue / HUE)
    return np.hypot(score, _deviation(np.log(small(sampled).mean(-1) + 0.05), weights, STRAND_WIDTH * unit) / STRANDS)


def not_skin(
    head: HeadTexels, sampled: np.ndarray, seen: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of hair, collar or background in the texels of scalp, sides and neck, and how much like skin each texel is.

    Both [H, W] float32, 0..1.

    sampled: the photo in the texture [H, W, 3], 0..1. seen: [H, W], 0..1. normals: [H, W, 3], outward, head frame.
    The reconstruction's mask decides within the face; around it, where hair and collars are common, a texel counts only
    if its colour is that of the face's skin under the same light, and if it is connected with the face.
    """
    skin, points = head.coarse
    small = lambda image: cv2.resize(image, skin.shape[::-1], interpolation=cv2.INTER_AREA)
    shown, (face, cheeks) = skin & (small(seen) > 0.5), _face_and_cheeks(head)
    score = skin_difference(head, sampled, seen, normals)
    if score is None:
        return np.zeros(head.part.shape, np.float32), np.ones(head.part.shape, np.float32)
    x, y, z = np.moveaxis(points, -1, 0)
    cheeks = shown & cheeks
    unit = head.texels_per_mm / COARSE
    likeness = np.maximum(np.exp(-(score**2)), LEAST_FILL).astype(np.float32)
    ears = skin & (np.abs(x) > EAR_SIDE) & (y > EAR_HEIGHTS[0]) & (y < EAR_HEIGHTS[1]) & (z < SIDES)
    score = np.where(y > FOREHEAD, SCALP_FACTOR * score, np.where(ears, EAR_FACTOR * score, score))
    likeness[ears] *= EAR_FILL
    foreign = apply_hysteresis_threshold(np.where(shown & ~face, score, 0), POSSIBLE, CERTAIN)
    # Skin is connected with the face by more than a strand.
    own = cv2.erode((shown & ~foreign).astype(np.uint8), disc(OPENING * unit / 2))
    _, labels = cv2.connectedComponents(own, connectivity=4)
    count = np.bincount(labels[cheeks & (own > 0)], minlength=1)
    count[:1] = 0
    largest = np.isin(labels, np.flatnonzero(count > 0.05 * count.sum())) & (own > 0)
    reached = cv2.dilate(largest.astype(np.uint8), disc(OPENING * unit / 2 + 1)) > 0
    _, labels = cv2.connectedComponents((ears & shown & ~foreign).astype(np.uint8), connectivity=4)
    count = np.bincount(labels.ravel())
    count[0] = 0
    reached |= np.isin(labels, np.flatnonzero(count > EAR_AREA * unit**2))
    foreign = skin & ~face & (foreign | ~reached)
    away = cv2.distanceTransform((~foreign).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip(1.5 - away / max(FOREIGN_MARGIN * unit, 1e-6), 0, 1).astype(np.float32)
    large = lambda image: cv2.resize(image, head.part.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return large(share), large(likeness)


def _deviation(values: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """Standard deviation [h, w] of values [h, w] within a Gaussian window, by weights [h, w]."""
    blurred = lambda image: cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    total = np.maximum(blurred(weights), 1e-3)
    mean = blurred(values * weights) / total
    return np.sqrt(np.maximum(blurred(weights * (values - mean) ** 2) / total, 0))


def fill_bags(head: HeadTexels, texture: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The texture [H, W, 3] with sockets and the inside of the mouth, and the colour [3] of the lips at its rim.

    seen [H, W], 0..1; seen texels stay.

    texture: with complete skin, and the photo where seen.
    """
    result = texture.copy()
    lips = None
    for name, (depth, factor) in BAGS.items():
        where = head.of(name)
        if not where.any():
            continue
        rim, colours = _rim(head, name, texture)
        if not len(rim):
            rim, colours = np.zeros((1, 3), np.float32), np.median(texture[head.of(SKIN)], axis=0)[None]
        if name == MOUTH:
            lips = np.median(colours, axis=0)
        near = min(RIM_NEIGHBOURS, len(rim))
        distances, ids = cKDTree(rim).query(head.positions(where), k=[*range(1, near + 1)])
        weights = 1 / (distances + 0.3) ** 2
        plain = (colours[ids] * weights[..., None]).sum(1) / weights.sum(1)[:, None]
        inwards = np.clip(distances[:, :1] / depth, 0, 1) ** 0.7
        put_unseen(result, where, plain * np.array(factor) ** inwards, seen)
    if lips is None:
        lips = np.median(texture[head.of(SKIN)][::97], axis=0) * (0.9, 0.65, 0.65)
    return result, lips


def brightness_of_light(head: HeadTexels, texture: np.ndarray) -> float:
    """Brightness of the photo's light, 0.3 to 1.2, by its skin: factor of colours as they are in good light."""
    skin = texture[head.of(SKIN)][::97]
    return float(np.clip(np.percentile(skin.mean(1), 75) / SKIN_BRIGHTNESS, 0.3, 1.2))


def put_unseen(texture: np.ndarray, where: np.ndarray, plain: np.ndarray, seen: np.ndarray) -> None:
    """Puts plain colours [N, 3] into the texels of an area [H, W] bool as far as they are not seen."""
    share = seen[where][:, None]
    texture[where] = np.clip(share * texture[where] + (1 - share) * plain, 0, 1)


def _rim(head: HeadTexels, name: str, texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] mm at rest where a part meets the skin, and the skin's colours [N, 3] there."""
    parts, mesh = head._face_parts, head.mesh
    number = {each: head._number(each) for each in (SKIN, name)}
    inner = np.unique(mesh.faces[parts == number[name]])
    on_skin = parts == number[SKIN]
    corners = mesh.faces[on_skin].ravel()
    near = cKDTree(head.at_rest[inner]).query(head.at_rest[corners], distance_upper_bound=1e-2)[0] < 1e-2
    corners, uv_corners = corners[near], mesh.uv_faces[on_skin].ravel()[near]
    corners, first = np.unique(corners, return_index=True)
    uvs = mesh.uvs[uv_corners[first]]
    height, width = head.part.shape
    skin, reach, colours, kept = head.of(SKIN), max(round(0.6 * head.texels_per_mm), 1), [], []
    for k, (u, v) in enumerate(uvs):
        row, column = int((1 - v) * height), int(u * width)
        window = np.s_[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        if skin[window].any():
            kept.append(k)
            colours.append(texture[window][skin[window]].mean(0))
    return head.at_rest[corners[kept]], np.array(colours, np.float32).reshape(-1, 3)


def disc(radius: float) -> np.ndarray:
    """A filled circle uint8 [N, N], for morphology; at least 3 x 3. radius: texels or pixels."""
    size = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
