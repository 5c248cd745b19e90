// The view Label: one utterance after the other is played and transcribed; each is on the disk before the next one shows.

import { getJson, postJson, Refused, request } from "./api.js";
import { announce, button, element, text } from "./elements.js";
import { codeOf, isComposing } from "./keys.js";
import { Player } from "./player.js";

const RENEW_MS = 30_000;
const POLL_MS = 1_500;
const USABLE_CER = 0.5;
const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const MODIFIER = IS_MAC ? "Ctrl" : "Alt";

// A number for this window, which keeps it when it is reloaded, but which a copied tab must not have.
function clientNumber() {
  const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
  const kept = reloaded ? sessionStorage.getItem("sori-window") : null;
  const number = kept ?? Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem("sori-window", number);
  return number;
}

const client = clientNumber();

// What was typed and not saved: kept while another utterance is edited, or the page is reloaded.
const drafts = {
  get: (id) => sessionStorage.getItem(`sori-draft:${id}`),
  keep: (id, words) => sessionStorage.setItem(`sori-draft:${id}`, words),
  remove: (id) => sessionStorage.removeItem(`sori-draft:${id}`),
};

export async function show(root) {
  const view = new LabelView(root);
  await view.next();
  return () => view.end();
}

class LabelView {
  constructor(root) {
    this.player = new Player();
    this.undoable = [];
    this.current = null;
    this.isBusy = false;
    this.hasEnded = false;
    this.build(root);
    this.onKey = (event) => this.keys(event);
    document.addEventListener("keydown", this.onKey);
    this.renewing = setInterval(() => this.renew(), RENEW_MS);
  }

  end() {
    this.hasEnded = true;
    document.removeEventListener("keydown", this.onKey);
    clearInterval(this.renewing);
    clearTimeout(this.waiting);
    this.player.end();
  }

  build(root) {
    this.bar = element("progress", { max: "1", value: "0", "aria-labelledby": "label-done" });
    this.done = element("p", { class: "label-done", id: "label-done" });
    this.note = element("p", { class: "soft label-note" });
    this.about = element("p", { class: "soft label-about" });
    this.input = element("textarea", {
      id: "label-text", rows: "3", dir: "auto", spellcheck: "false", autocomplete: "off", autocapitalize: "off",
      "aria-describedby": "label-hint", onkeydown: (event) => this.enter(event), oninput: () => this.typed(),
    });
    this.hint = element("p", { class: "soft", id: "label-hint" });
    this.guess = element("p", { class: "label-guess" });
    this.characters = element("div", { class: "label-characters", role: "group", "aria-label": "Special characters" });
    this.problem = element("p", { class: "error", role: "alert" });
    this.conflict = element("section", { class: "label-conflict", hidden: true, "aria-label": "Two versions" });
    this.save = button("Save and next", () => this.store(), { class: "main" });
    this.skip = element("select", {
      "aria-label": "Reason to skip", onchange: () => { this.skipButton.hidden = !this.skip.value; },
      onkeydown: (event) => event.key === "Enter" && this.skip.value && (event.preventDefault(), this.skipped()),
    });
    this.skipButton = button("Skip it", () => this.skipped(), { hidden: true });
    this.undo = button("Undo", () => this.takeBack(), { disabled: true });
    this.recent = element("ol", { class: "label-recent" });
    this.card = element("section", { class: "card label-card", "aria-label": "Utterance" },
      this.note, this.about, this.player.node,
      element("label", { for: "label-text" }, "Transcript"), this.input, this.guess, this.characters, this.hint,
      this.problem, this.conflict,
      element("div", { class: "label-actions" }, this.save, this.skip, this.skipButton, this.undo));
    this.empty = element("section", { class: "card", hidden: true });
    root.append(
      element("h1", {}, "Label"),
      element("div", { class: "label-progress" }, this.bar, this.done),
      this.card, this.empty,
      this.shortcuts(),
      element("section", { class: "label-history" }, element("h2", {}, "Last transcripts"), this.recent),
    );
    this.card.hidden = true;
  }

