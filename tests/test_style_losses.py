"""Losses: agreement with a float64 oracle by value and gradient, and the mathematics they must obey."""

import math

import numpy as np
import pytest
import style_oracle
import torch

from style_transfer import losses

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
PAIRS = {
    "self_similarity_loss": lambda x, y: losses.self_similarity_loss(x, y[: len(x)]),
    "relaxed_emd": losses.relaxed_emd,
    "moment_loss": losses.moment_loss,
    "colour_loss": losses.colour_loss,
}
ORACLES = {
    "self_similarity_loss": lambda x, y: style_oracle.self_similarity_loss(x, y[: len(x)]),
    "relaxed_emd": style_oracle.relaxed_emd,
    "moment_loss": style_oracle.moment_loss,
    "colour_loss": style_oracle.colour_loss,
}


def samples(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    result = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    style = 1.3 * torch.randn(11, 5, generator=generator, dtype=torch.float64) + 0.2
    return result.to(dtype), style.to(dtype)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
def test_values_agree_with_the_oracle(name, dtype, seed):
    result, style = samples(seed, dtype)
    expected = ORACLES[name](result.double().numpy(), style.double().numpy())
    assert PAIRS[name](result, style).item() == pytest.approx(expected, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("seed", range(2))
def test_gradients_agree_with_the_oracle(name, seed):
    result, style = samples(seed)
    result.requires_grad_()
    PAIRS[name](result, style).backward()
    expected = style_oracle.gradient(lambda x: ORACLES[name](x, style.numpy()), result.detach().numpy())
    np.testing.assert_allclose(result.grad.numpy(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_gradcheck_with_respect_to_both_arguments(name):
    result, style = (values.requires_grad_() for values in samples(5))
    assert torch.autograd.gradcheck(PAIRS[name], (result, style))


def test_relaxed_distance_has_one_direction():
    """One result sample that equals one of two styles is no distance away; two results, one of which has no partner,
    are."""
    one, two = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert losses.relaxed_emd(one, two).item() == pytest.approx(0, abs=1e-7)
    assert losses.relaxed_emd(two, one).item() == pytest.approx(0.5)


def test_equal_samples_have_no_loss():
    result, _ = samples(1)
    assert losses.self_similarity_loss(result, result).item() == 0
    assert losses.moment_loss(result, result).item() == 0
    assert losses.relaxed_emd(result, result).item() == pytest.approx(0, abs=1e-12)
    assert losses.colour_loss(result, result).item() == pytest.approx(math.sqrt(1e-5 / 3))


def test_cosine_losses_do_not_feel_the_length_of_columns():
    result, style = samples(2)
    lengths = torch.linspace(0.1, 9, 7, dtype=torch.float64)[:, None]
    for name in ("self_similarity_loss", "relaxed_emd"):
        assert PAIRS[name](result * lengths, style).item() == pytest.approx(
            PAIRS[name](result, style).item(), rel=1e-12
        )


def test_order_of_samples_does_not_matter():
    result, style = samples(3)
    shuffle, other = torch.randperm(7), torch.randperm(11)
    for name in ("relaxed_emd", "moment_loss", "colour_loss"):
        expected = PAIRS[name](result, style).item()
        assert PAIRS[name](result[shuffle], style[other]).item() == pytest.approx(expected, rel=1e-12)
    content = style[:7]
    expected = losses.self_similarity_loss(result, content).item()
    assert losses.self_similarity_loss(result[shuffle], content[shuffle]).item() == pytest.approx(expected, rel=1e-12)


def test_self_similarity_does_not_feel_rotations_of_the_feature_space():
    result, style = samples(4)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    expected = losses.self_similarity_loss(result, style[:7]).item()
    assert losses.self_similarity_loss(result @ rotation, style[:7]).item() == pytest.approx(expected, rel=1e-10)
    assert losses.self_similarity_loss(result, result @ rotation).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_bounds(seed):
    result, style = samples(seed)
    assert 0 <= losses.self_similarity_loss(result, style[:7]) <= 2
    assert 0 <= losses.relaxed_emd(result, style) <= 2
    assert losses.colour_loss(result, style * 1e6) <= math.sqrt(1e5 / 3) + 1e-9
    assert losses.relaxed_emd(-style[:3], style[:1] * 2).item() <= 2


def test_shifted_samples_differ_by_their_mean_alone():
    result, _ = samples(6)
    assert losses.moment_loss(result + 0.25, result).item() == pytest.approx(0.25)


def test_colour_reads_three_channels_only():
    result, style = samples(7)
    changed = result.clone()
    changed[:, 3:] += 10
    assert losses.colour_loss(changed, style) == losses.colour_loss(result, style)


@pytest.mark.parametrize("name", PAIRS)
def test_zero_and_equal_columns_are_safe(name):
    for result in (torch.zeros(6, 5), torch.ones(6, 5), torch.cat((torch.zeros(1, 5), torch.rand(5, 5)))):
        result = result.clone().requires_grad_()
        value = PAIRS[name](result, torch.rand(9, 5, generator=torch.Generator().manual_seed(1)))
        value.backward()
        assert torch.isfinite(value)
        assert result.grad.abs().max() < 1e3


def test_flat_columns_in_float32_stay_bounded():
    """All distances are rounding here; normalising them must not blow up."""
    generator = torch.Generator().manual_seed(2)
    flat = 0.3 + 1e-6 * torch.rand(300, 40, generator=generator)
    assert 0 <= losses.self_similarity_loss(flat, flat.flip(0)) <= 2


def test_rendering_loss():
    generator = torch.Generator().manual_seed(3)
    rendered, photo = (torch.rand(9, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.rand(9, generator=generator, dtype=torch.float64)
    expected = style_oracle.rendering_loss(rendered.numpy(), photo.numpy(), weights.numpy())
    assert losses.rendering_loss(rendered, photo, weights).item() == pytest.approx(expected, rel=1e-12)
    assert losses.rendering_loss(photo, photo, weights) == 0
    assert losses.rendering_loss(rendered, photo, torch.zeros(9)) == 0
    assert torch.autograd.gradcheck(lambda r: losses.rendering_loss(r, photo, weights), (rendered.requires_grad_(),))


def test_large_symmetric_products_are_the_plain_ones():
    """Above a size products are made in blocks, on and below the diagonal."""
    rows = torch.randn(133, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    torch.testing.assert_close(losses.gram(rows), rows @ rows.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(losses.gram(rows.T.contiguous().T), rows @ rows.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_many_samples_are_those_of_the_plain_formula(name):
    """Float32 as in a step, against float64 by autograd through the formulas of the paper: at most 1e-4 apart."""
    generator = torch.Generator().manual_seed(10)
    result, style = (torch.rand(300, 250, generator=generator).square() for _ in "ab")
    found = torch.autograd.grad(PAIRS[name](result.requires_grad_(), style), result)[0]
    exact = result.detach().double().requires_grad_()
    wanted = torch.autograd.grad(plain(name, exact, style.double()), exact)[0]
    assert (found - wanted).norm() < 1e-4 * wanted.norm()


def plain(name, x, s):
    """The losses in a few lines, all by autograd."""
    unit = lambda rows: rows / rows.norm(dim=1, keepdim=True)
    if name == "self_similarity_loss":
        of_x, of_s = (1 - unit(rows) @ unit(rows).T for rows in (x, s))
        return len(x) * (of_x / of_x.sum(0) - of_s / of_s.sum(0)).abs().mean()
    if name == "relaxed_emd":
        return (1 - unit(x) @ unit(s).T).min(1).values.mean()
    if name == "moment_loss":
        covariance = lambda rows: (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / (len(rows) - 1)
        return (x.mean(0) - s.mean(0)).abs().mean() + (covariance(x) - covariance(s)).abs().mean()
    turn = torch.tensor(losses.DECORRELATION, dtype=x.dtype)
    squared = (x[:, None, :3] @ turn.T - s[None, :, :3] @ turn.T).square().sum(2)
    return (squared.clamp(1e-5, 1e5) / 3).sqrt().min(1).values.mean()


def test_moment_distance_to_a_fixed_style_is_the_same():
    generator = torch.Generator().manual_seed(13)
    result, style = (torch.rand(90, 70, generator=generator, dtype=torch.float64) for _ in "ab")
    result.requires_grad_()
    given = losses.moments(style)
    pair = losses.moment_distance_of(result, given), losses.moment_distance(losses.moments(result), given)
    assert pair[0].item() == pytest.approx(pair[1].item(), rel=1e-12)
    gradients = [torch.autograd.grad(value, result)[0] for value in pair]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["self_similarity", "moments", "relaxed_emd"])
def test_low_precision_keeps_the_direction_of_the_gradient(name):
    generator = torch.Generator().manual_seed(11)
    base = torch.rand(250, generator=generator)
    result, style = (base + 0.5 * torch.rand(300, 250, generator=generator) for _ in "ab")
    result.requires_grad_()

    def loss(low):
        if name == "self_similarity":
            return losses.self_similarity(losses.directions(result), losses.directions(style), low)
        if name == "moments":
            return losses.moment_distance_of(result, losses.moments(style, low), low)
        described, x = losses.describe_style(style, low_precision=low), losses.directions(result)
        return losses.partner_distance(x, described.directions, losses.nearest(x, described.searched))

    exact, low = loss(False), loss(True)
    assert low.item() == pytest.approx(exact.item(), rel=0.01)
    gradients = [torch.autograd.grad(value, result)[0].flatten() for value in (exact, low)]
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_chroma_loss_sees_chroma_only():
    generator = torch.Generator().manual_seed(12)
    colours = torch.rand(9, 3, generator=generator, dtype=torch.float64)
    grey = torch.rand(9, 1, generator=generator, dtype=torch.float64)
    assert losses.chroma_loss(colours + grey, colours).item() == pytest.approx(0, abs=1e-6)
    assert losses.chroma_loss(colours + torch.tensor([0.1, 0.0, -0.1]), colours) > 0.05
    assert torch.autograd.gradcheck(
        lambda x: losses.chroma_loss(x, colours), ((colours + 0.1 * grey**2 * colours).requires_grad_(),)
    )
    with pytest.raises(ValueError, match=r"\[9, 2\]"):
        losses.chroma_loss(colours[:, :2], colours)


def test_errors_say_what_was_given():
    with pytest.raises(ValueError, match="7 result and 11 content"):
        losses.self_similarity_loss(*samples(0))
    with pytest.raises(ValueError, match="5 result and 4 style channels"):
        losses.relaxed_emd(samples(0)[0], samples(0)[1][:, :4])
    with pytest.raises(ValueError, match=r"\[7, 2\]|2 channels"):
        losses.colour_loss(torch.rand(7, 2), torch.rand(7, 2))
    with pytest.raises(ValueError, match="1 sample"):
        losses.moment_loss(torch.rand(1, 4), torch.rand(3, 4))
    with pytest.raises(ValueError, match=r"weights \[4\]"):
        losses.rendering_loss(torch.rand(5, 3), torch.rand(5, 3), torch.rand(4))
    with pytest.raises(ValueError, match="int64"):
        losses.relaxed_emd(torch.ones(3, 3, dtype=torch.long), torch.rand(3, 3))


def test_same_bytes_for_any_number_of_threads():
    """Values of the losses too: they are logged."""
    generator = torch.Generator().manual_seed(0)
    x, y, s = (torch.rand(count, 300, generator=generator) for count in (700, 700, 900))
    style = losses.moments(s)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            given = x.clone().requires_grad_()
            units = losses.directions(given)
            terms = [
                losses.self_similarity(units, losses.directions(y)), losses.moment_distance_of(given, style),
                losses.relaxed_emd(given, s), losses.colour_loss(given, s),
            ]  # fmt: skip
            found.append([*terms, torch.autograd.grad(sum(terms), given)[0]])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
