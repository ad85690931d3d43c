"""GLB and neutral OBJ of a head with a rig, read by another library, the Khronos validator and Blender."""

import io
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from moving_heads import EXPRESSION, EYES, GAZE, head_model, moving_head
from PIL import Image
from skimage.metrics import structural_similarity
from synthetic_faces import head as face
from test_reconstruction_rig import rig_of, with_eyeballs
from test_texture_export import painted, require_validator, validator_issues

from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes, as_float
from pipeline.runs.files import write_image
from pipeline.texture.export import (
    LEAST_MOTION,
    LEAST_TURN,
    head_mesh,
    morph_targets,
    write_glb,
    write_obj,
    write_rigged_glb,
)
from pipeline.texture.results import export_head
from renderer.mesh import Mesh, load_mesh, vertex_normals
from renderer.render import render

BLENDER = "FACEREFINER_BLENDER_PYTHON"
TOLERANCE = 3e-6  # m: what float32 and the least motion of all targets may add up to


class Read:
    """A GLB of one mesh, as pygltflib has it."""

    def __init__(self, path):
        self.gltf = pygltflib.GLTF2().load(str(path))
        (self.mesh,) = self.gltf.meshes
        (self.primitive,) = self.mesh.primitives
        self.blob = self.gltf.binary_blob()
        attributes = self.primitive.attributes
        self.positions, self.normals = self.array(attributes.POSITION), self.array(attributes.NORMAL)
        self.uvs = self.array(attributes.TEXCOORD_0) * (1, -1) + (0, 1)
        self.faces = self.array(self.primitive.indices).reshape(-1, 3).astype(np.int32)

    def bytes(self, view, offset=0):
        view = self.gltf.bufferViews[view]
        return self.blob[(view.byteOffset or 0) + (offset or 0) : (view.byteOffset or 0) + view.byteLength]

    def array(self, index):
        """An accessor's values [N] or [N, columns], sparse ones filled in; its limits are those of its values."""
        accessor = self.gltf.accessors[index]
        columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor.type]
        kind = {5126: "<f4", 5125: "<u4", 5123: "<u2"}
        values = np.zeros((accessor.count, columns), kind[accessor.componentType])
        if accessor.bufferView is not None:
            data = self.bytes(accessor.bufferView, accessor.byteOffset)
            values[:] = np.frombuffer(data, values.dtype, values.size).reshape(values.shape)
        if accessor.sparse is not None:
            where, what = accessor.sparse.indices, accessor.sparse.values
            indices = np.frombuffer(self.bytes(where.bufferView, where.byteOffset), kind[where.componentType])
            assert len(indices) == accessor.sparse.count and (np.diff(indices.astype(int)) > 0).all()
            stored = np.frombuffer(self.bytes(what.bufferView, what.byteOffset), values.dtype)
            assert stored.size == columns * accessor.sparse.count
            values[indices] = stored.reshape(-1, columns)
        if accessor.min:
            assert (values.min(0) == np.float32(accessor.min)).all()
            assert (values.max(0) == np.float32(accessor.max)).all()
        return values

    def targets(self, attribute):
        """[K, N, 3]."""
        return np.stack([self.array(target[attribute]) for target in self.primitive.targets])


def exported_to(folder, reconstruction, texture=None):
    texture = painted() if texture is None else texture
    write_image(folder / "texture.png", texture)
    return export_head(folder, "ann", reconstruction, texture, 1.0)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """(folder, reconstruction, mesh in the head frame) of the head model with an expression and a gaze."""
    folder = tmp_path_factory.mktemp("rig")
    reconstruction = moving_head()
    return folder, reconstruction, exported_to(folder, reconstruction)


def joined(mesh):
    """[N, 2]: vertex and texture coordinate of each vertex of a file, which splits those of the mesh at seams."""
    return np.unique(np.stack([mesh.faces.ravel(), mesh.uv_faces.ravel()], axis=1), axis=0)


