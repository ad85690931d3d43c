"""The initial texture against heads whose whole texture is known."""

import dataclasses

import numpy as np
import pytest
from synthetic_faces import albedo, lit, photograph, seen_head, texel_grid

from evaluation.prepared import prepare
from pipeline.reconstruction.folder import Reconstruction
from pipeline.settings.loading import load_config
from pipeline.settings.schema import CompletionSettings
from pipeline.texture.completion import complete

SIZE = 256
SETTINGS = CompletionSettings()


@dataclasses.dataclass(frozen=True)
class Truth:
    """A head seen by one camera, and its whole texture."""

    texture: np.ndarray  # [SIZE, SIZE, 3]
    seen: np.ndarray  # [SIZE, SIZE]
    mask: np.ndarray
    normals: np.ndarray
    found: object

    @property
    def sampled(self):
        return self.texture * (self.seen[..., None] > 0)

    @property
    def hidden(self):
        """Unseen texels whose mirror image is seen."""
        return (self.seen < 0.01) & (self.seen[:, ::-1] > 0.99) & self.mask

    def complete(self, normals="known", **changes):
        normals = self.normals if isinstance(normals, str) else normals
        return complete(self.sampled, self.seen, self.mask, normals, SETTINGS.changed(**changes))

    def error(self, texture, where):
        assert where.sum() > 500
        return np.sqrt(np.mean((texture - self.texture)[where] ** 2))


def truth_of(yaw, odd, contrast=0.4, texture=None):
    found, seen, mask, normals = seen_head(yaw, SIZE, subdivisions=2)
    texture = lit(albedo(SIZE, contrast) if texture is None else texture, normals, odd) if odd is not None else texture
    return Truth(np.where(mask[..., None], texture, 0).astype(np.float32), seen, mask, normals, found)


def border_step(truth, texture, reach=4):
    """Mean jump of the error from the last seen texel of a row to an unseen one close by."""
    error = texture - truth.texture
    seen, unseen = truth.seen > 0.99, (truth.seen < 0.01) & truth.mask
    across = np.abs(error[:, reach:] - error[:, :-reach]).mean(-1)
    places = (seen[:, reach:] & unseen[:, :-reach]) | (unseen[:, reach:] & seen[:, :-reach])
    assert places.sum() > 50
    return across[places].mean()


@pytest.mark.parametrize(("yaw", "odd"), [(30, 0.1), (30, 0.2), (30, -0.2), (-30, 0.2), (-30, -0.2), (20, -0.2)])
def test_hidden_texels_are_nearer_to_the_truth(yaw, odd):
    truth = truth_of(yaw, odd)
    completion = truth.complete()
    error = truth.error(completion.texture, truth.hidden)
    plain_mirror = truth.texture[:, ::-1]
    assert error < (0.6 if abs(odd) > 0.15 else 0.85) * truth.error(plain_mirror, truth.hidden)
    assert error < 0.75 * truth.error(truth.complete(method="smooth").texture, truth.hidden)
    if abs(odd) > 0.15:
        assert error < 0.85 * truth.error(truth.complete(relight=False).texture, truth.hidden)
    with_seam = np.where((truth.seen > 0.99)[..., None], truth.texture, plain_mirror)
    assert border_step(truth, completion.texture) < 0.55 * border_step(truth, with_seam)
    assert border_step(truth, completion.texture) < 0.035


@pytest.mark.parametrize("yaw", [0, 30, -45, 65])
def test_seen_texels_are_the_photos_and_shares_add_up(yaw):
    truth = truth_of(yaw, 0.2)
    for completion in (truth.complete(), truth.complete(method="smooth"), truth.complete(normals=None)):
        assert completion.texture.shape == (SIZE, SIZE, 3) and completion.texture.dtype == np.float32
        assert (completion.texture[truth.seen == 1] == truth.texture[truth.seen == 1]).all()
        shares = truth.seen + completion.mirrored + completion.smooth
        np.testing.assert_allclose(shares[truth.mask], 1, atol=1e-5)
        assert completion.mirrored.min() >= 0 and completion.smooth.min() >= 0
        assert (completion.mirrored[~truth.mask] == 0).all() and (completion.smooth[~truth.mask] == 0).all()
        inside = completion.texture[truth.mask]
        assert np.isfinite(inside).all() and inside.min() > 0.02 and inside.max() <= 1  # no black anywhere
    if truth.hidden.any():
        assert (truth.complete().mirrored[truth.hidden] > 0).mean() > 0.9
    assert truth.hidden.any() == (yaw != 0)


