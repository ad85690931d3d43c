"""The report's files: what they are made of, how large they become, and what is said of what is not there."""

import base64
import hashlib
import json
import os
import re

import numpy as np
import pytest
from PIL import Image
from test_reconstruction_folder import cube

from pipeline.runs.files import RunFolderError, write_image, write_json
from pipeline.texture.provenance import LEGEND
from renderer.mesh import joined_corners, load_mesh, save_mesh, vertex_normals
from report import pictures
from report.__main__ import main
from report.collect import collect
from report.figure import COLUMNS, write_figure
from report.page import PICTURED_PHOTOS, SCRIPTS, report_or_reason, write_report

SIZE = 64
COLOURS = {"sampled": (10, 20, 30), "visibility": (90, 90, 90), "initial": (200, 30, 40), "texture": (40, 180, 60),
           "provenance": (0, 158, 115)}  # fmt: skip
TILES = dict(zip(pictures.TILES, [(250, 200, 0), (0, 200, 250), (40, 180, 60), (120, 0, 120), (0, 60, 120)], strict=True))


def flat(colour, height=SIZE, width=SIZE):
    return np.full((height, width, 3), colour, np.uint8)


def write_photo(folder, psnr=40.0, **more):
    """A finished photo's folder in plain colours; its photo is wider than high."""
    (folder / "reconstruction").mkdir(parents=True)
    for name, colour in COLOURS.items():
        write_image(folder / f"{name}.png", flat(colour))
    write_image(folder / "preview.png", np.concatenate([flat(colour, 48, 48) for colour in TILES.values()], axis=1))
    write_image(folder / "reconstruction" / "photo.png", flat(TILES["photo"], 60, 90))
    write_image(folder / "rendering.png", flat(TILES["rendering"], 60, 90))
    save_mesh(cube(), folder / f"{folder.name}.obj")
    curve = [{"transfer": 0, "scale": 1.0, "step": step, "total": 1 / step, "rendering": 0.5 / step} for step in (1, 10)]
    metrics = {"rendering": {"psnr": psnr, "ssim": 0.9}, "shares": {"observed": 0.7, "synthesised": 0.3}, "loss_curve": curve,
               "seconds": {"all": 3.0}, "command": "./run.sh a.png", "settings": "seed: 4\n", **more}  # fmt: skip
    write_json(folder / "metrics.json", metrics)


def write_run(out, scores, failed=(), settings="seed: 4\ncompletion:\n  method: smooth\n"):
    """OUT with photos of these PSNRs, and failed ones."""
    photos = {}
    for name, psnr in scores.items():
        write_photo(out / name, psnr)
        photos[name] = {"status": "done", "message": "", "seconds": 2.5, "stages": {}}
    for name in failed:
        photos[name] = {"status": "failed", "message": f"no face in {name}", "seconds": 0.1, "stages": {}}
    out.mkdir(exist_ok=True)
    write_json(out / "manifest.json", {"version": 1, "config": "quick", "seed": 4, "photos": photos, "assets": []})
    (out / "config.yaml").write_text(settings)
    return out


def blocks(page):
    """{id: data} of the page's JSON."""
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_the_page_holds_everything_and_links_to_nothing_outside(tmp_path):
    out = write_run(tmp_path / "run", {"ann": 40.0, "bob & co": 42.0}, ["cat"])
    page = write_report(out).read_text()
    data = blocks(page)
    assert [photo["name"] for photo in data["run"]["photos"]] == ["ann", "bob & co", "cat"]
    assert data["run"]["photos"][2]["message"] == "no face in cat" and "photo-2" not in data
    detail = data["photo-1"]
    assert set(detail["images"]) == {"photo", "rendering", "turned", "sampled", "visibility", "initial", "refined", "provenance"}
    assert [detail["images"]["photo"][side] for side in ("width", "height")] == [90, 60]
    assert detail["command"] == "./run.sh a.png" and detail["settings"] == "seed: 4\n" and len(detail["losses"]) == 2
    hrefs = {file["name"]: file["href"] for file in detail["files"]}
    assert hrefs["texture.png"] == "bob%20%26%20co/texture.png" and hrefs["bob & co.obj"] == "bob%20%26%20co/bob%20%26%20co.obj"
    assert [name for name in data if name.startswith("layout-")] == ["layout-0"]  # both meshes share it
    # Nothing of the page points outside it, but names of its XML.
    assert set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"'`]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b(?! rel=\"icon\" href=\"data:,\")", page.split("<script")[0])


