"""What the reconstruction's own errors cost: evaluate.py's pictures, with meshes found in them.

    python tests/benchmarks/bench_geometry.py [PHOTO | FOLDER]... [-o OUT] [--size TEXELS] [--yaws=-45,45]
        [--variant 'NAME key=value ...']...

Writes OUT/pictures as evaluate.py does, finds a face in each picture, refines that reconstruction with the default
settings and each variant, and scores these textures against the truth: OUT/pictures/summary.md, where NAME and
found_NAME are the same settings with the known mesh and the found one. Prints how far the found meshes are off in the
pictures.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import evaluate
import refine
from evaluation.views import PHOTO
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction
from pipeline.runs.files import write_image
from pipeline.settings.command_line import run_main
from renderer.mesh import normalised, vertex_normals

COSINES = (0.6, 0.45, 0.35, 0.25, 0.15)  # of the viewing angle: points are told apart by them


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("-o", "--out", type=Path, default=Path("outputs/geometry"))
    parser.add_argument("--size", default="256")
    parser.add_argument("--yaws", default="-45,45")
    parser.add_argument("--variant", action="append", default=[])
    given = parser.parse_args(argv)
    variants = {"default": []} | {name: changes for name, *changes in map(shlex.split, given.variant)}
    pictures, textures = given.out / "pictures", given.out / "textures"
    scored = [*given.inputs, "-o", str(pictures), "--size", given.size, f"--yaws={given.yaws}", "--baselines", ""]
    scored += [word for text in given.variant for word in ("--variant", text)]
    evaluate.main(scored)  # makes the pictures
    found = find_meshes(pictures, given.out / "found")
    if not found:
        print("no face was found in any picture")
        return 1
    for name, changes in variants.items():
        out = given.out / f"refined_{name}"
        refine.main([*map(str, found.values()), "-o", str(out), f"texture_size={given.size}", *changes])
        (textures / name).mkdir(parents=True, exist_ok=True)
        for view in found:
            shutil.copyfile(out / view / "texture.png", textures / name / f"{view}.png")
        for place in pictures.glob(f"views/*/{PHOTO}"):  # the photo itself has one mesh only
            shutil.copyfile(place / f"{name}.png", textures / name / f"{place.parent.name}.png")
        scored += ["--textures", f"found_{name}={textures / name}"]
    evaluate.main([*scored, "--baseline", "found_default"])
    return 0


def find_meshes(pictures: Path, out: Path) -> dict[str, Path]:
    """{photo_view: reconstruction folder} of the faces found in the pictures; what is no truth in them is masked."""
    photos = out / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    places = [place for place in sorted(pictures.glob("views/*/yaw*")) if (place / "picture").is_dir()]
    places = {f"{place.parent.name}_{place.name}": place for place in places}
    for name, place in places.items():
        shutil.copyfile(place / "picture" / "photo.png", photos / f"{name}.png")
    command = [sys.executable, "-P", "-m", "pipeline.reconstruction", str(photos), "-o", str(out)]
    subprocess.run(command, cwd=ROOT, check=False)
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
    print("Root mean square distance of the found mesh's points from the known ones, % of the face's height:")
    for name, error in errors.items():
        print(f"  {name}: " + _listed(error))
    print(f"{len(found)} of {len(places)} pictures; median " + _listed(np.nanmedian(list(errors.values()), axis=0)))
    return found


def point_errors(known: Reconstruction, found: Reconstruction, corner: tuple[int, int]) -> list[float]:
    """For each of COSINES, the root mean square image distance of the points seen at that angle or better, up to the
    next one, in % of the face's height.

    corner: left, top of the found reconstruction's photo in the known one's.
    """
    here = known.camera.project(known.mesh.vertices)
    there = found.camera.project(found.mesh.vertices) + corner
    distances = 100 * np.linalg.norm(here - there, axis=1) / np.ptp(here[:, 1])
    normals = vertex_normals(known.mesh.vertices, known.mesh.faces)
    cosines = -(normals * normalised(known.mesh.vertices)).sum(1)
    cosines *= np.sign(np.median(cosines))
    steps = [*COSINES, -1.0]
    bands = [
        distances[(cosines >= least) & (cosines < most)] for most, least in zip([2.0, *steps], steps, strict=False)
    ]
    return [np.sqrt(np.mean(band**2)) if len(band) else np.nan for band in bands[: len(COSINES)]]


def _listed(errors: Sequence[float]) -> str:
    return ", ".join(f"{error:.1f} at cosines from {cosine}" for error, cosine in zip(errors, COSINES, strict=True))


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
