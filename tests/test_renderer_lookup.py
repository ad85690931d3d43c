import numpy as np
import pytest
import torch
from synthetic_meshes import dome, grid_mesh, plane

from renderer.camera import Camera
from renderer.lookup import build_lookup, texel_density
from renderer.render import render

CAMERA = Camera(width=47, height=36, fx=80.0, fy=78.0, cx=22.0, cy=19.5)
MESH = grid_mesh(dome, 13, 11)


def texture_of(function, height, width):
    """A texture [1, 3, h, w] float64 whose channels are functions of u and v at the texel centres."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, 1 - (np.arange(height) + 0.5) / height)
    return torch.from_numpy(np.stack(function(u, v)))[None]


def pixel_uvs(lookup, camera):
    """u, v [N] on the MESH-less plane of the tests at the centres of the covered pixels."""
    x, y = lookup.pixels.numpy() % camera.width + 0.5, lookup.pixels.numpy() // camera.width + 0.5
    s = ((x - camera.cx) / camera.fx * 4 / 2) + 0.5
    t = ((y - camera.cy) / camera.fy * 4 / 2) + 0.5
    return 0.05 + 0.9 * s, 0.95 - 0.9 * t


@pytest.mark.parametrize("supersampling", [None, 1, 2, 3, 4])
def test_constants_stay_constant(supersampling):
    lookup = build_lookup(MESH, CAMERA, 21, 34, supersampling)
    assert len(lookup.pixels) > 300
    colours = lookup(torch.tensor([0.1, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(1, 3, 21, 34))
    np.testing.assert_allclose(colours.numpy(), np.broadcast_to([0.1, 0.5, 0.9], colours.shape), atol=2e-6)


@pytest.mark.parametrize("supersampling", [1, 2, 3])
def test_linear_ramps_are_exact(supersampling):
    lookup = build_lookup(grid_mesh(plane, 4, 5), CAMERA, 40, 64, supersampling)
    texture = texture_of(lambda u, v: (u, v, 0.3 + 0.2 * u - 0.4 * v), 40, 64)
    u, v = pixel_uvs(lookup, CAMERA)
    inner = (lookup.coverage == 1).numpy()
    expected = np.stack([u, v, 0.3 + 0.2 * u - 0.4 * v], axis=1)
    np.testing.assert_allclose(lookup(texture).numpy()[inner], expected[inner], atol=1e-6)


def test_adjointness():
    lookup = build_lookup(MESH, CAMERA, 25, 18)
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 3, 25, 18, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.rand(len(lookup.pixels), 3, dtype=torch.float64, generator=generator)
    image = lookup(texture)
    (gradient,) = torch.autograd.grad(image, texture, weights)
    torch.testing.assert_close((image * weights).sum(), (texture * gradient).sum(), rtol=1e-12, atol=0)


def test_gradients():
    camera = CAMERA.resized(9, 7)
    lookup = build_lookup(MESH, camera, 6, 5)
    texture = torch.rand(1, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: lookup.to_image(lookup(t) ** 2, 0.3), texture)
    assert torch.autograd.gradgradcheck(lambda t: lookup(t) ** 3, texture)


def test_rows_sum_to_one_and_hold_no_duplicates():
    lookup = build_lookup(MESH, CAMERA, 90, 70, supersampling=3)
    np.testing.assert_allclose(np.asarray(lookup.matrix.sum(axis=1)).ravel(), 1, atol=1e-6)
    assert lookup.matrix.has_canonical_format
    assert lookup.matrix.data.min() >= 0
    assert lookup.pixels.dtype == torch.int64 and (lookup.pixels.diff() > 0).all()
    assert lookup.coverage.min() > 0 and lookup.coverage.max() == 1 and (lookup.coverage < 1).any()


def test_gradients_are_the_same_bytes_every_time():
    lookup = build_lookup(MESH, CAMERA, 90, 70, supersampling=2)
    texture = torch.rand(1, 3, 90, 70, requires_grad=True)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append(torch.autograd.grad((lookup(texture) ** 2).sum(), texture)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_fine_checkerboard_averages_out():
    """A texture four times as fine as the image must give its mean, not moire."""
    camera = Camera(60, 44, 110.0, 110.0, 30, 22)
    size = (180, 212)
    mesh = grid_mesh(plane, 4, 5)
    density = texel_density(mesh, camera, *size)
    assert 3 < density < 4.2
    lookup = build_lookup(mesh, camera, *size)
    assert lookup.supersampling == 4
    board = torch.from_numpy(np.indices(size).sum(axis=0) % 2).float().expand(1, 3, *size).contiguous()
    inner = lookup.coverage == 1
    assert (lookup(board)[inner] - 0.5).abs().max() < 0.1
    aliased = build_lookup(mesh, camera, *size, supersampling=1)
    assert (aliased(board) - 0.5).abs().max() > 0.3


def test_magnification_needs_one_sample():
    assert build_lookup(MESH, CAMERA.resized(188, 144), 20, 16).supersampling == 1


def test_every_texel_in_view_feels_the_image():
    """The reason for filtering: with supersampling no seen texel is skipped, even by a coarse image."""
    camera = Camera(40, 30, 80.0, 80.0, 20, 15)
    mesh = grid_mesh(plane, 4, 5)
    lookup = build_lookup(mesh, camera, 100, 100)
    felt = np.asarray(lookup.matrix.sum(axis=0)).reshape(100, 100) > 0
    assert felt[30:70, 10:90].all()


def test_bands_give_the_same_matrix(monkeypatch):
    whole = build_lookup(MESH, CAMERA, 30, 40, supersampling=2)
    monkeypatch.setattr("renderer.lookup.BAND_SAMPLES", 700)
    banded = build_lookup(MESH, CAMERA, 30, 40, supersampling=2)
    assert torch.equal(whole.pixels, banded.pixels) and torch.equal(whole.coverage, banded.coverage)
    assert abs(whole.matrix - banded.matrix).max() < 1e-5


def test_resolution_of_image_and_texture_changes_little():
    """A smooth texture looks the same from any texture size, and a halved image is the mean of the full one."""
    camera = Camera(120, 90, 210.0, 210.0, 60, 45)

    def pattern(u, v):
        return 0.5 + 0.4 * np.sin(7 * u), 0.5 + 0.4 * np.cos(5 * v), u * v

    images = []
    for size in ((200, 300), (100, 150)):
        lookup = build_lookup(MESH, camera, *size, supersampling=2)
        images.append(lookup.to_image(lookup(texture_of(pattern, *size))))
    assert (images[0] - images[1]).abs().max() < 1e-3
    lookup = build_lookup(MESH, camera.resized(60, 45), 200, 300)
    half = lookup.to_image(lookup(texture_of(pattern, 200, 300)))
    pooled = torch.nn.functional.avg_pool2d(images[0], 2)
    inner = torch.zeros(60 * 45, dtype=torch.bool)
    inner[lookup.pixels[lookup.coverage == 1]] = True
    assert (half - pooled).abs().flatten(2)[..., inner].max() < 4e-3


def test_listed_texels_give_the_same_pixels_and_gradients():
    lookup = build_lookup(MESH, CAMERA, 24, 20)
    texture = torch.rand((1, 3, 24, 20), generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(len(lookup.pixels), 1)
    some = slice(len(weights) // 3)
    weights[some] = 1
    read = torch.from_numpy(np.unique(lookup.matrix[some].indices)).long()
    assert 0 < len(read) < 24 * 20
    images = [texture.clone().requires_grad_(), texture.flatten(2)[:, :, None, read].clone().requires_grad_()]
    colours = [found(image) for found, image in zip((lookup, lookup.of_texels(read.numpy())), images, strict=True)]
    assert torch.equal(colours[0][some], colours[1][some])
    for found in colours:
        (found * weights).square().sum().backward()
    assert torch.equal(images[0].grad.flatten(2)[:, :, read], images[1].grad[:, :, 0])


def test_to_image_blends_by_coverage():
    lookup = build_lookup(MESH, CAMERA, 20, 20, supersampling=4)
    red = torch.tensor([1.0, 0, 0]).expand(len(lookup.pixels), 3)
    image = lookup.to_image(red, torch.tensor([0.0, 0, 1]).reshape(1, 3, 1, 1))
    assert image.shape == (1, 3, 36, 47)
    torch.testing.assert_close(image.flatten(2)[0, 0, lookup.pixels], lookup.coverage)
    torch.testing.assert_close(image[0, 0] + image[0, 2], torch.ones(36, 47))
    photo = torch.rand(1, 3, 36, 47)
    outside = torch.ones(36 * 47, dtype=torch.bool)
    outside[lookup.pixels] = False
    assert torch.equal(lookup.to_image(red, photo).flatten(2)[..., outside], photo.flatten(2)[..., outside])


def test_nothing_in_view():
    away = CAMERA.cropped(5000, 0, 47, 36)
    lookup = build_lookup(MESH, away, 10, 12)
    texture = torch.rand(1, 3, 10, 12, requires_grad=True)
    colours = lookup(texture)
    assert colours.shape == (0, 3)
    assert (torch.autograd.grad(colours.sum(), texture)[0] == 0).all()
    assert torch.equal(lookup.to_image(colours, 0.25), torch.full((1, 3, 36, 47), 0.25))


def test_to_keeps_the_look_up():
    lookup = build_lookup(MESH, CAMERA, 10, 12)
    texture = torch.rand(1, 3, 10, 12)
    assert torch.equal(lookup.to("cpu")(texture), lookup(texture))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_agrees():
    lookup = build_lookup(MESH, CAMERA, 50, 40)
    texture = torch.rand(1, 3, 50, 40, requires_grad=True)
    on_gpu = texture.detach().cuda().requires_grad_()
    colours, gpu_colours = lookup(texture), lookup.to("cuda")(on_gpu)
    torch.testing.assert_close(gpu_colours.cpu(), colours)
    colours.square().sum().backward()
    gpu_colours.square().sum().backward()
    torch.testing.assert_close(on_gpu.grad.cpu(), texture.grad)
    assert lookup.to("cuda").to_image(gpu_colours).is_cuda


@pytest.mark.parametrize(
    "arguments", [(0, 5), (5, -1), (5, 20000), (5.5, 5), (5, 5, 0), (5, 5, 5), (5, 5, 1.5)], ids=str
)
def test_bad_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match="is needed|are needed"):
        build_lookup(MESH, CAMERA, *arguments)


def test_bad_textures_are_refused():
    lookup = build_lookup(MESH, CAMERA, 10, 12)
    for texture in (torch.rand(1, 3, 12, 10), torch.rand(3, 10, 12), torch.zeros(1, 3, 10, 12, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"\(1, 3, 10, 12\)"):
            lookup(texture)
    with pytest.raises(ValueError, match="colours"):
        lookup.to_image(torch.rand(3, 3))


def test_render():
    texture = np.random.default_rng(0).random((30, 50, 3))
    image, coverage = render(texture, MESH, CAMERA, background=0.5)
    assert image.shape == (36, 47, 3) and image.dtype == np.float32 and coverage.shape == (36, 47)
    assert (image[coverage == 0] == 0.5).all() and ((coverage > 0) & (coverage < 1)).any()
    white, _ = render(np.ones((30, 50, 3)), MESH, CAMERA)
    np.testing.assert_allclose(white, np.broadcast_to(coverage[..., None], white.shape), atol=1e-6)
    with pytest.raises(ValueError, match="texture"):
        render(texture[..., :2], MESH, CAMERA)
