"""The state of a run in one file: everything that decides its next step."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phaserec._files import write_files
from phaserec._xp import as_int
from unfolded.training.config import Config
from unfolded.training.logs import Row
from unfolded.training.reading import to_dict

STATE = "state.pt"
"""Name of the file in the folder of a run."""

# What may differ between a run and its continuation: it does not change the steps done so far.
_FREE = ("output", "logging", "save_every", "cpu", "data.workers", "epochs", "patience")

# Whole numbers of a position.
_COUNTS = ("phase", "epoch", "batch", "steps", "epochs", "waited")


@dataclass
class Position:
    """Where a run stands, with what the end of the epoch needs to know.

    Attributes
    ----------
    phase, epoch, batch : int
        Current phase, its epoch and the next batch in it.
    steps, epochs : int
        Steps and epochs done in the whole run.
    loss : float
        Sum of the losses of the epoch so far.
    best : float
        Smallest loss of the phase.
    waited : int
        Epochs since then.
    kept : float
        Loss of the model in ``best/``; infinite where it was another loss.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    steps: int = 0
    epochs: int = 0
    loss: float = 0.0
    best: float = inf
    waited: int = 0
    kept: float = inf


@dataclass
class State:
    """State of a run.

    Attributes
    ----------
    position : Position
        Where it stands.
    history, steps : list of dict
        Lines of its logs.
    model : dict of str to Tensor
        Weights.
    best : dict of str to Tensor, or None
        The best of the phase.
    optimizer, schedule, scaler : dict or None
        Those of the phase; None at its start, and where there is no scaler.
    random : list of dict
        States of the generators of each process.
    """

    position: Position
    history: list[Row]
    steps: list[Row]
    model: dict[str, Tensor]
    best: dict[str, Tensor] | None
    optimizer: dict[str, Any] | None
    schedule: dict[str, Any] | None
    scaler: dict[str, Any] | None
    random: list[dict[str, Any]]


def write_state(state: State, config: Config, path: Path) -> None:
    """Write a state, whole or not at all.

    Parameters
    ----------
    state : State
        The state.
    config : Config
        Configuration of the run, which that of its continuation is compared with.
    path : Path
        File.
    """
    parts = vars(state) | {"config": to_dict(config), "position": asdict(state.position)}
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    write_files([path], [buffer.getvalue()])


def read_state(path: Path, config: Config, n_phases: int, epoch_steps: int) -> State:
    """Read a state; nothing but numbers, words and tensors is loaded.

    Parameters
    ----------
    path : Path
        File.
    config : Config
        Configuration of the continuation.
    n_phases, epoch_steps : int
        Phases of the run, and steps of an epoch.

    Returns
    -------
    State
        The state.

    Raises
    ------
    ValueError
        If there is no such file, or it is damaged or of another configuration.
    """
    if not path.is_file():
        raise ValueError(f"there is no run to resume: {path} does not exist")
    try:
        parts = torch.load(path, map_location="cpu", weights_only=True)
        difference = _difference(parts.pop("config"), to_dict(config))
        position = _checked(Position(**parts["position"]), n_phases, epoch_steps)
        history, steps = ([dict(row) for row in parts[key]] for key in ("history", "steps"))
        state = State(
            position=position,
            history=history,
            steps=steps,
            model=_weights(parts["model"]),
            best=_weights(parts["best"] or {}),
            optimizer=parts["optimizer"],
            schedule=parts["schedule"],
            scaler=parts["scaler"],
            random=[{"cpu": each["cpu"]} | each for each in parts["random"]],
        )
        optimizer = state.optimizer
        if optimizer is not None and not {"state", "param_groups"} <= set(optimizer):
            raise ValueError("the optimizer has no state")
    except KeyError as error:
        raise ValueError(f"{path} is not the state of a run: it has no {error}") from None
    except Exception as error:  # the kinds of a damaged archive are many
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not the state of a run: {reason}") from None
    if difference:
        raise ValueError(f"{path} is of another configuration: {difference}")
    return state


def _weights(given: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in given.items() if isinstance(value, Tensor)}


def _checked(position: Position, n_phases: int, epoch_steps: int) -> Position:
    """A position of this run; raises ValueError for any other."""
    for name in _COUNTS:
        as_int(name, getattr(position, name), 0)
    as_int("phase", position.phase, 0, n_phases)
    as_int("batch", position.batch, 0, epoch_steps)
    for name in ("loss", "best", "kept"):
        value = getattr(position, name)
        if not isinstance(value, float) or isnan(value):
            raise ValueError(f"{name}={value!r} must be a number")
    return position


def _difference(old: Any, new: Any, where: str = "") -> str:
    """First difference of two configurations that changes the steps, in words, or nothing."""
    last = where.rpartition(".")[2]
    if old == new or where in _FREE or last in _FREE:
        return ""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = {str(n): pair for n, pair in enumerate(zip(old, new, strict=True))}
    else:
        return f"{where} was {old!r} and is {new!r}"
    prefix = f"{where}." if where else ""
    found = (_difference(a, b, f"{prefix}{key}") for key, (a, b) in pairs.items())
    return next((text for text in found if text), "")
