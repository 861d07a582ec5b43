"""Analysis of samples as they come."""

from dataclasses import replace

import numpy as np

from phaserec.stft import STFT


class Frames:
    """The transform of samples that come in pieces of any size.

    Together the frames are those of the whole signal, bit for bit.

    Parameters
    ----------
    stft : STFT
        The transform, without centre padding or with zeros.

    Raises
    ------
    ValueError
        If the transform pads with copies of samples, which come later.
    """

    def __init__(self, stft: STFT) -> None:
        self.stft = forward_only(stft)
        self.reset()

    def reset(self) -> None:
        """Begin a new signal."""
        self._samples: np.ndarray | None = None
        self._taken, self._count = 0, 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Frames that are complete with these samples.

        Parameters
        ----------
        samples : ndarray, shape (..., n)
            The next samples; the leading axes are those of the first.

        Returns
        -------
        ndarray, shape (..., F, k)
            Complex frames, k ≥ 0.

        Raises
        ------
        ValueError
            If the leading axes change.
        """
        samples = np.asarray(samples)
        if self._samples is None:
            self._samples = np.zeros((*samples.shape[:-1], self.stft.offset), samples.dtype)
        if samples.shape[:-1] != self._samples.shape[:-1]:
            raise ValueError(
                f"samples have leading axes {samples.shape[:-1]}, those before had "
                f"{self._samples.shape[:-1]}; reset() begins another signal"
            )
        self._taken += samples.shape[-1]
        self._samples = np.concatenate([self._samples, samples], -1)
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        return self._cut(max((self._samples.shape[-1] - n_fft) // hop + 1, 0))

    def flush(self) -> np.ndarray:
        """The last frames, which see beyond the end; then a new signal may begin.

        Returns
        -------
        ndarray, shape (..., F, k)
            Complex frames, as many as the transform of the whole has left.
        """
        if self._samples is None:
            raise ValueError("flush() needs samples first; push() takes them")
        left = self.stft.n_frames(self._taken) - self._count
        needed = (left - 1) * self.stft.hop_length + self.stft.n_fft if left > 0 else 0
        missing = max(needed - self._samples.shape[-1], 0)
        zeros = np.zeros((*self._samples.shape[:-1], missing), self._samples.dtype)
        self._samples = np.concatenate([self._samples, zeros], -1)
        found = self._cut(max(left, 0))
        self.reset()
        return found

    def _cut(self, n_frames: int) -> np.ndarray:
        assert self._samples is not None
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        seen = self._samples[..., : (n_frames - 1) * hop + n_fft] if n_frames else None
        bare = replace(self.stft, center=False, strict=False)
        lead = self._samples.shape[:-1]
        kind = np.result_type(self._samples.dtype, np.complex64)
        found = np.zeros((*lead, self.stft.n_bins, 0), kind) if seen is None else bare(seen)
        self._samples = self._samples[..., n_frames * hop :]
        self._count += n_frames
        return found


def forward_only(stft: STFT) -> STFT:
    """The transform, or a ValueError where frames see samples that come later than themselves."""
    if stft.offset and stft.padding != "constant":
        raise ValueError(
            f"stft pads with pad_mode={stft.padding!r}, copies of samples that come later; online "
            "use pad_mode='constant' or center=False"
        )
    return stft