def test_without_odd_light_the_mirror_image_is_the_answer():
    truth = truth_of(30, 0.0)
    completion = truth.complete()
    deep = completion.mirrored > 0.999
    assert deep.sum() > 5000
    # The light that albedo feigns and the residue at the border are small.
    assert truth.error(completion.texture, deep) < 0.025
    # Without relighting no more than a step at the border could change it, and there is none.
    texture = truth.complete(relight=False).texture
    np.testing.assert_allclose(texture[deep], truth.texture[:, ::-1][deep], atol=0.05)
    assert truth.error(texture, deep) < 0.015


@pytest.mark.parametrize("yaw", [0, 25, -50])
def test_a_constant_stays_constant(yaw):
    truth = truth_of(yaw, None, texture=np.full((SIZE, SIZE, 3), (0.6, 0.4, 0.3), np.float32))
    for changes in ({}, {"relight": False}, {"method": "smooth"}):
        texture = truth.complete(**changes).texture
        np.testing.assert_allclose(texture[truth.mask], truth.texture[truth.mask], atol=2e-3)


def test_what_is_hidden_does_not_matter():
    truth = truth_of(30, 0.2)
    expected = truth.complete()
    rng = np.random.default_rng(0)
    garbage = np.where(truth.seen[..., None] > 0, truth.texture, rng.uniform(size=(SIZE, SIZE, 3))).astype(np.float32)
    rows, columns = np.nonzero(truth.seen == 0)
    garbage[rows[::7], columns[::7]] = np.nan
    outside = np.where(truth.mask, truth.seen, 1).astype(np.float32)  # confidence beyond the islands means nothing
    found = complete(garbage, outside, truth.mask, truth.normals, SETTINGS)
    assert (found.texture == expected.texture).all() and (found.mirrored == expected.mirrored).all()


def test_inputs_stay_as_they_are():
    truth = truth_of(30, 0.2)
    given = [truth.sampled, truth.seen.copy(), truth.mask.copy(), truth.normals.copy()]
    copies = [array.copy() for array in given]
    complete(*given, SETTINGS)
    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def marked_truth(at):
    """A head turned by 30 degrees with a blue spot at the texel (u, v) only: no symmetric content."""
    u, v = texel_grid(SIZE)
    spot = (u - at[0]) ** 2 + (v - at[1]) ** 2 < 0.02**2
    texture = np.where(spot[..., None], (0.1, 0.1, 0.6), albedo(SIZE, 0.1)).astype(np.float32)
    return truth_of(30, 0.1, texture=texture), spot


def blueness(texture, where):
    return (texture[..., 2] - texture[..., 0])[where].mean()


def test_a_birthmark_on_the_seen_side_only():
    truth, spot = marked_truth((0.18, 0.5))  # the head is turned to its left: its right cheek is seen
    mirrored_place = spot[:, ::-1]
    assert (truth.seen[spot] > 0.99).all() and (truth.seen[mirrored_place] < 0.99).any()
    # Nobody can know: what is hidden gets the mark of the seen side, unless nothing is to be mirrored.
    hidden = mirrored_place & truth.hidden
    assert hidden.any() and blueness(truth.complete().texture, hidden) > 0
    for unmirrored in (truth.complete(normals=None), truth.complete(method="smooth")):
        assert blueness(unmirrored.texture, mirrored_place) < -0.02
        assert (unmirrored.mirrored == 0).all()


def test_a_birthmark_where_both_sides_are_seen_stays_on_its_side():
    truth, spot = marked_truth((0.44, 0.93))
    mirrored_place = spot[:, ::-1]
    assert (truth.seen[spot | mirrored_place] == 1).all()
    assert blueness(truth.complete().texture, spot) > 0.2 and blueness(truth.complete().texture, mirrored_place) < 0


def test_smooth_and_no_symmetry_are_the_same():
    truth = truth_of(-30, 0.2)
    smooth, unknown = truth.complete(method="smooth"), truth.complete(normals=None)
    assert (smooth.texture == unknown.texture).all() and (smooth.smooth == unknown.smooth).all()


@pytest.mark.parametrize("normals", [None, np.zeros((40, 50, 3), np.float32)])
def test_nothing_seen(normals):
    with pytest.raises(ValueError, match="the photo shows no texel"):
        complete(np.zeros((40, 50, 3), np.float32), np.full((40, 50), 0.5, np.float32), np.ones((40, 50), bool), normals, SETTINGS)


