"""Defaults, YAML files, overrides, and what is said about those that cannot be used."""

import pickle
import re

import pytest
from pydantic import ValidationError

from pipeline.settings.command_line import parse
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import (
    CONFIG_FOLDER,
    config_name,
    describe,
    find_config,
    fingerprint,
    list_configs,
    load_config,
    to_yaml,
)
from pipeline.settings.schema import Config, UnwrapSettings


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
    assert Config.model_validate(Config().model_dump()) == Config()
    lines = describe().splitlines()
    assert len(lines) == len({line.split("=")[0] for line in lines}) > 30
    assert all(re.fullmatch(r"  [a-z0-9_.]+=\S.*  \S.+", line) for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        r"texture_size=2048 +Height and width of the texture in texels\. .* \(from 64 to 8192\)",
        r"limits\.mesh_megabytes=200\.0 +Largest .* \(above 0 and at most 100000\)",
        r"refine\.scales=\[0\.5, 1\.0\] +Working sizes.* \(above 0 and at most 1\)",
        r"device=auto .*One of: auto, cpu, cuda\.",
        r"content='' +Initial texture from elsewhere.*",
    ],
)
def test_help_names_default_meaning_and_limits(line, capsys):
    with pytest.raises(SystemExit) as left:
        parse(["--help"], "Textures from photos.")
    assert left.value.code == 0
    assert any(re.fullmatch("  " + line, printed) for printed in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("name", [name for name, _ in list_configs()])
def test_every_config_loads_and_says_what_it_is_for(name):
    load_config(name)
    assert dict(list_configs())[name]


PUBLISHED = {
    "features": "vgg16", "transfers": 5, "scales": [0.5, 1.0], "iterations": 150, "rendering_iterations": 0,
    "parameters": "pyramid", "pyramid_depth": 5, "optimiser": "sgd", "learning_rate": 0.3, "decay_learning_rate": False,
    "momentum": 0.9, "content_weight": 8.0, "style_weight": 1.7, "rendering_weight": 20.0, "moment_weight": 1.0,
    "content_decay": 1.1, "rendering_growth": 1.1, "style_region": "all", "style_draws": 5,
    "style_samples": 1000, "result_samples": 2048, "mirrored_style": True, "style_from_seen": False,
    "content_noise": False, "stretch_between_transfers": False,
}  # fmt: skip


@pytest.mark.parametrize("name", ["facerefiner", "figure7", "figure8"])
def test_the_published_schedule(name):
    config = load_config(name)
    assert {key: getattr(config.refine, key) for key in PUBLISHED} == PUBLISHED
    assert (config.texture_size, config.renderer, config.render.mean_over) == (512, "auto", "photo")


def test_the_published_experiments_differ_in_what_they_start_from():
    base, figure7, figure8 = (load_config(name) for name in ("facerefiner", "figure7", "figure8"))
    assert figure7.reconstruct.system == figure8.reconstruct.system == "deep3dfacerecon"
    assert figure7.reconstruct.model_colours and not figure8.reconstruct.model_colours
    assert figure7.content == "" and figure8.content == "data/ostec"
    for figure in (figure7, figure8):
        assert figure.changed(reconstruct=base.reconstruct, content="") == base


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_override_has_its_reason(path):
    """A comment stands above each line of settings, or above the lines right before it."""
    explained = False
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.strip()
        if not words or re.fullmatch(r"\w+:", words):
            explained = False
        elif words.startswith("#"):
            explained = True
        else:
            assert explained, f"{path.name}: {words}"


def test_default_config_is_the_default():
    assert load_config() == load_config("default") == load_config("configs/default.yaml")
    assert load_config().texture_size == 2048
    assert load_config("quick").texture_size == 1024


def test_file_changes_defaults_and_overrides_change_the_file(yaml_file):
    path = yaml_file("seed: 3\ndetect:\n  face: all\nrefine:\n  iterations: 7\n")
    config = load_config(path, ["refine.iterations=9", "refine.scales=[0.25, 1]", "content=2024"])
    assert (config.seed, config.detect.face, config.refine.iterations) == (3, "all", 9)
    assert config.refine.scales == [0.25, 1.0] and config.content == "2024"
    assert config.texture_size == Config().texture_size


def test_group_without_keys_changes_nothing(yaml_file):
    assert load_config(yaml_file("detect:\n# nothing here\n")) == Config()
    assert load_config(yaml_file("")) == Config()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", ".001", "1.0e-3", "+1e-3", "10e-4"])
def test_numbers_with_an_exponent_are_numbers(text, yaml_file):
    assert load_config(None, [f"refine.learning_rate={text}"]).refine.learning_rate == 1e-3
    assert load_config(yaml_file(f"refine:\n  learning_rate: {text}\n")).refine.learning_rate == 1e-3


def test_types_of_what_is_loaded():
    config = load_config(None, ["texture_size=1e3", "output.preview_size=512.0", "unwrap.erosion=3", "detect.face=2"])
    assert config.texture_size == 1000 and isinstance(config.texture_size, int)
    assert config.output.preview_size == 512 and isinstance(config.output.preview_size, int)
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
        ("texture_size=12", "texture_size: got 12, allowed is a whole number from 64 to 8192; the nearest is 64"),
        ("texture_size=9e9", "texture_size: got 9000000000, allowed is a whole number from 64 to 8192; the nearest is"),
        ("completion.ridge=0.1", "completion.ridge on the command line; did you mean completion.relight?"),
        ("texture_size.x=3", "did you mean texture_size?"),
        ("texture_size='512'", "texture_size: got '512'"),
        ("refine.learning_rate='1'", "refine.learning_rate: got '1', allowed is a number above 0"),
        ("refine.learning_rate=true", "refine.learning_rate: got true"),
        (f"refine.learning_rate={'1' * 400}", "refine.learning_rate: got '1111"),
        (f"refine.iterations={'1' * 400}", "refine.iterations: got '1111"),
        (f"refine.iterations=0x{'f' * 9000}", "refine.iterations: got '0xff"),
        ("refine.learning_rate=1e999", "refine.learning_rate: got .inf"),
        ("texture_size=[[[", "texture_size: got '[[['"),
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
        ("refine.scales=[2]", "refine.scales: got [2], allowed is a list, each a number above 0 and at most 1"),
        ("refine.scales=[0.5, true]", "refine.scales: got [0.5, true], allowed is"),
        ("refine.scales=[]", "refine.scales: got [], allowed is"),
        ("refine.scales=[1, 0.5]", "refine.scales: got [1.0, 0.5], allowed is coarse to fine: [0.5, 1.0]"),
        ("refine.optimiser=sgd", "refine.optimiser: got sgd with parameters: texels"),
        ("detect.face=-1", "detect.face: got -1, allowed is largest or all or a whole number from 0"),
        ("detect.try_turned=1", "detect.try_turned: got 1, allowed is true or false"),
        ("unwrap.zero_cosine=.9", "unwrap.zero_cosine: got 0.9, allowed is less than full_cosine (0.45)"),
        ("reconstruct.model_colours=true", "reconstruct.model_colours: got true with system: auto"),
        ("reconstruct.system=bfm", "allowed is auto or head or face_mesh or deep3dfacerecon"),
        ("refine.content_noise=1", "refine.content_noise: got 1, allowed is true or false"),
        ("renderer=opengl", "allowed is auto or cpu or nvdiffrast"),
        ("texture_size", "not of the form key=value"),
        ("=3", "not of the form key=value"),
    ],
)
def test_refused_override_names_key_given_and_allowed(override, said):
    assert said in refusal(load_config, None, [override])


