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
  legalComments: "none",
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
// The licenses of what is bundled stay with it.
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
);
const licenses = [];
for (const name of [...packages].sort()) {
  const folder = join(here, "node_modules", name);
  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((one) => /^licen[cs]e/i.test(one));
  if (file === undefined) throw new Error(`${name} comes without a license`);
  licenses.push(`${name} ${version}\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`);
}
await writeFile(join(out, "licenses.txt"), licenses.join(`\n${"-".repeat(72)}\n\n`));

const template = await readFile(join(here, "src/index.html"), "utf8");
const index = template.replace("APP_JS", named(".js")).replace("APP_CSS", named(".css"));
await writeFile(join(out, "index.html"), index);
