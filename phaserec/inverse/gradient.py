"""Inversion of any representation that torch can differentiate, by L-BFGS on the waveform."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from phaserec._typing import Array, ArrayT, Seed
from phaserec._xp import as_array, as_int, check_finite, is_torch_array, to_numpy
from phaserec.starts.phases import as_rng


def by_gradient(
    representation: Callable[..., Array],
    target: ArrayT,
    length: int,
    *,
    n_iter: int = 100,
    init: Array | None = None,
    rng: Seed = None,
) -> ArrayT:
    """Waveform whose representation is nearest to a target, from a start.

    Minimises ``‖representation(x) − target‖²`` with L-BFGS (Nocedal & Wright, 2006, chapter 7) and
    a line search that never goes up; torch has to be installed. The minimum is a local one: begin
    with the sound of another inversion where there is one.

    Parameters
    ----------
    representation : callable
        Tensor ``(..., time)`` to a real tensor, with gradients.
    target : array
        What it is to be; numpy or torch, of the shape that ``representation`` gives.
    length : int
        Length of the waveforms in samples.
    n_iter : int, default 100
        Number of iterations at most.
    init : array, shape (..., length), optional
        Waveforms to begin with; default faint noise, one waveform.
    rng : Seed, optional
        Source of that noise.

    Returns
    -------
    array, shape (..., length)
        Waveforms, detached, with the library and precision of ``target``.

    Raises
    ------
    ValueError
        If an argument is not finite, or the shapes do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec.inverse import by_gradient
    >>> by_gradient(lambda x: 2 * x, np.array([2.0, 4.0]), 2, rng=0).round(4)
    array([1., 2.])
    """
    import torch  # an extra

    wanted: Any = as_array("target", target)
    numbers = not is_torch_array(wanted)
    wanted = torch.from_numpy(wanted) if numbers else wanted.detach()
    n_iter, length = as_int("n_iter", n_iter, 0), as_int("length", length, 1)
    check_finite(target=wanted)
    if init is None:
        noise: Any = as_rng(rng).random(length)
        start = torch.from_numpy(1e-2 * (np.asarray(noise) - 0.5))
    else:
        start = torch.from_numpy(np.array(to_numpy(as_array("init", init))))
        check_finite(init=start)
    if start.ndim < 1 or start.shape[-1] != length:
        raise ValueError(f"init of shape {tuple(start.shape)} must be (..., length={length})")
    x = start.to(wanted).requires_grad_()

    def found() -> Any:
        made = cast(Any, representation(x))
        if tuple(made.shape) != tuple(wanted.shape):
            raise ValueError(
                f"target of shape {tuple(wanted.shape)}, but the representation of {length} "
                f"samples has shape {tuple(made.shape)}"
            )
        return made

    optimizer: Any = torch.optim.LBFGS([x], max_iter=n_iter, line_search_fn="strong_wolfe")

    def error() -> Any:
        optimizer.zero_grad()
        loss: Any = torch.sum((found() - wanted) ** 2)
        loss.backward()
        return loss

    with torch.enable_grad():
        found()
        if n_iter:
            optimizer.step(error)
    result: Any = x.detach()
    check_finite(**{"the result": result})
    return cast(ArrayT, result.numpy() if numbers else result)
