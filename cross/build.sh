#!/bin/sh
# A static, stripped mote for one machine of cross/targets, the same bytes wherever it is built.
# Nothing is installed: compilers, libraries and results lie in .cross (CROSS_DIR).
# usage: build.sh TARGET [words for cargo build]
#
# What it needs: rustup (or, for the way debian, apt-get), and pip for zig. Rust's std comes by the
# first of these ways that works here; CROSS_STD names others or another order:
#   src       the pinned Rust by rustup, with the source of std, which is built here for size
#   debian    the same of Debian's packages rustc-web and rust-web-src, unpacked
#   prebuilt  the pinned Rust by rustup, with its std as it comes: larger, and with a 32-bit time_t
#             on 32-bit machines
# NAME= is what the result is called in .cross/out/TARGET (mote, and mote-no-tls without TLS);
# SYMBOLS=1 leaves the symbols in.
set -eu
cross=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$cross")
say() { echo "cross: $*" >&2; }
give_up() {
    say "$*"
    exit 1
}
. "$cross/versions"

[ $# -ge 1 ] || give_up "usage: cross/build.sh TARGET [words for cargo build]; targets: $(awk '!/^#/ && NF {printf "%s ", $1}' "$cross/targets")"
line=$(awk -v wanted="$1" '!/^#/ && NF && ($1 == wanted || $2 == wanted)' "$cross/targets")
[ -n "$line" ] || give_up "no target $1; there are: $(awk '!/^#/ && NF {printf "%s ", $1}' "$cross/targets")"
shift
# The table's columns have no spaces in them.
read -r short target ZIG_TARGET ZIG_CPU flags qemu model <<LINE
$line
LINE
: "$qemu" "$model"
[ "$flags" != - ] || flags=

mkdir -p "${CROSS_DIR:=$top/.cross}"
CROSS_DIR=$(cd "$CROSS_DIR" && pwd)
log=$CROSS_DIR/fetch.log

# --- zig: C compiler, libc and linker ------------------------------------------------------------

ZIG=$CROSS_DIR/zig-$ZIG_VERSION/ziglang/zig
if [ ! -x "$ZIG" ]; then
    command -v python3 >/dev/null || give_up "missing: python3, with pip, to fetch zig $ZIG_VERSION"
    say "fetching zig $ZIG_VERSION into $CROSS_DIR"
    rm -rf "$CROSS_DIR/zig.tmp"
    if ! python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$CROSS_DIR/zig.tmp" \
        "ziglang==$ZIG_VERSION" >>"$log" 2>&1; then
        # Where pip may not, or there is none outside of a venv.
        python3 -m venv "$CROSS_DIR/venv" >>"$log" 2>&1 &&
            "$CROSS_DIR/venv/bin/pip" install --quiet --no-deps --target "$CROSS_DIR/zig.tmp" \
                "ziglang==$ZIG_VERSION" >>"$log" 2>&1 ||
            give_up "zig cannot be had: $(tail -n 1 "$log")"
    fi
    mv "$CROSS_DIR/zig.tmp" "$CROSS_DIR/zig-$ZIG_VERSION"
fi
ZIG_GLOBAL_CACHE_DIR=$CROSS_DIR/zig-cache
ZIG_LOCAL_CACHE_DIR=$CROSS_DIR/zig-cache
export ZIG ZIG_TARGET ZIG_CPU ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR

# --- Rust: compiler and std ----------------------------------------------------------------------

why=
pinned_rust() {
    RUSTUP_HOME=$CROSS_DIR/rustup
    command -v rustup >/dev/null || { why="$why; $1: no rustup"; return 1; }
    export RUSTUP_HOME
    sysroot=$(RUSTUP_AUTO_INSTALL=0 rustup run "$RUST" rustc --print sysroot 2>/dev/null) && [ -d "$sysroot" ] || {
        say "fetching Rust $RUST into $CROSS_DIR"
        rustup toolchain install "$RUST" --profile minimal --component rust-src --no-self-update >>"$log" 2>&1 || {
            why="$why; $1: $(grep -m1 '^error' "$log" || tail -n 1 "$log")"
            unset RUSTUP_HOME
            return 1
        }
        sysroot=$(rustup run "$RUST" rustc --print sysroot)
    }
    RUSTUP_TOOLCHAIN=$RUST
    export RUSTUP_TOOLCHAIN
}

try_src() {
    pinned_rust src || return 1
    [ -f "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ] || { why="$why; src: no source of std"; return 1; }
}

try_prebuilt() {
    pinned_rust prebuilt || return 1
    [ -d "$sysroot/lib/rustlib/$target/lib" ] || rustup target add "$target" >>"$log" 2>&1 ||
        { why="$why; prebuilt: rustup has no $target"; return 1; }
}

try_debian() {
    root=$CROSS_DIR/debian
    rust=${RUST%.*}
    if [ ! -x "$root/rustc" ]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { why="$why; debian: no apt-get"; return 1; }
        lists="-o Dir::State::lists=$CROSS_DIR/apt/lists -o Dir::Cache=$CROSS_DIR/apt/cache -o APT::Sandbox::User=root"
        mkdir -p "$CROSS_DIR/apt/lists/partial" "$CROSS_DIR/apt/cache/archives/partial" "$CROSS_DIR/debs"
        apt-get $lists -qq update >>"$log" 2>&1 || { why="$why; debian: $(tail -n 1 "$log")"; return 1; }
        found=$(apt-cache $lists policy rustc-web | sed -n 's/^ *Candidate: \([0-9]*\.[0-9]*\).*/\1/p')
        [ "$found" = "$rust" ] || { why="$why; debian: has Rust ${found:-none}, not $rust"; return 1; }
        say "fetching Debian's Rust $rust into $CROSS_DIR"
        llvm=$(apt-cache $lists depends "libstd-rust-web-$rust" | sed -n 's/.*Depends: \(libllvm[0-9]*\).*/\1/p' | head -n 1)
        (cd "$CROSS_DIR/debs" && apt-get $lists -qq download rustc-web rust-web-src libstd-rust-web-dev \
            "libstd-rust-web-$rust" $llvm) >>"$log" 2>&1 || { why="$why; debian: $(tail -n 1 "$log")"; return 1; }
        for deb in "$CROSS_DIR"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
        rm -rf "$CROSS_DIR/debs" "$root"/usr/src/rustc-*/compiler "$root"/usr/src/rustc-*/src
        cat >"$root/rustc.tmp" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$root/usr/lib/$(uname -m)-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$root/usr/bin/rustc" "\$@"
WRAPPER
        chmod +x "$root/rustc.tmp"
        "$root/rustc.tmp" -V >>"$log" || { why="$why; debian: its rustc does not run"; return 1; }
        mv "$root/rustc.tmp" "$root/rustc"
    fi
    command -v cargo >/dev/null || { why="$why; debian: no cargo"; return 1; }
    RUSTC=$root/rustc
    export RUSTC
    sysroot=$("$RUSTC" --print sysroot)
}

way=
for try in ${CROSS_STD:-src debian prebuilt}; do
    if "try_$try"; then
        way=$try
        break
    fi
done
[ -n "$way" ] || give_up "no Rust $RUST for $target${why} (more in $log)"
say "$short: $target, std by way of $way${why:+ (not by$why)}, zig $ZIG_VERSION"

# --- the build -----------------------------------------------------------------------------------

# No path of this machine gets into the result. Crates lie in cargo's home.
home=${CARGO_HOME:-$HOME/.cargo}
# The real place of std's source: Debian's is reached by a link.
std=$(cd "$sysroot/lib/rustlib/src/rust" 2>/dev/null && pwd -P || echo "$sysroot")
remap="--remap-path-prefix=$top=/mote --remap-path-prefix=$home=/cargo --remap-path-prefix=$sysroot=/rust --remap-path-prefix=$std=/std"
ZIG_PREFIX_MAP=-ffile-prefix-map=$home=/cargo
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 0)
export ZIG_PREFIX_MAP SOURCE_DATE_EPOCH

rustflags="$remap -Clink-self-contained=no -Ctarget-feature=+crt-static -Crelocation-model=static"
set -- --release --target "$target" "$@"
if [ "$way" != prebuilt ]; then
    # A stable compiler that may build std; and musl's 64-bit times in it.
    export RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
    set -- -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size "$@"
    # Nobody unwinds: a panic aborts. Where it was is told by file and line.
    rustflags="$rustflags -Cforce-unwind-tables=no -Zlocation-detail=file,line"
    rustflags="$rustflags $(echo "$flags" | tr ',' ' ')"
else
    case $target in arm* | mips* | i686*) say "$short: std's time_t has 32 bits this way: files after January 2038 have wrong times" ;; esac
