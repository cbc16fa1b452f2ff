#!/usr/bin/env bats
# resume.bats: a training run that is ended at any moment and goes on from its checkpoint ends with the bytes of one that was
# never interrupted; what cannot be gone on from is refused.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 300 > train.csv
    mtok -q -m vocab.tar -o train.tok train.csv
    mstudent -q "${run[@]}" --log run.log -o whole.tar train.tok
    mv run.log whole.log
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/{vocab,whole}.tar "$BATS_FILE_TMPDIR"/*.tok .
    cp "$BATS_FILE_TMPDIR/whole.log" .
}

run=(-j 1 -m vocab.tar --shape "layers=2,hidden=32,heads=2,ffn=64" --epochs 6 --batch-tokens 64 --lr 3e-3
    --dev data.tok --log-every 7)

# kill_often SIGNAL N: start the run again and again, ending it with SIGNAL after some steps, at most N times.
kill_often() {
    local i pid
    for ((i = 1; i <= $2; i++)); do
        mstudent -q "${run[@]}" --log run.log --checkpoint c.ck --checkpoint-every 3 --resume -o part.tar train.tok 2> said &
        pid=$!
        sleep "0.0$((RANDOM % 80 + 10))"
        kill "-$1" "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null && return 0
        # Ended between the model and the end of the process: it is whole, and goes on once more below.
        [ ! -e part.tar ] || { assert_same whole.tar part.tar && break; }
    done
    mstudent -q "${run[@]}" --log run.log --checkpoint c.ck --resume -o part.tar train.tok
}

# The log without what depends on the clock.
steps_of() {
    sed 's/,"tokens_per_s".*/}/' "$1"
}

@test "killed at 10 random moments and resumed: the same bytes, history included, and the same log" {
    kill_often KILL 10
    assert_same whole.tar part.tar
    steps_of whole.log > a
    steps_of run.log > b
    assert_same a b
    [ ! -e c.ck ] # done: the checkpoint has served
}

@test "ended by SIGTERM at 10 random moments and resumed: the same bytes" {
    kill_often TERM 10
    assert_same whole.tar part.tar
}

@test "mprune --method movement, killed and ended at 10 random moments each: the same bytes" {
    local go=(mprune -q -j 1 -m "$BATS_FILE_TMPDIR/model.tar" --method movement --keep 50% --block 8x8 --epochs 3
        --batch-tokens 64 --dev data.tok --log run.log) i pid
    "${go[@]}" -o whole.pruned train.tok
    mv run.log pruned.log
    for ((i = 1; i <= 20; i++)); do
        "${go[@]}" --checkpoint c.ck --checkpoint-every 3 --resume -o part.pruned train.tok 2> said &
        pid=$!
        sleep "0.0$((RANDOM % 80 + 10))"
        kill "-$([ $((i % 2)) = 0 ] && echo KILL || echo TERM)" "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null && break
    done
    [ -e part.pruned ] || "${go[@]}" --checkpoint c.ck --resume -o part.pruned train.tok
    assert_same whole.pruned part.pruned
    steps_of pruned.log > a
    steps_of run.log > b
    assert_same a b
    [ ! -e c.ck ]
}

@test "mprune: a checkpoint of another run, and of mstudent, is refused" {
    local go=(mprune -q -j 1 -m "$BATS_FILE_TMPDIR/model.tar" --method movement --block 8x8 --epochs 5000
        --batch-tokens 64 --checkpoint c.ck -o x.tar) tries=0 pid
    "${go[@]}" --keep 50% --checkpoint-every 1 train.tok 2> said &
    pid=$!
    until [ -s c.ck ] || [ $((++tries)) -gt 200 ]; do sleep 0.02; done
    kill "$pid"
    status=0
    wait "$pid" || status=$?
    output=$(cat said)
    assert_status 143
    assert_says "stopped after step" "c.ck"
    run "${go[@]}" --keep 60% --resume train.tok
    assert_fails "c.ck: is of another run: movement differs"
    run "${go[@]}" --keep 50% train.tok
    assert_fails "a checkpoint is there already"
    run mstudent -q "${run[@]}" --checkpoint c.ck --resume -o x.tar train.tok
    assert_fails "c.ck: is of another run"
    run mprune -m "$BATS_FILE_TMPDIR/model.tar" --method magnitude --keep 50% --checkpoint c.ck -o x.tar
    assert_status 2
}

# end_by SIGNAL ARGUMENT…: start a run that would take long, and end it when it has begun to train.
end_by() {
    local signal=$1 tries=0
    shift
    mstudent -q "${run[@]}" --epochs 5000 --log-every 1 --log long.log "$@" -o long.tar train.tok 2> said &
    local pid=$!
    until [ -s long.log ] || [ $((++tries)) -gt 200 ]; do sleep 0.02; done
    kill "-$signal" "$pid"
    status=0
    wait "$pid" || status=$?
    output=$(cat said)
}

