"""The contract between the stages: what is written is read back, and what is wrong is named in one line."""

import json

import numpy as np
import pytest
from synthetic_faces import albedo, head, photograph
from synthetic_meshes import grid_mesh, plane

from evaluation.prepared import prepare
from pipeline.reconstruction.folder import ReconstructionError, load_reconstruction, save_reconstruction
from pipeline.reconstruction.photos import input_files, is_reconstruction
from pipeline.runs.files import write_image
from pipeline.settings.loading import load_config
from pipeline.texture.initial import content_as_texture
from renderer.camera import Camera
from renderer.mesh import Mesh
from renderer.render import render
from renderer.visibility import outward_sign, texel_geometry, unoccluded


@pytest.fixture
def folder(tmp_path):
    """A complete reconstruction of a synthetic head, 220 x 200 px."""
    found = head(20, width=220, height=200)
    photo = photograph(albedo(64), found)
    mask = np.full(photo.shape[:2], 255, np.uint8)
    mask[:40] = 0
    source = {
        "system": "test", "head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5", "points": [[1, 2]] * 5
    }  # fmt: skip
    save_reconstruction(tmp_path, found.mesh, found.camera, photo, mask, source)
    return tmp_path


def cube(half=0.1, distance=1.0):
    """A cube of six islands that share vertices but no texture coordinates, seen from a corner."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces, uvs, uv_faces = [], [], []
    for index, quad in enumerate(quads):
        column, row = index % 3, index // 3
        base = len(uvs)
        uvs += [((column + a) / 3, (row + b) / 2) for a, b in ((0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95))]
        faces += [(quad[0], quad[1], quad[2]), (quad[0], quad[2], quad[3])]
        uv_faces += [(base, base + 1, base + 2), (base, base + 2, base + 3)]
    y, x = np.deg2rad([40, 25])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    turn = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]) @ turn
    return Mesh(corners @ turn.T + [0, 0, distance], np.array(faces), np.array(uvs), np.array(uv_faces))


def test_round_trip(folder):
    found = load_reconstruction(folder)
    expected = head(20, width=220, height=200)
    for name in ("vertices", "faces", "uvs", "uv_faces"):
        assert (getattr(found.mesh, name) == getattr(expected.mesh, name)).all()
    assert found.camera == expected.camera
    assert (found.photo == photograph(albedo(64), expected)).all()
    assert (found.head_to_camera == expected.head_to_camera).all()
    assert found.symmetric and found.source["system"] == "test" and found.source["version"] == 2 and found.rig is None
    assert (found.mask[:40] == 0).all() and (found.mask[40:] == 255).all() and found.content is None
    assert is_reconstruction(folder)
    names = ["mesh.obj", "camera.json", "photo.png", "mask.png", "source.json"]
    assert [path.name for path in input_files(folder)] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_what_is_optional_may_be_missing(folder):
    for name in ("mask.png", "source.json"):
        (folder / name).unlink()
    found = load_reconstruction(folder)
    assert found.mask is None and found.source == {} and not found.symmetric
    # The head frame is the camera's with y up.
    assert (found.head_to_camera[:3, :3] == np.diag([1.0, -1, -1])).all()
    np.testing.assert_allclose(found.head_to_camera[:3, 3], found.mesh.vertices.mean(0))
    # Mirroring needs both the pose and the word of the maker.
    for source, symmetric in (
        ({"uv_symmetry": "u=0.5"}, False),
        ({"head_to_camera": np.eye(4).tolist()}, False),
        ({"head_to_camera": np.eye(4).tolist(), "uv_symmetry": "none"}, False),
        ({"version": 1, "head_to_camera": np.eye(4).tolist(), "uv_symmetry": "u=0.5"}, True),
    ):
        (folder / "source.json").write_text(json.dumps(source))
        assert load_reconstruction(folder).symmetric == symmetric


def test_the_unit_of_length_is_the_makers(folder):
    assert load_reconstruction(folder).metres_per_unit == 1
    (folder / "source.json").write_text('{"metres_per_unit": 0.1}')
    assert load_reconstruction(folder).metres_per_unit == 0.1


@pytest.mark.parametrize("given", ["0", "-1", "true", '"0.1"', "null", "[1]", "1e400", "1e12"])
def test_a_unit_of_length_that_is_none(folder, given):
    (folder / "source.json").write_text(f'{{"metres_per_unit": {given}}}')
    with pytest.raises(ReconstructionError, match="source.json: metres_per_unit is .*a number above 0"):
        load_reconstruction(folder)


def test_content_is_any_image(folder):
    content = np.random.default_rng(0).integers(0, 255, (70, 30, 3), dtype=np.uint8)
    write_image(folder / "content.png", content)
    assert (load_reconstruction(folder).content == content).all()
    for size in (16, 64, 200):
        texture = content_as_texture(content, size)
        assert texture.shape == (size, size, 3) and texture.min() >= 0 and texture.max() <= 1
        np.testing.assert_allclose(texture.mean((0, 1)), content.mean((0, 1)) / 255, atol=0.02)
    square = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    assert (np.round(content_as_texture(square, 32) * 255) == square).all()


HAND_WRITTEN = """# a sheet with two islands, written by hand; a quad and negative indices
v -0.1 -0.08 1
v 0 -0.08 1.0
v 0.1 -0.08 1
v -0.1 0.08 1
v 0 0.08 1
v 0.1 0.08 1
vt 0.05 0.95
vt 0.45 0.95
vt 0.45 0.05
vt 0.05 0.05
vt 0.55 0.95
vt 0.95 0.95
vt 0.95 0.05
vt 0.55 0.05
vn 0 0 -1
f 1/1 2/2 5/3 4/4
f -5/5/1 -4/6/1 -1/7/1
f 2/5 6/7 5/8
"""


def test_a_folder_written_by_hand(tmp_path):
    """No face, no source.json: the sheet's texture comes out as its photo, each half in its own island."""
    (tmp_path / "mesh.obj").write_text(HAND_WRITTEN)
    (tmp_path / "camera.json").write_text(
        json.dumps({"version": 1, "width": 260, "height": 200, "fx": 1000, "fy": 1000, "cx": 130, "cy": 100})
    )
    photo = np.zeros((200, 260, 3), np.uint8)
    photo[:, :130], photo[:, 130:] = (200, 60, 40), (40, 60, 200)
    write_image(tmp_path / "photo.png", photo)
    found = load_reconstruction(tmp_path)
    assert len(found.mesh.faces) == 4 and not found.symmetric
    prepared = prepare(found, load_config(None, ["texture_size=64"]))
    assert prepared.sampled.mask.sum() == pytest.approx(0.72 * 64**2, rel=0.05)
    columns = np.broadcast_to(np.arange(64), (64, 64))
    for half, colour in ((columns < 26, (200, 60, 40)), (columns > 38, (40, 60, 200))):
        inside = half & prepared.sampled.mask
        np.testing.assert_allclose(prepared.initial.texture[inside] * 255, np.broadcast_to(colour, (inside.sum(), 3)), atol=3)
    assert (prepared.initial.provenance["mirrored"] == 0).all()


