"""Functions for everyday use: magnitudes in, waveforms out."""

import numbers
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from phaserec._memory import as_bytes
from phaserec._typing import (
    Array,
    ArrayT,
    DType,
    Init,
    Lengths,
    Projectors,
    Seed,
    Value,
    Window,
)
from phaserec._xp import as_array, as_given, as_int, is_torch_array, like, namespace
from phaserec.algorithms.hyper import MOMENTUM, NonNegative
from phaserec.algorithms.registry import AlgorithmLike, describe
from phaserec.problem import Problem
from phaserec.solving.blocks import LongProblem, is_small, prepare_blocks
from phaserec.solving.prepared import prepare
from phaserec.starts.phases import RowPhases, as_rng
from phaserec.stft import STFT

Function = TypeVar("Function", bound=Callable[..., Any])


def invert(
    magnitudes: ArrayT,
    mixture: Array | None = None,
    *,
    stft: STFT,
    algorithm: AlgorithmLike = "aux",
    n_iter: int = 20,
    init: Init = None,
    length: int | None = None,
    lengths: Lengths = None,
    weights: Array | None = None,
    rng: Seed = None,
    machine: str | None = None,
    memory: int | str | None = None,
    **hyper: Value,
) -> ArrayT:
    """Recover waveforms from magnitude spectrograms and, where there is one, their mixture.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes, numpy or torch; ``(..., F, T)`` without a mixture. Half precision
        (float16, bfloat16) is computed in float32.
    mixture : array, shape (..., time) or (..., F, T), optional
        Waveform or complex spectrogram of the mixture.
    stft : STFT
        The transform of the spectrograms.
    algorithm : str or callable, default "aux"
        Name (``phaserec list`` shows them) or step function. Algorithms that mix need a mixture;
        ``"griffin-lim"`` and its relatives do not.
    n_iter : int, default 20
        Number of iterations.
    init : str or complex array, optional
        Initial phase: name of a start (:mod:`phaserec.starts`), or that of a spectrogram. By
        default (``"auto"``) the one that the algorithm declares, else that of the mixture, or
        without one phase gradient heap integration.
    length : int, optional
        Length of the waveforms in samples, needed only without a mixture waveform.
    lengths : array_like of int, optional
        Valid samples of each item of a ragged batch.
    weights : array, broadcastable to (..., J, F, T), optional
        Mixing weights Λ of the algorithms in which they are a choice.
    rng : Seed, optional
        Source of random phases: what :func:`numpy.random.default_rng` takes, a RandomState, or a
        torch.Generator; for tensors None is torch's default one.
    machine : {"kernel", "arrays"}, optional
        What runs: the fused kernel wherever it can, or the arrays. By default whatever
        ``PHASEREC_MACHINE`` says, or else the one that is done first: work that is short next to
        compiling the kernel runs on the arrays until that has been done. Results of the two differ
        in the last bits.
    memory : int or str, optional
        Bytes to work in, or a size such as ``"2GB"``, besides what is given and returned; default
        more than half of what is free. A longer recording is done in blocks, see
        :func:`invert_blocks`. For numpy arrays, also memory-mapped ones.
    **hyper
        Hyper-parameters of the algorithm, such as ``sigma``; ``momentum`` accelerates any of them.

    Returns
    -------
    array, shape (..., J, time)
        Waveforms with the library, device and precision of ``magnitudes``, half included.

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
    if _may_be_long(magnitudes, lengths, memory):
        long = LongProblem.of(magnitudes, mixture, stft=stft, length=length, weights=weights)
        bound = None if memory is None else as_bytes("memory", memory)
        blocked = prepare_blocks(
            algorithm, long, n_iter, init=init, rng=rng, machine=machine, memory=bound, **hyper
        )
        if len(blocked.blocks) > 1:
            return cast(ArrayT, as_given(blocked.result(), magnitudes))
    problem = Problem(
        magnitudes, mixture, stft=stft, length=length, lengths=lengths, weights=weights
    )
    run = prepare(algorithm, problem, n_iter, init=init, rng=rng, machine=machine, **hyper)
    return cast(ArrayT, as_given(run.result(), magnitudes))


def invert_blocks(
    magnitudes: Array,
    mixture: Array | None = None,
    *,
    stft: STFT,
    algorithm: AlgorithmLike = "aux",
    n_iter: int = 20,
    init: Init = None,
    length: int | None = None,
    weights: Array | None = None,
    rng: Seed = None,
    machine: str | None = None,
    memory: int | str | None = None,
    **hyper: Value,
) -> Iterator[np.ndarray]:
    """Recover waveforms a block at a time, to be written as they come.

    Joined, they are what :func:`invert` returns (``docs/hours.rst`` says where that is exact).

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes of numpy, such as ``np.load("m.npy", mmap_mode="r")``.
    mixture : array, shape (..., time) or (..., F, T), optional
        Waveform or complex spectrogram of the mixture, memory-mapped or not.
    stft, algorithm, n_iter, init, length, weights, rng, machine, **hyper
        As for :func:`invert`.
    memory : int or str, optional
        Bytes to work in, or a size such as ``"2GB"``; default more than half of what is free.

    Returns
    -------
    iterator of ndarray, shape (..., J, time)
        The next samples of all sources.

    Raises
    ------
    ValueError
        As :func:`invert`; if a short block does not fit into ``memory``; and from the iterator
        where magnitudes or the mixture turn out to hold what they must not.

    Examples
    --------
    >>> import numpy as np
    >>> import phaserec
    >>> stft = phaserec.STFT(n_fft=512)
    >>> x = np.random.default_rng(0).standard_normal(500_000)
    >>> pieces = phaserec.invert_blocks(
    ...     abs(stft(x)), stft=stft, algorithm="griffin-lim", length=x.size, n_iter=2, init="zero",
    ...     memory="16MB",
    ... )
    >>> sum(piece.shape[-1] for piece in pieces)
    500000
    """
    _check_numpy(magnitudes)
    long = LongProblem.of(magnitudes, mixture, stft=stft, length=length, weights=weights)
    bound = None if memory is None else as_bytes("memory", memory)
    run = prepare_blocks(
        algorithm, long, n_iter, init=init, rng=rng, machine=machine, memory=bound, **hyper
    )
    return (as_given(piece, magnitudes) for piece in run.waveforms())


def _may_be_long(magnitudes: Array, lengths: Lengths, memory: int | str | None) -> bool:
    """Whether to look at how much memory there is; raises if that is asked for and cannot be."""
    if memory is not None:
        _check_numpy(magnitudes)
        if lengths is not None:
            raise ValueError("memory is for one length; do the items of a ragged batch one by one")
        return True
    return isinstance(magnitudes, np.ndarray) and lengths is None and not is_small(magnitudes)


def _check_numpy(magnitudes: Array) -> None:
    if is_torch_array(magnitudes):
        raise ValueError(
            "memory is bounded for arrays of numpy, and magnitudes is a tensor; convert it with "
            ".numpy(), or give shorter tensors"
        )


def misi(
    magnitudes: ArrayT,
    mixture: Array,
    *,
    n_iter: int = 20,
    n_fft: int | None = None,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    momentum: float = 0.0,
    init: Init = None,
    rng: Seed = None,
) -> ArrayT:
    """Multiple input spectrogram inversion (Gunawan & Sen, IEEE SPL 2010) in one call.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Target magnitudes of the sources.
    mixture : array, shape (..., time) or (..., F, T)
        Waveform or complex spectrogram of the mixture.
    n_iter : int, default 20
        Number of iterations.
    n_fft, hop_length, win_length, window, center, pad_mode
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
    n_fft = _n_fft(magnitudes, n_fft)
    stft = STFT(n_fft, hop_length, win_length, window, center, pad_mode=pad_mode)
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


