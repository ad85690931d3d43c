"""Faces that move in the report: what is packed of a rig, how large it is, and what the buttons do in Chromium."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from browser import Visit, chromium
from head_file import head_model
from scipy.spatial import cKDTree
from test_reconstruction_folder import cube
from test_report import COLOURS, blocks, noise, write_run
from test_report_browser import differs, shot

from pipeline.reconstruction.rig import Rig, save_rig
from pipeline.runs.files import write_image
from renderer.interpolate import interpolate
from renderer.mesh import Mesh, joined_corners, save_mesh, vertex_normals
from renderer.rasterize import rasterize_uv
from report.face import EXPRESSIONS, packed_face
from report.page import write_report

SMILING = {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.3, "eyeSquintLeft": 0.5, "browInnerUp": 0.6}
ASIDE = (np.sin(0.25), 0.0, np.cos(0.25))  # a gaze to the person's left
PARTS = {
    "skin": (200, 160, 135), "mouth": (110, 40, 45), "eye_socket_left": (150, 70, 70),
    "eye_socket_right": (150, 70, 70), "eye_left": (240, 240, 240), "eye_right": (240, 240, 240),
    "tongue": (190, 90, 95), "upper_teeth": (235, 230, 210), "lower_teeth": (225, 220, 200),
}  # fmt: skip


# ---- heads -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return head_model()


def head_of(model, identity, expression, gaze=(0.0, 0.0, 1.0)):
    """A rig of a head of the model, and its mesh as photographed, in the head frame."""
    neutral = model.evaluate(identity)
    weights = np.array([expression.get(name, 0.0) for name in model.expression_names])
    # The skin, the mouth and the sockets share vertices, and all corners of a face belong to one part.
    parts = np.full(len(neutral), model.part_names.index("skin"))
    for name in ("eye_left", "eye_right", "tongue", "upper_teeth", "lower_teeth"):
        parts[model.vertices_of(name)] = model.part_names.index(name)
    eyes, centres = [model.part_names.index(f"eye_{side}") for side in ("left", "right")], model.eye_centres(neutral)
    rig = Rig(
        neutral, np.array(model.expression_names), model.expressions, weights, np.array(model.part_names), parts,
        np.array(["left", "right"]), np.array(eyes), centres, np.full(2, 0.0165), np.tile(gaze, (2, 1)),
    )  # fmt: skip
    x, _, z = gaze
    vertices = rig.posed()
    for part, centre in zip(eyes, centres, strict=True):
        ball = vertices[parts == part] - centre
        vertices[parts == part] = ball @ np.array([[z, 0, -x], [0, 1, 0], [x, 0, z]]) + centre
    return rig, Mesh(vertices, model.triangles, model.uvs, model.uv_triangles)


def drawn_texture(model, size):
    """Parts in their colours, a pattern on the skin, lips, irises: uint8 [size, size, 3] in MakeHuman's layout."""
    fragments = rasterize_uv(model.uvs, model.uv_triangles, size, size)
    places = interpolate(model.vertices, model.triangles, fragments)
    part = model.parts[np.maximum(fragments.face_ids, 0)]
    texture = np.array([PARTS[name] for name in model.part_names])[part].astype(np.uint8)
    skin = part == model.part_names.index("skin")
    texture[skin] -= (10 * (1 + np.sin(400 * places[skin]).prod(axis=1, keepdims=True))).astype(np.uint8)
    ring = np.intersect1d(model.vertices_of("skin"), model.vertices_of("mouth"))
    lips = cKDTree(model.vertices[ring]).query(places)[0]
    texture[skin & (lips < 0.006)] = (170, 85, 85)
    for side, centre in zip(("left", "right"), model.eye_centres(model.vertices), strict=True):
        from_axis = np.hypot(*(places - centre)[..., :2].transpose(2, 0, 1))
        front = (part == model.part_names.index(f"eye_{side}")) & (places[..., 2] > centre[2])
        texture[front & (from_axis < 0.0062)] = (60, 90, 60)
        texture[front & (from_axis < 0.0025)] = (10, 10, 10)
    texture[fragments.face_ids < 0] = PARTS["skin"]
    return texture


