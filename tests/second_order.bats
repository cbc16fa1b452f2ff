#!/usr/bin/env bats
# mprune --method second-order: smaller, and what stays is adjusted.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m vocab.tar --shape layers=2,hidden=32,heads=4,ffn=64 --epochs 3 \
        -o deep.tar data.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR/data.csv" .
}

@test "second-order: heads and neurons are gone, the budget is kept, the model answers" {
    run --separate-stderr mprune -j 2 -m deep.tar --method second-order --keep 50% \
        --report report.json -o half.tar data.tok
    assert_status 0
    [ "$(stat -c %s half.tar)" -lt "$(stat -Lc %s deep.tar)" ]
    grep -q '"method": "second-order"' report.json
    share=$(grep -o '"kept": [0-9.]*' report.json | grep -o '[0-9.]*$')
    awk -v s="$share" 'BEGIN { exit !(s > 0.4 && s <= 0.5) }'
    run mscore -q -j 1 -m half.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "second-order: by variance labels are not needed" {
    cut -d, -f1 data.csv | tail -n +2 > texts.txt
    mtok -q -m deep.tar texts.txt > unlabelled.tok
    mprune -q -j 1 -m deep.tar --method second-order --sensitivity variance --keep 50% \
        -o a.tar unlabelled.tok
    run mscore -q -j 1 -m a.tar --predict data.tok
    assert_status 0
}

@test "second-order: texts that are nearly the same, whose sums are off by more than they vary" {
    for text in film money film money film sport; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do echo "$text"; done
    done > texts.txt
    mtok -q -m deep.tar texts.txt > same.tok
    mprune -q -j 1 -m deep.tar --method second-order --sensitivity variance --keep 50% \
        -o a.tar same.tok
    run mscore -q -j 1 -m a.tar --predict data.tok
    assert_status 0
}

@test "second-order: layers weighed by gradients, for which there must be labels" {
    mprune -q -j 1 -m deep.tar --method second-order --sensitivity gradients --keep 50% \
        --report report.json data.tok > a.tar
    grep -q '"sensitivity": "gradients"' report.json
    run mscore -q -j 1 -m a.tar --predict data.tok
    assert_status 0
    run mprune -m deep.tar --method second-order --sensitivity none --keep 50% data.tok
    assert_status 2
    assert_says '"none" is not variance or gradients'
    run mprune -m deep.tar --method fisher --sensitivity gradients --keep 50% data.tok
    assert_status 2
    assert_says '--sensitivity needs --method second-order'
}

@test "second-order: the same bytes twice" {
    mprune -q -j 2 -m deep.tar --method second-order --keep 40% data.tok > a.tar
    mprune -q -j 2 -m deep.tar --method second-order --keep 40% data.tok > b.tar
    assert_same a.tar b.tar
}

@test "second-order: codes cannot be adjusted" {
    mquant -q --to int8 deep.tar > int8.tar
    run mprune -q -m int8.tar --method second-order --keep 50% -o x.tar data.tok
    assert_status 1
    assert_says 'prune before mquant'
    [ ! -e x.tar ]
}
