// The frame of the page: navigation between views, each of which is a module with a function `show(root, about)`.
// `show` fills an empty element and returns a function that ends the view, or nothing.

import { getJson } from "./api.js";
import { element, text } from "./elements.js";

const TITLES = { transcribe: "Transcribe", label: "Label", train: "Train" };
let end = null;
let opened = 0;

async function open(name, about) {
  opened += 1;
  const turn = opened;
  const root = document.getElementById("view");
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  end?.();
  end = null;
  const module = await import(`./${name}.js`);
  if (turn !== opened) return;
  root.replaceChildren();
  document.title = `${TITLES[name]} – sori`;
  const ending = (await module.show(root, about)) ?? null;
  // Another view was opened while this one waited for the server: this one must not react to keys any more.
  if (turn === opened) end = ending;
  else ending?.();
}

function chosen(about) {
  const name = location.hash.slice(1).split("/")[0];
  return about.views.includes(name) ? name : about.views[0];
}

async function start() {
  let about;
  try {
    about = await getJson("/api/about");
  } catch (error) {
    const words = `The server does not answer: ${error.message}`;
    document.getElementById("view").append(element("p", { class: "error", role: "alert" }, words));
    return;
  }
  text(document.getElementById("model"), about.model ? `Recogniser: ${about.model}` : "");
  const links = about.views.map((name) =>
    element("li", {}, element("a", { href: `#${name}`, "data-view": name }, TITLES[name])),
  );
  document.getElementById("views").append(...(links.length > 1 ? links : []));
  let current = chosen(about);
  window.addEventListener("hashchange", () => {
    if (location.hash === "#view" || chosen(about) === current) return;
    current = chosen(about);
    open(current, about);
  });
  await open(current, about);
}

start();
