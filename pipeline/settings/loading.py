"""Reading of settings: YAML files, and `key=value` overrides over them. The models of schema.py check the values.

A YAML file in `configs/` holds only what differs from the defaults. Each setting has a dotted key
(`refine.iterations`). An unknown key, a wrong type or a value out of range is a `ConfigError` that names the key,
what was given and what is allowed.
"""

import difflib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from operator import attrgetter
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config
from style_transfer.settings import Settings

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"


# ---- reading ---------------------------------------------------------------------------------------------------------


def load_config(path_or_name: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The defaults, changed by a YAML file, changed by `key=value` overrides, in this order.

    path_or_name: a YAML file, or the name of one in `configs/` (`quick`); None is `default`. `base: NAME` in it reads
    another config first.
    overrides: texts such as `refine.iterations=80`, values as in YAML.
    Raises ConfigError.
    """
    values = _file_values(find_config(path_or_name))
    for override in overrides:
        key, separator, text = (part.strip() for part in override.partition("="))
        if not separator or not key:
            raise ConfigError(f"override {override!r} is not of the form key=value, for example texture_size=512")
        _require_known(key, "on the command line")
        values[key] = _parse_text(text, _settings()[key])
    tree = {}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[name] = value
    try:
        return Config(**tree)
    except ValidationError as error:
        raise ConfigError(_refusal(error, values)) from error


def _file_values(path: Path, heirs: tuple[Path, ...] = ()) -> dict[str, object]:
    """{dotted key: value} of a YAML file, over those of the config that it names as `base`."""
    tree = _read_yaml(path)
    base, values = tree.pop("base", None), {}
    if base is not None:
        if not isinstance(base, str) or path in heirs:
            allowed = "the name or file of a config that is not based on it"
            raise ConfigError(f"base in {path} is {_shown(base)}, allowed is {allowed}")
        values = _file_values(find_config(base), (*heirs, path))
    return values | dict(_flatten(tree, f"in {path}"))


def find_config(path_or_name: str | Path | None) -> Path:
    """The YAML file meant: an existing file, or a name in `configs/`. Raises ConfigError that lists the names."""
    text = str(path_or_name) if path_or_name is not None else "default"
    bare_name = Path(text).name == text and not text.endswith((".yaml", ".yml"))
    candidates = [CONFIG_FOLDER / f"{text}.yaml"] if bare_name else []
    candidates += [Path(text).expanduser(), CONFIG_FOLDER.parent / text]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    names = [name for name, _ in list_configs()]
    nearest = _nearest(config_name(text), names)
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise ConfigError(f"config {text!r} was not found: give a YAML file or one of {', '.join(names)}{hint}")


def config_name(path_or_name: str | Path | None) -> str:
    """The name results are filed under: the file's stem (`configs/quick.yaml` -> `quick`); None -> `default`."""
    name = Path(path_or_name or "default").name
    return name.removesuffix(".yaml").removesuffix(".yml") or "default"


def list_configs() -> list[tuple[str, str]]:
    """(name, first comment line) of every file in `configs/`, by name."""
    comments = lambda path: (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    paths = sorted(CONFIG_FOLDER.glob("*.yaml"))
    return [(path.stem, next(comments(path), "").lstrip("# ").rstrip()) for path in paths]


# ---- writing ---------------------------------------------------------------------------------------------------------


def to_yaml(config: Config) -> str:
    """The resolved config, every key, as YAML that `load_config` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def settings_table() -> list[tuple[str, str, str]]:
    """(dotted key, default as YAML, meaning with limits) of every setting, in the order of the source."""
    return [(key, _as_yaml(setting["default"]), _help(setting)) for key, setting in _settings().items()]


def describe() -> str:
    """Every key with its default, meaning and allowed values, one line each, for --help."""
    rows = [(f"{key}={default}", meaning) for key, default, meaning in settings_table()]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def fingerprint(config: Config) -> str:
    """sha256 (hex) of the settings that change results; the device and the number of threads do not."""
    keys = [key for key, setting in _settings().items() if setting.get("changes_results", True)]
    values = {key: attrgetter(key)(config) for key in keys}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# ---- keys ------------------------------------------------------------------------------------------------------------


@cache
def _settings(model: type[Settings] = Config) -> dict[str, dict]:
    """{dotted key: JSON schema} of every setting below a model, in the order of the source."""
    found = {}
    for name, setting in model.model_json_schema()["properties"].items():
        group = model.model_fields[name].annotation
        is_group = isinstance(group, type) and issubclass(group, Settings)
        found |= {f"{name}.{key}": one for key, one in _settings(group).items()} if is_group else {name: setting}
    return found


def _groups() -> set[str]:
    return {key.rpartition(".")[0] for key in _settings()} - {""}


def _flatten(tree: dict, source: str, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of nested YAML; a group may be empty. Raises ConfigError for a key that is no setting."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in _groups() and (value is None or isinstance(value, dict)):
            yield from _flatten(value or {}, source, key + ".")
        else:
            _require_known(key, source)
            yield key, value


def _nearest(text: str, names: Iterable[str]) -> str:
    """The name most similar to a text; "" where none is similar."""
    return next(iter(difflib.get_close_matches(text, list(names), n=1)), "")


def _require_known(key: str, source: str) -> None:
    """Raises ConfigError for a key that is no setting, with the key that was probably meant."""
    known = list(_settings())
    if key in known:
        return
    if key in _groups():
        example = next(name for name in known if name.startswith(key + "."))
        raise ConfigError(f"{key} {source} is a group of settings: give one of its keys, for example {example}")
    by_last_part = {name.rpartition(".")[2]: name for name in known}
    last_part = key.rpartition(".")[2]
    nearest = by_last_part.get(last_part) or _nearest(key, known) or by_last_part.get(_nearest(last_part, by_last_part))
    hint = f"did you mean {nearest}?" if nearest else "./run.sh --help lists all keys"
    raise ConfigError(f"unknown key {key} {source}; {hint}")


# ---- values ----------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML keeps the last, and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.Node) -> int | float:
        """A whole number is an int however it is written; settings that are floats take it too."""
        is_float = node.tag.endswith("float")
        value = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError("a number has more than 308 digits")
        return int(value) if is_float and value.is_integer() else value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)
# YAML 1.1 takes a number with an exponent but without a point or sign (1e-3) for text.
_EXPONENT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_NUMBER, list("-+.0123456789"))


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path} is not text in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it contains characters that YAML does not allow"
        raise ConfigError(f"config {path}{place} is not valid YAML: {problem}") from error
    except (ValueError, RecursionError) as error:  # an impossible date, a number too large, deeply nested brackets
        raise ConfigError(f"config {path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"config {path} must hold lines of the form 'key: value', it holds {_shown(content)}")
    return content


def _parse_text(text: str, setting: dict) -> object:
    """A value from the command line. Text settings take it as it is, so that a folder may be called 2024."""
    if setting.get("type") == "string" and "enum" not in setting:
        return text
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError):  # not valid YAML: text, which the model refuses
        return text


# ---- messages --------------------------------------------------------------------------------------------------------


def _refusal(error: ValidationError, values: dict[str, object]) -> str:
    """The first value that was refused, in one line: key, given, allowed, nearest."""
    errors = error.errors()
    names = [str(name) for name in errors[0]["loc"]]
    key = next((key for key in accumulate(names, "{}.{}".format) if key in _settings()), None)
    if key is None:  # settings that contradict each other; the model's message begins with the last part of the key
        return ".".join([*names, str(errors[0]["ctx"]["error"])])
    value, setting = values[key], _settings()[key]
    hint = ""
    if isinstance(value, str):
        choices = [choice for option in setting.get("anyOf", [setting]) for choice in option.get("enum", ())]
        nearest = _nearest(value, choices)
        hint = f"; did you mean {nearest}?" if nearest else ""
    elif isinstance(value, int | float):
        own = [entry for entry in errors if entry["loc"][: key.count(".") + 1] == tuple(key.split("."))]
        limits = [limit for entry in own for name, limit in entry.get("ctx", {}).items() if name in ("ge", "le")]
        hint = "".join(f"; the nearest is {limit}" for limit in limits[:1])
    return f"{key}: got {_shown(value)}, allowed is {_allowed(setting)}{hint}"


def _allowed(setting: dict) -> str:
    """The values that a setting's JSON schema allows, in words."""
    if "anyOf" in setting:
        return " or ".join(_allowed(option) for option in setting["anyOf"])
    if "enum" in setting:
        return " or ".join(setting["enum"])
    if setting["type"] == "array":
        return f"a list, each {_allowed(setting['items'])}"
    words = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "text"}
    return f"{words[setting['type']]} {_limits(setting)}".rstrip()


def _limits(setting: dict) -> str:
    if "minimum" in setting and "maximum" in setting:
        return f"from {setting['minimum']} to {setting['maximum']}"
    names = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    return " and ".join(f"{word} {setting[name]}" for name, word in names.items() if name in setting)


def _help(setting: dict) -> str:
    """Meaning of a setting, with its limits and the choices that the meaning does not name."""
    text, choices = " ".join(setting["description"].split()), setting.get("enum", ())
    if not all(choice in text for choice in choices):
        return f"{text} One of: {', '.join(choices)}."
    limits = _limits(setting.get("items", setting))
    return f"{text} ({limits})" if limits else text


def _as_yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else _as_yaml(value)
    return text if len(text) <= 60 else text[:57] + "..."
