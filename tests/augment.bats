#!/usr/bin/env bats
# mtok --augment: altered copies of texts, for a teacher to label.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 60 > train.csv
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR"/*.csv .
}

# texts STREAM: its texts, one a line.
texts() {
    mtok -m vocab.tar --decode "$1"
}

@test "each text is followed by its copies; the same seed gives the same bytes" {
    run mtok -j 2 -m vocab.tar --augment 4 -o a.tok train.csv
    assert_status 0
    assert_says '240 altered copies'
    mtok -q -j 1 -m vocab.tar --augment 4 -o b.tok train.csv
    assert_same a.tok b.tok
    mtok -q -m vocab.tar --augment 4,seed=1 -o c.tok train.csv
    run cmp -s a.tok c.tok
    assert_status 1
    mtok -q -m vocab.tar -o plain.tok train.csv
    texts a.tok | awk 'NR % 5 == 1' > originals
    texts plain.tok > expected
    assert_same originals expected
}

@test "masked words are the tokenizer's mask token; without one, or with n-grams, they are left out" {
    mtok -q -m vocab.tar --augment 2,mask=0.5,ngram=0 --keep-text -o a.tok train.csv
    run bash -c 'set -o pipefail; tar xOf a.tok part-00000000.safetensors | grep -a -c "\[MASK\]"'
    assert_status 0
    mtok -q -m vocab.tar --augment 2,mask=0.5,ngram=0 --ngrams --keep-text -o g.tok train.csv
    run bash -c 'set -o pipefail; tar xOf g.tok part-00000000.safetensors | grep -a -c "\[MASK\]"'
    assert_status 1
}

@test "copies have no label unless asked; a teacher says what they are, a student learns from them" {
    mtok -q -m vocab.tar --augment 3 -o a.tok train.csv
    mstudent -q -m vocab.tar --shape layers=1,hidden=16,heads=1,ffn=16 --epochs 1 -o teacher.tar a.tok
    mteach -q -m teacher.tar -o a.taught a.tok
    mstudent -q -m teacher.tar --kd alpha=0.9 --epochs 1 -o s.tar a.taught
    run mscore -m teacher.tar a.tok
    assert_status 0
    assert_says '180 without a label'
    mtok -q -m vocab.tar --augment 3,labels=keep -o k.tok train.csv
    run mscore -m teacher.tar k.tok
    assert_status 0
    assert_says '240 records scored'
}

@test "nonsense is refused" {
    run mtok -m vocab.tar --augment 0 train.csv
    assert_status 2
    run mtok -m vocab.tar --augment 3,mask=2 train.csv
    assert_status 2
    assert_says mask
    run mtok -m vocab.tar --augment 3 --ids train.csv
    assert_status 2
    assert_says 'exclude each other'
}
