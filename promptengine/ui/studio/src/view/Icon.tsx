// Drawn signs: fonts do not have the same ones everywhere.

const PATHS = {
  random: "M3 6h3l8 12h7M3 18h3l2.5-3.8M12.5 9.2 14 6h7M18 3l3 3-3 3M18 15l3 3-3 3",
  reuse: "M4 12a8 8 0 0 1 14-5.300L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.300L4 15M4 20v-5h5",
  read: "M19 5 6 18M6 9v9h9",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  image: "M4 5h16v14H4ZM4 16l5-5 5 5 2-2 4 4M15.5 9.500h.01",
  history: "M4 12a8 8 0 1 0 2.500-5.800L4 8M4 4v4h4M12 8v4l3 2",
  close: "M5 5l14 14M19 5 5 19",
  swap: "M7 4v16M3 8l4-4 4 4M17 20V4M13 16l4 4 4-4",
  system: "M12 3a9 9 0 1 0 0 18ZM12 3a9 9 0 0 1 0 18",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.400M17.6 17.6 19 19M19 5l-1.4 1.400M6.4 17.6 5 19",
  dark: "M20 14.500A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.500Z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="sign" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
