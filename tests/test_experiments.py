"""The experiments on recovered phase: what they perturb and score, and that their scripts run."""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch is not installed")

from phaserec import STFT, Problem, algorithms, iterate  # noqa: E402
from unfolded import Separator  # noqa: E402
from unfolded.losses import get_loss  # noqa: E402

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "phases"


@pytest.fixture
def script(monkeypatch):
    """Import a script and what it shares with others, for one test."""
    if not SCRIPTS.is_dir():
        pytest.skip("the benchmarks are not installed with the package")
    monkeypatch.syspath_prepend(SCRIPTS)
    names = ("_common", "compensation", "controlled", "alone", "train_alone", "train_proximal")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def sources():
    return torch.randn(2, 2, 6000, generator=torch.Generator().manual_seed(0))


def two_sided(S):
    """Energy of ``(F, T)`` with every bin of the full spectrum written out."""
    return (S.abs() ** 2).sum() + (S[1:-1].abs() ** 2).sum()


@pytest.mark.parametrize("snr", [5.0, 12.5, 30.0])
def test_magnitudes_are_as_wrong_as_they_are_said_to_be(script, sources, snr):
    controlled, stft = script("controlled"), STFT(512, 128)
    wanted = torch.tensor([snr, snr - 2 if snr > 7 else snr]).expand(2, 2)
    V = controlled.magnitudes(sources, "unbiased", wanted, torch.Generator().manual_seed(1))
    truth = stft(sources).abs()
    for k in np.ndindex(2, 2):
        found = 10 * torch.log10(two_sided(truth[k]) / two_sided(V[k] - truth[k]))
        assert found == pytest.approx(wanted[k].item(), abs=0.01)


def test_both_kinds_have_the_same_factor(script, sources):
    controlled, stft = script("controlled"), STFT(512, 128)
    unbiased, shrunk = (
        controlled.magnitudes(
            sources, kind, torch.full((2, 2), 10.0), torch.Generator().manual_seed(1)
        )
        for kind in controlled.KINDS
    )
    S, X = stft(sources), stft(sources.sum(1)).unsqueeze(1)
    along = S.abs() * torch.cos(S.angle() - X.angle())
    mask = along.clamp(torch.zeros(()), X.abs())
    torch.testing.assert_close(shrunk, unbiased / S.abs() * mask, rtol=1e-3, atol=1e-4)


def test_noise_is_smooth_and_of_variance_one(script):
    noise = script("controlled").smooth((4, 200, 300), torch.Generator().manual_seed(0))
    assert noise.var().item() == pytest.approx(1, abs=0.1)
    # Means over n values in a row overlap by n − k after k steps.
    for step, width in (((1, 0), 9), ((0, 1), 5)):
        shifted = noise[:, step[0] :, step[1] :]
        part = noise[:, : shifted.shape[1], : shifted.shape[2]]
        assert (part * shifted).mean().item() == pytest.approx(1 - 1 / width, abs=0.1)
    assert (noise[:, 9:] * noise[:, :-9]).mean().item() == pytest.approx(0, abs=0.1)
    assert (noise[0] * noise[1]).mean().item() == pytest.approx(0, abs=0.1)


def test_phase_snr(script, sources):
    compensation = script("compensation")
    S = STFT(512, 128)(sources)
    assert torch.isinf(compensation.phase_snr(S, S)).all()
    # Magnitudes do not matter; the wrong sign is an error of twice the size.
    opposite = compensation.phase_snr(-3 * S, S)
    torch.testing.assert_close(opposite, torch.full((2, 2), -20 * np.log10(2)), check_dtype=False)


def test_slope_is_that_of_a_line_through_the_origin(script, sources):
    compensation = script("compensation")
    S = STFT(512, 128)(sources)
    torch.testing.assert_close(compensation.slope(0.3j * S, S), torch.full((2, 2), 0.3))


def test_gains_begin_where_the_last_loss_ends(script):
    break_even = script("controlled").break_even
    x = np.array([[4.0, 9.0, 14.0], [6.0, 11.0, 16.0]])
    assert break_even(x, np.array([[-1.0, -2.0, 3.0], [-3.0, 0.0, 1.0]])) == 10 + 5 / 3
    assert break_even(x, np.ones((2, 3))) == -np.inf
    assert break_even(x, -np.ones((2, 3))) == np.inf


def test_the_control_sees_no_projector(script, sources):
    controlled = script("controlled")
    X = STFT(512, 128)(sources.sum(1))
    S, mag, cons = torch.randn(3, 2, 2, *X.shape[-2:], dtype=X.dtype)
    seen = controlled.WithoutProjectors(lambda *given: given)(
        S, mag, cons, X - cons.sum(1), S.abs()
    )
    for given, expected in zip(seen, (S, S, S, X - S.sum(1), S.abs()), strict=True):
        torch.testing.assert_close(given, expected)


