"""The directives ``configuration`` and ``losses``: every key of a training run, and every loss."""

import inspect
from typing import Any

import yaml
from docutils import nodes
from numpydoc.docscrape import NumpyDocString
from pydantic import TypeAdapter
from registry import list_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape

from unfolded.losses import LOSSES, compared
from unfolded.training.config import DatasetConfig, Part
from unfolded.training.reading import defaults, sections

_KINDS = [kind.model_fields["kind"].default for kind in DatasetConfig.__args__]


class ConfigurationDirective(SphinxDirective):
    """A table for every part of a configuration."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the classes may have changed where the page has not
        places: dict[type, dict[str, None]] = {}  # in order
        for place, kind in sections():
            keys = [key for key in place.split(".") if key not in _KINDS]
            places.setdefault(kind, {})[".".join(keys)] = None
        parts = [_part(kind, list(found)) for kind, found in places.items()]
        return self.parse_text_to_nodes("\n\n".join(parts))


class LossesDirective(SphinxDirective):
    """A row for every registered loss."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        header = ["Loss", "Hyper-parameters", "Compares"]
        rows = [_loss(name, kind) for name, kind in LOSSES.items()]
        return self.parse_text_to_nodes(list_table("58 24 18", header, rows))


def _part(kind: type, places: list[str]) -> str:
    title = " and ".join(f"``{place}``" for place in places) if places != [""] else "A run"
    if "kind" in getattr(kind, "model_fields", {}):
        title += f", ``kind: {kind.model_fields['kind'].default}``"
    summary = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    meanings = _meanings(kind)
    rows = []
    for name, default in defaults(kind).items():
        said, meaning = meanings[name]
        shown = "" if isinstance(default, Part) else f" = ``{_shown(default)}``"
        rows.append([[f"``{name}``{shown}", escape(said)], [meaning]])
    table = list_table("35 65", ["Key", "Meaning"], rows)
    return f".. rubric:: {title}\n\n{summary}\n\n{table}"


def _meanings(kind: type) -> dict[str, tuple[str, str]]:
    """Type in words and meaning of each key, as the docstring tells them."""
    told = NumpyDocString(inspect.getdoc(kind))["Attributes"]
    return {
        name: (entry.type, " ".join(entry.desc))
        for entry in told
        for name in entry.name.split(", ")
    }


def _shown(default: Any) -> str:
    """A default as YAML, in one line."""
    if default is ...:
        return "(required)"
    plain = TypeAdapter(Any).dump_python(default, mode="json", exclude_unset=True)
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).split("\n")[0]


def _loss(name: str, kind: Any) -> list[list[str]]:
    words = NumpyDocString(inspect.getdoc(kind))
    text = [" ".join(words[key]) for key in ("Summary", "Extended Summary")]
    text = [f":class:`{name} <{kind.__module__}.{kind.__name__}>`", *text, escape(kind.cite)]
    hyper = [
        f"``{entry.name}``: {escape(entry.type)}. {' '.join(entry.desc)}"
        for entry in words["Parameters"]
    ]
    if not hyper and inspect.signature(kind).parameters:
        hyper = ["``stft``: transform, that of the model in a configuration."]
    return [[each for each in text if each], hyper or ["none"], [compared(kind)]]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("configuration", ConfigurationDirective)
    app.add_directive("losses", LossesDirective)
    return {"parallel_read_safe": True}