def test_the_mesh_is_the_neutral_and_its_weights_show_the_photo(moving):
    folder, reconstruction, head = moving
    read, rig = Read(folder / "ann.glb"), reconstruction.rig
    names = read.mesh.extras["targetNames"]
    assert names == [*rig.target_names, "photoGaze"] and len(rig.target_names) == 52
    assert read.mesh.weights == [*rig.weights.tolist(), 1.0]
    assert {name for name, weight in zip(names, read.mesh.weights, strict=True) if weight} == {*EXPRESSION, "photoGaze"}
    np.testing.assert_array_equal(read.positions[read.faces], rig.neutral[head.faces])
    np.testing.assert_allclose(read.uvs[read.faces], head.uvs[head.uv_faces], atol=1e-6)
    opened = read.positions + np.tensordot(read.mesh.weights, read.targets("POSITION"), axes=1)
    np.testing.assert_allclose(opened[read.faces], head.vertices[head.faces], atol=TOLERANCE)
    neutral = load_mesh(folder / "ann_neutral.obj")
    np.testing.assert_array_equal(neutral.vertices.astype(np.float32), rig.neutral)
    np.testing.assert_array_equal(load_mesh(folder / "ann.obj").vertices, head.vertices)
    words = [line.split() for line in (folder / "ann_neutral.obj").read_text().splitlines()]
    assert ["mtllib", "ann.mtl"] in words and ["usemtl", "ann"] in words
    assert (neutral.faces == head.faces).all() and (neutral.uv_faces == head.uv_faces).all()


def test_each_target_moves_what_it_should_and_stores_nothing_else(moving):
    folder, reconstruction, head = moving
    read, model = Read(folder / "ann.glb"), head_model()
    pairs = joined(head)
    assert (reconstruction.rig.neutral[pairs[:, 0]] == read.positions).all() and len(pairs) == 5067
    positions = read.targets("POSITION")
    for number, name in enumerate(model.expression_names):
        expected = model.expressions[number][pairs[:, 0]]
        moved = np.linalg.norm(expected, axis=1) > 1e-6
        accessor = read.gltf.accessors[read.primitive.targets[number]["POSITION"]]
        assert accessor.bufferView is None and 0 < accessor.sparse.count == moved.sum() < 5067, name
        np.testing.assert_array_equal(positions[number], np.where(moved[:, None], expected, 0))
    # The gaze turns both eyeballs, and they alone, to where the photo's eyes look.
    gaze = positions[-1]
    balls = [np.isin(pairs[:, 0], model.vertices_of(name)) for name in EYES]
    assert not gaze[~(balls[0] | balls[1])].any()
    for ball, centre in zip(balls, reconstruction.rig.eye_centres, strict=True):
        front = read.positions[ball][:, 2].argmax()
        before, after = read.positions[ball][front] - centre, (read.positions + gaze)[ball][front] - centre
        np.testing.assert_allclose(np.linalg.norm(after), np.linalg.norm(before), rtol=1e-4)
        assert np.arccos(before @ after / (before @ before)) == pytest.approx(np.arccos(GAZE[2]), abs=0.02)


def test_normals_are_those_of_the_moved_mesh_also_along_seams(moving):
    folder, reconstruction, head = moving
    read, rig = Read(folder / "ann.glb"), reconstruction.rig
    pairs = joined(head)
    normals, positions, names = read.targets("NORMAL"), read.targets("POSITION"), read.mesh.extras["targetNames"]
    at_rest = vertex_normals(rig.neutral.astype(float), head.faces)
    np.testing.assert_allclose(read.normals, at_rest[pairs[:, 0]], atol=1e-6)
    for name in ("jawOpen", "mouthSmileLeft", "eyeLookInRight", "photoGaze"):
        number = names.index(name)
        offsets = np.zeros_like(rig.neutral)
        offsets[pairs[:, 0]] = positions[number]
        expected = vertex_normals(rig.neutral.astype(float) + offsets, head.faces)[pairs[:, 0]]
        np.testing.assert_allclose(read.normals + normals[number], expected, atol=1.01 * LEAST_TURN)
        still = np.linalg.norm(expected - read.normals, axis=1) < 0.99 * LEAST_TURN
        assert still.any() and not normals[number][still].any()
    # Copies of a vertex at a seam move and shine as one.
    copies = np.flatnonzero(np.diff(pairs[:, 0]) == 0)
    assert len(copies) == 5067 - 4832
    for values in (positions, normals):
        assert (values[:, copies] == values[:, copies + 1]).all()