def test_the_hint_belongs_to_the_value_that_is_named():
    message = refusal(load_config, None, ["jobs=-1", "texture_size=512.5"])
    assert message == "texture_size: got 512.5, allowed is a whole number from 64 to 8192"


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
    assert find_config("quick") == find_config("configs/quick.yaml") == CONFIG_FOLDER / "quick.yaml"


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
    assert base == fingerprint(load_config(None, ["threads=2", "device=cpu", "assets=/elsewhere"]))
    changes = ["renderer=cpu", "seed=1", "detect.face=all", "refine.iterations=41", "refine.scales=[0.5]", "content=x"]
    assert len({base, *(fingerprint(load_config(None, [change])) for change in changes)}) == 1 + len(changes)
    assert fingerprint(load_config(None, ["unwrap.erosion=0.4"])) == base


@pytest.mark.parametrize(
    ("model", "given", "key"),
    [
        (Config, {"seed": True}, "seed"),
        (Config, {"texture_size": 512.5}, "texture_size"),
        (Config, {"texture_size": "512"}, "texture_size"),
        (Config, {"colour": 1}, "colour"),
        (UnwrapSettings, {"full_cosine": 0.1}, "zero_cosine: got 0.25"),
        (UnwrapSettings, {"erosion": float("nan")}, "erosion"),
        (UnwrapSettings, {"fit_iterations": 10**400}, "fit_iterations"),
    ],
    ids=str,
)
def test_settings_made_by_hand_are_checked(model, given, key):
    for make in (model, model().changed):
        with pytest.raises(ValidationError, match=key):
            make(**given)


def test_settings_cannot_be_set_and_travel_to_other_processes():
    config = load_config("facerefiner", ["refine.scales=[0.25, 1]"])
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    assert pickle.loads(pickle.dumps(config)) == config
    changed = config.changed(refine=config.refine.changed(transfers=2))
    assert (changed.refine.transfers, config.refine.transfers) == (2, 5)
    assert changed.refine.scales == [0.25, 1.0] and changed.unwrap == config.unwrap
    assert repr(changed.unwrap) == repr(config.unwrap) and repr(changed.refine) != repr(config.refine)


def test_a_config_can_be_based_on_another(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: quick\nrefine:\n  iterations: 7\n")
    mine, quick = load_config(tmp_path / "mine.yaml"), load_config("quick")
    assert mine.refine.iterations == 7 and mine.texture_size == quick.texture_size == 1024
    assert load_config(tmp_path / "mine.yaml", ["texture_size=128"]).texture_size == 128


@pytest.mark.parametrize(
    ("text", "said"), [("base: nowhere", "was not found"), ("base: 3", "base in"), ("base: {me}", "base in")]
)
def test_a_base_that_cannot_be_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("{me}", str(path)))
    assert said in refusal(load_config, path)


def test_the_command_line_takes_settings_and_photos_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    given = parse(["a=b", "seed=7", "me.jpg", "-c", "quick", "--dry-run"], "Textures from photos.")
    assert given.photos == ["a=b", "me.jpg"] and given.config == load_config("quick", ["seed=7"]) and given.dry_run
    assert (given.config_name, str(given.out)) == ("quick", "outputs/quick")
    assert given.command == "./run.sh a=b seed=7 me.jpg -c quick --dry-run"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--outt", "x"], "--outt"), (["-c"], "expected one argument"), (["--conf", "quick"], "--conf")],
    ids=str,
)
def test_wrong_options_leave_with_code_2_and_a_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as left:
        parse(arguments, "Textures from photos.")
    printed = capsys.readouterr()
    assert left.value.code == 2 and printed.out == "" and len(printed.err.splitlines()) == 1 and words in printed.err


def test_settings_in_wrong_use_leave_parse_as_a_config_error():
    assert "did you mean refine.iterations?" in refusal(parse, ["refine.iteratons=3"], "Textures from photos.")
