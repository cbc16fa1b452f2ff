#!/bin/sh
# usage: best-student.sh [--margin POINTS] [--minutes N] [--test TEST.csv] [-o STUDENT.tar] MODEL TRAIN.csv DEV.csv
#
# The fastest student that is proven not worse than MODEL, a fine-tuned classifier, by more than a margin (1 point of accuracy): a
# small plan of students is tried, the fastest kind first, until one passes or the minutes (30) are over. A student passes when the
# one-sided 95 % test of non-inferiority says so on DEV; that the teacher is not significantly better ("p > 0.05") proves nothing.
# DEV chooses; with --test the choice is then measured, once, on records that chose nothing.
#
# Work files stay in build/best-student (MILLET_WORK); what is done there is not done again. MILLET_TOKENS, MILLET_COLUMNS,
# MILLET_SEED as in paper-table.sh.
set -eu

usage() {
    echo 'usage: best-student.sh [--margin POINTS] [--minutes N] [--test TEST.csv] [-o STUDENT.tar] MODEL TRAIN.csv DEV.csv' >&2
    exit 2
}
margin=1 minutes=30 test='' student=student.tar
while [ $# -gt 0 ]; do
    case $1 in
    --margin) margin=${2:?$(usage)} && shift 2 ;;
    --minutes) minutes=${2:?$(usage)} && shift 2 ;;
    --test) test=${2:?$(usage)} && shift 2 ;;
    -o) student=${2:?$(usage)} && shift 2 ;;
    -*) usage ;;
    *) break ;;
    esac
done
[ $# -eq 3 ] || usage
full() { printf '%s/%s\n' "$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)" "$(basename -- "$1")"; }
model=$(full "$1") train=$(full "$2") dev=$(full "$3") student=$(full "$student")
[ -z "$test" ] || test=$(full "$test")
work=${MILLET_WORK:-build/best-student}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)
# shellcheck source=examples/lib.sh
. "$(dirname -- "$0")/lib.sh"
columns="--max-tokens ${MILLET_TOKENS:-48} ${MILLET_COLUMNS:-}"
run="--kd alpha=0.9,temperature=2 --batch-tokens 720 --dev dev.tok --seed ${MILLET_SEED:-0}"
hybrid="--ngram"
end=$(($(date +%s) + 60 * minutes))

step words words.tok "mtok -m '$model' $columns -o words.tok '$train'"
step trimmed teacher.tar "mprune -m '$model' --vocab-from words.tok -o teacher.tar"
step train train.tok "mtok -m teacher.tar --ngrams $columns -o train.tok '$train'"
step dev dev.tok "mtok -m teacher.tar --ngrams $columns -o dev.tok '$dev'"
step taught train.taught 'mteach -m teacher.tar --cache teacher.cache -o train.taught train.tok'

# try NAME 'COMMAND that writes $name.32.tar': the student, its int8 form, and whether it passes on DEV.
try() {
    [ "$(date +%s)" -lt "$end" ] || return 1
    name=$1
    step "$name" "$name.32.tar" "$2" || exit 1
    step "$name-int8" "$name.tar" "mquant -q --to int8 -o $name.tar $name.32.tar" || exit 1
    [ -e "$work/$name.score" ] ||
        (cd "$work" && mscore -q -m "$name.tar" --baseline teacher.tar --margin "$margin" --time --tsv -o "$name.score" dev.tok) ||
        exit 1
    tsv_get "$work/$name.score" model.accuracy baseline.accuracy compare.score_ci95.0 compare.score_ci95.1 compare.noninferior \
        compare.speedup model.bytes | {
        read -r accuracy baseline low high passes speedup bytes
        printf '%s\t%.4f\t%.4f\t%+.4f\t%+.4f\t%s\t%.1f\t%.2f\n' "$name" "$accuracy" "$baseline" "$low" "$high" "$passes" "$speedup" \
            "$(echo "$bytes" | awk '{ print $1 / 1e6 }')" | tee -a "$work/tried.tsv" >&2
        [ "$passes" = true ] || return 1
    } || return 1
    chosen=$name
}

fisher() { # SHARE EPOCHS LR
    echo "mprune -q -m teacher.tar --method fisher --keep $1 --tune none train.taught | mstudent -m - $run --epochs $2 --lr $3 --head-lr 2 $hybrid"
}

chosen=''
printf 'student\taccuracy\tteacher\tfrom\tto\tnot worse\tspeed-up\tMB\n' | tee "$work/tried.tsv" >&2
{
    try ngram "mstudent -m teacher.tar --shape ngram --dev dev.tok -o ngram.32.tar train.tok" ||
        try thin6 "$(fisher 6% 3 2e-4) -o thin6.32.tar train.taught" ||
        try thin12 "$(fisher 12% 3 1.5e-4) -o thin12.32.tar train.taught" ||
        try thin30 "$(fisher 30% 2 1e-4) -o thin30.32.tar train.taught" ||
        try half "$(fisher 50% 1 5e-5) -o half.32.tar train.taught" ||
        try whole "mstudent -m teacher.tar --epochs 0 $hybrid --dev dev.tok -o whole.32.tar train.taught"
} || {
    [ "$(date +%s)" -lt "$end" ] || say "the $minutes minutes are over; more of them (--minutes) try more students"
    say "no student was proven to be within $margin points of the teacher on $(basename "$dev"); tried:"
    align <"$work/tried.tsv"
    exit 1
}
cp "$work/$chosen.tar" "$student.new"
mv "$student.new" "$student"
say "$student: the fastest tried that is not worse than the teacher by more than $margin points, on $(basename "$dev")"
align <"$work/tried.tsv"
if [ -n "$test" ]; then
    say "the same student on $(basename "$test"), which chose nothing"
    # shellcheck disable=SC2086 # options
    (cd "$work" && mtok -m teacher.tar $columns --ngrams "$test" |
        mscore -q -m "$chosen.tar" --baseline teacher.tar --margin "$margin" --time) | sed '/^class/,$d'
fi
