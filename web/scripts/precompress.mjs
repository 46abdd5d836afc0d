// Puts `x.br` and `x.gz` beside every text file of the build, so that the server compresses nothing while it runs.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const total = { plain: 0, br: 0, gz: 0 };
for (const name of readdirSync(dist, { recursive: true })) {
  const path = join(dist, name);
  if (!/\.(html|js|css|svg|json)$/.test(name) || !statSync(path).isFile()) continue;
  const plain = readFileSync(path);
  const br = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  const gz = gzipSync(plain, { level: 9 });
  // Tiny files grow when compressed.
  if (br.length < plain.length) writeFileSync(`${path}.br`, br);
  if (gz.length < plain.length) writeFileSync(`${path}.gz`, gz);
  total.plain += plain.length;
  total.br += br.length;
  total.gz += gz.length;
}
console.log(`dashboard: ${total.plain} bytes, ${total.br} as br, ${total.gz} as gzip`);
