"""Resolves `auto` for device, features and renderer on this machine. An explicit choice never falls back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import torch

from external.assets import VGG16_URL, Obtained, missing_files, used_by
from external.setup import COMMAND as SETUP_COMMAND
from external.vgg16 import HED_ENDING, read_network
from pipeline.runs.jobs import FEWEST_THREADS
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config
from renderer import nvdiffrast_backend
from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.settings import RefineSettings

MEGATEXEL = 2**20

# Measured on 2 x86-64 cores; texels in millions:
# seconds = fixed + steps * (step + texels * step_texels) + texels * once.
_SECONDS = {
    "none": {"fixed": 3.0, "step": 0.01, "step_texels": 0.04, "once": 3.0},
    "patches": {"fixed": 3.0, "step": 0.03, "step_texels": 0.06, "once": 3.0},
    "vgg16": {"fixed": 7.0, "step": 0.8, "step_texels": 7.0, "once": 3.0},
}


@dataclass(frozen=True)
class Choice:
    """What `auto`, or the user, chose; for the renderer and for the features."""

    kind: str  # renderer: cpu or nvdiffrast, the `backend` of its functions; features: vgg16, patches or none
    why: str  # the choice and its reason, for the log and the manifest

    @property
    def assets(self) -> list[dict]:
        """Assets in use, for the manifest."""
        return used_by(self.kind)


@dataclass(frozen=True)
class Features(Choice):
    weights: Path  # of VGG16
    device: torch.device
    precision: torch.dtype = torch.float32

    @property
    def assets(self) -> list[dict]:
        return used_by("hed") if self.kind == "vgg16" and self.weights.suffix == HED_ENDING else super().assets

    @cached_property  # one network for all photos
    def extractor(self) -> VGG16Hypercolumns | PatchFeatures | None:
        """The feature extractor; None for `none`. Raises ConfigError for weights that are damaged or not VGG16's."""
        if self.kind != "vgg16":
            return PatchFeatures() if self.kind == "patches" else None
        try:
            return VGG16Hypercolumns(**read_network(self.weights), precision=self.precision).to(self.device)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class Backends:
    """Device, features and renderer of a run."""

    device: torch.device
    features: Features
    renderer: Choice
    memory_each: float  # bytes, peak of a process on a CPU
    seconds_each: float | None  # estimate for a photo by one process on two cores; None on a GPU: unknown
    assets: list[dict]  # assets of the backends and the measurements, for the manifest

    @property
    def kinds(self) -> str:
        """The choices that results depend on."""
        return f"{self.features.kind} {self.renderer.kind}"

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @property
    def notes(self) -> dict[str, str]:
        """The choices, for the manifest."""
        return {"features": self.features.why, "renderer": self.renderer.why}

    def __str__(self) -> str:
        return f"{self.device}, {self.features.why}, {self.renderer.why}"


def choose_backends(config: Config, obtained: Obtained, threads: int = 0) -> Backends:
    """Resolves every `auto` and sets up torch.

    obtained: from `external.assets.require`. threads: CPU threads; 0 takes `config.threads`.
    Raises ConfigError if the config asks for something that is not available.
    """
    device = choose_device(config.device)
    renderer = choose_renderer(config.renderer, device)
    features = choose_features(config.refine, device, obtained.vgg16)
    set_up_torch(threads or config.threads, device)
    assets = features.assets + renderer.assets + (used_by("arcface") if obtained.arcface.is_file() else [])
    # The labels look at the photo with HED's trunk, where it is there.
    labels = used_by("labels", *([] if missing_files("hed") else ["hed"])) if config.unwrap.exclude_hair else []
    return Backends(
        device,
        features,
        renderer,
        memory_each(config, features.kind),
        refinement_seconds(config, features.kind) if device.type == "cpu" else None,
        assets + [asset for asset in labels if asset not in assets],
    )


def choose_device(setting: str) -> torch.device:
    """torch.device of `device: auto | cpu | cuda`. Raises ConfigError where CUDA is asked for but not available."""
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise ConfigError("device is cuda, but torch finds no CUDA GPU: give device=auto or device=cpu")
    return torch.device("cuda" if setting != "cpu" and available else "cpu")