def test_the_policy_allows_exactly_the_pages_own_scripts(tmp_path):
    page = write_report(write_run(tmp_path / "run", {"ann": 40.0})).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in styles + scripts]
    assert re.findall(r"'sha256-[^']+'", policy) == hashes and len(scripts) == len(SCRIPTS)


def noise(height, width):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.slow
def test_the_page_stays_small_enough_to_mail(tmp_path):
    """Pictures that cannot be compressed, in a texture larger than is shown."""
    out = write_run(tmp_path / "run", {"ann": 40.0, "bob": 41.0})
    for name in ("ann", "bob"):
        for picture in COLOURS:
            write_image(out / name / f"{picture}.png", noise(700, 700))
        write_image(out / name / "preview.png", noise(160, 5 * 160))
        write_image(out / name / "reconstruction" / "photo.png", noise(600, 450))
        write_image(out / name / "rendering.png", noise(600, 450))
    page = write_report(out)
    assert page.stat().st_size < 1.5e6 + 2 * 1e6
    assert len(blocks(page.read_text())["photo-0"]["images"]["refined"]["src"]) > 50_000


def test_a_mesh_that_is_too_large_is_left_out_and_the_page_says_so(tmp_path, monkeypatch):
    out = write_run(tmp_path / "run", {"ann": 40.0})
    monkeypatch.setattr("report.page.LAYOUT_BYTES", 100)
    detail = blocks(write_report(out).read_text())["photo-0"]
    assert "mesh" not in detail and "too large" in detail["mesh_left_out"] and "refined" in detail["images"]


def test_many_photos_have_a_limit(tmp_path):
    out = write_run(tmp_path / "run", {"ann": 40.0})
    for number in range(PICTURED_PHOTOS + 20):
        (out / f"p{number}").symlink_to("ann")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["photos"] |= {f"p{number}": manifest["photos"]["ann"] for number in range(PICTURED_PHOTOS + 20)}
    write_json(out / "manifest.json", manifest)
    data = blocks(write_report(out, embedded=3).read_text())
    details = [detail for name, detail in data.items() if name.startswith("photo-")]
    assert len(details) == PICTURED_PHOTOS + 21 and sum("images" in detail for detail in details) == 3
    assert sum("picture" in photo for photo in data["run"]["photos"]) == PICTURED_PHOTOS
    assert all(detail["command"] and detail["files"] for detail in details) and data["run"]["embedded"] == 3


def test_the_packed_mesh_is_the_mesh():
    mesh = cube()
    shape, layout = pictures.packed_mesh(mesh)
    of = lambda text, kind, columns: np.frombuffer(base64.b64decode(text), kind).reshape(-1, columns)
    low, high = np.array(shape["low"]), np.array(shape["high"])
    vertices = low + of(shape["positions"], "<u2", 3) / 65535 * (high - low)
    faces = of(layout["faces"], "<u2", 3)
    np.testing.assert_allclose(vertices[faces], mesh.vertices[mesh.faces], atol=1e-4)
    np.testing.assert_allclose((of(layout["uvs"], "<u2", 2) / 65535)[faces], mesh.uvs[mesh.uv_faces], atol=1e-5)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(of(shape["normals"], "i1", 3)[faces] / 127, normals[mesh.faces], atol=0.005)


def test_joined_corners_split_what_has_several_uvs():
    mesh = cube()
    vertices, uvs, faces = joined_corners(mesh)
    assert len(vertices) == len(uvs) == 24 and faces.shape == mesh.faces.shape
    assert (vertices[faces] == mesh.faces).all() and (uvs[faces] == mesh.uv_faces).all()


