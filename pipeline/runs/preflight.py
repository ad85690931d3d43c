"""What a config needs that is not there: fetched where it may be, else reported before any work is done, all at once."""

from external import assets
from external.assets import Obtained
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config


def require_assets(config: Config, reconstructing: bool, may_fetch: bool = True) -> Obtained:
    """Raises ConfigError with one message that lists every missing file, weight, package and folder and how to get it.

    reconstructing: whether the first stage's needs count. may_fetch: VGG16's weights are downloaded, once and with a
    progress bar, where `refine.features: vgg16` asks for them and nothing else is missing. What `auto` may do without is
    not asked for. Returns where all of it is, or belongs.
    """
    lines = []
    if config.renderer == "nvdiffrast":
        from renderer import nvdiffrast_backend

        try:
            nvdiffrast_backend.load()
        except nvdiffrast_backend.RendererUnavailable as error:
            lines.append(str(error))
    obtained = assets.obtained(config.assets, config.refine.vgg16_weights, config.content)
    if obtained.content and not obtained.content.exists():
        lines.append(f"content is {config.content!r}, which does not exist: give an image or a folder of images")
    if reconstructing and config.reconstruct.system == "deep3dfacerecon":
        lines += assets.missing_files("deep3dfacerecon", config.assets)
    if config.refine.features == "vgg16" and not obtained.vgg16.is_file():
        if config.refine.vgg16_weights:
            lines.append(f"{obtained.vgg16}: VGG16 ImageNet weights (refine.vgg16_weights)")
        elif may_fetch and not lines:
            try:
                assets.fetch_part("vgg16", config.assets)
            except assets.FetchError as error:
                lines.append(str(error))
        else:
            lines += assets.missing_files("vgg16", config.assets)
    if lines:
        listed = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        raise ConfigError(f"this config needs what is not there (python -m external.assets doctor says more): {listed}")
    return obtained
