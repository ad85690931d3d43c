"""The paper's pipeline from end to end, on stand-in files of the true names, keys and shapes."""

import json

import numpy as np
import pytest
import torch._dynamo  # noqa: F401  Triton, loaded after TensorFlow, crashes: run.sh has two processes, the tests one
import trimesh
from PIL import Image
from stand_in_assets import (
    published_shapes,
    published_topology,
    write_backbone,
    write_face_model,
    write_reconstruction_checkpoint,
    write_vgg16,
)

import refine
from external.errors import MissingAssets
from pipeline.reconstruction import program
from pipeline.reconstruction.folder import load_reconstruction

pytestmark = pytest.mark.slow

SHORT = [
    "texture_size=128", "refine.transfers=2", "refine.iterations=2", "refine.result_samples=128", "refine.style_samples=64",
    "render.maximum_size=256", "output.preview_size=64", "device=cpu", "renderer=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """A folder with a stand-in of everything the paper's configs need: `assets(test_data)`."""
    made = {}

    def make(test_data):
        if not made:
            shapes = {name: published_shapes(test_data, name) for name in ("deep3d_net_recon", "arcface_iresnet50")}
            if not (test_data / "bfm_topology").is_dir() or None in shapes.values():
                pytest.skip(f"needs bfm_topology in {test_data} and the published shapes in compat beside it")
            folder = tmp_path_factory.mktemp("assets")
            for name in ("BFM", "deep3dfacerecon", "arcface"):
                (folder / name).mkdir()
            write_face_model(folder / "BFM", published_topology(test_data))
            write_reconstruction_checkpoint(folder / "deep3dfacerecon" / "epoch_latest.pth", shapes["deep3d_net_recon"])
            write_backbone(folder / "arcface" / "backbone.pth", shapes["arcface_iresnet50"])
            write_vgg16(folder / "vgg16.pth")
            made["folder"] = folder
        return made["folder"]

    return make


@pytest.fixture(scope="module")
def finished(assets, tmp_path_factory):
    """OUT of figure8 on three photos, one of them without a content image: `finished(test_data)` -> (OUT, exit codes)."""
    made = {}

    def make(test_data):
        if not made:
            folder, out = assets(test_data), tmp_path_factory.mktemp("figure8") / "out"
            photos = [str(test_data / "photos" / f"{name}.png") for name in ("00073", "00128", "34141")]
            words = [*photos, "-o", str(out), "-c", "figure8", f"assets={folder}", f"content={test_data / 'content_ostec'}"]
            words += [f"refine.vgg16_weights={folder / 'vgg16.pth'}", *SHORT]
            with pytest.warns(UserWarning, match="the published file's"):
                made["all"] = out, program.main(words), refine.main(words)
        return made["all"]

    return make


def test_figure8_writes_every_output_and_counts_what_has_no_content(finished, test_data):
    out, first, second = finished(test_data)
    assert (first, second) == (0, 1)
    photos = json.loads((out / "manifest.json").read_text())["photos"]
    assert {name: entry["status"] for name, entry in photos.items()} == {"00073": "done", "00128": "failed", "34141": "done"}
    assert "has no image named 00128" in photos["00128"]["message"]
    for name in ("00073", "34141"):
        written = {path.name for path in (out / name).iterdir()}
        assert written == {
            "reconstruction", "sampled.png", "visibility.png", "initial.png", "texture.png", f"{name}.obj", f"{name}.mtl",
            f"{name}.glb", f"{name}_texture.png", "preview.png", "provenance.png", "rendering.png", "metrics.json",
        }  # fmt: skip
        metrics = json.loads((out / name / "metrics.json").read_text())
        assert metrics["features"] == "vgg16" and -1 <= metrics["identity"]["arcface"] <= 1
        assert set(metrics["shares"]) == {"observed", "given"} and sum(metrics["shares"].values()) == pytest.approx(1)


def test_the_manifest_says_which_assets_are_not_for_commerce(finished, test_data):
    manifest = json.loads((finished(test_data)[0] / "manifest.json").read_text())
    named = " ".join(manifest["non_commercial_because_of"])
    assert "Basel Face Model" in named and "ArcFace" in named and "MTCNN" not in named


def test_the_crop_is_the_photo_pixel_for_pixel(finished, test_data):
    out = finished(test_data)[0]
    for name in ("00073", "34141"):
        folder = out / name / "reconstruction"
        source = json.loads((folder / "source.json").read_text())
        left, top, width, height = source["photo"]["crop"]
        photo = np.asarray(Image.open(test_data / "photos" / f"{name}.png").convert("RGB"))
        crop = np.asarray(Image.open(folder / "photo.png"))
        np.testing.assert_array_equal(crop, photo[top : top + height, left : left + width])
        # detections/*.txt are taken where they are there
        given = np.loadtxt(test_data / "photos" / "detections" / f"{name}.txt")
        np.testing.assert_allclose(np.array(source["points"]) + [left, top], given + 0.5, atol=1e-6)


def test_exports_are_in_metres(finished, test_data):
    """The Basel Face Model has decimetres: its face is 2 units high."""
    folder = finished(test_data)[0] / "00073"
    assert load_reconstruction(folder / "reconstruction").metres_per_unit == 0.1
    for ending in ("obj", "glb"):
        loaded = trimesh.load(folder / f"00073.{ending}", force="mesh", process=False)
        sizes = np.ptp(load_reconstruction(folder / "reconstruction").mesh.vertices, axis=0)
        assert np.linalg.norm(loaded.extents) == pytest.approx(0.1 * np.linalg.norm(sizes), rel=0.3)  # of turned boxes


def test_one_batch_is_as_good_as_one_by_one(finished, assets, test_data, tmp_path):
    folder = assets(test_data)
    words = [str(test_data / "photos" / "34141.png"), "-o", str(tmp_path / "one"), "-c", "figure8", f"assets={folder}"]
    words += [f"refine.vgg16_weights={folder / 'vgg16.pth'}", f"content={test_data / 'content_ostec'}", *SHORT]
    assert program.main(words) == 0
    one = load_reconstruction(tmp_path / "one" / "34141" / "reconstruction")
    of_batch = load_reconstruction(finished(test_data)[0] / "34141" / "reconstruction")
    np.testing.assert_allclose(one.mesh.vertices, of_batch.mesh.vertices, atol=1e-4)


def test_figure7_starts_from_the_face_models_colours(assets, test_data, tmp_path):
    folder = assets(test_data)
    words = [str(test_data / "photos" / "00073.png"), "-o", str(tmp_path / "out"), "-c", "figure7", f"assets={folder}"]
    words += [f"refine.vgg16_weights={folder / 'vgg16.pth'}", *SHORT]
    with pytest.warns(UserWarning, match="the published file's"):
        assert program.main(words) == 0 and refine.main(words) == 0
    content = np.asarray(Image.open(tmp_path / "out" / "00073" / "reconstruction" / "content.png")).astype(float)
    initial = np.asarray(Image.open(tmp_path / "out" / "00073" / "initial.png")).astype(float)
    assert content.shape == initial.shape == (128, 128, 3) and content.std() > 5
    inside = np.asarray(Image.open(tmp_path / "out" / "00073" / "visibility.png")) > 250
    assert np.abs(content - initial)[inside].max() <= 1


def test_nothing_present_is_one_message_before_any_work(tmp_path, test_data, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("external.assets.fetch", lambda *_: pytest.fail("nothing is fetched where more is missing"))
    out = tmp_path / "out"
    with pytest.raises(MissingAssets) as error:
        program.main([str(test_data / "photos"), "-o", str(out), "-c", "figure8", f"assets={tmp_path}", "content=nowhere"])
    message = str(error.value)
    for name in ("BFM_model_front.mat", "epoch_latest.pth", "vgg16-397923af.pth", "nowhere", "BFM_UV.mat"):
        assert name in message, name
    assert not out.exists()
