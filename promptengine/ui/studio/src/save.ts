// A file is handed to the person.

/** How long a browser may take to begin with it. */
const BEGINS_MS = 10_000;

/** Have the browser write a file where it writes what is downloaded. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), BEGINS_MS);
}