def test_a_cube_with_seams(tmp_path):
    camera = Camera(200, 160, 500.0, 500.0, 100.0, 80.0)
    mesh = cube()
    size = 96
    geometry = texel_geometry(mesh, size, size)
    island = (np.arange(size) * 3 // size)[None] + 3 * (np.arange(size)[:, None] < size / 2)
    colours = [(0.8, 0.2, 0.2), (0.2, 0.8, 0.2), (0.2, 0.2, 0.8), (0.8, 0.8, 0.2), (0.2, 0.8, 0.8), (0.8, 0.2, 0.8)]
    texture = np.array(colours, np.float32)[island]
    photo = (render(texture, mesh, camera, 0.5)[0] * 255).round().astype(np.uint8)
    save_reconstruction(tmp_path, mesh, camera, photo)
    found = load_reconstruction(tmp_path)
    assert (found.mesh.uv_faces == mesh.uv_faces).all() and len(found.mesh.vertices) == 8 and len(found.mesh.uvs) == 24
    prepared = prepare(found, load_config(None, [f"texture_size={size}"]))
    per_island = [prepared.sampled.visibility[(island == k) & geometry.mask].mean() for k in range(6)]
    assert sum(share > 0.3 for share in per_island) == 3 and sum(share < 1e-6 for share in per_island) == 3
    assert abs(outward_sign(geometry, unoccluded(geometry, mesh, camera))) == 1
    certain = prepared.sampled.visibility > 0.99
    # But beside the cube's edges, where a pixel of the photo shows two sides.
    assert (np.abs(prepared.initial.texture - texture)[certain].max(-1) < 0.02).mean() > 0.9


def test_a_photo_that_does_not_show_the_mesh(tmp_path):
    camera = Camera(100, 80, 300.0, 300.0, 50.0, 40.0)
    sheet = grid_mesh(lambda s, t: plane(s, t) + [20, 0, 0], 5, 6)
    save_reconstruction(tmp_path, sheet, camera, np.full((80, 100, 3), 90, np.uint8))
    with pytest.raises(ReconstructionError, match="the photo shows no texel of the mesh"):
        prepare(load_reconstruction(tmp_path), load_config(None, ["texture_size=64"]))


def set_key(name, key, value):
    def change(folder):
        content = json.loads((folder / name).read_text())
        content[key] = value
        (folder / name).write_text(json.dumps(content))

    return change


def overwritten(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def of_size(name, height, width):
    return lambda folder: write_image(folder / name, np.zeros((height, width, 3), np.uint8))


NOT_RIGID = np.diag([2.0, 2, 2, 1]).tolist()

FAULTS = {
    "no mesh": (lambda folder: (folder / "mesh.obj").unlink(), "has no mesh.obj; a reconstruction needs"),
    "no camera": (lambda folder: (folder / "camera.json").unlink(), "has no camera.json"),
    "no photo": (lambda folder: (folder / "photo.png").unlink(), "has no photo.png"),
    "photo of another size": (of_size("photo.png", 100, 90), r"photo\.png is 90 x 100 px, camera\.json says \d+ x \d+"),
    "mask of another size": (of_size("mask.png", 10, 20), r"mask\.png is 20 x 10 px"),
    "photo no image": (overwritten("photo.png", b"hello"), r"photo\.png is not an image"),
    "photo empty": (overwritten("photo.png", b""), r"photo\.png is empty"),
    "mask no image": (overwritten("mask.png", b"hello"), r"mask\.png is not an image"),
    "content no image": (overwritten("content.png", b"GIF89a"), r"content\.png is not an image"),
    "mesh empty": (overwritten("mesh.obj", b""), r"mesh\.obj: holds no faces"),
    "mesh without uvs": (overwritten("mesh.obj", b"v 0 0 1\nv 1 0 1\nv 0 1 1\nf 1 2 3\n"), r"mesh\.obj: line 4: .*no texture"),
    "mesh names what is not": (
        overwritten("mesh.obj", b"v 0 0 1\nv 1 0 1\nv 0 1 1\nvt 0 0\nf 1/1 2/1 9/1\n"), r"mesh\.obj: faces\[0\]",
    ),
    "mesh is NaN": (overwritten("mesh.obj", b"v 0 0 nan\nv 1 0 1\nv 0 1 1\nvt 0 0\nf 1/1 2/1 3/1\n"), r"mesh\.obj: vertices\[0\]"),
    "mesh beyond all measure": (
        overwritten("mesh.obj", b"v 0 0 1e30\nv 1 0 1\nv 0 1 1\nvt 0 0\nf 1/1 2/1 3/1\n"), r"mesh\.obj: a vertex reaches [0-9.e+]+ \(px",
    ),
    "mesh beyond all floats": (
        overwritten("mesh.obj", b"v 1e308 0 1\nv 1 0 1\nv 0 1 1\nvt 0 0\nf 1/1 2/1 3/1\n"), r"mesh\.obj: a vertex reaches inf",
    ),
    "camera no JSON": (overwritten("camera.json", b"{"), r"camera\.json: is not JSON"),
    "camera of the future": (set_key("camera.json", "version", 2), r"camera\.json: version is 2; this program reads version 1"),
    "camera negative": (set_key("camera.json", "fx", -3), r"camera\.json: camera fx is -3"),
    "source no JSON": (overwritten("source.json", b"not json"), r"source\.json is not readable JSON"),
    "source in another encoding": (overwritten("source.json", b"\xff\xfe{}"), r"source\.json is not readable JSON"),
    "source a list": (overwritten("source.json", b"[]"), r"source\.json must be a JSON object of version 1"),
    "source of the future": (set_key("source.json", "version", 7), r"source\.json must be a JSON object of version 1"),
    "pose not rigid": (set_key("source.json", "head_to_camera", NOT_RIGID), r"source\.json: head_to_camera must be a rigid 4 x 4"),
    "pose a mirror image": (
        set_key("source.json", "head_to_camera", np.diag([-1.0, 1, 1, 1]).tolist()), r"source\.json: head_to_camera must be",
    ),
    "pose of text": (set_key("source.json", "head_to_camera", "identity"), r"source\.json: head_to_camera must be"),
    "pose ragged": (set_key("source.json", "head_to_camera", [[1, 2], [3]]), r"source\.json: head_to_camera must be"),
    "pose 3 x 4": (set_key("source.json", "head_to_camera", np.eye(4)[:3].tolist()), r"source\.json: head_to_camera must be"),
    "pose NaN": (
        set_key("source.json", "head_to_camera", [[1, 0, 0, float("nan")], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        r"source\.json: head_to_camera must be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_one_line(folder, fault):
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(ReconstructionError, match=message) as caught:
        load_reconstruction(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_folder_that_is_none(tmp_path):
    assert not is_reconstruction(tmp_path) and not is_reconstruction(tmp_path / "nowhere")
    with pytest.raises(ReconstructionError, match=r"nowhere has no mesh\.obj"):
        load_reconstruction(tmp_path / "nowhere")


def test_what_a_content_image_leaves_black_is_filled_and_pupils_stay():
    content = np.zeros((200, 200, 3), np.uint8)
    content[30:170, 30:170] = (200, 150, 120)
    content[100:120, 90:110] = 1  # the mouth
    content[60:63, 60:63] = 0  # a pupil
    texture = content_as_texture(content, 200)
    away = np.ones((200, 200), bool)
    away[58:65, 58:65] = False
    np.testing.assert_allclose(texture[away], np.broadcast_to(np.float32([200, 150, 120]) / 255, (away.sum(), 3)), atol=0.01)
    assert (texture[61, 61] == 0).all()
    assert (content_as_texture(np.zeros((20, 30, 3), np.uint8), 10) == 0).all()
