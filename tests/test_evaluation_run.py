"""evaluate.py from reconstruction folders to tables: complete, resumable, and clear about what goes wrong."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from synthetic_faces import albedo, head, head_normals, lit, photograph

import evaluate
from evaluation import inputs, options
from external.errors import RunError
from pipeline.reconstruction.folder import load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import PhotoError
from pipeline.reconstruction.photos import find_photos
from pipeline.runs.files import RunFolderError, write_image
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import load_config
from renderer import nvdiffrast_backend

ROOT = Path(evaluate.__file__).resolve().parent
QUICKEST = [
    "--size", "64", "--yaws=-45,60", "--jobs", "1", "--baselines", "mirror_fill,completion,completion_rendering",
    "refine.iterations=2", "refine.rendering_iterations=3", "refine.features=none", "unwrap.fit_iterations=0",
    "device=cpu",
]  # fmt: skip
METHODS = ["mirror_fill", "completion", "completion_rendering", "default"]


def save_head(folder, yaw):
    """The reconstruction folder of a photo of a lit head with grain, turned by a yaw in degrees."""
    found = head(yaw, width=240, height=220)
    normals, _ = head_normals(found, 256)
    grain = 1 + 0.08 * np.random.default_rng(7).normal(size=(256, 256, 1)).astype(np.float32)
    photo = photograph(lit(albedo(256, 0.4) * grain, normals, 0.15), found)
    folder.mkdir(parents=True)
    source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    save_reconstruction(folder, found.mesh, found.camera, photo, None, source)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    place = tmp_path_factory.mktemp("heads")
    for name, yaw in (("ann", 10), ("bob", 0)):
        save_head(place / name / "reconstruction", yaw)
    return place


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    """OUT of a run over both heads, given as a folder of results."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    assert evaluate.main([str(heads), "-o", str(out), *QUICKEST]) == 0
    return out


def rows_of(out):
    return list(csv.DictReader((out / "results.csv").open()))


def written(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("views/*/*/*.json")}


def test_everything_is_written(finished):
    expected = {"results.csv", "summary.json", "summary.md", "score_against_yaw.png", "quality_against_seconds.png",
                "contact_sheet.png"}  # fmt: skip
    assert expected <= {path.name for path in finished.iterdir()}
    rows = rows_of(finished)
    assert {(row["photo"], row["view"], row["method"]) for row in rows} == {
        (photo, view, method)
        for photo in ("ann", "bob")
        for view in ("photo", "yaw-45", "yaw+60")
        for method in METHODS
    }
    assert {"unseen_psnr", "seam", "frontal_ssim", "opposite_psnr", "photo_psnr", "seconds"} <= {
        row["measure"] for row in rows
    }
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["baseline"] == "completion_rendering" and summary["problems"] == []
    assert set(summary["reprojection"]["means"]) == set(METHODS)
    assert any(line.startswith("LPIPS") for line in summary["left_out"])
    # Without features and fit a config is the completion with the rendering loss: nothing differs but the time.
    of_ann = [row for row in rows if (row["photo"], row["view"], row["measure"]) == ("ann", "yaw-45", "seam")]
    same = {row["value"] for row in of_ann if row["method"] in ("default", "completion_rendering")}  # fmt: skip
    assert len(same) == 1
    sheet = np.asarray(Image.open(finished / "contact_sheet.png"))
    assert sheet.shape[1] == 256 * (2 + len(METHODS)) and sheet.shape[0] == 24 + 4 * 256
    picture = load_reconstruction(finished / "views" / "ann" / "yaw-45" / "picture")
    assert picture.photo.shape == (64, 64, 3) and picture.symmetric and picture.mask is not None


