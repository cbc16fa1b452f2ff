#!/usr/bin/env bats
# mprune's ways to choose heads and neurons, and what it does to those that stay.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m vocab.tar --shape layers=3,hidden=32,heads=4,ffn=64 --epochs 1 \
        -o deep.tar data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR/data.csv" .
}

# kept FILE: which heads and neurons of each layer a report keeps.
kept() {
    grep -E '"(heads|neurons)": "' "$1"
}

answers() {
    run mscore -q -j 1 -m "$1" --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "fisher, importance and magnitude: each chooses and says what it is" {
    for method in fisher importance; do
        mprune -q -j 1 -m deep.tar --method "$method" --keep 50% --report "$method.json" \
            -o x.tar data.tok
        grep -q "\"method\": \"$method\"" "$method.json"
        grep -q '"sample_labels": ' "$method.json"
        answers x.tar
    done
    mprune -q -m deep.tar --method magnitude --keep 50% --report magnitude.json -o x.tar < /dev/null
    grep -q '"method": "magnitude"' magnitude.json
    answers x.tar
    run diff <(kept fisher.json) <(kept magnitude.json)
    assert_status 1
    run diff <(kept fisher.json) <(kept importance.json)
    assert_status 1
}

@test "--normalise layer changes the choice, none is the default" {
    mprune -q -j 1 -m deep.tar --method magnitude --keep 50% --report a.json --dry-run
    mprune -q -j 1 -m deep.tar --method magnitude --keep 50% --normalise none --report b.json --dry-run
    mprune -q -j 1 -m deep.tar --method magnitude --keep 50% --normalise layer --report c.json --dry-run
    assert_same a.json b.json
    grep -q '"normalise": "layer"' c.json
}

@test "--no-rearrange: what the search found stays; else the foretold loss does not rise" {
    mprune -q -j 1 -m deep.tar --method fisher --keep 50% --report a.json --dry-run data.tok
    mprune -q -j 1 -m deep.tar --method fisher --keep 50% --no-rearrange --report b.json --dry-run data.tok
    run grep -c rearranged b.json
    [ "$output" = 0 ]
    before=$(grep -o '"loss_before": [0-9.e-]*' a.json | grep -o '[0-9.e-]*$')
    after=$(grep -o '"loss_after": [0-9.e-]*' a.json | grep -o '[0-9.e-]*$')
    awk -v a="$after" -v b="$before" 'BEGIN { exit !(a <= b && b > 0) }'
}

@test "--tune: weights by default, scales or none; only what stays of output matrices changes" {
    for what in weights scales none; do
        mprune -q -j 1 -m deep.tar --method fisher --keep 50% --tune "$what" --tune-samples 30 \
            --report "$what.json" -o "$what.tar" data.tok
        answers "$what.tar"
        tar xOf "$what.tar" model.safetensors > "$what.st"
    done
    mprune -q -j 1 -m deep.tar --method fisher --keep 50% --tune-samples 30 -o default.tar data.tok
    tar xOf default.tar model.safetensors > default.st
    assert_same default.st weights.st
    run cmp -s scales.st none.st
    assert_status 1
    grep -q '"what": "weights"' weights.json
    grep -q '"limited": ' scales.json
    [ "$(grep -o '"neurons_mean": ' scales.json | wc -l)" -eq 3 ]
    run grep -c '"neurons_mean"' weights.json
    [ "$output" = 0 ]
    run grep -c '"tuned"' none.json
    [ "$output" = 0 ]
    run diff <(kept weights.json) <(kept none.json)
    assert_status 0
}

@test "the same bytes twice with tuning" {
    mprune -q -j 1 -m deep.tar --method fisher --keep 40% -o one.tar data.tok
    mprune -q -j 1 -m deep.tar --method fisher --keep 40% -o two.tar data.tok
    assert_same one.tar two.tar
}

@test "units of int8 models are not cut, as their columns are rotated: refused with the remedy" {
    mquant -q --to int8 deep.tar > int8.tar
    for how in "fisher" "fisher --tune none" "importance --tune none"; do
        # shellcheck disable=SC2086
        run mprune -j 1 -m int8.tar --method $how --keep 50% -o x.tar data.tok
        assert_fails 'rotated' 'mquant --to fp32'
    done
    run mprune -m int8.tar --method magnitude --keep 50% -o x.tar
    assert_fails 'rotated' 'mquant --to fp32'
    [ ! -e x.tar ]
    mquant -q --to fp32 int8.tar | mprune -q -m - --method magnitude --keep 50% -o x.tar
    answers x.tar
}

@test "int8 models whose zeros lie in blocks are not rotated: cut, but their weights are not changed" {
    mprune -q -j 1 -m deep.tar --method movement --block 8x8 --keep 50% --epochs 1 -o blocks.tar data.tok
    run mquant -q -j 1 --to int8 --compensate data.tok -o x.tar blocks.tar
    assert_fails "its zeros lie in blocks"
    mquant -q --to int8 -o int8.tar blocks.tar
    run tar xOf int8.tar config.json
    assert_says '"quant_method": "millet-int8"'
    run mprune -j 1 -m int8.tar --method fisher --keep 50% -o x.tar data.tok
    assert_fails 'mquant --to fp32' '--tune none'
    [ ! -e x.tar ]
    mprune -q -j 1 -m int8.tar --method fisher --keep 50% --tune none -o x.tar data.tok
    answers x.tar
    mprune -q -m int8.tar --method magnitude --keep 50% -o x.tar
    answers x.tar
}

@test "a sample of one label is said; no labels but logits will do" {
    head -n 1 data.csv > one.csv
    label=$(sed -n 2p data.csv | sed 's/.*,//')
    grep ",$label\$" data.csv >> one.csv
    mtok -q -m deep.tar -o one.tok one.csv
    for method in fisher importance second-order "layers --which search"; do
        # shellcheck disable=SC2086
        run mprune -j 1 -m deep.tar --method $method --keep 60% -o x.tar one.tok
        assert_status 0
        assert_says 'the same label'
        # shellcheck disable=SC2086
        run mprune -j 1 -m deep.tar --method $method --keep 60% -o x.tar data.tok
        assert_status 0
        [[ $output != *'the same label'* ]]
    done
    run mprune -j 1 -m deep.tar --method movement --epochs 1 --keep 60% --dev one.tok -o x.tar one.tok
    assert_status 0
    assert_says 'labels have no record to learn from' 'labels have no dev record'
    cut -d, -f1 data.csv | tail -n +2 > lines.txt
    mtok -q -m deep.tar --format plain lines.txt | mteach -q -j 1 -m deep.tar -o taught.tok
    mprune -q -j 1 -m deep.tar --method fisher --keep 60% --report r.json -o x.tar taught.tok
    grep -q '"labels": "teacher"' r.json
    answers x.tar
}

@test "mistakes: status 2" {
    while IFS='|' read -r arguments text; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr mprune $arguments
        assert_status 2
        assert_says "$text"
        [ -z "$output" ]
    done <<'END'
-m deep.tar --method fisher --keep 50% --tune all data.tok|"all" is not weights, scales or none
-m deep.tar --method layers --keep 50% --tune scales|--tune needs
-m deep.tar --method magnitude --keep 50% --tune-samples 5|--tune-samples needs
-m deep.tar --method fisher --keep 50% --ridge -1 data.tok|--ridge
-m deep.tar --method importance --keep 50% --no-rearrange data.tok|--no-rearrange needs --method fisher
-m deep.tar --method magnitude --keep 50% --normalise heads|"heads" is not layer or none
END
}
