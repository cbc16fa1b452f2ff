#!/bin/sh
# usage: konkani-data.sh Konkani_Dataset.csv [DIRECTORY]
#
# Idiom or literal: train.csv, dev.csv and test.csv (columns text,label) in DIRECTORY (default: here) out of the Konkani idiom set
# (columns Id,Expression,Sentence,Idiom,Metaphor,Split). The set has several sentences of most expressions, and its own Split has 239
# expressions on both sides; here all sentences of an expression go to one side: about 80 % train, 10 % dev, 10 % test, by a hash of
# the expression (surrounding blanks cut, inner ones made one). A sentence that occurs again is left out. Column Metaphor, a second
# question that 500 sentences have an answer to, is not read.
set -eu

input=${1:?'usage: konkani-data.sh Konkani_Dataset.csv [DIRECTORY]'}
directory=${2:-.}
mkdir -p "$directory"

LC_ALL=C awk -v out="$directory" '
# The cells of a line of CSV without line breaks in cells: cell[1] ...
function cells(line, cell,   n, quoted, c, i) {
    n = 1; quoted = 0; cell[1] = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (quoted && c == "\"" && substr(line, i + 1, 1) == "\"") { cell[n] = cell[n] c; i++ }
        else if (c == "\"") quoted = !quoted
        else if (c == "," && !quoted) cell[++n] = ""
        else cell[n] = cell[n] c
    }
    return quoted ? 0 : n
}
function quote(s) {
    if (s ~ /[",]/) { gsub(/"/, "\"\"", s); return "\"" s "\"" }
    return s
}
# Which fold of ten an expression falls into: a polynomial hash over its bytes.
function fold(s,   h, i) {
    h = 7
    for (i = 1; i <= length(s); i++) h = (h * 257 + code[substr(s, i, 1)]) % 2147483647
    return (h * 40503 + 12345) % 2147483647 % 10
}
function fail(what) { print "konkani-data.sh: " FILENAME ", line " FNR ": " what > "/dev/stderr"; failed = 1; exit 1 }
BEGIN {
    for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
    for (i = split("train dev test", side, " "); i > 0; i--) print "text,label" > (out "/" side[i] ".csv.new")
}
{
    sub(/\r$/, "")
    if (cells($0, cell) < 6) fail("fewer than six columns")   # a few lines have stray ones behind
    if (FNR == 1) {
        if (cell[2] != "Expression" || cell[3] != "Sentence" || cell[4] != "Idiom") fail("not the columns of the Konkani idiom set")
        next
    }
    if (cell[4] != "Yes" && cell[4] != "No") fail("Idiom is neither Yes nor No")
    if (seen[cell[3]]++) { repeated++; next }
    gsub(/[ \t]+/, " ", cell[2]); sub(/^ /, "", cell[2]); sub(/ $/, "", cell[2])
    h = fold(cell[2])
    s = h < 8 ? "train" : h == 8 ? "dev" : "test"
    if (!((s, cell[2]) in known)) { known[s, cell[2]] = 1; expressions[s]++ }
    sentences[s]++; idioms[s] += cell[4] == "Yes"
    print quote(cell[3]) "," (cell[4] == "Yes" ? "idiom" : "literal") > (out "/" s ".csv.new")
}
END {
    if (failed) exit 1
    for (i = 1; i <= 3; i++)
        printf "%-5s %5d sentences of %4d expressions, %5d idioms\n", side[i], sentences[side[i]], expressions[side[i]], idioms[side[i]] > "/dev/stderr"
    printf "%d sentences that occurred before were left out\n", repeated > "/dev/stderr"
}' "$input"
for side in train dev test; do mv "$directory/$side.csv.new" "$directory/$side.csv"; done
