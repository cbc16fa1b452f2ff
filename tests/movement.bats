#!/usr/bin/env bats
# mprune --method movement: what each option keeps, that what is written answers like what was trained,
# and what is refused.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mteach -q -j 1 -m model.tar -o data.taught data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR/data.csv" .
}

# move OPTION…: a short run on the small model.
move() {
    mprune -q -j 1 -m model.tar --method movement --block 8x8 "$@"
}

# field NAME FILE: a number of a report.
field() {
    grep -o "\"$1\": [0-9.e-]*" "$2" | head -n 1 | grep -o '[0-9.e-]*$'
}

# near A B TOLERANCE
near() {
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { exit !(a - b <= t && b - a <= t) }'
}

answers() {
    run mscore -q -j 1 -m "$1" --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "half of the encoder's linear weights stay, and the model answers" {
    move --keep 50% --epochs 2 --report report.json -o half.tar data.tok
    [ "$(stat -Lc %s half.tar)" -lt "$(stat -Lc %s model.tar)" ]
    near "$(field kept report.json)" 0.5 0.06
    answers half.tar
    run tar xOf half.tar millet.json
    assert_says '"pruned"' '"method": "movement"' '"variant": "hybrid"' '"mask": "topk"'
}

@test "all of it: keep 100% is fine-tuning" {
    move --keep 100% --epochs 1 --report report.json -o all.tar data.tok
    [ "$(field kept report.json)" = 1.0 ]
    mstudent -q -j 1 -m model.tar --epochs 1 -o tuned.tar data.tok
    mscore -q -j 1 -m all.tar --predict data.tok > a
    mscore -q -j 1 -m tuned.tar --predict data.tok > b
    assert_same a b
}

@test "nearly nothing: a head and a neuron of each layer stay" {
    move --keep 0.1% --epochs 1 --report report.json -o least.tar data.tok
    answers least.tar
    run tar xOf least.tar config.json
    assert_says '"num_hidden_layers": 2'
}

@test "every variant and rule" {
    for variant in struct unstructured; do
        mprune -q -j 1 -m model.tar --method movement --variant $variant --keep 50% --epochs 1 \
            --report report.json -o x.tar data.tok
        answers x.tar
        near "$(field kept report.json)" 0.5 0.13
    done
    move --variant filled --fill-epochs 1 --keep 50% --epochs 1 --report report.json -o x.tar data.tok
    answers x.tar
    move --mask global --keep 50% --epochs 1 --report report.json -o x.tar data.tok
    answers x.tar
    near "$(field kept report.json)" 0.5 0.1
    move --mask threshold --lambda 500 --score-lr 0.5 --batch-tokens 64 --epochs 3 --report report.json -o x.tar data.tok
    answers x.tar
    awk -v k="$(field kept report.json)" 'BEGIN { exit !(k < 0.9) }'
}

@test "distillation, dev records and a log" {
    run move --keep 60% --kd alpha=0.9,temperature=2 --epochs 4 --dev data.tok --log log.json -o x.tar \
        --report report.json data.taught
    assert_status 0
    # An epoch before the masks are what they will be is never the best.
    [ "$(field best_epoch report.json)" -ge 3 ]
    grep -q dev_accuracy log.json
    move --keep 60% --curriculum --epochs 2 -o curriculum.tar data.taught
    answers curriculum.tar
    # Before --start nothing is masked: what the steps learn from differs by the order of the records alone.
    move --keep 60% --start 0.9 --settle 0.1 --batch-tokens 64 --epochs 1 --log plain.log -o y.tar data.taught
    move --keep 60% --start 0.9 --settle 0.1 --batch-tokens 64 --epochs 1 --log easy.log --curriculum -o y.tar data.taught
    [ "$(head -n 1 plain.log | grep -o '"loss":[0-9.]*')" != "$(head -n 1 easy.log | grep -o '"loss":[0-9.]*')" ]
    rm y.tar
    run move --keep 60% --curriculum -o y.tar data.tok
    assert_fails 'the records carry no logits'
    run move --keep 60% --kd alpha=0.9 -o y.tar data.tok
    assert_fails 'the records carry no logits'
    [ ! -e y.tar ]
}

@test "the same bytes twice, and through pipes" {
    move --keep 50% --epochs 1 --seed 3 -o one.tar data.tok
    move --keep 50% --epochs 1 --seed 3 data.tok | cat > two.tar
    assert_same one.tar two.tar
}

@test "what is pruned can be trained, quantised, made dense and pruned again" {
    move --keep 40% --epochs 1 -o x.tar data.tok
    mstudent -q -j 1 -m x.tar --epochs 1 -o again.tar data.tok
    answers again.tar
    mquant -q --to int8 -o int8.tar x.tar
    answers int8.tar
    mquant -q --dense -o dense.tar x.tar
    answers dense.tar
    run move -m int8.tar --keep 50% -o y.tar data.tok
    assert_status 2
    run mprune -q -m int8.tar --method movement --keep 50% -o y.tar data.tok
    assert_fails 'is int8' 'mquant --to fp32'
    mquant -q --embeddings int4 -o int4.tar x.tar
    run mprune -q -m int4.tar --method movement --keep 50% -o y.tar data.tok
    assert_fails 'does not train' 'mquant --to fp32'
}

@test "blocks that are zero are not in the file, in any format, and in none for other programs" {
    for block in 8x8 1x1; do
        mprune -q -j 1 -m model.tar --method movement --block $block --keep 30% --epochs 2 -o $block.tar data.tok
    done
    run bash -c 'set -o pipefail; tar xOf 8x8.tar model.safetensors | strings -n 20 | head -n 40'
    assert_says 'attention.self.query.weight_blocks' 'weight_blocks_index'
    mscore -q -j 1 -m 8x8.tar --predict data.tok > a
    mquant -q --to fp32 -o same.tar 8x8.tar
    mscore -q -j 1 -m same.tar --predict data.tok > b
    assert_same a b
    mquant -q --to int8 -o int8.tar 8x8.tar
    tar xOf int8.tar model.safetensors | strings -n 20 | grep -q 'query.weight_blocks'
    answers int8.tar
    mquant -q --dense -o dense.tar 8x8.tar
    run bash -c 'set -o pipefail; tar xOf dense.tar model.safetensors | strings -n 20 | grep -c _blocks'
    [ "$output" = 0 ]
    mscore -q -j 1 -m dense.tar --predict data.tok > b
    assert_same a b
}

@test "mistakes in the command line: status 2" {
    while IFS='|' read -r arguments text; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr mprune -m model.tar $arguments -o x.tar data.tok
        assert_status 2
        assert_says "$text"
    done <<'END'
--method movement|--keep is missing
--method movement --keep 50% --block 32|is not ROWSxCOLUMNS
--method movement --keep 50% --block 0x4|is not ROWSxCOLUMNS
--method movement --keep 50% --block axb|is not ROWSxCOLUMNS
--method movement --keep 50% --variant some|"some" is not hybrid
--method movement --keep 50% --mask best|"best" is not topk
--method movement --keep 50% --mask threshold --lambda 3|drop --keep
--method movement --mask threshold|needs --lambda
--method movement --keep 50% --lambda 3|--lambda needs
--method movement --keep 50% --variant struct --block 8x8|has no blocks
--method movement --keep 50% --fill-epochs 2|needs --variant filled
--method movement --keep 50% --start 0.6 --settle 0.6|more than all steps
--method movement --keep 50% --kd alpha|is not KEY=NUMBER
--method movement --keep 50% --epochs 0|--epochs
--method importance --keep 50% --epochs 2|--epochs needs --method movement
--method importance --keep 50% --block 2x2|--block needs --method movement
--method movement --keep 50% --which top|--which needs
--method movement --keep 50% --samples 5|--samples needs
END
    run mprune -m model.tar --method movement --keep 50% --dry-run data.tok
    assert_status 2
    assert_says 'decides by training'
    [ ! -e x.tar ]
}
