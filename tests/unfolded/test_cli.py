"""The command line of the networks: train, separate, evaluate, export, and mistakes."""

import csv
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState

from phaserec import STFT, audio, measures
from unfolded import (
    GRUMasks,
    OpenUnmix,
    Separator,
    inference,
)
from unfolded.cli import main
from unfolded.data.files import _reported
from unfolded.training.logs import Logs

RATE = 8000
CONFIG = """
output: run
cpu: true
data:
  train: {kind: synthetic, items: 8, seconds: 0.05}
  valid: {kind: synthetic, items: 3, seconds: 0.05}
  sample_rate: 2000
  batch_size: 4
model:
  stft: {n_fft: 16}
  estimator: {options: {hidden: 4, n_bands: 5, n_layers: 1}}
  inversion: {n_layers: 2}
stages: [{train: all, epochs: 2}]
"""


@pytest.fixture(autouse=True)
def _fresh():
    AcceleratorState._reset_state(True)
    _reported.clear()
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def unfolded(command):
    """Run ``unfolded`` with arguments, in a folder with a configuration."""
    Path("c.yaml").write_text(CONFIG)
    return partial(command, main)


@pytest.fixture
def separator(tmp_path):
    return Separator(
        GRUMasks(2, stft=STFT(64), sample_rate=RATE, hidden=4, n_bands=8),
        "misi",
        2,
        targets=["speech", "noise"],
    ).eval()


@pytest.fixture
def model(separator, tmp_path):
    separator.save_pretrained(tmp_path / "model")
    return "model"


def write(path, samples, rate=RATE):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples).T, rate, subtype="FLOAT")
    return path


def noise(channels=1, length=3001, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, length)).astype("f4")


def read(path):
    samples, rate = soundfile.read(path, always_2d=True, dtype="float32")
    return samples.T, rate


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert err.startswith("unfolded: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def test_help_answers_without_torch():
    code = "import sys; from unfolded.cli import main; main(['--help']); "
    code += "assert not {'torch', 'accelerate', 'numpy', 'yaml'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("train", "separate", "evaluate", "export"):
        assert name in done.stdout


def test_train_resume_and_separate_with_the_result(unfolded):
    code, out, err = unfolded("train", "c.yaml", "stages.0.epochs=1", "seed=4")
    assert (code, err) == (0, "unfolded: 1 process(es) on cpu, 2 steps an epoch\n")
    line, best = out.splitlines()
    assert line.startswith("stage 0 all, epoch 0: loss ") and "SI-SDR" in line
    assert best == "run/best"
    assert "seed: 4" in Path("run/config.yaml").read_text()
    AcceleratorState._reset_state(True)
    again = unfolded("train", "c.yaml", "seed=4")
    assert_one_line(again, "run holds a run already", "resume")
    AcceleratorState._reset_state(True)
    code, out, _ = unfolded("train", "c.yaml", "seed=4", "stages.0.epochs=3", "--resume")
    assert (code, out.splitlines()) == (0, ["run/best"])  # one epoch had ended the stage
    write("in.wav", noise(), 2000)
    assert unfolded("separate", "in.wav", "--model", "run/best", "-o", "out")[0] == 0
    assert sorted(os.listdir("out")) == ["noise.wav", "speech.wav"]


@pytest.mark.skipif(os.name != "posix", reason="no such signals on this system")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_run_says_how_to_go_on(unfolded, monkeypatch, name, code):
    log = Logs.step

    def interrupt(self, *args):
        log(self, *args)
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(Logs, "step", interrupt)
    if name == "SIGHUP" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        pytest.skip("the tests run under nohup")
    ended, out, err = unfolded("train", "c.yaml")
    assert (ended, out) == (code, "")
    assert err.splitlines()[1] == "unfolded: stopped; --resume goes on from run"
    monkeypatch.setattr(Logs, "step", log)
    AcceleratorState._reset_state(True)
    code, out, _ = unfolded("train", "c.yaml", "--resume")
    assert code == 0 and len(out.splitlines()) == 3


def test_the_separated_files_are_what_the_model_gives(unfolded, separator, model):
    x = noise(2)
    write("in.wav", x)
    code, out, err = unfolded("separate", "in.wav", "--model", model, "-o", "out/deep")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["out/deep/speech.wav", "out/deep/noise.wav"]
    with torch.no_grad():
        y = separator(torch.from_numpy(x)[None])[0].numpy()
    for name, expected in zip(("speech", "noise"), y, strict=True):
        samples, rate = read(f"out/deep/{name}.wav")
        assert rate == RATE
        np.testing.assert_allclose(samples, expected, atol=1e-6)
    assert not list(Path().rglob(".*"))


def test_other_rates_are_converted_there_and_back(unfolded, model):
    time = np.arange(22051) / 22050
    x = 0.1 * np.sin(2 * np.pi * np.array([[440], [1000]]) * time)
    write("in.wav", x, 22050)
    code, _, err = unfolded("separate", "in.wav", "--model", model, "-o", "out")
    assert code == 0, err
    assert err == (
        "unfolded: note: in.wav has 22050 Hz, the model 8000; resampled there and back\n"
    )
    parts = [read(f"out/{name}.wav") for name in ("speech", "noise")]
    assert all(rate == 22050 and samples.shape == x.shape for samples, rate in parts)
    total = parts[0][0] + parts[1][0]
    assert measures.snr(x[:, 500:-500], total[:, 500:-500]).min() > 50


def test_several_inputs_get_a_folder_each(unfolded, model):
    for name in ("a/x.wav", "b/x.wav", "y.flac"):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise()[0], RATE)
    code, _, _ = unfolded("separate", "a/x.wav", "b/x.wav", "y.flac", "--model", model, "-o", "out")
    assert code == 0
    assert sorted(os.listdir("out")) == ["x-1", "x-2", "y"]
    assert sorted(os.listdir("out/y")) == ["noise.wav", "speech.wav"]


