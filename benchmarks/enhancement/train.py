"""Train the speech-enhancement model that ships, and what it is compared with.

    python benchmarks/enhancement/train.py REAL_FOLDER [KEY=VALUE ...]

REAL_FOLDER holds ``speech/`` and ``noise/``. Everything is made under ``runs/enhancement``, and
what is there already is not made again. KEY=VALUE changes the configuration of every run, such as
``cpu=true``. Uses a GPU where there is one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNS = Path("runs/enhancement")

# Where the loss is SI-SDR and nothing mixes, masks come out at twice their size; sigmoid then gives
# them back at the right one.
DOUBLED = "model.estimator.options.mask=doubled-sigmoid"


def stage(start: str, rate: float, stages: str, *changes: str) -> tuple[str, list[str]]:
    """Configuration and changes of a run that starts from the magnitude network of another."""
    weights = f"model.estimator.weights={RUNS}/{start}/best"
    rates = [f"optimizer.lr={rate}", "optimizer.warmup=50", f"stages=[{{{stages}}}]"]
    return "unfolded.yaml", [weights, *rates, *changes]


# All that is trained, in order.
STAGES = {
    "magnitude": ("magnitude.yaml", []),
    "endtoend": stage(
        "magnitude",
        6e-4,
        "train: all, epochs: 8",
        "model.inversion=null",
        f"data.train.speech={RUNS}/sounds/train/speech",
        f"data.train.noise={RUNS}/sounds/train/noise",
        "data.train.augment.speed=0.2",
        DOUBLED,
    ),
    "natural": stage("endtoend", 6e-4, "train: all, epochs: 13", "model.inversion=null", DOUBLED),
    "unfolded": ("unfolded.yaml", []),
    "ablation": ("unfolded.yaml", ["model.inversion=null"]),
    "frozen": stage("magnitude", 6e-4, "train: inversion, epochs: 2", DOUBLED),
}


def run(*command: object) -> None:
    """Run a Python command, and stop where it fails."""
    print("+", *command, flush=True)
    subprocess.run([sys.executable, *map(str, command)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with speech/ and noise/")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for every run")
    given = parser.parse_args()
    if not (RUNS / "sounds").exists():
        run(HERE / "sounds.py", given.source, RUNS / "sounds.part")
        (RUNS / "sounds.part").rename(RUNS / "sounds")
    for name, (config, changes) in STAGES.items():
        state = RUNS / name / "state.pt"
        resume = ["--resume"] if state.exists() else []
        output = [f"output={RUNS / name}"]
        run(
            "-m",
            "unfolded.cli",
            "train",
            HERE / config,
            *output,
            *changes,
            *given.overrides,
            *resume,
        )
