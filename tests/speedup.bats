#!/usr/bin/env bats
# mprune --speedup: what is reported and kept. Nothing here asserts a time.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    mstudent -q -j 1 -m vocab.tar --shape layers=3,hidden=64,heads=4,ffn=256 --epochs 1 \
        -o deep.tar data.tok
    export XDG_CACHE_HOME=$PWD/cache # costs are measured once, for seconds; who asks how has a cache of its own
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR/data.csv" .
}

# On a busy machine times are noise, and any factor may seem out of reach: then nothing can be tested here.
timed_well() {
    [[ $status -eq 0 || "$output${stderr:-}" != *"cannot be met"* ]] || skip "this machine is too busy to time anything"
}

# What a tool says, with its costs measured anew when they are of no use.
run_timed() {
    run --separate-stderr "$@"
    [ "$status" -eq 0 ] || run --separate-stderr "$@" --remeasure
    timed_well
}

@test "fisher: the model is smaller; asked, predicted and timed are reported" {
    run_timed mprune -j 1 -m deep.tar --method fisher --speedup 1.5x \
        --report report.json -o fast.tar data.tok
    assert_status 0
    assert_says 'asked to be 1.5 times as fast; predicted'
    [ "$(stat -c %s fast.tar)" -lt "$(stat -Lc %s deep.tar)" ]
    for key in speedup predicted_speedup measured_speedup; do
        grep -q "\"$key\": [0-9]" report.json
    done
    run mscore -q -j 1 -m fast.tar --predict data.tok
    assert_status 0
    [ "${#lines[@]}" -eq 60 ]
}

@test "the table of costs is kept, explained, and measured anew when asked or damaged" {
    export XDG_CACHE_HOME=$PWD/cache
    run mprune -j 1 -m deep.tar --method fisher --speedup 1.2x --explain --dry-run data.tok
    timed_well
    assert_status 0
    assert_says 'measured now, kept in' 'more for neurons:' 'another layer of one head'
    run ls cache/millet
    [ "${#lines[@]}" -eq 1 ]
    [[ "$output" == latency-*.json ]]
    run mprune -j 1 -m deep.tar --method fisher --speedup 1.2x --explain --dry-run data.tok
    timed_well
    assert_says 'read from'
    run mprune -j 1 -m deep.tar --method fisher --speedup 1.2x --explain --remeasure \
        --dry-run data.tok
    timed_well
    assert_says 'measured now, kept in'
    echo '{}' > "$(echo cache/millet/*)"
    run mprune -j 1 -m deep.tar --method fisher --speedup 1.2x --explain --dry-run data.tok
    timed_well
    assert_status 0
    assert_says 'measured now, kept in'
}

@test "layers: fewer of them" {
    run_timed mprune -j 1 -m deep.tar --method layers --speedup 1.6x --explain -o fast.tar
    assert_status 0
    assert_says 'another layer' 'asked to be 1.6'
    [ "$(stat -c %s fast.tar)" -lt "$(stat -Lc %s deep.tar)" ]
}

@test "a speed that cannot be met says the nearest" {
    run mprune -j 1 -m deep.tar --method fisher --speedup 900x --dry-run data.tok
    assert_status 1
    assert_says 'cannot be met' 'one head and one neuron in each layer' 'ask for at most' 'or drop layers first'
    run mprune -j 1 -m deep.tar --method layers --speedup 900x --dry-run
    assert_status 1
    assert_says 'cannot be met' 'one layer, is' 'ask for at most' 'or cut heads and neurons as well'
}

@test "what does not go together is refused" {
    run mprune -m deep.tar --method layers --speedup 2x --keep 50%
    assert_status 2
    assert_says '--keep and --speedup both'
    run mprune -m deep.tar --method layers --speedup 2x --which 0,1
    assert_status 2
    assert_says 'drop --speedup'
    run mprune -m deep.tar --method layers --keep 50% --explain
    assert_status 2
    assert_says '--explain needs --speedup'
    for factor in 0.5 x two 2y 1e9; do
        run mprune -m deep.tar --method layers --speedup "$factor"
        assert_status 2
        assert_says "\"$factor\" is not a factor"
    done
}

@test "second-order: also for a speed" {
    run_timed mprune -j 1 -m deep.tar --method second-order --speedup 1.3x -o fast.tar data.tok
    assert_status 0
    assert_says 'asked to be 1.3 times as fast'
    [ "$(stat -c %s fast.tar)" -lt "$(stat -Lc %s deep.tar)" ]
}