def test_clipping_is_said(unfolded, model):
    write("in.wav", 30 * noise())
    args = ["separate", "in.wav", "--model", model, "-o", "out", "--subtype", "PCM_16"]
    code, _, err = unfolded(*args)
    assert code == 0 and "clipped in PCM_16" in err
    assert soundfile.info("out/speech.wav").subtype == "PCM_16"


def test_chunks_join_without_a_seam(separator):
    x = noise(2, 40000)
    whole = inference.separate(separator, x, RATE)
    parts = inference.separate(separator, x, RATE, chunk=1.2, overlap=0.3)
    assert whole.shape == parts.shape == (2, 2, 40000)
    np.testing.assert_allclose(parts.sum(0), x, atol=1e-5)
    assert measures.snr(whole, parts).min() > 20  # the network forgets soon, here
    hard = inference.separate(separator, x, RATE, chunk=1.2, overlap=0)
    np.testing.assert_allclose(hard.sum(0), x, atol=1e-5)
    for length in (9600, 9601, 16000, 2):
        part = inference.separate(separator, x[:, :length], RATE, chunk=1.2, overlap=0.3)
        np.testing.assert_allclose(part.sum(0), x[:, :length], atol=1e-5)
    with pytest.raises(ValueError, match=r"chunk=1 seconds must be more than twice overlap=0\.5"):
        inference.separate(separator, x, RATE, chunk=1, overlap=0.5)


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_channels_are_those_of_the_file(n_channels):
    options = {"n_channels": n_channels, "hidden": 4, "sample_rate": RATE}
    model = Separator(OpenUnmix(["a", "b"], stft=STFT(64), **options)).eval()
    one, two = noise(1), noise(2)
    mono = inference.separate(model, one, RATE)
    assert mono.shape == (2, 1, 3001)
    if n_channels == 3:
        with pytest.raises(ValueError, match="separates 3 channels, but the file has 2"):
            inference.separate(model, two, RATE)
        return
    stereo = inference.separate(model, two, RATE)
    assert stereo.shape == (2, 2, 3001)
    if n_channels == 1:
        single = inference.separate(model, two[1:], RATE)
        np.testing.assert_allclose(stereo[:, 1:], single, atol=1e-6)


def test_silence_stays_silence(separator):
    assert not inference.separate(separator, np.zeros((1, 500), np.float32), RATE).any()


def pairs(folder="pairs"):
    for number, name in enumerate(("a", "deep/b")):
        clean = noise(1, 4000, number)
        write(f"{folder}/clean/{name}.wav", clean)
        write(f"{folder}/noisy/{name}.wav", clean + 0.3 * noise(1, 4000, 9 + number))
    return folder


