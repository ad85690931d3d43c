"""rig.npz: what is written is read back, and each array that is wrong is named."""

import io
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from synthetic_faces import albedo, head, photograph

from pipeline.reconstruction.folder import ReconstructionError, load_reconstruction, save_reconstruction
from pipeline.reconstruction.photos import input_files
from pipeline.reconstruction.rig import Rig, RigError, load_rig, save_rig
from pipeline.runs.files import read_json, write_json
from pipeline.settings.schema import LimitSettings
from renderer.mesh import Mesh

NAMES = [field.name for field in fields(Rig)]
EYE_PARTS = (1, 2)


def with_eyeballs(found):
    """The mesh of a head with two tetrahedra, which are its eyeballs, in front of it."""
    mesh, count = found.mesh, len(found.mesh.vertices)
    ball = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, -1, 0]]) * 0.01
    balls = [ball + (x, 0.03, 0.05) for x in (0.03, -0.03)]
    faces = [np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]) + count + 4 * number for number in range(2)]
    vertices = np.concatenate(balls) @ found.head_to_camera[:3, :3].T + found.head_to_camera[:3, 3]
    corners = np.concatenate(faces)
    uv_corners = corners - count + len(mesh.uvs)
    return Mesh(
        np.concatenate([mesh.vertices, vertices]), np.concatenate([mesh.faces, corners]),
        np.concatenate([mesh.uvs, np.tile([[0.02, 0.02], [0.03, 0.02], [0.02, 0.03], [0.03, 0.03]], (2, 1))]),
        np.concatenate([mesh.uv_faces, uv_corners]),
    )  # fmt: skip


