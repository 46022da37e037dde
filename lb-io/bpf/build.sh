#!/bin/sh
# Rebuilds redirect.bpf.o from redirect.bpf.c; the same bytes on every machine with clang-14.
# `build.sh --check` compares with the committed object instead of replacing it.
set -eu
cd "$(dirname "$0")"

for tool in clang-14 llvm-strip-14; do
	command -v "$tool" >/dev/null || {
		echo "$0: $tool is missing; on Debian or Ubuntu: apt-get install clang-14 llvm-14" >&2
		exit 2
	}
done

object=$(mktemp)
trap 'rm -f "$object"' EXIT
clang-14 -target bpf -mcpu=v3 -O2 -Wall -Wextra -Werror -ffreestanding -fdebug-compilation-dir=. \
	-c redirect.bpf.c -o "$object"
llvm-strip-14 -g "$object"

if [ "${1:-}" = --check ]; then
	cmp "$object" redirect.bpf.o || {
		echo "$0: redirect.bpf.o is not what redirect.bpf.c builds; run $0 and commit the result" >&2
		exit 1
	}
else
	cat "$object" >redirect.bpf.o
fi
