"""Where an algorithm runs: on the fused kernel, or on the arrays.

Numba is not loaded here: what decides is the sentence alone, before any code is made of it.
"""

from phaserec.algorithms.registry import Algorithm
from phaserec.kernels.program import plan
from phaserec.kernels.trace import Untraceable, trace


def structural_reason(entry: Algorithm) -> str | None:
    """Why an algorithm cannot run on the fused kernel of CPUs, whatever the problem.

    Parameters
    ----------
    entry : Algorithm
        The algorithm; its hyper-parameters have their default values.

    Returns
    -------
    str or None
        What keeps it on the arrays; None where the kernel runs it.
    """
    try:
        loop, first = trace(entry, {h.name: h.default for h in entry.hyper})
        plan(loop, first, "random", True)
    except Untraceable as error:
        return str(error)
    return None
