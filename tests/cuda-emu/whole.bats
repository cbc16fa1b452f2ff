#!/usr/bin/env bats
# Every stage of a tiny model on the emulated GPU against the CPU, by the tools of the emulated build; `make check-emu`
# names them in MILLET_BIN.
load ../helper
load close
export MILLET_DEVICE=cpu # where a test does not say

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    small_model .
    mteach -q -m model.tar -o data.taught data.tok
    mtok -q -m vocab.tar --ngrams -o grams.tok data.csv
    mstudent -q -m model.tar --epochs 0 --ngram -o hybrid.tar grams.tok
    mquant -q --to int8 -o int8.tar model.tar
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* .
}

# losses FILE: what each step of a log lost.
losses() {
    grep -o '"loss":[0-9.e-]*' "$1" | cut -d : -f 2
}

# close_losses A B TOLERANCE: the logs have as many steps, and the losses of step N differ by N times TOLERANCE at most:
# a step begins with weights in which the roundings of all before it have added up.
close_losses() {
    losses "$1" > losses.1
    losses "$2" > losses.2
    paste -d ' ' losses.1 losses.2 | awk -v most="$3" '{
        if (NF != 2 || $1 - $2 > most * NR || $2 - $1 > most * NR) { print "step " NR ": " $0; bad = 1 }
    } END { exit bad || NR < 4 }' >&2
}

# Roundings of floats: sums of at most 64 terms through some 30 operations, 2^-24 each, are 1e-5 apart at most; Adam
# turns differences of gradients that are about 0 into steps, but those hardly move the loss.
ROUNDING=1e-5

# learn DEVICE NAME TOOL OPTION…: six steps of training, to NAME.log and NAME.tar.
learn() {
    "$3" -q -j 1 --device "$1" --epochs 2 --batch-tokens 256 --log "$2.log" -o "$2.tar" "${@:4}"
}

