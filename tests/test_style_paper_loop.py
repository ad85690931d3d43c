"""Two whole transfers of the published schedule against the same loop written down plainly, and its options.

Every position is drawn and compared, so that nothing depends on the order of random choices, but for the noise.
"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from stand_in_assets import write_vgg16

from external.vgg16 import read_vgg16
from style_transfer import sampling
from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.refine import RenderTarget, refine_texture
from style_transfer.settings import RefineSettings

HEIGHT, WIDTH = 16, 20
PAPER = RefineSettings(
    features="vgg16",
    scales=[0.5, 1.0],
    transfers=2,
    iterations=3,
    rendering_iterations=0,
    parameters="pyramid",
    pyramid_depth=5,
    optimiser="sgd",
    learning_rate=0.03,  # a tenth of the published one: steps are large where textures are small
    momentum=0.9,
    decay_learning_rate=False,
    content_weight=8.0,
    style_weight=1.7,
    moment_weight=1.0,
    rendering_weight=20.0,
    style_region="all",
    style_draws=5,
    style_samples=1000,
    result_samples=2048,
    mirrored_style=True,
    style_from_seen=False,
)
DOUBLE = torch.float64


@dataclasses.dataclass
class Problem:
    content: torch.Tensor
    style: torch.Tensor
    seen: torch.Tensor
    mask: torch.Tensor

    def targets(self, height, width):
        """Pixels that blend two texels each; some count half."""
        generator = torch.Generator().manual_seed(height)
        first, second = (torch.randint(height * width, (90,), generator=generator) for _ in "ab")
        blend = torch.rand(90, 1, generator=generator, dtype=DOUBLE)
        photo = torch.rand(90, 3, generator=generator, dtype=DOUBLE)
        weights = torch.randint(3, (90,), generator=generator) / 2.0

        def render(texture):
            texels = texture.reshape(3, -1).T
            return texels[first] * blend + texels[second] * (1 - blend)

        return RenderTarget(render, photo, weights.to(DOUBLE))


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(5)
    content, style = (torch.rand(1, 3, HEIGHT, WIDTH, generator=generator, dtype=DOUBLE) for _ in "ab")
    content = 0.3 + 0.4 * content
    seen = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=DOUBLE)
    seen[:, :, 2:10, 4:10] = 1  # whole texels of the half-size texture
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    return Problem(content, style * seen, seen, mask)


# ---- features: colours, a layer at full and one at half resolution, none of them symmetric ---------------------------

KERNELS = [
    torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=DOUBLE) * 0.3
    for shape in ((4, 3, 3, 3), (5, 4, 3, 3))
]


def rounded(image):
    """To 2^-20, with the gradient of the identity. The first step of a scale compares equal images: the content loss
    would have the sign of rounding errors for a gradient there, were they equal up to rounding only."""
    return image + ((image * 2**20).round() / 2**20 - image).detach()


class TinyFeatures:
    reach = 0
    precision = DOUBLE

    def maps(self, image):
        image = rounded(image)
        first = F.conv2d(image, KERNELS[0], padding=1).relu()
        return [image, first, F.conv2d(F.avg_pool2d(first, 2), KERNELS[1], padding=1).relu()]

    def columns(self, maps, rows, columns, nearest=False):
        # One memory order for all, for products that round alike.
        return (sampling.nearest if nearest else sampling.bilinear)(maps, rows, columns).contiguous()

    def sample(self, image, rows, columns):
        return self.columns(self.maps(image), rows, columns)


# ---- the published loop, plainly ----------------------------------------------


def interpolation(before, after):
    """Matrix [after, before] of linear interpolation between cell centres, held at the ends."""
    matrix = torch.zeros(after, before, dtype=DOUBLE)
    for i in range(after):
        position = max((i + 0.5) * before / after - 0.5, 0.0)
        k = int(position)
        matrix[i, k] += 1 - (position - k)
        matrix[i, min(k + 1, before - 1)] += position - k
    return matrix


def resize(image, height, width):  # [3, h, w]
    return interpolation(image.shape[1], height) @ image @ interpolation(image.shape[2], width).T


def laplacian_pyramid(image, depth):
    levels = []
    for _ in range(depth):
        smaller = resize(image, max(image.shape[1] // 2, 1), max(image.shape[2] // 2, 1))
        levels.append(image - resize(smaller, *image.shape[1:]))
        image = smaller
    return [*levels, image]


def collapse(levels):
    image = levels[-1]
    for level in levels[-2::-1]:
        image = level + resize(image, *level.shape[1:])
    return image


def convolve(image, kernel):
    _, height, width = image.shape
    padded = torch.zeros(len(image), height + 2, width + 2, dtype=DOUBLE)
    padded[:, 1:-1, 1:-1] = image
    rows = []
    for weights in kernel:
        total = 0
        for channel in range(len(image)):
            for down in range(3):
                for right in range(3):
                    total = (
                        total
                        + weights[channel, down, right] * padded[channel, down : down + height, right : right + width]
                    )
        rows.append(total)
    return torch.stack(rows).clamp_min(0)


def feature_maps(image):  # [3, h, w]
    image = rounded(image)
    first = convolve(image, KERNELS[0])
    halves = (first[:, ::2, ::2] + first[:, 1::2, ::2] + first[:, ::2, 1::2] + first[:, 1::2, 1::2]) / 4
    return image, first, convolve(halves, KERNELS[1])


def column(maps, row, col, interpolated):
    image, first, second = maps
    height, width = second.shape[1:]
    row_half, col_half = row / 2, col / 2
    top, left = int(row_half), int(col_half)
    coarse = second[:, top, left]
    if interpolated:
        below, beside = min(top + 1, height - 1), min(left + 1, width - 1)
        down, right = row_half - top, col_half - left
        coarse = (second[:, top, left] * (1 - right) + second[:, top, beside] * right) * (1 - down) + (
            second[:, below, left] * (1 - right) + second[:, below, beside] * right
        ) * down
    return torch.cat([image[:, row, col], first[:, row, col], coarse])


def columns(maps, positions, interpolated):
    return torch.stack([column(maps, row, col, interpolated) for row, col in positions])


def cosine_distances(x, y):
    return 1 - (x / x.norm(dim=1, keepdim=True)) @ (y / y.norm(dim=1, keepdim=True)).T


def covariance(samples):
    centred = samples - samples.mean(0)
    return centred.T @ centred / (len(samples) - 1)


def content_loss(x, y):
    of_x, of_y = cosine_distances(x, x), cosine_distances(y, y)
    return len(x) * (of_x / of_x.sum(0) - of_y / of_y.sum(0)).abs().mean()


def style_loss(x, style, content_weight):
    distances = cosine_distances(x, style)
    emd = distances.min(1).values.mean()
    moments = (x.mean(0) - style.mean(0)).abs().mean() + (covariance(x) - covariance(style)).abs().mean()
    turn = torch.tensor(
        [[0.577350, 0.577350, 0.577350], [-0.577350, 0.788675, -0.211325], [-0.577350, -0.211325, 0.788675]],
        dtype=DOUBLE,
    )
    squared = ((x[:, None, :3] @ turn.T - style[None, :, :3] @ turn.T) ** 2).sum(2)
    colour = (squared.clamp(1e-5, 1e5) / 3).sqrt().min(1).values.mean()
    return emd + moments + colour / max(content_weight, 1)


def published_loop(problem, *, seen_only=False, mirrored=True, stretched=False):
    """The result [1, 3, H, W], 0..1, and the loss of every step."""
    losses = []
    content, style, seen = problem.content[0] * 2 - 1, problem.style[0] * 2 - 1, problem.seen[0, 0] > 0.5
    islands = problem.mask[0]
    if seen_only:
        style = torch.where(seen, style, content)
    else:
        content, style = (torch.where(islands, image, -1.0) for image in (content, style))
    a, b, g = 8.0, 1.7, 20.0
    for transfer in range(2):
        levels = [level.requires_grad_() for level in laplacian_pyramid(content, 5)]
        velocity = [torch.zeros_like(level) for level in levels]
        for f, first_level in ((2, 1), (1, 0)):
            height, width = HEIGHT // f, WIDTH // f
            everywhere = [(row, col) for row in range(height) for col in range(width)]
            style_here, content_here = resize(style, height, width), resize(content, height, width)
            samples = []
            for draw in range(5):
                flipped = mirrored and draw % 2 == 0
                maps = feature_maps(style_here.flip(2) if flipped else style_here)
                drawn = everywhere
                if seen_only:
                    shown = seen[::f, ::f].flip(1) if flipped else seen[::f, ::f]
                    drawn = [position for position in everywhere if shown[position]]
                samples.append(columns(maps, drawn, interpolated=False))
            samples = torch.cat(samples)
            wanted = columns(feature_maps(content_here), everywhere, interpolated=True)
            target = problem.targets(height, width)
            photo = target.photo * 2 - 1
            for _ in range(3):
                image = collapse(levels[first_level:])
                found = columns(feature_maps(image), everywhere, interpolated=True)
                rendering = ((target.render(image) - photo).abs() * target.weights[:, None]).mean()
                loss = a * f * content_loss(found, wanted)
                loss = loss + b * f * style_loss(found, samples, a * f) + g * f * rendering
                losses.append(loss.item())
                moving = levels[first_level:]
                for level, gradient in zip(range(first_level, 6), torch.autograd.grad(loss, moving), strict=True):
                    velocity[level] = 0.9 * velocity[level] + gradient
                    with torch.no_grad():
                        levels[level] -= 0.03 * velocity[level]
        content = collapse(levels).detach()
        if stretched and transfer == 0:
            content = content.clamp(-1, 1)
            content = (content - content.min()) / (content.max() - content.min())
            content = (content * 255).floor() / 255 * 2 - 1
            content = content if seen_only else torch.where(islands, content, -1.0)
        a, g = a / 1.1, g * 1.1
    return ((content + 1) / 2).clamp(0, 1)[None], losses


def refine(problem, features=None, settings=PAPER, seed=0):
    return refine_texture(
        problem.content,
        problem.style,
        problem.seen,
        problem.mask,
        problem.targets,
        features or TinyFeatures(),
        settings,
        torch.Generator().manual_seed(seed),
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors are so small here that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


OPTIONS = {
    "published": ({}, {}),
    "from seen texels": ({"style_from_seen": True}, {"seen_only": True}),
    "from seen texels, not mirrored": (
        {"style_from_seen": True, "mirrored_style": False}, {"seen_only": True, "mirrored": False}
    ),
    "stretched": ({"stretch_between_transfers": True}, {"stretched": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_the_loop_is_the_published_one(problem, name):
    given, plain = OPTIONS[name]
    if not plain.get("seen_only"):
        problem.mask[..., -4:] = False
    refined = refine(problem, settings=PAPER.changed(**given))
    expected, losses = published_loop(problem, **plain)
    assert refined.texture.dtype == DOUBLE
    assert (expected - problem.content).abs()[..., :-4].mean() > 0.02
    torch.testing.assert_close(refined.texture, expected, rtol=0, atol=1e-9)
    for entry in refined.losses:
        assert entry["total"] == pytest.approx(losses[entry["step"] - 1], rel=1e-9)


@pytest.mark.parametrize(
    "changed",
    [
        {"mirrored_style": False}, {"momentum": 0.8}, {"content_decay": 1.0}, {"rendering_growth": 1.0},
        {"pyramid_depth": 4}, {"stretch_between_transfers": True}, {"style_draws": 4},
        {"decay_learning_rate": True}, {"style_from_seen": True}, {"moment_weight": 0.9},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_of_the_loop_shows(problem, changed):
    """What the comparison above could not tell from the published loop would not be tested by it."""
    refined, published = refine(problem, settings=PAPER.changed(**changed)), refine(problem)
    losses = [[entry["total"] for entry in result.losses] for result in (refined, published)]
    assert (refined.texture - published.texture).abs().max() > 1e-5 or losses[0] != pytest.approx(losses[1], rel=1e-5)
    assert ((published.texture > 0) & (published.texture < 1)).float().mean() > 0.9


def test_whole_sampled_texture_is_black_outside_the_islands_and_must_be_finite(problem):
    problem.mask[..., 12:] = False
    other = dataclasses.replace(problem, content=problem.content.clone(), style=problem.style.clone())
    other.content[..., 12:], other.style[..., 12:] = 0.7, torch.nan
    assert torch.equal(refine(problem).texture, refine(other).texture)
    other.style[..., 11] = torch.nan
    with pytest.raises(ValueError, match="inside the islands, all read with style_from_seen: false"):
        refine(other)
    assert torch.isfinite(refine(other, settings=PAPER.changed(style_from_seen=True)).texture).all()


def test_stretching_leaves_the_result_alone(problem):
    """With one transfer there is nothing between."""
    settings = PAPER.changed(transfers=1)
    stretched = settings.changed(stretch_between_transfers=True)
    assert torch.equal(refine(problem, settings=settings).texture, refine(problem, settings=stretched).texture)


# ---- content noise ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    with pytest.warns(UserWarning, match="397923af"):
        return VGG16Hypercolumns(read_vgg16(write_vgg16(tmp_path_factory.mktemp("vgg16") / "vgg16.pth")))


def test_content_noise_is_one_channel_from_relu_3_3_on(vgg16):
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plain = vgg16.maps(image)
    noisy = vgg16.maps(image, torch.Generator().manual_seed(2))
    same = [torch.equal(first, second) for first, second in zip(plain, noisy, strict=True)]
    assert same == [True] * 7 + [False] * 3
    added = noisy[7] - plain[7]
    torch.testing.assert_close(added, added[:, :1].expand_as(added), rtol=0, atol=1e-5)
    assert abs(added[:, 0].mean()) < 0.1 and abs(added[:, 0].std() - 1) < 0.1
    # What comes behind sees the noise, and has noise of its own on top.
    feature = noisy[7]
    for layer in vgg16.layers[16:23]:
        feature = layer(feature)
    added = noisy[8] - feature
    torch.testing.assert_close(added, added[:, :1].expand_as(added), rtol=0, atol=1e-4)
    assert 0.7 < added[:, 0].std() < 1.3
    assert all(
        torch.equal(*pair) for pair in zip(noisy, vgg16.maps(image, torch.Generator().manual_seed(2)), strict=True)
    )


@pytest.mark.slow
def test_content_noise_follows_the_seed(problem, vgg16):
    settings = PAPER.changed(transfers=1, iterations=1, scales=[1.0])
    single = Problem(*(getattr(problem, name).float() for name in ("content", "style", "seen")), problem.mask)
    single.targets = lambda *size: as_float(problem.targets(*size))
    noisy = settings.changed(content_noise=True)
    first, second, other = (refine(single, vgg16, noisy, seed).texture for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other) and not torch.equal(first, refine(single, vgg16, settings).texture)


def as_float(target):
    render = lambda texture: target.render(texture.double()).float()
    return RenderTarget(render, target.photo.float(), target.weights.float())


def test_content_noise_needs_vgg16(problem):
    settings = PAPER.changed(features="auto", content_noise=True)
    with pytest.raises(ValueError, match="content_noise with patches"):
        refine(problem, PatchFeatures(), settings)
    with pytest.raises(ValueError, match="content_noise: got true with features: patches"):
        settings.changed(features="patches")
