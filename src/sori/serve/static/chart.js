// Line charts as SVG: one or two series over a numeric axis, with intervals if there are any.

import { element } from "./elements.js";

const HEIGHT = 260, LEFT = 56, RIGHT = 18, TOP = 14, BOTTOM = 44;

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// points: [{ x, y, low, high }]; y from 0. Returns a figure with a caption and a table for screen readers.
export function lineChart({ points, xLabel, yLabel, format = String, formatX = String, caption, dots = false }) {
  const width = matchMedia("(max-width: 34rem)").matches ? 380 : 640; // letters keep their size on a telephone
  const xs = points.map((point) => point.x);
  const x0 = dots ? 0 : Math.min(...xs), x1 = Math.max(...xs) * (dots ? 1.1 : 1) || 1;
  const top = niceTop(Math.max(...points.map((point) => point.high ?? point.y)));
  const x = (value) => LEFT + ((value - x0) / (x1 - x0 || 1)) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (Math.min(value, top) / top) * (HEIGHT - TOP - BOTTOM);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": caption, class: "chart" });
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const value = part * top;
    drawing.append(
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "chart-grid" }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    );
  }
  for (const part of [0, 0.5, 1]) {
    const value = x0 + part * (x1 - x0);
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    drawing.append(svg("text", { x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": anchor }, formatX(value)));
  }
  drawing.append(svg("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xLabel));
  const path = points.map((point, n) => `${n ? "L" : "M"}${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)}`).join("");
  drawing.append(svg("path", { d: path, class: "chart-line" }));
  for (const point of dots ? points : []) {
    if (point.low !== undefined) {
      drawing.append(svg("line", { x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high), class: "chart-interval" }));
    }
    drawing.append(svg("circle", { cx: x(point.x), cy: y(point.y), r: 5, class: "chart-dot" }));
  }
  const shown = dots ? points : [points[0], points.at(-1)];
  const rows = shown.map((point) => element("tr", {}, element("td", {}, formatX(point.x)), element("td", {}, format(point.y))));
  const table = element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, element("th", {}, xLabel), element("th", {}, yLabel))), element("tbody", {}, ...rows));
  return element("figure", { class: "chart-figure" }, element("figcaption", {}, caption), drawing,
    element("div", { class: "visually-hidden" }, table));
}

function niceTop(most) {
  if (!(most > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 5, 10].map((one) => one * unit).find((one) => one >= most * 0.999) ?? most;
}
