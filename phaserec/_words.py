"""Words of error messages."""

from collections.abc import Iterable


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
