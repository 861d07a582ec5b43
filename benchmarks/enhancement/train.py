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

# Each starts from the magnitude network of the first.
STAGES = {
    "magnitude": ("magnitude.yaml", []),
    "frozen": ("unfolded.yaml", ["stages.0.train=inversion", "stages.0.epochs=2"]),
    "unfolded": ("unfolded.yaml", []),
    "ablation": ("unfolded.yaml", ["model.inversion=null"]),
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