def test_masks_are_causal_and_follow_the_phase(script, sources):
    network = script("compensation").ComplexMasks(hidden=5).double()
    mixture = sources[:, :1].double()
    X = STFT(512, 128)(mixture)
    S = network(mixture, X).start
    assert S.shape == (2, 2, 1, *X.shape[-2:])
    later = X.clone()
    later[..., 20:] += 1
    assert torch.equal(network(mixture, later).start[..., :20], S[..., :20])
    turn = np.exp(2j)
    torch.testing.assert_close(network(mixture, turn * X).start, turn * S)


def test_losses_of_waveforms_are_those_after_the_inverse_transform(script, sources):
    compensation, stft = script("compensation"), STFT(512, 128)
    separator = Separator(compensation.ComplexMasks(hidden=5))
    for one, other in (
        (get_loss("wav"), get_loss("ri-istft", stft=stft)),
        (get_loss("wav-mag", stft=stft), get_loss("ri-istft-mag", stft=stft)),
    ):
        values = [
            compensation.value(loss, separator, sources.sum(1), sources) for loss in (one, other)
        ]
        torch.testing.assert_close(*values)


@pytest.fixture
def folders(tmp_path):
    """Noise in place of all sounds."""
    rng = np.random.default_rng(0)

    def write(path, rate=8000):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, rate // 2), rate)

    for part in ("train", "valid"):
        for name in ("ljspeech_00", "fsdd_a", "fsdd_b", "espeak-c"):
            write(tmp_path / "sounds" / part / "speech" / f"{name}.wav")
        write(tmp_path / "sounds" / part / "noise" / "rain.wav")
    for name in ("p_1", "p_2"):
        for kind in ("clean", "noisy"):
            write(tmp_path / "data" / "voicebank_demand" / kind / f"{name}.flac", 16000)
        for kind in ("s1", "s2"):
            write(tmp_path / "data" / "librispeech_2mix" / kind / f"{name}.flac")
    return tmp_path


@pytest.mark.parametrize("name", ["compensation", "controlled"])
def test_a_script_makes_everything_and_trains_once(script, folders, monkeypatch, name):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")
    threads = torch.get_num_threads()
    given = [folders / "sounds", folders / "data", "-o", folders / "out"]
    given += ["--runs", folders / "runs", "--quick"]
    monkeypatch.setattr(sys, "argv", [name, *map(str, given)])
    module = script(name)
    module.main()
    trained = {path: path.stat().st_mtime_ns for path in (folders / "runs").rglob("*.pt")}
    first = (folders / "out" / f"{name}.csv").read_text()
    header, *rows = csv.reader(first.splitlines())
    if name == "compensation":
        assert len(trained) == 2 * len(module.LOSSES)
        wanted = [module.MIXTURE, *module.LOSSES]
        assert [row[0] for row in rows][: len(wanted)] == wanted
    else:
        assert len(trained) == 2 * (1 + len(module.QUICK.rates))
        assert [row[0] for row in rows] == ["unbiased"] * 2 + ["shrunk"] * 2
    assert all(len(row) == len(header) for row in rows)
    assert (folders / "out" / f"{name}.svg").stat().st_size > 1000
    module.main()
    assert (folders / "out" / f"{name}.csv").read_text() == first
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    torch.set_num_threads(threads)


@pytest.fixture
def speech(tmp_path):
    """What passes for the recordings that networks for phases alone are trained on."""
    for part in ("train", "valid"):
        for number, name in enumerate(("ljspeech_00", "espeak-en")):
            path = tmp_path / part / "speech" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).standard_normal(4 * 16000)
            soundfile.write(path, 0.1 * noise, 16000)
    return tmp_path


def test_noise_is_as_loud_as_it_is_said_to_be(script):
    T = STFT(1024, 512)(torch.randn(400, 8000, generator=torch.Generator().manual_seed(0)))
    noise = script("train_alone").noisy(T, torch.Generator().manual_seed(0)) - T
    snr = 10 * torch.log10(T.abs().square().sum((1, 2)) / noise.abs().square().sum((1, 2)))
    assert snr.min() > -7 and snr.max() < 13 and snr.mean() == pytest.approx(3, abs=0.7)


def test_networks_for_phases_alone_are_trained(script, speech, tmp_path):
    network, proximal = script("train_alone"), script("train_proximal")
    network.train(speech, tmp_path / "deep-griffin-lim-512", 512, steps=2)
    proximal.train(speech, tmp_path / "learned-admm-512", 512, steps=2)
    own = script("alone").trained(tmp_path, speech, 512)  # they are there: nothing is trained
    p = Problem(STFT(1024, 512)(torch.randn(1, 8000)).abs(), stft=STFT(1024, 512), length=8000)
    for algorithm in own.values():
        *_, S = iterate(algorithm, p, 2, init="random", rng=0)
        torch.testing.assert_close(S.abs(), p.magnitudes, rtol=1e-4, atol=1e-4)


def test_learned_admm_is_admm_at_first(script):
    proximal = script("train_proximal")
    p = Problem(STFT(64)(torch.randn(1, 900)).abs(), stft=STFT(64), length=900)
    S = p.start("random", 0)
    expected = algorithms.resolve("admm").step(S, p, rho=proximal.RHO)
    torch.testing.assert_close(proximal.admm(S, p, proximal.Proximal()), expected)
