"""Functions for everyday use: magnitudes in, waveforms out."""

import sys
import warnings
from typing import Any

import numpy as np

from phaserec._xp import Array, as_array, as_int, like, namespace
from phaserec.algorithms.hyper import NonNegative
from phaserec.algorithms.registry import describe
from phaserec.problem import Problem
from phaserec.solving.prepared import prepare
from phaserec.starts.phases import as_rng
from phaserec.stft import STFT


def invert(
    magnitudes: Array,
    mixture: Array | None = None,
    *,
    stft: STFT,
    algorithm: Any = "aux",
    n_iter: int = 20,
    init: Any = None,
    length: int | None = None,
    lengths: Any = None,
    weights: Array | None = None,
    rng: Any = None,
    **hyper: Any,
) -> Array:
    """Recover waveforms from magnitude spectrograms and, where there is one, their mixture.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes, numpy or torch, float32 or float64; ``(..., F, T)`` without a mixture.
    mixture : array, shape (..., time) or (..., F, T), optional
        Waveform or complex spectrogram of the mixture.
    stft : STFT
        The transform of the spectrograms.
    algorithm : str or callable, default "aux"
        Name (``phaserec list`` shows them) or step function. Algorithms that mix need a mixture;
        ``"griffin-lim"`` and its relatives do not.
    n_iter : int, default 20
        Number of iterations.
    init : {"mixture", "random", "zero"} or complex array, optional
        Initial phase; by default that of the mixture, or random without one.
    length : int, optional
        Length of the waveforms in samples, needed only without a mixture waveform.
    lengths : array_like of int, optional
        Valid samples of each item of a ragged batch.
    weights : array, broadcastable to (..., J, F, T), optional
        Mixing weights Λ of the algorithms in which they are a choice.
    rng : int, numpy Generator or RandomState, optional
        Source of random phases.
    **hyper
        Hyper-parameters of the algorithm, such as ``sigma``; ``momentum`` accelerates any of them.

    Returns
    -------
    array, shape (..., J, time)
        Waveforms with the library, device and precision of ``magnitudes``.

    Raises
    ------
    ValueError
        If an argument is out of range, not finite, or disagrees with another.

    Examples
    --------
    >>> import numpy as np
    >>> import phaserec
    >>> stft = phaserec.STFT(n_fft=512)
    >>> sources = np.random.default_rng(0).standard_normal((2, 8000))
    >>> estimates = phaserec.invert(
    ...     abs(stft(sources)), sources.sum(0), stft=stft, algorithm="misi"
    ... )
    >>> estimates.shape
    (2, 8000)
    """
    problem = Problem(
        magnitudes, mixture, stft=stft, length=length, lengths=lengths, weights=weights
    )
    return prepare(algorithm, problem, n_iter, init=init, rng=rng, **hyper).result()


def misi(
    magnitudes: Array,
    mixture: Array,
    *,
    n_iter: int = 20,
    n_fft: int | None = None,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    momentum: float = 0.0,
    init: Any = None,
    rng: Any = None,
) -> Array:
    """Multiple input spectrogram inversion (Gunawan & Sen, IEEE SPL 2010) in one call.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes of the sources.
    mixture : array, shape (..., time) or (..., F, T)
        Waveform or complex spectrogram of the mixture.
    n_iter : int, default 20
        Number of iterations.
    n_fft, hop_length, win_length, window, center
        The transform, see :class:`phaserec.STFT`; ``n_fft`` defaults to ``2 (F − 1)``.
    momentum : float, default 0
        Momentum; 0 is the published algorithm.
    init, rng
        Initial phase, see :func:`invert`.

    Returns
    -------
    array, shape (..., J, time)
        Waveforms that sum to the mixture.

    Raises
    ------
    ValueError
        As :func:`invert`.
    """
    stft = STFT(_n_fft(magnitudes, n_fft), hop_length, win_length, window, center)
    return invert(
        magnitudes,
        mixture,
        stft=stft,
        algorithm="misi",
        n_iter=n_iter,
        init=init,
        rng=rng,
        momentum=momentum,
    )


