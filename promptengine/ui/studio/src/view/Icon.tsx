// Drawn signs: fonts do not have the same ones everywhere.

const PATHS = {
  random: "M3 6h3l8 12h7M3 18h3l2.5-3.8M12.5 9.2 14 6h7M18 3l3 3-3 3M18 15l3 3-3 3",
  reuse: "M4 12a8 8 0 0 1 14-5.300L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.300L4 15M4 20v-5h5",
  read: "M19 5 6 18M6 9v9h9",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  image: "M4 5h16v14H4ZM4 16l5-5 5 5 2-2 4 4M15.5 9.500h.01",
  history: "M4 12a8 8 0 1 0 2.500-5.800L4 8M4 4v4h4M12 8v4l3 2",
  edit: "M4 20h4L19 9l-4-4L4 16ZM13 7l4 4",
  up: "M12 20V4M6 10l6-6 6 6",
  down: "M12 4v16M6 14l6 6 6-6",
  apply: "M8 4h8v3H8ZM6 5H5v16h14V5h-1M9 14l2 2 4-4",
  close: "M5 5l14 14M19 5 5 19",
  forever: "M12 12c-2-3-3.500-4-5.500-4a4 4 0 0 0 0 8c2 0 3.500-1 5.500-4s3.500-4 5.500-4a4 4 0 0 1 0 8c-2 0-3.500-1-5.500-4",
  swap: "M7 4v16M3 8l4-4 4 4M17 20V4M13 16l4 4 4-4",
  system: "M12 3a9 9 0 1 0 0 18ZM12 3a9 9 0 0 1 0 18",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.400M17.6 17.6 19 19M19 5l-1.4 1.400M6.4 17.6 5 19",
  dark: "M20 14.500A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.500Z",
  brush: "M20 4 9.500 14.5M14 4.500 19.5 10M9 14a3.500 3.500 0 0 0-4 3.500c0 1.500-1 2.500-2 2.500 3 1.500 8 .5 8-3a3 3 0 0 0-2-3Z",
  eraser: "M8 20h12M5 13.500 13.5 5a2 2 0 0 1 2.800 0L20 8.700a2 2 0 0 1 0 2.800L11.500 20H8l-3-3a2.500 2.500 0 0 1 0-3.500ZM9 9.500l5.500 5.500",
  undo: "M8 5 4 9l4 4M4 9h10a5.500 5.500 0 0 1 0 11h-3",
  redo: "m16 5 4 4-4 4M20 9H10a5.500 5.500 0 0 0 0 11h3",
  trash: "M4 7h16M9 7V4h6v3M6.500 7l1 13h9l1-13",
  invert: "M4 4h16v16H4ZM12 4v16M12 8h8M12 12h8M12 16h8",
  fill: "M4 4h16v16H4ZM4 12 12 4M4 20 20 4M12 20l8-8",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="sign" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
