"""Sources as Gaussian variables whose phases lean towards those of a model.

A source of power ``v`` and von Mises phase of concentration κ around μ has the mean ``λ√v e^{iμ}``,
variance ``γ = (1 − λ²) v`` and relation ``c = ρ v e^{2iμ}`` (Magron, Badeau & David, ICASSP 2017).
As real two-vectors that is a covariance with the axes along and across the direction of μ. A
symmetric operator on such vectors is a pair: ``x ↦ g x + h x̄`` with g real.
"""

from dataclasses import dataclass
from typing import Any

from phaserec import von_mises
from phaserec._typing import Array, Number
from phaserec._xp import namespace
from phaserec.problem import shares


@dataclass(frozen=True)
class Operator:
    """A symmetric operator on the complex plane in every bin, ``x ↦ g x + h x̄``.

    Attributes
    ----------
    g : array, shape (..., F, T)
        Real part of it: the mean of the two eigenvalues.
    h : array, shape (..., F, T), or None
        Complex: half their difference, times the squared direction of the first; None where
        they are equal.
    """

    g: Array
    h: Array | None

    def __call__(self, x: Array) -> Array:
        """Values of shape ``(..., F, T)``."""
        if self.h is None:
            return self.g * x
        return self.g * x + self.h * namespace(x).conj(x)

    def sum(self) -> "Operator":
        """Sum over the sources, axis −3, which stays with length 1."""
        xp = namespace(self.g)
        h = None if self.h is None else xp.sum(self.h, axis=-3, keepdims=True)
        return Operator(xp.sum(self.g, axis=-3, keepdims=True), h)

    def solve(self, y: Array) -> Array:
        """Inverse of the operator at y, 0 where it is zero; the axes' variances may differ much, so
        that it is computed in double precision."""
        xp = namespace(self.g)
        if self.h is None:
            zero = self.g <= 0
            return y * xp.where(
                zero, 0.0 * self.g, 1 / xp.where(zero, xp.ones_like(self.g), self.g)
            )
        g, h = xp.astype(self.g, xp.float64), xp.astype(self.h, xp.complex128)
        y2 = xp.astype(y, xp.complex128)
        size = xp.where(g > 0, g, xp.ones_like(g))
        g, h = g / size, h / size
        determinant = g**2 - (xp.real(h) ** 2 + xp.imag(h) ** 2)
        bad = determinant <= 0
        scale = xp.where(bad, 0.0 * g, 1 / xp.where(bad, xp.ones_like(g), determinant * size))
        return xp.astype((g * y2 - h * xp.conj(y2)) * scale, y.dtype)


@dataclass(frozen=True)
class Prior:
    """Gaussian model of the sources before the mixture is known.

    Attributes
    ----------
    magnitudes : array, shape (..., J, F, T)
        Square roots of the powers v.
    phases : array, shape (..., J, F, T), or None
        Phase factors ``e^{iμ}``; None where phases are uniform.
    kappa : float or array, broadcastable to (..., J, F, T)
        Concentration of the phases.
    """

    magnitudes: Array
    phases: Array | None = None
    kappa: Number = 0.0

    @property
    def mean(self) -> Array:
        """Expected values, ``(..., J, F, T)``."""
        assert self.phases is not None
        return self._real(von_mises.resultant(self.kappa)) * self.magnitudes * self.phases

    def covariance(self, power: Array, delta: Number = 0.0, *, damped: bool = False) -> Operator:
        """Twice the covariance of the real two-vectors, Q, or ``Q (1 + δQ)⁻¹``.

        Twice, so that Q is the power where phases are uniform.

        Parameters
        ----------
        power : array, shape (..., J, F, T)
            Powers of the sources.
        delta : float or array, default 0
            Damping.
        damped : bool, default False
            Whether to damp.

        Returns
        -------
        Operator
            In the precision of ``power``.
        """
        return self._function(power, lambda q: q / (1 + delta * q) if damped else q)

    def damping(self, power: Array, delta: Number) -> Operator:
        """The operator ``(1 + δQ)⁻¹``."""
        return self._function(power, lambda q: 1 / (1 + delta * q))

    def _function(self, power: Array, function: Any) -> Operator:
        """A function of Q, by its eigenvalues along and across the direction of the model."""
        if self.phases is None:
            return Operator(function(power), None)
        along, across = (
            function(2 * self._real(variance) * power)
            for variance in von_mises.variances(self.kappa)
        )
        return Operator((along + across) / 2, (along - across) / 2 * self.phases**2)

    def _real(self, value: Number) -> Number:
        """A moment in the precision of the magnitudes."""
        if isinstance(value, float):
            return value
        xp = namespace(self.magnitudes)
        return xp.astype(value, self.magnitudes.dtype)


def posterior_mean(prior: Prior, X: Array) -> Array:
    """Expected values of the sources given their sum.

    With uniform phases this is the Wiener filter ``v_j / Σv · X``, else the anisotropic one
    (Magron, Badeau & David, ICASSP 2017).

    Parameters
    ----------
    prior : Prior
        The model.
    X : array, shape (..., F, T)
        Complex spectrogram of the mixture.

    Returns
    -------
    array, shape (..., J, F, T)
        Complex spectrograms that sum to X; equal parts of it where all powers are zero.
    """
    xp = namespace(X)
    share = shares(prior.magnitudes**2)
    X = xp.expand_dims(X, axis=-3)
    if prior.phases is None:
        return share * X
    Q = prior.covariance(xp.astype(share, xp.float64))
    mean = prior.mean
    rest = xp.astype(X - xp.sum(mean, axis=-3, keepdims=True), xp.complex128)
    return mean + xp.astype(Q(Q.sum().solve(rest)), mean.dtype)
