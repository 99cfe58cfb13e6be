// Images that the browser keeps over a reload; one that cannot keep them shows the page all the same.

const NAME = "promptengine.studio";
const STORE = "blobs";

let opened: Promise<IDBDatabase | null> | null = null;

function open(): Promise<IDBDatabase | null> {
  opened ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
      request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opened;
}

async function ask(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  const database = await open();
  if (!database) return null;
  return new Promise((resolve) => {
    try {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result as unknown);
      transaction.onerror = () => resolve(null);
      transaction.onabort = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

/** What was kept under a name; null for nothing. */
export async function keptBlob(name: string): Promise<Blob | null> {
  const found = await ask("readonly", (store) => store.get(name));
  return found instanceof Blob ? found : null;
}

/** Keep something under a name in place of what was there; null for nothing. */
export async function keepBlob(name: string, blob: Blob | null): Promise<void> {
  await ask("readwrite", (store) => (blob ? store.put(blob, name) : store.delete(name)));
}

/** The bytes of something in base64, made off the main path. */
export function base64Of(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const url = String(reader.result);
      resolve(url.slice(url.indexOf(",") + 1));
    };
    reader.onerror = () => reject(reader.error ?? new Error("The image cannot be read any more; choose it again."));
    reader.readAsDataURL(blob);
  });
}
