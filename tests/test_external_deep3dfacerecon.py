"""Alignment, network, face model, its making, and mesh and camera, against oracles written another way."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.spatial.transform import Rotation
from stand_in_assets import (
    published_shapes,
    published_topology,
    small_topology,
    tame_state,
    write_face_model,
    write_morphable_model,
    write_public_files,
    write_reconstruction_checkpoint,
)

from external.deep3dfacerecon import (
    FaceModel,
    ReconstructionNetwork,
    align,
    alignment,
    load_face_model,
    load_network,
    make_face_model,
    reconstruct,
)
from external.deep3dfacerecon.alignment import STANDARD_POINTS, placement
from external.deep3dfacerecon.face_model import lighting, rotations

POINTS = np.array([[180.2, 150.7], [251.4, 141.9], [222.0, 190.3], [195.5, 228.8], [247.1, 221.6]])
MODEL_NAMES = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "point_buf")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return write_face_model(tmp_path_factory.mktemp("bfm"), small_topology())


@pytest.fixture(scope="module")
def model(model_file):
    return FaceModel(model_file)


@pytest.fixture(scope="module")
def network():
    network = ReconstructionNetwork()
    network.load_state_dict(tame_state({name: tensor.shape for name, tensor in network.state_dict().items()}))
    return network.eval().requires_grad_(False)


def noise_photo(height, width, seed=0):
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    return (smooth + generator.integers(-20, 20, smooth.shape)).clip(0, 255).astype(np.uint8)


def random_coefficients(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.cat([torch.ones(224), torch.full((3,), 0.4), torch.full((27,), 0.2), torch.full((3,), 0.3)])
    return torch.randn(count, 257, generator=generator) * scale


# ---- alignment -------------------------------------------------------------------------------------------------------


def aligned_by_hand(photo, points):
    """The published 10 x 8 system by the pseudo-inverse; the crop pasted from the whole resized photo."""
    height, width = photo.shape[:2]
    upwards = points.astype(np.float32) * [1, -1] + [0, height - 1]
    system, wanted = np.zeros((10, 8)), np.zeros(10)
    for index in range(5):
        system[2 * index, :4] = system[2 * index + 1, 4:] = [*STANDARD_POINTS[index], 1]
        wanted[2 * index : 2 * index + 2] = upwards[index]
    solution = np.linalg.pinv(system) @ wanted
    scale = 102 / ((np.linalg.norm(solution[:3]) + np.linalg.norm(solution[4:7])) / 2)
    shift_x, shift_y = solution[3], solution[7]
    new_width, new_height = np.int32(width * scale), np.int32(height * scale)
    left = np.int32(new_width / 2 - 112 + (shift_x - width / 2) * scale)
    top = np.int32(new_height / 2 - 112 + (height / 2 - shift_y) * scale)
    resized = np.asarray(Image.fromarray(photo).resize((int(new_width), int(new_height)), Image.Resampling.BICUBIC))
    canvas = np.zeros((new_height + 1000, new_width + 1000, 3), np.uint8)
    canvas[500 : 500 + new_height, 500 : 500 + new_width] = resized
    return canvas[500 + top : 724 + top, 500 + left : 724 + left], (width, height, scale, shift_x, shift_y)


@pytest.mark.parametrize(
    ("height", "width", "points"),
    [
        (300, 420, POINTS),
        (300, 420, POINTS - [150, 100]),  # over the left and upper edge
        (331, 257, POINTS + [3.3, 95.4]),  # over the right and lower edge
        (300, 420, (POINTS - POINTS.mean(0)) * 0.4 + [200, 120]),  # small: enlarged
        (900, 700, (POINTS - POINTS.mean(0)) * 3.1 + [340, 500]),
        (300, 420, POINTS[:, ::-1] * [1, -1] + [30, 380]),  # on its side
    ],
)
def test_crop_is_the_published_one_to_the_byte(height, width, points):
    photo = noise_photo(height, width)
    crop, found = align(Image.fromarray(photo), points)
    expected, wanted = aligned_by_hand(photo, points)
    assert crop.dtype == np.uint8 and crop.shape == (224, 224, 3)
    np.testing.assert_array_equal(crop, expected)
    assert found[:2] == (width, height)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)  # turned upwards in single precision


def test_crop_of_real_photos_is_the_published_one(test_data):
    found = sorted((test_data / "photos").glob("*.png"))
    if not found:
        pytest.skip(f"needs real photos in {test_data / 'photos'}")
    for path in found[:2]:
        points = np.loadtxt(path.parent / "detections" / f"{path.stem}.txt").reshape(5, 2)
        photo = Image.open(path).convert("RGB")
        np.testing.assert_array_equal(align(photo, points)[0], aligned_by_hand(np.asarray(photo), points)[0])


def test_standard_points_are_those_of_the_file(test_data):
    path = test_data / "bfm_topology" / "similarity_Lm3D_all.mat"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    marks = loadmat(path)["lm"]
    eyes = [marks[[36, 39]].mean(0), marks[[42, 45]].mean(0)]
    np.testing.assert_array_equal(STANDARD_POINTS, np.stack([*eyes, marks[30], marks[48], marks[54]]))


def test_projected_standard_points_give_their_own_pose():
    """Points that are a scaled orthographic view fit exactly: scale and shift are the view's."""
    turned = STANDARD_POINTS.astype(np.float64) @ Rotation.from_euler("xyz", [0.2, -0.3, 0.1]).as_matrix().T
    points = 55 * turned[:, :2] * [1, -1] + [143, 99]
    _, found = align(Image.new("RGB", (310, 240)), points)
    np.testing.assert_allclose(found[2:], [102 / 55, 143, 239 - 99], rtol=1e-5)


