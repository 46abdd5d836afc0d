#!/usr/bin/env bash
# Feeds a reader with what strangers could write, for a time, from the documents of this repository on. Exit 1, and the file
# that did it, when it panics, hangs or takes too much memory.
#   scripts/fuzz.sh wsdl|xsd|openapi [SECONDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${1:?which reader: wsdl, xsd or openapi}"
seconds="${2:-60}"
case "$target" in
  wsdl) seeds=(examples/utility/contracts/*.wsdl) ;;
  xsd) seeds=(examples/utility/contracts/*.wsdl) ;;
  openapi) seeds=(examples/utility/contracts/*.yaml) ;;
  *)
    printf 'no reader is named %s; known: wsdl, xsd, openapi\n' "$target" >&2
    exit 2
    ;;
esac
folder="${CARGO_TARGET_DIR:-target}/fuzz"
# What libFuzzer needs to see where the input leads; the stable compiler has it.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host="$(rustc -vV | sed -n 's/^host: //p')"
# With a target named, build scripts and macros are not instrumented.
cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$folder" --bin "$target" >&2
corpus="$folder/corpus/$target"
mkdir -p "$corpus"
for seed in "${seeds[@]}"; do
  if [ "$target" = xsd ]; then
    # The schemas of a WSDL, one a file.
    python3 -c '
import re, sys, pathlib
text = pathlib.Path(sys.argv[1]).read_text()
for n, schema in enumerate(re.findall(r"<(?:\w+:)?schema\b.*?</(?:\w+:)?schema>", text, re.S)):
    pathlib.Path(sys.argv[2], f"{pathlib.Path(sys.argv[1]).stem}-{n}.xsd").write_text(
        schema.replace("<xs:schema ", "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xmlns:tns=\"urn:t\" ", 1))
' "$seed" "$corpus"
  else
    cp -n "$seed" "$corpus/"
  fi
done
exec "$folder/$host/release/$target" "$corpus" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
  -artifact_prefix="$folder/" -print_final_stats=1
