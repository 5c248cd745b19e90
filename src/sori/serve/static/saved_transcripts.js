// Transcripts that this browser keeps, so that a closed or reloaded page loses no correction.

const NAME = "sori";
const STORE = "transcripts";

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return opened;
}

async function attempt(mode, action) {
  const transaction = (await database()).transaction(STORE, mode);
  const request = action(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

// Safari closes the database of a page that was long in the background: open it again, once.
async function run(mode, action) {
  try {
    return await attempt(mode, action);
  } catch {
    opened = null;
    return attempt(mode, action);
  }
}

export const all = () => run("readonly", (store) => store.getAll());
export const save = (transcript) => run("readwrite", (store) => store.put(transcript));
export const remove = (id) => run("readwrite", (store) => store.delete(id));
