// The text of a recording: words to select, listen to and correct, with keyboard or mouse.

import { announce, button, clock, element } from "./elements.js";
import { isComposing } from "./keys.js";
import { joined, paragraphsOf, replaced, wordAt } from "./transcript_words.js";

const MAX_UNDO = 500;
const MARGIN_SECONDS = 0.08;
const SHADED_BELOW = 0.9;

export class TranscriptEditor {
  // `root`: where the text is; `onChange(words)`: after each change by the user; `player()`: the player, or null.
  constructor(root, { words, onChange, player }) {
    this.root = root;
    this.words = words;
    this.onChange = onChange;
    this.player = player;
    this.current = 0;
    this.playing = -1;
    this.undone = [];
    this.redone = [];
    this.input = null;
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("dblclick", (event) => this.#withWord(event, (index) => this.edit(index)));
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("focusin", (event) => this.#withWord(event, (index) => this.#point(index)));
    this.render();
  }

  // Add words that the server has sent.
  append(words) {
    const first = this.words.length;
    this.words = [...this.words, ...words];
    this.undone = this.undone.map((state) => [...state, ...words]);
    this.redone = this.redone.map((state) => [...state, ...words]);
    if (!words.length) return;
    for (const { paragraph, start, words: inside } of paragraphsOf(words)) {
      this.root.append(this.#paragraph(paragraph, start, inside.map((one) => ({ ...one, index: one.index + first }))));
    }
    this.#point(this.current);
  }

  render() {
    this.input = null;
    const made = paragraphsOf(this.words).map((one) => this.#paragraph(one.paragraph, one.start, one.words));
    this.root.replaceChildren(...made);
    this.current = Math.min(this.current, Math.max(0, this.words.length - 1));
    this.#point(this.current);
  }

  // Mark the word that is being played.
  mark(seconds) {
    const index = wordAt(this.words, seconds);
    if (index === this.playing) return;
    this.#node(this.playing)?.classList.remove("playing");
    this.playing = index;
    this.#node(index)?.classList.add("playing");
  }

  undo() {
    this.#travel(this.undone, this.redone, "Undone");
  }

  redo() {
    this.#travel(this.redone, this.undone, "Redone");
  }

  // Turn a word into a field.
  edit(index, { atStart = false } = {}) {
    const node = this.#node(index);
    if (!node || this.input) return;
    this.current = index;
    const word = this.words[index];
    const input = element("input", {
      type: "text",
      class: "word-input",
      value: word.text,
      "aria-label": `Correct the word ${word.text}`,
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
    });
    const fit = () => (input.style.width = `${Math.max(2, [...input.value].length + 1)}ch`);
    input.addEventListener("input", fit);
    input.addEventListener("blur", () => this.#commit(0, false));
    fit();
    this.input = { input, index };
    node.replaceWith(input);
    input.focus();
    if (atStart) input.setSelectionRange(0, 0);
    else input.select();
  }

  listen(index) {
    const word = this.words[index];
    if (word) this.player()?.playPart(word.start - MARGIN_SECONDS, word.end + MARGIN_SECONDS);
  }

  #paragraph(number, start, inside) {
    const label = `Play from ${clock(start)}`;
    const time = button(clock(start), () => this.#playFrom(start), { class: "time quiet", "aria-label": label });
    const nodes = inside.flatMap(({ word, index }) => [this.#word(word, index), " "]);
    return element("div", { class: "paragraph", "data-paragraph": number }, time, element("p", { dir: "auto" }, ...nodes));
  }

  #playFrom(start) {
    const player = this.player();
    player?.seek(start);
    player?.play();
  }

  #word(word, index) {
    const percent = word.confidence === null ? null : Math.round(word.confidence * 100);
    const made = element("button", { type: "button", class: "word", "data-index": index, tabindex: "-1" }, word.text);
    if (word.edited) made.classList.add("edited");
    if (percent !== null) {
      made.title = `${percent} % likely to be right`;
      if (word.confidence < SHADED_BELOW) made.style.setProperty("--doubt-strength", (1 - word.confidence).toFixed(2));
    }
    return made;
  }

  #node(index) {
    return this.root.querySelector(`[data-index="${index}"]`);
  }

  #point(index) {
    this.root.querySelector('.word[tabindex="0"]')?.setAttribute("tabindex", "-1");
    this.current = index;
    this.#node(index)?.setAttribute("tabindex", "0");
  }

  #focus(index) {
    const within = Math.min(Math.max(0, index), this.words.length - 1);
    this.#point(within);
    this.#node(within)?.focus();
  }

  #withWord(event, action) {
    const node = event.target.closest(".word");
    if (node) action(Number(node.dataset.index));
  }

  #clicked(event) {
    this.#withWord(event, (index) => {
      this.#focus(index); // Safari gives a clicked button no focus
      this.listen(index);
    });
  }

  #pressed(event) {
    if (this.input && event.target === this.input.input) this.#typed(event);
    else if (event.target.classList.contains("word")) this.#moved(event);
  }

  #typed(event) {
    const { input, index } = this.input;
    if (isComposing(event)) return;
    if (event.key === "Enter") this.#commit(0, true);
    else if (event.key === "Tab") this.#commit(event.shiftKey ? -1 : 1, true, true);
    else if (event.key === "Escape") this.#cancel();
    else if (event.key === "Backspace" && input.selectionStart === 0 && input.selectionEnd === 0 && index > 0) this.#join();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #moved(event) {
    const index = this.current;
    const command = event.ctrlKey || event.metaKey;
    const forward = getComputedStyle(event.target).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    if (command && event.key.toLowerCase() === "z") event.shiftKey ? this.redo() : this.undo();
    else if (command && event.key.toLowerCase() === "y") this.redo();
    else if (command || event.altKey) return;
    else if (event.key === forward) this.#focus(index + 1);
    else if (event.key === backward) this.#focus(index - 1);
    else if (event.key === "ArrowDown") this.#focus(this.#neighbour(1));
    else if (event.key === "ArrowUp") this.#focus(this.#neighbour(-1));
    else if (event.key === "Home") this.#focus(0);
    else if (event.key === "End") this.#focus(this.words.length - 1);
    else if (event.key === " ") this.listen(index);
    else if (event.key === "Enter" || event.key === "F2") this.edit(index);
    else if (event.key === "Delete") this.#remove(index);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // The first word of the paragraph before or after.
  #neighbour(step) {
    const paragraph = this.#node(this.current).closest(".paragraph");
    const other = step > 0 ? paragraph.nextElementSibling : paragraph.previousElementSibling;
    return other ? Number(other.querySelector(".word").dataset.index) : this.current;
  }

  #commit(step, keepsFocus, editsNext = false) {
    if (!this.input) return;
    const { input, index } = this.input;
    const before = this.words;
    const after = replaced(before, index, input.value);
    const grown = after.length - before.length;
    this.input = null;
    this.#change(after, index);
    if (!keepsFocus) return;
    const target = step < 0 ? index - 1 : index + Math.max(0, grown) + step;
    this.#focus(target);
    if (editsNext && target >= 0 && target < after.length) this.edit(target);
  }

  #cancel() {
    const { index } = this.input;
    this.input = null;
    this.#redraw(index);
    this.#focus(index);
  }

  #join() {
    const { input, index } = this.input;
    const typed = input.value.trim();
    const before = this.words[index - 1].text;
    this.input = null;
    const words = typed ? joined(replaced(this.words, index, typed.replace(/\s+/gu, "")), index) : replaced(this.words, index, "");
    this.#change(words, index - 1);
    this.#focus(index - 1);
    this.edit(index - 1);
    this.input?.input.setSelectionRange(before.length, before.length);
  }

  #remove(index) {
    const { text } = this.words[index];
    this.#change(replaced(this.words, index, ""), index);
    this.#focus(index);
    announce(`Removed ${text}`);
  }

  #change(words, index) {
    if (words !== this.words) {
      this.undone = [...this.undone.slice(-MAX_UNDO), this.words];
      this.redone = [];
      this.words = words;
      this.current = Math.min(index, Math.max(0, words.length - 1));
      this.render();
      this.onChange(words);
    } else this.#redraw(index);
  }

  // Show a word again whose field is closed.
  #redraw(index) {
    const input = this.root.querySelector(".word-input");
    input?.replaceWith(this.#word(this.words[index], index));
    this.#point(index);
  }

  #travel(from, to, done) {
    if (!from.length) {
      announce("There is nothing to undo");
      return;
    }
    to.push(this.words);
    this.words = from.pop();
    this.render();
    this.#focus(this.current);
    this.onChange(this.words);
    announce(done);
  }
}
