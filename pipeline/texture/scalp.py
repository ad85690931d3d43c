"""The scalp of a whole head: where its hair begins, and a close-cropped head of hair in the person's own colour.

The labels of the photo (labels.py) say where it shows skin and where hair. A usual hairline on the head at rest says
what of the hair grows there and what only hangs over the skin, and where the hairline runs on the sides that the photo
does not show.

The scalp is mapped to polar coordinates about the crown. The column is the angle about the crown's axis: the back at
both edges, the front half-way, the person's left to the right. The row is the angle from the crown. Hair grows along
the columns.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from pipeline.reconstruction.folder import Reconstruction
from pipeline.texture.ears import CORE, EAR_OUT, SIDE, of_vertices, out_of_head, skin_around, skin_vertices
from pipeline.texture.head_parts import COARSE, HeadTexels
from pipeline.texture.labels import HAIR, OTHER
from pipeline.texture.own_skin import EDGE_MARGIN, Labelled
from renderer.dilate import push_pull
from renderer.interpolate import interpolate
from renderer.rasterize import rasterize

# Lengths are in millimetres at rest (head_parts.py), x to the person's left, y up, z out of the face.
CENTRE, CROWN = np.array([0.0, 20.0, -75.0]), np.array([0.0, 0.94, -0.34])  # of the polar map; its axis
ROWS, COLUMNS, RADIUS = 360, 720, 92.0  # of the polar map: half a degree; of the head about CENTRE
STEP = RADIUS * np.pi / ROWS  # of a row
FRONT = COLUMNS // 2

EAR_EDGE = 2.0  # over which hair fades beside ears
# The usual hairline. Before the ears: (|x|, share of the height above the eyes), and (y, z) of the side, from the top
# of the ear's front; behind them: (y, z) from the top of the ear's back; at the nape: (|x|, y) from the ear's bottom.
HAIRLINE_FRONT = ((0.0, 0.64), (18.0, 0.645), (36.0, 0.65), (47.0, 0.635))
HAIRLINE_TEMPLE = ((54.0, 34.0), (38.0, 28.0), (24.0, 22.0), (8.0, 15.0), (-6.0, 11.0), (-24.0, 9.0), (-26.0, 5.0))
HAIRLINE_BEHIND = ((4.0, 11.0), (-14.0, 3.0), (-40.0, 3.0), (-57.0, -4.0))
HAIRLINE_NAPE = ((36.0, -17.0), (18.0, -21.0), (0.0, -24.0))

GAP = 2.0  # degrees between seen texels that count as one area
SEEN_SHARE = 0.4  # of a coarse texel that must be seen to be evidence
LOOSE = 8.0  # hair that begins further below the usual hairline hangs over the skin
BALDEST = 115.0  # highest hairline above the usual one
CUT = 8.0  # above the hairline, over which hanging hair fades in
NATURAL, RAMP = 8.0, 4.0  # below the hairline, within which hair of the photo that grows there stays; full after
EVIDENCE_SPREAD, NEAR_LINE = 3.0, 12.0  # degrees over which neighbours share evidence; beside the line
BALD_SIDE = (75.0, 100.0)  # degrees from the front: no hairline recedes beyond
USUAL, STIFF = 0.015, 40.0  # weights of no shift of the usual hairline, and of a smooth shift
MIRRORED = 0.4  # weight of evidence from the other side
LEAST_SCALP, LEAST_HAIR = 300.0, 0.12  # square mm that must be seen to judge; share of hair of a head that is not bald

LEAST_COLOUR = 150.0  # square mm of hair whose colour counts
HAT_SHARE = 1.0  # of other things above the eyes, against hair, from which on there is a hat
COLOUR_BLUR, COLOUR_REACH, COLOUR_RANGE = 5.0, 30.0, 0.6  # of the hair's shading; over which it fades; natural logs
NEAR_HEAD = 25.0  # from the head, within which hair tells its colour
OFFSET = 0.02  # added before the logarithm
STRANDS = ((0.9, 1.0), (3.5, 0.5))  # width, share of the deviation
STRAND_LENGTH, STRAND_WARP = 16.0, 0.8  # sideways waviness
PLAIN_STRANDS = 0.7  # of the photo's deviation, as cropped hair shows less
AMPLITUDE = (0.05, 0.14)  # least and most deviation of the log brightness of strands
FEATHER = 1.5  # of the hairline by single strands
# Degrees from the front: widths over which hair gets dense.
DENSE = np.array([(0, 8), (30, 8), (60, 11), (95, 12), (180, 24)], np.float64)

HIDDEN = "the photo does not show the colour of the hair, or a hat hides it: the scalp is filled from the skin"


@dataclass(frozen=True)
class Scalp:
    """Hair of a head in its texture, H x W."""

    hair: np.ndarray  # [H, W] float32, 0..1, share of hair in a texel
    shown: np.ndarray  # [H, W] float32, 0..1, confidence that the photo shows it
    near: np.ndarray  # [H, W] float32, 0..1, beside and above the hairline, where hair next to skin is natural
    where: np.ndarray  # [H, W] bool, N texels that may have hair
    column: np.ndarray  # [N] float32, of the polar map
    row: np.ndarray  # [N] float32
    noise: np.ndarray  # [N] float32, strands, of mean 0 and deviation 1
    shading: np.ndarray  # [h, w, 3] float32, polar map of the hair's smooth colour, natural logs
    amplitude: float  # deviation of the log brightness of strands


def angles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the polar map, float32 [...], of points [..., 3], mm at rest."""
    offset = np.asarray(points, np.float32) - CENTRE.astype(np.float32)
    along = offset @ CROWN.astype(np.float32)
    forward = offset @ np.float32([0, -CROWN[2], CROWN[1]])
    column = (np.arctan2(offset[..., 0], forward) / (2 * np.pi) + 0.5) * COLUMNS - 0.5
    row = np.arctan2(np.hypot(offset[..., 0], forward), along) / np.pi * ROWS - 0.5
    return column.astype(np.float32), row.astype(np.float32)