def test_evaluate_prints_and_writes_the_scores(unfolded, separator, model):
    folder = pairs()
    args = ["evaluate", folder, "--model", model, "--csv", "t.csv", "--json", "t.json"]
    code, out, err = unfolded(*args)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["item", "snr", "snri"]
    assert [line.split()[0] for line in lines[2:4]] == ["a.wav", "deep/b.wav"]
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    clean, noisy = (read(f"{folder}/{kind}/a.wav")[0] for kind in ("clean", "noisy"))
    y = inference.separate(separator, noisy, RATE)[0]
    for name, measure in {
        "snr": measures.snr,
        "si-sdr": measures.si_sdr,
        "sdr": measures.sdr,
    }.items():
        after, before = measure(clean, y)[0], measure(clean, noisy)[0]
        assert float(rows[0][name]) == pytest.approx(after, abs=1e-3)
        assert float(rows[0][f"{name}i"]) == pytest.approx(after - before, abs=1e-3)
    stored = json.loads(Path("t.json").read_text())
    mean = (float(rows[0]["sdri"]) + float(rows[1]["sdri"])) / 2
    assert stored["summary"]["all"]["sdri"]["mean"] == pytest.approx(mean)
    noise_target = unfolded("evaluate", folder, "--model", model, "--target", "noise")
    assert noise_target[0] == 0 and noise_target[1] != out


def test_evaluate_takes_other_metrics(unfolded, model):
    code, out, _ = unfolded(
        "evaluate", pairs(), "--model", model, "--metrics", "spectral-convergence"
    )
    assert code == 0 and out.splitlines()[0].split() == ["item", "spectral-convergence"]


def test_evaluate_leaves_silent_references_out_of_the_mean(unfolded, model):
    folder = pairs()
    silent = np.zeros((1, 500))
    write(f"{folder}/clean/c.wav", silent)
    write(f"{folder}/noisy/c.wav", silent + noise(1, 500))
    code, _, err = unfolded("evaluate", folder, "--model", model, "--json", "t.json")
    assert (code, err) == (0, "unfolded: c.wav: the reference is silent\n")
    stored = json.loads(Path("t.json").read_text(), parse_constant=pytest.fail)
    (silent_row,) = [row for row in stored["rows"] if row["item"] == "c.wav"]
    assert silent_row["values"]["snr"] is None
    assert stored["summary"]["all"]["snr"]["count"] == 2


def test_evaluate_names_files_without_a_partner(unfolded, model):
    write(f"{pairs()}/clean/alone.wav", noise())
    code, out, err = unfolded("evaluate", "pairs", "--model", model)
    assert code == 0 and "alone" not in out
    assert err.startswith("unfolded: warning: pairs/clean/alone.wav is left out")
    assert err.count("\n") == 1


