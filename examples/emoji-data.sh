#!/bin/sh
# usage: emoji-data.sh [LANGUAGE [DIRECTORY]]
#
# A real little topic-classification set in some hundred languages, from two Debian packages: the text is the name and the
# keywords of an emoji in LANGUAGE (default mr, Marathi), the label is the group it belongs to (nine groups). Writes
# train.csv, dev.csv and test.csv (columns text,label) into DIRECTORY (default: here).
#
# Emoji of one family (the same code points but for skin tone, gender and presentation) have nearly the same name, so a
# whole family goes to one side of the split: about 70 % train, 10 % dev, 20 % test, by a hash of the family.
set -eu

language=${1:-mr}
directory=${2:-.}
cldr=/usr/share/unicode/cldr/common
groups=/usr/share/unicode/emoji/emoji-test.txt

for f in "$groups" "$cldr/annotations/$language.xml" "$cldr/annotationsDerived/$language.xml"; do
    if [ ! -r "$f" ]; then
        echo "emoji-data.sh: $f is missing: install unicode-data and unicode-cldr-core, or choose another language" >&2
        exit 1
    fi
done
mkdir -p "$directory"

LC_ALL=C awk -v out="$directory" '
function unescape(s) {
    gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s); gsub(/&quot;/, "\"", s); gsub(/&#39;|&apos;/, "\047", s)
    gsub(/&amp;/, "\\&", s)
    return s
}
function cell(s) {
    if (s ~ /[",\r\n]/) { gsub(/"/, "\"\"", s); return "\"" s "\"" }
    return s
}
# Which fold of ten a family falls into: a polynomial hash over its hexadecimal digits.
function fold(s,   h, i) {
    h = 7
    for (i = 1; i <= length(s); i++) h = (h * 31 + index("0123456789ABCDEF ", substr(s, i, 1))) % 65521
    h = (h * 40503 + 12345) % 65521   # neighbours in the code charts must not share a fold
    return (h * 40503) % 65521 % 10
}
function family(codes,   n, part, i, f) {
    n = split(codes, part, " "); f = ""
    for (i = 1; i <= n; i++) {
        if (part[i] == "FE0F" || part[i] == "200D" || part[i] == "2640" || part[i] == "2642") continue
        if (part[i] == "1F468" || part[i] == "1F469") part[i] = "1F9D1"   # man, woman: person
        f = f " " part[i]
    }
    return f
}
FILENAME ~ /\.xml$/ {
    if (!match($0, /<annotation cp="[^"]*"/)) next
    emoji = unescape(substr($0, RSTART + 16, RLENGTH - 17))
    text = $0; sub(/^[^>]*>/, "", text); sub(/<\/annotation>.*/, "", text); text = unescape(text)
    if ($0 ~ /type="tts"/) name[emoji] = text
    else { gsub(/ \| /, ", ", text); keywords[emoji] = text }
    next
}
/^# group: / { label = substr($0, 10); next }
/; fully-qualified/ && label != "Component" {
    codes = $0; sub(/ *;.*/, "", codes)
    if (codes ~ /1F3F[BCDEF]/) next
    emoji = $0; sub(/^[^#]*# /, "", emoji); sub(/ .*/, "", emoji); gsub(/\357\270\217/, "", emoji)
    if (!(emoji in name)) next
    text = name[emoji]
    if (keywords[emoji] != "") text = text ": " keywords[emoji]
    h = fold(family(codes))
    side = h < 2 ? "test" : h == 2 ? "dev" : "train"
    file = out "/" side ".csv"
    if (!(file in opened)) { print "text,label" > file; opened[file] = 1 }
    print cell(text) "," cell(label) > file
}' "$cldr/annotations/$language.xml" "$cldr/annotationsDerived/$language.xml" "$groups"
