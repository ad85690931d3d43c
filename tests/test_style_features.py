"""VGG16 hypercolumns of random weights, and patch features against windows cut by hand."""

import pytest
import torch
import torch.nn.functional as F

from style_transfer.features import PatchFeatures, VGG16Hypercolumns

LAYERS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)} | {
    17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)
}  # fmt: skip


def vgg16_state():
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, (before, after) in LAYERS.items():
        scale = (2 / (9 * before)) ** 0.5
        state[f"{index}.weight"] = scale * torch.randn(after, before, 3, 3, generator=generator)
        state[f"{index}.bias"] = 0.1 * torch.randn(after, generator=generator)
    return state


@pytest.fixture(scope="module")
def vgg16():
    return VGG16Hypercolumns(vgg16_state())


def test_maps_against_a_plain_forward_pass(vgg16):
    image = torch.rand(1, 3, 34, 52, generator=torch.Generator().manual_seed(1)) * 2 - 1
    state = vgg16_state()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x = ((image + 1) / 2 - mean) / std
    expected = [x]
    for index in range(30):
        if index in LAYERS:
            x = F.conv2d(x, state[f"{index}.weight"], state[f"{index}.bias"], padding=1)
        elif index - 1 in LAYERS:
            x = x.clamp_min(0)
            if index in (1, 3, 6, 8, 11, 13, 15, 22, 29):
                expected.append(x)
        else:
            x = F.max_pool2d(x, 2)
    maps = vgg16.maps(image)
    assert [tuple(feature.shape[2:]) for feature in maps] == [(34, 52)] * 3 + [(17, 26)] * 2 + [(8, 13)] * 3 + [
        (4, 6),
        (2, 3),
    ]
    for feature, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-5, atol=5e-5)  # sums in another order


def test_hypercolumns_have_2179_channels_and_pass_gradients(vgg16):
    image = (torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1).requires_grad_()
    rows, columns = torch.tensor([3.0, 30.0, 17.0]), torch.tensor([40.0, 1.0, 20.0])
    for nearest in (False, True):
        assert vgg16.columns(vgg16.maps(image), rows, columns, nearest=nearest).shape == (3, 2179)
    vgg16.columns(vgg16.maps(image), rows, columns).square().mean().backward()
    assert torch.isfinite(image.grad).all() and image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in vgg16.parameters())


def test_layers_after_the_last_captured_one_are_not_built(vgg16):
    assert len(vgg16.layers) == 30


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"VGG16Hypercolumns: .*0\.weight"):
        VGG16Hypercolumns({"0.weight": torch.zeros(3)})


def test_small_images_are_refused(vgg16):
    with pytest.raises(ValueError, match=r"\[1, 3, 15, 40\].*at least 16"):
        vgg16.maps(torch.zeros(1, 3, 15, 40))


def test_patches_against_windows_cut_by_hand():
    image = torch.rand(1, 3, 20, 26, generator=torch.Generator().manual_seed(3))
    features = PatchFeatures(sizes=(3, 5))
    maps = features.maps(image)
    assert [tuple(level.shape[2:]) for level in maps] == [(20, 26), (10, 13)]
    for nearest in (False, True):
        columns = features.columns(maps, torch.tensor([8.0]), torch.tensor([14.0]), nearest=nearest)
        assert columns.shape == (1, 3 * (9 + 25))
        assert torch.equal(columns[0, :3], image[0, :, 8, 14])
        window = image[0, :, 7:10, 13:16].permute(1, 2, 0).reshape(9, 3)
        expected = torch.cat((window[4:5], window[:4], window[5:])).flatten()
        assert torch.equal(columns[0, :27], expected)
    # Texel (8, 14) lies at (3.75, 6.75) of the level below: the closest texel is (4, 7).
    torch.testing.assert_close(columns[0, 27:30], maps[1][0, :, 4, 7])
    smooth = features.columns(maps, torch.tensor([8.0]), torch.tensor([14.0]))[0, 27:30]
    level = maps[1][0]
    by_hand = 0.0625 * level[:, 3, 6] + 0.1875 * level[:, 3, 7] + 0.1875 * level[:, 4, 6] + 0.5625 * level[:, 4, 7]
    torch.testing.assert_close(smooth, by_hand)


def test_patches_repeat_the_border_and_accept_odd_sizes():
    image = torch.rand(1, 3, 13, 9)
    features = PatchFeatures()
    rows, columns = torch.tensor([0.0, 12.0, 12.0]), torch.tensor([0.0, 8.0, 0.0])
    samples = features.columns(features.maps(image), rows, columns)
    assert samples.shape == (3, 249) and torch.isfinite(samples).all()
    assert torch.equal(samples[0, 3:6], image[0, :, 0, 0])
    flat = features.maps(torch.full((1, 3, 13, 9), 0.4))
    torch.testing.assert_close(features.columns(flat, rows, columns), torch.full((3, 249), 0.4))


def test_patch_gradients_are_those_of_the_look_up():
    image = torch.rand(1, 3, 9, 10, dtype=torch.float64, requires_grad=True)
    rows, columns = torch.tensor([0.0, 4.0, 8.0]), torch.tensor([9.0, 3.0, 5.0])
    features = PatchFeatures(sizes=(3, 3, 1))
    assert torch.autograd.gradcheck(lambda i: features.columns(features.maps(i), rows, columns), (image,))


@pytest.mark.parametrize("sizes", [(3, 5, 7), (1,), (5, 1), (1, 1, 1, 3)])
def test_patches_never_look_further_than_their_reach(sizes):
    """Texels further away than `reach` matter at no position; for some position those just inside do."""
    features = PatchFeatures(sizes=sizes)
    height, width = 96, 112
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def moves(row, column, distance):
        away = torch.maximum((rows - row).abs(), (columns - column).abs())
        image = (away > distance).float().expand(1, 3, height, width)
        return bool(features.columns(features.maps(image), *torch.tensor([[float(row)], [float(column)]]), True).any())

    positions = [(44 + shift, 56 + shift) for shift in range(8)]
    assert not any(moves(row, column, features.reach) for row, column in positions)
    assert any(moves(row, column, features.reach - 2) for row, column in positions)


def test_patch_errors():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        PatchFeatures(sizes=(3, 4))
    with pytest.raises(ValueError, match=r"\[1, 3, 3, 9\].*at least 4"):
        PatchFeatures().maps(torch.zeros(1, 3, 3, 9))
    with pytest.raises(ValueError, match="1 maps"):
        PatchFeatures().columns([torch.zeros(1, 3, 8, 8)], torch.zeros(2), torch.zeros(2))
