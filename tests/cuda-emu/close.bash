# close.bash: `load close`: comparing what the CPU and the emulated GPU answer.
# shellcheck shell=bash

# close_tables A B: two tables of predictions name the same records and labels, and numbers differ by 1e-3 at most.
close_tables() {
    paste -d '\t' "$1" "$2" | awk -F '\t' -v files="$1 $2" '{
        half = NF / 2
        for (i = 1; i <= half; i++) {
            a = $i; b = $(i + half)
            number = a ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/
            if (number ? a - b > 1e-3 || b - a > 1e-3 : a != b) {
                print files ": line " NR ": " a " and " b; bad = 1
            }
        }
    } END { exit bad || NR == 0 }' >&2
}
