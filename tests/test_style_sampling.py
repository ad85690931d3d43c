"""Positions and look-ups, against values worked out by hand."""

import pytest
import torch

from style_transfer import sampling


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_bilinear_by_hand():
    feature = torch.tensor([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])[None, None]
    rows, columns = torch.tensor([0.0, 0.5, 1.0, 0.25]), torch.tensor([1.0, 0.5, 2.0, 1.75])
    expected = torch.tensor([[1.0], [5.5], [12.0], [2.5 + 1.75]])
    torch.testing.assert_close(sampling.bilinear([feature], rows, columns), expected)


def test_coordinates_are_halved_where_resolution_drops():
    fine = torch.arange(24.0).reshape(1, 1, 4, 6)
    same = fine + 100
    coarse = torch.tensor([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])[None, None]
    rows, columns = torch.tensor([1.0, 3.0]), torch.tensor([3.0, 5.0])
    # Position (1, 3) is (0.5, 1.5) of the coarse map; (3, 5) is (1.5, 2.5), which repeats the border.
    expected = torch.tensor([[9.0, 109.0, 6.5], [23.0, 123.0, 12.0]])
    torch.testing.assert_close(sampling.bilinear([fine, same, coarse], rows, columns), expected)
    expected = torch.tensor([[9.0, 109.0, 1.0], [23.0, 123.0, 12.0]])
    torch.testing.assert_close(sampling.nearest([fine, same, coarse], rows, columns), expected)


def test_odd_sizes_stay_inside():
    maps = [torch.rand(1, 2, 5, 7), torch.rand(1, 3, 2, 3), torch.rand(1, 1, 1, 1)]
    rows, columns = (axis.flatten().float() for axis in torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij"))
    for look_up in (sampling.bilinear, sampling.nearest):
        columns_of_all = look_up(maps, rows, columns)
        assert columns_of_all.shape == (35, 6)
        torch.testing.assert_close(columns_of_all[:, :2], maps[0][0].reshape(2, -1).T)


def test_bilinear_gradient():
    maps = [torch.rand(1, 2, 5, 4, dtype=torch.float64), torch.rand(1, 1, 2, 2, dtype=torch.float64)]
    rows, columns = torch.tensor([0.3, 3.9, 2.0]), torch.tensor([2.2, 0.0, 2.9])
    assert torch.autograd.gradcheck(
        lambda *m: sampling.bilinear(list(m), rows, columns), [feature.requires_grad_() for feature in maps]
    )


def test_gradients_join_those_of_the_network_behind():
    """A map that is read and goes on gets both gradients, the same as from separate reads, in either memory order."""
    generator_ = generator(5)
    rows, columns = (torch.randint(0, size, (40,), generator=generator_) / 2 for size in (11, 15))
    for memory in (torch.contiguous_format, torch.channels_last):
        feature = torch.rand(1, 4, 6, 8, generator=generator_, dtype=torch.float64).contiguous(memory_format=memory)
        feature.requires_grad_()

        def joined(feature):
            on, samples = sampling.Positions(rows, columns).read(feature * 2)
            return (samples**2).sum() + (torch.nn.functional.max_pool2d(on, 2) ** 3).sum()

        def apart(feature):
            return (sampling.bilinear([feature * 2], rows, columns) ** 2).sum() + (
                torch.nn.functional.max_pool2d(feature * 2, 2) ** 3
            ).sum()

        gradients = [torch.autograd.grad(function(feature), feature)[0] for function in (joined, apart)]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_gradients_are_the_same_bytes_with_any_number_of_threads():
    feature = torch.rand(1, 16, 64, 64, generator=generator(6), requires_grad=True)
    rows, columns = (torch.randint(0, 127, (3000,), generator=generator(seed)) / 2 for seed in (7, 8))
    weights = torch.randn(3000, 16, generator=generator(9))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad((sampling.bilinear([feature], rows, columns) * weights).sum(), feature)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_style_positions_are_seen_and_not_repeated():
    mask = torch.rand(30, 47, generator=generator()) > 0.6
    draws = sampling.draw_style_positions(mask, 60, 5, generator(1))
    assert len(draws) == 5
    for draw in draws:
        assert not draw.mirrored
        assert mask[draw.rows.long(), draw.columns.long()].all()
        assert len({*zip(draw.rows.tolist(), draw.columns.tolist(), strict=True)}) == 60
    assert not torch.equal(draws[0].rows, draws[1].rows)


def test_mirrored_draws_are_positions_in_the_mirrored_texture():
    mask = torch.zeros(12, 21, dtype=torch.bool)
    mask[2:9, 15:] = True
    draws = sampling.draw_style_positions(mask, 20, 3, generator(2), mirrored=True)
    assert [draw.mirrored for draw in draws] == [True, False, True]
    for draw in draws:
        seen = mask.flip(1) if draw.mirrored else mask
        assert seen[draw.rows.long(), draw.columns.long()].all()


def test_few_seen_texels_give_short_draws():
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[1, 2:5] = True
    draws = sampling.draw_style_positions(mask, 100, 2, generator())
    assert [sorted(draw.columns.tolist()) for draw in draws] == [[2, 3, 4], [2, 3, 4]]
    with pytest.raises(ValueError, match="without any seen texel"):
        sampling.draw_style_positions(torch.zeros(4, 9, dtype=torch.bool), 100, 2, generator())


@pytest.mark.parametrize(
    ("size", "strides"), [((60, 90), (1, 1)), ((256, 256), (2, 2)), ((512, 512), (4, 4)), ((300, 500), (3, 3))]
)
def test_grid_strides(size, strides):
    rows, columns = (axis.unique() for axis in sampling.result_grid(*size, generator(3)))
    assert (rows.diff() == strides[0]).all() and (columns.diff() == strides[1]).all()
    assert rows[0] < strides[0] and rows[-1] >= size[0] - strides[0] and rows[-1] < size[0]
    assert columns[0] < strides[1] and columns[-1] >= size[1] - strides[1] and columns[-1] < size[1]


def test_grid_rounds_rows_down_and_columns_up():
    rows, columns = (axis.unique() for axis in sampling.result_grid(256, 384, generator()))  # sqrt(6) = 2.45
    assert rows.diff().unique().tolist() == [2] and columns.diff().unique().tolist() == [3]


def test_grid_offset_is_random_and_seeded():
    offsets = {tuple(axis[0].item() for axis in sampling.result_grid(512, 600, generator(seed))) for seed in range(20)}
    assert len(offsets) > 5
    first, second = (sampling.result_grid(512, 600, generator(4)) for _ in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_choose():
    chosen = sampling.choose(50, 20, generator())
    assert len(set(chosen.tolist())) == 20 and 0 <= chosen.min() and chosen.max() < 50
    assert sorted(sampling.choose(5, 20, generator()).tolist()) == [0, 1, 2, 3, 4]


def test_errors():
    with pytest.raises(ValueError, match=r"\[3, 4, 5\]"):
        sampling.bilinear([torch.rand(3, 4, 5)], torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"rows \[2\], columns \[3\]"):
        sampling.nearest([torch.rand(1, 3, 4, 5)], torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="float32"):
        sampling.draw_style_positions(torch.rand(4, 5), 3, 1, generator())
