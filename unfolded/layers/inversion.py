"""Inversion algorithms unfolded into layers with trainable parameters.

A layer is one iteration: the step function of :mod:`phaserec`, unchanged, on a stand-in for the
problem whose mixing weights, magnitudes and transform may be trained.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from phaserec import STFT, Problem
from phaserec._registry import Registry
from phaserec._typing import Init, Lengths, Projectors, Seed
from phaserec._xp import as_int, is_traced
from phaserec.algorithms import (
    ALGORITHMS,
    Algorithm,
    AlgorithmLike,
    configure,
    momentum,
    schedule,
)
from phaserec.algorithms.combinators import estimate
from phaserec.solving import prepare
from unfolded.layers.corrections import CORRECTIONS
from unfolded.layers.parameters import Parameters, Trainable, declared, in_words
from unfolded.layers.problem import LayerProblem
from unfolded.layers.recompute import recomputed
from unfolded.layers.residuals import RESIDUALS
from unfolded.nn.modules import describe, rebuild
from unfolded.nn.windows import LearnedSTFT

# Layers, and sources: beyond this nobody could wait for a network, or for its refusal.
_MOST = 1000


class UnfoldedInversion(nn.Module):
    """An inversion algorithm as a network of K layers with trainable parameters.

    Untrained it equals :func:`phaserec.invert` with ``n_iter=n_layers``, for any algorithm. Layers
    have hyper-parameters and mixing weights of their own, or share them, as is declared
    (unfolding: Gregor & LeCun, ICML 2010; of MISI: Wang et al., Interspeech 2018). Unless the axis
    ``source`` is declared, nothing depends on the number or the order of the sources.

    Parameters
    ----------
    algorithm : str or callable
        Name or step function of the algorithm.
    n_layers : int
        Number of layers K.
    stft : STFT
        Transform of the spectrograms.
    trainable : dict of str to str, optional
        What is trained, and for which axes it has values of its own: names of real
        hyper-parameters, ``"momentum"`` or ``"weights"`` (the mixing weights, see
        :class:`~unfolded.layers.weights.MixingWeights`), each with a word such as
        ``"layer,frequency"`` out of ``layer``, ``frequency`` and ``source``; ``""`` is one value
        for everything. Default: every real hyper-parameter, ``"layer"``; ``{}`` trains nothing.
    correction : nn.Module or sequence of K of them, optional
        Gives a layer its target magnitudes, ``correction(V, S, total) -> (..., J, F, T)``, of
        those of the problem, the current estimate and the magnitudes of the mixture
        ``(..., F, T)``; one for all layers, or one for each. See
        :class:`~unfolded.layers.corrections.MagnitudeRefinement`.
    residual : nn.Module or sequence of K of them, optional
        What is subtracted from the estimate after an iteration, ``residual(S, mag, cons, error, V)
        -> (..., J, F, T)`` complex: of the estimate before it, P_mag of that, P_cons of P_mag, the
        mixing error ``X − Σ cons`` of shape ``(..., F, T)`` or None without a mixture, and the
        layer's target magnitudes; one for all layers, or one for each. See
        :class:`~unfolded.layers.residuals.GatedResidual`.
    momentum : float or list of K floats, optional
        Accelerate the algorithm with momentum, from this value on; for an algorithm with a
        momentum of its own, its start. The first layer's does not matter: a first iteration is a
        plain one.
    n_sources : int, optional
        Number of sources J, needed for the axis ``source``.
    learn_windows : bool, default False
        Train the windows of the transform, see :class:`~unfolded.nn.windows.LearnedSTFT`.
    checkpoint : bool, default False
        Keep about 2 √K states and compute the rest again in the backward pass, each layer twice.
    dtype : torch.dtype, optional
        Floating-point type of the declared parameters; default that of torch. The computation has
        the precision of the magnitudes.
    **hyper
        Hyper-parameters of the algorithm to start from; default its own. A list gives values for
        each layer.

    Raises
    ------
    ValueError
        For an unknown algorithm, hyper-parameter or axis, or a value out of range.

    Notes
    -----
    Declared parameters that cannot change the output, such as the mixing weights of an algorithm
    that does not mix, do not require gradients. This is found by one run on noise, so it also holds
    for branches on a value: ``bregmisi`` with ``side="left"`` at exactly ``beta=1`` (or 0 in its
    objective) uses the limit, which does not depend on β.

    Examples
    --------
    >>> import torch
    >>> from phaserec import STFT
    >>> from unfolded import UnfoldedInversion
    >>> stft = STFT(256)
    >>> sources = torch.randn(3, 2000)
    >>> net = UnfoldedInversion(
    ...     "mag-incons-hard-mix", 3, stft=stft, sigma=0.5, trainable={"sigma": "layer,frequency"}
    ... )
    >>> net(stft(sources).abs(), sources.sum(0)).shape
    torch.Size([3, 2000])
    >>> net.layers[0].values()["sigma"].shape
    torch.Size([129, 1])
    """

    def __init__(
        self,
        algorithm: AlgorithmLike,
        n_layers: int,
        *,
        stft: STFT,
        trainable: Trainable | None = None,
        correction: nn.Module | Sequence[nn.Module] | None = None,
        residual: nn.Module | Sequence[nn.Module] | None = None,
        momentum: float | Sequence[float] | None = None,
        n_sources: int | None = None,
        learn_windows: bool = False,
        checkpoint: bool = False,
        dtype: torch.dtype | None = None,
        **hyper: Any,
    ) -> None:
        super().__init__()
        self.n_layers = as_int("n_layers", n_layers, 1, _MOST)
        self.n_sources = None if n_sources is None else as_int("n_sources", n_sources, 1, _MOST)
        self.stft = stft
        self.checkpoint = checkpoint
        self._hyper = hyper
        self._momentum = momentum
        given = hyper | ({} if momentum is None else {"momentum": momentum})
        starts = [self._of_layer(given, k) for k in range(self.n_layers)]
        self.entry, *_ = (configure(algorithm, start).base for start in starts)
        self._registered = ALGORITHMS.get(self.entry.name) == self.entry
        self._accelerated = momentum is not None and not self.entry.has_momentum
        known = self.entry.known if self._accelerated else self.entry.hyper
        defaults = {h.name: h.default for h in known}
        self.axes = declared(trainable, known, defaults | starts[0])
        if any("source" in axes for axes in self.axes.values()) and self.n_sources is None:
            raise ValueError(
                f"trainable={dict(trainable or {})} with the axis source needs n_sources"
            )
        ranges = {h.name: h.range for h in known if h.range is not None}
        own = {name: axes for name, axes in self.axes.items() if "layer" in axes}
        shared = {name: axes for name, axes in self.axes.items() if name not in own}
        for name in shared:
            if _is_list(given.get(name)):
                raise ValueError(
                    f"{name}={given[name]} has a value for each layer, but trainable[{name!r}]="
                    f"{in_words(shared[name])!r} has not the axis layer"
                )
        sizes = (stft.n_bins, self.n_sources, dtype)
        self.shared = Parameters(shared, defaults | starts[0], ranges, *sizes)
        self.layers = nn.ModuleList(
            Parameters(own, defaults | start, ranges, *sizes) for start in starts
        )
        self._constants = [
            {name: value for name, value in (defaults | start).items() if name not in self.axes}
            for start in starts
        ]
        self.correction = self._of_layers("correction", correction)
        self.residual = self._of_layers("residual", residual)
        self.transform = LearnedSTFT(stft, dtype=dtype) if learn_windows else None
        self._freeze_unreached()

    def set_correction(self, correction: nn.Module | Sequence[nn.Module] | None) -> None:
        """Replace the corrections of magnitudes.

        Parameters
        ----------
        correction : nn.Module or sequence of K of them, or None
            As for the class.

        Raises
        ------
        ValueError
            If there are not as many as layers.
        """
        self.correction = self._of_layers("correction", correction)
        self._freeze_unreached()

    def set_residual(self, residual: nn.Module | Sequence[nn.Module] | None) -> None:
        """Replace the corrections of spectrograms.

        Parameters
        ----------
        residual : nn.Module or sequence of K of them, or None
            As for the class.

        Raises
        ------
        ValueError
            If there are not as many as layers.
        """
        self.residual = self._of_layers("residual", residual)
        self._freeze_unreached()

    def _of_layers(
        self, name: str, given: nn.Module | Sequence[nn.Module] | None
    ) -> nn.Module | None:
        """A module for all layers, or one for each."""
        if not isinstance(given, Sequence | nn.ModuleList):
            return given
        if len(given) != self.n_layers:
            raise ValueError(
                f"{name} has {len(given)} modules for n_layers={self.n_layers}; give one for each "
                "layer, or one module for all of them"
            )
        return nn.ModuleList(given)

    def _of_layer(self, given: Mapping[str, Any], k: int) -> dict[str, Any]:
        """Values of one layer, of those that are given for each."""
        for name, value in given.items():
            if _is_list(value) and len(value) != self.n_layers:
                raise ValueError(
                    f"{name}={value} has {len(value)} values for n_layers={self.n_layers}"
                )
        return {name: value[k] if _is_list(value) else value for name, value in given.items()}

    @property
    def config(self) -> dict[str, Any]:
        """What :meth:`from_config` makes the network of; JSON.

        Raises
        ------
        ValueError
            If the algorithm is not registered, so that a name cannot stand for it.
        """
        if not self._registered:
            raise ValueError(
                f"algorithm {self.entry.name!r} is not registered and cannot be saved; register "
                "its step function with phaserec.algorithm"
            )
        return {
            "algorithm": self.entry.name,
            "n_layers": self.n_layers,
            "n_sources": self.n_sources,
            "trainable": {name: in_words(axes) for name, axes in self.axes.items()},
            "correction": _described(self.correction, CORRECTIONS),
            "residual": _described(self.residual, RESIDUALS),
            "momentum": self._momentum,
            "learn_windows": self.transform is not None,
            "checkpoint": self.checkpoint,
            "hyper": dict(self._hyper),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], stft: STFT) -> Self:
        """Network of a configuration, untrained.

        Parameters
        ----------
        config : dict
            As :attr:`config` gives it.
        stft : STFT
            Transform of the spectrograms.

        Returns
        -------
        UnfoldedInversion
            The network.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the configuration is none.
        """
        arguments = {"residual": None} | dict(config)
        parts = {name: arguments.pop(name) for name in ("correction", "residual")}
        hyper = arguments.pop("hyper")
        # What does not hold together is found before modules of any size are made.
        network = cls(**arguments, **hyper, stft=stft)
        correction = network._rebuilt("correction", parts["correction"], CORRECTIONS)
        residual = network._rebuilt("residual", parts["residual"], RESIDUALS)
        network.correction, network.residual = correction, residual
        network._freeze_unreached()
        return network

    def _rebuilt(
        self, name: str, description: Any, registry: Registry[type[nn.Module]]
    ) -> nn.Module | None:
        """Module or modules of what :attr:`config` has for them."""
        if isinstance(description, list) and len(description) == self.n_layers:
            return nn.ModuleList(rebuild(each, registry, name) for each in description)
        if description is None:
            return None
        if not isinstance(description, dict):
            raise ValueError(f"{name} must be one, or {self.n_layers} of them")
        return rebuild(description, registry, name)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by what they are, for optimisers.

        Returns
        -------
        dict of str to list of nn.Parameter
            ``declared`` are hyper-parameters and mixing weights, which want a rate of their own
            and no decay; ``correction`` the weights of the corrections of magnitudes and of
            spectrograms; ``windows`` those of the transform. Only those that require gradients.
        """
        parts: dict[str, list[nn.Module | None]] = {
            "declared": [self.shared, self.layers],
            "correction": [self.correction, self.residual],
            "windows": [self.transform],
        }
        return {
            name: [
                parameter
                for module in modules
                if module is not None
                for parameter in module.parameters()
                if parameter.requires_grad
            ]
            for name, modules in parts.items()
        }

    def first(self, n_layers: int) -> "UnfoldedInversion":
        """Network of the first layers alone, with the same parameters, not copies of them.

        Parameters
        ----------
        n_layers : int
            Number of layers, at most that of this network.

        Returns
        -------
        UnfoldedInversion
            The network.

        Raises
        ------
        ValueError
            If there are not so many layers.
        """
        n_layers = as_int("n_layers", n_layers, 1, self.n_layers)
        shorter = copy.copy(self)
        shorter._modules = dict(self._modules)  # else what is set below is set in both
        shorter.layers = self.layers[:n_layers]
        if isinstance(self.correction, nn.ModuleList):
            shorter.correction = self.correction[:n_layers]
        if isinstance(self.residual, nn.ModuleList):
            shorter.residual = self.residual[:n_layers]
        shorter.n_layers = n_layers
        shorter._constants = self._constants[:n_layers]
        shorter._hyper = {k: v[:n_layers] if _is_list(v) else v for k, v in self._hyper.items()}
        if isinstance(self._momentum, Sequence):
            shorter._momentum = self._momentum[:n_layers]
        return shorter

    def extra_repr(self) -> str:
        """Algorithm and size, for printing."""
        trained = {name: in_words(axes) for name, axes in self.axes.items()}
        return f"{self.entry.name!r}, n_layers={self.n_layers}, trainable={trained}"

    def forward(
        self,
        magnitudes: Tensor,
        mixture: Tensor | None = None,
        init: Init = None,
        *,
        length: int | None = None,
        lengths: Lengths = None,
        rng: Seed = None,
    ) -> Tensor:
        """Waveforms of magnitudes.

        Parameters
        ----------
        magnitudes : Tensor, shape (..., J, F, T)
            Target magnitudes, float32 or float64.
        mixture : Tensor, shape (..., time) or (..., F, T), optional
            Waveform (or complex spectrogram) of the mixture, for algorithms that mix.
        init : str or complex Tensor, optional
            Name of a start, or a spectrogram, see :meth:`phaserec.Problem.start`.
        length : int, optional
            Samples of the result, needed only without a mixture waveform.
        lengths : array_like of int, optional
            Valid samples of each item of a ragged batch.
        rng : int or numpy Generator, optional
            Source of random phases.

        Returns
        -------
        Tensor, shape (..., J, time)
            Waveforms.

        Raises
        ------
        ValueError
            If the arguments disagree with one another or with ``n_sources``.
        """
        problem = self._problem(magnitudes, mixture, length, lengths)
        plain = self._as_algorithm(problem, init)
        if plain is not None:
            return cast(Tensor, prepare(plain, problem, self.n_layers, init=init, rng=rng).result())
        S = self._run(problem, init, rng)
        return self._transform.inverse(S, length=problem.length, lengths=problem.lengths)

    def spectrogram(
        self,
        magnitudes: Tensor,
        mixture: Tensor | None = None,
        init: Init = None,
        *,
        length: int | None = None,
        lengths: Lengths = None,
        rng: Seed = None,
    ) -> Tensor:
        """Spectrograms after the last layer, before they become waveforms.

        Parameters
        ----------
        magnitudes, mixture, init, length, lengths, rng
            As for :meth:`forward`.

        Returns
        -------
        Tensor, shape (..., J, F, T)
            Complex spectrograms.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        problem = self._problem(magnitudes, mixture, length, lengths)
        return self._run(problem, init, rng)

    def trajectory(
        self,
        magnitudes: Tensor,
        mixture: Tensor | None = None,
        init: Init = None,
        *,
        length: int | None = None,
        lengths: Lengths = None,
        rng: Seed = None,
    ) -> list[Tensor]:
        """Spectrograms after each layer, for losses on all of them.

        Parameters
        ----------
        magnitudes, mixture, init, length, lengths, rng
            As for :meth:`forward`.

        Returns
        -------
        list of Tensor, shape (..., J, F, T)
            Complex spectrograms, one of each layer.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        problem = self._problem(magnitudes, mixture, length, lengths)
        return list(self._estimates(problem, init, rng, every=True))

    def inverse(self, S: Tensor, *, length: int | None = None, lengths: Lengths = None) -> Tensor:
        """Waveforms of spectrograms by the transform of the layers.

        Parameters
        ----------
        S : Tensor, shape (..., F, T)
            Complex spectrograms.
        length, lengths
            As for :meth:`phaserec.STFT.inverse`.

        Returns
        -------
        Tensor, shape (..., time)
            Waveforms.
        """
        waveforms: Tensor = self._transform.inverse(S, length=length, lengths=lengths)
        return waveforms

    def _as_algorithm(self, problem: Problem, init: Init) -> AlgorithmLike | None:
        """The layers as an algorithm, for the machines that have one; None where that cannot be.

        It can where nobody asks for gradients and what is trained are numbers, one for each layer.
        """
        values = [
            {**self.shared.values(), **cast(Parameters, layer).values()} for layer in self.layers
        ]
        given = [problem.magnitudes, problem.mixture, init]
        tensors = [v for each in values for v in each.values()]
        tensors += [a for a in given if isinstance(a, Tensor)]
        asked = torch.is_grad_enabled() and any(a.requires_grad for a in tensors)
        weights = [self.shared.weights, *(layer.weights for layer in self.layers)]
        modules = (self.correction, self.residual, self.transform, *weights)
        whole = all(v.ndim == 0 for each in values for v in each.values())
        if asked or is_traced() or not whole or any(m is not None for m in modules):
            return None
        numbers = [
            constants | {name: float(value) for name, value in each.items()}
            for each, constants in zip(values, self._constants, strict=True)
        ]
        if any(hasattr(value, "shape") for each in numbers for value in each.values()):
            return None
        return _scheduled(self.entry, tuple(tuple(each.items()) for each in numbers))

    @property
    def _transform(self) -> Any:
        return self.stft if self.transform is None else self.transform

    def _problem(
        self, magnitudes: Tensor, mixture: Tensor | None, length: int | None, lengths: Any
    ) -> Problem:
        if self.n_sources is not None and magnitudes.shape[-3:-2] != (self.n_sources,):
            raise ValueError(
                f"magnitudes of shape {tuple(magnitudes.shape)} must be (..., J, F, T) with "
                f"J = n_sources = {self.n_sources}"
            )
        return Problem(magnitudes, mixture, stft=self.stft, length=length, lengths=lengths)

    def _run(self, problem: Problem, init: Any, rng: Any) -> Tensor:
        """Spectrogram after the last layer."""
        *_, last = self._estimates(problem, init, rng)
        return last

    def _estimates(
        self, problem: Problem, init: Any, rng: Any, *, every: bool = False
    ) -> Iterator[Tensor]:
        """Spectrograms after layers, or only some of them and the last."""
        mixture = cast(Tensor | None, problem.mixture)
        X = None if mixture is None else problem.X
        if mixture is not None and self.transform is not None and not mixture.is_complex():
            X = self.transform(
                self.stft.restrict(mixture, problem.lengths), lengths=problem.lengths
            )
        if problem.magnitudes.ndim > 2:
            _ = problem.mixing_weights  # cached before a layer is computed a second time
        S = problem.start(init, rng, self.entry)
        state = (S, None, None) if self._accelerated else self.entry.initial_state(S)
        if self.checkpoint and torch.is_grad_enabled():
            # Segments of √K layers (Chen et al. 2016): only the states between them, and in the
            # backward pass those within one of them, are kept.
            size = 1 if every else max(math.isqrt(self.n_layers), 1)
            for first in range(0, self.n_layers, size):
                segment = range(first, min(first + size, self.n_layers))
                state = recomputed(self._segment, state, segment, problem, X)
                yield estimate(state)
        else:
            for k in range(self.n_layers):
                state = self._layer(state, k, problem, X)
                yield estimate(state)

    def _layer(self, state: Any, k: int, problem: Problem, X: Any) -> Any:
        own, V = cast(Parameters, self.layers[k]), cast(Tensor, problem.magnitudes)
        correction, residual = _of_layer(self.correction, k), _of_layer(self.residual, k)
        corrected = None
        if correction is not None:
            total = V.sum(-3) if X is None else X.abs()
            corrected = correction(V, estimate(state), total)
        weights = own.weights or self.shared.weights
        layer = LayerProblem(
            problem, self._transform, X, weights, corrected, keep=residual is not None
        )
        stand_in: Projectors[Tensor] = layer
        values = {**self.shared.values(), **own.values()}
        hyper = {name: value.to(V) for name, value in values.items()} | self._constants[k]
        step = momentum(self.entry, hyper.pop("momentum")) if self._accelerated else self.entry.step
        S, state = estimate(state), step(state, stand_in, **hyper)
        if residual is None:
            return state
        mag = layer.mag(S)
        cons = layer.cons(mag)
        error = None if X is None else X - cons.sum(-3)
        S = estimate(state) - residual(S, mag, cons, error, layer.magnitudes)
        return (S, *state[1:]) if isinstance(state, tuple) else S

    def _segment(self, state: Any, segment: range, problem: Problem, X: Any) -> Any:
        for k in segment:
            state = recomputed(self._layer, state, k, problem, X)
        return state

    def _freeze_unreached(self) -> None:
        """Stop training what the output does not depend on, found by a run on noise."""
        groups = self.parameter_groups()
        # A factor stands for a correction, which may be anything and is not run, and the least that
        # depends on what it sees for a residual.
        gains, corrections = _gains(self.correction)
        parameters = [*groups["declared"], *groups["windows"]]
        reached = [*parameters, *gains.parameters()]
        if not reached:
            return
        generator = torch.Generator().manual_seed(0)
        length = self.stft.n_fft + 2 * self.stft.hop_length
        sources = torch.randn(self.n_sources or 2, length, generator=generator).to(reached[0])
        found: Any = [None] * len(reached)
        plain = copy.copy(self)
        plain._modules = self._modules | {
            "correction": gains if corrections else None,
            "residual": None if self.residual is None else _Tenth(),
        }
        with torch.enable_grad():  # whoever loads a model for inference has turned it off
            problem = Problem(self.stft(sources).abs(), sources.sum(0), stft=self.stft)
            S = plain._run(problem, None, None)
            energy = self._transform.inverse(S, length=length).square().sum()
            if energy.requires_grad:
                found = torch.autograd.grad(energy, reached, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=False):
            parameter.requires_grad_(gradient is not None)
        for module, gradient in zip(corrections, found[len(parameters) :], strict=True):
            if gradient is None:
                module.requires_grad_(False)


