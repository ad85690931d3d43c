"""What a run on a whole head writes says nothing of sex, age or race, and holds no embedding of the face.

The head model's coefficients are such words (gender-male-female, race-african, ...), and the networks' embeddings tell
persons apart. Checked on every output of a run: names, texts, JSON, arrays, GLB.
"""

import json
import re
import struct

import numpy as np
import pytest
import torch._dynamo  # noqa: F401  Triton, loaded after TensorFlow, crashes: run.sh has two processes, the tests one
from head_file import head_model, needs_head
from skimage import data

import refine
from pipeline.reconstruction import program
from pipeline.runs.files import write_image
from pipeline.runs.run_folder import MAKEHUMAN_TEXTURE

SETTINGS = [
    "reconstruct.system=head", "texture_size=128", "refine.features=none", "refine.rendering_iterations=2",
    "unwrap.fit_iterations=2", "render.maximum_size=256", "output.preview_size=64", "output.makehuman=true",
    "device=cpu",
]  # fmt: skip
# Words of a key or an array's name, whatever the case and whatever stands between words.
FORBIDDEN = {
    "phenotype", "phenotypes", "gender", "sex", "male", "female", "age", "baby", "race", "african", "asian",
    "caucasian", "muscle", "proportions", "embedding", "embeddings", "descriptor", "coefficients", "betas", "landmarks",
}  # fmt: skip
RIG = {
    "version", "neutral", "target_names", "target_offsets", "weights", "part_names", "vertex_parts", "eye_names",
    "eye_parts", "eye_centres", "eye_radii", "eye_directions",
}  # fmt: skip
LONGEST_LIST = 60  # numbers in a list of a JSON: 52 expressions have weights, an embedding has 128, the axes 159
TEXTS = {".json", ".yaml", ".csv", ".html", ".obj", ".mtl"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    place = tmp_path_factory.mktemp("private")
    write_image(place / "astronaut.png", data.astronaut())
    words = [str(place / "astronaut.png"), "-o", str(place / "out"), *SETTINGS]
    assert program.main(words) == 0 and refine.main(words) == 0
    return place / "out"


def contents(value, key=""):
    """(key, value) of everything in a JSON value."""
    yield key, value
    for name, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from contents(each, name if isinstance(value, dict) else key)


def json_of(path):
    """The JSON of a .json or .glb file."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    binary = path.read_bytes()
    return json.loads(binary[20 : 20 + struct.unpack("<I", binary[12:16])[0]])


def forbidden_in(name):
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name)).lower())
    return FORBIDDEN.intersection(words)


@needs_head
def test_the_run_wrote_what_this_looks_at(out):
    names = {path.name for path in (out / "astronaut").iterdir()}
    assert {MAKEHUMAN_TEXTURE, "astronaut.glb", "astronaut_neutral.obj", "metrics.json", "reconstruction"} <= names
    assert (out / "report.html").is_file()


@needs_head
def test_no_axis_of_the_head_model_is_named(out):
    names = head_model().identity_names
    assert "gender-male-female" in names and len(names) > 100
    for path in (path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix in TEXTS or path.suffix in (".npz", ".glb"):
            assert [name for name in names if name.encode() in content] == [], path.name


@needs_head
def test_keys_of_json_and_names_of_arrays(out):
    files = [path for path in out.rglob("*") if path.suffix in (".json", ".glb")]
    expected = {"metrics.json", "manifest.json", "source.json", "camera.json", "astronaut.glb"}
    assert expected <= {path.name for path in files}
    for path in files:
        for key, value in contents(json_of(path)):
            assert not forbidden_in(key), (path.name, key)
            numbers = isinstance(value, list) and value and all(isinstance(each, int | float) for each in value)
            assert not numbers or len(value) <= LONGEST_LIST, (path.name, key)
    archives = {path.name: path for path in out.rglob("*.np[yz]")}
    for name, arrays in {"rig.npz": RIG, "witnesses.npz": {"version", "person", "hands"}}.items():
        with np.load(archives.pop(name)) as archive:
            assert set(archive.files) == arrays
    assert not archives


def test_the_check_finds_what_it_looks_for():
    assert forbidden_in("raceAfrican") and forbidden_in("age-child-old") and forbidden_in("face_embedding")
    assert not forbidden_in("images") and not forbidden_in("coverage")
