"""Values of bands: a non-negative map of the powers of magnitudes, perhaps their logarithm."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from phaserec._typing import ArrayT
from phaserec._xp import as_array, check_finite, dtype_name, is_complex, like, namespace, to_numpy
from phaserec.inverse.filters import Edges, Norm, Scale, kaldi_filters, mel_filters
from phaserec.inverse.least_squares import check_map, nnls

Log = Literal["ln", "log10", "db"]
_LOGS = {"ln": 1.0, "log10": 1 / math.log(10), "db": 10 / math.log(10)}


@dataclass(frozen=True, eq=False)
class Bands:
    """What the values of bands are: ``m = A |S|ᵖ``, or ``s·ln(max(m, floor)/ref)``.

    Parameters
    ----------
    matrix : ndarray, shape (K, F)
        A, non-negative.
    power : float, default 2
        p: 2 for sums of power, 1 for sums of magnitudes.
    log : {None, "ln", "log10", "db"}, default None
        Logarithm; ``"db"`` is 10 log10, whatever the power. For decibels of summed magnitudes as
        20 log10, give values divided by 2.
    ref : float, default 1
        What the logarithm is relative to. Values relative to a maximum that is not kept
        (``librosa.power_to_db(M, ref=np.max)``) are inverted up to a factor.
    floor : float, default 1e-10
        Least value of a band whose logarithm is taken: ``amin`` of librosa, the energy floor of
        Kaldi (the epsilon of float32, 1.19e-7). Values at the floor are inverted as the floor.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT
    >>> from phaserec.inverse import Bands
    >>> S = abs(STFT(512)(np.random.default_rng(0).standard_normal(4000)))
    >>> bands = Bands.mel(40, 512, 16000, log="db")
    >>> values = bands(S)
    >>> values.shape
    (40, 32)
    >>> bool(np.allclose(bands(bands.magnitudes(values)), values))
    True
    """

    matrix: np.ndarray
    power: float = 2.0
    log: Log | None = None
    ref: float = 1.0
    floor: float = 1e-10

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix)
        A, _ = check_map(matrix, np.zeros((len(matrix), 1)))
        object.__setattr__(self, "matrix", A)
        for name in ("power", "ref", "floor"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} must be a positive number")
        if self.log is not None and self.log not in _LOGS:
            raise ValueError(f"log={self.log!r} must be None, 'ln', 'log10' or 'db'")

    def __repr__(self) -> str:
        return (
            f"Bands({self.matrix.shape[0]} of {self.matrix.shape[1]} bins, power={self.power}, "
            f"log={self.log!r}, ref={self.ref}, floor={self.floor})"
        )

    @classmethod
    def mel(
        cls,
        n_mels: int,
        n_fft: int,
        sample_rate: float,
        *,
        fmin: float = 0.0,
        fmax: float | None = None,
        scale: Scale = "slaney",
        norm: Norm = "slaney",
        edges: Edges = "hertz",
        power: float = 2.0,
        log: Log | None = None,
        ref: float = 1.0,
        floor: float = 1e-10,
    ) -> "Bands":
        """Mel bands; by default those of ``librosa.feature.melspectrogram``.

        Parameters
        ----------
        n_mels, n_fft, sample_rate, fmin, fmax, scale, norm, edges
            As for :func:`mel_filters`. torchaudio's bands are ``scale="htk", norm=None``.
        power, log, ref, floor
            As for :class:`Bands`.

        Returns
        -------
        Bands
            The bands.
        """
        matrix = mel_filters(
            n_mels, n_fft, sample_rate, fmin=fmin, fmax=fmax, scale=scale, norm=norm, edges=edges
        )
        return cls(matrix, power, log, ref, floor)

    @classmethod
    def kaldi(
        cls,
        n_mels: int,
        n_fft: int,
        sample_rate: float,
        *,
        fmin: float = 20.0,
        fmax: float = 0.0,
        power: float = 2.0,
        log: Log | None = "ln",
    ) -> "Bands":
        """Kaldi's ``fbank``: natural logarithm, floor the epsilon of float32.

        Frames are not Kaldi's: it takes off their mean, boosts high frequencies and does not pad.
        These are of the transform that magnitudes come from.

        Parameters
        ----------
        n_mels, n_fft, sample_rate, fmin, fmax
            As for :func:`kaldi_filters`.
        power : float, default 2
            1 with ``--use-power=false``.
        log : {"ln", None}, default "ln"
            None with ``--use-log-fbank=false``.

        Returns
        -------
        Bands
            The bands.
        """
        matrix = kaldi_filters(n_mels, n_fft, sample_rate, fmin=fmin, fmax=fmax)
        return cls(matrix, power, log, floor=float(np.finfo(np.float32).eps))

    @cached_property
    def n_fft(self) -> int:
        """Even transform length that has so many bins."""
        return 2 * (self.matrix.shape[1] - 1)

    def __call__(self, S: ArrayT) -> ArrayT:
        """Values of spectrograms.

        Parameters
        ----------
        S : array, shape (..., F, T)
            Magnitudes, or complex spectrograms; numpy or torch.

        Returns
        -------
        array, shape (..., K, T)
            Values.

        Raises
        ------
        ValueError
            If F is not that of the bands.
        """
        S = cast(ArrayT, as_array("S", S))
        if S.ndim < 2 or S.shape[-2] != self.matrix.shape[1]:
            raise ValueError(
                f"S of shape {tuple(S.shape)} must be (..., {self.matrix.shape[1]}, T)"
            )
        xp = namespace(S)
        squares = xp.real(S) ** 2 + xp.imag(S) ** 2 if is_complex(S) else S**2
        # The square root of the square has no gradient at silence; a power of it is all there is.
        powers = squares if self.power == 2 else abs(S) ** self.power
        m = like(self.matrix, powers) @ powers
        if self.log is None:
            return m
        return _LOGS[self.log] * xp.log(xp.clip(m, self.floor, None) / self.ref)

    def linear(self, values: ArrayT) -> ArrayT:
        """Sums ``A |S|ᵖ`` of values, without the logarithm.

        Parameters
        ----------
        values : array, shape (..., K, T)
            Values.

        Returns
        -------
        array, shape (..., K, T)
            Sums, non-negative.

        Raises
        ------
        ValueError
            If they are not such values.
        """
        v: Any = as_array("values", values)
        check_finite(values=v)
        K = len(self.matrix)
        if is_complex(v) or v.ndim < 2 or v.shape[-2] != K or 0 in v.shape:
            raise ValueError(
                f"values are {dtype_name(v)} of shape {tuple(v.shape)}, and must be real of shape "
                f"(..., {K}, T), for {K} bands; transpose them if frames come first"
            )
        xp = namespace(v)
        if self.log is not None:
            v = self.ref * xp.exp(v / _LOGS[self.log])
            check_finite(**{f"values, as those of log={self.log!r},": v})
        elif float(to_numpy(xp.min(v))) < 0:
            raise ValueError(
                f"values without a logarithm must be non-negative, the smallest is "
                f"{float(to_numpy(xp.min(v))):g}; if they are logarithms, say which: log='ln', "
                "'log10' or 'db'"
            )
        return cast(ArrayT, v)

    def magnitudes(self, values: ArrayT) -> ArrayT:
        """Magnitudes that have the values, or come as near as can be.

        Of all that do, those whose p-th powers have the smallest sum of squares (:func:`nnls`).

        Parameters
        ----------
        values : array, shape (..., K, T)
            Values, numpy or torch.

        Returns
        -------
        array, shape (..., F, T)
            Magnitudes.

        Raises
        ------
        ValueError
            If they are not such values.
        """
        powers: Any = nnls(self.matrix, self.linear(values))
        if self.power == 1:
            return powers
        # The root of zero has no gradient; there it is that of zero.
        xp = namespace(powers)
        none = powers == 0
        root = xp.where(none, xp.ones_like(powers), powers) ** (1 / self.power)
        return xp.where(none, xp.zeros_like(powers), root)
