// One recording: its player, its text, its export.

import { request } from "./api.js";
import { announce, button, clock, element, text } from "./elements.js";
import { codeOf } from "./keys.js";
import { TranscriptEditor } from "./transcript_editor.js";
import { saveTranscript } from "./transcript_export.js";
import { plainText } from "./transcript_words.js";
import { waveform } from "./waveform.js";

const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2];
const NAMES = {
  txt: "Text (.txt)",
  srt: "Captions (.srt)",
  vtt: "Captions (.vtt)",
  TextGrid: "Praat (.TextGrid)",
  eaf: "ELAN (.eaf)",
  audacity: "Audacity labels (.txt)",
  ctm: "Scoring (.ctm)",
  json: "All data (.json)",
};
const ORDER = Object.keys(NAMES);
const KEYS = [
  ["Arrow keys", "next or previous word, next or previous part"],
  ["Space", "listen to the word"],
  ["Enter", "correct the word; several words divide it, none removes it"],
  ["Tab, Shift+Tab", "while correcting: the next or previous word"],
  ["Backspace", "at the beginning of a word: join it to the one before"],
  ["Delete", "remove the word"],
  ["Ctrl+Z, Ctrl+Y", "undo, redo"],
  ["Alt+P", "play or pause, anywhere on the page"],
];

export class RecordingDetail {
  constructor(root, recording, about, onEdit) {
    Object.assign(this, { root, recording, about, onEdit });
    this.player = null;
    this.loading = false;
    this.isEnded = false;
    this.#build();
    this.editor = new TranscriptEditor(this.textRoot, {
      words: recording.words,
      player: () => this.player,
      onChange: (words) => this.#edited(words),
    });
    this.onKey = (event) => {
      if (event.altKey && codeOf(event) === "KeyP") {
        event.preventDefault();
        this.player?.toggle();
      }
    };
    window.addEventListener("keydown", this.onKey);
  }

  get format() {
    return this.formats.value;
  }

  append(words) {
    this.editor.append(words);
    this.#showControls();
  }

  update(state) {
    const { recording } = this;
    const isFailed = recording.state === "failed";
    text(this.state, isFailed ? "" : state);
    text(this.problem, recording.error ?? recording.warning ?? "");
    this.problem.hidden = !(recording.error ?? recording.warning);
    this.#showControls();
    if (recording.hasSound && !this.player && !this.loading) this.#load();
    if (recording.state === "done" && !recording.words.length) text(this.empty, "No words were recognised in this recording.");
  }

  end() {
    this.isEnded = true;
    window.removeEventListener("keydown", this.onKey);
    this.player?.destroy();
    if (this.address) URL.revokeObjectURL(this.address);
  }

