"""A second implementation of each algorithm, straight from the equations, with loops.

Nothing of phaserec is used on this side: one source and one frame at a time with numpy's FFT, and
each algorithm in the variables of its paper. The comparison is over few iterations, as rounding
grows without bound in more.
"""

import numpy as np
import pytest
import scipy.signal
from scipy.special import iv

from phaserec import STFT, Problem, iterate
from phaserec.algorithms import ALGORITHMS

N, H, LENGTH = 16, 4, 61
WINDOW = scipy.signal.get_window("hann", N)


def stft(x):
    padded = np.concatenate([np.zeros(N // 2), x, np.zeros(N)])
    starts = range(0, len(x) + 1, H)
    return np.array([np.fft.rfft(WINDOW * padded[s : s + N]) for s in starts]).T


def istft(S):
    numerator, denominator = np.zeros(LENGTH + 2 * N), np.zeros(LENGTH + 2 * N)
    for t in range(S.shape[1]):
        numerator[t * H : t * H + N] += WINDOW * np.fft.irfft(S[:, t], N)
        denominator[t * H : t * H + N] += WINDOW**2
    signal = slice(N // 2, N // 2 + LENGTH)
    return numerator[signal] / denominator[signal]


def G(S):
    return np.array([stft(istft(S_j)) for S_j in S])


def P_mag(S, V):
    return V * np.exp(1j * np.angle(S))


def P_mix(S, X, weights):
    return np.array([S_j + w * (X - sum(S)) for S_j, w in zip(S, weights, strict=True)])


def share(V):
    return [V_j / sum(V) for V_j in V]


def equal(V):
    return [1 / len(V)] * len(V)


# Each takes the start, the magnitudes, the mixture and a number of iterations.


def griffin_lim(S, V, X, n):
    for _ in range(n):
        S = G(P_mag(S, V))
    return S


def fast_griffin_lim(c, V, X, n, momentum):
    t_previous = None
    for _ in range(n):
        t = G(P_mag(c, V))
        c = t if t_previous is None else t + momentum * (t - t_previous)
        t_previous = t
    return c


def accelerated_griffin_lim(c, V, X, n, alpha, beta, gamma):
    c = d = t_previous = G(P_mag(c, V))
    for _ in range(n - 1):
        t = (1 - gamma) * d + gamma * G(P_mag(c, V))
        c = t + alpha * (t - t_previous)
        d = t + beta * (t - t_previous)
        t_previous = t
    return c


def admm(S, V, X, n, rho):
    A, U = S, np.zeros_like(S)
    Y = A + U
    for _ in range(n):
        Z = (rho * Y + G(Y)) / (1 + rho)
        U = U + A - Z
        A = P_mag(Z - U, V)
        Y = A + U
    return Y


def raar(S, V, X, n, beta):
    for _ in range(n):
        R2 = 2 * P_mag(S, V) - S
        R1R2 = 2 * G(R2) - R2
        S = beta / 2 * (S + R1R2) + (1 - beta) * P_mag(S, V)
    return S


def difference_map(S, V, X, n, beta):
    for _ in range(n):
        f2 = P_mag(S, V) + (P_mag(S, V) - S) / beta
        f1 = G(S) - (G(S) - S) / beta
        S = S + beta * (G(f2) - P_mag(f1, V))
    return S


def hybrid(S, V, X, n, n_explore, n_refine):
    for i in range(n):
        explore = i % (n_explore + n_refine) < n_explore
        S = raar(S, V, X, 1, beta=0.9) if explore else griffin_lim(S, V, X, 1)
    return S


def misi(S, V, X, n):
    for _ in range(n):
        S = P_mix(P_mag(G(S), V), X, equal(V))
    return S


def misi_mix_first(S, V, X, n):
    for _ in range(n):
        S = P_mag(P_mix(G(S), X, equal(V)), V)
    return S


def misi_on_waveforms(S, V, X, n):
    """MISI as published: the mixing error is a signal in time."""
    x = istft(X)
    S = P_mag(S, V)
    for _ in range(n):
        s = [istft(S_j) for S_j in S]
        error = (x - sum(s)) / len(s)
        S = P_mag([stft(s_j + error) for s_j in s], V)
    return S


def mix_incons(S, V, X, n, sigma):
    for _ in range(n):
        Y, Z = P_mix(S, X, share(V)), G(S)
        S = np.array(
            [
                (Y_j + sigma * w * Z_j) / (1 + sigma * w)
                for Y_j, Z_j, w in zip(Y, Z, share(V), strict=True)
            ]
        )
    return S


def mix_incons_hard_mag(S, V, X, n, sigma):
    for _ in range(n):
        Y, Z = P_mix(S, X, share(V)), G(S)
        S = np.array(
            [
                P_mag(Y_j + sigma * w * Z_j, V_j)
                for Y_j, Z_j, V_j, w in zip(Y, Z, V, share(V), strict=True)
            ]
        )
    return S


def mag_incons_hard_mix(S, V, X, n, sigma):
    for _ in range(n):
        S = P_mix((P_mag(S, V) + sigma * G(S)) / (1 + sigma), X, equal(V))
    return S


def incons_hard_mix(S, V, X, n):
    return P_mix(G(S), X, equal(V))


def aux(S, V, X, n, sigma, tau, mixing, consistency, magnitude):
    """Minimum of the majoriser ‖S−Y‖²/Λ + σ‖S−Z‖² + τ‖S−U‖², then the hard terms."""
    weights = np.full(V.shape, 1 / len(V)) if consistency == "hard" else np.array(share(V))
    for _ in range(n):
        terms = []
        if mixing == "soft":
            terms.append((1 / weights, P_mix(S, X, weights)))
        if consistency == "soft":
            terms.append((sigma, G(S)))
        if magnitude == "soft":
            terms.append((tau, P_mag(S, V)))
        if terms:
            S = sum(w * target for w, target in terms) / sum(w for w, _ in terms)
        if consistency == "hard":
            S = G(S)
        if magnitude == "hard":
            S = P_mag(S, V)
        if mixing == "hard":
            S = P_mix(S, X, equal(V))
    return S


def bregmisi(S, V, X, n, beta, d, mu, side, level, eps=1e-8):
    unit = V.max() / 50 if level == "peak" else level
    S, V, X = S / unit, V / unit, X / unit
    R = (V**2 + eps) ** (d / 2)
    for _ in range(n):
        A = (abs(S) ** 2 + eps) ** (d / 2)
        if side == "right":
            slope = A ** (beta - 2) * (A - R)
        elif beta == 1:
            slope = np.log(A / R)
        elif beta == 0:
            slope = 1 / R - 1 / A
        else:
            slope = (A ** (beta - 1) - R ** (beta - 1)) / (beta - 1)
        S = S - mu * d * S * (abs(S) ** 2 + eps) ** (d / 2 - 1) * slope
        S = G(P_mix(S, X, equal(V)))
    return S * unit


def pu_iter(S, V, X, n):
    for _ in range(n):
        E = X - sum(S)
        S = P_mag([S_j + V_j**2 / sum(V**2) * E for S_j, V_j in zip(S, V, strict=True)], V)
    return S


def phase_constrained_misi(S, V, X, n, sigma):
    model = P_mag(S, V)
    for _ in range(n):
        S = P_mix((P_mag(G(S), V) + sigma * model) / (1 + sigma), X, equal(V))
    return S


def wiener(S, V, X, n):
    return np.array([V_j**2 / sum(V**2) * X for V_j in V])


def anisotropic_moments(S, V, kappa):
    """Means, variances and relations of the sources, by Bessel functions as they are."""
    I0, I1, I2 = (iv(order, kappa) for order in range(3))
    phases = np.exp(1j * np.angle(S))
    mean = I1 / I0 * V * phases
    return mean, (1 - (I1 / I0) ** 2) * V**2, (I2 * I0 - I1**2) / I0**2 * V**2 * phases**2


def anisotropic_wiener(S, V, X, n, kappa):
    m, gamma, c = anisotropic_moments(S, V, kappa)
    gamma_X, c_X = sum(gamma), sum(c)
    r = X - sum(m)
    own = (gamma * gamma_X - c * np.conj(c_X)) * r + (c * gamma_X - gamma * c_X) * np.conj(r)
    return m + own / (gamma_X**2 - abs(c_X) ** 2)


def consistent_anisotropic_wiener(S, V, X, n, kappa, delta, level):
    """Conjugate gradients of a textbook, in real vectors, with constraints by multipliers."""
    scale = 50 / V.max() if level == "peak" else 1 / level
    V, X = scale * V, scale * X
    J, F, T = V.shape
    weights = np.where(np.arange(F) % (N // 2) == 0, 1.0, 2.0)[:, None]
    _, gamma, c = anisotropic_moments(S, V, kappa)
    precision, preconditioner = np.zeros((J, F, T, 2, 2)), {}
    for f, t in np.ndindex(F, T):
        system = np.zeros((2 * J + 2, 2 * J + 2))
        for j in range(J):
            g, h = gamma[j, f, t], c[j, f, t]
            precision[j, f, t] = np.linalg.inv([[g + h.real, h.imag], [h.imag, g - h.real]])
            own = slice(2 * j, 2 * j + 2)
            system[own, own] = precision[j, f, t] + delta * np.eye(2)
            system[own, -2:] = system[-2:, own] = np.eye(2)
        preconditioner[f, t] = np.linalg.inv(system)[: 2 * J, : 2 * J]

    def A(d):
        pairs = np.stack([d.real, d.imag], axis=-1)
        a, b = np.moveaxis(np.einsum("jftab,jftb->jfta", precision, pairs), -1, 0)
        return a + 1j * b + delta * (d - G(d))

    def M(r):
        z = np.zeros_like(r)
        for f, t in np.ndindex(F, T):
            pairs = np.stack([r[:, f, t].real, r[:, f, t].imag], axis=-1)
            z[:, f, t] = (preconditioner[f, t] @ pairs.ravel()).reshape(J, 2) @ [1, 1j]
        return z

    def dot(a, b):
        return (weights * (a.conj() * b).real).sum()

    S = anisotropic_wiener(S, V, X, 1, kappa)
    r = delta * (G(S) - S)
    d = z = M(r)
    for _ in range(n):
        image, rho = A(d), dot(r, z)
        alpha = rho / dot(d, image)
        S, r = S + alpha * d, r - alpha * image
        z = M(r)
        d = z + dot(r, z) / rho * d
    return S / scale


def consistent_wiener(S, V, X, n, delta, level):
    return consistent_anisotropic_wiener(S, V, X, n, 0.0, delta, level)


LITERAL = {
    name: globals()[name.replace("-", "_")]
    for name, entry in ALGORITHMS.items()
    if entry.step.__module__.startswith("phaserec.")
}


def inputs(n_sources):
    """Start, magnitudes and the waveform and spectrogram of the mixture."""
    rng = np.random.default_rng(n_sources)
    sources = rng.standard_normal((n_sources, LENGTH))
    V = np.array([abs(stft(s)) for s in sources])
    V *= rng.uniform(0.5, 1.5, V.shape)
    S = V * np.exp(2j * np.pi * rng.random(V.shape))
    return S, V, sources.sum(0), stft(sources.sum(0))


def ours(name, S, V, x, n_iter, **hyper):
    *_, S = iterate(name, Problem(V, x, stft=STFT(N, H)), n_iter, init=S, **hyper)
    return S


def compare(name, n_sources, n_iter, **hyper):
    S, V, x, X = inputs(n_sources)
    full = {h.name: h.default for h in ALGORITHMS[name].hyper} | hyper
    expected = LITERAL[name](S, V, X, n_iter, **full)
    np.testing.assert_allclose(ours(name, S, V, x, n_iter, **hyper), expected, atol=1e-9)


@pytest.mark.parametrize("n_sources", [2, 3])
@pytest.mark.parametrize("n_iter", [1, 2, 5])
@pytest.mark.parametrize("name", LITERAL)
def test_defaults(name, n_iter, n_sources):
    compare(name, n_sources, n_iter)


HYPER = [
    ("phase-constrained-misi", {"sigma": 2.0}),
    ("anisotropic-wiener", {"kappa": 8.0}),
    ("consistent-wiener", {"delta": 0.1, "level": 1.0}),
    ("consistent-anisotropic-wiener", {"kappa": 8.0, "delta": 0.1, "level": 1.0}),
    ("fast-griffin-lim", {"momentum": 0.5}),
    ("accelerated-griffin-lim", {"alpha": 0.3, "beta": 0.7, "gamma": 1.4}),
    ("admm", {"rho": 2.0}),
    ("raar", {"beta": 0.6}),
    ("difference-map", {"beta": 1.2}),
    ("hybrid", {"n_explore": 2, "n_refine": 1}),
    ("mix-incons", {"sigma": 0.3}),
    ("mix-incons-hard-mag", {"sigma": 3.0}),
    ("mag-incons-hard-mix", {"sigma": 0.2}),
    *(
        ("bregmisi", {"beta": beta, "d": d, "mu": 1e-2, "side": side, "level": level})
        for beta in (0.0, 0.5, 1.0, 2.0)
        for d in (1.0, 2.0)
        for side in ("right", "left")
        for level in (1.0, 0.3)
    ),
]


@pytest.mark.parametrize(("name", "hyper"), HYPER)
def test_hyper_parameters(name, hyper):
    compare(name, 2, 4, **hyper)


TERMS = ("off", "soft", "hard")


@pytest.mark.parametrize("mixing", TERMS)
@pytest.mark.parametrize("consistency", TERMS)
@pytest.mark.parametrize("magnitude", TERMS)
def test_aux_with_every_combination_of_terms(mixing, consistency, magnitude):
    terms = {"mixing": mixing, "consistency": consistency, "magnitude": magnitude}
    compare("aux", 3, 4, sigma=3.0, tau=0.2, **terms)


def test_misi_of_the_literature_works_on_waveforms():
    S, V, x, X = inputs(3)
    result = ours("misi-mix-first", S, V, x, 4)
    np.testing.assert_allclose(result, misi_on_waveforms(S, V, X, 4), atol=1e-9)
