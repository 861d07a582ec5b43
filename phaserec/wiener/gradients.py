"""Preconditioned conjugate gradients for the consistent estimates of the family.

They minimise ``Σ (S − Ŝ)ᵀ Q⁻¹ (S − Ŝ) + δ ‖S − G S‖²`` over the sources that sum to the mixture,
with Ŝ the expected values and Q twice their prior covariances (Le Roux & Vincent, IEEE SPL 2013;
Magron, Le Roux & Virtanen, WASPAA 2017). Directions are written ``d = Q u``: nothing is divided
by a variance, so that silent bins need no floor. The preconditioner takes every spectrogram for
inconsistent: the problem is then one of every bin by itself.
"""

from phaserec._typing import Array, Measurable, Number
from phaserec._xp import namespace
from phaserec.measures import two_sided_sum
from phaserec.wiener.gaussian import Prior, posterior_mean


def advance(
    state: tuple, p: Measurable, prior: Prior, delta: Number
) -> tuple[Array, Array, Array, Array]:
    """One step of conjugate gradients.

    Parameters
    ----------
    state : tuple of arrays, shape (..., J, F, T)
        Estimate S, residual r, and of the last direction u and its image; all but the first None
        before the first step, which begins at the expected values.
    p : Problem
        The problem.
    prior : Prior
        Model of the sources.
    delta : float or array
        Weight δ of the consistency.

    Returns
    -------
    tuple of arrays
        The next state.
    """
    S, r, u, image = state
    power = prior.magnitudes**2
    Q = prior.covariance(power)
    if r is None:
        S = posterior_mean(prior, p.X)
        r = delta * (p.cons(S) - S)
    # What all sources have in common no direction can change, as these sum to zero; left in, its
    # rounding errors would be all that there is in the end.
    B = prior.covariance(power, delta, damped=True)
    r = r - B.sum().solve(namespace(r).sum(B(r), axis=-3, keepdims=True))
    u_new = prior.damping(power, delta)(r)
    d_new = Q(u_new)
    if u is not None:
        d = Q(u)
        # Only the last direction: conjugate to all of them on a quadratic, and to itself where
        # momentum has moved the state.
        beta = -_quotient(_dot(d_new, image, p), _dot(d, image, p))
        u_new, d_new = u_new + beta * u, d_new + beta * d
    image = u_new + delta * (d_new - p.cons(d_new))
    alpha = _quotient(_dot(d_new, r, p), _dot(d_new, image, p))
    return S + alpha * d_new, r - alpha * image, u_new, image


def posterior_energy(S: Array, p: Measurable, prior: Prior, delta: Number) -> Array:
    """What the conjugate gradients minimise, up to a constant.

    Parameters
    ----------
    S : array, shape (..., J, F, T)
        Complex spectrograms of the sources.
    p : Problem
        The problem.
    prior : Prior
        Model of the sources.
    delta : float or array
        Weight δ of the consistency.

    Returns
    -------
    array, shape (...)
        One value per batch item. Sources of power zero count for their inconsistency alone.
    """
    xp = namespace(S)
    error = S - posterior_mean(prior, p.X)
    scaled = prior.covariance(prior.magnitudes**2).solve(error)
    away = S - p.cons(S)
    bins = xp.real(xp.conj(error) * scaled) + delta * xp.real(xp.conj(away) * away)
    return two_sided_sum(bins, p)


def _dot(a: Array, b: Array, p: Measurable) -> Array:
    """Inner product over the two-sided spectrum, of each batch item, ``(..., 1, 1, 1)``."""
    xp = namespace(a)
    return two_sided_sum(xp.real(xp.conj(a) * b), p)[..., None, None, None]


def _quotient(above: Array, below: Array) -> Array:
    """Quotient, 0 where there is nothing to divide by: the minimum is reached."""
    xp = namespace(below)
    done = below <= xp.finfo(below.dtype).smallest_normal
    return xp.where(done, 0 * above, above / xp.where(done, xp.ones_like(below), below))
