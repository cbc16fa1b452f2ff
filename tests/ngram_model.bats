#!/usr/bin/env bats
# The n-gram part of models: alone, beside an encoder, in every tool.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR" || return 1
    labelled_rows 240 > train.csv
    labelled_rows 300 | sed -n '1p;242,$p' > dev.csv
    mtok -q -m vocab.tar --ngrams -o train.tok train.csv
    mtok -q -m vocab.tar --ngrams -o dev.tok dev.csv
    mtok -q -m vocab.tar -o plain.tok train.csv
    mstudent -q -j 2 -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 3 --lr 3e-3 \
        --batch-tokens 128 -o encoder.tar train.tok
    mteach -q -m encoder.tar -o train.taught train.tok
    mstudent -q -m vocab.tar --shape ngram --dev dev.tok -o ngram.tar train.tok
    mstudent -q -m encoder.tar --epochs 0 --ngram --dev dev.tok -o hybrid.tar train.tok
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t* "$BATS_FILE_TMPDIR"/*.csv .
}

# accuracy MODEL: of MODEL on dev.tok.
accuracy() {
    mscore -q -m "$1" --json dev.tok | grep -m 1 -o '"accuracy": [0-9.]*' | cut -d ' ' -f 2
}

at_least() {
    awk -v found="$1" -v least="$2" 'BEGIN { exit !(found >= least) }' ||
        { echo "found $1, expected at least $2" >&2; return 1; }
}

# names MODEL: its tensors.
names() {
    tar -xOf "$1" model.safetensors | head -c 4000 | tr -d '\0' | grep -ao '"millet[^"]*"\|"classifier[^"]*"' | sort -u
}

@test "--shape ngram: a model that is an n-gram part alone, learns, and says what it is" {
    at_least "$(accuracy ngram.tar)" 0.9
    run tar xOf ngram.tar config.json
    assert_says '"model_type": "millet-ngram"' '"buckets": 262144' '"ngram_gate": ' '"sport"'
    run tar xOf ngram.tar millet.json
    assert_says '"ngram": {' '"loss": "hinge"' '"min_df": 2'
    run names ngram.tar
    assert_says millet.ngram.weight millet.ngram.bucket millet.ngram.idf millet.ngram.bias
    mstudent -q -m vocab.tar --shape ngram -j 3 --dev dev.tok train.tok > again.tar
    tar xOf ngram.tar model.safetensors > a
    tar xOf again.tar model.safetensors > b
    assert_same a b
}

@test "--shape ngram --kd: distilled, records without label counting by the teacher" {
    awk -F, 'NR == 1 { print "text"; next } { print $1 }' train.csv > bare.csv
    mtok -q -m encoder.tar --ngrams bare.csv | mteach -q -m encoder.tar -o bare.taught
    run mstudent -v -m vocab.tar --shape ngram --kd alpha=1,temperature=2 --dev dev.tok -o soft.tar bare.taught
    assert_status 0
    assert_says 'rows from 240 records' 'dev accuracy'
    run tar xOf soft.tar millet.json
    assert_says '"alpha": 1.0' '"temperature": 2.0'
    run mstudent -q -m vocab.tar --shape ngram -o x.tar bare.taught
    assert_fails 'none of the 240 records has a label'
}

@test "--ngram=loss=: hinges and logistic, alone and beside an encoder; what clashes" {
    mstudent -q -m vocab.tar --shape ngram --ngram=loss=logistic --dev dev.tok -o logistic.tar train.tok
    at_least "$(accuracy logistic.tar)" 0.9
    run tar xOf logistic.tar config.json
    assert_says '"ngram_gate": 1.0'
    # Without dev the margins are scaled by the training records, out of fold: not by what was learnt by heart.
    mstudent -q -m vocab.tar --shape ngram -o fold.tar train.tok
    gate() { tar xOf "$1" config.json | sed -n 's/.*"ngram_gate": \([0-9.]*\).*/\1/p'; }
    at_least "$(gate fold.tar)" 1
    at_least "$(gate ngram.tar)" 1
    # Of a handful nothing is left out to scale them by.
    { head -n 1 train.csv; head -n 30 train.csv | tail -n +2; } | mtok -q -m vocab.tar --ngrams | mstudent -q -m vocab.tar --shape ngram - -o few.tar
    [ "$(gate few.tar)" = 1.0 ]
    mteach -q -m fold.tar --folds 3 -o folds.taught train.tok
    run mstudent -q -m encoder.tar --epochs 0 --ngram=loss=square --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says 'neither logistic nor hinge'
    run mstudent -q -m encoder.tar --epochs 0 --ngram=loss=hinge,alpha=0.5 --kd alpha=0.9 --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says 'labels alone'
    run mstudent -q -m encoder.tar --epochs 0 --ngram --kd alpha=0.9 --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says '--kd has nothing to do'
    run mstudent -q -m encoder.tar --epochs 0 --ngram=turn,loss=hinge --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says 'loss=logistic'
}

