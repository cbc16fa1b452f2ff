#!/bin/sh
# usage: emoji-demo.sh [DIRECTORY [LANGUAGE]]
#
# The whole of Millet in some minutes: from names of emoji in Marathi (or another language) to a small, fast classifier, and one
# table that says what each step gained and cost. Run it again and only what is missing is done.
# MILLET_DEMO_EPOCHS=N trains for N epochs instead of the default, for a quick look; MILLET_DEMO_SMALL=1 takes few texts and tiny
# models, only to see that it runs (tests/cuda-emu has it on an emulated GPU). MILLET_DEVICE says where it runs.
set -eu

work=${1:-build/demo}
language=${2:-mr}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)
# shellcheck source=examples/lib.sh
. "$(dirname -- "$0")/lib.sh"
epochs=${MILLET_DEMO_EPOCHS:-20}
every=1 words=3000 layers=6 hidden=256 heads=4 student_layers=2 student_hidden=128 student_heads=2
if [ "${MILLET_DEMO_SMALL:-}" = 1 ]; then
    every=8 words=300 layers=2 hidden=32 heads=2 student_layers=1 student_hidden=16 student_heads=1
fi
# shape_of LAYERS HIDDEN HEADS
shape_of() { echo "layers=$1,hidden=$2,heads=$3,ffn=$(($2 * 4))"; }

say "data: emoji names, language $language"
if [ ! -e "$work/test.csv" ]; then
    sh "$here/examples/emoji-data.sh" "$language" "$work"
    for part in train dev test; do
        awk -v every=$every 'NR == 1 || NR % every == 0' "$work/$part.csv" >"$work/cut.csv"
        mv "$work/cut.csv" "$work/$part.csv"
    done
fi
(cd "$work" && mtok --audit train.csv dev.csv test.csv)

step vocabulary vocabulary.tar "mtok --learn $words -o vocabulary.tar train.csv"
for part in train dev test; do
    step "$part" "$part.tok" "mtok -m vocabulary.tar -o $part.tok $part.csv"
done
step teacher teacher.tar "mstudent -m vocabulary.tar --shape $(shape_of $layers $hidden $heads) --epochs $epochs --dev dev.tok -o teacher.tar train.tok"
step logits train.taught 'mteach -m teacher.tar --cache teacher.cache -o train.taught train.tok'
step pruned pruned.tar "mprune -m teacher.tar --method fisher --keep 50% --tune none train.tok | mstudent -m - --kd alpha=0.9,temperature=2 --epochs $(((epochs + 1) / 2)) --dev dev.tok -o pruned.tar train.taught"
step student student.tar "mstudent -m vocabulary.tar --shape $(shape_of $student_layers $student_hidden $student_heads) --kd alpha=0.9,temperature=2 --batch-tokens 256 --epochs $((epochs * 2)) --dev dev.tok -o student.tar train.taught"
step int8 int8.tar 'mquant --to int8 -o int8.tar student.tar'

say "the table: $(mscore --version | head -n 1), test texts the models never saw; speed-up is texts/s over the teacher in the same run"
{
    table_header
    table_row "teacher, $layers x $hidden" teacher teacher.tar test.tok
    table_row 'pruned to half, distilled' pruned pruned.tar test.tok
    table_row "student, $student_layers x $student_hidden, distilled" student student.tar test.tok
    table_row 'the same, int8' int8 int8.tar test.tok
    if [ "$language" = mr ] && [ "$every" = 1 ]; then
        printf 'linear SVM on n-grams (scikit-learn)\t81.0\t\t77.3\n'
    fi
} | tee "$work/table.tsv" | align
[ "$every" -gt 1 ] || cat <<'TEXT'
The last row is the usual alternative: a linear SVM on TF-IDF of character 2-5-grams and word 1-2-grams, C = 0.3, measured once
with scikit-learn on this very split. On 1 287 texts a transformer trained from nothing need not beat it; a pretrained teacher is
for that. p is exact McNemar; p > 0.05 is no proof of equality, see the interval.
TEXT

say 'a few lines typed by a person'
printf '%s\n' 'हसणारा चेहरा' 'ध्वज: भारत' 'लाल सफरचंद आणि केळी' 'धावणारी स्त्री' 'रेल्वे स्थानक' |
    mtok -q -m "$work/int8.tar" --keep-text | mscore -q -m "$work/int8.tar" --predict --top 2 --text
