"""Words of error messages."""

from collections.abc import Iterable

_EXTRAS = {
    "PIL": "report",
    "accelerate": "unfolded",
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