@test "a hybrid is at least as good on dev as either part, and says its gates" {
    run mstudent -v -m encoder.tar --epochs 0 --ngram --dev dev.tok -o h.tar train.tok
    assert_status 0
    assert_says 'dev accuracy: encoder 0.' 'both ' "the encoder's share"
    at_least "$(accuracy hybrid.tar)" "$(accuracy encoder.tar)"
    at_least "$(accuracy hybrid.tar)" "$(accuracy ngram.tar)"
    run names hybrid.tar
    assert_says classifier.weight millet.ngram.weight
    run tar xOf hybrid.tar config.json
    assert_says '"model_type": "bert"' '"encoder_gate": ' '"ngram_gate": '
}

@test "--shape ...,ngram=on trains both; without --dev the gate is chosen out of fold and that is said" {
    run mstudent -m vocab.tar --shape layers=1,hidden=16,heads=2,ngram=on --epochs 1 -o both.tar train.tok
    assert_status 0
    assert_says 'chosen on the training records' 'give --dev'
    run names both.tar
    assert_says millet.ngram.weight
}

@test "--ngram=turn and =gate; a part that is there stays through training" {
    mstudent -q -m encoder.tar --epochs 0 --ngram=turn,l2=1e-4,iterations=20 --dev dev.tok -o turn.tar train.tok
    at_least "$(accuracy turn.tar)" 0.9
    run tar xOf turn.tar config.json
    assert_says '"encoder_gate": 1.0' '"ngram_gate": 1.0'
    mstudent -q -m hybrid.tar --epochs 1 -o more.tar train.tok
    tar xOf hybrid.tar config.json | grep _gate > a
    tar xOf more.tar config.json | grep _gate > b
    assert_same a b
    run names more.tar
    assert_says millet.ngram.idf
    mstudent -q -m hybrid.tar --epochs 0 --ngram=gate --dev dev.tok -o gate.tar train.tok
    run tar xOf gate.tar millet.json
    assert_says '"share"'
    run mstudent -q -m encoder.tar --epochs 0 --ngram=gate --dev dev.tok -o x.tar train.tok
    assert_fails 'has no n-gram part to keep'
    run mstudent -q -m hybrid.tar --epochs 0 --ngram=gate -o x.tar train.tok
    assert_fails '--ngram=gate' 'give --dev'
    run mstudent -q -m hybrid.tar --epochs 0 --ngram=gate,l2=1e-4 --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says '--ngram=gate fits nothing'
    run mstudent -q -m encoder.tar --epochs 0 --ngram=alpha=0.5 --dev dev.tok -o x.tar train.tok
    assert_status 2
    assert_says 'alpha and temperature' '--kd'
}

@test "--ngram=gate refuses a part that was fitted to other labels" {
    sed 's/,[^,]*$/,a/; 1s/.*/text,label/; 2s/,a$/,b/' dev.csv > two.csv
    mtok -q -m vocab.tar --ngrams --new-labels -o two.tok two.csv
    run mstudent -q -m hybrid.tar --new-head --ngram=gate --dev two.tok -o x.tar two.tok
    assert_fails 'which are not the 2 of the records'
}

@test "--ngram=together: the encoder learns what the n-grams out of fold lack" {
    mstudent -q -m encoder.tar --epochs 1 --ngram=together --dev dev.tok -o together.tar train.tok
    mstudent -q -m encoder.tar --epochs 1 --ngram=together --dev dev.tok < train.tok > again.tar
    assert_same together.tar again.tar
    mstudent -q -m encoder.tar --epochs 1 --ngram --dev dev.tok -o apart.tar train.tok
    tar xOf together.tar model.safetensors > a
    tar xOf apart.tar model.safetensors > b
    run cmp -s a b
    assert_status 1
    at_least "$(accuracy together.tar)" 0.9
    run mstudent -m encoder.tar --epochs 0 --ngram=together train.tok
    assert_status 2
    assert_says '--epochs 0 does not'
}

