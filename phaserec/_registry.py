"""Registries: things by name, declared by decorators here and by entry points of other packages."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import RLock
from typing import Any, TypeVar

from phaserec._words import suggestion

T = TypeVar("T")


def _declared(group: str) -> Any:
    """Entry points of a group, of all installed packages."""
    text = _declarations()
    if text is not None and group not in text:
        return ()
    from importlib.metadata import entry_points  # ten times as long as the look before it

    return entry_points(group=group)


@cache
def _declarations() -> str | None:
    """What installed packages declare, unparsed; None where some are in archives."""
    texts = []
    for folder in (path or os.curdir for path in sys.path):
        if os.path.isfile(folder):
            return None
        names = []
        with suppress(OSError):  # what cannot be read holds nothing that could be imported
            names = os.listdir(folder)
        for name in names:
            file = os.path.join(folder, name, "entry_points.txt")
            if name.endswith("-info"):
                with suppress(OSError), open(file, encoding="utf-8", errors="replace") as opened:
                    texts.append(opened.read())
    return "\n".join(texts)


class Registry(dict[str, T]):
    """What is registered, by name and in order.

    Parameters
    ----------
    noun : str
        What an entry is called in messages.
    group : str
        Group of entry points under which packages declare theirs.
    """

    def __init__(self, noun: str, group: str) -> None:
        super().__init__()
        self._noun, self._group = noun, group
        self._makers: dict[str, Callable[..., Any]] = {}
        self._loaded = False
        self._loading = RLock()

    def add(self, name: str, entry: T, made_of: Callable[..., Any]) -> None:
        """Register an entry.

        Parameters
        ----------
        name : str
            Its name.
        entry : object
            The entry.
        made_of : callable
            Function that it was made of.

        Raises
        ------
        ValueError
            If the name is taken by a function of another module. The same module run twice (a
            notebook cell) may register again.
        """
        module = getattr(made_of, "__module__", None)
        taken = getattr(self._makers.get(name), "__module__", module)
        if name in self and taken != module:
            raise ValueError(f"{self._noun} {name!r} exists already, in {taken}")
        self[name] = entry
        self._makers[name] = made_of

    def everything(self) -> "Registry[T]":
        """The registry, with what installed packages declare; importing that registers it.

        Warns
        -----
        UserWarning
            If a package cannot be imported; the others are there all the same.
        """
        with self._loading:  # other threads wait; what is being imported may ask, too
            if self._loaded:
                return self
            self._loaded = True
            for point in _declared(self._group):
                try:
                    point.load()
                except Exception as error:  # whatever is wrong with it is not ours
                    warnings.warn(
                        f"{point.value}, which a package declares under {self._group}, cannot be "
                        f"loaded: {type(error).__name__}: {error}",
                        UserWarning,
                        stacklevel=2,
                    )
        return self

    def find(self, name: str) -> T | None:
        """Entry of a name, or None; packages are imported only for what is not here."""
        return self[name] if name in self else self.everything().get(name)

    def near(self, name: str) -> str:
        """Words that suggest the nearest names, or none."""
        return suggestion(name, self)
