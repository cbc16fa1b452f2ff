#!/bin/sh
# usage: bengali-news.sh DATA [DIRECTORY]
#
# Bengali news headlines in ten classes (IndicNews SHC: 23 968 / 2 996 / 2 997 rows; DATA holds Bengal_SHC_Train.csv, …_Valid.csv and
# …_Test.csv): teacher, pruned, distilled and int8 models trained from nothing, in one table with the n-gram baseline.
# Hyper-parameters were chosen on the Valid part alone.
set -eu

data=${1:?usage: bengali-news.sh DATA [DIRECTORY]}
work=${2:-build/bengali}
data=$(CDPATH='' cd -- "$data" && pwd)
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)
# shellcheck source=examples/lib.sh
. "$(dirname -- "$0")/lib.sh"
epochs=${MILLET_DEMO_EPOCHS:-8}

say "data: $data"
(cd "$data" && mtok --audit Bengal_SHC_Train.csv Bengal_SHC_Valid.csv Bengal_SHC_Test.csv)

step vocabulary vocabulary.tar "mtok --learn 12000 -o vocabulary.tar '$data/Bengal_SHC_Train.csv'"
for part in Train Valid Test; do
    step "$part" "$part.tok" "mtok -m vocabulary.tar --max-tokens 48 -o $part.tok '$data/Bengal_SHC_$part.csv'"
done
step teacher teacher.tar "mstudent -m vocabulary.tar --shape layers=4,hidden=256,heads=4,ffn=1024 --dropout 0.3 --lr 5e-4 --batch-tokens 512 --epochs $epochs --dev Valid.tok --log teacher.log -o teacher.tar Train.tok"
step logits Train.taught 'mteach -m teacher.tar --cache teacher.cache -o Train.taught Train.tok'
step pruned pruned.tar "mprune -m teacher.tar --method fisher --keep 50% --tune none Train.tok | mstudent -m - --kd alpha=0.9,temperature=2 --epochs $(((epochs + 1) / 2)) --dev Valid.tok --log pruned.log -o pruned.tar Train.taught"
step student student.tar "mstudent -m vocabulary.tar --shape layers=2,hidden=128,heads=2,ffn=512 --lr 1e-3 --batch-tokens 512 --kd alpha=0.9,temperature=2 --epochs $((epochs * 3 / 2)) --dev Valid.tok --log student.log -o student.tar Train.taught"
step int8 int8.tar 'mquant --to int8 -o int8.tar student.tar'

say "the table (2 997 test headlines): speed-up is texts/s over the teacher in the same run"
{
    table_header
    table_row 'teacher, 4 x 256' teacher teacher.tar Test.tok
    table_row 'pruned to half, distilled' pruned pruned.tar Test.tok
    table_row 'student, 2 x 128, distilled' student student.tar Test.tok
    table_row 'the same, int8' int8 int8.tar Test.tok
    printf 'linear SVM on n-grams (scikit-learn)\t79.4\t\t79.1\n'
} | tee "$work/table.tsv" | align
cat <<'TEXT'
The last row is a linear SVM on TF-IDF of character 2-5-grams and word 1-2-grams (C = 0.3, nothing tuned), measured once with
scikit-learn on the same split.
TEXT
