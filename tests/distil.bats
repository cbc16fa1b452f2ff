#!/usr/bin/env bats
# mstudent beyond logits: students cut out of a model, and what else they learn from a teacher.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 240 > train.csv
    labelled_rows 300 | sed -n '1p;242,$p' > dev.csv
    mtok -q -m vocab.tar -o train.tok train.csv
    mtok -q -m vocab.tar -o dev.tok dev.csv
    mstudent -q -j 2 -m vocab.tar --shape layers=3,hidden=32,heads=4,ffn=64 --epochs 10 --lr 3e-3 \
        --batch-tokens 128 --dev dev.tok -o teacher.tar train.tok
    mteach -q -m teacher.tar -o train.taught train.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR"/*.csv .
}

# config MODEL KEY: a number of its config.json.
config() {
    tar xOf "$1" config.json | grep -m 1 -o "\"$2\": [0-9]*" | cut -d ' ' -f 2
}

# accuracy MODEL: of MODEL on dev.tok.
accuracy() {
    mscore -q -m "$1" --json dev.tok | grep -m 1 -o '"accuracy": [0-9.]*' | cut -d ' ' -f 2
}

at_least() {
    awk -v found="$1" -v least="$2" 'BEGIN { exit !(found >= least) }' ||
        { echo "found $1, expected at least $2" >&2; return 1; }
}

@test "a student from some layers of its teacher: listed, counted, or one" {
    local layers
    for layers in 0,2 2; do
        mstudent -q -j 2 -m teacher.tar --from-layers "$layers" --kd alpha=0.9 --epochs 1 train.taught > s.tar
        [ "$(config s.tar num_hidden_layers)" = 2 ]
        at_least "$(accuracy s.tar)" 0.8
    done
    mstudent -q -j 2 -m teacher.tar --from-layers 2, --epochs 1 train.tok > s.tar
    [ "$(config s.tar num_hidden_layers)" = 1 ]
}

@test "a narrower student: heads, neurons and columns; what is trained stands in the model" {
    run mstudent -v -j 2 -m teacher.tar --heads 2 --ffn 24 --hidden 24 --epochs 3 --lr 1e-3 -o s.tar train.tok
    assert_status 0
    assert_says 'importance' '24 columns'
    [ "$(config s.tar hidden_size)" = 24 ]
    [ "$(config s.tar intermediate_size)" = 24 ]
    at_least "$(accuracy s.tar)" 0.6
    # A vocabulary's size of pretraining weights without a classifier: by weights.
    run mstudent -v -j 2 -m teacher.tar --new-head --ffn 24 --from-layers 1 --epochs 1 -o s.tar train.tok
    assert_status 0
}

@test "an embedding bag learns, from the teacher's tables and from scratch; every tool takes it" {
    local shape
    for shape in "--from-layers 0" "--shape layers=0,hidden=32" "--shape layers=0,hidden=20"; do
        # shellcheck disable=SC2086 # two words
        mstudent -q -j 2 -m teacher.tar $shape --epochs 8 --lr 1e-2 --batch-tokens 128 train.tok > bag.tar
        [ "$(config bag.tar num_hidden_layers)" = 0 ]
        at_least "$(accuracy bag.tar)" 0.9
    done
    run bash -c 'set -o pipefail; tar xOf bag.tar config.json | grep millet_pool'
    assert_status 0
    assert_says '"mean"'
    mquant --to int8 bag.tar > bag8.tar
    at_least "$(accuracy bag8.tar)" 0.9
    mstudent -q -j 2 -m bag.tar --epochs 1 train.tok > again.tar
    at_least "$(accuracy again.tar)" 0.9
    mtok -q -m again.tar dev.csv | mteach -q -m again.tar > dev.taught
    mquant --to onnx bag.tar > onnx.tar
    run mprune -m bag.tar --method layers --keep 50% -o x.tar
    assert_fails 'embedding bag' '--vocab-from'
    run mprune -m bag.tar --method fisher --keep 50% -o x.tar train.tok
    assert_fails 'embedding bag'
}

@test "what cannot be cut is refused, by name" {
    run mstudent -m teacher.tar --from-layers 4 train.tok -o x.tar
    assert_fails '--from-layers' 3
    run mstudent -m teacher.tar --from-layers 0,3 train.tok -o x.tar
    assert_fails '--from-layers'
    run mstudent -m teacher.tar --heads 5 train.tok -o x.tar
    assert_fails '--heads 5' '4 heads'
    run mstudent -m teacher.tar --hidden 20 train.tok -o x.tar
    assert_fails 'head size 8' '16 and 24'
    [ ! -e x.tar ]
    run mstudent -m teacher.tar --shape layers=1 --hidden 20 train.tok
    assert_status 2
    assert_says '--shape and --hidden clash'
    run mstudent -m teacher.tar --from-layers all train.tok
    assert_status 2
    run mstudent -m teacher.tar --shape layers=0,heads=2 train.tok
    assert_status 2
    assert_says 'layers=0'
}

