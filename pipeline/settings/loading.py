"""All settings of a run: typed, documented defaults, and the reading of YAML files and `key=value` overrides over them.

The defaults stand here and nowhere else. A YAML file in `configs/` holds only what differs from them. Every leaf of
`Config` has a dotted key (`refine.iterations`); an unknown key, a wrong type or a value out of range is a `ConfigError`
that names the key, what was given and what is allowed.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"

# YAML 1.1 reads a number with an exponent but without a point or sign (1e-3) as text.
_EXPONENT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


# ---- reading ---------------------------------------------------------------------------------------------------------


def load_config(path_or_name: str | Path | None = None, overrides: typing.Sequence[str] = ()) -> Config:
    """The defaults, changed by a YAML file, changed by `key=value` overrides, in this order.

    path_or_name: a YAML file, or the name of one in `configs/` (`quick`); None is `default`. In it `base: NAME` takes over
    another config first.
    overrides: texts such as `refine.iterations=80`, values as in YAML.
    Raises ConfigError.
    """
    leaves = _leaves(Config)
    values = _file_values(find_config(path_or_name), leaves)
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            raise ConfigError(f"override {override!r} is not of the form key=value, for example texture_size=512")
        _require_known(key, "on the command line")
        values[key] = _convert(key, _parse_text(text.strip(), leaves[key].type), leaves[key])
    config = _build(Config, values)
    validate(config)
    return config


def _file_values(path: Path, leaves: dict, heirs: tuple = ()) -> dict:
    """{dotted key: value} of a YAML file, over those of the config it names as `base`."""
    tree = _read_yaml(path)
    base, values = tree.pop("base", None), {}
    if base is not None:
        if not isinstance(base, str) or path in heirs:
            raise ConfigError(f"base in {path} is {_shown(base)}, allowed is the name or file of a config that is not based on it")
        values = _file_values(find_config(base), leaves, (*heirs, path))
    for key, value in _flatten(tree, f"in {path}"):
        values[key] = _convert(key, value, leaves[key])
    return values


def find_config(path_or_name: str | Path | None) -> Path:
    """The YAML file meant: an existing file, or a name in `configs/`. Raises ConfigError naming what there is."""
    text = str(path_or_name) if path_or_name is not None else "default"
    bare_name = Path(text).name == text and not text.endswith((".yaml", ".yml"))
    candidates = [CONFIG_FOLDER / f"{text}.yaml"] if bare_name else []
    candidates += [Path(text).expanduser(), CONFIG_FOLDER.parent / text]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    names = [name for name, _ in list_configs()]
    nearest = difflib.get_close_matches(config_name(text), names, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ConfigError(f"config {text!r} was not found: give a YAML file or one of {', '.join(names)}{hint}")


def config_name(path_or_name: str | Path | None) -> str:
    """The name results are filed under: the file's stem (`configs/quick.yaml` -> `quick`); None -> `default`."""
    if path_or_name is None:
        return "default"
    name = Path(path_or_name).name
    return name.removesuffix(".yaml").removesuffix(".yml") or "default"


def list_configs() -> list[tuple[str, str]]:
    """(name, first comment line) of every file in `configs/`, by name."""
    found = []
    for path in sorted(CONFIG_FOLDER.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = next((line.lstrip("# ").rstrip() for line in lines if line.startswith("#")), "")
        found.append((path.stem, comment))
    return found


# ---- checking --------------------------------------------------------------------------------------------------------


def validate(config: Config) -> None:
    """Raises ConfigError where a value has the wrong type, is out of range, or contradicts another."""
    for key, leaf in _leaves(Config).items():
        _convert(key, _get(config, key), leaf)
    for section in dataclasses.fields(Config):
        check = getattr(getattr(config, section.name), "validate", None)
        if check is None:
            continue
        try:
            check()
        except ValueError as error:
            raise ConfigError(f"{section.name}.{error}") from error


# ---- writing ---------------------------------------------------------------------------------------------------------


def to_yaml(config: Config) -> str:
    """The resolved config, every key, as YAML that `load_config` reads back to an equal config."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def describe() -> str:
    """Every key with its default, allowed values and meaning, one line each, for --help."""
    rows = [(f"{key}={_as_yaml(leaf.default)}", _help(leaf)) for key, leaf in _leaves(Config).items()]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def fingerprint(config: Config) -> str:
    """sha256 (hex) of the settings that change results; the device and the number of threads do not."""
    leaves = _leaves(Config)
    values = {key: _get(config, key) for key in leaves if leaves[key].allowed.get("changes_results", True)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# ---- the tree of settings --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Leaf:
    """One setting: its type, default, and the metadata `style_transfer.settings.setting` gave it."""

    type: object
    default: object
    allowed: typing.Mapping

    @property
    def types(self) -> tuple:
        """The types a value, or a list's element, may have."""
        if typing.get_origin(self.type) is list or isinstance(self.type, types.UnionType):
            return typing.get_args(self.type)
        return (self.type,)

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.type) is list


def _leaves(section: type, prefix: str = "") -> dict[str, _Leaf]:
    """Every setting below a dataclass, by dotted key, in the order of the source."""
    leaves = {}
    hints = typing.get_type_hints(section)
    for entry in dataclasses.fields(section):
        key, kind = prefix + entry.name, hints[entry.name]
        if dataclasses.is_dataclass(kind):
            leaves.update(_leaves(kind, key + "."))
        else:
            default = entry.default_factory() if entry.default is dataclasses.MISSING else entry.default
            leaves[key] = _Leaf(kind, default, entry.metadata)
    return leaves


