"""ArcFace: names of the weights, the network against plain formulas, alignment and similarity."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stand_in_assets import published_shapes, tame_state, write_backbone

from external.arcface import STANDARD_POINTS, IResNet50, align, embed, load, similarity

POINTS = np.array([[180.2, 150.7], [251.4, 141.9], [222.0, 190.3], [195.5, 228.8], [247.1, 221.6]])


@pytest.fixture(scope="module")
def network():
    network = IResNet50()
    network.load_state_dict(tame_state({name: tensor.shape for name, tensor in network.state_dict().items()}))
    return network.eval().requires_grad_(False)


def test_names_and_shapes_of_the_published_weights(test_data, network):
    shapes = published_shapes(test_data, "arcface_iresnet50")
    if shapes is None:
        pytest.skip(f"needs the folder compat beside {test_data}")
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == shapes


def embedding_by_hand(state, crops):
    """The network as a list of operations on the weights' names, in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def normalised(x, name):
        mean, variance, gain, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt() * gain.view(shape) + bias.view(shape)

    def rectified(x, name):
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(1, -1, 1, 1))

    x = F.conv2d(crops.double(), state["conv1.weight"], padding=1)
    x = rectified(normalised(x, "bn1"), "prelu")
    for layer, depth in ((1, 3), (2, 4), (3, 14), (4, 3)):
        for block in range(depth):
            name, stride = f"layer{layer}.{block}", 2 if block == 0 else 1
            y = F.conv2d(normalised(x, f"{name}.bn1"), state[f"{name}.conv1.weight"], padding=1)
            y = rectified(normalised(y, f"{name}.bn2"), f"{name}.prelu")
            y = normalised(F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn3")
            if block == 0:
                x = normalised(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = x + y
    x = normalised(x, "bn2").reshape(len(x), -1) @ state["fc.weight"].T + state["fc.bias"]
    x = normalised(x, "features")
    return x / x.square().sum(1, keepdim=True).sqrt()


def test_embeddings_agree_with_the_formulas(network):
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crops[1] = crops[1].abs()
    found, expected = network(crops), embedding_by_hand(network.state_dict(), crops)
    assert found.shape == (2, 512)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert (found[0] - found[1]).norm() > 1e-2


def test_network_refuses_other_sizes(network):
    for shape in ((1, 3, 224, 224), (3, 112, 112), (1, 1, 112, 112)):
        with pytest.raises(ValueError, match=r"need crops \[B, 3, 112, 112\]"):
            network(torch.zeros(shape))


@pytest.mark.slow
def test_weights(tmp_path, network):
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    path = write_backbone(tmp_path / "backbone.pth", shapes)
    loaded = load(path)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    # A deeper network of the same family holds all of our names, and more.
    deeper = torch.load(path, weights_only=True) | {"layer3.14.bn1.weight": torch.ones(256)}
    torch.save(deeper, path)
    with pytest.raises(ValueError, match=r"backbone.pth: not ArcFace's IResNet-50: layer3.14.bn1.weight is not part of it; need"):
        load(path)
    with pytest.raises(FileNotFoundError, match="none.pth: no such file"):
        load(tmp_path / "none.pth")


def gradient_photo(height, width):
    """Colours that are linear in the position: what interpolation returns is known exactly."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 0.5, y * 0.5, (x + y) * 0.25], axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("points", [POINTS, POINTS[:, ::-1] * [1, -1] + [20, 420], (POINTS - POINTS.mean(0)) * 1.3 + [230, 190]])
def test_crop_shows_what_the_best_similarity_says(points):
    crop = align(gradient_photo(400, 460), points)
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    system = np.zeros((5, 2, 4))
    system[:, 0] = np.stack([points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)], 1)
    system[:, 1] = np.stack([points[:, 1], points[:, 0], np.zeros(5), np.ones(5)], 1)
    a, b, *shift = np.linalg.lstsq(system.reshape(10, 4), STANDARD_POINTS.ravel(), rcond=None)[0]
    columns, rows = np.meshgrid(np.arange(112.0) - shift[0], np.arange(112.0) - shift[1])
    x, y = np.einsum("ij,jhw->ihw", np.linalg.inv([[a, -b], [b, a]]), np.stack([columns, rows]))
    inside = (x > 1) & (x < 458) & (y > 1) & (y < 398)
    assert inside.mean() > 0.5
    expected = np.stack([x * 0.5, y * 0.5, (x + y) * 0.25], axis=2)
    assert np.abs(crop - expected)[inside].max() < 1.5  # 8-bit steps of the photo and the crop
    assert crop[(x < -1) | (x > 460) | (y < -1) | (y > 400)].max(initial=0) == 0


def test_points_in_standard_place_leave_the_photo_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (130, 150, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(photo, STANDARD_POINTS + [9, 4]), photo[4:116, 9:121])


@pytest.mark.parametrize("points", [POINTS[:4], POINTS * np.inf, np.full((5, 2), 7.0)])
def test_points_that_are_no_face(points):
    with pytest.raises(ValueError, match="align: .*points"):
        align(gradient_photo(200, 300), points)


def test_embeddings_of_crops_and_their_similarity(network):
    photo = gradient_photo(400, 460)
    crops = np.stack([align(photo, POINTS), align(photo, POINTS + [40, 60]), align(photo, POINTS)])
    embeddings = embed(network, crops)
    direct = network(torch.from_numpy(crops[1] / 127.5 - 1).permute(2, 0, 1)[None].float())
    torch.testing.assert_close(embeddings[1], direct[0], rtol=1e-3, atol=1e-5)
    assert similarity(embeddings[0], embeddings[2]).item() == pytest.approx(1, abs=1e-5)
    first, second = torch.randn(4, 512), torch.randn(4, 512)
    expected = (first * second).sum(1) / first.norm(dim=1) / second.norm(dim=1)
    torch.testing.assert_close(similarity(first, second), expected)
    torch.testing.assert_close(similarity(first, -first), -torch.ones(4))
