"""How far a long run is, with the time left: a line that renews itself, or one now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

# Seconds between lines where there is no terminal.
_EVERY = 30.0


class Progress:
    """Counts what is done of so many.

    Parameters
    ----------
    total : int
        How many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._counts = {"done": 0, "found": 0}
        self._failed = 0
        self._begin = self._told = time.monotonic()
        self._bar = tqdm(total=total, disable=not sys.stderr.isatty(), leave=False)

    @property
    def done(self) -> int:
        """How many there are results of."""
        return sum(self._counts.values())

    @property
    def found(self) -> int:
        """How many of them were there before."""
        return self._counts["found"]

    def update(self, *, failed: bool = False, found: bool = False) -> None:
        """One more.

        Parameters
        ----------
        failed : bool, default False
            Whether it could not be done.
        found : bool, default False
            Whether it was done before.
        """
        if failed:
            self._failed += 1
        else:
            self._counts["found" if found else "done"] += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now - self._told > _EVERY:
            self._told = now
            print(f"phaserec: {self._line(now)}", file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        over = self.done + self._failed
        # What was there before took no time, and is not what is left.
        worked = max(over - self.found, 1)
        left = (self._total - over) * (now - self._begin) / worked
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{over} of {self._total}{failed}, {tqdm.format_interval(left)} left"

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Shown as long as it runs."""
        try:
            yield self
        finally:
            self._bar.close()
