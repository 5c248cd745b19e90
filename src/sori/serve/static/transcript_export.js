// Save a transcript as a file, in a format that the server writes.

import { postJson } from "./api.js";
import { element } from "./elements.js";

export async function saveTranscript(recording, format) {
  const words = recording.words.map(({ text, start, end, confidence }) => ({ text, start, end, confidence }));
  const last = words.at(-1)?.end ?? 0;
  const duration = Math.max(recording.duration, last, 0.001);
  const response = await postJson("/api/export", { name: recording.name.slice(0, 250), duration, words, format });
  const { name, content } = await response.json();
  const address = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return name;
}
