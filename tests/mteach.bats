#!/usr/bin/env bats
# mteach: logits, ensembles, the cache.

load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    small_model .
    mstudent -q -j 1 -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 1 --seed 7 \
        -o other.tar data.tok
}

setup() {
    enter_scratch
    W=$BATS_FILE_TMPDIR
}

# member STREAM NAME: a member of a stream.
member() {
    tar xOf "$1" "$2"
}

@test "logits are added and everything else passes through" {
    run mteach -m "$W/model.tar" -o taught "$W/data.tok"
    assert_status 0
    [ "$(tar tf taught)" = "$(tar tf "$W/data.tok")" ]
    member taught stream.json | grep -q '"logits"'
    member taught part-00000000.safetensors | head -c 2000 | grep -aq '"logits":{"dtype":"F32","shape":\[60,3\]'
    run mscore --json taught
    assert_status 0
}

@test "file and pipe, one thread and two, give the same bytes" {
    mteach -j 2 -m "$W/model.tar" "$W/data.tok" > a
    mteach -j 2 -m "$W/model.tar" "$W/data.tok" | cat > b
    assert_same a b
    mteach -j 1 -m "$W/model.tar" "$W/data.tok" > c
    member a part-00000000.safetensors > a.part
    member c part-00000000.safetensors > c.part
    assert_same a.part c.part
}

@test "logits that are there already are replaced" {
    mteach -m "$W/other.tar" -o first "$W/data.tok"
    mteach -m "$W/model.tar" -o second first
    mteach -m "$W/model.tar" -o direct "$W/data.tok"
    member second part-00000000.safetensors > a
    member direct part-00000000.safetensors > b
    assert_same a b
}

@test "the cache: a second run computes nothing and writes the same bytes" {
    run --separate-stderr mteach -v -m "$W/model.tar" --cache cache -o a "$W/data.tok"
    assert_status 0
    assert_says "60 records; logits: cached 0, computed 60"
    cp a first
    run --separate-stderr mteach -v -m "$W/model.tar" --cache cache -o a "$W/data.tok"
    assert_status 0
    assert_says "60 records; logits: cached 60, computed 0"
    assert_same first a
}

@test "the cache knows content: other order, repeated records, other teachers" {
    mteach -q -m "$W/model.tar" --cache cache -o /dev/null "$W/data.tok"
    { head -n 1 "$W/data.csv"; tail -n +2 "$W/data.csv" | sort -r; } > turned.csv
    mtok -m "$W/vocab.tar" -o turned.tok turned.csv
    run mteach -v -m "$W/model.tar" --cache cache -o turned.taught turned.tok
    assert_status 0
    assert_says "cached 60, computed 0"
    mteach -m "$W/model.tar" -o fresh.taught turned.tok
    member turned.taught part-00000000.safetensors > a
    member fresh.taught part-00000000.safetensors > b
    assert_same a b

    run mteach -v -m "$W/other.tar" --cache cache -o /dev/null "$W/data.tok"
    assert_status 0
    assert_says "cached 0, computed 60"

    { cat "$W/data.csv"; tail -n +2 "$W/data.csv"; } > twice.csv
    mtok -m "$W/vocab.tar" -o twice.tok twice.csv
    run mteach -v -m "$W/model.tar" --cache new -o /dev/null twice.tok
    assert_status 0
    assert_says "120 records; logits: cached 60, computed 60"
}

@test "an ensemble finds its members' logits in the cache, and is their mean" {
    mteach -q -m "$W/model.tar" --cache cache -o one "$W/data.tok"
    mteach -q -m "$W/other.tar" --cache cache -o other "$W/data.tok"
    run mteach -v -m "$W/model.tar" -m "$W/other.tar" --cache cache -o both "$W/data.tok"
    assert_status 0
    assert_says "cached 120, computed 0"
    for s in one other both; do mscore --predict --top 3 "$s" > "$s.txt"; done
    # label TAB probability, three times a record; compare by label.
    paste one.txt other.txt both.txt | awk -F '\t' '
        {
            for (i = 1; i <= 6; i += 2) { a[$i] = $(i + 1); b[$(i + 6)] = $(i + 7); c[$(i + 12)] = $(i + 13) }
            for (l in a) { d = (a[l] + b[l]) / 2 - c[l]; if (d > 0.0002 || d < -0.0002) bad = 1 }
        }
        END { exit bad || NR != 60 }'
}

@test "several streams, and streams glued together, become one" {
    mteach -m "$W/model.tar" -o a "$W/data.tok" "$W/data.tok"
    cat "$W/data.tok" "$W/data.tok" > glued
    mteach -m "$W/model.tar" -o b glued
    member a part-00000001.safetensors > a.part
    member b part-00000001.safetensors > b.part
    assert_same a.part b.part
    run bash -c "tar xOf a end.json | tr -d ' \n'"
    assert_says '"records":120'
}

