#!/usr/bin/env bash
# Everything that is checked about this repository, by verbs:
#
#   ./ci.sh fmt      formatting, as rustfmt.toml says
#   ./ci.sh lint     clippy, documentation, dependencies; warnings are errors
#   ./ci.sh test     all tests; as root also the end-to-end tests, which need nginx, haproxy, ab, curl,
#                    ip, nft, openssl, tshark and Prometheus' Python library
#   ./ci.sh bpf      the committed BPF programs are what their sources compile to (clang-14)
#   ./ci.sh model    the rings between workers and their sleep, in every order of events (loom)
#   ./ci.sh bench    all benchmarks (slow: 10 M flows), how workers scale among them
#   ./ci.sh versus   lbd side by side with nftables, iptables, HAProxy, nginx, testpmd, as root, in 8 minutes once it is built
#                    (--rounds N, --seconds S, --only NAME,...); installs what it compares with
#   ./ci.sh fuzz     each fuzz target for 60 seconds, or as many as are given (cargo-fuzz, nightly)
#   ./ci.sh miri     lb-core's unit tests, but for the longest, interpreted (miri, nightly; about 2 minutes)
#   ./ci.sh cluster  up: makes a Kubernetes cluster in network namespaces, with lbd before it, and says what is where;
#                    down: removes it (as root)
#   ./ci.sh story    captures again what docs/life-of-a-packet.md tells, and replaces it (as root)
#   ./ci.sh captures runs again what README.md shows of lbctl, and replaces it (as root)
#   ./ci.sh flood    what a flood of SYNs does to others, in figures, beside nftables with connection tracking (as root)
#   ./ci.sh all      fmt, lint, bpf, model and test
#
# What is missing is installed by apt, and said before.
set -euo pipefail
cd "$(dirname "$0")"

main() {
    case "${1:-}" in
    fmt | lint | test | bpf | model | bench | miri | captures | flood | story) "$1" ;;
    fuzz) fuzz "${2:-60}" ;;
    versus) versus "${@:2}" ;;
    cluster) cluster "${@:2}" ;;
    all)
        fmt
        lint
        bpf
        model
        test
        ;;
    *) usage ;;
    esac
}

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

fmt() {
    cargo fmt --all --check
    cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
}

lint() {
    need cc gcc "for linking"
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    deny
}

# The list of known vulnerabilities is fetched from outside: without it the other checks still hold.
deny() {
    if ! cargo deny --version >/dev/null 2>&1; then
        echo "installing cargo-deny for the dependency checks"
        if ! cargo install --quiet --locked cargo-deny; then
            echo "NOT CHECKED: dependencies, because cargo-deny is not installed and cannot be"
            return
        fi
    fi
    cargo deny --all-features check bans licenses sources
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --all-features check advisories
    else
        echo "NOT CHECKED: security advisories, because their list cannot be fetched from here"
    fi
}

test() {
    need cc gcc "for linking"
    need nginx nginx-light "for the end-to-end tests"
    need ab apache2-utils "for the end-to-end tests"
    need curl curl "for the end-to-end tests"
    need ip iproute2 "for the end-to-end tests"
    need nft nftables "for the end-to-end tests"
    need openssl openssl "for the end-to-end tests"
    need tshark tshark "for the end-to-end tests"
    need haproxy haproxy "for the end-to-end tests"
    need /usr/lib/python3/dist-packages/prometheus_client python3-prometheus-client "for the end-to-end tests"
    python_tools
    local log status=0
    log=$(mktemp)
    cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
    sum "$log"
    rm -f "$log"
    return "$status"
}

# The aws command line and boto3, in a virtual environment beside what Cargo builds. Without them, their test says that it is not run.
python_tools() {
    local directory=${CARGO_TARGET_DIR:-target}/python requirements=tests/elbv2/requirements.txt
    if cmp -s "$requirements" "$directory/installed"; then return; fi
    need python3 python3-minimal "for the tests of the Elastic Load Balancing endpoint"
    if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' 2>/dev/null; then
        need python3-venv python3-venv "for the tests of the Elastic Load Balancing endpoint"
    fi
    echo "installing the aws command line and boto3 in $directory"
    rm -rf "$directory"
    if python3 -m venv "$directory" && "$directory/bin/pip" install --quiet --requirement "$requirements"; then
        cp "$requirements" "$directory/installed"
    else
        rm -rf "$directory"
        echo "cannot install the aws command line and boto3"
    fi
}

# One line over all the test runner's own summaries. Nothing where there are none.
sum() {
    awk '/^test result: / {
            found = 1
            for (i = 2; i <= NF; i++) {
                if ($i == "passed;") passed += $(i - 1)
                if ($i == "failed;") failed += $(i - 1)
                if ($i == "ignored;") skipped += $(i - 1)
            }
        }
        END { if (found) printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : "" }' "$1"
}

