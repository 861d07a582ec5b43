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

# All that is trained, in order: configuration and changes of it. Where the loss is SI-SDR and
# nothing mixes, masks come out at twice their size; sigmoid then gives them back at the right one.
DOUBLED = "model.magnitude.options.mask=doubled-sigmoid"


def layerless(epochs: int) -> list[str]:
    """K = 0: the network on the waveform, with the phase of the mixture."""
    return ["model.inversion=null", f"stages=[{{train: all, epochs: {epochs}}}]"]


STAGES = {
    "magnitude": ("magnitude.yaml", []),
    "endtoend": (
        "unfolded.yaml",
        [
            f"model.magnitude.weights={RUNS}/magnitude/best",
            f"data.train.speech={RUNS}/sounds/train/speech",
            f"data.train.noise={RUNS}/sounds/train/noise",
            "data.train.augment.speed=0.2",
            "optimizer.lr=6e-4",
            DOUBLED,
            *layerless(8),
        ],
    ),
    "natural": (
        "unfolded.yaml",
        [
            f"model.magnitude.weights={RUNS}/endtoend/best",
            "optimizer.lr=6e-4",
            DOUBLED,
            *layerless(13),
        ],
    ),
    "unfolded": ("unfolded.yaml", []),
    "ablation": ("unfolded.yaml", layerless(5)),
    "frozen": (
        "unfolded.yaml",
        [
            f"model.magnitude.weights={RUNS}/magnitude/best",
            "optimizer.lr=6e-4",
            "stages=[{train: inversion, epochs: 2}]",
            DOUBLED,
        ],
    ),
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