fi
rustflags="$rustflags ${CROSS_RUSTFLAGS:-}"
lower=$(echo "$target" | tr - _)
upper=$(echo "$target" | tr a-z- A-Z_)
export "CC_$lower=$cross/zcc" "AR_$lower=$cross/zar" "CARGO_TARGET_${upper}_LINKER=$cross/zcc"
export "CARGO_TARGET_${upper}_RUSTFLAGS=$rustflags"
export CARGO_TARGET_DIR="$CROSS_DIR/build/$way"
[ "${SYMBOLS:-0}" = 0 ] || export CARGO_PROFILE_RELEASE_STRIP=none
(cd "$top" && ${CARGO:-cargo} build --bin mote "$@" >&2)

case " $* " in *" --no-default-features "*) name=mote-no-tls ;; *) name=mote ;; esac
name=${NAME:-$name}
out=$CROSS_DIR/out/$short
mkdir -p "$out"
cp "$CARGO_TARGET_DIR/$target/release/mote" "$out/$name.tmp"
# MIPS has a section for debuggers that strip leaves: a tenth of the file.
objcopy=$(ls "$sysroot"/lib/rustlib/*/bin/rust-objcopy 2>/dev/null | head -n 1)
if [ "${SYMBOLS:-0}" = 0 ] && [ -n "$objcopy" ]; then
    LD_LIBRARY_PATH=$sysroot/lib "$objcopy" -R .pdr -R .mdebug.abi32 -R .comment "$out/$name.tmp"
fi
mv "$out/$name.tmp" "$out/$name"
echo "$out/$name: $(wc -c <"$out/$name") bytes"