def test_an_older_run_is_shown_with_what_it_has(tmp_path):
    """No rendering.png, no provenance, meshes called mesh.*, no command; and one whose pictures are damaged."""
    out = write_run(tmp_path / "run", {"ann": 40.0, "bob": 41.0})
    for name in ("rendering.png", "provenance.png"):
        (out / "ann" / name).unlink()
    (out / "ann" / "ann.obj").rename(out / "ann" / "mesh.obj")
    metrics = json.loads((out / "ann" / "metrics.json").read_text())
    del metrics["command"], metrics["settings"]
    write_json(out / "ann" / "metrics.json", metrics)
    (out / "bob" / "initial.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="bob is shown without pictures: .*initial.png"):
        data = blocks(write_report(out).read_text())
    assert data["photo-0"]["images"]["photo"]["width"] == 48 and "provenance" not in data["photo-0"]["images"]
    assert data["photo-0"]["settings"].startswith("seed: 4\ncompletion:") and "mesh" in data["photo-0"]
    assert "images" not in data["photo-1"] and data["photo-1"]["files"]


def test_a_run_without_results_and_odd_bytes_in_names(tmp_path, capsys):
    """A name that is no text in UTF-8, and numbers that are none."""
    name = os.fsdecode(b"an\xffn")
    out = write_run(tmp_path / "run", {name: 40.0}, ["cat"])
    metrics = (out / name / "metrics.json").read_text().replace("40.0", "NaN")
    (out / name / "metrics.json").write_text(metrics)
    assert main([str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "NaN" not in page.split("<script>")[0]
    assert blocks(page)["photo-0"]["files"][0]["href"] == "an%FFn/texture.png"
    out = write_run(tmp_path / "none", {}, ["cat"])
    assert main([str(out)]) == 0
    assert "no photo has results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "contains no run"),
        ("{", "is not valid"),
        ('{"photos": []}', "is not valid"),
        ('{"photos": {"../ann": {}}}', "not a folder name"),
        ('{"photos": {"ann": {"seconds": "some"}}}', "is not valid"),
    ],
)
def test_what_is_no_run_is_said_in_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunFolderError, match=words) as error:
        collect(tmp_path)
    assert "\n" not in str(error.value)
    line = report_or_reason(tmp_path)
    assert line.startswith("no report was made (RunFolderError: ") and "python -m report" in line


def test_a_run_does_not_fail_because_of_its_report(tmp_path, monkeypatch):
    out = write_run(tmp_path / "run", {"ann": 40.0})
    assert report_or_reason(out) == f"report: {out / 'report.html'}"
    monkeypatch.setattr("report.page.document", lambda *_: 1 / 0)
    assert report_or_reason(out).startswith("no report was made (ZeroDivisionError")
    assert "FaceRefiner" in (out / "report.html").read_text()  # the former one is still there


# ---- comparisons -----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path):
    first = write_run(tmp_path / "first", {"ann": 40.0, "bob": 42.0})
    second = write_run(tmp_path / "second", {"ann": 41.5, "cat": 30.0}, ["bob"], "seed: 4\ncompletion:\n  method: symmetric\n")
    return first, second


def test_the_same_photo_in_each_row_with_differences(two_runs, tmp_path, capsys):
    assert main([*map(str, two_runs), "-o", str(tmp_path / "both")]) == 0
    printed = capsys.readouterr().out.split("\n")
    assert printed[2:4] == [str(tmp_path / "both" / "comparison.html"), str(tmp_path / "both" / "comparison.png")]
    assert all((out / "report.html").is_file() for out in two_runs)
    page = (tmp_path / "both" / "comparison.html").read_text()
    table = page[page.index('class="side-by-side"') :]
    rows = {re.search(r'scope="row">(\w+)<', row)[1]: row for row in table.split("<tr>")[2:]}
    assert list(rows) == ["ann", "bob", "cat"]
    assert '<b>41.50</b> <span class="better">+1.50</span>' in rows["ann"] and rows["ann"].count("<img") == 2
    assert "no face in bob" in rows["bob"] and rows["bob"].count("<img") == 1 and "not in this run" in rows["cat"]
    assert 'href="../first/report.html"' in rows["ann"] and "<script" not in page
    # Means over what both have; settings that differ.
    assert re.search(r'PSNR, dB</th><td><b>40.00</b></td><td><b>41.50</b> .*?1 photos', page)
    assert re.search(r'completion.method</th><td>smooth</td><td>symmetric</td>', page) and "seed</th>" not in page


