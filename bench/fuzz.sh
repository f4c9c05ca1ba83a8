#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: bench/fuzz.sh [DURATION [PACKAGE...]], default 10s of ./...
# A finding is written to testdata/fuzz beside its package (commit it as a seed) and makes the exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:-10s}
shift || true
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# go test -list prints the names of a package's targets, then "ok <package> <time>"
if ! "$go" test -list '^Fuzz' "${@:-./...}" >"$work/list" 2>"$work/err"; then
	cat "$work/list" "$work/err" >&2
	echo "fuzz: the packages above do not build" >&2
	exit 1
fi
awk '/^Fuzz/ { names[++n] = $1 } $1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' "$work/list" >"$work/targets"
total=$(wc -l <"$work/targets")
if [ "$total" -eq 0 ]; then
	echo "fuzz: no target found" >&2
	exit 1
fi

n=0
findings=()
while read -r package target <&3; do
	n=$((n + 1))
	printf '%2d/%d %s %s: ' "$n" "$total" "${package#*/*/*/}" "$target"
	# making each new input small takes longer than finding it where inputs are whole files
	if "$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 10x "$package" >"$work/out" 2>&1; then
		grep -o 'execs: [0-9]*' "$work/out" | tail -1 || echo ok
	elif grep -q '^    context deadline exceeded$' "$work/out" && ! grep -q 'Failing input' "$work/out"; then
		# the go command ends a run so when its time is up while a worker is busy; it found nothing
		grep -o 'execs: [0-9]*' "$work/out" | tail -1
	else
		echo "FINDING"
		cat "$work/out"
		findings+=("$package $target")
	fi
done 3<"$work/targets"

if [ ${#findings[@]} -gt 0 ]; then
	echo "fuzz: ${#findings[@]} of $total targets found something:" >&2
	printf '  %s\n' "${findings[@]}" >&2
	exit 1
fi
echo "fuzz: $total targets, $duration each, nothing found"
