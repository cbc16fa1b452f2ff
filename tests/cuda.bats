#!/usr/bin/env bats
# --device cuda: what it says where there is no GPU; and, where the tools of the emulated build are there (make CONFIG=emu
# tools), every stage of a tiny model on the emulator against the CPU.
load helper

# emulated TOOL ARG…: the tool of the emulated build.
emulated() {
    "$MILLET_ROOT/build/emu/bin/$1" "${@:2}"
}

need_emulator() {
    [ -x "$MILLET_ROOT/build/emu/bin/mstudent" ] || skip "no tools of the emulated build (make CONFIG=emu tools)"
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    small_model .
}

# close_tables A B: two tables of predictions name the same records and labels, and numbers differ by 1e-3 at most.
close_tables() {
    paste -d '\t' "$1" "$2" | awk -F '\t' -v files="$1 $2" '{
        half = NF / 2
        for (i = 1; i <= half; i++) {
            a = $i; b = $(i + half)
            number = a ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/
            if (number ? a - b > 1e-3 || b - a > 1e-3 : a != b) {
                print files ": line " NR ": " a " and " b; bad = 1
            }
        }
    } END { exit bad || NR == 0 }' >&2
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

@test "emulated: reasons for which there is no device" {
    need_emulator
    T=$BATS_FILE_TMPDIR
    EMU_DEVICES=0 run emulated mscore --device cuda -m "$T/model.tar" "$T/data.tok"
    assert_fails "no NVIDIA GPU is visible"
    EMU_DRIVER=12080 run emulated mscore --device cuda -m "$T/model.tar" "$T/data.tok"
    assert_fails "update the driver"
    EMU_CAPABILITY=75 run emulated mteach --device cuda --precision bf16 -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "use fp16"
    run emulated mstudent --device cuda --max-memory 100K -m "$T/model.tar" -o out "$T/data.tok"
    assert_fails "out of memory"
    [ ! -e out ]
}

@test "emulated: mscore gives the CPU's table, also in bf16 and fp16; auto takes the GPU and says so" {
    need_emulator
    T=$BATS_FILE_TMPDIR
    mscore --predict --device cpu -m "$T/model.tar" "$T/data.tok" > cpu
    emulated mscore --predict --device cuda -m "$T/model.tar" "$T/data.tok" > cuda
    close_tables cpu cuda
    for precision in bf16 fp16; do
        run emulated mscore --device cuda --precision $precision -m "$T/model.tar" "$T/data.tok"
        assert_status 0
    done
    run --separate-stderr emulated mscore --predict -m "$T/model.tar" "$T/data.tok"
    assert_status 0
    [[ $stderr == *"--device auto: cuda:0, emulated GPU"* ]]
}

@test "emulated: mteach, mstudent and mprune on the GPU end where the CPU ends" {
    need_emulator
    T=$BATS_FILE_TMPDIR
    for device in cpu cuda; do
        emulated mteach --device $device -m "$T/model.tar" -o $device.taught "$T/data.tok"
        emulated mstudent -q -j 1 --device $device -m "$T/model.tar" --kd alpha=0.5 --epochs 1 -o $device.student \
            $device.taught
        emulated mprune -q -j 1 --device $device -m $device.student --method importance --keep 50% -o $device.pruned \
            "$T/data.tok"
        mscore --predict --device cpu -m $device.student "$T/data.tok" > $device.1
        mscore --predict --device cpu -m $device.pruned "$T/data.tok" > $device.2
    done
    close_tables cpu.1 cuda.1
    close_tables cpu.2 cuda.2
}

@test "emulated: fp16 training skips what overflows and learns" {
    need_emulator
    T=$BATS_FILE_TMPDIR
    emulated mstudent -q -j 1 --device cuda --precision fp16 --epochs 2 --log log -m "$T/model.tar" -o out "$T/data.tok"
    grep -q '"loss_scale"' log
    mscore --device cpu -m out "$T/data.tok"
}
