"""Photos with faces that are hard to reconstruct, or that are none, made from ordinary photos; and what becomes of them.

    python tests/benchmarks/bad_photos.py PHOTO... [-o OUT] [--only NAME,NAME]

Writes OUT/photos, reconstructs them with `reconstruct.system=auto`, prints what came of each, and how far each head is
from the one of the unchanged photo, and writes OUT/sheets/NAME.png: picture | found mesh over it | found head from the
side and from the front.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.bench_poses import TILE, Measures, rms_mm, shaded_head, with_mesh

from external.anny.points import CHIN, IRISES, LIDS, TOP
from external.face_mesh.landmarks import find_landmarks
from external.mtcnn import detect_faces
from pipeline.reconstruction import program
from pipeline.reconstruction.folder import Reconstruction, ReconstructionError, load_reconstruction
from pipeline.reconstruction.images import read_photo
from pipeline.runs.files import write_image
from pipeline.settings.command_line import run_main

LARGEST = 600  # px: the crop around a face is reduced to this
MARGIN = 0.6  # of the face's height, kept around it

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
EYE_CENTRES = ((33, 133), (362, 263))
NOSE_TIP, MOUTH_CORNERS, BROW = 1, (61, 291), 9

# A maker takes a photo, uint8 [H, W, 3], RGB, and the 478 points of its face, px, and returns another photo.
Maker = Callable[[np.ndarray, np.ndarray], np.ndarray]


def height_of(points: np.ndarray) -> float:
    """The face's height, px."""
    return float(np.linalg.norm(points[TOP, :2] - points[CHIN, :2]))


def cut_side(photo: np.ndarray, points: np.ndarray, share: float = 0.0) -> np.ndarray:
    """The photo's left border goes through the face. share: of its half that is left; 0: the nose is the border."""
    middle, left = points[NOSE_TIP, 0], points[:468, 0].min()
    return photo[:, max(int(middle - share * (middle - left)), 0) :].copy()


