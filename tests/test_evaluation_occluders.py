"""Things drawn over photos: what they hide is known, they stay where they belong, and perfect masks score perfectly."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from head_file import needs_head
from synthetic_faces import albedo, head, head_normals, landmarks, lit, photograph
from textured_heads import photographed

import evaluate
from evaluation import inputs, mask_run, masks, options
from evaluation.face_frame import FaceFrame
from evaluation.layers import noise_of, sharpness
from evaluation.occluders import GLASSES, HAIR, KINDS, OTHER, draw
from pipeline.reconstruction.folder import Reconstruction, ReconstructionError, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import as_bytes, as_float, read_photo
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config

LABELS = {"fringe": HAIR, "hat": OTHER, "glasses": GLASSES, "sunglasses": GLASSES, "hand": OTHER, "microphone": OTHER}


def save(folder, found, photo=None):
    folder.mkdir(parents=True)
    source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5", **found.source}
    save_reconstruction(
        folder, found.mesh, found.camera, found.photo if photo is None else photo, found.mask, source, rig=found.rig
    )


def face_of_points():
    """A face of the template without a rig, with the five points of source.json."""
    found = head(10, width=300, height=280)
    normals, _ = head_normals(found, 256)
    photo = photograph(lit(albedo(256, 0.2), normals, 0.1), found)
    corners = landmarks(10, centre=(150, 140))[[33, 133, 362, 263], :2] - found.crop[:2]
    five = np.vstack([corners.reshape(2, 2, 2).mean(1), np.full((3, 2), 150.0)])
    return Reconstruction(
        found.mesh, found.camera, photo, None, None, found.head_to_camera, True, {"points": five.tolist()}
    )


@pytest.fixture(scope="module")
def frame():
    return FaceFrame.of(photographed(yaw=12.0, size=400))


@pytest.fixture(scope="module")
def drawn(frame):
    return {kind: draw(kind, frame, np.random.default_rng(3)) for kind in KINDS}


@needs_head
def test_millimetres_lie_on_the_head(frame):
    points = np.array([(0.0, 0, 0), (31.5, 0, 0), (10, -60, 25)])
    assert np.allclose(frame.from_camera(frame.to_camera(points)), points, atol=1e-6)
    rig = frame.reconstruction.rig
    eyes = (rig.eye_centres.astype(float) - frame.origin) * frame.scale
    assert np.allclose(np.abs(eyes[:, 0]), 31.5, atol=0.05) and eyes[0, 0] > 0
    # The nose stands out of the face, and no hole of the skin shows the back of the head.
    assert frame.surface(0.0, -35.0) > frame.surface(30.0, -35.0) > -40
    assert frame.surface(0.0, -62.0) > 0 and frame.surface(31.5, 0.0) > -10
    crown = frame.skull(np.array([90.0]), np.array([0.0]))[0]
    assert crown[1] > 80 and abs(crown[0]) < 1


def test_a_face_without_a_rig_has_its_eyes_by_its_points():
    found = face_of_points()
    frame = FaceFrame.of(found)
    middle = np.array(found.source["points"])[:2].mean(0)
    assert np.abs(frame.project(np.zeros(3))[:2] / 2 - middle).max() < 4
    _, coverage, label = draw("glasses", frame, np.random.default_rng(0))
    rows, columns = np.nonzero(coverage > 0.5)
    assert label == GLASSES and abs(columns.mean() - middle[0]) < 15 and abs(rows.mean() - middle[1]) < 15
    with pytest.raises(ReconstructionError, match="where the eyes are"):
        FaceFrame.of(replace(found, source={}))


@needs_head
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_hides_what_its_coverage_says(frame, drawn, kind):
    picture, coverage, label = drawn[kind]
    photo = frame.photo
    assert label == LABELS[kind]
    assert picture.shape == photo.shape and coverage.shape == photo.shape[:2]
    assert picture.dtype == coverage.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1
    assert coverage.min() >= 0 and coverage.max() <= 1 and coverage.max() > 0.95
    share = coverage[frame.face].mean()
    least, most = {"glasses": (0.01, 0.2), "sunglasses": (0.08, 0.4)}.get(kind, (0.02, 0.7))
    assert least < share < most, share
    changed = np.abs(picture - photo).max(-1)
    assert (changed[coverage > 0.95] > 0.02).mean() > 0.8
    # Far from it and from its shadow, and off the face, nothing changes.
    near = cv2.dilate((coverage > 0.02).astype(np.uint8), np.ones((25, 25))) > 0
    if kind in ("fringe", "hand", "microphone"):
        away = ~near & ~(cv2.dilate(frame.inside.astype(np.uint8), np.ones((15, 15))) > 0)
        assert away.any() and changed[away].max() < 1e-3
    soft = (coverage > 0.1) & (coverage < 0.9)
    assert soft.any()


@needs_head
@pytest.mark.parametrize("kind", ["fringe", "glasses", "hand"])
def test_a_seed_gives_the_same_bytes_again(frame, drawn, kind):
    again = draw(kind, frame, np.random.default_rng(3))
    other = draw(kind, frame, np.random.default_rng(4))
    assert all(np.array_equal(a, b) for a, b in zip(again[:2], drawn[kind][:2], strict=True))
    assert not np.array_equal(other[1], drawn[kind][1])


@needs_head
def test_eyes_stay_behind_clear_lenses_and_go_behind_dark_ones(frame):
    eyes = (frame.project(np.array([(31.5, -1, 12.0), (-31.5, -1, 12.0)]))[:, :2] / 2).astype(int)
    patch = lambda coverage, at: coverage[at[1] - 3 : at[1] + 4, at[0] - 3 : at[0] + 4].mean()
    for seed in range(3):
        clear, dark = (draw(kind, frame, np.random.default_rng(seed))[1] for kind in ("glasses", "sunglasses"))
        assert max(patch(clear, at) for at in eyes) < 0.7 and min(patch(dark, at) for at in eyes) > 0.9


@needs_head
def test_shadows_darken_the_face_and_nothing_else(frame, drawn):
    picture, coverage, _ = drawn["hat"]
    free = coverage < 0.01
    darker = frame.photo.mean(-1) - picture.mean(-1)
    assert darker[free & frame.face].max() > 0.05 and darker[free].min() > -0.01


@needs_head
def test_hair_in_the_photo_is_no_sure_skin(frame, drawn):
    sure = frame.surely_skin
    x, y, _ = np.moveaxis(frame.positions, -1, 0)
    cheeks = frame.inside & (np.abs(np.abs(x) - 30) < 8) & (np.abs(y + 40) < 8)
    assert sure[cheeks].mean() > 0.95 and not sure[frame.inside & (y > 75)].any()
    picture, coverage, _ = drawn["fringe"]
    own = FaceFrame.of(replace(frame.reconstruction, photo=as_bytes(picture)))
    assert own.surely_skin[(coverage > 0.9) & sure].mean() < 0.35


def test_sharpness_and_noise_are_measured():
    generator = np.random.default_rng(0)
    image = np.zeros((200, 260, 3), np.float32) + 0.2
    for _ in range(40):
        at = generator.integers(10, 190, 2).tolist()
        cv2.rectangle(image, at, (at[0] + 30, at[1] + 20), generator.uniform(0, 1, 3).tolist(), -1)
    found = [sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.8, 1.4, 2.0)]
    assert found == sorted(found) and abs(found[1] - 1.4) < 0.5
    noisy = 0.5 + generator.normal(0, 0.02, (150, 170, 3)).astype(np.float32)
    assert noise_of(noisy) == pytest.approx(0.02, rel=0.1)


# ---- scores ----------------------------------------------------------------------------------------------------------


@needs_head
def test_what_the_mask_hides_counts_as_masked():
    found = photographed(yaw=0.0, size=400)
    frame = FaceFrame.of(found)
    config = Config().changed(texture_size=256, renderer="cpu")
    mask = np.full(found.photo.shape[:2], 255, np.uint8)
    plain, known = masks.masked_share(replace(found, mask=mask), config)
    x, y, _ = np.moveaxis(frame.positions, -1, 0)
    square = frame.inside & (np.abs(x - 30) < 12) & (np.abs(y + 40) < 12)
    mask[square] = 0
    share, _ = masks.masked_share(replace(found, mask=mask), config)
    assert share[square].min() > 0.99 and known[square].mean() > 0.9
    assert plain[square].max() < 0.2 and np.array_equal(share[~square], plain[~square])


@pytest.fixture
def case(tmp_path):
    """A drawn case, and the reconstruction of its picture, with the photo's geometry."""
    found = photographed(yaw=0.0, size=400)
    save(tmp_path / "ann" / "reconstruction", found)
    config = Config().changed(texture_size=256, renderer="cpu")
    case = masks.Case("ann", tmp_path / "ann" / "reconstruction", "microphone", 1, tmp_path / "occluders", config)
    assert masks.draw_picture(case) == ""
    save(
        tmp_path / "picture",
        replace(found, source={"photo": {"crop": [0, 0, 420, 400]}}),
        read_photo(case.path("pictures")),
    )
    return case, tmp_path / "picture"


