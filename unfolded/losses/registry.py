"""Training losses by name, as modules on whole batches.

A loss is an ``nn.Module``, ``loss(estimate, reference, mixture=None) -> (batch,)``. Its attribute
``compares`` says what it wants to be given as the estimate: ``"waveforms"``, or ``"spectrograms"``
as a network gives them, before the inverse transform. References are always waveforms. A module
without the attribute compares waveforms.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar, get_args

from torch import Tensor, nn

from phaserec._registry import Registry
from phaserec._words import suggestion
from unfolded.nn.modules import find_class

Compared = Literal["waveforms", "spectrograms"]


class Loss(nn.Module):
    """Base of the losses that are a mean over sources and channels of a value for each signal.

    One of them is a class with a method :meth:`values`, registered by :func:`loss`; arguments of
    its constructor are its hyper-parameters.

    Attributes
    ----------
    compares : {"waveforms", "spectrograms"}
        What an estimate is. Losses on spectrograms take waveforms too, and transform them.
    needs_mixture : bool
        Whether the formula uses the mixture.
    cite : str
        Source of the formula.
    """

    compares: ClassVar[Compared] = "waveforms"
    needs_mixture: ClassVar[bool] = False
    cite: ClassVar[str] = ""

    def values(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> Tensor:
        """Formula on single signals.

        Parameters
        ----------
        estimate : Tensor, shape (..., time)
            Waveforms; complex spectrograms (..., F, T) for a loss that compares them.
        reference : Tensor, shape (..., time)
            True waveforms.
        mixture : Tensor, shape (..., time), or None
            Mixture, of as many axes; those of its sources have one entry.

        Returns
        -------
        Tensor, shape (...)
            Values; lower is better.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method values")

    def forward(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
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
            If the shapes disagree, a mixture is missing, or a loss on waveforms gets spectrograms.
        """
        self._check(estimate, reference, mixture)
        x = None if mixture is None else mixture.unsqueeze(1)
        values = self.values(estimate, reference, x)
        return values.flatten(1).mean(-1)

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
        self._check(estimate, reference, mixture)
        x = None if mixture is None else mixture.unsqueeze(1).unsqueeze(1)
        values = self.values(estimate.unsqueeze(2), reference.unsqueeze(1), x)
        return values.unsqueeze(-1).flatten(3).mean(-1)

    def _check(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> None:
        check_shapes(estimate, reference, mixture)
        if estimate.is_complex() and self.compares == "waveforms":
            raise ValueError(
                f"loss {self._name} takes an estimate as a waveform, got a complex spectrogram"
            )
        if mixture is None and self.needs_mixture:
            raise ValueError(f"loss {self._name} needs a mixture")

    @property
    def _name(self) -> str:
        own = (name for name, kind in LOSSES.items() if kind is type(self))
        return next(own, type(self).__name__)


LOSSES: Registry[type[nn.Module]] = Registry("loss", "unfolded.losses")

KindT = TypeVar("KindT", bound=type[nn.Module])


def loss(name: str) -> Callable[[KindT], KindT]:
    """Register a loss.

    Parameters
    ----------
    name : str
        Its name, with dashes.

    Returns
    -------
    callable
        Decorator that returns the class itself.

    Raises
    ------
    ValueError
        If another module has registered the name.

    Examples
    --------
    >>> import torch
    >>> from unfolded.losses import Loss, get_loss, loss
    >>> @loss("worst-sample")
    ... class WorstSample(Loss):
    ...     def values(self, estimate, reference, mixture):
    ...         return (estimate - reference).abs().amax(-1)
    >>> get_loss("worst-sample")(torch.ones(4, 2, 8000), torch.zeros(4, 2, 8000))
    tensor([1., 1., 1., 1.])
    """

    def register(kind: KindT) -> KindT:
        LOSSES.add(name, kind, kind)
        return kind

    return register


def names() -> list[str]:
    """Names of the registered losses."""
    return list(LOSSES.everything())


def loss_class(name: str) -> type[nn.Module]:
    """Class of a loss.

    Parameters
    ----------
    name : str
        Name, with dashes or underscores, or ``package.module:Class`` of a module that has been
        imported.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If there is no such loss; near names are suggested.
    """
    return find_class(name if ":" in name else name.replace("_", "-").lower(), LOSSES, "loss")


def get_loss(name: str, **hyper: Any) -> nn.Module:
    """Find a loss by name.

    Parameters
    ----------
    name : str
        Name, with dashes or underscores, or ``package.module:Class`` of a module that has been
        imported.
    **hyper
        Hyper-parameters, such as ``stft`` for losses on spectrograms.

    Returns
    -------
    nn.Module
        ``loss(estimate, reference, mixture) -> (batch,)``.

    Raises
    ------
    ValueError
        If there is no such loss or hyper-parameter (near names are suggested), or its value is not
        allowed.

    Examples
    --------
    >>> import torch
    >>> from unfolded.losses import PIT, combine, get_loss
    >>> loss = PIT(combine({"wav-mag": 1.0, "si-sdr": 0.1}))
    >>> y = torch.randn(4, 2, 8000)
    >>> loss(y.flip(1), y, y.sum(1)).shape
    torch.Size([4])
    """
    kind, known = loss_class(name), hyper_of(name)
    for given in hyper:
        if given not in known:
            has = ", ".join(known) or "none"
            raise ValueError(
                f"loss {name} has no hyper-parameter {given!r} (it has: {has})"
                + suggestion(given, known)
            )
    return kind(**hyper)


def hyper_of(name: str) -> list[str]:
    """Names of the hyper-parameters of a loss.

    Parameters
    ----------
    name : str
        As for :func:`get_loss`.

    Returns
    -------
    list of str
        Names.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    parameters = inspect.signature(loss_class(name)).parameters.values()
    # A class without a constructor has nn.Module's, which takes anything and has no parameters.
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def compared(module: Any) -> Compared:
    """What a loss compares.

    Parameters
    ----------
    module : callable
        Any loss.

    Returns
    -------
    {"waveforms", "spectrograms"}
        Its attribute ``compares``; waveforms where it has none.

    Raises
    ------
    ValueError
        If the attribute is another word.
    """
    found: Compared = getattr(module, "compares", "waveforms")
    if found not in get_args(Compared):
        raise ValueError(
            f"{type(module).__name__}.compares={found!r} must be 'waveforms' or 'spectrograms'"
        )
    return found


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
