"""The nvdiffrast backend: parity with the CPU on a machine with a GPU, and on any machine with nvdiffrast's documented
conventions played by NumPy."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference_rasterizer import nearest_faces
from synthetic_meshes import bump, dome, grid_mesh, sphere

from renderer import nvdiffrast_backend
from renderer.camera import Camera
from renderer.lookup import build_lookup
from renderer.rasterize import RasterizeError, rasterize

WIDE = Camera(width=43, height=29, fx=40.0, fy=37.0, cx=20.3, cy=15.1)
TALL = Camera(width=19, height=50, fx=45.0, fy=48.0, cx=8.0, cy=26.7)
SNAPPING = 1 / 16  # px

needs_nvdiffrast = pytest.mark.skipif(
    not nvdiffrast_backend.is_available(), reason="needs an NVIDIA GPU and the package nvdiffrast"
)


@pytest.fixture(params=["cpu", "nvdiffrast, played", pytest.param("nvdiffrast", marks=needs_nvdiffrast)])
def backend(request, monkeypatch):
    """A backend; the tests' own stand-in for nvdiffrast, which snaps as it does, runs on any machine."""
    if request.param != "nvdiffrast, played":
        return request.param
    library = SimpleNamespace(rasterize=partial(played_rasterize, snapping=SNAPPING))
    monkeypatch.setattr(nvdiffrast_backend, "draw", partial(drawn_by, library))
    return "nvdiffrast"


def soup(seed, count=30, near=2.0, far=6.0, size=0.5):
    rng = np.random.default_rng(seed)
    centres = np.stack([rng.uniform(-1.5, 1.5, count), rng.uniform(-1.5, 1.5, count), rng.uniform(near, far, count)], 1)
    vertices = (centres[:, None] + rng.normal(size=(count, 3, 3)) * size).reshape(-1, 3)
    return vertices, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def certain_pixels(vertices, faces, camera, snapping):
    """The reference's face_ids, barycentrics, depth, and the pixels [H, W] bool that no edge comes close to."""
    expected = nearest_faces(vertices, faces, camera)
    if not snapping:
        return expected
    certain = expected[3].copy()
    # A centre is off the edges when its neighbourhood shows the same face.
    for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        step = 1.5 * snapping
        moved = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx + x * step, camera.cy + y * step)
        certain &= nearest_faces(vertices, faces, moved)[0] == expected[0]
    return *expected[:3], certain


def assert_agrees(drawn, vertices, faces, camera, snapping=0.0):
    face_ids, barycentrics, depth, certain = certain_pixels(vertices, faces, camera, snapping)
    assert certain.mean() > 0.6 and (face_ids[certain] >= 0).mean() > 0.05
    np.testing.assert_array_equal(drawn[0][certain], face_ids[certain])
    np.testing.assert_allclose(drawn[1][certain], barycentrics[certain], atol=1e-4)
    np.testing.assert_allclose(drawn[2][certain], depth[certain], rtol=1e-4)


# ---- both backends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize(("near", "far", "size"), [(2, 6, 0.5), (-1.5, 2.5, 0.7)], ids=["in front", "through the camera"])
def test_backends_agree_with_the_reference(backend, camera, near, far, size):
    vertices, faces = soup(1, near=near, far=far, size=size)
    fragments = rasterize((vertices, faces), camera, backend)
    drawn = fragments.face_ids, fragments.barycentrics, fragments.depth
    assert_agrees(drawn, vertices, faces, camera, snapping=SNAPPING if backend == "nvdiffrast" else 0)


@pytest.mark.parametrize("surface", [dome, sphere, bump])
@pytest.mark.slow
def test_backends_look_textures_up_alike(backend, surface):
    mesh = grid_mesh(surface, 14, 17)
    camera = Camera(61, 47, 70.0, 72.0, 30.0, 24.5)
    lookup, expected = build_lookup(mesh, camera, 90, 70, backend=backend), build_lookup(mesh, camera, 90, 70)
    assert lookup.supersampling == expected.supersampling
    u, v = torch.meshgrid(torch.linspace(0, 1, 90), torch.linspace(0, 1, 70), indexing="ij")
    texture = torch.stack([u, v, 0.5 + 0.3 * torch.sin(5 * u + 3 * v)])[None]
    images = [each.to_image(each(texture)) for each in (lookup, expected)]
    assert images[0].shape == images[1].shape
    different = (images[0] - images[1]).abs().amax(1)
    assert different.mean() < 1e-3 and (different < 2e-3).float().mean() > 0.98


