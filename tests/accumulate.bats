#!/usr/bin/env bats
# accumulate.bats: --accumulate: steps of several batches in mstudent and mprune.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/{vocab,model}.tar "$BATS_FILE_TMPDIR"/data.tok .
}

# stop_and_go PART COMMAND…: the run, ended again and again after some steps, until it has written PART.
stop_and_go() {
    local i pid part=$1
    shift
    for ((i = 1; i <= 8; i++)); do
        "$@" --checkpoint c.ck --checkpoint-every 1 --resume -o "$part" data.tok 2> said &
        pid=$!
        sleep "0.0$((RANDOM % 60 + 10))"
        kill -TERM "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null && return 0
    done
    "$@" --checkpoint c.ck --resume -o "$part" data.tok
}

@test "mstudent: fewer steps; resumed: the same bytes; another number is another run" {
    local go=(mstudent -q -j 1 -m vocab.tar --shape "layers=2,hidden=32,heads=2,ffn=64" --epochs 30 --lr 3e-3 --batch-tokens 32)
    "${go[@]}" --log-every 1 --log one.log -o one.tar data.tok
    "${go[@]}" --log-every 1 --log four.log --accumulate 4 -o x.tar data.tok
    local one four # steps of an epoch
    one=$(($(wc -l < one.log) / 30)) four=$(($(wc -l < four.log) / 30))
    [ "$four" -eq $(((one + 3) / 4)) ] && [ "$one" -gt 4 ]
    "${go[@]}" --accumulate 4 -o four.tar data.tok
    stop_and_go part.tar "${go[@]}" --accumulate 4
    assert_same four.tar part.tar
    timeout -s TERM 0.3 "${go[@]}" --accumulate 4 --epochs 3000 --checkpoint c.ck --checkpoint-every 1 -o x.tar data.tok ||
        [ -e c.ck ]
    run "${go[@]}" --accumulate 2 --epochs 3000 --checkpoint c.ck --resume -o x.tar data.tok
    assert_fails "is of another run: --accumulate was 4, now it is 2"
    run "${go[@]}" --epochs 3000 --checkpoint c.ck --resume -o x.tar data.tok
    assert_fails "is of another run: --accumulate differs"
}

@test "mstudent --mlm, --teacher and --quantise take it" {
    mstudent -q -j 1 --mlm -m vocab.tar --shape "layers=1,hidden=16,heads=2" --epochs 2 --batch-tokens 64 --accumulate 2 \
        -o language.tar data.tok
    mteach -q -j 1 -m model.tar -o taught.tok data.tok
    mstudent -q -j 1 -m model.tar --from-layers 1 --teacher model.tar --kd hidden=1,relations=1 --epochs 2 --batch-tokens 64 \
        --accumulate 3 -o small.tar taught.tok
    mstudent -q -j 1 -m model.tar --quantise int8 --epochs 2 --batch-tokens 64 --accumulate 2 -o rounded.tar data.tok
}

@test "mprune --method movement: resumed: the same bytes" {
    local go=(mprune -q -j 1 -m model.tar --method movement --keep 50% --block 8x8 --epochs 12 --batch-tokens 32 --accumulate 2)
    "${go[@]}" -o whole.tar data.tok
    stop_and_go part.tar "${go[@]}"
    assert_same whole.tar part.tar
}

@test "what --accumulate does not take" {
    run mstudent -m model.tar --accumulate 0 -o x.tar data.tok
    assert_status 2
    assert_says "--accumulate"
    run mprune -m model.tar --method fisher --keep 50% --accumulate 2 -o x.tar data.tok
    assert_status 2
    assert_says "--accumulate needs --method movement"
}
