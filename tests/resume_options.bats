#!/usr/bin/env bats
# resume_options.bats: what joins a training run goes on from a checkpoint, too: the same bytes as without an interruption.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 240 > train.csv
    mtok -q -m vocab.tar --ngrams -o grams.tok train.csv
    mteach -q -m model.tar -o grams.taught grams.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* .
}

# goes_on OPTION…: a run with these options, killed at some moments and resumed, ends as one that was not.
goes_on() {
    local go=(mstudent -q -j 1 -m vocab.tar --shape "layers=2,hidden=32,heads=2,ffn=64" --epochs 4 --batch-tokens 64
        --lr 3e-3 --dev grams.taught "$@") i
    rm -f whole.tar part.tar c.ck
    "${go[@]}" -o whole.tar grams.taught
    for i in 1 2 3 4 5 6; do
        timeout -s KILL "0.0$((RANDOM % 60 + 20))" "${go[@]}" --checkpoint c.ck --checkpoint-every 3 --resume \
            -o part.tar grams.taught 2> said || true
        [ ! -e part.tar ] || break
    done
    [ -e part.tar ] || "${go[@]}" --checkpoint c.ck --resume -o part.tar grams.taught
    assert_same whole.tar part.tar
}

@test "--quantise int8: the weights that learn, not the rounded ones, are kept" {
    goes_on --quantise int8
}

@test "--ngram: together, turn and apart" {
    goes_on --ngram=together
    goes_on --ngram=turn --kd alpha=0.5
    goes_on --ngram
}

@test "--curriculum, --patience, --class-weights, --label-smoothing, --precision bf16" {
    goes_on --curriculum --label-smoothing 0.1 --class-weights balanced
    goes_on --patience 1 --precision bf16
}

@test "another way of making the start, or another n-gram part, is another run" {
    local go=(mstudent -q -j 1 -m model.tar --batch-tokens 64 --checkpoint c.ck -o x.tar) tries=0 pid status=0
    "${go[@]}" --epochs 5000 --checkpoint-every 1 --from-layers 0, --ngram=together grams.taught 2> said &
    pid=$!
    until [ -s c.ck ] || [ $((++tries)) -gt 300 ]; do sleep 0.02; done
    kill "$pid"
    wait "$pid" || status=$?
    [ "$status" -eq 143 ]
    run "${go[@]}" --epochs 5000 --resume --from-layers 1, --ngram=together grams.taught
    assert_fails 'c.ck: is of another run: the start differs'
    run "${go[@]}" --epochs 5000 --resume --from-layers 0, --ngram=turn grams.taught
    assert_fails 'c.ck: is of another run: --ngram differs'
}
