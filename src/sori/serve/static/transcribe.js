// The view Transcribe: files or the microphone in, text to correct and to export out.

import { announce, button, clock, element, text } from "./elements.js";
import { filesOf } from "./dropped_files.js";
import { obstacle, reasonOf, record } from "./microphone.js";
import { Recordings } from "./recordings.js";
import { RecordingDetail } from "./recording_detail.js";
import { saveTranscript } from "./transcript_export.js";

export async function show(root, about) {
  const view = new TranscribeView(root, about);
  await view.recordings.restore();
  return () => view.end();
}

class TranscribeView {
  constructor(root, about) {
    this.about = about;
    this.rows = new Map();
    this.detail = null;
    this.recordings = new Recordings({
      about,
      added: (one) => this.#added(one),
      changed: (one) => this.#changed(one),
      arrived: (one, words) => this.detail?.recording === one && this.detail.append(words),
      removed: (one) => this.#removed(one),
      unkept: () => text(this.warning, "This browser does not keep your corrections. Save the text before you close the page."),
    });
    this.#build(root);
    this.onHide = () => this.recordings.flush();
    window.addEventListener("pagehide", this.onHide);
    this.onLeave = (event) => this.microphone && event.preventDefault(); // the browser shows a question before it leaves the page
    window.addEventListener("beforeunload", this.onLeave);
    this.onDrag = (event) => this.#dragged(event);
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) window.addEventListener(kind, this.onDrag);
  }

  end() {
    this.onHide();
    this.hasEnded = true;
    window.removeEventListener("pagehide", this.onHide);
    window.removeEventListener("beforeunload", this.onLeave);
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) window.removeEventListener(kind, this.onDrag);
    this.detail?.end();
    this.recordings.stop();
    // What was recorded is not lost with the view.
    this.microphone?.stop().then((blob) => this.recordings.sendUnseen(recordingFile(blob)));
  }

  #build(root) {
    const files = element("input", { type: "file", multiple: true, class: "visually-hidden", tabindex: "-1", "aria-label": "Files", accept: "audio/*,video/*,.amr,.wma,.spx,.sph" });
    const folder = element("input", { type: "file", webkitdirectory: true, class: "visually-hidden", tabindex: "-1", "aria-label": "Folder" });
    files.addEventListener("change", () => this.#take([...files.files], files, { all: true }));
    folder.addEventListener("change", () => this.#take([...folder.files], folder, { all: false }));
    this.record = button("Record", () => this.#toggleRecording(), { id: "record", disabled: obstacle() !== null, title: obstacle() });
    this.live = element("div", { class: "live", hidden: true });
    this.warning = element("p", { class: "error notice", role: "alert" });
    this.intake = element(
      "section",
      { class: "intake card", "aria-label": "Add recordings" },
      element("h1", {}, "Transcribe"),
      element("p", { class: "soft lead" }, "Drop sound files or folders anywhere on this page. They are processed on this machine and leave it for no other."),
      element("div", { class: "buttons" }, button("Choose files", () => files.click(), { class: "main" }), button("Choose a folder", () => folder.click(), { class: "folder" }), this.record),
      files,
      folder,
      element("p", { class: "soft notice", role: "status", id: "notice" }),
      this.warning,
      this.live,
    );
    this.list = element("ul", { class: "recordings" });
    this.saveAll = button("Save all", () => this.#saveAll(), { hidden: true });
    this.side = element("section", { class: "side", "aria-label": "Recordings", hidden: true }, this.list, this.saveAll);
    this.main = element("section", { class: "detail", "aria-label": "Transcript" });
    root.append(this.intake, element("div", { class: "work" }, this.side, this.main));
  }

  #take(files, input, { all }) {
    if (input) input.value = "";
    const chosen = all ? files : files.filter((file) => this.#isSound(file));
    const others = files.length - chosen.length;
    const left = others ? ` ${others} other ${others === 1 ? "file is" : "files are"} left out.` : "";
    const words = `${chosen.length} ${chosen.length === 1 ? "recording" : "recordings"} added.${left}`;
    text(this.intake.querySelector("#notice"), others || !chosen.length ? words : "");
    announce(words);
    const made = this.recordings.add(chosen);
    if (made.length) this.select(made[0]);
  }

  #isSound(file) {
    const suffix = file.name.slice(file.name.lastIndexOf(".")).toLowerCase();
    return !file.name.startsWith(".") && this.about.suffixes.includes(suffix);
  }

  async #dragged(event) {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    const isOver = event.type === "dragenter" || event.type === "dragover";
    document.body.classList.toggle("dragging", isOver);
    if (event.type !== "drop") return;
    try {
      const { files, hasFolder } = await filesOf(event.dataTransfer);
      this.#take(files, null, { all: !hasFolder });
    } catch (error) {
      text(this.intake.querySelector("#notice"), `What was dropped cannot be read: ${error.message}`);
    }
  }

  #added(one) {
    const name = element("span", { class: "name" });
    const state = element("span", { class: "state soft" });
    const bar = element("progress", { max: "1", "aria-label": `Progress of ${one.name}` });
    const open = button("", () => this.select(one), { class: "open quiet" });
    open.replaceChildren(text(name, one.name), state);
    const remove = button("×", () => this.recordings.remove(one), { class: "remove quiet", "aria-label": `Remove ${one.name}`, title: "Remove" });
    const row = element("li", {}, open, remove, bar);
    this.rows.set(one, { row, state, bar, open });
    this.list.append(row);
    this.#resize();
    this.#changed(one);
    if (!this.detail) this.select(one);
  }

  #changed(one) {
    const row = this.rows.get(one);
    if (!row) return;
    text(row.state, stateOf(one));
    row.row.classList.toggle("failed", one.state === "failed");
    const fraction = progressOf(one);
    row.bar.hidden = one.state === "done" || one.state === "failed";
    if (fraction === null) row.bar.removeAttribute("value");
    else row.bar.value = fraction;
    if (row.last !== one.state && (one.state === "done" || one.state === "failed")) announce(`${one.name}: ${stateOf(one)}`);
    row.last = one.state;
    this.saveAll.hidden = this.recordings.all.filter((each) => each.state === "done").length < 2;
    if (this.detail?.recording === one) this.detail.update(stateOf(one));
  }

  #removed(one) {
    const { row } = this.rows.get(one);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.rows.delete(one);
    announce(`Removed ${one.name}`);
    if (this.detail?.recording === one) {
      this.detail.end();
      this.detail = null;
      this.main.replaceChildren();
      if (this.recordings.all.length) this.select(this.recordings.all.find((each) => this.rows.get(each).row === neighbour));
    }
    (neighbour?.querySelector(".open") ?? this.intake.querySelector("button")).focus();
    this.#resize();
  }

  #resize() {
    this.side.hidden = !this.recordings.all.length;
    this.intake.classList.toggle("compact", !this.side.hidden);
  }

  select(one) {
    if (this.detail?.recording === one) return;
    this.detail?.end();
    for (const [each, { open }] of this.rows) {
      if (each === one) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
    this.detail = new RecordingDetail(this.main, one, this.about, () => this.recordings.save(one));
    this.detail.update(stateOf(one));
  }

  async #saveAll() {
    const format = this.detail?.format ?? "txt";
    for (const one of this.recordings.all.filter((each) => each.state === "done")) await saveTranscript(one, format);
  }

  async #toggleRecording() {
    if (this.microphone) {
      const { stop } = this.microphone;
      this.microphone = null;
      this.#showRecording(false);
      this.#take([recordingFile(await stop())], null, { all: true });
      return;
    }
    this.record.disabled = true; // until the user has given the microphone to the page, or not
    const said = element("p", { class: "said", dir: "auto" });
    const final = element("span");
    const partial = element("span", { class: "soft" });
    said.append(final, " ", partial);
    const level = element("meter", { min: "0", max: "1", value: "0", "aria-label": "Level of the microphone" });
    const time = element("span", { class: "soft" }, "0:00");
    this.live.replaceChildren(element("p", { class: "meter" }, element("span", { class: "dot", "aria-hidden": "true" }), time, level), said);
    const begun = Date.now();
    try {
      const microphone = await record({
        onLevel: (value) => {
          level.value = Math.min(1, Math.sqrt(value));
          text(time, clock((Date.now() - begun) / 1000));
        },
        onText: (all, current) => {
          text(final, all);
          text(partial, current);
        },
        onProblem: (message) => text(partial, message),
        onEnd: () => this.#lost(),
      });
      if (this.hasEnded) {
        await microphone.stop();
        return;
      }
      this.microphone = microphone;
      this.#showRecording(true);
    } catch (error) {
      text(this.intake.querySelector("#notice"), `The microphone cannot be used: ${reasonOf(error)}`);
    }
    this.record.disabled = false;
  }

  // The microphone was disconnected, or taken by the system: keep what was recorded.
  async #lost() {
    if (!this.microphone) return;
    await this.#toggleRecording();
    text(this.intake.querySelector("#notice"), "The microphone was disconnected. What was recorded until then is kept.");
  }

  #showRecording(isOn) {
    this.live.hidden = !isOn;
    text(this.record, isOn ? "Stop" : "Record");
    this.record.classList.toggle("recording", isOn);
    announce(isOn ? "Recording" : "Recording ended");
  }
}

function recordingFile(blob) {
  const name = `Recording ${new Date().toLocaleString("sv").replaceAll(":", ".")}.wav`;
  return new File([blob], name, { type: "audio/wav" });
}

function stateOf(one) {
  switch (one.state) {
    case "queued":
      return "waiting to be sent";
    case "sending":
      return `sending, ${Math.round(100 * one.sent)} %`;
    case "waiting":
      return one.position ? `waiting, number ${one.position} in the queue` : "waiting";
    case "decoding":
      return "decoding";
    case "transcribing":
      return `${clock(one.processed)} of ${clock(Math.round(one.duration))}`;
    case "failed":
      return "failed";
    default:
      return `${clock(Math.round(one.duration))}${one.isEdited ? ", corrected" : ""}`;
  }
}

function progressOf(one) {
  if (one.state === "sending") return one.sent;
  if (one.state === "transcribing" && one.duration) return one.processed / one.duration;
  return null;
}
