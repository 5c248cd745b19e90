"use strict";
{
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const AT_ONCE = 300;
  const PAUSE_MS = 350;
  const SEARCHED_FRACTION = 0.1;
  // Units with fewer labelled frames are pure by chance, and come last when sorted by purity.
  const FEWEST_LABELLED = 20;
  const collator = new Intl.Collator("en", { numeric: true });
  const percent = (x) => `${(100 * x).toFixed(x < 0.001 ? 2 : x < 0.1 ? 1 : 0)} %`;
  const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
  const hasPhones = data.phones.length > 0;

  const views = data.views.map((view, at) => {
    const total = view.num_frames.reduce((sum, count) => sum + count, 0);
    const examples = view.labels.map(() => []);
    for (const [number, one] of data.examples.entries()) {
      const found = one.rows[at] < 0 ? null : examples[one.rows[at]];
      if (found && found.length < data.each) found.push(number);
    }
    const units = view.labels.map((label, row) => {
      const [top] = view.phones[row];
      return {
        row,
        label,
        fraction: view.num_frames[row] / total,
        ms: (1000 * data.step * view.num_frames[row]) / view.num_stretches[row],
        phone: top ? data.phones[top[0]] : "",
        purity: top ? top[1] / view.labelled[row] : 0,
        isSure: view.labelled[row] >= FEWEST_LABELLED,
      };
    });
    return { ...view, units, examples, top: Math.max(...view.num_frames) / total };
  });

  const byLabel = (a, b) => collator.compare(a.label, b.label);
  const orders = {
    frequency: ["frequency", (a, b) => b.fraction - a.fraction || byLabel(a, b)],
    ...(hasPhones && {
      phone: ["phone", (a, b) => !a.phone - !b.phone || collator.compare(a.phone, b.phone) || b.purity - a.purity],
      purity: ["phone purity", (a, b) => b.isSure - a.isSure || b.purity - a.purity || b.fraction - a.fraction],
    }),
    duration: ["mean duration", (a, b) => b.ms - a.ms || byLabel(a, b)],
    number: ["number", byLabel],
  };

  let view = views[0];
  let chosen = -1;
  let listed = [];
  let shown = 0;

  function element(tag, content = "", attributes = {}) {
    const made = document.createElement(tag);
    if (Array.isArray(content)) made.append(...content);
    else made.textContent = content;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function bar(fraction) {
    const inside = element("i");
    inside.style.width = `${Math.max(fraction ? 1.5 : 0, 100 * fraction)}%`;
    return element("span", [inside], { class: "bar", "aria-hidden": "true" });
  }

  // A number finds units that begin with it or contain it; other text finds phones, the purest units first.
  function matching(wanted) {
    if (!wanted) return view.units;
    if (/^[\d-]+$/.test(wanted)) {
      return view.units.filter((unit) => unit.label.startsWith(wanted) || unit.label.split("-").includes(wanted));
    }
    const text = wanted.normalize("NFC").toLowerCase();
    const equal = (phone) => data.phones[phone].normalize("NFC").toLowerCase() === text;
    const fraction = (unit) => {
      const found = view.phones[unit.row].filter(([phone]) => equal(phone));
      return found.reduce((sum, [, count]) => sum + count, 0) / (view.labelled[unit.row] || 1);
    };
    return view.units.filter((unit) => fraction(unit) >= SEARCHED_FRACTION);
  }

  function list() {
    listed = [...matching($("search").value.trim())].sort(orders[$("order").value][1]);
    shown = 0;
    $("units").replaceChildren();
    more();
    $("found").textContent = `${many(listed.length, "unit")} of ${view.units.length.toLocaleString("en")} that occur`;
    mark();
  }

  function more() {
    const some = listed.slice(shown, shown + AT_ONCE).map((unit) => {
      const button = element(
        "button",
        [
          element("span", unit.label),
          bar(unit.fraction / view.top),
          element("span", unit.phone ? `${unit.phone} ${percent(unit.purity)}` : `${Math.round(unit.ms)} ms`),
          element("span", percent(unit.fraction)),
        ],
        { type: "button", tabindex: "-1", "data-row": unit.row },
      );
      button.setAttribute("aria-label", spoken(unit));
      return element("li", [button]);
    });
    $("units").append(...some);
    shown += some.length;
    $("more").hidden = shown >= listed.length;
  }

  function spoken(unit) {
    const phone = unit.phone ? `, mostly ${unit.phone}, ${percent(unit.purity)}` : "";
    return `unit ${unit.label}, ${percent(unit.fraction)} of all frames${phone}, ${Math.round(unit.ms)} milliseconds`;
  }

  const buttons = () => [...$("units").querySelectorAll("button")];
  const buttonOf = (row) => $("units").querySelector(`[data-row="${row}"]`);

  // One button of the list is in the order of Tab: the chosen one if it is listed, otherwise the first.
  function mark() {
    for (const one of $("units").querySelectorAll("[aria-current], [tabindex='0']")) {
      one.removeAttribute("aria-current");
      one.tabIndex = -1;
    }
    const own = buttonOf(chosen);
    own?.setAttribute("aria-current", "true");
    const reached = own || $("units").querySelector("button");
    if (reached) reached.tabIndex = 0;
  }

  function choose(row) {
    stop();
    chosen = row;
    if (!buttonOf(row)) {
      const place = listed.findIndex((unit) => unit.row === row);
      while (place >= shown) more();
    }
    mark();
    buttonOf(row)?.scrollIntoView({ block: "nearest" });
    describe(view.units[row]);
  }

  function rows(items, { total, name, to, value }) {
    const most = Math.max(...items.map(([, count]) => count / total));
    const lines = items.map(([at, count]) => {
      const part = count / total;
      const cells = [element("span", name(at)), bar(part / (most || 1)), element("span", value ? value(at, count) : percent(part))];
      if (!to || at < 0) return element("li", cells);
      const button = element("button", cells, { type: "button" });
      button.addEventListener("click", () => {
        choose(at);
        $("unit").focus({ preventScroll: true });
      });
      return element("li", [button]);
    });
    return element("ul", lines, { class: "rows" });
  }

  const part = (title, ...content) => element("div", [element("h3", title), ...content]);
  const soft = (text) => element("p", text, { class: "soft" });

  function describe(unit) {
    const row = unit.row;
    const examples = view.examples[row];
    const facts = [
      ["frames", `${view.num_frames[row].toLocaleString("en")} (${percent(unit.fraction)})`],
      ["stretches", view.num_stretches[row].toLocaleString("en")],
      ["mean duration", `${Math.round(unit.ms)} ms`],
      ["speakers", `${view.num_speakers[row]} of ${data.speakers.length}`],
    ].map(([name, value]) => element("div", [element("dt", name), element("dd", value)]));
    const parts = [];
    if (view.labelled[row]) {
      const note = soft(`${many(view.labelled[row], "frame")} with a label; purity ${percent(unit.purity)}`);
      parts.push(part("Phones", rows(view.phones[row], { total: view.labelled[row], name: (at) => data.phones[at] }), note));
    } else if (hasPhones) parts.push(part("Phones", soft("No frame of this unit has a label in the alignments.")));
    const label = (outside) => (at) => (at < 0 ? outside : named(at));
    const stretches = view.num_stretches[row];
    parts.push(
      part("Before it", rows(view.before[row], { total: stretches, name: label("(start)"), to: true })),
      part("After it", rows(view.after[row], { total: stretches, name: label("(end)"), to: true })),
    );
    const cosine = (_, count) => (count / 1000).toFixed(2);
    const near = rows(view.near[row], { total: 1000, name: named, to: true, value: cosine });
    parts.push(part("Nearest in the codebook", near, soft("cosine")));
    if (data.speakers.length > 1) {
      const total = view.num_frames[row];
      parts.push(part("Speakers", rows(view.speakers[row], { total, name: (at) => data.speakers[at] })));
    }
    if (data.languages.length > 1) parts.push(part("Languages", byLanguage(row), soft("percent of the frames of the language")));
    const head = [element("h2", `Unit ${unit.label}`, { id: "unit-name" }), element("dl", facts, { id: "facts" })];
    $("unit").replaceChildren(...head, ...listen(examples), element("div", parts, { class: "columns" }));
    draw(examples);
  }

  const named = (row) => (view.units[row].phone ? `${view.labels[row]} ${view.units[row].phone}` : view.labels[row]);

  function byLanguage(row) {
    const rate = (at, count) => count / (data.languageFrames[at] || 1);
    const most = view.languages[row].map(([at, count]) => [at, rate(at, count)]);
    return rows(most, { total: 1, name: (at) => data.languages[at] });
  }

  function listen(examples) {
    if (!examples.length) return [soft("No example of this unit is on this page.")];
    const idle = `Play ${many(examples.length, "example")}`;
    const button = element("button", idle, { type: "button", id: "play-all", "data-idle": idle });
    button.addEventListener("click", () => (playing ? stop() : play(examples)));
    const cards = examples.map((number) => {
      const one = data.examples[number];
      const phones = one.phones.map(([label, inside]) => element(inside ? "b" : "span", `${label} `));
      for (const phone of phones) phone.style.display = "inline";
      const who = [one.speaker, one.language].filter(Boolean).join(", ");
      const at = `${one.utterance}, ${(one.at + one.start).toFixed(2)} s`;
      const card = element(
        "button",
        [element("canvas", "", { "aria-hidden": "true" }), element("span", phones, { class: "phones" }), element("span", who), element("span", at, { class: "soft" })],
        { type: "button", "data-example": number, "aria-pressed": "false" },
      );
      card.setAttribute("aria-label", `Play ${at}, ${who}`);
      card.addEventListener("click", () => play([number]));
      return element("li", [card]);
    });
    return [button, element("ul", cards, { id: "examples" })];
  }

  // The next example starts when the last one has ended; `playing` identifies the current series.
  const player = $("player");
  const source = (number) => `data:audio/mpeg;base64,${data.examples[number].sound}`;
  let playing = null;
  let waiting = 0;

  function play(numbers) {
    stop();
    const series = { left: [...numbers] };
    playing = series;
    const button = $("play-all");
    if (button && numbers.length > 1) button.textContent = "Stop";
    next(series);
  }

  function next(series) {
    if (playing !== series) return;
    if (!series.left.length) {
      stop();
      return;
    }
    const number = series.left.shift();
    press(number);
    player.src = source(number);
    player.play().catch(() => playing === series && stop());
  }

  player.addEventListener("ended", () => {
    const series = playing;
    if (!series) return;
    press(-1);
    waiting = setTimeout(() => next(series), series.left.length ? PAUSE_MS : 0);
  });

  function stop() {
    clearTimeout(waiting);
    playing = null;
    player.pause();
    press(-1);
    const button = $("play-all");
    if (button) button.textContent = button.dataset.idle;
  }

  function press(number) {
    for (const one of document.querySelectorAll("[data-example]")) {
      one.setAttribute("aria-pressed", String(Number(one.dataset.example) === number));
    }
  }

  // Waveforms are drawn from the decoded clips, with the unit highlighted.
  const waveforms = new Map();
  const decoder = makeDecoder();

  // Without one (some browsers refuse this rate) there are no waveforms, but clips can be played.
  function makeDecoder() {
    try {
      return new OfflineAudioContext(1, 1, 16000);
    } catch {
      return null;
    }
  }

  async function decoded(number) {
    if (!waveforms.has(number)) {
      const bytes = Uint8Array.from(atob(data.examples[number].sound), (letter) => letter.charCodeAt(0));
      waveforms.set(number, (await decoder.decodeAudioData(bytes.buffer)).getChannelData(0));
    }
    return waveforms.get(number);
  }

  async function draw(examples) {
    for (const number of decoder ? examples : []) {
      const waveform = await decoded(number).catch(() => null);
      const canvas = document.querySelector(`[data-example="${number}"] canvas`);
      if (!canvas || !waveform) continue;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      [canvas.width, canvas.height] = [width, height];
      const style = getComputedStyle(document.documentElement);
      const [ink, accent] = ["--soft", "--accent"].map((name) => style.getPropertyValue(name));
      const pen = canvas.getContext("2d");
      const { start, end } = data.examples[number];
      for (let x = 0; x < width; x++) {
        const some = waveform.subarray(Math.floor((x * waveform.length) / width), Math.ceil(((x + 1) * waveform.length) / width));
        const reach = some.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const second = ((x + 0.5) * waveform.length) / width / 16000;
        pen.fillStyle = second >= start && second < end ? accent : ink;
        const tall = Math.max(ratio, reach * height);
        pen.fillRect(x, (height - tall) / 2, 1, tall);
      }
    }
  }

  function changeView(at) {
    view = views[at];
    $("search-help").textContent = `${view.note} Search by number${hasPhones ? " or phone" : ""}.`;
    const { length } = view.units;
    const never = view.num_possible - length;
    $("unused").querySelector("summary").textContent = `${never.toLocaleString("en")} of ${view.num_possible.toLocaleString("en")} do not occur`;
    $("unused").querySelector("p").textContent = view.unused.join(", ") || (never ? "Too many to list; each group lists its own." : "None.");
    chosen = -1;
    list();
    if (listed.length) choose(listed[0].row);
  }

  for (const [at, one] of views.entries()) $("view").append(element("option", one.name, { value: at }));
  $("of-view").hidden = views.length < 2;
  for (const [name, [text]] of Object.entries(orders)) $("order").append(element("option", text, { value: name }));
  // A browser may restore an earlier search.
  $("search").value = "";
  $("view").addEventListener("change", () => changeView(Number($("view").value)));
  $("order").addEventListener("change", list);
  $("search").addEventListener("input", list);
  $("more").addEventListener("click", more);
  $("units").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    choose(Number(button.dataset.row));
    if (event.detail && view.examples[chosen].length) play(view.examples[chosen]);
  });
  $("units").addEventListener("keydown", (event) => {
    const every = buttons();
    const at = every.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: every.length - 1 }[event.key];
    if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      choose(Number(every[at].dataset.row));
      play(view.examples[chosen]);
    }
    if (to === undefined || !every[to]) return;
    event.preventDefault();
    choose(Number(every[to].dataset.row));
    buttonOf(chosen).focus();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && stop());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chosen >= 0 && draw(view.examples[chosen]));

  changeView(0);
  const linked = views[0].labels.indexOf(decodeURIComponent(location.hash.slice(1)));
  if (linked >= 0) choose(linked);
  window.explorer = { decoded, chosen: () => chosen, playing: () => playing !== null, views };
}
