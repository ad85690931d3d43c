"""Defaults, YAML files, overrides, and what is said about those that cannot be used."""

import dataclasses
import re

import pytest

from pipeline import config as config_module
from pipeline.config import (
    Config,
    ConfigError,
    config_name,
    describe,
    find_config,
    fingerprint,
    list_configs,
    load_config,
    to_yaml,
    validate,
)


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def yaml_file(tmp_path):
    def write(text: str):
        path = tmp_path / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults_are_allowed_and_documented():
    validate(Config())
    lines = describe().splitlines()
    assert len(lines) == len({line.split("=")[0] for line in lines}) > 30
    assert all(re.fullmatch(r"  [a-z0-9_.]+=\S.*  \S.+", line) for line in lines)


@pytest.mark.parametrize("name", [name for name, _ in list_configs()])
def test_every_config_loads_and_says_what_it_is_for(name):
    load_config(name)
    assert dict(list_configs())[name]


def test_default_config_is_the_default():
    assert load_config() == load_config("default") == load_config("configs/default.yaml")
    assert load_config().texture_size == 1024
    assert load_config("quick").texture_size == 512


def test_file_changes_defaults_and_overrides_change_the_file(yaml_file):
    path = yaml_file("seed: 3\ndetect:\n  face: all\nrefine:\n  iterations: 7\n")
    config = load_config(path, ["refine.iterations=9", "refine.scales=[0.25, 1]", "content=2024"])
    assert (config.seed, config.detect.face, config.refine.iterations) == (3, "all", 9)
    assert config.refine.scales == [0.25, 1.0] and config.content == "2024"
    assert config.texture_size == Config().texture_size


def test_group_without_keys_changes_nothing(yaml_file):
    assert load_config(yaml_file("detect:\n# nothing here\n")) == Config()
    assert load_config(yaml_file("")) == Config()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", ".001", "1.0e-3"])
def test_numbers_with_an_exponent_are_numbers(text, yaml_file):
    assert load_config(None, [f"refine.learning_rate={text}"]).refine.learning_rate == 1e-3
    assert load_config(yaml_file(f"refine:\n  learning_rate: {text}\n")).refine.learning_rate == 1e-3


def test_types_of_what_is_loaded():
    config = load_config(None, ["texture_size=1e3", "unwrap.erosion=3", "detect.face=2"])
    assert config.texture_size == 1000 and isinstance(config.texture_size, int)
    assert isinstance(config.unwrap.erosion, float)
    assert config.detect.face == 2 and isinstance(config.detect.face, int)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("refine.iteration=3", "refine.iteration on the command line; did you mean refine.iterations?"),
        ("face=all", "did you mean detect.face?"),
        ("txture_size=3", "did you mean texture_size?"),
        ("qwertzuiop=1", "--help lists all keys"),
        ("refine=3", "is a group of settings"),
        ("texture_size=12", "texture_size: got 12, allowed is a whole number at least 64 and at most 8192"),
        ("texture_size=true", "texture_size: got true"),
        ("texture_size=512.5", "texture_size: got 512.5"),
        ("texture_size=big", "texture_size: got 'big'"),
        ("texture_size=", "texture_size: got null"),
        ("refine.learning_rate=.nan", "refine.learning_rate: got .nan"),
        ("refine.learning_rate=.inf", "refine.learning_rate: got .inf"),
        ("refine.learning_rate=-1", "refine.learning_rate: got -1, allowed is a number above 0"),
        ("refine.features=vgg", "allowed is auto or vgg16 or patches or none; did you mean vgg16?"),
        ("refine.scales=1", "refine.scales: got 1, allowed is a list"),
        ("refine.scales=[a]", "refine.scales: got [a], allowed is a list, each a number"),
        ("refine.scales=[2]", "refine.scales: got [2.0], allowed is"),
        ("detect.face=-1", "detect.face: got -1, allowed is largest or all or a whole number at least 0"),
        ("detect.try_turned=1", "detect.try_turned: got 1, allowed is true or false"),
        ("unwrap.zero_cosine=.9", "unwrap.zero_cosine: got 0.9, allowed is less than full_cosine (0.45)"),
        ("texture_size", "not of the form key=value"),
        ("=3", "not of the form key=value"),
    ],
)
def test_refused_override_names_key_given_and_allowed(override, said):
    assert said in refusal(load_config, None, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("textur_size: 3\n", "did you mean texture_size?"),
        ("refine:\n  iteration: 3\n", "did you mean refine.iterations?"),
        ("refine: 3\n", "is a group of settings"),
        ("texture_size:\n  a: 3\n", "texture_size: got {a: 3}"),
        ("content: 2024\n", "content: got 2024, allowed is text"),
        ("- seed\n", "must hold lines of the form 'key: value'"),
        ("seed: [1\n", "line 2 is not valid YAML"),
        ("seed: 1\nseed: 2\n", "line 2 is not valid YAML: seed is given twice"),
        ("seed: !!python/object:os.system 1\n", "line 1 is not valid YAML"),
        ("1: 2\n", "unknown key 1 in"),
        ("[1]: 2\n", "not valid YAML"),
    ],
)
def test_refused_file_names_key_given_and_allowed(text, said, yaml_file):
    assert said in refusal(load_config, yaml_file(text))


def test_file_that_is_no_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not text in UTF-8" in refusal(load_config, path)


def test_config_that_is_not_there_names_those_that_are():
    message = refusal(load_config, "quik")
    assert "default" in message and "did you mean quick?" in message
    assert "not found" in refusal(load_config, "elsewhere/quick.yaml")


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("quick") == find_config("configs/quick.yaml") == config_module.CONFIG_FOLDER / "quick.yaml"


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "default"), ("quick", "quick"), ("configs/quick.yaml", "quick"), ("/x/my v1.2.yml", "my v1.2")],
)
def test_config_name(given, name):
    assert config_name(given) == name


def test_yaml_of_a_config_loads_to_the_same_config(yaml_file):
    config = load_config("quick", ["detect.face=1", "content=bilder/größe: x", "refine.scales=[0.5, 1]", "seed=5"])
    assert load_config(yaml_file(to_yaml(config))) == config


def test_fingerprint_follows_what_changes_results():
    base = fingerprint(load_config())
    assert base == fingerprint(load_config(None, ["threads=2", "device=cpu"]))
    changes = ["seed=1", "detect.face=all", "refine.iterations=41", "refine.scales=[0.5]", "content=x.png"]
    assert len({base, *(fingerprint(load_config(None, [change])) for change in changes)}) == 1 + len(changes)
    assert fingerprint(load_config(None, ["unwrap.erosion=2"])) == base


def test_validate_sees_what_was_built_by_hand():
    assert "seed: got true" in refusal(validate, dataclasses.replace(Config(), seed=True))
    wrong = dataclasses.replace(Config(), unwrap=config_module.UnwrapSettings(full_cosine=0.1))
    assert "unwrap.zero_cosine" in refusal(validate, wrong)
