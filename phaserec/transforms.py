"""Modules for those who come from ``torchaudio.transforms``: its names, parameters and numbers.

What torchaudio computes is kept, edges included, so that a model trained with it goes on; change
``from torchaudio.transforms import`` to ``from phaserec.transforms import``. Better magnitudes and
better sound come from :func:`phaserec.mel_to_stft` and :func:`phaserec.griffinlim`.

Importing it loads torch, which an extra installs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phaserec._xp import as_given, as_int
from phaserec.inverse.filters import mel_filters
from phaserec.projectors import magnitude
from phaserec.stft import STFT

# What torch calls them.
_PADDINGS = {"replicate": "edge", "circular": "wrap"}

Values = float | str | bool
"""An argument of a window function."""


class _OfWindow(nn.Module):
    """A module with a transform.

    Parameters
    ----------
    n_fft, win_length, hop_length, window_fn, wkwargs, center, pad_mode
        As for the modules.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        win_length: int | None,
        hop_length: int | None,
        window_fn: Callable[..., Tensor],
        wkwargs: Mapping[str, Values] | None,
        center: bool = True,
        pad_mode: str = "reflect",
    ) -> None:
        super().__init__()
        self.n_fft = as_int("n_fft", n_fft, 1)
        self.win_length = self.n_fft if win_length is None else as_int("win_length", win_length, 1)
        half = max(self.win_length // 2, 1)
        self.hop_length = half if hop_length is None else as_int("hop_length", hop_length, 1)
        self.register_buffer("window", window_fn(self.win_length, **(wkwargs or {})))
        values = tuple(self.window.double().tolist())
        sizes = (self.n_fft, self.hop_length, self.win_length, values, center)
        # The inverse of torch drops the padding, whatever it was made of.
        self._synthesis = STFT(*sizes, strict=False)
        self._analysis = STFT(*sizes, strict=False, pad_mode=_PADDINGS.get(pad_mode, pad_mode))


def _whole(name: str, x: Tensor, kind: str) -> Tensor:
    """A spectrogram ``(..., F, T)``, computed in single precision at least."""
    if x.ndim < 2 or x.is_complex() != (kind == "complex"):
        raise ValueError(
            f"{name} is {x.dtype} of shape {tuple(x.shape)}, and must be {kind}, (..., F, T)"
        )
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class GriffinLim(_OfWindow):
    """Fast Griffin-Lim with the iterates of ``torchaudio.transforms.GriffinLim``.

    Perraudin, Balazs & Søndergaard (WASPAA 2013). The signal is padded by reflection before it is
    transformed, and its padding dropped after it is transformed back, as torch does.

    Parameters
    ----------
    n_fft : int, default 400
        Transform length in samples.
    n_iter : int, default 32
        Number of iterations.
    win_length, hop_length : int, optional
        Window length and hop in samples; default ``n_fft`` and ``win_length // 2``.
    window_fn : callable, default torch.hann_window
        ``window_fn(win_length, **wkwargs)``.
    power : float, default 2
        Exponent of the magnitudes that are given.
    wkwargs : dict, optional
        More arguments of the window function.
    momentum : float, default 0.99
        Momentum, from 0 to less than 1.
    length : int, optional
        Length of the result in samples; default ``hop_length (T − 1)``.
    rand_init : bool, default True
        Begin with random numbers of torch's generator, else with a phase of zero.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from phaserec.transforms import GriffinLim
    >>> GriffinLim(n_fft=64)(torch.rand(2, 33, 10)).shape
    torch.Size([2, 288])
    """

    def __init__(
        self,
        n_fft: int = 400,
        n_iter: int = 32,
        win_length: int | None = None,
        hop_length: int | None = None,
        window_fn: Callable[..., Tensor] = torch.hann_window,
        power: float = 2.0,
        wkwargs: Mapping[str, Values] | None = None,
        momentum: float = 0.99,
        length: int | None = None,
        rand_init: bool = True,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum!r} must be in the range [0, 1)")
        if not power > 0:
            raise ValueError(f"power={power!r} must be positive")
        self.n_iter = as_int("n_iter", n_iter, 0)
        self.length = None if length is None else as_int("length", length, 1)
        self.power, self.rand_init = power, rand_init
        self.momentum = momentum

    def forward(self, specgram: Tensor, init: Tensor | None = None) -> Tensor:
        """Waveforms of spectrograms.

        Parameters
        ----------
        specgram : Tensor, shape (..., F, T)
            Magnitudes to the given power, non-negative; half precision is computed in single.
        init : Tensor, shape (..., F, T), optional
            Complex spectrogram whose phases are begun with, in place of ``rand_init``.

        Returns
        -------
        Tensor, shape (..., time)
            Waveforms.

        Raises
        ------
        ValueError
            If the shapes do not go together.
        """
        given = _whole("specgram", specgram, "real")
        self._synthesis.check_bins("specgram", given.shape[-2])
        # The root of zero has no gradient.
        silent = given == 0
        V = torch.where(silent, torch.ones_like(given), given) ** (1 / self.power)
        V = torch.where(silent, torch.zeros_like(V), V)
        if init is not None:
            S = magnitude(_whole("init", init, "complex").to(V.to(torch.complex64).dtype), V)
        elif self.rand_init:
            kind = torch.complex128 if V.dtype == torch.float64 else torch.complex64
            S = V * torch.rand(V.shape, dtype=kind, device=V.device)
        else:
            S = torch.complex(V, torch.zeros_like(V))
        length, recent = self.length, self.momentum / (1 + self.momentum)
        if length is None:
            length = self._synthesis.n_samples(V.shape[-1])
        before: Any = 0
        for _ in range(self.n_iter):
            new = self._analysis(self._synthesis.inverse(S, length=length))
            S = magnitude(new - recent * before, V)
            before = new
        return as_given(self._synthesis.inverse(S, length=length), specgram)


class InverseMelScale(nn.Module):
    """Magnitudes of mel values as ``torchaudio.transforms.InverseMelScale`` finds them.

    Least squares of the smallest norm, with negative values cut off. Those without are closer:
    :func:`phaserec.inverse.nnls`.

    Parameters
    ----------
    n_stft : int
        Number of frequencies F, ``n_fft // 2 + 1``.
    n_mels : int, default 128
        Number of mel bands.
    sample_rate : int, default 16000
        Sample rate in Hz.
    f_min, f_max : float, optional
        Lowest and highest frequency in Hz; default 0 and half the sample rate.
    norm : {None, "slaney"}, default None
        Normalisation of the filters, see :func:`phaserec.inverse.mel_filters`.
    mel_scale : {"htk", "slaney"}, default "htk"
        Mel scale.
    driver : {"gels", "gelsy", "gelsd", "gelss"}, default "gels"
        Accepted; the solution is that of all that can solve the problem.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    fb: Tensor
    _inverse: Tensor

    def __init__(
        self,
        n_stft: int,
        n_mels: int = 128,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
        norm: Literal["slaney"] | None = None,
        mel_scale: Literal["htk", "slaney"] = "htk",
        driver: str = "gels",
    ) -> None:
        super().__init__()
        if driver not in ("gels", "gelsy", "gelsd", "gelss"):
            raise ValueError(
                f"driver={driver!r} must be one of 'gels', 'gelsy', 'gelsd' and 'gelss'"
            )
        self.n_mels = as_int("n_mels", n_mels, 1)
        n_fft = 2 * (as_int("n_stft", n_stft, 2) - 1)
        filters = torch.from_numpy(
            mel_filters(
                n_mels, n_fft, sample_rate, fmin=f_min, fmax=f_max, scale=mel_scale, norm=norm
            )
        )
        self.register_buffer("fb", filters.T.float())
        self.register_buffer("_inverse", torch.linalg.pinv(filters).float(), persistent=False)

    def forward(self, melspec: Tensor) -> Tensor:
        """Magnitudes of mel values.

        Parameters
        ----------
        melspec : Tensor, shape (..., n_mels, T)
            Mel values; half precision is computed in single.

        Returns
        -------
        Tensor, shape (..., n_stft, T)
            Magnitudes, of the power that was summed.

        Raises
        ------
        ValueError
            If the number of bands is another.
        """
        given = _whole("melspec", melspec, "real")
        if given.shape[-2] != self.n_mels:
            raise ValueError(
                f"melspec has {given.shape[-2]} bands, but the module has n_mels={self.n_mels}"
            )
        return as_given(torch.relu(self._inverse.to(given.dtype) @ given), melspec)


class InverseSpectrogram(_OfWindow):
    """The inverse transform as ``torchaudio.transforms.InverseSpectrogram`` makes it.

    Parameters
    ----------
    n_fft : int, default 400
        Transform length in samples.
    win_length, hop_length : int, optional
        Window length and hop in samples; default ``n_fft`` and ``win_length // 2``.
    pad : int, default 0
        Samples on both sides that are cut off where a ``length`` is given.
    window_fn : callable, default torch.hann_window
        ``window_fn(win_length, **wkwargs)``.
    normalized : bool or {"window", "frame_length"}, default False
        Whether the spectrogram was divided by the norm of the window (True, ``"window"``) or the
        square root of ``n_fft``.
    wkwargs : dict, optional
        More arguments of the window function.
    center : bool, default True
        Whether frames are centred.
    pad_mode : str, default "reflect"
        Accepted; the padding is dropped.
    onesided : bool, default True
        Whether the spectrogram has the lower half of the frequencies only.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(
        self,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Tensor] = torch.hann_window,
        normalized: bool | Literal["window", "frame_length"] = False,
        wkwargs: Mapping[str, Values] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        onesided: bool = True,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs, center, pad_mode)
        if normalized not in (True, False, "window", "frame_length"):
            raise ValueError(
                f"normalized={normalized!r} must be True, False, 'window' or 'frame_length'"
            )
        self.pad = as_int("pad", pad, 0)
        self.normalized, self.onesided = normalized, onesided

    def forward(self, spectrogram: Tensor, length: int | None = None) -> Tensor:
        """Waveforms of spectrograms.

        Parameters
        ----------
        spectrogram : Tensor, shape (..., F, T)
            Complex spectrogram; F is ``n_fft`` if it is two-sided.
        length : int, optional
            Samples of the result; default all. Frames tell of less than a hop more than that, and
            zeros follow, where torch divides the padding by what windows leave of it.

        Returns
        -------
        Tensor, shape (..., time)
            Waveforms.

        Raises
        ------
        ValueError
            If the spectrogram is not complex, or has another number of frequencies.
        """
        S = _whole("spectrogram", spectrogram, "complex")
        if not self.onesided:
            if S.shape[-2] != self.n_fft:
                raise ValueError(
                    f"spectrogram has {S.shape[-2]} frequencies, and must have n_fft={self.n_fft}"
                )
            S = S[..., : self._synthesis.n_bins, :]  # as torch does: the signal is real
        if self.normalized == "frame_length":
            S = S * self.n_fft**0.5
        elif self.normalized:
            S = S * self.window.to(S.real.dtype).square().sum().sqrt()
        if length is None:
            return self._synthesis.inverse(S)
        wanted = as_int("length", length, 1) + 2 * self.pad
        least = self._synthesis.n_samples(S.shape[-1])
        most = least + self.hop_length - 1
        x = self._synthesis.inverse(S, length=min(max(wanted, least), most))
        x = nn.functional.pad(x, (0, max(wanted - x.shape[-1], 0)))[..., :wanted]
        return x[..., self.pad : wanted - self.pad]
