"""The report of a real run in Chromium: quiet, alone, and moving where it should."""

import io
import json
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
import torch._dynamo  # noqa: F401  Triton, loaded after TensorFlow, crashes: run.sh has two processes, the tests one
from browser import Visit, chromium
from PIL import Image
from skimage.metrics import structural_similarity

import refine
from pipeline.reconstruction import program
from pipeline.reconstruction.images import as_float
from pipeline.reconstruction.photos import sample_photos
from pipeline.runs.files import write_image
from renderer.camera import Camera
from renderer.mesh import Mesh, load_mesh
from renderer.render import render
from report.page import write_report

pytestmark = pytest.mark.slow

FIRST, SECOND = "astronaut", "grace_hopper"
SETTINGS = [
    "texture_size=256", "render.maximum_size=256", "refine.iterations=4", "refine.rendering_iterations=20",
    "refine.features=patches", "device=cpu", "output.preview_size=160",
]  # fmt: skip
STAGE = (46, 46, 46)  # page.css's --stage, behind the head


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """OUT of both stages over the two sample photos and one without a face."""
    place = tmp_path_factory.mktemp("real")
    write_image(place / "wall.png", np.full((90, 120, 3), 140, np.uint8))
    words = [*(str(photo.path) for photo in sample_photos()), str(place / "wall.png"), "-o", str(place / "out"), *SETTINGS]
    assert program.main(words) == 1
    assert refine.main(words) == 1
    return place / "out"


@pytest.fixture(scope="module")
def launch():
    with chromium() as start:
        yield start


@pytest.fixture(scope="module")
def browser(launch):
    return launch()


@pytest.fixture
def visit(browser, out):
    """`visit(**context)` opens the report; at the end it must have been quiet and have asked for nothing."""
    opened = []

    def start(path=None, **context):
        opened.append(Visit(browser, path or out / "report.html", **context))
        return opened[-1]

    yield start
    for page in opened:
        page.close()


def shot(locator):
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def differs(before, after):
    """[H, W] bool."""
    return np.abs(before - after).max(axis=2) > 8


def test_the_overview_sorts_and_filters(visit, out):
    page = visit().page
    names = lambda: page.locator("#cards h2").all_text_contents()
    assert names() == [FIRST, SECOND, "wall"]
    wall = page.locator("#cards li").filter(has_text="wall")
    message = json.loads((out / "manifest.json").read_text())["photos"]["wall"]["message"]
    assert message in wall.inner_text() and "failed" in wall.inner_text() and wall.get_by_role("link").count() == 0
    metrics = json.loads((out / FIRST / "metrics.json").read_text())["rendering"]
    assert f"{metrics['psnr']:.1f} dB" in page.locator("#cards li").first.inner_text()

    page.get_by_role("button", name="Failed 1").click()
    assert names() == ["wall"] and "1 of 3 photos" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="All 3").click()
    page.get_by_role("searchbox").fill("hopp")
    assert names() == [SECOND]
    page.get_by_role("searchbox").fill("")
    scores = {name: json.loads((out / name / "metrics.json").read_text())["rendering"]["psnr"] for name in (FIRST, SECOND)}
    page.get_by_role("combobox").select_option("rendering.psnr")
    assert names() == [*sorted(scores, key=scores.get, reverse=True), "wall"]
    page.get_by_role("button", name="Reverse the order").click()
    assert names() == [*sorted(scores, key=scores.get), "wall"]


