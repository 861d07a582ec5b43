"""Results are finite, or an error says why they are not."""

from typing import Any

import numpy as np

from phaserec._xp import Array, dtype_name, namespace, to_numpy


def check_result(
    values: Array, name: str, hyper: dict[str, Any], magnitudes: Array, mixture: Array | None
) -> None:
    """Raise ValueError, with the cause, if what an algorithm gave is not finite.

    Parameters
    ----------
    values : array
        Spectrograms or waveforms.
    name : str
        The algorithm's name.
    hyper : dict
        Its hyper-parameters.
    magnitudes, mixture : array or None
        What it was given.
    """
    xp = namespace(values)
    if bool(xp.all(xp.isfinite(values))):
        return
    kind = dtype_name(magnitudes)
    # Beyond the square root of the largest number a square overflows.
    limit = float(np.finfo(kind).max) ** 0.5
    for argument, given in (("magnitudes", magnitudes), ("mixture", mixture)):
        peak = 0.0 if given is None else float(np.abs(to_numpy(given)).max())
        if not peak <= limit:
            raise ValueError(
                f"{argument} reach {peak:.3g}, so that {name} overflows {kind}; scale magnitudes "
                "and mixture, for example to a largest value of 1"
            )
    numbers = {
        key: float(np.abs(to_numpy(value)).max()) if hasattr(value, "shape") else abs(value)
        for key, value in hyper.items()
        if not isinstance(value, str)
    }
    for key, largest in numbers.items():
        if largest > limit:
            raise ValueError(f"{key}={largest:.3g} is so large that {name} overflows {kind}")
    given = ", ".join(f"{key}={value:g}" for key, value in numbers.items()) or "its steps"
    raise ValueError(
        f"{name} diverged to values that are not finite in {kind}: with {given} it does not "
        "converge on these magnitudes; use smaller steps (mu, momentum) or another algorithm"
    )
