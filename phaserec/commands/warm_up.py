"""``phaserec warm-up``: compile ahead."""

from collections.abc import Sequence

from phaserec._caching import VARIABLE, cache_folder
from phaserec.commands.console import watched
from phaserec.inverse import least_squares
from phaserec.solving import warm_up


def run(algo: Sequence[str]) -> None:
    """Compile the kernel for algorithms, behind a progress bar, and print where the code is.

    Raises
    ------
    ValueError
        For an unknown algorithm, or where no folder can be had.
    """
    folder = cache_folder()
    if folder is None:
        raise ValueError(f"there is no folder to keep compiled code in; set {VARIABLE} to one")
    taken = watched(warm_up(algo))
    if not algo:
        least_squares.warm_up()
    print(f"{taken} algorithm{'' if taken == 1 else 's'} compiled, in {folder}")
