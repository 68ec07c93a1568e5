#!/bin/sh
# run.sh BUILD TARGET SECONDS - one fuzz target with its seeds; what it finds stays in BUILD/fuzz.
set -u
build=$1 target=$2 seconds=$3
found=$build/corpus/$target crashes=$build/crashes/$target
mkdir -p "$found" "$crashes"
seeds=$(dirname "$0")/corpus/$target
echo "== $target for $seconds s"
"$build/tests/fuzz/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
    -print_final_stats=1 -verbosity=1 -artifact_prefix="$crashes/" \
    -dict="$(dirname "$0")/json.dict" \
    "$found" $([ -d "$seeds" ] && echo "$seeds") > "$build/$target.log" 2>&1
status=$?
grep -E 'stat::number_of_executed_units|stat::average_exec_per_sec|ERROR|SUMMARY' "$build/$target.log"
[ $status -eq 0 ] || { echo "$target failed: $build/$target.log, inputs in $crashes" >&2; tail -40 "$build/$target.log" >&2; }
exit $status
