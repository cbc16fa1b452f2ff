#!/usr/bin/env bats
# mprune: what each method keeps, that models get really smaller, and what is refused.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m vocab.tar --shape layers=4,hidden=32,heads=4,ffn=64 --epochs 1 \
        -o deep.tar data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR/data.csv" .
}

bytes() {
    stat -Lc %s "$1"
}

# kept FILE: the original numbers of the layers a report keeps, on one line.
kept() {
    grep -o '"layer": [0-9]*' "$1" | grep -o '[0-9]*' | paste -sd ' '
}

@test "layers: each rule drops what the page says" {
    while read -r rule expected; do
        mprune -q -m deep.tar --method layers --keep 50% --which "$rule" --report report.json > x.tar
        [ "$(kept report.json)" = "$expected" ]
        run tar xOf x.tar config.json
        assert_says '"num_hidden_layers": 2'
    done <<'END'
top 0 1
bottom 2 3
middle 0 3
alternate 0 3
END
    mprune -q -m deep.tar --method layers --which 3,0,2 --report report.json -o x.tar
    [ "$(kept report.json)" = "0 2 3" ]
    mprune -q -m deep.tar --method layers --keep 1% --report report.json -o x.tar
    [ "$(kept report.json)" = "0" ]
}

@test "layers: the file shrinks, the model answers, and keeping all changes no weight" {
    mprune -q -m deep.tar --method layers --keep 0.5 -o half.tar
    [ "$(bytes half.tar)" -lt "$(bytes deep.tar)" ]
    run mscore -q -j 1 -m half.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
    mprune -q -m deep.tar --method layers --keep 100% -o all.tar
    mquant -q --to fp32 deep.tar | tar xOf - model.safetensors > before # in the same order
    tar xOf all.tar model.safetensors > after
    assert_same before after
}

@test "layers: cut to the layers of a smaller model, weights are renumbered" {
    mprune -q -m deep.tar --method layers --which 3 -o one.tar
    run bash -c 'set -o pipefail; tar xOf one.tar model.safetensors | strings -n 20 | grep -c "layer\.3"'
    [ "$output" = 0 ]
    tar xOf one.tar model.safetensors | strings -n 20 | grep -q 'bert.encoder.layer.0.output.dense.weight'
}

@test "fisher: heads and neurons are gone, the budget is kept" {
    run --separate-stderr mprune -j 1 -m deep.tar --method fisher --keep 50% --report report.json \
        -o half.tar data.tok
    assert_status 0
    assert_says '4 of 4 layers' 'multiply-adds for'
    [ -z "$output" ]
    [ "$(bytes half.tar)" -lt "$(bytes deep.tar)" ]
    share=$(grep -o '"kept": [0-9.]*' report.json | grep -o '[0-9.]*$')
    awk -v s="$share" 'BEGIN { exit !(s > 0.45 && s <= 0.5) }'
    [ "$(kept report.json)" = "0 1 2 3" ]
    run mscore -q -j 1 -m half.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
    run tar xOf half.tar millet.json
    assert_says '"pruned"' '"method": "fisher"' '"program": "mprune"' '"program": "mstudent"'
}

@test "fisher: a pruned model can be trained again" {
    mprune -q -j 1 -m model.tar --method fisher --keep 60% data.tok > half.tar
    run mstudent -q -j 1 -m half.tar --epochs 1 -o again.tar data.tok
    assert_status 0
    run mscore -q -j 1 -m again.tar --predict data.tok
    assert_status 0
}

