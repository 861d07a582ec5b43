"""Random files, options and configurations: exit codes, one line, finite results, nothing left.

A case is made of its seed alone, so a failure is that of ``run_case(<seed>)`` again. Short runs by
default; ``-m slow`` for long ones, of ``PHASEREC_FUZZ`` cases a block.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, audio
from phaserec.cli import main as phaserec_main
from phaserec.corpus import workers
from phaserec.evaluation import scoring

torch = pytest.importorskip("torch")

from accelerate.state import AcceleratorState  # noqa: E402

from unfolded import GRUMasks, Separator, UnfoldedInversion  # noqa: E402
from unfolded.cli import main as unfolded_main  # noqa: E402

PROGRAMS = {"phaserec": phaserec_main, "unfolded": unfolded_main}
CODES = (0, 1, 2, 130)
SECONDS = 60  # of a case at most
CASES = int(os.environ.get("PHASEREC_FUZZ", "500"))
RATE = 8000

CONFIG = """
output: run
cpu: true
data: {train: {kind: synthetic, items: 4, seconds: 0.05}, sample_rate: 2000, batch_size: 4}
model:
  stft: {n_fft: 16}
  estimator: {options: {hidden: 4, n_bands: 5, n_layers: 1}}
  inversion: {algorithm: misi, n_layers: 1}