def test_a_texture_of_another_shape():
    """Nothing supposes a square: a strip whose left end is seen."""
    height, width = 60, 200
    rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
    texture = np.stack([0.4 + 0.2 * rows, 0.5 + 0 * rows, 0.5 - 0.2 * np.abs(columns - 0.5)], axis=-1).astype(np.float32)
    seen = np.clip((0.7 - columns) * 20, 0, 1).astype(np.float32)
    mask = (columns > 0.05) & (columns < 0.945)
    normals = np.stack([columns - 0.5, 0 * rows, np.sqrt(1 - (columns - 0.5) ** 2)], axis=-1).astype(np.float32)
    completion = complete(texture * (seen[..., None] > 0), seen, mask, normals, SETTINGS)
    hidden = mask & (seen == 0)
    assert np.abs(completion.texture - texture)[hidden].mean() < 0.03


def test_the_whole_way_from_photo_and_mesh():
    """With unwrapping and visibility: from a rendered photo to a texture close to the one it was rendered from."""
    for yaw in (0, 30):
        truth = truth_of(yaw, 0.15)
        photo = photograph(truth.texture, truth.found)
        found = truth.found
        given = Reconstruction(found.mesh, found.camera, photo, None, None, found.head_to_camera, True, {})
        prepared = prepare(given, load_config(None, [f"texture_size={SIZE}"]))
        assert (prepared.sampled.mask == truth.mask).all()
        np.testing.assert_allclose(sum(prepared.initial.provenance.values())[prepared.sampled.mask], 1, atol=1e-5)
        seen = prepared.sampled.visibility == 1
        assert truth.error(prepared.initial.texture, seen) < 0.03
        if yaw:
            hidden = truth.hidden & (prepared.sampled.visibility < 0.01)
            error = truth.error(prepared.initial.texture, hidden)
            assert error < 0.7 * truth.error(truth.texture[:, ::-1], hidden)
            unknown = prepare(dataclasses.replace(given, symmetric=False), load_config(None, [f"texture_size={SIZE}"]))
            assert (unknown.initial.provenance["mirrored"] == 0).all()
            assert error < 0.8 * truth.error(unknown.initial.texture, hidden)
        # Texels beside the islands go on in the islands' colours.
        assert prepared.initial.texture[~prepared.sampled.mask].min() > 0.02


def test_lengths_follow_the_density_of_the_texture():
    truth = truth_of(30, 0.2)
    given = (truth.sampled, truth.seen, truth.mask, truth.normals, SETTINGS)
    usual, same, finer = (complete(*given, density).texture for density in (None, 2.5 / 2, 2.5))
    np.testing.assert_array_equal(usual, same)
    assert np.abs(usual - finer)[truth.hidden].mean() > 1e-3


def test_continued_detail_fades_with_the_distance():
    """Far from seen skin a fill is smooth, so that no repetition shows in wide areas."""
    rng = np.random.default_rng(1)
    texture = (0.5 + 0.05 * rng.standard_normal((SIZE, SIZE, 1)) * np.ones(3)).astype(np.float32)
    seen, mask = np.zeros((SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), bool)
    seen[:, :100] = 1
    roughness = {}
    for reach in (None, 10.0):
        found = complete(texture * seen[..., None], seen, mask, np.zeros((SIZE, SIZE, 3)), SETTINGS, 1.0, reach).texture
        roughness[reach] = [found[40:-40, columns].std() for columns in (slice(103, 106), slice(124, 132))]
    assert roughness[10.0][0] > 0.4 * roughness[None][0]
    assert roughness[10.0][1] < 0.1 * roughness[None][1]
    # Within an area that is given it does not fade, and from there on it does.
    area = np.zeros((SIZE, SIZE), bool)
    area[:, :114] = True
    found = complete(texture * seen[..., None], seen, mask, np.zeros((SIZE, SIZE, 3)), SETTINGS, 1.0, 10.0, None, area).texture
    assert found[40:-40, 106:113].std() > 0.8 * roughness[None][1]
    assert found[40:-40, 134:140].std() < 0.2 * roughness[None][1]  # halfway to the mirrored side


def test_smooth_fills_come_from_good_sources():
    texture = np.tile(np.float32([0.6, 0.5, 0.4]), (SIZE, SIZE, 1))
    texture[:, 90:100] = 0.1
    seen, mask = np.zeros((SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), bool)
    seen[:, :100] = 1
    sources = np.ones((SIZE, SIZE), np.float32)
    sources[:, 80:] = 1e-5
    plain, better = (complete(texture, seen, mask, None, SETTINGS, 1.0, 10.0, weights).texture for weights in (None, sources))
    assert np.abs(better[:, 110:] - (0.6, 0.5, 0.4)).max() < 0.03 < np.abs(plain[:, 110:] - (0.6, 0.5, 0.4)).max()
    np.testing.assert_allclose(better[:, :100], texture[:, :100], atol=1e-6)
