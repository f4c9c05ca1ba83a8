#!/usr/bin/env bash
# Measures every stage of a row's journey and writes bench/results/stages.md (the table) and stages.txt (go test's output,
# for benchstat). COUNT runs of BENCHTIME each; the table has the medians. TMPDIR says where files are written.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
count=${COUNT:-3}
benchtime=${BENCHTIME:-1s}
cores=$(getconf _NPROCESSORS_ONLN)
results=bench/results
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# what a stage costs is measured on one core; what uses several is measured on all of them as well
one=(test -run '^$' -bench . -cpu 1 -count "$count" -benchtime "$benchtime" -timeout 1h ./bench/stages)
all=(test -run '^$' -bench 'Ingest|GroupBy' -cpu "$cores" -count "$count" -benchtime "$benchtime" -timeout 1h ./bench/stages)
"$go" "${one[@]}" | tee "$work/raw"
if [ "$cores" -gt 1 ]; then
	"$go" "${all[@]}" | tee -a "$work/raw"
fi
"$go" run ./bench/stages/report -command "COUNT=$count BENCHTIME=$benchtime bench/stages.sh" \
	-files "$(findmnt -no FSTYPE -T "${TMPDIR:-/tmp}" || echo unknown)" <"$work/raw" >"$work/md"
mv "$work/raw" "$results/stages.txt"
mv "$work/md" "$results/stages.md"
echo "wrote $results/stages.md"
