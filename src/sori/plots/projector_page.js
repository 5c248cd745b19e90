{
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const number = data.labels.length;
  const near = new Uint32Array(bytes(data.near));
  const cosines = new Int16Array(bytes(data.cosines));
  const clouds = Object.fromEntries(
    Object.entries(data.places).map(([name, text]) => [name, within(new Int16Array(bytes(text)))]),
  );

  // Scale so that 97 % of the points fill the view, whatever the outliers.
  function within(places) {
    const radii = Float32Array.from({ length: number }, (_, i) => Math.hypot(...places.subarray(3 * i, 3 * i + 3))).sort();
    const reach = radii[Math.floor(0.97 * (number - 1))] || radii[number - 1] || 1;
    return Float32Array.from(places, (x) => x / reach);
  }

  const columns = data.columns.map((one) => ({ ...one, of: new Uint32Array(bytes(one.of)) }));
  const shown = (i) => data.labels[i] || "(no label)";

  // Colours with contrast on white and on black; further values are grey.
  const KINDS = ["#2f7fc1", "#e0702a", "#1f9e78", "#b0619f", "#d43d51", "#a8871c", "#4c9fd8", "#7a6ad0", "#5d9732",
    "#c9567f", "#2aa3a3", "#b5653a", "#8b5fbf", "#6d8f1f", "#d1893a", "#4a78d6", "#bf4fb0", "#3f8f5a"];
  const STEPS = ["#3d6fd1", "#2f93b8", "#2fa36b", "#93a03a", "#d98b2b", "#d4533d"];
  const GREY = "#8b9099";
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  const paint = (column, value) => {
    if (!column || column.values[value] === "") return GREY;
    if (!column.ordered) return KINDS[value] || GREY;
    return STEPS[Math.round((value * (STEPS.length - 1)) / Math.max(1, column.values.length - 1))];
  };

  const scene = {
    places: Object.values(clouds)[0],
    colours: new Float32Array(3 * number),
    states: new Float32Array(number),
    look: null,
    changed: { places: true, colours: true, states: true },
    paper: [1, 1, 1],
    ink: [0, 0, 0],
    width: 1,
    height: 1,
  };
  const spots = new Float32Array(3 * number);
  let view = $("view");
  let painter = null;
  let column = columns[0] || null;
  let only = new Set();
  let found = new Set();
  let chosen = -1;
  let over = -1;
  let step = -1;
  let spinning = false;

  function start(plain) {
    if (painter) {
      const fresh = view.cloneNode(false);
      view.replaceWith(fresh);
      view = fresh;
      listen();
    }
    scene.changed = { places: true, colours: true, states: true };
    try {
      painter = (plain ? null : Draw.webgl(view)) || null;
    } catch {
      painter = null;
      const fresh = view.cloneNode(false);
      view.replaceWith(fresh);
      view = fresh;
      listen();
    }
    painter ||= Draw.canvas(view);
    view.addEventListener("webglcontextlost", () => start(true));
    fit();
  }

  const all = () => ({ yaw: 0.6, pitch: 0.35, distance: Draw.FAR, target: [0, 0, 0] });

  function theme() {
    const style = getComputedStyle(document.documentElement);
    scene.paper = rgb(style.getPropertyValue("--paper").trim());
    scene.ink = rgb(style.getPropertyValue("--ink").trim());
    requestDraw();
  }

  function fit() {
    const box = view.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    [scene.width, scene.height] = [Math.max(1, box.width), Math.max(1, box.height)];
    for (const canvas of [view, $("names")]) {
      canvas.width = Math.round(scene.width * ratio);
      canvas.height = Math.round(scene.height * ratio);
    }
    requestDraw();
  }

  let drawRequested = false;
  function requestDraw() {
    if (drawRequested) return;
    drawRequested = true;
    requestAnimationFrame(() => {
      drawRequested = false;
      draw();
      if (spinning) {
        scene.look.yaw += 0.006;
        requestDraw();
      }
    });
  }

  function draw() {
    painter.draw(scene);
    Draw.project(scene, spots);
    drawLabels();
  }

  // Labels: the selected point and its neighbours, search results, and other points if there is space.
  function drawLabels() {
    const canvas = $("names");
    const pen = canvas.getContext("2d");
    const ratio = canvas.width / scene.width;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, scene.width, scene.height);
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    const style = getComputedStyle(document.documentElement);
    const taken = [];
    const put = (text, x, y, bold) => {
      text = text.length > 32 ? `${text.slice(0, 31)}…` : text;
      pen.font = `${bold ? "700 14px" : "13px"} system-ui, sans-serif`;
      const width = pen.measureText(text).width;
      const left = x + 7 + width > scene.width ? x - 7 - width : x + 7;
      const box = [left - 3, y - 9, left + width + 3, y + 9];
      if (!(x > 0 && x < scene.width && y > 0 && y < scene.height)) return false;
      if (!bold && taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) return false;
      taken.push(box);
      pen.lineWidth = 4;
      pen.strokeStyle = style.getPropertyValue("--paper");
      pen.strokeText(text, left, y);
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillText(text, left, y);
      return true;
    };
    const beside = (i, bold) => put(shown(i), spots[3 * i], spots[3 * i + 1], bold);
    if (chosen >= 0) {
      pen.strokeStyle = style.getPropertyValue("--accent");
      pen.lineWidth = 1;
      for (const i of around(chosen)) {
        pen.beginPath();
        pen.moveTo(spots[3 * chosen], spots[3 * chosen + 1]);
        pen.lineTo(spots[3 * i], spots[3 * i + 1]);
        pen.stroke();
      }
      beside(chosen, true);
      for (const i of around(chosen)) beside(i, false);
    }
    if (over >= 0) beside(over, true);
    let room = 40;
    for (const i of found) if (room-- > 0) beside(i, false);
    if (chosen >= 0 || found.size) return;
    if (data.named) {
      for (let i = 0; i < number && room > 0; i++) if (scene.states[i] && beside(i, false)) room--;
    } else if (column) {
      for (const [value, [x, y]] of middles()) put(column.values[value], x, y, false);
    }
  }

  // Screen position of each coloured value: the mean of its points.
  function middles() {
    const sums = new Map();
    for (let i = 0; i < number; i++) {
      const value = column.of[i];
      if (!scene.states[i] || paint(column, value) === GREY || !(spots[3 * i] > -1e9)) continue;
      const sum = sums.get(value) || sums.set(value, [0, 0, 0]).get(value);
      sum[0] += spots[3 * i];
      sum[1] += spots[3 * i + 1];
      sum[2]++;
    }
    return [...sums].map(([value, [x, y, count]]) => [value, [x / count, y / count]]);
  }

  const around = (i) => [...near.subarray(i * data.each, (i + 1) * data.each)];

  function colour() {
    for (let i = 0; i < number; i++) scene.colours.set(rgb(paint(column, column ? column.of[i] : 0)), 3 * i);
    scene.changed.colours = true;
    mark();
  }

  function mark() {
    const colourful = column && column.of.some((value) => paint(column, value) !== GREY);
    const close = chosen < 0 ? new Set() : new Set(around(chosen));
    for (let i = 0; i < number; i++) {
      const aside = chosen >= 0 || (only.size && !only.has(column.of[i])) || (found.size && !found.has(i));
      const plain = colourful && !only.size && paint(column, column.of[i]) === GREY ? 0.5 : 1;
      scene.states[i] = i === chosen ? 3 : close.has(i) || (found.has(i) && found.size < 200) ? 2 : aside ? 0 : plain;
    }
    scene.changed.states = true;
    requestDraw();
  }

  function button(parts, act) {
    const made = document.createElement("button");
    made.type = "button";
    for (const part of parts) {
      const span = document.createElement("span");
      span.textContent = part;
      made.append(span);
    }
    made.addEventListener("click", act);
    const item = document.createElement("li");
    item.append(made);
    return item;
  }

  function choose(i, { sound = true } = {}) {
    chosen = i;
    step = -1;
    $("chosen").hidden = i < 0;
    if (i >= 0) {
      $("label").textContent = shown(i);
      const known = columns.map((one) => `${one.name}: ${one.values[one.of[i]] || "unknown"}`).join("; ");
      $("detail").textContent = [data.details[i], known].filter(Boolean).join("; ");
      $("near").replaceChildren(
        ...around(i).map((j, n) =>
          button([shown(j), `${j in data.sounds ? "♪ " : ""}${(cosines[i * data.each + n] / 32767).toFixed(3)}`], () => choose(j)),
        ),
      );
      $("play").hidden = !Object.keys(data.sounds).length;
      $("play").disabled = !(i in data.sounds);
      $("play").textContent = i in data.sounds ? "Play" : "No audio on this page";
      if (sound) play();
    }
    mark();
  }

  function play() {
    if (!(chosen in data.sounds)) return;
    $("player").src = `data:audio/mpeg;base64,${data.sounds[chosen]}`;
    $("player").play().catch(() => {});
  }

  function search() {
    const wanted = $("search").value.trim().toLowerCase();
    const hits = [];
    if (wanted) {
      for (let i = 0; i < number; i++) {
        const label = data.labels[i].toLowerCase();
        if (label.includes(wanted)) hits.push([label === wanted ? 0 : label.startsWith(wanted) ? 1 : 2, i]);
      }
    }
    hits.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    found = new Set(hits.map(([, i]) => i));
    chosen = -1;
    $("chosen").hidden = true;
    $("results").replaceChildren(
      ...hits.slice(0, 50).map(([, i]) => button([shown(i), data.details[i] || ""], () => choose(i))),
    );
    if (wanted) {
      const more = hits.length > 50 ? ", the first 50 are listed" : "";
      showStatus(hits.length ? `${hits.length.toLocaleString("en")} found${more}` : "no label matches");
    } else showStatus("");
    mark();
  }

  function showStatus(text) {
    $("status").textContent = text;
  }

  function legend() {
    const counts = new Map();
    if (column) for (const value of column.of) counts.set(value, (counts.get(value) || 0) + 1);
    const values = column ? column.values.map((_, value) => value) : [];
    $("legend").replaceChildren(
      ...values.slice(0, 60).map((value) => {
        const item = button([column.values[value] || "unknown"], () => {
          only.has(value) ? only.delete(value) : only.add(value);
          item.firstChild.ariaPressed = String(only.has(value));
          mark();
        });
        const dot = document.createElement("i");
        dot.style.background = paint(column, value);
        const count = document.createElement("small");
        count.textContent = (counts.get(value) || 0).toLocaleString("en");
        item.firstChild.prepend(dot);
        item.firstChild.append(count);
        item.firstChild.ariaPressed = "false";
        return item;
      }),
    );
    if (values.length > 60) {
      const more = document.createElement("li");
      more.textContent = `and ${(values.length - 60).toLocaleString("en")} more values`;
      $("legend").append(more);
    }
  }

  function pick(x, y) {
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < number; i++) {
      const away = Math.hypot(spots[3 * i] - x, spots[3 * i + 1] - y);
      if (!(away < 12) || (only.size && !only.has(column.of[i]))) continue;
      const cost = away + 3 * spots[3 * i + 2];
      if (cost < least) [best, least] = [i, cost];
    }
    return best;
  }

  function zoom(factor) {
    scene.look.distance = Math.max(0.15, Math.min(8, scene.look.distance * factor));
    requestDraw();
  }

  function move(dx, dy) {
    const t = Draw.turn(scene.look);
    const k = (2 * scene.look.distance) / (Draw.FOCAL * Math.min(scene.width, scene.height));
    for (const c of [0, 1, 2]) scene.look.target[c] -= k * (dx * t[c] - dy * t[3 + c]);
    requestDraw();
  }

  function rotate(dx, dy) {
    scene.look.yaw += dx;
    scene.look.pitch = Math.max(-1.57, Math.min(1.57, scene.look.pitch + dy));
    requestDraw();
  }

  const pointers = new Map();
  let dragged = 0;
  function listen() {
    view.addEventListener("pointerdown", (event) => {
      view.setPointerCapture(event.pointerId);
      if (!pointers.size) dragged = 0;
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    view.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) {
        const now = pick(event.offsetX, event.offsetY);
        if (now !== over) {
          over = now;
          view.style.cursor = over < 0 ? "" : "pointer";
          requestDraw();
        }
        return;
      }
      const [dx, dy] = [event.offsetX - before[0], event.offsetY - before[1]];
      dragged += Math.abs(dx) + Math.abs(dy);
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
        const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
        zoom(was / Math.max(1, Math.hypot(event.offsetX - other[0], event.offsetY - other[1])));
        move(dx / 2, dy / 2);
      } else if (event.shiftKey || event.buttons === 2) move(dx, dy);
      else rotate(dx * 0.006, dy * 0.006);
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    const up = (event) => {
      const was = pointers.delete(event.pointerId);
      if (event.type === "pointerup" && was && !pointers.size && dragged < 6) choose(pick(event.offsetX, event.offsetY));
    };
    view.addEventListener("pointerup", up);
    view.addEventListener("pointercancel", up);
    view.addEventListener("contextmenu", (event) => event.preventDefault());
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) * 0.003));
    }, { passive: false });
    view.addEventListener("keydown", key);
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => rotate(-0.1, 0),
      ArrowRight: () => rotate(0.1, 0),
      ArrowUp: () => rotate(0, -0.1),
      ArrowDown: () => rotate(0, 0.1),
      "+": () => zoom(0.85),
      "=": () => zoom(0.85),
      "-": () => zoom(1 / 0.85),
      0: reset,
      Escape: () => choose(-1),
      Enter: play,
      n: () => {
        if (chosen < 0 || !data.each) return choose(0);
        const home = step < 0 ? chosen : walked;
        const next = (step + 1) % data.each;
        walked = home;
        choose(around(home)[next]);
        step = next;
      },
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
  let walked = -1;

  function reset() {
    scene.look = all();
    only = new Set();
    for (const one of $("legend").querySelectorAll("button")) one.ariaPressed = "false";
    $("search").value = "";
    search();
  }

  function options(select, names, act) {
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.parentNode.hidden = names.length < 2;
    select.addEventListener("change", () => act(select.selectedIndex));
  }

  // Rendering speed: frames per second, and milliseconds per rendered frame.
  async function measure(frames = 60) {
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    await frame();
    const begin = performance.now();
    let busy = 0;
    for (let n = 0; n < frames; n++) {
      scene.look.yaw += 0.02;
      const before = performance.now();
      draw();
      if (painter.gl) painter.gl.readPixels(0, 0, 1, 1, painter.gl.RGBA, painter.gl.UNSIGNED_BYTE, new Uint8Array(4));
      busy += performance.now() - before;
      await frame();
    }
    return { kind: painter.kind, points: number, fps: (1000 * frames) / (performance.now() - begin), ms: busy / frames };
  }

  scene.look = all();
  listen();
  options($("places"), Object.keys(clouds), (at) => {
    scene.places = Object.values(clouds)[at];
    scene.changed.places = true;
    requestDraw();
  });
  options($("columns"), columns.map((one) => one.name), (at) => {
    column = columns[at];
    only = new Set();
    legend();
    colour();
  });
  let waiting;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 120);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(waiting);
    search();
    if (found.size) choose(found.values().next().value);
  });
  $("play").addEventListener("click", play);
  $("reset").addEventListener("click", reset);
  $("spin").addEventListener("click", () => {
    spinning = !spinning;
    $("spin").ariaPressed = String(spinning);
    requestDraw();
  });
  new ResizeObserver(fit).observe($("stage"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  start(location.hash === "#canvas");
  theme();
  legend();
  colour();
  window.projector = { measure, choose, scene, spots, kind: () => painter.kind, chosen: () => chosen };
}
