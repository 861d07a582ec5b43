"""Inversion algorithms unfolded into layers with trainable parameters.

A layer is one iteration: the step function of :mod:`phaserec`, unchanged, on a stand-in for the
problem whose mixing weights, magnitudes and transform may be trained.
"""

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from phaserec import STFT, Problem
from phaserec._typing import Projectors
from phaserec._xp import as_int
from phaserec.algorithms import (
    ALGORITHMS,
    Algorithm,
    Hyper,
    configure,
    momentum,
)
from phaserec.algorithms.combinators import estimate
from unfolded.layers.corrections import MagnitudeRefinement
from unfolded.layers.parameters import TrainedValue, is_trained
from unfolded.layers.problem import LayerProblem
from unfolded.layers.recompute import recomputed
from unfolded.nn.windows import LearnedSTFT

# Layers, and sources: beyond this nobody could wait for a network, or for its refusal.
_MOST = 1000


class Layer(nn.Module):
    """One iteration with its parameters."""

    def __init__(
        self,
        entry: Algorithm,
        accelerated: bool,
        known: tuple[Hyper, ...],
        hyper: dict[str, Any],
        shapes: dict[str, tuple[int, ...]],
        n_sources: int,
        refinement: MagnitudeRefinement | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.entry = entry
        self.accelerated = accelerated
        trained = {h.name: h for h in known if is_trained(h, hyper[h.name])}
        self.constants = {name: value for name, value in hyper.items() if name not in trained}
        self.hyper = nn.ModuleDict()
        for name, h in trained.items():
            assert h.range is not None
            value = TrainedValue(float(hyper[name]), h.range, shapes.get(name, ()), dtype)
            self.hyper[f"{name}_"] = value  # some names are attributes of ModuleDict
        self.logits = nn.Parameter(torch.zeros(n_sources, 1, 1, dtype=dtype))
        self.refinement = refinement

    def values(self) -> dict[str, Any]:
        """Hyper-parameters of the step by name: tensors, and constants."""
        return {name[:-1]: value() for name, value in self.hyper.items()} | self.constants

    def forward(self, state: Any, problem: Problem, stft: Any, X: Tensor | None) -> Any:
        V = cast(Tensor, problem.magnitudes)
        refined = None
        if self.refinement is not None:
            total = V.sum(-3) if X is None else X.abs()
            refined = self.refinement(V, estimate(state), total)
        stand_in: Projectors[Tensor] = LayerProblem(problem, stft, X, self.logits.to(V), refined)
        hyper = {k: v.to(V) if isinstance(v, Tensor) else v for k, v in self.values().items()}
        step = momentum(self.entry, hyper.pop("momentum")) if self.accelerated else self.entry.step
        return step(state, stand_in, **hyper)


class UnfoldedInversion(nn.Module):
    """An inversion algorithm as a network of K layers with trainable parameters.

    Untrained it equals :func:`phaserec.invert` with ``n_iter=n_layers``, for any algorithm. Each
    layer has its own hyper-parameters and mixing weights (unfolding: Gregor & LeCun, ICML 2010;
    of MISI: Wang et al., Interspeech 2018).

    Parameters
    ----------
    algorithm : str or callable
        Name or step function of the algorithm.
    n_layers : int
        Number of layers K.
    stft : STFT
        Transform of the spectrograms.
    n_sources : int
        Number of sources J.
    tied : bool, default False
        Share the parameters between all layers.
    sigma_per_frequency : bool, default False
        Train one σ a frequency, ``(F, 1)``, in place of one number.
    train_hyper : bool, default True
        Train the real hyper-parameters of the algorithm, within their ranges; whole numbers and
        words are constants.
    train_weights : bool, default True
        Train one logit a source, ``(J, 1, 1)``, that is added to the logarithm of the algorithm's
        own mixing weights before a softmax over sources.
    momentum : float, optional
        Accelerate the algorithm with momentum, trained from this value; for an algorithm with
        a momentum of its own, its start. The first layer's does not matter: a first iteration is
        a plain one.
    refine : bool, default False
        Let a small network correct the target magnitudes of each layer by at most a factor of
        eight, see :class:`MagnitudeRefinement`.
    sample_rate : float, optional
        Sample rate in Hz, which the bands of ``refine`` follow; nothing else needs it.
    learn_windows : bool, default False
        Train the windows of the transform, see :class:`~unfolded.nn.windows.LearnedSTFT`.
    checkpoint : bool, default False
        Keep about 2 √K states and compute the rest again in the backward pass, each layer twice.
    dtype : torch.dtype, optional
        Floating-point type of the parameters; default that of torch. The computation has the
        precision of the magnitudes.
    **hyper
        Hyper-parameters of the algorithm to start from; default its own.

    Raises
    ------
    ValueError
        For an unknown algorithm or hyper-parameter, a value out of range,
        ``sigma_per_frequency`` with an algorithm that has no σ, or ``refine`` without a sample
        rate.

    Notes
    -----
    Parameters that cannot change the output, such as the mixing weights of an algorithm that does
    not mix, do not require gradients. This is found by one run on noise, so it also holds for
    branches on a value: ``bregmisi`` with ``side="left"`` at exactly ``beta=1`` (or 0 in its
    objective) uses the limit, which does not depend on β.

    Examples
    --------
    >>> import torch
    >>> from phaserec import STFT
    >>> from unfolded import UnfoldedInversion
    >>> stft = STFT(256)
    >>> sources = torch.randn(2, 2000)
    >>> net = UnfoldedInversion("mag-incons-hard-mix", 3, stft=stft, n_sources=2, sigma=0.5)
    >>> net(stft(sources).abs(), sources.sum(0)).shape
    torch.Size([2, 2000])
    """

    def __init__(
        self,
        algorithm: Any,
        n_layers: int,
        *,
        stft: STFT,
        n_sources: int,
        tied: bool = False,
        sigma_per_frequency: bool = False,
        train_hyper: bool = True,
        train_weights: bool = True,
        momentum: float | None = None,
        refine: bool = False,
        sample_rate: float | None = None,
        learn_windows: bool = False,
        checkpoint: bool = False,
        dtype: torch.dtype | None = None,
        **hyper: Any,
    ) -> None:
        super().__init__()
        self.n_layers = as_int("n_layers", n_layers, 1, _MOST)
        self.n_sources = as_int("n_sources", n_sources, 1, _MOST)
        self.stft = stft
        self.checkpoint = checkpoint
        start = hyper | ({} if momentum is None else {"momentum": momentum})
        self.entry = configure(algorithm, start).base
        self._registered = ALGORITHMS.get(self.entry.name) == self.entry
        self._accelerated = momentum is not None and not self.entry.has_momentum
        known = self.entry.known if self._accelerated else self.entry.hyper
        values = {h.name: h.default for h in known} | start
        if sigma_per_frequency and "sigma" not in values:
            raise ValueError(
                f"sigma_per_frequency=True needs an algorithm with a hyper-parameter sigma; "
                f"{self.entry.name} has {', '.join(values) or 'none'}"
            )
        if refine and sample_rate is None:
            raise ValueError("refine=True corrects bands of frequencies and needs a sample_rate")
        if sample_rate is not None and not 0 < sample_rate < math.inf:
            raise ValueError(f"sample_rate={sample_rate!r} must be positive, in Hz")
        self.sample_rate = sample_rate
        self._config = {
            "algorithm": self.entry.name,
            "n_layers": self.n_layers,
            "n_sources": self.n_sources,
            "tied": tied,
            "sigma_per_frequency": sigma_per_frequency,
            "train_hyper": train_hyper,
            "train_weights": train_weights,
            "momentum": momentum,
            "refine": refine,
            "sample_rate": sample_rate,
            "learn_windows": learn_windows,
            "checkpoint": checkpoint,
            **hyper,
        }
        shapes: dict[str, tuple[int, ...]] = {}
        if sigma_per_frequency:
            shapes["sigma"] = (stft.n_bins, 1)
        n_sources, entry, accelerated = self.n_sources, self.entry, self._accelerated

        def refinement() -> MagnitudeRefinement | None:
            if not refine or sample_rate is None:
                return None
            return MagnitudeRefinement(n_sources, stft.n_fft, sample_rate, dtype=dtype)

        self.layers = nn.ModuleList(
            Layer(entry, accelerated, known, values, shapes, n_sources, refinement(), dtype)
            for _ in range(1 if tied else self.n_layers)
        )
        self.transform = LearnedSTFT(stft, dtype=dtype) if learn_windows else None
        for layer in self.layers:
            layer.hyper.requires_grad_(train_hyper)
            layer.logits.requires_grad_(train_weights)
        self._freeze_unreached()

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that rebuild the network with ``UnfoldedInversion(**config, stft=stft)``.

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
        return dict(self._config)

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
        shorter.n_layers = n_layers
        shorter._config = self._config | {"n_layers": n_layers}
        return shorter

    def extra_repr(self) -> str:
        """Algorithm and size, for printing."""
        return f"{self.entry.name!r}, n_layers={self.n_layers}, n_sources={self.n_sources}"

    def forward(
        self,
        magnitudes: Tensor,
        mixture: Tensor | None = None,
        init: Any = None,
        *,
        length: int | None = None,
        lengths: Any = None,
        rng: Any = None,
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
        S = self._run(problem, init, rng)
        return self._transform.inverse(S, length=problem.length, lengths=problem.lengths)

    def spectrogram(
        self,
        magnitudes: Tensor,
        mixture: Tensor | None = None,
        init: Any = None,
        *,
        length: int | None = None,
        lengths: Any = None,
        rng: Any = None,
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
        S = self._run(problem, init, rng)
        return S

    @property
    def _transform(self) -> Any:
        return self.stft if self.transform is None else self.transform

    def _problem(
        self, magnitudes: Tensor, mixture: Tensor | None, length: int | None, lengths: Any
    ) -> Problem:
        if magnitudes.ndim < 3 or magnitudes.shape[-3] != self.n_sources:
            raise ValueError(
                f"magnitudes of shape {tuple(magnitudes.shape)} must be (..., J, F, T) with "
                f"J = n_sources = {self.n_sources}"
            )
        return Problem(magnitudes, mixture, stft=self.stft, length=length, lengths=lengths)

    def _run(self, problem: Problem, init: Any, rng: Any) -> Tensor:
        """Spectrogram after the last layer."""
        mixture = cast(Tensor | None, problem.mixture)
        X = None if mixture is None else problem.X
        if mixture is not None and self.transform is not None and not mixture.is_complex():
            X = self.transform(
                self.stft.restrict(mixture, problem.lengths), lengths=problem.lengths
            )
        _ = problem.mixing_weights  # cached before a layer is computed a second time
        S = problem.start(init, rng)
        state = (S, None, None) if self._accelerated else self.entry.start(S)
        if self.checkpoint and torch.is_grad_enabled():
            # Segments of √K layers (Chen et al. 2016): only the states between them, and in the
            # backward pass those within one of them, are kept.
            size = max(math.isqrt(self.n_layers), 1)
            for first in range(0, self.n_layers, size):
                segment = range(first, min(first + size, self.n_layers))
                state = recomputed(self._segment, state, segment, problem, X)
        else:
            for k in range(self.n_layers):
                state = self._layer(state, k, problem, X)
        return estimate(state)

    def _layer(self, state: Any, k: int, problem: Problem, X: Any) -> Any:
        return self.layers[k % len(self.layers)](state, problem, self._transform, X)

    def _segment(self, state: Any, segment: range, problem: Problem, X: Any) -> Any:
        for k in segment:
            state = recomputed(self._layer, state, k, problem, X)
        return state

    def _freeze_unreached(self) -> None:
        """Stop training what the output does not depend on, found by a run on noise."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not parameters:
            return
        generator = torch.Generator().manual_seed(0)
        length = self.stft.n_fft + 2 * self.stft.hop_length
        sources = torch.randn(self.n_sources, length, generator=generator).to(parameters[0])
        gradients: Any = [None] * len(parameters)
        with torch.enable_grad():  # whoever loads a model for inference has turned it off
            problem = Problem(self.stft(sources).abs(), sources.sum(0), stft=self.stft)
            S = self._run(problem, None, None)
            energy = self._transform.inverse(S, length=length).square().sum()
            if energy.requires_grad:
                gradients = torch.autograd.grad(energy, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
