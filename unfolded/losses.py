"""Training losses on waveforms and spectrograms, by name, and permutation invariance.

A registered loss is a formula ``f(estimate, reference, mixture, **hyper)`` for single signals:
waveforms ``(..., time)`` in, one value each ``(...)`` out. :func:`get_loss` makes it a function of
whole batches. An estimate may also be a complex spectrogram ``(..., F, T)``, as a network gives it
before the inverse transform; the losses that tell the two apart are written for that. Norms of
spectrograms are over the one-sided bins, as in the papers. Sums over samples and bins are divided
by the number of samples of the signal: the balance of the terms is that of the papers and the
value does not depend on the length.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from phaserec import STFT
from phaserec._words import suggestion
from phaserec._xp import as_int
from phaserec.projectors import unit

# Added to energies and magnitudes before roots, logarithms and divisions, so that silence has
# finite gradients; far below any audible signal with samples in [−1, 1].
EPS = 1e-8

_STFT = STFT()
_MOST_BRUTE_FORCE = 6

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
        _check(estimate, reference, mixture)
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
        _check(estimate, reference, mixture)
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


@dataclass(frozen=True)
class PIT:
    """Permutation-invariant loss: the minimum over the orders of the sources, per utterance.

    Yu et al., ICASSP 2017; Kolbæk et al., IEEE/ACM TASLP 2017. A loss that is a mean over sources
    (it has ``pairwise``) is evaluated once per pair; above four sources the best order is found by
    linear assignment. Any other loss is evaluated once per order.

    It gives no source a place of its own, hence layers behind a network that is trained with it
    must not have parameters for each source: ``train_weights=False`` and no ``refine``.

    Attributes
    ----------
    loss : callable
        Loss of whole batches, ``loss(estimate, reference, mixture) -> (batch,)``.
    """

    loss: Any

    def __call__(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> Tensor:
        """Value per batch item of the best order, as :meth:`Loss.__call__`."""
        return self.best(estimate, reference, mixture)[0]

    def best(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Value and order of the best permutation.

        Parameters
        ----------
        estimate, reference, mixture
            As for :meth:`Loss.__call__`.

        Returns
        -------
        values : Tensor, shape (batch,)
            Smallest values.
        order : Tensor of int, shape (batch, J)
            Which estimate goes with each reference.

        Raises
        ------
        ValueError
            If the loss is not a mean over sources and there are more than six of them.
        """
        _check(estimate, reference, mixture)
        n_sources = reference.shape[1]
        if not hasattr(self.loss, "pairwise"):
            return self._each_order(estimate, reference, mixture)
        pairs = self.loss.pairwise(estimate, reference, mixture)
        if n_sources > 4:
            order = _assigned(pairs)
        else:
            orders = _orders(n_sources, pairs.device)
            columns = torch.arange(n_sources, device=pairs.device)
            order = orders[pairs[:, orders, columns].mean(-1).argmin(-1)]
        return pairs.gather(1, order.unsqueeze(1)).squeeze(1).mean(-1), order

    def _each_order(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        n_sources = reference.shape[1]
        if n_sources > _MOST_BRUTE_FORCE:
            raise ValueError(
                f"PIT over J={n_sources} sources needs a loss with a pairwise method; any other "
                f"loss is tried in every order, for {_MOST_BRUTE_FORCE} sources at most"
            )
        orders = _orders(n_sources, reference.device)
        values = torch.stack([self.loss(estimate[:, o], reference, mixture) for o in orders])
        smallest, which = values.min(0)
        return smallest, orders[which]


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


_WANG = "Wang, Wichern & Le Roux, IEEE SPL 2021"


@loss(cite=_WANG)
def ri(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distance of real and imaginary parts, ``‖R̂ − Re S‖ + ‖Î − Im S‖``."""
    return _ri(_spectrum(estimate, stft), stft(reference)) / reference.shape[-1]


@loss(cite=_WANG)
def ri_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI plus the L1 distance of magnitudes, ``‖|R̂ + jÎ| − |S|‖``."""
    S_hat, S = _spectrum(estimate, stft), stft(reference)
    return (_ri(S_hat, S) + _mag(S_hat, S)) / reference.shape[-1]


@loss(cite=_WANG)
def ri_istft(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distance of waveforms after the inverse transform, ``‖iSTFT(Ŝ) − s‖``."""
    return _l1(_waveform(estimate, reference, stft) - reference) / reference.shape[-1]


@loss(cite=_WANG)
def ri_istft_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI-iSTFT plus the magnitudes of the resulting waveform, ``‖|STFT(iSTFT(Ŝ))| − |S|‖``."""
    y = _waveform(estimate, reference, stft)
    return (_l1(y - reference) + _mag(stft(y), stft(reference))) / reference.shape[-1]


@loss(cite=_WANG)
def mag_ri_istft(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """RI-iSTFT plus the magnitudes before the inverse transform, ``‖|Ŝ| − |S|‖``."""
    y = _waveform(estimate, reference, stft)
    before = _mag(_spectrum(estimate, stft), stft(reference))
    return (_l1(y - reference) + before) / reference.shape[-1]


@loss(cite=_WANG)
def wav(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """L1 distance of waveforms, ``‖ŝ − s‖``."""
    return l1(estimate, reference)


@loss(cite=_WANG)
def wav_mag(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """L1 distances of waveforms and of their magnitudes, ``‖ŝ − s‖ + ‖|STFT ŝ| − |S|‖``."""
    _need_waveform("wav-mag", estimate)
    return ri_istft_mag(estimate, reference, mixture, stft)


@loss(cite="Weninger, Hershey, Le Roux & Schuller, GlobalSIP 2014")
def msa(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, stft: STFT = _STFT
) -> Tensor:
    """Magnitude spectrum approximation, ``‖|Ŝ| − |S|‖²``."""
    error = _spectrum(estimate, stft).abs() - stft(reference).abs()
    return error.square().sum((-2, -1)) / reference.shape[-1]


@loss(cite="Erdogan, Hershey, Watanabe & Le Roux, ICASSP 2015")
def psa(
    estimate: Tensor,
    reference: Tensor,
    mixture: Tensor | None = None,
    stft: STFT = _STFT,
    truncate: bool = False,
) -> Tensor:
    """Phase-sensitive spectrum approximation, ``‖|Ŝ| − |S| cos(∠S − ∠X)‖²``.

    With ``truncate`` the target is clipped to ``[0, |X|]`` (Wang et al., Interspeech 2018).
    """
    X = stft(_required("psa", mixture))
    target = (stft(reference) * unit(X).conj()).real
    if truncate:
        target = torch.minimum(target.clamp_min(0), X.abs())
    error = _spectrum(estimate, stft).abs() - target
    return error.square().sum((-2, -1)) / reference.shape[-1]


@loss(cite="Choi et al., ICLR 2019 (DCUNet)")
def wsdr(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Weighted SDR of source and remainder, ``α L(y, ŷ) + (1 − α) L(x − y, x − ŷ)``.

    ``L(a, b) = −⟨a, b⟩ / (‖a‖ ‖b‖)`` and ``α = ‖y‖² / (‖y‖² + ‖x − y‖²)``; between −1 and 1.
    """
    _need_waveform("wsdr", estimate)
    x = _required("wsdr", mixture)
    rest = x - reference
    energy, rest_energy = _energy(reference), _energy(rest)
    share = energy / (energy + rest_energy + EPS)
    return share * _cosine(reference, estimate) + (1 - share) * _cosine(rest, x - estimate)


@loss(cite="Le Roux, Wisdom, Erdogan & Hershey, ICASSP 2019")
def si_sdr(
    estimate: Tensor, reference: Tensor, mixture: Tensor | None = None, zero_mean: bool = False
) -> Tensor:
    """Negative scale-invariant signal-to-distortion ratio in dB."""
    _need_waveform("si-sdr", estimate)
    if zero_mean:
        estimate = estimate - estimate.mean(-1, keepdim=True)
        reference = reference - reference.mean(-1, keepdim=True)
    scale = (estimate * reference).sum(-1, keepdim=True)
    target = scale / (_energy(reference).unsqueeze(-1) + EPS) * reference
    return _negative_decibel(_energy(target), _energy(estimate - target))


@loss()
def snr(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Negative signal-to-noise ratio ``10 log10(‖s‖² / ‖ŝ − s‖²)`` in dB."""
    _need_waveform("snr", estimate)
    return _negative_decibel(_energy(reference), _energy(estimate - reference))


@loss()
def l1(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Mean absolute error of waveforms."""
    _need_waveform("l1", estimate)
    return _l1(estimate - reference) / reference.shape[-1]


@loss()
def l2(estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
    """Mean squared error of waveforms."""
    _need_waveform("l2", estimate)
    return _energy(estimate - reference) / reference.shape[-1]


@loss(cite="Yamamoto, Song & Kim, ICASSP 2020 (Parallel WaveGAN)")
def multi_resolution(
    estimate: Tensor,
    reference: Tensor,
    mixture: Tensor | None = None,
    n_ffts: tuple[int, ...] = (512, 1024, 2048),
) -> Tensor:
    """Spectral convergence plus log-magnitude distance, mean over transform lengths.

    ``‖|S| − |Ŝ|‖ / ‖S‖`` (Frobenius) plus the mean of ``|log|S| − log|Ŝ||``, with Hann windows
    and a hop of a quarter of each length in ``n_ffts``.
    """
    _need_waveform("multi-resolution", estimate)
    total: Any = 0
    for n_fft in n_ffts:
        stft = _hann(as_int("n_ffts", n_fft, 1))
        V_hat, V = stft(estimate).abs(), stft(reference).abs()
        error = (V - V_hat).square().sum((-2, -1))
        convergence = ((error + EPS) / (V.square().sum((-2, -1)) + EPS)).sqrt()
        logs = ((V + EPS).log() - (V_hat + EPS).log()).abs().mean((-2, -1))
        total = total + convergence + logs
    return total / len(n_ffts)


@cache
def _hann(n_fft: int) -> STFT:
    """Transform with a Hann window and a hop of a quarter, made once."""
    return STFT(n_fft)


def _ri(S_hat: Tensor, S: Tensor) -> Tensor:
    error = S_hat - S
    return (error.real.abs() + error.imag.abs()).sum((-2, -1))


def _mag(S_hat: Tensor, S: Tensor) -> Tensor:
    return (S_hat.abs() - S.abs()).abs().sum((-2, -1))


def _l1(error: Tensor) -> Tensor:
    return error.abs().sum(-1)


def _energy(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = ((_energy(a) + EPS) * (_energy(b) + EPS)).sqrt()
    return -(a * b).sum(-1) / norms


def _negative_decibel(signal: Tensor, noise: Tensor) -> Tensor:
    return 10 * ((noise + EPS).log10() - (signal + EPS).log10())


def _spectrum(estimate: Tensor, stft: STFT) -> Tensor:
    return estimate if estimate.is_complex() else stft(estimate)


def _waveform(estimate: Tensor, reference: Tensor, stft: STFT) -> Tensor:
    if not estimate.is_complex():
        return estimate
    return stft.inverse(estimate, length=reference.shape[-1])


def _need_waveform(name: str, estimate: Tensor) -> None:
    if estimate.is_complex():
        raise ValueError(f"loss {name} takes an estimate as a waveform, got a complex spectrogram")


def _required(name: str, mixture: Tensor | None) -> Tensor:
    if mixture is None:
        raise ValueError(f"loss {name} needs a mixture")
    return mixture


def _check(estimate: Tensor, reference: Tensor, mixture: Tensor | None) -> None:
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


def _orders(n_sources: int, device: torch.device) -> Tensor:
    orders = list(itertools.permutations(range(n_sources)))
    return torch.tensor(orders, device=device)


def _assigned(pairs: Tensor) -> Tensor:
    """Best estimate for each reference, by linear assignment, of costs ``(batch, J, J)``."""
    from scipy.optimize import linear_sum_assignment

    costs = pairs.detach().transpose(1, 2).cpu().double().numpy()
    order = np.stack([linear_sum_assignment(cost)[1] for cost in costs])
    return torch.as_tensor(order, device=pairs.device)
