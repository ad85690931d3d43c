"""OBJ and GLB, loaded again by another library."""

import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image
from synthetic_faces import head
from test_reconstruction_folder import cube

from pipeline.reconstruction.images import as_float
from pipeline.runs.files import write_image
from pipeline.runs.run_folder import export_name
from pipeline.texture.export import head_mesh, write_glb, write_obj
from pipeline.texture.preview import turned_view
from renderer.mesh import Mesh, vertex_normals

ROOT = Path(__file__).resolve().parent.parent
SIZE = 64
FOREHEAD, CHIN, NOSE, RIGHT_EYE, LEFT_EYE = 10, 152, 1, 33, 263


def painted(width=SIZE, height=SIZE):
    """A texture [h, w, 3] whose colour tells its place: red grows with u, green with v, blue with neither."""
    v, u = np.meshgrid(1 - (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.round(np.stack([u, v, np.full_like(u, 0.25)], axis=-1) * 255).astype(np.uint8)


def written(folder, mesh, pose, texture):
    """Both files, loaded again: {ending: trimesh mesh}."""
    upright = head_mesh(mesh, pose)
    write_image(folder / "texture.png", texture)
    write_obj(folder, upright, "ann")
    write_glb(folder, upright, texture, "ann")
    return {ending: trimesh.load(folder / f"ann.{ending}", force="mesh", process=False) for ending in ("obj", "glb")}


def image_of(loaded):
    material = loaded.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    return np.asarray(image.convert("RGB"))


def glb_content(path):
    """The JSON of a GLB file with one mesh, and its attributes as written: accessor(name, columns) -> [N, columns]."""
    data = path.read_bytes()
    assert data[:4] == b"glTF" and struct.unpack("<I", data[8:12])[0] == len(data)
    length = struct.unpack("<I", data[12:16])[0]
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]

    def accessor(name, columns):
        entry = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"][name]]
        start = tree["bufferViews"][entry["bufferView"]].get("byteOffset", 0) + entry.get("byteOffset", 0)
        return np.frombuffer(binary, "<f4", entry["count"] * columns, start).reshape(-1, columns)

    return tree, accessor


def looked_up(image, uv):
    """The image's colour at texture coordinates with v up, as glTF and OBJ viewers show trimesh's uv."""
    height, width = image.shape[:2]
    columns = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return image[rows, columns]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A turned head with a painted texture: (folder, mesh in the head frame, loaded meshes, texture)."""
    folder = tmp_path_factory.mktemp("export")
    found = head(35, pitch=-10, roll=12)
    texture = painted(96, 64)
    return folder, head_mesh(found.mesh, found.head_to_camera), written(folder, found.mesh, found.head_to_camera, texture), texture


def vertex_of(loaded, point):
    return np.linalg.norm(loaded.vertices - point, axis=1).argmin()


@pytest.mark.parametrize("ending", ["obj", "glb"])
def test_geometry_and_texture_survive(exported, ending):
    _, mesh, loaded, texture = exported
    result = loaded[ending]
    assert len(result.faces) == len(mesh.faces) == 898 * 4
    np.testing.assert_allclose(result.vertices[result.faces], mesh.vertices[mesh.faces], atol=1e-6)
    assert (image_of(result) == texture).all()


@pytest.mark.parametrize("ending", ["obj", "glb"])
def test_colours_lie_where_the_uvs_say(exported, ending):
    """The painted texture has colour (u, v, 1/4) at (u, v): a flip of either axis, or a swap, would show."""
    _, mesh, loaded, _ = exported
    result = loaded[ending]
    corner_uvs = result.visual.uv[result.faces].reshape(-1, 2)
    expected = mesh.uvs[mesh.uv_faces].reshape(-1, 2)
    np.testing.assert_allclose(corner_uvs, expected, atol=1e-6)
    colours = looked_up(image_of(result), corner_uvs) / 255
    np.testing.assert_allclose(colours[:, :2], expected, atol=0.02)
    np.testing.assert_allclose(colours[:, 2], 0.25, atol=0.01)


def test_the_files_themselves_have_the_orientation_of_their_formats(exported):
    """glTF counts v downwards from the image's top, OBJ upwards; read without the library's own conversion."""
    folder, mesh, _, _ = exported
    lines = (folder / "ann.obj").read_text().splitlines()
    uvs = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], dtype=float)
    np.testing.assert_allclose(uvs, mesh.uvs)

    tree, accessor = glb_content(folder / "ann.glb")
    (primitive,) = tree["meshes"][0]["primitives"]
    positions, uvs = accessor("POSITION", 3), accessor("TEXCOORD_0", 2)
    chin = np.linalg.norm(positions - mesh.vertices[CHIN], axis=1).argmin()
    np.testing.assert_allclose(uvs[chin], [0.5, 1 - mesh.uvs[CHIN, 1]], atol=1e-6)
    assert uvs[chin, 1] > 0.8  # the chin is in the image's lowest rows
    material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0 and material["roughnessFactor"] == 1 and "baseColorTexture" in material


@pytest.mark.parametrize("ending", ["obj", "glb"])
def test_the_head_is_upright_and_looks_at_us(exported, ending):
    _, mesh, loaded, _ = exported
    result = loaded[ending]
    place = {point: result.vertices[vertex_of(result, mesh.vertices[point])] for point in (10, 152, 1, 33, 263)}
    # The axes of glTF and Blender's importers: y up, the face towards +z, its left at +x.
    down = place[CHIN] - place[FOREHEAD]
    assert down[1] < -0.9 * np.linalg.norm(down)
    across = place[LEFT_EYE] - place[RIGHT_EYE]
    assert across[0] > 0.98 * np.linalg.norm(across)
    assert place[NOSE][2] > max(place[point][2] for point in (FOREHEAD, CHIN, LEFT_EYE, RIGHT_EYE)) + 0.01
    np.testing.assert_allclose(result.vertices.mean(0), 0, atol=0.05)
    assert 0.08 < np.ptp(result.vertices, axis=0)[0] < 0.3  # metres


def test_normals_look_out(exported):
    folder, mesh, loaded, _ = exported
    obj = (folder / "ann.obj").read_text().splitlines()
    written = np.array([line.split()[1:] for line in obj if line.startswith("vn ")], dtype=float)
    np.testing.assert_allclose(written, vertex_normals(mesh.vertices, mesh.faces), atol=1e-6)
    corners = [corner.split("/") for line in obj if line.startswith("f ") for corner in line.split()[1:]]
    assert all(len(corner) == 3 and corner[0] == corner[2] for corner in corners)
    for result in loaded.values():
        assert (result.face_normals[:, 2] * result.area_faces).sum() > 0.5 * result.area
        normals = result.vertex_normals
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
        assert normals[vertex_of(result, mesh.vertices[NOSE]), 2] > 0.5
    _, accessor = glb_content(folder / "ann.glb")
    positions, normals = accessor("POSITION", 3), accessor("NORMAL", 3)
    own = vertex_normals(mesh.vertices, mesh.faces)
    for point in (FOREHEAD, CHIN, NOSE, LEFT_EYE):
        written_at = np.linalg.norm(positions - mesh.vertices[point], axis=1).argmin()
        np.testing.assert_allclose(normals[written_at], own[point], atol=1e-5)


def test_seams_split_vertices_without_moving_colours(tmp_path):
    mesh = cube()
    pose = np.diag([1.0, -1, -1, 1])
    pose[:3, 3] = mesh.vertices.mean(0)
    loaded = written(tmp_path, mesh, pose, painted())
    upright = head_mesh(mesh, pose)
    for result in loaded.values():
        assert len(result.faces) == 12
        np.testing.assert_allclose(result.vertices[result.faces], upright.vertices[mesh.faces], atol=1e-6)
        np.testing.assert_allclose(result.visual.uv[result.faces], mesh.uvs[mesh.uv_faces], atol=1e-6)
    glb = loaded["glb"]
    assert len(glb.vertices) == 24  # each corner of the cube once for each of its three islands
    # Light runs smoothly over the seams: the copies of a vertex share one normal.
    _, accessor = glb_content(tmp_path / "ann.glb")
    positions, normals = accessor("POSITION", 3), accessor("NORMAL", 3)
    for corner in upright.vertices:
        copies = normals[np.linalg.norm(positions - corner, axis=1) < 1e-6]
        assert len(copies) == 3 and np.ptp(copies, axis=0).max() < 1e-6
        assert (copies @ corner > 0.7 * np.linalg.norm(corner)).all()


def test_the_material_names_the_texture_beside_it(exported):
    folder, *_ = exported
    material = (folder / "ann.mtl").read_text().splitlines()
    assert "map_Kd ann_texture.png" in material and "newmtl ann" in material and "Ks 0 0 0" in material
    obj = (folder / "ann.obj").read_text().splitlines()
    assert obj[0] == "mtllib ann.mtl" and "usemtl ann" in obj and "o ann" in obj
    assert Image.open(folder / "ann_texture.png").size == (96, 64)


def test_another_library_reads_the_glb_as_it_was_meant(exported):
    """pygltflib, which did not write it: an unlit material, names that tell heads apart, an sRGB image of the same bytes."""
    folder, mesh, _, texture = exported
    gltf = pygltflib.GLTF2().load(str(folder / "ann.glb"))
    (material,), (image,), (primitive,) = gltf.materials, gltf.images, gltf.meshes[0].primitives
    assert material.extensions == {"KHR_materials_unlit": {}} and gltf.extensionsUsed == ["KHR_materials_unlit"]
    assert not gltf.extensionsRequired  # who does not know it shows plain diffuse
    assert material.alphaMode == "OPAQUE" and material.pbrMetallicRoughness.baseColorFactor == [1, 1, 1, 1]
    assert gltf.textures[material.pbrMetallicRoughness.baseColorTexture.index].source == 0
    node = gltf.nodes[gltf.scenes[gltf.scene].nodes[0]]
    names = {material.name, image.name, gltf.meshes[0].name} | {gltf.nodes[index].name for index in node.children or []}
    assert names <= {"ann"} or names == {"ann", node.name}

    def content(view):
        start = gltf.bufferViews[view].byteOffset or 0
        return gltf.binary_blob()[start : start + gltf.bufferViews[view].byteLength]

    def accessor(index, kind, columns):
        entry = gltf.accessors[index]
        start = entry.byteOffset or 0
        components = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry.type]
        return np.frombuffer(content(entry.bufferView)[start:], kind, entry.count * components).reshape(-1, columns)

    decoded = Image.open(io.BytesIO(content(image.bufferView)))
    assert (np.asarray(decoded.convert("RGB")) == texture).all() and "icc_profile" not in decoded.info
    positions = accessor(primitive.attributes.POSITION, "<f4", 3)
    uvs = accessor(primitive.attributes.TEXCOORD_0, "<f4", 2)
    kind = {5123: "<u2", 5125: "<u4"}[gltf.accessors[primitive.indices].componentType]
    faces = accessor(primitive.indices, kind, 3).astype(np.int32)
    # Rendered with our renderer, it looks like what went in.
    read = Mesh(positions, faces, uvs * (1, -1) + (0, 1), faces)
    for degrees in (0.0, 40.0):
        pictures = [turned_view(as_float(texture), shown, degrees, 96) for shown in (mesh, read)]
        assert np.abs(pictures[0] - pictures[1]).max() < 0.02 and np.ptp(pictures[0]) > 0.5


VALIDATOR = Path(os.environ.get("GLTF_VALIDATOR", ROOT / "node_modules" / "gltf-validator"))


def require_validator():
    if shutil.which("node") is None or not VALIDATOR.is_dir():
        pytest.skip("needs node and the Khronos validator: npm install --no-save gltf-validator@2.0.0-dev.3.10")


def validator_issues(path):
    """What the Khronos validator reports of a GLB file."""
    script = (
        "const [, package_, file] = process.argv;"
        "require(package_).validateBytes(new Uint8Array(require('fs').readFileSync(file)))"
        ".then((report) => console.log(JSON.stringify(report.issues)));"
    )
    command = ["node", "-e", script, str(VALIDATOR.resolve()), str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_khronos_validator_finds_nothing(exported, tmp_path):
    require_validator()
    write_glb(tmp_path, exported[1], painted(64, 64), "ann")  # it remarks on sizes that are no powers of two
    found = validator_issues(tmp_path / "ann.glb")
    assert [found[kind] for kind in ("numErrors", "numWarnings", "numInfos", "numHints")] == [0, 0, 0, 0], found["messages"]
    broken = (tmp_path / "ann.glb").read_bytes().replace(b'"componentType":5126', b'"componentType":5120', 1)
    (tmp_path / "broken.glb").write_bytes(broken)
    assert validator_issues(tmp_path / "broken.glb")["numErrors"] > 0  # the check can fail


def test_several_heads_can_lie_in_one_folder(tmp_path):
    """Exports of photos, gathered, do not overwrite or name each other, whatever the photos are called."""
    gathered = tmp_path / "gathered"
    gathered.mkdir()
    pose = np.diag([1.0, -1, -1, 1])
    colours = {"ann lee": (200, 20, 20), "ann_lee": (20, 200, 20), "it's (2)": (20, 20, 200), "\U0001f600": (90, 90, 20)}
    for name, colour in colours.items():
        folder = tmp_path / name
        folder.mkdir()
        texture = np.full((32, 48, 3), colour, np.uint8)
        write_image(folder / "texture.png", texture)
        write_obj(folder, head_mesh(cube(), pose), export_name(name))
        write_glb(folder, head_mesh(cube(), pose), texture, export_name(name))
        for path in folder.iterdir():
            if path.name != "texture.png":
                assert not (gathered / path.name).exists()
                shutil.copy(path, gathered)
    assert len(list(gathered.iterdir())) == 4 * len(colours)
    for name, colour in colours.items():
        name = export_name(name)
        for ending in ("obj", "glb"):
            loaded = trimesh.load(gathered / f"{name}.{ending}", force="mesh", process=False)
            assert (image_of(loaded) == colour).all()
            assert loaded.visual.material.name == name
        words = [line.split() for line in (gathered / f"{name}.mtl").read_text(encoding="utf-8").splitlines()]
        words += [line.split() for line in (gathered / f"{name}.obj").read_text(encoding="utf-8").splitlines()]
        named = {word[0]: word[1:] for word in words if word[0] in ("newmtl", "map_Kd", "mtllib", "usemtl", "o")}
        texture = f"{name}_texture.png"
        assert named == {"newmtl": [name], "map_Kd": [texture], "mtllib": [f"{name}.mtl"], "usemtl": [name], "o": [name]}


def test_head_mesh_undoes_the_pose():
    found = head(-40, pitch=15)
    upright = head_mesh(found.mesh, found.head_to_camera)
    rotation, translation = found.head_to_camera[:3, :3], found.head_to_camera[:3, 3]
    np.testing.assert_allclose(upright.vertices @ rotation.T + translation, found.mesh.vertices, atol=1e-12)
