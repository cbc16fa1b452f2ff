#!/usr/bin/env bats
# mscore: reports, comparisons, predictions, and what it refuses.

load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    small_model .
    # Trained on until it is right more often than not; the one before is a baseline that differs.
    mv model.tar weak.tar
    mstudent -q -j 1 -m weak.tar --epochs 5 --lr 5e-3 --batch-tokens 128 -o model.tar data.tok
    mtok -q -m model.tar --keep-text -o text.tok data.csv
    mteach -q -m model.tar -o taught.tok data.tok
    sed -n '2,$s/,[^,]*$//p' data.csv > lines.txt
    sed -n '2,$s/.*,//p' data.csv > labels.txt
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/* .
}

# json KEY: the value behind the first "KEY": on standard input.
json() {
    awk -v key="\"$1\":" '$1 == key { sub(/,$/, "", $2); print $2; exit }'
}

@test "accuracy is the share of right predictions" {
    mscore -q -m model.tar --predict data.tok > predicted.txt
    right=$(cut -f 1 predicted.txt | paste - labels.txt | awk -F '\t' '$1 == $2' | wc -l)
    run mscore -q -m model.tar --json data.tok
    assert_status 0
    [ "$(json n <<<"$output")" = 60 ]
    [ "$(json correct <<<"$output")" = "$right" ]
    json accuracy <<<"$output" | awk -v right="$right" '{ exit !(($1 - right / 60) ^ 2 < 1e-12) }'
}

@test "the text report has a summary and tables for cut and awk" {
    run mscore -q -m model.tar data.tok
    assert_status 0
    assert_says "data.tok: 60 records scored, 0 without a label left out" "95 % (Wilson)" \
        "macro F1" "weighted F1" "parameters" "unpadded"
    [ "$(awk -F '\t' '$1 == "class" && $2 == "model" { n += $7 } END { print n }' <<<"$output")" = 60 ]
    awk -F '\t' '$1 == "confusion" && $2 == "model" { for (i = 4; i <= NF; i++) n += $i; rows++ }
        END { exit !(n == 60 && rows == 3) }' <<<"$output"
}

@test "--json has every key, null where nothing was measured" {
    run mscore -q -m model.tar --json data.tok
    assert_status 0
    for key in n unlabelled model baseline compare accuracy accuracy_ci95 macro_f1 weighted_f1 parameters \
        bytes texts_per_s latency_ms p50 p95 macs_at_mean_length per_class confusion; do
        assert_says "\"$key\": "
    done
    [ "$(json texts_per_s <<<"$output")" = null ]
    [ "$(json baseline <<<"$output")" = null ]
}

@test "against a baseline, lost, won and agreement are what two lists of predictions say" {
    mscore -q -m model.tar --predict data.tok | cut -f 1 > a
    mscore -q -m weak.tar --predict data.tok | cut -f 1 > b
    paste a b labels.txt | awk -F '\t' '
        { won += $1 == $3 && $2 != $3; lost += $1 != $3 && $2 == $3; same += $1 == $2 }
        END { printf "%d\n%d\n%.6f\n%.6f\n", won, lost, same / NR, (won - lost) / NR }' > counted
    run mscore -q -m model.tar --baseline weak.tar --json data.tok
    assert_status 0
    for key in won lost agreement accuracy_difference; do json "$key" <<<"$output"; done |
        awk 'NR > 2 { $1 = sprintf("%.6f", $1) } { print $1 }' > reported
    cat counted reported
    assert_same counted reported
    [ "$(json won <<<"$output")" -gt 0 ]
}

@test "a model against itself: no difference, full agreement" {
    run mscore -q -m model.tar --baseline model.tar --json data.tok
    assert_status 0
    [ "$(json lost <<<"$output")" = 0 ]
    [ "$(json won <<<"$output")" = 0 ]
    [ "$(json accuracy_difference <<<"$output")" = 0.0 ]
    [ "$(json mcnemar_p <<<"$output")" = 1.0 ]
    [ "$(json agreement <<<"$output")" = 1.0 ]
    run mscore -q -m model.tar --baseline model.tar data.tok
    assert_status 0
    assert_says "p > 0.05 is not proof of equality" "no record sets the two apart"
}

@test "--time measures model and baseline and states how" {
    run mscore -q -j 1 -m model.tar --baseline model.tar --time --rounds 3 --seconds 0 data.tok
    assert_status 0
    assert_says "texts/s" "latency p50" "latency p95" "median of 3 passes" "take turns" "1 thread" \
        "speed-up"
    run mscore -q -m model.tar --time --seconds 0 --json data.tok
    assert_status 0
    json texts_per_s <<<"$output" | awk '{ exit !($1 > 0) }'
    json p50 <<<"$output" | awk '{ exit !($1 > 0) }'
}

@test "without -m the logits of the stream are scored" {
    mscore -q -m model.tar --json data.tok | json accuracy > computed
    mscore -q --json taught.tok | json accuracy > carried
    assert_same computed carried
    run mscore -q --baseline model.tar --json taught.tok
    assert_status 0
    [ "$(json agreement <<<"$output")" = 1.0 ]
    mscore -q -m model.tar --predict data.tok > computed
    mscore -q --predict taught.tok > carried
    assert_same computed carried
}

@test "without -m, a stream without logits is refused with the remedy" {
    run mscore -q data.tok
    assert_fails "carries no logits" "-m" "mteach"
    run mscore -q --predict data.tok
    assert_fails "carries no logits"
}

@test "--predict: label, probability; --top: pairs, best first; --text: the text last" {
    mscore -q -m model.tar --predict data.tok > one
    [ "$(wc -l < one)" = 60 ]
    [ "$(grep -c -P '^(sport|money|film)\t[01]\.[0-9]{4,}$' one)" = 60 ]
    mscore -q -m model.tar --predict --top 2 data.tok > two
    awk -F '\t' 'NF != 4 || $1 == $3 || $2 + 0 < $4 + 0 { exit 1 }' two
    cut -f 1,2 two | cmp - one
    mscore -q -m model.tar --predict --top 99 --text text.tok > all
    awk -F '\t' 'NF != 7 || ($2 + $4 + $6 - 1) ^ 2 > 1e-10 { exit 1 }' all
    cut -f 7 all | cmp - lines.txt
}

@test "tabs and line breaks in a text do not break the columns" {
    printf 'text,label\n"a\tb\nc",sport\n' > odd.csv
    mtok -q -m model.tar --keep-text odd.csv > odd.tok
    run mscore -q -m model.tar --predict --text odd.tok
    assert_status 0
    [ "${#lines[@]}" = 1 ]
    [ "$(cut -f 3 <<<"$output")" = "a b c" ]
}

@test "--text on a stream without text names mtok --keep-text" {
    run mscore -q -m model.tar --predict --text data.tok
    assert_fails "mtok" "--keep-text"
}

@test "records without labels: refused for a report, predicted, and counted beside others" {
    mtok -q -m model.tar --format plain lines.txt > bare.tok
    run mscore -q -m model.tar bare.tok
    assert_fails "--predict"
    mscore -q -m model.tar --predict bare.tok > bare
    mscore -q -m model.tar --predict data.tok | cmp - bare
    cat data.tok bare.tok > both.tok
    run mscore -q -m model.tar --json both.tok
    assert_status 0
    [ "$(json n <<<"$output")" = 60 ]
    [ "$(json unlabelled <<<"$output")" = 60 ]
}

@test "one and two threads, file and pipe give the same bytes" {
    mscore -q -j 1 -m model.tar --predict data.tok > one
    mscore -q -j 2 -m model.tar --predict < data.tok > two
    assert_same one two
    cat data.tok | mscore -q -j 2 -m model.tar --predict > three
    assert_same one three
    mscore -q --seed 3 --baseline model.tar --json taught.tok > one
    mscore -q --seed 3 --baseline model.tar --json -o two taught.tok
    assert_same one two
}

@test "several streams are one" {
    run mscore -q -m model.tar --json data.tok data.tok
    assert_status 0
    [ "$(json n <<<"$output")" = 120 ]
    cat data.tok data.tok > double.tok
    mscore -q -m model.tar --predict double.tok > one
    mscore -q -m model.tar --predict data.tok - < data.tok > two
    assert_same one two
}

@test "a stream of another tokenizer or other labels is refused, both named" {
    mtok -q --learn 60 -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    run mscore -q -m model.tar other.tok
    assert_fails "tokenizer" "other.tok" "model.tar"
    sed 's/,sport$/,games/' data.csv > renamed.csv
    mtok -q --learn 150 -o renamed.tar renamed.csv
    mtok -q -m renamed.tar -o renamed.tok renamed.csv
    for how in "" --predict; do
        # shellcheck disable=SC2086 # no option when empty
        run mscore -q -m model.tar $how renamed.tok
        assert_fails "label" "renamed.tok" "model.tar"
    done
}

@test "an empty, a cut and a damaged stream are refused; nothing under the final name" {
    run mscore -q -m model.tar /dev/null
    assert_fails "mscore: "
    run bash -c 'mscore -q -m model.tar < /dev/null'
    assert_fails "<stdin>"
    head -c 1536 data.tok > cut.tok
    for how in "" --predict; do
        # shellcheck disable=SC2086
        run mscore -q -m model.tar $how -o report cut.tok
        assert_fails "cut.tok"
        [ ! -e report ]
    done
}

@test "a failure upstream is shown by the last tool" {
    run bash -c 'mtok -q -m model.tar absent.csv 2>/dev/null | mscore -q -m model.tar --predict'
    assert_fails "absent.csv"
}

@test "a reader that leaves early ends it quietly" {
    for _ in $(seq 120); do cat data.tok; done > long.tok
    run bash -c 'mscore -q -m model.tar --predict long.tok | head -n 1; echo "${PIPESTATUS[0]}"'
    [ "${#lines[@]}" = 2 ]
    [ "${lines[1]}" = 141 ]
}

@test "a full disk is an error, for reports and predictions" {
    for how in "" --json --predict; do
        # shellcheck disable=SC2086
        run bash -c "mscore -q -m model.tar $how data.tok > /dev/full"
        assert_fails "mscore: "
    done
}

@test "options that cannot be meant together are usage errors, stdout stays empty" {
    for wrong in "--predict --json" "--predict --time" "--predict --baseline model.tar" "--top 2" "--text" \
        "--rounds 3" "--seconds 1" "--watts 3" "--grid 5" "--margin 1" "--baseline model.tar --margin 0" "--baseline model.tar --margin 51" \
        "--json --tsv" "--predict --tsv" "--predict --memory" "--predict --top 0" "--predict --top x" "-m model.tar" "--baseline -"; do
        # shellcheck disable=SC2086
        run --separate-stderr mscore -m model.tar $wrong
        assert_status 2
        [ -z "$output" ]
    done
    run mscore --time data.tok
    assert_status 2
    assert_says "-m"
    run mscore -m - data.tok -
    assert_status 2
    assert_says "standard input"
}

@test "a missing model is named" {
    run mscore -q -m absent.tar data.tok
    assert_fails "absent.tar"
}

@test "--margin: shown or not shown, in words and in numbers" {
    run mscore -q -m model.tar --baseline weak.tar --margin 50 data.tok
    assert_status 0
    assert_says "not worse by 50 points of accuracy: shown" "Tango's score test" "(score, Tango)"
    run mscore -q -m weak.tar --baseline model.tar --margin 0.5 data.tok
    assert_status 0
    assert_says "not worse by 0.5 points of accuracy: not shown"
    mscore -q -m weak.tar --baseline model.tar --margin 0.5 --tsv data.tok >tsv
    awk -F '\t' '
        $1 == "compare.noninferior" { shown = $2 }
        $1 == "compare.noninferior_p" { p = $2 }
        $1 == "compare.lowest95" { lowest = $2 }
        $1 == "compare.margin" { margin = $2 }
        $1 == "compare.score_ci95.0" { low = $2 }
        END { exit !(shown == "false" && p > 0.05 && margin == 0.005 && lowest < -margin && low < lowest) }' tsv
    run mscore -q -m model.tar --baseline weak.tar --tsv data.tok
    assert_says "compare.margin	-" "compare.noninferior	-"
    run mscore -q --margin 1 -m model.tar data.tok
    assert_status 2
    assert_says "--margin needs --baseline"
}

@test "--tsv has the numbers of --json, a line for each" {
    mscore -q -m model.tar --baseline weak.tar --json data.tok >json
    mscore -q -m model.tar --baseline weak.tar --tsv data.tok >tsv
    jq -r 'del(.labels, .model.per_class, .model.confusion, .baseline.per_class, .baseline.confusion)
        | [leaf_paths as $p | $p | map(tostring) | join(".")] | .[]' json | sort >paths
    awk -F '\t' 'NF != 2 { exit 1 } $2 != "-" { print $1 }' tsv | sort >names
    grep -vxF -f names paths >missing || true
    [ "$(jq -r '[leaf_paths] | length' json)" -gt 50 ]
    while read -r path; do
        [ "$(jq -r --arg p "$path" 'getpath($p | split(".") | map(tonumber? // .))' json)" = false ]
    done <missing
    [ "$(awk -F '\t' '$1 == "model.correct" { print $2 }' tsv)" = "$(jq .model.correct json)" ]
}

@test "energy: an estimate says so, --watts is taken at its word, --grid makes the CO2" {
    run mscore -q -j 1 -m model.tar --baseline weak.tar --time --rounds 1 --seconds 0 data.tok
    assert_status 0
    assert_says "J/1000 texts" "gCO2e/1000 texts" "energy     " "480 gCO2e/kWh (the world's mean of 2023, Ember 2024)"
    mscore -q -m model.tar --time --rounds 1 --seconds 0 --watts 36 --grid 1000 --tsv data.tok >tsv
    awk -F '\t' '{ v[$1] = $2 }
        END { j = v["model.joules_per_pass"]; g = v["model.gco2e_per_pass"]
            exit !(v["energy.basis"] == "stated" && v["energy.watts"] == 36 &&
                (j / (36 * v["model.pass_s"]) - 1) ^ 2 < 1e-12 && (g / (j / 3600) - 1) ^ 2 < 1e-12 &&
                (v["model.joules_per_1000_texts"] / (j * 1000 / 60) - 1) ^ 2 < 1e-12) }' tsv
    mscore -q -m model.tar --tsv data.tok | grep -Fx "model.joules_per_pass	-"
}

@test "FLOPs are two for each multiply-add of each text; --memory measures each model by itself" {
    mscore -q -m model.tar --baseline weak.tar --memory --tsv data.tok >tsv
    awk -F '\t' '{ v[$1] = $2 }
        END { exit !(v["model.flops_per_text"] > v["model.macs_at_mean_length"] &&
            v["model.flops_per_text"] < 3 * v["model.macs_at_mean_length"] &&
            v["model.peak_memory_bytes"] > 1e6 && v["baseline.peak_memory_bytes"] > 1e6) }' tsv
    run mscore -q -m model.tar --memory data.tok
    assert_status 0
    assert_says "peak memory, MB" "FLOPs/text"
    run bash -c 'mscore -q -m model.tar --memory --tsv < data.tok | grep peak_memory_bytes'
    assert_status 0
    run mscore --memory -m - data.tok
    assert_status 2
    assert_says "--memory"
    run mscore -q --memory taught.tok
    assert_status 2
}

@test "--baseline-stream alone: the logits that it carries are the baseline" {
    mscore -q -m weak.tar --baseline model.tar --margin 1 --tsv data.tok >computed
    mscore -q -m weak.tar --baseline-stream taught.tok --margin 1 --tsv data.tok >carried
    for file in computed carried; do grep -E '^(compare|baseline[.](accuracy|macro_f1))' $file >$file.same; done
    [ "$(wc -l <computed.same)" -gt 10 ]
    assert_same computed.same carried.same
    run mscore -q -m weak.tar --baseline-stream taught.tok --time --rounds 1 --seconds 0 data.tok
    assert_status 0
    assert_says "baseline   logits of the stream, on taught.tok"
    [[ $output != *"take turns"* && $output != *speed-up* ]]
    awk '$1 == "texts/s" { exit !($2 > 0 && $3 == "-") }' <<<"$output"
    run mscore -q -m weak.tar --predict --baseline-stream taught.tok data.tok
    assert_status 2
    assert_says "--predict writes lines, no report: drop --baseline-stream"
    # Students of another tokenizer are compared with a teacher that has answered before.
    mtok -q --learn 90 -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    mstudent -q -m other.tar --shape layers=1,hidden=16,heads=2,ffn=16 --epochs 1 -o other-model.tar other.tok
    run mscore -q -m other-model.tar --baseline-stream taught.tok --tsv other.tok
    assert_status 0
    assert_says "baseline_stream	taught.tok"
}

@test "--baseline-stream: the same texts for a baseline with another tokenizer" {
    mtok -q --learn 90 -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    mstudent -q -m other.tar --shape layers=1,hidden=16,heads=2,ffn=16 --epochs 1 -o other-model.tar other.tok
    run mscore -q -m model.tar --baseline other-model.tar data.tok
    assert_fails "another tokenizer"
    mscore -q -m model.tar --baseline other-model.tar --baseline-stream other.tok --memory --tsv data.tok >tsv
    mscore -q -m other-model.tar --tsv other.tok >alone
    for key in accuracy macro_f1 flops_per_text parameters; do
        [ "$(awk -F '\t' -v k="baseline.$key" '$1 == k { print $2 }' tsv)" = "$(awk -F '\t' -v k="model.$key" '$1 == k { print $2 }' alone)" ]
    done
    grep -Fx "baseline_stream	other.tok" tsv
    head -n 31 data.csv >half.csv
    mtok -q -m other.tar -o half.tok half.csv
    run mscore -q -m model.tar --baseline other-model.tar --baseline-stream half.tok data.tok
    assert_fails "half.tok: has 30 records, but data.tok has 60"
    (head -n 1 data.csv; tail -n +2 data.csv | tac) >turned.csv
    mtok -q -m other.tar -o turned.tok turned.csv
    run mscore -q -m model.tar --baseline other-model.tar --baseline-stream turned.tok data.tok
    assert_fails "turned.tok: record" "is another than in data.tok"
    run mscore -q -m model.tar --baseline-stream other.tok data.tok
    assert_fails "other.tok: the stream carries no logits; give a model (-m, --baseline), or run mteach before"
    run bash -c 'mscore -q -m model.tar --baseline other-model.tar --baseline-stream - < data.tok'
    assert_status 2
}