def test_a_rerun_does_nothing_twice(heads, finished):
    before, rows = written(finished), rows_of(finished)
    assert evaluate.main([str(heads), "-o", str(finished), *QUICKEST]) == 0
    assert written(finished) == before and rows_of(finished) == rows
    # A change of one method redoes that one.
    record = finished / "views" / "bob" / "yaw-45" / "mirror_fill.json"
    record.write_text("{")
    assert evaluate.main([str(heads), "-o", str(finished), *QUICKEST]) == 0
    assert {path for path, time in written(finished).items() if time != before[path]} == {record}
    strip = lambda rows: [row for row in rows if row["measure"] != "seconds"]
    assert strip(rows_of(finished)) == strip(rows)


@pytest.mark.slow
def test_two_processes_find_the_same(heads, finished, tmp_path):
    command = [str(heads / "bob"), "-o", str(tmp_path / "out"), *QUICKEST, "--jobs", "2"]
    assert evaluate.main(command) == 0
    value = lambda row: (row["view"], row["method"], row["measure"], row["value"])
    wanted = {value(row) for row in rows_of(finished) if row["photo"] == "bob" and row["measure"] != "seconds"}
    assert {value(row) for row in rows_of(tmp_path / "out") if row["measure"] != "seconds"} == wanted


def test_finished_textures_and_given_truth(heads, finished, tmp_path):
    """Another program's textures: here the truth itself for one view, none for the others."""
    folder, truths = tmp_path / "theirs", tmp_path / "truths"
    folder.mkdir()
    truths.mkdir()
    truth = np.asarray(Image.open(finished / "views" / "ann" / "yaw-45" / "truth.png"))
    write_image(folder / "ann_yaw-45.png", truth)
    write_image(folder / "ann.png", truth)
    write_image(truths / "ann.png", truth)
    out = tmp_path / "out"
    command = [str(heads / "ann" / "reconstruction"), "-o", str(out), *QUICKEST, "--baselines", "completion",
               "--textures", f"theirs={folder}", "--truth", str(truths)]  # fmt: skip
    assert evaluate.main(command) == 1
    values = {(row["view"], row["measure"]): float(row["value"]) for row in rows_of(out) if row["method"] == "theirs"}
    # All but the rounding to 8 bits.
    assert values["yaw-45", "unseen_psnr"] > 55 and values["photo", "uv_psnr"] == 100
    assert ("yaw-45", "seconds") not in values and ("yaw+60", "unseen_psnr") not in values
    problems = json.loads((out / "summary.json").read_text())["problems"]
    assert problems == [f"ann yaw+60 theirs: {folder} has no texture named ann_yaw+60"]
    # What was missing is asked for again.
    write_image(folder / "ann_yaw+60.png", truth)
    assert evaluate.main(command) == 0


