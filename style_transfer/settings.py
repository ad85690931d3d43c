"""The settings of one refinement, with their meaning and their allowed values. Defaults are the embedded default."""

import math
from dataclasses import dataclass, field, fields
from typing import Any


def setting(default: Any, help: str, **allowed: Any) -> Any:
    """A dataclass field with its help text and either `choices` or `minimum` / `above` / `maximum`."""
    return field(default=default, metadata={"help": help, **allowed})


@dataclass
class RefineSettings:
    """What the refinement does. `validate` says which value is not allowed and why."""

    features: str = setting(
        "auto",
        "What content and style are compared by. auto: vgg16 where its weights and a GPU are present, else none: on "
        "skin that the photo does not show raw patches gain nothing that can be measured. "
        "none: rendering loss only.",
        choices=("auto", "vgg16", "patches", "none"),
    )
    vgg16_weights: str = setting("", "Path of torchvision's vgg16-397923af.pth; empty: the place the assets are kept.")
    scales: list[float] = field(
        default_factory=lambda: [0.5, 1.0],
        metadata={"help": "Sizes worked at, coarse to fine, as fractions of the texture size."},
    )
    transfers: int = setting(1, "How often the whole schedule is run, each time from the last result.", minimum=1)
    iterations: int = setting(40, "Steps per scale with all losses.", minimum=0)
    rendering_iterations: int = setting(
        30,
        "Last steps with the rendering loss alone, at full size: seen texels end equal to the photo. The paper has none.",
        minimum=0,
    )
    rendering_step: float = setting(
        4e-3, "Adam step of these last steps, in units of the 0..1 colour range.", above=0.0, maximum=1.0
    )
    parameters: str = setting(
        "texels",
        "What is optimised: the texels themselves, or the levels of a Laplacian pyramid (the paper).",
        choices=("texels", "pyramid"),
    )
    pyramid_depth: int = setting(5, "Laplacian levels above the coarsest image.", minimum=1, maximum=12)
    optimiser: str = setting("adam", "adam, or sgd with momentum (the paper; pyramid only).", choices=("adam", "sgd"))
    learning_rate: float = setting(
        4e-3,
        "Step of the optimiser. texels: in units of the 0..1 colour range; pyramid: of the paper's -1..1 range.",
        above=0.0,
    )
    decay_learning_rate: bool = setting(
        True, "Lower the learning rate to zero along a cosine within each scale: L1 leaves no grain. The paper: false."
    )
    momentum: float = setting(0.9, "Momentum of sgd.", minimum=0.0, maximum=0.999)
    style_step: float = setting(
        1e-3,
        "Step that content and style may make on unseen texels (texels only), in units of the 0..1 colour range. "
        "Larger ones blur and leave a crack along the border of the seen region.",
        minimum=0.0,
    )
    content_weight: float = setting(8.0, "Weight a of the content loss.", minimum=0.0)
    style_weight: float = setting(1.7, "Weight b of the style loss.", minimum=0.0)
    moment_weight: float = setting(
        0.0,
        "Weight of the moments within the style loss. The paper: 1. They pull the mean colour of the unseen texels to "
        "that of the seen ones, a tint wherever light or skin differ. Keep 1 with sgd: cosine distances alone do not "
        "hold the size of the features, and its large steps diverge.",
        minimum=0.0,
    )
    rendering_weight: float = setting(20.0, "Weight g of the rendering loss, on colours of -1..1.", minimum=0.0)
    content_decay: float = setting(1.1, "The content weight is divided by this after each transfer.", above=0.0)
    rendering_growth: float = setting(1.1, "The rendering weight is multiplied by this after each transfer.", above=0.0)
    style_region: str = setting(
        "unseen",
        "Texels that content and style may move: the unseen ones, fading out with confidence, or all (the paper).",
        choices=("unseen", "all"),
    )
    style_draws: int = setting(5, "How often style positions are drawn.", minimum=1)
    style_samples: int = setting(400, "Style positions per draw, without replacement.", minimum=2)
    mirrored_style: bool = setting(
        False,
        "Take every other draw, the first included, from the mirrored texture, as the paper does. Skin of the far side "
        "then gets its look from the near side, and asymmetries of the light and of the person come with it.",
    )
    style_from_seen: bool = setting(
        True,
        "Draw style only where the photo shows the texture, and compare only texels inside the islands. false, as "
        "published: from the whole sampled texture, black where nothing is seen; the moments then darken the result.",
    )
    result_samples: int = setting(
        1024, "Positions at which result, style and content are compared in each step. The paper: 2048.", minimum=2
    )
    content_noise: bool = setting(
        False,
        "Add noise, N(0, 1), to the content's features from ReLU 3_3 on (vgg16 only): less of the content's fine "
        "structure is held. The published runs have none: their --add_noise switches it off.",
    )
    stretch_between_transfers: bool = setting(
        False,
        "Between transfers stretch the texture to 0..1 and round it down to 8 bit, as the published code does. Colours "
        "drift with every transfer; without it they stay as they were optimised.",
    )

    def validate(self) -> None:
        """Check every value.

        Raises:
            ValueError: names the setting, what was given and what is allowed.
        """
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name != "scales":
                _check_value(entry.name, value, type(entry.default), entry.metadata)
        self._check_scales()
        if self.optimiser == "sgd" and self.parameters == "texels":
            raise ValueError("optimiser: got sgd with parameters: texels; sgd needs parameters: pyramid, or use adam")
        if self.content_noise and self.features in ("patches", "none"):
            raise ValueError(f"content_noise: got true with features: {self.features}; it is noise on layers of vgg16")
        if self.parameters == "texels" and self.style_step > self.learning_rate:
            raise ValueError(f"style_step: got {self.style_step}, allowed is at most learning_rate ({self.learning_rate})")

    def _check_scales(self) -> None:
        given = list(self.scales) if not isinstance(self.scales, str | int | float) else []
        if not given or not all(_is_number(scale) and 0 < scale <= 1 for scale in given):
            raise ValueError(f"scales: got {self.scales!r}, allowed is a list of numbers above 0 and up to 1")
        if given != sorted(given):
            raise ValueError(f"scales: got {self.scales!r}, allowed is coarse to fine: {sorted(given)}")
        if self.parameters == "pyramid" and given[0] < 2.0**-self.pyramid_depth:
            raise ValueError(
                f"scales: got {given[0]}, allowed with pyramid_depth {self.pyramid_depth} is {2.0**-self.pyramid_depth} or more"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_value(name: str, value: Any, kind: type, allowed: Any) -> None:
    if "choices" in allowed:
        if value not in allowed["choices"]:
            raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(allowed['choices'])}")
        return
    if kind is str or kind is bool:
        if not isinstance(value, kind):
            raise ValueError(f"{name}: got {value!r}, allowed is {'text' if kind is str else 'true or false'}")
        return
    limits = [
        f"{word} {allowed[key]:g}"
        for key, word in (("minimum", "at least"), ("above", "above"), ("maximum", "at most"))
        if key in allowed
    ]
    wanted = ("a whole number " if kind is int else "a number ") + " and ".join(limits)
    fits = (
        _is_number(value)
        and (kind is float or isinstance(value, int))
        and value >= allowed.get("minimum", -math.inf)
        and value > allowed.get("above", -math.inf)
        and value <= allowed.get("maximum", math.inf)
    )
    if not fits:
        raise ValueError(f"{name}: got {value!r}, allowed is {wanted}")
