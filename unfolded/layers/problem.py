"""What one layer shows its step function in place of a problem."""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from phaserec import Problem, projectors
from phaserec.problem import shares
from unfolded.layers.weights import MixingWeights


class LayerProblem:
    """What one layer shows its step function in place of the :class:`phaserec.Problem`.

    Everything that is not trained comes from the problem itself.

    Parameters
    ----------
    problem : Problem
        The problem.
    stft : STFT or LearnedSTFT
        Transform of the consistency projector.
    X : Tensor, shape (..., F, T), or None
        Spectrogram of the mixture in that transform.
    weights : MixingWeights, optional
        Correction of the mixing weights.
    magnitudes : Tensor, shape (..., J, F, T), optional
        Target magnitudes in place of those of the problem.
    keep : bool, default False
        Keep projections, so that asking once more for one costs nothing.
    """

    def __init__(
        self,
        problem: Problem,
        stft: Any,
        X: Tensor | None,
        weights: MixingWeights | None = None,
        magnitudes: Tensor | None = None,
        keep: bool = False,
    ) -> None:
        self._problem = problem
        self._X = X
        self._weights = weights
        self.stft = stft
        own = cast(Tensor, problem.magnitudes)
        self.magnitudes = own if magnitudes is None else magnitudes
        self.keep = keep
        self._known: list[tuple[Tensor, str, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # copying and pickling ask before _problem exists
        return getattr(self._problem, name)

    @property
    def X(self) -> Tensor:
        """Complex spectrogram of the mixture, ``(..., F, T)``."""
        self._problem.require_mixture()
        assert self._X is not None
        return self._X

    @property
    def mixing_weights(self) -> Tensor:
        """Λ of the soft mixing term with the layer's correction, ``(..., J, F, T)``."""
        refined = self.magnitudes is not self._problem.magnitudes
        own = shares(self.magnitudes) if refined else cast(Tensor, self._problem.mixing_weights)
        return own if self._weights is None else self._weights(own, self.magnitudes)

    def nearest(self, S: Tensor) -> Tensor:
        """Magnitudes that P_mag gives S: the layer's, ``(..., J, F, T)``."""
        return self.magnitudes

    def mag(self, S: Tensor) -> Tensor:
        """P_mag with the layer's magnitudes, ``(..., J, F, T)``."""
        return self._once("mag", S, lambda: projectors.magnitude(S, self.magnitudes))

    def cons(self, S: Tensor) -> Tensor:
        """P_cons with the layer's transform, ``(..., J, F, T)``."""
        p = self._problem
        return self._once(
            "cons", S, lambda: projectors.consistency(S, self.stft, p.length, p.lengths)
        )

    def _once(self, name: str, S: Tensor, project: Callable[[], Tensor]) -> Tensor:
        """A projection, kept since what corrects a layer asks for those of its iteration."""
        for given, known, result in self._known:
            if given is S and known == name:
                return result
        result = project()
        if self.keep:
            self._known.append((S, name, result))
        return result

    def waveforms(self, S: Tensor) -> Tensor:
        """Waveforms ``(..., J, time)`` by the layer's transform."""
        p = self._problem
        return self.stft.inverse(S, length=p.length, lengths=p.lengths)

    def mix(self, S: Tensor, weights: Any = None) -> Tensor:
        """P_mix: with the weights given, else with the corrected ``1/J``, ``(..., J, F, T)``."""
        if weights is None and self._weights is not None:
            n_sources = S.shape[-3]
            equal = self.magnitudes.new_full((n_sources, 1, 1), 1 / n_sources)
            weights = self._weights(equal, self.magnitudes)
        return projectors.mixing(S, self.X, weights)
