// One utterance: its waveform, and playing it whole, from a place, in a loop, or slowly.

import { button, clock, element, text } from "./elements.js";

const SLOW = 0.6;

export class Player {
  constructor() {
    this.audio = new Audio();
    this.audio.preservesPitch = true;
    this.canvas = element("canvas", {
      class: "label-waveform", role: "slider", tabindex: "0", "aria-label": "Place in the recording",
      "aria-valuemin": "0", "aria-valuenow": "0", "aria-valuemax": "0",
      onpointerdown: (event) => this.seekTo(event), onkeydown: (event) => this.keys(event),
    });
    this.playButton = button("Play", () => this.toggle(), { class: "main" });
    this.againButton = button("From the start", () => this.again());
    this.loopButton = button("Loop", () => this.toggleLoop(), { "aria-pressed": "false" });
    this.slowButton = button("Slow", () => this.toggleSlow(), { "aria-pressed": "false" });
    this.time = element("span", { class: "soft label-time" });
    this.node = element("div", { class: "label-player" }, this.canvas,
      element("div", { class: "label-controls" },
        this.playButton, this.againButton, this.loopButton, this.slowButton, this.time));
    this.peaks = [];
    this.audio.addEventListener("play", () => { text(this.playButton, "Pause"); this.follow(); });
    for (const name of ["pause", "ended"]) this.audio.addEventListener(name, () => text(this.playButton, "Play"));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.canvas);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.scheme.addEventListener("change", this.redraw);
  }

  async load(bytes) {
    this.unload();
    this.url = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
    this.audio.src = this.url;
    const samples = new Int16Array(bytes, 44, Math.floor((bytes.byteLength - 44) / 2));
    this.seconds = samples.length / 16000;
    this.peaks = peaksOf(samples, 1000);
    this.canvas.setAttribute("aria-valuemax", this.seconds.toFixed(2));
    this.draw();
  }

  unload() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.peaks = [];
    this.seconds = 0;
    this.draw();
  }

  play() {
    // Browsers refuse to play before the first key or click; the button is there then.
    return this.audio.play().catch(() => {});
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  again() {
    this.audio.currentTime = 0;
    this.play();
  }

  back(seconds) {
    this.audio.currentTime = Math.max(0, Math.min(this.seconds, this.audio.currentTime - seconds));
    this.draw();
  }

  toggleLoop() {
    this.audio.loop = !this.audio.loop;
    this.loopButton.setAttribute("aria-pressed", String(this.audio.loop));
    if (this.audio.loop) this.play();
  }

  toggleSlow() {
    const slow = this.audio.playbackRate === 1;
    this.audio.defaultPlaybackRate = slow ? SLOW : 1; // also for the next utterance
    this.audio.playbackRate = slow ? SLOW : 1;
    this.slowButton.setAttribute("aria-pressed", String(slow));
  }

  seekTo(event) {
    const box = this.canvas.getBoundingClientRect();
    this.audio.currentTime = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * this.seconds;
    this.play();
  }

  keys(event) {
    const step = { ArrowLeft: 0.5, ArrowRight: -0.5 }[event.key];
    if (step !== undefined) this.back(step);
    else if (event.key === " ") this.toggle();
    else if (event.key === "Home") this.audio.currentTime = 0;
    else return;
    event.preventDefault();
  }

  follow() {
    this.draw();
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    const at = this.audio.currentTime || 0;
    this.canvas.setAttribute("aria-valuenow", at.toFixed(2));
    this.canvas.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${(this.seconds || 0).toFixed(1)} seconds`);
    text(this.time, this.seconds ? `${clock(at)}.${Math.floor(at * 10) % 10} / ${this.seconds.toFixed(1)} s` : "");
    if (!this.peaks.length) return;
    const pen = this.canvas.getContext("2d");
    const colours = getComputedStyle(document.documentElement);
    pen.scale(scale, scale);
    const bars = Math.min(this.peaks.length, Math.max(1, Math.floor(width / 3)));
    const played = this.seconds ? at / this.seconds : 0;
    for (let n = 0; n < bars; n += 1) {
      const first = Math.floor((n / bars) * this.peaks.length);
      const last = Math.max(first + 1, Math.floor(((n + 1) / bars) * this.peaks.length));
      const peak = Math.max(...this.peaks.slice(first, last));
      const tall = Math.max(1, peak * (height - 6));
      pen.fillStyle = colours.getPropertyValue(n / bars < played ? "--accent" : "--edge");
      pen.fillRect((n * width) / bars, (height - tall) / 2, Math.max(1, width / bars - 1), tall);
    }
  }

  end() {
    this.unload();
    this.resized.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
  }
}

// Largest amplitudes of equal parts, relative to the largest of all.
function peaksOf(samples, count) {
  const size = Math.max(1, Math.ceil(samples.length / count));
  const peaks = [];
  for (let first = 0; first < samples.length; first += size) {
    let most = 0;
    for (let n = first; n < Math.min(first + size, samples.length); n += 1) most = Math.max(most, Math.abs(samples[n]));
    peaks.push(most);
  }
  const top = Math.max(1, ...peaks);
  return peaks.map((peak) => peak / top);
}
