"""The UV layout of the head model: the committed file, and its making."""

import cv2
import numpy as np
import pytest
from head_file import head_model

from data import parametrisation
from external.anny import load_head_layout
from external.anny.head_layout import ear_area, face_area, makehuman_lookup
from renderer.interpolate import interpolate
from renderer.rasterize import rasterize_uv

SIDE = 2048  # texels
MARGIN = 6  # texels between islands
TEXELS_PER_METRE = 1000 * np.array([2.0, 4.0])  # at least, on the ears and in the face's median


@pytest.fixture(scope="module")
def layout():
    return load_head_layout()


@pytest.fixture(scope="module")
def model():
    return head_model()


@pytest.fixture(scope="module")
def corners(layout):
    """Texture coordinates [T, 3, 2] in float64 of all corners."""
    return layout.uvs.astype(np.float64)[layout.uv_triangles]


def areas(corners):
    return np.linalg.det(corners[:, 1:] - corners[:, :1]) / 2


def border(triangles):
    """The sorted edges that belong to one triangle only."""
    edges = np.sort(np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return set(map(tuple, unique[counts == 1].tolist()))


# ---- the file --------------------------------------------------------------------------------------------------------


def test_layout_is_exactly_symmetric(layout):
    mirrored = layout.uvs * np.float32([-1, 1]) + np.float32([1, 0])
    swapped = {
        name: name.replace("left", "-").replace("right", "left").replace("-", "right") for name in layout.island_names
    }

    def triangles(uvs, names):
        return {
            (names[island], frozenset(map(tuple, triangle)))
            for island, triangle in zip(layout.islands.tolist(), uvs[layout.uv_triangles].tolist(), strict=True)
        }

    here = triangles(layout.uvs, layout.island_names)
    assert len(here) == len(layout.islands)
    assert triangles(mirrored, [swapped[name] for name in layout.island_names]) == here


def test_no_triangle_is_flipped_or_degenerate(corners):
    assert areas(corners).min() * SIDE**2 > 0.01
    assert corners.min() > 2 / SIDE
    assert corners.max() < 1 - 2 / SIDE


def test_no_texel_is_covered_twice(corners):
    count = np.zeros((SIDE, SIDE), dtype=int)
    places = corners * SIDE - 0.5  # texel centres at whole numbers
    for a, b, c in places:
        (left, low), (right, high) = np.ceil(np.min([a, b, c], axis=0)), np.floor(np.max([a, b, c], axis=0)) + 1
        x, y = np.meshgrid(np.arange(left, right), np.arange(low, high))
        inside = np.ones(x.shape, dtype=bool)
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) > 1e-9
        count[int(low) : int(high), int(left) : int(right)] += inside
    assert count.max() == 1


def test_islands_keep_their_distance(layout):
    face_ids = rasterize_uv(layout.uvs, layout.uv_triangles, SIDE, SIDE).face_ids
    islands = np.where(face_ids >= 0, layout.islands[face_ids], len(layout.island_names))
    for island in range(len(layout.island_names)):
        distance = cv2.distanceTransform((islands != island).astype(np.uint8), cv2.DIST_L2, 5)
        others = (islands != island) & (islands < len(layout.island_names))
        assert distance[others].min() > MARGIN, layout.island_names[island]


def test_each_island_is_connected(layout):
    for island, name in enumerate(layout.island_names):
        triangles = layout.uv_triangles[layout.islands == island]
        others = layout.uv_triangles[layout.islands != island]
        assert not np.intersect1d(triangles, others).size, name
        reached = np.isin(np.arange(len(layout.uvs)), triangles[0])
        while (found := reached[triangles].any(axis=1)).sum() > reached[triangles].all(axis=1).sum():
            reached[triangles[found]] = True
        assert reached[triangles].all(), name


# ---- on the head -----------------------------------------------------------------------------------------------------


def test_left_is_at_high_u_and_the_face_is_upright(model, layout):
    left = model.vertices[model.triangles].min(axis=1)[:, 0] >= 0
    corners = layout.uvs[layout.uv_triangles]
    assert (corners[left, :, 0] >= 0.5).all()
    assert (corners[~left, :, 0] <= 0.5).all()
    face = face_area(model) & left
    centres, heights = corners[face].mean(axis=1), model.vertices[model.triangles[face]].mean(axis=1)[:, 1]
    assert np.corrcoef(centres[:, 1], heights)[0, 1] > 0.97


