#!/usr/bin/env bats
# --device cuda and its options where there is no GPU. tests/cuda-emu/whole.bats has the stages on the emulator.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    small_model .
}

@test "--device cuda where there is no GPU: the reason, a way out, nothing written" {
    T=$BATS_FILE_TMPDIR
    command -v nvidia-smi > /dev/null && skip "there may be a GPU"
    run mscore --device cuda -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "device cuda:0: " "use --device cpu"
    run mteach --device cuda:1 -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "device cuda:1: " "use --device cpu"
    run mstudent --device cuda -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "device cuda:0: " "use --device cpu"
    run mprune --device cuda -m "$T/model.tar" --method fisher --keep 50% -o out "$T/data.tok"
    assert_fails "device cuda:0: " "use --device cpu"
    [ ! -e out ]
}

@test "--device auto says what it took when it is asked for, and not otherwise" {
    T=$BATS_FILE_TMPDIR
    command -v nvidia-smi > /dev/null && skip "there may be a GPU"
    run --separate-stderr mscore --device auto -m "$T/model.tar" "$T/data.tok"
    assert_status 0
    [[ $stderr == *"--device auto: cpu; device cuda:0: "* ]]
    run --separate-stderr mscore -m "$T/model.tar" "$T/data.tok"
    assert_status 0
    [[ $stderr != *"--device auto"* ]]
}

@test "--max-memory and --precision are of a GPU; sizes are numbers of bytes" {
    T=$BATS_FILE_TMPDIR
    run mscore --device cpu --max-memory 6G -m "$T/model.tar" "$T/data.tok"
    assert_fails "--max-memory limits the memory of a GPU; device cpu is none"
    run mteach --device cpu --precision bf16 -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "--precision bf16: device cpu computes in fp32"
    run mstudent --device cpu --precision tf32 -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "--precision tf32: device cpu has no TF32; it goes with --device cuda"
    run mprune --precision fp16 -m "$T/model.tar" --method fisher --keep 50% -o out "$T/data.tok"
    assert_status 2
    assert_says "use bf16"
    run mprune --precision bf16 -m "$T/model.tar" --method magnitude --keep 50% -o out
    assert_status 2
    assert_says "runs no model"
    for size in 0 -1 6X G 1e99 ""; do
        run mscore --max-memory "$size" -m "$T/model.tar" "$T/data.tok"
        assert_status 2
        assert_says "is not a number of bytes"
    done
    [ ! -e out ]
}