  shortcuts() {
    const keys = [
      ["Enter", "save, next utterance"], [`Ctrl + Space, ${MODIFIER} + P`, "play, pause"], [`${MODIFIER} + R`, "from the start"],
      [`${MODIFIER} + B`, "back 2 seconds"], [`${MODIFIER} + L`, "loop"], [`${MODIFIER} + S`, "slow"],
      [`${MODIFIER} + G`, "insert the suggestion"], [`${MODIFIER} + K`, "skip: a reason, Enter"],
      [`${MODIFIER} + U`, "undo the last one"], [`${MODIFIER} + 1 … 9`, "insert a special character"],
    ];
    const rows = keys.map(([key, what]) => element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, what)));
    return element("details", { class: "label-keys" }, element("summary", {}, "Keys"), element("dl", {}, ...rows));
  }

  // The next utterance, or a named one.
  async next(id = null) {
    clearTimeout(this.waiting);
    let found;
    try {
      found = await (await postJson("/api/labels/next", { client, id })).json();
    } catch (error) {
      this.fail(error);
      if (error.status === 0) this.waiting = setTimeout(() => this.next(id), 2 * POLL_MS);
      return;
    }
    if (this.hasEnded) return;
    this.progressed(found.progress);
    await this.showRecent();
    if (found.utterance === null) {
      this.nothing(found);
      return;
    }
    this.empty.hidden = true;
    this.card.hidden = false;
    text(this.note, found.problem ? `In the order of the corpus, because no others could be chosen: ${found.problem}` : "");
    this.open(found.utterance);
  }

  open(utterance) {
    this.current = utterance;
    this.conflict.hidden = true;
    text(this.problem, "");
    text(this.guess, "");
    this.suggested = null;
    const draft = drafts.get(utterance.id);
    this.isTyped = draft !== null;
    this.input.value = draft ?? utterance.label.text ?? "";
    this.skip.value = "";
    this.skipButton.hidden = true;
    const skipped = utterance.label.skipped ? ` · skipped: ${utterance.label.skipped}` : "";
    text(this.about, [utterance.speaker, utterance.id].filter(Boolean).join(" · ") + skipped);
    this.input.focus();
    this.typed(false);
    const name = encodeURIComponent(utterance.id);
    this.listen(utterance, name);
    this.suggest(utterance, name);
  }

  async listen(utterance, name) {
    this.player.unload();
    try {
      const bytes = await (await request(`/api/labels/audio?id=${name}`)).arrayBuffer();
      if (this.current !== utterance || this.hasEnded) return;
      await this.player.load(bytes);
      this.player.play();
    } catch (error) {
      if (this.current === utterance) this.fail(error);
    }
  }

  async suggest(utterance, name) {
    let found;
    try {
      found = await getJson(`/api/labels/suggestion?id=${name}`);
    } catch {
      return; // a transcript can be typed without it
    }
    if (this.current !== utterance || !found.text) return;
    this.suggested = found.text;
    // A text with many errors is slower to correct than to type.
    const isUsable = found.cer === null || found.cer < USABLE_CER;
    if (isUsable && !this.isTyped && !this.input.value) {
      this.input.value = found.text;
      this.input.setSelectionRange(found.text.length, found.text.length);
    }
    this.guess.replaceChildren(`${found.model} suggests: `, element("span", { dir: "auto" }, found.text));
    this.guess.dataset.model = found.model;
    this.typed(false);
  }

  typed(byHand = true) {
    if (byHand && this.current) {
      this.isTyped = true;
      drafts.keep(this.current.id, this.input.value);
    }
    const same = this.suggested !== null && this.input.value === this.suggested;
    text(this.hint, same ? "Correct the suggestion where it is wrong, then press Enter." : "Type what is said, then press Enter.");
  }

  enter(event) {
    if (event.key !== "Enter" || isComposing(event) || event.shiftKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    this.store();
  }

  store() {
    const words = this.input.value.trim();
    if (!words) {
      text(this.problem, "The transcript is empty. Skip the utterance if nothing is said.");
      this.input.focus();
      return Promise.resolve();
    }
    return this.decide({ text: words, skipped: null });
  }

  skipped() {
    const reason = this.skip.value;
    return reason ? this.decide({ text: null, skipped: reason }) : Promise.resolve();
  }

  async decide(decision, version = this.current?.label.version) {
    if (this.isBusy || !this.current) return;
    this.busy(true);
    text(this.problem, "");
    const { id, label } = this.current;
    let stored;
    try {
      stored = await (await postJson("/api/labels", { id, version, ...decision })).json();
    } catch (error) {
      this.busy(false);
      this.skip.value = "";
      if (error.status === 409 && error.details) this.compare(decision, error.details);
      else this.fail(error, "Nothing was lost: it is still in the field. ");
      return;
    }
    drafts.remove(id);
    this.undoable.push({ id, before: label, version: stored.label.version });
    announce(decision.text === null ? "Skipped." : "Saved.");
    await this.next();
    this.busy(false);
  }

  // Another window has stored something for the same utterance: show both, and let the user choose.
  compare(decision, theirs) {
    const there = theirs.text ?? (theirs.skipped ? `skipped: ${theirs.skipped}` : "nothing: it was undone");
    const keep = button("Keep the other one", () => {
      drafts.remove(this.current.id);
      this.next();
    });
    const mine = button("Save mine instead", () => this.decide(decision, theirs.version));
    this.conflict.replaceChildren(
      element("h2", {}, "Another window has stored a text for this utterance"),
      element("p", {}, element("b", {}, "There: "), element("span", { dir: "auto" }, there)),
      element("p", {}, element("b", {}, "Yours: "), element("span", { dir: "auto" }, decision.text ?? `skip: ${decision.skipped}`)),
      element("div", { class: "label-actions" }, keep, mine),
    );
    this.conflict.hidden = false;
    keep.focus();
  }

  async takeBack() {
    const last = this.undoable.at(-1);
    if (!last || this.isBusy) return;
    this.busy(true);
    try {
      const { text: words, skipped } = last.before;
      await postJson("/api/labels", { id: last.id, version: last.version, text: words, skipped });
      this.undoable.pop();
      announce("Undone.");
      await this.next(last.id);
    } catch (error) {
      if (error.status === 409) this.undoable.pop();
      this.fail(error, "Not undone: ");
    }
    this.busy(false);
  }

  async renew() {
    if (!this.current || this.card.hidden) return;
    try {
      const { held } = await (await postJson("/api/labels/lease", { client, id: this.current.id })).json();
      if (!held) text(this.problem, "Another window works on this utterance too; if both save, you will see both texts.");
    } catch {
      // reported when it is saved
    }
  }

  busy(is) {
    this.isBusy = is;
    this.save.disabled = is;
    this.skip.disabled = is;
    this.undo.disabled = is || !this.undoable.length;
  }

  fail(error, prefix = "") {
    text(this.problem, prefix + (error instanceof Refused ? error.message : String(error)));
    if (this.card.hidden) this.nothing({ failure: this.problem.textContent });
  }

  nothing(found) {
    this.current = null;
    this.card.hidden = true;
    this.empty.hidden = false;
    const words = found.failure ?? (found.is_choosing
      ? "Choosing the next utterances. This takes a moment…"
      : "No utterance is left: all are transcribed, skipped, or open in another window.");
    this.empty.replaceChildren(element("p", { role: "status" }, words));
    clearTimeout(this.waiting);
    if (!this.hasEnded) this.waiting = setTimeout(() => this.next(), found.is_choosing ? POLL_MS : 6 * POLL_MS);
  }

  progressed(now) {
    this.bar.max = now.goal;
    this.bar.value = now.minutes;
    const skipped = now.skipped ? ` · ${now.skipped} skipped` : "";
    text(this.done, `${now.minutes.toFixed(1)} of ${now.goal.toFixed(0)} minutes · ${now.transcribed} utterances${skipped}`);
    if (this.skip.options.length <= 1) {
      this.skip.replaceChildren(element("option", { value: "" }, "Skip…"),
        ...now.reasons.map((reason) => element("option", { value: reason }, reason)));
    }
    this.offer(now.characters);
  }

  offer(characters) {
    const added = button("+", () => this.addCharacters(), { "aria-label": "Add special characters", title: "Add special characters" });
    this.characters.replaceChildren(
      ...characters.map((one, n) =>
        button(one, () => this.insert(one), { title: n < 9 ? `${MODIFIER} + ${n + 1}` : null, "aria-label": `Insert ${one}` })),
      added,
    );
    this.offered = characters;
  }

  addCharacters() {
    const field = element("input", { type: "text", "aria-label": "Characters to add", size: "12", onkeydown: async (event) => {
      if (event.key === "Escape") { this.offer(this.offered); this.input.focus(); }
      if (event.key !== "Enter" || isComposing(event) || !field.value.trim()) return;
      event.preventDefault();
      try {
        const kept = await (await postJson("/api/labels/characters", { characters: this.offered.join("") + field.value })).json();
        this.offer(kept.characters);
      } catch (error) {
        this.fail(error);
      }
      this.input.focus();
    } });
    this.characters.lastChild.replaceWith(field);
    field.focus();
  }

  insert(character) {
    this.input.focus();
    this.input.setRangeText(character, this.input.selectionStart, this.input.selectionEnd, "end");
    this.typed();
  }

  async showRecent() {
    let rows;
    try {
      ({ rows } = await getJson("/api/labels/recent"));
    } catch {
      return;
    }
    this.recent.replaceChildren(...rows.map((row) => {
      const words = row.label.text ?? `skipped: ${row.label.skipped}`;
      const open = button("Edit", () => this.next(row.id), { class: "quiet", "aria-label": `Edit ${row.id}` });
      return element("li", {}, element("span", { dir: "auto", class: row.label.text ? null : "soft" }, words), open);
    }));
    if (!rows.length) this.recent.append(element("li", { class: "soft" }, "none yet"));
  }

  keys(event) {
    if (this.card.hidden || isComposing(event)) return;
    const code = codeOf(event);
    if (code === "Space" && event.ctrlKey && !event.altKey) {
      event.preventDefault();
      this.player.toggle();
      return;
    }
    // AltGr, with which many keyboards write letters, is no shortcut.
    const isShortcut = IS_MAC ? event.ctrlKey && !event.altKey : event.altKey && !event.ctrlKey && !event.getModifierState("AltGraph");
    if (!isShortcut || event.metaKey || event.shiftKey) return;
    const digit = /^Digit([1-9])$/.exec(code);
    const action = digit
      ? this.offered?.[digit[1] - 1] && (() => this.insert(this.offered[digit[1] - 1]))
      : {
          KeyR: () => this.player.again(), KeyL: () => this.player.toggleLoop(), KeyS: () => this.player.toggleSlow(),
          KeyB: () => { this.player.back(2); this.player.play(); }, KeyK: () => this.skip.focus(), KeyU: () => this.takeBack(),
          KeyG: () => this.useSuggestion(), KeyP: () => this.player.toggle(),
        }[code];
    if (!action) return;
    event.preventDefault();
    action();
  }

  useSuggestion() {
    if (this.suggested === null) return;
    this.input.value = this.suggested;
    this.input.focus();
    this.typed();
  }
}
