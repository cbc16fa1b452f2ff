#!/usr/bin/env bats
# mstudent: what it learns, from labels and from a teacher, what it writes, and what it refuses.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 240 > train.csv
    labelled_rows 300 | sed -n '1p;242,$p' > dev.csv
    mtok -q -m vocab.tar -o train.tok train.csv
    mtok -q -m vocab.tar -o dev.tok dev.csv
    mstudent -q -j 2 -m vocab.tar --shape layers=2,hidden=32,heads=2,ffn=64 --epochs 10 --lr 3e-3 \
        --batch-tokens 128 --dev dev.tok -o teacher.tar train.tok
    mteach -q -m teacher.tar -o train.taught train.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR"/*.csv .
}

tiny=(--shape "layers=1,hidden=16,heads=2,ffn=32" --epochs 1)

# accuracy MODEL: of MODEL on dev.tok.
accuracy() {
    mscore -q -m "$1" --json dev.tok | grep -m 1 -o '"accuracy": [0-9.]*' | cut -d ' ' -f 2
}

at_least() {
    awk -v found="$1" -v least="$2" 'BEGIN { exit !(found >= least) }' ||
        { echo "found $1, expected at least $2" >&2; return 1; }
}

@test "from scratch, it learns to tell three classes apart" {
    at_least "$(accuracy teacher.tar)" 0.9
}

@test "what it writes is a Hugging Face directory in a tar" {
    run tar tf teacher.tar
    assert_status 0
    assert_says config.json model.safetensors vocab.txt millet.json
    run tar xOf teacher.tar config.json
    assert_says '"BertForSequenceClassification"' '"model_type": "bert"' '"num_hidden_layers": 2' \
        '"hidden_size": 32' '"num_attention_heads": 2' '"intermediate_size": 64' '"film"' '"sport"'
    run tar xOf teacher.tar millet.json
    assert_says '"mstudent"' --shape '"best_epoch"' '"dev_accuracy"'
}

@test "same seed and threads: same bytes, to a file or a pipe; another seed: another model" {
    mstudent -q -j 2 -m vocab.tar "${tiny[@]}" data.tok > pipe.tar
    mstudent -q -j 2 -m vocab.tar "${tiny[@]}" data.tok | cat > again.tar
    assert_same pipe.tar again.tar
    mstudent -q -j 2 -m vocab.tar "${tiny[@]}" --seed 1 data.tok > other.tar
    tar xOf pipe.tar model.safetensors > a
    tar xOf other.tar model.safetensors > b
    run cmp -s a b
    assert_status 1
}

@test "standard input, several streams and concatenated ones are the same records" {
    mstudent -q -j 1 -m vocab.tar "${tiny[@]}" data.tok dev.tok | tar xOf - model.safetensors > a
    cat data.tok dev.tok | mstudent -q -j 1 -m vocab.tar "${tiny[@]}" | tar xOf - model.safetensors > b
    assert_same a b
}

@test "a file and a pipe give the same bytes, history included" {
    mstudent -q -j 1 -m vocab.tar "${tiny[@]}" -o a data.tok
    mstudent -q -j 1 -m vocab.tar "${tiny[@]}" < data.tok > b
    assert_same a b
    mprune -q -m a --method fisher --keep 90% data.tok > pruned
    mprune -q -m a --method fisher --keep 90% < data.tok > b
    assert_same pruned b
    mteach -q -m a data.tok > taught
    mteach -q -m a < data.tok > b
    assert_same taught b
    mquant -q --to int8 a > small
    mquant -q --to int8 < a > b
    assert_same small b
}

@test "distillation: a smaller student learns from the logits" {
    mstudent -q -m teacher.tar --shape layers=1,hidden=32,heads=2,ffn=32 --kd alpha=0.9,temperature=2 \
        --epochs 10 --lr 3e-3 --batch-tokens 128 -o small.tar train.taught
    at_least "$(accuracy small.tar)" 0.9
}

@test "distillation from unlabelled text: the teacher alone" {
    cut -d , -f 1 train.csv > text.csv
    mtok -q -m teacher.tar text.csv | mteach -q -m teacher.tar > text.taught
    mstudent -q -m teacher.tar --shape layers=1,hidden=32,heads=2,ffn=32 --kd alpha=1 --epochs 10 \
        --lr 3e-3 --batch-tokens 128 -o small.tar text.taught
    at_least "$(accuracy small.tar)" 0.9
}

@test "--kd without logits says what to run" {
    run mstudent -q -m vocab.tar "${tiny[@]}" --kd alpha=0.9 -o x.tar data.tok
    assert_fails "--kd" "no logits" "mteach"
    [ ! -e x.tar ]
}

@test "going on from a model keeps what it knows, also through a pipe" {
    mquant -q --to fp32 teacher.tar | mstudent -q -m - --epochs 1 --lr 1e-5 train.tok > more.tar
    at_least "$(accuracy more.tar)" 0.9
    run tar xOf more.tar millet.json
    [ "$(grep -c '"program": "mstudent"' <<<"$output")" -eq 2 ]
}

@test "a pruned model is trained in its own shape" {
    mprune -q -m teacher.tar --method fisher --keep 50% -o pruned.tar train.tok
    mstudent -q -m pruned.tar --kd alpha=0.9,temperature=2 --epochs 2 --lr 1e-3 -o back.tar train.taught
    at_least "$(accuracy back.tar)" 0.9
    shapes() { tar xOf "$1" model.safetensors | head -c 20000 | grep -ao '"shape":\[[0-9,]*\]' | sort; }
    [ "$(shapes pruned.tar)" = "$(shapes back.tar)" ]
}

