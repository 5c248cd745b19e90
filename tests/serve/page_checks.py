"""Scripts that return what is wrong with a page: too little contrast (WCAG 2, AA), controls without a name, visible
elements that should be hidden; and one that
presses a key with the properties that some browser or keyboard gives it."""

CONTRAST = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => {
    const alpha = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map((index) => top[index] * alpha + below[index] * (1 - alpha));
  };
  const light = (colour) => {
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const other = node.disabled || node.closest(".visually-hidden, .skip, noscript, option");
    if (!own || other || !node.checkVisibility()) continue;
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(number(getComputedStyle(at).backgroundColor));
    const back = behind.reduce((below, top) => over(top, below), [255, 255, 255]);
    const style = getComputedStyle(node);
    const front = over(number(node instanceof SVGElement ? style.fill : style.color), back);
    const [high, low] = [light(front), light(back)].sort((one, other) => other - one);
    const ratio = (high + 0.05) / (low + 0.05);
    const name = `${node.className || node.tagName} ${node.textContent.slice(0, 20)}`;
    if (ratio < 4.5) found.push(`${name}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
UNLABELLED = """() => [...document.querySelectorAll("button, input, select, a, progress, meter, [role=slider]")]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
  .map((node) => node.outerHTML)"""
HIDDEN = """() => [...document.querySelectorAll("[hidden]")]
  .filter((node) => getComputedStyle(node).display !== "none")
  .map((node) => node.outerHTML)"""
PRESS = """(key) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...key }))"""