@needs_head
def test_a_perfect_mask_scores_one_and_a_shifted_one_less(case, monkeypatch):
    case, folder = case
    coverage = as_float(read_photo(case.path("coverage"))[..., 0])
    everywhere = np.ones(coverage.shape, bool)
    found = []
    for shift in (0, 12):
        moved = np.roll(coverage, shift, axis=1)
        monkeypatch.setattr(masks, "masked_share", lambda *_, moved=moved: (moved, everywhere))
        found.append(masks._scores(case, folder))
    assert found[0]["iou"] == found[0]["found"] == 1 and found[0]["skin_lost"] == 0
    assert found[1]["iou"] < 0.85 and found[1]["skin_lost"] > 0
    assert {"psnr", "ciede2000", "psnr_left"} <= set(found[0])


@needs_head
def test_masking_what_was_drawn_improves_the_texture_under_it(case):
    case, folder = case
    coverage = read_photo(case.path("coverage"))[..., 0]
    frame = FaceFrame.of(load_reconstruction(case.folder))
    picture = load_reconstruction(folder)
    hidden = as_float(coverage)
    left, masked = (
        masks._texture_scores(frame.reconstruction, replace(picture, mask=mask), frame, hidden, case.config)
        for mask in (None, np.where(cv2.dilate(coverage, np.ones((9, 9))) > 20, 0, 255).astype(np.uint8))
    )
    assert masked["psnr"] > left["psnr"] + 3 and masked["ciede2000"] < left["ciede2000"]
    assert masked["psnr_left"] == left["psnr_left"]


