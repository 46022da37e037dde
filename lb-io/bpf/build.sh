#!/bin/sh
# build.sh [--check] [SOURCE]: rebuilds FILE.bpf.o beside FILE.bpf.c (redirect.bpf.c where no source is named); the same bytes on every
# machine with clang-14. With --check, compares with the committed object instead of replacing it.
set -eu

for tool in clang-14 llvm-strip-14; do
	command -v "$tool" >/dev/null || {
		echo "$0: $tool is missing; on Debian or Ubuntu: apt-get install clang-14 llvm-14" >&2
		exit 2
	}
done

check=no
if [ "${1:-}" = --check ]; then
	check=yes
	shift
fi
source=${1:-$(dirname "$0")/redirect.bpf.c}
cd "$(dirname "$source")"
source=$(basename "$source")
committed=${source%.c}.o

object=$(mktemp)
trap 'rm -f "$object"' EXIT
clang-14 -target bpf -mcpu=v3 -O2 -Wall -Wextra -Werror -ffreestanding -fdebug-compilation-dir=. \
	-c "$source" -o "$object"
llvm-strip-14 -g "$object"

if [ "$check" = yes ]; then
	cmp "$object" "$committed" || {
		echo "$0: $committed is not what $source builds; run $0 and commit the result" >&2
		exit 1
	}
else
	cat "$object" >"$committed"
fi
