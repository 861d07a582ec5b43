"""The training loop: stages, validation, checkpoints and resuming, on one process or several.

Run alone it is one process; under ``accelerate launch`` (GPUs) or ``torchrun`` (CPUs too) the same
code is several. Everything that decides the next step is in one state file, so that a resumed run
goes on exactly where the interrupted one stopped.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from phaserec._files import check_apart
from phaserec._memory import check_memory
from phaserec.corpus.workers import available_cores
from unfolded.checkpoints import load_into
from unfolded.data.batches import Batches, loader
from unfolded.data.mixtures import Mixtures
from unfolded.saving import model_files
from unfolded.separator import Separator
from unfolded.training.build import build_dataset, build_loss, build_model
from unfolded.training.config import Config, LossConfig, StageConfig
from unfolded.training.logs import Logs, Row
from unfolded.training.objective import Objective, takes_spectrograms
from unfolded.training.optimizers import build_optimizer, build_schedule
from unfolded.training.phases import Phase, phases
from unfolded.training.processes import (
    join_processes,
    leave_processes,
    random_state,
    set_random_state,
)
from unfolded.training.reading import save_config
from unfolded.training.signals import StopSignals
from unfolded.training.state import STATE, Position, State, read_state, write_state
from unfolded.training.validation import validate

SETTINGS = "config.yaml"
"""Name of the configuration in the folder of a run."""


# Reading processes for each core at most.
_CROWD = 4


@dataclass
class _Parts:
    """What the steps of a phase are made with."""

    phase: Phase
    model: Separator
    objective: Objective
    shared: nn.Module
    parameters: Sequence[Tensor]
    optimizer: Any
    schedule: Any


class Trainer:
    """A training run.

    Its folder gets ``config.yaml``, ``best/`` and ``last/`` (for ``from_pretrained``), ``log.csv``
    (a line an epoch), ``steps.csv`` and ``state.pt``, from which it can be resumed. Every file is
    written under a temporary name and renamed.

    A saved model is what its phase trains and hears: without layers in a stage ``magnitude``, with
    the layers so far in one that grows. ``best/`` is replaced by a smaller loss, and by the first
    epoch of a stage with another loss, since the two cannot be compared.

    Parameters
    ----------
    config : Config
        The configuration.
    resume : bool, default False
        Go on from the state in the folder; with another number of processes the data stay the
        same, but dropout draws anew.

    Attributes
    ----------
    model : Separator
        The model.
    interrupted : bool
        Whether the run has stopped before its end, by a signal or on request.
    signals : StopSignals
        Signals that it got, and what a process that was interrupted ends with.

    Raises
    ------
    ValueError
        If the configuration does not hold together, there is no state to go on from or it is
        that of another configuration, or the folder holds a run already.
    OSError
        If the data or the folder cannot be used.
    """

    def __init__(self, config: Config, *, resume: bool = False) -> None:
        self.config = config
        self.folder = Path(config.output)
        self.phases = phases(config)
        self.accelerator = join_processes(config)
        self.rank = self.accelerator.process_index
        self.world = self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        self.train_data = build_dataset(config.data.train, config.data, config.seed)
        self.valid_data = None
        if config.data.valid is not None:
            self.valid_data = build_dataset(config.data.valid, config.data, config.seed + 1)
        _check_data(config, self.train_data, self.valid_data, self.world)
        self.epoch_steps = len(self._batches(0))
        torch.manual_seed(config.seed)
        self.model = build_model(
            config.model, config.data, self.train_data.names, any_order=config.any_order
        )
        self.model.to(self.accelerator.device)
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        for phase in self.phases:  # now, not after hours
            self._prepare_parts(phase)
            self._loss(phase)
        torch.manual_seed(config.seed + 1 + self.rank)
        self.position = Position()
        self.interrupted = False
        self.signals = StopSignals()
        self._best_weights: dict[str, Tensor] | None = None  # of the phase
        self._resumed: State | None = None
        if resume:
            self._load()
        elif (self.folder / STATE).exists():
            raise ValueError(
                f"{self.folder} holds a run already; resume it, or choose another output"
            )
        made = [path for name in ("best", "last") for path in model_files(self.folder / name)]
        read = [path for name in _starts(config) for path in model_files(name)]
        check_apart(made, read)
        if self.is_main:
            save_config(config, self.folder / SETTINGS)
        self.logs = Logs(config, self.is_main, self.position.steps)
        if self._resumed is not None:
            self.logs.epochs, self.logs.steps = self._resumed.history, self._resumed.steps
        self.accelerator.wait_for_everyone()

    def run(self, *, stop_after: int | None = None) -> Iterator[Row]:
        """Train, yielding what ``log.csv`` gets after every epoch.

        The first SIGINT, SIGTERM or SIGHUP saves the state after the current step and ends the run;
        where one process is alone, a second one ends it at once.

        Parameters
        ----------
        stop_after : int, optional
            End in the same way after so many steps, counted from the start of the run.

        Yields
        ------
        dict
            Stage, depth, epoch, steps, learning rate of the last step (of the first group of
            parameters), losses, SI-SDR and SI-SDRi in dB (means over the sources that are not
            silent), seconds.

        Raises
        ------
        ValueError
            If the loss is no longer finite.
        """
        # torchrun passes on what the terminal has sent already.
        with self.signals.noted(twice=self.world > 1):
            while self.position.phase < len(self.phases) and not self.interrupted:
                yield from self._phase(stop_after)
        self.logs.close()

    def close(self) -> None:
        """Leave the group of processes; one that exits within it may be aborted."""
        leave_processes()

    def _phase(self, stop_after: int | None) -> Iterator[Row]:
        phase, position = self.phases[self.position.phase], self.position
        parts = self._parts(phase)
        while self.position.phase == self.phases.index(phase) and not self.interrupted:
            started = time.monotonic()
            rate = self._epoch(parts, stop_after)
            if rate is None:
                self._save(parts)
                return
            row: Row = {
                "stage": phase.number,
                "train": phase.stage.train,
                "depth": phase.depth,
                "epoch": position.epoch,
                "steps": position.steps,
                "lr": rate,
                "train_loss": position.loss / self.epoch_steps,
                **validate(parts.objective, self.valid_data, self.config.data, self.accelerator),
                "seconds": round(time.monotonic() - started, 3),
            }
            self.logs.epoch(row)
            finished = self._end_epoch(row, phase, parts.model)
            self._save(None if finished else parts, whole_epoch=parts.model)
            if finished:
                self.accelerator.free_memory()
            yield row
            if self._asked_to_stop(stop_after):
                self.interrupted = position.phase < len(self.phases)
                return

    def _parts(self, phase: Phase) -> _Parts:
        """Make what a phase needs, as it was where the run goes on from."""
        model, settings, stage = self._prepare_parts(phase), self.config.optimizer, phase.stage
        parameters = [p for p in model.parameters() if p.requires_grad]
        lr = settings.lr if stage.lr is None else stage.lr
        plain = build_optimizer(settings, model, lr)
        schedule = build_schedule(settings, plain, self.epoch_steps, stage.epochs)
        every_layer = self._loss_config(phase).every_layer
        objective = Objective(model, self._loss(phase), every_layer)
        shared, optimizer = self.accelerator.prepare(objective, plain)
        saved, self._resumed = self._resumed, None
        if saved is not None and saved.optimizer is not None and saved.schedule is not None:
            optimizer.load_state_dict(saved.optimizer)
            schedule.load_state_dict(saved.schedule)
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(saved.scaler)
        return _Parts(phase, model, objective, shared, parameters, optimizer, schedule)

    def _epoch(self, parts: _Parts, stop_after: int | None) -> float | None:
        """Train to the end of the epoch; the last learning rate, or None if interrupted before."""
        position, rate = self.position, 0.0
        self._set_modes(parts.phase.stage)
        self.train_data.set_epoch(position.epochs)
        batches = loader(
            self.train_data,
            self._batches(position.epochs, position.batch),
            workers=self.config.data.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        title = f"stage {parts.phase.number} {parts.phase.stage.train}, epoch {position.epoch}"
        with self.logs.bar(title, self.epoch_steps, position.batch) as bar:
            for batch in batches:
                rate = parts.schedule.get_last_lr()[0]
                value = self._step(parts, batch)
                position.loss += value
                position.batch += 1
                position.steps += 1
                self.logs.step(position.steps, value, rate)
                bar.set_postfix(loss=f"{value:.4g}", refresh=False)
                bar.update()
                if position.batch == self.epoch_steps:
                    break  # the end of the epoch looks for a wish to stop itself
                if self._asked_to_stop(stop_after):
                    self.interrupted = True
                    return None
                if self.config.save_every and position.steps % self.config.save_every == 0:
                    self._save(parts)
        return rate

    def _step(self, parts: _Parts, batch: Any) -> float:
        device = self.accelerator.device
        mixture, sources = (
            batch[key].to(device, non_blocking=True) for key in ("mixture", "sources")
        )
        loss = parts.shared(mixture, sources).mean()
        self.accelerator.backward(loss)
        if self.config.optimizer.clip is not None:
            self.accelerator.clip_grad_norm_(parts.parameters, self.config.optimizer.clip)
        parts.optimizer.step()
        parts.optimizer.zero_grad()
        parts.schedule.step()
        value = self.accelerator.reduce(loss.detach().clone(), "mean").item()
        if not isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.position.steps}; a smaller optimizer.lr or "
                "optimizer.clip may help"
            )
        return float(value)

    def _end_epoch(self, row: Row, phase: Phase, model: Separator) -> bool:
        """Keep the best model and move on; True if the phase is over."""
        position, stage = self.position, phase.stage
        value = row["train_loss"] if row["valid_loss"] is None else row["valid_loss"]
        if not isfinite(value):
            raise ValueError(f"the validation loss is {value} after step {position.steps}")
        if value < position.best:
            position.best, position.waited = value, 0
            weights = self.model.state_dict()
            self._best_weights = {name: weight.clone() for name, weight in weights.items()}
        else:
            position.waited += 1
        if value < position.kept:
            position.kept = value
            if self.is_main:
                model.save_pretrained(self.folder / "best")
        position.epoch += 1
        position.epochs += 1
        position.batch, position.loss = 0, 0.0
        patient = stage.patience is None or position.waited < stage.patience
        if position.epoch < stage.epochs and patient:
            return False
        assert self._best_weights is not None
        self.model.load_state_dict(self._best_weights)
        self._best_weights = None
        position.phase += 1
        position.epoch, position.best, position.waited = 0, inf, 0
        following = self.phases[position.phase : position.phase + 1]
        if any(self._scored(phase) != self._scored(other) for other in following):
            position.kept = inf
        return True

    def _loss_config(self, phase: Phase) -> LossConfig:
        return phase.stage.loss or self.config.loss

    def _loss(self, phase: Phase) -> nn.Module:
        return build_loss(self._loss_config(phase), self.model.stft)

    def _scored(self, phase: Phase) -> tuple[LossConfig, bool]:
        """Loss of a phase, and whether it takes spectrograms before the inverse transform."""
        loss = self._loss_config(phase)
        return loss, takes_spectrograms(self._heard(phase), self._loss(phase))

    def _batches(self, epoch: int, start: int = 0) -> Batches:
        return Batches(
            len(self.train_data),
            self.config.data.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            rank=self.rank,
            world=self.world,
            start=start,
        )

    def _heard(self, phase: Phase) -> Separator:
        """The part of the model that a phase uses."""
        model = self.model
        inversion = None if phase.stage.train == "magnitude" else model.inversion
        if inversion is not None and phase.depth is not None:
            inversion = inversion.first(phase.depth)
        if inversion is model.inversion:
            return model
        return Separator(
            model.estimator,
            inversion,
            stft=model.stft,
            sample_rate=model.sample_rate,
            targets=model.targets,
        )

    def _prepare_parts(self, phase: Phase) -> Separator:
        """Choose what is trained and heard in a phase."""
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        if phase.stage.train == "inversion" and self.model.estimator is not None:
            self.model.estimator.requires_grad_(False)
        model = self._heard(phase)
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError(
                f"stages.{phase.number} (train={phase.stage.train!r}) has no parameters to train"
            )
        return model

    def _set_modes(self, stage: StageConfig) -> None:
        """Training mode for what is trained: a frozen estimator keeps its statistics."""
        self.model.train()
        if stage.train == "inversion" and self.model.estimator is not None:
            self.model.estimator.eval()

    def _asked_to_stop(self, stop_after: int | None) -> bool:
        """Whether any process was asked: all must leave the loop at the same step."""
        wish = self.signals.asked or self.position.steps == stop_after
        if self.world == 1:
            return wish
        flag = torch.tensor([float(wish)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def _save(self, parts: _Parts | None, *, whole_epoch: Separator | None = None) -> None:
        """Write the state and, after a whole epoch, the model of the phase."""
        random = gather_object([random_state(self.accelerator)])
        if not self.is_main:
            return
        scaler = self.accelerator.scaler
        state = State(
            position=self.position,
            history=self.logs.epochs,
            steps=self.logs.steps,
            model=self.model.state_dict(),
            best=self._best_weights,
            optimizer=None if parts is None else parts.optimizer.state_dict(),
            schedule=None if parts is None else parts.schedule.state_dict(),
            scaler=None if scaler is None else scaler.state_dict(),
            random=random,
        )
        if whole_epoch is not None:
            whole_epoch.save_pretrained(self.folder / "last")
        write_state(state, self.config, self.folder / STATE)
        self.logs.write()

    def _load(self) -> None:
        path = self.folder / STATE
        state = read_state(path, self.config, len(self.phases), self.epoch_steps)
        if state.best:
            load_into(self.model, state.best, str(path))
            self._best_weights = state.best
        load_into(self.model, state.model, str(path))
        self.position, self._resumed = state.position, state
        if len(state.random) == self.world:
            set_random_state(self.accelerator, state.random[self.rank])


def _check_data(config: Config, train: Mixtures, valid: Mixtures | None, world: int) -> None:
    """Raise ValueError for data that do not go together, or that no machine can hold."""
    if valid is not None and len(valid.names) != len(train.names):
        raise ValueError(
            f"data.valid has {len(valid.names)} sources, but data.train has {len(train.names)}"
        )
    cores, length = available_cores(), getattr(train, "length", None)
    if hasattr(train, "length") and length is None and config.data.batch_size > world:
        raise ValueError(
            f"data.train.seconds is not given: whole files make batches of one, but "
            f"data.batch_size={config.data.batch_size}"
        )
    if config.data.workers > _CROWD * cores:
        raise ValueError(
            f"data.workers={config.data.workers} must be at most {_CROWD} for each of the "
            f"{cores} cores"
        )
    if length is not None:
        shape = (config.data.batch_size, len(train.names) + 1, config.data.channels, length)
        check_memory(
            f"a batch of {shape[0]} items with {shape[2]} channel(s) of {length} samples",
            # Spectrograms have several numbers for each sample.
            16 * prod(shape),
            "use smaller ones of data.batch_size, data.channels, data.sample_rate, seconds",
        )


def _starts(config: Config) -> list[str]:
    """Folders and files of weights that training starts from."""
    named = (config.model.weights, config.model.estimator.weights)
    return [name for name in named if name is not None]