@test "mteach, mscore and mquant take hybrids and n-gram models" {
    mteach -q -m encoder.tar -m ngram.tar -o mean.taught train.tok
    mteach -q -m hybrid.tar --cache c.db -o first.taught train.tok
    mteach -q -m hybrid.tar --cache c.db -o second.taught train.tok
    assert_same first.taught second.taught
    mquant -q --to int8 -o small.tar hybrid.tar
    run names small.tar
    assert_says millet.ngram.weight_scale
    at_least "$(accuracy small.tar)" 0.9
    mquant -q --to fp16 -o half.tar ngram.tar
    at_least "$(accuracy half.tar)" 0.9
    run bash -c 'set -o pipefail; sed 1d dev.csv | cut -d , -f 1 | mtok -q -m hybrid.tar | mscore -q -m hybrid.tar --predict | wc -l'
    assert_status 0
    [ "$output" -eq 60 ]
}

@test "mteach --folds: n-gram parts answer records they were not fitted on" {
    mteach -q -m ngram.tar -o own.taught train.tok
    run mteach -v -m encoder.tar -m ngram.tar --folds 4 --cache c.db -o out.taught train.tok
    assert_status 0
    assert_says '240 records' 'computed 480'
    mteach -q -m ngram.tar --folds 4 -o fold.taught train.tok
    mteach -q -m ngram.tar --folds 4 < train.tok > again.taught
    assert_same fold.taught again.taught
    mteach -q -m ngram.tar --folds 4 --seed 1 -o other.taught train.tok
    run mteach -q -m ngram.tar --seed 1 -o x.taught train.tok
    assert_status 2
    assert_says '--seed needs --folds'
    run cmp -s fold.taught other.taught
    assert_status 1
    run cmp -s fold.taught own.taught
    assert_status 1
    mteach -q -m hybrid.tar --folds 2 -o hybrid.taught train.tok
    run mteach -m encoder.tar --folds 2 -o x.taught train.tok
    assert_fails '--folds' 'n-gram part'
    awk -F, '{ print $1 }' train.csv > bare.csv
    mtok -q -m ngram.tar -o bare.tok bare.csv
    run mteach -m ngram.tar --folds 2 -o x.taught bare.tok
    assert_fails '--folds' label
    run mteach -m ngram.tar --folds 1 train.tok
    assert_status 2
}

@test "exports carry the encoder alone, and say what that loses" {
    mstudent -q -m encoder.tar --epochs 0 --ngram=turn -o turn.tar train.tok
    run mquant --dense -o dense.tar turn.tar
    assert_status 0
    assert_says 'n-gram part is left out' '--on'
    run tar xOf dense.tar config.json
    assert_status 0
    [[ $output != *millet_ngram* ]]
    run names dense.tar
    [[ $output != *millet.ngram* ]]
    mscore -q -m dense.tar --predict dev.tok > a
    mscore -q -m encoder.tar --predict dev.tok > b
    assert_same a b
    run mquant --dense --on dev.tok -o dense.tar turn.tar
    assert_status 0
    assert_says 'points lost'
    run mquant --to onnx --on dev.tok -o o.tar turn.tar
    assert_status 0
    assert_says 'points lost' onnx:
    run mquant --dense --on dev.tok -o x.tar encoder.tar
    assert_fails 'no n-gram part'
    for how in --dense '--to onnx'; do
        # shellcheck disable=SC2086
        run mquant $how -o x.tar ngram.tar
        assert_fails 'n-gram part alone'
    done
}

@test "mprune: the part passes through, --ngram-keep leaves the rows that say most" {
    mprune -q -m hybrid.tar --method magnitude --keep 60% -o thin.tar
    run names thin.tar
    assert_says millet.ngram.weight
    at_least "$(accuracy thin.tar)" 0.7
    run mprune -m ngram.tar --ngram-keep 25% -o quarter.tar
    assert_status 0
    assert_says 'rows of the n-gram part'
    at_least "$(accuracy quarter.tar)" 0.9
    [ "$(tar -xOf quarter.tar model.safetensors | wc -c)" -lt $(($(tar -xOf ngram.tar model.safetensors | wc -c) / 3)) ]
    [[ $output != *gates* ]]
    mprune -q -m hybrid.tar --method magnitude --keep 60% --ngram-keep 0.5 -o both.tar
    run mprune -m hybrid.tar --ngram-keep 50% -o half.tar
    assert_status 0
    assert_says 'mstudent -m PRUNED --epochs 0 --ngram=gate'
    mstudent -q -m half.tar --epochs 0 --ngram=gate --dev dev.tok -o gated.tar train.tok
    at_least "$(accuracy gated.tar)" 0.7
    mquant -q --to int8 both.tar | mprune -q -m - --ngram-keep 0.5 -o int8.tar
    at_least "$(accuracy int8.tar)" 0.7
    run mprune -m encoder.tar --ngram-keep 50% -o x.tar
    assert_fails 'has no n-gram part'
    run mprune -m ngram.tar --method magnitude --keep 50% -o x.tar
    assert_fails 'n-gram part alone'
}

