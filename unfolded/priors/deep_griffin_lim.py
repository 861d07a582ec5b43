"""Deep Griffin-Lim: Griffin-Lim with a network that knows what speech is like."""

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from phaserec import STFT, algorithm
from phaserec._xp import Array
from phaserec.algorithms.single import magnitude_error

WEIGHTS = Path(__file__).parent / "weights"
# Hops over the transform that networks have been trained for.
_HOPS = {"half": 1 / 2, "quarter": 1 / 4}


@algorithm(
    memory=1,
    cite="Masuyama, Yatabe, Koizumi, Oikawa & Harada, ICASSP 2019",
    objective=magnitude_error,
)
def deep_griffin_lim(state: tuple, p: Any) -> tuple:
    """Deep Griffin-Lim: a trained network subtracts what it finds wrong (speech, 16 kHz)."""
    # Windows that are trained are those of a transform.
    return iteration(state, p, partial(subtracted, getattr(p.stft, "stft", p.stft)))


def iteration(state: tuple, p: Any, residual: Callable[..., Array]) -> tuple:
    """One iteration with any network.

    What the network leaves is small where it is not sure, which the next iteration wants to see
    and nobody wants to hear: the estimate has the target magnitudes.

    Parameters
    ----------
    state : tuple
        Estimate, and what the network left of it or None, ``(..., J, F, T)``.
    p : Problem
        The problem.
    residual : callable
        ``residual(S, mag, cons, V)``: what is to be subtracted from ``cons``.

    Returns
    -------
    tuple
        The next state.
    """
    estimate, S = state
    S = estimate if S is None else S
    mag = p.mag(S)
    cons = p.cons(mag)
    S = cons - residual(S, mag, cons, p.magnitudes)
    return p.mag(S), S


def subtracted(stft: STFT, S: Array, mag: Array, cons: Array, V: Array) -> Array:
    """What the network that ships finds wrong.

    Parameters
    ----------
    stft : STFT
        Transform of the spectrograms.
    S, mag, cons : complex array or Tensor, shape (..., J, F, T)
        An estimate, P_mag of it, and P_cons of that.
    V : array or Tensor, shape (..., J, F, T)
        Target magnitudes.

    Returns
    -------
    array or Tensor, shape (..., J, F, T)
        Complex, of the precision of ``cons``; the network computes in float32.

    Raises
    ------
    ImportError
        Without torch, which the extra ``unfolded`` brings.
    """
    try:
        networks = import_module("unfolded.priors.networks")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "unfolded":
            raise
        raise ImportError(
            f"deep-griffin-lim needs {error.name}; pip install 'phaserec[unfolded]' brings it"
        ) from error
    hop = stft.hop_length / stft.n_fft
    nearest = min(_HOPS, key=lambda name: abs(_HOPS[name] - hop))
    residual = _read(networks, WEIGHTS / f"deep-griffin-lim-{nearest}.safetensors", stft)
    result: Array = networks.apply(residual, S, mag, cons, V)
    return result


@lru_cache(maxsize=16)
def _read(networks: Any, path: Path, stft: STFT) -> Any:
    """A network for a transform, read once."""
    return networks.read(path, stft)
