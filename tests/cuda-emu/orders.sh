#!/bin/sh
# orders.sh PROGRAM: the program's own TAP for ascending threads, then one point for each other order: it passes, and
# the results have the same bytes.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
EMU_ORDER=ascending "$1" > "$dir/first" || status=$?
sed '/^1\.\.[0-9]*$/d' "$dir/first"
n=$(grep -c '^\(not \)\{0,1\}ok ' "$dir/first")
for order in descending random:5; do
    n=$((n + 1))
    EMU_ORDER=$order "$1" > "$dir/other" || status=$?
    if grep '^# hash' "$dir/first" > "$dir/a"; grep '^# hash' "$dir/other" > "$dir/b"; cmp -s "$dir/a" "$dir/b"; then
        echo "ok $n - $order: the same bytes"
    else
        echo "not ok $n - $order: other bytes"
        status=1
    fi
done
echo "1..$n"
exit "${status:-0}"
