"""What is to be solved: magnitudes, mixture and transform, validated once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from phaserec import _html, projectors
from phaserec._typing import ArrayT, Declares, Init, Lengths, Number, Seed
from phaserec._xp import (
    Array,
    as_array,
    as_int,
    check_finite,
    complex_dtype,
    holds,
    is_complex,
    namespace,
    outlined,
    real_dtype,
    same_backend,
    to_numpy,
)
from phaserec.starts.registry import begin
from phaserec.stft import STFT

# Sources that a notebook shows, and frames of each at most.
_PICTURES = 4
_COLUMNS = 600


class NeedsMixture(ValueError):
    """An algorithm mixes sources, and there is no mixture."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A spectrogram inversion problem, and the three projectors onto its constraints.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes V of the J sources, finite and non-negative, numpy or torch. Without a
        mixture the axis J is one more batch axis and may be absent. Half precision (float16,
        bfloat16) becomes float32.
    mixture : array, shape (..., time) or (..., F, T), optional
        The mixture as a real waveform or as its complex spectrogram; the leading axes are those
        of ``magnitudes`` before J.
    stft : STFT
        The transform that the spectrograms belong to.
    length : int, optional
        Length of the signals in samples; default that of the mixture waveform, else
        ``stft.n_samples(T)``.
    lengths : array_like of int, optional
        Valid samples of each item of a ragged batch, padded to ``length``; shape equal to the
        leading batch axes.
    weights : array, broadcastable to (..., J, F, T), optional
        Λ of the soft mixing term, non-negative with sum 1 over the sources, for the algorithms
        in which it is a choice; default ``V_j / Σ_k V_k``.

    Raises
    ------
    ValueError
        If an argument is not finite, has negative magnitudes, or disagrees in shape, library,
        device or length with another.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT, Problem
    >>> stft = STFT(256)
    >>> sources = np.random.default_rng(0).standard_normal((2, 1000))
    >>> p = Problem(abs(stft(sources)), sources.sum(0), stft=stft)
    >>> S = p.mix(p.mag(p.cons(p.start())))
    >>> bool(np.allclose(S.sum(0), p.X))
    True
    """

    magnitudes: Array
    mixture: Array | None
    stft: STFT
    length: int
    lengths: np.ndarray | None
    weights: Array | None

    def __init__(
        self,
        magnitudes: Array,
        mixture: Array | None = None,
        *,
        stft: STFT,
        length: int | None = None,
        lengths: Lengths = None,
        weights: Array | None = None,
    ) -> None:
        V = as_array("magnitudes", magnitudes)
        x = None if mixture is None else as_array("mixture", mixture)
        w = None if weights is None else as_array("weights", weights)
        xp = same_backend(magnitudes=V, mixture=x, weights=w)
        _check_arrays(xp, stft, V, x, w)
        if x is not None:
            dtype = xp.result_type(V.dtype, real_dtype(xp, x))
            V = xp.astype(V, dtype, copy=False)
            x = xp.astype(x, complex_dtype(xp, V) if is_complex(x) else dtype, copy=False)
        if w is not None:
            w = _checked_weights(xp, w, V)
        n = resolved_length(stft, V, x, length)
        if x is not None:
            wanted = (V.shape[-2:]) if is_complex(x) else (n,)
            if tuple(x.shape) != (*V.shape[:-3], *wanted):
                raise ValueError(
                    f"mixture of shape {tuple(x.shape)} does not go with magnitudes of shape "
                    f"{tuple(V.shape)}: expected {(*V.shape[:-3], *wanted)}"
                )
        valid = None
        if lengths is not None:
            lead = tuple(V.shape[:-2] if x is None else V.shape[:-3])
            valid = _checked_lengths(stft, lengths, lead, n)
            V = V * stft.valid_frames(valid, V)
        resolved = {
            "magnitudes": V,
            "mixture": x,
            "stft": stft,
            "length": n,
            "lengths": valid,
            "weights": w,
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={fact}" for name, fact in self._facts().items())
        return f"Problem({facts})"

    def _facts(self) -> dict[str, object]:
        """What it is made of, without the numbers."""
        arrays = {"magnitudes": self.magnitudes, "mixture": self.mixture, "weights": self.weights}
        facts: dict[str, object] = {k: outlined(a) for k, a in arrays.items() if a is not None}
        facts |= {"stft": self.stft, "length": self.length}
        if self.lengths is not None:
            facts["lengths"] = f"{self.lengths.min()}…{self.lengths.max()}"
        return facts

    def _repr_html_(self) -> str:
        """What it is made of, and the magnitudes of the first sources (with matplotlib)."""
        V = to_numpy(self.magnitudes)
        sources = V.reshape(-1, *V.shape[-2:])[:_PICTURES]
        if self.mixture is not None:
            sources = V.reshape(-1, *V.shape[-3:])[0, :_PICTURES]
        step = -(-V.shape[-1] // _COLUMNS)

        def draw(ax: Any) -> None:
            from phaserec import plot  # nobody else needs it

            plot.spectrogram(np.concatenate([*sources[..., ::step]], axis=-1), ax=ax)
            ax.set_xlabel("frames of one source after the other")

        return _html.table("Problem", self._facts()) + _html.picture(draw, width=8)

    @cached_property
    def X(self) -> Array:
        """Complex spectrogram of the mixture, ``(..., F, T)``.

        That of a waveform is of what frames see well enough, see :meth:`STFT.restrict`, so that it
        is consistent like the sources that are to sum to it.
        """
        self.require_mixture()
        x, stft = self.mixture, self.stft
        assert x is not None
        if is_complex(x):
            return x if self.lengths is None else x * stft.valid_frames(self.lengths, x)
        return stft(stft.restrict(x, self.lengths), lengths=self.lengths)

    def require_mixture(self) -> None:
        """Raise ValueError if there is no mixture."""
        if self.mixture is None:
            raise NeedsMixture(
                "this algorithm mixes sources and needs a mixture; give one, or use an algorithm "
                "for single spectrograms such as 'griffin-lim'"
            )

    @cached_property
    def mixing_weights(self) -> Array:
        """Λ of the soft mixing term, ``(..., J, F, T)``: as given, else ``V_j / Σ_k V_k``.

        Where all magnitudes are zero it is ``1/J``.
        """
        if self.weights is not None:
            return self.weights
        return shares(self.magnitudes)

    def nearest(self, S: ArrayT) -> ArrayT:
        """Magnitudes that P_mag gives S, ``(..., J, F, T)``: the target ones, whatever S is."""
        magnitudes: Any = self.magnitudes
        return magnitudes

    def mag(self, S: ArrayT) -> ArrayT:
        """P_mag: give S the target magnitudes, ``(..., J, F, T)``."""
        return projectors.magnitude(S, self.magnitudes)

    def cons(self, S: ArrayT) -> ArrayT:
        """P_cons: the nearest spectrogram of a real signal, ``(..., J, F, T)``."""
        return projectors.consistency(S, self.stft, self.length, self.lengths)

    def mix(self, S: ArrayT, weights: Array | None = None) -> ArrayT:
        """P_mix: spread the mixing error with Λ (default equally), ``(..., J, F, T)``."""
        return projectors.mixing(S, self.X, weights)

    def scaled(self, factor: Number) -> "Problem":
        """The problem with magnitudes and mixture ``factor`` times as large.

        Parameters
        ----------
        factor : float or array, shape (...)
            A factor, or one for each batch item.

        Returns
        -------
        Problem
            The problem.
        """
        x = self.mixture
        return Problem(
            times(factor, self.magnitudes),
            None if x is None else times(factor, x),
            stft=self.stft,
            length=self.length,
            lengths=self.lengths,
            weights=self.weights,
        )

    def start(
        self, init: Init = None, rng: Seed = None, algorithm: Declares | None = None
    ) -> Array:
        """Initial spectrogram.

        Parameters
        ----------
        init : str or complex array, optional
            Name of a start (:mod:`phaserec.starts`), such as ``"mixture"``, ``"random"``, uniform
            on the circle, or ``"pghi"``; ``"auto"``, the default, is the one that
            :func:`phaserec.starts.usual` names. Or a complex spectrogram ``(..., J, F, T)`` that is
            taken as it is.
        rng : Seed, optional
            Source of the random phases: what :func:`numpy.random.default_rng` takes, a
            RandomState, or a torch.Generator. The same seed gives the same phases in every back
            end. A generator of torch, or for tensors without ``rng`` its default one
            (``torch.manual_seed``), gives the seed.
        algorithm : phaserec.algorithms.Algorithm, optional
            The algorithm that is to start; ``"auto"`` is then the start that it declares.

        Returns
        -------
        array, shape (..., J, F, T)
            Complex spectrogram.

        Raises
        ------
        ValueError
            If ``init`` or ``rng`` is not one of these, or the declared start does not exist.
        """
        return begin(self, init, rng, algorithm)

    def waveforms(self, S: ArrayT) -> ArrayT:
        """Waveforms ``(..., J, time)`` of spectrograms ``(..., J, F, T)``."""
        return self.stft.inverse(S, length=self.length, lengths=self.lengths)


def _check_arrays(xp: Any, stft: STFT, V: Array, x: Array | None, w: Array | None) -> None:
    """Raise ValueError if magnitudes, mixture or weights cannot be what they are called."""
    if is_complex(V):
        raise ValueError("magnitudes must be real and non-negative; pass abs(S), not S")
    if V.ndim < (2 if x is None else 3):
        raise ValueError(
            f"magnitudes of shape {tuple(V.shape)} must be (..., F, T) without a mixture "
            "and (..., J, F, T) with one"
        )
    stft.check_bins("magnitudes", V.shape[-2])
    if V.shape[-1] < 1 or 0 in V.shape:
        raise ValueError(f"magnitudes of shape {tuple(V.shape)} hold no values")
    if x is not None and (x.ndim < 1 or 0 in x.shape):
        raise ValueError(f"mixture of shape {tuple(x.shape)} holds no samples")
    check_finite(magnitudes=V, mixture=x, weights=w)
    if not holds(xp.all(V >= 0)):
        raise ValueError(
            f"magnitudes must be non-negative, the smallest is {float(xp.min(V)):g}; "
            "magnitudes in dB or log must be converted first"
        )


def resolved_length(stft: STFT, V: Array, x: Array | None, length: int | None) -> int:
    """Samples of the signals that magnitudes are of; a ValueError if they disagree."""
    n_frames = V.shape[-1]
    if x is None or is_complex(x):
        length = stft.n_samples(n_frames) if length is None else length
        return stft.check_length(as_int("length", length, 1), n_frames)
    found = x.shape[-1]
    if length is not None and length != found:
        raise ValueError(f"length={length} but the mixture has {found} samples")
    if stft.n_frames(found) != n_frames:
        raise ValueError(
            f"magnitudes have T={n_frames} frames, but the mixture of {found} samples has "
            f"{stft.n_frames(found)} with hop_length={stft.hop_length} and center={stft.center}"
        )
    return found


def _checked_lengths(
    stft: STFT, lengths: Sequence[int] | Array, lead: tuple[int, ...], length: int
) -> np.ndarray:
    given = np.asarray(lengths if isinstance(lengths, Sequence) else to_numpy(lengths))
    if given.shape != lead[: given.ndim] or given.ndim == 0:
        raise ValueError(
            f"lengths of shape {given.shape} must match the batch axes {lead} of magnitudes"
        )
    if given.dtype.kind not in "iu" or given.min() < 1 or given.max() > length:
        raise ValueError(
            f"lengths must be integers between 1 and length={length} samples, got "
            f"{given.ravel()[:8].tolist()}"
        )
    if not stft.center and given.min() < stft.n_fft:
        raise ValueError(
            f"lengths must be at least n_fft={stft.n_fft} samples without centre padding, "
            f"got {given.min()}"
        )
    return given


def _checked_weights(xp: Any, weights: Array, V: Array) -> Array:
    if is_complex(weights) or V.ndim < 3:
        raise ValueError(
            "weights must be real shares of the sources, which are axis −3 of the magnitudes; "
            f"got {weights.dtype} for magnitudes of shape {tuple(V.shape)}"
        )
    weights = xp.astype(weights, V.dtype, copy=False)
    try:
        full = xp.broadcast_to(weights, V.shape)
    except (RuntimeError, ValueError):
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} do not broadcast to the magnitudes' "
            f"{tuple(V.shape)}"
        ) from None
    sums = xp.abs(xp.sum(full, axis=-3) - 1) <= 1e-4
    if not holds(xp.all(weights >= 0)) or not holds(xp.all(sums)):
        raise ValueError("weights must be non-negative and sum to 1 over the sources (axis −3)")
    return full


def times(factor: Number, values: ArrayT) -> ArrayT:
    """Values ``(..., *axes)`` times a number, or one for each batch item ``(...)``.

    Parameters
    ----------
    factor : float or array, shape (...)
        Factor.
    values : array
        Values.

    Returns
    -------
    array
        Products.
    """
    if isinstance(factor, float):
        return values if factor == 1 else factor * values
    return factor[(..., *(None,) * (values.ndim - factor.ndim))] * values


def shares(V: ArrayT) -> ArrayT:
    """Shares ``V_j / Σ_k V_k`` of the sources in the magnitudes of a bin.

    Parameters
    ----------
    V : array, shape (..., J, F, T)
        Magnitudes.

    Returns
    -------
    array, shape (..., J, F, T)
        Shares, which sum to 1; ``1/J`` where all magnitudes are zero.
    """
    xp = namespace(V)
    total = xp.sum(V, axis=-3, keepdims=True)
    silent = total < xp.finfo(V.dtype).smallest_normal
    share = V / xp.where(silent, xp.ones_like(total), total)
    return xp.where(silent, xp.full_like(V, 1 / V.shape[-3]), share)
