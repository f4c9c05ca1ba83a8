#!/usr/bin/env bash
# Puts all systems to all workloads and writes bench/results/<workload>.md, then measures the stages (stages.sh). Results of
# this very commit are left as they are, so an interrupted run is taken up where it was; FORCE=1 measures everything anew.
# WORKLOADS chooses some, ROWS gives those with peers so many rows instead of their own defaults; a workload that fails does not keep
# the others from being measured. TMPDIR says where files are written.
set -uo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
results=bench/results
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"$go" build -o "$work/bench" ./bench || exit 1
commit=$("$work/bench" --commit)
failed=()

# measure NAME ARGUMENTS... writes results/NAME.md
measure() {
	local name=$1
	shift
	if [ -n "${WORKLOADS:-}" ] && [[ " $WORKLOADS " != *" $name "* ]]; then
		return
	fi
	if [ -z "${FORCE:-}" ] && grep -qs "^Commit $commit," "$results/$name.md"; then
		echo "$name: $results/$name.md is of this commit already" >&2
		return
	fi
	echo "== $name ($(date -u +%H:%M:%S))" >&2
	"$work/bench" "$@" --out "$results/$name.md" || failed+=("$name")
}

rows=(${ROWS:+--rows "$ROWS"})
measure ingest ingest "${rows[@]}"
measure ingest-rate ingest --rate 100000 --rows 6000000 --peers none
measure ingest-sustained ingest --seconds 60 --peers none
for workload in $("$work/bench" --list); do
	if [ "$workload" != ingest ]; then
		measure "$workload" "$workload" "${rows[@]}"
	fi
done
if [ -z "${WORKLOADS:-}" ] || [[ " $WORKLOADS " == *" stages "* ]]; then
	if [ -z "${FORCE:-}" ] && grep -qs "commit $commit;" "$results/stages.md"; then
		echo "stages: $results/stages.md is of this commit already" >&2
	else
		COUNT=${COUNT:-2} BENCHTIME=${BENCHTIME:-500ms} GO=$go bench/stages.sh >&2 || failed+=(stages)
	fi
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "not measured: ${failed[*]}" >&2
	exit 1
fi