def test_everything_of_a_photo_is_there(visit, out):
    page = visit()
    page.open_photo(FIRST)
    page = page.page
    for title in ("Sampled", "Visibility", "Initial", "Refined", "Provenance"):
        assert page.locator("figcaption b", has_text=title).is_visible()
    # Every picture is really one, and is described.
    pictures = page.locator("img").evaluate_all("(all) => all.map((i) => [i.alt, i.naturalWidth, i.src.slice(0, 16)])")
    shown = [entry for entry in pictures if entry[1]]
    assert len(shown) >= 7 and all(alt and source == "data:image/webp;" for alt, _, source in shown)
    metrics = json.loads((out / FIRST / "metrics.json").read_text())
    for name, share in metrics["shares"].items():
        assert page.locator(".legend li", has_text=f"{name} {100 * share:.0f} %").count() == 1
    chart = page.locator("svg.chart").get_attribute("aria-label")
    assert f"over {metrics['loss_curve'][-1]['step']} steps" in chart and "rendering from" in chart
    assert page.locator("svg.chart path.curve").count() >= 4
    assert f"{metrics['rendering']['psnr']:.1f} dB" in page.locator("table.scores").inner_text()
    # Behind each score, those of both finished photos.
    assert page.locator("table.scores tr", has_text="PSNR").locator("path.other").get_attribute("d").count("M") == 2
    text = page.locator("main").inner_text()
    assert metrics["command"] in text and "-o" in metrics["command"]
    page.get_by_text("All settings").click()
    assert "texture_size: 256" in page.locator("main").inner_text()
    page.get_by_text("Assets and licences").click()
    assert "Apache-2.0" in page.locator("main").inner_text() and "MediaPipe" in page.locator("main").inner_text()
    files = page.locator("ul.files a").evaluate_all("(all) => all.map((a) => decodeURIComponent(new URL(a.href).pathname))")
    assert {f"{FIRST}.glb", f"{FIRST}.obj", f"{FIRST}.mtl", f"{FIRST}_texture.png"} <= {file.split("/")[-1] for file in files}
    assert all(file.startswith(str(out)) and (out / FIRST / file.split("/")[-1]).is_file() for file in files)
    # Enlarged, and closed by a key.
    page.locator("button[title=Enlarge]").nth(4).click()
    assert page.locator("dialog img").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_the_slider_moves(visit):
    page = visit()
    page.open_photo(FIRST)
    page.page.get_by_role("button", name="Initial and refined").click()
    slider = page.page.locator(".slider")
    slider.scroll_into_view_if_needed()
    page.page.mouse.move(0, 0)
    before = shot(slider)
    box = slider.bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"])
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.page.mouse.up()
    page.page.mouse.move(0, 0)
    after = shot(slider)
    changed = np.flatnonzero(differs(before, after).any(axis=0)) / before.shape[1]
    assert changed.min() > 0.12 and changed.max() < 0.56  # the handle is as wide as that
    value = float(page.page.get_by_role("slider").input_value())
    assert 15 < value < 25
    page.page.get_by_role("slider").press("ArrowRight")
    assert float(page.page.get_by_role("slider").input_value()) > value


