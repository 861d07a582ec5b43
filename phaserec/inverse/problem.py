"""Phases and magnitudes at once: a problem whose magnitudes are known by the values of bands."""

from dataclasses import dataclass
from typing import Any

from phaserec import projectors
from phaserec._typing import Array, ArrayT, Number
from phaserec._xp import namespace
from phaserec.inverse.bands import Bands
from phaserec.inverse.least_squares import nearest_magnitudes
from phaserec.problem import Problem, times
from phaserec.stft import STFT


@dataclass(frozen=True, eq=False)
class BandProblem(Problem):
    """A problem whose P_mag is onto the spectrograms with given values of bands.

    Magnitudes are not fixed: those that an iteration has are moved as little as can be to where
    ``A |S|ᵖ`` is what the values say, and phases kept, which is the nearest such spectrogram. Every
    algorithm for single spectrograms runs on it, on the arrays.

    Parameters
    ----------
    bands : Bands
        What the values are, with power 1 or 2.
    values : array, shape (..., K, T)
        Values, numpy or torch.
    stft : STFT
        The transform.
    length : int, optional
        Length of the signals in samples; default ``stft.n_samples(T)``.
    exact : bool, default False
        Project to rounding, instead of to 1e-4 of the values.

    Raises
    ------
    ValueError
        If bands, values and transform do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT, iterate
    >>> from phaserec.inverse import BandProblem, Bands
    >>> stft, bands = STFT(256), Bands.mel(20, 256, 8000)
    >>> x = np.random.default_rng(0).standard_normal(2000)
    >>> p = BandProblem(bands, bands(stft(x)), stft=stft)
    >>> *_, S = iterate("griffin-lim", p, 30, rng=0)
    >>> error = abs(bands(p.cons(S)) / p.sums - 1)
    >>> bool(error.mean() < 0.1)
    True
    """

    bands: Bands
    sums: Array
    exact: bool

    def __init__(
        self,
        bands: Bands,
        values: Array,
        *,
        stft: STFT,
        length: int | None = None,
        exact: bool = False,
    ) -> None:
        if bands.power not in (1, 2):
            raise ValueError(
                f"bands of power={bands.power!r} cannot be projected onto: power must be 1 or 2; "
                "invert bands.magnitudes(values) instead"
            )
        stft.check_bins("bands.matrix", bands.matrix.shape[1])
        for name, value in {"bands": bands, "sums": bands.linear(values), "exact": exact}.items():
            object.__setattr__(self, name, value)
        super().__init__(bands.magnitudes(values), stft=stft, length=length)

    def _facts(self) -> dict[str, object]:
        return {**super()._facts(), "bands": self.bands}

    def nearest(self, S: ArrayT) -> ArrayT:
        """Magnitudes with the values of bands that are nearest to those of S, ``(..., F, T)``."""
        near: Any = nearest_magnitudes(
            self.bands.matrix,
            self.sums,
            namespace(S).abs(S),
            power=int(self.bands.power),
            weights=self.stft.bin_weights,
            exact=self.exact,
        )
        return near

    def mag(self, S: ArrayT) -> ArrayT:
        """P_mag: give S the values of bands, ``(..., F, T)``, phases kept."""
        return projectors.magnitude(S, self.nearest(S))

    def scaled(self, factor: Number) -> "BandProblem":
        """The problem with sums of magnitudes ``factor`` times as large."""
        plain = Bands(self.bands.matrix, self.bands.power)
        return BandProblem(
            plain,
            times(factor**self.bands.power, self.sums),
            stft=self.stft,
            length=self.length,
            exact=self.exact,
        )
