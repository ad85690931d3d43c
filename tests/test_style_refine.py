"""The refinement on a synthetic texture whose left half is seen, with a small linear rendering."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.refine import RenderTarget, refine_texture
from style_transfer.settings import RefineSettings

HEIGHT, WIDTH = 40, 56
QUICK = RefineSettings(
    scales=[0.5, 1.0], iterations=12, rendering_iterations=10, style_samples=200, style_draws=2, result_samples=150
)


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors are so small here that threads would only wait for each other, for minutes where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass
class Problem:
    content: torch.Tensor
    style: torch.Tensor
    seen: torch.Tensor
    mask: torch.Tensor
    truth: torch.Tensor

    def targets(self, height, width):
        """Each pixel blends two neighbouring texels of the seen half."""
        generator = torch.Generator().manual_seed(height)
        pixels = 4 * height * width
        rows = torch.randint(height, (pixels,), generator=generator)
        columns = torch.randint(width // 2 - 1, (pixels,), generator=generator)
        blend = torch.rand(pixels, 1, generator=generator)

        def render(texture):
            texels = texture[0].flatten(1).T
            return texels[rows * width + columns] * blend + texels[rows * width + columns + 1] * (1 - blend)

        photo = render(F.interpolate(self.truth, (height, width), mode="area"))
        return RenderTarget(render, photo, torch.ones(pixels))


    def listed_targets(self, height, width):
        """The same, with a rendering of listed texels."""
        target = self.targets(height, width)

        def rendering_of(ids):
            def render(listed):
                blank = torch.zeros(1, 3, height * width)
                return target.render(blank.index_copy(2, ids, listed[:, :, 0]).reshape(1, 3, height, width))

            return render

        return dataclasses.replace(target, rendering_of=rendering_of)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    content = 0.2 + 0.6 * F.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")
    truth = (content + 0.1 * (torch.rand(1, 3, HEIGHT, WIDTH, generator=generator) - 0.5)).clamp(0, 1)
    seen = torch.zeros(1, 1, HEIGHT, WIDTH)
    seen[..., : WIDTH // 2] = 1
    seen[..., WIDTH // 2 : WIDTH // 2 + 4] = torch.tensor([0.8, 0.6, 0.4, 0.2])
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., -3:] = False
    return Problem(content, torch.where(seen > 0.99, truth, 0.0), seen, mask, truth)


def refine(problem, features, settings=QUICK, seed=0, progress=None, **changed):
    inputs = {"content": problem.content, "style": problem.style, "seen": problem.seen, "mask": problem.mask} | changed
    return refine_texture(
        **inputs,
        targets=problem.targets,
        features=features,
        settings=settings,
        generator=torch.Generator().manual_seed(seed),
        progress=progress,
    )


def unseen(problem):
    return (problem.seen == 0) & problem.mask


def test_rendering_alone_reaches_the_photo_and_leaves_the_unseen(problem):
    settings = QUICK.changed(scales=[1.0], iterations=60, rendering_iterations=60)
    refined = refine(problem, None, settings)
    assert refined.texture.shape == (1, 3, HEIGHT, WIDTH)
    assert refined.losses[-1]["rendering"] < refined.losses[0]["rendering"] / 20
    untouched = (problem.seen < 1).expand_as(problem.content)
    assert torch.equal(refined.texture[untouched], problem.content[untouched])
    assert not any("style" in entry for entry in refined.losses)


def test_coarse_steps_keep_the_detail_of_the_content(problem):
    """A half-size scale alone may add only what half size can show."""
    detail = problem.content + 0.1 * ((torch.arange(WIDTH) % 2) - 0.5)
    settings = QUICK.changed(scales=[0.5], iterations=15, rendering_iterations=0)
    change = refine(problem, None, settings, content=detail).texture - detail
    seen = change[..., : WIDTH // 2 - 2]
    assert seen.abs().max() > 0.005
    assert (seen[..., 1::2] - seen[..., ::2]).abs().mean() < 0.5 * seen.abs().mean()


@pytest.mark.parametrize("features", [None, PatchFeatures()])
@pytest.mark.parametrize("parameters", ["texels", "pyramid"])
def test_same_seed_gives_the_same_bytes(problem, features, parameters):
    settings = QUICK.changed(parameters=parameters, transfers=2, iterations=5, mirrored_style=True)
    first, second = (refine(problem, features, settings, seed=3) for _ in "ab")
    assert torch.equal(first.texture, second.texture) and first.losses == second.losses
    if features:
        assert not torch.equal(refine(problem, features, settings, seed=4).texture, first.texture)


@pytest.mark.parametrize("settings", [QUICK, QUICK.changed(mirrored_style=True)])
def test_style_never_reads_what_is_unseen(problem, settings):
    """NaN in every unseen texel of the sampled texture: one that entered would spread everywhere."""
    poisoned = torch.where(problem.seen > 0.99, problem.style, torch.nan)
    refined = refine(problem, PatchFeatures(), settings, style=poisoned)
    assert torch.isfinite(refined.texture).all()
    assert torch.equal(refined.texture, refine(problem, PatchFeatures(), settings).texture)


class BrightestStyle(PatchFeatures):
    """Patches that remember the colours of the style positions."""

    def columns(self, maps, rows, columns, nearest=False):
        samples = super().columns(maps, rows, columns, nearest)
        if nearest:
            self.style = samples
        return samples


@pytest.mark.parametrize("mirrored", [False, True])
def test_style_windows_stay_on_seen_texels_of_the_islands(problem, mirrored):
    """Unseen texels and those outside the islands are made extreme; no style column may hold such a value."""
    features = BrightestStyle(sizes=(3,))
    problem.mask[..., :5] = False
    content = torch.where((problem.seen > 0.99) & problem.mask, problem.content, 1.0)
    style = torch.where(problem.mask, problem.style, 1.0)
    refine(problem, features, QUICK.changed(mirrored_style=mirrored), content=content, style=style)
    assert features.style.max() < 2 * problem.truth[..., : WIDTH // 2].max() - 1 + 1e-5 < 0.9


def test_unseen_texels_move_a_little_and_keep_their_colour(problem):
    refined = refine(problem, PatchFeatures())
    region = unseen(problem).expand_as(problem.content)
    moved = (refined.texture - problem.content)[region]
    assert 1e-4 < moved.abs().mean()
    # Two scales of 12 steps of at most 1e-3 that fade along a cosine, and what the coarse seen side spills.
    assert moved.abs().max() < 0.05
    before, after = (
        image.flatten(2)[..., unseen(problem).flatten()].mean(2) for image in (problem.content, refined.texture)
    )
    assert (before - after).abs().max() < 0.01


def test_style_moves_seen_texels_only_where_asked(problem):
    """Without a rendering loss nothing else moves them."""
    seen = (problem.seen == 1).expand_as(problem.content)
    for region, moves in (("unseen", False), ("all", True)):
        settings = QUICK.changed(scales=[1.0], rendering_weight=0, rendering_iterations=0, style_region=region)
        change = (refine(problem, PatchFeatures(), settings).texture - problem.content)[seen]
        assert bool(change.any()) == moves


@pytest.mark.parametrize("parameters", ["texels", "pyramid"])
@pytest.mark.parametrize("style", ["strotss", "neighbours"])
def test_held_chroma_stays_the_contents(problem, parameters, style):
    """Without a rendering loss only style moves texels: by grey."""
    settings = QUICK.changed(
        scales=[1.0], rendering_weight=0.0, rendering_iterations=0, chroma="held", parameters=parameters, style=style
    )
    change = refine(problem, PatchFeatures(), settings).texture - problem.content
    assert change.abs().max() > 1e-4
    assert (change - change.mean(1, keepdim=True)).abs().max() < 1e-5
    free = refine(problem, PatchFeatures(), settings.changed(chroma="free")).texture - problem.content
    assert (free - free.mean(1, keepdim=True)).abs().max() > 1e-4


def test_a_chroma_term_holds_chroma(problem):
    settings = QUICK.changed(scales=[1.0], iterations=30, rendering_weight=0.0, rendering_iterations=0, style_step=4e-3)
    moved = []
    for given in ({}, {"chroma": "term", "chroma_weight": 50.0}):
        refined = refine(problem, PatchFeatures(), settings.changed(**given))
        change = (refined.texture - problem.content)[unseen(problem).expand_as(problem.content)].view(3, -1)
        moved.append((change - change.mean(0)).abs().mean().item())
    assert moved[1] < 0.5 * moved[0]
    assert "chroma" in refined.losses[0]


def test_neighbours_lower_the_distance_to_their_targets(problem):
    settings = QUICK.changed(
        style="neighbours", scales=[0.5, 1.0], iterations=40, rendering_iterations=0, rendering_weight=0.0,
        style_step=4e-3, layer_matching=0.0,
    )  # fmt: skip
    refined = refine(problem, PatchFeatures(), settings)
    for scale in settings.scales:
        style = [entry["style"] for entry in refined.losses if entry["scale"] == scale]
        assert style[-1] < 0.9 * style[0]
    assert not any("relaxed_emd" in entry for entry in refined.losses)
    assert torch.equal(refined.texture, refine(problem, PatchFeatures(), settings).texture)
    layered = refine(problem, PatchFeatures(), settings.changed(layer_matching=0.5)).texture
    assert not torch.equal(layered, refined.texture)


def test_style_loss_goes_down(problem):
    settings = QUICK.changed(scales=[1.0], iterations=60, rendering_iterations=0, rendering_weight=0, content_weight=0)
    refined = refine(problem, PatchFeatures(), settings)
    assert refined.losses[-1]["style"] < 0.97 * refined.losses[0]["style"]


@pytest.mark.parametrize("optimiser", [("adam", 4e-3), ("sgd", 0.3)])
@pytest.mark.parametrize("scales", [[0.5, 1.0], [0.3, 0.7, 1.0]])
def test_pyramid_at_any_scale(problem, optimiser, scales):
    """The paper's schedule, shortened, on a non-square texture."""
    settings = QUICK.changed(
        parameters="pyramid", optimiser=optimiser[0], learning_rate=optimiser[1], decay_learning_rate=False
    )
    settings = settings.changed(
        scales=scales, transfers=2, style_region="all", moment_weight=1.0, rendering_iterations=0
    )
    refined = refine(problem, PatchFeatures(), settings)
    assert refined.texture.shape == (1, 3, HEIGHT, WIDTH)
    ends = [entry["rendering"] for entry in refined.losses if entry["scale"] == 1.0]
    assert ends[-1] < ends[0]
    assert {entry["transfer"] for entry in refined.losses} == {0, 1}


