"""Modules described in words that make them again: the name of a class, and its arguments."""

import inspect
import math
import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from phaserec import STFT
from phaserec._memory import TooLarge, check_memory
from phaserec._registry import Registry

_STFT = "STFT"
# Weight tensors of a module; the largest in use has some hundred.
_MOST_TENSORS = 4000
# Packages that are imported without anybody's choice; what a file may name of them has names.
_NOBODYS = ("torch", "unfolded")


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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Documentation and editors would show the arguments of __new__.
        signature = inspect.signature(cls.__init__)
        _, *parameters = signature.parameters.values()
        cls.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]

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


def rebuild_stft(description: Mapping[str, Any]) -> STFT:
    """Transform of its settings, as JSON holds them.

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
        ``class`` is a name, or ``package.module:Class``. ``arguments`` is None for a module whose
        class takes some and does not remember them.
    """
    kind = type(module)
    named = (name for name, known in registry.items() if known is kind)
    arguments = getattr(module, "arguments", None)
    if not isinstance(arguments, dict):
        arguments = None if _takes_arguments(kind) else {}
    if arguments is not None:
        arguments = {
            key: {_STFT: value.settings} if isinstance(value, STFT) else value
            for key, value in arguments.items()
        }
    return {
        "class": next(named, f"{kind.__module__}:{kind.__qualname__}"),
        "arguments": arguments,
    }


def _takes_arguments(kind: type[nn.Module]) -> bool:
    # Also where all have defaults: others may have been given.
    own = kind.__init__ is not nn.Module.__init__
    return own and len(inspect.signature(kind.__init__).parameters) > 1


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
        found = getattr(found, "__dict__", {}).get(part)  # getattr may import
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(f"{noun} {name!r} is no class of modules in {module}")
    if found.__module__.partition(".")[0] in _NOBODYS:
        raise ValueError(f"{noun} {name!r} is not one of {', '.join(registry)}")
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
        raise ValueError(f"{noun} must have a class (words) and its arguments (by name, or null)")
    kind = find_class(name, registry, noun)
    if arguments is None:
        raise ValueError(
            f"{noun} {name} was saved without its arguments; make it yourself and give it, or "
            "derive its class from unfolded.Described"
        )
    arguments = {
        key: rebuild_stft(value[_STFT])
        if isinstance(value, dict) and {*value} == {_STFT}
        else value
        for key, value in arguments.items()
    }
    check_memory(f"{noun} {name} of these sizes", _size(kind, arguments), "use smaller arguments")
    module = kind(**arguments)
    if not isinstance(module, Described):
        module.__dict__.setdefault("arguments", arguments)  # to be described again
    return module


def _size(kind: type[nn.Module], arguments: Mapping[str, Any]) -> float:
    """Bytes of a module, found without allocating its weights; inf beyond what can be counted."""
    weights: list[Tensor] = []

    def note(_: nn.Module, name: str, weight: Tensor) -> None:
        weights.append(weight)
        if len(weights) > _MOST_TENSORS:
            raise TooLarge(f"a module of more than {_MOST_TENSORS} weights is not made for a file")

    hook = register_module_parameter_registration_hook(note)
    tensors: Iterable[Tensor] = weights
    try:
        with torch.device("meta"):  # shapes alone
            module = kind(**arguments)
        tensors = chain(module.parameters(), module.buffers())
    except TooLarge:
        raise
    except Exception as error:
        if "overflow" in str(error).lower():
            return math.inf
        # What reads values cannot be made without them: what was there until then must do. What
        # is wrong with the arguments is said when the module is made.
    finally:
        hook.remove()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
