"""The training loop: stages, validation, checkpoints and resuming, on one process or several.

Run alone it is one process; under ``accelerate launch`` (GPUs) or ``torchrun`` (CPUs too) the same
code is several. Everything that decides the next step is in one state file, so that a resumed run
goes on exactly where the interrupted one stopped.
"""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf, isfinite, isnan, prod
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from tqdm.auto import tqdm

from phaserec import measures
from phaserec._files import check_apart, write_files
from phaserec._memory import check_memory
from phaserec._xp import as_int
from phaserec.corpus.workers import available_cores
from phaserec.evaluation.tables import csv_text
from unfolded.checkpoints import load_into
from unfolded.data.batches import Batches, loader
from unfolded.data.mixtures import Mixtures
from unfolded.saving import model_files
from unfolded.separator import Separator
from unfolded.training.build import build_dataset, build_loss, build_model
from unfolded.training.config import (
    Config,
    LossConfig,
    StageConfig,
    save_config,
    to_dict,
)
from unfolded.training.objective import Objective, takes_spectrograms
from unfolded.training.optimizers import build_optimizer, rate_factor
from unfolded.training.phases import Phase, phases

# What may differ between a run and its continuation: it does not change the steps done so far.
_FREE = ("output", "logging", "save_every", "cpu", "data.workers", "epochs", "patience")


SETTINGS = "config.yaml"
"""Name of the configuration in the folder of a run."""


# Whole numbers of a position.
_COUNTS = ("phase", "epoch", "batch", "steps", "epochs", "waited")


# Reading processes for each core at most.
_CROWD = 4