def griffinlim(
    S: Array,
    *,
    n_iter: int = 32,
    hop_length: int | None = None,
    win_length: int | None = None,
    n_fft: int | None = None,
    window: Any = "hann",
    center: bool = True,
    dtype: Any = None,
    length: int | None = None,
    pad_mode: str = "constant",
    momentum: float = 0.99,
    init: Any = "random",
    random_state: Any = None,
    rng: Any = None,
) -> Array:
    """Fast Griffin-Lim with the signature, the defaults and the iterates of librosa's function.

    Perraudin, Balazs & Søndergaard (WASPAA 2013); ``momentum=0`` is Griffin & Lim (1984).

    Parameters
    ----------
    S : array, shape (..., F, T)
        Magnitudes, numpy or torch.
    n_iter : int, default 32
        Number of iterations.
    hop_length : int, optional
        Hop in samples; default ``win_length // 4``.
    win_length : int, optional
        Window length in samples; default ``n_fft``.
    n_fft : int, optional
        Transform length; default ``2 (F − 1)``.
    window, center
        See :class:`phaserec.STFT`.
    dtype : dtype, optional
        Real dtype of the result; default that of ``S``.
    length : int, optional
        Length of the result in samples.
    pad_mode : {"constant"}
        Centre padding; zeros are the only one under which consistency is a projection.
    momentum : float, default 0.99
        Momentum, the paper's α; above 1 may diverge (a warning says so).
    init : {"random", None} or complex array, default "random"
        Initial phase: random, zero (None, as in librosa), or that of a complex spectrogram.
    random_state, rng : int, numpy Generator or RandomState, optional
        Source of random phases: ``random_state`` as in librosa 0.11, where an int seeds a
        RandomState, or its later name ``rng``, where it seeds a Generator. Give one.

    Returns
    -------
    array, shape (..., time)
        Waveforms.

    Raises
    ------
    ValueError
        If an argument is not one of those allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import phaserec
    >>> S = abs(phaserec.STFT(2048)(np.sin(np.arange(22050) * 0.1)))
    >>> phaserec.griffinlim(S, length=22050).shape
    (22050,)
    """
    try:
        return _griffinlim(
            S,
            n_iter=n_iter,
            hop_length=hop_length,
            win_length=win_length,
            n_fft=n_fft,
            window=window,
            center=center,
            dtype=dtype,
            length=length,
            pad_mode=pad_mode,
            momentum=momentum,
            init=init,
            random_state=random_state,
            rng=rng,
        )
    except ValueError as error:
        raise _drop_in_error(error) from None


def _drop_in_error(error: ValueError) -> ValueError:
    """The error, as librosa's own type too where librosa is loaded: what caught its errors
    catches ours."""
    librosa = sys.modules.get("librosa")
    if librosa is None:
        return error
    kind = type("ParameterError", (ValueError, librosa.ParameterError), {})
    return kind(str(error))


def _griffinlim(
    S: Array,
    *,
    n_iter: int,
    hop_length: int | None,
    win_length: int | None,
    n_fft: int | None,
    window: Any,
    center: bool,
    dtype: Any,
    length: int | None,
    pad_mode: str,
    momentum: float,
    init: Any,
    random_state: Any,
    rng: Any,
) -> Array:
    if pad_mode != "constant":
        raise ValueError(
            f"pad_mode={pad_mode!r} is not supported: consistency is a projection only with zero "
            "padding; use pad_mode='constant' here and in the analysis"
        )
    if momentum < 0:
        raise ValueError(f"momentum={momentum} must not be negative")
    if momentum > 1:
        warnings.warn(f"momentum={momentum} above 1 can diverge", UserWarning, stacklevel=3)
    if random_state is not None and rng is not None:
        raise ValueError("random_state and rng are two names of one argument; give only rng")
    if isinstance(random_state, int | np.integer):
        rng = np.random.RandomState(int(random_state))  # as librosa 0.11
    elif random_state is not None:
        rng = random_state
    if isinstance(init, str) and init != "random":
        raise ValueError(f"init={init!r} must be 'random', None or a complex array")
    n_iter = as_int("n_iter", n_iter, 0)
    S = as_array("S", S)
    xp = namespace(S)
    n_fft = _n_fft(S, n_fft)
    if hop_length is None:
        hop_length = max((n_fft if win_length is None else win_length) // 4, 1)
    stft = STFT(n_fft, hop_length, win_length, window, center, strict=False)
    if stft.deficient.size:
        warnings.warn(
            f"{stft.deficient.size} of every {hop_length} samples are seen by no frame, or hardly "
            "by any, with this window and hop_length; they will be zero",
            UserWarning,
            stacklevel=3,
        )
    problem = Problem(
        S, stft=stft, length=stft.n_samples(S.shape[-1]) if length is None else length
    )
    if init is None:
        c = problem.start("zero")
    elif isinstance(init, str):
        # Drawn bin by bin, as librosa does, so that a seed gives its phases.
        angles = like(2 * np.pi * as_rng(rng).random(tuple(S.shape)), S)
        c = problem.magnitudes * (xp.cos(angles) + 1j * xp.sin(angles))
    else:
        c = problem.mag(problem.start(init))
    # The result has the target magnitudes once more: it is t of the next iteration.
    y = prepare(_LIBROSA, problem, n_iter + 1, init=c, momentum=momentum).result()
    return y if dtype is None else xp.astype(y, _real_dtype(y, dtype))


def _librosa_iteration(state: tuple, p: Problem, momentum: NonNegative = 0.99) -> tuple:
    """Fast Griffin-Lim with t in front: the estimate is what c is extrapolated from."""
    t, c = state
    new = p.cons(p.mag(t if c is None else c))
    previous = new if c is None else t
    return new, new + momentum * (new - previous)


_LIBROSA = describe(_librosa_iteration, memory=1)


def _n_fft(magnitudes: Array, n_fft: int | None) -> int:
    shape = np.shape(magnitudes)
    if len(shape) < 2:
        raise ValueError(f"magnitudes of shape {tuple(shape)} must be (..., F, T)")
    return 2 * (shape[-2] - 1) if n_fft is None else n_fft


def _real_dtype(y: Array, dtype: Any) -> Any:
    """A numpy dtype names a dtype of any library."""
    return getattr(namespace(y), np.dtype(dtype).name) if isinstance(y, np.ndarray) else dtype
