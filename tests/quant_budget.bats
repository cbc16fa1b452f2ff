#!/usr/bin/env bats
# mquant beyond one format for all: tables of embeddings apart, matrices under a budget, what records tell of rounding.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m model.tar --epochs 4 --lr 2e-3 -o good.tar data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR"/*.csv .
}

bytes() {
    stat -Lc %s "$1"
}

@test "--embeddings: the tables alone, the encoder as it was" {
    for format in fp16 int8 int4; do
        mquant -q --embeddings $format -o $format.tar good.tar
        run mscore -q -j 1 -m $format.tar --predict data.tok
        assert_status 0
        [ "${#lines[@]}" -eq 60 ]
    done
    [ "$(bytes fp16.tar)" -lt "$(bytes good.tar)" ]
    [ "$(bytes int8.tar)" -lt "$(bytes fp16.tar)" ]
    [ "$(bytes int4.tar)" -lt "$(bytes int8.tar)" ]
    run tar xOf int4.tar config.json
    assert_says '"torch_dtype": "float32"' '"quant_method": "millet-int8-rotated"'
    run tar xOf int4.tar millet.json
    assert_says '"format": "fp32, embeddings int4"'
}

@test "--to int8 --embeddings int4: the smallest; cut, trained and written back to floats" {
    run mquant --to int8 --embeddings int4 -o small.tar good.tar
    assert_status 0
    assert_says "int8, embeddings int4"
    mquant -q --to int8 -o int8.tar good.tar
    [ "$(bytes small.tar)" -lt "$(bytes int8.tar)" ]
    mprune -q -m small.tar --method layers --keep 50% --vocab-from data.tok -o cut.tar
    mtok -q -m cut.tar --remap data.tok | mscore -q -j 1 -m cut.tar --predict > answers
    [ "$(wc -l < answers)" -eq 60 ]
    mstudent -q -j 1 -m small.tar --epochs 1 -o again.tar data.tok
    mquant -q --to fp32 small.tar | mquant -q --to onnx -o onnx.tar
    run mquant --dense -o x.tar small.tar
    assert_fails "is of codes"
}

@test "--embeddings: what it refuses" {
    run mquant --embeddings int3 good.tar
    assert_status 2
    assert_says '"int3" is not fp32, fp16, bf16, int8 or int4'
    run mquant --to int4 good.tar
    assert_status 2
    run mquant --dense --embeddings int8 good.tar
    assert_status 2
    assert_says "exclude each other"
    run mquant --to onnx --embeddings int8 good.tar
    assert_status 2
}

@test "--budget: the table, and a model that keeps its accuracy on the stream" {
    run --separate-stderr mquant -j 1 --budget 2 --on data.tok -o mixed.tar good.tar
    assert_status 0
    assert_says "words" "int4" "layer 0 query, key, value" "layer 1 feed-forward out" "classifier" \
        "points of accuracy lost on 60 records"
    [ "$(bytes mixed.tar)" -lt "$(bytes good.tar)" ]
    run mscore -q -j 1 -m mixed.tar --predict data.tok
    assert_status 0
    run tar xOf mixed.tar millet.json
    assert_says '"format": "fp32, by matrix"'
    # The same again gives the same bytes; records without labels measure agreement.
    mquant -j 1 --budget 2 --on data.tok -o again.tar good.tar
    assert_same mixed.tar again.tar
    cut -d, -f1 data.csv | tail -n +2 | mtok -q -m good.tar --format plain -o bare.tok
    run --separate-stderr mquant -j 1 --budget 5 --on bare.tok --to bf16 -o half.tar good.tar
    assert_status 0
    assert_says "points of agreement"
}

@test "--budget: records of one label are said to be" {
    grep -e '^text' -e ',money$' data.csv > one.csv
    mtok -q -m good.tar -o one.tok one.csv
    run --separate-stderr mquant -j 1 --budget 2 --on one.tok -o x.tar good.tar
    assert_status 0
    assert_says "all of these records have the same label"
    run --separate-stderr mquant -j 1 --budget 2 --on data.tok -o y.tar good.tar
    assert_status 0
    [[ $stderr != *"the same label"* ]]
}

@test "--budget: one that cannot be met says the nearest" {
    labelled_rows 3000 | cut -d, -f1 | tail -n +2 | mtok -q -m vocab.tar --format plain -o many.tok
    for seed in 5 1 2 3 4 6 7 8 9 10 11 12; do # weights as they begin: answers that the least change turns
        mstudent -q -j 1 -m vocab.tar --shape layers=1,hidden=16,heads=1,ffn=16 --seed $seed --epochs 1 --lr 1e-4 \
            -o weak.tar data.tok
        mquant -q --to int8 --embeddings fp32 weak.tar > tables.tar
        run mquant -q -j 1 --budget 0 --samples 60 --on many.tok -o x.tar tables.tar
        [ "$status" -eq 0 ] || break
    done
    assert_fails "no change fits a budget of 0 points of agreement on 3000 records" "the nearest is" "as int8"
}

