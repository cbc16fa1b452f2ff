#!/bin/sh
# usage: tests/fuzz/run.sh BUILD SECONDS TARGET …     (from make fuzz)
# Runs each target for so many seconds, from tests/fuzz/seed/TARGET (torch: tests/golden/torch, too) and what earlier runs found worth keeping
# (BUILD/corpus/TARGET). Prints one line a target: minutes, executions, findings. A finding stays in BUILD/found; it
# belongs into tests/fuzz/found/TARGET once the cause is mended, where tests/unit/test_fuzz.c runs it for ever.
set -u
build=$1 seconds=$2
shift 2
status=0
printf 'parser\tminutes\texecutions\tfindings\n'
for target; do
    corpus=$build/corpus/$target found=$build/found/$target log=$build/$target.log
    mkdir -p "$corpus" "$found"
    seeds=tests/fuzz/seed/$target
    [ "$target" != torch ] || seeds="$seeds tests/golden/torch"
    dictionary=
    [ ! -f "tests/fuzz/$target.dict" ] || dictionary=-dict=tests/fuzz/$target.dict
    began=$(date +%s)
    # shellcheck disable=SC2086 # lists of words
    nice -n 10 "$build/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=20000 \
        -print_final_stats=1 -verbosity=1 $dictionary -artifact_prefix="$found/" "$corpus" $seeds \
        >"$log" 2>&1 || status=1
    took=$(($(date +%s) - began))
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    n=$(find "$found" -type f | wc -l)
    [ "$n" = 0 ] || status=1
    printf '%s\t%d.%d\t%s\t%d\n' "$target" $((took / 60)) $((took % 60 / 6)) "${runs:-?}" "$n"
done
exit $status
