"""One photo, from its reconstruction folder to finished results: unwrap, complete, refine, measure, write."""

import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.completion import complete
from pipeline.export import head_mesh, write_glb, write_obj
from pipeline.identity import identity_similarity
from pipeline.metrics import rendering_scores
from pipeline.photos import as_bytes, as_float
from pipeline.preview import preview
from pipeline.provenance import mean_shares, provenance_picture
from pipeline.reconstruction_folder import ReconstructionError, content_as_texture
from pipeline.run_folder import LOG_FOLDER, export_name, write_image, write_json
from pipeline.tensorboard_log import TensorBoardLog
from renderer.dilate import dilate
from renderer.lookup import build_lookup
from renderer.unwrap import unwrap
from renderer.visibility import TexelGeometry, outward_sign, texel_geometry, visibility
from style_transfer.refine import RenderTarget, refine_texture

VERSION = "4"  # of what this stage writes; raised when the same input gives other results
SEEN = 0.99  # visibility from which a pixel counts as inside the seen face
HALF_SEEN = 0.8  # visibility below which a pixel's goal is no longer the photo


@dataclass(frozen=True)
class Textures:
    """Everything known of a photo's texture before it is refined; all [H, W, ...] float32, 0..1."""

    sampled: np.ndarray  # I_S [H, W, 3], 0 where the photo shows nothing
    visibility: np.ndarray  # [H, W]
    mask: np.ndarray  # [H, W] bool, texels inside the islands
    initial: np.ndarray  # I_C [H, W, 3], complete, continued past the islands
    goal: np.ndarray  # [H, W, 3], the initial texture with the sampled one over it as far as it is seen
    outward: float  # 1 where the mesh's faces are wound to face outwards, else -1
    provenance: dict  # {name in pipeline.provenance.LEGEND: share [H, W] of each texel's colour}
    renderings: "Renderings"  # that the texture is compared with the photo in