def test_islands_are_parts(model, layout):
    for island, name in enumerate(layout.island_names):
        parts = {model.part_names[part] for part in model.parts[layout.islands == island]}
        expected = "mouth" if name.startswith("mouth") else name.removesuffix("_back")
        assert parts == {expected}
    assert set(layout.islands) == set(range(len(layout.island_names)))


def test_shares_and_density(model, layout, corners):
    face, ears = face_area(model), ear_area(model)
    share = areas(corners)
    assert share[face].sum() >= 0.30
    edges = model.vertices.astype(np.float64)[model.triangles]
    true = np.linalg.norm(np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), axis=1) / 2
    density = np.sqrt(share / true) * SIDE
    assert density[ears].min() > TEXELS_PER_METRE[0]
    assert np.median(density[face]) > TEXELS_PER_METRE[1]
    gradients = parametrisation.gradients(parametrisation.flattened(edges))
    jacobians = parametrisation.jacobians(layout.uvs, layout.uv_triangles, gradients)
    stretch = np.linalg.svd(jacobians, compute_uv=False)
    assert np.percentile((stretch[:, 0] / stretch[:, 1])[face], 95) < 3


def test_density_is_smooth_over_the_face(model, corners):
    face = np.flatnonzero(face_area(model))
    edges = model.vertices.astype(np.float64)[model.triangles[face]]
    true = np.linalg.norm(np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), axis=1) / 2
    density = np.sqrt(areas(corners[face]) / true)
    owner = {}
    ratios = []
    for triangle, numbers in enumerate(model.triangles[face].tolist()):
        for k in range(3):
            edge = frozenset((numbers[k], numbers[k - 1]))
            if edge in owner:
                ratios.append(density[triangle] / density[owner[edge]])
            owner[edge] = triangle
    change = np.exp(np.abs(np.log(ratios)))
    assert np.percentile(change, 95) < 1.15  # the rest is at the rims of lids and lips, which roll in
    assert change.max() < 2.5


def test_eyeballs_look_out_of_the_middle_of_their_discs(model, layout, corners):
    for side, centre in zip(("left", "right"), model.eye_centres(model.vertices), strict=True):
        triangles = layout.islands == layout.island_names.index(f"eye_{side}")
        uvs = corners[triangles]
        middle = (uvs.min(axis=(0, 1)) + uvs.max(axis=(0, 1))) / 2
        for triangle, uv in zip(model.vertices[model.triangles[triangles]] - centre, uvs, strict=True):
            solution = np.linalg.solve(np.r_[uv.T, [[1, 1, 1]]], [*middle, 1])
            if (solution >= 0).all():
                x, y, z = solution @ triangle
                assert np.degrees(np.arctan2(np.hypot(x, y), z)) < 2
                break
        else:
            pytest.fail("no triangle in the middle")


def test_seams_are_all_borders_that_are_one_edge_of_the_mesh(model, layout):
    vertex = np.full(len(layout.uvs), -1)
    vertex[layout.uv_triangles] = model.triangles
    first, second = vertex[layout.seams[:, 0]], vertex[layout.seams[:, 1]]
    np.testing.assert_array_equal(first, second)
    sides = [tuple(sorted(edge)) for edge in layout.seams.reshape(-1, 2).tolist()]
    assert len(set(sides)) == len(sides)
    open_edges = {tuple(sorted(vertex[list(edge)])) for edge in border(layout.uv_triangles) - set(sides)}
    assert open_edges == border(model.triangles)  # the neck's and the teeth's
    assert set(sides) <= border(layout.uv_triangles)


def test_skin_is_cut_in_the_middle_of_the_back_only(model, layout):
    vertex = np.full(len(layout.uvs), -1)
    vertex[layout.uv_triangles] = model.triangles
    island = np.full(len(layout.uvs), -1)
    island[layout.uv_triangles] = layout.islands[:, None]
    skin = layout.island_names.index("skin")
    cut = layout.seams[(island[layout.seams] == skin).all(axis=(1, 2))]
    path = model.vertices[vertex[cut[:, 0]]]
    assert (path[..., 0] == 0).all()
    assert (path[..., 2] < -0.1).all()
    assert path[..., 1].max() > 0.1
    ends, counts = np.unique(vertex[cut[:, 0]], return_counts=True)
    one, other = ends[counts == 1]
    assert (one in model.neck_loop()) != (other in model.neck_loop())
    np.testing.assert_array_equal(layout.uvs[cut[:, 0], 0] + layout.uvs[cut[:, 1], 0], 1)
    np.testing.assert_array_equal(layout.uvs[cut[:, 0], 1], layout.uvs[cut[:, 1], 1])


