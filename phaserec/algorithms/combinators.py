"""Combinators: what makes an algorithm out of other algorithms."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from phaserec._typing import Number, Projectors, Step, Value
from phaserec._xp import as_int
from phaserec.algorithms.hyper import MOMENTUM, Hyper
from phaserec.algorithms.registry import AlgorithmLike, resolve


def momentum(
    step: AlgorithmLike, alpha: Number = 0.99, beta: Number = 0.0, gamma: Number = 1.0
) -> Step:
    """Accelerate any algorithm with momentum.

    With F one iteration of the algorithm (Nenov et al., ICASSP 2023; with ``gamma = 1`` Perraudin
    et al., WASPAA 2013)::

        t ← (1 − γ) d + γ F(c)
        c ← t + α (t − t_previous)
        d ← t + β (t − t_previous)

    starting from ``d = t_previous = F(c)``, so the first iteration is a plain one. For algorithms
    that only use the phase of c this has the same phases as the recursion of librosa and
    torchaudio, which start from ``t_previous = 0``.

    Parameters
    ----------
    step : str or callable
        The algorithm, by name or as a step function.
    alpha, beta : float or array, default 0.99 and 0
        Momentum of c and of d; ``beta`` matters only where ``gamma`` is not 1.
    gamma : float or array, default 1
        Relaxation.

    Returns
    -------
    callable
        Step function with memory, ``accelerated((c, d, t), p, **hyper)``.

    Examples
    --------
    >>> import phaserec
    >>> accelerated = phaserec.momentum("misi", alpha=0.5)
    >>> accelerated.__name__, accelerated.memory
    ('momentum_misi', 2)
    """
    inner = resolve(step)

    def accelerated(state: tuple, p: Projectors, **hyper: Value) -> tuple:
        c, d, previous = state
        t = inner.step(inner.initial_state(c) if d is None else c, p, **hyper)
        if d is not None:
            t = _affine(lambda d, t: (1 - gamma) * d + gamma * t, d, t)
        if previous is None:
            previous = t
        c = _affine(lambda previous, t: t + alpha * (t - previous), previous, t)
        if isinstance(beta, int | float) and beta == 0:
            return c, t, t
        return c, _affine(lambda previous, t: t + beta * (t - previous), previous, t), t

    name = f"momentum_{inner.name.replace('-', '_')}"
    return _named(accelerated, name, 2, inner.hyper, inner.start)


def alternate(*turns: tuple[AlgorithmLike, int]) -> Step:
    """Alternate between algorithms without memory, each for a number of iterations.

    Parameters
    ----------
    *turns : (str or callable, int)
        Algorithms and how many iterations each runs before the next; after the last the first
        comes again. The start that the first one declares is that of all.

    Returns
    -------
    callable
        Step function with memory, ``alternated((S, n), p)``, n the place in the turns.

    Raises
    ------
    ValueError
        If there is no turn, or an algorithm has memory of its own.
    """
    if not turns:
        raise ValueError("alternate needs at least one turn, (algorithm, number of iterations)")
    steps: list[Step] = []
    for algorithm, count in turns:
        entry = resolve(algorithm)
        if entry.memory:
            raise ValueError(f"{entry.name} has memory and cannot alternate with others")
        steps += [entry.step] * as_int(f"number of turns of {entry.name}", count, 1)

    def alternated(state: tuple, p: Projectors) -> tuple:
        S, place = state
        place = place or 0
        return steps[place](S, p), (place + 1) % len(steps)

    name = "_".join(["alternate", *(resolve(a).name.replace("-", "_") for a, _ in turns)])
    return _named(alternated, name, 1, (), resolve(turns[0][0]).start)


def schedule(algorithm: AlgorithmLike, values: Sequence[Mapping[str, Value]]) -> Step:
    """Give each iteration of an algorithm hyper-parameters of its own.

    Parameters
    ----------
    algorithm : str or callable
        The algorithm.
    values : sequence of dict
        Hyper-parameters of the iterations in turn, ``momentum`` among them; after the last the
        first come again.

    Returns
    -------
    callable
        Step function with memory, ``scheduled((state, n), p)``, n the place in the turns.

    Raises
    ------
    ValueError
        If there are none, or one is unknown or out of range.

    Examples
    --------
    >>> import numpy as np, phaserec
    >>> from phaserec.algorithms import schedule
    >>> softer = schedule("mix-incons", [{"sigma": 3.0}, {"sigma": 1.0}, {"sigma": 0.3}])
    >>> x = np.random.default_rng(0).standard_normal((2, 4000))
    >>> stft = phaserec.STFT()
    >>> phaserec.invert(abs(stft(x)), x.sum(0), stft=stft, algorithm=softer, n_iter=3).shape
    (2, 4000)
    """
    if not values:
        raise ValueError("schedule needs hyper-parameters of one iteration at least")
    inner = resolve(algorithm)
    for given in values:
        inner.check(given)
    name = MOMENTUM.name
    accelerated = not inner.has_momentum and any(name in given for given in values)
    steps: list[Callable[..., Any]] = []
    for given in values:
        own = dict(given)
        step = momentum(inner, own.pop(name, 0.0)) if accelerated else inner.step  # type: ignore[arg-type]
        steps.append(partial(step, **own))

    def scheduled(state: tuple, p: Projectors) -> tuple:
        inside, turn = state
        if turn is None:
            inside = (inside, None, None) if accelerated else inner.initial_state(inside)
        turn = turn or 0
        return steps[turn](inside, p), (turn + 1) % len(steps)

    return _named(scheduled, f"schedule_{inner.name.replace('-', '_')}", 1, (), inner.start)


def estimate(state: Any) -> Any:
    """Spectrogram in a state: the first entry, however deep combinators nest."""
    while isinstance(state, tuple):
        state = state[0]
    return state


def _affine(combine: Callable[..., Any], *states: Any) -> Any:
    """Combine states entry by entry; counters stay as they are in the last one."""
    if isinstance(states[0], tuple):
        return tuple(_affine(combine, *parts) for parts in zip(*states, strict=True))
    return states[-1] if isinstance(states[0], int) else combine(*states)


def _named(step: Any, name: str, memory: int, hyper: tuple[Hyper, ...], start: str | None) -> Any:
    """Give a step what :func:`.registry.describe` cannot read off its signature."""
    step.__name__ = step.__qualname__ = name
    step.memory, step.hyper, step.declared_start = memory, hyper, start
    return step
