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


def test_vgg16_without_its_weights_names_the_file_and_the_command(tmp_path):
    settings, weights = load_config("facerefiner").refine, tmp_path / "vgg16.pth"
    message = refusal(backends.choose_features, settings, torch.device("cpu"), weights)
    assert str(weights) in message and "assets fetch vgg16" in message
    weights.write_bytes(b"1")
    chosen = backends.choose_features(settings, torch.device("cpu"), weights)
    assert chosen.kind == "vgg16" and chosen.assets[0]["used_by"] == "vgg16"


def test_noise_on_layers_that_are_not_there_is_refused(tmp_path):
    settings = load_config(None, ["refine.content_noise=true", "refine.features=auto"]).refine
    message = refusal(backends.choose_features, settings, torch.device("cpu"), tmp_path / "vgg16.pth")
    assert "refine.content_noise=false" in message


def test_only_the_half_seen_border_is_left_after_the_fit():
    config = load_config(None, ["refine.transfers=3"])
    assert backends.schedule(config, "none", has_content=False) == config.refine.changed(transfers=1, iterations=0)
    unfitted = config.changed(unwrap=config.unwrap.changed(fit_iterations=0))
    for case in ((config, "vgg16", False), (config, "none", True), (unfitted, "none", False)):
        assert backends.schedule(*case) == config.refine


def with_weights(weights, *overrides, device="cpu"):
    settings = load_config(None, ["refine.features=vgg16", *overrides]).refine
    return backends.choose_features(settings, torch.device(device), weights)


def test_hed_is_named_with_its_asset(tmp_path):
    weights = tmp_path / "hed_vgg16.npz"
    message = refusal(with_weights, weights, "refine.vgg16_weights=hed")
    assert str(weights) in message and "external.assets setup" in message
    weights.write_bytes(b"1")
    chosen = with_weights(weights, "refine.vgg16_weights=hed")
    assert chosen.kind == "vgg16" and "HED" in chosen.why
    assert chosen.assets[0]["used_by"] == "hed" and "Oxford" in chosen.assets[0]["attribution"]


def test_auto_features_are_not_hed(tmp_path):
    weights = tmp_path / "hed_vgg16.npz"
    weights.write_bytes(b"1")
    assert with_weights(weights, "refine.features=auto", device="cuda").kind == "none"
    assert with_weights(weights, "refine.features=auto", "refine.vgg16_weights=hed", device="cuda").kind == "vgg16"


@pytest.mark.parametrize(
    ("setting", "device", "able", "precision"),
    [
        ("float32", "cpu", {"avx512_bf16": True}, torch.float32), ("bf16", "cpu", {}, torch.bfloat16),
        ("auto", "cpu", {"avx512_bf16": True}, torch.bfloat16), ("auto", "cpu", {"amx_bf16": True}, torch.bfloat16),
        ("auto", "cpu", {"avx512_bf16": False}, torch.float32), ("auto", "cuda", {"amx_bf16": True}, torch.float32),
    ],
)  # fmt: skip
def test_precision(setting, device, able, precision, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    weights = tmp_path / "vgg16.pth"
    weights.write_bytes(b"1")
    chosen = with_weights(weights, f"refine.precision={setting}", device=device)
    assert chosen.precision is precision and ("bf16" in chosen.why) == (precision is torch.bfloat16)
