import dataclasses

import numpy as np
import pytest
from synthetic_meshes import dome, grid_mesh, sphere

from renderer.mesh import Mesh, MeshError, face_normals, load_mesh, save_mesh, vertex_normals

VERTICES = np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
UVS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_obj_round_trip_is_exact(tmp_path):
    mesh = grid_mesh(dome, 7, 9)
    mesh = Mesh(mesh.vertices * np.pi, mesh.faces, mesh.uvs / 3, mesh.uv_faces[:, ::-1])
    save_mesh(mesh, tmp_path / "mesh.obj", material_file="mesh.mtl", material="face")
    loaded = load_mesh(tmp_path / "mesh.obj")
    for field in dataclasses.fields(Mesh):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(mesh, field.name))
    lines = (tmp_path / "mesh.obj").read_text().split("\n")
    assert lines[0] == "mtllib mesh.mtl" and "usemtl face" in lines


def test_arrays_have_the_documented_types():
    mesh = Mesh(VERTICES.astype(np.float32), FACES.astype(np.uint8), UVS.tolist(), FACES[:, ::-1])
    assert mesh.vertices.dtype == mesh.uvs.dtype == np.float64
    assert mesh.faces.dtype == mesh.uv_faces.dtype == np.int32
    assert mesh.uv_faces.flags.c_contiguous


def test_polygons_relative_indices_and_other_lines(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text(
        "# comment\nmtllib x.mtl\no thing\nv 0 0 1 .5 .5 .5\nv 1 0 1\nv 1 1 1\nv 0 1 1\r\nvt 0 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "vn 0 0 1\ns off\nf 1/1/1 2/2/1 3/3/1 4/4/1 # quad\nf -4/-4 -3/-3 \\\n-2/-2\nf 1/2 2/3 3/4\n"
    )
    mesh = load_mesh(path)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(mesh.uv_faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2], [1, 2, 3]])
    np.testing.assert_array_equal(mesh.vertices, VERTICES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no faces"),
        ("v 0 0 1\nv 1 0 1\nv 1 1 1\nf 1 2 3\n", "line 4"),
        ("v 0 0 1\nv 1 0 1\nv 1 1 1\nf 1//1 2//1 3//1\n", "texture coordinates"),
        ("v 0 0 x\n", "line 1"),
        ("v 0 0\n", "'v' line"),
        ("vt 0\n", "'vt' line"),
        ("v 0 0 1\nvt 0 0\nf 1/1 1/1\n", "'f' line"),
        ("v 0 0 1\nvt 0 0\nf 0/1 1/1 1/1\n", "'f' line"),
        ("v 0 0 1\nvt 0 0\nf a/1 1/1 1/1\n", "line 3"),
        ("v 0 0 1\nvt 0 0\nf 1/1 1/1 2/1\n", "faces[0]"),
        ("v 0 0 1\nvt 0 0\nf -2/1 1/1 1/1\n", "faces[0]"),
        ("v 0 0 nan\nvt 0 0\nf 1/1 1/1 1/1\n", "vertices[0]"),
        ("v 0 0 1\nvt 0 2\nf 1/1 1/1 1/1\n", "uvs[0]"),
    ],
)
def test_bad_files_are_refused_in_one_line(text, words, tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text(text)
    with pytest.raises(MeshError) as raised:
        load_mesh(path)
    assert words in str(raised.value) and str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_absent_and_binary_files(tmp_path):
    with pytest.raises(MeshError, match="cannot be read"):
        load_mesh(tmp_path / "none.obj")
    (tmp_path / "mesh.obj").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(MeshError, match="no faces"):
        load_mesh(tmp_path / "mesh.obj")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vertices": VERTICES * np.nan}, "vertices[0]"),
        ({"vertices": VERTICES[:, :2]}, "(4, 2)"),
        ({"vertices": "x"}, "vertices"),
        ({"faces": FACES + 3}, "indices 0..3"),
        ({"faces": -FACES}, "faces[0]"),
        ({"faces": FACES.astype(float)}, "float64"),
        ({"faces": FACES[:1]}, "1 faces but 2"),
        ({"uvs": np.zeros((0, 2))}, "no texture coordinates"),
        ({"uvs": UVS * 7}, "[7.0, 0.0]"),
        ({"uv_faces": FACES + 1}, "uv_faces[1]"),
    ],
)
def test_bad_arrays_are_refused(change, words):
    with pytest.raises(MeshError) as raised:
        Mesh(**{"vertices": VERTICES, "faces": FACES, "uvs": UVS, "uv_faces": FACES, **change})
    assert words in str(raised.value)


def test_normals():
    np.testing.assert_allclose(face_normals(VERTICES, FACES), [[0, 0, 1], [0, 0, 1]])
    mesh = grid_mesh(sphere, 60, 121)
    expected = mesh.vertices - [0, 0, 4]
    away_from_seams = (np.abs(expected[:, 1]) < 0.99) & ((np.abs(expected[:, 0]) > 0.1) | (expected[:, 2] < 0))
    cosines = (vertex_normals(mesh.vertices, mesh.faces) * expected).sum(axis=1)
    assert (cosines[away_from_seams] > 0.999).all()


def test_normals_without_area_are_zero():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]])
    assert (vertex_normals(vertices, np.array([[0, 1, 2], [0, 0, 1]])) == 0).all()


def test_a_large_file_is_read_in_one_go(tmp_path):
    mesh = grid_mesh(dome, 225, 225)
    assert len(mesh.faces) > 100_000
    save_mesh(mesh, tmp_path / "mesh.obj")
    found = load_mesh(tmp_path / "mesh.obj")
    assert (found.faces == mesh.faces).all() and np.allclose(found.vertices, mesh.vertices, atol=1e-6)
