"""The von Mises distribution of phases around a model: concentration, and moments of ``exp(iθ)``.

Its density at a phase error θ is ``exp(κ cos θ) / (2π I₀(κ))``: κ = 0 is uniform on the circle, and
a large κ nearly Gaussian with variance 1/κ.
"""

from typing import Any

import numpy as np

from phaserec._typing import Array, Number
from phaserec._xp import as_array, check_finite, is_complex, is_torch_array, namespace, same_backend

LARGEST = 1e8
"""Largest concentration; phases are right to 1e-4 rad there."""

# Between these the formulas in λ lose no digits that matter; series take over outside.
_SMALL, _LARGE = 2e-2, 200.0
_NEWTON = 4


def resultant(kappa: Number) -> Number:
    """Mean resultant length ``λ = E cos θ = I₁(κ) / I₀(κ)``.

    Parameters
    ----------
    kappa : float or array
        Concentration, from 0 to :data:`LARGEST`.

    Returns
    -------
    float or array
        From 0 to 1; float64. Of tensors it has gradients.
    """
    k = _double(kappa)
    return _like(_ratio(k), kappa)


def variances(kappa: Number) -> tuple[Number, Number]:
    """Variances of ``cos θ`` and ``sin θ``: along the direction of the model and across it.

    They are ``1 − λ/κ − λ²`` and ``λ/κ``, both ½ at κ = 0, without the cancellation of the first:
    it falls as 1/(2κ²).

    Parameters
    ----------
    kappa : float or array
        Concentration, from 0 to :data:`LARGEST`.

    Returns
    -------
    along, across : float or array
        float64. Of tensors they have gradients.
    """
    k = _double(kappa)
    return _like(_along(k), kappa), _like(_across(k), kappa)


def of_resultant(length: Number) -> Number:
    """Concentration whose mean resultant length is given: the inverse of :func:`resultant`.

    An approximation in three pieces (Best & Fisher, Communications in Statistics 1981), and
    Newton's method.

    Parameters
    ----------
    length : float or array
        Mean resultant length. At 0 and below it is that of no concentration, near 1 of
        :data:`LARGEST`.

    Returns
    -------
    float or array
        From 0 to :data:`LARGEST`; float64. Of tensors it has gradients.
    """
    R = _double(length)
    xp = namespace(R)
    # Where it is clipped, and so without gradient.
    R = xp.clip(R, 0.0, float(resultant(LARGEST)))  # type: ignore[arg-type]
    middle = -0.4 + 1.39 * R + 0.43 / (1 - R)
    safe = xp.where(R < 0.5, xp.ones_like(R) / 2, R)
    high = 1 / (safe * (1 - safe) * (3 - safe))
    kappa = xp.where(R < 0.53, 2 * R + R**3 + 5 / 6 * R**5, xp.where(R < 0.85, middle, high))
    for _ in range(_NEWTON):
        kappa = xp.clip(kappa - (_ratio(kappa) - R) / _along(kappa), 0.0, LARGEST)
    return _like(kappa, length)


def concentration(error: Array, weights: Array | None = None, *, axis: Any = None) -> Number:
    """Maximum likelihood concentration of phase errors around a model.

    The model is the known mean direction, so this solves ``I₁(κ)/I₀(κ) = mean cos θ`` (Mardia &
    Jupp, Directional Statistics, 2000). Phase models of audio are measured like this (Magron &
    Virtanen, IWAENC 2018).

    Parameters
    ----------
    error : array
        Phase errors θ in radians; multiples of 2π do not matter.
    weights : array, broadcastable to ``error``, optional
        Non-negative weights of the errors, such as energies.
    axis : int or tuple of int, optional
        Axes that are one sample; default all.

    Returns
    -------
    float or array
        Concentration without those axes, float64: 0 for errors that are uniform or worse, at most
        :data:`LARGEST`. Of tensors it has gradients.

    Raises
    ------
    ValueError
        If an argument is complex or not finite, or weights are negative or all zero.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec.von_mises import concentration
    >>> errors = np.random.default_rng(0).vonmises(0, 3.0, 100_000)
    >>> round(float(concentration(errors)), 1)
    3.0
    """
    error = as_array("error", error)
    w = None if weights is None else as_array("weights", weights)
    xp = same_backend(error=error, weights=w)
    check_finite(error=error, weights=w)
    if is_complex(error) or (w is not None and is_complex(w)):
        raise ValueError("error and weights must be real: phases in radians, and what they weigh")
    if 0 in error.shape:
        raise ValueError(f"error of shape {tuple(error.shape)} holds no phases")
    cosine = xp.cos(xp.astype(error, xp.float64))
    if w is None:
        return of_resultant(xp.mean(cosine, axis=axis))
    w = xp.broadcast_to(xp.astype(w, xp.float64), cosine.shape)
    total = xp.sum(w, axis=axis)
    if not bool(xp.all(w >= 0)) or not bool(xp.all(total > 0)):
        raise ValueError("weights must be non-negative, and one of each sample positive")
    return of_resultant(xp.sum(w * cosine, axis=axis) / total)


def _double(value: Any) -> Any:
    if is_torch_array(value):
        xp = namespace(value)
        return xp.astype(value, xp.float64)
    return np.asarray(value, np.float64)


def _like(result: Any, given: Any) -> Any:
    """Numbers for numbers, arrays for arrays."""
    return float(result) if isinstance(given, int | float) else result


def _ratio(kappa: Any) -> Any:
    """I₁/I₀; scaled, since both overflow beyond 700."""
    if is_torch_array(kappa):
        import torch

        return torch.special.i1e(kappa) / torch.special.i0e(kappa)
    from scipy.special import i0e, i1e  # takes a moment to load, and few need it

    return i1e(kappa) / i0e(kappa)


def _across(kappa: Any) -> Any:
    xp = namespace(kappa)
    small = kappa < _SMALL
    safe = xp.where(small, xp.ones_like(kappa), kappa)
    return xp.where(small, 0.5 - kappa**2 / 16 + kappa**4 / 96, _ratio(safe) / safe)


def _along(kappa: Any) -> Any:
    """dλ/dκ, by its series at either end."""
    xp = namespace(kappa)
    one = xp.ones_like(kappa)
    small, large = kappa < _SMALL, kappa > _LARGE
    safe = xp.where(small | large, one, kappa)
    ratio = _ratio(safe)
    inverse = 1 / xp.where(large, kappa, one)
    tail = 1 / 2 + inverse * (1 / 4 + inverse * (3 / 8 + inverse * (25 / 32 + inverse * 65 / 32)))
    middle = 1 - ratio / safe - ratio**2
    near = 0.5 - 3 / 16 * kappa**2 + 5 / 96 * kappa**4
    return xp.where(small, near, xp.where(large, inverse**2 * tail, middle))
