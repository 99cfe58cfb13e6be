// Builds what browsers load: node build.mjs [FOLDER]. The same sources and packages give the same bytes.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "built");

await mkdir(out, { recursive: true });
for (const name of await readdir(out)) await rm(join(out, name), { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: out,
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  // Licenses of what is bundled stay with it.
  legalComments: "eof",
  charset: "utf8",
  metafile: true,
  logLevel: "warning",
});

const built = Object.keys(metafile.outputs).map((path) => basename(path));
const named = (suffix) => {
  const found = built.find((name) => name.endsWith(suffix));
  if (found === undefined) throw new Error(`esbuild made no ${suffix} file`);
  return found;
};
const template = await readFile(join(here, "src/index.html"), "utf8");
const index = template.replace("APP_JS", named(".js")).replace("APP_CSS", named(".css"));
await writeFile(join(out, "index.html"), index);