def test_links_to_runs_with_odd_names(tmp_path):
    """The address of "a & b's" is quoted once, and leads to its report."""
    outs = [write_run(tmp_path / name, {"ann": 40.0}) for name in ("a & b's", "c")]
    assert main([*map(str, outs), "-o", str(tmp_path / "a & b's")]) == 0
    page = (tmp_path / "a & b's" / "comparison.html").read_text()
    assert re.findall('<a href="([^"]*)"', page) == ["report.html", "../c/report.html"]
    assert main([*map(str, outs), "-o", str(tmp_path / "both")]) == 0
    page = (tmp_path / "both" / "comparison.html").read_text()
    assert re.findall('<a href="([^"]*)"', page)[0] == "../a%20%26%20b%27s/report.html"


def test_the_figure_shows_the_chosen_columns(two_runs, tmp_path):
    experiments = [collect(out) for out in two_runs]
    path = tmp_path / "comparison.png"
    tile, gap, margin = 64, 4, 20
    assert write_figure(experiments, path, ["texture", "photo", "left"], tile, None, 2) == 3
    picture = np.asarray(Image.open(path))
    assert picture.shape == (margin + 2 * (tile + gap), margin + 5 * (tile + gap), 3)
    middle = lambda row, column: tuple(picture[margin + row * (tile + gap) + tile // 2, margin + column * (tile + gap) + tile // 2])
    grey = (235, 235, 235)
    assert [middle(0, column) for column in range(5)] == [
        TILES["photo"], COLOURS["texture"], COLOURS["texture"], TILES["left"], TILES["left"]
    ]  # fmt: skip
    assert [middle(1, column) for column in range(5)] == [TILES["photo"], COLOURS["texture"], grey, TILES["left"], grey]
    assert picture[margin + 2, margin + tile // 2].tolist() == [255] * 3  # the photo is wider than high
    # Labels above each column and beside each row, and nothing between.
    dark = picture.min(axis=2) < 120
    for column in range(5):
        left = margin + column * (tile + gap)
        assert dark[:margin, left : left + tile].any() and not dark[:, left - gap : left].any()
    for row in range(2):
        top = margin + row * (tile + gap)
        assert dark[top : top + tile, :margin].any()


def test_the_figure_of_one_run_and_of_names(two_runs, tmp_path, capsys):
    assert main([str(two_runs[0]), "--photos", "bob", "--columns", ",".join(COLUMNS), "--tile", "32"]) == 0
    picture = Image.open(two_runs[0] / "comparison.png")
    assert picture.size == (20 + len(COLUMNS) * 36, 20 + 36 + 20)
    below = np.asarray(picture)[-20:].reshape(-1, 3)  # the legend of provenance
    assert all((below == colour).all(axis=1).any() for colour, _ in LEGEND.values())
    assert main([str(two_runs[0]), "--rows", "1"]) == 0
    assert "the first 1 of 2 photos" in capsys.readouterr().out
    with pytest.raises(RunFolderError, match="there are no results of a photo named eve: choose from ann, bob"):
        main([str(two_runs[0]), "--photos", "eve"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--columns", "photo,face"], "'face' is not a column, allowed are photo, sampled"),
        (["--tile", "4"], "'4' is not a whole number from 32 to 2048"),
        (["--embed", "x"], "'x' is not a whole number"),
    ],
)
def test_wrong_use_of_the_command_line(two_runs, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main([str(two_runs[0]), *words])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and message in printed and printed.count("\n") == 1
    assert not (two_runs[0] / "report.html").exists()


def test_the_obj_with_normals_is_read_back(tmp_path):
    mesh = cube()
    save_mesh(mesh, tmp_path / "cube.obj", "cube.mtl", "cube", vertex_normals(mesh.vertices, mesh.faces))
    again = load_mesh(tmp_path / "cube.obj")
    assert (again.vertices == mesh.vertices).all() and (again.uv_faces == mesh.uv_faces).all()
