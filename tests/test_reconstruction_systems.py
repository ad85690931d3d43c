"""reconstruct.system: head, and auto, which takes the face where the head does not fit."""

import json

import numpy as np
import pytest
from head_file import head_model, needs_head
from skimage import data

from external.anny.fit import FitError
from external.anny.reconstruction import HeadFitter
from external.wheel_pins import HEAD
from pipeline.reconstruction import program, systems
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.runs.files import write_image
from renderer.rasterize import rasterize


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    write_image(path, data.astronaut())
    return path


@pytest.fixture(scope="module")
def made(photo, tmp_path_factory):
    """The reconstruction folder of a photo with `reconstruct.system=head`."""
    out = tmp_path_factory.mktemp("out")
    assert program.main([str(photo), "-o", str(out), "reconstruct.system=head"]) == 0
    return out / "astronaut" / "reconstruction"


@needs_head
def test_a_head_with_its_rig(made):
    reconstruction = load_reconstruction(made)  # checks the rig against the mesh
    rig, model = reconstruction.rig, head_model()
    assert reconstruction.source["system"] == systems.Head.name and reconstruction.symmetric
    assert {"MediaPipe Face Mesh networks", HEAD.name} <= {asset["name"] for asset in reconstruction.source["assets"]}
    assert tuple(rig.target_names) == (*model.expression_names, "photoLips") and tuple(rig.part_names) == model.part_names
    assert len(reconstruction.mesh.faces) == len(model.triangles)
    np.testing.assert_allclose(rig.eye_centres[0, 0] - rig.eye_centres[1, 0], 0.063, atol=0.006)
    pupils = rig.eye_centres @ reconstruction.head_to_camera[:3, :3].T + reconstruction.head_to_camera[:3, 3]
    seen = reconstruction.camera.project(pupils)[::-1]  # the person's right eye is left in the image
    points = np.array(reconstruction.source["points"])
    assert np.abs(seen - points[:2]).max() < 0.1 * np.linalg.norm(points[0] - points[1])


@needs_head
def test_the_mask_leaves_hair_out_and_the_face_in(made):
    reconstruction = load_reconstruction(made)
    covered = rasterize(reconstruction.mesh, reconstruction.camera).face_ids >= 0
    shown = reconstruction.mask[covered] > 127
    assert 0.4 < shown.mean() < 0.9  # the astronaut's hair lies over temples and scalp
    rows, columns = np.array(reconstruction.source["points"]).round().astype(int).T[::-1]
    assert (reconstruction.mask[rows, columns] == 255).all()


@needs_head
@pytest.mark.parametrize("system", ["auto", "head"])
def test_where_the_head_does_not_fit(photo, tmp_path, monkeypatch, capsys, system):
    def fit(*arguments):
        raise FitError("the eyes are crossed")

    monkeypatch.setattr(HeadFitter, "fit", fit)
    code = program.main([str(photo), "-o", str(tmp_path), f"reconstruct.system={system}"])
    printed = capsys.readouterr().out
    assert "the eyes are crossed" in printed
    if system == "head":
        assert code == 1 and "failed: the eyes are crossed" in printed
        return
    folder = tmp_path / "astronaut" / "reconstruction"
    assert code == 0 and "a face instead of a head: the eyes are crossed" in printed
    assert json.loads((folder / "source.json").read_text())["system"] == systems.FaceMesh.name
    assert load_reconstruction(folder).rig is None


def test_a_missing_head_model_is_said_before_any_photo(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("external.setup.FOLDER", tmp_path / "none")
    from external.errors import MissingAssets

    with pytest.raises(MissingAssets, match="external.assets setup"):
        program.main([str(photo), "-o", str(tmp_path / "out"), "reconstruct.system=head"])
    assert not (tmp_path / "out").exists()