def give_head(folder, rig, mesh, picture):
    """Makes the head that of a finished photo's folder of test_report."""
    save_mesh(mesh, folder / f"{folder.name}.obj")
    save_rig(rig, folder / "reconstruction" / "rig.npz")
    for name in ("initial", "texture"):
        write_image(folder / f"{name}.png", picture)


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    """OUT of a smiling face that looks aside, of a face at rest and of a face without a rig."""
    out = write_run(tmp_path_factory.mktemp("heads") / "run", {"ann": 40.0, "bob": 41.0, "card": 42.0})
    texture = drawn_texture(model, 1024)
    give_head(out / "ann", *head_of(model, {"gender-male-female": 0.8}, SMILING, ASIDE), texture)
    give_head(out / "bob", *head_of(model, {"gender-male-female": -0.8}, {}), texture)
    write_report(out)
    return out


@pytest.fixture(scope="module")
def data(out):
    return blocks((out / "report.html").read_text())


# ---- what is packed --------------------------------------------------------------------------------------------------


def array(text, kind, columns=3):
    return np.frombuffer(base64.b64decode(text), kind).reshape(-1, columns)


def simple_rig(mesh, names=("jawOpen", "browInnerUp"), weights=(0.0, 0.0)):
    """A rig of a mesh without eyes; target k moves vertex k upwards by 1 and vertex 7 by next to nothing."""
    count = len(mesh.vertices)
    offsets = np.zeros((len(names), count, 3), np.float32)
    for number in range(len(names)):
        offsets[number, number], offsets[number, 7] = (0, 1, -0.25), 1e-5
    neutral = mesh.vertices - np.tensordot(np.array(weights), offsets, axes=1)
    empty = np.zeros((0, 3), np.float32)
    return Rig(
        neutral, np.array(names), offsets, np.array(weights), np.array(["all"]), np.zeros(count, int),
        np.zeros(0, "U4"), np.zeros(0, int), empty, np.zeros(0, np.float32), empty,
    )  # fmt: skip


def test_a_target_is_packed_with_the_vertices_that_it_moves():
    mesh = cube()
    face, shared = packed_face(mesh, simple_rig(mesh, weights=(0.25, 0.5)))
    vertex_ids, _, _ = joined_corners(mesh)
    assert face["expressions"] == {"Open jaw": {"jawOpen": 1.0}}  # the other buttons need other targets
    assert list(face["targets"]) == ["jawOpen"] and face["targets"]["jawOpen"]["weight"] == 0.25
    target = shared[face["targets"]["jawOpen"]["block"]]
    moved = array(target["vertices"], "<u4", 1)[:, 0]
    assert moved.tolist() == np.flatnonzero(vertex_ids == 0).tolist()  # all copies of vertex 0, not vertex 7
    offsets = array(target["offsets"], "<i2") / 32767 * target["largest"]
    np.testing.assert_allclose(offsets, np.tile((0, 1, -0.25), (len(moved), 1)), atol=2e-5)
    corners = shared[face["corners"]]
    assert corners["eyeballs"] == [] and len(corners["copies"]) == len(vertex_ids) - len(mesh.vertices)
    assert all(vertex_ids[corner] == vertex_ids[corner - 1] for corner in corners["copies"])


def test_what_an_expression_takes_away_is_packed_only_where_the_photo_has_it():
    mesh = cube()
    names = ("jawOpen", "mouthClose", "eyeBlinkLeft")
    for weight, wanted in ((0.0, {"jawOpen": 1.0}), (0.5, {"jawOpen": 1.0, "mouthClose": 0.0})):
        face, _ = packed_face(mesh, simple_rig(mesh, names, (0, weight, 0)))
        assert face["expressions"] == {"Open jaw": wanted}  # blinking needs both eyes
        assert set(face["targets"]) == set(wanted)


