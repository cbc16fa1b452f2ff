#!/usr/bin/env bats
# mprune --method layers --which search: layers dropped by trying.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m vocab.tar --shape layers=4,hidden=32,heads=4,ffn=64 --epochs 2 \
        -o deep.tar data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR/data.csv" .
}

search() {
    mprune -q -j 1 -m deep.tar --method layers --which search "$@"
}

# dropped FILE, kept FILE: layers of a report, on one line. What was dropped comes with a loss, what
# is kept with heads.
dropped() {
    tr -d '\n ' < "$1" | grep -o '"layer":[0-9]*,"loss":[0-9.]*' | grep -o '^"layer":[0-9]*' | grep -o '[0-9]*' |
        paste -sd ' '
}

kept() {
    tr -d '\n ' < "$1" | grep -o '"layer":[0-9]*,"heads"' | grep -o '[0-9]*' | paste -sd ' '
}

@test "what went is not kept, and every drop tells its loss" {
    search --keep 50% --report report.json -o half.tar data.tok
    run cat report.json
    assert_says '"which": "search"' '"samples": 60' '"taught": false'
    [ "$(dropped report.json | wc -w)" -eq 2 ]
    [ "$(echo "$(dropped report.json) $(kept report.json)" | tr ' ' '\n' | sort | paste -sd ' ')" = "0 1 2 3" ]
    run tar xOf half.tar config.json
    assert_says '"num_hidden_layers": 2'
    run mscore -q -j 1 -m half.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "the first drops are the same however many follow, and a list of what is left is the same model" {
    search --keep 75% --report one.json -o three.tar data.tok
    search --keep 1% --report all.json -o one.tar data.tok
    [[ "$(dropped all.json)" == "$(dropped one.json) "* ]]
    [ "$(dropped all.json | wc -w)" -eq 3 ]
    mprune -q -m deep.tar --method layers --which "$(kept one.json | tr ' ' ,)" -o list.tar
    tar xOf three.tar model.safetensors > a
    tar xOf list.tar model.safetensors > b
    assert_same a b
}

@test "the same bytes twice, from files and pipes; --samples is a limit" {
    search --keep 50% --samples 20 --seed 3 --report a.json -o one.tar data.tok
    search --keep 50% --samples 20 --seed 3 --report a.json < data.tok | cat > two.tar
    assert_same one.tar two.tar
    grep -q '"samples": 20' a.json
}

@test "a stream without labels serves when a teacher has answered" {
    cut -d, -f1 data.csv | tail -n +2 > lines.txt
    mtok -q -m deep.tar --format plain -o unlabelled.tok lines.txt
    run mprune -m deep.tar --method layers --which search --keep 50% -o x.tar unlabelled.tok
    assert_fails 'label' 'mteach'
    [ ! -e x.tar ]
    mteach -q -j 1 -m deep.tar -o taught unlabelled.tok
    search --keep 50% --report report.json -o x.tar taught
    grep -q '"taught": true' report.json
}

@test "int8 models are searched, too" {
    mquant -q --to int8 -o small.tar deep.tar
    run mprune -q -j 1 -m small.tar --method layers --which search --keep 50% -o x.tar data.tok
    assert_status 0
    run mscore -q -j 1 -m x.tar --predict data.tok
    assert_status 0
}

@test "an embedding bag has no layers to try" {
    mstudent -q -j 1 -m vocab.tar --shape layers=0,hidden=32 --epochs 1 -o bag.tar data.tok
    run mprune -m bag.tar --method layers --which search --keep 50% -o x.tar data.tok
    assert_fails 'embedding bag'
}
