"""evaluate.py from reconstruction folders to tables: complete, resumable, and clear about what goes wrong."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_refine import synthetic_photo

import evaluate
from evaluation import options as arguments
from pipeline.reconstruction.folder import load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import PhotoError
from pipeline.reconstruction.photos import find_photos
from pipeline.runs.files import write_image
from pipeline.settings.errors import ConfigError

ROOT = Path(evaluate.__file__).resolve().parent
QUICKEST = [
    "--size", "64", "--yaws=-45,60", "--jobs", "1", "--baselines", "mirror_fill,completion,completion_rendering",
    "refine.iterations=2", "refine.rendering_iterations=3", "refine.features=none", "unwrap.fit_iterations=0", "device=cpu",
]  # fmt: skip
METHODS = ["mirror_fill", "completion", "completion_rendering", "default"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    place = tmp_path_factory.mktemp("heads")
    for name, yaw in (("ann", 10), ("bob", 0)):
        photo, found = synthetic_photo(yaw)
        (place / name / "reconstruction").mkdir(parents=True)
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(place / name / "reconstruction", found.mesh, found.camera, photo, None, source)
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
        (photo, view, method) for photo in ("ann", "bob") for view in ("photo", "yaw-45", "yaw+60") for method in METHODS
    }
    assert {"unseen_psnr", "seam", "frontal_ssim", "opposite_psnr", "photo_psnr", "seconds"} <= {row["measure"] for row in rows}
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["baseline"] == "completion_rendering" and summary["problems"] == []
    assert set(summary["reprojection"]["means"]) == set(METHODS)
    assert any(line.startswith("LPIPS") for line in summary["left_out"])
    # Without features and without the fit a config is the completion with the rendering loss: nothing differs but the time.
    same = {row["value"] for row in rows if row["photo"] == "ann" and row["view"] == "yaw-45" and row["measure"] == "seam"
            and row["method"] in ("default", "completion_rendering")}  # fmt: skip
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
    photo, found = synthetic_photo(48)
    source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    folder = tmp_path / "eve"
    folder.mkdir()
    save_reconstruction(folder, found.mesh, found.camera, photo, None, source)
    assert evaluate.main([str(folder), "-o", str(tmp_path / "out"), *QUICKEST, "--baselines", ""]) == 0
    assert "too far for the reprojection benchmark" in capsys.readouterr().out
    assert {row["view"] for row in rows_of(tmp_path / "out")} == {"photo"}


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line():
    given = arguments.parse(["photos", "-c", "default", "-c", "quick", "--variant", "plain refine.style_weight=0", "seed=4"])
    assert list(given.configs) == ["default", "quick", "plain"] and given.inputs == ["photos"]
    assert {config.texture_size for config in given.configs.values()} == {512}
    assert given.configs["plain"].refine.style_weight == 0 and given.configs["plain"].seed == 4
    assert given.yaws == [-65, -45, 45, 65] and given.baseline == "completion_rendering"
    quick = arguments.parse(["--quick", "--own-size", "--yaws=-30"])
    assert quick.size == 256 and quick.configs["default"].texture_size == 1024 and quick.yaws == [-30]
    assert "published" not in quick.baselines and str(quick.out) == "outputs/evaluation-quick"
    assert arguments.parse(["--baselines", "nearest_fill"]).baseline == "nearest_fill"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--yaws=45,x"], "--yaws holds 'x'"), (["--yaws=120"], "--yaws holds '120'"), (["--size", "10"], "--size is 10"),
        (["--baselines", "best"], "there is no best"), (["--baseline", "best"], "--baseline is best"),
        (["--textures", "a"], "--textures is 'a'"), (["--truth", "/nowhere"], "--truth is /nowhere"),
        (["--variant", "x"], "--variant is 'x'"), (["-c", "quick", "-c", "quick"], "two configs are called quick"),
        (["--defects", "--baselines", "mirror_fill"], "--defects are planted in the completion"),
        (["--jobs", "0"], "--jobs is 0"), (["--lpips", "/nowhere"], "--lpips is /nowhere"), (["sed=1"], "did you mean seed"),
        (["--variant", "completion seed=1"], "the name completion is given to two methods"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(words, message):
    with pytest.raises(ConfigError) as caught:
        arguments.parse(words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_exit_codes(tmp_path):
    for words in (["--nonsense"], ["--size", "10"]):
        command = [sys.executable, str(ROOT / "evaluate.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(PhotoError, match="does not exist"):
        evaluate.main(["/no/such/photo.jpg", "-o", str(tmp_path / "out")])


def test_a_real_photo(test_data, tmp_path):
    """From the photo on, by a process of its own; the mirror is better than the nearest texel."""
    photo = find_photos([test_data / "photos"])[0]
    command = [sys.executable, str(ROOT / "evaluate.py"), str(photo.path), "-o", str(tmp_path / "out"), "--size", "128",
               "--yaws=-60,60", "--baselines", "nearest_fill,mirror_fill,completion", "refine.features=none"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    means = json.loads((tmp_path / "out" / "summary.json").read_text())["reprojection"]["means"]
    value = lambda method, measure: means[method][measure]["mean"]
    assert value("mirror_fill", "unseen_psnr") > value("nearest_fill", "unseen_psnr")
    assert value("default", "seen_psnr") > value("completion", "seen_psnr")
    assert value("completion", "opposite_identity") < value("nearest_fill", "opposite_identity")
