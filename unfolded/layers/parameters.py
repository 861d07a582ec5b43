"""What layers train, declared by name and axes: hyper-parameters inside their ranges."""

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from phaserec._words import suggestion
from phaserec.algorithms import Hyper, Range
from unfolded.layers.weights import MixingWeights

AXES = ("layer", "frequency", "source")
"""What a trained parameter may have a value for each of."""

WEIGHTS = "weights"
"""Name of the mixing weights among what is trained."""

Trainable = Mapping[str, str | bool | None]


def declared(
    trainable: Trainable | None, known: Sequence[Hyper], values: Mapping[str, Any]
) -> dict[str, frozenset[str]]:
    """Axes of what is trained, by name.

    Parameters
    ----------
    trainable : dict of str to str, or None
        As :class:`unfolded.UnfoldedInversion` takes it.
    known : sequence of Hyper
        Hyper-parameters of the algorithm.
    values : dict
        Their values; words are not trained.

    Returns
    -------
    dict of str to frozenset of str
        Axes by name.

    Raises
    ------
    ValueError
        For an unknown name or axis, or a hyper-parameter that is no real number.
    """
    numbers = [h for h in known if h.range is not None and not isinstance(values[h.name], str)]
    real = [h.name for h in numbers if h.kind is float]
    if trainable is None:
        return {name: frozenset({"layer"}) for name in real}
    if not isinstance(trainable, Mapping):
        raise ValueError(f"trainable={trainable!r} must be a dict of names and axes")
    found = {}
    for name, axes in trainable.items():
        if name not in (*real, WEIGHTS):
            fixed = [h.name for h in known if h.name not in real]
            why = "is no real number" if name in fixed else "is not one of the algorithm"
            raise ValueError(
                f"trainable: {name!r} {why}; it has {', '.join((*real, WEIGHTS))}"
                + suggestion(str(name), (*real, WEIGHTS))
            )
        if axes is not None and axes is not False:
            found[name] = _axes(name, axes)
    return found


def _axes(name: str, axes: str | bool) -> frozenset[str]:
    words = ["layer"] if axes is True else str(axes).replace(",", " ").split()
    for word in words:
        if word not in AXES:
            raise ValueError(
                f"trainable: {name}={axes!r} must be names of axes with commas, out of "
                f"{', '.join(AXES)}{suggestion(word, AXES)}"
            )
    return frozenset(words)


def in_words(axes: Set[str]) -> str:
    """Axes as they are declared, in their order."""
    return ",".join(axis for axis in AXES if axis in axes)


class TrainedValue(nn.Module):
    """A number that is trained inside its range, starting at exactly the value given.

    With a lower bound it is ``low + scale · |raw|``; the scale is the distance of the start from
    the bound (1 for a start on it), so a step of an optimiser is relative to the start. The slope
    at ``raw = 0`` is taken as 1, hence a start at the bound is trained like any other.

    Parameters
    ----------
    start : float
        Value at first.
    allowed : Range
        Its range.
    shape : tuple of int
        Shape of the values.
    dtype : torch.dtype or None
        Floating-point type of the parameter.
    """

    def __init__(self, start: float, allowed: Range, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__()
        self.low, self.high = allowed.low, allowed.high
        bounded = self.low > -math.inf
        distance = start - self.low if bounded else start
        scale = distance if bounded and distance > 0 else 1.0
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=dtype))
        self.raw = nn.Parameter(torch.full(shape, distance / scale, dtype=dtype))

    def forward(self) -> Tensor:
        """Values."""
        value: Tensor = self.raw
        if self.low > -math.inf:
            value = self.low + self.scale * torch.where(value >= 0, value, -value)
        return value.clamp(max=self.high) if self.high < math.inf else value


class Parameters(nn.Module):
    """Trained hyper-parameters and mixing weights, of one layer or of all.

    Parameters
    ----------
    axes : dict of str to set of str
        Axes of what is trained here, by name.
    starts : dict of str to float
        Values at first.
    ranges : dict of str to Range
        Ranges of the hyper-parameters.
    n_bins : int
        Number of frequencies F.
    n_sources : int or None
        Number of sources J, for the axis ``source``.
    dtype : torch.dtype or None
        Floating-point type of the parameters.
    """

    def __init__(
        self,
        axes: Mapping[str, Set[str]],
        starts: Mapping[str, Any],
        ranges: Mapping[str, Range],
        n_bins: int,
        n_sources: int | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.hyper = nn.ModuleDict()
        self.weights: MixingWeights | None = None
        for name, over in axes.items():
            if name == WEIGHTS:
                self.weights = MixingWeights(over, n_bins, n_sources, dtype)
                continue
            shape = (n_bins if "frequency" in over else 1, 1) if over - {"layer"} else ()
            if "source" in over and n_sources is not None:
                shape = (n_sources, *shape)
            value = TrainedValue(float(starts[name]), ranges[name], shape, dtype)
            self.hyper[f"{name}_"] = value  # some names are attributes of ModuleDict

    def values(self) -> dict[str, Tensor]:
        """Hyper-parameters by name."""
        return {name[:-1]: value() for name, value in self.hyper.items()}
