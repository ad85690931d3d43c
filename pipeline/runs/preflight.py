"""What a config needs that is not there: fetched where it may be, else said before any work is done, all at once."""

from pathlib import Path

from external import assets
from pipeline.settings.errors import ConfigError


def content_place(setting):
    """The image or folder that `content` names: from the current folder, else (data/ostec) from the project's own."""
    path = Path(setting).expanduser()
    return path if path.exists() else assets.ROOT / path


def require_assets(config, reconstructing, may_fetch=True):
    """Raises ConfigError with one message that lists every missing file, weight, package and folder and how to get it.

    reconstructing: whether the first stage's needs count. may_fetch: VGG16's weights are downloaded, once and with a
    progress bar, where `refine.features: vgg16` asks for them and nothing else is missing. What `auto` may do without is
    not asked for.
    """
    lines = []
    if reconstructing and config.reconstruct.system == "deep3dfacerecon":
        lines += assets.missing_files("deep3dfacerecon", config.assets)
    if config.renderer == "nvdiffrast":
        from renderer import nvdiffrast_backend

        try:
            nvdiffrast_backend.load()
        except nvdiffrast_backend.RendererUnavailable as error:
            lines.append(str(error))
    if config.content and not content_place(config.content).exists():
        lines.append(f"content is {config.content!r}, which does not exist: give an image or a folder of images")
    lines += _missing_vgg16(config, may_fetch and not lines)
    if lines:
        listed = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        raise ConfigError(f"this config needs what is not there (python -m external.assets doctor says more): {listed}")


def _missing_vgg16(config, may_fetch):
    given = config.refine.vgg16_weights
    if config.refine.features != "vgg16":
        return []
    if given:
        return [] if Path(given).expanduser().is_file() else [f"{given}: VGG16 ImageNet weights (refine.vgg16_weights)"]
    lines = assets.missing_files("vgg16", config.assets)
    if lines and may_fetch:
        vgg16 = next(asset for asset in assets.ASSETS if asset.used_by == "vgg16")
        try:
            assets.fetch(vgg16, assets.assets_folder(config.assets))
            return []
        except assets.FetchError as error:
            return [str(error)]
    return lines
