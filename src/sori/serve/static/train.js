// The view Train: begin a training, watch it, and see what the labels so far have given.

import { lineChart } from "./chart.js";
import { getJson, postJson } from "./api.js";
import { announce, button, clock, element, text } from "./elements.js";

const POLL_MS = 2_000;
const STATES = {
  training: "training", scoring: "being scored", finished: "finished", interrupted: "being continued",
  stopped: "stopped", failed: "failed",
};
const RECIPES = { ctc_smoke: "check with a toy model" };
const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)} %`;

export async function show(root) {
  const view = new TrainView(root);
  await view.refresh();
  return () => view.end();
}

class TrainView {
  constructor(root) {
    this.problem = element("p", { class: "error", role: "alert" });
    this.verdict = element("p", { class: "train-verdict" });
    this.curve = element("div");
    this.live = element("div");
    this.status = element("p", { class: "train-status" });
    this.init = element("select", { id: "train-init" });
    this.length = element("select", { id: "train-length" },
      element("option", { value: "full" }, "full"), element("option", { value: "check" }, "check (toy model, a minute)"));
    this.start = button("Train a recogniser", () => this.send("/api/training", {
      init: this.init.value || null, length: this.length.value,
    }, "Training has begun."), { class: "main" });
    this.stop = button("Stop", () => this.send("/api/training/stop", {}, "Stopped."), { hidden: true });
    this.resume = button("Continue", () => this.send("/api/training/continue", {}, "Continued."), { hidden: true });
    this.amount = element("p", { class: "soft" });
    this.rounds = element("tbody");
    this.log = element("pre");
    this.logBox = element("details", { class: "train-log" }, element("summary", {}, "What it writes"), this.log);
    root.append(
      element("h1", {}, "Train"),
      element("section", { class: "card train-card", "aria-label": "Training" }, this.amount,
        element("div", { class: "train-choices" },
          element("div", {}, element("label", { for: "train-init" }, "Start from"), this.init),
          element("div", {}, element("label", { for: "train-length" }, "Length"), this.length),
          this.start, this.stop, this.resume),
        this.status, this.problem, this.live, this.logBox),
      element("section", { class: "train-gain" }, element("h2", {}, "Is it worth labelling more?"), this.verdict, this.curve),
      element("section", {}, element("h2", {}, "Recognisers so far"),
        element("div", { class: "train-rounds" }, element("table", {}, element("thead", {}, element("tr", {},
          ...["Round", "Labels", "Held out", "Start", "State", "CER"].map((name) => element("th", { scope: "col" }, name)))), this.rounds))),
    );
  }

  end() {
    this.hasEnded = true;
    clearTimeout(this.timer);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      this.draw(await getJson("/api/training"));
      if (this.lost) text(this.problem, "");
      this.lost = false;
    } catch (error) {
      this.lost = true;
      text(this.problem, error.message);
    }
    if (!this.hasEnded) this.timer = setTimeout(() => this.refresh(), POLL_MS);
  }

  async send(path, data, words) {
    text(this.problem, "");
    for (const one of [this.start, this.stop, this.resume]) one.disabled = true;
    try {
      this.draw(await (await postJson(path, data)).json());
      announce(words);
    } catch (error) {
      text(this.problem, error.message);
    }
    for (const one of [this.start, this.stop, this.resume]) one.disabled = false;
    this.refresh();
  }

  draw(now) {
    const last = now.rounds.at(-1);
    const isRunning = ["training", "scoring", "interrupted"].includes(last?.state);
    this.start.hidden = isRunning;
    this.stop.hidden = !isRunning;
    this.resume.hidden = !["stopped", "failed"].includes(last?.state);
    this.init.disabled = this.length.disabled = isRunning;
    this.choices(now.encoders);
    const { minutes, transcribed } = now.labels;
    text(this.amount, `${minutes.toFixed(1)} minutes in ${transcribed} utterances are transcribed here. `
      + "A part of them is held out, to see how well the recogniser does on other speech.");
    this.drawStatus(last, now.current);
    text(this.verdict, now.verdict);
    this.drawGain(now.points);
    this.drawRounds(now);
    const header = document.getElementById("model");
    if (now.served !== null) text(header, `Recogniser: round ${now.served}`);
  }

  choices(encoders) {
    const names = ["", ...encoders];
    if (names.join("\n") === this.known) return;
    this.known = names.join("\n");
    const chosen = this.init.value;
    this.init.replaceChildren(...names.map((name) => element("option", { value: name }, name || "scratch (random weights)")));
    this.init.value = names.includes(chosen) ? chosen : names.at(-1);
  }

  drawStatus(last, current) {
    if (!last) {
      text(this.status, "");
      this.logBox.hidden = true;
      return;
    }
    const left = last.state === "training" && current.seconds_left > 0 ? ` · ${clock(current.seconds_left)} left` : "";
    const updates = last.state === "training" && current.updates ? ` · ${current.updates} updates` : "";
    const words = `Round ${last.number} is ${STATES[last.state]}${updates}${left}.`;
    const closing = last.state === "training" ? " You can close this page: it goes on without it." : "";
    if (this.status.textContent !== words + closing) text(this.status, words + closing);
    this.logBox.hidden = !current.log.length;
    this.logBox.open ||= last.state === "failed";
    text(this.log, current.log.join("\n"));
    const losses = current.curve.filter((row) => "loss" in row).map((row) => ({ x: row.step, y: row.loss }));
    const scores = current.curve.filter((row) => "dev_cer" in row).map((row) => ({ x: row.step, y: row.dev_cer }));
    const charts = [];
    if (losses.length > 1) {
      charts.push(lineChart({ points: losses, xLabel: "updates", yLabel: "loss", caption: "Loss", format: short, formatX: (x) => Math.round(x) }));
    }
    if (scores.length > 1) {
      charts.push(lineChart({ points: scores, xLabel: "updates", yLabel: "CER", caption: "Character error rate, held out", format: percent, formatX: (x) => Math.round(x) }));
    }
    const warnings = current.warnings.slice(-2).map((words) => element("p", { class: "soft" }, words));
    this.live.replaceChildren(element("div", { class: "train-charts" }, ...charts), ...warnings);
  }

  drawGain(points) {
    if (points.length < 1) {
      this.curve.replaceChildren();
      return;
    }
    const sorted = points.map((point) => ({ x: point.minutes, y: point.cer, low: point.low, high: point.high })).sort((a, b) => a.x - b.x);
    this.curve.replaceChildren(lineChart({
      points: sorted, xLabel: "minutes of labels", yLabel: "CER", format: percent, formatX: (x) => x.toFixed(1), dots: true,
      caption: "Character error rate by minutes of labels, with 95 % intervals",
    }));
  }

  drawRounds(now) {
    const scores = new Map(now.points.map((point) => [point.number, point]));
    const rows = now.rounds.map((round) => {
      const score = scores.get(round.number);
      const cer = score ? `${percent(score.cer)} (${percent(score.low)} to ${percent(score.high)})` : "–";
      const name = round.number === now.served ? `${round.number}, in use` : String(round.number);
      const start = RECIPES[round.recipe] ?? (round.init ? round.init.split("/").at(-1) : "scratch");
      const cells = [name, `${round.minutes.toFixed(1)} min`, `${round.held_out_minutes.toFixed(1)} min (${round.held_out})`, start, STATES[round.state], cer];
      return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
    });
    if (!rows.length) rows.push(element("tr", {}, element("td", { colspan: "6", class: "soft" }, "none yet")));
    this.rounds.replaceChildren(...rows);
  }
}

function short(value) {
  return value >= 100 || value === 0 ? value.toFixed(0) : value.toPrecision(2);
}
