// Where an image lies in the box that shows it. Nothing here draws.

export interface Point {
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

/** A point of the image times `scale`, plus `x` and `y`, is a point of the box. */
export interface Place {
  scale: number;
  x: number;
  y: number;
}

const MOST_SCALE = 32;
const MARGIN = 8;
/** So much of the image stays in sight, in pixels of the box. */
const IN_SIGHT = 48;

/** The whole image in the middle of the box. */
export function fitted(image: Size, box: Size): Place {
  const room = { width: Math.max(box.width - 2 * MARGIN, 1), height: Math.max(box.height - 2 * MARGIN, 1) };
  const scale = Math.min(room.width / image.width, room.height / image.height, MOST_SCALE);
  return { scale, x: (box.width - image.width * scale) / 2, y: (box.height - image.height * scale) / 2 };
}

export function toImage(place: Place, point: Point): Point {
  return { x: (point.x - place.x) / place.scale, y: (point.y - place.y) / place.scale };
}

/** Enlarge by a factor, the image's point under a point of the box staying there. */
export function zoomed(place: Place, at: Point, factor: number, image: Size, box: Size): Place {
  const least = Math.min(fitted(image, box).scale / 4, 1);
  const scale = Math.min(Math.max(place.scale * factor, least), MOST_SCALE);
  const under = toImage(place, at);
  return kept({ scale, x: at.x - under.x * scale, y: at.y - under.y * scale }, image, box);
}

export function moved(place: Place, by: Point, image: Size, box: Size): Place {
  return kept({ ...place, x: place.x + by.x, y: place.y + by.y }, image, box);
}

/** Two fingers that went from one place to another, and took the image along. */
export function pinched(place: Place, before: [Point, Point], after: [Point, Point], image: Size, box: Size): Place {
  const factor = distance(...after) / Math.max(distance(...before), 1);
  const from = between(...before);
  const to = between(...after);
  return zoomed(moved(place, { x: to.x - from.x, y: to.y - from.y }, image, box), to, factor, image, box);
}

function kept(place: Place, image: Size, box: Size): Place {
  const within = (at: number, length: number, room: number) =>
    Math.min(Math.max(at, IN_SIGHT - length * place.scale), room - IN_SIGHT);
  return {
    scale: place.scale,
    x: within(place.x, image.width, box.width),
    y: within(place.y, image.height, box.height),
  };
}

export function distance(one: Point, other: Point): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function between(one: Point, other: Point): Point {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
