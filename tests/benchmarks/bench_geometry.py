"""What the reconstruction's own errors cost: evaluate.py's pictures, made by each mesh, with each mesh found in them.

    python tests/benchmarks/bench_geometry.py [PHOTO | FOLDER]... [-o OUT] [--meshes head,face_mesh] [--size TEXELS]
        [--yaws=-45,45] [--variant 'NAME key=value ...']...

For each mesh (a value of reconstruct.system) OUT/<mesh>/pictures has what evaluate.py writes. Each mesh is then found in
these pictures, and the reconstruction refined with the default settings and each variant. In OUT/<mesh>/pictures/summary.md
NAME is the known mesh and found_<mesh>_NAME the found one. A texture of another layout than the picture's is carried over
on the face that both share; beside it, it has the colours of the known mesh's texture. Scores named "shared" hold for both.

OUT/summary.md: what a found mesh costs there, and the known meshes against each other on the texels that both score.
--size is that of a face mask's texture; a head's is twice as large, which has about the same texels on the face.
"""

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import evaluate
import refine
from evaluation import measures, reprojection
from evaluation.options import HEAD_SCALE
from evaluation.shared import carried, face_mask, shared_face
from evaluation.statistics import Estimate, by_photo, estimate, paired
from evaluation.views import PHOTO, Record
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction
from pipeline.reconstruction.images import as_bytes, as_float, read_photo
from pipeline.runs.files import write_image, write_text
from pipeline.settings.command_line import run_main
from renderer.mesh import normalised, vertex_normals

COSINES = (0.6, 0.45, 0.35, 0.25, 0.15)  # of the viewing angle: points are told apart by them
SCALES = {"head": HEAD_SCALE, "face_mesh": 1}  # of the textures of a mesh
SHOWN = ("unseen_psnr", "unseen_ciede2000", "tint", "patch_distance_1", "patch_distance_2", "seam", "seen_psnr",
         "opposite_identity")  # fmt: skip
