"""Training losses by name, on whole batches.

A registered loss is a formula ``f(estimate, reference, mixture, **hyper)`` for single signals:
waveforms ``(..., time)`` in, one value each ``(...)`` out. :func:`get_loss` makes it a function of
whole batches. An estimate may also be a complex spectrogram ``(..., F, T)``, as a network gives it
before the inverse transform; the losses that tell the two apart are written for that.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from phaserec._words import suggestion

Formula = Callable[..., Tensor]


FormulaT = TypeVar("FormulaT", bound=Formula)


@dataclass(frozen=True)
class Entry:
    """A registered loss: its name, formula and source."""

    name: str
    formula: Formula
    cite: str

    @property
    def hyper(self) -> dict[str, Any]:
        """Defaults of the hyper-parameters by name."""
        parameters = list(inspect.signature(self.formula).parameters.values())[3:]
        return {p.name: p.default for p in parameters}


LOSSES: dict[str, Entry] = {}


def loss(*, cite: str = "") -> Callable[[FormulaT], FormulaT]:
    """Register a formula ``f(estimate, reference, mixture, **hyper)`` under its name with dashes.

    Parameters
    ----------
    cite : str, optional
        Source of the formula.

    Returns
    -------
    callable
        Decorator that returns the formula itself.

    Raises
    ------
    ValueError
        If another module has registered the name.
    """

    def register(formula: FormulaT) -> FormulaT:
        name = formula.__name__.replace("_", "-")
        taken = LOSSES.get(name)
        if taken is not None and taken.formula.__module__ != formula.__module__:
            raise ValueError(f"loss {name!r} exists already, in {taken.formula.__module__}")
        LOSSES[name] = Entry(name, formula, cite)
        return formula

    return register


class BatchLoss(Protocol):
    """A loss of whole batches, ``loss(estimate, reference, mixture) -> (batch,)``."""

    def __call__(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Loss:
    """A formula on batches: the mean over sources and channels, one value per item.

    Attributes
    ----------
    name : str
        Name of the loss.
    formula : callable
        Formula on single signals.
    hyper : dict
        Its hyper-parameters.
    """

    name: str
    formula: Formula
    hyper: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        """Value per batch item.

        Parameters
        ----------
        estimate : Tensor, shape (batch, J, time) or (batch, J, channel, time)
            Waveforms, or complex spectrograms with (F, T) in place of time.
        reference : Tensor, shape (batch, J, time) or (batch, J, channel, time)
            True waveforms.
        mixture : Tensor, shape (batch, time) or (batch, channel, time), optional
            Mixture; some losses need it.

        Returns
        -------
        Tensor, shape (batch,)
            Values; lower is better.

        Raises
        ------
        ValueError
            If the shapes disagree or a mixture is missing.
        """
        check_shapes(estimate, reference, mixture)
        x = None if mixture is None else mixture.unsqueeze(1)
        return self._values(estimate, reference, x).flatten(1).mean(-1)

    def pairwise(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        """Values of all pairs of an estimate and a reference.

        Parameters
        ----------
        estimate, reference, mixture
            As for a call.

        Returns
        -------
        Tensor, shape (batch, J, J)
            Row: estimate, column: reference.

        Raises
        ------
        ValueError
            As for a call.
        """
        check_shapes(estimate, reference, mixture)
        x = None if mixture is None else mixture.unsqueeze(1).unsqueeze(1)
        return self._values(estimate.unsqueeze(2), reference.unsqueeze(1), x).flatten(3).mean(-1)

    def _values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        values = self.formula(estimate, reference, mixture, **self.hyper)
        return values if values.ndim > 3 else values.unsqueeze(-1)


@dataclass(frozen=True)
class Combined:
    """Weighted sum of losses.

    Attributes
    ----------
    parts : tuple of (Loss, float)
        Losses and their weights.
    """

    parts: tuple[tuple[Any, float], ...]

    def __call__(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        """Value per batch item, as :meth:`Loss.__call__`."""
        values = [weight * part(estimate, reference, mixture) for part, weight in self.parts]
        return torch.stack(values).sum(0)

    def pairwise(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        """Values of all pairs ``(batch, J, J)``, as :meth:`Loss.pairwise`."""
        values = [w * part.pairwise(estimate, reference, mixture) for part, w in self.parts]
        return torch.stack(values).sum(0)


def names() -> list[str]:
    """Names of the registered losses."""
    return list(LOSSES)


def get_loss(name: str, **hyper: Any) -> Loss:
    """Find a loss by name.

    Parameters
    ----------
    name : str
        Name, with dashes or underscores.
    **hyper
        Hyper-parameters, such as ``stft`` for losses on spectrograms.

    Returns
    -------
    Loss
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        If there is no such loss or hyper-parameter; near names are suggested.

    Examples
    --------
    >>> import torch
    >>> from unfolded.losses import PIT, combine, get_loss
    >>> loss = PIT(combine({"wav-mag": 1.0, "si-sdr": 0.1}))
    >>> y = torch.randn(4, 2, 8000)
    >>> loss(y.flip(1), y, y.sum(1)).shape
    torch.Size([4])
    """
    key = str(name).replace("_", "-").lower()
    if key not in LOSSES:
        raise ValueError(
            f"unknown loss {name!r}{suggestion(key, LOSSES)}; available: {', '.join(LOSSES)}"
        )
    entry = LOSSES[key]
    for given in hyper:
        if given not in entry.hyper:
            has = ", ".join(entry.hyper) or "none"
            raise ValueError(
                f"loss {key} has no hyper-parameter {given!r} (it has: {has})"
                + suggestion(given, entry.hyper)
            )
    return Loss(key, entry.formula, hyper)


def combine(weights: Mapping[str, float], **hyper: Any) -> Combined:
    """Weighted sum of losses.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each loss by name.
    **hyper
        Hyper-parameters, each given to the losses that have it.

    Returns
    -------
    Combined
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        If there is no loss, an unknown one, or a hyper-parameter that none of them has.
    """
    if not weights:
        raise ValueError("weights={} must name at least one loss")
    known = {name: get_loss(name) for name in weights}
    takes = {name: LOSSES[part.name].hyper for name, part in known.items()}
    for given in hyper:
        if not any(given in has for has in takes.values()):
            raise ValueError(f"none of the losses {', '.join(weights)} has {given!r}")
    return Combined(
        tuple(
            (get_loss(name, **{k: v for k, v in hyper.items() if k in takes[name]}), float(weight))
            for name, weight in weights.items()
        )
    )


def check_shapes(estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> None:
    got, wanted = tuple(estimate.shape), tuple(reference.shape)
    if len(wanted) not in (3, 4):
        raise ValueError(
            f"reference of shape {wanted} must be (batch, J, time) or (batch, J, channel, time)"
        )
    if (got[:-2] != wanted[:-1]) if estimate.is_complex() else (got != wanted):
        raise ValueError(
            f"estimate of shape {got} does not go with the reference of shape {wanted}; it must "
            "be equal, or a complex spectrogram with (F, T) in place of time"
        )
    if mixture is not None and tuple(mixture.shape) != (wanted[0], *wanted[2:]):
        raise ValueError(
            f"mixture of shape {tuple(mixture.shape)} must be {(wanted[0], *wanted[2:])}, as the "
            "reference without its axis of sources"
        )
