"""Whether there is memory for what is asked for, found out before it is allocated."""

import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

# Where Linux keeps the limit of a container: of version 2 and 1 of its control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What it uses of them, in the same order, and what the whole machine has left.
_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
_LEFT = "/proc/meminfo"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


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


def free_memory() -> float:
    """Bytes that can be had now; inf where the system does not tell."""
    sizes = [total_memory()]
    with suppress(ValueError, OSError, AttributeError):
        line = re.search(r"^MemAvailable: *(\d+) kB", Path(_LEFT).read_text(), re.MULTILINE)
        sizes.append(int(line[1]) << 10 if line else float("inf"))
    for limit, used in zip(_LIMITS, _USED, strict=True):
        with suppress(ValueError, OSError):
            sizes.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(min(sizes), 0)


def as_bytes(name: str, size: object) -> int:
    """Bytes of a size as it is typed.

    Parameters
    ----------
    name : str
        Name of the argument.
    size : int or str
        Bytes, or a number with a unit: ``"2GB"`` (10⁹ bytes each), ``"500 MiB"`` (2²⁰), ``"1.5G"``.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ValueError
        If it is neither, or not positive.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]?)(I?)B?\s*", str(size).upper())
    if not isinstance(size, str) or found is None or (found[3] and not found[2]):
        raise ValueError(f"{name}={size!r} must be a number of bytes, or a size such as '2GB'")
    number = float(found[1]) * (_BINARY if found[3] else _UNITS)[found[2]]
    if number < 1:
        raise ValueError(f"{name}={size!r} must be more than nothing, such as '2GB'")
    return int(number)


def in_words(size: float) -> str:
    """A number of bytes for people, such as ``"1.9 GB"``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


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