def usual_hairline(head: HeadTexels, out: np.ndarray) -> np.ndarray:
    """Row [COLUMNS] of the polar map at which hair usually ends, symmetric. out [V]: of `out_of_head`."""
    vertices = head.at_rest[skin_vertices(head)].astype(np.float64)
    ear = head.at_rest[out > CORE].astype(np.float64)
    if len(ear) < 3:
        ear = np.array([(75.0, -49.0, -117.0), (75.0, 7.0, -67.0)])
    (_, bottom, back), (_, top, front) = ear.min(0), ear.max(0)
    height = np.percentile(vertices[:, 1], 99.5)
    x, y, z = np.abs(vertices[:, 0]), *vertices[:, 1:].T

    def points_at(first: int, places: list, where: np.ndarray) -> list[np.ndarray]:
        """Points on the head at two known coordinates: first and the next."""
        others = np.stack([x, y, z], axis=1)[where]
        missing = 2 if first == 0 else 0
        _, ids = cKDTree(others[:, first : first + 2]).query(places, k=3)
        return list(np.insert(places, missing, others[ids, missing].mean(1), axis=1))

    side = (x > SIDE) & (cKDTree(ear).query(vertices)[0] > 1e-3)
    points = points_at(0, [(a, b * height) for a, b in HAIRLINE_FRONT], z > -60)
    points += points_at(1, [(top + a, front + b) for a, b in HAIRLINE_TEMPLE], side)
    points += points_at(1, [(top + a, back + b) for a, b in HAIRLINE_BEHIND], side)
    points += points_at(0, [(a, bottom + b) for a, b in HAIRLINE_NAPE], z < -100)
    columns, rows = angles(np.array(points))
    columns[-1] = COLUMNS - 1
    order = np.argsort(columns, kind="stable")
    half = np.interp(np.arange(FRONT, COLUMNS), columns[order], rows[order]).astype(np.float32)
    half = cv2.GaussianBlur(half[None], (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)[0]
    return np.concatenate([half[::-1], half])


def hairline(usual: np.ndarray, skin: np.ndarray, hair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row [COLUMNS] at which hair ends, by what the photo shows of skin and hair: polar maps [ROWS, COLUMNS], 0..1.

    Also returns how far [COLUMNS], 0..1, the photo shows hair growing there next to skin.

    usual [COLUMNS]: of `usual_hairline`. In each column the line is placed where the least skin lies above and the
    least hair below it. Hair that begins more than LOOSE below the usual line does not count. Columns without evidence
    take the shift from their neighbours, from the other side, or none.
    """
    rows = lambda length: round(length / STEP)
    shifts = np.arange(-rows(LOOSE), rows(BALDEST) + 1)  # up
    near = rows(NEAR_LINE)
    reach = np.arange(shifts[0] - near, shifts[-1] + near + 1)
    place = (usual[None] - reach[:, None]).astype(np.float32)
    column = np.broadcast_to(np.arange(COLUMNS, dtype=np.float32), place.shape)
    spread = EVIDENCE_SPREAD * COLUMNS / 360
    aligned = [
        cv2.remap(_blurred(image, spread, 0), column, place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) * STEP
        for image in (skin, hair)
    ]
    summed = lambda image: np.pad(np.cumsum(image, axis=0), ((1, 0), (0, 0)))  # [k]: of all below reach[k]
    skin_below, hair_below = summed(aligned[0]), summed(aligned[1])
    grown_below = summed(np.where(reach[:, None] < shifts[0], 0, aligned[1]))
    at = shifts - reach[0]
    cost = grown_below[at] + skin_below[-1] - skin_below[at]
    cost = cost + MIRRORED * cost[:, ::-1] + 0.002 * (STEP * shifts[:, None]) ** 2
    best = np.argmin(cost, axis=0)
    line = at[best][None]
    of = lambda image, place: np.take_along_axis(image, place, 0)[0]
    skin_near = of(skin_below, line) - of(skin_below, line - near)
    hair_near = of(hair_below, line + near) - of(hair_below, line)
    bare = of(skin_below, line) - skin_below[-reach[0]]  # skin above the usual line
    sure = lambda length: np.clip(length / (0.6 * NEAR_LINE), 0, 1)
    natural = sure(skin_near) * sure(hair_near)
    angle = np.abs(np.arange(COLUMNS) + 0.5 - FRONT) / COLUMNS * 360
    bald = np.clip((BALD_SIDE[1] - angle) / (BALD_SIDE[1] - BALD_SIDE[0]), 0, 1)  # heads go bald from the front
    certain = np.maximum(natural, sure(bare)) * np.maximum(bald, 0.05)
    certain = np.maximum(certain, MIRRORED * certain[::-1])
    # The shift changes smoothly around the head: least squares.
    unit = np.eye(COLUMNS)
    steps = 2 * unit - np.roll(unit, 1, 0) - np.roll(unit, -1, 0)
    shift = np.linalg.solve(np.diag(certain + USUAL) + STIFF * steps, certain * shifts[best])
    return (usual - shift).astype(np.float32), natural.astype(np.float32)


def _blurred(image: np.ndarray, columns: float, rows: float) -> np.ndarray:
    """Polar map [h, w] or [h, w, C] blurred by Gaussians of these deviations; its columns go around."""
    margin = min(int(4 * columns) + 1, image.shape[1])
    around = np.concatenate([image[:, -margin:], image, image[:, :margin]], axis=1).astype(np.float32)
    size = lambda deviation: 2 * int(3 * deviation) + 1
    blurred = cv2.GaussianBlur(around, (size(columns), size(rows)), max(columns, 1e-3), sigmaY=max(rows, 1e-3))
    return blurred[:, margin:-margin]


def _look(image: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Values [N] or [N, C] of a map [h, w] or [h, w, C], whose columns go around, at places [N], bilinear."""
    around = np.concatenate([image[:, -1:], image, image[:, :1]], axis=1)
    count, width = len(column), 1024
    fill = -count % width
    place = [np.pad(values, (0, fill)).reshape(-1, width) for values in (np.mod(column, image.shape[1]) + 1, row)]
    x, y = (np.float32(values) for values in place)
    found = cv2.remap(around, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, *image.shape[2:])[:count]


def _shown_hairline(
    head: HeadTexels, out: np.ndarray, visibility: np.ndarray, shares: Labelled
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`hairline` of what the photo shows; None of a bald head. out [V]: of `out_of_head`."""
    coarse, points = head.coarse
    small = lambda image: cv2.resize(image, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    seen = small(visibility)
    ears = coarse & (interpolate(out[:, None], head.mesh.faces, head.coarse_fragments)[..., 0] > 0)
    counted = coarse & (seen > SEEN_SHARE) & (cv2.dilate(ears.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    shown = [small(share * visibility)[counted] / seen[counted] for share in (shares.own - shares.hair, shares.hair)]
    usual = usual_hairline(head, out)
    maps = _splat((ROWS, COLUMNS), *angles(points[counted]), np.stack(shown, -1), GAP * COLUMNS / 360)
    skin, hair = (np.ascontiguousarray(maps[..., k]) for k in (0, 1))
    rows = np.arange(ROWS)[:, None]
    area = (rows < usual - LOOSE / STEP) * STEP**2 * np.sin((rows + 0.5) * np.pi / ROWS)
    bare, covered = float((skin * area).sum()), float((hair * area).sum())
    if bare + covered > LEAST_SCALP and covered < LEAST_HAIR * (bare + covered):
        return None, None
    return hairline(usual, skin, hair)


def find_scalp(
    head: HeadTexels,
    sampled: np.ndarray,  # the photo in the texture [H, W, 3], 0..1
    visibility: np.ndarray,  # [H, W], 0..1, whatever is in front of the mesh
    shares: Labelled,
    reconstruction: Reconstruction,
    labels: np.ndarray,  # uint8 [H, W] of the photo
    pixels_per_mm: float,
) -> tuple[Scalp | None, list[str]]:
    """The hair of the scalp, None where the head is bald or the colour of its hair is not shown; and notes."""
    coarse, points = head.coarse
    small = lambda image: cv2.resize(image, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    out = out_of_head(head)
    line, natural = _shown_hairline(head, out, visibility, shares)
    if line is None:
        return None, []
    depth = _depth(line)
    places = angles(points)
    coarse_depth = _look(depth, places[0].ravel(), places[1].ravel()).reshape(coarse.shape)
    where = skin_around(head, coarse & (coarse_depth > -NATURAL))
    column, row = angles(head.positions(where))
    above = _look(depth, column, row)
    not_ear = np.clip((EAR_OUT - of_vertices(head, out, where)) / EAR_EDGE, 0, 1)
    # The photo's own transition stays where hair grows; where it hangs, it is cut off along the hairline.
    grown = np.clip((above + NATURAL) / RAMP, 0, 1) * _look(natural[None], column, np.zeros_like(row))
    near = _put(where, np.maximum(grown, np.clip(above / RAMP, 0, 1)) * not_ear)
    noise = _strands(head, where, column, row)
    feathered = above + FEATHER * np.clip(noise, -2, 2)
    shown = _put(where, np.maximum(grown, np.clip(feathered / CUT, 0, 1)) * not_ear) * visibility * shares.hair
    colour = _hair_colour(reconstruction, labels, pixels_per_mm)
    if colour is None:
        return None, [HIDDEN]
    median, amplitude = colour
    shading = _shading(*(place[coarse] for place in places), small(sampled)[coarse], small(shown)[coarse], median)
    width = np.interp(np.abs(column + 0.5 - FRONT) / COLUMNS * 360, *DENSE.T)
    dense = np.clip(feathered / width + 0.15, 0, 1)
    hair = _put(where, dense * dense * (3 - 2 * dense) * not_ear)
    return Scalp(hair, shown, near, where, column, row, noise, shading, amplitude), []


def _put(where: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [N] in the texels of an area [H, W] bool, float32; 0 elsewhere."""
    result = np.zeros(where.shape, np.float32)
    result[where] = values
    return result


def _splat(shape: tuple[int, int], column: np.ndarray, row: np.ndarray, values: np.ndarray, blur: float) -> np.ndarray:
    """Polar map [h, w, C] of values [N, C] at places [N], 0 where none lies.

    blur: columns that fill gaps between places.
    """
    height, width = shape
    scale = width / COLUMNS
    columns = np.floor((column + 0.5) * scale).astype(int) % width
    rows = np.clip(np.floor((row + 0.5) * scale).astype(int), 0, height - 1)
    cell = rows * width + columns
    sums = [np.bincount(cell, weights, height * width) for weights in (np.ones(len(cell)), *values.T)]
    sums = _blurred(np.stack(sums, -1).reshape(height, width, -1), blur / 2, blur / 2)
    reached = sums[..., :1] > 0.02
    return np.where(reached, sums[..., 1:] / np.maximum(sums[..., :1], 1e-9), 0).astype(np.float32)


def _depth(line: np.ndarray) -> np.ndarray:
    """How far above the hairline the places of the polar map are, mm [ROWS, COLUMS] float32; negative below it."""
    above = np.arange(ROWS)[:, None] < line
    margin = COLUMNS // 8
    above = np.concatenate([above[:, -margin:], above, above[:, :margin]], axis=1).astype(np.uint8)
    away = lambda area: cv2.distanceTransform(area, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ((away(above) - away(1 - above)) * STEP)[:, margin:-margin].astype(np.float32)


def _hair_colour(
    reconstruction: Reconstruction, labels: np.ndarray, pixels_per_mm: float
) -> tuple[np.ndarray, float] | None:
    """Median of the log colours [3] of the hair near the head and the deviation of its log brightness.

    None: the photo shows too little hair, or a hat, whose badges and edges may be taken for hair.
    """
    photo = reconstruction.photo
    height, width = labels.shape
    covered = rasterize(reconstruction.mesh, reconstruction.camera.scaled(1 / COARSE)).face_ids >= 0
    reach = NEAR_HEAD * pixels_per_mm / COARSE
    beside = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) < reach
    beside = cv2.resize(beside.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    depth = cv2.distanceTransform((labels == HAIR).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = (beside > 0) & (depth > 2 * EDGE_MARGIN * pixels_per_mm)
    above = (beside > 0) & _above_eyes(reconstruction, labels.shape)
    hat = (labels[above] == OTHER).sum() > HAT_SHARE * (labels[above] == HAIR).sum()
    if hat or inside.sum() < LEAST_COLOUR * pixels_per_mm**2:
        return None
    bright = np.log(photo.mean(-1, dtype=np.float32) / 255 + OFFSET)
    detail = bright - cv2.GaussianBlur(bright, (0, 0), STRANDS[-1][0] * pixels_per_mm)
    amplitude = PLAIN_STRANDS * 1.4826 * float(np.median(np.abs(detail[inside])))
    colours = np.log(photo[inside] / np.float32(255) + OFFSET)
    return np.median(colours, axis=0), float(np.clip(amplitude, *AMPLITUDE))


def _above_eyes(reconstruction: Reconstruction, shape: tuple[int, int]) -> np.ndarray:
    """Pixels [H, W] bool of the photo that lie above the eyes, as the head stands; all of a head without eyes."""
    if len(reconstruction.rig.eye_names) != 2:
        return np.ones(shape, bool)
    pose, centre = reconstruction.head_to_camera, reconstruction.rig.eye_centres.mean(0)
    upwards = np.linalg.norm(np.subtract(*reconstruction.rig.eye_centres)) * np.array([0.0, 1.0, 0.0])
    eyes, top = reconstruction.camera.project(np.stack([centre, centre + upwards]) @ pose[:3, :3].T + pose[:3, 3])
    rows, columns = np.indices(shape)
    return (columns + 0.5 - eyes[0]) * (top - eyes)[0] + (rows + 0.5 - eyes[1]) * (top - eyes)[1] > 0


def _shading(
    column: np.ndarray, row: np.ndarray, colours: np.ndarray, shown: np.ndarray, median: np.ndarray
) -> np.ndarray:
    """Polar map [h, w, 3] of the hair's smooth colour, natural logs: the photo's and its mirror image, else the median.

    column, row [N], colours [N, 3], 0..1, shown [N], 0..1: of texels. median [3]: natural logs.
    """
    shape = (ROWS // 4, COLUMNS // 4)
    unit = STEP * 4
    sure = shown > 0.5
    values = np.clip(np.log(colours[sure] + OFFSET) - median, -COLOUR_RANGE, COLOUR_RANGE)
    values = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    maps = _blurred(_splat(shape, column[sure], row[sure], values, 1.0), COLOUR_BLUR / unit, COLOUR_BLUR / unit)
    own, weight = maps[..., :3] / np.maximum(maps[..., 3:], 1e-6), np.clip(2 * maps[..., 3], 0, 1)
    weight = np.where(maps[..., 3] > 0.05, weight, 0)
    other, other_weight = own[:, ::-1], weight[:, ::-1] * (1 - weight) * 0.5
    total = weight + other_weight
    mixed = (own * weight[..., None] + other * other_weight[..., None]) / np.maximum(total, 1e-6)[..., None]
    around = lambda image: np.concatenate([image[:, -shape[1] // 2 :], image, image[:, : shape[1] // 2]], axis=1)
    half = shape[1] // 2
    filled = push_pull(around(mixed.astype(np.float32)), around(total.astype(np.float32)))[:, half:-half]
    far = _blurred(total, COLOUR_REACH / unit, COLOUR_REACH / unit)
    trust = np.maximum(total, np.clip(2 * far, 0, 1))[..., None]
    return (median + trust * filled).astype(np.float32)


def _strands(head: HeadTexels, where: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Noise [N] of strands along the columns of the polar map, mean 0, deviation 1, symmetric at the seam.

    where [H, W] bool: texels. column, row [N]: theirs. Strands are never narrower than two texels.
    """
    random = np.random.default_rng(0)  # fixed seed: every run paints a photo in the same way
    skin, points = head.coarse
    steps = [np.linalg.norm(np.gradient(points, axis=axis), axis=-1) for axis in (0, 1)]
    spacing = cv2.erode(np.where(skin, np.maximum(*steps), np.inf), np.ones((5, 5))) / COARSE  # without steps at edges
    spacing = cv2.resize(np.minimum(spacing, 4.0), where.shape[::-1], interpolation=cv2.INTER_LINEAR)[where]
    around = 2 * np.pi * RADIUS * np.sin(np.clip((row + 0.5) / ROWS, 0.005, 0.995) * np.pi)
    length = row * (STEP / (STRAND_LENGTH / 2))
    phase = (column + 0.5) / COLUMNS
    waves = random.normal(0, 1, (32, 48)).astype(np.float32)
    phase = phase + 1.5 * STRAND_WARP * _look(waves, phase * 48 - 0.5, row * (STEP / 20)) / around
    loudness = np.zeros(len(row), np.float32)
    total, square = np.zeros(len(row), np.float32), np.zeros(len(row), np.float32)
    for width, share in STRANDS:
        shown = np.maximum(width, 2 * spacing)
        octave = np.log2(around / shown)
        loudness += share**2 * width / shown  # wider strands are fainter
        for power in range(3, 11):
            weight = share * np.maximum(1 - np.abs(octave - power), 0).astype(np.float32)
            ids = np.flatnonzero(weight)
            image = random.normal(0, 1.5, (64, 2**power)).astype(np.float32)
            if len(ids):
                total[ids] += weight[ids] * _look(image, phase[ids] * 2**power - 0.5, length[ids])
                square[ids] += weight[ids] ** 2
    loudness = np.sqrt(loudness / sum(share**2 for _, share in STRANDS))
    noise = _put(where, np.clip(total / np.sqrt(np.maximum(square, 1e-6)), -2, 2) * loudness)
    other = head.seam_weight / np.sqrt(2)
    own = other + 1 - head.seam_weight
    return ((own * noise + other * noise[:, ::-1]) / np.hypot(own, other))[where]


def paint_scalp(
    head: HeadTexels, scalp: Scalp, skin: np.ndarray, sampled: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The texture [H, W, 3] with hair on the scalp, and the share [H, W] of it that is mirrored.

    skin: complete texture [H, W, 3] of skin. sampled: the photo [H, W, 3]; seen [H, W], 0..1: texels that keep it.
    """
    where = scalp.where
    smooth = _look(scalp.shading, (scalp.column + 0.5) / 4 - 0.5, (scalp.row + 0.5) / 4 - 0.5)
    opposite = _look(scalp.shading, (COLUMNS - 0.5 - scalp.column) / 4 - 0.5, (scalp.row + 0.5) / 4 - 0.5)
    mirrored = (scalp.shown[:, ::-1] * scalp.shown[:, ::-1])[where][:, None]
    detail = np.where(mirrored > 0, np.log(sampled[:, ::-1][where] + OFFSET) - opposite, 0)
    detail = np.clip(detail, -1, 1)
    strands = scalp.amplitude * scalp.noise[:, None]
    colours = np.exp(smooth + strands + mirrored * (detail - strands)) - OFFSET
    share = scalp.hair[where][:, None]
    texture = skin.copy()
    texture[where] += share * (np.clip(colours, 0, 1) - texture[where])
    texture += seen[..., None] * (sampled - texture)
    return texture, _put(where, (share * mirrored)[:, 0]) * (1 - seen)
