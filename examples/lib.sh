# lib.sh: what the example scripts share; sourced, not run. Expects $work (a directory) to be set.
# shellcheck shell=sh

: "${work:?a directory}"

# An installed Millet, or the one built in this tree.
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
PATH=${MILLET_BIN:-$here/bin}:$PATH
command -v mtok >/dev/null || { echo "${0##*/}: mtok is not in PATH: run make first" >&2; exit 1; }

say() { printf '\n== %s\n' "$*" >&2; }

# step NAME FILE 'shell command': run the command unless FILE is there already, and keep the seconds it took in NAME.seconds.
# A tool writes FILE whole or not at all, so a run that was stopped goes on where it was.
step() {
    say "$1: $3"
    if [ -e "$work/$2" ]; then
        echo "   done before" >&2
        return
    fi
    step_begin=$(date +%s.%N)
    (cd "$work" && sh -c "$3") || return 1
    step_end=$(date +%s.%N)
    echo "$step_begin $step_end" | awk '{ printf "%.1f\n", $2 - $1 }' >"$work/$1.seconds"
}

# json_get FILE a.b.c: a number or string out of the indented JSON that the tools print; array elements count from 0.
json_get() {
    awk -v want="$2" '
    {
        line = $0; sub(/^ */, "", line); sub(/,$/, "", line)
        if (line ~ /^[]}]/) { depth--; next }
        key = count[depth]++
        if (match(line, /^"[^"]*": /)) { key = substr(line, 2, RLENGTH - 4); line = substr(line, RLENGTH + 1) }
        path[depth] = key
        if (line ~ /^[[{]$/) { depth++; count[depth] = 0; next }
        where = ""
        for (i = 1; i <= depth; i++) where = where (i > 1 ? "." : "") path[i]
        gsub(/^"|"$/, "", line)
        if (where == want) { print line; exit }
    }' "$1"
}

# tsv_get FILE KEY...: values out of mscore --tsv, with tabs between them.
tsv_get() {
    tsv_file=$1
    shift
    for tsv_key; do
        awk -F '\t' -v key="$tsv_key" '$1 == key { print $2; exit }' "$tsv_file"
    done | paste -s -
}

table_header() {
    printf 'model\taccuracy %%\t95 %% interval\tmacro F1 %%\tp against teacher\tparameters\tbytes\ttexts/s\tlatency ms\tspeed-up\tstep s\n'
}

# table_row TITLE NAME MODEL TEST: score MODEL beside the teacher on TEST, print one row.
table_row() {
    r=$work/$2.json
    [ -e "$r" ] || (cd "$work" && mscore -q -m "$3" --baseline teacher.tar --time --json -o "$2.json" "$4")
    printf '%s\t%s\t%s\n' "$1" "$(
        for key in model.accuracy model.accuracy_ci95.0 model.accuracy_ci95.1 model.macro_f1 compare.mcnemar_p \
            model.parameters model.bytes model.texts_per_s model.latency_ms.p50 compare.speedup; do
            json_get "$r" $key
        done | awk '
            { v[NR] = $1 }
            END {
                printf "%.1f\t%.1f – %.1f\t%.1f\t%.2g\t%d\t%d\t%.0f\t%.2f\t%.2f",
                    100 * v[1], 100 * v[2], 100 * v[3], 100 * v[4], v[5], v[6], v[7], v[8], v[9], v[10]
            }')" "$(cat "$work/$2.seconds")"
}

# Line up tab-separated columns (counting characters, not bytes, of UTF-8).
align() {
    LC_ALL=C awk -F '\t' '
    function width(s) { gsub(/[\200-\277]/, "", s); return length(s) }
    { rows = NR; for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (width($i) > w[i]) w[i] = width($i) } if (NF > n) n = NF }
    END {
        for (r = 1; r <= rows; r++) {
            line = ""
            for (i = 1; i <= n; i++) {
                pad = sprintf("%" (w[i] - width(cell[r, i])) "s", "")
                line = line (i == 1 ? cell[r, i] pad : "  " pad cell[r, i])
            }
            print line
        }
    }'
}

# ---- the table of paper-table.sh ----

# key TITLE of mscore --tsv, in the order of the table's columns; scale and format of each.
paper_columns='model.accuracy|accuracy %|100|%.1f
model.accuracy_ci95.0|from|100|%.1f
model.accuracy_ci95.1|to|100|%.1f
model.macro_f1|macro F1 %|100|%.1f
compare.accuracy_difference|difference|100|%+.2f
compare.score_ci95.0|from|100|%+.2f
compare.score_ci95.1|to|100|%+.2f
compare.noninferior|not worse|1|%s
compare.mcnemar_p|McNemar p|1|%.2g
model.texts_per_s|texts/s|1|%.0f
compare.speedup|speed-up|1|%.2f
model.latency_ms.p50|latency ms|1|%.2f
model.macs_at_mean_length|M multiply-adds|1e-6|%.2f
model.parameters|M parameters|1e-6|%.3f
model.bytes|MB|1e-6|%.2f
model.peak_memory_bytes|peak MB|1e-6|%.0f
model.joules_per_1000_texts|J/1000 texts|1|%.3g
model.gco2e_per_1000_texts|mgCO2e/1000 texts|1000|%.3g'

paper_header() {
    printf 'model'
    printf '%s\n' "$paper_columns" | awk -F '|' '{ printf "\t%s", $2 }'
    printf '\ttraining s\n'
}

# paper_row TITLE NAME: what NAME.tar answers on test.tok beside full.tar (test.taught), and its speed beside teacher.tar on
# the texts of time.tok, both unless done before; the line of the table goes to NAME.row.
paper_row() {
    r=$work/$2
    [ -e "$r.quality" ] || (cd "$work" && mscore -q -m "$2.tar" --baseline-stream test.taught --margin "${MILLET_MARGIN:-1}" --tsv \
        -o "$2.quality" test.tok) || return 1
    [ -e "$r.speed" ] || (cd "$work" && mscore -q -m "$2.tar" --baseline teacher.tar --time --memory \
        ${MILLET_WATTS:+--watts "$MILLET_WATTS"} --tsv -o "$2.speed" time.tok) || return 1
    {
        printf '%s' "$1"
        cat "$r.quality" "$r.speed" | awk -F '\t' -v columns="$paper_columns" '
            !($1 in value) && $2 != "-" { value[$1] = $2 }
            END {
                n = split(columns, column, "\n")
                for (i = 1; i <= n; i++) {
                    split(column[i], c, "|")
                    v = value[c[1]]
                    if (v == "true") v = "yes"; else if (v == "false") v = "no"
                    if (v == "" || c[4] == "%s") printf "\t%s", v; else printf "\t" c[4], v * c[3]
                }
            }'
        printf '\t%s\n' "$(cat "$r.total")"
    } >"$r.new"
    mv "$r.new" "$r.row"
}

# A tab-separated table as Markdown.
markdown() {
    awk -F '\t' '
    { line = "|"; for (i = 1; i <= NF; i++) line = line " " $i " |"; print line }
    NR == 1 { line = "|"; for (i = 1; i <= NF; i++) line = line (i == 1 ? "---|" : "---:|"); print line }'
}
