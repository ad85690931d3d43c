"""All settings of a run: typed, documented defaults. They stand here, in style_transfer/settings.py, and nowhere else."""

from dataclasses import dataclass, field

from style_transfer.settings import RefineSettings, setting


@dataclass(frozen=True)
class DetectSettings:
    """Which faces of a photo are taken."""

    points: str = setting(
        "auto",
        "Where eyes, nose and mouth corners come from. auto: from detections/<stem>.txt beside the photos where there is "
        "such a file (five lines 'x y', px), else from MTCNN. mtcnn: always.",
        choices=("auto", "mtcnn"),
    )
    face: int | str = setting(
        "largest",
        "Which face: largest, all, or a number: 0 is the largest, 1 the next.",
        choices=("largest", "all"),
        minimum=0,
    )
    minimum_confidence: float = setting(
        0.9, "Detections of lower confidence are dropped.", minimum=0.0, maximum=1.0
    )
    minimum_size: float = setting(40.0, "Smallest face in pixels; MTCNN finds few below 40.", minimum=8.0)
    try_turned: bool = setting(True, "Where no face is found, try the photo turned by 90, 180 and 270 degrees.")


@dataclass(frozen=True)
class ReconstructSettings:
    """Mesh and camera from a detected face."""

    system: str = setting(
        "face_mesh",
        "face_mesh: MediaPipe Face Mesh and our template. deep3dfacerecon: the paper's, for non-commercial research; its "
        "weights and the Basel Face Model have to be obtained (python -m external.assets doctor).",
        choices=("face_mesh", "deep3dfacerecon"),
    )
    model_colours: bool = setting(
        False, "Take the face model's colours as initial texture (deep3dfacerecon only), as in figure 7 of the paper."
    )
    crop_margin: float = setting(
        0.6, "face_mesh: border around the detected box, as a share of its longer side.", minimum=0.0, maximum=3.0
    )
    subdivisions: int = setting(
        2, "face_mesh: how often every triangle of the template is split in four.", minimum=0, maximum=4
    )

    def validate(self) -> None:
        """Raises ValueError where two settings contradict each other."""
        if self.model_colours and self.system != "deep3dfacerecon":
            raise ValueError(
                f"model_colours: got true with system: {self.system}, which has no colours; allowed with deep3dfacerecon"
            )


@dataclass(frozen=True)
class UnwrapSettings:
    """From photo to sampled texture and visibility (I_S)."""

    full_cosine: float = setting(
        0.45, "Surface seen at this cosine of the viewing angle or more counts fully.", minimum=0.0, maximum=1.0
    )
    zero_cosine: float = setting(
        0.25, "Surface seen at this cosine of the viewing angle or less counts as unseen.", minimum=0.0, maximum=1.0
    )
    erosion: float = setting(
        2.0, "Texels taken off the rim of what is seen, in a 1024 texture.", minimum=0.0, maximum=64.0
    )
    exclude_hair: bool = setting(True, "Hair and background over the face count as unseen.")
    fit_iterations: int = setting(
        30,
        "Steps of the rendering loss that make the sampled texture as sharp as the photo before anything is completed from "
        "it. The paper: 0.",
        minimum=0,
    )

    def validate(self) -> None:
        """Raises ValueError where two settings contradict each other."""
        if self.zero_cosine >= self.full_cosine:
            raise ValueError(
                f"zero_cosine: got {self.zero_cosine}, allowed is less than full_cosine ({self.full_cosine})"
            )


@dataclass(frozen=True)
class CompletionSettings:
    """How unseen texels get their first colours (I_C)."""

    method: str = setting(
        "symmetric",
        "Unseen texels are filled from the other half of the face (symmetric) or from their surroundings (smooth).",
        choices=("symmetric", "smooth"),
    )
    relight: bool = setting(True, "Move mirrored colours by the difference in light between the two halves.")
    light_spread: float = setting(
        0.2,
        "How much light is expected to differ between the halves: standard deviation of each odd spherical harmonic of its "
        "log brightness. Less trusts a photo's shading less.",
        minimum=0.001,
        maximum=10.0,
    )
    border_decay: float = setting(
        40.0, "Texels of a 512 texture over which a step at the border fades to 1/e.", minimum=1.0, maximum=512.0
    )