def test_a_rig_without_known_targets_still_has_its_neutral(tmp_path):
    out = write_run(tmp_path / "run", {"ann": 40.0})
    save_rig(simple_rig(cube(), ("</script><b>", "wink"), (0.0, 0.0)), out / "ann" / "reconstruction" / "rig.npz")
    page = write_report(out).read_text()
    face = blocks(page)["photo-0"]["face"]
    assert face["expressions"] == {} and face["targets"] == {} and face["positions"] and "<b>" not in page


def test_a_rig_that_cannot_be_used_leaves_the_rest_of_the_page(tmp_path):
    out = write_run(tmp_path / "run", {"ann": 40.0, "bob": 41.0})
    rig = simple_rig(cube())
    save_rig(replace(rig, neutral=rig.neutral + 5), out / "ann" / "reconstruction" / "rig.npz")
    (out / "bob" / "reconstruction" / "rig.npz").write_bytes(b"no archive")
    with pytest.warns(UserWarning) as warned:
        data = blocks(write_report(out).read_text())
    messages = [str(warning.message) for warning in warned]
    assert "ann is shown without expressions" in messages[0] and "head frame" in messages[0]
    assert "bob is shown without expressions" in messages[1] and "not a readable .npz" in messages[1]
    for name in ("photo-0", "photo-1"):
        assert {"mesh", "images"} <= set(data[name]) and "face" not in data[name]


@pytest.mark.parametrize("limit", ["FACE_BYTES", "LAYOUT_BYTES"])
def test_a_face_that_is_too_large_is_left_out_and_said(tmp_path, monkeypatch, limit):
    out = write_run(tmp_path / "run", {"ann": 40.0})
    without = blocks(write_report(out).read_text())["layout-0"]
    save_rig(simple_rig(cube()), out / "ann" / "reconstruction" / "rig.npz")
    monkeypatch.setattr(f"report.page.{limit}", len(without["uvs"]) + len(without["faces"]))
    with pytest.warns(UserWarning, match="ann is shown without expressions: its expressions are too large"):
        data = blocks(write_report(out).read_text())
    assert "mesh" in data["photo-0"] and "face" not in data["photo-0"]
    assert not [name for name in data if name.startswith(("target-", "corners-"))]


def test_heads_share_targets_and_keep_their_own_shape(data):
    ann, bob, card = (data[f"photo-{number}"] for number in range(3))
    assert "face" not in card and "mesh" in card
    blocks_of = lambda face: {name: target["block"] for name, target in face["targets"].items()}
    assert ann["face"]["corners"] == bob["face"]["corners"] and ann["mesh"]["layout"] == bob["mesh"]["layout"]
    needed = {name for wanted in EXPRESSIONS.values() for name, weight in wanted.items() if weight > 0}
    assert set(bob["face"]["targets"]) == needed and list(bob["face"]["expressions"]) == list(EXPRESSIONS)
    assert set(ann["face"]["targets"]) == needed | {"eyeSquintLeft"}  # which blinking takes away
    assert {**blocks_of(ann["face"]), **blocks_of(bob["face"])} == blocks_of(ann["face"])
    stored = [name for name in data if name.startswith("target-")]
    assert sorted(stored) == sorted(blocks_of(ann["face"]).values())
    assert ann["face"]["positions"] != bob["face"]["positions"]
    assert ann["face"]["targets"]["mouthSmileLeft"]["weight"] == 0.4