class Clock:
    """Seconds per part of the work."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def part(self, name):
        started = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)


@dataclass(frozen=True)
class Unwrapped:
    """What a photo shows of the texture. geometry: renderer.visibility.TexelGeometry; the rest as in Textures."""

    geometry: TexelGeometry
    sampled: np.ndarray
    visibility: np.ndarray
    outward: float


def unwrap_photo(reconstruction, config):
    """Bring the photo into the texture. Returns Unwrapped.

    Raises ReconstructionError where mesh, camera and photo do not fit each other.
    """
    mesh, camera, size = reconstruction.mesh, reconstruction.camera, config.texture_size
    geometry = texel_geometry(mesh, size, size)
    if not geometry.mask.any():
        raise ReconstructionError("no texel centre lies inside the mesh's UVs: they must cover part of the unit square")
    settings = config.unwrap
    seen = visibility(geometry, mesh, camera, settings.full_cosine, settings.zero_cosine, settings.erosion)
    sampled = unwrap(as_float(reconstruction.photo), geometry, camera)
    if reconstruction.mask is not None and settings.exclude_hair:
        own = unwrap(as_float(np.repeat(reconstruction.mask[..., None], 3, 2)), geometry, camera)[..., 0]
        seen = seen * np.clip(own, 0, 1)
    if not (seen > SEEN).any():
        raise ReconstructionError("the photo shows no texel of the mesh well enough: check that mesh and camera fit the photo")
    sampled = np.where(seen[..., None] > 0, sampled, 0)
    return Unwrapped(geometry, sampled, seen, outward_sign(geometry, mesh, camera))


def prepare(reconstruction, config, content=None, device="cpu", backend="cpu", steps=None):
    """Unwrap the photo, fit what it shows, and make the initial texture. Returns Textures.

    content: uint8 [h, w, 3] or None. device, backend: of the rendering loss. steps(done, total, losses): progress of the
    fit. Raises ReconstructionError where mesh, camera and photo do not fit each other.
    """
    shown = unwrap_photo(reconstruction, config)
    geometry, seen = shown.geometry, shown.visibility
    renderings = Renderings(reconstruction, config.render, device, backend)
    sampled = fit_sampled(shown, config, renderings, steps) if config.unwrap.fit_iterations else shown.sampled
    if content is not None:
        initial = np.where(geometry.mask[..., None], content_as_texture(content, config.texture_size), 0)
        provenance = {"observed": seen, "given": 1 - seen}
    else:
        rotation = reconstruction.head_to_camera[:3, :3]
        normals = None
        if reconstruction.symmetric:
            normals = (geometry.normals @ rotation) * shown.outward
        completion = complete(sampled, seen, geometry.mask, normals, config.completion)
        initial = completion.texture
        provenance = {"observed": seen, "mirrored": completion.mirrored, "synthesised": completion.smooth}
    initial = dilate(initial, geometry.mask)
    goal = initial if content is None else dilate(initial + seen[..., None] * (sampled - initial), geometry.mask)
    return Textures(sampled, seen, geometry.mask, initial, goal, shown.outward, provenance, renderings)


def fit_sampled(shown, config, renderings, steps=None):
    """The sampled texture I_S [H, W, 3] as the rendering loss makes it: rendered, it is the photo.

    Unwrapping resamples the photo and so blurs it; the fit takes that back before anything is completed from it.
    """
    known = dilate(shown.sampled, shown.visibility > 0)
    settings = replace(config.refine, transfers=1, iterations=0, rendering_iterations=config.unwrap.fit_iterations)
    fitted = _refined(known, known, shown.visibility, shown.geometry.mask, known, renderings, None, settings, config.seed, steps)
    return np.where(shown.visibility[..., None] > 0, as_image(fitted.texture), 0)


class Renderings:
    """Renderings of a reconstruction that textures are compared with the photo in. Each size's look-up is made once."""

    def __init__(self, reconstruction, settings, device="cpu", backend="cpu"):
        """settings: pipeline.config.RenderSettings. backend: cpu or nvdiffrast."""
        camera, photo = reconstruction.camera, reconstruction.photo
        longest = max(camera.width, camera.height)
        if longest > settings.maximum_size:
            shrink = settings.maximum_size / longest
            camera = camera.resized(max(round(camera.width * shrink), 1), max(round(camera.height * shrink), 1))
            photo = cv2.resize(photo, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        self.device = torch.device(device)
        self._pixels = as_float(photo.reshape(-1, 3))
        self._mesh, self._camera, self._settings, self._backend = reconstruction.mesh, camera, settings, backend
        self._lookups = {}

    def lookup(self, height, width):
        """TextureLookup of a texture of this size."""
        if (height, width) not in self._lookups:
            lookup = build_lookup(self._mesh, self._camera, height, width, backend=self._backend)
            self._lookups[height, width] = lookup
        return self._lookups[height, width]

    def targets(self, visibility, goal):
        """`targets(h, w)` for `refine_texture`: what the rendering should be.

        That is the photo where pixels show seen texels, and fades into the rendering of the goal texture [H, W, 3] where
        they show half-seen ones: were these to be the photo too, a line would appear where the rendering loss ends.
        """

        def target(height, width):
            lookup = self.lookup(height, width)
            seen, wanted = (
                cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in (visibility, goal)
            )
            shown = seen_share(lookup, seen)
            blended = lookup.matrix @ wanted.reshape(-1, 3)
            sure = np.clip((shown - HALF_SEEN) / (SEEN - HALF_SEEN), 0, 1)[:, None]
            colours = blended + sure * (self._pixels[lookup.pixels.numpy()] - blended)
            weights = (shown > 0) & inside_silhouette(lookup, self._settings.silhouette_erosion)
            weights = weights.astype(np.float32)
            if self._settings.mean_over == "photo":
                weights *= len(weights) / (lookup.height * lookup.width)
            as_tensor = lambda array: torch.from_numpy(array.astype(np.float32)).to(self.device)
            return RenderTarget(lookup.to(self.device), as_tensor(colours), as_tensor(weights))

        return target


def seen_share(lookup, seen):
    """How far each covered pixel [N], 0..1, shows seen texels. seen: visibility [h, w] of the look-up's texture size."""
    return np.clip(lookup.matrix @ seen.reshape(-1).astype(np.float32), 0, 1)


def surely_shown(lookup, seen):
    """Pixels [H, W] bool of the look-up's image that show seen texels and nothing else. seen: as in `seen_share`."""
    shown = np.zeros(lookup.height * lookup.width, bool)
    inside = (seen_share(lookup, seen) > SEEN) & inside_silhouette(lookup, 0.0)
    shown[lookup.pixels.numpy()[inside]] = True
    return shown.reshape(lookup.height, lookup.width)


def rendered_over(lookup, texture, photo):
    """Rendering [H, W, 3] of a texture [h, w, 3], 0..1, over a photo of the look-up's image size, 0..1."""
    overlay = photo.reshape(-1, 3).copy()
    pixels, coverage = lookup.pixels.numpy(), lookup.coverage.numpy()[:, None]
    overlay[pixels] += coverage * (lookup.matrix @ texture.reshape(-1, 3) - overlay[pixels])
    return overlay.reshape(photo.shape)


def inside_silhouette(lookup, erosion):
    """Which covered pixels [N] bool lie inside the silhouette, eroded by a share of the image's longer side."""
    pixels = lookup.pixels.numpy()
    silhouette = np.zeros(lookup.height * lookup.width, np.uint8)
    silhouette[pixels] = lookup.coverage.numpy() > 0.999
    silhouette = silhouette.reshape(lookup.height, lookup.width)
    radius = round(erosion * max(lookup.height, lookup.width))
    if radius:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        # The photo's own border is no silhouette.
        silhouette = cv2.erode(silhouette, kernel, borderValue=1)
    return silhouette.reshape(-1)[pixels] > 0


def refine_prepared(textures, config, features, steps=None):
    """Refine what `prepare` made. steps(done, total, losses): progress.

    Returns the texture [H, W, 3] float32, 0..1, continued past the islands, and style_transfer's RefinedTexture.
    """
    settings = config.refine_schedule(features is not None, "given" in textures.provenance)
    result = _refined(
        textures.initial, textures.sampled, textures.visibility, textures.mask, textures.goal, textures.renderings,
        features, settings, config.seed, steps,
    )  # fmt: skip
    return dilate(as_image(result.texture), textures.mask), result


def _refined(content, style, visibility, mask, goal, renderings, features, settings, seed, steps):
    torch.manual_seed(seed)
    as_tensor = lambda image: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(renderings.device)
    return refine_texture(
        as_tensor(content),
        as_tensor(style),
        as_tensor(visibility[..., None]),
        as_tensor(mask[..., None]),
        renderings.targets(visibility, goal),
        features,
        settings,
        torch.Generator(device="cpu").manual_seed(seed),
        steps,
    )


def as_image(texture):
    """[H, W, 3] float32 of a tensor [1, 3, H, W]."""
    return texture[0].permute(1, 2, 0).cpu().numpy()


def refine_photo(
    folder, reconstruction, config, features, device, backend="cpu", content=None, progress=None, extra=None, name="face"
):
    """Make all results of one photo in an empty folder. Returns the metrics, which are written last.

    features: of `style_transfer`, or None. backend: cpu or nvdiffrast, of the rendering loss. content: initial texture, uint8 [h, w, 3], or None. progress(share, text).
    extra: what else metrics.json is to hold (fingerprint). name: the photo's, for the meshes' files. Raises ReconstructionError.
    """
    folder, clock = Path(folder), Clock()
    report = progress or (lambda share, text: None)
    report(0.0, "unwrap")
    log = TensorBoardLog(folder / LOG_FOLDER) if config.log.tensorboard else None
    curve = []

    def steps(stage, start, share):
        before = curve[-1]["step"] if curve else 0

        def step(done, total, losses):
            curve.append({"stage": stage, **losses, "step": before + losses["step"]})
            report(start + share * done / total, f"{stage} {done}/{total}")
            if log:
                log.losses(curve[-1])

        return step

    with clock.part("unwrap_and_complete"):
        textures = prepare(reconstruction, config, content, device, backend, steps("fit", 0.05, 0.25))
    with clock.part("refine"):
        refined, result = refine_prepared(textures, config, features, steps("refine", 0.3, 0.5))
    report(0.8, "write")
    with clock.part("write"):
        texture = as_bytes(refined)
        write_image(folder / "sampled.png", as_bytes(textures.sampled))
        write_image(folder / "visibility.png", as_bytes(textures.visibility))
        write_image(folder / "initial.png", as_bytes(textures.initial))
        write_image(folder / "texture.png", texture)
        write_image(folder / "provenance.png", provenance_picture(textures.provenance, textures.mask))
        head = head_mesh(reconstruction.mesh, reconstruction.head_to_camera, textures.outward)
        write_obj(folder, head, export_name(name))
        write_glb(folder, head, texture, export_name(name))
    with clock.part("measure"):
        scores, overlay, photo = measure(reconstruction, textures, texture)
        identity = identity_similarity(config.assets, photo, overlay, reconstruction.source.get("points"))
        picture = preview(photo, overlay, as_float(texture), head, config.output.preview_size)
        write_image(folder / "preview.png", picture)
        write_image(folder / "rendering.png", as_bytes(overlay))
    if log:
        log.images(0, initial=as_bytes(textures.initial))
        log.images(curve[-1]["step"] if curve else 0, refined=texture, preview=picture)
    metrics = {
        **scores,
        **({} if identity is None else {"identity": {"arcface": identity}}),
        "texture_size": config.texture_size,
        "shares": mean_shares(textures.provenance, textures.mask),
        "losses": curve[-1] if curve else {},
        "loss_curve": curve,
        "seconds": {**clock.seconds, "all": round(sum(clock.seconds.values()), 3)},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "notes": result.notes,
        **(extra or {}),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def measure(reconstruction, textures, texture):
    """Scores of the written texture (uint8) at the photo's native resolution, the rendering over the photo, the photo."""
    size = texture.shape[0]
    photo = as_float(reconstruction.photo)
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, size, size)
    overlay, region = rendered_over(lookup, as_float(texture), photo), surely_shown(lookup, textures.visibility)
    scores = rendering_scores(overlay, photo, region)
    return {"rendering": {**scores, "pixels": int(region.sum())}}, overlay, photo
