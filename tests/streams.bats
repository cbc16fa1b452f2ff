#!/usr/bin/env bats
# Both kinds of stream as a person handles them: listed, concatenated, compressed, split, read with Python, forged, interrupted.

load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    small_model .
    mteach -q -j 1 -m model.tar -o data.taught data.tok
    labelled_rows 30 > half.csv
    mtok -q -m model.tar -o half.tok half.csv
}

setup() {
    enter_scratch
    W=$BATS_FILE_TMPDIR
}

# pack FILE NAME TEXT [NAME TEXT]…: a tar of these members, in this order.
pack() {
    local file=$1 names=()
    shift
    while [ $# -gt 0 ]; do
        printf '%s' "$2" > "$1"
        names+=("$1")
        shift 2
    done
    tar --format=ustar -cf "$file" "${names[@]}"
}

@test "tar lists a stream and shows its header" {
    run tar tf "$W/data.taught"
    assert_status 0
    [ "${lines[0]}" = stream.json ] && [ "${lines[1]}" = part-00000000.safetensors ]
    [ "${lines[-1]}" = end.json ]
    run tar xOf "$W/data.taught" stream.json
    assert_status 0
    assert_says '"kind": "records"' '"tokenizer": "' '"labels": [' '"logits"' '"history": [' '"program": "mtok"' \
        '"program": "mteach"'
    run tar tvf "$W/model.tar"
    assert_status 0
    [ "$(tar tf "$W/model.tar" | tail -n 1)" = millet.json ]
    run tar xOf "$W/model.tar" millet.json
    assert_says '"kind": "model"' '"program": "mstudent"' '"checksums"'
}

@test "streams one after another are a stream" {
    cat "$W/data.tok" "$W/half.tok" > both.tok
    run mscore --json -m "$W/model.tar" both.tok
    assert_status 0
    assert_says '"n": 90'
    mteach -j 1 -m "$W/model.tar" both.tok > from-cat
    mteach -j 1 -m "$W/model.tar" "$W/data.tok" "$W/half.tok" > from-two
    for stream in from-cat from-two; do
        tar xOf $stream part-00000000.safetensors part-00000001.safetensors > $stream.parts
    done
    assert_same from-cat.parts from-two.parts
}

@test "a second stream that is cut short is noticed, and a first one" {
    head -c 3000 "$W/half.tok" > cut
    cat "$W/data.tok" cut > late
    run mscore -m "$W/model.tar" late
    assert_fails "late: is cut short"
    head -c 1024 "$W/data.tok" > begin
    cat begin "$W/half.tok" > early
    run mscore -m "$W/model.tar" early
    assert_fails "early"
}

@test "compressed streams and models are read as they are" {
    for z in gzip zstd xz; do
        command -v $z > /dev/null || continue
        $z -c < "$W/data.tok" > data.$z
        $z -c < "$W/half.tok" >> data.$z
        $z -c < "$W/model.tar" > model.$z
        run --separate-stderr mscore --json -m model.$z data.$z
        assert_status 0
        assert_says '"n": 90'
        run --separate-stderr bash -c 'mscore --json -m "$1" < "$2"' - "$W/model.tar" data.$z
        assert_status 0
        assert_says '"n": 90'
        size=$(wc -c < data.$z)
        head -c $((size - 20)) data.$z > cut.$z
        run mscore -m "$W/model.tar" cut.$z
        assert_fails "cut.$z: is cut short"
    done
}

@test "a model as a directory, a tar, a tar of a directory, and a pipe: the same answers" {
    mkdir dir
    tar xf "$W/model.tar" -C dir
    tar cf of-dir.tar dir
    mscore --predict -m "$W/model.tar" "$W/data.tok" > expected
    for model in dir of-dir.tar; do
        mscore --predict -m $model "$W/data.tok" > found
        assert_same found expected
    done
    cat "$W/model.tar" | mscore --predict -m - "$W/data.tok" > found
    assert_same found expected
}

@test "another version of the format is told from damage" {
    pack new.tok stream.json '{"millet": 2, "kind": "records"}'
    run mscore -m "$W/model.tar" new.tok
    assert_fails "new.tok: stream.json: format version 2; this program reads version 1"
    mkdir dir
    tar xf "$W/model.tar" -C dir
    echo '{"millet": 2}' > dir/millet.json
    run mscore -m dir "$W/data.tok"
    assert_fails "dir: millet.json: format version 2"
}

@test "a header that was edited is noticed" {
    tar xf "$W/data.tok"
    sed -i 's/"sport"/"spurt"/' stream.json
    tar --format=ustar -cf edited.tok stream.json part-00000000.safetensors end.json
    run mscore -m "$W/model.tar" edited.tok
    assert_fails "edited.tok: stream.json: checksum"
}

@test "members missing, out of order or foreign are named" {
    tar xf "$W/data.tok"
    tar --format=ustar -cf noend.tok stream.json part-00000000.safetensors
    run mscore -m "$W/model.tar" noend.tok
    assert_fails "noend.tok: ends without end.json: the program that wrote it stopped early"
    tar --format=ustar -cf nopart.tok stream.json end.json
    run mscore -m "$W/model.tar" nopart.tok
    assert_fails "nopart.tok: end.json: says 1 parts, but 0 came"
    mv part-00000000.safetensors part-00000001.safetensors
    tar --format=ustar -cf gap.tok stream.json part-00000001.safetensors end.json
    run mscore -m "$W/model.tar" gap.tok
    assert_fails "gap.tok: found part-00000001.safetensors where the next part or end.json is expected"
    echo hello > README
    tar --format=ustar -cf foreign.tok stream.json README
    run mscore -m "$W/model.tar" foreign.tok
    assert_fails "foreign.tok: found README"
}

@test "a stream packed again with plain tar is the same stream" {
    tar xf "$W/data.tok"
    tar -cf again.tok stream.json part-00000000.safetensors end.json
    mscore --json -m "$W/model.tar" "$W/data.tok" > expected
    mscore --json -m "$W/model.tar" again.tok > found
    [ "$(grep -c '"n": 60' found)" -ge 1 ]
    grep accuracy expected > a
    grep accuracy found > b
    assert_same a b
}

@test "records of another tokenizer are refused" {
    labelled_rows 40 | sed 's/शहर/गाव/g' > other.csv
    mtok -q --learn 60 -o other.tar other.csv
    mtok -q -m other.tar -o other.tok other.csv
    run mteach -m "$W/model.tar" other.tok
    assert_fails "other.tok" "another tokenizer" "mtok -m"
    cat "$W/data.tok" other.tok > mixed.tok
    run mteach -m "$W/model.tar" -o out mixed.tok
    assert_fails "mixed.tok" "another tokenizer"
    [ ! -e out ]
}

@test "the first cause of a broken pipe comes through, through models too" {
    run --separate-stderr bash -c 'printf "text,label\nx,y\n" | mtok -m "$1" --label nosuch 2> /dev/null |
        mprune -m "$1" --method fisher --keep 50% 2> /dev/null |
        mquant --to fp16 2> first | mscore -m - "$2"' - "$W/model.tar" "$W/data.tok"
    assert_fails "mscore: mtok failed: " nosuch
    grep -q '^mquant: mtok failed: ' first
}

@test "a program killed in the middle of a pipe is noticed" {
    run --separate-stderr bash -c '{ mteach -j 1 -m "$1" "$2" | head -c 3000; } | mscore' - "$W/model.tar" "$W/data.tok"
    assert_fails "mscore: <stdin>: is cut short"
    run --separate-stderr bash -c 'sh -c "kill -9 \$\$" | mscore' - "$W/model.tar"
    assert_fails "mscore: <stdin>: is empty"
}

@test "a header that promises more than there is costs no memory" {
    # 3 GiB as the size of the first part; the checksum of the tar header made to fit
    tar xOf "$W/data.tok" stream.json > stream.json
    : > part-00000000.safetensors
    tar --format=ustar -cf small.tar stream.json part-00000000.safetensors
    at=$(($(tar tRf small.tar | sed -n 's/^block \([0-9]*\): part.*/\1/p') * 512))
    head -c $at small.tar > hostile.tok
    tail -c +$((at + 1)) small.tar | head -c 512 > head
    printf '30000000000' | dd of=head bs=1 seek=124 conv=notrunc status=none
    printf '        ' | dd of=head bs=1 seek=148 conv=notrunc status=none
    sum=$(od -An -v -tu1 head | awk '{ for (i = 1; i <= NF; i++) s += $i } END { print s }')
    printf '%06o\0 ' "$sum" | dd of=head bs=1 seek=148 conv=notrunc status=none
    cat head >> hostile.tok
    head -c 5000 /dev/zero >> hostile.tok
    run bash -c 'ulimit -v 4000000; mscore < hostile.tok'
    [[ $(mscore --version) != *sanitized* ]] || run mscore hostile.tok
    assert_fails "is cut short"
    run bash -c 'cat hostile.tok | mteach -m "$1"' - "$W/model.tar"
    assert_fails "is cut short"
}

@test "examples of millet-stream(5) run" {
    cp "$W/data.tok" train.tok
    cp "$W/half.tok" dev.tok
    mkdir teacher
    tar xf "$W/model.tar" -C teacher
    awk -f "$MILLET_ROOT/tests/man-examples.awk" "$MILLET_ROOT/man/millet-stream.5" > commands
    [ -s commands ]
    run bash -euo pipefail commands
    assert_status 0
    run mscore both.taught
    assert_status 0
}

@test "the Python program of millet-stream(5) reads what the tools wrote" {
    python=${MILLET_PYTHON:-python3}
    "$python" -c 'import safetensors.numpy' 2> /dev/null || skip "no Python with numpy and safetensors"
    awk '/^\.\\" end/ { on = 0 } on && !/^\.[BE]d/ { gsub(/\\&/, ""); gsub(/\\e/, "\\"); print }
         /^\.\\" python/ { on = 1 }' "$MILLET_ROOT/man/millet-stream.5" > read-stream.py
    cat "$W/data.taught" "$W/half.tok" > both.tok
    run "$python" read-stream.py both.tok
    assert_status 0
    [ "$(grep -c '^[0-9]' <<< "$output")" -eq 90 ]
    [ "$(grep -c '^end.json end' <<< "$output")" -eq 2 ]
    mtok -m "$W/model.tar" --ids "$W/data.csv" > ids
    head -n 61 <<< "$output" | grep '^[0-9]' | cut -d ' ' -f 2- > found
    assert_same found ids
}
