// The recordings of the page: sent to the server two at a time, transcribed, kept in this browser.

import { getJson, request, upload } from "./api.js";
import * as saved from "./saved_transcripts.js";
import { wordsOf } from "./transcript_words.js";

const PARALLEL = 2; // browsers open six connections to a server, and a recording in progress takes one
const RETRIES = 20;
const KEEP_ALIVE_MS = 5 * 60 * 1000;
const SAVE_MS = 500;

// `changed(recording)`: its state; `arrived(recording, words)`: text that has come; `added(recording)`, `removed`;
// `unkept()`: the browser does not keep transcripts.
export class Recordings {
  constructor({ about, added, changed, arrived, removed, unkept }) {
    Object.assign(this, { about, added, changed, arrived, removed, unkept });
    this.all = [];
    this.running = 0;
    this.saving = new Map();
    this.timer = setInterval(() => this.#keepAlive(), KEEP_ALIVE_MS);
  }

  stop() {
    clearInterval(this.timer);
    for (const one of this.all) {
      one.abort?.abort();
      one.events?.close();
    }
  }

  // Show what this browser has kept, and go on where the server is still at work.
  async restore() {
    let kept = [];
    try {
      kept = await saved.all();
    } catch {
      this.unkept();
      return;
    }
    kept.sort((one, other) => one.added - other.added);
    for (const data of kept) {
      const one = this.#make({ ...data, hasSound: false });
      this.#add(one);
      getJson(`/api/recordings/${encodeURIComponent(one.id)}/status`).then(
        (status) => {
          one.hasSound = status.duration > 0;
          if (one.state === "done") this.#apply(one, { ...status, state: "done", error: null });
          else this.#watch(one);
        },
        () => {
          if (one.state !== "done") one.state = one.words.length ? "done" : "failed";
          if (one.state === "failed") one.error = "The server was stopped before this recording was transcribed.";
          this.changed(one);
        },
      );
    }
  }

  add(files) {
    const made = files.map((file) => this.#make({ file, name: file.name, added: Date.now() }));
    made.forEach((one) => this.#add(one));
    this.#next();
    return made;
  }

  // Send a recording whose view has been left; it is shown when the view is opened again.
  async sendUnseen(file) {
    const one = this.#make({ file, name: file.name, added: Date.now() });
    const { id } = await this.#send(one);
    this.#saveNow(Object.assign(one, { id, state: "waiting" }));
  }

  async remove(one) {
    one.isRemoved = true;
    one.abort?.abort();
    one.events?.close();
    one.settle?.();
    this.all = this.all.filter((other) => other !== one);
    this.removed(one);
    if (!one.id) return;
    clearTimeout(this.saving.get(one));
    await saved.remove(one.id).catch(() => {});
    await request(`/api/recordings/${encodeURIComponent(one.id)}`, { method: "DELETE" }).catch(() => {});
  }

  // Keep the words of a recording in this browser.
  save(one) {
    if (!one.id || one.isRemoved) return;
    clearTimeout(this.saving.get(one));
    this.saving.set(one, setTimeout(() => this.#saveNow(one), SAVE_MS));
  }

  flush() {
    for (const one of this.all) if (one.isUnsaved) this.#saveNow(one);
  }

  #saveNow(one) {
    one.isUnsaved = false;
    const { id, name, added, state, duration, words, numChunks, warning, isEdited } = one;
    saved.save({ id, name, added, state, duration, words, numChunks, warning, isEdited }).catch(() => {
      one.isUnsaved = true;
      this.unkept();
    });
  }

  #make(data) {
    const empty = { file: null, id: null, state: "queued", position: 0, duration: 0, processed: 0, sent: 0, words: [] };
    return { ...empty, numChunks: 0, warning: null, error: null, hasSound: false, isEdited: false, isUnsaved: false, ...data };
  }

  #add(one) {
    this.all.push(one);
    this.added(one);
  }

  #next() {
    for (const one of this.all) {
      if (this.running >= PARALLEL) return;
      if (one.state !== "queued") continue;
      this.running += 1;
      this.#process(one).finally(() => {
        this.running -= 1;
        this.#next();
      });
    }
  }

  async #process(one) {
    if (one.file.size > this.about.upload_bytes) {
      const most = Math.round(this.about.upload_bytes / 2 ** 20);
      this.#apply(one, { state: "failed", error: `The file is larger than ${most.toLocaleString()} MB.` });
      return;
    }
    one.state = "sending";
    this.changed(one);
    try {
      const status = await this.#send(one);
      one.id = status.id;
      await this.#watch(one);
    } catch (error) {
      if (!one.isRemoved) this.#apply(one, { state: "failed", error: error.message });
    }
  }

  async #send(one) {
    for (let attempt = 1; ; attempt++) {
      one.abort = new AbortController();
      const onProgress = (sent) => {
        one.sent = sent;
        this.changed(one);
      };
      try {
        const path = `/api/recordings?name=${encodeURIComponent(one.name.slice(-250))}`;
        return await upload(path, one.file, { onProgress, signal: one.abort.signal });
      } catch (error) {
        if (error.status !== 429 || attempt === RETRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter ?? 5)));
        if (one.isRemoved) throw error;
      }
    }
  }

  // Follow a recording until it is finished.
  #watch(one) {
    return new Promise((resolve) => {
      one.settle = resolve;
      one.events = new EventSource(`/api/recordings/${encodeURIComponent(one.id)}/events`);
      one.events.addEventListener("chunk", (event) => {
        const chunk = JSON.parse(event.data);
        if (chunk.number <= one.numChunks) return;
        one.numChunks = chunk.number;
        const words = wordsOf(chunk);
        one.words = [...one.words, ...words];
        this.arrived(one, words);
        this.save(one);
      });
      one.events.addEventListener("state", (event) => {
        const status = JSON.parse(event.data);
        this.#apply(one, status);
        if (status.state !== "done" && status.state !== "failed") return;
        one.events.close();
        resolve();
      });
      one.events.onerror = () => {
        if (one.events.readyState !== EventSource.CLOSED) return; // it connects again
        this.#apply(one, { state: one.words.length ? "done" : "failed", error: "The server does not have it any more." });
        resolve();
      };
    });
  }

  #apply(one, { state, position = 0, duration = one.duration, processed = one.processed, warning = one.warning, error = null }) {
    Object.assign(one, { state, position, duration, processed, warning, error });
    if (duration > 0 && state !== "failed" && one.id) one.hasSound = true;
    this.changed(one);
    if (state === "done") this.save(one);
  }

  #keepAlive() {
    for (const one of this.all.filter((each) => each.id && each.hasSound)) {
      getJson(`/api/recordings/${encodeURIComponent(one.id)}/status`).catch(() => {});
    }
  }
}
