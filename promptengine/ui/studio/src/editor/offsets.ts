// The server counts characters, JavaScript counts units, two of which make some characters.

/** Return what leads from the server's offsets in a text to JavaScript's. */
export function offsets(text: string): (character: number) => number {
  if (!/[\ud800-\udfff]/.test(text)) return (character) => Math.min(character, text.length);
  const units: number[] = [];
  let unit = 0;
  for (const character of text) {
    units.push(unit);
    unit += character.length;
  }
  return (character) => units[character] ?? unit;
}

/** Return how many characters, as the server counts them, stand before an offset of JavaScript's. */
export function characters(text: string, unit: number): number {
  const before = text.slice(0, unit);
  return /[\ud800-\udfff]/.test(before) ? [...before].length : unit;
}
