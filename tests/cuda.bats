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

@test "a build with CUDA holds machine code for each architecture it names, and PTX of the last" {
    promised=$(mscore --version | sed -n 's/.*, cuda \(sm_[sm_0-9 ]*\).*/\1/p')
    [ -n "$promised" ] || skip "this build has no CUDA: $(mscore --version | sed -n 's/.*), //p')"
    command -v cuobjdump objcopy > /dev/null || skip "neither cuobjdump nor objcopy is installed"
    for tool in mtok mteach mprune mstudent mquant mscore; do
        run sh "$MILLET_ROOT/tests/gpu/architectures.sh" "$MILLET_BIN/$tool" "$(sed 's/sm_//g' <<<"$promised")"
        assert_status 0
        assert_says "PTX of compute_${promised##*_}"
    done
}

@test "architectures.sh: a fat binary of two files, one without an architecture, one without PTX" {
    command -v cuobjdump > /dev/null && skip "cuobjdump reads real ones only"
    command -v objcopy > /dev/null || skip "no objcopy"
    # number N BYTES: little-endian, in octal escapes.
    number() {
        local n=$1 i out=
        for ((i = 0; i < $2; i++)); do
            out+=$(printf '\\%03o' $((n & 255)))
            n=$((n >> 8))
        done
        printf '%s' "$out"
    }
    # fat KIND:ARCHITECTURE…: a fat binary of entries of 8 bytes each.
    fat() {
        local entry
        printf '%b' "$(number 0xBA55ED50 4)$(number 1 2)$(number 16 2)$(number $(($# * 72)) 8)"
        for entry; do
            printf '%b' "$(number "${entry%:*}" 2)$(number 257 2)$(number 64 4)$(number 8 8)$(number 0 12)"
            printf '%b' "$(number "${entry#*:}" 4)$(number 0 32)$(number 0 8)"
        done
    }
    fat 2:75 2:90 1:90 > whole
    fat 2:90 1:90 > lacks
    fat 2:75 2:90 > bare
    cat whole lacks > lacks.2
    cat whole bare > bare.2
    cat whole whole > whole.2
    for name in whole.2 lacks.2 bare.2; do
        objcopy -I binary -O elf64-x86-64 --rename-section .data=.nv_fatbin,alloc,load,readonly,data,contents $name $name.o
    done
    run sh "$MILLET_ROOT/tests/gpu/architectures.sh" whole.2.o "75 90"
    assert_status 0
    assert_says "2 files of kernels: sm_75 sm_90, PTX of compute_90"
    run sh "$MILLET_ROOT/tests/gpu/architectures.sh" lacks.2.o "75 90"
    assert_fails "sm_75 in 1 of 2 files"
    run sh "$MILLET_ROOT/tests/gpu/architectures.sh" bare.2.o "75 90"
    assert_fails "PTX of compute_90 in 1 of 2 files"
    run sh "$MILLET_ROOT/tests/gpu/architectures.sh" "$(command -v cat)" 90
    assert_fails "no machine code for sm_90"
}
