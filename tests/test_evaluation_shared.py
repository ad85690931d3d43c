"""The face that face mask and head share, on heads whose points are known; scores of finished runs on it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from head_file import needs_head
from synthetic_faces import albedo
from synthetic_faces import head as face_geometry
from textured_heads import photographed

from evaluation import measures, native, reprojection
from evaluation.options import HEAD_SCALE
from evaluation.shared import carried, face_mask, head, shared_face
from external.anny.points import LIDS, LIPS
from external.face_mesh.reconstruction import reconstruct
from external.face_mesh.template import load_template
from pipeline.reconstruction.folder import Reconstruction, save_reconstruction
from pipeline.runs.files import write_image
from pipeline.settings.errors import ConfigError
from pipeline.texture.comparison import surely_shown
from pipeline.texture.head_parts import FOREHEAD, SKIN, head_texels
from renderer.lookup import build_lookup
from renderer.mesh import Mesh

SIZE = 128


def face(**more) -> Reconstruction:
    """A grey face mask."""
    made = face_geometry(**more)
    photo = np.full((made.camera.height, made.camera.width, 3), 128, np.uint8)
    return Reconstruction(made.mesh, made.camera, photo, None, None, made.head_to_camera, True, {})


def masked(found: Reconstruction) -> Reconstruction:
    """The face mask of a head's own points in the same photo, or in its crop."""
    points = shared_face(found).points(found.mesh.vertices, found.mesh.faces)
    height, width = found.photo.shape[:2]
    pixels_per_metre = found.camera.fx / np.median(points[:, 2])
    depth = (points[:, 2:] - np.median(points[:, 2])) * pixels_per_metre
    made = reconstruct(np.hstack([found.camera.project(points), depth]), width, height)
    left, top, wide, high = made.crop
    photo = np.ascontiguousarray(found.photo[top : top + high, left : left + wide])
    source = {"photo": {"crop": [left, top, wide, high]}}
    return Reconstruction(made.mesh, made.camera, photo, None, None, made.head_to_camera, True, source)


def region_in_photo(found: Reconstruction, size: int, shape: tuple[int, int]) -> np.ndarray:
    """Pixels [H, W] bool of the upright photo that surely show the shared face."""
    lookup = build_lookup(found.mesh, found.camera, size, size)
    region = surely_shown(lookup, shared_face(found).region(size, size).astype(np.float32))
    left, top = found.source.get("photo", {}).get("crop", (0, 0))[:2]
    whole = np.zeros(shape, bool)
    whole[top : top + region.shape[0], left : left + region.shape[1]] = region
    return whole


# ---- the definition --------------------------------------------------------------------------------------------------


def test_layouts_are_recognised_by_their_texture_coordinates():
    for level in (0, 1, 2):
        found = shared_face(face(subdivisions=level))
        assert found is face_mask(level) and found.scale == 1
        # Within half a texel of 512 of where this level has the points and vertices.
        uvs = load_template(level).uvs
        assert np.abs(found.uvs[: min(len(uvs), 7257)] - uvs).max() < 0.7 / 512
    other = face()
    moved = Mesh(other.mesh.vertices, other.mesh.faces, other.mesh.uvs * 0.9, other.mesh.uv_faces)
    assert shared_face(replace(other, mesh=moved)) is None


@needs_head
def test_a_head_is_recognised_with_its_rig():
    found = photographed()
    assert shared_face(found) is head() and head().scale == HEAD_SCALE
    assert shared_face(replace(found, rig=None)) is None


@needs_head
@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_both_systems_score_the_same_pixels_of_a_photo(yaw):
    found = photographed(yaw)
    mask, shape = masked(found), found.photo.shape[:2]
    on_head, on_mask = region_in_photo(found, 1024, shape), region_in_photo(mask, 512, shape)
    overlap = (on_head & on_mask).sum() / (on_head | on_mask).sum()
    assert on_head.sum() > 15000 and overlap > 0.97
    # And the same place of the face is the same pixel.
    pixel = lambda each: each.camera.project(shared_face(each).points(each.mesh.vertices, each.mesh.faces))
    crop = mask.source["photo"]["crop"][:2]
    assert np.abs(pixel(found) - pixel(mask) - crop).max() < 0.01


