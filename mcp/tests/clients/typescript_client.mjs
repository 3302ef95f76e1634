// The main job through the official TypeScript client.
//
//     typescript_client.mjs --stdio PYRO | --url URL --token TOKEN
//
// Runs in a directory of its own, which is the allowed root. The client checks every answer against the
// schema that the tool declares; Ajv does it once more.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const ENVIRONMENT = "debian:12";
const root = fs.realpathSync(process.cwd());
const [how, where, , token] = process.argv.slice(2);
const ajv = new Ajv2020({ allErrors: true });
const timeout = { timeout: 300_000 };

// The client's root is not the server's directory: it counts where the client has roots.
const project = path.join(root, "project");
fs.mkdirSync(project);

const client = new Client({ name: "pyro-tests", version: "1" }, { capabilities: { roots: { listChanged: true } } });
let told = project;
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: `file://${told}` }] }));
const transport =
  how === "--stdio"
    ? new StdioClientTransport({ command: where, args: ["mcp", "serve"], cwd: root, env: process.env })
    : new StreamableHTTPClientTransport(new URL(where), {
        requestInit: { headers: { Authorization: `Bearer ${token}` } },
      });
await client.connect(transport);
const { tools } = await client.listTools();
const validators = new Map(tools.map((tool) => [tool.name, ajv.compile(tool.outputSchema)]));

async function call(name, args, options = {}) {
  const result = await client.callTool({ name, arguments: args }, undefined, { ...timeout, ...options });
  const validate = validators.get(name);
  assert(validate(result.structuredContent), `${name}: ${JSON.stringify(validate.errors)}`);
  assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
  return result;
}

async function ok(name, args, options) {
  const result = await call(name, args, options);
  assert(!result.isError, `${name}: ${result.content[0].text}`);
  return result.structuredContent;
}

async function refused(name, code, args) {
  const result = await call(name, args);
  assert(result.isError, `${name} was not refused`);
  assert.equal(result.structuredContent.error.code, code);
}

let notices = 0;
const ran = await ok(
  "vm_run",
  { environment: ENVIRONMENT, command: "echo hello; exit 7" },
  { onprogress: () => (notices += 1) },
);
assert.equal(ran.stdout, "hello\n");
assert.equal(ran.exit_code, 7);
assert(notices > 0, "no progress was told");

fs.mkdirSync(path.join(project, "seed"));
fs.writeFileSync(path.join(project, "seed", "a.txt"), "one\n");
fs.writeFileSync(path.join(project, "extra.txt"), "extra\n");
const created = await ok("workspace_create", { environment: ENVIRONMENT, seed_path: "seed" });
assert.equal(created.workspace_seed.seed_path, path.join(project, "seed"));
const workspace_id = created.workspace_id;
await ok("workspace_sync_push", { workspace_id, source_path: path.join(project, "extra.txt") });
const exec = await ok("workspace_exec", { workspace_id, command: "cat a.txt extra.txt && echo two >> a.txt" });
assert.equal(exec.stdout, "one\nextra\n");
const diff = await ok("workspace_diff", { workspace_id });
assert.deepEqual(
  diff.entries.map((entry) => [entry.path, entry.status]),
  [
    ["a.txt", "modified"],
    ["extra.txt", "added"],
  ],
);
const output_path = path.join(project, "out.txt");
await ok("workspace_export", { workspace_id, path: "a.txt", output_path });
assert.equal(fs.readFileSync(output_path, "utf8"), "one\ntwo\n");
await refused("workspace_export", "already_exists", { workspace_id, path: "a.txt", output_path });
await refused("workspace_export", "path_not_allowed", { workspace_id, path: "a.txt", output_path: path.join(root, "x") });
await refused("workspace_create", "path_not_allowed", { environment: ENVIRONMENT, seed_path: "~/.ssh" });
await ok("workspace_delete", { workspace_id });
await assert.rejects(client.callTool({ name: "no_such_tool", arguments: {} }), /no_such_tool/);

// Roots that change count at once.
const seed = { environment: ENVIRONMENT, seed_path: path.join(project, "gone") };
await refused("workspace_create", "path_not_found", seed);
told = path.join(project, "seed");
await client.sendRootsListChanged();
await refused("workspace_create", "path_not_allowed", seed);
if (transport.terminateSession) {
  await transport.terminateSession();
}
await client.close();
console.error("typescript client: done");