def test_vgg16_features(problem, tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = [(0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)]
    shapes += [(17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512)]
    state = {}
    for index, before, after in shapes:
        state[f"{index}.weight"] = torch.randn(after, before, 3, 3, generator=generator) / (4.5 * before) ** 0.5
        state[f"{index}.bias"] = torch.zeros(after)
    features = VGG16Hypercolumns(state)
    settings = QUICK.changed(iterations=2, style_samples=50, result_samples=40)
    settings = settings.changed(moment_weight=1.0)
    poisoned = torch.where(problem.seen > 0.99, problem.style, torch.nan)
    refined = refine(problem, features, settings, style=poisoned)
    assert torch.isfinite(refined.texture).all()
    assert not torch.equal(refined.texture, problem.content)


def test_targets_are_made_once_per_size_and_progress_is_reported(problem):
    sizes, calls = [], []
    make = problem.targets
    problem.targets = lambda height, width: (sizes.append((height, width)), make(height, width))[1]
    settings = QUICK.changed(transfers=2, iterations=6, rendering_iterations=3)
    refined = refine(problem, None, settings, progress=lambda *report: calls.append(report))
    assert sizes == [(20, 28), (40, 56)]
    assert [(done, total) for done, total, _ in calls] == [(1, 27), (10, 27), (20, 27), (27, 27)]
    assert [losses for _, _, losses in calls] == refined.losses
    assert {"transfer", "scale", "step", "total", "rendering"} == set(refined.losses[0])


def test_weights_follow_scale_and_transfer(problem):
    """total = a f L_c + b f L_s + g f L_1 on colours of -1..1, with a / 1.1 and 1.1 g after each transfer."""
    settings = QUICK.changed(transfers=2, iterations=10, rendering_iterations=0, moment_weight=0.7)
    for entry in refine(problem, PatchFeatures(), settings).losses:
        f, growth = 1 / entry["scale"], 1.1 ** entry["transfer"]
        a, b, g = 8 * f / growth, 1.7 * f, 20 * f * growth
        style = entry["relaxed_emd"] + 0.7 * entry["moments"] + entry["colour"] / max(a, 1)
        assert entry["style"] == pytest.approx(style, rel=1e-5)
        expected = a * entry["content"] + b * entry["style"] + g * 2 * entry["rendering"]
        assert entry["total"] == pytest.approx(expected, rel=1e-5)


def test_a_small_seen_region_relaxes_and_says_so(problem):
    problem.seen[..., 6:] = 0
    refined = refine(problem, PatchFeatures())
    assert len(refined.notes) == 2
    assert "style at 40 x 56: positions keep" in refined.notes[1] and "instead of 19" in refined.notes[1]
    problem.seen[:] = 0.5
    with pytest.raises(ValueError, match="without any seen texel"):
        refine(problem, PatchFeatures())


def test_nothing_unseen_still_runs(problem):
    refined = refine(problem, PatchFeatures(), seen=torch.ones_like(problem.seen), style=problem.truth)
    assert torch.isfinite(refined.texture).all()


def test_no_iterations_give_the_content_back(problem):
    settings = QUICK.changed(iterations=0, rendering_iterations=0)
    refined = refine(problem, PatchFeatures(), settings)
    assert torch.equal(refined.texture, problem.content) and refined.losses == []


def test_divergence_is_one_line(problem):
    make = problem.targets
    problem.targets = lambda *size: dataclasses.replace(make(*size), photo=make(*size).photo * torch.nan)
    with pytest.raises(FloatingPointError, match=r"not finite at step 1 \(scale 0.5: total nan, rendering nan\)"):
        refine(problem, None)


def test_inputs_are_checked(problem):
    with pytest.raises(ValueError, match=r"style \[1, 3, 40, 50\], need \[1, 3, 40, 56\]"):
        refine(problem, None, style=problem.style[..., :50])
    with pytest.raises(ValueError, match="mask torch.float32, need bool"):
        refine(problem, None, mask=problem.mask.float())
    with pytest.raises(ValueError, match="content with values that are not finite"):
        refine(problem, None, content=problem.content / 0)
    with pytest.raises(ValueError, match=r"seen 0 \.\. 2"):
        refine(problem, None, seen=problem.seen * 2)
    with pytest.raises(ValueError, match="style with values that are not finite"):
        refine(problem, None, style=problem.style * torch.nan)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("parameters", ["texels", "pyramid"])
def test_device_follows_the_tensors(problem, parameters):
    on_gpu = Problem(*(getattr(problem, entry.name).cuda() for entry in dataclasses.fields(Problem)))

    def targets(height, width):
        target = problem.targets(height, width)
        return RenderTarget(
            lambda texture: target.render(texture.cpu()).cuda(), target.photo.cuda(), target.weights.cuda()
        )

    on_gpu.targets = targets
    settings = QUICK.changed(parameters=parameters)
    refined, expected = (refine(case, PatchFeatures(), settings).texture.cpu() for case in (on_gpu, problem))
    torch.testing.assert_close(refined, expected, rtol=0, atol=0.02)


def test_steps_on_listed_texels_change_nothing(problem):
    """The rendering steps may leave out texels that no pixel touches."""
    settings = RefineSettings(features="none", iterations=0, rendering_iterations=12)
    given = problem.content, problem.style, problem.seen, problem.mask
    whole, listed = (
        refine_texture(*given, targets, None, settings, torch.Generator().manual_seed(0))
        for targets in (problem.targets, problem.listed_targets)
    )
    assert not torch.equal(whole.texture, problem.content)
    torch.testing.assert_close(listed.texture, whole.texture, rtol=0, atol=1e-6)
