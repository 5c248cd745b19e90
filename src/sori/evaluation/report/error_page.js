"use strict";
{
  const list = document.getElementById("utterances");
  const all = [...list.children];
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const chips = [...document.querySelectorAll("[data-only]")];
  const number = (one, key) => Number(one.dataset[key]);

  const only = {
    all: () => true,
    wrong: (one) => number(one, "wrong") > 0,
    first: (one) => number(one, "gap") < 0,
    second: (one) => number(one, "gap") > 0,
  };
  const before = {
    worst: (a, b) => number(b, "worst") - number(a, "worst") || number(b, "length") - number(a, "length"),
    number: (a, b) => number(a, "number") - number(b, "number"),
    length: (a, b) => number(b, "length") - number(a, "length") || number(a, "number") - number(b, "number"),
    gap: (a, b) => Math.abs(number(b, "gap")) - Math.abs(number(a, "gap")) || before.worst(a, b),
  };

  // Searchable content of an utterance: its plain texts and its single errors; collected on first use.
  const searchable = new Map();
  function collect(one) {
    const errors = new Set();
    const texts = [one.querySelector("header").textContent];
    for (const fact of one.querySelectorAll("header > *")) errors.add(fact.textContent.toLowerCase());
    for (const line of one.querySelectorAll("dd[dir]")) {
      const plain = line.cloneNode(true);
      for (const above of plain.querySelectorAll("rt")) {
        const reference = above.textContent;
        const word = above.parentNode;
        above.remove();
        errors.add(`${reference} → ${word.textContent}`.toLowerCase());
      }
      for (const extra of plain.querySelectorAll(".extra")) {
        extra.textContent = extra.textContent.slice(1);
        errors.add(`+ ${extra.textContent}`.toLowerCase());
      }
      for (const missing of plain.querySelectorAll(".missing")) {
        errors.add(`− ${missing.textContent}`.toLowerCase());
        missing.remove();
      }
      texts.push(plain.textContent.replace(/\s+/g, " "));
    }
    return { errors, text: texts.join("\n").toLowerCase() };
  }
  function holds(one, wanted) {
    if (!searchable.has(one)) searchable.set(one, collect(one));
    const { errors, text } = searchable.get(one);
    return /^[+−] | → |^speaker /.test(wanted) ? errors.has(wanted) : text.includes(wanted);
  }

  let sorted = "worst";
  function show() {
    const wanted = search.value.trim().toLowerCase();
    const chosen = only[chips.find((chip) => chip.ariaPressed === "true").dataset.only];
    let shown = 0;
    for (const one of all) {
      one.hidden = !(chosen(one) && (!wanted || holds(one, wanted)));
      shown += !one.hidden;
    }
    if (order.value !== sorted) {
      sorted = order.value;
      list.append(...all.sort(before[sorted]));
    }
    document.getElementById("shown").textContent = `${shown.toLocaleString("en")} shown`;
  }

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 150);
  });
  order.addEventListener("change", show);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      for (const other of chips) other.ariaPressed = String(other === chip);
      show();
    });
  }
  for (const word of document.querySelectorAll("[data-find]")) {
    word.addEventListener("click", () => {
      search.value = word.dataset.find;
      show();
      document.getElementById("tools").scrollIntoView();
    });
  }
  const tools = document.getElementById("tools");
  tools.hidden = false;
  order.value = sorted; // a browser may restore an earlier choice
  search.value = "";
  show();
}
