"""All settings of a run: types, defaults, limits and meaning. Those of `refine`: style_transfer/settings.py.

`changes_results: False` marks a setting that leaves the results alone; the fingerprint does not include it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from style_transfer.settings import RefineSettings, Settings

_SAME_RESULTS = {"changes_results": False}


class DetectSettings(Settings):
    """Which faces of a photo are taken."""

    points: Literal["auto", "mtcnn"] = "auto"
    """Source of the eyes, nose and mouth corners. auto: detections/<stem>.txt beside the photos if there is one (five
    lines 'x y', px), else MTCNN. mtcnn: always MTCNN."""
    face: Literal["largest", "all"] | Annotated[int, Field(ge=0, le=1_000_000)] = "largest"
    """Which face: largest, all, or a number: 0 is the largest, 1 the next."""
    minimum_confidence: float = Field(0.9, ge=0, le=1)
    """Detections of lower confidence are dropped."""
    minimum_size: float = Field(40.0, ge=8)
    """Smallest face in pixels; MTCNN finds few below 40."""
    try_turned: bool = True
    """If no face is found, try the photo turned by 90, 180 and 270 degrees."""
    glasses: Literal["remove", "keep"] = "keep"
    """keep: glasses stay in the texture, as part of the face. remove: frames of glasses, dark lenses and reflections on lenses
    count as unseen, like hair and hands; thin frames are found in part only, so that pieces of them may stay."""


class ReconstructSettings(Settings):
    """Mesh and camera from a detected face."""

    system: Literal["auto", "head", "face_mesh", "deep3dfacerecon"] = "auto"
    """head: a whole head, fitted to MediaPipe's Face Mesh points. face_mesh: these points and our template of the face.
    auto: head; face_mesh for a photo that the head does not fit, and where the set-up could not make the head model.
    deep3dfacerecon: the paper's, for non-commercial research; you obtain its weights and the Basel Face Model (python
    -m external.assets doctor says how)."""
    model_colours: bool = False
    """Take the face model's colours as initial texture (deep3dfacerecon only), as in figure 7 of the paper."""
    crop_margin: float = Field(0.6, ge=0, le=3)
    """head and face_mesh: border around the detected points, as a share of its longer side."""
    subdivisions: int = Field(2, ge=0, le=4)
    """face_mesh: how often each triangle of the template is split in four."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raises ValueError where settings contradict each other."""
        if self.model_colours and self.system != "deep3dfacerecon":
            raise ValueError(
                f"model_colours: got true with system: {self.system}, which has no colours; it needs deep3dfacerecon"
            )
        return self


class UnwrapSettings(Settings):
    """From photo to sampled texture and visibility (I_S)."""

    full_cosine: float = Field(0.45, ge=0, le=1)
    """Surface seen at this cosine of the viewing angle or more counts fully."""
    zero_cosine: float = Field(0.25, ge=0, le=1)
    """Surface seen at this cosine of the viewing angle or less counts as unseen."""
    erosion: float = Field(0.4, ge=0, le=12)
    """Width of the rim removed from the seen region, in millimetres on the head."""
    exclude_hair: bool = True
    """Hair and background over the face count as unseen."""
    fit_iterations: int = Field(30, ge=0, le=1_000_000)
    """Steps of the rendering loss that make the sampled texture as sharp as the photo before the completion. The paper:
    0."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raises ValueError where settings contradict each other."""
        if self.zero_cosine >= self.full_cosine:
            allowed = f"less than full_cosine ({self.full_cosine})"
            raise ValueError(f"zero_cosine: got {self.zero_cosine}, allowed is {allowed}")
        return self


class CompletionSettings(Settings):
    """How unseen texels get their first colours (I_C)."""

    method: Literal["symmetric", "smooth"] = "symmetric"
    """Source of unseen texels: the other half of the face (symmetric) or their surroundings (smooth)."""
    relight: bool = True
    """Correct mirrored colours by the difference in light between the halves."""
    light_spread: float = Field(0.2, ge=0.001, le=10)
    """Expected difference in light between the halves: standard deviation of each odd spherical harmonic of the log
    brightness. Lower values trust the photo's shading less."""
    border_decay: float = Field(16.0, ge=0.4, le=200)
    """Millimetres on the head over which a step at the border fades to 1/e."""
    scalp: Literal["hair", "skin"] = "hair"
    """What covers the scalp of a whole head: close-cropped hair in the person's colour, where the photo shows hair, or
    skin."""