def test_the_packed_face_is_the_rig(model, data):
    rig, mesh = head_of(model, {"gender-male-female": 0.8}, SMILING, ASIDE)
    vertex_ids, _, _ = joined_corners(mesh)
    face = data["photo-0"]["face"]
    low, high = np.array(face["low"]), np.array(face["high"])
    neutral = low + array(face["positions"], "<u2") / 65535 * (high - low)
    np.testing.assert_allclose(neutral, rig.neutral[vertex_ids], atol=5e-6)
    for name in ("jawOpen", "eyeLookInLeft"):
        target = data[face["targets"][name]["block"]]
        offsets = np.zeros_like(neutral)
        moved = array(target["vertices"], "<u4", 1)[:, 0]
        offsets[moved] = array(target["offsets"], "<i2") / 32767 * target["largest"]
        wanted = model.expressions[model.expression_names.index(name)]
        np.testing.assert_allclose(offsets, wanted[vertex_ids], atol=4e-5)
    eyeballs = data[face["corners"]]["eyeballs"]
    assert set(vertex_ids[eyeballs]) == set(model.vertices_of("eye_left", "eye_right"))


@pytest.mark.slow
def test_the_report_of_heads_stays_small_enough_to_mail(model, tmp_path):
    """Pictures that cannot be compressed, with textures of 2048."""
    out = write_run(tmp_path / "run", {"ann": 40.0, "bob": 41.0})
    rig, mesh = head_of(model, {"gender-male-female": 0.5}, dict.fromkeys(model.expression_names, 0.1))
    for name in ("ann", "bob"):
        give_head(out / name, rig, mesh, noise(2048, 2048))
        for picture in set(COLOURS) - {"initial", "texture"}:
            write_image(out / name / f"{picture}.png", noise(2048, 2048))
        write_image(out / name / "preview.png", noise(160, 5 * 160))
        write_image(out / name / "reconstruction" / "photo.png", noise(600, 450))
        write_image(out / name / "rendering.png", noise(600, 450))
    page = write_report(out)
    data = blocks(page.read_text())
    assert all("face" in data[name] for name in ("photo-0", "photo-1"))
    assert page.stat().st_size < 1.5e6 + 2 * 1.2e6
    shared = [len(str(value)) for name, value in data.items() if name.startswith(("target-", "corners-"))]
    assert sum(shared) < 250_000


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with chromium() as launch:
        yield launch()


@pytest.fixture
def visit(browser, out):
    """`visit(name)` opens the page of a photo; at the end it must have been quiet and have asked for nothing."""
    opened = []

    def start(name, **context):
        opened.append(Visit(browser, out / "report.html", **context))
        opened[-1].open_photo(name)
        return opened[-1]

    yield start
    for page in opened:
        page.close()


class Head:
    """The head of an open page, seen from the front in a square of 600 px."""

    def __init__(self, visit):
        self._visit, self.page = visit, visit.page
        self.page.evaluate(
            "document.querySelector('#head').style.cssText = 'position: fixed; inset: 0 auto auto 0; width: 600px; "
            "height: 600px; border-radius: 0; z-index: 9'"
        )

    def press(self, label):
        self.page.get_by_role("button", name=label, exact=True).press("Enter")

    def seen(self):
        """What is shown when the face stands still, [600, 600, 3]."""
        self._visit.until("!document.querySelector('#head').viewer.face?.isMoving()")
        self._visit.settle()
        self.page.evaluate("document.activeElement.blur()")
        return shot(self.page.locator("#head"))

    def pressed(self):
        return set(self.page.locator("#viewer button[aria-pressed=true]").all_text_contents())


def window(mesh, vertices, margin=0.0):
    """Slices of the picture of Head around vertices, [N, 3] in the head frame. margin: in the frame's unit."""
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    reach = np.linalg.norm(mesh.vertices - centre, axis=1).max()
    points = vertices - centre
    places = 300 + 2.7 * 600 * points[:, :2] * (1, -1) / (5.7 * reach - points[:, 2:])
    around = 2.7 * 600 * margin / (5.7 * reach)
    (left, top), (right, bottom) = places.min(0) - around, places.max(0) + around
    return slice(round(top), round(bottom)), slice(round(left), round(right))


def eye_windows(model, mesh):
    """Around the opening of each eye: the rim of its lids. The person's left eye first."""
    sockets = [model.vertices_of(f"eye_socket_{side}") for side in ("left", "right")]
    return [window(mesh, mesh.vertices[np.intersect1d(model.vertices_of("skin"), socket)]) for socket in sockets]


