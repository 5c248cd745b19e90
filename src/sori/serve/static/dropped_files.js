// The files of a drop, those of dropped folders included.

// Resolves to the files and whether folders were among them. What was dropped can be read only until the first `await`;
// hence no async function. Files are not read through their entries, which not all browsers give for every file.
export function filesOf(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return Promise.resolve({ files, hasFolder: false });
  return Promise.all(entries.map(filesBelow)).then((found) => ({ files: found.flat(), hasFolder: true }));
}

async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    for (const child of some) found.push(...(await filesBelow(child)));
  }
  return found.sort((one, other) => one.name.localeCompare(other.name));
}