def crop_to_photo(positions, found):
    """Positions in the crop, y upwards, to the photo (y down, pixel centres at +0.5) through the whole sizes."""
    width, height, left, top = placement(found)
    x, y = np.moveaxis(np.asarray(positions, dtype=np.float64), -1, 0)
    return np.stack([(x + left) * found[0] / width, (224 - y + top) * found[1] / height], axis=-1)


def test_placement_finds_a_spot_again():
    """A bright spot of the photo, found in the crop by its centroid, is carried back to where it was."""
    x, y = np.meshgrid(np.arange(420) + 0.5, np.arange(300) + 0.5)
    for spot in ([201.3, 166.8], [236.1, 205.2]):
        blob = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18)
        crop, found = align(Image.fromarray(np.repeat(blob.round().astype(np.uint8)[..., None], 3, 2)), POINTS)
        weights = crop[..., 0].astype(np.float64)
        centre = [(weights.sum(axis) * (np.arange(224) + 0.5)).sum() / weights.sum() for axis in (0, 1)]
        assert np.abs(crop_to_photo([centre[0], 224 - centre[1]], found) - spot).max() < 0.05


@pytest.mark.parametrize("points", [POINTS, POINTS - [150, 100], (POINTS - POINTS.mean(0)) * 0.3 + [400, 20]])
def test_window_of_a_resized_photo_too_large_to_make(points, monkeypatch):
    photo = Image.fromarray(noise_photo(300, 420))
    whole, _ = align(photo, points)
    monkeypatch.setattr(alignment, "LARGEST_RESIZED", 0)
    window, _ = align(photo, points)
    assert np.abs(window.astype(int) - whole).max() <= 1 and (window != whole).mean() < 1e-3


def test_photo_of_another_mode():
    photo = Image.fromarray(noise_photo(300, 420)[..., 0])
    np.testing.assert_array_equal(align(photo, POINTS)[0], align(photo.convert("RGB"), POINTS)[0])


@pytest.mark.parametrize("points", [POINTS[:4], POINTS * np.nan, np.full((5, 2), 7.0), POINTS * 400])
def test_points_that_are_no_face(points):
    with pytest.raises(ValueError, match="align: .*points"):
        align(Image.new("RGB", (310, 240)), points)


# ---- network ---------------------------------------------------------------------------------------------------------


def test_names_and_shapes_of_the_published_checkpoint(test_data, network):
    shapes = published_shapes(test_data, "deep3d_net_recon")
    if shapes is None:
        pytest.skip(f"needs the folder compat beside {test_data}")
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == shapes


def test_order_of_the_coefficients(network):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for index in range(7):
        state[f"final_layers.{index}.weight"].zero_()
        state[f"final_layers.{index}.bias"].fill_(index)
    numbered = ReconstructionNetwork().eval()
    numbered.load_state_dict(state)
    with torch.no_grad():
        coefficients = numbered(torch.rand(1, 3, 224, 224))
    expected = [0] * 80 + [1] * 64 + [2] * 80 + [3] * 3 + [4] * 27 + [5] * 2 + [6]
    assert coefficients[0].tolist() == expected