  #build() {
    const { recording } = this;
    this.state = element("span", { class: "soft" });
    this.problem = element("p", { class: "error", role: "alert", hidden: true });
    this.wave = element("div", { class: "waveform", tabindex: "0", role: "slider", "aria-label": "Position", "aria-valuemin": "0" });
    this.play = button("Play", () => this.player?.toggle(), { class: "main play", "aria-keyshortcuts": "Alt+P" });
    this.time = element("span", { class: "clock" }, clock(0));
    const rate = element("select", { "aria-label": "Speed" }, ...RATES.map((one) => element("option", { value: one, selected: one === 1 }, `${one}×`)));
    rate.addEventListener("change", () => this.player?.rate(Number(rate.value)));
    const zoom = element("input", { type: "range", min: "0", max: "300", step: "10", value: "0", "aria-label": "Zoom of the waveform" });
    zoom.addEventListener("input", () => this.player?.zoom(Number(zoom.value)));
    this.controls = element("div", { class: "toolbar player", hidden: true }, this.play, this.time, rate, element("label", { class: "zoom soft" }, "Zoom", zoom));
    this.wave.hidden = true;
    this.textRoot = element("div", { class: "text", role: "group", "aria-label": "Text: arrow keys move between words, Enter corrects" });
    this.empty = element("p", { class: "soft" });
    const parts = [
      element("header", {}, element("h2", {}, recording.name), this.state),
      this.problem,
      element("div", { class: "stage" }, this.wave, this.controls),
      this.#shading(),
      this.textRoot,
      this.empty,
      this.#exports(),
      this.#help(),
    ];
    this.root.replaceChildren(...parts.filter(Boolean));
  }

  #shading() {
    if (!this.about.has_confidence) return null;
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => this.textRoot.classList.toggle("plain", !box.checked));
    const sample = element("span", { class: "word sample" }, "strongly");
    sample.style.setProperty("--doubt-strength", "0.8");
    return element("label", { class: "soft shading" }, box, "Shade words that are likely wrong, ", sample, " where least certain");
  }

  #exports() {
    const options = ORDER.filter((one) => this.about.formats.includes(one)).map((one) => element("option", { value: one }, NAMES[one]));
    this.formats = element("select", { "aria-label": "Format" }, ...options);
    this.note = element("span", { class: "soft", role: "status" });
    this.undo = button("Undo", () => this.editor.undo(), { class: "quiet" });
    this.redo = button("Redo", () => this.editor.redo(), { class: "quiet" });
    const save = button("Save", () => this.#save(), { class: "main save" });
    const copy = button("Copy text", () => this.#copy());
    this.exports = element("div", { class: "toolbar exports", hidden: true }, this.formats, save, copy, this.undo, this.redo, this.note);
    return this.exports;
  }

  #help() {
    const rows = KEYS.flatMap(([key, meaning]) => [element("dt", {}, key), element("dd", {}, meaning)]);
    this.help = element("details", { hidden: true }, element("summary", {}, "Keyboard"), element("dl", { class: "keys" }, ...rows));
    return this.help;
  }

  #showControls() {
    const hasWords = this.recording.words.length > 0;
    this.exports.hidden = this.help.hidden = !hasWords;
    this.undo.disabled = !this.editor?.undone.length;
    this.redo.disabled = !this.editor?.redone.length;
  }

  async #load() {
    this.loading = true;
    const { recording } = this;
    const base = `/api/recordings/${encodeURIComponent(recording.id)}`;
    let peaks;
    try {
      peaks = new Uint8Array(await (await request(`${base}/peaks`)).arrayBuffer());
    } catch {
      recording.hasSound = false;
      this.loading = false;
      return;
    }
    if (this.isEnded) return;
    this.wave.hidden = this.controls.hidden = false;
    this.wave.setAttribute("aria-valuemax", recording.duration.toFixed(0));
    this.player = waveform(this.wave, {
      source: `${base}/audio`,
      peaks,
      duration: recording.duration,
      onTime: (seconds) => this.#moved(seconds),
      onPlaying: (isPlaying) => text(this.play, isPlaying ? "Pause" : "Play"),
      onError: () => text(this.note, "The sound cannot be played any more; the text can still be saved."),
    });
    this.#moved(0);
  }

  #moved(seconds) {
    text(this.time, `${clock(seconds)} / ${clock(Math.round(this.recording.duration))}`);
    this.wave.setAttribute("aria-valuenow", seconds.toFixed(0));
    this.wave.setAttribute("aria-valuetext", clock(seconds));
    if (this.player?.isPlaying() || seconds > 0) this.editor.mark(seconds);
  }

  #edited(words) {
    Object.assign(this.recording, { words, isEdited: true, isUnsaved: true });
    this.#showControls();
    this.onEdit();
  }

  async #save() {
    try {
      const name = await saveTranscript(this.recording, this.format);
      text(this.note, `Saved as ${name}`);
    } catch (error) {
      text(this.note, error.message);
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(plainText(this.recording.words));
      text(this.note, "Copied");
    } catch {
      text(this.note, "The browser does not let this page copy; save the text instead.");
    }
    announce(this.note.textContent);
  }
}