@needs_head
def test_the_region_is_skin_without_the_openings():
    for found, uv_points in ((face_mask(), face_mask().uvs), (head(), head().uvs)):
        region, inside = found.region(256, 256), found.inside(256, 256)
        assert (region <= inside).all() and 0.85 < region.sum() / inside.sum() < 0.99
        for upper, lower in (*LIDS, LIPS):
            centre = (uv_points[upper[len(upper) // 2]] + uv_points[lower[len(lower) // 2]]) / 2
            row, column = int((1 - centre[1]) * 256), int(centre[0] * 256)
            assert not region[row, column]
        assert (region == region[:, ::-1]).mean() > 0.995
    skin = head_texels(photographed(), 256, 256).of(SKIN)
    assert (head().region(256, 256) <= skin).all()


# ---- from one layout to the other ------------------------------------------------------------------------------------


@needs_head
def test_a_texture_is_carried_there_and_back():
    texture = albedo(SIZE)
    assert carried(texture, face_mask(), face_mask(), SIZE) is texture
    there = carried(texture, face_mask(), head(), 4 * SIZE)
    assert there.shape == (4 * SIZE, 4 * SIZE, 3) and there.min() > 0.05  # extended beyond the outline
    back = carried(there, head(), face_mask(), SIZE)
    region = face_mask().region(SIZE, SIZE)
    inner = cv2.erode(region.astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0  # beyond the outline there is nothing
    assert measures.psnr(back, texture, inner) > 40
    assert carried(region.astype(np.float32), face_mask(), head(), SIZE).shape == (SIZE, SIZE)


# ---- truth and pictures of a head ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth():
    if not head():
        pytest.skip("needs the head model")
    return reprojection.make_truth(photographed(), 2 * SIZE)


@needs_head
def test_the_truth_of_a_head_is_skin_of_the_face(truth):
    texels = head_texels(photographed(), 2 * SIZE, 2 * SIZE)
    assert truth.known.sum() > 3000 and (truth.known <= texels.of(SKIN)).all() and (truth.known <= truth.shown).all()
    eyes = texels.eye("left") | texels.eye("right")
    assert (truth.shown & eyes).any() and not (truth.known & eyes).any()
    height = texels.positions(truth.known)[:, 1]
    beyond = (height > FOREHEAD + 5) & ~head().region(2 * SIZE, 2 * SIZE)[truth.known]
    assert not beyond.any()


@needs_head
def test_pictures_of_a_head_show_the_face_as_large_as_those_of_the_mask(truth):
    found = photographed()
    mask = masked(found)
    heights = []
    for each, size in ((found, 2 * SIZE), (mask, SIZE)):
        view = reprojection.turned(each, 0.0, size)
        points = view.camera.project(shared_face(view).points(view.mesh.vertices, view.mesh.faces))
        heights.append(np.ptp(points[:, 1]))
        assert view.photo.shape == (size, size, 3) and points.min() > 0 and points.max() < size
    assert heights[0] == pytest.approx(heights[1], rel=0.04)
    picture = reprojection.photographed(reprojection.turned(found, 50.0, 2 * SIZE), truth)
    assert picture.rig is not None and picture.mask.max() == 255
    # Of a head's picture nothing but the face is compared with the truth, and it is the same for the mask's layout.
    regions = reprojection.regions(picture, truth)
    shared = reprojection.shared_regions(regions, head(), SIZE)
    assert shared.known.shape == (SIZE, SIZE) and shared.unseen.sum() > 200 and shared.seen.sum() > 200
    assert (shared.unseen <= shared.known).all() and not (shared.unseen & shared.seen).any()
    assert (shared.known <= face_mask().region(SIZE, SIZE)).all()


@needs_head
def test_a_view_of_the_shared_face_alone(truth):
    view = reprojection.viewpoint(reprojection.turned(photographed(), -40.0, 2 * SIZE), truth)
    alone = view.of_shared(head(), truth.known)
    assert 0 < alone.shown.sum() < view.shown.sum() and (alone.shown <= view.shown).all()
    bare, whole = alone.render(truth.texture), view.render(truth.texture)
    assert np.abs(bare - whole)[alone.shown].max() < 0.02
    scalp = np.argwhere(np.abs(whole - 0.5).max(-1) > 0.05)[0]  # the topmost row of the head
    assert bare[tuple(scalp)] == pytest.approx([0.5] * 3, abs=1e-3)


# ---- finished runs ---------------------------------------------------------------------------------------------------


def save_results(folder, found, size, noise):
    """A results folder whose texture is grey with noise, and whose photo is grey."""
    place = folder / "ann" / "reconstruction"
    place.mkdir(parents=True)
    source = {**found.source, "head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
    grey = np.full_like(found.photo, 128)
    save_reconstruction(place, found.mesh, found.camera, grey, None, source, rig=found.rig)
    texture = np.full((size, size, 3), 128 + noise, np.uint8)
    write_image(folder / "ann" / "texture.png", texture)
    write_image(folder / "ann" / "visibility.png", np.full((size, size), 255, np.uint8))


@needs_head
def test_native_scores_of_runs(tmp_path, capsys):
    found = photographed()
    save_results(tmp_path / "heads", found, 256, noise=2)
    save_results(tmp_path / "masks", masked(found), 128, noise=1)
    assert native.main([str(tmp_path / "heads"), str(tmp_path / "masks")]) == 0
    lines = capsys.readouterr().out.splitlines()
    value = lambda name: next(line for line in lines if line.startswith(f"ann, {tmp_path / name}")).split(": ")[1]
    # 20 log10(255 / noise), and the same in the pixels that both show.
    for name, expected in (("heads", 42.11), ("masks", 48.13)):
        own, both = value(name).split("; ")
        assert own.startswith(f"{expected:.2f}, ") and both.startswith(f"{expected:.2f}, ")
        assert int(own.split(", ")[2]) >= int(both.split(", ")[2]) > 10000
    overlap = next(line for line in lines if "intersection over union" in line)
    assert float(overlap.rsplit(" ", 1)[1]) > 0.95
    assert sum(line.startswith("mean of 1, ") for line in lines) == 2


def test_native_scores_say_what_is_missing(tmp_path, capsys):
    with pytest.raises(ConfigError, match="has no finished photo"):
        native.main([str(tmp_path)])
    other = face(width=120, height=110)
    moved = Mesh(other.mesh.vertices, other.mesh.faces, other.mesh.uvs * 0.9, other.mesh.uv_faces)
    save_results(tmp_path, replace(other, mesh=moved), 64, 0)
    assert native.main([str(tmp_path)]) == 1
    assert "has another layout" in capsys.readouterr().out


@needs_head
def test_a_head_s_texture_has_the_texels_of_a_smaller_mask_s():
    texels = [each.inside(size, size).sum() for each, size in ((head(), 256 * HEAD_SCALE), (face_mask(), 256))]
    assert 0.8 < texels[0] / texels[1] < 1.5
