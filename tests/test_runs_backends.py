"""What `auto` stands for, and what an explicit choice says where it is not there."""

import pytest
import torch

from pipeline.runs import backends
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import load_config
from renderer import nvdiffrast_backend


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chosen_renderer(setting, device, installed, monkeypatch):
    def load():
        if not installed:
            raise nvdiffrast_backend.RendererUnavailable("renderer nvdiffrast is not installed: pip install ...")

    monkeypatch.setattr(nvdiffrast_backend, "load", load)
    return backends.choose_renderer(setting, torch.device(device))


@pytest.mark.parametrize(
    ("setting", "device", "installed", "kind"),
    [
        ("auto", "cpu", True, "cpu"), ("auto", "cuda", False, "cpu"), ("auto", "cuda", True, "nvdiffrast"),
        ("cpu", "cuda", True, "cpu"), ("nvdiffrast", "cuda", True, "nvdiffrast"),
    ],
)  # fmt: skip
def test_renderer(setting, device, installed, kind, monkeypatch):
    chosen = chosen_renderer(setting, device, installed, monkeypatch)
    assert chosen.kind == kind and kind in chosen.why and ("auto" in chosen.why) == (setting == "auto")
    assert [entry["non_commercial"] for entry in chosen.assets] == [True] * (kind == "nvdiffrast")


def test_an_explicit_renderer_never_falls_back(monkeypatch):
    assert "pip install" in refusal(chosen_renderer, "nvdiffrast", "cuda", False, monkeypatch)


def test_vgg16_weights_are_the_given_ones_or_those_in_the_assets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    settings = load_config("facerefiner").refine
    message = refusal(backends.choose_features, settings, torch.device("cpu"), str(tmp_path))
    assert str(tmp_path / "vgg16-397923af.pth") in message and "assets fetch vgg16" in message
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"1")
    chosen = backends.choose_features(settings, torch.device("cpu"), str(tmp_path))
    assert chosen.kind == "vgg16" and chosen.assets[0]["used_by"] == "vgg16"
    assert backends.vgg16_path("mine.pth", tmp_path).name == "mine.pth"


def test_noise_on_layers_that_are_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    settings = load_config(None, ["refine.content_noise=true", "refine.features=auto"]).refine
    assert "content_noise" in refusal(backends.choose_features, settings, torch.device("cpu"), str(tmp_path))