def set_up_torch(threads: int, device: torch.device) -> None:
    """Sets the CPU threads of torch and OpenCV; called once in every process. threads: 0 keeps torch's default.

    On a CPU, torch is set to deterministic algorithms, so results are identical for any number of threads.
    """
    torch.set_num_threads(max(threads or torch.get_num_threads(), FEWEST_THREADS))
    cv2.setNumThreads(threads or -1)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def choose_renderer(setting: str, device: torch.device) -> Choice:
    """The renderer of `renderer: auto | cpu | nvdiffrast`. Raises ConfigError with the command that installs it."""
    if setting == "auto":
        if device.type != "cuda":
            return Choice("cpu", "renderer: cpu (auto: no GPU is used)")
        if not nvdiffrast_backend.is_available():
            return Choice("cpu", "renderer: cpu (auto: nvdiffrast is not installed)")
        return Choice("nvdiffrast", "renderer: nvdiffrast (auto: installed, with a GPU; non-commercial use only)")
    if setting == "nvdiffrast":
        try:
            nvdiffrast_backend.load()
        except nvdiffrast_backend.RendererUnavailable as error:
            raise ConfigError(str(error)) from error
    return Choice(setting, f"renderer: {setting}")


def choose_features(settings: RefineSettings, device: torch.device, weights: Path) -> Features:
    """The features of `refine.features`. auto never downloads. weights: path of VGG16's weights, which may not exist.

    Raises ConfigError where an explicit choice is not available.
    """
    kind, why = settings.features, f"features: {settings.features}"
    of_hed = weights.suffix == HED_ENDING
    if kind == "auto":
        # HED's weights are no automatic choice: their benefit is not established.
        usable = weights.is_file() and (not of_hed or settings.vgg16_weights != "auto")
        if device.type == "cuda" and usable:
            kind, why = "vgg16", f"features: vgg16 (auto: weights at {weights}, with a GPU)"
        else:
            missing = {"no GPU": device.type != "cuda", "no VGG16 weights": not usable}
            kind, why = "none", f"features: none (auto: {', '.join(name for name in missing if missing[name])})"
    if settings.content_noise and kind != "vgg16":
        advice = "give refine.content_noise=false"
        raise ConfigError(f"refine.content_noise needs refine.features=vgg16, but {why}: {advice}")
    if kind == "vgg16" and not weights.is_file():
        if of_hed:
            given = settings.vgg16_weights
            raise ConfigError(f"refine.vgg16_weights is {given}, but {weights} is missing: {SETUP_COMMAND}")
        raise ConfigError(
            f"refine.features is vgg16, but {weights} is missing: python -m external.assets fetch vgg16, or download "
            f"{VGG16_URL} to it, or give refine.vgg16_weights=FILE, or refine.vgg16_weights=hed"
        )
    if kind != "vgg16":
        return Features(kind, why, weights, device)
    if of_hed:
        why += ", weights of HED's trunk, calibrated"
    precision, chosen = choose_precision(settings.precision, device)
    return Features(kind, why + chosen, weights, device, precision)


def choose_precision(setting: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Of the network and the products, and what to say of it. auto: bfloat16 on processors that compute with it, where
    it was measured to be faster (docs/benchmarks.md); not on GPUs, where it was not measured."""
    if setting == "auto":
        able = torch.cpu.get_capabilities()
        low = device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
        return (torch.bfloat16, ", bf16 (auto: the processor has it)") if low else (torch.float32, "")
    return (torch.bfloat16, ", bf16") if setting == "bf16" else (torch.float32, "")


def schedule(config: Config, features: str, has_content: bool) -> RefineSettings:
    """The effective `refine` settings. features: kind. has_content: the initial texture was given, not completed.

    After the fit, seen texels match the photo already. Without features and with our own completion, the rendering loss
    only has to adjust the half-seen border, and the last rendering steps are enough for that.
    """
    if features != "none" or has_content or not config.unwrap.fit_iterations:
        return config.refine
    return config.refine.changed(transfers=1, iterations=0)


def memory_each(config: Config, features: str) -> float:
    """Peak memory in bytes of a process that refines a photo of 1 or 2 megapixels on a CPU."""
    return 1.1e9 + 0.36e9 * config.texture_size**2 / MEGATEXEL + (1.2e9 if features == "vgg16" else 0)


def refinement_seconds(config: Config, features: str) -> float:
    """Estimated seconds for a photo, by one process on two CPU cores. features: kind."""
    texels = config.texture_size**2 / MEGATEXEL
    cost, plain, refine = _SECONDS[features], _SECONDS["none"], schedule(config, features, bool(config.content))
    step = lambda cost, scale=1.0: cost["step"] + cost["step_texels"] * texels * scale**2
    transfers = refine.transfers * refine.iterations * sum(step(cost, scale) for scale in refine.scales)
    rendering_steps = config.unwrap.fit_iterations + refine.rendering_iterations
    return cost["fixed"] + cost["once"] * texels + transfers + rendering_steps * step(plain)
