#!/usr/bin/env bats
# The tools as a production filter: answers as soon as there are any, the same ones with any number of threads, and no
# more threads than the process may use.

load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    small_model .
    mquant -q --to int8 -o int8.tar model.tar
    sed -n '2,$s/,[^,]*$//p' data.csv > lines.txt
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/* .
}

# ask MTOK-OPTION…: the pipe with its input on descriptor 8 and its answers on 9.
ask() {
    mkfifo ask answer
    mtok -q -m model.tar --unbuffered "$@" < ask 3>&- |
        mscore -q -m model.tar --predict --unbuffered > answer 3>&- &
    exec 8> ask 9< answer
}

hang_up() {
    exec 8>&- 9<&-
    wait
}

@test "--unbuffered: a line is answered before the next is written" {
    mtok -q -m model.tar lines.txt | mscore -q -m model.tar --predict > expected.txt
    ask
    while read -r line; do
        printf '%s\n' "$line" >&8
        read -r -t 20 answer <&9 || { hang_up && false; }
        printf '%s\n' "$answer"
    done < lines.txt > answers.txt
    hang_up
    assert_same answers.txt expected.txt
}

@test "--unbuffered: CSV and JSON lines, told by their first line, and a quoted cell over two lines" {
    ask
    printf 'id,text\n' >&8
    printf '1,"राजा\nशहर"\n' >&8
    run read -r -t 20 answer <&9
    assert_status 0
    hang_up
    rm ask answer
    ask
    printf '\n' >&8
    printf '{"text": "राजा शहर"}\n' >&8
    run read -r -t 20 answer <&9
    assert_status 0
    hang_up
}

@test "mtok --unbuffered --ids: a line of ids before the next text" {
    mkfifo ask answer
    mtok -q -m model.tar --unbuffered --ids < ask > answer 3>&- &
    exec 8> ask 9< answer
    for line in "राजा शहर" "पाणी"; do
        printf '%s\n' "$line" >&8
        read -r -t 20 ids <&9 || { hang_up && false; }
        printf '%s\n' "$ids"
    done > ids.txt
    hang_up
    printf '%s\n' "राजा शहर" "पाणी" | mtok -q -m model.tar --ids > expected.txt
    assert_same ids.txt expected.txt
}

@test "--unbuffered: the same records and answers, one to a part" {
    mtok -q -m model.tar --keep-text data.csv > whole.tok
    mtok -q -m model.tar --keep-text --unbuffered < data.csv > single.tok
    [ "$(tar tf single.tok | grep -c part-)" = 60 ]
    mscore -q -m model.tar --predict --text whole.tok > a
    mscore -q -m model.tar --predict --text single.tok > b
    mscore -q -m model.tar --predict --text --unbuffered --top 2 whole.tok > c
    mscore -q -m model.tar --predict --text --top 2 whole.tok > d
    assert_same a b
    assert_same c d
}

@test "without --unbuffered, too, answers come before the input ends" {
    for _ in 1 2 3 4 5 6 7 8 9; do cat lines.txt; done > many.txt # 540: more than a part
    mkfifo ask answer
    mtok -q -m model.tar < ask 3>&- | mscore -q -m model.tar --predict > answer 3>&- &
    exec 8> ask 9< answer
    cat many.txt >&8
    run read -r -t 20 answer <&9
    assert_status 0
    exec 8>&-
    [ "$(wc -l <&9)" -gt 500 ]
    hang_up
}

@test "--unbuffered: what it cannot be meant with" {
    run mtok -m model.tar --unbuffered --new-labels data.csv
    assert_status 2
    assert_says "--unbuffered and --new-labels exclude each other"
    run mtok -m model.tar --unbuffered --decode
    assert_status 2
    assert_says "--unbuffered and --decode exclude each other"
    run mscore -m model.tar --unbuffered data.tok
    assert_status 2
    assert_says "--unbuffered needs --predict"
}

@test "1, 2 and 8 threads give the same predictions, fp32 and int8" {
    for _ in 1 2 3 4 5 6 7 8 9 10; do cat lines.txt; done > many.txt
    for model in model.tar int8.tar; do
        for threads in 1 2 8; do
            mtok -q -j "$threads" -m "$model" many.txt |
                mscore -q -j "$threads" -m "$model" --predict --top 3 > "$threads.txt"
        done
        assert_same 1.txt 2.txt
        assert_same 1.txt 8.txt
    done
}

@test "an affinity mask is respected" {
    first=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//') || skip "no taskset"
    run taskset -c "$first" mscore -q -m model.tar data.tok
    assert_status 0
    assert_says ", 1 thread;"
}

@test "a CPU quota is respected" {
    unshare -rm true 2>&- || skip "no name spaces here"

    mkdir -p root/sys/fs/cgroup/cpu
    echo "100000 100000" > root/sys/fs/cgroup/cpu.max # version 2, and version 1:
    echo 100000 > root/sys/fs/cgroup/cpu/cpu.cfs_quota_us
    echo 100000 > root/sys/fs/cgroup/cpu/cpu.cfs_period_us
    run unshare -rm sh -c 'mount --bind root/sys/fs/cgroup /sys/fs/cgroup && mscore -q -m model.tar data.tok'
    assert_status 0
    assert_says ", 1 thread;"
}

@test "--time --explain: where the time goes, in a table and as JSON" {
    run mscore -q -m int8.tar --baseline model.tar --time --explain --rounds 2 --seconds 0 data.tok
    assert_status 0
    assert_says "operations of the model: 2 passes" "operations of the baseline: 2 passes" "peak here  fp32 " \
        "product, int8" "product, fp32" "attention" "residual and norm" "embedding rows" "between operations"
    run mscore -q -m int8.tar --time --explain --rounds 2 --seconds 0 --tsv data.tok
    assert_status 0
    awk -F '\t' '
        /^model\.explain\.operations\.[0-9]+\.share\t/ { share += $2; rows++ }
        /^model\.explain\.operations\.[0-9]+\.seconds\t/ { seconds += $2 }
        $1 == "model.explain.pass_s" { pass = $2 }
        $1 == "model.explain.peak.fp32_gops_per_s" { peak = $2 }
        END { exit !(rows >= 6 && share > 0.999 && share < 1.1 && seconds > 0.99 * pass && peak > 0) }' <<<"$output"
    run mscore -q -m model.tar --json data.tok
    assert_status 0
    assert_says '"explain": null'
    run mscore -q -m model.tar --explain data.tok
    assert_status 2
    assert_says "--explain needs --time"
}
