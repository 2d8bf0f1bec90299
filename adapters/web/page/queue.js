// The messages that the server has not taken yet, with their files, in the browser's own database. So they
// outlive the page. The key of each makes it one turn, however often it is sent.

let database;

function open() {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open("ponte", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("messages", { keyPath: "key" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return database;
}

/** Without such a database, as in some private windows, messages are kept only as long as the page. */
async function act(mode, work) {
  try {
    const asked = work((await open()).transaction("messages", mode).objectStore("messages"));
    return await new Promise((resolve, reject) => {
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } catch {
    return undefined;
  }
}

export const put = (message) => act("readwrite", (store) => store.put(message));
export const drop = (key) => act("readwrite", (store) => store.delete(key));
export const clear = () => act("readwrite", (store) => store.clear());

/** All of them, oldest first. */
export async function list() {
  return (await act("readonly", (store) => store.getAll()) ?? []).sort((one, other) => one.at - other.at);
}
