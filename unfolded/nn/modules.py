"""Modules described in words that make them again: the name of a class, and its arguments."""

import inspect
import math
import sys
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from phaserec import STFT
from phaserec._memory import check_memory
from phaserec._registry import Registry

_STFT = "STFT"
_STFT_ARGUMENTS = ("n_fft", "hop_length", "win_length", "window", "center", "pad_mode")


class Described(nn.Module):
    """Module that remembers the arguments it was made with.

    A network that derives from it in place of ``nn.Module`` can be made again by
    :meth:`unfolded.Separator.from_pretrained`. Arguments must be what JSON holds, or an
    :class:`phaserec.STFT`.

    Attributes
    ----------
    arguments : dict
        Arguments of the class by name, those that were not given too.
    """

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        module = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(module, *args, **kwargs)
        except TypeError:
            return module  # __init__ says what is wrong; copies are made without arguments
        bound.apply_defaults()
        _, *parameters = bound.signature.parameters.values()
        given: dict[str, Any] = {}
        for parameter in parameters:
            value = bound.arguments[parameter.name]
            given |= value if parameter.kind is parameter.VAR_KEYWORD else {parameter.name: value}
        module.__dict__["arguments"] = given
        return module


def describe_stft(stft: STFT) -> dict[str, Any]:
    """Arguments of a transform, as JSON holds them.

    Parameters
    ----------
    stft : STFT
        The transform.

    Returns
    -------
    dict
        Arguments by name.
    """
    return {name: getattr(stft, name) for name in _STFT_ARGUMENTS}


def rebuild_stft(description: Mapping[str, Any]) -> STFT:
    """Transform of :func:`describe_stft`.

    Parameters
    ----------
    description : dict
        Arguments by name.

    Returns
    -------
    STFT
        The transform.

    Raises
    ------
    ValueError, TypeError
        As :class:`phaserec.STFT`.
    """
    window = description.get("window", "hann")
    window = tuple(window) if isinstance(window, list) else window
    return STFT(**{**description, "window": window})


def describe(module: nn.Module, registry: Registry[type[nn.Module]]) -> dict[str, Any]:
    """What :func:`rebuild` makes a module of; JSON.

    Parameters
    ----------
    module : nn.Module
        Any module; its attribute ``arguments`` is kept, see :class:`Described`.
    registry : Registry
        Classes that have names.

    Returns
    -------
    dict
        ``class`` is a name, or ``package.module:Class``. ``arguments`` is None for a module that
        does not tell them and cannot be made without any.
    """
    kind = type(module)
    named = (name for name, known in registry.items() if known is kind)
    arguments = getattr(module, "arguments", None)
    if arguments is None and not _needs_arguments(kind):
        arguments = {}
    if arguments is not None:
        arguments = {
            key: {_STFT: describe_stft(value)} if isinstance(value, STFT) else value
            for key, value in arguments.items()
        }
    return {
        "class": next(named, f"{kind.__module__}:{kind.__qualname__}"),
        "arguments": arguments,
    }


def _needs_arguments(kind: type[nn.Module]) -> bool:
    _, *parameters = inspect.signature(kind.__init__).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is p.empty and p.kind not in variable for p in parameters)


def find_class(name: str, registry: Registry[type[nn.Module]], noun: str) -> type[nn.Module]:
    """Class of a name. Nothing is imported for it.

    Parameters
    ----------
    name : str
        Registered name, or ``package.module:Class`` of a module that has been imported.
    registry : Registry
        Classes that have names.
    noun : str
        What it is, for messages.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If there is no such class, or its module has not been imported.
    """
    known = registry.find(name)
    if known is not None:
        return known
    module, colon, path = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown {noun} {name!r}{registry.near(name)}; available: {', '.join(registry)}, or a "
            "class of your own as package.module:Class"
        )
    found: Any = sys.modules.get(module)
    if found is None:
        raise ValueError(
            f"{noun} {name!r} is a class of {module}, which is not imported for its name in a "
            f"file; import {module} first (on the command line: --import {module})"
        )
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(f"{noun} {name!r} is no class of modules in {module}")
    return found


def rebuild(
    description: Mapping[str, Any], registry: Registry[type[nn.Module]], noun: str
) -> nn.Module:
    """Make a module of its description, with random weights from torch's generator.

    Parameters
    ----------
    description : dict
        As :func:`describe` gives it.
    registry : Registry
        Classes that have names.
    noun : str
        What it is, for messages, such as ``"estimator"``.

    Returns
    -------
    nn.Module
        The module.

    Raises
    ------
    ValueError
        If the class is not known or imported, an argument is not allowed, or the weights do not
        fit into memory.
    """
    name, arguments = description["class"], description["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict | None):
        raise ValueError(f"{noun} {description!r} must have a class (words) and its arguments")
    kind = find_class(name, registry, noun)
    if arguments is None:
        raise ValueError(
            f"{noun} {name} was saved without its arguments; give {noun}=… made by yourself, or "
            "derive its class from unfolded.Described"
        )
    arguments = {
        key: rebuild_stft(value[_STFT])
        if isinstance(value, dict) and {*value} == {_STFT}
        else value
        for key, value in arguments.items()
    }
    try:
        with torch.device("meta"):  # shapes alone
            weights = list(kind(**arguments).parameters())
        size: float = sum(p.numel() * p.element_size() for p in weights)
    except RuntimeError:  # beyond what torch counts
        size = math.inf
    check_memory(f"{noun} {name} of these sizes", size, "use smaller arguments")
    return kind(**arguments)