@dataclass(frozen=True)
class RenderSettings:
    """The rendering that is compared with the photo."""

    maximum_size: int = setting(
        1536, "Longest side in pixels of the rendering loss; larger crops are reduced for it.", minimum=64, maximum=8192
    )
    silhouette_erosion: float = setting(
        0.005,
        "How far the rendering loss stays inside the silhouette, as a share of the longest side.",
        minimum=0.0,
        maximum=0.2,
    )
    mean_over: str = setting(
        "covered",
        "Pixels that the rendering loss is the mean over: those that the mesh covers (covered), so that its weight does not "
        "depend on the crop, or all of the photo (photo), as published: there about half are covered.",
        choices=("covered", "photo"),
    )


@dataclass(frozen=True)
class LimitSettings:
    """What a file from elsewhere may ask for. Larger ones are refused before they take memory; raise it for your own."""

    photo_megapixels: float = setting(
        200.0, "Largest photo or content image, in millions of pixels.", above=0.0, maximum=2000.0, changes_results=False
    )
    photo_megabytes: float = setting(
        500.0, "Largest file of a photo or content image.", above=0.0, maximum=1e5, changes_results=False
    )
    mesh_megabytes: float = setting(
        200.0, "Largest mesh.obj; two million triangles or so.", above=0.0, maximum=1e5, changes_results=False
    )


@dataclass(frozen=True)
class OutputSettings:
    """What is written."""

    preview_size: int = setting(512, "Height in pixels of each picture in preview.png.", minimum=64, maximum=4096)


@dataclass(frozen=True)
class LogSettings:
    """What is written for watching a run."""

    tensorboard: bool = setting(
        False,
        "Losses and textures for TensorBoard in OUT/<photo>/tensorboard; photos that are finished already are left as they are.",
        changes_results=False,
    )


@dataclass(frozen=True)
class Config:
    """Everything a run can be told. `load_config` is the way to make one; `Config()` holds the defaults."""

    seed: int = setting(0, "Seed of every random choice; same seed, same bytes on a CPU.", minimum=0, maximum=2**63 - 1)
    texture_size: int = setting(1024, "Height and width of the texture in texels.", minimum=64, maximum=8192)
    device: str = setting(
        "auto", "auto takes a CUDA GPU when there is one.", choices=("auto", "cpu", "cuda"), changes_results=False
    )
    renderer: str = setting(
        "auto",
        "What rasterises: cpu, or nvdiffrast on an NVIDIA GPU (installed by hand, for non-commercial use). auto takes "
        "nvdiffrast where it and a GPU are there.",
        choices=("auto", "cpu", "nvdiffrast"),
    )
    assets: str = setting(
        "data",
        "Folder of what you obtained yourself: networks, face models. A relative one is below FaceRefiner's own folder.",
        changes_results=False,
    )
    jobs: int = setting(
        0,
        "Photos refined at once, each by a process of its own. 0: as many as there are processors and memory for, on a GPU "
        "one. The results are the same.",
        minimum=0,
        maximum=1024,
        changes_results=False,
    )
    threads: int = setting(
        0,
        "CPU threads of each process, 2 at least: with a single one the last bits of results would differ. 0: the "
        "processors, divided by the jobs.",
        minimum=0,
        maximum=1024,
        changes_results=False,
    )
    content: str = setting(
        "", "Initial texture made elsewhere: an image, or a folder of images matched with the photos by file stem."
    )
    detect: DetectSettings = field(default_factory=DetectSettings)
    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    unwrap: UnwrapSettings = field(default_factory=UnwrapSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    refine: RefineSettings = field(default_factory=RefineSettings)
    render: RenderSettings = field(default_factory=RenderSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    log: LogSettings = field(default_factory=LogSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)

    @property
    def reconstruction_needs(self) -> list[str]:
        """Parts, as `external.assets` names them, that the reconstruction cannot do without."""
        return [self.reconstruct.system] if self.reconstruct.system == "deep3dfacerecon" else []

    @property
    def refinement_needs(self) -> list[str]:
        """Parts, as `external.assets` names them, that the refinement cannot do without."""
        return [name for name in (self.renderer, self.refine.features) if name in ("nvdiffrast", "vgg16")]