@test "the pipe of the overview: prune, then int8" {
    run bash -c 'set -o pipefail
        mprune -q -j 1 -m model.tar --method fisher --keep 70% data.tok | mquant -q --to int8 > x.tar'
    assert_status 0
    [ "$(bytes x.tar)" -lt "$(bytes model.tar)" ]
    run mscore -q -j 1 -m x.tar --predict data.tok
    assert_status 0
    mprune -q -j 1 -m x.tar --method layers --keep 50% -o y.tar # an int8 model can be cut, too
    run mscore -q -j 1 -m y.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "the same bytes twice, from a file and from pipes" {
    mprune -q -j 1 -m model.tar --method fisher --keep 50% --samples 20 -o one.tar data.tok
    mprune -q -j 1 -m model.tar --method fisher --keep 50% --samples 20 data.tok | cat > two.tar
    assert_same one.tar two.tar
    mprune -q -j 1 -m model.tar --method fisher --keep 50% < data.tok | tar xOf - model.safetensors > a
    # shellcheck disable=SC2002 # real pipes
    cat data.tok | mprune -q -j 1 -m model.tar --method fisher --keep 50% | tar xOf - model.safetensors > b
    assert_same a b
    # shellcheck disable=SC2002
    cat model.tar | mprune -q -j 1 -m - --method fisher --keep 50% data.tok | tar xOf - model.safetensors > b
    assert_same a b
    mprune -q -j 2 -m model.tar --method fisher --keep 50% data.tok | tar xOf - model.safetensors > b
    [ "$(bytes a)" -eq "$(bytes b)" ]
}

@test "--dry-run reports and writes no model" {
    run --separate-stderr mprune -j 1 -m model.tar --method fisher --keep 50% --dry-run --report - data.tok
    assert_status 0
    [[ $output == '{'* ]]
    assert_says '"before"' '"after"' '"multiply_adds"' 'layers'
    run --separate-stderr mprune -m model.tar --method layers --keep 50% --dry-run
    assert_status 0
    assert_says '1 of 2 layers'
    [ "${#lines[@]}" -eq 3 ]
}

@test "--dry-run prints a table of what would stay" {
    run --separate-stderr mprune -m deep.tar --method layers --which 0,2 --dry-run
    assert_status 0
    printf 'layer\theads\tof\tneurons\tof\n0\t4\t4\t64\t64\n1\t0\t4\t0\t64\n2\t4\t4\t64\t64\n3\t0\t4\t0\t64\n' > expected
    diff expected - <<< "$output"
    mprune -q -j 1 -m deep.tar --method fisher --keep 50% --vocab-from data.tok --dry-run data.tok > table
    mprune -j 1 -v -m deep.tar --method fisher --keep 50% --vocab-from data.tok -o x.tar data.tok 2> notes
    # The same as what is told of the model that is written.
    while IFS=$'\t' read -r layer heads all neurons most; do
        grep -q "layer $layer, was $layer: $heads of $all heads, $neurons of $most neurons" notes
    done < <(sed '1d;$d' table)
    IFS=$'\t' read -r name words rows < <(tail -n 1 table)
    [ "$name" = words ]
    grep -q "$words of $rows rows of the word table" notes
    [ "$(wc -l < table)" -eq 6 ]
}

@test "mistakes in the command line: status 2, nothing on standard output" {
    while IFS='|' read -r arguments text; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr mprune $arguments
        assert_status 2
        assert_says "$text"
        [ -z "$output" ]
    done <<'END'
--method layers --keep 50%|-m is missing
-m model.tar --keep 50%|--method is missing
-m model.tar --method magic --keep 50%|"magic" is not layers, fisher
-m model.tar --method layers|--keep is missing
-m model.tar --method fisher data.tok|--keep is missing
-m model.tar --method layers --keep 0|--keep
-m model.tar --method layers --keep 130%|--keep
-m model.tar --method layers --keep -5%|--keep
-m model.tar --method layers --keep 75|75%
-m model.tar --method layers --keep half|--keep
-m model.tar --method layers --keep nan|--keep
-m model.tar --method layers --keep 50% --which upper|"upper" is not top, middle
-m model.tar --method layers --keep 50% --which 0,1|drop --keep
-m model.tar --method layers --keep 50% data.tok|without --which search reads no STREAM
-m model.tar --method layers --keep 50% --samples 5|--samples needs --which search
-m model.tar --method layers --keep 50% --batch-tokens 64|--batch-tokens needs --which search
-m model.tar --method magnitude --keep 50% --samples 5|--samples needs --method layers, fisher
-m model.tar --method layers --which search data.tok|--keep is missing
-m - --method layers --which search --keep 50%|standard input is asked for 2 times
-m model.tar --method layers --keep 50% --no-rearrange|--no-rearrange needs --method fisher
-m model.tar --method magnitude --keep 50% data.tok|reads no STREAM
-m model.tar --method magnitude --keep 50% --seed 2|draws nothing
-m model.tar --method layers --keep 50% --device cpu|runs no model
-m model.tar --method importance --keep 50% --normalise heads data.tok|"heads" is not layer or none
-m model.tar --method fisher --keep 50% --which top data.tok|--which needs
-m model.tar --method fisher --keep 50% --samples 0 data.tok|--samples
-m model.tar --method fisher --keep 50% --samples many data.tok|--samples
-m - --method fisher --keep 50%|standard input is asked for 2 times
-m model.tar --method fisher --keep 50% --dry-run -o x.tar data.tok|--dry-run
-m model.tar --method layers --keep 50% --report -|--report
-m model.tar --method layers --keep 50% --report ./model.tar -o x.tar|would overwrite
-m model.tar --method fisher --keep 50% --report data.tok -o x.tar data.tok|would overwrite
-m model.tar --method layers --keep 50% --report x.tar -o x.tar|would overwrite
-m model.tar -m model.tar --method layers --keep 50%|-m given twice
END
    [ ! -e x.tar ]
}

@test "lists of layers that the model does not have" {
    run mprune -m model.tar --method layers --which 0,2 -o x.tar
    assert_fails '--which' '2' '0 to 1'
    run mprune -m model.tar --method layers --which 1,1 -o x.tar
    assert_fails 'layer 1 stands in the list twice'
    run mprune -m model.tar --method layers --which 1, -o x.tar
    assert_fails 'is not a list'
    [ ! -e x.tar ]
}

@test "a share that cannot hold a head and a neuron in each layer" {
    run mprune -q -j 1 -m deep.tar --method fisher --keep 1% -o x.tar data.tok
    assert_fails 'keep at least'
    [ ! -e x.tar ]
}

@test "a stream without labels, of another tokenizer, or cut short" {
    cut -d, -f1 data.csv | tail -n +2 > lines.txt
    mtok -q -m model.tar --format plain -o unlabelled.tok lines.txt
    run mprune -m model.tar --method fisher --keep 50% -o x.tar unlabelled.tok
    assert_fails 'label'
    mtok -q --learn 90 -o other.tar data.csv
    mtok -q -m other.tar -o other.tok data.csv
    run mprune -m model.tar --method fisher --keep 50% -o x.tar other.tok
    assert_fails 'tokenizer'
    head -c "$(($(bytes data.tok) / 2))" data.tok > half.tok
    run mprune -m model.tar --method fisher --keep 50% -o x.tar half.tok
    assert_fails 'half.tok'
    : > empty
    run mprune -m model.tar --method fisher --keep 50% -o x.tar empty
    assert_fails 'empty'
    [ ! -e x.tar ]
}

@test "a model without weights" {
    run mprune -m vocab.tar --method layers --keep 50% -o x.tar
    assert_fails 'no weights'
    run mprune -m vocab.tar --method fisher --keep 50% -o x.tar data.tok
    assert_fails 'no weights'
}

@test "in a pipe the last tool shows the first cause" {
    run bash -c 'mprune -q -m nosuch --method layers --keep 50% 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mprune failed: ' 'nosuch'
    run bash -c 'mprune -q -m nosuch --method layers --keep 50% -o - 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mprune failed: ' 'nosuch'
}
