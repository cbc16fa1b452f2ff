#!/usr/bin/env bats
# Texts with any number of labels, from the table to the report.

load helper

# tags N: N CSV rows "text,labels": the words of 0 to 3 topics, labels joined by "|" in any order.
tags() {
    awk -v n="$1" 'BEGIN {
        print "text,labels"
        split("क्रिकेट सामना खेळाडू धाव", word0, " ")
        split("बाजार शेअर बँक पैसा", word1, " ")
        split("चित्रपट गाणे अभिनेता नाटक", word2, " ")
        state = 12345
        for (i = 0; i < n; i++) {
            line = "राजा"
            labels = ""
            for (c = 0; c < 3; c++) {
                state = state * 16807 % 2147483647
                if (int(state / 1024) % 2) continue
                labels = (c == 0 ? "sport" : c == 1 ? "money" : "film") (labels == "" ? "" : "|") labels
                for (w = 0; w < 3; w++) {
                    state = state * 16807 % 2147483647
                    k = 1 + int(state / 1024) % 4
                    line = line " " (c == 0 ? word0[k] : c == 1 ? word1[k] : word2[k])
                }
            }
            print line "," labels
        }
    }'
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    tags 300 > train.csv
    tags 420 | sed -n '1p;302,$p' > dev.csv
    mtok -q --learn 150 --multi-label -o vocab.tar train.csv
    mtok -q -m vocab.tar -o train.tok train.csv
    mtok -q -m vocab.tar -o dev.tok dev.csv
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR"/*.csv .
}

# header STREAM: what stream.json says.
header() {
    tar xOf "$1" stream.json
}

# numbers STREAM TENSOR: a tensor of the first part as numbers on one line.
numbers() {
    tar xOf "$1" part-00000000.safetensors > part
    local n begin end at type
    n=$(od -An -tu8 -N8 part | tr -d ' ')
    read -r begin end < <(head -c $((8 + n)) part | tail -c "$n" |
        grep -o "\"$2\":{[^}]*}" | grep -o '"data_offsets":\[[0-9]*,[0-9]*\]' | tr -dc '0-9,' | tr ',' ' ')
    at=$((8 + n + begin))
    type=d4
    case $2 in *offsets) type=d8 ;; esac
    tail -c +$((at + 1)) part | head -c $((end - begin)) | od -An -v -w$((end - begin)) -t$type |
        tr -s ' ' | sed 's/^ //'
}

@test "labels are split, trimmed, sorted and counted once; an empty cell is none" {
    printf '%s\n' text,labels 'राजा, film | sport ' 'घर,' 'पाणी,sport|sport||' 'झाड,money' > in.csv
    mtok -q -m vocab.tar -o out.tok in.csv
    run header out.tok
    assert_says '"multi_label": "|"' '"film"' '"label_ids"'
    [ "$(numbers out.tok label_offsets)" = "0 2 2 3 4" ] # film money sport
    [ "$(numbers out.tok label_ids)" = "0 2 2 1" ]
}

@test "unknown labels are something else than none" {
    printf '%s\n' '{"text": "राजा"}' '{"text": "घर", "label": null}' '{"text": "घर", "label": []}' \
        '{"text": "घर", "label": ""}' '{"text": "घर", "label": ["sport", "film"]}' > in.jsonl
    mtok -q -m vocab.tar -o out.tok in.jsonl
    [ "$(numbers out.tok label_offsets)" = "0 1 2 2 2 4" ]
    [ "$(numbers out.tok label_ids)" = "-1 -1 0 2" ]
    printf '%s\n' 'राजा' 'घर' > in.txt
    mtok -q -m vocab.tar -o out.tok in.txt
    [ "$(numbers out.tok label_ids)" = "-1 -1" ]
    printf '%s\n' '__label__sport __label__film राजा' 'घर' > in.ft
    mtok -q -m vocab.tar --format fasttext -o out.tok in.ft
    [ "$(numbers out.tok label_ids)" = "0 2 -1" ]
}

@test "another separator" {
    sed 's/|/; /g' train.csv > semicolon.csv
    mtok -q --learn 150 "--multi-label=;" -o v.tar semicolon.csv
    mtok -q -m v.tar "--multi-label=;" -o semicolon.tok semicolon.csv
    [ "$(numbers semicolon.tok label_ids)" = "$(numbers train.tok label_ids)" ]
    run header semicolon.tok
    assert_says '"multi_label": ";"' '"--multi-label=;"' '"film"'
    run -2 mtok -m v.tar --multi-label= semicolon.csv
    assert_says 'mtok: --multi-label: "" cannot separate labels; expected 1 to 8 bytes'
    run -1 mtok -q -m v.tar --multi-label=po semicolon.csv
    assert_says "the model's label \"sport\" holds \"po\", which separates labels"
    printf '%s\n' '{"text": "a", "label": ["x;y"]}' > in.jsonl
    run -1 mtok -q -m v.tar "--multi-label=;" in.jsonl
    assert_says 'in.jsonl:1: label "x;y" holds ";"'
}