def test_a_batch_is_its_members(network):
    crops = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    crops[1] = crops[1] ** 3
    together, first = network(crops), network(crops[:1])
    assert together.shape == (2, 257)
    torch.testing.assert_close(together[:1], first, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_network_refuses_other_sizes(network):
    for shape in ((1, 3, 112, 112), (3, 224, 224), (1, 4, 224, 224)):
        with pytest.raises(ValueError, match=r"need crops \[B, 3, 224, 224\]"):
            network(torch.zeros(shape))


@pytest.mark.slow
def test_checkpoint(tmp_path, network):
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    path = write_reconstruction_checkpoint(tmp_path / "epoch_latest.pth", shapes)
    loaded = load_network(path)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    state = torch.load(path, weights_only=True)["net_recon"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"epoch_latest.pth: not Deep3DFaceRecon's network: no dict 'net_recon' in it"):
        load_network(path)
    torch.save({"net_recon": {name.removeprefix("backbone."): tensor for name, tensor in state.items()}}, path)
    with pytest.raises(ValueError, match=r"epoch_latest.pth: .*: backbone.conv1.weight is missing, .* and \d+ more; need"):
        load_network(path)


# ---- face model ------------------------------------------------------------------------------------------------------


def face_by_hand(path, coefficients):
    """One face in float64, vertex by vertex."""
    content = {name: loadmat(path)[name].astype(np.float64) for name in MODEL_NAMES}
    c = coefficients.double().numpy()
    mean = content["meanshape"].reshape(-1, 3)
    shape = mean - mean.mean(0) + (content["idBase"] @ c[:80] + content["exBase"] @ c[80:144]).reshape(-1, 3)
    texture = (content["meantex"].ravel() + content["texBase"] @ c[144:224]).reshape(-1, 3) / 255
    rotation = Rotation.from_euler("xyz", c[224:227]).as_matrix()  # about fixed axes: Rz Ry Rx
    triangles = content["tri"].astype(int) - 1
    vertices, colours = [], []
    for vertex, around in enumerate(content["point_buf"].astype(int) - 1):
        sum_of_normals = np.zeros(3)
        for face in around:
            if face < len(triangles):
                first, second, third = shape[triangles[face]]
                normal = np.cross(second - first, third - first)
                sum_of_normals += normal / np.linalg.norm(normal)
        x, y, z = rotation @ (sum_of_normals / np.linalg.norm(sum_of_normals))
        a = np.pi, 2 * np.pi / 3**0.5, 2 * np.pi / 8**0.5
        b = 1 / (4 * np.pi) ** 0.5, 3**0.5 / (4 * np.pi) ** 0.5, 3 * 5**0.5 / (12 * np.pi) ** 0.5
        terms = [a[0] * b[0], -a[1] * b[1] * y, a[1] * b[1] * z, -a[1] * b[1] * x, a[2] * b[2] * x * y, -a[2] * b[2] * y * z]
        terms += [a[2] * b[2] * (3 * z**2 - 1) / (2 * 3**0.5), -a[2] * b[2] * x * z, a[2] * b[2] * (x**2 - y**2) / 2]
        light = [sum(t * (w + 0.8 * (k == 0)) for k, (t, w) in enumerate(zip(terms, c[227 + 9 * n : 236 + 9 * n], strict=True)))
                 for n in range(3)]  # fmt: skip
        colours.append(texture[vertex] * light)
        place = rotation @ shape[vertex] + c[254:]
        place[2] = 10 - place[2]
        vertices.append(place)
    return np.array(vertices), texture, np.array(colours)


def test_faces_agree_with_the_formulas(model, model_file):
    coefficients = random_coefficients(3)
    faces = model(coefficients)
    assert faces.vertices.shape == (3, 108, 3)
    for index in range(3):
        expected = face_by_hand(model_file, coefficients[index])
        found = faces.vertices, faces.texture, faces.colour
        for values, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(values[index].numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_zero_coefficients_are_the_mean_face_straight_ahead(model, model_file):
    faces = model(torch.zeros(1, 257))
    mean = loadmat(model_file)["meanshape"].reshape(-1, 3)
    expected = (mean - mean.mean(0)) * [1, 1, -1] + [0, 0, 10]
    np.testing.assert_allclose(faces.vertices[0], expected, atol=1e-5)
    np.testing.assert_allclose(faces.texture[0] * 255, loadmat(model_file)["meantex"].reshape(-1, 3), rtol=1e-5)
    ambient = 0.8 * np.pi / np.sqrt(4 * np.pi)
    torch.testing.assert_close(faces.colour, faces.texture * ambient)
    torch.testing.assert_close(faces.rotation[0], torch.eye(3))


def test_model_in_double_precision(model, model_file):
    coefficients = random_coefficients(1, seed=5)
    double = FaceModel(model_file).double()(coefficients)
    np.testing.assert_allclose(double.colour[0], face_by_hand(model_file, coefficients[0])[2], rtol=1e-5)
    assert double.vertices.dtype == torch.float64


def test_rotations():
    angles = torch.randn(7, 3, dtype=torch.float64)
    found = rotations(angles)
    identity = torch.eye(3, dtype=torch.float64).expand(7, 3, 3)
    torch.testing.assert_close(found @ found.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(7, dtype=torch.float64))
    # An angle about y turns the nose (z) to the person's left (x); one about x lowers it.
    noses = rotations(torch.tensor([[0.0, 0.3, 0.0], [0.3, 0.0, 0.0]]))[:, 2]
    assert noses[0, 0] > 0.2 and noses[1, 1] < -0.2


def test_lighting_terms_are_orthonormal_harmonics():
    """Divided by the response of a matt surface, the nine terms are orthonormal on the sphere."""
    heights, weights = np.polynomial.legendre.leggauss(8)
    turns = np.arange(16) * np.pi / 8
    z, turn = (part.ravel() for part in np.meshgrid(heights, turns, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    normals = torch.tensor(np.stack([radius * np.cos(turn), radius * np.sin(turn), z], 1))[None]
    area = np.repeat(weights, 16) * np.pi / 8
    terms = []
    ambient = lighting(normals, torch.zeros(1, 27, dtype=torch.float64))
    for index in range(9):
        coefficients = torch.zeros(1, 27, dtype=torch.float64)
        coefficients[0, 9 + index] = 1
        light = lighting(normals, coefficients) - ambient
        assert light[..., [0, 2]].abs().max() == 0  # green's own coefficients
        terms.append(light[0, :, 1].numpy())
    response = np.array([np.pi] + [2 * np.pi / np.sqrt(3)] * 3 + [2 * np.pi / np.sqrt(8)] * 5)
    harmonics = np.array(terms) / response[:, None]
    np.testing.assert_allclose((harmonics * area) @ harmonics.T, np.eye(9), atol=1e-12)


def test_model_refuses_other_coefficients(model):
    for shape in ((257,), (1, 256), (2, 3, 257)):
        with pytest.raises(ValueError, match=r"need \[B, 257\]"):
            model(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("idBase", lambda array: array[:, :79], r"idBase is \[324, 79\], not \[324, 80\]"),
        ("meantex", lambda array: array[:, 3:], r"meantex is \[1, 321\], not \[324\]"),
        ("tri", lambda array: array - 1, r"tri holds 0\.0 to 107\.0, not whole numbers from 1 to 108"),
        ("point_buf", lambda array: array + 1, r"point_buf holds .* whole numbers from 1 to 177"),
        ("meanshape", lambda array: array * np.nan, "meanshape holds values that are not finite numbers"),
    ],
)
def test_a_file_that_is_no_face_model(model_file, tmp_path, name, change, told):
    content = {key: loadmat(model_file)[key] for key in MODEL_NAMES}
    content[name] = change(content[name])
    savemat(tmp_path / "BFM_model_front.mat", content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/BFM_model_front\.mat: not a BFM_model_front\.mat: {told}"):
        FaceModel(tmp_path / "BFM_model_front.mat")


def test_a_damaged_file(model_file, tmp_path):
    path = tmp_path / "BFM_model_front.mat"
    with pytest.raises(FileNotFoundError, match="BFM_model_front.mat: no such file; need"):
        FaceModel(path)
    whole = model_file.read_bytes()
    for content in (b"", b"not found\n" * 30, whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"BFM_model_front\.mat: .*need BFM_model_front"):
            FaceModel(path)
    savemat(path, {"vertices": np.zeros(3)})
    with pytest.raises(ValueError, match="no array meanshape, meantex, idBase and 4 more in it"):
        FaceModel(path)


# ---- making the face model -------------------------------------------------------------------------------------------


@pytest.fixture
def raw_files(tmp_path):
    write_public_files(tmp_path, small_topology())
    write_morphable_model(tmp_path, small_topology(), components=90)
    return tmp_path


def test_face_model_made_from_the_morphable_model(raw_files):
    """Vertex by vertex and column by column, from the files as they are described."""
    before = set(raw_files.iterdir())
    path = make_face_model(raw_files)
    assert path == raw_files / "BFM_model_front.mat" and set(raw_files.iterdir()) - before == {path}
    made, basel = loadmat(path), loadmat(raw_files / "01_MorphableModel.mat")
    topology = small_topology()
    numbers = np.frombuffer((raw_files / "Exp_Pca.bin").read_bytes()[4:], "<f4").reshape(80, len(topology.trimmed), 3)
    deviations = np.loadtxt(raw_files / "std_exp.txt")
    assert made["meanshape"].shape == made["meantex"].shape == (1, 324)
    for vertex in (0, 17, 107):
        with_expression = topology.front[vertex] - 1
        full = topology.trimmed[with_expression] - 1
        for axis in range(3):
            row, source = 3 * vertex + axis, 3 * full + axis
            assert made["meanshape"][0, row] == pytest.approx(basel["shapeMU"][source, 0] / 1e5, rel=1e-5)
            assert made["meantex"][0, row] == pytest.approx(basel["texMU"][source, 0])
            for column in (0, 63, 79):
                shape, texture = basel["shapePC"][source, column], basel["texPC"][source, column]
                assert made["idBase"][row, column] == pytest.approx(shape * basel["shapeEV"][column, 0] / 1e5, rel=1e-5)
                assert made["texBase"][row, column] == pytest.approx(texture * basel["texEV"][column, 0], rel=1e-5)
            for column in (0, 63):
                expression = numbers[1 + column, with_expression, axis]
                assert made["exBase"][row, column] == pytest.approx(expression * deviations[column] / 1e5, rel=1e-5)
    for name in ("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask"):
        np.testing.assert_array_equal(made[name], topology.info[name])
    assert made["idBase"].shape == (324, 80) and made["exBase"].shape == (324, 64) and made["texBase"].shape == (324, 80)


def test_made_where_only_its_parts_are_there(raw_files):
    model = load_face_model(raw_files)
    assert model.path == raw_files / "BFM_model_front.mat"
    np.testing.assert_allclose(model.mean_shape, (small_topology().vertices - small_topology().vertices.mean(0)), atol=1e-5)
    for name in ("01_MorphableModel.mat", "Exp_Pca.bin", "facemodel_info.mat"):
        (raw_files / name).unlink()
    assert torch.equal(load_face_model(raw_files).mean_texture, model.mean_texture)
    model.path.unlink()
    with pytest.raises(FileNotFoundError, match="to make it, 01_MorphableModel.mat, Exp_Pca.bin, facemodel_info.mat must"):
        load_face_model(raw_files)


def spoil_mat(path, name, change):
    content = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    content[name] = change(content[name])
    savemat(path, content)


def spoil_length(path, change):
    path.write_bytes(path.read_bytes()[:change])


SPOILS = [
    ("01_MorphableModel.mat", lambda path: spoil_mat(path, "shapePC", lambda a: a[:, :70]), r"01_Morph.*: shapePC is \[456, 70\], not \[456, 80 or more\]"),
    ("01_MorphableModel.mat", lambda path: spoil_mat(path, "texEV", lambda a: a[:-1]), r"01_Morph.*: texEV is \[89, 1\], not \[90\]"),
    ("01_MorphableModel.mat", lambda path: path.write_bytes(b"no"), r"01_Morph.*: not a MATLAB file"),
    ("01_MorphableModel.mat", lambda path: spoil_mat(path, "shapeMU", lambda a: a * np.nan), "do not match each other: .*meanshape holds"),
    ("Exp_Pca.bin", lambda path: spoil_length(path, -4), r"Exp_Pca\.bin: has \d+ bytes; need an Exp_Pca\.bin of 129 vertices: \d+ for 79"),
    ("Exp_Pca.bin", lambda path: path.write_bytes(b""), r"Exp_Pca\.bin: has 0 bytes"),
    ("Exp_Pca.bin", lambda path: path.write_bytes(b"<html>" * 30), r"Exp_Pca\.bin: has 180 bytes; .* a count of 64 to 1000"),
    ("std_exp.txt", lambda path: path.write_text("1 2 3"), r"std_exp\.txt: has 3 numbers; 79 are needed"),
    ("std_exp.txt", lambda path: path.write_text("one"), r"std_exp\.txt: is not a list of numbers"),
    ("BFM_exp_idx.mat", lambda path: spoil_mat(path, "trimIndex", lambda a: a + 60), r"BFM_exp_idx\.mat: does not match: trimIndex holds"),
    ("BFM_front_idx.mat", lambda path: spoil_mat(path, "idx", lambda a: a + 0.5), r"BFM_front_idx\.mat: does not match: idx holds"),
    ("BFM_front_idx.mat", lambda path: spoil_mat(path, "idx", lambda a: a[:50]), "do not match each other: .*tri holds"),
    ("facemodel_info.mat", lambda path: spoil_mat(path, "tri", lambda a: a + 1), r"facemodel_info\.mat do not match each other: .*tri holds"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "told"), SPOILS)
def test_parts_that_do_not_fit_leave_nothing_behind(raw_files, name, spoil, told):
    spoil(raw_files / name)
    (raw_files / "BFM_model_front.mat").write_bytes(b"an older one")
    before = sorted(raw_files.iterdir())
    with pytest.raises(ValueError, match=told):
        make_face_model(raw_files)
    assert sorted(raw_files.iterdir()) == before
    assert (raw_files / "BFM_model_front.mat").read_bytes() == b"an older one"


@pytest.mark.parametrize("name", ["01_MorphableModel.mat", "Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat", "facemodel_info.mat"])
def test_a_missing_part_is_named(raw_files, name):
    (raw_files / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"to make it, {re.escape(name)} must also be in this folder"):
        make_face_model(raw_files)


# ---- mesh and camera -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "points"), [(300, 420, POINTS), (331, 257, POINTS + [3.3, 95.4]), (900, 700, POINTS * 2.7)])
def test_our_camera_sees_the_published_projection(model, height, width, points):
    """Within 1e-3 px of the original photo, through the whole sizes the photo was resized and cropped with."""
    _, found = align(Image.new("RGB", (width, height)), points)
    coefficients = random_coefficients(1, seed=2)
    result = reconstruct(coefficients[0], found, model)
    left, top, crop_width, crop_height = result.crop
    assert 0 <= left and 0 <= top and left + crop_width <= width and top + crop_height <= height
    assert (result.camera.width, result.camera.height) == (crop_width, crop_height)
    vertices = model.double()(coefficients).vertices[0].numpy()
    model.float()
    expected = crop_to_photo(1015 * vertices[:, :2] / vertices[:, 2:] + 112, found)
    assert np.abs(result.camera.project(result.mesh.vertices) + [left, top] - expected).max() < 1e-3


def test_crop_is_the_part_the_network_saw(model):
    """In the photo's pixels, nothing of the 224 px crop is left out, nothing more than a pixel added."""
    _, found = align(Image.new("RGB", (1100, 900)), POINTS * 2.7)
    left, top, width, height = reconstruct(torch.zeros(257), found, model).crop
    corners = crop_to_photo([[0, 224], [224, 0]], found)
    assert 0 <= corners[0, 0] - left < 1 and 0 <= corners[0, 1] - top < 1
    assert 0 <= left + width - corners[1, 0] < 1 and 0 <= top + height - corners[1, 1] < 1


def test_head_frame(model):
    """The pose is rigid and carries the head's own shape to the mesh; straight ahead, left is right and up is -y."""
    coefficients = random_coefficients(1, seed=3)[0]
    _, found = align(Image.new("RGB", (420, 300)), POINTS)
    result = reconstruct(coefficients, found, model)
    pose = result.head_to_camera
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1, abs=1e-6) and pose[3].tolist() == [0, 0, 0, 1]
    still = coefficients.clone()
    still[224:227] = still[254:] = 0
    shape = model(still[None]).vertices[0].double().numpy() * [1, 1, -1] + [0, 0, 10]
    np.testing.assert_allclose(shape @ pose[:3, :3].T + pose[:3, 3], result.mesh.vertices, atol=1e-5)
    straight = reconstruct(torch.zeros(257), found, model)
    np.testing.assert_allclose(straight.head_to_camera, np.diag([1, -1, -1, 1]) + np.eye(4, k=1)[[3, 3, 2, 3]] * 10, atol=1e-6)


def test_mesh_has_the_published_layout(model):
    topology = small_topology()
    _, found = align(Image.new("RGB", (420, 300)), POINTS)
    result = reconstruct(torch.zeros(257), found, model)
    np.testing.assert_array_equal(result.mesh.uvs, topology.uvs[topology.front - 1])
    np.testing.assert_array_equal(result.mesh.faces, topology.info["tri"].astype(int) - 1)
    np.testing.assert_array_equal(result.mesh.uv_faces, result.mesh.faces)
    assert result.colour.shape == (108, 3) and 0.2 < result.colour.mean() < 0.9


def test_texture_coordinates_are_looked_for_beside_the_model(tmp_path):
    path = write_face_model(tmp_path, small_topology())
    _, found = align(Image.new("RGB", (420, 300)), POINTS)
    savemat(tmp_path / "BFM_front_idx.mat", {"idx": np.arange(1, 50)})
    with pytest.raises(ValueError, match=r"BFM_front_idx\.mat do not match BFM_model_front\.mat: idx is \[1, 49\], not \[108\]"):
        reconstruct(torch.zeros(257), found, FaceModel(path))
    (tmp_path / "BFM_UV.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"BFM_UV\.mat: no such file"):
        reconstruct(torch.zeros(257), found, FaceModel(path))


def test_coefficients_of_no_face(model):
    _, found = align(Image.new("RGB", (420, 300)), POINTS)
    for depth in (9.5, 40.0, float("nan")):
        coefficients = torch.zeros(257)
        coefficients[256] = depth
        with pytest.raises(ValueError, match="behind the camera"):
            reconstruct(coefficients, found, model)


# ---- at the true sizes -----------------------------------------------------------------------------------------------


@pytest.fixture
def topology(test_data):
    if not (test_data / "bfm_topology" / "mean_face_bfm_topology.npz").is_file():
        pytest.skip(f"needs the published topology in {test_data / 'bfm_topology'}")
    return published_topology(test_data)


def test_published_topology_on_real_photos(topology, test_data, tmp_path, network):
    """The mean face on the alignment lies on the detected eyes, nose and mouth; the files' sizes are the published ones."""
    path = write_face_model(tmp_path, topology)
    content = loadmat(path)
    sizes = {"meanshape": (1, 107127), "idBase": (107127, 80), "exBase": (107127, 64), "texBase": (107127, 80),
             "tri": (70789, 3), "point_buf": (35709, 8), "tri_mask2": (54681, 3), "keypoints": (1, 68),
             "frontmask2_idx": (27660, 1), "skinmask": (1, 35709), "meantex": (1, 107127)}  # fmt: skip
    assert {name: content[name].shape for name in sizes} == sizes
    keypoints = content["keypoints"].ravel().astype(int) - 1
    del content
    model = FaceModel(path)
    found = sorted((test_data / "photos").glob("*.png"))[:2]
    if not found:
        pytest.skip(f"needs real photos in {test_data / 'photos'}")
    photos = [np.asarray(Image.open(photo).convert("RGB")) for photo in found]
    points = [np.loadtxt(photo.parent / "detections" / f"{photo.stem}.txt").reshape(5, 2) for photo in found]
    for photo, five in zip(photos, points, strict=True):
        crop, aligned = align(Image.fromarray(photo), five)
        with torch.no_grad():
            coefficients = network(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
        result = reconstruct(coefficients, aligned, model)
        assert len(result.mesh.vertices) == 35709 and len(result.mesh.faces) == 70789
        mean = reconstruct(torch.zeros(257), aligned, model)
        marks = mean.camera.project(mean.mesh.vertices[keypoints]) + mean.crop[:2]
        features = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
        pupils = np.linalg.norm(five[0] - five[1])
        assert np.linalg.norm(features - five - 0.5, axis=1).max() < 0.35 * pupils


@pytest.mark.slow
def test_face_model_made_at_the_true_size(topology, tmp_path):
    write_public_files(tmp_path, topology)
    write_morphable_model(tmp_path, topology)
    model = load_face_model(tmp_path)
    expected = topology.vertices - topology.vertices.mean(0)
    np.testing.assert_allclose(model.mean_shape, expected, atol=1e-5)
    assert model.uvs.shape == (35709, 2)
    assert model.identity_basis.shape == (107127, 80) and model.expression_basis.abs().max() < 0.02
