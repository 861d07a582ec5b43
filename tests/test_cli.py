"""The command line: every form of ``invert``, and what it says of bad input."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from phaserec import STFT, algorithm, audio, measures
from phaserec.cli import main
from phaserec.commands import console

RATE = 16000


@pytest.fixture
def files(tmp_path):
    """Stereo mixture and its two sources at an odd length and rate."""
    rng = np.random.default_rng(0)
    sources = 0.1 * rng.standard_normal((2, 5001, 2))
    for name, samples in zip("ab", sources, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", samples, 11025, subtype="FLOAT")
    soundfile.write(tmp_path / "mix.wav", sources.sum(0), 11025, subtype="FLOAT")
    return [tmp_path / f"{name}.wav" for name in ("mix", "a", "b")]


def read(path):
    samples, rate = soundfile.read(path, always_2d=True)
    return samples.T, rate


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def test_the_bare_command_improves_both_sources_of_the_example(phaserec):
    code, out, _ = phaserec("invert", "--algo", "aux", "--sigma", "0.5")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.startswith(("speech", "noise"))]
    assert len(rows) == 2
    for row in rows:
        assert float(row[3]) > float(row[1]) + 5


def test_the_example_is_small_and_its_sources_sum_to_the_mixture():
    mixture, sources = audio.example()
    total = sum(source.samples for source in sources.values())
    np.testing.assert_array_equal(mixture.samples, total)
    folder = Path(audio.__file__).parent / "example"
    assert sum(file.stat().st_size for file in folder.glob("*.flac")) < 200_000


def test_estimates_give_files_of_the_same_rate_length_and_channels(phaserec, files):
    mix, a, b = files
    code, out, err = phaserec("invert", mix, "--estimates", a, b, "--algo", "misi", "-o", "out")
    assert (code, err) == (0, "")
    results = []
    for name in "ab":
        samples, rate = read(f"out/{name}.wav")
        assert rate == 11025 and samples.shape == (2, 5001)
        assert f"out/{name}.wav" in out
        results.append(samples)
    np.testing.assert_allclose(sum(results), read(mix)[0], atol=1e-6)


def test_references_are_scored_before_and_after(phaserec, files):
    mix, a, b = files
    args = ["invert", mix, "--estimates", a, b, "--references", a, b, "--algo", "misi"]
    code, out, _ = phaserec(*args)
    assert code == 0 and out.startswith("source")
    assert sorted(os.listdir("recovered")) == ["a.wav", "b.wav"]


def test_what_was_given_is_scored_beside_the_start(phaserec, files):
    mix, a, b = files
    truth = {name: read(path)[0] for name, path in (("a", a), ("b", b))}
    rng = np.random.default_rng(0)
    for name, x in truth.items():
        soundfile.write(f"g{name}.wav", (x + 0.3 * rng.standard_normal(x.shape)).T, 11025, "FLOAT")
    args = ["invert", mix, "--estimates", "ga.wav", "gb.wav", "--references", a, b]
    code, out, _ = phaserec(*args, "--algo", "mix-incons")
    header, *rows = out.splitlines()[:3]
    assert code == 0 and header.split() == [
        "source",
        *["SDR", "given", "SDR", "start", "SDR", "after"],
    ]
    for row, (name, x) in zip(rows, truth.items(), strict=True):
        title, given, _, start, *_ = row.split()
        assert title == f"g{name}" and given != start
        expected = measures.sdr(x, read(f"g{name}.wav")[0]).mean()
        assert float(given) == pytest.approx(expected, abs=0.01)


def test_one_estimate_is_no_mixture(phaserec, files):
    mix, a, _ = files
    said = phaserec("invert", mix, "--estimates", a, "--algo", "misi")
    assert_one_line(said, "--remainder", "griffin-lim")
    assert phaserec("invert", mix, "--estimates", a, "--algo", "griffin-lim", "-o", "x")[0] == 0
    code, _, err = phaserec(
        "invert", mix, "--estimates", a, "--remainder", "--algo=misi", "-o", "y"
    )
    assert (code, err) == (0, "")
    assert sorted(os.listdir("y")) == ["a.wav", "remainder.wav"]
    total = read("y/a.wav")[0] + read("y/remainder.wav")[0]
    np.testing.assert_allclose(total, read(mix)[0], atol=1e-6)
    assert_one_line(phaserec("invert", mix, "--magnitudes", "m.npz", "--remainder"), "--remainder")


def test_estimates_that_miss_the_mixture_are_warned_of(phaserec, files):
    mix, a, b = files
    soundfile.write("half.wav", 0.5 * read(b)[0].T, 11025, subtype="FLOAT")
    args = ["invert", mix, "--estimates", a, "half.wav", "-o", "x"]
    rest = np.sum((0.5 * read(b)[0]) ** 2) / np.sum(read(mix)[0] ** 2)
    code, _, err = phaserec(*args, "--algo", "misi")
    assert code == 0 and f"leave {10 * np.log10(rest):.1f} dB of the mixture" in err
    assert "--remainder" in err and len(err.splitlines()) == 1
    code, _, err = phaserec(*args, "--algo", "griffin-lim", "-o", "z")
    assert (code, err) == (0, "")
    code, _, err = phaserec(*args, "--algo", "misi", "--remainder", "-o", "y")
    assert (code, err) == (0, "")


def test_mel_bands_are_recognised(phaserec):
    np.savez("mel.npz", magnitudes=np.ones((1, 80, 20), np.float32))
    said = phaserec("invert", "--magnitudes", "mel.npz", "--rate", 16000)
    assert_one_line(said, "mel bands", "mel_to_stft")


def test_the_example_leaves_something_to_listen_to(phaserec):
    code, out, _ = phaserec("invert", "--algo", "aux", "--sigma", "0.5")
    assert code == 0 and out.splitlines()[-2:] == ["recovered/speech.wav", "recovered/noise.wav"]
    assert "true magnitudes" in out and soundfile.info("recovered/speech.wav").duration > 1


@pytest.mark.parametrize(
    ("name", "kind"), [("x.flac", "FLAC"), ("x.ogg", "OGG"), ("x.aiff", "AIFF")]
)
def test_the_ending_says_the_kind_of_file(phaserec, name, kind):
    np.savez("m.npz", magnitudes=np.ones((1, 33, 50), np.float32), n_fft=64, sample_rate=8000)
    code, _, err = phaserec("invert", "--magnitudes", "m.npz", "--algo", "griffin-lim", "-o", name)
    assert code == 0, err
    assert soundfile.info(name).format == kind and soundfile.info(name).samplerate == 8000
    said = phaserec("invert", "--magnitudes", "m.npz", "-o", name, "--subtype", "ALAW")
    if kind != "AIFF":
        assert_one_line(said, "ALAW", name[1:])


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_U8"])
def test_loud_samples_do_not_break_encoders(phaserec, files, subtype):
    mix, a, b = files
    soundfile.write("loud.wav", 30 * read(mix)[0].T, 11025, subtype="FLOAT")
    args = ["--estimates", a, b, "--algo", "incons-hard-mix", "--subtype", subtype]
    code, _, err = phaserec("invert", "loud.wav", *args)
    assert code == 0 and "clipped" in err and subtype in err
    assert soundfile.info("recovered/a.wav").subtype == subtype


def test_outputs_do_not_replace_inputs(phaserec, files):
    mix, a, b = files
    before = mix.read_bytes()
    said = phaserec("invert", mix, "--estimates", a, b, "-o", mix.parent)
    assert_one_line(said, "one of the input files")
    assert mix.read_bytes() == before


def test_replacing_is_said_or_refused(phaserec, files):
    mix, a, b = files
    args = ["invert", mix, "--estimates", a, b, "--algo", "misi", "-o", "out"]
    assert phaserec(*args, "--no-overwrite")[::2] == (0, "")
    code, _, err = phaserec(*args)
    assert code == 0 and err == "phaserec: note: out/a.wav and 1 more will be replaced\n"
    before = Path("out/a.wav").stat().st_mtime_ns
    assert_one_line(phaserec(*args, "--no-overwrite"), "out/a.wav exists", "--no-overwrite")
    assert Path("out/a.wav").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["../out", "/tmp/phaserec-out", "..."])
def test_names_in_files_do_not_lead_out_of_the_folder(phaserec, name):
    np.savez("m.npz", **{name: np.ones((33, 50), np.float32)}, n_fft=64, rate=8000)
    said = phaserec("invert", "--magnitudes", "m.npz", "--algo", "griffin-lim")
    assert_one_line(said, "cannot be the name of a source")
    assert not Path("recovered").exists()


@pytest.mark.parametrize("rate", [0, -1, 1.5, np.nan])
def test_settings_in_files_are_checked(phaserec, rate):
    np.savez("m.npz", a=np.ones((33, 50), np.float32), n_fft=64, rate=rate)
    said = phaserec("invert", "--magnitudes", "m.npz", "--algo", "griffin-lim")
    assert_one_line(said, "rate=", "whole number")


@pytest.mark.parametrize("package", ["phaserec", "unfolded"])
def test_packages_run_as_modules(package):
    done = subprocess.run([sys.executable, "-m", package, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout


def test_trace_prints_start_and_every_iteration_with_falling_objective(phaserec, files):
    mix, a, b = files
    args = ["--estimates", a, b, "--references", a, b, "--algo", "mix-incons", "--n-iter", 4]
    code, _, err = phaserec("invert", mix, *args, "--trace")
    rows = [line.split() for line in err.splitlines()[1:]]
    assert code == 0 and [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    objective = [float(row[1]) for row in rows]
    assert objective == sorted(objective, reverse=True)
    assert all(len(row) == 6 for row in rows)


def test_magnitudes_of_a_mixture_equal_estimates(phaserec, files):
    mix, a, b = files
    V = abs(STFT()(np.stack([read(a)[0], read(b)[0]], axis=1).astype("f4")))
    np.savez("m.npz", magnitudes=V)
    assert phaserec("invert", mix, "--estimates", a, b, "-o", "x")[0] == 0
    assert phaserec("invert", mix, "--magnitudes", "m.npz", "-o", "y")[0] == 0
    np.testing.assert_allclose(read("x/a.wav")[0], read("y/source1.wav")[0], atol=1e-5)


def test_magnitudes_alone_are_inverted_to_the_length_and_rate_asked_for(phaserec):
    _, sources = audio.example()
    x = sources["speech"].samples[0]
    np.savez("m.npz", speech=abs(STFT(512)(x)), n_fft=512)
    args = ["--magnitudes", "m.npz", "--rate", RATE, "--length", len(x), "-o", "s.wav"]
    code, _, err = phaserec("invert", *args, "--seed", 1, "--n-iter", 60, "--subtype", "PCM_24")
    assert (code, err) == (0, "")
    samples, rate = read("s.wav")
    assert rate == RATE and samples.shape == (1, len(x))
    assert soundfile.info("s.wav").subtype == "PCM_24"
    V = abs(STFT(512)(x))
    error = np.linalg.norm(abs(STFT(512)(samples[0])) - V) / np.linalg.norm(V)
    assert error < 0.1


def test_standard_input_and_output(files):
    mix, a, b = files
    command = [sys.executable, "-m", "phaserec.cli", "invert", "-", "--estimates", str(a), str(b)]
    run = subprocess.run(command, input=mix.read_bytes(), capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(run.stdout))
    assert rate == 11025 and samples.shape == (5001, 4)


def test_starting_from_the_estimates_phase_keeps_true_sources(phaserec, files):
    mix, a, b = files
    args = ["--estimates", a, b, "--init", "estimates", "--algo", "misi", "-o", "out"]
    assert phaserec("invert", mix, *args)[0] == 0
    assert measures.snr(read(a)[0], read("out/a.wav")[0]).min() > 100


def test_clipping_is_said(phaserec, files):
    mix, a, b = files
    soundfile.write("loud.wav", 30 * read(mix)[0].T, 11025, subtype="FLOAT")
    args = ["--estimates", a, b, "--algo", "incons-hard-mix", "--subtype", "PCM_16"]
    code, _, err = phaserec("invert", "loud.wav", *args)
    assert code == 0 and "clipped" in err


def test_repeated_stems_do_not_overwrite_each_other(phaserec, files):
    mix, a, _ = files
    assert phaserec("invert", mix, "--estimates", a, a, "-o", "out")[0] == 0
    assert sorted(os.listdir("out")) == ["a-1.wav", "a-2.wav"]


def test_list_shows_every_algorithm_and_default(phaserec):
    from phaserec.algorithms import ALGORITHMS

    code, out, _ = phaserec("list")
    assert code == 0
    for entry in ALGORITHMS.values():
        assert entry.name in out and entry.cite and entry.cite in out


def test_every_algorithm_runs_from_the_command_line(phaserec):
    from phaserec.algorithms import names

    for name in names():
        code, out, err = phaserec(
            "invert", "--algo", name, "--n-iter", 1, "--momentum", "0.1", "-o", name
        )
        assert (code, err) == (0, ""), name
        assert "nan" not in out


def test_an_option_of_the_command_is_not_a_hyper_parameter_of_its_name(phaserec, registry):
    @algorithm
    def collides(S, p, window=0.5, init=0.5, report_seconds=0.5, help=0.5, shift=0.5):
        return p.mix(p.mag(p.cons(S))) + shift * sum((window, init, report_seconds, help)) * S

    taken = ("help", "init", "report_seconds", "window")
    for args in (["--help"], ["--algo=collides", "--window=hamming", "--shift=0", "--init=zero"]):
        with pytest.warns(UserWarning) as told:
            code, out, err = phaserec("invert", "--n-iter", 1, *args)
        assert (code, err) == (0, "")
        assert out.count("  --window ") <= 1
        for name, warning in zip(taken, told, strict=True):
            said = f"the hyper-parameter {name} of collides [0.5] is no option here"
            assert str(warning.message).startswith(said)
    assert "collides, shift=0.0, 1 iterations" in out
    with pytest.warns(UserWarning):
        assert "--init " in phaserec("tune", "--help")[1]  # of the algorithm, where it is free


# Bad input ------------------------------------------------------------------------------------


def test_bad_options(phaserec, files):
    mix, a, b = files
    both = ["--estimates", a, b]
    cases = [
        (["--algo", "auks"], "'auks'", "did you mean 'aux'"),
        (["--sigma", "-1"], "sigma=-1.0", "≥ 0"),
        (["--sigma", "nan"], "sigma=nan"),
        (["--sigma", "loud"], "sigma='loud'"),
        (["--algo", "misi", "--sigma", "1"], "misi has no hyper-parameter 'sigma'"),
        (["--mixing", "firm"], "mixing='firm'", "'soft'"),
        (["--momentum", "-1"], "momentum=-1.0"),
        (["--n-iter", "-3"], "n_iter=-3"),
        (["--n-iter", "many"], "many"),
        (["--hop-length", "1024"], "hop_length=1024", "not invertible"),
        (["--win-length", "2048"], "win_length=2048", "n_fft=1024"),
        (["--window", "roof"], "roof"),
        (["--pad-mode", "mirror"], "pad_mode='mirror'", "'reflect'"),
        (["--subtype", "MP3"], "MP3"),
        (["--bogus"], "--bogus"),
        (["--references"], "--references"),
        (["--output", a], "name a folder"),
        (["--output", a / "x"], "not a folder"),
        (["--rate", "8000"], "8000", "11025"),
    ]
    for extra, *words in cases:
        assert_one_line(phaserec("invert", mix, *both, *extra), *words)
    assert not Path("recovered").exists()


def test_bad_files(phaserec, files, tmp_path):
    mix, a, b = files
    Path("empty.wav").write_bytes(b"")
    Path("text.wav").write_text("not audio")
    soundfile.write("none.wav", np.zeros((0, 2)), 11025)
    soundfile.write("nan.wav", np.full((5001, 2), np.nan), 11025, subtype="FLOAT")
    soundfile.write("short.wav", np.zeros((5000, 2)), 11025)
    soundfile.write("rate.wav", np.zeros((5001, 2)), 16000)
    soundfile.write("mono.wav", np.zeros(5001), 11025)
    assert_one_line(phaserec("invert", "gone.wav", "--estimates", a, b), "gone.wav", "no such file")
    assert_one_line(phaserec("invert", tmp_path, "--estimates", a), "folder")
    for bad, word in [
        ("empty.wav", "empty.wav"),
        ("text.wav", "not a readable audio file"),
        ("none.wav", "empty"),
        ("nan.wav", "NaN"),
    ]:
        assert_one_line(phaserec("invert", bad, "--estimates", a, b), word)
        assert_one_line(phaserec("invert", mix, "--estimates", a, bad), word)
    for bad, word in [("short.wav", "length"), ("rate.wav", "rate"), ("mono.wav", "channels")]:
        assert_one_line(phaserec("invert", mix, "--estimates", a, bad), bad[:-4], word)
    assert_one_line(phaserec("invert", mix, "--estimates", a, b, "--references", a), "references")
    assert_one_line(phaserec("invert", mix), "--estimates")
    assert_one_line(phaserec("invert", "--estimates", a, b), "MIXTURE")
    assert not Path("recovered").exists()


def test_bad_magnitudes(phaserec, files):
    mix, *_ = files
    shape = (2, 2, 513, STFT().n_frames(5001))
    V = np.ones(shape, np.float32)
    bad = {
        "negative.npz": (-V, "negative"),
        "nan.npz": (V * np.nan, "NaN"),
        "bins.npz": (V[:, :, :-1], "n_fft"),
        "frames.npz": (V[..., 1:], "frames"),
        "channels.npz": (V[:1], "channel"),
        "complex.npz": (V * 1j, "complex"),
        "flat.npz": (V[0, 0, 0], "shape"),
    }
    for name, (values, word) in bad.items():
        np.savez(name, magnitudes=values)
        assert_one_line(phaserec("invert", mix, "--magnitudes", name), word)
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    assert_one_line(phaserec("invert", mix, "--magnitudes", "objects.npy"), "objects.npy")
    Path("text.npz").write_text("no")
    assert_one_line(phaserec("invert", mix, "--magnitudes", "text.npz"), "text.npz")
    np.savez("v.npz", magnitudes=V)
    assert_one_line(phaserec("invert", "--magnitudes", "v.npz"), "--rate")
    assert_one_line(
        phaserec("invert", "--magnitudes", "v.npz", "--rate", 8000, "--algo", "misi"), "mixture"
    )


def test_a_failed_write_leaves_nothing(phaserec, files, monkeypatch):
    mix, a, b = files
    calls = []

    def encode(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return b"first"

    monkeypatch.setattr(audio, "encode", encode)
    assert_one_line(phaserec("invert", mix, "--estimates", a, b, "-o", "out"), "No space left")
    assert not Path("out").exists()


def test_debug_shows_the_traceback(phaserec):
    with pytest.raises(ValueError, match="unknown algorithm"):
        phaserec("--debug", "invert", "--algo", "auks")


@settings(max_examples=15)
@given(
    length=st.integers(1, 3000),
    channels=st.integers(1, 3),
    silent=st.booleans(),
    rate=st.sampled_from([8000, 44100, 192000]),
)
def test_any_audio_is_valid(tmp_path_factory, length, channels, silent, rate):
    folder = tmp_path_factory.mktemp("any")
    x = 0.1 * np.random.default_rng(length).standard_normal((length, channels)) * (not silent)
    for name in ("mix", "a"):
        soundfile.write(folder / f"{name}.wav", x, rate, subtype="FLOAT")
    soundfile.write(folder / "zero.wav", 0 * x, rate, subtype="FLOAT")
    args = ["invert", folder / "mix.wav", "--estimates", folder / "a.wav", folder / "zero.wav"]
    main([str(arg) for arg in [*args, "--n-iter", 2, "-o", folder / "out"]])
    samples, found = read(folder / "out" / "a.wav")
    assert found == rate and samples.shape == (channels, length)
    assert np.all(np.isfinite(samples))
    assert not np.any(read(folder / "out" / "zero.wav")[0])


def halves():
    """Steps of a run, and its result."""
    yield 0.5
    yield 1.0
    return "result"


def test_a_long_run_shows_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(console, "_PATIENCE", -1)
    assert console.watched(halves()) == "result"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.watched(halves()) == "result"
    assert "%|" in capsys.readouterr().err


def test_a_short_run_shows_none(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.watched(halves()) == "result"
    assert capsys.readouterr().err == ""