@test "standard input cannot be both model and records" {
    run mstudent -m - < data.tok
    assert_status 2
    assert_says "standard input is asked for 2 times"
}

@test "--log: one object per logging step and per scored epoch" {
    mstudent -q -m vocab.tar "${tiny[@]}" --epochs 2 --batch-tokens 128 --log-every 2 --log log.json \
        --dev dev.tok -o x.tar data.tok
    run head -n 1 log.json
    assert_says '"step":2,' '"epoch":1,' '"loss":' '"lr":' '"grad_norm":' '"tokens_per_s":'
    [ "$(grep -c '"dev_accuracy":' log.json)" -eq 2 ]
}

@test "--log does not overwrite what is read or written" {
    cp data.tok mine.tok
    for log in mine.tok x.tar; do
        run --separate-stderr mstudent -m vocab.tar "${tiny[@]}" --log "./$log" -o ./x.tar mine.tok
        assert_status 2
        assert_says "--log ./$log would overwrite"
    done
    cmp data.tok mine.tok
}

@test "options: nonsense is refused with the range, and nothing is written" {
    while IFS='|' read -r arguments message; do
        # shellcheck disable=SC2086 # a list of words
        run --separate-stderr mstudent -m vocab.tar $arguments data.tok
        assert_status 2
        [ -z "$output" ]
        assert_says "$message"
    done <<'END'
--shape layers=-1|--shape layers
--shape layers=2,width=3|unknown key "width"
--shape hidden=100,heads=3|not a multiple
--shape layers|not KEY=NUMBER
--kd beta=1|unknown key "beta"
--kd alpha=2|--kd alpha
--kd alpha|not KEY=NUMBER
--epochs 0|--epochs
--epochs 2x|--epochs
--lr nan|--lr
--lr -1|--lr
--dropout 1|--dropout
--warmup 2|--warmup
--batch-tokens 0|--batch-tokens
--shape layers=1 --new-head|clash
-m teacher.tar|given twice
END
    run mstudent data.tok
    assert_status 2
    assert_says "-m MODEL is missing"
}

@test "a model without weights and no shape: the remedy" {
    run mstudent -m vocab.tar -o x.tar data.tok
    assert_fails "no weights" "--shape"
    [ ! -e x.tar ]
}

@test "other labels than the model's: refused, unless a new head is asked for" {
    sed 's/,sport/,cricket/' data.csv > other.csv
    mtok -q --learn 150 -o other.tar other.csv # the same words, so the same tokenizer, with other labels
    mtok -q -m other.tar -o other.tok other.csv
    run mstudent -q -m teacher.tar --epochs 1 -o x.tar other.tok
    assert_fails "labels" "--new-head"
    mstudent -q -m teacher.tar --epochs 1 --new-head -o x.tar other.tok
    run tar xOf x.tar config.json
    assert_says '"cricket"'
}

@test "dev records with other labels: refused" {
    sed 's/,sport/,cricket/' data.csv > other.csv
    mtok -q --learn 150 -o other.tar other.csv # the same words, so the same tokenizer, with other labels
    mtok -q -m other.tar -o other.tok other.csv
    run mstudent -q -m vocab.tar "${tiny[@]}" --dev other.tok -o x.tar data.tok
    assert_fails "dev"
    [ ! -e x.tar ]
}

@test "records of another tokenizer: refused" {
    mtok -q --learn 150 --lower -o other.tar data.csv
    run mstudent -q -m other.tar "${tiny[@]}" -o x.tar data.tok
    assert_fails "data.tok" "another tokenizer" "mtok -m"
}

@test "records longer than the positions: refused with the remedy" {
    run mstudent -q -m vocab.tar --shape layers=1,hidden=16,heads=1,positions=4 -o x.tar data.tok
    assert_fails "positions" "--max-tokens 4"
}

@test "divergence names the step and the remedy" {
    run mstudent -q -m vocab.tar "${tiny[@]}" --epochs 5 --lr 10 --clip 0 --warmup 0 --weight-decay 10 -o x.tar train.tok
    assert_fails "not finite" "lower --lr"
    [ ! -e x.tar ]
}

@test "an unlabelled stream without --kd: the remedy" {
    cut -d , -f 1 data.csv > text.csv
    mtok -q -m vocab.tar -o text.tok text.csv
    run mstudent -q -m vocab.tar "${tiny[@]}" -o x.tar text.tok
    assert_fails "label"
}

@test "a stream cut short: an error, and no model" {
    head -c $(($(stat -Lc %s data.tok) / 2)) data.tok > cut.tok
    run mstudent -q -m vocab.tar "${tiny[@]}" -o x.tar cut.tok
    assert_fails cut.tok
    [ ! -e x.tar ]
}

@test "in a pipe the last tool tells the first cause" {
    run bash -c 'mtok -q -m vocab.tar nowhere.csv | mstudent -q -m vocab.tar --shape layers=1 | mscore -q -m - data.tok'
    [ "$status" -ne 0 ]
    assert_says "mscore: mtok failed: nowhere.csv"
}

@test "an output that cannot be written is refused before training" {
    run timeout 10 mstudent -m vocab.tar --shape layers=1 --epochs 1000 -o no/such/place.tar data.tok
    assert_fails "no/such/place.tar"
}
