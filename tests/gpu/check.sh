#!/bin/sh
# check.sh PROGRAM…: the operation tests on the GPU of this machine, and under compute-sanitizer where that is
# installed. Exit 77: there is no GPU to test on.
set -eu
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export TRIAL_ONLY=cuda

"$1" > "$log" || true
if reason=$(sed -n 's/.*activations F32 # SKIP //p' "$log") && [ -n "$reason" ]; then
    echo "no test on a GPU: $reason" >&2
    exit 77
fi
prove --exec '' "$@"
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        for program; do
            echo "compute-sanitizer --tool $tool $program"
            compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" > "$log" || { tail -50 "$log"; exit 1; }
        done
    done
else
    echo 'compute-sanitizer is not installed: memory and races were not looked at' >&2
fi
