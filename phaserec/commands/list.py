"""``phaserec list``: the algorithms."""

from phaserec.algorithms import ALGORITHMS
from phaserec.solving import structural_reason


def run() -> None:
    """Print every algorithm with its hyper-parameters, source and machine."""
    for entry in ALGORITHMS.everything().values():
        hyper = " ".join(f"--{h.name.replace('_', '-')} {h.default}" for h in entry.hyper)
        reason = structural_reason(entry)
        print(f"{entry.name:<24}{hyper}")
        print(f"    {entry.summary}")
        print(f"    {entry.cite}" if entry.cite else "    (no source given)")
        print("    on the fused kernel" if reason is None else f"    on the arrays: {reason}")