@test "two processes share a cache" {
    labelled_rows 3000 > big.csv
    mtok -m "$W/vocab.tar" -o big.tok big.csv
    mteach -q -j 1 -m "$W/model.tar" --cache cache -o a big.tok &
    mteach -q -j 1 -m "$W/model.tar" --cache cache -o b big.tok
    wait $!
    member a part-00000000.safetensors > a.part
    member b part-00000000.safetensors > b.part
    assert_same a.part b.part
}

@test "killed at any moment, the cache is sound and keeps what was done" {
    labelled_rows 20000 > big.csv
    mtok -m "$W/vocab.tar" -o big.tok big.csv
    mteach -q -j 1 -m "$W/model.tar" -o expected big.tok
    for i in 1 2 3; do
        mteach -q -j 1 -m "$W/model.tar" --cache cache -o taught big.tok &
        pid=$!
        sleep "0.$((i * 2))"
        kill -9 "$pid" 2> /dev/null || :
        wait "$pid" 2> /dev/null || :
    done
    run mteach -v -j 1 -m "$W/model.tar" --cache cache -o taught big.tok
    assert_status 0
    [[ $output != *"cached 0,"* ]]
    # The arguments differ, so only the parts are equal.
    tar xOf expected --wildcards 'part-*' > a
    tar xOf taught --wildcards 'part-*' > b
    assert_same a b
}

@test "a stream of another tokenizer is refused" {
    mtok --learn 90 -o vocab.tar "$W/data.csv"
    mtok -m vocab.tar -o foreign.tok "$W/data.csv"
    run mteach -m "$W/model.tar" -o out foreign.tok
    assert_fails mteach foreign.tok tokenizer
    [ ! -e out ]
}

@test "a stream with other labels is refused" {
    mkdir other
    tar xf "$W/vocab.tar" -C other
    rm -f other/millet.json
    sed -i 's/"film"/"theatre"/' other/config.json
    sed 's/,film$/,theatre/' "$W/data.csv" > other.csv
    mtok -m other -o other.tok other.csv
    run mteach -m "$W/model.tar" -o out other.tok
    assert_fails mteach theatre
    [ ! -e out ]
}

@test "a record longer than the teacher's positions is refused with its number" {
    mkdir short
    tar xf "$W/model.tar" -C short
    rm -f short/millet.json
    n=$(grep -o '"max_position_embeddings": *[0-9]*' short/config.json | grep -o '[0-9]*$')
    awk -v n="$n" 'BEGIN { print "text"; print "राजा"; for (i = 0; i < n; i++) printf "राजा "; print "" }' > long.csv
    mtok -m "$W/vocab.tar" --max-tokens "$((n + 1))" -o long.tok long.csv
    run mteach -m "$W/model.tar" -o out long.tok
    assert_fails long.tok "record 2" "at most $n"
}

@test "no model, two things on standard input: wrong usage" {
    run mteach "$W/data.tok"
    assert_status 2
    assert_says "-m"
    run mteach -m - < "$W/model.tar"
    assert_status 2
    assert_says "standard input"
    run mteach -m "$W/model.tar" --cach
    assert_status 2
}

@test "the model may come from standard input, compressed" {
    gzip -c "$W/model.tar" > model.tar.gz
    mteach -m - "$W/data.tok" < model.tar.gz > a
    mteach -m "$W/model.tar" "$W/data.tok" > b
    member a part-00000000.safetensors > a.part
    member b part-00000000.safetensors > b.part
    assert_same a.part b.part
}

@test "in a pipe, the last tool shows the first cause" {
    run bash -c "mteach -m nowhere.tar '$W/data.tok' | mscore -"
    assert_status 1
    [ "$(grep -c 'nowhere.tar' <<< "$output")" -ge 2 ]
    run --separate-stderr bash -c "printf 'no stream at all' | mteach -m '$W/model.tar' 2>/dev/null | mscore -"
    assert_status 1
    assert_says mteach "<stdin>"
}

@test "a cache that is no cache, or cannot be written, is refused by name" {
    printf 'not a database, but long enough to look at %4096s' x > junk
    cp junk before
    run mteach -m "$W/model.tar" --cache junk -o out "$W/data.tok"
    assert_fails junk
    assert_same junk before
    [ ! -e out ]
    run mteach -m "$W/model.tar" --cache nowhere/cache -o out "$W/data.tok"
    assert_fails nowhere/cache
}

@test "the cache is not the output, the stream or the model" {
    for file in out "$W/data.tok" "$W/model.tar"; do
        run mteach -m "$W/model.tar" --cache "$file" -o out "$W/data.tok"
        assert_status 2
        assert_says --cache
        [ ! -e out ]
    done
}

@test "a pytorch_model.bin that PyTorch did not write is refused by name" {
    mkdir old
    tar xf "$W/model.tar" -C old
    rm old/model.safetensors old/millet.json
    : > old/pytorch_model.bin
    run mteach -m old -o out "$W/data.tok"
    assert_fails "old: pytorch_model.bin: is no file of torch.save"
    [ ! -e out ]
}