stages: [{train: all, epochs: 1}]
"""
PRESET = {
    "kind": "phaserec preset",
    "format": 1,
    "algorithm": "aux",
    "n_iter": 1,
    "hyper": {"sigma": 0.5},
    "stft": {"n_fft": 64, "window": "hann", "center": True, "pad_mode": "constant"},
    "tuning": {"files": {}},
}
ODD = [
    *[None, True, False, 0, -1, 1, 2, 0.5, 10**6, 10**10, 2**63, 10**30, 1e308, float("inf")],
    *["", "x", "../x", "=cmd", "nan", [], [1], [[1]], {}, {"a": 1}, float("nan"), "a" * 5000],
]


# The folder of a session ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder ``in`` with files of all kinds, good and bad ones."""
    root = tmp_path_factory.mktemp("fuzz")
    place = root / "in"
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((2, 1500))
    waves = {
        "mix": x.sum(0),
        "a": x[0],
        "b": x[1],
        "stereo": x.T,
        "short": x[0, :7],
        "one": x[0, :1],
        "silent": 0 * x[0],
        "loud": 1e20 * x[0],
        "tiny": 1e-30 * x[0],
        "nan": np.nan * x[0],
        "none": x[0, :0],
        "other-rate": x[0],
    }
    for folder in ("", "truth/", "guess/", "item/", "mixes/item/", "pairs/clean/", "pairs/noisy/"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    for name, samples in waves.items():
        rate = 11025 if name == "other-rate" else RATE
        soundfile.write(place / f"{name}.wav", samples, rate, subtype="FLOAT")
    for folder in ("truth", "guess"):
        for name in ("a", "b", "silent", "=cmd"):
            shutil.copy(place / f"{'a' if name[0] == '=' else name}.wav", place / folder)
            shutil.copy(place / "a.wav", place / folder / f"{name}.wav")
    for name in ("mix", "a", "b"):
        shutil.copy(place / f"{name}.wav", place / "mixes/item")
    for kind in ("clean", "noisy"):
        shutil.copy(place / "a.wav", place / "pairs" / kind)
    soundfile.write(place / "a.flac", x[0], RATE)
    soundfile.write(place / "a.ogg", x[0], RATE)
    (place / "empty.wav").write_bytes(b"")
    (place / "text.wav").write_text("no audio")
    (place / "link.wav").symlink_to(place / "a.wav")
    V = np.abs(STFT(64)(x)).astype("f4")
    arrays = {
        "m": {"magnitudes": V, "n_fft": 64, "rate": RATE},
        "named": {"v": V[0], "w": V[1], "n_fft": 64, "sr": RATE},
        "alone": {"magnitudes": V},
        "evil": {"../../x": V[0], "n_fft": 64, "rate": RATE},
        "rate": {"v": V[0], "n_fft": 64, "rate": 2**40},
        "negative": {"v": -V[0], "n_fft": 64, "rate": RATE},
        "nan": {"v": V[0] * np.nan, "n_fft": 64, "rate": RATE},
        "huge": {"v": V[0] * np.float32(1e38), "n_fft": 64, "rate": RATE},
        "words": {"v": np.array(["x"]), "n_fft": 64, "rate": RATE},
        "mel": {"v": np.ones((80, 5)), "rate": RATE},
        "shapes": {"v": V[0], "w": V[1][:, 1:], "n_fft": 64, "rate": RATE},
        "none": {},
    }
    for name, contents in arrays.items():
        np.savez_compressed(place / f"{name}.npz", **contents)
    np.save(place / "m.npy", V)
    (place / "p.json").write_text(json.dumps(PRESET))
    (place / "c.yaml").write_text(CONFIG)
    torch.manual_seed(0)
    stft = STFT(64)
    network = GRUMasks(2, stft=stft, sample_rate=RATE, hidden=4, n_bands=8)
    inversion = UnfoldedInversion("misi", 1, stft=stft, n_sources=2)
    Separator(network, inversion).save_pretrained(place / "model")
    return root


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Nothing is compiled, and items are scored in this process."""
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")

    def run_ordered(function, items, *, jobs=None):
        workers.run_ordered(function, [], jobs=jobs)  # checks the number
        return (workers._attempt(function, item) for item in items)

    monkeypatch.setattr(scoring, "run_ordered", run_ordered)


# Cases ----------------------------------------------------------------------------------------


class Case:
    """A random command in the folder ``work`` beside ``in``."""

    def __init__(self, seed, costly):
        self.rng = random.Random(seed)
        self.costly = costly
        self.evil = self.rng.choice([0, 0.03, 0.15])  # how often something is wrong
        makers = [self.invert, self.evaluate, self.tune, self.separate, self.export, self.score]
        makers += [self.train, self.page, self.nonsense]
        make = self.rng.choices(makers, [40, 12, 6, 15, 1, 5, 3, 0.5, 4])[0]
        self.program = "phaserec"
        self.args = [str(word) for word in make()]

    def wrong(self):
        """Whether something is to be wrong now."""
        return self.rng.random() < self.evil

    def pick(self, good, bad):
        """A good value, or seldom a bad one."""
        return self.rng.choice(bad if self.wrong() else good)

    def maybe(self, option, good, bad, p=0.25):
        """An option with its value, or nothing."""
        return [option, self.pick(good, bad)] if self.rng.random() < p else []

    def file(self, good, suffix):
        """A file of a kind, another one, or a damaged copy in the folder of the case."""
        every = sorted(path for path in Path("../in").rglob("*") if path.suffix == suffix)
        path = Path("../in", self.rng.choice(good))
        if self.wrong():
            path = self.rng.choice([*every, Path("gone" + suffix), Path("../in"), Path("..")])
        if self.wrong() and path.is_file():
            path = self.damaged(path)
        return path

    def damaged(self, path):
        """A copy with some bytes cut, changed, repeated or taken away."""
        content = bytearray(path.read_bytes())
        for _ in range(self.rng.choice([1, 1, 3, 20])):
            at = self.rng.randrange(len(content) + 1)
            how = self.rng.randrange(5)
            if how == 0:
                content = content[:at]
            elif how == 1:
                content[at : at + 1] = bytes([self.rng.randrange(256)])
            elif how == 2:
                content[at : at + 4] = self.rng.choice([b"\xff\xff\xff\x7f", bytes(4), b"\xff" * 4])
            elif how == 3:
                content[at:at] = content[at : at + 100]
            else:
                del content[at : at + self.rng.randrange(100)]
        path = Path(f"damaged{path.suffix}")
        path.write_bytes(content)
        return path

    def changed(self, tree):
        """A tree of settings with an odd value in some places, or with one missing."""
        for _ in range(self.rng.choice([1, 1, 2])):
            node = tree
            while isinstance(node, dict) and node:
                key = self.rng.choice(list(node))
                if isinstance(node[key], dict) and node[key] and self.rng.random() < 0.8:
                    node = node[key]
                    continue
                if self.rng.random() < 0.1:
                    del node[key]
                else:
                    node[key] = self.rng.choice(ODD)
                break
        return tree

    def preset(self):
        if not self.wrong() and self.rng.random() < 0.7:
            return self.file(["p.json"], ".json")
        Path("changed.json").write_text(json.dumps(self.changed(json.loads(json.dumps(PRESET)))))
        return "changed.json"

    def transform(self):
        return [
            *self.maybe("--n-fft", [64, 65, 128, 512, 1024], [0, -1, 1, 10**10, 10**30, "x"]),
            *self.maybe("--hop-length", [16, 32, 100], [0, -1, 10**10, "nan"], 0.15),
            *self.maybe("--win-length", [64, 48], [0, 10**10, ""], 0.15),
            *self.maybe(
                "--window", ["hann", "blackman", "rect"], ["", "x", "kaiser", "tukey"], 0.1
            ),
            *self.maybe("--pad-mode", ["reflect", "edge", "wrap"], ["x", ""], 0.15),
        ]

    def hyper(self, entry=None):
        """Hyper-parameters, mostly of an algorithm."""
        names = ["sigma", "tau", "rho", "mu", "beta", "mixing", "side", "turns"]
        known = {h.name: h for h in entry.known} if entry else {}
        words = []
        for name in self.rng.sample(sorted(known) or names, self.rng.choice([0, 0, 1])):
            name = self.rng.choice(names) if self.wrong() else name
            good = [0.1, 0.5, 1, 2, "1e-30", 0]
            if name in known and known[name].allowed:
                good = list(known[name].allowed)
            bad = [-1, "nan", "inf", "x", "", "1e400", "soft", "1e30"]
            words += [f"--{name.replace('_', '-')}", self.pick(good, bad)]
        return words

    def invert(self):
        from phaserec.algorithms import ALGORITHMS

        alone = self.rng.random() < 0.4
        entry = self.rng.choice(list(ALGORITHMS.everything().values()))
        if alone:
            entry = self.rng.choice([ALGORITHMS["griffin-lim"], ALGORITHMS["raar"], entry])
            kinds = self.rng.choice([["m.npz", "named.npz", "huge.npz"], ["m.npy"]])
            inputs = ["--magnitudes", self.file(kinds, Path(kinds[0]).suffix)]
            if kinds == ["m.npy"] or self.wrong():
                inputs += ["--rate", self.pick([RATE], [0, -1, 2**31, "inf", 10**30])]
                inputs += ["--n-fft", self.pick([64], [0, 66, 10**10])]
            inputs += self.maybe("--length", [1500, 1503], [0, -1, 10**12], 0.1)
        else:
            wav = ["mix.wav", "a.wav", "b.wav", "silent.wav", "tiny.wav"]
            count = self.rng.choice([2, 2, 3])
            inputs = [self.file([*wav, "loud.wav"], ".wav"), "--estimates"]
            inputs += [self.file([*wav, "link.wav"], ".wav") for _ in range(count)]
            if self.rng.random() < 0.3:
                inputs += ["--references", *(self.file(wav, ".wav") for _ in range(count))]
            elif self.rng.random() < 0.2:
                inputs += ["--remainder"]
            inputs += self.transform()
        single = ["out.wav", "deep/out.flac", "out.ogg", "out.aiff", os.devnull]
        output = self.pick(["out", "deep/out", "-"], [*single, ".", inputs[int(alone)], ""])
        return [
            "invert",
            *inputs,
            *["--algo", self.pick([entry.name], ["x", "", "AUX", "misi:"])],
            *["--n-iter", self.pick([0, 1, 2, 3], [-1, 10**30, "1e3", ""])],
            *self.hyper(entry),
            *(["--preset", self.preset()] if self.rng.random() < 0.2 else []),
            *self.maybe("--init", ["random", "zero"], ["estimates", "mixture", "x"], 0.2),
            *self.maybe("--seed", [0, 1], [-1, 10**30, "x"], 0.2),
            *self.maybe("--device", ["cpu", "cpu:0"], ["meta", "cuda", "x", ""], 0.1),
            *self.maybe("--subtype", ["PCM_16", "FLOAT", "ULAW", "PCM_U8"], ["x", "MPEG"], 0.2),
            *["-o", output],
            *self.flag("--trace", 0.1),
            *self.flag("--no-overwrite", 0.1),
            *(["--report", "page.html"] if self.costly and self.rng.random() < 0.01 else []),
        ]

    def flag(self, name, p):
        return [name] if self.rng.random() < p else []

    def evaluate(self):
        files = ["a.wav", "b.wav", "mix.wav", "silent.wav", "tiny.wav"]
        folders = self.rng.random() < 0.5
        first = self.file(["truth", "mixes"] if folders else files, ".wav")
        second = self.file([first.name if first.is_dir() else "a.wav"], ".wav")
        mixture = ["mix.wav"] if first.name != "truth" else ["truth"]
        metrics = ["si-sdr", "sdr,snr", "spectral-convergence", "snr,si-sdr"]
        return [
            "evaluate",
            *[first, self.pick([second], [Path("gone"), Path("../in/guess")])],
            *self.maybe("--metrics", metrics, ["", "x", ",", "si-sdri"], 0.4),
            *(["--mixture", self.file(mixture, ".wav")] if self.coin() else []),
            *self.maybe("--layout", ["files"], ["folders", "speakers", "x"], 0.2),
            *(["--target", self.rng.choice(["a", "", "../a"])] if self.wrong() else []),
            *(["--permute"] if self.wrong() else []),
            *self.maybe("--csv", ["t.csv", "deep/t.csv"], [first, ".", ""], 0.4),
            *self.maybe("--json", ["t.json", os.devnull], ["t.csv", first], 0.4),
            *self.maybe("--jobs", [1, 2, 10**6], [0, -1, "x"], 0.3),
            *self.maybe("--rate", [RATE, 4000], [0, -1, 2**31, "inf"], 0.2),
            *self.maybe("--n-fft", [64, 1024], [0, 10**10], 0.2),
            *self.maybe("--hop-length", [16], [0, -1, 10**10, 10**30], 0.2),
        ]

    def coin(self):
        return self.rng.random() < 0.3

    def tune(self):
        return [
            "tune",
            self.pick(["../in/mixes"], ["../in/truth", "../in", "gone", "../in/a.wav"]),
            *["--n-iter", self.pick([0, 1, 2], [-1, 10**14, "x"])],
            *["--sigma", self.pick(["0,0.1", "1"], ["", "nan", "-1", ",", "x"])],
            *self.maybe("--algo", ["aux", "aux,misi"], ["x", "", ","], 0.3),
            *self.maybe("--strategy", ["grid", "halving"], ["x", ""], 0.3),
            *self.maybe("--score", ["si-sdr", "snr"], ["x", "", "bss-sdr"], 0.3),
            *self.maybe("--source", ["a"], ["x", ""], 0.2),
            *self.maybe("--statistic", ["mean", "median"], ["x"], 0.2),
            *self.maybe("--test", ["../in/mixes"], ["gone", "../in"], 0.1),
            *self.transform(),
            *["--jobs", self.pick([1], [0, -1])],
            *["-o", self.pick(["preset.json"], ["../in/mixes/item/a.wav", ".", "x/", ""])],
        ]

    def page(self):
        if not self.costly:
            return ["report", "-o", self.rng.choice([".", "../in", ""])]
        files = ["../in/mix.wav", "--estimates", "../in/a.wav", "../in/b.wav"]
        return ["report", *files, "--n-iter", 1, *self.hyper(), "-o", "page.html"]

    def nonsense(self):
        words = ["invert", "tune", "evaluate", "list", "--help", "-h", "--version", "--debug=1"]
        words += [
            "",
            "-",
            "--",
            "-o",
            "\x00",
            "ä",
            "💥",
            "--estimates",
            "--n-iter",
            "=",
            "a" * 9999,
        ]
        self.program = self.rng.choice(list(PROGRAMS))
        return [self.rng.choice(words) for _ in range(self.rng.randrange(5))]

    def model(self):
        """The model, or one whose configuration or weights are not right."""
        if not self.wrong() and self.rng.random() < 0.7:
            return "../in/model"
        shutil.copytree("../in/model", "model")
        if self.rng.random() < 0.3:
            shutil.move(self.damaged(Path("model/model.safetensors")), "model/model.safetensors")
        else:
            path = Path("model/config.json")
            path.write_text(json.dumps(self.changed(json.loads(path.read_text()))))
        return "model"

    def separate(self):
        self.program = "unfolded"
        wav = ["a.wav", "stereo.wav", "silent.wav", "short.wav", "tiny.wav", "other-rate.wav"]
        return [
            "separate",
            *[self.file(wav, ".wav") for _ in range(self.rng.choice([1, 1, 2]))],
            *["--model", self.model()],
            *["-o", self.pick(["out"], ["../in/a.wav", "../in/model/config.json", ""])],
            *self.maybe("--chunk", [60, 0.1], [0, -1, "1e-9", "nan", "inf", "1e300", "x"]),
            *self.maybe("--subtype", ["PCM_16", "ULAW"], ["x", ""], 0.2),
            *self.maybe("--device", ["cpu"], ["meta", "x", ""], 0.1),
        ]

    def score(self):
        self.program = "unfolded"
        return [
            *["evaluate", self.pick(["../in/pairs"], ["gone", "../in", "../in/a.wav"])],
            *["--model", self.model()],
            *self.maybe("--target", ["source1"], ["x", ""]),
            *self.maybe("--metrics", ["snr", "sdr,sdri"], ["x", ""]),
            *self.maybe("--csv", ["t.csv"], ["../in/pairs/clean/a.wav", "."]),
        ]

    def export(self):
        self.program = "unfolded"
        frames, channels = (2, 3) if self.costly else (0, "x")
        return [
            *["export", "net.pt2", "--model", self.model()],
            *["--frames", self.pick([frames], [0, -1, 10**13, "x"])],
            *["--channels", self.pick([channels], [0, -1, 10**13])],
        ]

    def train(self):
        self.program = "unfolded"
        AcceleratorState._reset_state(True)
        keys = ["seed", "output", "precision", "save_every", "data.workers", "data.batch_size"]
        keys += ["data.sample_rate", "data.train.kind", "data.train.seconds", "model.stft.n_fft"]
        keys += ["model.inversion.n_layers", "model.estimator.options.hidden", "stages", "stages.0"]
        keys += ["loss.terms", "optimizer.lr", "optimizer.betas", "model.inversion.hyper.sigma"]
        values = [
            "-1",
            "0",
            ".nan",
            ".inf",
            "[]",
            "{}",
            "x",
            "10000000000",
            "[[1]]",
            "null",
            "1e999",
        ]
        values += ["&a [*a]", "{a: 1}", "'", "[" * 5000, "", "../in/a.wav"]
        path = self.file(["c.yaml"], ".yaml")
        changes = [f"{self.rng.choice(keys)}={self.rng.choice(values)}"]
        if self.costly and self.rng.random() < 0.1:
            changes = []
        return ["train", path, *changes, *self.flag("--resume", 0.1)]


class Stuck(BaseException):
    """A case took too long."""


def state_of(place):
    """What is in a folder, by name, size and time."""
    found = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_size, status.st_mtime_ns) if not path.is_dir() else None
    return found


def check_results(work, before):
    """What a case left: no parts, finite sound and numbers."""
    for path in work.rglob("*"):
        assert not path.name.endswith(".part"), f"left behind: {path}"
        if str(path) in before or not path.is_file() or "model" in path.parts:
            continue
        if path.suffix in audio.SUFFIXES:
            samples, _ = soundfile.read(path)
            assert np.all(np.isfinite(samples)), f"not finite: {path}"
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=pytest.fail)


def run_case(root, seed, costly):
    """Run one case; raises AssertionError, with the command, where it ends as none may."""
    work = root / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    with contextlib.chdir(work):
        case = Case(seed, costly)
        before, inputs = state_of(work), state_of(root / "in")

        def stuck(*_):
            raise Stuck

        handler = signal.signal(signal.SIGALRM, stuck)
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                PROGRAMS[case.program](case.args)
        except SystemExit as stop:
            code = stop.code or 0
        except Stuck:
            code = f"none after {SECONDS} s"
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, handler)
    out.flush()
    err.flush()
    said = err.buffer.getvalue().decode()
    told = f"seed {seed}: {case.program} {case.args}\nexit code {code}\n{said[-2000:]}"
    assert code in CODES, told
    assert "Traceback" not in said, told
    if code == 2:
        errors = [line for line in said.splitlines() if line.startswith(f"{case.program}: error: ")]
        assert len(errors) == 1 and said.splitlines()[-1] == errors[0], told
        assert "--debug shows where" not in said, told  # nobody had thought of it
    try:
        check_results(work, before)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{told}") from None
    assert state_of(root / "in") == inputs, f"inputs changed\n{told}"
    assert sorted(path.name for path in root.iterdir()) == ["in", "work"], f"outside\n{told}"


pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm clock")
quiet = pytest.mark.filterwarnings("ignore")


@quiet
@pytest.mark.parametrize("block", range(4))
def test_random_commands(folder, block):
    for seed in range(60):
        run_case(folder, 1000 * block + seed, False)


@quiet
@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_random_commands(folder, block):
    """Long: every failure of a block is told."""
    failures = []
    for seed in range(CASES):
        try:
            run_case(folder, 1_000_000 * (block + 1) + seed, True)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} of {CASES}\n\n" + "\n\n".join(failures)


def stopped(root, kind, seconds=None):
    """Exit code of a run that is asked to stop after some time, or once it iterates."""
    work = root / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command = [
        sys.executable,
        "-m",
        "phaserec",
        "invert",
        "--n-iter",
        "3000",
        "--trace",
        "-o",
        "out",
    ]
    with subprocess.Popen(
        command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        if seconds is None:
            process.stderr.readline()
        else:
            time.sleep(seconds)
        process.send_signal(kind)
        _, said = process.communicate(timeout=SECONDS)
    assert "Traceback" not in said or process.returncode == -kind, said
    assert not [path for path in work.rglob("*") if path.name.endswith(".part")]
    return process.returncode


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped(folder, kind, code):
    assert stopped(folder, kind) == code


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_runs_that_are_stopped_at_any_time(folder, seed):
    rng = random.Random(seed)
    kind = rng.choice([signal.SIGTERM, signal.SIGHUP])
    # Before the command begins the signal does what it always does.
    assert stopped(folder, kind, rng.uniform(0, 3)) in (0, 128 + kind, -kind)
