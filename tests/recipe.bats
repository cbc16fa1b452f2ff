#!/usr/bin/env bats
# recipe.bats: how mstudent trains: smoothed labels, weighted classes, curriculum, early end, optimizer and dropout.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 240 > train.csv
    mtok -q -m vocab.tar -o train.tok train.csv
    mteach -q -m model.tar -o train.taught train.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.{t*,csv} .
}

small=(-q -j 1 -m vocab.tar --shape "layers=1,hidden=16,heads=2,ffn=32" --epochs 2)

weights() {
    tar xOf "$1" model.safetensors | md5sum
}

@test "each option changes what is learnt, and its default does not" {
    mstudent "${small[@]}" -o plain.tar train.taught
    local plain
    plain=$(weights plain.tar)
    while read -r -a option; do
        mstudent "${small[@]}" "${option[@]}" -o x.tar train.taught
        [ "$(weights x.tar)" != "$plain" ] || { echo "no effect: ${option[*]}" >&2; return 1; }
    done <<'END'
--label-smoothing 0.1
--class-weights 1,2,0.5
--beta2 0.98
--attention-dropout 0.4
--curriculum
--precision bf16
--precision fp16
END
    while read -r -a option; do
        mstudent "${small[@]}" "${option[@]}" -o x.tar train.taught
        [ "$(weights x.tar)" = "$plain" ] || { echo "an effect: ${option[*]}" >&2; return 1; }
    done <<'END'
--label-smoothing 0
--class-weights 1,1,1
--class-weights balanced
--beta2 0.999
--attention-dropout 0.1
--precision fp32
END
}

@test "--class-weights balanced: rare classes weigh more; a list must have a weight for each label" {
    awk -F, 'NR == 1 || $2 != "film" || n++ < 5' train.csv > few.csv
    mtok -q -m vocab.tar -o few.tok few.csv
    mstudent "${small[@]}" -o plain.tar few.tok
    mstudent "${small[@]}" --class-weights balanced -o balanced.tar few.tok
    [ "$(weights plain.tar)" != "$(weights balanced.tar)" ]
    run mstudent "${small[@]}" --class-weights 1,2 -o x.tar few.tok
    assert_fails "2 weights for 3 labels"
    run mstudent "${small[@]}" --class-weights equal -o x.tar few.tok
    assert_status 2
    assert_says '--class-weights' 'expected "balanced"'
}

@test "--curriculum needs a teacher's logits" {
    run mstudent "${small[@]}" --curriculum -o x.tar train.tok
    assert_fails "--curriculum: the records carry no logits" "mteach"
}

@test "--patience ends a run whose dev score stays, and needs --dev" {
    run mstudent -j 1 -v -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 50 --lr 1e-9 --patience 2 \
        --dev train.tok -o x.tar train.tok
    assert_status 0
    assert_says "ended after epoch 3: the last 2 were no better" "epoch 1 of 50"
    run mstudent "${small[@]}" --patience 2 -o x.tar train.tok
    assert_status 2
    assert_says "--patience needs --dev"
}

@test "a label without a record, to learn from or to be scored on, is told" {
    awk -F, 'NR == 1 || $2 != "film"' train.csv > two.csv
    printf 'घर,film\n' >> two.csv
    mtok -q -m model.tar -o all.tok train.csv
    grep -v ',film' train.csv > none.csv
    mtok -q -m model.tar -o none.tok none.csv
    run mstudent -j 1 -m model.tar --epochs 1 --dev all.tok -o x.tar none.tok
    assert_status 0
    assert_says '1 label has no record to learn from: "film"'
    run mstudent -j 1 -m model.tar --epochs 1 --dev none.tok -o x.tar all.tok
    assert_status 0
    assert_says '1 label has no dev record, and the score says nothing of it: "film"'
}

@test "--precision bf16 and fp16 learn what fp32 learns, the same each time; fp16 says its loss scale" {
    local go=(mstudent -q -j 2 -m vocab.tar --shape "layers=1,hidden=32,heads=2,ffn=32" --epochs 8 --lr 3e-3 --batch-tokens 128)
    for format in bf16 fp16; do
        "${go[@]}" --precision $format --log $format.log -o $format.tar train.tok
        "${go[@]}" --precision $format --log $format.log -o again.tar train.tok
        assert_same $format.tar again.tar
        run mscore -q -m $format.tar --json train.tok
        assert_status 0
        grep -m 1 -o '"accuracy": [0-9.]*' <<< "$output" | awk '{ exit !($2 >= 0.9) }'
    done
    grep -q '"loss_scale":' fp16.log
    run grep -c '"loss_scale":' bf16.log
    [ "$output" = 0 ]
    run mstudent "${small[@]}" --precision fp8 -o x.tar train.tok
    assert_status 2
    assert_says "is not fp32, tf32, bf16 or fp16"
}

@test "--precision bf16 learns in every instruction set, which -v names; losses differ by less than a hundredth" {
    local go=(mstudent -v -j 2 -m vocab.tar --shape "layers=1,hidden=32,heads=2,ffn=32" --epochs 8 --lr 3e-3 --batch-tokens 128)
    local set
    for set in portable avx2 avx512 avx512bf16; do
        MILLET_ISA=$set mscore --version | grep -q "own kernels $set[;,]" || continue
        run env MILLET_ISA=$set "${go[@]}" --precision bf16 --log $set.log -o $set.tar train.tok
        assert_status 0
        assert_says "own kernels $set,"
        grep -o '"loss": *[0-9.]*' $set.log | grep -o '[0-9.]*$' > $set.loss
        [ -s $set.loss ]
        paste portable.loss $set.loss | awk '{ off = $1 - $2; if (off < 0) off = -off; if (off > 0.01) exit 1 }'
    done
}

@test "fp16 goes on from a checkpoint bit for bit, its loss scale included" {
    local go=(mstudent -q -j 1 -m vocab.tar --shape "layers=1,hidden=16,heads=2,ffn=32" --epochs 6 --batch-tokens 64
        --precision fp16) i
    "${go[@]}" -o whole.tar train.tok
    for i in 1 2 3 4 5 6; do
        timeout -s KILL "0.0$((RANDOM % 60 + 20))" "${go[@]}" --checkpoint c.ck --checkpoint-every 2 --resume \
            -o part.tar train.tok || true
        [ ! -e part.tar ] || break
    done
    [ -e part.tar ] || "${go[@]}" --checkpoint c.ck --resume -o part.tar train.tok
    assert_same whole.tar part.tar
}

@test "nonsense is refused with the range" {
    for bad in "--beta2 1" "--label-smoothing 1" "--attention-dropout 1" "--patience 0" "--class-weights -1,1,1"; do
        # shellcheck disable=SC2086
        run mstudent "${small[@]}" $bad -o x.tar train.tok
        assert_status 2
        assert_says "${bad%% *}"
    done
}