def cut_chin(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The lower border runs below the lips."""
    return photo[: int(0.65 * points[17, 1] + 0.35 * points[CHIN, 1])].copy()


def cut_mouth(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The lower border runs through the upper lip."""
    return photo[: int(points[0, 1])].copy()


def cut_forehead(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The upper border runs along the brows."""
    return photo[int(points[BROW, 1]) :].copy()


def cut_eyes(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The upper border runs below the eyes."""
    return photo[int(points[[145, 374], 1].max() + 0.03 * height_of(points)) :].copy()


def small(photo: np.ndarray, points: np.ndarray, height: float) -> np.ndarray:
    """The face is `height` px high."""
    scale = height / height_of(points)
    shape = (max(round(photo.shape[1] * scale), 1), max(round(photo.shape[0] * scale), 1))
    return cv2.resize(photo, shape, interpolation=cv2.INTER_AREA)


def baby(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A baby's proportions: large eyes and cheeks, a high forehead, a small nose, mouth and chin."""
    size = height_of(points)
    ys, xs = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    across, down = np.zeros_like(xs), np.zeros_like(ys)

    def scaled(centre: np.ndarray, radius: float, factor: float) -> None:
        x, y = xs - centre[0], ys - centre[1]
        near = np.exp(-(x * x + y * y) / (2 * (radius * size) ** 2)) * (1 / factor - 1)
        across.__iadd__(x * near)
        down.__iadd__(y * near)

    for corners in EYE_CENTRES:
        scaled(points[list(corners), :2].mean(0), 0.10, 1.35)
    scaled(points[NOSE_TIP, :2], 0.13, 0.75)
    scaled(points[[13, 14], :2].mean(0), 0.12, 0.78)
    for cheek in (50, 280):
        scaled(points[cheek, :2], 0.13, 1.25)
    # The lower face is shortened, the upper one stretched.
    eyes = points[[133, 362], 1].mean()
    above = np.clip((eyes - ys) / size, 0, 0.8)
    below = np.clip((ys - eyes) / size, 0, 0.8)
    window = np.exp(-(((xs - points[NOSE_TIP, 0]) / size) ** 2))
    down += window * size * (0.25 * below - 0.22 * above)
    return cv2.remap(photo, xs + across, ys + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def statue(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pale stone: no colour, no irises, grain."""
    bare = photo.copy()
    for iris, (upper, lower) in zip(IRISES, LIDS, strict=True):
        lids = np.round(points[[*upper, *lower[-2:0:-1]], :2]).astype(np.int32)
        where = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillPoly(where, [lids], 1)
        around = points[[*upper, *lower], :2].astype(int)
        bare[where > 0] = np.median(bare[around[:, 1], around[:, 0]], axis=0)
        centre = tuple(np.round(points[iris, :2]).astype(int).tolist())
        cv2.circle(bare, centre, max(int(0.012 * height_of(points)), 1), (90, 90, 90), -1)
    grey = cv2.cvtColor(cv2.bilateralFilter(bare, 9, 60, 9), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0) - 0.55 * cv2.GaussianBlur(grey, (0, 0), 0.2 * height_of(points))
    grey = (grey - np.percentile(grey, 2)) / (np.percentile(grey, 98) - np.percentile(grey, 2))
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, grey.shape).astype(np.float32), (0, 0), 1.0)
    stone = np.clip(70 + 150 * grey + 12 * grain, 0, 255)[..., None] * (1.0, 0.98, 0.93)
    return stone.astype(np.uint8)


def cartoon(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Flat colours and dark outlines."""
    flat = photo
    for _ in range(3):
        flat = cv2.bilateralFilter(flat, 11, 50, 11)
    flat = flat // 48 * 40 + 24
    return np.where(_lines(photo, points)[..., None] < 0.5, 20, flat).astype(np.uint8)


def line_drawing(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Black lines on white."""
    return np.repeat((255 * _lines(photo, points)[..., None]).astype(np.uint8), 3, axis=2)


def _lines(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigma = max(height_of(points) / 250, 0.6)
    difference = cv2.GaussianBlur(grey, (0, 0), sigma) - 0.98 * cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma)
    return np.clip(1 + difference / 4, 0, 1)


def contours(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A child's drawing: an oval, two eyes, a nose, a mouth."""
    drawing = np.full_like(photo, 250)
    width = max(int(height_of(points) / 90), 1)
    centre, size = points[list(OVAL), :2].mean(0), np.ptp(points[list(OVAL), :2], axis=0) / 2

    def ellipse(at: np.ndarray, axes: np.ndarray, start: int = 0, end: int = 360, thick: int = width) -> None:
        cv2.ellipse(drawing, np.round(at).astype(int).tolist(), np.maximum(np.round(axes), 1).astype(int).tolist(), 0, start, end, (20, 20, 20), thick, cv2.LINE_AA)  # fmt: skip

    ellipse(centre, size)
    for corners in EYE_CENTRES:
        at = points[list(corners), :2].mean(0)
        ellipse(at, size * (0.16, 0.09))
        ellipse(at, size * 0.06, thick=-1)
        ellipse(at - size * (0, 0.2), size * (0.22, 0.06), 200, 340)
    ellipse(points[NOSE_TIP, :2], size * (0.1, 0.05), 0, 180)
    ellipse(points[[13, 14], :2].mean(0) - size * (0, 0.08), size * (0.35, 0.14), 10, 170, 2 * width)
    return drawing


def sunglasses(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Dark lenses over both eyes, a bridge and temples."""
    result, size = photo.copy(), height_of(points)
    at = [points[list(corners), :2].mean(0) + (0, 0.02 * size) for corners in EYE_CENTRES]
    tilt = float(np.degrees(np.arctan2(*(at[1] - at[0])[::-1])))
    for centre, temple in zip(at, (127, 356), strict=True):
        axes = (int(0.16 * np.linalg.norm(at[1] - at[0]) / 0.36), int(0.13 * size))
        cv2.ellipse(result, np.round(centre).astype(int).tolist(), axes, tilt, 0, 360, (18, 18, 22), -1, cv2.LINE_AA)
        _line(result, centre, points[temple, :2], 0.02 * size)
    _line(result, *at, 0.025 * size)
    return result


def _line(picture: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    places = [np.round(place).astype(int).tolist() for place in (start, end)]
    cv2.line(picture, *places, (18, 18, 22), max(int(width), 1), cv2.LINE_AA)


def hand(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Four fingers and the back of a hand, of the face's colour, before mouth and chin."""
    result, size = photo.astype(np.float32), height_of(points)
    skin = photo[tuple(points[[50, 101, 118], :2].astype(int).T[::-1])].astype(np.float32).mean(0)
    mouth = points[[13, 14], :2].mean(0)
    for k in range(4):
        start = mouth + size * np.array([-0.34, -0.08 + 0.10 * k])
        end = mouth + size * np.array([0.30 - 0.03 * abs(k - 1), -0.12 + 0.11 * k])
        where = np.zeros(photo.shape[:2], np.float32)
        cv2.line(where, np.round(start).astype(int).tolist(), np.round(end).astype(int).tolist(), 1.0, int(0.105 * size), cv2.LINE_AA)  # fmt: skip
        inner = cv2.GaussianBlur(where, (0, 0), 0.022 * size)
        shade = 0.62 + 0.42 * np.clip(2 * inner - 0.9, 0, 1)
        result = np.where(where[..., None] > 0.3, skin * shade[..., None], result)
    palm = np.zeros(photo.shape[:2], np.uint8)
    cv2.ellipse(palm, np.round(mouth + size * np.array([-0.5, 0.15])).astype(int).tolist(), (int(0.22 * size), int(0.3 * size)), 20, 0, 360, 1, -1)  # fmt: skip
    result[palm > 0] = 0.95 * skin
    return np.clip(result, 0, 255).astype(np.uint8)


def face_covering(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A surgical mask from the nose's bridge to below the chin."""
    result, size = photo.copy(), height_of(points)
    outline = points[[6, 117, 234, 58, 136, 149, 152, 378, 365, 288, 454, 346], :2].copy()
    outline[4:9] += (0, 0.04 * size)
    cv2.fillPoly(result, [np.round(outline).astype(np.int32)], (165, 200, 215), cv2.LINE_AA)
    for share in (0.35, 0.55, 0.75):
        ends = [(1 - share) * points[top, :2] + share * points[low, :2] for top, low in ((234, 149), (454, 378))]
        cv2.line(result, *[np.round(end).astype(int).tolist() for end in ends], (140, 178, 196), 2, cv2.LINE_AA)
    return result


def upside_down(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[::-1, ::-1])


def motion_blur(photo: np.ndarray, points: np.ndarray, share: float = 0.08) -> np.ndarray:
    """The camera moves by a share of the face's height, at 30 degrees."""
    length = max(int(share * height_of(points)), 3) | 1
    kernel = np.zeros((length, length), np.float32)
    reach = (length - 1) / 2 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    middle = np.full(2, (length - 1) / 2)
    cv2.line(kernel, *[np.round(end).astype(int).tolist() for end in (middle - reach, middle + reach)], 1.0, 1)
    return cv2.filter2D(photo, -1, kernel / kernel.sum())


def heavy_jpeg(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A face of 150 px, JPEG quality 5."""
    _, data = cv2.imencode(".jpg", small(photo, points, 150)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 5])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy()


MAKERS: dict[str, Maker] = {
    "plain": lambda photo, points: photo,
    "cut_half": cut_side,
    "cut_side": lambda photo, points: cut_side(photo, points, 0.55),
    "cut_chin": cut_chin,
    "cut_mouth": cut_mouth,
    "cut_forehead": cut_forehead,
    "cut_eyes": cut_eyes,
    "60px": lambda photo, points: small(photo, points, 60),
    "40px": lambda photo, points: small(photo, points, 40),
    "baby": baby,
    "statue": statue,
    "cartoon": cartoon,
    "line_drawing": line_drawing,
    "contours": contours,
    "sunglasses": sunglasses,
    "hand": hand,
    "mask": face_covering,
    "upside_down": upside_down,
    "motion": motion_blur,
    "motion_strong": lambda photo, points: motion_blur(photo, points, 0.2),
    "jpeg": heavy_jpeg,
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("outputs/bad_photos"))
    parser.add_argument("--only", default="", help="kinds, separated by commas")
    given = parser.parse_args(argv)
    wanted = ["plain", *filter(None, given.only.split(","))] if given.only else list(MAKERS)
    if unknown := sorted(set(wanted) - set(MAKERS)):
        parser.error(f"--only has {', '.join(unknown)}; known are {', '.join(MAKERS)}")
    photos, found = given.out / "photos", given.out / "found"
    for folder in (photos, found):
        shutil.rmtree(folder, ignore_errors=True)
    photos.mkdir(parents=True)
    for path in given.photos:
        face = face_of(read_photo(path))
        for kind in wanted:
            write_image(photos / f"{path.stem}_{kind}.png", MAKERS[kind](*face))
    program.main([str(photos), "-o", str(found), "reconstruct.system=auto"])
    messages = json.loads((found / "manifest.json").read_text(encoding="utf-8"))["photos"]
    measures = Measures()
    for kind in wanted:
        rows = []
        for path in given.photos:
            name = f"{path.stem}_{kind}"
            made, plain = (reconstruction_of(found, each) for each in (name, f"{path.stem}_plain"))
            far = ""
            if made is not None and made.rig is not None and plain is not None and plain.rig is not None:
                far = f"{rms_mm(plain.rig.neutral[measures.face], made.rig.neutral[measures.face]):.1f} mm from plain"
            result = "none" if made is None else "face" if made.rig is None else "head"
            print(f"{name:30} {result:5} {far:18} {messages.get(name, {}).get('message', '')}")
            rows.append(sheet_row(read_photo(photos / f"{name}.png"), made, f"{name} {result}"))
        (given.out / "sheets").mkdir(exist_ok=True)
        write_image(given.out / "sheets" / f"{kind}.png", np.concatenate(rows))
    return 0


def face_of(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The photo around its largest face, and the face's 478 points, px."""
    found = detect_faces(photo)[0]
    points = find_landmarks(photo, found.box, found.points, irises=True)
    reach = (0.5 + MARGIN) * height_of(points)
    middle = (points[:468, :2].min(0) + points[:468, :2].max(0)) / 2
    left, top = np.maximum((middle - reach).astype(int), 0).tolist()
    photo, points = photo[top : int(middle[1] + reach), left : int(middle[0] + reach)], points - (left, top, 0)
    scale = min(LARGEST / max(photo.shape[:2]), 1)
    shape = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return cv2.resize(photo, shape, interpolation=cv2.INTER_AREA), points * scale


def reconstruction_of(found: Path, name: str) -> Reconstruction | None:
    try:
        return load_reconstruction(found / name / "reconstruction")
    except (OSError, ReconstructionError):
        return None


def sheet_row(photo: np.ndarray, made: Reconstruction | None, title: str) -> np.ndarray:
    """Picture, mesh over it, head from the side and from the front, uint8."""
    over, side = photo, np.full((TILE, 2 * round(0.6 * TILE), 3), 60, np.uint8)
    if made is not None:
        over = np.rot90(photo, made.source["photo"]["quarter_turns"])
        image = made.camera.project(made.mesh.vertices) + made.source["photo"]["crop"][:2]
        over = with_mesh(np.ascontiguousarray(over), image, made.mesh)
        if made.rig is not None:
            side = shaded_head(made.mesh.vertices, made.mesh.faces, made.head_to_camera)
    tiles = []
    for picture in (photo, over):
        scale = TILE / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:TILE, :TILE]
        tiles.append(np.full((TILE, TILE, 3), 60, np.uint8))
        tiles[-1][: small.shape[0], : small.shape[1]] = small
    cv2.putText(tiles[0], title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1, cv2.LINE_AA)
    return np.concatenate([*tiles, side], axis=1)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
