"""The short-time Fourier transform and its exact least-squares inverse."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from phaserec import _html
from phaserec._coverage import (
    SEEN,
    gain_table,
    gains_of,
    least_seen,
    square_table,
    table_rows,
)
from phaserec._memory import check_memory
from phaserec._padding import check_mode, fold, pad
from phaserec._typing import ArrayT, Lengths, Window
from phaserec._xp import (
    Array,
    as_int,
    dtype_name,
    is_complex,
    is_torch_array,
    is_traced,
    like,
    namespace,
    zeros,
)

# Windows a − b cos(2πn/N) that need not wait for scipy.signal to load (half a second).
_COSINES = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "rect": (1.0, 0.0)}

# Bytes for each sample of a window or hop, of all tables together.
_TABLES = 64


@dataclass(frozen=True)
class STFT:
    """Short-time Fourier transform with its centre padding, validated once.

    Calling it transforms waveforms; :meth:`inverse` is the Moore-Penrose inverse on signals of a
    given length (Griffin & Lim, IEEE TASSP 1984) that are zero where frames hardly see them, so
    that ``stft(stft.inverse(S, length=L))`` is an orthogonal projection, with any padding. The
    output equals that of ``librosa.stft`` and ``torch.stft`` with the same padding; in torch, whose
    default is ``"reflect"``, edge is called replicate and wrap circular. Numpy and torch arrays,
    float32 and float64; the spectrogram of float16 and bfloat16 is complex64.

    Parameters
    ----------
    n_fft : int, default 1024
        Transform length N in samples, odd lengths included; F = n_fft // 2 + 1 frequencies.
    hop_length : int, optional
        Hop H in samples between frames; default ``n_fft // 4``.
    win_length : int, optional
        Window length in samples, at most ``n_fft`` (the default); shorter windows are centred.
    window : str, tuple, float, sequence of win_length floats or callable, default "hann"
        As :func:`scipy.signal.get_window` takes it (periodic), such as ``("gaussian", n_fft / 8)``
        with the standard deviation in samples; ``"rect"`` for ones; the values, or a function that
        returns them for a ``win_length``.
    center : bool, default True
        Frame t is centred on sample t·H of the signal, which is padded by ``n_fft // 2`` samples
        on both sides. With ``False`` frame t starts at sample t·H, and edge samples whose summed
        squared window is below a thousandth of its maximum come back from the inverse as zeros.
    strict : bool, default True
        Refuse a window and hop from which a signal cannot be computed back. With ``False`` the
        inverse sets such samples to zero throughout the signal.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the signal is padded with: zeros, or copies of its samples as :func:`numpy.pad` makes
        them. Signals may be shorter than their padding; copies are then copied again. Without
        ``center`` there is no padding, and the mode has no effect.

    Raises
    ------
    ValueError
        If a parameter is out of range, or (``strict``) the window and hop are not invertible.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT
    >>> stft = STFT(n_fft=512)
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> S = stft(x)
    >>> S.shape
    (257, 24)
    >>> bool(np.allclose(stft.inverse(S, length=3000), x))
    True
    """

    n_fft: int
    hop_length: int
    win_length: int
    window: str | float | tuple[object, ...]
    center: bool
    strict: bool = field(compare=False)
    pad_mode: str

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: Window = "hann",
        center: bool = True,
        strict: bool = True,
        pad_mode: str = "constant",
    ) -> None:
        n_fft = as_int("n_fft", n_fft, 1)
        hop = as_int("hop_length", max(n_fft // 4, 1) if hop_length is None else hop_length, 1)
        win = n_fft if win_length is None else as_int("win_length", win_length, 1)
        if win > n_fft:
            raise ValueError(f"win_length={win} must be at most n_fft={n_fft}")
        if not isinstance(center, bool | np.bool_):
            raise ValueError(f"center={center!r} must be True or False")
        check_memory(
            f"a transform with n_fft={n_fft} and hop_length={hop}",
            _TABLES * max(n_fft, hop),
            "use smaller ones, such as n_fft=1024",
        )
        resolved = {
            "n_fft": n_fft,
            "hop_length": hop,
            "win_length": win,
            "window": _hashable(window(win) if callable(window) else window),
            "center": bool(center),
            "strict": strict,
            "pad_mode": check_mode(pad_mode),
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)
        if strict:
            self._check_invertible()

    def __repr__(self) -> str:
        """As it would be typed: what is as usual is left out."""
        usual = {
            "win_length": self.n_fft,
            "window": "hann",
            "center": True,
            "strict": True,
            "pad_mode": "constant",
        }
        given = {name: getattr(self, name) for name in usual}
        given = {name: value for name, value in given.items() if value != usual[name]}
        if "window" in given:
            given["window"] = _window_name(self.window)
        shown = {"n_fft": self.n_fft, "hop_length": self.hop_length, **given}
        words = (f"{k}={v if k == 'window' else repr(v)}" for k, v in shown.items())
        return f"STFT({', '.join(words)})"

    def _repr_html_(self) -> str:
        """Its settings and the window."""
        facts = {name: getattr(self, name) for name in ("n_fft", "hop_length", "win_length")}
        facts["window"] = _window_name(self.window)
        facts["padding"] = self.padding if self.center else "none"
        return _html.table("STFT", facts) + _html.outline(self.window_values)

    def _check_invertible(self) -> None:
        deficient = self.deficient
        if deficient.size:
            shown = ", ".join(str(r) for r in deficient[:4]) + (", …" if deficient.size > 4 else "")
            raise ValueError(
                f"window={_window_name(self.window)} with win_length={self.win_length} and "
                f"hop_length={self.hop_length} is not invertible: {deficient.size} of every "
                f"{self.hop_length} samples are seen by no frame, or with less than {SEEN:g} of "
                f"the largest summed squared window (offsets {shown} in each hop); use a smaller "
                f"hop_length, such as {max(self.win_length // 4, 1)}"
            )

    @cached_property
    def window_values(self) -> np.ndarray:
        """Window padded to ``(n_fft,)``, float64."""
        if isinstance(self.window, tuple) and not isinstance(self.window[0], str):
            values = np.asarray(self.window)
        elif isinstance(self.window, str) and self.window in _COSINES:
            angle = 2 * np.pi * np.arange(self.win_length) / self.win_length
            a, b = _COSINES[self.window]
            values = a - b * np.cos(angle)
        else:
            from scipy.signal import get_window

            try:
                with np.errstate(all="ignore"):  # the check says it better
                    values = get_window(self.window, self.win_length, fftbins=True)
            except (ValueError, TypeError) as error:
                raise ValueError(f"window={self.window!r}: {error}") from None
        if values.shape != (self.win_length,) or not np.all(np.isfinite(values)):
            raise ValueError(
                f"window must hold win_length={self.win_length} finite values, got {values.size}"
            )
        left = (self.n_fft - self.win_length) // 2
        return np.pad(values, (left, self.n_fft - self.win_length - left))

    @property
    def settings(self) -> dict[str, object]:
        """What makes an equal transform: ``STFT(**stft.settings)``."""
        names = ("n_fft", "hop_length", "win_length", "window", "center", "pad_mode")
        return {name: getattr(self, name) for name in names}

    @property
    def depth(self) -> int:
        """Columns of one hop that a frame reaches over, ``⌈n_fft / hop_length⌉``."""
        return -(-self.n_fft // self.hop_length)

    @cached_property
    def deficient(self) -> np.ndarray:
        """Positions within a hop, counted from frame starts, hardly seen by any window; ints."""
        steady = gain_table(self.window_values, self.hop_length, self.depth)[self.depth - 1]
        return np.flatnonzero(steady == 0)

    @property
    def n_bins(self) -> int:
        """Number of frequencies F of the one-sided spectrum."""
        return self.n_fft // 2 + 1

    @property
    def offset(self) -> int:
        """Samples of padding before the signal, and after it."""
        return self.n_fft // 2 if self.center else 0

    @property
    def padding(self) -> str:
        """Kind of padding that there is: ``pad_mode``, or ``"constant"`` without any."""
        return self.pad_mode if self.center else "constant"

    @cached_property
    def bin_weights(self) -> np.ndarray:
        """How often each bin counts in the full two-sided spectrum, ``(F, 1)``: 2, or 1."""
        weights = np.full((self.n_bins, 1), 2.0)
        weights[0] = 1
        if self.n_fft % 2 == 0:
            weights[-1] = 1
        return weights

    def n_frames(self, length: int) -> int:
        """Number of frames T of a signal of ``length`` samples.

        Parameters
        ----------
        length : int
            Signal length in samples.

        Returns
        -------
        int
            Number of frames.

        Raises
        ------
        ValueError
            If the signal is empty, or shorter than ``n_fft`` without centre padding.
        """
        padded = length + 2 * self.offset - self.n_fft
        if length < 1 or padded < 0:
            need = 1 if self.center else self.n_fft
            raise ValueError(
                f"a signal of {length} samples is too short: at least {need} needed with "
                f"n_fft={self.n_fft} and center={self.center}"
            )
        return 1 + padded // self.hop_length

    def n_samples(self, n_frames: int) -> int:
        """Shortest signal length with ``n_frames`` frames (1 sample at least)."""
        return max(self.n_fft + self.hop_length * (n_frames - 1) - 2 * self.offset, 1)

    def check_length(self, length: int, n_frames: int) -> int:
        """Return ``length`` if its transform has ``n_frames`` frames, else raise ValueError."""
        length = as_int("length", length, 1)
        if self.n_frames(length) != n_frames:
            low = self.n_samples(n_frames)
            raise ValueError(
                f"length={length} gives {self.n_frames(length)} frames, but the spectrogram has "
                f"{n_frames}: with hop_length={self.hop_length} the length must lie between "
                f"{low} and {self._longest(n_frames)} samples"
            )
        return length

    def _longest(self, n_frames: int) -> int:
        return self.n_fft + self.hop_length * n_frames - 2 * self.offset - 1

    def __call__(self, x: ArrayT, *, lengths: Lengths = None) -> ArrayT:
        """Transform waveforms.

        Parameters
        ----------
        x : array, shape (..., time)
            Real waveforms.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``x`` (one axis or
            more); each is padded at its own end, and what lies beyond gets no frames.

        Returns
        -------
        array, shape (..., F, T)
            One-sided complex spectrogram.

        Raises
        ------
        ValueError
            If ``x`` is complex or too short.
        """
        if is_complex(x):
            raise ValueError("the STFT takes real waveforms, got a complex array")
        n_frames = self.n_frames(x.shape[-1])
        if isinstance(x, np.ndarray):
            count = math.prod(x.shape[:-1]) * self.n_bins * n_frames
            check_memory(
                f"a spectrogram of {count} bins",
                4 * x.itemsize * count,
                "use shorter files, a larger hop_length or a smaller n_fft",
            )
        S = self._spectra(self.padded(x, 0, n_frames, lengths))
        return S if lengths is None else S * self.valid_frames(lengths, S)

    def inverse(self, S: ArrayT, *, length: int | None = None, lengths: Lengths = None) -> ArrayT:
        """Least-squares inverse: the waveform whose transform is nearest to ``S``.

        Parameters
        ----------
        S : array, shape (..., F, T)
            One-sided complex spectrogram.
        length : int, optional
            Number of samples, between ``n_samples(T)`` (the default) and one hop more.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``S``; the rest of each
            waveform is zero.

        Returns
        -------
        array, shape (..., length)
            Real waveforms.

        Raises
        ------
        ValueError
            If F is not that of ``n_fft``, or ``length`` disagrees with T.
        """
        n_bins, n_frames = S.shape[-2:]
        self.check_bins("S", n_bins)
        length = self.n_samples(n_frames) if length is None else length
        length = self.check_length(length, n_frames)
        if lengths is not None:
            S = S * self.valid_frames(lengths, S)
        xp = namespace(S)
        frames = xp.fft.irfft(xp.matrix_transpose(S), n=self.n_fft)
        x = self.overlap_add(frames * self._tensor("window", S), length, lengths)
        return x * self.gains(length, x, lengths)

    def gains(self, length: int, x: ArrayT, lengths: Lengths = None) -> ArrayT:
        """One over the summed squared windows at each sample; 0 where they hardly see it.

        Where copies of a sample pad the signal, the windows that see these count too.

        Parameters
        ----------
        length : int
            Number of samples.
        x : array, shape (..., length)
            Waveforms that they are for: library, device and precision.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``x``.

        Returns
        -------
        array
            Broadcasts against ``x``.
        """
        if not isinstance(length, int):
            return self._gains_of_any(length, x)
        if lengths is None:
            return self._tensor("gains", x, length)
        gains = np.zeros((*np.shape(lengths), length), dtype_name(x))
        for index, n in _items(lengths):
            self._fill_gains(gains[index][:n])
        return like(_align(gains, x.ndim), x)

    def _tensor(self, kind: str, x: ArrayT, length: int = 0) -> ArrayT:
        """Window or gains with the library, device and precision of ``x``.

        Those of torch are made once (gains for the last length), since a copy to a device waits.
        """
        if not is_torch_array(x) or is_traced():
            return like(self._values(kind, x, length), x)
        kept, key = _TENSORS.setdefault(self, {}), (kind, x.device, x.dtype)
        if kept.get(key, (None,))[0] != length:
            torch = namespace(x)
            with torch.inference_mode(False):  # others may need it in a backward pass
                made = like(self._values(kind, x, length), x)
            if type(made) is not torch.Tensor:  # of one of torch's modes, and of no other use
                return made
            kept[key] = length, made
        return kept[key][1]

    def _values(self, kind: str, x: Array, length: int) -> np.ndarray:
        """Numbers of :meth:`_tensor`."""
        if kind == "window":
            return self.window_values
        if kind == "analysis":
            return self.n_fft * self.window_values
        gains = np.zeros(length, dtype_name(x))
        self._fill_gains(gains)
        return gains

    def _gains_of_any(self, length: Any, x: ArrayT) -> ArrayT:
        """Gains of a length that is a symbol, in a program that torch exports for any length."""
        xp = namespace(x)
        squares = xp.asarray(self.window_values**2, dtype=xp.float64, device=x.device)
        frames = xp.broadcast_to(squares, (self.n_frames(length), self.n_fft))
        totals = self.overlap_add(frames, length)
        seen = totals > least_seen(self.window_values, self.hop_length)
        gains = xp.where(seen, 1 / xp.where(seen, totals, 1.0), 0.0)
        return xp.astype(gains, x.dtype)

    def _fill_gains(self, gains: np.ndarray) -> None:
        """Write the gains of a signal as long as the array."""
        # Hops far from both ends are all seen alike: the gains of a short signal serve any.
        hop, edge = self.hop_length, self.n_fft + self.hop_length
        more = max((gains.size - 2 * edge) // hop, 0) * hop
        short = _short_gains(self, gains.size - more)
        gains[:edge] = short[:edge]
        gains[edge + more :] = short[edge:]
        if more:
            gains[edge : edge + more].reshape(-1, hop)[:] = short[edge - hop : edge]

    def restrict(self, x: ArrayT, lengths: Lengths = None) -> ArrayT:
        """Zero the samples that frames hardly see: what is left is what the inverse can give back.

        Parameters
        ----------
        x : array, shape (..., time)
            Real waveforms.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to the leading axes of ``x``; what lies beyond
            is zero too.

        Returns
        -------
        array, shape (..., time)
            ``x`` itself where frames see all of it.
        """
        xp = namespace(x)
        seen = self.gains(x.shape[-1], x, lengths) > 0
        whole = not is_traced() and bool(xp.all(seen))
        return x if whole else xp.where(seen, x, xp.zeros_like(x))

    def check_bins(self, name: str, n_bins: int) -> None:
        """Raise ValueError if ``n_bins`` is not the F of this transform."""
        if n_bins != self.n_bins:
            raise ValueError(
                f"{name} has F={n_bins} frequencies, but n_fft={self.n_fft} gives "
                f"{self.n_bins}; {_remedy(n_bins)}"
            )

    def frames(self, x: ArrayT, first: int, last: int) -> ArrayT:
        """Transform of frames ``first`` to ``last − 1`` alone.

        Parameters
        ----------
        x : array, shape (..., time)
            Real waveforms.
        first, last : int
            Range of frames.

        Returns
        -------
        array, shape (..., F, last − first)
            Part of the spectrogram.
        """
        return self._spectra(self.padded(x, first, last))

    def padded(self, x: ArrayT, first: int, last: int, lengths: Lengths = None) -> ArrayT:
        """Samples that frames ``first`` to ``last − 1`` see, with the padding among them.

        Parameters
        ----------
        x : array, shape (..., time)
            Real waveforms.
        first, last : int
            Range of frames.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to leading axes of ``x``; frames that an item
            does not have see any numbers.

        Returns
        -------
        array, shape (..., (last − first − 1 + depth) · hop_length)
            Samples from the first of frame ``first`` on, in whole hops.
        """
        begin = first * self.hop_length - self.offset
        end = begin + (last - first - 1 + self.depth) * self.hop_length
        if lengths is not None and self.padding == "constant":
            x = x * like(_valid(lengths, x.shape[-1], x.ndim - 1), x)
        elif lengths is not None:
            return _stacked(
                [pad(x[i][..., :n], begin, end, self.padding) for i, n in _items(lengths)], lengths
            )
        return pad(x, begin, end, self.padding)

    def _spectra(self, samples: ArrayT) -> ArrayT:
        """Spectra of all frames of samples that come in whole hops."""
        xp = namespace(samples)
        hop, overlaps = self.hop_length, self.depth
        *lead, size = samples.shape
        # Hop-sized columns side by side are the frames.
        grid = xp.reshape(samples, (*lead, size // hop, hop))
        n_frames = size // hop - overlaps + 1
        parts = [grid[..., r : r + n_frames, :] for r in range(overlaps)]
        # Only where numpy has a factor to apply does it transform single precision as such.
        window = self._tensor("analysis", samples)
        frames = xp.concat(parts, axis=-1)[..., : self.n_fft] * window
        return xp.matrix_transpose(xp.fft.rfft(frames, norm="forward"))

    def overlap_add(self, frames: ArrayT, length: int, lengths: Lengths = None) -> ArrayT:
        """Sum frames into waveforms, without normalisation: the adjoint of cutting into frames.

        What frames hold of a copy in the padding is added to the sample that it is a copy of.

        Parameters
        ----------
        frames : array, shape (..., T, n_fft)
            Real frames.
        length : int
            Number of samples.
        lengths : array_like of int, optional
            Valid samples of each item, shape equal to leading axes of ``frames``, whose other
            frames must be zero.

        Returns
        -------
        array, shape (..., length)
            Sums.
        """
        xp = namespace(frames)
        hop, overlaps = self.hop_length, self.depth
        *lead, n_frames, _ = frames.shape
        columns = n_frames - 1 + overlaps
        total: Any = zeros((*lead, columns, hop), frames)
        for r in range(overlaps):
            part = frames[..., r * hop : (r + 1) * hop]
            total[..., r : r + n_frames, : part.shape[-1]] += part
        total = xp.reshape(total, (*lead, columns * hop))
        if lengths is None or self.padding == "constant":
            return fold(total, self.offset, length, self.padding)
        items = (fold(total[i], self.offset, n, self.padding) for i, n in _items(lengths))
        return _stacked([pad(x, 0, length, "constant") for x in items], lengths)

    def valid_frames(self, lengths: Lengths, S: ArrayT) -> ArrayT:
        """Ones on the frames that belong to each item of a ragged batch, zeros after.

        Parameters
        ----------
        lengths : array_like of int
            Valid samples of each item.
        S : array, shape (..., F, T)
            Spectrogram the mask is for.

        Returns
        -------
        array
            Real mask that broadcasts against ``S``.
        """
        counts = np.vectorize(self.n_frames, otypes=[int])(np.asarray(lengths))
        return like(_valid(counts, S.shape[-1], S.ndim - 1), S)


# Windows and gains of transforms as tensors: by kind, device and dtype, with their length.
_TENSORS: WeakKeyDictionary[STFT, dict[Any, tuple[int, Any]]] = WeakKeyDictionary()


@lru_cache(maxsize=64)
def _short_gains(stft: STFT, length: int) -> np.ndarray:
    """Gains of the samples of a signal, float64."""
    n_frames, window, hop = stft.n_frames(length), stft.window_values, stft.hop_length
    rows = table_rows(np.arange(n_frames + stft.depth - 1), stft.depth, n_frames)
    totals = square_table(window, hop, n_frames)[rows].reshape(-1)
    return gains_of(fold(totals, stft.offset, length, stft.padding), window, hop)


def _items(lengths: Sequence[int] | Array) -> Iterator[tuple[tuple[int, ...], int]]:
    """Index and length of each item of a ragged batch."""
    return ((index, int(n)) for index, n in np.ndenumerate(np.asarray(lengths)))


def _stacked(items: list[ArrayT], lengths: Sequence[int] | Array) -> ArrayT:
    """The batch that items of one shape are of."""
    xp = namespace(*items)
    return xp.reshape(xp.stack(items), (*np.shape(lengths), *items[0].shape))


def _align(values: np.ndarray, ndim: int) -> np.ndarray:
    """Insert axes before the last one: leading axes match the batch from the left."""
    lead = values.shape[:-1]
    return values.reshape(*lead, *(1,) * (ndim - values.ndim), values.shape[-1])


def _valid(counts: Any, size: int, lead: int) -> np.ndarray:
    """Ones up to each count and zeros after, aligned with ``lead`` leading axes."""
    counts = np.asarray(counts)
    return _align((np.arange(size) < counts[..., None]).astype(float), lead + 1)


def _hashable(window: Window) -> str | float | tuple[object, ...]:
    """A window that can be a key of caches: its name, or its values as a tuple."""
    if isinstance(window, str | float | int):
        return window
    if isinstance(window, tuple) and window and isinstance(window[0], str):
        # What scipy takes may hold lists, such as the coefficients of general_cosine.
        return tuple(tuple(w) if isinstance(w, list | np.ndarray) else w for w in window)
    try:
        values = tuple(float(w) for w in window)  # type: ignore[arg-type, union-attr]
    except (TypeError, ValueError):
        values = ()
    if not values:
        raise ValueError(f"window={window!r} must be a name, a tuple for scipy, or the values")
    return values


# Bands that mel spectrograms usually have; no transform in use has so few frequencies.
_MEL_BANDS = (20, 23, 24, 26, 40, 60, 64, 80, 96, 100, 120, 128, 160, 192, 229, 256)


def _remedy(n_bins: int) -> str:
    sizes = f"use n_fft={2 * (n_bins - 1)} or {2 * n_bins - 1}"
    if n_bins not in _MEL_BANDS:
        return sizes
    return (
        f"{n_bins} is a usual number of mel bands, which are no frequencies: make magnitudes of "
        "bands first, with phaserec.mel_to_stft, or name them with --mel on the command line; if "
        f"they are frequencies, {sizes}"
    )


def _window_name(window: object) -> str:
    given = isinstance(window, tuple) and not isinstance(window[0], str)
    return "given values" if given else repr(window)