WHITE = lambda picture: (picture.min(axis=2) > 190).mean()
DARK = lambda picture: picture.max(axis=2) < 110  # irises and pupils
IRIS = lambda picture, eye: np.flatnonzero(DARK(picture[eye]).sum(axis=0) > 2).mean()  # px from the window's left


@pytest.mark.slow
def test_expressions_move_what_they_should(visit, model):
    _, mesh = head_of(model, {"gender-male-female": -0.8}, {})
    eyes = eye_windows(model, mesh)
    mouth = window(mesh, model.vertices[np.intersect1d(model.vertices_of("skin"), model.vertices_of("mouth"))], 0.008)
    head = Head(visit("bob"))
    before = head.seen()
    assert head.pressed() == {"Refined", "As photographed"} and all(WHITE(before[eye]) > 0.15 for eye in eyes)

    def changed(label):
        """What a button changes; pressed again, it undoes that."""
        head.press(label)
        after = head.seen()
        assert head.pressed() == {"Refined", "As photographed", label}
        head.press(label)
        assert head.pressed() == {"Refined", "As photographed"} and (head.seen() == before).all()
        return after, differs(before, after)

    after, where = changed("Blink")
    for eye in eyes:
        assert where[eye].mean() > 0.5 and WHITE(after[eye]) < 0.02 and not DARK(after[eye]).any()
    assert not where[mouth].any() and where.sum() < 4 * sum(where[eye].sum() for eye in eyes)
    after, where = changed("Smile")
    assert where[mouth].mean() > 0.2 and not any(where[eye].mean() > 0.2 for eye in eyes)
    lips = lambda picture: np.flatnonzero((differs(picture, np.array((170, 85, 85))) == 0)[mouth[0]].any(axis=0))
    assert np.ptp(lips(after)) > 1.1 * np.ptp(lips(before))  # the mouth is wider
    after, where = changed("Open jaw")
    assert where[mouth].mean() > 0.3 and not any(where[eye].any() for eye in eyes)
    assert where[mouth[0].stop + 10 :].any()  # the chin moves, too
    # The irises of both eyes go to the side that the label names, in the picture.
    for label, sign in (("Look left", -1), ("Look right", 1)):
        after, where = changed(label)
        assert all(4 < sign * (IRIS(after, eye) - IRIS(before, eye)) < 15 for eye in eyes)
        assert not where[mouth].any()

    # One expression at a time.
    head.press("Blink")
    head.press("Look left")
    assert head.pressed() == {"Refined", "As photographed", "Look left"}


@pytest.mark.slow
def test_neutral_and_photographed(visit, model):
    _, mesh = head_of(model, {"gender-male-female": 0.8}, SMILING, ASIDE)
    eyes = eye_windows(model, mesh)
    head = Head(visit("ann"))
    photographed = head.seen()
    head.press("Neutral")
    neutral = head.seen()
    assert head.pressed() == {"Refined", "Neutral"} and differs(photographed, neutral).mean() > 0.01
    # The photo's gaze is to the person's left, the right of the picture.
    assert all(IRIS(photographed, eye) - IRIS(neutral, eye) > 4 for eye in eyes)
    head.press("As photographed")
    assert (head.seen() == photographed).all() and head.pressed() == {"Refined", "As photographed"}
    # An aim that both share is reached from either: the eyes look to the left as far in both.
    head.press("Look left")
    from_photo = head.seen()
    head.press("Neutral")
    assert head.pressed() == {"Refined", "Neutral", "Look left"}
    from_rest = head.seen()
    for eye in eyes:
        assert abs(IRIS(from_photo, eye) - IRIS(from_rest, eye)) < 1.5
        assert IRIS(from_rest, eye) < IRIS(neutral, eye) - 4
    # A smile takes the place of the photo's: it is not added to it.
    head.press("Smile")
    ring = np.intersect1d(model.vertices_of("skin"), model.vertices_of("mouth"))
    mouth = window(mesh, mesh.vertices[ring], 0.008)
    from_rest = head.seen()
    head.press("As photographed")
    assert differs(photographed, neutral)[mouth].mean() > 0.1 and differs(head.seen(), from_rest)[mouth].mean() < 0.03
    head.press("Neutral")
    # Eyes close in the photo's pose as they do at rest, though the photo's squint has lids half closed.
    head.press("Blink")
    assert all(WHITE(head.seen()[eye]) < 0.02 for eye in eyes)
    head.press("As photographed")
    assert all(WHITE(head.seen()[eye]) < 0.02 for eye in eyes)


