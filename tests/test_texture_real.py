"""Two real photos through both stages."""

import json

import cv2
import numpy as np
import pytest
import torch._dynamo  # noqa: F401  Triton, loaded after TensorFlow, crashes: run.sh has two processes, the tests one
from PIL import Image
from textured_heads import seam_steps

import refine
from external.setup import FOLDER
from external.wheel_pins import HEAD
from pipeline.reconstruction import program
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.reconstruction.photos import find_photos
from renderer.visibility import texel_geometry

pytestmark = pytest.mark.slow

SIZE = 512
SETTINGS = [
    f"texture_size={SIZE}", "render.maximum_size=512", "refine.iterations=6", "refine.rendering_iterations=30",
    "refine.features=patches", "device=cpu", "output.preview_size=96",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of results, made once: `finished(test_data)`."""
    made = {}

    def make(test_data):
        if test_data not in made:
            if not (test_data / "photos").is_dir():
                pytest.skip(f"needs real photos: {test_data} has no folder photos")
            photos = [str(photo.path) for photo in find_photos([test_data / "photos"])[:2]]
            if len(photos) < 2:
                pytest.skip(f"needs two real photos in {test_data / 'photos'}")
            out = tmp_path_factory.mktemp("real") / "out"
            assert program.main([*photos, "-o", str(out), *SETTINGS]) == 0
            assert refine.main([*photos, "-o", str(out), *SETTINGS]) == 0
            made[test_data] = out
        return made[test_data]

    return make


def results(out):
    return sorted(path for path in out.iterdir() if path.is_dir())


def picture(path):
    return np.asarray(Image.open(path)).astype(np.float64) / 255


def test_the_rendering_agrees_with_the_photo(finished, test_data):
    folders = results(finished(test_data))
    assert len(folders) == 2
    for folder in folders:
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["rendering"]["psnr"] > 32 and metrics["rendering"]["ssim"] > 0.88
        assert metrics["rendering"]["pixels"] > 20000
        curve = [entry["rendering"] for entry in metrics["loss_curve"]]
        assert curve[-1] < 0.8 * curve[0]  # which is the unwrapped photo, at the size of the result


def test_both_sides_are_filled(finished, test_data):
    for folder in results(finished(test_data)):
        texture, visibility = picture(folder / "texture.png"), picture(folder / "visibility.png")
        mask = texel_geometry(load_reconstruction(folder / "reconstruction").mesh, SIZE, SIZE).mask
        unseen = mask & (visibility < 0.5)
        # Pupils, lashes, dark hair and the back of the mouth may be nearly black.
        assert unseen.sum() > 1000 and (texture[unseen].max(-1) > 0.03).mean() > 0.99
        assert (texture[mask & (visibility < 0.9)].max(-1) == 0).mean() < 1e-4  # nowhere is nothing
        assert (texture[mask].max(-1) > 0.03).mean() > 0.99
        for half in (np.s_[:, : SIZE // 2], np.s_[:, SIZE // 2 :]):
            assert texture[half][mask[half]].mean() > 0.15
        assert 0.2 < (visibility[mask] > 0.99).mean() < 0.95
        # Of texels at the border of what is seen, none stands out from the seen one beside it.
        smooth = cv2.GaussianBlur(texture, (0, 0), 2)
        seen, unseen = visibility > 0.99, (visibility < 0.01) & mask
        beside = seen[:, :-3] & unseen[:, 3:]
        assert np.abs(smooth[:, 3:] - smooth[:, :-3])[beside].mean() < 0.08


def test_unseen_skin_has_the_colour_of_the_seen(finished, test_data):
    v = 1 - (np.arange(SIZE)[:, None] + 0.5) / SIZE
    for folder in results(finished(test_data)):
        texture, visibility = picture(folder / "texture.png"), picture(folder / "visibility.png")
        mask = texel_geometry(load_reconstruction(folder / "reconstruction").mesh, SIZE, SIZE).mask
        skin = mask & (v > 0.1) & (v < 0.9)
        seen, unseen = texture[skin & (visibility > 0.99)], texture[skin & (visibility < 0.01)]
        assert len(unseen) > 500
        brightness = abs(np.log(np.median(unseen.mean(-1)) / np.median(seen.mean(-1))))
        assert brightness < np.log(1.7)
        chroma = [np.median(part, axis=0) / np.median(part, axis=0).sum() for part in (seen, unseen)]
        assert np.abs(chroma[0] - chroma[1]).max() < 0.03
        spread = np.percentile(unseen.mean(-1), 99) - np.percentile(seen.mean(-1), 99)
        assert spread < 0.15  # no glare made up


def test_eyes_are_where_eyes_belong(finished, test_data):
    """The darkest texels of the eyes' places are darker than the cheeks below, on both sides alike."""
    u, v = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, 1 - (np.arange(SIZE) + 0.5) / SIZE)
    for folder in results(finished(test_data)):
        grey = picture(folder / "texture.png").mean(-1)
        for side in (-1, 1):
            centre = 0.5 + side * 0.19
            eye = (np.abs(u - centre) < 0.07) & (np.abs(v - 0.68) < 0.035)
            cheek = (np.abs(u - centre) < 0.07) & (np.abs(v - 0.5) < 0.035)
            assert np.percentile(grey[eye], 5) < 0.7 * np.median(grey[cheek])


def test_the_reconstruction_is_the_photos(finished, test_data):
    out = finished(test_data)
    for photo, folder in zip(find_photos([test_data / "photos"])[:2], results(out), strict=True):
        found = load_reconstruction(folder / "reconstruction")
        left, top, width, height = found.source["photo"]["crop"]
        original = np.asarray(Image.open(photo.path).convert("RGB"))
        assert (found.photo == original[top : top + height, left : left + width]).all()
        turn, shift = found.head_to_camera[:3, :3], found.head_to_camera[:3, 3]
        eyes = found.camera.project(found.rig.eye_centres[::-1] @ turn.T + shift)  # the right one first
        expected = np.array(found.source["points"])
        assert np.abs(eyes - expected[:2]).max() < 0.15 * np.linalg.norm(expected[0] - expected[1])


def test_a_whole_head_at_2048_shows_no_seam_at_any_mip_level_and_its_glb_is_small(test_data, tmp_path):
    photos = [photo.path for photo in find_photos([test_data / "photos"])] if (test_data / "photos").is_dir() else []
    if not photos or not (FOLDER / HEAD.makes.path).is_file():
        pytest.skip(f"needs a real photo in {test_data / 'photos'} and the head model of the set-up")
    photo = max(photos, key=_unevenness)
    words = [str(photo), "-o", str(tmp_path / "out"), "reconstruct.system=head", "texture_size=2048", "device=cpu"]
    words += ["refine.features=none", "output.preview_size=96"]
    assert program.main(words) == 0 and refine.main(words) == 0
    (folder,) = results(tmp_path / "out")
    assert (folder / f"{folder.name}.glb").stat().st_size < 10e6
    steps = seam_steps(picture(folder / "texture.png").astype(np.float32))
    print({side: round(255 * step, 2) for side, step in steps.items()})
    assert max(step for side, step in steps.items() if side >= 64) < 1 / 255
    assert steps[32] < 4 / 255  # one texel is 27 mm of the face


def _unevenness(path):
    """How much the light of a photo's halves differs: the harder, the more a seam would show."""
    grey = picture(path).mean(-1)
    return abs(np.diff([half.mean() for half in np.array_split(grey, 2, axis=1)])[0])
