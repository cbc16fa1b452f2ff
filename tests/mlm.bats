#!/usr/bin/env bats
# mstudent --mlm: masked language models on texts without labels, alone and from a teacher.

load helper

# texts N: N lines of made-up text in which the words before tell much of the next.
texts() {
    awk -v n="$1" 'BEGIN {
        split("raja shahar pani ghar zad nadi dongar rasta", a, " ")
        split("jato yeto pahto baghto dhavto basto lihito gato", b, " ")
        state = 12345
        for (i = 0; i < n; i++) {
            line = ""
            state = state * 16807 % 2147483647
            k = int(state / 1024) % 8
            for (w = 0; w < 5; w++)
                line = line (w ? " " : "") a[1 + (k + w) % 8] " " b[1 + (k + w) % 8]
            print line
        }
    }'
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return 1
    texts 240 > train.txt
    texts 300 | tail -60 > dev.txt
    mtok -q --learn 90 -o vocab.tar train.txt
    mtok -q -m vocab.tar -o train.tok train.txt
    mtok -q -m vocab.tar -o dev.tok dev.txt
    awk 'BEGIN { print "text,label" } { print $0 "," ($1 < "o" ? "early" : "late") }' train.txt > task.csv
    mtok -q -m vocab.tar -o task.tok task.csv
    mstudent -q -j 2 --mlm -m vocab.tar --shape layers=2,hidden=32,heads=4,ffn=64 --epochs 20 --lr 5e-3 \
        --dropout 0 --batch-tokens 256 --dev dev.tok --log log -o language.tar train.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/* .
}

# dev LOG N: the dev cross-entropy of line N of those that have one.
dev() {
    grep -o '"dev_cross_entropy":[0-9.]*' "$1" | sed -n "$2p" | cut -d : -f 2
}

below() {
    awk -v found="$1" -v most="$2" 'BEGIN { exit !(found < most) }' ||
        { echo "found $1, expected less than $2" >&2; return 1; }
}

names() {
    tar xOf "$1" model.safetensors | head -c 16384 | tr -d '\0' | grep -a -o '"[a-zA-Z_.0-9]*"'
}

@test "the loss on masked tokens falls, and what is written is a BertForMaskedLM" {
    below "$(dev log 20)" "$(dev log 1)"
    below "$(dev log 20)" 1 # ln 16 = 2.8 for any of the words
    grep -q '"dev_masked_accuracy":' log
    grep -q '"dev_log_likelihood":-' log
    run tar xOf language.tar config.json
    assert_says '"BertForMaskedLM"'
    case $output in *id2label*) false ;; esac
    run names language.tar
    assert_says '"cls.predictions.transform.dense.weight"' '"cls.predictions.transform.LayerNorm.bias"' \
        '"cls.predictions.bias"'
    case $output in *pooler* | *classifier*) false ;; esac
}

@test "a head that is there goes on learning" {
    mstudent -q -j 2 --mlm -m language.tar --epochs 1 --lr 1e-5 --dev dev.tok --log again.log -o x.tar train.tok
    below "$(dev again.log 1)" "$(awk -v x="$(dev log 20)" 'BEGIN { print x + 0.05 }')"
}

@test "the task comes after it: the head is left out, and a note says so" {
    run mstudent -j 2 -m language.tar --epochs 6 --lr 3e-3 --batch-tokens 256 -o task.tar task.tok
    assert_status 0
    assert_says 'no pooler and classifier' '5 tensors of language.tar left out' 'cls.predictions'
    run bash -c 'set -o pipefail; mscore -q -m task.tar --json task.tok | grep -m 1 -o "\"accuracy\": [0-9.]*"'
    assert_status 0
    below 0.8 "${output##* }"
    # And back: the head starts at random.
    run mstudent -j 2 --mlm -m task.tar --epochs 1 -o back.tar task.tok
    assert_status 0
    assert_says "no masked language model's head" 'left out, no masked language model uses them'
}

@test "labels do not matter, single or several; the same seed writes the same bytes" {
    local common=(-q -j 2 --mlm -m language.tar --epochs 1)
    mstudent "${common[@]}" -o a.tar task.tok
    cut -d , -f 1 task.csv > bare.csv
    mtok -q -m vocab.tar bare.csv | mstudent "${common[@]}" -o b.tar
    mtok -q -m vocab.tar '--multi-label=;' task.csv | mstudent "${common[@]}" -o c.tar
    mstudent "${common[@]}" -o d.tar task.tok
    mstudent "${common[@]}" --seed 1 -o e.tar task.tok
    assert_same a.tar d.tar
    local name
    for name in a b c e; do tar xOf "$name.tar" model.safetensors > "$name.weights"; done
    assert_same a.weights b.weights
    assert_same a.weights c.weights
    run cmp -s a.weights e.weights
    assert_status 1
}

@test "a run that was interrupted ends as one that was not" {
    local common=(-q -j 2 --mlm -m vocab.tar --shape "layers=1,hidden=16,heads=2" --epochs 3 --batch-tokens 256
        --dev dev.tok)
    mstudent "${common[@]}" --log slow.log -o whole.tar train.tok
    rm slow.log
    run bash -c 'mstudent "$@" --checkpoint ck --checkpoint-every 1 --log slow.log -o part.tar train.tok &
        pid=$!
        while ! grep -q . slow.log 2> /dev/null && kill -0 $pid 2> /dev/null; do sleep 0.01; done
        kill -TERM $pid; wait $pid' _ "${common[@]}"
    # Too quick to be stopped is fine, too.
    [ -e part.tar ] || mstudent "${common[@]}" --checkpoint ck --resume --log slow.log -o part.tar train.tok
    assert_same whole.tar part.tar
}

@test "from a teacher: its answers and hidden states; from its layers or from a shape" {
    run mstudent -v -j 2 --mlm -m language.tar --from-layers 1, --teacher language.tar --epochs 4 --lr 3e-3 \
        --kd alpha=0.7,temperature=2,cosine=0.3 --batch-tokens 256 --dev dev.tok --log kd.log -o s.tar train.tok
    assert_status 0
    assert_says 'dev cross-entropy' 'perplexity'
    below "$(dev kd.log 4)" "$(dev kd.log 1)"
    mstudent -q -j 2 --mlm -m language.tar --shape layers=1,hidden=16,heads=2 --teacher language.tar --epochs 4 \
        --lr 3e-3 --batch-tokens 256 --dev dev.tok --log shape.log -o t.tar train.tok
    below "$(dev shape.log 4)" "$(dev shape.log 1)"
    run mstudent --mlm -m language.tar --shape layers=1,hidden=16,heads=2 --teacher language.tar --kd cosine=1 \
        -o x.tar train.tok
    assert_fails '--kd cosine' '32 wide' 16
    mstudent -q -j 2 -m language.tar --epochs 1 -o task.tar task.tok
    run mstudent --mlm -m language.tar --teacher task.tar -o x.tar train.tok
    assert_fails 'task.tar' "no masked language model's head"
}

@test "what needs labels is refused, as is what cannot be masked" {
    local option
    for option in "--class-weights balanced" --ngram "--label-smoothing 0.1" --new-head "--pool mean" --curriculum \
        "--quantise int8" "--shape ngram" "--kd alpha=0.5" "--teacher language.tar --kd hidden=1"; do
        # shellcheck disable=SC2086 # two words
        run mstudent --mlm -m language.tar $option -o x.tar train.tok
        assert_status 2
        assert_says '--mlm'
    done
    run mstudent -m language.tar --teacher language.tar --kd cosine=1 -o x.tar task.tok
    assert_status 2
    assert_says '--kd cosine is for --mlm'
    run mstudent --mlm -m vocab.tar --shape layers=0,hidden=8 -o x.tar train.tok
    assert_fails 'embedding bag'
    run mstudent --mlm -m language.tar --precision fp16 -o x.tar train.tok
    assert_fails 'fp16'
    [ ! -e x.tar ]
}

@test "bf16 products, and a student narrower than its model" {
    run mstudent -j 2 --mlm -m language.tar --precision bf16 --epochs 1 -o x.tar train.tok
    assert_status 0
    run mstudent -j 2 --mlm -m language.tar --hidden 24 --epochs 1 -o y.tar train.tok
    assert_status 0
    assert_says "no masked language model's head"
}