UMX = {"targets": ["speech", "noise"], "sample_rate": RATE, "hidden": 6, "n_layers": 2}
UMX["stft"] = STFT(64)
NETWORKS = {
    "gru": GRUMasks(2, stft=STFT(64), sample_rate=RATE, hidden=4, n_bands=8),
    "lstm": OpenUnmix(**UMX),
    "one-way": OpenUnmix(**UMX, unidirectional=True, n_channels=2),
}


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_an_exported_estimator_runs_elsewhere_for_any_length(unfolded, kind):
    network = NETWORKS[kind]
    stft, channels = STFT(64), getattr(network, "n_channels", 1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    Separator(network.eval()).save_pretrained("model")
    args = ["export", "-o", "e/net.pt2", "--part", "estimator", "--model", "model"]
    assert unfolded(*args, "--channels", channels) == (0, "e/net.pt2\n", "")
    inputs = [torch.randn(1, channels, stft.n_samples(n)) for n in (2, 12, 90)]
    torch.save([(x, stft(x)) for x in inputs], "inputs.pt")
    # With torch alone, in a process that does not know how it was made.
    code = "import torch; run = torch.export.load('e/net.pt2').module(); "
    code += "torch.save([run(*given) for given in torch.load('inputs.pt')], 'outputs.pt')"
    subprocess.run([sys.executable, "-c", code], check=True)
    for x, y in zip(inputs, torch.load("outputs.pt"), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(y, network(x, stft(x)))


def test_an_exported_separator_runs_with_torch_alone(unfolded, separator, model):
    code, out, err = unfolded("export", "--model", model)
    assert (code, out, err) == (0, "separator.pt2\n", "")
    hop = separator.stft.hop_length
    inputs = [torch.randn(1, 1, hop * hops) for hops in (8, 43, 100)]
    torch.save(inputs, "inputs.pt")
    code = "import sys, torch; run = torch.export.load('separator.pt2').module(); "
    code += "torch.save([run(x) for x in torch.load('inputs.pt')], 'outputs.pt'); "
    code += "assert 'unfolded' not in sys.modules and 'phaserec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    for x, y in zip(inputs, torch.load("outputs.pt"), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(y, separator(x), rtol=1e-5, atol=1e-5)


def test_export_of_a_fixed_length(unfolded, separator, model):
    args = ["export", "-o", "n.pt2", "--part", "estimator", "--model", model, "--frames", 12]
    assert unfolded(*args) == (0, "n.pt2\n", "")
    x = torch.randn(1, 1, separator.stft.hop_length * 11)
    X = separator.stft(x)
    program = torch.export.load("n.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(x, X), separator.estimator(x, X))


def test_export_says_what_is_not_possible(unfolded):
    Separator(None, stft=STFT(64), sample_rate=RATE).save_pretrained("model")
    soundfile.write("in.wav", noise()[0], RATE)
    result = unfolded("export", "-o", "net.pt2", "--part", "estimator", "--model", "model")
    assert_one_line(result, "the model has no estimator that could be exported")
    assert_one_line(unfolded("export", "-o", "net.pth", "--model", "model"), "must end with .pt2")
    assert_one_line(unfolded("export", "-o", "n.onnx", "--model", "model"), "--part estimator")
    assert not Path("net.pt2").exists()
    result = unfolded("separate", "in.wav", "--model", "model")
    assert_one_line(result, "the model has no estimator")


OWN = """
import torch
class Thirds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.shares = torch.nn.Parameter(torch.tensor([0.5, 0.3, 0.2]).reshape(3, 1, 1, 1))
    def forward(self, mixture, spectrogram):
        return spectrogram.abs().unsqueeze(1) * self.shares
"""


def test_an_estimator_of_ones_own_is_named_with_import(unfolded, monkeypatch):
    Path("thirds.py").write_text(OWN)
    monkeypatch.syspath_prepend(os.getcwd())
    import thirds

    model = Separator(thirds.Thirds(), stft=STFT(64), sample_rate=RATE)
    assert model.targets is None
    model.save_pretrained("own")
    monkeypatch.delitem(sys.modules, "thirds")
    x = noise()
    write("in.wav", x)
    args = ["separate", "in.wav", "--model", "own", "-o", "out"]
    assert_one_line(unfolded(*args), "thirds, which is not imported", "--import thirds")
    assert unfolded(*args, "--import", "thirds.py")[0] == 0
    assert sorted(os.listdir("out")) == ["source1.wav", "source2.wav", "source3.wav"]
    np.testing.assert_allclose(read("out/source3.wav")[0], 0.2 * x, atol=1e-6)
    monkeypatch.delitem(sys.modules, "thirds")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train"], ["Missing argument 'CONFIG'"]),
        (["train", "none.yaml"], ["none.yaml: No such file"]),
        (["train", "c.yaml", "optimiser.lr=1"], ["unknown key optimiser", "'optimizer'"]),
        (["train", "c.yaml", "--resume"], ["no run to resume"]),
        (["train", "c.yaml", "data.train={kind: paired, folder: x}"], ["x/clean: no such"]),
        (["separate"], ["Missing argument 'INPUT...'"]),
        (["separate", "in.wav", "-o", "o", "--model", "none"], ["none", "does not exist"]),
        (["separate", "none.wav", "-o", "o", "--model", "model"], ["none.wav: no such file"]),
        (["separate", "c.yaml", "-o", "o", "--model", "model"], ["c.yaml is not a readable"]),
        (["separate", "c.yaml", "-o", "o", "--model", "model", "--subtype", "X"], ["subtype='X'"]),
        (["separate", "c.yaml", "-o", "o", "--model", "model", "--device", "x"], ["--device x"]),
        (["evaluate", "none", "--model", "model"], ["none/clean: no such"]),
        (["evaluate", "x", "--model", "model", "--csv", "c.yaml/t"], ["c.yaml is not a folder"]),
        (["evaluate", "x", "--model", "model", "--metrics", "sdrr"], ["'sdrr'", "'sdr'"]),
        (["evaluate", "x", "--model", "model", "--target", "bass"], ["'bass'", "speech, noise"]),
        (["export", "-o", "x.pt2", "--model", "c.yaml"], ["does not exist"]),
        (["trian"], ["trian"]),
    ],
)
def test_mistakes_are_one_line(unfolded, model, args, words):
    assert_one_line(unfolded(*args), *words)


def test_debug_shows_the_traceback(unfolded):
    with pytest.raises(FileNotFoundError):
        unfolded("--debug", "train", "none.yaml")


def test_real_pairs_are_scored(unfolded, model, data):
    folder = data / "voicebank_demand"
    args = ["evaluate", folder, "--model", model, "--metrics", "snr,snri", "--csv", "t.csv"]
    assert unfolded(*args)[0] == 0
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert len(rows) == 8
    for row in rows:
        clean, noisy = (audio.read(folder / k / row["item"]).samples for k in ("clean", "noisy"))
        before = float(row["snr"]) - float(row["snri"])
        assert before == pytest.approx(measures.snr(clean, noisy)[0], abs=0.01)