Row = dict[str, Any]


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
    exit_code : int
        What a process that was interrupted ends with: 130, 143 or 129 by the signal.

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
        unused = any(stage.grow for stage in config.stages)
        self.accelerator = Accelerator(
            cpu=config.cpu or not _has_accelerator(),
            mixed_precision=config.precision,
            # The memory of the last layer in use has no effect: some parameters get no gradient.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
        )
        self.rank = self.accelerator.process_index
        self.world = self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.world:
            raise ValueError(
                f"{started} processes were started (WORLD_SIZE), but accelerate runs {self.world} "
                f"on {self.accelerator.device}; set cpu=true, or use one process a GPU"
            )
        if config.precision == "fp16" and self.accelerator.device.type == "cpu":
            raise ValueError("precision='fp16' needs a GPU; on the CPU use 'bf16' or 'no'")
        self.train_data = build_dataset(config.data.train, config.data, config.seed)
        self.valid_data = None
        if config.data.valid is not None:
            self.valid_data = build_dataset(config.data.valid, config.data, config.seed + 1)
            if len(self.valid_data.names) != len(self.train_data.names):
                raise ValueError(
                    f"data.valid has {len(self.valid_data.names)} sources, but data.train has "
                    f"{len(self.train_data.names)}"
                )
        if getattr(self.train_data, "length", 0) is None and config.data.batch_size > self.world:
            raise ValueError(
                f"data.train.seconds is not given: whole files make batches of one, but "
                f"data.batch_size={config.data.batch_size}"
            )
        _check_sizes(config, self.train_data)
        self.epoch_steps = len(self._batches(0))
        torch.manual_seed(config.seed)
        self.model = build_model(
            config.model, config.data, self.train_data.names, any_order=config.any_order
        )
        self.model.to(self.accelerator.device)
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        for phase in self.phases:  # now, not after hours
            self._prepare_parts(phase)
            build_loss(phase.stage.loss or config.loss, self.model.stft)
        torch.manual_seed(config.seed + 1 + self.rank)
        self.position = Position()
        self.history: list[Row] = []
        self.step_rows: list[Row] = []
        self.interrupted = False
        self.exit_code = 130
        self._stop = False
        self._optimizer_state: Any = None
        self._best_weights: dict[str, Tensor] | None = None  # of the phase
        if resume:
            self._load()
        elif (self.folder / "state.pt").exists():
            raise ValueError(
                f"{self.folder} holds a run already; resume it, or choose another output"
            )
        made = [path for name in ("best", "last") for path in model_files(self.folder / name)]
        read = [path for name in _starts(config) for path in model_files(name)]
        check_apart(made, read)
        if self.is_main:
            save_config(config, self.folder / SETTINGS)
        self._board = _board(config, self.position.steps) if self.is_main else None
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
            Stage, depth, epoch, steps, learning rate, losses, SI-SDR and SI-SDRi in dB (means
            over the sources that are not silent), seconds.

        Raises
        ------
        ValueError
            If the loss is no longer finite.
        """
        with self._signals():
            while self.position.phase < len(self.phases) and not self.interrupted:
                yield from self._phase(stop_after)
        if self._board is not None:
            self._board.close()

    def close(self) -> None:
        """Leave the group of processes; one that exits within it may be aborted."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _phase(self, stop_after: int | None) -> Iterator[Row]:
        phase, position = self.phases[self.position.phase], self.position
        stage = phase.stage
        model = self._prepare_parts(phase)
        loss_config, on_spectrograms = self._scored(phase)
        objective = Objective(model, build_loss(loss_config, self.model.stft), on_spectrograms)
        parameters = [p for p in model.parameters() if p.requires_grad]
        lr = self.config.optimizer.lr if stage.lr is None else stage.lr
        optimizer = build_optimizer(self.config.optimizer, parameters, lr)
        shared, optimizer = self.accelerator.prepare(objective, optimizer)
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state["optimizer"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(self._optimizer_state["scaler"])
            self._optimizer_state = None
        while self.position.phase == self.phases.index(phase) and not self.interrupted:
            started = time.monotonic()
            if not self._epoch(phase, shared, optimizer, parameters, lr, stop_after):
                self._save(optimizer)
                return
            row: Row = {
                "stage": phase.number,
                "train": stage.train,
                "depth": phase.depth,
                "epoch": position.epoch,
                "steps": position.steps,
                "lr": optimizer.param_groups[0]["lr"],
                "train_loss": position.loss / self.epoch_steps,
                **self._validate(objective),
                "seconds": round(time.monotonic() - started, 3),
            }
            self.history.append(row)
            finished = self._end_epoch(row, phase, model)
            self._save(None if finished else optimizer, whole_epoch=model)
            if finished:
                self.accelerator.free_memory()
            yield row
            if self._agreed(self._stop or position.steps == stop_after):
                self.interrupted = position.phase < len(self.phases)
                return

    def _epoch(
        self,
        phase: Phase,
        shared: nn.Module,
        optimizer: Any,
        parameters: Sequence[Tensor],
        lr: float,
        stop_after: int | None,
    ) -> bool:
        """Train to the end of the epoch; False if it was interrupted before."""
        position, accelerator = self.position, self.accelerator
        self._set_modes(phase.stage)
        self.train_data.set_epoch(position.epochs)
        batches = loader(
            self.train_data,
            self._batches(position.epochs, position.batch),
            workers=self.config.data.workers,
            pin_memory=accelerator.device.type == "cuda",
        )
        # What a notebook calls its standard error is no terminal, but shows bars.
        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        hidden = not (self.config.logging.progress and self.is_main and seen)
        title = f"stage {phase.number} {phase.stage.train}, epoch {position.epoch}"
        with tqdm(
            total=self.epoch_steps,
            initial=position.batch,
            desc=title,
            disable=hidden,
            leave=False,
            unit="step",
        ) as bar:
            for batch in batches:
                step = position.epoch * self.epoch_steps + position.batch
                rate = lr * rate_factor(
                    self.config.optimizer, step, self.epoch_steps, phase.stage.epochs
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                value = self._step(shared, optimizer, parameters, batch)
                position.loss += value
                position.batch += 1
                position.steps += 1
                self._log_step(value, rate)
                bar.set_postfix(loss=f"{value:.4g}", refresh=False)
                bar.update()
                if position.batch == self.epoch_steps:
                    break  # the end of the epoch looks for a wish to stop itself
                if self._agreed(self._stop or position.steps == stop_after):
                    self.interrupted = True
                    return False
                if self.config.save_every and position.steps % self.config.save_every == 0:
                    self._save(optimizer)
        return True

    def _step(
        self, shared: nn.Module, optimizer: Any, parameters: Sequence[Tensor], batch: Any
    ) -> float:
        device = self.accelerator.device
        mixture, sources = (
            batch[key].to(device, non_blocking=True) for key in ("mixture", "sources")
        )
        loss = shared(mixture, sources).mean()
        self.accelerator.backward(loss)
        if self.config.optimizer.clip is not None:
            self.accelerator.clip_grad_norm_(parameters, self.config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        value = self.accelerator.reduce(loss.detach().clone(), "mean").item()
        if not isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.position.steps}; a smaller optimizer.lr or "
                "optimizer.clip may help"
            )
        return float(value)

    @torch.no_grad()
    def _validate(self, objective: Objective) -> Row:
        if self.valid_data is None:
            return {"valid_loss": None, "si_sdr": None, "si_sdri": None}
        objective.eval()
        whole_files = getattr(self.valid_data, "length", 0) is None
        size = self.world if whole_files else self.config.data.batch_size
        order = Batches(len(self.valid_data), size, shuffle=False, rank=self.rank, world=self.world)
        device = self.accelerator.device
        loss_sum, items = 0.0, 0
        sums, counts = [0.0, 0.0], [0, 0]
        for batch in loader(self.valid_data, order, workers=self.config.data.workers):
            mixture, sources = batch["mixture"].to(device), batch["sources"].to(device)
            with self.accelerator.autocast():
                losses, waveforms = objective.evaluate(mixture, sources)
            loss_sum += float(losses.cpu().double().sum())
            items += len(losses)
            x = mixture.unsqueeze(1).expand(sources.shape)
            scores = (
                measures.si_sdr(sources, waveforms),
                measures.si_sdr_improvement(sources, waveforms, x),
            )
            for k, score in enumerate(scores):
                finite = score[torch.isfinite(score)].cpu()
                sums[k] += float(finite.double().sum())
                counts[k] += len(finite)
        total = torch.tensor([loss_sum, items, *sums, *counts], dtype=torch.float64)
        if self.world > 1:
            kind = torch.float32 if device.type == "mps" else torch.float64
            total = self.accelerator.reduce(total.to(device, kind), "sum").cpu()
        loss_sum, items, score, improvement, n_score, n_improvement = total.tolist()
        return {
            "valid_loss": loss_sum / items,
            "si_sdr": score / n_score if n_score else None,
            "si_sdri": improvement / n_improvement if n_improvement else None,
        }

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
        if self._board is not None:
            for name, number in row.items():
                if isinstance(number, float):
                    self._board.add_scalar(f"epoch/{name}", number, position.steps)
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

    def _scored(self, phase: Phase) -> tuple[LossConfig, bool]:
        """Loss of a phase, and whether it takes spectrograms before the inverse transform."""
        loss, inversion = phase.stage.loss or self.config.loss, self.model.inversion
        # Learned windows are not those of the loss.
        plain = inversion is None or inversion.transform is None
        plain = plain or phase.stage.train == "magnitude"
        return loss, plain and takes_spectrograms(loss)

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

    def _prepare_parts(self, phase: Phase) -> Separator:
        """Choose what is trained and heard in a phase."""
        model, stage = self.model, phase.stage
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        if stage.train == "inversion" and model.estimator is not None:
            model.estimator.requires_grad_(False)
        inversion = None if stage.train == "magnitude" else model.inversion
        if inversion is not None and phase.depth is not None:
            inversion = inversion.first(phase.depth)
        if inversion is not model.inversion:
            model = Separator(
                model.estimator,
                inversion,
                stft=model.stft,
                sample_rate=model.sample_rate,
                targets=model.targets,
            )
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError(
                f"stages.{phase.number} (train={stage.train!r}) has no parameters to train"
            )
        return model

    def _set_modes(self, stage: StageConfig) -> None:
        """Training mode for what is trained: a frozen network keeps its statistics."""
        self.model.train()
        if stage.train == "inversion" and self.model.estimator is not None:
            self.model.estimator.eval()

    def _log_step(self, value: float, rate: float) -> None:
        steps = self.position.steps
        if steps % self.config.logging.every:
            return
        self.step_rows.append({"step": steps, "lr": rate, "loss": value})
        if self._board is not None:
            self._board.add_scalar("step/loss", value, steps)
            self._board.add_scalar("step/lr", rate, steps)

    def _agreed(self, wish: bool) -> bool:
        """Whether any process wishes so: all must leave the loop at the same step."""
        if self.world == 1:
            return wish
        flag = torch.tensor([float(wish)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def _save(self, optimizer: Any, *, whole_epoch: Separator | None = None) -> None:
        """Write the state and, after a whole epoch, the model of the phase."""
        random: Row = {"cpu": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        every = gather_object([random])
        if not self.is_main:
            return
        scaler = self.accelerator.scaler
        state = {
            "config": to_dict(self.config),
            "position": asdict(self.position),
            "history": self.history,
            "steps": self.step_rows,
            "model": self.model.state_dict(),
            "best": self._best_weights,
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": every,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        if whole_epoch is not None:
            whole_epoch.save_pretrained(self.folder / "last")
        write_files([self.folder / "state.pt"], [buffer.getvalue()])
        _write_csv(self.history, self.folder / "log.csv")
        _write_csv(self.step_rows, self.folder / "steps.csv")

    def _load(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            raise ValueError(f"there is no run to resume: {path} does not exist")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            difference = _difference(state["config"], to_dict(self.config))
            position = self._checked(Position(**state["position"]), state["optimizer"])
            history, steps = [[dict(row) for row in state[key]] for key in ("history", "steps")]
            weights, best = (
                {k: v for k, v in (state[key] or {}).items() if isinstance(v, Tensor)}
                for key in ("model", "best")
            )
            random = [each["cpu"] for each in state["random"]]
            scaler = state["scaler"]
        except KeyError as error:
            raise ValueError(f"{path} is not the state of a run: it has no {error}") from None
        except Exception as error:  # the kinds of a damaged archive are many
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"{path} is not the state of a run: {reason}") from None
        if difference:
            raise ValueError(f"{path} is of another configuration: {difference}")
        if best:
            load_into(self.model, best, str(path))
            self._best_weights = best
        load_into(self.model, weights, str(path))
        self.position, self.history, self.step_rows = position, history, steps
        if state["optimizer"] is not None:
            self._optimizer_state = {"optimizer": state["optimizer"], "scaler": scaler}
        if len(random) == self.world:
            torch.set_rng_state(random[self.rank])
            own = state["random"][self.rank]
            if self.accelerator.device.type == "cuda" and "cuda" in own:
                torch.cuda.set_rng_state(own["cuda"], self.accelerator.device)

    def _checked(self, position: Position, optimizer: Any) -> Position:
        """A position of this run; raises ValueError for any other."""
        counts = {name: getattr(position, name) for name in _COUNTS}
        for name, value in counts.items():
            as_int(name, value, 0)
        as_int("phase", position.phase, 0, len(self.phases))
        as_int("batch", position.batch, 0, self.epoch_steps)
        for name in ("loss", "best", "kept"):
            value = getattr(position, name)
            if not isinstance(value, float) or isnan(value):
                raise ValueError(f"{name}={value!r} must be a number")
        if optimizer is not None and not {"state", "param_groups"} <= set(optimizer):
            raise ValueError("the optimizer has no state")
        return position

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Note the first signal that asks to stop; the second does what it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = [signal.SIGINT, signal.SIGTERM]
        # Windows has no SIGHUP, and after nohup it stays ignored.
        if signal.getsignal(getattr(signal, "SIGHUP", signal.SIGINT)) != signal.SIG_IGN:
            kinds.append(getattr(signal, "SIGHUP", signal.SIGINT))
        before = {kind: signal.getsignal(kind) for kind in kinds}

        def note(kind: int, frame: Any) -> None:
            self._stop = True
            self.exit_code = 128 + kind
            if self.world == 1:  # torchrun passes on what the terminal has sent already
                signal.signal(kind, before[signal.Signals(kind)])

        for kind in before:
            signal.signal(kind, note)
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


def _check_sizes(config: Config, data: Mixtures) -> None:
    """Raise ValueError for more processes or longer batches than a machine can have."""
    cores = available_cores()
    if config.data.workers > _CROWD * cores:
        raise ValueError(
            f"data.workers={config.data.workers} must be at most {_CROWD} for each of the "
            f"{cores} cores"
        )
    length = getattr(data, "length", None)
    if length is not None:
        shape = (config.data.batch_size, len(data.names) + 1, config.data.channels, length)
        check_memory(
            f"a batch of {shape[0]} items with {shape[2]} channel(s) of {length} samples",
            # Spectrograms have several numbers for each sample.
            16 * prod(shape),
            "use smaller ones of data.batch_size, data.channels, data.sample_rate, seconds",
        )


def _starts(config: Config) -> list[str]:
    """Folders and files of weights that training starts from."""
    named = (config.model.weights, config.model.magnitude.weights)
    return [name for name in named if name is not None]


def _has_accelerator() -> bool:
    # Several processes on the CPU are told by cpu=True alone.
    if hasattr(torch, "accelerator"):
        return bool(torch.accelerator.is_available())
    return torch.cuda.is_available()


def _board(config: Config, steps: int) -> Any:
    """Writer of TensorBoard files, if asked for."""
    if not config.logging.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "logging.tensorboard=True needs the package tensorboard: pip install tensorboard"
        ) from None
    return SummaryWriter(config.output, purge_step=steps + 1)


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []
    write_files([path], [csv_text(lines).encode()])


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