@needs_nvdiffrast
def test_a_face_model_s_worth_of_faces_in_a_large_image():
    """Tiles of 2048 px, and faces of about ten pixels."""
    mesh = grid_mesh(dome, 190, 190)
    camera = Camera(2500, 2300, 4000.0, 4000.0, 1250.0, 1150.0)
    ours, theirs = (rasterize(mesh, camera, backend) for backend in ("cpu", "nvdiffrast"))
    same = ours.face_ids == theirs.face_ids
    # Edges of faces of about ten pixels, an eighth of a pixel wide.
    assert same.mean() > 0.93
    hit = same & (ours.face_ids >= 0)
    np.testing.assert_allclose(theirs.barycentrics[hit], ours.barycentrics[hit], atol=1e-4)
    np.testing.assert_allclose(theirs.depth[hit], ours.depth[hit], rtol=1e-5)


@needs_nvdiffrast
def test_the_look_up_follows_a_texture_on_the_gpu():
    mesh = grid_mesh(dome, 13, 11)
    lookup = build_lookup(mesh, WIDE, 50, 40, backend="nvdiffrast").to("cuda")
    texture = torch.rand(1, 3, 50, 40, device="cuda", requires_grad=True)
    lookup(texture).square().sum().backward()
    assert texture.grad.is_cuda and texture.grad.abs().sum() > 0


# ---- nvdiffrast's conventions, played by NumPy -------------------------------------------------------------------------


def played_rasterize(context, positions, triangles, resolution, grad_db=True, *, snapping=0.0):
    """nvdiffrast's documented output: (u, v, z/w, triangle id + 1), bottom row first, |z| <= w, nothing culled.

    (u, v) is (1, 0) at the first vertex, (0, 1) at the second and (0, 0) at the third.
    """
    assert positions.dtype == torch.float32 and triangles.dtype == torch.int32
    assert positions.is_contiguous() and triangles.is_contiguous()
    height, width = resolution
    clip = positions[0].double().numpy()
    x = (2 * np.arange(width) + 1) / width - 1
    y = (2 * np.arange(height) + 1) / height - 1
    x, y = np.meshgrid(x, y)
    nearest = np.full((height, width), np.inf)
    result = np.zeros((height, width, 4), dtype=np.float32)
    for number, corners in enumerate(clip[triangles.numpy()], start=1):
        inside = np.ones((height, width), dtype=bool)
        if snapping and (corners[:, 3] > 0).all():
            # Coverage by snapped corners; what is interpolated comes from the true ones.
            grid = np.array([width, height]) / 2 / snapping
            covering = corners.copy()
            covering[:, :2] = np.round(corners[:, :2] / corners[:, 3:] * grid) / grid * corners[:, 3:]
            inside = edges(covering, x, y)[1]
            weights = edges(corners, x, y)[0]
        else:
            weights, inside = edges(corners, x, y)
        with np.errstate(all="ignore"):
            z, w = (weights @ corners[:, k] for k in (2, 3))
            depth = z / w
            seen = inside & (w > 0) & (np.abs(z) <= w) & (depth < nearest)
        nearest[seen] = depth[seen]
        result[seen] = np.stack([weights[..., 0], weights[..., 1], depth, np.full_like(z, number)], axis=-1)[seen]
    return torch.from_numpy(result)[None], None