def test_a_turned_head_has_its_own_view_only(tmp_path, capsys):
    folder = tmp_path / "eve"
    save_head(folder, 48)
    assert evaluate.main([str(folder), "-o", str(tmp_path / "out"), *QUICKEST, "--baselines", ""]) == 0
    assert "too far for the reprojection benchmark" in capsys.readouterr().out
    assert {row["view"] for row in rows_of(tmp_path / "out")} == {"photo"}


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line():
    masks = "reconstruct.system=face_mesh"
    given = options.parse(
        ["photos", "-c", "default", "-c", "quick", "--variant", "plain refine.style_weight=0", "seed=4", masks]
    )
    assert list(given.configs) == ["default", "quick", "plain"] and given.inputs == ["photos"]
    assert {config.texture_size for config in given.configs.values()} == {512}
    assert given.configs["plain"].refine.style_weight == 0 and given.configs["plain"].seed == 4
    assert given.yaws == [-65, -45, 45, 65] and given.baseline == "completion_rendering"
    quick = options.parse(["--quick", "--own-size", "--yaws=-30", "texture_size=768", masks])
    assert quick.size == 256 and quick.configs["default"].texture_size == 768 and quick.yaws == [-30]
    for system in ("head", "auto"):  # as fine on the face as a mask's
        assert options.parse([f"reconstruct.system={system}"]).size == 1024
        assert options.parse(["--quick", f"reconstruct.system={system}"]).size == 512
    assert "published" not in quick.baselines and str(quick.out) == "outputs/evaluation-quick"
    assert options.parse(["--baselines", "nearest_fill"]).baseline == "nearest_fill"
    assert options.parse(["--yaws=45,-30,45.0"]).yaws == [45, -30]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--yaws=45,x"], "--yaws holds 'x'"), (["--yaws=120"], "--yaws holds '120'"),
        (["--size", "10"], "--size is 10"),
        (["--baselines", "best"], "there is no best"), (["--baseline", "best"], "--baseline is best"),
        (["--textures", "a"], "--textures is 'a'"), (["--truth", "/nowhere"], "--truth is /nowhere"),
        (["--variant", "x"], "--variant is 'x'"), (["-c", "quick", "-c", "quick"], "two configs are called quick"),
        (["--defects", "--baselines", "mirror_fill"], "--defects are planted in the completion"),
        (["--jobs", "0"], "--jobs is 0"), (["--lpips", "/nowhere"], "--lpips is /nowhere"),
        (["sed=1"], "did you mean seed"),
        (["--variant", "completion seed=1"], "the name completion is given to two methods"),
        (["--textures", "a=.", "--textures", "a=/"], "the name a is given to two methods"),
        (["--variant", "defect_tint seed=1"], "the name defect_tint is given to two methods or taken"),
        (["--baselines", "completion", "--baseline", "completion_rendering"], "--baseline is completion_rendering"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(words, message):
    with pytest.raises(ConfigError) as caught:
        options.parse(words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_planted_defects_need_five_pictures(heads, tmp_path):
    """Said before any picture is made, not after it as a defect that is not seen."""
    with pytest.raises(ConfigError, match="--defects: there are 4 pictures; 5 are needed .* more photos or --yaws") as caught:
        evaluate.main([str(heads), "-o", str(tmp_path / "out"), *QUICKEST, "--defects"])
    assert "\n" not in str(caught.value) and not (tmp_path / "out" / "views").exists()


# ---- whose folder OUT is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.csv", "summary.md", "views", "contact_sheet.png"])
def test_files_of_the_user_are_refused_and_not_touched(heads, tmp_path, name):
    """Also where another program left a file .lock."""
    out = tmp_path / "mine"
    out.mkdir()
    (out / ".lock").write_text("theirs")
    if name == "views":
        (out / name).mkdir()
    else:
        (out / name).write_text('{"program": "mine"}')
    listed = lambda: {path: path.stat().st_mtime_ns for path in [out, *out.iterdir()]}
    before = listed()
    with pytest.raises(RunFolderError, match="is not from a run and would be lost") as caught:
        evaluate.main([str(heads), "-o", str(out), *QUICKEST])
    assert listed() == before and "\n" not in str(caught.value)


# ---- reconstruction of photos ----------------------------------------------------------------------------------------


@pytest.fixture
def stage(monkeypatch):
    """The command lines that the reconstruction is started with; it makes nothing."""
    started = []
    monkeypatch.setattr(
        inputs.subprocess, "run", lambda command, **_: started.append(command) or SimpleNamespace(returncode=0)
    )
    return started


def test_photos_are_reconstructed_with_the_whole_config(stage, sample_photo, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("detect: {minimum_size: 77}\nlimits: {photo_megapixels: 3}\nassets: elsewhere\n")
    words = ["reconstruct.subdivisions=1", "detect.try_turned=false"]
    given = options.parse(
        [str(sample_photo), "-o", str(tmp_path / "out"), "-c", str(config), "--variant", "b seed=3", *words]
    )
    (tmp_path / "out").mkdir()
    inputs.find_and_reconstruct(given)
    [command] = stage
    assert str(sample_photo) in command and command[command.index("-o") + 1] == str(
        tmp_path / "out" / "reconstructions"
    )
    used = load_config(command[command.index("-c") + 1])
    assert used == given.configs["mine"] and used.detect.minimum_size == 77 and used.limits.photo_megapixels == 3
    assert used.assets == "elsewhere" and used.reconstruct.subdivisions == 1 and not used.detect.try_turned


@pytest.mark.parametrize(
    "change", ["detect.minimum_size=50", "limits.photo_megapixels=5", "assets=there", "reconstruct.crop_margin=1.0"]
)
def test_configs_that_reconstruct_differently_are_refused(stage, sample_photo, heads, tmp_path, change):
    words = ["-o", str(tmp_path / "out"), "--variant", f"other {change}"]
    key = change.partition("=")[0]
    with pytest.raises(ConfigError, match=f"the configs default and other have {key}=") as caught:
        inputs.find_and_reconstruct(options.parse([str(sample_photo), *words]))
    assert not stage and f"give {key}=VALUE for all" in str(caught.value) and "\n" not in str(caught.value)
    if not change.startswith("limits"):  # faces that are reconstructed already do not depend on it
        assert len(inputs.find_and_reconstruct(options.parse([str(heads), *words]))) == 2


def test_limits_hold_for_reconstruction_folders(heads, tmp_path):
    """What is too large fails its face and is reported, and is scored with a higher limit."""
    command = [str(heads / "ann"), "-o", str(tmp_path / "out"), *QUICKEST, "--yaws=", "--baselines", "mirror_fill"]
    assert evaluate.main([*command, "limits.mesh_megabytes=0.0001"]) == 1
    assert "give limits.mesh_megabytes=" in (tmp_path / "out" / "summary.md").read_text()
    assert evaluate.main(command) == 0


def test_a_renderer_that_is_missing_is_wrong_use(heads, tmp_path):
    if nvdiffrast_backend.is_available():
        pytest.skip("nvdiffrast is installed")
    with pytest.raises(RunError, match="nvdiffrast"):
        evaluate.main([str(heads), "-o", str(tmp_path / "out"), *QUICKEST, "renderer=nvdiffrast"])


def test_weights_that_cannot_be_read_are_wrong_use(heads, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"nonsense")
    for option, message in (("--lpips", "not a file of PyTorch weights"), ("--arcface", "weights.pth")):
        with pytest.raises(ConfigError, match=message):
            evaluate.main([str(heads), "-o", str(tmp_path / "out"), *QUICKEST, option, str(tmp_path / "weights.pth")])
    with pytest.raises(ConfigError, match="alexnet-owt-7be5be79.pth does not exist"):
        evaluate.main([str(heads), "-o", str(tmp_path / "out"), *QUICKEST, "--lpips", str(tmp_path)])


def test_the_documentation_names_settings_that_exist():
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    quoted = [words for words in re.findall(r"`([^`\n]+)`", text) if re.fullmatch(r"\S+=\S+( \S+=\S+)*", words)]
    assert len(quoted) > 40
    for words in quoted:
        load_config("default", words.split())


def test_exit_codes(tmp_path):
    for words in (["--nonsense"], ["--size", "10"]):
        command = [sys.executable, str(ROOT / "evaluate.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(PhotoError, match="does not exist"):
        evaluate.main(["/no/such/photo.jpg", "-o", str(tmp_path / "out")])


@pytest.mark.slow
def test_a_real_photo(test_data, tmp_path):
    """From the photo on, by a process of its own; the mirror is better than the nearest texel."""
    photo = find_photos([test_data / "photos"])[0]
    command = [sys.executable, str(ROOT / "evaluate.py"), str(photo.path), "-o", str(tmp_path / "out"), "--size", "128",
               "--yaws=-60,60", "--baselines", "nearest_fill,mirror_fill,completion",
               "refine.features=none"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    means = json.loads((tmp_path / "out" / "summary.json").read_text())["reprojection"]["means"]
    value = lambda method, measure: means[method][measure]["mean"]
    assert value("mirror_fill", "unseen_psnr") > value("nearest_fill", "unseen_psnr")
    assert value("default", "seen_psnr") > value("completion", "seen_psnr")
    assert value("completion", "opposite_identity") < value("nearest_fill", "opposite_identity")
