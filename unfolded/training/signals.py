"""Signals that ask a run to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopSignals:
    """Notes SIGINT, SIGTERM and SIGHUP.

    Attributes
    ----------
    asked : bool
        Whether there was one.
    exit_code : int
        What a process that was stopped ends with: 130, 143 or 129 by the signal.
    """

    def __init__(self) -> None:
        self.asked = False
        self.exit_code = 130

    @contextmanager
    def noted(self, *, twice: bool) -> Iterator[None]:
        """Note signals in place of what they do; outside of the main thread nothing is done.

        Parameters
        ----------
        twice : bool
            Note the second too, which else does what it always does.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = [signal.SIGINT, signal.SIGTERM]
        # Windows has no SIGHUP, and after nohup it stays ignored.
        if signal.getsignal(getattr(signal, "SIGHUP", signal.SIGINT)) != signal.SIG_IGN:
            kinds.append(getattr(signal, "SIGHUP", signal.SIGINT))
        before = {kind: signal.getsignal(kind) for kind in kinds}

        def note(kind: int, frame: Any) -> None:
            self.asked = True
            self.exit_code = 128 + kind
            if not twice:
                signal.signal(kind, before[signal.Signals(kind)])

        for kind in before:
            signal.signal(kind, note)
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)
