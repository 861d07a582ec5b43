"""Streams: frames in, samples out, a bounded time later."""

from typing import Any, Literal

import numpy as np

from phaserec._typing import Seed, Value
from phaserec._xp import as_int
from phaserec.algorithms import AlgorithmLike, configure
from phaserec.algorithms.combinators import estimate
from phaserec.online.frames import forward_only
from phaserec.online.starts import STARTS, NewFrame
from phaserec.online.window import Past, Window
from phaserec.projectors import magnitude
from phaserec.starts.phases import as_rng
from phaserec.stft import STFT


class Stream:
    """Any registered algorithm on frames that come one after another.

    Each new frame gets a start; then the newest ``look_ahead + 1`` frames are iterated on, given
    what older ones have left, and the oldest of them is committed. With ``misi-mix-first`` that is
    online MISI (Magron & Virtanen, 2020), with ``griffin-lim`` real-time iterative spectrogram
    inversion with look-ahead (Zhu, Beauregard & Wyse, IEEE TASLP 2007), with
    ``fast-griffin-lim`` and others the framework of Peer, Welker & Gerkmann (ICASSP 2024).

    Parameters
    ----------
    algorithm : str or callable, default "misi-mix-first"
        Name or step function.
    n_iter : int, default 5
        Iterations for each new frame.
    look_ahead : int, default 0
        Frames that are waited for, L.
    stft : STFT
        Transform of the frames: centre padding with zeros, or none.
    start : str, default "auto"
        Phases of a new frame: ``"mixture"``, ``"overlap"`` (of what earlier frames have left on
        its samples), ``"rtpghi"``, ``"random"`` or ``"zero"``. By default that of the mixture, and
        ``"rtpghi"`` without one.
    commit : {"auto", "estimate", "magnitude"}, default "auto"
        Whether a frame is committed as the algorithm leaves it or with its target magnitude;
        by default with its magnitude where there is no mixture.
    dtype : dtype, default float32
        Precision of the waveforms, ``float32`` or ``float64``.
    rng : Seed, optional
        Source of random phases.
    **hyper
        Hyper-parameters of the algorithm.

    Attributes
    ----------
    latency : int
        Samples between one that comes in and the same one going out, ``n_fft + L · hop_length``.

    Raises
    ------
    ValueError
        For an unknown algorithm, hyper-parameter or start, or a transform that pads with copies.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec import STFT
    >>> from phaserec.online import Stream
    >>> stft = STFT(256)
    >>> sources = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    >>> V, X = abs(stft(sources)), stft(sources.sum(0))
    >>> stream = Stream("misi-mix-first", stft=stft, look_ahead=1)
    >>> pieces = [stream.push(V[..., t : t + 5], X[..., t : t + 5]) for t in range(0, 63, 5)]
    >>> np.concatenate([*pieces, stream.flush(4000)], -1).shape
    (2, 4000)
    """

    def __init__(
        self,
        algorithm: AlgorithmLike = "misi-mix-first",
        n_iter: int = 5,
        look_ahead: int = 0,
        *,
        stft: STFT,
        start: str = "auto",
        commit: Literal["auto", "estimate", "magnitude"] = "auto",
        dtype: Any = np.float32,
        rng: Seed = None,
        **hyper: Value,
    ) -> None:
        self.stft = forward_only(stft)
        self.algorithm = configure(algorithm, hyper)
        level = self.algorithm.level
        if isinstance(level, str):
            raise ValueError(
                f"level={level!r} is that of a whole recording, which a stream does not know; give "
                "a number, such as level=1 for samples in [-1, 1]"
            )
        self.n_iter = as_int("n_iter", n_iter, 0)
        self.look_ahead = as_int("look_ahead", look_ahead, 0)
        if 2 * stft.hop_length > stft.n_fft and stft.offset:
            raise ValueError(
                f"hop_length={stft.hop_length} must be at most half of n_fft={stft.n_fft} in a "
                "stream with centre padding; use a smaller one, or center=False"
            )
        name = start.replace("_", "-").lower()
        if name != "auto" and STARTS.find(name) is None:
            choices = ", ".join(map(repr, ["auto", *STARTS.everything()]))
            raise ValueError(f"start={start!r} is not one of {choices}{STARTS.near(name)}")
        self._start = name
        if commit not in ("auto", "estimate", "magnitude"):
            raise ValueError(f"commit={commit!r} must be auto, estimate or magnitude")
        self.commit = commit
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r} must be float32 or float64")
        self._seed = rng
        self._unit = 1.0 if level is None else float(np.asarray(level))
        self._stepper = self.algorithm.at_unit()
        self.reset()

    @property
    def latency(self) -> int:
        """Samples between one that comes in and the same one going out."""
        return self.stft.n_fft + self.look_ahead * self.stft.hop_length

    def reset(self) -> None:
        """Begin a new signal; a seed gives the same phases again."""
        self._past: Past | None = None
        self._new_frame: NewFrame | None = None
        self._given = self._out = 0

    def push(self, magnitudes: np.ndarray, mixture: np.ndarray | None = None) -> np.ndarray:
        """Samples that are final with these frames.

        Parameters
        ----------
        magnitudes : ndarray, shape (..., J, F, n)
            Target magnitudes of the next frames, of any number.
        mixture : ndarray, shape (..., F, n), optional
            Complex frames of the mixture.

        Returns
        -------
        ndarray, shape (..., J, samples)
            The next samples of each source.

        Raises
        ------
        ValueError
            If shapes or types do not fit the transform or what came before, or values are not
            finite.
        """
        V, X = self._checked(magnitudes, mixture)
        pieces = [V[..., 0, :0]]
        for t in range(V.shape[-1]):
            pieces.append(self._frame(V[..., t, None], None if X is None else X[..., t, None]))
        return np.concatenate(pieces, -1)

    def flush(self, length: int | None = None) -> np.ndarray:
        """The samples that are left, when no more frames come; then a new signal may begin.

        Parameters
        ----------
        length : int, optional
            Samples of the whole signal; default as many as :meth:`phaserec.STFT.inverse` gives.

        Returns
        -------
        ndarray, shape (..., J, samples)
            The rest: with what was pushed, ``length`` samples.

        Raises
        ------
        ValueError
            If nothing was pushed, or ``length`` disagrees with the number of frames.
        """
        if self._past is None:
            raise ValueError("flush() needs frames first; push() takes them")
        n_samples = self.stft.n_samples(self._given) if length is None else length
        length = self.stft.check_length(n_samples, self._given)
        pieces = []
        while self._S.shape[-1]:
            self._iterate(length)
            pieces.append(self._commit(length))
        begin = self._past.begin  # of what the last frames see beyond their hop
        rest = self._past.sums * self._past.gains(0, length)
        pieces.append(rest[..., max(-begin, 0) :])
        found = np.concatenate(pieces, -1)
        left = length - self._out
        missing = [(0, 0)] * (found.ndim - 1) + [(0, max(left - found.shape[-1], 0))]
        self.reset()
        return np.pad(found[..., :left], missing) * self._unit

    def _checked(
        self, magnitudes: np.ndarray, mixture: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Frames in the precision of the stream; the first ones tell its shape."""
        V = np.asarray(magnitudes)
        if V.ndim < 3 or V.dtype.kind != "f":
            raise ValueError(
                f"magnitudes are {V.dtype} of shape {V.shape}, expected real numbers "
                "(..., J, F, n); with one source J is 1"
            )
        self.stft.check_bins("magnitudes", V.shape[-2])
        if not np.isfinite(V).all() or (V < 0).any():
            raise ValueError("magnitudes must be finite and not negative")
        X = None if mixture is None else np.asarray(mixture)
        if X is not None:
            wanted = (*V.shape[:-3], *V.shape[-2:])
            if X.shape != wanted or X.dtype.kind != "c":
                raise ValueError(
                    f"mixture is {X.dtype} of shape {X.shape}, expected complex frames {wanted}"
                )
            if not np.isfinite(X).all():
                raise ValueError("mixture must be finite")
        if self._past is None:
            self._begin(V.shape[:-2], X is not None)
        elif self._lead != V.shape[:-2] or self._mixed != (X is not None):
            now, before = ("a" if mixed else "no" for mixed in (X is not None, self._mixed))
            raise ValueError(
                f"magnitudes have leading axes {V.shape[:-2]} and {now} mixture, before they had "
                f"{self._lead} and {before} mixture; reset() begins another signal"
            )
        kind = np.result_type(self.dtype, np.complex64)
        V = V.astype(self.dtype) / self._unit
        return V, None if X is None else X.astype(kind) / self._unit

    def _begin(self, lead: tuple[int, ...], mixed: bool) -> None:
        """Find the start and make room for a signal."""
        name = self._start
        if name == "auto":
            name = "mixture" if mixed else "rtpghi"
        if name == "mixture" and not mixed:
            raise ValueError(
                "start='mixture' needs frames of a mixture; give push() some, or use another "
                "start, such as 'rtpghi'"
            )
        kind = np.result_type(self.dtype, np.complex64)
        empty = np.zeros((*lead, self.stft.n_bins, 0), kind)
        self._lead, self._mixed = lead, mixed
        self._S, self._V, self._X = empty, empty.real, empty[..., 0, :, :]
        self._new_frame = STARTS[name](self.stft, as_rng(self._seed, empty.real))
        self._past = Past(self.stft, lead, self.dtype)

    def _frame(self, V: np.ndarray, X: np.ndarray | None) -> np.ndarray:
        """Take a frame; samples that are final."""
        assert self._past is not None and self._new_frame is not None
        seen = None if X is None else X[..., 0]
        new = self._new_frame(self._past, self._S, V[..., 0], seen)[..., None]
        self._S = np.concatenate([self._S, new.astype(self._S.dtype, copy=False)], -1)
        self._V = np.concatenate([self._V, V], -1)
        if X is not None:
            self._X = np.concatenate([self._X, X], -1)
        self._given += 1
        self._iterate(None)
        if self._S.shape[-1] <= self.look_ahead:
            return np.zeros((*self._lead, 0), self.dtype)
        done = self._commit(None)
        self._out += done.shape[-1]
        return done * self._unit

    def _iterate(self, length: int | None) -> None:
        """Iterations on the window; what an algorithm remembers begins anew with each frame."""
        assert self._past is not None
        window = Window(self._past, self._V, self._X if self._mixed else None, length)
        state = self._stepper.entry.initial_state(self._S)
        for _ in range(self.n_iter):
            state = self._stepper.step(state, window)
        self._S = estimate(state)

    def _commit(self, length: int | None) -> np.ndarray:
        """Commit the oldest frame; its samples, from the first of the signal on."""
        assert self._past is not None
        frame = self._S[..., 0]
        if self.commit == "magnitude" or (self.commit == "auto" and not self._mixed):
            frame = magnitude(frame, self._V[..., 0])
        begin = self._past.begin
        done = self._past.commit(frame, length)
        self._S, self._V, self._X = self._S[..., 1:], self._V[..., 1:], self._X[..., 1:]
        return done[..., max(-begin, 0) :]
