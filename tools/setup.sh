# Sourced by tools/quickstart and tools/test: installs what is missing from Debian's packages, builds quietly.

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 3; }

# packages PART...: those of tools/packages that dpkg does not have
missing_packages() {
    local part name want=""
    for part in "$@"; do
        want="$want $(awk -v part="$part" '$1 == part { print $2 }' "$top/tools/packages")"
    done
    for name in $want; do
        dpkg-query -W -f '${Status}\n' "$name" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$name"
    done
}

install_packages() {
    local missing
    missing=$(missing_packages "$@")
    [ -z "$missing" ] && return
    [ "$(id -u)" = 0 ] || die "these Debian packages are missing; as root: apt-get install $missing"
    command -v apt-get >/dev/null || die "no apt-get here: this is made for Debian 12; needed: $missing"
    say "installing: $missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log_dir/apt.log" 2>&1 ||
        { tail -n 20 "$log_dir/apt.log" >&2; die "apt-get failed, see $log_dir/apt.log"; }
}

# build DIR [MESON OPTION...]: sets up once, then compiles what changed; silent unless it fails or takes long
build() {
    local dir=$1 name
    shift
    name=$(basename "$dir")
    if [ ! -f "$dir/build.ninja" ]; then
        say "configuring $name"
        meson setup "$dir" "$top" "$@" >"$log_dir/$name.setup.log" 2>&1 ||
            { tail -n 20 "$log_dir/$name.setup.log" >&2; die "meson setup failed, see $log_dir/$name.setup.log"; }
    fi
    ninja -C "$dir" -n 2>/dev/null | grep -q 'no work to do' && return
    say "building $name"
    ninja -j2 -C "$dir" >"$log_dir/$name.build.log" 2>&1 ||
        { grep -E -A6 'error|warning|FAILED' "$log_dir/$name.build.log" | head -n 60 >&2; die "build failed, see $log_dir/$name.build.log"; }
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where builds go; a read-only source tree needs another place.
build_root=${SCE_BUILD_ROOT:-$top}
log_dir=$build_root/build/logs
mkdir -p "$log_dir" 2>/dev/null || die "cannot write $log_dir; set SCE_BUILD_ROOT to a folder of yours"
