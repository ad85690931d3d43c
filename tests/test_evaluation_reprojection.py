"""Truth, pictures with known geometry, the published choices, and planted defects, on synthetic heads."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.bench_geometry import COSINES, point_errors
from synthetic_faces import albedo, head, head_normals, lit, photograph

from evaluation import defects, published, statistics, views
from evaluation.identity import lifted
from evaluation.methods import FILL, Method, baseline_methods, defect_methods, make_texture, mirror_fill, nearest_fill
from evaluation.prepared import prepare
from evaluation.published import published_config, published_texture, vertex_lookup
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
from evaluation.views import Scoring, View, read_records, run_view, suits_reprojection
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import as_float, read_photo
from pipeline.runs.files import RunFolderError
from pipeline.settings.loading import load_config
from pipeline.settings.schema import LimitSettings
from pipeline.texture.comparison import PhotoComparison
from pipeline.texture.sampled import unwrap_photo
from renderer.camera import Camera
from renderer.mesh import Mesh
from style_transfer.refine import RefinedTexture

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
        assert mesh_size == pytest.approx(
            np.linalg.norm(bob.mesh.vertices[:50, None] - bob.mesh.vertices[None, :50], axis=-1)
        )
    inside = view.camera.project(view.mesh.vertices)
    assert inside[:, 1].min() > 0 and inside[:, 1].max() < 160
    nose = view.camera.project(view.mesh.vertices[1:2])[0, 0]  # Face Mesh's point 1 is the tip
    assert np.sign(nose - 80) == np.sign(yaw) or yaw == 0


def test_the_picture_shows_the_truth(picture, truth):
    sampled = prepare(picture, standard(SIZE)).sampled
    sure = (sampled.visibility > 0.99) & truth.known
    assert np.abs(sampled.texture - truth.texture)[sure].mean() < 0.02
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
    assert sure.sum() > 1000 and np.abs(first.texture - second.texture)[sure].max() < 0.05


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
    textures = SimpleNamespace(texture=sampled, visibility=visibility, mask=np.ones((4, 6), bool))
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
    config = standard(64).changed(device="cpu")
    found = {
        method.name: method.config
        for method in baseline_methods(["completion", "completion_rendering", "published"], config)
    }
    assert config.unwrap.fit_iterations > 0 and {each.unwrap.fit_iterations for each in found.values()} == {0}
    assert found["completion_rendering"].refine.features == "none" and found["published"].refine.features == "patches"


def test_the_published_choices_are_published(picture, monkeypatch):
    """What reaches the loop: every choice of REFERENCE 1, whatever the config says of ours."""
    used = {}

    def record(content, style, seen, mask, targets, features, settings, generator):
        used.update(style=style, seen=seen, settings=settings, targets=targets)
        return RefinedTexture(torch.linspace(0.2, 0.7, 3 * 64 * 64).reshape(1, 3, 64, 64), [])

    monkeypatch.setattr(published, "refine_texture", record)
    words = [
        "refine.style_samples=11",
        "refine.result_samples=12",
        "refine.content_weight=3",
        "render.mean_over=covered",
    ]
    config = baseline_methods(["published"], load_config("default", [*words, "texture_size=64", "device=cpu"]))[
        0
    ].config
    prepared = prepare(picture, config)
    found = published_texture(picture, prepared.sampled, prepared.initial, config, None, torch.device("cpu"))
    settings = used["settings"]
    assert (settings.transfers, settings.iterations, settings.rendering_iterations) == (5, 30, 0)
    assert (settings.style_draws, settings.style_samples, settings.result_samples) == (5, 1000, 2048)
    assert not settings.style_from_seen and settings.mirrored_style and settings.style_region == "all"
    weights = (settings.content_weight, settings.style_weight, settings.moment_weight, settings.rendering_weight)
    assert weights == (8.0, 1.7, 1.0, 20.0) and (settings.content_decay, settings.rendering_growth) == (1.1, 1.1)
    steps = (settings.parameters, settings.pyramid_depth, settings.optimiser, settings.learning_rate, settings.momentum)
    assert steps == ("pyramid", 5, "sgd", 0.3, 0.9) and not settings.decay_learning_rate
    assert settings.scales == [0.5, 1.0] and settings.stretch_between_transfers and not settings.content_noise
    # The rendering loss is the mean over the photo: half of a full weight where half of the photo is covered.
    target, height, width = used["targets"](64, 64), *picture.photo.shape[:2]
    assert target.weights.max() == pytest.approx(len(target.photo) / (height * width)) and target.weights.max() < 0.7
    # Black where the angle says unseen; the result in 8 bits, rounded down, from its least to its greatest value.
    unseen = (used["seen"] == 0).expand_as(used["style"])
    assert unseen.any() and (used["style"][unseen] == 0).all()
    value = torch.linspace(0, 1, 3 * 64 * 64).reshape(3, 64, 64).permute(1, 2, 0).numpy() * 255
    inside = prepared.sampled.mask & (np.abs(value - np.round(value)) > 1e-3).all(-1)
    assert (np.round(found * 255)[inside] == np.floor(value)[inside]).all()


def test_the_published_choices_run(picture, monkeypatch):
    monkeypatch.setattr(published, "STEPS", 2)
    config = published_config(standard(64))
    prepared = prepare(picture, config)
    found = published_texture(picture, prepared.sampled, prepared.initial, config, None, torch.device("cpu"))
    assert found.shape == (64, 64, 3) and np.isfinite(found).all()
    assert (found.min(), found.max()) == (0, 1)


# ---- what a method is made of ----------------------------------------------------------------------------------------


def test_the_renderer_is_the_config_s(picture, monkeypatch):
    used = []
    comparison = lambda reconstruction, settings, device, backend: (
        used.append(backend) or PhotoComparison(reconstruction, settings, device)
    )
    monkeypatch.setattr("evaluation.prepared.PhotoComparison", comparison)
    monkeypatch.setattr("evaluation.prepared.choose_renderer", lambda setting, device: SimpleNamespace(kind=setting))
    prepare(picture, standard(64).changed(renderer="nvdiffrast"))
    assert used == ["nvdiffrast"]


@pytest.fixture
def ann(bob, tmp_path):
    """A view of a head, by the methods given, with its scores in a folder given."""
    folder = tmp_path / "ann"
    folder.mkdir()
    source = {"head_to_camera": bob.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    save_reconstruction(folder, bob.mesh, bob.camera, bob.photo, None, source)
    return lambda out, methods, **weights: View(
        "ann", "ann", folder, 45.0, methods, Scoring(tmp_path / out, 64, 0, **weights)
    )


@pytest.mark.parametrize(
    "change", ["refine.style_step=4e-3", "refine.style_from_seen=false", "seed=5", "refine.pyramid_depth=2"]
)
def test_a_variant_has_its_own_fit(ann, change, monkeypatch):
    """Beside another config a method makes what it makes alone, from its own preparation."""
    words = [
        "texture_size=64",
        "device=cpu",
        "refine.features=none",
        "unwrap.fit_iterations=4",
        "refine.rendering_iterations=2",
    ]
    first, second = (Method(name, "refine", load_config("default", [*words, *more])) for name, more in
                     (("default", []), ("variant", [change])))  # fmt: skip
    configs = []
    monkeypatch.setattr(views, "prepare", lambda *given: configs.append(given[1]) or prepare(*given))
    alone, beside = ann("alone", [second]), ann("beside", [first, second])
    for view in (alone, beside):
        assert run_view(view)[1] == 0
    assert configs[0] == second.config and sorted(map(repr, configs[1:])) == sorted(
        map(repr, (first.config, second.config))
    )
    texture = lambda view: read_photo(view.place / "variant.png")
    assert (texture(alone) == texture(beside)).all()


def test_methods_of_equal_config_share_a_preparation(ann, monkeypatch):
    configs = []
    monkeypatch.setattr(views, "prepare", lambda *given: configs.append(given[1]) or prepare(*given))
    config = standard(64).changed(device="cpu")
    assert run_view(ann("out", baseline_methods(["nearest_fill", "mirror_fill", "completion"], config)))[1] == 0
    assert len(configs) == 1


def test_other_weights_are_other_scores(ann, tmp_path, monkeypatch):
    """Scores are made anew when a file of weights changes, and textures are not."""
    files = {name: tmp_path / name for name in ("arcface", "lpips")}
    for path in files.values():
        path.write_bytes(b"first")
    monkeypatch.setattr(views.FacePoints, "distances", lambda *_: {})
    monkeypatch.setattr(views.perceptual, "distance", lambda *_: 0.5)
    view = ann(
        "out",
        baseline_methods(["mirror_fill"], standard(64).changed(device="cpu")),
        **{n: str(p) for n, p in files.items()},
    )
    record, texture = view.place / "mirror_fill.json", view.place / "mirror_fill.png"
    assert run_view(view)[1] == 0
    made = texture.stat().st_mtime_ns
    for path in files.values():
        before = record.stat().st_mtime_ns
        assert "finished before" in run_view(view)[0] and record.stat().st_mtime_ns == before
        path.write_bytes(b"other weights")
        assert run_view(view)[1] == 0 and record.stat().st_mtime_ns > before
    assert texture.stat().st_mtime_ns == made


def test_weights_are_hashed_once(tmp_path, monkeypatch):
    path, hashed = tmp_path / "weights", []
    path.write_bytes(b"weights")
    monkeypatch.setattr(views, "results_fingerprint", lambda *given: hashed.append(given) or "mark")
    assert views._weights_mark(str(path)) == views._weights_mark(str(path)) == "mark" and len(hashed) == 1
    assert views._weights_mark("") == "-"


def test_a_failure_is_reported_and_the_other_methods_go_on(ann, monkeypatch, capsys):
    """A bug in one method is not the end of the run; what would fail all of them is."""
    methods = baseline_methods(["mirror_fill", "completion"], standard(64).changed(device="cpu"))
    monkeypatch.setitem(FILL, "mirror_fill", lambda sampled: sampled.nonsense)
    view = ann("out", methods)
    line, problems = run_view(view)
    assert problems == 1 and "1 methods" in line and "AttributeError" in capsys.readouterr().err
    records, _ = read_records([view])
    assert "unexpected AttributeError" in records[0].problem and records[1].problem == "" and records[1].scores
    monkeypatch.setattr(views, "write_image", lambda *_: (_ for _ in ()).throw(RunFolderError("no space is left")))
    with pytest.raises(RunFolderError):
        run_view(view)


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


@pytest.mark.slow
def test_every_planted_defect_is_seen(tmp_path):
    """Each worsens a measure significantly, paired over views of two heads."""
    size = 192  # a blur of 2 texels of 512 is nothing on smaller ones
    config = standard(size)
    methods = baseline_methods(["completion"], config) + defect_methods(config)
    found_views = []
    for name, seed in (("ann", 3), ("bob", 7)):
        folder = tmp_path / name
        folder.mkdir()
        found = synthetic(seed=seed)
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(folder, found.mesh, found.camera, found.photo, None, source)
        assert suits_reprojection(folder, LimitSettings()) == (True, pytest.approx(0, abs=2))
        scoring = Scoring(tmp_path / "out", size, 0)
        found_views += [View(name, name, folder, yaw, methods, scoring) for yaw in (-60.0, 45.0, 60.0)]
    for view in found_views:
        assert run_view(view)[1] == 0
    records, left_out = read_records(found_views)
    assert left_out == []
    seen = {name: statistics.worsened(records, f"defect_{name}", "completion") for name in defects.DEFECTS}
    assert all(seen.values()), seen
    assert "seam" in seen["tint"] and "unseen_ssim" in seen["grain"] and "high_frequency_error" in seen["blur"]
    assert "unseen_psnr" in seen["shifted_mirror"] and "seen_psnr" in seen["swapped_sides"]
    # What a picture is made of can be given to any program.
    again = load_reconstruction(found_views[0].place / "picture")
    texture = make_texture(methods[0], again, prepare(again, methods[0].config), size)
    assert np.abs(texture - as_float(read_photo(found_views[0].place / "completion.png"))).max() < 0.02


def test_slivers_are_no_picture(tmp_path):
    """From the far side a turned head's photo leaves too little of the truth: the view is left out and reported."""
    found = synthetic(yaw=30.0)
    source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    save_reconstruction(tmp_path, found.mesh, found.camera, found.photo, None, source)
    config = standard(64)
    methods = baseline_methods(["mirror_fill"], config)
    found_views = [
        View("ann", "ann", tmp_path, yaw, methods, Scoring(tmp_path / "out", 64, 0)) for yaw in (-75.0, 45.0)
    ]
    lines = [run_view(view) for view in found_views]
    assert "left out, shows" in lines[0][0] and lines[0][1] == 0 and "1 methods" in lines[1][0]
    records, left_out = read_records(found_views)
    assert [record.angle for record in records] == ["yaw+45"]
    assert len(left_out) == 1 and left_out[0].startswith("ann yaw-75: shows")
    assert not (found_views[0].place / "truth.png").exists()
    assert "finished before" in run_view(found_views[0])[0]


def test_point_errors_of_a_found_mesh():
    known = turned(synthetic(), 30, SIZE)
    camera = known.camera
    assert np.allclose(point_errors(known, known, (0, 0)), 0)
    # The found photo is a part of the known one: the same mesh, seen by the cropped camera.
    cropped = replace(known, camera=camera.cropped(11, 7, SIZE - 20, SIZE - 20))
    assert np.allclose(point_errors(known, cropped, (11, 7)), 0)
    moved = replace(known, camera=replace(camera, cx=camera.cx + 3, cy=camera.cy - 4))
    height = np.ptp(camera.project(known.mesh.vertices[:468])[:, 1])
    assert point_errors(known, moved, (0, 0)) == pytest.approx([500 / height] * len(COSINES))
