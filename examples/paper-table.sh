#!/bin/sh
# usage: paper-table.sh MODEL TRAIN.csv DEV.csv TEST.csv [DIRECTORY]
#
# The table of "On Importance of Pruning and Distillation for Efficient Low Resource NLP" (arXiv 2409.14162) on your data, and what goes
# beyond it: block movement pruning at 25, 50 and 75 %, distillation, mixed precision, alone and combined; then vocabulary trimming,
# int8, Fisher masks, n-grams, and hybrids of a pruned encoder with n-grams. One row each: accuracy with its interval, tests against
# the teacher, seconds of training, texts/s, speed-up, parameters, bytes, peak memory, energy, CO2.
#
# MODEL: a classifier that is fine-tuned already, or a pretrained encoder, which is fine-tuned first. What is done is not done again:
# start it anew after a stop and it goes on. Everything is chosen on DEV; TEST is only scored.
#
#   MILLET_EPOCHS=2       epochs of pruning and of distillation      MILLET_TEACHER_EPOCHS=4   of fine-tuning
#   MILLET_TOKENS=48      texts are cut to so many tokens            MILLET_SEED=0
#   MILLET_WATTS          the power of this machine, where it has no counters to read
#   MILLET_MARGIN=1       points of accuracy for the test of non-inferiority
#   MILLET_TIMED=601      speed is measured on so many lines of TEST
#   MILLET_ROWS           which rows, a pattern of their names as in case, for example teacher|prune25* (all)
#   MILLET_WORDS          a file of plain text, a line each, whose words stay in the vocabulary, too (only those of TRAIN)
#   MILLET_COLUMNS        for mtok, where it does not find the columns: --text X --label Y
set -eu

usage='usage: paper-table.sh MODEL TRAIN.csv DEV.csv TEST.csv [DIRECTORY]'
model=${1:?$usage}
train=${2:?$usage}
dev=${3:?$usage}
test=${4:?$usage}
work=${5:-build/paper-table}
full() { printf '%s/%s\n' "$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)" "$(basename -- "$1")"; }
model=$(full "$model")
train=$(full "$train")
dev=$(full "$dev")
test=$(full "$test")
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)
# shellcheck source=examples/lib.sh
. "$(dirname -- "$0")/lib.sh"
epochs=${MILLET_EPOCHS:-2}
seed=${MILLET_SEED:-0}
columns="--max-tokens ${MILLET_TOKENS:-48} ${MILLET_COLUMNS:-}"
rows=${MILLET_ROWS:-*}
kd='--kd alpha=0.9,temperature=2'
run="--batch-tokens 720 --dev dev.tok --seed $seed"

# ---- the teacher, its vocabulary trimmed to the training texts (all rows share it), what it says of them ----

if [ ! -e "$work/full.tar" ]; then
    # shellcheck disable=SC2086 # options
    if (cd "$work" && mtok -m "$model" $columns "$dev" | mscore -q -m "$model" >/dev/null 2>&1); then
        step fine-tuned full.tar "mquant -q --to fp32 -o full.tar '$model'"
    else
        step full-train full-train.tok "mtok -m '$model' --new-labels $columns -o full-train.tok '$train'"
        step full-dev full-dev.tok "mtok -m '$model' --new-labels $columns -o full-dev.tok '$dev'"
        step fine-tuned full.tar "mstudent -m '$model' --lr 1e-4 --head-lr 5 --beta2 0.98 --attention-dropout 0 --epochs ${MILLET_TEACHER_EPOCHS:-4} --batch-tokens 720 --seed $seed --dev full-dev.tok --log full.log -o full.tar full-train.tok"
    fi
fi
step full-words full-words.tok "mtok -m full.tar $columns -o full-words.tok '$train'"
more_words=''
if [ -n "${MILLET_WORDS:-}" ]; then
    step more-words more-words.tok "mtok -m full.tar --format plain -o more-words.tok '$(full "$MILLET_WORDS")'"
    more_words='--vocab-from more-words.tok'
fi
step trimmed teacher.tar "mprune -m full.tar --vocab-from full-words.tok $more_words -o teacher.tar"
step train train.tok "mtok -m teacher.tar --ngrams $columns -o train.tok '$train'"
step dev dev.tok "mtok -m teacher.tar --ngrams $columns -o dev.tok '$dev'"
step test test.tok "mtok -m teacher.tar --ngrams $columns -o test.tok '$test'"
# A cell with a line break may be cut there: then all texts are timed.
step time time.tok "head -n ${MILLET_TIMED:-601} '$test' | mtok -q -m teacher.tar --ngrams $columns -o time.tok || cp test.tok time.tok"
step taught train.taught 'mteach -m teacher.tar --cache teacher.cache -o train.taught train.tok'
step full-test test.taught "mtok -m full.tar $columns '$test' | mteach -m full.tar -o test.taught"

layers=$(tar xOf "$work/teacher.tar" config.json | sed -n 's/.*"\(num_hidden_layers\|n_layers\)": *\([0-9]*\).*/\2/p')
half=$(((layers + 1) / 2))
quarter=$(((layers + 3) / 4))

# ---- the rows: NAME 'TITLE' 'COMMAND that writes $out' ----

# row NAME TITLE COMMAND [FROM]: make NAME.tar and score it beside the teacher; its line of the table goes to NAME.row. FROM is the row
# that COMMAND starts from, whose seconds count, too.
row() {
    eval "case \$1 in $rows) ;; *) return 0 ;; esac"
    step "$1" "$1.tar" "$3"
    cat "$work/$1.seconds" ${4:+"$work/$4.total"} 2>/dev/null | awk '{ s += $1 } END { print s }' >"$work/$1.total"
    paper_row "$2" "$1"
}

