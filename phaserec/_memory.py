"""Whether there is memory for what is asked for, found out before it is allocated."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

# Where Linux keeps the limit of a container: of version 2 and 1 of its control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class TooLarge(ValueError):
    """Something needs more memory than there is."""


@cache
def total_memory() -> float:
    """Bytes of memory that this process can have at most; inf where the system does not tell."""
    sizes = []
    with suppress(AttributeError, ValueError, OSError):  # not on Windows
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _LIMITS:
        with suppress(ValueError, OSError):  # "max" is no number
            sizes.append(int(Path(name).read_text()))
    return min((size for size in sizes if size > 0), default=float("inf"))


def check_memory(what: str, size: float, remedy: str) -> None:
    """Raise unless something fits into memory.

    Parameters
    ----------
    what : str
        What needs it, with the value that was given.
    size : float
        Bytes that it takes at least.
    remedy : str
        What to do instead.

    Raises
    ------
    TooLarge
        If it cannot fit.
    """
    if size > total_memory():
        raise TooLarge(
            f"{what} would take {_shown(size)} of memory, but there are "
            f"{_shown(total_memory())}; {remedy}"
        )


def _shown(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size < 2**60 else "more than 2⁶⁰ bytes"
