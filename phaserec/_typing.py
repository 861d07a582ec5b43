"""Types of signatures: arrays, starts, seeds, and what sentences are written against."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np


class Array(Protocol):
    """A numpy array or a torch tensor, float32 or float64, complex64 or complex128.

    Half precision, of either kind, is taken where arrays come in, and computed in float32.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Type of the numbers, as the library names it."""

    @property
    def device(self) -> Any:
        """Where the numbers are."""

    @property
    def real(self) -> Any:
        """Real part."""

    @property
    def imag(self) -> Any:
        """Imaginary part."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __abs__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=Array)
"""What goes in as numpy comes out as numpy, and torch as torch."""

Lengths: TypeAlias = Sequence[int] | Array | None
"""Valid samples of each item of a ragged batch."""

A = TypeVar("A")
"""What a spectrogram is: an array, a tensor, or a symbol of one."""


class Projectors(Protocol[A]):
    """What a sentence is written against: magnitudes, mixture and the three projectors.

    :class:`phaserec.Problem` is one; so are the symbols that the kernel traces, and a layer of an
    unfolded network. Spectrograms are ``(..., J, F, T)``, J sources of F frequencies and T frames.
    """

    @property
    def magnitudes(self) -> A:
        """Target magnitudes V, ``(..., J, F, T)``."""

    @property
    def X(self) -> A:
        """Complex spectrogram of the mixture, ``(..., F, T)``."""

    @property
    def mixing_weights(self) -> A:
        """Λ of the soft mixing term, ``(..., J, F, T)``, with sum 1 over the sources."""

    def mag(self, S: A, /) -> A:
        """P_mag: the nearest spectrogram with the target magnitudes, ``(..., J, F, T)``."""

    def cons(self, S: A, /) -> A:
        """P_cons: the nearest spectrogram of real signals, ``(..., J, F, T)``."""

    def mix(self, S: A, weights: A | None = None, /) -> A:
        """P_mix: sources that sum to the mixture, ``(..., J, F, T)``; Λ is 1/J by default."""


class Framed(Protocol):
    """What frames a transform has: what objectives and starts read of it."""

    @property
    def bin_weights(self) -> np.ndarray:
        """How often each bin counts in the full spectrum, ``(F, 1)``."""

    @property
    def n_fft(self) -> int:
        """Length of the transform in samples."""

    @property
    def hop_length(self) -> int:
        """Hop in samples."""

    @property
    def window_values(self) -> np.ndarray:
        """The window, ``(n_fft,)``."""

    def __hash__(self) -> int: ...


class Transform(Protocol):
    """A transform with its least-squares inverse."""

    def __call__(self, x: ArrayT, *, lengths: Lengths = None) -> ArrayT:
        """Spectrograms ``(..., F, T)`` of waveforms ``(..., time)``."""

    def inverse(self, S: ArrayT, *, length: int | None = None, lengths: Lengths = None) -> ArrayT:
        """Waveforms ``(..., time)`` whose transforms are nearest to ``(..., F, T)``."""


class Measurable(Projectors[A], Protocol[A]):
    """Projectors whose spectrograms can be measured: what objectives and starts also read."""

    def nearest(self, S: A, /) -> A:
        """Magnitudes that P_mag gives S, ``(..., J, F, T)``."""

    @property
    def stft(self) -> Framed:
        """The transform."""

    @property
    def mixture(self) -> A | None:
        """The mixture, as a waveform or a spectrogram; None where there is none."""


class Declares(Protocol):
    """What may declare the start that suits it: an algorithm."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def start(self) -> str | None:
        """Name of the start; None where the usual one of a problem will do."""


class Step(Protocol):
    """One iteration, ``step(S, p, **hyper) -> S``; with memory S is a tuple ``(S, *memory)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Objective(Protocol):
    """What an iteration minimises, ``objective(S, p, **hyper)``, one value per batch item."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Generator(Protocol):
    """``numpy.random.Generator`` or ``RandomState``, which numpy loads when they are named."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        """Random numbers in [0, 1)."""


class SeedSequence(Protocol):
    """``numpy.random.SeedSequence``."""

    def generate_state(self, n_words: int, /) -> np.ndarray:
        """Words that a generator is seeded with."""


class BitGenerator(Protocol):
    """``numpy.random.BitGenerator``, such as ``PCG64``."""

    def random_raw(self, /) -> Any:
        """Random bits."""


class TorchGenerator(Protocol):
    """``torch.Generator``."""

    @property
    def device(self) -> Any:
        """Where it draws."""

    def initial_seed(self) -> int:
        """What it was seeded with."""


class TorchType(Protocol):
    """A dtype of torch."""

    @property
    def is_floating_point(self) -> bool:
        """Whether it holds real numbers."""


Init: TypeAlias = str | Array | None
"""A start: its name, an initial spectrogram, or None for the usual one."""

Seed: TypeAlias = (
    int | Sequence[int] | SeedSequence | BitGenerator | Generator | TorchGenerator | None
)
"""Source of random phases: what ``numpy.random.default_rng`` takes, a RandomState, or a generator
of torch. None is a new one each time, or for tensors the default one of torch."""

Window: TypeAlias = (
    str
    | float
    | tuple[object, ...]
    | Sequence[float]
    | Array
    | Callable[[int], Sequence[float] | Array]
)
"""A window: as scipy names it, its values, or a function that makes them."""

Number: TypeAlias = float | Array
"""A real number, or an array of them that is trained or differs between bins."""

Value: TypeAlias = float | str | Array
"""A hyper-parameter: a number, a word, or an array of numbers."""

ArrayLike: TypeAlias = Array | Sequence[float] | Sequence[Sequence[float]]
"""Numbers that become a numpy array."""

DType: TypeAlias = str | type | np.dtype | TorchType
"""A dtype of numpy, by itself or by name, or of torch."""
