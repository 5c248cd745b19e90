{
  // Shows the page in Korean with ?lang=ko. Texts are translated as they appear; words of the model are left alone.
  const korean = new URLSearchParams(location.search).get("lang") === "ko";
  const table = JSON.parse(document.getElementById("korean").textContent);
  const rules = table.rules.map(([pattern, by]) => [new RegExp(pattern), by]);
  const ofModel = (node) =>
    node.parentElement?.closest("#label, #results span:first-child, #near span:first-child, script, style, #language");

  function translated(text) {
    const bare = text.trim().replace(/\s+/g, " ");
    if (bare in table.texts) return text.replace(text.trim(), () => table.texts[bare]);
    const parts = text.split("; ").map((part) => {
      const name = part.trim();
      if (name in table.texts) return table.texts[name];
      for (const [pattern, by] of rules) if (pattern.test(part)) return part.replace(pattern, by);
      return part;
    });
    const [kind, value] = [parts.findIndex((part) => part.startsWith("kind: ")), 6];
    if (kind >= 0) parts[kind] = `분류: ${table.texts[parts[kind].slice(value)] ?? parts[kind].slice(value)}`;
    return parts.join("; ");
  }

  function translate(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
      if (node.nodeType !== Node.TEXT_NODE || !node.data.trim() || ofModel(node)) continue;
      const text = translated(node.data);
      if (text !== node.data) node.data = text;
    }
  }

  const link = document.createElement("a");
  link.id = "language";
  link.href = korean ? "?lang=en" : "?lang=ko";
  link.textContent = korean ? "English" : "한국어";
  link.lang = korean ? "en" : "ko";
  document.body.prepend(link);
  if (korean) {
    document.documentElement.lang = "ko";
    document.title = translated(document.title);
    translate(document.body);
    const view = document.getElementById("view");
    view.setAttribute("aria-label", translated(view.getAttribute("aria-label")));
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) translate(node);
    }).observe(document.body, { childList: true, subtree: true });
  }
}
