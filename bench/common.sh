# Functions of script/bench and script/bench-values, which set out (where they build) and data.

install_packages()
{
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        "${as_root[@]}" apt-get update >/dev/null
        "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
    }
}

# build TARGET: the shipped build, with no flags for this machine's processor.
build()
{
    mkdir -p "$out"
    cmake -S . -B "$out" -DCMAKE_BUILD_TYPE=Release -DSTRATA_BENCH=ON >"$out/build.log" 2>&1 &&
        cmake --build "$out" --parallel 2 --target "$1" >>"$out/build.log" 2>&1 || {
        tail -n 20 "$out/build.log" >&2
        exit 1
    }
}

describe_machine()
{
    local model memory system
    model=$(sed -n 's/^model name[ \t]*: //p' /proc/cpuinfo | head -n 1)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    system=$(. /etc/os-release && echo "$PRETTY_NAME")
    echo "Machine: $(nproc) processors of a virtual machine ($model), $memory of memory," \
        "$(df --output=fstype "$data" | tail -n 1) on a virtual disk, $system," \
        "Linux $(uname -r | cut -d - -f 1), $("${CC:-cc}" --version | head -n 1)." \
        "strata at commit $(git rev-parse --short HEAD), flags -O2."
}

# Puts the text of a file between the markers of a section of docs/performance.md.
publish()
{
    local section=$1 text=$2 page=docs/performance.md
    if ! grep -q "^<!-- $section: begin" "$page" || ! grep -q "^<!-- $section: end" "$page"; then
        echo "$page has no section $section" >&2
        exit 1
    fi
    awk -v begin="<!-- $section: begin" -v end="<!-- $section: end" -v text="$text" '
        index($0, end) == 1 { skipping = 0 }
        !skipping { print }
        index($0, begin) == 1 {
            skipping = 1
            while ((getline line < text) > 0) print line
        }' "$page" >"$out/page" && cp "$out/page" "$page"
    echo "$section of $page is new" >&2
}