def _groups() -> set[str]:
    return {key.rpartition(".")[0] for key in _leaves(Config)} - {""}


def _build(section: type, values: dict, prefix: str = ""):
    """A dataclass of the values given by dotted key, defaults elsewhere."""
    hints = typing.get_type_hints(section)
    arguments = {}
    for entry in dataclasses.fields(section):
        key = prefix + entry.name
        if dataclasses.is_dataclass(hints[entry.name]):
            arguments[entry.name] = _build(hints[entry.name], values, key + ".")
        elif key in values:
            arguments[entry.name] = values[key]
    return section(**arguments)


def _get(config: Config, key: str):
    value = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _require_known(key: str, source: str) -> None:
    """Raises ConfigError for a key that is no setting, with the key that was probably meant."""
    known = list(_leaves(Config))
    if key in known:
        return
    if key in _groups():
        example = next(name for name in known if name.startswith(key + "."))
        raise ConfigError(f"{key} {source} is a group of settings: give one of its keys, for example {example}")
    by_last_part = {name.rpartition(".")[2]: name for name in known}
    last_part = key.rpartition(".")[2]
    nearest = (
        [by_last_part[last_part]]
        if last_part in by_last_part
        else difflib.get_close_matches(key, known, n=1)
        or [by_last_part[name] for name in difflib.get_close_matches(last_part, by_last_part, n=1)]
    )
    hint = f"did you mean {nearest[0]}?" if nearest else "./run.sh --help lists all keys"
    raise ConfigError(f"unknown key {key} {source}; {hint}")


# ---- values ----------------------------------------------------------------------------------------------------------


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would silently keep the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path} is not text in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds characters that are no text"
        raise ConfigError(f"config {path}{place} is not valid YAML: {problem}") from error
    except (ValueError, RecursionError) as error:  # a date that is none, brackets within brackets
        raise ConfigError(f"config {path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"config {path} must hold lines of the form 'key: value', it holds {_shown(content)}")
    return content


def _flatten(tree: dict, source: str, prefix: str = "") -> typing.Iterator[tuple[str, object]]:
    """(dotted key, value) of nested YAML; a group may be empty. Raises ConfigError for what is no setting."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in _groups() and (value is None or isinstance(value, dict)):
            yield from _flatten(value or {}, source, key + ".")
        else:
            _require_known(key, source)
            yield key, value


def _parse_text(text: str, kind: object):
    """A value from the command line. Text settings take it as it is, so that a folder may be called 2024."""
    if kind is str:
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # a date that is none, brackets within brackets
        return text


def _convert(key: str, value: object, leaf: _Leaf):
    """`value` in the setting's type, or ConfigError naming key, given and allowed."""
    if not leaf.is_list:
        converted = _as_type(value, leaf.types)
        fits = converted is not None and _within(converted, leaf.allowed)
    else:
        converted = [_as_type(item, leaf.types) for item in value] if isinstance(value, list | tuple) else [None]
        fits = all(item is not None and _within(item, leaf.allowed) for item in converted)
    if fits:
        return converted
    choices = leaf.allowed.get("choices", ())
    nearest = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {nearest[0]}?" if nearest else _nearest_number(converted, leaf)
    raise ConfigError(f"{key}: got {_shown(value)}, allowed is {_allowed_text(leaf)}{hint}")


def _nearest_number(converted: object, leaf: _Leaf) -> str:
    """For a number beyond its limits: which is the nearest, where there is one."""
    if leaf.is_list or not isinstance(converted, int | float):
        return ""
    limit = "maximum" if converted > leaf.allowed.get("maximum", math.inf) else "minimum"
    return f"; the nearest is {leaf.allowed[limit]}" if limit in leaf.allowed else ""


def _as_type(value: object, options: tuple):
    """`value` as one of the types, or None. A bool is no number; 1e-3, which YAML reads as text, is one."""
    if isinstance(value, bool):
        return value if bool in options else None
    if isinstance(value, str) and _EXPONENT_NUMBER.fullmatch(value) and (int in options or float in options):
        value = float(value)
    if isinstance(value, str):
        return value if str in options else None
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:  # no NaN, no integer of 400 digits
        return None
    if float in options:
        return float(value)
    return int(value) if int in options and value == int(value) else None


def _within(value: object, allowed: typing.Mapping) -> bool:
    if isinstance(value, str):
        return value in allowed.get("choices", (value,))
    return (
        value >= allowed.get("minimum", value)
        and value <= allowed.get("maximum", value)
        and value > allowed.get("above", -math.inf)
    )


_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _allowed_text(leaf: _Leaf) -> str:
    limits = [
        f"{word} {leaf.allowed[key]}"
        for key, word in (("minimum", "at least"), ("above", "above"), ("maximum", "at most"))
        if key in leaf.allowed
    ]
    words = list(leaf.allowed.get("choices", ()))
    for kind in leaf.types:
        if kind in (int, float):
            words.append(" ".join([_TYPE_WORDS[kind], " and ".join(limits)]).rstrip())
        elif not words or kind is not str:
            words.append(_TYPE_WORDS[kind])
    return ("a list, each " if leaf.is_list else "") + " or ".join(words)


def _help(leaf: _Leaf) -> str:
    text, choices = leaf.allowed.get("help", ""), leaf.allowed.get("choices", ())
    return text if all(choice in text for choice in choices) else f"{text} One of: {', '.join(choices)}."


def _as_yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else _as_yaml(value)
    return text if len(text) <= 60 else text[:57] + "..."