class _Gain(nn.Module):
    """The least correction that has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, V: Tensor, S: Tensor, total: Tensor) -> Tensor:
        return self.gain.to(V) * V


class _Tenth(nn.Module):
    """The least residual that depends on what it sees."""

    def forward(
        self, S: Tensor, mag: Tensor, cons: Tensor, error: Tensor | None, V: Tensor
    ) -> Tensor:
        return 0.1 * (S + mag + cons)


def _gains(correction: nn.Module | None) -> tuple[nn.Module, list[nn.Module]]:
    """What stands for corrections, and the corrections."""
    if isinstance(correction, nn.ModuleList):
        return nn.ModuleList(_Gain() for _ in correction), list(correction)
    return (nn.ModuleList(), []) if correction is None else (_Gain(), [correction])


@lru_cache(maxsize=64)
def _scheduled(entry: Algorithm, values: tuple[tuple[tuple[str, Any], ...], ...]) -> Any:
    """One step for equal values, so that it is traced once."""
    return schedule(entry, [dict(each) for each in values])


def _of_layer(part: nn.Module | None, k: int) -> nn.Module | None:
    """Module of one layer, of one for all or one for each."""
    return part[k] if isinstance(part, nn.ModuleList) else part


def _described(part: nn.Module | None, registry: Registry[type[nn.Module]]) -> Any:
    """What a module, or each of several, can be made again of; JSON."""
    if isinstance(part, nn.ModuleList):
        return [describe(module, registry) for module in part]
    return None if part is None else describe(part, registry)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
