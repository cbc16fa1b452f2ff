#!/bin/sh
# architectures.sh PROGRAM "75 80 …": the program (or object) holds machine code for each of these architectures in every
# file of kernels, and PTX of the last for what comes after it. By cuobjdump where that is installed; else from the fat
# binaries themselves, whose format is not documented; as nvcc 13.0 writes them, little-endian:
#   a binary    4 bytes ba55ed50, 2 version, 2 size of this header, 8 bytes in the entries that follow
#   an entry    2 kind (1 PTX, 2 machine code), 2 version, 4 size of this header, 8 of what follows; its architecture is at
#               byte 28, as 75 for sm_75
set -eu
program=$1
promised=$2
newest=${promised##* }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# "elf 75", "ptx 120": one line each, of all fat binaries.
if command -v cuobjdump > /dev/null; then
    for kind in elf ptx; do
        cuobjdump --list-$kind "$program" | sed -n "s/.*\.sm_\([0-9]*\)[a-z]*\..*/$kind \1/p"
    done > "$dir/found"
else
    objcopy -O binary --only-section=.nv_fatbin --set-section-flags .nv_fatbin=alloc "$program" "$dir/fat" 2> "$dir/why" ||
        { cat "$dir/why" >&2; exit 1; }
    od -A n -v -t u4 -w4 "$dir/fat" | awk '
        { word[NR - 1] = $1 }
        END {
            for (at = 0; at + 4 <= NR; at++) {
                if (word[at] != 3126193488)
                    continue
                entry = at + int(word[at + 1] / 65536) / 4
                end = entry + word[at + 2] / 4
                if (end > NR) { print "a fat binary is cut off" > "/dev/stderr"; exit 1 }
                while (entry < end) {
                    kind = word[entry] % 65536
                    print (kind == 2 ? "elf" : kind == 1 ? "ptx" : "kind" kind), word[entry + 7]
                    entry += (word[entry + 1] + word[entry + 2]) / 4
                }
                at = end - 1
            }
        }' > "$dir/found"
fi

files=$(grep -c "^elf $newest\$" "$dir/found" || true)
[ "$files" -gt 0 ] || { echo "$program: no machine code for sm_$newest" >&2; exit 1; }
for architecture in $promised; do
    n=$(grep -c "^elf $architecture\$" "$dir/found" || true)
    [ "$n" = "$files" ] || { echo "$program: sm_$architecture in $n of $files files of kernels" >&2; exit 1; }
done
n=$(grep -c "^ptx $newest\$" "$dir/found" || true)
[ "$n" = "$files" ] || { echo "$program: PTX of compute_$newest in $n of $files files of kernels" >&2; exit 1; }
echo "$files files of kernels: sm_$(echo "$promised" | sed 's/ / sm_/g'), PTX of compute_$newest"
