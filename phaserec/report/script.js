"use strict";
(() => {
  const root = document.documentElement;
  root.dataset.scripted = "";
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Theme: that of the system until it is switched.
  const themeButton = find("#theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // Tables: a click on a heading sorts by it, a second one the other way round.
  for (const button of all(".sort")) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const body = heading.closest("table").tBodies[0];
      const down = heading.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[heading.cellIndex].dataset.order;
      const compare = heading.classList.contains("number")
        ? (a, b) => asNumber(value(a)) - asNumber(value(b)) || 0
        : (a, b) => value(a).localeCompare(value(b));
      const rows = [...body.rows].sort((a, b) => (down ? compare(b, a) : compare(a, b)));
      for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  }
  for (const button of all(".save-table")) {
    button.addEventListener("click", () => {
      const table = button.parentElement.querySelector("table");
      const rows = [...table.rows].map((row) => [...row.cells].map(csvCell).join(",") + "\r\n");
      save(new Blob(["\ufeff", ...rows], { type: "text/csv" }), `${table.caption.textContent}.csv`);
    });
  }
  function csvCell(cell) {
    let text = cell.dataset.order ?? cell.textContent.trim();
    // What a spreadsheet would run is marked as text.
    if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(asNumber(text))) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name.replace(/[\x00-\x1f<>:"/\\|?*]+/g, "_");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
  function asNumber(text) {
    if (text === "inf") return Infinity;
    return text === "" || text === "-inf" ? -Infinity : Number(text);
  }

  // Values under the pointer
  const tip = find("#tip");
  function tell(event, text) {
    tip.textContent = text;
    tip.hidden = !text;
    const right = event.clientX + 14 + tip.offsetWidth > root.clientWidth;
    const left = right ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    const top = event.clientY - 14 - tip.offsetHeight;
    tip.style.top = `${top > 4 ? top : event.clientY + 18}px`;
  }
  function hover(element, text) {
    for (const type of ["pointermove", "pointerdown"]) {
      element.addEventListener(type, (event) => tell(event, text(event)));
    }
    element.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
  }
  for (const svg of all(".chart svg")) {
    const { left, right, last } = svg.dataset;
    const guide = svg.querySelector(".guide");
    const curves = [...svg.querySelectorAll("[data-values]")].map((curve) => {
      return [curve.dataset.name, new Map(JSON.parse(curve.dataset.values))];
    });
    hover(svg, (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const n = Math.round((last * (x - left)) / (right - left));
      const told = curves.filter(([, values]) => values.has(n));
      guide.setAttribute("visibility", told.length ? "visible" : "hidden");
      guide.setAttribute("transform", `translate(${Number(left) + (n * (right - left)) / last})`);
      const lines = told.map(([name, values]) => `${name}: ${values.get(n)}`);
      return told.length ? [`iteration ${n}`, ...lines].join("\n") : "";
    });
    svg.addEventListener("pointerleave", () => guide.setAttribute("visibility", "hidden"));
  }

  const panel = find("#listen");
  if (!panel) return;
  const duration = Number(panel.dataset.seconds);
  const rate = Number(panel.dataset.rate);
  const choices = all("input[name=track]");
  const sounds = choices.map((c) => find(`audio[data-track="${c.value}"]`));
  const timeline = find("#timeline");
  const single = find("#single");
  single.open = false;

  function bytesOf(sound) {
    return Uint8Array.from(atob(sound.getAttribute("src").split(",")[1]), (c) => c.charCodeAt(0));
  }

  /* All tracks play at once, from one start, and only the gains differ: switching loses no sample,
     and the short glide of the gains makes no click. */
  class Player {
    constructor() {
      this.context = null;
      this.loading = null;
      this.buffers = null;
      this.voices = [];
      this.playing = false;
      this.looping = false;
      this.matching = false;
      this.current = 0;
      this.offset = 0; // position in seconds at the time `since`
      this.since = 0;
    }

    load() {
      this.loading ??= this.decode();
      return this.loading;
    }

    async decode() {
      try {
        this.context = new AudioContext({ sampleRate: rate });
      } catch {
        this.context = new AudioContext(); // a rate that this browser cannot play; it resamples
      }
      this.buffers = await Promise.all(
        sounds.map((sound) => this.context.decodeAudioData(bytesOf(sound).buffer)),
      );
    }

    position() {
      if (!this.playing) return this.offset;
      const at = this.offset + Math.max(0, this.context.currentTime - this.since);
      return this.looping ? at % duration : Math.min(at, duration);
    }

    gain(number) {
      const level = this.matching ? Number(choices[number].dataset.gain) : 1;
      return number === this.current ? level : 0;
    }

    gains() {
      return this.voices.map((voice) => voice.gain.gain.value);
    }

    async play() {
      await this.load();
      await this.context.resume();
      if (!this.playing) this.start();
    }

    start() {
      if (this.offset >= duration - 0.005) this.offset = 0;
      const now = this.context.currentTime;
      this.since = now + 0.03;
      this.voices = this.buffers.map((buffer, number) => {
        const source = new AudioBufferSourceNode(this.context, {
          buffer,
          loop: this.looping,
          loopEnd: duration,
        });
        const gain = new GainNode(this.context, { gain: 0 });
        gain.gain.setTargetAtTime(this.gain(number), this.since, 0.003);
        source.connect(gain).connect(this.context.destination);
        source.start(this.since, this.offset);
        return { source, gain };
      });
      const voices = this.voices;
      voices[0].source.addEventListener("ended", () => {
        if (this.voices !== voices || !this.playing) return;
        this.pause(duration);
        refresh(); // not in the next frame: a page in the background has none
      });
      this.playing = true;
    }

    pause(at = this.position()) {
      if (!this.playing) return;
      this.offset = at;
      this.playing = false;
      const now = this.context.currentTime;
      for (const { source, gain } of this.voices) {
        gain.gain.setTargetAtTime(0, now, 0.003);
        source.stop(now + 0.03);
      }
      this.voices = [];
    }

    seek(to) {
      const was = this.playing;
      this.pause();
      this.offset = Math.min(Math.max(to, 0), duration);
      if (was && this.offset < duration) this.start();
      refresh();
    }

    glide() {
      for (const [number, { gain }] of this.voices.entries()) {
        gain.gain.setTargetAtTime(this.gain(number), this.context.currentTime, 0.004);
      }
    }

    loop(on) {
      const at = this.position();
      this.looping = on;
      this.offset = at;
      if (this.playing) this.since = Math.max(this.since, this.context.currentTime);
      for (const { source } of this.voices) source.loop = on;
    }
  }
  const player = new Player();
  window.phaserecPlayer = player; // for scripts and tests

  const clockText = (t) => `${Math.floor(t / 60)}:${(t % 60).toFixed(1).padStart(4, "0")}`;
  const playButton = find("#play");
  const clock = find("#clock");
  const playhead = find("#playhead");
  function refresh() {
    const at = player.position();
    playButton.classList.toggle("playing", player.playing);
    playButton.querySelector("span").textContent = player.playing ? "Pause" : "Play";
    clock.textContent = `${clockText(at)} / ${clockText(duration)}`;
    playhead.style.left = `${(100 * at) / duration}%`;
    timeline.setAttribute("aria-valuenow", at.toFixed(2));
    timeline.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${duration.toFixed(1)} seconds`);
    if (player.playing) requestAnimationFrame(refresh);
  }

  async function toggle() {
    if (player.playing) {
      player.pause();
      refresh();
      return;
    }
    const status = find("#status");
    status.textContent = player.buffers ? "" : "Decoding …";
    for (const sound of sounds) sound.pause();
    try {
      await player.play();
      status.textContent = "";
    } catch (error) {
      status.textContent = `This browser cannot decode the sound (${error.message}); try the single players.`;
      single.open = true;
    }
    refresh();
  }
  playButton.addEventListener("click", toggle);
  for (const sound of sounds) {
    sound.addEventListener("play", () => {
      player.pause();
      refresh();
    });
  }
  find("#save-sound").addEventListener("click", () => {
    const sound = sounds[player.current];
    const name = `${sound.getAttribute("aria-label")}.${sound.dataset.suffix}`;
    save(new Blob([bytesOf(sound)]), name);
  });
  find("#loop").addEventListener("change", (event) => player.loop(event.target.checked));
  find("#match").addEventListener("change", (event) => {
    player.matching = event.target.checked;
    player.glide();
  });

  // What is heard is what is seen.
  const figures = choices.map((c) => find(`figure[data-track="${c.value}"]`));
  const shown = find("#shown");
  const nothing = find("#nothing");
  const view = () => find("input[name=view]:checked").value;
  function show() {
    const image = figures[player.current].querySelector(`img[data-view="${view()}"]`);
    shown.hidden = !image;
    nothing.hidden = Boolean(image);
    if (image) {
      shown.dataset.view = view();
      shown.src = image.src;
      shown.alt = image.alt;
    } else {
      const name = choices[player.current].getAttribute("aria-label");
      nothing.textContent = `There is nothing that “${name}” could be compared with.`;
    }
  }
  function select(number) {
    player.current = number;
    choices[number].checked = true;
    player.glide();
    figures.forEach((figure, k) => figure.classList.toggle("current", k === number));
    show();
  }
  choices.forEach((choice, number) => choice.addEventListener("change", () => select(number)));
  figures.forEach((figure, number) => {
    figure.querySelector(".pick").addEventListener("click", () => select(number));
  });
  for (const radio of all("input[name=view]")) {
    radio.addEventListener("change", () => {
      find("#view-name").textContent = radio.nextElementSibling.textContent;
      for (const legend of all(".legend")) legend.hidden = legend.dataset.view !== radio.value;
      for (const figure of figures) {
        const images = [...figure.querySelectorAll("img")];
        for (const image of images) image.classList.toggle("other", image.dataset.view !== radio.value);
      }
      hideEmpty();
      show();
    });
  }
  function hideEmpty() {
    for (const figure of figures) figure.hidden = !figure.querySelector(`img[data-view="${view()}"]`);
  }

  // Levels of the images, read back from their shades of grey
  const range = Number(panel.dataset.range);
  const shades = new Map();
  function shadesOf(image) {
    if (!shades.has(image)) {
      const { naturalWidth: width, naturalHeight: height } = image;
      if (!width) return null; // not decoded yet
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.drawImage(image, 0, 0);
      shades.set(image, context.getImageData(0, 0, width, height));
    }
    return shades.get(image);
  }
  /* Mean of 3 by 3 pixels: the compression is right for that, not for each. */
  function levelAt(image, x, y) {
    const shade = shadesOf(image);
    if (!shade) return "";
    const { width, height, data } = shade;
    const [column, row] = [Math.floor(x * width), Math.floor(y * height)];
    let [sum, count] = [0, 0];
    for (let r = Math.max(0, row - 1); r <= Math.min(height - 1, row + 1); r += 1) {
      for (let c = Math.max(0, column - 1); c <= Math.min(width - 1, column + 1); c += 1) {
        sum += data[4 * (r * width + c)];
        count += 1;
      }
    }
    const level = Math.round((range * sum) / count / 255 - range);
    return `${level <= -range ? "at most " : ""}${String(level).replace("-", "−")} dB`;
  }
  function valuesAt(figure, x, y) {
    if (x < 0 || x >= 1 || y < 0 || y >= 1) return "";
    const frequency = ((1 - y) * rate) / 2;
    const pitch = frequency < 1000 ? `${frequency.toFixed(0)} Hz` : `${(frequency / 1000).toFixed(2)} kHz`;
    const lines = [`${(x * duration).toFixed(2)} s, ${pitch}`];
    for (const key of ["magnitude", "error"]) {
      const image = figure.querySelector(`img[data-view="${key}"]`);
      if (image) lines.push(`${key} ${levelAt(image, x, y)}`);
    }
    return lines.join("\n");
  }
  hover(timeline, (event) => {
    const box = timeline.getBoundingClientRect();
    const zoom = Number(find("#band").value);
    const [x, up] = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
    return valuesAt(figures[player.current], x, 1 - up / zoom);
  });
  for (const figure of figures) {
    const pick = figure.querySelector(".pick");
    hover(pick, (event) => {
      const box = figure.querySelector(`img[data-view="${view()}"]`).getBoundingClientRect();
      return valuesAt(figure, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
  }

  // Axes
  function roundStep(span, count) {
    const power = 10 ** Math.floor(Math.log10(span / count));
    return [1, 2, 5, 10].map((m) => m * power).find((step) => step * count >= span);
  }
  function drawAxes() {
    const zoom = Number(find("#band").value);
    const kilo = rate / 2000 / zoom;
    shown.style.height = `${100 * zoom}%`;
    shown.style.imageRendering = zoom > 2 ? "pixelated" : "auto";
    const narrow = timeline.clientWidth < 500;
    mark(find("#hertz"), kilo, kilo, roundStep(kilo, 5), "bottom", "kHz");
    const last = 0.97 * duration; // room for the label
    mark(find("#seconds"), duration, last, roundStep(duration, narrow ? 4 : 9), "left", "s");
  }
  function mark(axis, end, last, step, side, unit) {
    axis.replaceChildren();
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let n = 0; n * step <= last; n += 1) {
      const label = document.createElement("span");
      label.textContent = n === 0 ? `0 ${unit}` : (n * step).toFixed(digits);
      label.style[side] = `${(100 * n * step) / end}%`;
      axis.append(label);
    }
  }
  find("#band").addEventListener("change", drawAxes);
  new ResizeObserver(drawAxes).observe(timeline);

  // Seeking
  const at = (event) => {
    const box = timeline.getBoundingClientRect();
    return (duration * (event.clientX - box.left)) / box.width;
  };
  timeline.addEventListener("pointerdown", (event) => {
    timeline.setPointerCapture(event.pointerId);
    player.seek(at(event));
  });
  timeline.addEventListener("pointermove", (event) => {
    if (timeline.hasPointerCapture(event.pointerId)) player.seek(at(event));
  });

  const step = Math.min(5, Math.max(0.1, duration / 20));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const target = event.target;
    const free = target === document.body || target === timeline || choices.includes(target);
    const pressed = target.closest("button, summary, audio, select, input, a") && !free;
    const act = (done) => {
      event.preventDefault();
      done();
    };
    if (event.key === " " && !pressed) act(toggle);
    else if (/^[1-9]$/.test(event.key) && target.tagName !== "SELECT") {
      const number = Number(event.key) - 1;
      if (number < choices.length) act(() => select(number));
    } else if (event.key.toLowerCase() === "l" && target.tagName !== "SELECT") {
      act(() => find("#loop").click());
    } else if (free && event.key === "ArrowLeft") act(() => player.seek(player.position() - step));
    else if (free && event.key === "ArrowRight") act(() => player.seek(player.position() + step));
    else if (target === timeline && event.key === "Home") act(() => player.seek(0));
    else if (target === timeline && event.key === "End") act(() => player.seek(duration));
    else if (target === timeline && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const by = event.key === "ArrowDown" ? 1 : choices.length - 1;
      act(() => select((player.current + by) % choices.length));
    }
  });

  hideEmpty();
  select(choices.findIndex((choice) => choice.defaultChecked));
  refresh();
})();