class RenderSettings(Settings):
    """The rendering that is compared with the photo."""

    maximum_size: int = Field(1536, ge=64, le=8192)
    """Longest side of the rendering loss in pixels; larger crops are scaled down."""
    silhouette_erosion: float = Field(0.005, ge=0, le=0.2)
    """Distance of the rendering loss from the silhouette, as a share of the longest side."""
    mean_over: Literal["covered", "photo"] = "covered"
    """Pixels that the rendering loss averages over. covered: those that the mesh covers, so that its weight does not
    depend on the crop. photo: the whole crop, as published; there the mesh covers about half."""


class LimitSettings(Settings):
    """Size limits of input files. Larger files are refused before they take memory."""

    photo_megapixels: float = Field(200.0, gt=0, le=2000, json_schema_extra=_SAME_RESULTS)
    """Largest photo or content image, in millions of pixels."""
    photo_megabytes: float = Field(500.0, gt=0, le=100_000, json_schema_extra=_SAME_RESULTS)
    """Largest file of a photo or content image."""
    mesh_megabytes: float = Field(200.0, gt=0, le=100_000, json_schema_extra=_SAME_RESULTS)
    """Largest mesh.obj; 200 is about two million triangles."""


class OutputSettings(Settings):
    """What is written."""

    preview_size: int = Field(512, ge=64, le=4096)
    """Height in pixels of each picture in preview.png."""
    makehuman: bool = False
    """Also write texture_makehuman.png: the texture of a head in MakeHuman's UV layout, for any character of MakeHuman,
    MPFB or Anny."""


class LogSettings(Settings):
    """What is written for watching a run."""

    tensorboard: bool = Field(False, json_schema_extra=_SAME_RESULTS)
    """Write losses and textures for TensorBoard to OUT/<photo>/tensorboard. Photos that are already finished are not
    done again for it."""


class Config(Settings):
    """All settings of a run. `load_config` makes one; `Config()` holds the defaults."""

    seed: int = Field(0, ge=0, le=2**63 - 1)
    """Seed of every random choice; same seed, same bytes on a CPU."""
    texture_size: int = Field(2048, ge=64, le=8192)
    """Height and width of the texture in texels. The face itself takes a third of those of a head."""
    device: Literal["auto", "cpu", "cuda"] = Field("auto", json_schema_extra=_SAME_RESULTS)
    """auto: a CUDA GPU if there is one, else cpu."""
    renderer: Literal["auto", "cpu", "nvdiffrast"] = "auto"
    """Rasteriser: cpu, or nvdiffrast on an NVIDIA GPU (you install it, for non-commercial use). auto: nvdiffrast if it
    and a GPU are present, else cpu."""
    assets: str = Field("data", json_schema_extra=_SAME_RESULTS)
    """Folder of the networks and face models that you obtained. A relative path starts at FaceRefiner's folder."""
    jobs: int = Field(0, ge=0, le=1024, json_schema_extra=_SAME_RESULTS)
    """Photos refined at once, each by its own process. 0: as many as processors and memory allow, on a GPU one. The
    results are the same."""
    threads: int = Field(0, ge=0, le=1024, json_schema_extra=_SAME_RESULTS)
    """CPU threads of each process, at least 2: a single thread would change the last bits of results. 0: the
    processors, divided by the jobs."""
    content: str = ""
    """Initial texture from elsewhere: an image, or a folder of images with the photos' file stems."""
    detect: DetectSettings = DetectSettings()
    reconstruct: ReconstructSettings = ReconstructSettings()
    unwrap: UnwrapSettings = UnwrapSettings()
    completion: CompletionSettings = CompletionSettings()
    refine: RefineSettings = RefineSettings()
    render: RenderSettings = RenderSettings()
    output: OutputSettings = OutputSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raises ValueError where settings contradict each other."""
        if self.output.makehuman and self.reconstruct.system not in ("auto", "head"):
            raise ValueError(
                f"output.makehuman: got true with reconstruct.system: {self.reconstruct.system}, whose mesh is not "
                "MakeHuman's head; it needs head or auto"
            )
        return self

    @property
    def reconstruction_needs(self) -> list[str]:
        """Parts, as `external.assets` names them, that the reconstruction cannot do without."""
        return [name for name in (self.reconstruct.system,) if name in ("head", "deep3dfacerecon")]

    @property
    def refinement_needs(self) -> list[str]:
        """Parts, as `external.assets` names them, that the refinement cannot do without."""
        needs = [name for name in (self.renderer, self.refine.features) if name in ("nvdiffrast", "vgg16")]
        return needs + (["head"] if self.output.makehuman else [])
