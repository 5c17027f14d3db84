#!/bin/sh
# Fuzzes the targets named, or every one, for so many seconds each:
#     fuzz.sh OUTPUT SECONDS [TARGET]...
# Starts from the committed corpus; what is found on the way stays under OUTPUT/fuzz, and with
# MINIMISE=1 as little of it as reaches every place replaces the committed corpus. An input that
# breaks a target is left in OUTPUT/fuzz/artifacts, and its name printed; `cargo test --test corpora`
# replays it from the corpus. Then it becomes a test beside the code, named after the bug.
set -eu
output=$1 seconds=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$output/fuzz/artifacts"
fuzz=$(cd "$output/fuzz" && pwd)
cd "$here"

command -v cargo-fuzz >/dev/null || PATH=$PATH:$fuzz/tools/bin
cargo +nightly --version >/dev/null 2>&1 || { echo "missing: nightly Rust (rustup toolchain install nightly)"; exit 1; }
command -v cargo-fuzz >/dev/null || { echo "missing: cargo-fuzz (cargo install cargo-fuzz --root $fuzz/tools)"; exit 1; }
command -v c++ >/dev/null || { echo "missing: c++, for libFuzzer (apt-get install g++)"; exit 1; }

# The code has no unsafe of its own: a sanitizer would halve the rate and find nothing.
RUST_BACKTRACE=0 cargo +nightly fuzz build --fuzz-dir . --target-dir "$fuzz" -s none
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
status=0
for target in ${*:-$(ls corpus)}; do
    [ -d "corpus/$target" ] || { echo "there is no target $target; there are:" $(ls corpus); exit 1; }
    found=$fuzz/corpus/$target log=$fuzz/$target.log
    run=$fuzz/$host/release/$target
    mkdir -p "$found"
    if "$run" "$found" "corpus/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$fuzz/artifacts/$target-" >"$log" 2>&1; then
        # "Done N runs in S second(s)"
        echo "$target: $(tail -n 1 "$log")"
    else
        status=1
        echo "$target: BROKEN, see $log"
        grep -E -A3 'panicked at|^==.*ERROR|Test unit written' "$log" | cut -c 1-300 || true
        continue
    fi
    if [ -n "${MINIMISE:-}" ]; then
        rm -rf "$found.least"
        mkdir "$found.least"
        "$run" -set_cover_merge=1 -use_counters=0 -max_len=8192 "$found.least" "$found" "corpus/$target" >>"$log" 2>&1
        rm -rf "corpus/$target"
        mv "$found.least" "corpus/$target"
        echo "$target: $(ls "corpus/$target" | wc -l) inputs, $(cat "corpus/$target"/* | wc -c) bytes are kept"
    fi
done
exit $status
