"""HED's trunk for torchvision's input, against the network's own arithmetic."""

import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from external import hed
from external.setup import COMMAND, FOLDER
from external.vgg16 import HED_ENDING, read_network
from external.wheel_pins import HED
from style_transfer.features import CAPTURED_LAYERS, VGG16Hypercolumns, vgg16_layers

REAL = FOLDER / HED.makes.path


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A file like the set-up's, with random weights: path, and the weights by torchvision's names."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in vgg16_layers().state_dict().items()}
    weights = {}
    for name, shape in shapes.items():
        scale = (2 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else 0.1
        weights[name] = torch.randn(shape, generator=generator) * scale
    weights["0.weight"] /= 60  # its input is 60 times a normalised one
    path = tmp_path_factory.mktemp("hed") / "hed_vgg16.npz"
    np.savez(path, **{f"features.{name}": tensor.numpy() for name, tensor in weights.items()})
    return path, weights


def own_maps(weights, image):
    """HED as published: BGR, 0..255, minus the mean, padded with zeros. image: [1, 3, H, W], RGB, -1..1."""
    feature = (image.double().flip(1) + 1) * 127.5 - torch.tensor(hed.MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    maps = []
    for index, layer in enumerate(vgg16_layers()):
        if f"{index}.weight" in weights:
            bias = weights[f"{index}.bias"].double()
            feature = F.conv2d(feature, weights[f"{index}.weight"].double(), bias, padding=1)
        else:
            feature = layer(feature)
        if index in CAPTURED_LAYERS:
            maps.append(feature)
    return maps


def network(path, calibrated):
    weights, zero = hed.read_trunk(path, calibrated)
    return VGG16Hypercolumns({name: torch.from_numpy(array) for name, array in weights.items()}, zero=zero.tolist())


def image():
    return torch.rand(1, 3, 36, 52, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_network_computes_what_hed_does_at_the_border_too(trunk):
    path, weights = trunk
    maps = network(path, calibrated=False).maps(image())
    for found, wanted in zip(maps[1:], own_maps(weights, image()), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5 * wanted.abs().max().item())


def test_calibration_divides_every_layer_by_its_number(trunk):
    path, weights = trunk
    convolutions = [number for block in hed.CONVOLUTIONS for number in block]
    numbers = dict(zip(convolutions, hed.ACTIVATIONS, strict=True))
    maps = network(path, calibrated=True).maps(image())
    for layer, found, wanted in zip(CAPTURED_LAYERS, maps[1:], own_maps(weights, image()), strict=True):
        wanted = wanted / numbers[layer - 1]
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5 * wanted.abs().max().item())


def test_colours_of_columns_are_those_of_torchvisions_input(trunk):
    path, _ = trunk
    with_hed, plain = network(path, True), VGG16Hypercolumns(vgg16_layers().state_dict())
    assert torch.equal(with_hed.maps(image())[0], plain.maps(image())[0])


def test_another_file_is_refused_in_one_line(trunk, tmp_path):
    path, _ = trunk
    assert path.suffix == HED_ENDING
    with pytest.raises(ValueError, match="not the trunk of HED") as caught:
        read_network(path)
    assert COMMAND in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_network(tmp_path / "missing.npz")


def test_damaged_files_are_not_read_silently(trunk, tmp_path):
    path, _ = trunk
    short = tmp_path / "short.npz"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(short, "w") as target:
        target.writestr("features.0.weight.npy", archive.read("features.0.weight.npy"))
    with pytest.raises(KeyError):
        hed.read_trunk(short)


@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL.name}: python -m external.assets setup")
def test_the_real_trunk_has_even_activations_on_a_photo():
    from skimage import data

    given = read_network(REAL)
    photo = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    means = [feature.mean().item() for feature in VGG16Hypercolumns(**given).maps(photo)[1:]]
    assert all(0.5 < mean < 2 for mean in means), means
