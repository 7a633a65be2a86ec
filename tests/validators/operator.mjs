// Checks resources of the Prometheus operator: a file with a JSON list of them; what is wrong goes to standard error.
// node operator.mjs FOLDER-WITH-NODE_MODULES FILE
// The schemas of the package know patterns and what is required, but let unknown fields pass. Its types do not.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRequire } from "node:module";

// The folder that has node_modules.
const home = process.argv[2];
const require = createRequire(join(home, "package.json"));
const group = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
const ts = require("typescript");

const faults = [];
const resources = JSON.parse(readFileSync(process.argv[3], "utf8"));
const folder = mkdtempSync(join(home, "types-"));
try {
  for (const [number, resource] of resources.entries()) {
    const { kind, metadata } = resource;
    const name = `${kind} ${metadata?.name}`;
    if (resource.apiVersion !== "monitoring.coreos.com/v1" || !["PodMonitor", "PrometheusRule"].includes(kind)) {
      faults.push(`${name}: not a resource that is known here`);
      continue;
    }
    const model = await import(join(home, "node_modules", group, `${kind}.js`));
    try {
      new model[kind](resource).validate();
    } catch (error) {
      faults.push(`${name}: ${error.message}`);
    }
    const file = join(folder, `resource${number}.ts`);
    const typed = `import type { I${kind} } from "${group}/${kind}";\nexport const resource: I${kind} = ${JSON.stringify(resource)};\n`;
    writeFileSync(file, typed);
    const program = ts.createProgram([file], {
      strict: true, noEmit: true, types: [], skipLibCheck: true,
      target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    });
    for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
      faults.push(`${name}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n")}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
if (resources.length === 0) faults.push("no resource was given");
for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;
