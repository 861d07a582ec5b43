"""Figures with matplotlib: spectrograms, phase derivatives, convergence and σ sweeps.

Every function draws into ``ax``, by default the current axes of pyplot, and passes what it does
not know on to matplotlib, which is loaded when one is called (``pip install 'phaserec[plot]'``).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phaserec._xp import Array, to_numpy
from phaserec.phase import products
from phaserec.stft import STFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
else:  # signatures can be read without it
    Axes = AxesImage = object


def spectrogram(
    S: Array,
    *,
    stft: STFT | None = None,
    sr: float | None = None,
    ref: float | None = None,
    dynamic_range: float = 80.0,
    ax: Axes | None = None,
    **kwargs: object,
) -> AxesImage:
    """Draw a magnitude spectrogram in dB.

    Parameters
    ----------
    S : array, shape (F, T)
        Complex spectrogram, or magnitudes.
    stft : STFT, optional
        The transform, for axes in frequency and time.
    sr : float, optional
        Sample rate in Hz; without it, or without ``stft``, the axes count bins and frames.
    ref : float, optional
        Magnitude that is 0 dB; default the largest of ``S``.
    dynamic_range : float, default 80
        Range of the colours in dB below ``ref``.
    ax : matplotlib Axes, optional
        Where to draw; default the current axes.
    **kwargs
        Passed on to ``ax.imshow``, such as ``cmap``.

    Returns
    -------
    matplotlib AxesImage
        The image, for a colour bar.

    Raises
    ------
    ValueError
        If ``S`` is not ``(F, T)``, a number is out of range, or matplotlib is missing.
    """
    S = _plane(S, stft)
    level = decibels(np.abs(S), ref, dynamic_range)
    kwargs = {"cmap": "magma", "vmin": -dynamic_range, "vmax": 0.0, **kwargs}
    return _image(level, stft, sr, ax, (0.0, 0.0), kwargs)


def phase_derivative(
    S: Array,
    *,
    stft: STFT,
    kind: str = "time",
    sr: float | None = None,
    dynamic_range: float = 60.0,
    ax: Axes | None = None,
    **kwargs: object,
) -> AxesImage:
    """Draw a derivative of the phase, as the deviation from the centre of each bin or frame.

    ``kind="time"`` is the instantaneous frequency: the advance of the phase from frame to frame
    less that of the bin's centre frequency, ±π for ±sr / (2 hop_length) Hz. ``"frequency"`` is
    the group delay: the time of the energy after the centre of the window, ±π for ±n_fft / 2
    samples. Both are wrapped.

    Parameters
    ----------
    S : array, shape (F, T)
        Complex spectrogram.
    stft : STFT
        The transform.
    kind : {"time", "frequency"}, default "time"
        Direction of the derivative.
    sr : float, optional
        Sample rate in Hz; without it the axes count bins and frames.
    dynamic_range : float, default 60
        Bins that are weaker than the strongest by more dB are left blank.
    ax : matplotlib Axes, optional
        Where to draw; default the current axes.
    **kwargs
        Passed on to ``ax.imshow``.

    Returns
    -------
    matplotlib AxesImage
        The image in rad, ``(F, T − 1)`` or ``(F − 1, T)``.

    Raises
    ------
    ValueError
        If ``S`` is not a complex ``(F, T)``, ``kind`` is unknown, or matplotlib is missing.
    """
    product = products(_plane(S, stft), stft, kind)
    angle = np.angle(product)
    # The product of two neighbours: its level in dB is that of a power.
    quiet = decibels(np.sqrt(np.abs(product)), None, dynamic_range) <= -dynamic_range
    kwargs = {"cmap": "twilight_shifted", "vmin": -np.pi, "vmax": np.pi, **kwargs}
    half = (0.0, 0.5) if kind == "time" else (0.5, 0.0)
    return _image(np.where(quiet, np.nan, angle), stft, sr, ax, half, kwargs)


def convergence(
    values_by_name: Mapping[str, Sequence[float]],
    *,
    first: int = 0,
    label: str | None = None,
    ax: Axes | None = None,
    **kwargs: object,
) -> Axes:
    """Draw values over iterations, one curve for each name.

    Parameters
    ----------
    values_by_name : mapping of str to sequence of float
        Values of each algorithm; values that are not finite leave gaps.
    first : int, default 0
        Iteration of the first value; 0 is the start.
    label : str, optional
        What the values are.
    ax : matplotlib Axes, optional
        Where to draw; default the current axes.
    **kwargs
        Passed on to ``ax.plot``.

    Returns
    -------
    matplotlib Axes
        The axes.

    Raises
    ------
    ValueError
        If matplotlib is missing.
    """
    ax = _axes(ax)
    for name, values in values_by_name.items():
        finite = np.asarray(values, float)
        finite = np.where(np.isfinite(finite), finite, np.nan)
        ax.plot(first + np.arange(len(finite)), finite, **_options(kwargs, label=name))
    locator: Any = ax.xaxis.get_major_locator()
    locator.set_params(integer=True)
    ax.set_xlabel("iteration")
    ax.set_ylabel(label or "")
    ax.legend()
    return ax


def sigma_sweep(
    sigmas: Sequence[float],
    scores_by_name: Mapping[str, Sequence[float]],
    *,
    levels: Mapping[str, float] | None = None,
    label: str = "SDR (dB)",
    ax: Axes | None = None,
    **kwargs: object,
) -> Axes:
    """Draw scores over the weight σ, as Fig. 1 of Magron & Virtanen (EUSIPCO 2023).

    The axis of σ is logarithmic. σ = 0 has a tick of its own, a decade left of the smallest
    weight, and a dotted line leads to it.

    Parameters
    ----------
    sigmas : sequence of float
        Weights, not negative, in any order.
    scores_by_name : mapping of str to sequence of float
        Scores of each problem, one for each weight.
    levels : mapping of str to float, optional
        Scores that do not depend on σ (MISI, the amplitude mask), drawn as horizontal lines.
    label : str, default "SDR (dB)"
        What the scores are.
    ax : matplotlib Axes, optional
        Where to draw; default the current axes.
    **kwargs
        Passed on to ``ax.plot`` for the curves.

    Returns
    -------
    matplotlib Axes
        The axes.

    Raises
    ------
    ValueError
        If a weight is negative or all are zero, numbers of weights and scores differ, or
        matplotlib is missing.
    """
    given = np.asarray(sigmas, float)
    if given.ndim != 1 or not np.all(np.isfinite(given)) or given.min(initial=0) < 0:
        raise ValueError(f"sigmas={list(sigmas)} must be finite and not negative")
    if not np.any(given > 0):
        raise ValueError(f"sigmas={list(sigmas)} need one weight above 0 for a logarithmic axis")
    order = np.argsort(given)
    ordered = given[order]
    zero = ordered[ordered > 0][0] / 10
    at = np.where(ordered > 0, ordered, zero)
    ax = _axes(ax)
    ax.set_xscale("log")
    for name, values in scores_by_name.items():
        scores = np.asarray(values, float)
        if scores.shape != given.shape:
            raise ValueError(
                f"scores of {name!r} have shape {scores.shape}, but there are {len(given)} sigmas"
            )
        scores, positive = scores[order], ordered > 0
        (line,) = ax.plot(
            at[positive], scores[positive], **_options(kwargs, marker="o", label=name)
        )
        if not positive.all():
            colour = line.get_color()
            start = max(int(np.flatnonzero(positive)[0]) - 1, 0)
            ax.plot(at[start : start + 2], scores[start : start + 2], ":", color=colour)
            ax.plot(at[start], scores[start], marker="o", color=colour)
    for number, (name, score) in enumerate((levels or {}).items()):
        style = ("--", "-.", (0, (1, 1)))[number % 3]
        ax.axhline(score, color="0.4", linestyle=style, linewidth=1, label=name)
    _sigma_ticks(ax, ordered, zero)
    ax.set_xlabel("σ")
    ax.set_ylabel(label)
    ax.legend()
    return ax


def _sigma_ticks(ax: Axes, ordered: np.ndarray, zero: float) -> None:
    positive = ordered[ordered > 0]
    low, high = np.floor(np.log10(positive[0]) + 1e-9), np.ceil(np.log10(positive[-1]) - 1e-9)
    decades = np.arange(low, high + 1)
    ticks = [10.0**d for d in decades]
    labels = [f"$10^{{{int(d)}}}$" for d in decades]
    if ordered[0] == 0:
        inside = [tick > zero for tick in ticks]
        ticks = [zero] + [tick for tick, keep in zip(ticks, inside, strict=True) if keep]
        labels = ["0"] + [text for text, keep in zip(labels, inside, strict=True) if keep]
    ax.set_xticks(ticks, labels)
    ax.set_xticks([], minor=True)


def decibels(magnitudes: np.ndarray, ref: float | None, dynamic_range: float) -> np.ndarray:
    """Magnitudes in dB of a reference, clipped to a range below 0.

    Parameters
    ----------
    magnitudes : ndarray
        Not negative.
    ref : float or None
        Magnitude that is 0 dB; None for the largest.
    dynamic_range : float
        Range in dB.

    Returns
    -------
    ndarray
        Values between ``-dynamic_range`` and 0; silence is ``-dynamic_range`` throughout.

    Raises
    ------
    ValueError
        If ``ref`` is negative or the range is not positive.
    """
    if not 0 < dynamic_range < np.inf:
        raise ValueError(f"dynamic_range={dynamic_range} dB must be positive and finite")
    if ref is not None and not 0 < ref < np.inf:
        raise ValueError(f"ref={ref} must be positive and finite")
    top = float(magnitudes.max(initial=0)) if ref is None else float(ref)
    if top == 0:
        return np.full(magnitudes.shape, -dynamic_range)
    floor = 10 ** (-dynamic_range / 20)
    return np.minimum(20 * np.log10(np.maximum(magnitudes / top, floor)), 0)


def _plane(S: Array, stft: STFT | None) -> np.ndarray:
    S = to_numpy(S)
    if S.ndim != 2 or 0 in S.shape:
        raise ValueError(f"S of shape {S.shape} must be (F, T): draw sources one by one")
    if stft is not None:
        stft.check_bins("S", S.shape[0])
    return S


def _image(
    values: np.ndarray,
    stft: STFT | None,
    sr: float | None,
    ax: Axes | None,
    offset: tuple[float, float],
    kwargs: dict[str, object],
) -> AxesImage:
    """Image with pixels centred on bins and frames, ``offset`` of them from the first."""
    ax = _axes(ax)
    scaled = stft is not None and sr is not None
    if scaled:
        assert stft is not None and sr is not None
        bin_width, hop = sr / stft.n_fft, stft.hop_length / sr
        begin = 0.0 if stft.center else stft.n_fft / 2 / sr
    else:
        bin_width, hop, begin = 1.0, 1.0, 0.0
    (low, left), (n_bins, n_frames) = offset, values.shape
    extent = (
        begin + (left - 0.5) * hop,
        begin + (left + n_frames - 0.5) * hop,
        (low - 0.5) * bin_width,
        (low + n_bins - 0.5) * bin_width,
    )
    usual = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    image = ax.imshow(values, extent=extent, **_options(kwargs, **usual))
    ax.set_xlabel("time (s)" if scaled else "frame")
    ax.set_ylabel("frequency (Hz)" if scaled else "bin")
    return image


def _options(kwargs: Mapping[str, object], **usual: str) -> dict[str, Any]:
    """Arguments for matplotlib, which checks them."""
    return {**usual, **kwargs}


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ValueError("phaserec.plot needs matplotlib: pip install 'phaserec[plot]'") from None
    return pyplot.gca()