def test_the_texture_inside_is_the_one_beside(moving):
    folder, _, _ = moving
    read = Read(folder / "ann.glb")
    image = read.bytes(read.gltf.images[0].bufferView)
    assert image == (folder / "texture.png").read_bytes()
    assert (np.asarray(Image.open(io.BytesIO(image))) == painted()).all()
    (material,) = read.gltf.materials
    assert material.extensions == {"KHR_materials_unlit": {}} and read.gltf.extensionsUsed == ["KHR_materials_unlit"]
    assert {material.name, read.mesh.name, read.gltf.nodes[0].name, read.gltf.images[0].name} == {"ann"}


def test_a_large_texture_leaves_the_file_small(tmp_path):
    """A texture of 2048 with the detail of skin everywhere; PNG stores noise of +-2 in 2.3 bits each."""
    noise = np.random.default_rng(1).integers(-2, 3, (2048, 2048, 1))
    ramp = np.linspace(90, 170, 2048)[None, :, None] + np.array([30, 0, -10])
    exported_to(tmp_path, moving_head(), np.clip(ramp + noise, 0, 255).astype(np.uint8))
    assert (tmp_path / "ann.glb").stat().st_size < 10e6


@pytest.fixture(scope="module")
def small():
    """A head of the face template with a rig of three targets; its eyeballs are not turned."""
    found = face(20, subdivisions=0)
    mesh, pose = with_eyeballs(found), found.head_to_camera
    photo = np.full((found.camera.height, found.camera.width, 3), 128, np.uint8)
    return Reconstruction(mesh, found.camera, photo, None, None, pose, True, {}, rig_of(mesh, pose))


def test_names_and_targets_of_any_rig(small, tmp_path):
    head = exported_to(tmp_path, small)
    read = Read(tmp_path / "ann.glb")
    assert read.mesh.extras["targetNames"] == ["jawOpen", "smile", "größe"]  # the eyeballs of this mesh are not turned
    opened = read.positions + np.tensordot(read.mesh.weights, read.targets("POSITION"), axes=1)
    np.testing.assert_allclose(opened[read.faces], head.vertices[head.faces], atol=TOLERANCE)


def test_motion_too_small_to_see_is_left_out(small, tmp_path):
    """A target that moves nothing stays a target, so that the names keep their numbers."""
    rig = small.rig
    offsets = rig.target_offsets.copy()
    offsets[1] = np.where(np.arange(len(rig.neutral))[:, None] == 7, 0.001, 1e-8)
    offsets[2] = 1e-8
    rig = replace(rig, target_offsets=offsets, weights=np.zeros(3, np.float32))
    head = head_mesh(small.mesh, small.head_to_camera)
    write_image(tmp_path / "texture.png", painted())
    write_rigged_glb(tmp_path, replace_vertices(head, rig.neutral), rig, "ann")
    read = Read(tmp_path / "ann.glb")
    counts = [read.gltf.accessors[target["POSITION"]].sparse for target in read.primitive.targets]
    assert counts[1].count == 1 and counts[2] is None
    assert not read.targets("POSITION")[2].any() and not read.targets("NORMAL")[2].any()
    require_validator()
    assert_valid(tmp_path / "ann.glb")
    assert LEAST_MOTION * 0.3 < 1e-6  # m