bpf() {
    need clang-14 clang-14 "to compile the XDP program"
    need llvm-strip-14 llvm-14 "to compile the XDP program"
    if ! command -v clang-14 >/dev/null; then
        echo "NOT CHECKED: the XDP program, because clang-14 is not installed and cannot be"
        return
    fi
    local source object before
    for source in lb-io/bpf/redirect.bpf.c benches/versus/bpf/udp.bpf.c; do
        object=${source%.c}.o
        before=$(mktemp)
        cp "$object" "$before"
        lb-io/bpf/build.sh "$source"
        if ! cmp "$before" "$object"; then
            echo "$object is not what its source compiles to; it has been rebuilt: commit it" >&2
            return 1
        fi
        rm -f "$before"
        echo "$object is what its source compiles to"
    done
}

# Built apart, in a directory of its own: the flag changes every crate.
model() {
    need cc gcc "for linking"
    RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/model" \
        cargo test -p lb-io --lib --locked loom_
}

bench() {
    need cc gcc "for linking"
    cargo bench --workspace --locked
}

# versus OPTIONS: nobody is left out because something cannot be installed; its row says so.
versus() {
    need cc gcc "for linking"
    need ip iproute2 "for the networks"
    need ethtool ethtool "for the networks"
    need nft nftables "to compare with"
    need iptables iptables "to compare with"
    need haproxy haproxy "to compare with"
    need nginx nginx-light "to compare with"
    need /usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream "to compare with"
    need dpdk-testpmd dpdk-dev "to compare with"
    cargo bench --locked --bench versus -- "$@"
}

flood() {
    need cc gcc "for linking"
    need ip iproute2 "for the networks"
    need nft nftables "to compare with"
    cargo test --locked --test end_to_end -- --ignored flood::
}

# cluster VERB: it stays until it is taken down, by whatever build.
cluster() {
    need cc gcc "for linking"
    need ip iproute2 "for the cluster"
    need nft nftables "for the cluster"
    cargo build --quiet --locked --bin lbd --bin lbctl --example cluster
    "${CARGO_TARGET_DIR:-target}/debug/examples/cluster" "$@"
}

# The page is replaced only by a whole one.
story() {
    need cc gcc "for linking"
    need ip iproute2 "for the network"
    need nft nftables "for the network"
    need nginx nginx-light "as an ingress proxy"
    local page
    page=$(mktemp)
    cargo run --quiet --locked --bin lbd -- demo --scenario all --markdown >"$page"
    mkdir -p docs
    cat "$page" >docs/life-of-a-packet.md
    rm -f "$page"
}

captures() {
    need cc gcc "for linking"
    cargo test --locked --test end_to_end -- --ignored captures::write
}

# fuzz SECONDS: what is found goes to target/fuzz; what is worth keeping is copied to tests/fuzz/corpus by hand.
fuzz() {
    if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
        echo "NOT CHECKED: fuzz targets, because there is no nightly compiler or no cargo-fuzz (cargo install cargo-fuzz)"
        return
    fi
    local found=$PWD/target/fuzz target
    for target in parse datapath configuration; do
        mkdir -p "$found/$target"
        cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" "$found/$target" "tests/fuzz/corpus/$target" -- \
            -max_total_time="$1" -timeout=10 -max_len=4096
    done
}

# Left out are tests that count to many thousands: interpreted, they would take hours.
miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        echo "NOT CHECKED: undefined behaviour, because there is no miri (rustup component add miri rust-src --toolchain nightly)"
        return
    fi
    PROPTEST_CASES=1 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --package lb-core --lib -- \
        --skip every_place_comes_once --skip a_full_table --skip homes_are_spread_evenly \
        --skip datapath::tests --skip maglev:: --skip receive_hash:: --skip tables::tests --skip identification::tests
}

# need PROGRAM PACKAGE WHY: installs PACKAGE where PROGRAM, or the file of that path, is missing. What really needs it reports its absence.
need() {
    if command -v "$1" >/dev/null || [ -e "$1" ]; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: $1 (package $2) $3; install it, or run this as root where there is apt"
        return
    fi
    echo "installing $2 $3"
    refresh_packages
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$2" >/dev/null ||
        echo "cannot install $2"
    # The tests run an nginx of their own; the package's service would take port 80 of the machine.
    if [ "$2" = nginx-light ] && [ -d /run/systemd/system ]; then
        systemctl disable --quiet --now nginx
    fi
}

refresh_packages() {
    [ -n "${refreshed:-}" ] || apt-get update -qq || echo "cannot refresh the list of packages"
    refreshed=yes
}

main "$@"