@test "an unknown label among several is named, or its row skipped" {
    printf '%s\n' text,labels 'राजा,film|weather' 'घर,film' > in.csv
    run -1 mtok -q -m vocab.tar -o out.tok in.csv
    assert_says 'in.csv:2: label "weather" is not one of the model'
    run -0 mtok -m vocab.tar --skip-bad -o out.tok in.csv
    assert_says '1 bad rows were skipped'
    [ "$(numbers out.tok label_ids)" = "0" ]
}

@test "the option is refused where it means nothing, and one label a text stays the rule" {
    for mode in --ids --decode; do
        run -2 mtok -m vocab.tar $mode --multi-label train.csv
        assert_says "mtok: --multi-label and $mode exclude each other"
    done
    run -2 mtok --audit --multi-label train.csv
    assert_says 'mtok: --multi-label and --audit exclude each other'
    mtok -q --learn 150 -o single.tar train.csv
    run -1 mtok -q -m single.tar --format fasttext -o out.tok <(echo '__label__a __label__b text')
    assert_says 'the line has two labels; with --multi-label'
}

@test "streams of both kinds do not join" {
    printf '%s\n' text,label 'राजा घर,film' 'घर राजा,sport' > in.csv
    mtok -q --learn 50 -o single.tar in.csv
    mtok -q -m single.tar -o single.tok in.csv
    mtok -q -m single.tar --multi-label -o multi.tok in.csv
    cat multi.tok single.tok > both.tok
    run -1 mscore both.tok
    assert_says 'gives each record one label, but the stream before it any number'
}

tiny=(--shape "layers=1,hidden=32,heads=2,ffn=64" --lr 3e-3 --batch-tokens 128 -j 2)

# at_least A B
at_least() {
    awk -v found="$1" -v least="$2" 'BEGIN { exit !(found >= least) }' ||
        { echo "found $1, expected at least $2" >&2; return 1; }
}

# train FILE OPTION...: a model; its dev score in $score.
train() {
    run mstudent -v -m vocab.tar --dev dev.tok -o "$@"
    assert_status 0
    score=$(grep -o 'dev micro-F1 [0-9.]*' <<<"$output" | cut -d ' ' -f 3)
}

@test "a model learns which labels hold, its config says so, and a student learns it from its logits" {
    train teacher.tar "${tiny[@]}" --epochs 8 --log log train.tok
    at_least "$score" 0.95
    grep -q '"dev_micro_f1"' log
    run tar xOf teacher.tar config.json
    assert_says '"problem_type": "multi_label_classification"'
    run tar xOf teacher.tar millet.json
    assert_says '"dev_micro_f1"'
    tail -n +2 train.csv | cut -d , -f 1 > lines.txt
    mtok -q -m teacher.tar lines.txt | mteach -q -m teacher.tar -o lines.taught
    run -1 mstudent -m vocab.tar "${tiny[@]}" -o x.tar lines.taught
    assert_says 'none of the 300 records has a label'
    train student.tar "${tiny[@]}" --kd alpha=1 --epochs 8 lines.taught
    at_least "$score" 0.9
    mteach -q -m teacher.tar -m student.tar -o ensemble.tok train.tok # two kinds of logits, averaged
    train again.tar "${tiny[@]}" --kd alpha=0.5 --epochs 8 ensemble.tok
    at_least "$score" 0.9
}

@test "pruning by importance uses the same loss" {
    train teacher.tar --shape layers=2,hidden=32,heads=2,ffn=64 --lr 3e-3 --batch-tokens 128 -j 2 --epochs 8 train.tok
    mprune -q -m teacher.tar --method fisher --keep 50% -o pruned.tar train.tok
    run tar xOf pruned.tar config.json
    assert_says '"problem_type": "multi_label_classification"'
    run -0 mstudent -v -m pruned.tar --dev dev.tok -j 2 --epochs 1 -o recovered.tar train.tok
    score=$(grep -o 'dev micro-F1 [0-9.]*' <<<"$output" | cut -d ' ' -f 3)
    at_least "$score" 0.8
}

@test "records whose labels are unknown do not change what is learnt from the others" {
    awk -F, -v OFS=, 'NR == 1 { print "text", "label" } NR > 1 { print $1, "" ; print $1, $2 == "" ? "none" : substr($2, 1, 4) }' \
        train.csv > mixed.csv
    grep -v ',$' mixed.csv > known.csv
    mtok -q --learn 150 -o single.tar known.csv
    mtok -q -m single.tar -o known.tok known.csv
    run -0 mtok -m single.tar -o mixed.tok mixed.csv
    mstudent -q -m single.tar "${tiny[@]}" --epochs 2 -o known.model known.tok
    run -0 mstudent -m single.tar "${tiny[@]}" --epochs 2 -o mixed.model mixed.tok
    assert_says '300 records without a label were left out; only --kd can use them'
    tar xOf known.model model.safetensors > a
    tar xOf mixed.model model.safetensors > b
    assert_same a b
}