def replace_vertices(mesh, vertices):
    return Mesh(vertices, mesh.faces, mesh.uvs, mesh.uv_faces)


def test_a_rig_without_targets(small, tmp_path):
    arrays = ("target_names", "target_offsets", "weights")
    rig = replace(small.rig, **{name: getattr(small.rig, name)[:0] for name in arrays})
    head = replace_vertices(head_mesh(small.mesh, small.head_to_camera), rig.neutral)
    assert morph_targets(rig, head).names == ()
    write_image(tmp_path / "texture.png", painted())
    write_rigged_glb(tmp_path, head, rig, "ann")
    read = Read(tmp_path / "ann.glb")
    assert not read.primitive.targets and not read.mesh.weights
    require_validator()
    assert_valid(tmp_path / "ann.glb")


def test_faces_turned_over_and_parts_without_area_are_valid(small, tmp_path):
    """A mesh wound inwards is turned over; a vertex without a normal gets one."""
    faces, rig = small.mesh.faces.copy(), small.rig
    faces[-4:] = faces[-4, 0]  # an eyeball shrunk to a point
    found = replace(small, mesh=Mesh(small.mesh.vertices, faces, small.mesh.uvs, small.mesh.uv_faces), rig=rig)
    write_image(tmp_path / "texture.png", painted())
    export_head(tmp_path, "ann", found, painted(), -1.0)
    read = Read(tmp_path / "ann.glb")
    assert (read.positions[read.faces] == rig.neutral[faces[:, [0, 2, 1]]]).all()
    np.testing.assert_allclose(np.linalg.norm(read.normals, axis=1), 1, atol=1e-6)
    require_validator()
    assert validator_issues(tmp_path / "ann.glb")["numErrors"] == 0


