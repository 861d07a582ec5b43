"""How far a model of phases can be relied on, judged by the mixture alone."""

from phaserec import von_mises
from phaserec._typing import Array
from phaserec._xp import namespace
from phaserec.problem import shares

# Keeps the equations of silent and of equal sources solvable, in units of their size.
_LOADING = 1e-6


def estimated_concentration(magnitudes: Array, phases: Array, X: Array) -> Array:
    """Concentration of each source's phases around a model, estimated from the mixture.

    The expected mixture is ``Σ_j λ_j V_j e^{iμ_j}`` with the mean resultant lengths λ_j, which are
    found by least squares, weighted with the powers in each bin.

    Parameters
    ----------
    magnitudes : array, shape (..., J, F, T)
        Magnitudes V.
    phases : array, shape (..., J, F, T)
        Phase factors ``e^{iμ}`` of the model.
    X : array, shape (..., F, T)
        Complex spectrogram of the mixture. Phases that were taken from it look more reliable than
        they are.

    Returns
    -------
    array, shape (..., J, 1, 1)
        Concentrations, in the precision of the magnitudes.
    """
    xp = namespace(magnitudes)
    V = xp.astype(magnitudes, xp.float64)
    # Each bin in units of the root of its total power.
    roots = xp.sqrt(xp.where(V > 0, shares(V**2), xp.zeros_like(V)))
    total = xp.sqrt(xp.sum(V**2, axis=-3))
    sounding = total > 0
    scaled = xp.where(sounding, X, 0 * X) / xp.where(sounding, total, xp.ones_like(total))
    model = xp.reshape(roots * phases, (*V.shape[:-2], -1))
    target = xp.reshape(scaled, (*V.shape[:-3], -1, 1))
    target = xp.astype(target, model.dtype)
    gram = xp.real(xp.conj(model) @ xp.matrix_transpose(model))
    right = xp.real(xp.conj(model) @ target)
    size = xp.max(xp.abs(gram), axis=(-2, -1), keepdims=True)
    loading = _LOADING * size + xp.where(size > 0, 0 * size, xp.ones_like(size))
    gram = gram + loading * xp.eye(V.shape[-3], dtype=xp.float64, device=V.device)
    lengths = xp.linalg.solve(gram, right)
    kappa = von_mises.of_resultant(lengths[..., None])
    return xp.astype(kappa, magnitudes.dtype)
