"""What other packages add: entry points of a group, loaded when something is looked up."""

import warnings
from functools import cache
from importlib.metadata import entry_points


@cache
def load(group: str) -> None:
    """Import what installed packages declare under a group, once; importing registers it.

    Parameters
    ----------
    group : str
        Group of entry points, such as ``"phaserec.algorithms"``.

    Warns
    -----
    UserWarning
        If one of them cannot be imported; the others are there all the same.
    """
    for point in entry_points(group=group):
        try:
            point.load()
        except Exception as error:  # whatever is wrong with it is not ours
            warnings.warn(
                f"{point.value}, which a package declares under {group}, cannot be loaded: "
                f"{type(error).__name__}: {error}",
                UserWarning,
                stacklevel=2,
            )