@test "few buckets, most of them kept: a map of them in the file, through every tool" {
    mtok -q -m vocab.tar --ngrams=buckets=256,chars=2-4,words=1 --label label train.csv > few.tok
    mstudent -q -m vocab.tar --shape ngram -o few.tar few.tok
    run names few.tar
    assert_says millet.ngram.kept
    [[ $output != *millet.ngram.bucket* ]]
    mscore -q -m few.tar --predict few.tok > whole
    mquant -q --to fp16 few.tar | mscore -q -m - --predict few.tok > half
    [ "$(wc -l < half)" = "$(wc -l < whole)" ]
    mprune -q -m few.tar --ngram-keep 100% | mscore -q -m - --predict few.tok > same
    assert_same whole same
    mprune -q -m few.tar --ngram-keep 50% | mquant -q --to int8 > cut.tar
    run mscore -q -m cut.tar few.tok
    assert_status 0
}

@test "a student cut out of a hybrid keeps the part" {
    mstudent -q -m hybrid.tar --from-layers 0 --epochs 1 -o bag.tar train.tok
    run names bag.tar
    assert_says millet.ngram.weight
    mstudent -q -m hybrid.tar --ffn 16 --epochs 1 -o narrow.tar train.tok
    at_least "$(accuracy narrow.tar)" 0.7
}

@test "mistakes: records without n-grams, or with others, keys that are none, options for encoders" {
    run mscore -q -m ngram.tar plain.tok
    assert_fails n-grams 'mtok -m'
    run mstudent -q -m vocab.tar --shape ngram -o x.tar plain.tok
    assert_fails 'carry no n-grams' --ngrams
    mtok -q -m vocab.tar --ngrams=words=1 -o words.tok dev.csv
    run mstudent -q -m vocab.tar --shape ngram --dev words.tok -o x.tar train.tok
    assert_fails n-grams
    run mstudent -m ngram.tar -o x.tar train.tok
    assert_fails 'n-gram part alone' --shape
    run mstudent -m vocab.tar --ngram=l3=1 train.tok
    assert_status 2
    assert_says 'unknown key "l3"'
    run mstudent -m vocab.tar --ngram=beside train.tok
    assert_status 2
    assert_says 'neither apart, together, turn nor gate'
    run mstudent -m vocab.tar --shape ngram --lr 1 train.tok
    assert_status 2
    assert_says '--lr is for encoders'
    run mstudent -m encoder.tar --epochs 0 train.tok
    assert_status 2
    assert_says '--epochs 0 trains nothing'
    [ ! -e x.tar ]
}

@test "any number of labels: fitted, weighed and scored as sigmoids" {
    awk -F, 'NR == 1 { print; next } { print $1 "," $2 (NR % 4 ? "" : "|film") }' train.csv > many.csv
    mtok -q -m vocab.tar --multi-label --ngrams -o many.tok many.csv
    run mstudent -v -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32,ngram=on --epochs 1 --dev many.tok -o many.tar many.tok
    assert_status 0
    assert_says 'dev micro-F1: encoder'
    run mscore -m many.tar many.tok
    assert_status 0
    mstudent -q -m vocab.tar --shape ngram -o alone.tar many.tok
    run tar xOf alone.tar config.json
    assert_says multi_label_classification
}

@test "mquant --dense and --to onnx: an n-gram part alone is refused, floats and int8" {
    mquant -q --to int8 -o int8.tar ngram.tar
    for model in ngram.tar int8.tar; do
        run mquant --dense -o x.tar $model
        assert_fails "n-gram part alone" "runs in Millet only"
        run mquant --to onnx -o x.tar $model
        assert_fails "n-gram part alone" "runs in Millet only"
    done
    [ ! -e x.tar ]
}

@test "mquant: an n-gram part alone has nothing that --embeddings and --budget could choose" {
    run mquant --embeddings int8 -o x.tar ngram.tar
    assert_fails "is an n-gram part alone"
    run mquant --budget 1 --on dev.tok -o x.tar ngram.tar
    assert_fails "is an n-gram part alone"
    [ ! -e x.tar ]
}