@pytest.mark.slow
def test_positions_and_normals_are_those_of_the_rig(visit, model):
    rig, mesh = head_of(model, {"gender-male-female": 0.8}, SMILING, ASIDE)
    vertex_ids, _, _ = joined_corners(mesh)
    page = visit("ann", reduced_motion="reduce").page
    given = """(label) => new Promise((done) => {
      const { viewer } = document.querySelector('#head');
      viewer.reshape = (positions, normals) => done([[...positions], [...normals]]);
      [...document.querySelectorAll('#viewer button')].find((button) => button.textContent === label).click();
    })"""
    jaw = model.expressions[model.expression_names.index("jawOpen")]
    shapes = {"Neutral": rig.neutral, "As photographed": mesh.vertices, "Open jaw": mesh.vertices + jaw}
    for label, vertices in shapes.items():
        positions, normals = (np.reshape(values, (-1, 3)) for values in page.evaluate(given, label))
        np.testing.assert_allclose(positions, vertices[vertex_ids], atol=5e-5)
        wrong = np.abs(normals / 127 - vertex_normals(vertices, mesh.faces)[vertex_ids]).max(axis=1)
        assert np.quantile(wrong, 0.99) < 0.02 and wrong.max() < 0.2  # the smallest faces feel the quantisation


@pytest.mark.slow
def test_the_face_moves_smoothly_unless_motion_is_unwanted(visit):
    follow = """(label) => new Promise((done) => {
      const seen = [];
      let first = null;
      const { viewer } = document.querySelector('#head');
      const { face, reshape } = viewer;
      viewer.reshape = (positions, normals) => {
        first ??= positions;
        seen.push(positions.reduce((sum, value, i) => sum + Math.abs(value - first[i]), 0));
        reshape(positions, normals);
        if (!face.isMoving()) done(seen);
      };
      [...document.querySelectorAll('#viewer button')].find((button) => button.textContent === label).click();
    })"""
    moves = visit("bob").page.evaluate(follow, "Open jaw")  # how far all vertices are from where they were
    assert len(moves) >= 3 and moves[0] == 0 and moves == sorted(moves) and moves[-1] > 1
    assert visit("bob", reduced_motion="reduce").page.evaluate(follow, "Open jaw") == [0]  # there at once


@pytest.mark.slow
def test_a_face_without_a_rig_has_no_buttons_for_it(visit):
    page = visit("card").page
    assert page.locator("#head").is_visible()
    for label in ("Neutral", "As photographed", *EXPRESSIONS):
        assert page.get_by_role("button", name=label, exact=True).count() == 0
    # From a face that moves to one that does not, while it moves.
    page = visit("bob")
    page.page.get_by_role("button", name="Smile").click()
    page.page.get_by_role("link", name="Next photo").click()
    page.until("document.querySelector('h1').textContent === 'card' && document.querySelector('#head').viewer.texture")
    assert page.page.evaluate("document.querySelector('#head').viewer.face") is None


@pytest.mark.slow
def test_the_buttons_fit_a_phone_and_the_keyboard_reaches_them(visit):
    page = visit("ann", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).page
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    labels = ["As photographed", "Neutral", *EXPRESSIONS]
    page.get_by_role("button", name="Save picture").focus()
    reached = []
    for _ in labels:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
    assert reached == labels
    assert page.get_by_role("group", name="Expression").get_by_role("button").count() == len(EXPRESSIONS)
