"""The settings of one refinement, with their meaning and their limits. The defaults need no weights and no GPU."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: immutable, checked when made, strict. Text, bools, NaN and infinity are no numbers.

    Raises pydantic.ValidationError, a ValueError, for an unknown name and for a value that is not allowed.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def changed(self, **values: Any) -> Self:
        """A copy with other values, checked like any other. Raises pydantic.ValidationError."""
        return type(self)(**(dict(self) | values))


class RefineSettings(Settings):
    """What the refinement does."""

    features: Literal["auto", "vgg16", "patches", "none"] = "auto"
    """Features that content and style are compared by. auto: vgg16 if its weights and a GPU are present, else none; on
    skin that the photo does not show, raw patches have no measurable benefit. none: rendering loss only."""
    vgg16_weights: str = Field("auto", min_length=1)
    """Weights of vgg16: torchvision (ImageNet; the paper), hed (the trunk of an edge detector, made by the set-up; it
    hardly sees hue, so hold the chroma), or the path of a vgg16-397923af.pth. auto: torchvision's if present, else
    hed's if present."""
    precision: Literal["float32", "bf16", "auto"] = "float32"
    """Arithmetic of vgg16 and of the losses' products; textures and sums stay float32. auto: bf16 on processors that
    have it, twice as fast."""
    style: Literal["strotss", "neighbours"] = "strotss"
    """Style terms. strotss: content and style of the paper. neighbours: every column of the content is replaced once
    per scale by its nearest style column, and the texture is moved towards these (Kolkin et al. 2022); no content loss,
    which the targets stand for."""
    layer_matching: float = Field(0.25, ge=0, le=1)
    """neighbours: share of the finest scale's steps, the last ones, in which each layer is matched by itself, anew in
    each step. Sharper."""
    chroma: Literal["free", "held", "term"] = "free"
    """What content and style may do to chroma. free: anything (the paper). held: they move luminance only, so that
    chroma stays the content's; edge features hardly see hue and colour it at random. term: a loss holds it."""
    chroma_weight: float = Field(8.0, ge=0)
    """Weight of the loss of chroma: term, multiplied by f like the others."""
    scales: list[Annotated[float, Field(gt=0, le=1)]] = Field([0.5, 1.0], min_length=1)
    """Working sizes, coarse to fine, as fractions of the texture size."""
    transfers: int = Field(1, ge=1, le=1_000_000)
    """How often the whole schedule is run, each time from the last result."""
    iterations: int = Field(40, ge=0, le=1_000_000)
    """Steps per scale with all losses."""
    rendering_iterations: int = Field(30, ge=0, le=1_000_000)
    """Last steps, with the rendering loss alone at full size: they fit seen texels to the photo. The paper: 0."""
    rendering_step: float = Field(4e-3, gt=0, le=1)
    """Adam step of these last steps, in units of the 0..1 colour range."""
    parameters: Literal["texels", "pyramid"] = "texels"
    """What is optimised: texels, or the levels of a Laplacian pyramid (pyramid, the paper)."""
    pyramid_depth: int = Field(5, ge=1, le=12)
    """Laplacian levels above the coarsest image."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """adam, or sgd with momentum (the paper; needs parameters: pyramid)."""
    learning_rate: float = Field(4e-3, gt=0)
    """Step of the optimiser. texels: in units of the 0..1 colour range; pyramid: of the paper's -1..1 range."""
    decay_learning_rate: bool = True
    """Lower the learning rate to zero along a cosine within each scale, so that L1 leaves no grain. The paper:
    false."""
    momentum: float = Field(0.9, ge=0, le=0.999)
    """Momentum of sgd."""
    style_step: float = Field(1e-3, ge=0)
    """Step of content and style on unseen texels (parameters: texels only), in units of the 0..1 colour range. Larger
    steps blur, and leave a crack along the border of the seen region."""
    content_weight: float = Field(8.0, ge=0)
    """Weight a of the content loss."""
    style_weight: float = Field(1.7, ge=0)
    """Weight b of the style loss."""
    moment_weight: float = Field(0.0, ge=0)
    """Weight of the moments within the style loss. The paper: 1. They pull the mean colour of unseen texels to that of
    seen ones, a tint where light or skin differ. Keep 1 with sgd: cosine distances alone do not limit the size of the
    features, and sgd's large steps diverge."""
    rendering_weight: float = Field(20.0, ge=0)
    """Weight g of the rendering loss, on colours of -1..1."""
    content_decay: float = Field(1.1, gt=0)
    """Divisor of the content weight after each transfer."""
    rendering_growth: float = Field(1.1, gt=0)
    """Factor of the rendering weight after each transfer."""
    style_region: Literal["unseen", "all"] = "unseen"
    """Texels that content and style may change: the unseen ones, fading out with confidence, or all (the paper)."""
    style_draws: int = Field(5, ge=1, le=1_000_000)
    """How often style positions are drawn."""
    style_samples: int = Field(400, ge=2, le=1_000_000)
    """Style positions per draw, without replacement."""
    mirrored_style: bool = False
    """Take every other draw, starting with the first, from the mirrored texture, as the paper does. Skin of the far
    side then takes its style from the near side, including asymmetries of the light and of the person."""
    style_from_seen: bool = True
    """Draw style only where the photo shows the texture, and compare only texels inside the islands. false, as
    published: from the whole sampled texture, black where nothing is seen; the moments then darken the result."""
    result_samples: int = Field(1024, ge=2, le=1_000_000)
    """Positions at which result, style and content are compared in each step. The paper: 2048."""
    content_noise: bool = False
    """Add noise, N(0, 1), to the content's features from ReLU 3_3 on (vgg16 only), so that the result keeps less of the
    content's fine structure. The published runs have none: their --add_noise switches it off."""
    stretch_between_transfers: bool = False
    """Between transfers stretch the texture to 0..1 and round it down to 8 bit, as the published code does. Colours
    drift with every transfer; false leaves them as optimised."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raises ValueError where settings contradict each other."""
        if self.scales != sorted(self.scales):
            raise ValueError(f"scales: got {self.scales}, allowed is coarse to fine: {sorted(self.scales)}")
        if self.parameters == "pyramid" and self.scales[0] < 2.0**-self.pyramid_depth:
            least = f"with pyramid_depth {self.pyramid_depth} is {2.0**-self.pyramid_depth} or more"
            raise ValueError(f"scales: got {self.scales[0]}, allowed {least}")
        if self.optimiser == "sgd" and self.parameters == "texels":
            raise ValueError("optimiser: got sgd with parameters: texels; sgd needs parameters: pyramid, or use adam")
        if self.content_noise and self.features in ("patches", "none"):
            raise ValueError(f"content_noise: got true with features: {self.features}; it is noise on layers of vgg16")
        if self.parameters == "texels" and self.style_step > self.learning_rate:
            limit = f"at most learning_rate ({self.learning_rate})"
            raise ValueError(f"style_step: got {self.style_step}, allowed is {limit}")
        return self
