#!/usr/bin/env bats
# mquant: formats, sizes, what it refuses, and that the int8 model still answers.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? .
}

bytes() {
    stat -Lc %s "$1"
}

@test "fp16 and bf16 halve a model, int8 makes it smaller still" {
    for format in fp32 fp16 bf16 int8; do
        mquant -q --to $format -o $format.tar model.tar
    done
    tar xOf model.tar model.safetensors > fp32.weights
    for format in fp16 bf16 int8; do tar xOf $format.tar model.safetensors > $format.weights; done
    [ $(($(bytes fp16.weights) * 100)) -lt $(($(bytes fp32.weights) * 60)) ]
    [ $(($(bytes bf16.weights) * 100)) -lt $(($(bytes fp32.weights) * 60)) ]
    [ "$(bytes int8.weights)" -lt "$(bytes fp16.weights)" ]
    [ "$(bytes int8.tar)" -lt "$(bytes fp16.tar)" ]
    [ "$(bytes fp16.tar)" -lt "$(bytes fp32.tar)" ]
}

@test "config.json and millet.json name the format" {
    mquant -q --to bf16 -o bf16.tar model.tar
    run tar xOf bf16.tar config.json
    assert_says '"torch_dtype": "bfloat16"'
    mquant -q --to int8 -o int8.tar bf16.tar
    run tar xOf int8.tar millet.json
    assert_says '"format": "int8"'
    mquant -q --to fp32 -o fp32.tar int8.tar
    run tar xOf fp32.tar config.json
    assert_says '"torch_dtype": "float32"'
    [[ $output != *quantization_config* ]]
}

@test "the history grows by one stage, the tokenizer stays as it was" {
    mquant -q --to int8 -o int8.tar model.tar
    run tar xOf int8.tar millet.json
    assert_says '"program": "mstudent"' '"program": "mquant"'
    tar xOf model.tar vocab.txt > before
    tar xOf int8.tar vocab.txt > after
    assert_same before after
}

@test "fp32 to fp32 changes no answer, the second time no byte of the weights" {
    mquant -q --to fp32 -o same.tar model.tar
    mscore -q -j 1 -m model.tar --predict data.tok > before
    mscore -q -j 1 -m same.tar --predict data.tok > after
    assert_same before after
    tar xOf same.tar model.safetensors > before
    mquant -q --to fp32 same.tar | tar xOf - model.safetensors > after
    assert_same before after
}

@test "the int8 model gives nearly the predictions of the fp32 model" {
    mscore -q -j 1 -m model.tar --predict data.tok | cut -f 1 > expected
    for format in fp16 bf16 int8; do
        mquant -q --to $format -o $format.tar model.tar
        mscore -q -j 1 -m $format.tar --predict data.tok | cut -f 1 > found
        [ "$(wc -l < found)" -eq 60 ]
        different=$(paste expected found | awk '$1 != $2' | wc -l)
        [ "$different" -le 4 ]
    done
}

@test "the same bytes twice, into a file and into a pipe" {
    mquant -q --to int8 -o one.tar model.tar
    mquant -q --to int8 model.tar | cat > two.tar
    assert_same one.tar two.tar
}

@test "a directory, a pipe and a compressed tar are models too" {
    mkdir dir
    tar xf model.tar -C dir
    gzip -c model.tar > model.tar.gz
    mquant -q --to int8 -o expected.tar model.tar
    tar xOf expected.tar model.safetensors > expected
    mquant -q --to int8 dir | tar xOf - model.safetensors > found
    assert_same expected found
    mquant -q --to int8 model.tar.gz | tar xOf - model.safetensors > found
    assert_same expected found
    mquant -q --to int8 < model.tar | tar xOf - model.safetensors > found
    assert_same expected found
    # shellcheck disable=SC2002 # a real pipe
    cat model.tar | mquant -q --to int8 - | tar xOf - model.safetensors > found
    assert_same expected found
}

@test "a note says the sizes; -q is silent" {
    run --separate-stderr mquant --to int8 -o x.tar model.tar
    assert_status 0
    assert_says 'mquant: int8:' 'MB' '% of the size'
    [ -z "$output" ]
    run mquant -q --to int8 -o x.tar model.tar
    assert_status 0
    [ -z "$output" ]
}

@test "mistakes in the command line: status 2, nothing on standard output" {
    run --separate-stderr mquant model.tar
    assert_status 2
    assert_says '--to is missing'
    [ -z "$output" ]
    run --separate-stderr mquant --to int4 model.tar
    assert_status 2
    assert_says '"int4" is not fp32, fp16, bf16 or int8'
    [ -z "$output" ]
    run --separate-stderr mquant --to int8 model.tar vocab.tar
    assert_status 2
    assert_says '2 models given'
    run --separate-stderr mquant --to int8 --seed 1 model.tar
    assert_status 2
    assert_says '--seed'
    cp -L model.tar own.tar
    run --separate-stderr mquant --to int8 -o own.tar own.tar
    assert_status 2
    assert_says 'both input and output'
    assert_same own.tar model.tar
}

@test "a model without weights is refused" {
    run mquant --to int8 -o x.tar vocab.tar
    assert_fails 'vocab.tar: the model has no weights'
    [ ! -e x.tar ]
}

@test "what is no model is refused, and nothing appears under the final name" {
    : > empty
    head -c 3000 /dev/zero | tr '\0' x > junk
    mkdir nothing
    head -c "$(($(bytes model.tar) / 2))" model.tar > half.tar
    for input in empty junk nothing half.tar nosuch; do
        run mquant --to int8 -o x.tar "$input"
        assert_fails "mquant: " "$input"
        [ ! -e x.tar ]
    done
    run bash -c 'mquant --to int8 -o x.tar < empty'
    assert_fails 'mquant: <stdin>'
    run mquant --to int8 -o x.tar data.tok
    assert_fails 'data.tok'
    [ ! -e x.tar ]
}

@test "a flipped byte in the weights is noticed" {
    cp -L model.tar bad.tar
    chmod u+w bad.tar
    at=$(($(bytes bad.tar) / 2))
    byte=$(od -An -tu1 -j $at -N 1 bad.tar)
    # shellcheck disable=SC2059 # an octal escape
    printf "\\$(printf %o $((byte ^ 255)))" | dd of=bad.tar bs=1 seek=$at conv=notrunc status=none
    run mquant --to int8 -o x.tar bad.tar
    assert_fails 'bad.tar'
    [ ! -e x.tar ]
}

@test "in a pipe the last tool shows the first cause" {
    run bash -c 'mquant -q --to fp16 nosuch 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mquant failed: ' 'nosuch'
    run bash -c 'mquant -q --to fp16 -o - nosuch 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mquant failed: ' 'nosuch'
}

@test "a full disk is a failure with a message" {
    [ -c /dev/full ] || skip "no /dev/full"
    run bash -c 'mquant -q --to int8 model.tar > /dev/full'
    assert_fails 'No space left'
}
