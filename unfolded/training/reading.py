"""Configurations from YAML with overrides, and back; what is wrong with one, in one line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from phaserec._files import read_settings, write_files
from phaserec._words import suggestion
from unfolded.training.config import Config, DatasetConfig, Part

# Values of a configuration; the largest in use has some hundred.
_MOST_VALUES = 100_000

# What a value must be, by pydantic's name of the rule that it breaks.
_RULES = {
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "finite_number": "finite",
    "float_type": "a number",
    "greater_than": "positive",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "list_type": "a list",
    "string_type": "a word",
    "too_long": "a list of {max_length} at most",
    "too_short": "a list of {min_length} at least",
    "tuple_type": "a list of two",
}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML 1.1, which reads 1e-3 as a word, with the numbers of YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : str or Path, optional
        YAML file; default: nothing but the defaults.
    overrides : sequence of str
        ``key=value`` with dotted keys, such as ``data.train.seconds=2`` or ``stages.0.epochs=3``;
        values are YAML.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ValueError
        For YAML that cannot be read, unknown keys (near names are suggested) and values of the
        wrong type or out of range.
    OSError
        If the file cannot be read.
    """
    tree: Any = {}
    if path is not None:
        try:
            text = read_settings(path).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not YAML: {error}") from None
        tree = _yaml(text, str(path))
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds {tree!r}, expected keys and values")
    for override in overrides:
        _override(tree, override)
    return config_from(tree)


def config_from(tree: Mapping[str, Any]) -> Config:
    """Configuration of nested dicts and lists, as :func:`to_dict` gives them.

    Parameters
    ----------
    tree : dict
        Keys and values.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ValueError
        As :func:`load_config`.
    """
    try:
        # As JSON, where a list may stand for a tuple, and keys and values for a class.
        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ValueError(_sentence(error.errors(include_url=False)[0], tree)) from None
    except (RecursionError, TypeError) as error:  # too deep, or keys that are no words
        raise ValueError(f"the configuration cannot be read: {error}") from None


def to_dict(config: BaseModel) -> dict[str, Any]:
    """Nested dicts and lists of a configuration, ready for YAML and JSON.

    Parameters
    ----------
    config : Config
        The configuration, or a part of it.

    Returns
    -------
    dict
        Keys and values.
    """
    return config.model_dump(mode="json")


def save_config(config: Config, path: str | Path) -> None:
    """Write a configuration as YAML that :func:`load_config` reads back.

    Parameters
    ----------
    config : Config
        The configuration.
    path : str or Path
        File.
    """
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    write_files([Path(path)], [text.encode()])


def sections(kind: Any = Config, place: tuple[str, ...] = ()) -> Iterator[tuple[str, type]]:
    """Parts of a configuration and where they are.

    Parameters
    ----------
    kind : type
        Type of a value.
    place : tuple of str
        Its keys, from the outermost.

    Yields
    ------
    place : str
        Keys with dots; ``N`` for the number of an entry, and the kind of a data set after its key.
    kind : type
        Class of the part.
    """
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
        yield ".".join(place), kind
        for name, field in getattr(kind, "model_fields", {}).items():
            yield from sections(field.annotation, (*place, name))
    elif get_origin(kind) is list:
        yield from sections(get_args(kind)[0], (*place, "N"))
    elif get_origin(kind) is not dict:
        for choice in get_args(kind):
            own = getattr(choice, "model_fields", {}).get("kind")
            yield from sections(choice, place if own is None else (*place, own.default))


def defaults(kind: Any) -> dict[str, Any]:
    """Defaults of the keys of a part by name, ``...`` where there is none.

    Parameters
    ----------
    kind : type
        Class of the part.

    Returns
    -------
    dict
        Defaults.
    """
    if is_dataclass(kind):
        return {field.name: field.default for field in fields(kind)}
    given = kind.model_fields.items()
    return {name: ... if field.is_required() else field.default for name, field in given}


def _sentence(error: Any, tree: Any) -> str:
    """What is wrong, where, and what to do about it."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    place = ".".join(_keys(error["loc"], tree))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(error["loc"], place)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        known = [part.model_fields["kind"].default for part in get_args(DatasetConfig)]
        what = f"is {given['kind']!r}" if "kind" in given else "is missing"
        near = suggestion(str(given.get("kind")), known)
        return f"{place}.kind {what}; it must be one of {', '.join(known)}{near}"
    if kind == "value_error":  # of a part, which names its keys
        return f"{place}." * bool(place) + str(context["error"])
    if kind == "missing":
        pair = f"{place.rpartition('.')[0]}={given!r} must be a list of two"
        return f"{place} is missing" if isinstance(given, dict) else pair
    place = place or "the configuration"
    if kind == "json_invalid":  # of what was dumped just now
        return f"{place} is nested too deep"
    if kind in ("model_type", "dataclass_type", "model_attributes_type"):
        return f"{place} is {'empty' if given is None else repr(given)}, expected keys and values"
    if kind == "literal_error":
        known = re.findall("'([^']+)'", context["expected"])
        near = suggestion(str(given), known)
        return f"{place}={given!r} must be one of {', '.join(known)}{near}"
    if kind in _RULES:
        return f"{place}={given!r} must be {_RULES[kind].format(**context)}"
    return f"{place}: {error['msg']}"


def _unknown(steps: tuple[str | int, ...], place: str) -> str:
    *parents, name = ["N" if isinstance(step, int) else step for step in steps]
    part = dict(sections())[".".join(parents)]
    gone = part.gone if issubclass(part, Part) else {}
    if name in gone:
        return f"{place} is no longer a key; write {gone[name]}"
    known = list(defaults(part))
    return (
        f"unknown key {place}{suggestion(name, known)}; "
        f"{place.rpartition('.')[0] or 'the configuration'} has {', '.join(known)}"
    )


def _keys(steps: tuple[str | int, ...], tree: Any) -> Iterator[str]:
    """Keys of a place: its steps without the kinds of data sets, which are no keys."""
    for step in steps:
        if not (isinstance(tree, dict) and step == tree.get("kind")):
            yield str(step)
            held = dict(enumerate(tree)) if isinstance(tree, list) else tree
            tree = held.get(step) if isinstance(held, dict) else None


def _yaml(text: str, where: str) -> Any:
    try:
        tree = yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError(f"{where} is nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # of numbers and dates too
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ValueError(f"{where} is not YAML: {reason}") from None
    # References cost nothing in YAML; few lines of them can stand for more than any memory holds.
    waiting, seen = [tree], 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list | tuple | set):
            waiting += node
        seen += 1
        if seen + len(waiting) > _MOST_VALUES:
            raise ValueError(f"{where} has more than {_MOST_VALUES} values, references counted")
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    """Set ``a.b.0.c=value`` in nested dicts and lists."""
    key, equals, text = override.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise ValueError(f"{override!r} must be key=value, such as optimizer.lr=1e-4")
    value = _yaml(text, f"the value of {override!r}")
    path = key.split(".")
    node: Any = tree
    for depth, name in enumerate(path):
        place = ".".join(path[:depth]) or "the configuration"
        step: Any = name
        if isinstance(node, list):
            if not (name.isdecimal() and int(name) < len(node)):
                raise ValueError(
                    f"{override!r}: {place} has {len(node)} entries, counted from 0, "
                    f"but no {name!r}"
                )
            step = int(name)
        elif not isinstance(node, dict):
            raise ValueError(f"{override!r}: {place} is {node!r} and has no keys")
        if depth == len(path) - 1:
            node[step] = value
        elif isinstance(node, dict) and node.get(step) is None:
            node[step] = {}
        node = node[step]
