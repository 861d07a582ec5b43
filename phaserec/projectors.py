"""The three projectors that every algorithm is written in, and the unit phase.

Arrays are numpy or torch: spectrograms ``(..., F, T)``, sources on axis −3.
"""

from phaserec._typing import Array, ArrayT, Lengths, Transform
from phaserec._xp import namespace, real_dtype


def unit(S: ArrayT) -> ArrayT:
    """Phase factors ``S / |S|``, with ``unit(0) = 1``.

    Where the square of ``|S|`` underflows (below 1.1e-19 in single precision) a value counts as
    zero; its gradient is zero.

    Parameters
    ----------
    S : array
        Complex array of any shape.

    Returns
    -------
    array
        Complex array of the same shape and dtype, of modulus 1.
    """
    xp = namespace(S)
    modulus = xp.abs(S)
    zero = modulus < float(xp.finfo(real_dtype(xp, S)).smallest_normal) ** 0.5
    # Libraries divide complex by complex numbers here; a product costs half of that.
    scale = 1 / xp.where(zero, xp.ones_like(modulus), modulus)
    return xp.where(zero, xp.ones_like(S), S) * scale


def magnitude(S: ArrayT, V: Array) -> ArrayT:
    """Project onto the spectrograms with magnitudes V: ``V · unit(S)``.

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    V : array, shape (..., F, T)
        Target magnitudes, real and non-negative.

    Returns
    -------
    array, shape (..., F, T)
        Nearest spectrogram with ``|·| = V``.
    """
    return V * unit(S)


def consistency(S: ArrayT, stft: Transform, length: int, lengths: Lengths = None) -> ArrayT:
    """Project onto the spectrograms of signals of ``length`` samples: ``STFT(iSTFT(S))``.

    Orthogonal in the two-sided norm (Griffin & Lim, IEEE TASSP 1984).

    Parameters
    ----------
    S : array, shape (..., F, T)
        Complex spectrogram.
    stft : STFT
        The transform.
    length : int
        Signal length in samples.
    lengths : array_like of int, optional
        Valid samples of each batch item.

    Returns
    -------
    array, shape (..., F, T)
        Nearest consistent spectrogram.
    """
    return stft(stft.inverse(S, length=length, lengths=lengths), lengths=lengths)


def mixing(S: ArrayT, X: Array, weights: Array | None = None) -> ArrayT:
    """Project onto the sources that sum to the mixture: ``S_j + Λ_j (X − Σ_k S_k)``.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms of the sources.
    X : array, shape (..., F, T)
        Complex spectrogram of the mixture.
    weights : array, shape broadcastable to (..., J, F, T), optional
        Λ, summing to 1 over the sources; default ``1/J``, the orthogonal projection.

    Returns
    -------
    array, shape (..., J, F, T)
        Sources that sum to X.
    """
    xp = namespace(S)
    error = xp.expand_dims(X - xp.sum(S, axis=-3), axis=-3)
    return S + (error / S.shape[-3] if weights is None else weights * error)