row teacher 'teacher, fp32' 'cp teacher.tar teacher.tar'
row distil "distilled, $half of $layers layers" "mstudent -m teacher.tar --from-layers $half $kd $run --epochs $epochs --log distil.log -o distil.tar train.taught"
row mixed 'mixed precision (bf16)' 'mquant --to bf16 -o mixed.tar teacher.tar'
row int8 'int8' 'mquant --to int8 -o int8.tar teacher.tar'
for cut in 25 50 75; do
    keep=$((100 - cut))
    prune="mprune -m teacher.tar --method movement --keep $keep% $run --epochs $epochs"
    row prune$cut "movement pruning $cut %" "$prune --log prune$cut.log -o prune$cut.tar train.taught"
    row prune$cut-kd "movement pruning $cut % + distillation" "$prune $kd --log prune$cut-kd.log -o prune$cut-kd.tar train.taught"
    row prune$cut-kd-int8 "movement pruning $cut % + distillation + int8" "mquant --to int8 -o prune$cut-kd-int8.tar prune$cut-kd.tar" "prune$cut-kd"
done
# What is trained afterwards is better not refitted before (--tune none).
fisher() { echo "mprune -m teacher.tar --method fisher --seed $seed --tune $1 --keep $2"; }
row fisher70 'Fisher masks 70 %, refitted, no retraining' "$(fisher weights 70%) -o fisher70.tar train.taught"
row fisher50-kd 'Fisher masks 50 % + distillation' "$(fisher none 50%) train.taught | mstudent -m - $kd $run --epochs $epochs --lr 1e-4 -o fisher50-kd.tar train.taught"
row fisher30-kd 'Fisher masks 30 % + distillation' "$(fisher none 30%) train.taught | mstudent -m - $kd $run --epochs $epochs --lr 1e-4 --head-lr 2 -o fisher30-kd.tar train.taught"
row fisher12-kd 'Fisher masks 12 % + distillation' "$(fisher none 12%) train.taught | mstudent -m - $kd $run --epochs $((epochs + 1)) --lr 1.5e-4 --head-lr 2 -o fisher12-kd.tar train.taught"
row ngram-hard 'n-grams alone, on labels' "mstudent -m teacher.tar --shape ngram --dev dev.tok -o ngram-hard.tar train.tok"
row ngram 'n-grams alone, distilled' "mstudent -m teacher.tar --shape ngram --kd alpha=0.7,temperature=3 --dev dev.tok -o ngram.tar train.taught"
row bag 'embedding bag, distilled' "mstudent -m teacher.tar --shape layers=0 $kd $run --epochs $((2 * epochs)) --lr 1e-3 -o bag.tar train.taught"
row bottom-kd "bottom $quarter of $layers layers + distillation" "mstudent -m teacher.tar --from-layers $(seq -s , 0 $((quarter - 1))) $kd $run --epochs $((epochs + 1)) -o bottom-kd.tar train.taught"
# The strongest teacher: with n-grams learned from the labels, its answers to a training text those of n-grams that did not see it.
row teacher-ngram 'teacher + n-grams' 'mstudent -m teacher.tar --epochs 0 --ngram --dev dev.tok -o teacher-ngram.tar train.tok'
ensemble='[ -e ensemble.taught ] || mstudent -m teacher.tar --epochs 0 --ngram=loss=logistic --dev dev.tok train.tok | mteach -m - --folds 5 -o ensemble.taught train.tok'
row fisher36-ens 'Fisher masks 36 %, teacher + n-grams distilled' "$ensemble; $(fisher none 36%) train.taught | mstudent -m - $kd $run --epochs $((epochs + 2)) --lr 1e-4 --head-lr 2 --beta2 0.98 --log fisher36-ens.log -o fisher36-ens.tar ensemble.taught"
for part in fisher36-ens fisher30-kd fisher12-kd bottom-kd; do
    row "$part-ngram" "$part + n-grams" "mstudent -m $part.tar --epochs 0 --ngram --dev dev.tok -o $part-ngram.tar train.tok" "$part"
done
for part in fisher36-ens fisher30-kd fisher12-kd; do
    row "$part-ngram-int8" "$part + n-grams, int8" "mquant --to int8 -o $part-ngram-int8.tar $part-ngram.tar" "$part-ngram"
done
row fisher12-kd-ngram-int4 'fisher12-kd + n-grams, int8, embeddings int4' 'mquant --to int8 --embeddings int4 -o fisher12-kd-ngram-int4.tar fisher12-kd-ngram.tar' fisher12-kd-ngram

say "the table: speed-up is texts/s over the teacher in the same run; tests are paired, on $(tsv_get "$work/teacher.quality" n) test records"
{
    paper_header
    for name in teacher mixed int8 distil prune25 prune50 prune75 prune25-kd prune50-kd prune75-kd prune25-kd-int8 prune50-kd-int8 \
        prune75-kd-int8 fisher70 fisher50-kd fisher36-ens fisher30-kd fisher12-kd bottom-kd bag ngram-hard ngram teacher-ngram \
        bottom-kd-ngram fisher36-ens-ngram fisher30-kd-ngram fisher12-kd-ngram fisher36-ens-ngram-int8 fisher30-kd-ngram-int8 \
        fisher12-kd-ngram-int8 fisher12-kd-ngram-int4; do
        [ ! -e "$work/$name.row" ] || cat "$work/$name.row"
    done
} >"$work/table.tsv"
align <"$work/table.tsv"
markdown <"$work/table.tsv" >"$work/table.md"
say "$work/table.tsv, $work/table.md"