# student.tar of the options, two layers narrower than the teacher's three.
distil() {
    mstudent -q -j 2 -m teacher.tar --shape layers=2,hidden=16,heads=2,ffn=32 --epochs 3 --lr 3e-3 \
        --batch-tokens 128 -o student.tar "$@"
}

@test "--teacher: hidden states, patient and relations each change what is learned, and it is learned" {
    distil --kd alpha=0.9 train.taught
    cp student.tar logits.tar
    local kd
    for kd in hidden=1 patient=1 relations=1,relation-heads=4 hidden=1,map=1:3 relations=1,relation-layer=2; do
        distil --kd "alpha=0.9,$kd" --teacher teacher.tar train.taught
        at_least "$(accuracy student.tar)" 0.5
        run cmp -s student.tar logits.tar
        assert_status 1
        run tar tvf student.tar
        assert_status 0
    done
    # Nothing of the teacher or of the projection is in the student.
    [ "$(wc -c < student.tar)" -le "$(($(wc -c < logits.tar) + 1024))" ]
}

@test "--teacher with records without logits: labels and the inside; same seed, same bytes; a bag, too" {
    run distil --kd hidden=1 --teacher teacher.tar train.tok
    assert_status 0
    run mstudent -j 2 -m teacher.tar --shape layers=0,hidden=20 --epochs 1 --kd hidden=1 --teacher teacher.tar \
        -o bag.tar train.tok
    assert_status 0
    assert_says 'no logits'
    distil --kd hidden=1,relations=1,patient=1 --teacher teacher.tar train.taught
    cp student.tar first.tar
    rm student.tar
    distil --kd hidden=1,relations=1,patient=1 --teacher teacher.tar train.taught
    assert_same first.tar student.tar
}

@test "--teacher and checkpoints: a run that is ended goes on to the same bytes" {
    local kd=(--kd "hidden=1,relations=1" --teacher teacher.tar)
    distil "${kd[@]}" train.taught
    mv student.tar whole.tar
    # Killed as soon as there is a checkpoint.
    mstudent -q -j 2 -m teacher.tar --shape layers=2,hidden=16,heads=2,ffn=32 --epochs 3 --lr 3e-3 \
        --batch-tokens 128 -o student.tar "${kd[@]}" --checkpoint run.check --checkpoint-every 1 train.taught &
    local pid=$!
    while [ ! -e run.check ] && kill -0 "$pid" 2> /dev/null; do sleep 0.02; done
    kill -TERM "$pid" 2> /dev/null || true
    wait "$pid" || true
    [ -e student.tar ] || distil "${kd[@]}" --checkpoint run.check --checkpoint-every 1 --resume train.taught
    tar xOf whole.tar model.safetensors > a
    tar xOf student.tar model.safetensors > b
    assert_same a b
}

@test "a teacher that does not fit is refused" {
    mtok -q --learn 60 train.csv -o other.tar
    mtok -q -m other.tar -o other.tok train.csv
    mstudent -q -m other.tar --shape layers=1,hidden=16,heads=1,ffn=16 --epochs 1 -o otherteacher.tar other.tok
    run distil --kd hidden=1 --teacher otherteacher.tar train.taught
    assert_fails 'otherteacher.tar' 'another tokenizer' 'mteach'
    sed '1!s/^\(.*\),.*/\1,one/' train.csv > one.csv
    mtok -q -m teacher.tar --new-labels -o one.tok one.csv
    run distil --kd hidden=1 --teacher teacher.tar one.tok
    assert_fails 'other labels'
    run distil --kd hidden=1,map=1 --teacher teacher.tar train.taught
    assert_fails 'one for each'
    run distil --kd relations=1,relation-heads=5 --teacher teacher.tar train.taught
    assert_fails 'does not divide'
    run distil --kd hidden=1 train.taught
    assert_status 2
    assert_says '--teacher MODEL'
    run distil --kd alpha=0.5 --teacher teacher.tar train.taught
    assert_status 2
    run distil --kd hidden=1,map=0:1 --teacher teacher.tar train.taught
    assert_status 2
    run distil --kd depth=1 train.taught
    assert_status 2
    assert_says 'alpha, temperature, hidden'
}
