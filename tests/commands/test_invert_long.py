"""``phaserec invert --memory``: what does not fit is done in blocks, with the same result."""

import json

import numpy as np
import pytest
import soundfile

from phaserec import STFT

RATE, LENGTH = 8000, 200_000
SMALL = ["--n-fft", "256", "--n-iter", "3", "--algo", "misi", "--seed", "1"]
MEMORY = ["--memory", "14MB"]


@pytest.fixture
def files(tmp_path):
    """A stereo mixture and its two sources, in the folder that commands run in."""
    sources = np.random.default_rng(0).standard_normal((2, LENGTH, 2)) / 20
    sources = np.round(sources * 2**15) / 2**15
    for name, samples in {"a": sources[0], "b": sources[1], "mix": sources.sum(0)}.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, "FLOAT")
    return ["mix.wav", "--estimates", "a.wav", "b.wav"]


def sounds(folder):
    return {path.name: soundfile.read(path)[0] for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("more", [[], ["--init", "estimates"], ["--remainder", "--estimates"]])
def test_results_are_those_of_the_whole(files, phaserec, tmp_path, more):
    if more[:1] == ["--remainder"]:
        files, more = ["mix.wav", "--estimates", "a.wav"], ["--remainder"]
    code, _, err = phaserec("invert", *files, *SMALL, *more, "-o", "whole")
    assert code == 0, err
    code, out, err = phaserec(
        "invert", *files, *SMALL, *more, "-o", "parts", *MEMORY, "--json", "parts.json"
    )
    assert code == 0, err
    whole, parts = sounds(tmp_path / "whole"), sounds(tmp_path / "parts")
    assert list(parts) == list(whole)
    for name, expected in whole.items():
        np.testing.assert_array_equal(parts[name], expected)
    facts = json.loads((tmp_path / "parts.json").read_text())["memory"]
    assert facts["blocks"] > 2
    assert facts["exact"]
    assert facts["memory"] <= 14_000_000
    assert f"{facts['blocks']} blocks of up to {facts['frames']} frames" in err
    assert "parts.json" in out


def test_scores_are_those_of_the_whole(files, phaserec):
    files += ["--references", "a.wav", "b.wav"]
    whole = phaserec("invert", *files, *SMALL, "-o", "whole", "--json", "-")[1]
    parts = phaserec("invert", *files, *SMALL, *MEMORY, "-o", "parts", "--json", "-")[1]
    after = [[s["sdr"]["after"] for s in json.loads(x)["sources"]] for x in (whole, parts)]
    np.testing.assert_allclose(after[1], after[0], atol=2e-3)


@pytest.mark.parametrize("mixture", [["mix.wav"], []])
def test_magnitudes_are_mapped(files, phaserec, tmp_path, mixture):
    samples = [soundfile.read(tmp_path / f"{x}.wav", dtype="float32")[0].T for x in "ab"]
    np.save(tmp_path / "V.npy", np.abs(STFT(256)(np.stack(samples, axis=1))))
    options = ["--magnitudes", "V.npy", *SMALL]
    if not mixture:
        options += ["--algo", "fast-griffin-lim", "--init", "zero", "--rate", RATE]
        options += ["--length", LENGTH]
    assert phaserec("invert", *mixture, *options, "-o", "whole")[0] == 0
    code, _, err = phaserec("invert", *mixture, *options, *MEMORY, "-o", "parts")
    assert (code, "blocks of up to" in err) == (0, True), err
    whole, parts = sounds(tmp_path / "whole"), sounds(tmp_path / "parts")
    assert list(parts) == ["source1.wav", "source2.wav"]
    for name, expected in whole.items():
        np.testing.assert_array_equal(parts[name], expected)


def test_other_kinds_of_files(files, phaserec, tmp_path):
    for name in ("mix", "a", "b"):
        samples, rate = soundfile.read(tmp_path / f"{name}.wav")
        soundfile.write(tmp_path / f"{name}.flac", samples, rate, "PCM_16")
    files = ["mix.flac", "--estimates", "a.flac", "b.flac"]
    options = [*SMALL, *MEMORY, "--subtype", "PCM_16"]
    assert phaserec("invert", *files, *options, "-o", "parts")[0] == 0
    assert soundfile.info(tmp_path / "parts" / "a.wav").subtype == "PCM_16"


def test_nothing_is_written_where_the_end_is_damaged(files, phaserec, tmp_path):
    samples, _ = soundfile.read(tmp_path / "b.wav")
    samples[-1] = np.nan
    soundfile.write(tmp_path / "b.wav", samples, RATE, "FLOAT")
    code, _, err = phaserec("invert", *files, *SMALL, *MEMORY, "-o", "parts")
    assert code == 2
    assert "b.wav holds NaN or infinite samples" in err.splitlines()[-1]
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "1MB"], "memory=1 MB is too little"),
        (["--memory", "lots"], "--memory='lots' must be a number of bytes"),
        ([*MEMORY, "--trace"], "--trace needs the whole file at once"),
        ([*MEMORY, "--report", "r.html"], "--report needs the whole file at once"),
        ([*MEMORY, "-o", "-"], "-o - needs the whole result at once"),
        ([*MEMORY, "--references", "a.wav"], "give one for each source"),
    ],
)
def test_one_line_says_what_to_do(files, phaserec, tmp_path, options, message):
    code, _, err = phaserec("invert", *files, *SMALL, *options)
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "recovered").exists()


def test_what_is_read_as_a_whole_says_so(phaserec, tmp_path):
    np.savez(tmp_path / "m.npz", magnitudes=np.ones((9, 8)), sr=RATE, n_fft=16)
    code, _, err = phaserec("invert", "--magnitudes", "m.npz", *MEMORY)
    assert (code, "npz files" in err) == (2, True)


def test_files_that_fit_are_done_as_ever(files, phaserec, tmp_path):
    assert phaserec("invert", *files, *SMALL, "-o", "whole")[0] == 0
    code, _, err = phaserec("invert", *files, *SMALL, "-o", "more", "--memory", "4GB", "--trace")
    assert (code, "blocks" in err) == (0, False)
    for name, expected in sounds(tmp_path / "whole").items():
        np.testing.assert_array_equal(sounds(tmp_path / "more")[name], expected)