def test_exports_are_in_metres_whatever_the_unit_of_the_reconstruction(tmp_path):
    plain = moving_head()
    pose = plain.head_to_camera.copy()
    pose[:3, 3] *= 10
    lengths = ("neutral", "target_offsets", "eye_centres", "eye_radii")
    rig = replace(plain.rig, **{name: getattr(plain.rig, name) * 10 for name in lengths})
    mesh = replace(plain.mesh, vertices=plain.mesh.vertices * 10)
    decimetres = replace(plain, mesh=mesh, head_to_camera=pose, rig=rig, metres_per_unit=0.1)
    read = []
    for name, reconstruction in (("m", plain), ("dm", decimetres)):
        (tmp_path / name).mkdir()
        exported_to(tmp_path / name, reconstruction)
        glb = Read(tmp_path / name / "ann.glb")
        obj, neutral = (load_mesh(tmp_path / name / f"{stem}.obj").vertices for stem in ("ann", "ann_neutral"))
        read.append((glb.positions, glb.targets("POSITION"), obj, neutral))
    for expected, found in zip(*read, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0.2 < np.ptp(read[1][0], axis=0)[1] < 0.4
    # Without a rig
    exported_to(tmp_path, replace(decimetres, rig=None))
    np.testing.assert_allclose(load_mesh(tmp_path / "ann.obj").vertices, read[0][2], atol=1e-6)
    size = np.ptp(Read(tmp_path / "ann.glb").positions, axis=0)
    np.testing.assert_allclose(size, np.ptp(read[0][2], axis=0), atol=1e-5)


def test_without_a_rig_the_files_are_the_plain_ones(small, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "texture.png", painted())
    head = export_head(tmp_path / "a", "ann", replace(small, rig=None), painted(), 1.0)
    write_obj(tmp_path / "b", head, "ann")
    write_glb(tmp_path / "b", head, painted(), "ann")
    files = {folder: {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("a", "b")}
    assert files["a"] == files["b"] and "ann_neutral.obj" not in files["a"]


def assert_valid(path):
    found = validator_issues(path)
    assert not any(found[f"num{kind}"] for kind in ("Errors", "Warnings", "Infos", "Hints")), found["messages"]


def test_the_khronos_validator_finds_nothing(moving):
    require_validator()
    assert_valid(moving[0] / "ann.glb")


# ---- Blender ---------------------------------------------------------------------------------------------------------


def chequered(size=512):
    """A texture [size, size, 3] of soft colours in squares, which the layout of every part meets."""
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    dark = ((rows // (size // 64) + columns // (size // 64)) % 2)[..., None]
    colours = np.stack([rows / size, columns / size, 1 - rows / size], axis=-1)
    return as_bytes((0.35 + 0.5 * colours) * (1 - 0.45 * dark))


@pytest.mark.slow
def test_blender_shows_the_head_as_we_do(tmp_path):
    """Upright, in metres, 52 shape keys that move what they should, and pictures as our renderer makes them."""
    python = os.environ.get(BLENDER, "")
    if not python:
        pytest.skip(f"needs Blender: pip install bpy==5.0.1 into an environment of its own, its Python in {BLENDER}")
    reconstruction, texture = moving_head(), chequered()
    head = exported_to(tmp_path, reconstruction, texture)
    pose, camera = reconstruction.head_to_camera, reconstruction.camera
    words = {"width": camera.width, "height": camera.height, "focal": camera.fx, "head_to_camera": pose.tolist()}
    (tmp_path / "camera.json").write_text(json.dumps(words))
    script = Path(__file__).parent / "blender_check.py"
    command = [python, str(script), str(tmp_path / "ann.glb"), str(tmp_path / "camera.json"), str(tmp_path)]
    without_ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env=without_ours, stdout=subprocess.DEVNULL)

    facts = json.loads((tmp_path / "facts.json").read_text())
    read, rig = Read(tmp_path / "ann.glb"), reconstruction.rig
    assert [facts[key] for key in ("objects", "materials", "unit")] == [1, 1, 1]
    assert facts["triangles"] == len(read.faces)
    assert facts["names"] == ["Basis", *rig.target_names, "photoGaze"]
    np.testing.assert_allclose(facts["values"][1:], [*rig.weights, 1], atol=1e-6)
    with np.load(tmp_path / "keys.npz") as archive:
        vertices, keys = archive["vertices"], archive["keys"]
    upright = lambda values: np.stack([values[..., 0], -values[..., 2], values[..., 1]], axis=-1)  # z up, facing -y
    np.testing.assert_allclose(vertices, upright(read.positions), atol=1e-6)
    np.testing.assert_allclose(keys[0], vertices, atol=1e-6)
    np.testing.assert_allclose(keys[1:] - keys[0], upright(read.targets("POSITION")), atol=1e-6)
    assert 0.2 < np.ptp(vertices[:, 2]) < 0.4  # m

    at_rest = rig.neutral @ pose[:3, :3].T + pose[:3, 3]
    scores = {}
    for name, places in (("opened", reconstruction.mesh.vertices), ("neutral", at_rest)):
        ours, coverage = render(as_float(texture), replace_vertices(head, places), camera, 0.5)
        for picture in ("opened", "neutral"):
            theirs = as_float(np.asarray(Image.open(tmp_path / f"{picture}.png").convert("RGBA")))
            theirs = theirs[..., :3] * theirs[..., 3:] + 0.5 * (1 - theirs[..., 3:])
            same = structural_similarity(ours, theirs, channel_axis=2, data_range=1, full=True)[1]
            scores[name, picture] = same[coverage > 0].mean()
    print("SSIM", {" ".join(pair): round(float(score), 4) for pair, score in scores.items()})
    assert min(scores["opened", "opened"], scores["neutral", "neutral"]) >= 0.95
    assert max(scores["opened", "neutral"], scores["neutral", "opened"]) < 0.95  # the expression shows