def test_crops_are_put_where_they_were_cut():
    crop = np.arange(12.0).reshape(3, 4)
    whole = masks._placed(crop, (5, 2), (8, 10))
    assert np.array_equal(whole[2:5, 5:9], crop) and whole.sum() == crop.sum()
    assert masks._placed(crop, (8, 6), (8, 10)).sum() == crop[:2, :2].sum()


def test_the_command_line_names_what_is_wrong():
    parsed = options.parse(["--occluders", "--kinds", "hat, hand", "--draws", "2", "--jobs", "1"])
    assert parsed.occluders and parsed.kinds == ["hat", "hand"] and parsed.draws == 2
    assert set(options.parse([]).kinds) == set(KINDS)
    for wrong, said in (
        (["--kinds", "hat,beard"], "'beard', allowed are fringe"),
        (["--draws", "0"], "--draws is 0"),
        (["--defects"], "--occluders and --defects"),
    ):
        with pytest.raises(ConfigError, match=said):
            options.parse(["--occluders", *wrong])


def test_tables_keep_kinds_photos_and_problems_apart():
    scores = [
        masks.MaskScores("ann", "hat", 1, {"iou": 0.5, "skin_lost": 0.02}),
        masks.MaskScores("ann", "hat", 2, {"iou": 0.7, "skin_lost": 0.04}),
        masks.MaskScores("ann", "nothing", 1, {"skin_lost": 0.01}),
        masks.MaskScores("bob", "hat", 1, problem="the face was not found in the picture"),
    ]
    means = mask_run._means([one for one in scores if one.kind == "hat"])
    assert means["iou"] == {"mean": pytest.approx(0.6), "low": None, "high": None, "count": 1}
    about = {
        "command": "evaluate.py",
        "date": "2020-01-01",
        "machine": "a machine",
        "by_kind": {"hat": means},
        "problems": ["x"],
    }
    text = mask_run.markdown(scores, ["hat"], about)
    assert (
        "| hat | 1 | 0.600 |" in text and "| ann | 0.600 | 0.0300 | 0.0100 |" in text and "| bob | - | - | - |" in text
    )


@needs_head
def test_a_run_draws_reconstructs_and_scores(tmp_path, monkeypatch, capsys):
    found = photographed(yaw=0.0, size=400)
    save(tmp_path / "ann" / "reconstruction", found)
    reconstructed = []

    def reconstruct(photos, out, config):
        for path in photos:
            folder = out / "reconstructions" / path.rsplit("/", 1)[1].removesuffix(".png") / "reconstruction"
            if not folder.exists():
                save(folder, replace(found, source={"photo": {"crop": [0, 0, 420, 400]}}), read_photo(path))
                reconstructed.append(path)

    monkeypatch.setattr(inputs, "reconstruct", reconstruct)
    out = tmp_path / "out"
    command = [
        str(tmp_path / "ann"),
        "-o",
        str(out),
        "--occluders",
        "--kinds",
        "glasses,hand",
        "--size",
        "128",
        "--jobs",
        "1",
    ]
    assert evaluate.main(command) == 0
    summary = json.loads((out / "occluders.json").read_text())
    assert set(summary["by_kind"]) == {"glasses", "hand", "nothing"} and not summary["problems"]
    assert 0 <= summary["by_kind"]["hand"]["iou"]["mean"] <= 1
    assert summary["by_kind"]["nothing"]["skin_lost"]["mean"] < 0.2
    assert len(reconstructed) == 2 and "| ann | " in (out / "occluders.md").read_text()
    sheet = read_photo(out / "occluders.png")
    assert sheet.shape == (mask_run.TILE, 3 * mask_run.TILE, 3)
    before = (out / "occluders.csv").read_bytes(), (out / "occluders" / "pictures" / "ann_hand.png").stat().st_mtime_ns
    assert evaluate.main(command) == 0
    after = (out / "occluders.csv").read_bytes(), (out / "occluders" / "pictures" / "ann_hand.png").stat().st_mtime_ns
    assert before == after
