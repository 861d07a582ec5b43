"""The report: one page that holds everything, escapes what it is given, and works in a browser."""

import base64
import csv
import io
import json
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from phaserec import STFT, audio

pytest.importorskip("jinja2", reason="jinja2 is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from phaserec.report import Chart, Panel, Report, Table, Track, chart, images, render, save, sound

HOSTILE = "<script>alert(1)</script>&\"'"
RATE = 8000
VOID = {"meta", "img", "input", "link", "br", "hr", "source"}


class Page(HTMLParser):
    """Elements of a page; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def tone(frequency, seconds=2.0):
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)[None]


@pytest.fixture(scope="module")
def report():
    """A small report with hostile names everywhere."""
    voice, hum = tone(440), tone(100)
    tracks = [
        Track("mixture", "mixture", voice + hum),
        Track(HOSTILE, "reference", voice),
        Track(HOSTILE, f"misi {HOSTILE}", 0.5 * voice, voice),
        Track("hum", "misi", 0.9 * hum, target=np.abs(STFT(256)(hum))),
    ]
    scores = [{"file": HOSTILE, "source": "a", "sdr": 12.345}, {"file": "b", "sdr": float("inf")}]
    return Report(
        title=HOSTILE,
        summary=f"About {HOSTILE}",
        command=f"phaserec invert '{HOSTILE}'",
        panel=Panel(tracks, RATE, STFT(256), seconds=1.5),
        tables=[Table.of_records("Rows", [*scores, {"file": "=cmd()", "sdr": -3}], note=HOSTILE)],
        charts=[Chart("SDR", {HOSTILE: [1.0, 2.0, None, 4.0], "other": [3.0, 2.0, 1.0, 0.5]})],
        settings={HOSTILE: HOSTILE},
        notes=[HOSTILE],
    )


@pytest.fixture(scope="module")
def page(report):
    return render(report)


# The file ------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_escapes_every_name(page):
    parsed = Page(page)
    assert "<script>alert(1)" not in page
    assert len(parsed.all("script")) == 1
    shown = "".join(parsed.text)
    assert shown.count(HOSTILE) >= 8
    labels = [a.get("aria-label", "") for a in parsed.all("input")]
    assert f"{HOSTILE}: misi {HOSTILE}" in labels
    assert "".join(a.get("onclick", "") for _, a in parsed.elements) == ""


def test_nothing_refers_to_the_network(page):
    parsed = Page(page)
    for tag, attrs in parsed.elements:
        for name in ("src", "href", "data", "srcset", "action", "style"):
            value = attrs.get(name)
            assert value is None or value.startswith("data:image/webp;base64,") or tag == "audio"
    assert not parsed.all("link") and not parsed.all("iframe")
    assert not re.search(r"url\((?!#)", page) and "@import" not in page
    assert not re.search(r"https?://", page)
    (policy,) = [a["content"] for a in parsed.all("meta") if "http-equiv" in a]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def heard(player):
    """Samples ``(channels, time)`` and rate of what a player plays."""
    content = base64.b64decode(player["src"].partition(",")[2])
    samples, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    return samples.T, rate


def decibels_apart(samples, wanted):
    return 10 * np.log10(np.mean(wanted**2) / np.mean((samples - wanted) ** 2))


@pytest.mark.parametrize("lossless", [False, True])
def test_the_sound_is_the_beginning_of_the_tracks(report, page, lossless):
    if lossless:
        page = render(replace(report, panel=replace(report.panel, lossless=True)))
    players = Page(page).all("audio")
    assert len(players) == 4
    for player, track in zip(players, report.panel.tracks, strict=True):
        samples, rate = heard(player)
        assert rate == RATE and samples.shape == (1, int(1.5 * RATE))
        wanted = track.samples[:, : samples.shape[-1]]
        if lossless:
            np.testing.assert_allclose(samples, wanted, atol=2**-15)
        else:
            assert decibels_apart(samples, wanted) > 20
    assert "first 1.5 of 2 seconds" in page


def test_a_rate_that_opus_lacks_and_two_channels():
    rate, rng = 44100, np.random.default_rng(0)
    t = np.arange(rate) / rate
    x = 0.2 * np.sin(2 * np.pi * np.array([[440], [700]]) * t) + 0.01 * rng.standard_normal(rate)
    sounds = [sound.encode(x.astype(np.float32), rate, lossless=flag) for flag in (False, True)]
    small, exact = (len(file.content) for file in sounds)
    assert small < exact / 8
    assert small == pytest.approx(64e3 / 8, rel=0.2)
    samples, new_rate = soundfile.read(io.BytesIO(sounds[0].content))
    back = audio.resample(samples.T, new_rate, rate)
    assert back.shape == x.shape and decibels_apart(back, x) > 15


def test_levels_are_matched_within_a_source_only(page):
    gains = [float(a["data-gain"]) for a in Page(page).all("input") if a.get("name") == "track"]
    np.testing.assert_allclose(gains, [1, 0.5, 1, 1], atol=1e-4)


def test_loud_and_many_channelled_sound_is_turned_down_together_and_said():
    loud = np.repeat(4 * tone(300, 0.2), 6, axis=0)
    tracks = [Track("mixture", "mixture", 2 * loud), Track("a", "misi", loud)]
    page = render(Report("t", "s", "c", Panel(tracks, RATE, STFT(256), lossless=True)))
    peaks = []
    for player in Page(page).all("audio"):
        samples, _ = heard(player)
        assert len(samples) == 2
        peaks.append(np.abs(samples).max())
    np.testing.assert_allclose(peaks, [0.99, 0.495], atol=1e-3)
    assert "turned down" in page and "first 2 of 6 channels" in page


def test_images_show_the_level_and_the_error():
    from PIL import Image

    stft, x = STFT(256), tone(1000)
    top = float(np.abs(stft(x)).max())
    track = Track("a", "misi", x, x + 0.01 * tone(3000))
    drawn = images.draw(track, stft, x.shape[-1], top)
    assert sorted(drawn) == ["delay", "error", "frequency", "magnitude"]
    pixels = {
        name: np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float)
        for name, content in drawn.items()
    }
    assert pixels["magnitude"].shape == (129, stft.n_frames(x.shape[-1]))
    rows = {
        name: 128 - int(values[:, 20:-20].mean(axis=1).argmax()) for name, values in pixels.items()
    }
    assert rows["magnitude"] == 32 and rows["error"] == 96
    assert "error" not in images.draw(Track("a", "b", x), stft, 1000, top)


def test_shades_of_grey_are_levels():
    from PIL import Image
    from scipy.ndimage import uniform_filter

    stft, noise = STFT(256), np.random.default_rng(0).standard_normal((1, 2 * RATE))
    S = np.abs(stft(noise))[0]
    drawn = images.draw(Track("a", "b", noise), stft, noise.shape[-1], 2 * S.max())
    shades = np.asarray(Image.open(io.BytesIO(drawn["magnitude"])).convert("L"))[::-1] / 255
    wanted = np.maximum(20 * np.log10(S / (2 * S.max())), -80)
    # What the page tells: the compression is right for small neighbourhoods.
    apart = uniform_filter(80 * shades - 80, 3) - uniform_filter(wanted, 3)
    assert abs(apart.mean()) < 0.3 and apart.std() < 1.3


def test_the_error_is_seen_first_where_there_is_one(page):
    def opened(text):
        inputs = [a for a in Page(text).all("input") if "checked" in a]
        return [a["value"] for a in sorted(inputs, key=lambda a: a["name"])]

    assert opened(page) == ["2", "error"]  # the first track that has a reference
    alone = Panel([Track("mixture", "mixture", tone(440))], RATE, STFT(256))
    assert opened(render(Report("t", "s", "c", alone))) == ["0", "magnitude"]


@pytest.mark.parametrize("length", [1, 5, 100])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_any_length_and_silence_can_be_shown(length, level):
    x = np.full((1, length), level, np.float32)
    tracks = [Track("mixture", "mixture", x), Track("a", "misi", x, x)]
    Page(render(Report("t", "s", "c", Panel(tracks, RATE, STFT(64)))))


def test_charts_leave_gaps_and_enclose_their_values():
    drawing = chart.draw(Chart("SDR", {"a": [1.0, 5.0, float("nan"), 2.0, 3.0]}), {"a": 0})
    assert drawing.curves[0].path.count("M") == 2 and len(drawing.curves[0].marks) == 4
    assert drawing.curves[0].values == [
        (0, "1.00 dB"),
        (1, "5.00 dB"),
        (3, "2.00 dB"),
        (4, "3.00 dB"),
    ]
    heights = [y for _, y in drawing.curves[0].marks]
    low, high = drawing.y_ticks[0][0], drawing.y_ticks[-1][0]
    assert high <= min(heights) and max(heights) <= low
    assert chart.draw(Chart("SDR", {"a": [1.0]}), {"a": 0}) is None
    for low, high in [(0, 0), (-3, -3), (1e-9, 2e-9), (-150.2, 7), (0, 1e6)]:
        values = chart.ticks(low, high, 5)
        assert values[0] <= low and values[-1] >= high and 2 <= len(values) <= 8


def test_a_failed_write_leaves_no_page(report, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save(report, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


# The command line ------------------------------------------------------------------------------


def test_the_bare_command_compares_algorithms_on_the_example(phaserec, tmp_path):
    code, out, _ = phaserec("report", "--n-iter", 2, "--algo", "misi", "--algo", "aux:sigma=0.25")
    assert (code, out) == (0, "report.html\n")
    page = (tmp_path / "report.html").read_text("utf-8")
    text = " ".join("".join(Page(page).text).split())
    for words in (
        "The shipped example",
        "phaserec report --n-iter 2 --algo misi --algo aux:sigma=0.25",
        "aux sigma=0.25",
        "Magron & Virtanen, EUSIPCO 2023",
        "Against the references",
        "1024 points, hop 256",
        "16000 Hz",
        "numba",
    ):
        assert words in text, words
    assert len(Page(page).all("audio")) == 1 + 2 * 4


def test_the_general_algorithm_is_among_the_defaults_and_sound_can_be_exact(phaserec, tmp_path):
    small = phaserec("report", "--n-iter", 1, "-o", "small.html")
    exact = phaserec("report", "--n-iter", 1, "-o", "exact.html", "--lossless")
    assert (small[0], exact[0]) == (0, 0)
    pages = [(tmp_path / f"{name}.html").read_text("utf-8") for name in ("small", "exact")]
    labels = [a["aria-label"] for a in Page(pages[0]).all("audio")]
    assert "speech: aux" in labels and "speech: misi" in labels
    assert len(pages[0]) < 1.2e6 and len(pages[0]) < len(pages[1])
    players = {a["aria-label"]: a for a in Page(pages[1]).all("audio")}
    truth = audio.example()[1]["speech"].samples
    np.testing.assert_allclose(heard(players["speech: reference"])[0], truth, atol=2**-15)
    # The estimates are the references here: they are not shown twice.
    assert "speech: given estimate" not in labels


def test_invert_reports_the_run_it_did(phaserec, tmp_path):
    name = HOSTILE.replace("/", "")
    _, sources = audio.example()
    for stem, source in zip((name, "b"), sources.values(), strict=True):
        soundfile.write(tmp_path / f"{stem}.wav", source.samples[0], source.rate, subtype="FLOAT")
    mixture = sum(source.samples[0] for source in sources.values())
    soundfile.write(tmp_path / "mix.wav", mixture, 16000, subtype="FLOAT")
    given = ["mix.wav", "--estimates", f"{name}.wav", "b.wav", "--algo", "misi", "--n-iter", 3]
    code, out, err = phaserec("invert", *given, "--report", "sub/out.html", "-o", "x")
    assert code == 0, err
    assert out.splitlines()[-1] == "sub/out.html"
    parsed = Page((tmp_path / "sub/out.html").read_text("utf-8"))
    assert name in "".join(parsed.text)
    player = {a["aria-label"]: a for a in parsed.all("audio")}[f"{name}: misi"]
    speech, _ = soundfile.read(f"x/{name}.wav")
    assert decibels_apart(heard(player)[0], speech[None]) > 10
    written, _ = soundfile.read("x/b.wav")
    assert phaserec("invert", *given, "-o", "y")[0] == 0
    np.testing.assert_allclose(soundfile.read("y/b.wav")[0], written, atol=1e-4)


def test_magnitudes_alone_are_compared_with_their_targets(phaserec, tmp_path):
    x = audio.example()[1]["speech"].samples[0, :8000]
    np.savez("m.npz", speech=np.abs(STFT(256)(x)), n_fft=256)
    code, _, err = phaserec("report", "--magnitudes", "m.npz", "--rate", 16000, "--n-iter", 2)
    assert code == 0, err
    parsed = Page((tmp_path / "report.html").read_text("utf-8"))
    errors = [a for a in parsed.all("img") if a.get("data-view") == "error"]
    assert len(errors) == 4  # the start and three algorithms


def test_evaluate_reports_scores_summary_and_failures(phaserec, tmp_path):
    name = HOSTILE.replace("/", "")
    for folder, gain in (("ref", 1.0), ("est", 0.9)):
        (tmp_path / folder).mkdir()
        for stem in (name, "b", "c"):
            samples = gain * tone(440)[0] + (1 - gain) * tone(900)[0]
            soundfile.write(tmp_path / folder / f"{stem}.wav", samples, RATE)
    (tmp_path / "est/c.wav").write_text("damaged")
    code, _, _ = phaserec("evaluate", "ref", "est", "--report", "r.html", "--jobs", 1)
    assert code == 1
    text = "".join(Page((tmp_path / "r.html").read_text("utf-8")).text)
    for words in (name, "Summary", "95 % interval", "si-sdr (dB)", "Not scored", "not a readable"):
        assert words in text, words
    assert "19.08" in text  # 20 log10 of 0.9 over 0.1


def test_separate_reports_mixture_and_sources(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    from unfolded import GRUMasks, Separator
    from unfolded.cli import main as unfolded

    monkeypatch.chdir(tmp_path)
    network = GRUMasks(2, stft=STFT(64), sample_rate=RATE, hidden=4, n_bands=8, n_layers=1)
    model = Separator(network, targets=["speech", "noise"])
    model.save_pretrained("model")
    soundfile.write("in.wav", tone(440)[0], RATE)
    unfolded(["separate", "in.wav", "--model", "model", "-o", "out", "--report", "r.html"])
    assert capsys.readouterr().out.splitlines()[-1] == "r.html"
    parsed = Page((tmp_path / "r.html").read_text("utf-8"))
    names = [player["aria-label"] for player in parsed.all("audio")]
    assert names == ["mixture", "speech: model", "noise: model"]
    with pytest.raises(SystemExit):
        unfolded(["separate", "in.wav", "in.wav", "--model", "model", "--report", "r.html"])
    assert "one INPUT" in capsys.readouterr().err


def test_bad_input_is_one_line_and_writes_nothing(phaserec, tmp_path):
    (tmp_path / "file").write_text("")
    for args, *words in [
        (["report", "--algo", "auks"], "'auks'"),
        (["report", "--algo", "misi:sigma=1"], "misi has no hyper-parameter 'sigma'"),
        (["report", "--algo", "aux:sigma"], "NAME:hyper=value"),
        (["report", "--algo", "misi", "--sigma", 1], "--sigma", "none of"),
        (["report", "--report-seconds", 0], "--report-seconds 0"),
        (["report", "-o", "file/x.html"], "not a folder"),
        (["report", "-o", "."], "is a folder"),
        (["report", "mix.wav"], "--estimates"),
        (["invert", "--report", "."], "is a folder"),
    ]:
        code, out, err = phaserec(*args)
        assert (code, out) == (2, ""), args
        assert err.startswith("phaserec: error: ") and err.count("\n") == 1, err
        assert all(word in err for word in words), err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_is_named(phaserec, monkeypatch):
    monkeypatch.setattr("phaserec.report.page.find_spec", lambda name: None)
    code, _, err = phaserec("report")
    assert code == 2 and "pip install 'phaserec[report]'" in err


# In a browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """Headless Chromium on the page, from a file."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "autoplay-policy=no-user-gesture-required",
        "window-size=1280,900",
        f"user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        file = folder / "report.html"
        file.write_text(page, "utf-8")
        chrome.get(file.as_uri())
        yield chrome
    finally:
        chrome.quit()


def script(browser, text):
    return browser.execute_script(f"return {text}")


def wait(browser, text, seconds=10):
    end = time.monotonic() + seconds
    while not script(browser, text):
        assert time.monotonic() < end, text
        time.sleep(0.02)


def press(browser, key):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


@pytest.fixture
def player(browser):
    """The page with the player stopped at its beginning, on the first track."""
    from selenium.webdriver.common.keys import Keys

    browser.execute_script(
        "document.activeElement.blur(); phaserecPlayer.pause(0); phaserecPlayer.seek(0);"
        "document.querySelector('input[value=magnitude]').click();"
        "for (const id of ['loop', 'match'])"
        "  if (document.getElementById(id).checked) document.getElementById(id).click();"
        "document.querySelector('input[name=track]').click(); document.activeElement.blur()"
    )
    return Keys


def test_the_browser_has_no_complaint_and_asks_the_network_for_nothing(browser, player):
    browser.get_log("performance")  # of the pages of the browser itself
    browser.refresh()
    browser.execute_script("document.querySelector('#play').click()")
    wait(browser, "phaserecPlayer.position() > 0.1")
    browser.execute_script("document.querySelector('#play').click()")
    assert not browser.get_log("browser")
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
    entries = script(browser, "performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in entries)


def test_the_policy_stops_what_is_not_of_the_page(browser):
    browser.execute_script(
        "window.touched = false; const s = document.createElement('script');"
        "s.textContent = 'window.touched = true'; document.body.append(s); s.remove()"
    )
    assert script(browser, "window.touched") is False
    browser.get_log("browser")  # the complaint about it


def test_the_playhead_moves_and_stops_at_the_end(browser, player):
    browser.execute_script("phaserecPlayer.seek(0.8)")
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.playing && phaserecPlayer.position() > 0.9")
    left = float(script(browser, "document.querySelector('#playhead').style.left").rstrip("%"))
    assert left > 100 * 0.8 / 1.5
    assert script(browser, "document.querySelector('#play').textContent.trim()") == "Pause"
    wait(browser, "!phaserecPlayer.playing")
    assert script(browser, "phaserecPlayer.position()") == pytest.approx(1.5)
    assert script(browser, "document.querySelector('#play').textContent.trim()") == "Play"


def test_switching_while_playing_keeps_the_position_and_changes_what_is_heard(browser, player):
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.position() > 0.05 && phaserecPlayer.gains()[0] > 0.99")
    voice = script(browser, "window.voice = phaserecPlayer.voices[0].source, true")
    before, after, current = script(
        browser,
        "(() => { const p = phaserecPlayer; const a = p.position();"
        "document.querySelectorAll('input[name=track]')[2].click();"
        "return [a, p.position(), p.current]; })()",
    )
    assert voice and current == 2 and 0 <= after - before < 0.2
    wait(browser, "phaserecPlayer.gains()[2] > 0.99")
    np.testing.assert_allclose(script(browser, "phaserecPlayer.gains()"), [0, 0, 1, 0], atol=0.02)
    # The same sources went on playing: nothing was started anew.
    assert script(
        browser, "phaserecPlayer.playing && window.voice === phaserecPlayer.voices[0].source"
    )
    heard = script(browser, "phaserecPlayer.buffers.map(b => [b.length, b.sampleRate])")
    assert heard == [[int(1.5 * RATE), RATE]] * 4
    shown = script(browser, "document.querySelector('#shown').alt")
    assert shown == f"Magnitude of {HOSTILE}: misi {HOSTILE}"


def test_the_browser_decodes_all_tracks_in_step(browser, player, report):
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.playing")
    heard = script(browser, "phaserecPlayer.buffers.map(b => Array.from(b.getChannelData(0)))")
    for samples, track in zip(heard, report.panel.tracks, strict=True):
        assert decibels_apart(np.array(samples), track.samples[0, : len(samples)]) > 15


def test_seeking_while_playing_goes_on_from_there(browser, player):
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.position() > 0.05")
    browser.execute_script("phaserecPlayer.seek(0.7)")
    assert script(browser, "phaserecPlayer.playing")
    wait(browser, "phaserecPlayer.position() > 0.8")
    moved = "parseFloat(document.querySelector('#playhead').style.left)"
    assert script(browser, moved) > 100 * 0.75 / 1.5


def test_matched_levels(browser, player):
    browser.execute_script("document.querySelectorAll('input[name=track]')[1].click()")
    browser.execute_script("document.querySelector('#match').click()")
    browser.execute_script("document.querySelector('#play').click()")
    wait(browser, "Math.abs(phaserecPlayer.gains()[1] - 0.5) < 0.01")
    browser.execute_script("document.querySelector('#match').click()")
    wait(browser, "phaserecPlayer.gains()[1] > 0.99")


def test_the_loop_goes_on_past_the_end(browser, player):
    press(browser, "l")
    assert script(browser, "document.querySelector('#loop').checked")
    browser.execute_script("phaserecPlayer.seek(1.3)")
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.playing")
    wait(browser, "phaserecPlayer.position() < 0.5")
    assert script(browser, "phaserecPlayer.playing")
    press(browser, "l")
    wait(browser, "!phaserecPlayer.playing")


def test_the_keyboard(browser, player):
    press(browser, "3")
    assert script(browser, "phaserecPlayer.current") == 2
    press(browser, player.ARROW_RIGHT * 3)
    assert script(browser, "phaserecPlayer.position()") == pytest.approx(0.3)
    press(browser, player.ARROW_LEFT)
    assert script(browser, "phaserecPlayer.position()") == pytest.approx(0.2)
    browser.execute_script("document.querySelector('#timeline').focus()")
    press(browser, player.END)
    assert script(browser, "phaserecPlayer.position()") == 1.5
    now = "document.querySelector('#timeline').getAttribute('aria-valuenow')"
    assert script(browser, now) == "1.50"
    press(browser, player.HOME)
    press(browser, player.ARROW_DOWN)
    assert script(browser, "phaserecPlayer.current") == 3
    assert script(browser, "document.querySelector('input[name=track]:checked').value") == "3"
    browser.execute_script("document.querySelector('input[name=track]:checked').focus()")
    press(browser, player.ARROW_UP)
    assert script(browser, "phaserecPlayer.current") == 2
    press(browser, player.ARROW_RIGHT)  # seeks; it does not switch
    assert script(browser, "phaserecPlayer.current") == 2
    assert script(browser, "phaserecPlayer.position()") == pytest.approx(0.1)
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert script(browser, outline) == "solid"
    press(browser, player.SPACE)
    wait(browser, "phaserecPlayer.playing")


def test_a_click_on_the_spectrogram_seeks(browser, player):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    timeline = browser.find_element(By.ID, "timeline")
    width = timeline.size["width"]
    ActionChains(browser).move_to_element_with_offset(timeline, width // 4, 0).click().perform()
    assert script(browser, "phaserecPlayer.position()") == pytest.approx(1.125, abs=0.02)


def test_views_switch_everywhere(browser, player):
    browser.execute_script("document.querySelector('input[value=error]').click()")
    assert script(browser, "document.querySelector('#shown').hidden")
    assert script(browser, "document.querySelector('figure[data-track=\"0\"]').hidden")
    assert "nothing" in script(browser, "document.querySelector('#nothing').textContent")
    press(browser, "3")
    assert script(browser, "document.querySelector('#shown').alt").startswith("Error of")
    visible = "[...document.querySelectorAll('.figures img')].filter(i => i.offsetParent)"
    assert script(browser, f"{visible}.map(i => i.dataset.view)") == ["error", "error"]
    browser.execute_script("document.querySelector('input[value=magnitude]').click()")
    assert script(browser, f"{visible}.map(i => i.dataset.view)") == ["magnitude"] * 4
    loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert script(browser, loaded)


def point(browser, element, x, y):
    """What the page tells at a place of an element, whose sides go from 0 to 1."""
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    width, height = element.size["width"], element.size["height"]
    place = round((x - 0.5) * width), round((y - 0.5) * height)
    ActionChains(browser).move_to_element_with_offset(element, *place).perform()
    tip = "document.querySelector('#tip')"
    return "" if script(browser, f"{tip}.hidden") else script(browser, f"{tip}.textContent")


def test_values_under_the_pointer(browser, player):
    from selenium.webdriver.common.by import By

    wait(browser, "[...document.images].every(i => i.complete)")
    press(browser, "3")  # half of a tone of 440 Hz, whose reference is the whole
    timeline = browser.find_element(By.ID, "timeline")
    where, magnitude, error = point(browser, timeline, 0.5, 1 - 440 / (RATE / 2)).split("\n")
    seconds, frequency = re.fullmatch(r"([\d.]+) s, (\d+) Hz", where).groups()
    assert float(seconds) == pytest.approx(0.75, abs=0.01)
    assert float(frequency) == pytest.approx(440, abs=15)
    levels = [float(re.search(r"−(\d+) dB", line)[1]) for line in (magnitude, error)]
    # Equal parts; below the whole by 6 dB, and the mean over the skirts by some more.
    assert 5 < levels[0] < 20 and abs(levels[0] - levels[1]) <= 1
    assert "at most −80 dB" in point(browser, timeline, 0.5, 0.1)
    figure = browser.find_element(By.CSS_SELECTOR, "figure[data-track='0'] .pick")
    assert re.fullmatch(r"0.7\d s, 3.0\d kHz\nmagnitude .*", point(browser, figure, 0.5, 0.25))
    point(browser, browser.find_element(By.ID, "listen-title"), 0, 0)
    assert script(browser, "document.querySelector('#tip').hidden")


def test_values_of_curves_under_the_pointer(browser, player):
    from selenium.webdriver.common.by import By

    drawing = browser.find_element(By.CSS_SELECTOR, ".chart svg")
    last = chart.FRAME.right / chart.FRAME.width
    assert point(browser, drawing, last, 0.5) == f"iteration 3\n{HOSTILE}: 4.00 dB\nother: 0.50 dB"
    third = (chart.FRAME.left + 2 / 3 * (chart.FRAME.right - chart.FRAME.left)) / chart.FRAME.width
    assert point(browser, drawing, third, 0.5) == "iteration 2\nother: 1.00 dB"


def saved(browser, folder, selector):
    """The one file that a button saves."""
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )
    browser.execute_script(f"document.querySelector('{selector}').click()")
    end = time.monotonic() + 10
    while not (files := [f for f in folder.iterdir() if not f.name.endswith(".crdownload")]):
        assert time.monotonic() < end
        time.sleep(0.05)
    return files[0]


def test_the_sound_that_is_heard_can_be_saved(browser, player, page, tmp_path):
    press(browser, "3")
    file = saved(browser, tmp_path, "#save-sound")
    assert file.suffix == ".opus" and "misi" in file.name and not set(file.name) & set('<>/"')
    player = Page(page).all("audio")[2]
    assert file.read_bytes() == base64.b64decode(player["src"].partition(",")[2])


def test_a_table_can_be_saved(browser, tmp_path):
    text = saved(browser, tmp_path, ".save-table").read_text("utf-8-sig")
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(text))}
    assert rows["file"] == ["source", "sdr"]
    assert rows[HOSTILE] == ["a", "12.345"] and rows["b"] == ["", "inf"]
    assert rows["'=cmd()"] == ["", "-3.0"]  # spreadsheets must not run it


def test_tables_are_sorted_by_number(browser):
    column = "[...document.querySelectorAll('tbody tr')].map(r => r.cells[2].textContent)"
    heading = "document.querySelectorAll('.sort')[2]"
    browser.execute_script(f"{heading}.click()")
    assert script(browser, column) == ["−3", "12.35", "∞"]
    browser.execute_script(f"{heading}.click()")
    assert script(browser, column) == ["∞", "12.35", "−3"]


def test_the_theme_switches_and_stays_readable(browser):
    colours = (
        "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name]"
        ".match(/[\\d.]+/g).slice(0, 3).map(Number))"
    )
    seen = []
    for _ in range(2):
        browser.execute_script("document.querySelector('#theme').click()")
        back, front = (luminance(colour) for colour in script(browser, colours))
        assert (max(back, front) + 0.05) / (min(back, front) + 0.05) > 7
        seen.append(back > front)
    assert sorted(seen) == [False, True]


def luminance(colour):
    c = np.array(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_the_page_is_never_wider_than_the_window(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        assert script(browser, "innerWidth") == width
        assert script(browser, "document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