def test_the_head_turns_when_dragged_and_by_keys(visit):
    page = visit()
    page.open_photo(FIRST)
    head = page.page.locator("#head")
    view = lambda: page.page.evaluate("document.querySelector('#head').viewer.view")

    def settled():
        page.settle()
        return shot(head)[12:-12, 12:-12]  # without the round corners and the outline of what has the focus

    before = settled()
    box = head.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(*middle)
    page.page.mouse.down()
    page.page.mouse.move(middle[0] + 0.2 * box["width"], middle[1], steps=4)
    page.page.mouse.up()
    after = settled()
    assert view()["yaw"] == pytest.approx(36, abs=1) and view()["pitch"] == pytest.approx(0, abs=1)
    changed = differs(before, after)
    height, width = changed.shape
    assert changed[height // 4 : -height // 4, width // 4 : -width // 4].mean() > 0.3
    rim = np.ones_like(changed)
    rim[4:-4, 4:-4] = False
    assert not changed[rim].any() and (np.abs(before[rim] - STAGE) <= 2).all()
    # The back of the head, which reaches further than the face, went to the left of the picture.
    faces = [(np.abs(image - STAGE).max(axis=2) > 12).sum(axis=0) for image in (before, after)]
    centres = [(columns * np.arange(width)).sum() / columns.sum() for columns in faces]
    assert abs(centres[0] - centres[1]) > 2

    head.press("ArrowLeft")
    assert view()["yaw"] == pytest.approx(26, abs=1)
    head.press("+")
    assert view()["zoom"] == pytest.approx(1.2) and differs(after, settled()).any()
    head.press("ArrowDown")
    assert view()["pitch"] == pytest.approx(10, abs=1)
    page.page.mouse.wheel(0, -200)
    page.until("document.querySelector('#head').viewer.view.zoom > 1.3")
    head.press("0")
    assert view() == {"yaw": 0, "pitch": 0, "zoom": 1, "right": 0, "down": 0}
    assert not differs(before, settled()).any()
    # Light, wireframe and the other texture each change the picture, and going back undoes it.
    for button in ("Light", "Wireframe"):
        page.page.get_by_role("button", name=button).click()
        changed = differs(before, settled())
        middle = changed[height // 3 : height // 3 + 160, width // 3 : width // 3 + 160].reshape(8, 20, 8, 20)
        # Lines are everywhere, not in patches; light leaves alone what it meets at one angle.
        assert middle.any(axis=(1, 3)).mean() > {"Light": 0.3, "Wireframe": 0.95}[button]
        page.page.get_by_role("button", name=button).click()
        assert not differs(before, settled()).any()
    page.page.get_by_role("button", name="Initial", exact=True).click()
    assert (np.abs(before - settled()) > 1).any()
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Save picture").click()
    np.testing.assert_allclose(Image.open(download.value.path()).size, (width + 24, height + 24), atol=1)  # parts of pixels


def test_touch_turns_and_pinches(visit):
    page = visit(has_touch=True, viewport={"width": 390, "height": 844}, is_mobile=True)
    page.open_photo(FIRST)
    head = page.page.locator("#head")
    head.tap()
    box = head.bounding_box()
    session = page.page.context.new_cdp_session(page.page)

    def touch(kind, *points):
        places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    view = lambda: page.page.evaluate("document.querySelector('#head').viewer.view")
    touch("touchStart", (0.4, 0.5))
    for x in (0.45, 0.5, 0.55, 0.6):
        touch("touchMove", (x, 0.5))
    touch("touchEnd")
    assert 20 < view()["yaw"] < 40
    touch("touchStart", (0.4, 0.5), (0.6, 0.5))
    for spread in (0.12, 0.15, 0.2):
        touch("touchMove", (0.5 - spread, 0.5), (0.5 + spread, 0.5))
    touch("touchEnd")
    assert view()["zoom"] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("name", "texture", "view"),
    [
        (FIRST, "refined", {"yaw": 0, "pitch": 0, "zoom": 1, "right": 0, "down": 0}),
        (FIRST, "initial", {"yaw": 35, "pitch": -12, "zoom": 1.6, "right": 0.1, "down": -0.06}),
        (SECOND, "refined", {"yaw": -50, "pitch": 15, "zoom": 1, "right": 0, "down": 0}),
    ],
)
def test_the_viewer_agrees_with_our_rendering(visit, out, name, texture, view):
    page = visit()
    page.open_photo(name)
    page.until("document.querySelector('#head').viewer.has('initial')")
    page.page.evaluate("document.querySelector('#head').style.cssText = 'position: fixed; inset: 0 auto auto 0; width: 480px; height: 400px; border-radius: 0; aspect-ratio: auto'")
    page.settle()
    page.page.evaluate("(given) => document.querySelector('#head').viewer.set(given)", {**view, "texture": texture})
    page.settle()
    seen = shot(page.page.locator("#head")) / 255
    assert seen.shape == (400, 480, 3)

    mesh = load_mesh(out / name / f"{name}.obj")
    yaw, pitch = np.deg2rad([view["yaw"], view["pitch"]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    points = (mesh.vertices - centre) @ (about_x @ about_y).T * (1, -1, -1)
    points[:, 2] += 5.7 * np.linalg.norm(mesh.vertices - centre, axis=1).max()
    focal = 2.7 * 400 * view["zoom"]
    camera = Camera(480, 400, focal, focal, 240 + 400 * view["right"], 200 + 400 * view["down"])
    file = {"refined": "texture.png", "initial": "initial.png"}[texture]
    image = as_float(np.asarray(Image.open(out / name / file)))
    ours, coverage = render(image, Mesh(points, mesh.faces, mesh.uvs, mesh.uv_faces), camera, np.array(STAGE, np.float32) / 255)
    assert 0.2 < coverage.mean() < 0.9
    scores = structural_similarity(seen, ours.astype(float), channel_axis=2, data_range=1.0, full=True)[1].mean(axis=2)
    assert scores.mean() >= 0.95 and scores[coverage > 0].mean() >= 0.95
    assert np.abs(seen - ours).mean() < 0.01  # bytes are shown as they are: no second conversion of colours
    turned = structural_similarity(seen[:, ::-1], ours.astype(float), channel_axis=2, data_range=1.0)
    assert turned < 0.93  # what a wrong side would score


def test_without_webgl_a_picture_is_shown(launch, out):
    page = Visit(launch("--disable-3d-apis"), out / "report.html")
    page.open_photo(FIRST)
    picture = page.page.locator("#fallback img")
    assert picture.is_visible() and not page.page.locator("#head").is_visible()
    assert picture.evaluate("(image) => image.naturalWidth") >= 320 and "turned" in picture.get_attribute("alt")
    assert "no WebGL" in page.page.locator("#fallback").inner_text()
    assert page.page.locator(".slider").is_visible()
    page.close()


def test_phone_dark_and_keyboard(visit):
    page = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    fits = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.page.evaluate(fits)
    background = page.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    text = page.page.evaluate("getComputedStyle(document.body).color")
    brightness = lambda colour: sum(map(int, colour.strip("rgb()").split(",")))
    assert brightness(background) < 120 and brightness(text) > 600
    for _ in range(12):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.matches('a.card')"):
            break
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#head")
    assert page.page.evaluate(fits) and page.page.evaluate("document.activeElement.tagName") == "H1"
    page.page.go_back()
    page.page.wait_for_selector("#cards")


HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> & 'x' \u2028 `"
SCRIPT = "</script><script>document.title='pwned'</script><!-- <svg onload=alert(1)> {{7*7}}"


def test_hostile_names_and_messages_are_text(visit, out, tmp_path):
    place = tmp_path / "<b>out<i> & more"
    place.mkdir()
    shutil.copytree(out / FIRST, place / HOSTILE)
    manifest = json.loads((out / "manifest.json").read_text())
    first = manifest["photos"][FIRST] | {"message": SCRIPT}
    manifest["photos"] = {HOSTILE: first, "wall": {"status": "failed", "message": SCRIPT, "seconds": 1, "stages": {}}}
    manifest |= {"config": SCRIPT, "command": SCRIPT, "features": SCRIPT}
    manifest["assets"] = [{"name": SCRIPT, "licence": SCRIPT, "origin": "javascript:alert(1)"}]
    (place / "manifest.json").write_text(json.dumps(manifest))
    (place / "config.yaml").write_text(SCRIPT)
    metrics = json.loads((out / FIRST / "metrics.json").read_text())
    metrics |= {"command": SCRIPT, "settings": SCRIPT, "notes": [SCRIPT], SCRIPT: 3.5}
    (place / HOSTILE / "metrics.json").write_text(json.dumps(metrics))

    page = visit(write_report(place))
    assert SCRIPT in page.page.locator("#cards").inner_text()
    page.page.get_by_role("link").filter(has_text="onerror").click()
    page.until("document.querySelector('#head')?.viewer?.texture")
    for folded in page.page.locator("summary").all():
        folded.click()
    text = page.page.locator("body").inner_text()
    assert "<img src=x onerror=" in text and text.count("</script><script>") >= 5
    assert page.page.locator("img[src='x']").count() == 0 and "pwned" not in page.page.title().replace(HOSTILE, "")
    assert page.page.locator("a[href^='javascript']").count() == 0
    files = page.page.locator("ul.files a").evaluate_all("(all) => all.map((a) => a.href)")
    assert all((place / HOSTILE / unquote(file).removeprefix(f"file://{place / HOSTILE}/")).is_file() for file in files)

    from report.__main__ import main

    # The same in a comparison, which is made without scripts.
    assert main([str(place), str(out), "-o", str(tmp_path / "both")]) == 0
    both = visit(tmp_path / "both" / "comparison.html")
    text = both.page.locator("body").inner_text()
    assert SCRIPT in text and "<img src=x onerror=" in text and "<b>out<i> & more" in text
    assert both.page.locator("script, svg, h1 b, i").count() == 0 and both.page.title() == "Comparison - FaceRefiner"
