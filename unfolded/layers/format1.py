"""Layers as models of format 1 describe them, in today's words."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from phaserec.algorithms import configure
from unfolded.layers.parameters import WEIGHTS, declared, in_words

# Models that do not tell were trained with bands for 16 kHz, at any sample rate.
_RATE = 16000
_SWITCHES = ("tied", "sigma_per_frequency", "train_hyper", "train_weights", "refine", "sample_rate")
_KEPT = ("algorithm", "n_layers", "n_sources", "momentum", "learn_windows", "checkpoint")


def upgraded(old: Mapping[str, Any], n_fft: int) -> dict[str, Any]:
    """Configuration for :meth:`.inversion.UnfoldedInversion.from_config`.

    Parameters
    ----------
    old : dict
        Configuration of format 1.
    n_fft : int
        Transform length.

    Returns
    -------
    dict
        Configuration.

    Raises
    ------
    ValueError, KeyError
        If it is none.
    """
    hyper = {name: value for name, value in old.items() if name not in (*_KEPT, *_SWITCHES)}
    momentum = {} if old["momentum"] is None else {"momentum": old["momentum"]}
    entry = configure(old["algorithm"], hyper | momentum).base
    known = entry.known if momentum else entry.hyper
    values = {h.name: h.default for h in known} | hyper | momentum
    layer = set() if old["tied"] else {"layer"}
    trainable = {}
    if old["train_hyper"]:
        trainable = {name: in_words(layer) for name in declared(None, known, values)}
    if old["sigma_per_frequency"] and "sigma" in trainable:
        trainable["sigma"] = in_words({*layer, "frequency"})
    if old["train_weights"]:
        trainable[WEIGHTS] = in_words({*layer, "source"})
    correction: Any = None
    if old["refine"]:
        arguments = {"n_sources": old["n_sources"], "n_fft": n_fft}
        arguments["sample_rate"] = old.get("sample_rate") or _RATE
        correction = {"class": "magnitude-refinement", "arguments": arguments}
        correction = correction if old["tied"] else [correction] * old["n_layers"]
    kept = {name: old[name] for name in _KEPT}
    return kept | {"trainable": trainable, "correction": correction, "hyper": hyper}


def upgraded_state(state: Mapping[str, Tensor], old: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of the layers under today's names.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights by their names in format 1, from ``layers.`` and ``transform.`` on.
    old : dict
        Configuration of format 1.

    Returns
    -------
    dict of str to Tensor
        Weights; those that were not trained have none.
    """
    found = {}
    for name, tensor in state.items():
        part, *rest = name.split(".")
        if part != "layers":
            found[name] = tensor
            continue
        number, kind, *rest = rest
        if kind == "refinement":
            place = ["correction"] if old["tied"] else ["correction", number]
            found[".".join([*place, *rest])] = tensor
            continue
        place = ["shared"] if old["tied"] else ["layers", number]
        if kind == "logits" and old["train_weights"]:
            found[".".join([*place, WEIGHTS, "logits"])] = tensor
        elif kind == "hyper" and old["train_hyper"]:
            found[".".join([*place, kind, *rest])] = tensor
    return found