@test "models and streams of the other kind are refused by name" {
    train teacher.tar "${tiny[@]}" --epochs 1 train.tok
    printf '%s\n' text,label 'राजा,film' 'घर,sport' 'पाणी,money' > in.csv
    mkdir other && tar xf vocab.tar -C other && rm other/millet.json
    echo '{"model_type": "bert", "id2label": {"0": "film", "1": "money", "2": "sport"}}' > other/config.json
    mtok -q -m other -o single.tok in.csv
    for command in "mteach -m teacher.tar" "mstudent -m teacher.tar" \
        "mprune -m teacher.tar --method fisher --keep 50%"; do
        run -1 $command -o x single.tok
        assert_says 'single.tok: gives each record one label, but teacher.tar is a multi-label model'
    done
    run -1 mscore -m teacher.tar single.tok
    assert_says 'single.tok: gives each record one label, but teacher.tar is a multi-label model'
    run -1 mstudent -m vocab.tar "${tiny[@]}" --dev single.tok -o x train.tok
    assert_says 'the dev records have one label each, the training records any number'
}

@test "regression is refused with file and key" {
    train teacher.tar "${tiny[@]}" --epochs 1 train.tok
    mkdir model && tar xf teacher.tar -C model && rm model/millet.json
    sed -i 's/multi_label_classification/regression/' model/config.json
    for command in "mteach -m model" "mstudent -m model" "mprune -m model --method fisher --keep 50%"; do
        run -1 $command -o x train.tok
        assert_says 'model: config.json: "problem_type" is "regression"'
    done
    run -1 mscore -m model train.tok
    assert_says 'model: config.json: "problem_type" is "regression"'
    mstudent -q -m model --new-head --epochs 1 -o x train.tok
}

@test "the report: exact match, micro and macro F1, a paired test, no confusion matrix" {
    train good.tar "${tiny[@]}" --epochs 8 train.tok
    best=$score
    train poor.tar "${tiny[@]}" --epochs 2 train.tok
    run mscore -q -m good.tar --baseline poor.tar --margin 20 dev.tok
    assert_status 0
    assert_says '120 records scored, 0 without a label' 'exact match  ' 'micro F1  ' 'macro F1  ' \
        ' exact match, 95 % interval' 'not worse by 20 points of exact match: ' McNemar 'class	model	film'
    run ! grep -q '^confusion\|^accuracy' <<<"$output"
    mscore -q -m good.tar --baseline poor.tar --json dev.tok > json
    [ "$(grep -c '"confusion": null' json)" -eq 2 ]
    grep -q '"multi_label": true' json
    grep -q '"mcnemar_p": ' json
    found=$(grep -m 1 -o '"micro_f1": [0-9.]*' json | cut -d ' ' -f 2)
    awk -v a="$found" -v b="$best" 'BEGIN { exit !(a - b < 1e-4 && b - a < 1e-4) }' # the dev score is the report's
    tail -n +2 dev.csv | cut -d , -f 1 | mtok -q -m good.tar -o x
    run -1 mscore -m good.tar x
    assert_says 'none of the 120 records has a label'
}

@test "predictions: labels above one half, joined as in the stream, and their probabilities" {
    train model.tar "${tiny[@]}" --epochs 14 train.tok
    mtok -q -m model.tar "--multi-label=; " <(printf 'राजा क्रिकेट सामना धाव गाणे नाटक नाटक\nराजा\n') > in.tok
    run mscore -q -m model.tar --predict in.tok
    assert_status 0
    [[ ${lines[0]} =~ ^film\;\ sport$'\t'0\.[5-9][0-9]*\;\ 0\.[5-9][0-9]*$ ]]
    [ "${lines[1]}" = $'\t' ]
    run mscore -q -m model.tar --predict --top 3 in.tok
    assert_status 0
    [[ ${lines[1]} =~ ^[a-z]+$'\t'0\.[0-4][0-9]*$'\t'[a-z]+$'\t'0\.[0-4][0-9]*$'\t'[a-z]+$'\t'0\.[0-4][0-9]*$ ]]
    tail -n +2 dev.csv | cut -d , -f 1 | mtok -q -m model.tar | mteach -q -m model.tar | mscore -q --predict > a
    mscore -q -m model.tar --predict dev.tok > b # the stream's logits, and the model
    assert_same a b
}
