#!/usr/bin/env bats
# A bf16 model in every instruction set: products of bf16 by bf16 where the processor has them.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR"
    mquant -q --to bf16 -o bf16.tar model.tar
    mquant -q --to int8 -o int8.tar model.tar
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? .
}

has_set() {
    MILLET_ISA=$1 mscore --version | grep -q "own kernels $1[;,]"
}

# answers MODEL SET: label and probability of all classes, a line for each text.
answers() {
    MILLET_ISA=$2 mscore -q -j 1 -m "$1" --predict --top 3 data.tok
}

# Each product is off by a part of 2^-9 of what it adds up; a probability by that times the logits'
# size and the rounding of what is printed: 0.02 is ten times what this model shows.
close_probabilities() {
    paste "$1" "$2" | awk '{
        for (i = 1; i <= NF / 2; i++)
            if ($i ~ /^[a-z]/) first[$i] = $(i + 1)
        for (i = NF / 2 + 1; i <= NF; i++)
            if ($i ~ /^[a-z]/) {
                off = first[$i] - $(i + 1); if (off < 0) off = -off
                if (off > 0.02) exit 1
                n++
            }
    }
    END { if (n == 0) exit 1 }'
}

@test "a bf16 model answers alike in all sets, the same bytes each time" {
    answers bf16.tar portable > portable.out
    for set in avx2 avx512 avx512bf16; do
        has_set $set || continue
        answers bf16.tar $set > $set.out
        close_probabilities portable.out $set.out
        answers bf16.tar $set > again.out
        assert_same $set.out again.out
    done
}

@test "avx512bf16 is avx512 for fp32 and int8 models" {
    has_set avx512bf16 || skip "the processor has no AVX512_BF16"
    for model in model int8; do
        answers $model.tar avx512 > plain.out
        answers $model.tar avx512bf16 > bf16.out
        assert_same plain.out bf16.out
    done
}