def test_lookup_of_makehumans_layout_finds_the_same_point_of_the_head(model, layout):
    side = 256
    lookup, triangles = makehuman_lookup(model, layout, side)
    there = rasterize_uv(model.uvs, model.uv_triangles, side, side)
    np.testing.assert_array_equal(triangles, there.face_ids)
    covered = there.face_ids >= 0
    np.testing.assert_array_equal(np.isfinite(lookup).all(axis=2), covered)
    expected = interpolate(model.vertices, model.triangles, there)[covered]
    ours = rasterize_uv(layout.uvs, layout.uv_triangles, SIDE, SIDE)
    places = interpolate(model.vertices, model.triangles, ours)
    u, v = lookup[covered].T
    row, column = ((1 - v) * SIDE).astype(int), (u * SIDE).astype(int)
    drawn = ours.face_ids[row, column] >= 0
    assert drawn.mean() > 0.97
    distance = np.linalg.norm(places[row, column] - expected, axis=1)[drawn]
    assert np.percentile(distance, 95) < 0.001


def test_a_shift_of_the_lookup_is_in_texels_to_the_right_and_down(model, layout):
    plain, _ = makehuman_lookup(model, layout, 128)
    shifted, _ = makehuman_lookup(model, layout, 128, (1.0, 2.0))
    np.testing.assert_allclose(shifted[:-2, :-1], plain[2:, 1:], atol=1e-5)


# ---- making ----------------------------------------------------------------------------------------------------------


def square(count):
    """A square of 1 x 1: its places [count^2, 3] and triangles."""
    y, x = np.mgrid[:count, :count] / (count - 1)
    shape = np.stack([x.ravel(), y.ravel(), np.zeros(count**2)], axis=1)
    first = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    quads = np.stack([first, first + 1, first + count + 1, first + count], axis=1)
    return shape, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def test_least_energy_of_a_flat_surface_is_an_isometry():
    shape, faces = square(7)
    loop = parametrisation.boundary_loops(faces)[0][::-1]
    start = parametrisation.tutte_layout(faces, loop, parametrisation.on_circle(loop, shape), len(shape))
    assert (parametrisation.signed_areas(start, faces) > 0).all()
    flat = parametrisation.flattened(shape[faces])
    weights = np.full(len(faces), 1 / len(faces))
    uvs = parametrisation.dirichlet_layout(start, faces, flat, weights, np.array([], dtype=int), 100)
    stretch = np.linalg.svd(parametrisation.jacobians(uvs, faces, parametrisation.gradients(flat)), compute_uv=False)
    np.testing.assert_allclose(stretch, 1, atol=1e-4)


def test_axis_stays_on_u_0_and_nothing_flips():
    shape, faces = square(7)
    axis = np.flatnonzero(shape[:, 0] == 0)
    bent = shape + np.stack([np.zeros(49), np.zeros(49), np.sin(3 * shape[:, 0]) * np.cos(3 * shape[:, 1])], axis=1)
    flat = parametrisation.flattened(bent[faces])
    uvs = parametrisation.dirichlet_layout(shape[:, :2], faces, flat, np.ones(len(faces)), axis, 30)
    np.testing.assert_array_equal(uvs[axis, 0], 0)
    assert (parametrisation.signed_areas(uvs, faces) > 0).all()


def test_file_can_be_made_again(model, layout):
    from data.make_head_layout import assembled, half_layouts, placed

    made = assembled(model, placed(half_layouts(model)))
    np.testing.assert_allclose(made.uvs, layout.uvs, atol=1e-5)
    for name in ("uv_triangles", "seams", "islands"):
        np.testing.assert_array_equal(getattr(made, name), getattr(layout, name))
    assert made.island_names == layout.island_names
