#!/usr/bin/env bats
# Vocabulary trimming: mprune --vocab-from and --vocab-size, alone and with a method.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    head -21 data.csv > part.csv
    mtok -m model.tar -o part.tok part.csv
    mtok --learn 220 --algorithm unigram -o unigram.tar data.csv
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? "$BATS_FILE_TMPDIR"/*.csv .
}

# config KEY FILE: a number of config.json.
config() {
    tar xOf "$2" config.json | grep -o "\"$1\": [0-9]*" | grep -o '[0-9]*$'
}

@test "alone: fewer rows, and the same answers to texts of the stream" {
    run --separate-stderr mprune -m model.tar --vocab-from part.tok -o small.tar
    assert_status 0
    assert_says "rows of the word table" "100.000% of the stream's tokens"
    [ "$(config vocab_size small.tar)" -lt "$(config vocab_size model.tar)" ]
    [ "$(stat -Lc %s small.tar)" -lt "$(stat -Lc %s model.tar)" ]
    mscore -q -j 1 -m model.tar --predict part.tok > before
    mtok -q -m small.tar part.csv | mscore -q -j 1 -m small.tar --predict > after
    assert_same before after
    # The words are the same, their numbers are not.
    run bash -c 'set -o pipefail; mtok -q -m small.tar part.csv | mtok -q -m small.tar --decode'
    assert_status 0
    [ "$output" = "$(mtok -q -m model.tar --decode part.tok)" ]
}

@test "no text becomes unknown: characters that never occurred keep their pieces" {
    mprune -q -m model.tar --vocab-from part.tok -o small.tar
    mtok -q -m model.tar --text text --ids data.csv | grep -c '\b1\b' > before || true
    mtok -q -m small.tar --text text --ids data.csv | grep -c '\b1\b' > after || true
    assert_same before after
}

@test "with a method, in one run; a stream of the old tokenizer decides" {
    mprune -q -m model.tar --method layers --keep 50% --vocab-from part.tok --report report.json -o both.tar
    mprune -q -m model.tar --method layers --keep 50% -o one.tar
    mprune -q -m one.tar --vocab-from part.tok -o two.tar
    tar xOf both.tar model.safetensors > a
    tar xOf two.tar model.safetensors > b
    assert_same a b
    run cat report.json
    assert_says '"vocabulary": {' '"method": "layers"'
    mprune -q -j 1 -m model.tar --method fisher --keep 50% --vocab-from part.tok -o half.tar data.tok
    mtok -q -m half.tar part.csv | mscore -q -j 1 -m half.tar --predict > answers
    [ "$(wc -l < answers)" -eq 20 ]
}

@test "--vocab-size: the most frequent, and the least that can be" {
    run mprune -m model.tar --vocab-from part.tok --vocab-size 3 -o small.tar
    assert_fails "a vocabulary of 3 pieces cannot hold what must stay" "the least is"
    [ ! -e small.tar ]
    least=$(echo "$output" | grep -o 'the least is [0-9]*' | grep -o '[0-9]*')
    mprune -q -m model.tar --vocab-from part.tok --vocab-size "$least" -o small.tar
    [ "$(config vocab_size small.tar)" -eq "$least" ]
    mprune -q -m model.tar --vocab-from part.tok --vocab-size $((least + 4)) -o small.tar
    [ "$(config vocab_size small.tar)" -eq $((least + 4)) ]
}

@test "int8 models keep their scales; several streams count together" {
    mquant -q --to int8 model.tar > int8.tar
    mprune -q -m int8.tar --vocab-from part.tok --vocab-from data.tok -o small.tar
    mscore -q -j 1 -m int8.tar --predict data.tok > before
    mtok -q -m small.tar data.csv | mscore -q -j 1 -m small.tar --predict > after
    assert_same before after
}

@test "Unigram: a trimmed model that learns again" {
    mtok -q -m unigram.tar part.csv > u.tok
    mstudent -q -j 1 -m unigram.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 1 -o u.tar u.tok
    mprune -q -m u.tar --vocab-from u.tok -o small.tar
    mscore -q -j 1 -m u.tar --predict u.tok > before
    mtok -q -m small.tar part.csv > small.tok
    mscore -q -j 1 -m small.tar --predict small.tok > after
    assert_same before after
    mstudent -q -j 1 -m small.tar --epochs 1 -o again.tar small.tok
    [ "$(config vocab_size again.tar)" -eq "$(config vocab_size small.tar)" ]
    tar tf again.tar | grep -q millet_vocabulary.json
}

@test "refused: other tokenizers, sizes without streams, --keep without a method" {
    mtok -q -m unigram.tar part.csv > other.tok
    run mprune -m model.tar --vocab-from other.tok -o small.tar
    assert_fails "was made with another tokenizer than"
    run mprune -m model.tar --vocab-size 100 -o small.tar
    assert_status 2
    assert_says "--vocab-size needs --vocab-from"
    run mprune -m model.tar --vocab-from part.tok --keep 50% -o small.tar
    assert_status 2
    assert_says "--keep needs a --method"
    run mprune -m model.tar --vocab-from missing.tok -o small.tar
    assert_fails "missing.tok"
    # What fitted before does not fit now.
    mprune -q -m model.tar --vocab-from part.tok -o small.tar
    run mscore -q -m small.tar --predict part.tok
    assert_fails "tokenizer"
}

@test "mtok --remap: a taught stream in the ids of the trimmed model, logits and all" {
    mteach -q -j 1 -m model.tar -o part.taught part.tok
    mprune -q -m model.tar --vocab-from part.tok -o small.tar
    mtok -q -m small.tar --remap -o small.taught part.taught
    mscore -q -j 1 -m small.tar --predict small.taught > after
    mscore -q -j 1 -m model.tar --predict part.taught > before
    assert_same before after
    tar xOf small.taught part-00000000.safetensors | grep -aq '"logits"'
    mstudent -q -j 1 -m small.tar --kd alpha=0.9,temperature=2 --epochs 1 -o student.tar small.taught
    # The same as tokenising its text anew, but for what the teacher said.
    mtok -q -m small.tar part.csv | mtok -q -m small.tar --decode > text
    run mtok -q -m small.tar --decode small.taught
    assert_status 0
    [ "$output" = "$(cat text)" ]
}

@test "mtok --remap: records with pieces that are gone need their text" {
    head -3 data.csv | mtok -q -m model.tar -o few.tok
    mprune -q -m model.tar --vocab-from few.tok -o small.tar
    run bash -c 'set -o pipefail; mtok -m small.tar --remap data.tok > lost.tok'
    assert_fails "of 60 records hold pieces that are gone, and carry no text" "--keep-text"
    mtok -q -m model.tar --keep-text -o kept.tok data.csv
    run --separate-stderr mtok -m small.tar --remap -o small.tok kept.tok
    assert_status 0
    assert_says "tokenised again"
    mtok -q -m small.tar --keep-text -o fresh.tok data.csv
    [ "$(mscore -q -j 1 -m small.tar --predict small.tok)" = "$(mscore -q -j 1 -m small.tar --predict fresh.tok)" ]
}

@test "mtok --remap: what it refuses" {
    mprune -q -m model.tar --vocab-from part.tok -o small.tar
    run mtok -m model.tar --remap -o x.tok part.tok
    assert_fails "was not trimmed"
    mtok -q -m small.tar -o small.tok part.csv
    run mtok -m small.tar --remap -o x.tok small.tok
    assert_fails "has the trimmed tokenizer's ids already"
    mtok -q -m unigram.tar -o other.tok part.csv
    run mtok -m small.tar --remap -o x.tok other.tok
    assert_fails "is not of the tokenizer that was trimmed"
    run mtok -m small.tar --remap --keep-text part.tok
    assert_status 2
    [ ! -e x.tok ]
}

@test "--vocab-from: ids that the model's words do not reach are refused before they are counted" {
    mtok -q -m unigram.tar -o other.tok part.csv
    run mprune -q -m model.tar --vocab-from other.tok -o x.tar
    assert_fails "mtok -m"
    [ ! -e x.tar ]
}
