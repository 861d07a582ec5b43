"""A window of frames that plays the projectors of a problem, with a past that is final."""

from functools import cached_property

import numpy as np

from phaserec import projectors
from phaserec._coverage import least_seen
from phaserec.problem import NeedsMixture, shares
from phaserec.stft import STFT


class Past:
    """What committed frames have left on the samples that later frames see too.

    Parameters
    ----------
    stft : STFT
        The transform.
    lead : tuple of int
        Leading axes of spectrograms, with that of the sources.
    dtype : dtype
        Precision of waveforms.

    Attributes
    ----------
    next : int
        Number of the first frame that is not committed.
    sums : ndarray, shape (..., J, n_fft)
        Sum of windowed committed frames, on the samples that frame ``next`` sees.
    squares : ndarray, shape (n_fft,)
        Sum of their squared windows there.
    """

    def __init__(self, stft: STFT, lead: tuple[int, ...], dtype: np.dtype) -> None:
        self.stft = stft
        self.next = 0
        self.sums = np.zeros((*lead, stft.n_fft), dtype)
        self.squares = np.zeros(stft.n_fft)
        self.window = stft.window_values.astype(dtype)
        self.least = least_seen(stft.window_values, stft.hop_length)

    @property
    def begin(self) -> int:
        """Number of the first sample that frame ``next`` sees; negative ones are padding."""
        return self.next * self.stft.hop_length - self.stft.offset

    def summed(self, S: np.ndarray) -> np.ndarray:
        """Committed frames and those of a window, overlapped and added, ``(..., J, samples)``.

        Parameters
        ----------
        S : ndarray, shape (..., J, F, K)
            Frames from ``next`` on.

        Returns
        -------
        ndarray
            ``n_fft + (K − 1) hop`` samples.
        """
        n_fft, hop, n_frames = self.stft.n_fft, self.stft.hop_length, S.shape[-1]
        frames = np.fft.irfft(S.swapaxes(-1, -2), n_fft).astype(self.sums.dtype, copy=False)
        frames *= self.window
        total = np.zeros((*S.shape[:-2], n_fft + max(n_frames - 1, 0) * hop), self.sums.dtype)
        total[..., :n_fft] = self.sums
        for k in range(n_frames):
            total[..., k * hop : k * hop + n_fft] += frames[..., k, :]
        return total

    def gains(self, n_frames: int, length: int | None) -> np.ndarray:
        """One over the summed squared windows of the frames so far; 0 off the signal.

        Parameters
        ----------
        n_frames : int
            Frames after those that are committed.
        length : int or None
            Samples of the whole signal, where its end is known.

        Returns
        -------
        ndarray, shape (n_fft + (n_frames − 1) hop,)
            Gains.
        """
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        squares = np.zeros(n_fft + max(n_frames - 1, 0) * hop)
        squares[:n_fft] = self.squares
        for k in range(n_frames):
            squares[k * hop : k * hop + n_fft] += self.stft.window_values**2
        sample = self.begin + np.arange(len(squares))
        seen = (squares > self.least) & (sample >= 0)
        if length is not None:
            seen &= sample < length
        gains = np.zeros_like(squares)
        gains[seen] = 1 / squares[seen]
        return gains.astype(self.sums.dtype)

    def commit(self, frame: np.ndarray, length: int | None) -> np.ndarray:
        """Add one more frame for good.

        Parameters
        ----------
        frame : ndarray, shape (..., J, F)
            Frame ``next``.
        length : int or None
            Samples of the whole signal, where its end is known.

        Returns
        -------
        ndarray, shape (..., J, hop)
            The samples that no later frame sees.
        """
        hop = self.stft.hop_length
        total, gains = self.summed(frame[..., None]), self.gains(1, length)
        done = (total * gains)[..., :hop]
        self.squares += self.stft.window_values**2
        self.sums, self.squares = _shifted(total, hop), _shifted(self.squares, hop)
        self.next += 1
        return done


def _shifted(x: np.ndarray, hop: int) -> np.ndarray:
    moved = np.zeros_like(x)
    moved[..., : x.shape[-1] - hop] = x[..., hop:]
    return moved


class Window:
    """Frames that are iterated on, as a problem is: the projectors of any sentence.

    P_cons is of the signals whose committed frames are what they are: the frames of the window
    are added to these, divided by the squared windows of the frames so far, and analysed again.

    Parameters
    ----------
    past : Past
        Frames before.
    magnitudes : ndarray, shape (..., J, F, K)
        Target magnitudes of the K frames.
    X : ndarray, shape (..., F, K), optional
        Frames of the mixture.
    length : int, optional
        Samples of the whole signal, where its end is known.
    """

    def __init__(
        self,
        past: Past,
        magnitudes: np.ndarray,
        X: np.ndarray | None = None,
        length: int | None = None,
    ) -> None:
        self.past, self.magnitudes, self.mixture = past, magnitudes, X
        self.stft = past.stft
        self._gains = past.gains(magnitudes.shape[-1], length)

    @property
    def X(self) -> np.ndarray:
        """Frames of the mixture, ``(..., F, K)``."""
        if self.mixture is None:
            raise NeedsMixture(
                "this algorithm mixes sources and needs a mixture; give push() its frames, or use "
                "an algorithm for single spectrograms such as 'griffin-lim'"
            )
        return self.mixture

    @cached_property
    def mixing_weights(self) -> np.ndarray:
        """Λ of the soft mixing term, ``(..., J, F, K)``."""
        return shares(self.magnitudes)

    def nearest(self, S: np.ndarray) -> np.ndarray:
        """Magnitudes that P_mag gives S."""
        return self.magnitudes

    def mag(self, S: np.ndarray) -> np.ndarray:
        """P_mag, ``(..., J, F, K)``."""
        return projectors.magnitude(S, self.magnitudes)

    def cons(self, S: np.ndarray) -> np.ndarray:
        """P_cons given what is committed, ``(..., J, F, K)``."""
        samples = self.past.summed(S) * self._gains
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        # sliding_window_view costs as much as a transform here.
        *lead, step = samples.strides
        cut = np.lib.stride_tricks.as_strided(
            samples, (*S.shape[:-2], S.shape[-1], n_fft), (*lead, hop * step, step), writeable=False
        )
        spectra = np.fft.rfft(cut * self.past.window).astype(S.dtype, copy=False)
        return spectra.swapaxes(-1, -2)

    def mix(self, S: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """P_mix, ``(..., J, F, K)``."""
        return projectors.mixing(S, self.X, weights)
