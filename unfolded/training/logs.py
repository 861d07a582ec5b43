"""What a run writes down: lines of CSV files, TensorBoard and a progress bar."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from phaserec._files import write_files
from phaserec.evaluation.tables import csv_text
from unfolded.training.config import Config

Row = dict[str, Any]


class Logs:
    """Lines of ``log.csv`` (one an epoch) and ``steps.csv``, and TensorBoard's files.

    Parameters
    ----------
    config : Config
        The configuration.
    is_main : bool
        Whether this process writes.
    done : int
        Steps that were done before.

    Attributes
    ----------
    epochs, steps : list of dict
        Lines of the two files; a run that goes on sets those that it had.

    Raises
    ------
    ValueError
        If TensorBoard is asked for and not installed.
    """

    def __init__(self, config: Config, is_main: bool, done: int) -> None:
        self.folder, self.every = Path(config.output), config.logging.every
        self.epochs: list[Row] = []
        self.steps: list[Row] = []
        # What a notebook calls its standard error is no terminal, but shows bars.
        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._hidden = not (config.logging.progress and is_main and seen)
        self._board: Any = None
        if config.logging.tensorboard and is_main:
            self._board = _board(config.output, done)

    def bar(self, title: str, total: int, initial: int) -> Any:
        """Progress bar over the steps of an epoch, hidden where nobody looks."""
        return tqdm(
            total=total,
            initial=initial,
            desc=title,
            disable=self._hidden,
            leave=False,
            unit="step",
        )

    def step(self, number: int, loss: float, rate: float) -> None:
        """Note a step, if it is one of those that are written."""
        if number % self.every:
            return
        self.steps.append({"step": number, "lr": rate, "loss": loss})
        if self._board is not None:
            self._board.add_scalar("step/loss", loss, number)
            self._board.add_scalar("step/lr", rate, number)

    def epoch(self, row: Row) -> None:
        """Note an epoch."""
        self.epochs.append(row)
        if self._board is not None:
            for name, number in row.items():
                if isinstance(number, float):
                    self._board.add_scalar(f"epoch/{name}", number, row["steps"])

    def write(self) -> None:
        """Write both files, whole."""
        _write_csv(self.epochs, self.folder / "log.csv")
        _write_csv(self.steps, self.folder / "steps.csv")

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._board is not None:
            self._board.close()


def _board(folder: str, steps: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "logging.tensorboard=True needs the package tensorboard: pip install tensorboard"
        ) from None
    return SummaryWriter(folder, purge_step=steps + 1)


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []
    write_files([path], [csv_text(lines).encode()])