@test "SIGTERM and SIGINT: the step is finished and saved, the status is the signal's" {
    end_by TERM --checkpoint c.ck
    assert_status 143
    assert_says "stopped " " step " "c.ck" "--resume"
    [ -s c.ck ]
    [ ! -e long.tar ]
    run tar tf c.ck
    assert_says weights.safetensors moment1.safetensors moment2.safetensors millet.json
}

@test "without --checkpoint a signal is a clear end, too" {
    end_by TERM
    assert_status 143
    assert_says "stopped " "nothing is kept without --checkpoint"
    [ ! -e long.tar ]
}

@test "a checkpoint that is there is not overwritten by a run that does not resume" {
    end_by TERM --checkpoint c.ck
    cp c.ck kept
    cp long.log kept.log
    run mstudent -q "${run[@]}" --epochs 5000 --log long.log --checkpoint c.ck -o long.tar train.tok
    assert_fails "c.ck: a checkpoint is there already" "--resume" "remove it"
    assert_same c.ck kept
    assert_same long.log kept.log
}

@test "--resume without a checkpoint begins at the beginning, and says so" {
    run mstudent -q "${run[@]}" --log run.log --checkpoint c.ck --resume -o part.tar train.tok
    assert_same whole.tar part.tar
    rm part.tar
    run mstudent "${run[@]}" --log run.log --checkpoint c.ck --resume -o part.tar train.tok
    assert_status 0
    assert_says "c.ck was not there"
}

@test "a checkpoint of another run is refused with what differs" {
    end_by TERM --checkpoint c.ck
    cp c.ck kept
    local go=(mstudent -q "${run[@]}" --epochs 5000 --checkpoint c.ck --resume -o x.tar)
    run "${go[@]}" --lr 1e-3 train.tok
    assert_fails "c.ck: is of another run: --lr was 0.003" "now it is 0.001" "remove it"
    run "${go[@]}" --seed 7 train.tok
    assert_fails "--seed was 0, now it is 7"
    run "${go[@]}" data.tok
    assert_fails "the fingerprint of the records"
    run "${go[@]}" --dev train.tok train.tok
    assert_fails "the fingerprint of the dev records"
    run "${go[@]}" --shape layers=3,hidden=32,heads=2,ffn=64 train.tok
    assert_fails "the model's shape differs"
    run "${go[@]}" -m "$BATS_FILE_TMPDIR/whole.tar" train.tok
    assert_status 2
    assert_same c.ck kept
}

@test "a checkpoint that is damaged, cut short or something else is refused" {
    end_by TERM --checkpoint c.ck
    local go=(mstudent -q "${run[@]}" --epochs 5000 --checkpoint bad --resume -o x.tar train.tok)
    head -c 20000 c.ck > bad
    run "${go[@]}"
    assert_fails "bad"
    cp c.ck bad
    printf '\377' | dd of=bad bs=1 seek=9000 conv=notrunc status=none
    run "${go[@]}"
    assert_fails "bad"
    cp whole.tar bad
    run "${go[@]}"
    assert_fails "bad" 'is of kind "model"; a checkpoint is expected'
    echo hello > bad
    run "${go[@]}"
    assert_fails "bad"
    run mstudent -q -m c.ck data.tok
    assert_fails 'is of kind "checkpoint"; a model is expected'
}

@test "what is no checkpoint on the command line" {
    run mstudent -m vocab.tar --resume -o x.tar train.tok
    assert_status 2
    assert_says "--resume needs --checkpoint"
    run mstudent -q "${run[@]}" --checkpoint-every 3 -o x.tar train.tok
    assert_status 2
    assert_says "--checkpoint-every needs --checkpoint"
    run mstudent -m vocab.tar --checkpoint - -o x.tar train.tok
    assert_status 2
    run mstudent -m vocab.tar --checkpoint train.tok -o x.tar train.tok
    assert_status 2
    assert_says "would overwrite"
    run mstudent -m vocab.tar --checkpoint c.ck --checkpoint-every 0 -o x.tar train.tok
    assert_status 2
    run mstudent -m vocab.tar --checkpoint c.ck --checkpoint-every xs -o x.tar train.tok
    assert_status 2
}

@test "divergence names the last good checkpoint" {
    run mstudent -q -j 1 -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 30 --batch-tokens 64 --lr 10 \
        --clip 0 --warmup 0 --weight-decay 10 --head-lr 1000000 --log-every 1 --checkpoint c.ck --checkpoint-every 1 -o x.tar train.tok
    assert_fails "is not finite" "the last good checkpoint, c.ck, is of step" "lower --lr"
    [ -s c.ck ]
}