# repeats NAME TOOL OPTION…: the same on the GPU gives the bytes of NAME.tar (which names its command, files and all).
repeats() {
    mkdir again
    ln -s "$BATS_FILE_TMPDIR"/*.t* again
    (cd again && learn cuda "$@")
    assert_same "$1.tar" "again/$1.tar"
}

@test "reasons for which there is no device" {
    EMU_DEVICES=0 run mscore --device cuda -m model.tar data.tok
    assert_fails "no NVIDIA GPU is visible"
    EMU_DRIVER=12080 run mscore --device cuda -m model.tar data.tok
    assert_fails "update the driver"
    EMU_CAPABILITY=75 run mteach --device cuda --precision bf16 -m model.tar -o out data.tok
    assert_fails "use fp16"
    EMU_CAPABILITY=75 run mteach --device cuda --precision tf32 -m model.tar -o out data.tok
    assert_fails "products in tf32 need 8.0 or newer: use fp32 or fp16"
    run mstudent --device cuda --max-memory 100K -m model.tar -o out data.tok
    assert_fails "training needs" "of memory on cuda:0" "no --batch-tokens makes it fit"
    [ ! -e out ]
    local tool
    for tool in mscore "mteach -o out"; do
        # shellcheck disable=SC2086 # words
        run $tool --device cuda --max-memory 20K -m model.tar data.tok
        assert_fails "of memory on cuda:0" "for its weights" "mquant"
        [ ! -e out ]
    done
}

@test "pruning with too little memory says so before its pass, and writes nothing" {
    local method
    for method in fisher importance second-order "layers --which search"; do
        # shellcheck disable=SC2086 # words
        run mprune --device cuda --max-memory 450K -m model.tar --method $method --keep 50% -o out data.tok
        assert_fails "room for a batch of" "MB more are needed" "MB are free" "try a smaller --batch-tokens"
        # shellcheck disable=SC2086 # words
        run mprune --device cuda --max-memory 30K -m model.tar --method $method --keep 50% -o out data.tok
        assert_fails "MB more are needed" "or a smaller model"
    done
    [ ! -e out ]
}

@test "--precision tf32 is asked of products, and told" {
    mscore --predict --device cuda -m model.tar data.tok > fp32
    run --separate-stderr mscore -v --predict --device cuda --precision tf32 -m model.tar data.tok
    assert_status 0
    [[ $stderr == *"emulated GPU"*", tf32, own kernels"* ]]
    [[ $output != "$(< fp32)" ]]
}

@test "a checkpoint of fp32 is not gone on from in tf32, nor the other way" {
    local go=(mstudent -q -j 1 --device cuda --epochs 4 --batch-tokens 256 --checkpoint state -m model.tar -o out.tar)
    EMU_FAIL_LAUNCH=400 run "${go[@]}" --checkpoint-every 1 data.tok
    assert_fails "launched last"
    run "${go[@]}" --resume --precision tf32 data.tok
    assert_fails 'state: is of another run: --precision was "fp32", now it is "tf32"'
    rm state
    EMU_FAIL_LAUNCH=400 run "${go[@]}" --checkpoint-every 1 --precision tf32 data.tok
    assert_fails "launched last"
    run "${go[@]}" --resume data.tok
    assert_fails 'state: is of another run: --precision was "tf32", now it is "fp32"'
    "${go[@]}" --resume --precision tf32 data.tok
}

@test "mscore gives the CPU's table, also in bf16 and fp16; auto takes the GPU and says so" {
    mscore --predict -m model.tar data.tok > cpu
    mscore --predict --device cuda -m model.tar data.tok > cuda
    close_tables cpu cuda
    for precision in bf16 fp16; do
        run mscore --device cuda --precision $precision -m model.tar data.tok
        assert_status 0
    done
    run --separate-stderr mscore --predict --device auto -m model.tar data.tok
    assert_status 0
    [[ $stderr == *"--device auto: cuda:0, emulated GPU"* ]]
}

@test "int8 models and hybrids with n-grams: the CPU's tables" {
    for model in int8 hybrid; do
        mscore --predict -m $model.tar grams.tok > cpu
        mscore --predict --device cuda -m $model.tar grams.tok > cuda
        close_tables cpu cuda
    done
    mteach -q --device cuda -m hybrid.tar -o cuda.taught grams.tok
    mteach -q -m hybrid.tar -o cpu.taught grams.tok
    [ "$(stat -c %s cpu.taught)" = "$(stat -c %s cuda.taught)" ]
}

@test "fine-tuning: the CPU's losses; the same seed gives the same bytes" {
    for device in cpu cuda; do
        learn $device $device mstudent --log-every 1 -m model.tar data.tok
    done
    close_losses cpu.log cuda.log $ROUNDING
    repeats cuda mstudent --log-every 1 -m model.tar data.tok
    mscore --predict -m cpu.tar data.tok > a
    mscore --predict -m cuda.tar data.tok > b
    close_tables a b
}

@test "distilling logits and a teacher's states: the CPU's losses" {
    for device in cpu cuda; do
        learn $device $device mstudent --log-every 1 -m model.tar --kd alpha=0.5,temperature=2 data.taught
        learn $device $device-states mstudent --log-every 1 -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=24 \
            --teacher model.tar --kd alpha=0.5,hidden=1,relations=1 data.taught
    done
    close_losses cpu.log cuda.log $ROUNDING
    close_losses cpu-states.log cuda-states.log $ROUNDING
}

@test "masked language models and hybrids learn as on the CPU" {
    for device in cpu cuda; do
        learn $device $device-mlm mstudent --log-every 1 -m model.tar --mlm data.tok
        learn $device $device-hybrid mstudent --log-every 1 -m hybrid.tar grams.tok
        learn $device $device-int8 mstudent --log-every 1 -m model.tar --quantise int8 data.tok
    done
    close_losses cpu-mlm.log cuda-mlm.log $ROUNDING
    close_losses cpu-hybrid.log cuda-hybrid.log $ROUNDING
    # A weight that lies between two of int8 may be rounded to the other one: 1/254 of its row's largest.
    close_losses cpu-int8.log cuda-int8.log 1e-3
}

# Five epochs, so that pruning does not begin after the first step: Adam has then made all scores equal but for their
# sign and for roundings, which would choose other blocks on the GPU than on the CPU.
@test "movement pruning: the CPU's losses and answers, and as much stays; the same seed gives the same bytes" {
    for device in cpu cuda; do
        learn $device $device mprune -m model.tar --method movement --block 8x8 --mask threshold --lambda 1 --epochs 5 \
            data.tok
        mscore --predict -m $device.tar data.tok > $device.table
        learn $device $device-half mprune -m model.tar --method movement --block 8x8 --keep 50% --epochs 5 \
            --report $device.json data.tok
        grep '"kept"' $device.json > $device.kept
    done
    close_losses cpu.log cuda.log 4e-5 # a line is of some steps
    close_losses cpu-half.log cuda-half.log 4e-5
    close_tables cpu.table cuda.table
    assert_same cpu.kept cuda.kept
    repeats cuda-half mprune -m model.tar --method movement --block 8x8 --keep 50% --epochs 5 \
        --report cuda.json data.tok
}

@test "pruning by fisher, importance, second-order and layers: what stays answers as on the CPU" {
    for method in fisher importance second-order; do
        for device in cpu cuda; do
            mprune -q -j 1 --device $device -m model.tar --method $method --keep 50% --report $device.json \
                -o $device.tar data.tok
            mscore --predict -m $device.tar data.tok > $device
        done
        close_tables cpu cuda
    done
    for device in cpu cuda; do
        mprune -q -j 1 --device $device -m model.tar --method layers --which search --keep 50% -o $device.tar data.tok
        mscore --predict -m $device.tar data.tok > $device
    done
    close_tables cpu cuda
}

@test "the whole pipeline: taught, distilled and pruned on the GPU as on the CPU" {
    for device in cpu cuda; do
        mteach --device $device -m model.tar -o $device.taught data.tok
        mstudent -q -j 1 --device $device -m model.tar --kd alpha=0.5 --epochs 1 -o $device.student $device.taught
        mprune -q -j 1 --device $device -m $device.student --method importance --keep 50% -o $device.pruned data.tok
        mscore --predict -m $device.student data.tok > $device.1
        mscore --predict -m $device.pruned data.tok > $device.2
    done
    close_tables cpu.1 cuda.1
    close_tables cpu.2 cuda.2
}

@test "bf16, fp16 and tf32: losses near those of fp32; fp16 scales them, and repeats its bytes" {
    learn cuda fp32 mstudent --log-every 1 -m model.tar data.tok
    for precision in bf16 fp16 tf32; do
        learn cuda $precision mstudent --log-every 1 --precision $precision -m model.tar data.tok
    done
    # A rounding of bf16 is 2^-9, of fp16 and tf32 2^-12; some of them meet in each logit.
    close_losses fp32.log bf16.log 2e-2
    close_losses fp32.log fp16.log 3e-3
    close_losses fp32.log tf32.log 3e-3
    grep -q '"loss_scale"' fp16.log
    repeats fp16 mstudent --log-every 1 --precision fp16 -m model.tar data.tok
}

@test "a launch that fails ends training: the operation is named, the last checkpoint can be gone on from" {
    EMU_FAIL_LAUNCH=400 run mstudent -q -j 1 --device cuda --epochs 4 --batch-tokens 256 --checkpoint state \
        --checkpoint-every 1 -m model.tar -o out.tar data.tok
    assert_fails "cuda:0" "launched last"
    [ ! -e out.tar ]
    [ -e state ]
    mstudent -q -j 1 --device cuda --epochs 4 --batch-tokens 256 --checkpoint state --resume -m model.tar \
        -o out.tar data.tok
    mstudent -q -j 1 --device cuda --epochs 4 --batch-tokens 256 -m model.tar -o whole.tar data.tok
    assert_same out.tar whole.tar
}