def _drop_in(function: Function) -> Function:
    """Raise errors as librosa's own type too where librosa is loaded: what caught its errors
    catches ours."""

    @wraps(function)
    def raising(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            librosa = sys.modules.get("librosa")
            if librosa is None:
                raise
            kind = type("ParameterError", (ValueError, librosa.ParameterError), {})
            raise kind(str(error)) from None

    return cast(Function, raising)


@_drop_in
def griffinlim(
    S: ArrayT,
    *,
    n_iter: int = 32,
    hop_length: int | None = None,
    win_length: int | None = None,
    n_fft: int | None = None,
    window: Window = "hann",
    center: bool = True,
    dtype: DType | None = None,
    length: int | None = None,
    pad_mode: str = "constant",
    momentum: float = 0.99,
    init: Init = "random",
    random_state: Seed = None,
    rng: Seed = None,
    memory: int | str | None = None,
) -> ArrayT:
    """Fast Griffin-Lim with the signature, the defaults and the iterates of librosa's function.

    Perraudin, Balazs & Søndergaard (WASPAA 2013); ``momentum=0`` is Griffin & Lim (1984).

    Parameters
    ----------
    S : array, shape (..., F, T)
        Magnitudes, numpy or torch.
    n_iter : int, default 32
        Number of iterations.
    hop_length, win_length, n_fft : int, optional
        Hop, window and transform length; default ``win_length // 4``, ``n_fft``, ``2 (F − 1)``.
    window, center
        See :class:`phaserec.STFT`. The window may be a function, as in librosa.
    dtype : dtype, optional
        Real dtype of the result; default that of ``S``.
    length : int, optional
        Length of the result in samples.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        Centre padding of the analysis. With ``"constant"`` the results are librosa's. With copies
        its inverse is not that of least squares; here it is, and results differ within
        ``(n_iter + 1) n_fft`` samples of the ends. So they do without ``center`` where a window
        begins at zero, as Hann: librosa divides by next to nothing there; samples that frames
        hardly see are zero here.
    momentum : float, default 0.99
        Momentum, the paper's α; above 1 may diverge (a warning says so).
    init : {"random", None} or complex array, default "random"
        Initial phase: random, zero (None), or that of a complex spectrogram.
    random_state, rng : Seed, optional
        Source of random phases: ``random_state`` as in librosa 0.11, where an int seeds a
        RandomState, or its later name ``rng``, where it seeds a Generator. Give one.
    memory : int or str, optional
        Bytes to work in, as for :func:`invert`.

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
    _check_drop_in(momentum, init)
    n_iter = as_int("n_iter", n_iter, 0)
    V = as_array("S", S)
    kind = None if dtype is None else real_type(V, dtype)
    n_fft = _n_fft(V, n_fft)
    hop = max((win_length or n_fft) // 4, 1) if hop_length is None else hop_length
    stft = _forgiving(STFT(n_fft, hop, win_length, window, center, False, pad_mode))
    length = stft.n_samples(V.shape[-1]) if length is None else length
    if _may_be_long(V, None, memory):
        long = LongProblem.of(V, stft=stft, length=length)
        blocked = prepare_blocks(
            _LIBROSA,
            long,
            n_iter + 1,
            init=_librosa_parts(long, init, _librosa_rng(random_state, rng)),
            memory=None if memory is None else as_bytes("memory", memory),
            momentum=momentum,
        )
        if len(blocked.blocks) > 1:
            return cast(ArrayT, _returned(blocked.result(), S, kind))
    problem = Problem(V, stft=stft, length=length)
    c = _librosa_start(problem, init, _librosa_rng(random_state, rng))
    # The result has the target magnitudes once more: it is t of the next iteration.
    y = prepare(_LIBROSA, problem, n_iter + 1, init=c, momentum=momentum).result()
    return cast(ArrayT, _returned(y, S, kind))


def _returned(y: Array, S: Array, kind: Any) -> Array:
    """A result in the precision that is asked for, or in that of the magnitudes."""
    return as_given(y, S) if kind is None else namespace(y).astype(y, kind, copy=False)


def _check_drop_in(momentum: float, init: Init) -> None:
    MOMENTUM.check(momentum)
    if isinstance(momentum, numbers.Real) and momentum > 1:
        warnings.warn(f"momentum={momentum} above 1 can diverge", UserWarning, stacklevel=4)
    if isinstance(init, str) and init != "random":
        raise ValueError(f"init={init!r} must be 'random', None or a complex array")


def _forgiving(stft: STFT) -> STFT:
    """The transform, with a warning where it does not see all samples."""
    if stft.deficient.size:
        warnings.warn(
            f"{stft.deficient.size} of every {stft.hop_length} samples are seen by no frame, or "
            "hardly by any, with this window and hop_length; they will be zero",
            UserWarning,
            stacklevel=4,
        )
    return stft


def _librosa_rng(random_state: Seed, rng: Seed) -> Seed:
    if random_state is not None and rng is not None:
        raise ValueError("random_state and rng are two names of one argument; give only rng")
    if isinstance(random_state, int | np.integer):
        return np.random.RandomState(int(random_state))  # as librosa 0.11
    return rng if random_state is None else random_state


def _librosa_start(problem: Problem, init: Init, rng: Seed) -> Array:
    if init is None:
        return problem.start("zero")
    if not isinstance(init, str):
        return problem.mag(problem.start(init))
    # Drawn bin by bin, as librosa does, so that a seed gives its phases.
    V = problem.magnitudes
    return _turned(V, as_rng(rng, V).random(tuple(V.shape)))


def _turned(V: Array, turns: np.ndarray) -> Array:
    xp = namespace(V)
    angles = like(2 * np.pi * turns, V)
    return V * (xp.cos(angles) + 1j * xp.sin(angles))


def _librosa_parts(long: LongProblem, init: Init, rng: Seed) -> Callable[[int, int], Array]:
    """What :func:`_librosa_start` gives, of some frames."""
    phases: list[RowPhases] = []

    def part(first: int, last: int) -> Array:
        problem = long.part(first, last)
        if init is None:
            return problem.start("zero")
        if not isinstance(init, str):
            return problem.mag(problem.start(np.asanyarray(init)[..., first:last]))
        if not phases:  # nothing is drawn for a signal that is not cut
            phases.append(RowPhases(as_rng(rng), long.shape))
        return _turned(problem.magnitudes, phases[0](first, last))

    return part


def _librosa_iteration(state: tuple, p: Projectors, momentum: NonNegative = 0.99) -> tuple:
    """Fast Griffin-Lim with t in front: the estimate is what c is extrapolated from."""
    t, c = state
    new = p.cons(p.mag(t if c is None else c))
    previous = new if c is None else t
    return new, new + momentum * (new - previous)


_LIBROSA = replace(describe(_librosa_iteration, memory=1), name="griffinlim")


def _n_fft(magnitudes: Array, n_fft: int | None) -> int:
    shape = np.shape(magnitudes)
    if len(shape) < 2:
        raise ValueError(f"magnitudes of shape {tuple(shape)} must be (..., F, T)")
    return 2 * (shape[-2] - 1) if n_fft is None else n_fft


def real_type(V: Array, dtype: DType) -> Any:
    """The dtype of the library of V that has the name of a dtype of any library."""
    try:
        name = np.dtype(cast(np.dtype, dtype)).name
    except TypeError:  # not one of numpy's
        name = str(dtype).rpartition(".")[2]
    found = getattr(namespace(V), name, None)
    if found is None or not re.fullmatch(r"b?float\d+", name):
        raise ValueError(f"dtype={dtype!r} must be a floating-point type, such as 'float32'")
    return found