def rig_of(mesh, pose):
    """A rig of three targets, of which two are part of the photo's expression, and two eyes."""
    count = len(mesh.vertices)
    offsets = np.random.default_rng(3).normal(0, 0.002, (3, count, 3)).astype(np.float32)
    offsets[:, -8:] = 0
    weights = np.array([0.5, 0, 1], np.float32)
    vertices = (mesh.vertices - pose[:3, 3]) @ pose[:3, :3]
    neutral = (vertices - np.tensordot(weights, offsets, axes=1)).astype(np.float32)
    parts = np.zeros(count, np.int32)
    parts[-8:-4], parts[-4:] = EYE_PARTS
    look = np.array([[0.1, 0, 1], [0.1, 0, 1]]) / np.hypot(0.1, 1)
    return Rig(
        neutral, np.array(["jawOpen", "smile", "größe"]), offsets, weights, np.array(["skin", "left eyeball", "right eyeball"]),
        parts, np.array(["left", "right"]), np.array(EYE_PARTS), np.array([[0.03, 0.03, 0.05], [-0.03, 0.03, 0.05]]),
        np.array([0.012, 0.012]), look,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rigged():
    """(found, mesh with eyeballs, rig) of a turned head."""
    found = head(20, subdivisions=0)
    mesh = with_eyeballs(found)
    return found, mesh, rig_of(mesh, found.head_to_camera)


@pytest.fixture
def folder(rigged, tmp_path):
    """A reconstruction folder with a rig."""
    found, mesh, rig = rigged
    source = {"system": "test", "head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    save_reconstruction(tmp_path, mesh, found.camera, photograph(albedo(64), found), source=source, rig=rig)
    return tmp_path


def arrays_of(path):
    with np.load(path) as archive:
        return dict(archive)


def test_round_trip(rigged, folder):
    _, mesh, rig = rigged
    read = load_reconstruction(folder)
    assert read.source["version"] == 2
    for name in NAMES:
        array, expected = getattr(read.rig, name), getattr(rig, name)
        assert array.dtype == expected.dtype and array.shape == expected.shape and (array == expected).all(), name
    assert {name: array.dtype.kind for name, array in vars(rig).items() if array.dtype not in ("float32", "int32")} == {
        "target_names": "U", "part_names": "U", "eye_names": "U"
    }  # fmt: skip
    assert [path.name for path in input_files(folder)] == ["mesh.obj", "camera.json", "photo.png", "rig.npz", "source.json"]
    assert set(arrays_of(folder / "rig.npz")) == {"version", *NAMES}
    before = (folder / "rig.npz").read_bytes()
    save_rig(read.rig, folder / "rig.npz")
    assert (folder / "rig.npz").read_bytes() == before
    np.testing.assert_allclose(
        read.rig.posed() @ read.head_to_camera[:3, :3].T + read.head_to_camera[:3, 3], mesh.vertices, atol=1e-6
    )


def test_other_number_types_and_further_arrays(rigged, tmp_path):
    """What other programs write: wider numbers, Fortran's order, no compression, no targets or eyes, arrays of their own."""
    _, _, rig = rigged
    wider = {"f": np.float64, "i": np.int64, "U": "U40"}
    arrays = {name: np.asfortranarray(array.astype(wider[array.dtype.kind])) for name, array in vars(rig).items()}
    np.savez(tmp_path / "rig.npz", version=np.int64(1), teeth=np.array([{"a": 1}], object), **arrays)
    read = load_rig(tmp_path / "rig.npz")
    assert all((getattr(read, name) == getattr(rig, name)).all() for name in NAMES) and read.neutral.dtype == np.float32
    none = {name: getattr(rig, name)[:0] for name in NAMES if name.startswith(("target", "weights", "eye"))}
    bare = replace(rig, **none)
    save_rig(bare, tmp_path / "bare.npz")
    assert load_rig(tmp_path / "bare.npz").posed().shape == rig.neutral.shape


def test_version_1_is_read(folder):
    """It has no rig.npz: a file of that name is somebody else's."""
    source = read_json(folder / "source.json")
    (folder / "rig.npz").write_bytes(b"not a rig")
    with pytest.raises(ReconstructionError, match=r"rig\.npz: is not a readable \.npz archive"):
        load_reconstruction(folder)
    write_json(folder / "source.json", {**source, "version": 1})
    read = load_reconstruction(folder)
    assert read.rig is None and read.symmetric and (read.head_to_camera == source["head_to_camera"]).all()
    (folder / "rig.npz").unlink()
    assert load_reconstruction(folder).rig is None


def test_without_a_frame(folder):
    (folder / "source.json").unlink()
    with pytest.raises(ReconstructionError, match=r"rig\.npz needs head_to_camera in source\.json"):
        load_reconstruction(folder)


def changed(name, change):
    """Arrays with one of them changed."""
    def apply(arrays):
        array = arrays[name].copy()
        result = change(array)
        return {**arrays, name: array if result is None else result}

    return apply


def put(place, value):
    def change(array):
        array[place] = value

    return change


FAULTS = {
    "no neutral": (lambda arrays: {k: v for k, v in arrays.items() if k != "neutral"}, "has no array neutral; needed are version"),
    "no version": (lambda arrays: {k: v for k, v in arrays.items() if k != "version"}, "has no array version"),
    "version of the future": (changed("version", lambda a: np.int32(2)), "version is 2; this program reads version 1"),
    "version of text": (changed("version", lambda a: np.array("1")), r"version is <U1 \[\]; integers \[\] are needed"),
    "neutral transposed": (changed("neutral", np.transpose), r"neutral is float32 \[3, 476\]; floating-point numbers \[V, 3\]"),
    "neutral of integers": (changed("neutral", lambda a: a.astype(int)), r"neutral is int64 \[476, 3\]; floating-point"),
    "neutral complex": (changed("neutral", lambda a: a + 0j), "neutral is complex"),
    "neutral empty": (changed("neutral", lambda a: a[:0]), "neutral is empty; at least one vertex is needed"),
    "neutral NaN": (changed("neutral", put((5, 2), np.nan)), r"neutral\[5, 2\] is nan; finite numbers are needed"),
    "offsets infinite": (changed("target_offsets", put((1, 7, 0), np.inf)), r"target_offsets\[1, 7, 0\] is inf"),
    "offsets of other vertices": (
        changed("target_offsets", lambda a: a[:, 1:]), r"target_offsets is float32 \[3, 475, 3\]; floating-point numbers \[3, 476, 3\]",
    ),
    "a name less": (changed("target_names", lambda a: a[:2]), r"target_offsets is float32 \[3, 476, 3\]; .* \[2, 476, 3\]"),
    "names of bytes": (changed("target_names", lambda a: np.array([b"a", b"b", b"c"])), r"target_names is \|S1 \[3\]; a Unicode array"),
    "a name twice": (changed("target_names", put(1, "jawOpen")), "target_names has 'jawOpen' 2 times; each name may occur once"),
    "no name": (changed("target_names", put(1, "")), r"target_names\[1\] is ''; a printable name of 1 to 100 characters"),
    "a line break": (changed("part_names", put(0, "a\nb")), r"part_names\[0\] is 'a\\nb'; a printable name"),
    "a long name": (changed("part_names", lambda a: np.array(["x" * 101, "b", "c"])), r"part_names\[0\] is 'xxx"),
    "a weight less": (changed("weights", lambda a: a[:2]), r"weights is float32 \[2\]; floating-point numbers \[3\] are needed"),
    "a weight in percent": (changed("weights", put(2, 80)), r"weights\[2\] is 80\.0; 0\.\.1 is needed"),
    "a negative weight": (changed("weights", put(0, -0.1)), r"weights\[0\] is -0\.1"),
    "no parts": (changed("part_names", lambda a: a[:0]), "part_names is empty; at least one part is needed"),
    "a part that is none": (changed("vertex_parts", put(9, 3)), r"vertex_parts\[9\] is 3; 0\.\.2 into part_names is needed"),
    "a negative part": (changed("vertex_parts", put(9, -1)), r"vertex_parts\[9\] is -1"),
    "parts by face": (changed("vertex_parts", lambda a: a[:30]), r"vertex_parts is int32 \[30\]; integers \[476\] are needed"),
    "parts of floats": (changed("vertex_parts", lambda a: a * 1.0), r"vertex_parts is float64 \[476\]; integers"),
    "a face of two parts": (changed("vertex_parts", put(9, 1)), "vertex_parts divides face [0-9]+ of mesh.obj"),
    "an eye in the middle": (changed("eye_names", put(0, "third")), r"eye_names\[0\] is 'third'; left or right"),
    "two left eyes": (changed("eye_names", put(1, "left")), "eye_names has 'left' 2 times"),
    "an eye of no part": (changed("eye_parts", put(1, 7)), r"eye_parts\[1\] is 7; 0\.\.2 into part_names is needed"),
    "a centre for both": (changed("eye_centres", lambda a: a[0]), r"eye_centres is float32 \[3\]; floating-point numbers \[2, 3\]"),
    "no radius": (changed("eye_radii", put(0, 0)), r"eye_radii\[0\] is 0\.0; above 0 is needed"),
    "a direction of length 2": (changed("eye_directions", lambda a: 2 * a), r"eye_directions\[0\] is .*; a direction of length 1"),
    "pickled names": (changed("target_names", lambda a: a.astype(object)), "target_names holds pickled objects, which are not read"),
    "pickled version": (changed("version", lambda a: np.array(1, object)), "version holds pickled objects"),
    "another head": (changed("neutral", lambda a: a + np.float32(0.05)), "neutral and weights put vertex [0-9]+ 0.0866 from where mesh.obj"),
    "in millimetres": (changed("neutral", lambda a: a * np.float32(1000)), "head frame and unit of length must be those of the mesh"),
    "the other way round": (changed("neutral", lambda a: a * np.float32([-1, 1, 1])), "from where mesh.obj has it"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_one_line(folder, fault):
    change, message = FAULTS[fault]
    np.savez(folder / "rig.npz", **change(arrays_of(folder / "rig.npz")))
    with pytest.raises(ReconstructionError, match=message) as caught:
        load_reconstruction(folder)
    assert "\n" not in str(caught.value) and str(folder / "rig.npz") in str(caught.value)


def test_every_array_that_is_missing_is_named(folder):
    arrays = arrays_of(folder / "rig.npz")
    for name in arrays:
        np.savez(folder / "rig.npz", **{other: array for other, array in arrays.items() if other != name})
        with pytest.raises(RigError, match=f"has no array {name};"):
            load_rig(folder / "rig.npz")


def test_another_number_of_vertices(rigged, folder):
    found, _, _ = rigged
    save_rig(rig_of(found.mesh, found.head_to_camera), folder / "rig.npz")
    with pytest.raises(ReconstructionError, match="neutral has 468 vertices; 476 are needed, those of mesh.obj"):
        load_reconstruction(folder)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR."])
def test_what_is_no_archive(tmp_path, data):
    (tmp_path / "rig.npz").write_bytes(data)
    with pytest.raises(RigError, match=r"rig\.npz: is not a readable \.npz archive"):
        load_rig(tmp_path / "rig.npz")


def test_nothing_is_unpickled(folder):
    class Harmful:
        def __reduce__(self):
            return exec, ("raise SystemExit('unpickled')",)

    arrays = arrays_of(folder / "rig.npz")
    for name in arrays:
        np.savez(folder / "rig.npz", **{**arrays, name: np.array([Harmful()], object)})
        with pytest.raises(RigError, match=f"{name} holds pickled objects"):
            load_rig(folder / "rig.npz")


def test_damaged_archives_are_named(folder):
    """A byte of every array's data flipped, and the file cut short at many places."""
    whole = (folder / "rig.npz").read_bytes()
    with zipfile.ZipFile(folder / "rig.npz") as archive:
        members = archive.infolist()
    for member in members:
        data = bytearray(whole)
        data[member.header_offset + 50 + member.compress_size // 2] ^= 0xFF
        (folder / "rig.npz").write_bytes(data)
        with pytest.raises(RigError, match=member.filename.removesuffix(".npy")):
            load_rig(folder / "rig.npz")
    for end in range(0, len(whole) - 1, 997):
        (folder / "rig.npz").write_bytes(whole[:end])
        with pytest.raises(RigError):
            load_rig(folder / "rig.npz")


def header(shape):
    """The beginning of a .npy file that promises more than there is."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_sizes_are_limited_before_anything_is_read(folder):
    arrays = arrays_of(folder / "rig.npz")
    with pytest.raises(RigError, match=r"holds 0 MB of arrays, allowed are 0\.01: give limits\.mesh_megabytes=1"):
        load_rig(folder / "rig.npz", LimitSettings(mesh_megabytes=0.01))
    with zipfile.ZipFile(folder / "rig.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", header((10**12, 3)) if name == "neutral" else file.getvalue())
    with pytest.raises(RigError, match="target_offsets is"):  # of other vertices
        load_rig(folder / "rig.npz")
    enormous = {"neutral": (10**12, 3), "target_offsets": (3, 10**12, 3), "vertex_parts": (10**12,)}
    with zipfile.ZipFile(folder / "rig.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array)
            data = header(enormous[name]) if name in enormous else file.getvalue()
            archive.writestr(f"{name}.npy", data.replace(b"<f4", b"<i4") if name == "vertex_parts" else data)
    with pytest.raises(RigError, match=r"MB of arrays, allowed are 200: give limits\.mesh_megabytes="):
        load_rig(folder / "rig.npz")


def test_a_rig_made_in_memory_is_checked(rigged):
    _, _, rig = rigged
    with pytest.raises(RigError, match=r"weights\[1\] is 2\.0"):
        replace(rig, weights=[0, 2, 0.5])
    with pytest.raises(RigError, match=r"neutral\[0, 0\] is nan"):
        replace(rig, neutral=np.full_like(rig.neutral, np.nan))
