// The words of a transcript as data: every change makes a new list, so that it can be undone.
// A word is { text, start, end, confidence, paragraph }; confidence is null where a person has written it.

// The words of a chunk as the server sends it.
export function wordsOf(chunk) {
  return chunk.words.map((word) => ({
    text: word.text,
    start: word.start,
    end: word.end,
    confidence: word.confidence ?? null,
    edited: false,
    paragraph: chunk.number,
  }));
}

// Replace the text of a word: none removes it, several words divide its time in proportion to their length.
export function replaced(words, index, text) {
  const old = words[index];
  const parts = text.trim().split(/\s+/u).filter(Boolean);
  if (parts.length === 1 && parts[0] === old.text) return words;
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  let start = old.start;
  const made = parts.map((part) => {
    const end = start + ((old.end - old.start) * part.length) / total;
    const word = { ...old, text: part, start, end, confidence: null, edited: true };
    start = end;
    return word;
  });
  return [...words.slice(0, index), ...made, ...words.slice(index + 1)];
}

// Join a word to the one before it.
export function joined(words, index) {
  if (index < 1) return words;
  const [one, other] = [words[index - 1], words[index]];
  const word = { ...one, text: one.text + other.text, end: Math.max(one.end, other.end), confidence: null, edited: true };
  return [...words.slice(0, index - 1), word, ...words.slice(index + 1)];
}

// Number of the last word that begins at or before a time; -1: none.
export function wordAt(words, seconds) {
  let [low, high] = [0, words.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export function paragraphsOf(words) {
  const found = [];
  words.forEach((word, index) => {
    const last = found.at(-1);
    if (last && last.paragraph === word.paragraph) last.words.push({ word, index });
    else found.push({ paragraph: word.paragraph, start: word.start, words: [{ word, index }] });
  });
  return found;
}

export function plainText(words) {
  return paragraphsOf(words)
    .map((one) => one.words.map(({ word }) => word.text).join(" "))
    .join("\n\n");
}
