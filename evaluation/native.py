"""How well finished textures reproduce their photos on the face that all meshes share.

    python -m evaluation.native RUN...

For each photo of the runs (folders of results of ./run.sh): PSNR and SSIM of the rendering against the photo at native
resolution, over the pixels that surely show seen skin of the shared face (evaluation/shared.py); with several runs also
over the pixels that all of them show, and the overlap of the shared faces themselves.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.shared import shared_face
from external.errors import UserError
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.reconstruction.images import as_float, read_photo
from pipeline.settings.command_line import ALL_DONE, SOME_FAILED, Parser, run_main
from pipeline.settings.errors import ConfigError
from pipeline.texture.comparison import rendered_over, surely_shown
from pipeline.texture.scores import rendering_scores
from renderer.lookup import build_lookup

FILES = ("texture.png", "visibility.png", "reconstruction/photo.png")


@dataclass(frozen=True)
class Shown:
    """A finished texture over its photo."""

    rendering: np.ndarray  # [H, W, 3], 0..1, over the photo
    photo: np.ndarray  # [H, W, 3], 0..1: a part of the upright photo
    corner: tuple[int, int]  # left, top of that part
    seen: np.ndarray  # [H, W] bool, pixels that surely show seen skin of the shared face
    face: np.ndarray  # [H, W] bool, pixels that surely show the shared face, seen or not

    def scores(self, region: np.ndarray) -> dict[str, float | None]:
        """PSNR and SSIM over a region [H, W] bool."""
        return rendering_scores(self.rendering, self.photo, region)


def shown(results: Path) -> Shown:
    """Of a photo's results folder. Raises UserError."""
    reconstruction = load_reconstruction(results / "reconstruction")
    shared = shared_face(reconstruction)
    if shared is None:
        needed = "needed is that of the head, with the head model that the set-up makes, or that of the face mask"
        raise UserError(f"{results / 'reconstruction' / 'mesh.obj'} has another layout; {needed}")
    texture = as_float(read_photo(results / "texture.png"))
    size = texture.shape[0]
    visibility = as_float(read_photo(results / "visibility.png"))[..., 0]
    if texture.shape[:2] != (size, size) or visibility.shape != (size, size):
        raise UserError(f"{results}: texture.png and visibility.png must be squares of one size")
    photo, region = as_float(reconstruction.photo), shared.region(size, size)
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, size, size)
    crop = reconstruction.source.get("photo", {}).get("crop", (0, 0))
    seen, face = (surely_shown(lookup, share * region) for share in (visibility, np.float32(1)))
    return Shown(rendered_over(lookup, texture, photo), photo, (crop[0], crop[1]), seen, face)


def common(pictures: Sequence[Shown], name: str) -> tuple[list[np.ndarray], float]:
    """What all pictures of one photo have of an area of theirs, seen or face: for each picture, [H, W] bool; and the
    intersection over union of the areas."""
    windows = [
        (slice(top, top + picture.photo.shape[0]), slice(left, left + picture.photo.shape[1]))
        for picture in pictures
        for left, top in [picture.corner]
    ]
    size = [max(window[axis].stop for window in windows) for axis in (0, 1)]
    areas = np.zeros((len(pictures), *size), bool)
    for area, picture, window in zip(areas, pictures, windows, strict=True):
        area[window] = getattr(picture, name)
    everywhere, union = areas.all(0), np.count_nonzero(areas.any(0))
    return [everywhere[window] for window in windows], np.count_nonzero(everywhere) / union if union else 1.0


def main(argv: Sequence[str]) -> int:
    """Prints a table; returns the exit code. Raises ConfigError."""
    parser = Parser(prog="python -m evaluation.native", description=__doc__, usage="%(prog)s RUN...")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of results of ./run.sh")
    runs = [Path(name) for name in parser.parse_args(argv).runs]
    photos = {run: sorted(path.name for path in run.iterdir() if _is_finished(path)) for run in runs if run.is_dir()}
    for run in runs:
        if not photos.get(run):
            raise ConfigError(f"{run} has no finished photo; needed is a folder of results of ./run.sh")
    compares = len(runs) > 1
    print("photo, run: PSNR (dB), SSIM, pixels" + ("; the same in the common pixels" if compares else ""))
    rows, complete = {run: [] for run in runs}, True
    for photo in dict.fromkeys(name for names in photos.values() for name in names):
        try:
            complete &= _report(photo, [run for run in runs if photo in photos[run]], rows, compares)
        except UserError as error:
            complete = False
            print(f"{photo}: {error}")
    for run, values in rows.items():
        if values:
            print(f"mean of {len(values)}, {run}: {_text(np.mean(values, axis=0))}; lowest: {_text(np.min(values, axis=0))}")
    return ALL_DONE if complete else SOME_FAILED


def _is_finished(results: Path) -> bool:
    return all((results / name).is_file() for name in FILES)


def _report(photo: str, runs: Sequence[Path], rows: dict[Path, list[list[float]]], compares: bool) -> bool:
    """Prints a photo's lines and adds its scores to the runs' rows. Returns whether it has all scores. Raises UserError."""
    pictures = [shown(run / photo) for run in runs]
    everywhere, _ = common(pictures, "seen")
    _, overlap = common(pictures, "face")
    complete = True
    for run, picture, here in zip(runs, pictures, everywhere, strict=True):
        found = [picture.scores(region) for region in ([picture.seen, here] if compares else [picture.seen])]
        row = [np.nan if value is None else value for scores in found for value in scores.values()]
        pixels = np.count_nonzero(picture.seen)
        print(f"{photo}, {run}: {_text(row[:2])}, {pixels}" + (f"; {_text(row[2:])}, {np.count_nonzero(here)}" if compares else ""))
        complete &= bool(np.isfinite(row).all())
        rows[run].append(row)
    if compares:
        print(f"{photo}: intersection over union of the shared faces, seen or not: {overlap:.3f}")
    return complete


def _text(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" if k % 2 == 0 else f"{value:.4f}" for k, value in enumerate(values))


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
