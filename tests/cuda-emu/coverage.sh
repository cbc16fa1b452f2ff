#!/bin/sh
# coverage.sh BUILD PROGRAM…: lines of kernels/cuda/*.cu that the programs run, for each file and in all; fails below 95 %.
# GCOV: of the compiler that made BUILD.
set -eu
objects=$1/kernels/cuda
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT

rm -f "$objects"/*.gcda
for program; do
    TRIAL_ONLY=cuda "$program" > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
done
"${GCOV:-gcov}" -n -r -o "$objects" "$objects"/*.gcda > "$log"
awk '
    /^File / { file = $2; gsub(/\047/, "", file) }
    /^Lines executed:/ && file ~ /^kernels\/cuda\/.*\.cu$/ {
        split($0, part, /[:%]| of /)
        n = part[4]
        run = int(part[2] * n / 100 + 0.5)
        printf "%6.1f %%  %4d of %4d lines  %s\n", part[2], run, n, file
        all += n
        all_run += run
        file = "" # gcov ends with a sum over all files
    }
    END {
        share = all ? 100 * all_run / all : 0
        printf "%6.1f %%  %4d of %4d lines  in all\n", share, all_run, all
        if (share < 95) { print "less than 95 % of the lines are run" > "/dev/stderr"; exit 1 }
    }' "$log"
