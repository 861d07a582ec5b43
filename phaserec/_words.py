"""Words of error messages."""

from collections.abc import Iterable

_EXTRAS = {
    "PIL": "report",
    "accelerate": "unfolded",
    "distributed": "dask",
    "jinja2": "report",
    "matplotlib": "plot",
    "museval": "eval",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "pesq": "eval",
    "pydantic": "unfolded",
    "pystoi": "eval",
    "safetensors": "unfolded",
    "tensorboard": "tensorboard",
    "torch": "unfolded",
    "yaml": "unfolded",
}


def remedy(error: ModuleNotFoundError) -> str | None:
    """What to install where a package of an extra is missing.

    Parameters
    ----------
    error : ModuleNotFoundError
        The error.

    Returns
    -------
    str or None
        A sentence; None for a package that no extra has.
    """
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return None
    return f"this needs the package {package}: pip install 'phaserec[{_EXTRAS[package]}]'"


# What its message alone explains; of anything else the kind has to be told.
_EXPLAINED = (ValueError, OSError, ImportError)


def one_line(error: Exception) -> str:
    """What an error says, in one line.

    Parameters
    ----------
    error : Exception
        The error.

    Returns
    -------
    str
        Its message, with the name of its kind where that is needed to understand it.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        text = f"out of memory ({text or 'no more to be had'}); use shorter or fewer files"
    elif not is_explained(error):
        text = f"{type(error).__name__}: {text}"
    return " ".join(text.split())


def is_explained(error: Exception) -> bool:
    """Whether an error is one that its message explains."""
    return isinstance(error, _EXPLAINED) and bool(str(error))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Words that suggest the nearest of the known names, or none.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        ``"; did you mean …?"``, or nothing where no name is near.
    """
    import difflib  # only here: no error, no need of it

    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
