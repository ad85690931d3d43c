"""Truth, pictures with known geometry, the published choices, and planted defects, on synthetic heads."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.bench_geometry import COSINES, point_errors
from synthetic_faces import albedo, head, head_normals, lit, photograph

from evaluation import defects, statistics
from evaluation.identity import lifted
from evaluation.methods import baseline_methods, defect_methods, make_texture, mirror_fill, nearest_fill
from evaluation.prepared import prepare
from evaluation.published import published_texture, stretched, vertex_lookup
from evaluation.reprojection import (
    at_size,
    make_truth,
    photographed,
    regions,
    standard,
    turned,
    viewpoint,
    yaw_of,
)
from evaluation.views import Scoring, Task, read_records, run_view, suits_reprojection
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import as_float, read_photo
from pipeline.texture.sampled import unwrap_photo
from renderer.camera import Camera
from renderer.mesh import Mesh

SIZE = 128


def synthetic(yaw=0.0, seed=7):
    """The reconstruction of a photo of a head with grain, moles that are not symmetric, and light from one side."""
    found = head(yaw, width=300, height=280)
    normals, _ = head_normals(found, 256)
    generator = np.random.default_rng(seed)
    skin = albedo(256, 0.4) * (1 + 0.05 * generator.normal(size=(256, 256, 1)).astype(np.float32))
    rows, columns = np.mgrid[:256, :256]
    for row, column in generator.integers(40, 216, (25, 2)):
        skin[(rows - row) ** 2 + (columns - column) ** 2 < 12] *= 0.6
    photo = photograph(lit(skin, normals, 0.15), found)
    return Reconstruction(found.mesh, found.camera, photo, None, None, found.head_to_camera, True, {})


@pytest.fixture(scope="module")
def bob():
    return synthetic()


@pytest.fixture(scope="module")
def truth(bob):
    return make_truth(bob, SIZE)


@pytest.fixture(scope="module")
def picture(bob, truth):
    return photographed(turned(bob, 60.0, 160), truth)


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [-65.0, 0.0, 30.0])
def test_a_head_is_turned_by_its_yaw(bob, yaw):
    view = turned(bob, yaw, 160)
    assert yaw_of(view) == pytest.approx(yaw, abs=1e-6)
    assert yaw_of(turned(view, -yaw, 90)) == pytest.approx(-yaw, abs=1e-6)
    # Rigid: distances between vertices are the same.
    for mesh in (bob.mesh, view.mesh):
        mesh_size = np.linalg.norm(mesh.vertices[:50, None] - mesh.vertices[None, :50], axis=-1)
        assert mesh_size == pytest.approx(np.linalg.norm(bob.mesh.vertices[:50, None] - bob.mesh.vertices[None, :50], axis=-1))
    inside = view.camera.project(view.mesh.vertices)
    assert inside[:, 1].min() > 0 and inside[:, 1].max() < 160
    nose = view.camera.project(view.mesh.vertices[1:2])[0, 0]  # Face Mesh's point 1 is the tip
    assert np.sign(nose - 80) == np.sign(yaw) or yaw == 0


def test_the_picture_shows_the_truth(picture, truth):
    textures = prepare(picture, standard(SIZE))
    sure = (textures.visibility > 0.99) & truth.known
    assert np.abs(textures.sampled - truth.texture)[sure].mean() < 0.02
    found = regions(picture, truth)
    assert (found.seen == sure).all() and not (found.seen & found.unseen).any()
    assert found.unseen.sum() > 1000 and found.seen.sum() > 1000 and (found.unseen <= truth.known).all()


def test_what_is_made_up_cannot_be_copied(bob, truth):
    """Other colours where the truth is not known change nothing that a method is told of seen texels."""
    repainted = replace(truth, texture=np.where(truth.known[..., None], truth.texture, [0, 1, 0]).astype(np.float32))
    view = turned(bob, 60.0, 160)
    first, second = (unwrap_photo(photographed(view, each), standard(SIZE)) for each in (truth, repainted))
    assert (first.visibility == second.visibility).all()
    # A texel at the rim of the known ones may hold a little of its neighbour.
    sure = first.visibility > 0.99
    assert sure.sum() > 1000 and np.abs(first.sampled - second.sampled)[sure].max() < 0.05


def test_a_viewpoint_shows_known_truth_only(bob, truth):
    view = viewpoint(turned(bob, 0.0, 160), truth)
    repainted = np.where(truth.known[..., None], truth.texture, 0)
    assert view.shown.mean() > 0.1
    assert np.abs(view.render(truth.texture) - view.render(repainted))[view.shown].max() < 0.02
    assert view.render(truth.texture)[0, 0] == pytest.approx([0.5] * 3)


def test_points_are_carried_over_the_mesh(bob):
    points = np.array([[120.5, 100.5], [160.5, 140.5]])
    on_head = lifted(bob, points)
    pose = bob.head_to_camera
    assert bob.camera.project(on_head @ pose[:3, :3].T + pose[:3, 3]) == pytest.approx(points)
    assert lifted(bob, None) is None


def test_sizes():
    texture = np.random.default_rng(0).uniform(0.2, 0.8, (64, 64, 3)).astype(np.float32)
    assert at_size(texture, 64) is texture
    assert at_size(texture, 32) == pytest.approx(texture.reshape(32, 2, 32, 2, 3).mean((1, 3)), abs=1e-5)
    assert at_size(texture, 80).shape == (80, 80, 3)


# ---- fills and the published choices ---------------------------------------------------------------------------------


def test_fills():
    sampled = np.zeros((4, 6, 3), np.float32)
    sampled[:, :2] = np.array([[0.2], [0.3], [0.4], [0.5]], np.float32)[..., None]
    sampled[:, 1] += 0.1
    visibility = np.zeros((4, 6), np.float32)
    visibility[:, :2] = 1
    textures = SimpleNamespace(sampled=sampled, visibility=visibility, mask=np.ones((4, 6), bool))
    assert nearest_fill(textures)[1, :, 0] == pytest.approx([0.3, 0.4, 0.4, 0.4, 0.4, 0.4])
    assert mirror_fill(textures)[1, :, 0] == pytest.approx([0.3, 0.4, 0.4, 0.4, 0.4, 0.3])


def test_vertex_colours_by_hand():
    """One triangle over the whole of a 3 x 4 image: every pixel blends the texels of its three vertices."""
    mesh = Mesh([[-9, -9, 1], [9, -9, 1], [0, 9, 1]], [[0, 1, 2]], [[0.1, 0.9], [0.9, 0.9], [0.5, 0.1]], [[0, 1, 2]])
    lookup = vertex_lookup(mesh, Camera(4, 3, 1, 1, 2, 1.5), 5, 5)
    assert lookup.matrix.shape == (12, 25) and lookup.matrix.sum(1) == pytest.approx(np.ones(12))
    touched = np.flatnonzero(np.asarray(lookup.matrix.sum(0)))
    assert touched.tolist() == [0, 4, 22]  # rows and columns (0, 0), (0, 4), (4, 2)
    centre_x, centre_y = 0.5, 0.0  # of pixel (1, 2)
    third = (centre_y + 9) / 18
    second = (centre_x + 9 - 9 * third) / 18
    row = lookup.matrix[[1 * 4 + 2]].toarray()[0]
    assert row[[0, 4, 22]] == pytest.approx([1 - second - third, second, third], abs=1e-5)


def test_baselines_are_of_the_plain_sampled_texture_and_published_has_features():
    config = replace(standard(64), device="cpu")
    found = {method.name: method.config for method in baseline_methods(["completion", "completion_rendering", "published"], config)}
    assert config.unwrap.fit_iterations > 0 and {each.unwrap.fit_iterations for each in found.values()} == {0}
    assert found["completion_rendering"].refine.features == "none" and found["published"].refine.features == "patches"


def test_stretching():
    texture = np.array([[[0.2, 0.3, 0.4]], [[0.6, 0.5, 0.4]], [[9.0, -9.0, 0.0]]], np.float32)
    found = stretched(texture, np.array([[True], [True], [False]]))
    assert found[0, 0, 0] == 0 and found[1, 0, 0] == 1
    assert found[0, 0, 1] * 255 == pytest.approx(round(0.25 * 255), abs=1)


def test_the_published_choices_run(picture, monkeypatch):
    from evaluation import published

    monkeypatch.setattr(published, "STEPS", 2)
    monkeypatch.setattr(published, "TRANSFERS", 2)
    config = standard(64)
    textures = prepare(picture, config)
    found = published_texture(picture, textures, config, None, torch.device("cpu"))
    assert found.shape == (64, 64, 3) and np.isfinite(found).all()
    assert found[textures.mask].min() == 0 and found[textures.mask].max() == 1


# ---- planted defects -------------------------------------------------------------------------------------------------


def test_defects_spoil_unseen_texels_only():
    texture = np.random.default_rng(0).uniform(0.2, 0.8, (64, 96, 3)).astype(np.float32)
    unseen = np.zeros((64, 96), np.float32)
    unseen[:, 50:] = 1
    for name, spoil in defects.DEFECTS.items():
        spoilt = spoil(texture, unseen, 3)
        assert not np.array_equal(spoilt[:, 50:], texture[:, 50:]), name
        assert name == "swapped_sides" or np.array_equal(spoilt[:, :50], texture[:, :50])
        assert np.array_equal(spoilt, spoil(texture, unseen, 3))
    tinted = defects.tint(texture, unseen)[:, 50:] - texture[:, 50:]
    assert tinted.mean((0, 1)) == pytest.approx([0, 4 / 255, 0], abs=1e-6)
    grain = defects.grain(texture, unseen, 3)[:, 50:] - texture[:, 50:]
    assert grain.std() == pytest.approx(6 / 255, rel=0.05)


def test_every_planted_defect_is_seen(tmp_path):
    """Each worsens a measure significantly, paired over views of two heads."""
    size = 192  # a blur of 2 texels of 512 is nothing on smaller ones
    config = standard(size)
    methods = baseline_methods(["completion"], config) + defect_methods(config)
    tasks = []
    for name, seed in (("ann", 3), ("bob", 7)):
        folder = tmp_path / name
        folder.mkdir()
        found = synthetic(seed=seed)
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(folder, found.mesh, found.camera, found.photo, None, source)
        assert suits_reprojection(folder) == (True, pytest.approx(0, abs=2))
        scoring = Scoring(tmp_path / "out", size, 0)
        tasks += [Task(name, name, folder, yaw, methods, scoring) for yaw in (-60.0, 45.0, 60.0)]
    for task in tasks:
        assert run_view(task)[1] == 0
    records, left_out = read_records(tasks)
    assert left_out == []
    seen = {name: statistics.worsened(records, f"defect_{name}", "completion") for name in defects.DEFECTS}
    assert all(seen.values()), seen
    assert {"seam"} <= set(seen["tint"]) and {"patch_distance_1"} <= set(seen["grain"]) & set(seen["blur"])
    assert "unseen_psnr" in seen["shifted_mirror"] and "seen_psnr" in seen["swapped_sides"]
    # What a picture is made of can be given to any program.
    again = load_reconstruction(tasks[0].place / "picture")
    texture = make_texture(methods[0], again, prepare(again, methods[0].config), size)
    assert np.abs(texture - as_float(read_photo(tasks[0].place / "completion.png"))).max() < 0.02


def test_slivers_are_no_picture(tmp_path):
    """From the far side a turned head's photo leaves too little of the truth: the view is left out, and that is said."""
    found = synthetic(yaw=30.0)
    source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    save_reconstruction(tmp_path, found.mesh, found.camera, found.photo, None, source)
    config = standard(64)
    methods = baseline_methods(["mirror_fill"], config)
    tasks = [Task("ann", "ann", tmp_path, yaw, methods, Scoring(tmp_path / "out", 64, 0)) for yaw in (-75.0, 45.0)]
    lines = [run_view(task) for task in tasks]
    assert "left out, shows" in lines[0][0] and lines[0][1] == 0 and "1 methods" in lines[1][0]
    records, left_out = read_records(tasks)
    assert [record.view for record in records] == ["yaw+45"]
    assert len(left_out) == 1 and left_out[0].startswith("ann yaw-75: shows")
    assert not (tasks[0].place / "truth.png").exists()
    assert "finished before" in run_view(tasks[0])[0]


def test_point_errors_of_a_found_mesh():
    known = turned(synthetic(), 30, SIZE)
    camera = known.camera
    assert np.allclose(point_errors(known, known, (0, 0)), 0)
    # The found photo is a part of the known one: the same mesh, seen by the cropped camera.
    cropped = replace(known, camera=camera.cropped(11, 7, SIZE - 20, SIZE - 20))
    assert np.allclose(point_errors(known, cropped, (11, 7)), 0)
    moved = replace(known, camera=replace(camera, cx=camera.cx + 3, cy=camera.cy - 4))
    height = np.ptp(camera.project(known.mesh.vertices)[:, 1])
    assert point_errors(known, moved, (0, 0)) == pytest.approx([500 / height] * len(COSINES))
