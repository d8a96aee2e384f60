// The library as a package: its declarations against the server's documents, its size, and its claims.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import openapiTS, { astToString } from "openapi-typescript";
import { parse } from "yaml";

const here = dirname(fileURLToPath(import.meta.url));
const services = join(here, "../../services");
const client = join(services, "site/client");

/** A folder that is gone after the test, beside the packages that compilers look for. */
function folder(t) {
  const made = mkdtempSync(join(here, "node_modules/.types-"));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

/** The frames of the AsyncAPI document as schemas of an OpenAPI document. */
function frames() {
  const { components } = parse(readFileSync(join(services, "site/asyncapi.yaml"), "utf8"));
  const messages = Object.entries(components.messages).map(([name, { payload }]) => [name, payload]);
  const schemas = { ...components.schemas, ...Object.fromEntries(messages) };
  return { openapi: "3.1.0", info: { title: "Frames", version: "1" }, paths: {}, components: { schemas } };
}

test("the declarations say what the OpenAPI and AsyncAPI documents say", async (t) => {
  const made = folder(t);
  const documents = { frames: frames() };
  for (const name of ["users", "friendships", "messages"]) {
    documents[name] = JSON.parse(readFileSync(join(services, name, "openapi.json"), "utf8"));
  }
  for (const [name, document] of Object.entries(documents)) {
    writeFileSync(join(made, `${name}.ts`), astToString(await openapiTS(document)));
  }
  cpSync(join(here, "types/check.ts"), join(made, "check.ts"));
  const compilerOptions = {
    strict: true,
    noEmit: true,
    target: "ES2022",
    module: "NodeNext",
    lib: ["ES2022", "DOM"],
    types: [],
    paths: { "natter-client": [join(client, "index.d.ts")] },
  };
  writeFileSync(join(made, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["check.ts"] }));
  const tsc = join(here, "node_modules/typescript/bin/tsc");
  try {
    execFileSync(process.execPath, [tsc, "--project", made], { encoding: "utf8" });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test("what is declared is there", async () => {
  const source = readFileSync(join(client, "index.d.ts"), "utf8");
  const classes = [...source.matchAll(/^export class (\w+)/gm)].map(([, name]) => name);
  const library = await import(join(client, "index.js"));
  assert.deepEqual(classes.sort(), Object.keys(library).sort());
  const made = new library.NatterClient({ url: "http://127.0.0.1:1" });
  const declared = source.slice(source.indexOf("export class NatterClient"));
  for (const [, name] of declared.matchAll(/^ {2}(?:readonly )?(\w+)[(:<]/gm)) {
    if (name !== "constructor") assert.ok(name in made, `${name} is declared`);
  }
  for (const [, group, body] of declared.matchAll(/^ {2}(\w+): \{\n(.*?)^ {2}\};/gms)) {
    for (const [, name] of body.matchAll(/^ {4}(\w+)\(/gm)) assert.equal(typeof made[group][name], "function", `${group}.${name}`);
  }
});

test("a web page's bundle of the library, minified and gzipped, is under 15 kB", async () => {
  const { outputFiles } = await build({
    entryPoints: [join(client, "index.js")],
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`natter-client: ${size} bytes, minified and gzipped`);
  assert.ok(size < 15_000, `${size} bytes`);
});

test("its modules as a Natter serves them, each gzipped, are under 30 kB", () => {
  const sources = readdirSync(join(client, "src")).filter((name) => name !== "node-socket.js").map((name) => `src/${name}`);
  const size = ["index.js", ...sources].reduce((sum, name) => sum + gzipSync(readFileSync(join(client, name))).length, 0);
  console.log(`natter-client: ${size} bytes, as served, each module gzipped`);
  assert.ok(size < 30_000, `${size} bytes`);
});

test("the library has no dependencies, and its package holds what it needs", () => {
  const manifest = JSON.parse(readFileSync(join(client, "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  const packed = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: client, encoding: "utf8" }));
  const files = packed[0].files.map(({ path }) => path);
  const sources = readdirSync(join(client, "src")).map((name) => `src/${name}`);
  for (const file of ["index.js", "index.d.ts", "README.md", "LICENSE", ...sources]) assert.ok(files.includes(file), file);
  const license = (folder) => readFileSync(join(folder, "LICENSE"), "utf8");
  assert.equal(license(client), license(join(here, "../..")));
});