DEFAULT = "default"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("-o", "--out", type=Path, default=Path("outputs/geometry"))
    parser.add_argument("--meshes", default="head,face_mesh")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--yaws", default="-45,45")
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--jobs", default="")
    given = parser.parse_args(argv)
    meshes = given.meshes.split(",")
    if not meshes or set(meshes) - set(SCALES):
        parser.error(f"--meshes is {given.meshes}, allowed are {','.join(SCALES)} or one of them")
    variants = {DEFAULT: []} | {name: changes for name, *changes in map(shlex.split, given.variant)}
    found_any = [bench(mesh, meshes, variants, given) for mesh in meshes]
    lines = ["# What a found mesh costs", "", *costs({mesh: given.out / mesh / "pictures" for mesh in meshes})]
    if len(meshes) > 1:
        lines += ["# The known meshes against each other", "", *against({m: given.out / m / "pictures" for m in meshes})]
    write_text(given.out / "summary.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(found_any) else 1


def bench(made_by: str, meshes: Sequence[str], variants: Mapping[str, list[str]], given: argparse.Namespace) -> bool:
    """Pictures of one mesh, and textures by all meshes found in them, scored. Returns whether a face was found by each."""
    out, size = given.out / made_by, given.size * SCALES[made_by]
    pictures, textures = out / "pictures", out / "textures"
    scored = [*given.inputs, "-o", str(pictures), "--size", str(size), f"--yaws={given.yaws}", "--baselines", ""]
    scored += [f"reconstruct.system={made_by}", *(["--jobs", given.jobs] if given.jobs else [])]
    scored += [word for text in given.variant for word in ("--variant", text)]
    evaluate.main(scored)  # makes the pictures
    complete, named = True, []
    for mesh in meshes:
        found = find_meshes(pictures, out / f"found_{mesh}", mesh)
        complete &= bool(found)
        for name, changes in variants.items() if found else ():
            run, method = out / f"refined_{mesh}_{name}", f"found_{mesh}_{name}"
            more = [f"texture_size={given.size * SCALES[mesh]}", *([f"jobs={given.jobs}"] if given.jobs else []), *changes]
            refine.main([*map(str, found.values()), "-o", str(run), *more])
            (textures / method).mkdir(parents=True, exist_ok=True)
            for view, (place, folder) in places_of(pictures, found).items():
                texture = in_layout_of(place, folder, run / view / "texture.png", place / f"{name}.png")
                write_image(textures / method / f"{view}.png", texture)
            for place in pictures.glob(f"views/*/{PHOTO}"):  # the photo itself has one mesh only
                shutil.copyfile(place / f"{name}.png", textures / method / f"{place.parent.name}.png")
            named.append(method)
    for method in named:
        scored += ["--textures", f"{method}={textures / method}"]
    evaluate.main([*scored, "--baseline", DEFAULT])
    return complete


def places_of(pictures: Path, found: Mapping[str, Path]) -> dict[str, tuple[Path, Path]]:
    """{photo_view: (folder of the view, reconstruction folder found in its picture)}."""
    places = {f"{place.parent.name}_{place.name}": place for place in pictures.glob("views/*/yaw*")}
    return {view: (places[view], folder) for view, folder in found.items()}


def in_layout_of(place: Path, found: Path, texture: Path, known: Path) -> np.ndarray:
    """A texture [S, S, 3], uint8, of a found mesh in the layout of the picture's, whose view's folder is `place`.

    known: file of the known mesh's texture, of the size wanted; what lies beside the shared face is taken from it.
    """
    source, target = (shared_face(load_reconstruction(folder)) for folder in (found, place / "picture"))
    own, rest = as_float(read_photo(texture)), as_float(read_photo(known))
    if source is target or source is None or target is None:
        return as_bytes(own)
    size = rest.shape[0]
    moved = np.clip(carried(own, source, target, size), 0, 1)
    return as_bytes(np.where(target.region(size, size)[..., None], moved, rest))


def find_meshes(pictures: Path, out: Path, system: str) -> dict[str, Path]:
    """{photo_view: reconstruction folder} of the faces found in the pictures; what is no truth in them is masked."""
    photos = out / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    places = [place for place in sorted(pictures.glob("views/*/yaw*")) if (place / "picture").is_dir()]
    places = {f"{place.parent.name}_{place.name}": place for place in places}
    for name, place in places.items():
        shutil.copyfile(place / "picture" / "photo.png", photos / f"{name}.png")
    command = [sys.executable, "-P", "-m", "pipeline.reconstruction", str(photos), "-o", str(out)]
    subprocess.run([*command, f"reconstruct.system={system}"], cwd=ROOT, check=False)
    found, errors = {}, {}
    for name, place in places.items():
        folder = out / name / "reconstruction"
        if not (folder / "source.json").is_file():
            continue
        crop = json.loads((folder / "source.json").read_text(encoding="utf-8"))["photo"]["crop"]
        known, made = load_reconstruction(place / "picture"), load_reconstruction(folder)
        left, top, width, height = crop
        mask = known.mask[top : top + height, left : left + width]
        write_image(folder / "mask.png", mask if made.mask is None else np.minimum(mask, made.mask))
        found[name] = folder
        errors[name] = point_errors(known, made, (left, top))
    print(f"Root mean square distance of {system}'s points from the known ones, % of the face's height:")
    for name, error in errors.items():
        print(f"  {name}: " + _listed(error))
    if found:
        print(f"{len(found)} of {len(places)} pictures; median " + _listed(np.nanmedian(list(errors.values()), axis=0)))
    return found


def point_errors(known: Reconstruction, found: Reconstruction, corner: tuple[int, int]) -> list[float]:
    """For each of COSINES, the root mean square image distance of Face Mesh's points seen at that angle or better, up to the
    next one, in % of the face's height.

    corner: left, top of the found reconstruction's photo in the known one's.
    """
    shared = shared_face(known)
    here, there = (each.camera.project(shared_face(each).points(each.mesh.vertices, each.mesh.faces)) for each in (known, found))
    distances = 100 * np.linalg.norm(here - there - corner, axis=1) / np.ptp(here[:, 1])
    normals = normalised(shared.points(vertex_normals(known.mesh.vertices, known.mesh.faces), known.mesh.faces))
    cosines = -(normals * normalised(shared.points(known.mesh.vertices, known.mesh.faces))).sum(1)
    cosines *= np.sign(np.median(cosines))
    steps = [*COSINES, -1.0]
    bands = [
        distances[(cosines >= least) & (cosines < most)] for most, least in zip([2.0, *steps], steps, strict=False)
    ]
    return [np.sqrt(np.mean(band**2)) if len(band) else np.nan for band in bands[: len(COSINES)]]


# ---- tables ----------------------------------------------------------------------------------------------------------


def costs(pictures: Mapping[str, Path]) -> list[str]:
    """Markdown: for pictures of each mesh the known mesh's scores, and what the found meshes' differ from them."""
    lines = ["Skin that the picture does not show, shared face. Known mesh, and differences to it (95 % t interval over photos).", ""]
    lines += ["| pictures by | mesh | " + " | ".join(_title(name) for name in SHOWN) + " |", "|---" * (len(SHOWN) + 2) + "|"]
    for made_by, folder in pictures.items():
        records = read_results(folder / "results.csv")
        known = {name: by_photo(records, DEFAULT, measures.SHARED + name, False) for name in SHOWN}
        cells = [_cell(name, estimate(list(values.values())) if values else None) for name, values in known.items()]
        lines.append(f"| {made_by} | known | " + " | ".join(cells) + " |")
        for mesh in pictures:
            method = f"found_{mesh}_{DEFAULT}"
            cells = [
                _cell(name, paired(by_photo(records, method, measures.SHARED + name, False), known[name]), "+")
                for name in SHOWN
            ]
            lines.append(f"| {made_by} | found {mesh} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def against(pictures: Mapping[str, Path]) -> list[str]:
    """Markdown: scores of the known meshes' default textures on texels that all of them score, and the differences of the
    first less the others."""
    first, *others = pictures
    records = {mesh: [] for mesh in pictures}
    views = set.intersection(*({place.parent.relative_to(folder / "views") for place in folder.glob("views/*/yaw*/picture")}
                               for folder in pictures.values()))  # fmt: skip
    for view in sorted(views):
        places = [folder / "views" / view for folder in pictures.values()]
        for mesh, scores in zip(pictures, common_scores(places), strict=True):
            records[mesh].append(Record(view.parent.name, view.name, DEFAULT, scores))
    lines = [f"Skin that neither picture shows, shared face, texels that all meshes score; {len(views)} views.", ""]
    lines += ["| mesh | " + " | ".join(_title(name) for name in SHOWN) + " |", "|---" * (len(SHOWN) + 1) + "|"]
    values = {m: {n: by_photo(found, DEFAULT, n, False) for n in SHOWN} for m, found in records.items()}
    for mesh, own in values.items():
        lines.append(f"| {mesh} | " + " | ".join(_cell(n, estimate(list(own[n].values())) if own[n] else None) for n in SHOWN) + " |")
    for mesh in others:
        cells = [_cell(name, paired(values[first][name], values[mesh][name]), "+") for name in SHOWN]
        lines.append(f"| {first} less {mesh} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def common_scores(places: Sequence[Path]) -> list[dict[str, float]]:
    """Scores of the default texture of each of several views of one photo and angle, made by different meshes: on the shared
    face in the face mask's layout, on the texels that all of them score."""
    moved, found = [], []
    for place in places:
        picture, known = load_reconstruction(place / "picture"), read_photo(place / "known.png")[..., 0] > 0
        texture, truth = (as_float(read_photo(place / name)) for name in (f"{DEFAULT}.png", "truth.png"))
        shared = shared_face(picture)
        size = known.shape[0] // shared.scale
        regions = reprojection.regions(picture, reprojection.Truth(truth, known, known, known))
        found.append(reprojection.shared_regions(regions, shared, size))
        moved.append([np.clip(carried(image, shared, face_mask(), size), 0, 1) for image in (texture, truth)])
    scores = []
    for place, (texture, truth), regions in zip(places, moved, found, strict=True):
        both = [np.logical_and.reduce([getattr(each, name) for each in found]) for name in ("known", "unseen", "seen")]
        own = measures.texture_scores(texture, truth, reprojection.Regions(*both, regions.visibility), seed=0)
        recorded = json.loads((place / f"{DEFAULT}.json").read_text(encoding="utf-8"))["scores"]
        identity = recorded.get(f"{measures.SHARED}opposite_identity")  # of all of the shared face, of one rendering
        scores.append(own | ({} if identity is None else {"opposite_identity": identity}))
    return scores


def read_results(path: Path) -> list[Record]:
    """The records of a results.csv of evaluate.py."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["photo"], row["view"], row["method"]), {})[row["measure"]] = float(row["value"])
    return [Record(*key, scores) for key, scores in found.items()]


def _title(name: str) -> str:
    return measures.MEASURES[name].title + {"higher": " ↑", "lower": " ↓", "": ""}[measures.MEASURES[name].better]


def _cell(name: str, found: Estimate | None, sign: str = "") -> str:
    if found is None:
        return "-"
    form = f"{sign}.{measures.MEASURES[name].digits}f"
    return f"{found.mean:{form}}" + ("" if found.low is None else f" [{found.low:{form}}, {found.high:{form}}]")


def _listed(errors: Sequence[float]) -> str:
    return ", ".join(f"{error:.1f} at cosines from {cosine}" for error, cosine in zip(errors, COSINES, strict=True))


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
