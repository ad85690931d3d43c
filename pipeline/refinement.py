"""One photo, from its reconstruction folder to finished results: unwrap, complete, refine, measure, write."""

import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.completion import complete
from pipeline.export import export_name, head_mesh, write_glb, write_obj
from pipeline.identity import identity_similarity
from pipeline.metrics import rendering_scores
from pipeline.photos import as_bytes, as_float
from pipeline.preview import preview
from pipeline.provenance import mean_shares, provenance_picture
from pipeline.reconstruction_folder import ReconstructionError, content_as_texture
from pipeline.run_folder import write_image, write_json
from pipeline.tensorboard_log import TensorBoardLog
from renderer.dilate import dilate
from renderer.lookup import build_lookup
from renderer.unwrap import unwrap
from renderer.visibility import outward_sign, texel_geometry, visibility
from style_transfer.refine import RenderTarget, refine_texture

VERSION = "2"  # of what this stage writes; raised when the same input gives other results
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


class Clock:
    """Seconds per part of the work."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def part(self, name):
        started = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)


def prepare(reconstruction, config, content=None):
    """Unwrap the photo and make the initial texture. content: uint8 [h, w, 3] or None. Returns Textures.

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
    sampled = np.where(seen[..., None] > 0, sampled, 0)
    outward = outward_sign(geometry, mesh, camera)
    if not (seen > SEEN).any():
        raise ReconstructionError("the photo shows no texel of the mesh well enough: check that mesh and camera fit the photo")
    if content is not None:
        initial = np.where(geometry.mask[..., None], content_as_texture(content, size), 0)
        provenance = {"observed": seen, "given": 1 - seen}
    else:
        rotation = reconstruction.head_to_camera[:3, :3]
        normals = None
        if reconstruction.symmetric:
            normals = (geometry.normals @ rotation) * outward
        yaw = np.arctan2(rotation[0, 2], -rotation[2, 2])
        completion = complete(sampled, seen, geometry.mask, normals, config.completion, yaw)
        initial = completion.texture
        provenance = {"observed": seen, "mirrored": completion.mirrored, "synthesised": completion.smooth}
    initial = dilate(initial, geometry.mask)
    goal = initial if content is None else dilate(initial + seen[..., None] * (sampled - initial), geometry.mask)
    return Textures(sampled, seen, geometry.mask, initial, goal, outward, provenance)


def render_targets(reconstruction, textures, config, device, backend="cpu"):
    """`targets(h, w)` for `refine_texture`: what the rendering should be, one look-up per texture size.

    That is the photo where they show seen texels, and fades into the rendering of the goal texture where they show
    half-seen ones: were these to be the photo too, a line would appear where the rendering loss ends.
    """
    camera, photo = reconstruction.camera, reconstruction.photo
    longest = max(camera.width, camera.height)
    if longest > config.render.maximum_size:
        shrink = config.render.maximum_size / longest
        camera = camera.resized(max(round(camera.width * shrink), 1), max(round(camera.height * shrink), 1))
        photo = cv2.resize(photo, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    pixels = as_float(photo.reshape(-1, 3))

    def targets(height, width):
        lookup = build_lookup(reconstruction.mesh, camera, height, width, backend=backend)
        seen, goal = (
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in (textures.visibility, textures.goal)
        )
        shown = seen_share(lookup, seen)
        blended = lookup.matrix @ goal.reshape(-1, 3)
        sure = np.clip((shown - HALF_SEEN) / (SEEN - HALF_SEEN), 0, 1)[:, None]
        goal = blended + sure * (pixels[lookup.pixels.numpy()] - blended)
        weights = (shown > 0) & inside_silhouette(lookup, config.render.silhouette_erosion)
        weights = weights.astype(np.float32)
        if config.render.mean_over == "photo":
            weights *= len(weights) / (lookup.height * lookup.width)
        as_tensor = lambda array: torch.from_numpy(array.astype(np.float32)).to(device)
        return RenderTarget(lookup.to(device), as_tensor(goal), as_tensor(weights))

    return targets


def seen_share(lookup, seen):
    """How far each covered pixel [N], 0..1, shows seen texels. seen: visibility [h, w] of the look-up's texture size."""
    return np.clip(lookup.matrix @ seen.reshape(-1).astype(np.float32), 0, 1)


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


def refine_prepared(reconstruction, textures, config, features, device, backend="cpu", steps=None):
    """Refine what `prepare` made. backend: of the rendering loss. steps(done, total, losses): progress.

    Returns the texture [H, W, 3] float32, 0..1, continued past the islands, and style_transfer's RefinedTexture.
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator(device="cpu").manual_seed(config.seed)
    as_tensor = lambda image: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device)
    result = refine_texture(
        as_tensor(textures.initial),
        as_tensor(textures.sampled),
        as_tensor(textures.visibility[..., None]),
        as_tensor(textures.mask[..., None]),
        render_targets(reconstruction, textures, config, device, backend),
        features,
        config.refine,
        generator,
        steps,
    )
    return dilate(result.texture[0].permute(1, 2, 0).cpu().numpy(), textures.mask), result


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
    with clock.part("unwrap_and_complete"):
        textures = prepare(reconstruction, config, content)
    log = TensorBoardLog(folder / "tensorboard") if config.log.tensorboard else None

    def steps(done, total, losses):
        report(0.1 + 0.7 * done / total, f"step {done}/{total}")
        if log:
            log.losses(losses)

    with clock.part("refine"):
        refined, result = refine_prepared(reconstruction, textures, config, features, device, backend, steps)
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
        log.images(result.losses[-1]["step"] if result.losses else 0, refined=texture, preview=picture)
    metrics = {
        **scores,
        **({} if identity is None else {"identity": {"arcface": identity}}),
        "texture_size": config.texture_size,
        "shares": mean_shares(textures.provenance, textures.mask),
        "losses": result.losses[-1] if result.losses else {},
        "loss_curve": result.losses,
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
    colours = lookup.matrix @ as_float(texture.reshape(-1, 3))
    inside = (seen_share(lookup, textures.visibility) > SEEN) & inside_silhouette(lookup, 0.0)
    pixels, coverage = lookup.pixels.numpy(), lookup.coverage.numpy()[:, None]
    overlay, region = photo.reshape(-1, 3).copy(), np.zeros(photo.shape[0] * photo.shape[1], bool)
    overlay[pixels] += coverage * (colours - overlay[pixels])
    region[pixels] = inside
    overlay = overlay.reshape(photo.shape)
    scores = rendering_scores(overlay, photo, region.reshape(photo.shape[:2]))
    return {"rendering": {**scores, "pixels": int(region.sum())}}, overlay, photo