def edges(corners, x, y):
    """Perspective-correct barycentrics [H, W, 3] and coverage [H, W] of homogeneous corners [3, 4]."""
    px, py = (corners[:, k] - axis[..., None] * corners[:, 3] for k, axis in ((0, x), (1, y)))
    areas = np.stack(
        [px[..., k - 2] * py[..., k - 1] - py[..., k - 2] * px[..., k - 1] for k in range(3)], axis=-1
    )
    total = areas.sum(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        weights = np.nan_to_num(areas / total)
    return weights, (weights >= 0).all(axis=-1) & (total[..., 0] != 0)


@pytest.fixture
def library():
    """A module in nvdiffrast's place."""
    return SimpleNamespace(rasterize=played_rasterize)


def drawn_by(library, vertices, faces, camera):
    return nvdiffrast_backend.draw_with(library, None, vertices, faces, camera, torch.device("cpu"))


@pytest.mark.parametrize("camera", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize(("near", "far", "size"), [(2, 6, 0.5), (-1.5, 2.5, 0.7)], ids=["in front", "through the camera"])
@pytest.mark.parametrize("seed", range(2))
def test_conventions_are_converted(library, camera, near, far, size, seed):
    vertices, faces = soup(seed, near=near, far=far, size=size)
    assert_agrees(drawn_by(library, vertices, faces, camera), vertices, faces, camera, snapping=0.01)


def test_snapped_coverage_keeps_barycentrics_well_formed(library):
    library.rasterize = partial(played_rasterize, snapping=SNAPPING)
    vertices, faces = soup(3)
    face_ids, barycentrics, depth = drawn_by(library, vertices, faces, WIDE)
    assert_agrees((face_ids, barycentrics, depth), vertices, faces, WIDE, snapping=SNAPPING)
    hit = face_ids >= 0
    assert (face_ids != rasterize((vertices, faces), WIDE).face_ids).any()
    assert (barycentrics >= 0).all() and np.isfinite(depth[hit]).all()
    np.testing.assert_allclose(barycentrics.sum(-1)[hit], 1, atol=1e-6)
    assert face_ids.dtype == np.int32 and barycentrics.dtype == depth.dtype == np.float32
    assert np.isinf(depth[~hit]).all() and (barycentrics[~hit] == 0).all()


def test_the_library_s_own_barycentrics_are_ours(library):
    """(u, v, 1 - u - v) belongs to the face's vertices in our order: nothing is swapped by the rows' direction."""
    vertices, faces = soup(5)
    planes = nvdiffrast_backend.near_and_far(vertices[:, 2])
    clip = torch.from_numpy(nvdiffrast_backend.clip_positions(vertices, WIDE, *planes))[None]
    played = played_rasterize(None, clip, torch.from_numpy(faces), (WIDE.height, WIDE.width))[0][0].numpy()
    face_ids, barycentrics, _ = drawn_by(library, vertices, faces, WIDE)
    hit = face_ids >= 0
    np.testing.assert_array_equal(played[..., 3], face_ids + 1)
    theirs = np.stack([played[..., 0], played[..., 1], 1 - played[..., 0] - played[..., 1]], axis=-1)
    np.testing.assert_allclose(theirs[hit], barycentrics[hit], atol=1e-4)


def test_clip_space():
    """Image corners and planes where they belong, in pixels with y downwards and depths."""
    near, far = 2.0, 9.0
    depth = np.array([2.0, 9.0, 4.0])
    x, y = np.array([0.0, WIDE.width, 10.5]), np.array([0.0, WIDE.height, 20.5])
    points = np.stack([(x - WIDE.cx) / WIDE.fx * depth, (y - WIDE.cy) / WIDE.fy * depth, depth], axis=1)
    clip = nvdiffrast_backend.clip_positions(points, WIDE, near, far)
    assert clip.dtype == np.float32 and clip.flags.c_contiguous
    normalised = clip[:, :3] / clip[:, 3:]
    np.testing.assert_allclose(clip[:, 3], depth)
    np.testing.assert_allclose(normalised[:2], [[-1, -1, -1], [1, 1, 1]], atol=1e-5)
    np.testing.assert_allclose((normalised[2, :2] + 1) / 2 * [WIDE.width, WIDE.height], [10.5, 20.5], rtol=1e-5)


def test_tiles_make_the_same_image(library, monkeypatch):
    vertices, faces = soup(6)
    whole = drawn_by(library, vertices, faces, WIDE)
    monkeypatch.setattr(nvdiffrast_backend, "LARGEST_TILE", 16)
    tiled = drawn_by(library, vertices, faces, WIDE)
    assert (whole[0] == tiled[0]).mean() > 0.995
    same = whole[0] == tiled[0]
    np.testing.assert_allclose(whole[1][same], tiled[1][same], atol=1e-6)


def test_nothing_in_front_draws_nothing(library):
    vertices = np.array([[0.0, 0, -2], [1, 0, -2], [0, 1, -3]])
    for faces in (np.array([[0, 1, 2]], np.int32), np.zeros((0, 3), np.int32)):
        face_ids, barycentrics, depth = drawn_by(library, vertices, faces, TALL)
        assert face_ids.shape == (50, 19) and (face_ids == -1).all() and np.isinf(depth).all() and not barycentrics.any()


def test_too_many_faces_are_refused(library, monkeypatch):
    monkeypatch.setattr(nvdiffrast_backend, "LARGEST_FACE_COUNT", 5)
    with pytest.raises(ValueError, match="30 faces; nvdiffrast can number fewer than 5"):
        drawn_by(library, *soup(0), WIDE)


# ---- absent ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", [False, True])
def test_absent_is_one_line_with_what_to_do(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    assert not nvdiffrast_backend.is_available()
    mesh = grid_mesh(dome, 5, 4)
    for call in (lambda: rasterize(mesh, WIDE, "nvdiffrast"), lambda: build_lookup(mesh, WIDE, 9, 8, backend="nvdiffrast")):
        with pytest.raises(nvdiffrast_backend.RendererUnavailable) as raised:
            call()
        message = str(raised.value)
        assert "\n" not in message
        wanted = ("--no-build-isolation", "nvcc", "non-commercial") if gpu else ("NVIDIA GPU", "renderer=cpu")
        assert all(word in message for word in wanted)


def test_unknown_backend_is_refused():
    with pytest.raises(RasterizeError, match="'gl'; cpu or nvdiffrast is needed"):
        rasterize(grid_mesh(dome, 5, 4), WIDE, "gl")


@pytest.mark.slow
def test_nothing_imports_nvdiffrast_unasked():
    code = "import renderer.lookup, renderer.render, sys; sys.exit('nvdiffrast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