@test "--budget: what it refuses" {
    run mquant --budget 1 good.tar
    assert_status 2
    assert_says "needs --on STREAM"
    run mquant --budget 1 --on data.tok --to int8 good.tar
    assert_status 2
    run mquant --on data.tok --to fp16 good.tar
    assert_status 2
    assert_says "--on needs --budget"
    mquant -q --to int8 good.tar | mquant -q -j 1 --budget 100 --on data.tok -o int8.tar -
    run mquant -q -j 1 --budget 1 --on data.tok -o x.tar int8.tar
    assert_fails "no matrix of floats left"
    mtok -q --learn 220 --algorithm unigram -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    run mquant -q -j 1 --budget 1 --on other.tok -o x.tar good.tar
    assert_fails "tokenizer"
    [ ! -e x.tar ]
}

@test "mstudent --quantise int8: the weights written are what int8 makes of them" {
    mstudent -q -j 1 -m good.tar --quantise int8 --epochs 1 -o aware.tar data.tok
    mquant -q --to int8 -o codes.tar aware.tar
    mquant -q --to fp32 -o back.tar codes.tar
    # Rounding them again changes no answer: only the tables of embeddings were not rounded yet.
    mquant -q --embeddings int8 aware.tar | mquant -q --to fp32 -o tables.tar
    mscore -q -j 1 -m back.tar --predict data.tok > a
    mscore -q -j 1 -m tables.tar --predict data.tok > b
    assert_same a b
    run mstudent -m good.tar --quantise int4 --epochs 1 -o x.tar data.tok
    assert_status 2
    assert_says '"int4" is not int8'
}

@test "--calibrate: scales of activations in the file, used; refused where nothing is int8" {
    run mquant -v -j 1 --to int8 --calibrate data.tok --samples 20 -o fixed.tar good.tar
    assert_status 0
    assert_says "scales from 20 records for"
    mquant -q --to int8 -o int8.tar good.tar
    [ "$(bytes fixed.tar)" -gt "$(bytes int8.tar)" ]
    run bash -c 'set -o pipefail; mquant -q -j 1 --calibrate data.tok int8.tar | mscore -q -j 1 --predict -m - data.tok'
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
    mquant -q --to fp32 -o back.tar fixed.tar
    mquant -q --to fp32 -o float.tar int8.tar
    run bash -c 'tar xOf back.tar model.safetensors | grep -c input_scale'
    assert_says 0
    mprune -q -m fixed.tar --method layers --keep 50% -o cut.tar
    run mscore -q -j 1 -m cut.tar --predict data.tok
    assert_status 0
    run mquant --to fp16 --calibrate data.tok good.tar
    assert_status 2
    assert_says "--to fp16 has none"
    run mquant --dense --calibrate data.tok good.tar
    assert_status 2
    run mquant --calibrate data.tok -o x.tar good.tar
    assert_fails "--to int8"
}

@test "--compensate: other codes, of the same size; the same with any threads" {
    run mquant -v -j 1 --to int8 --compensate data.tok --samples 40 -o one.tar good.tar
    assert_status 0
    assert_says "made good on 40 records for"
    mquant -q -j 2 --to int8 --compensate data.tok --samples 40 -o two.tar good.tar
    tar xOf one.tar model.safetensors > one
    tar xOf two.tar model.safetensors > two
    assert_same one two
    mquant -q --to int8 -o plain.tar good.tar
    [ "$(bytes one.tar)" -eq "$(bytes plain.tar)" ]
    tar xOf plain.tar model.safetensors > plain
    ! cmp -s one plain || return 1
    run tar xOf one.tar config.json
    assert_says '"quant_method": "millet-int8-rotated"'
    mquant -q --to fp32 -o back.tar one.tar
    for model in one back; do
        run mscore -q -j 1 -m $model.tar --predict data.tok
        assert_status 0
        [ "${#lines[@]}" -eq 60 ]
    done
    run mquant -j 1 --to int8 --compensate data.tok --calibrate data.tok -o both.tar good.tar
    assert_status 0
    assert_says "rounding: made good on 60 records" "activations: scales from 60 records"
    [ "$(bytes both.tar)" -gt "$(bytes one.tar)" ]
}

@test "--compensate: what it refuses" {
    for to in "" "--to fp16" "--to onnx" --dense "--calibrate data.tok" "--embeddings int8"; do
        # shellcheck disable=SC2086
        run mquant $to --compensate data.tok good.tar
        assert_status 2
    done
    run mquant --to fp16 --compensate data.tok good.tar
    assert_status 2
    assert_says "--compensate is for matrices that become int8: it needs --to int8"
    mquant -q --to int8 -o int8.tar good.tar
    run mquant --to int8 --compensate data.tok -o x.tar int8.tar
    assert_fails "is of int8 codes already" "start from the model before it was quantised"
    mtok -q --learn 220 --algorithm unigram -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    run mquant --to int8 --compensate other.tok -o x.tar good.tar
    assert_fails "tokenizer"
    [ ! -e x.tar ]
}
