#!/usr/bin/env bats
# The architectures of the BERT family, from a Hugging Face directory through training, pruning and scoring and back.

load helper

golden=$BATS_TEST_DIRNAME/golden/models

# Three classes that one word each tells apart, of the golden models' vocabulary and labels.
setup() {
    enter_scratch
    {
        echo text,label
        for i in 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3; do
            echo "मुंबई बातमी a $i,खेळ"
            echo "पुणे b बातमी $i,राजकारण"
            echo "$i आरोग्य c,आरोग्य"
        done
    } > rows.csv
}

# learn NAME OPTION…: train the golden model of that name until it tells the classes apart.
learn() {
    local name=$1
    shift
    mtok -q -m "$golden/$name" -o rows.tok rows.csv
    mstudent -m "$golden/$name" --epochs 30 --lr 3e-3 --batch-tokens 96 --dev rows.tok -o model.tar "$@" rows.tok
}

# scores MODEL: tells all rows apart.
scores() {
    run mscore -q -m "$1" --json rows.tok
    assert_status 0
    assert_says '"accuracy": 1.0'
}

# keeps CLASS KEY…: config.json names the class and has the keys.
keeps() {
    run tar xOf model.tar config.json
    assert_says "\"$1\"" "${@:2}"
}

@test "DistilBERT: trained, heads and neurons pruned, written back under its own names" {
    learn distilbert
    scores model.tar
    keeps DistilBertForSequenceClassification '"model_type": "distilbert"' '"dim"' '"n_layers"' '"hidden_dim"'
    mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
    mstudent -q -m pruned.tar --epochs 1 --lr 1e-5 -o again.tar rows.tok
    run mscore -m again.tar rows.tok
    assert_status 0
    mprune -q -m model.tar --method layers --which 0,2 -o layers.tar
    run tar xOf layers.tar config.json
    assert_says '"n_layers": 2'
    run mscore -m layers.tar rows.tok
    assert_status 0
}

@test "ELECTRA: trained with its own head, pruned" {
    learn electra
    scores model.tar
    keeps ElectraForSequenceClassification '"embedding_size"'
    mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
    run mscore -m pruned.tar rows.tok
    assert_status 0
}

@test "MobileBERT: trained; whole layers can go, heads and neurons are refused" {
    learn mobilebert
    scores model.tar
    keeps MobileBertForSequenceClassification '"intra_bottleneck_size"' '"num_feedforward_networks"'
    run mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
    assert_fails "bottleneck" "--method layers"
    run mprune -q -m model.tar --method movement --keep 70% -o pruned.tar rows.tok
    assert_fails "bottleneck" "--method layers"
    mprune -q -m model.tar --method layers --keep 70% -o layers.tar
    run mscore -m layers.tar rows.tok
    assert_status 0
}

@test "a record longer than positions that begin after the padding is refused with its number" {
    # XLM-R: 26 positions, the first two of no token. Blocks would count anew after 1024 records.
    {
        echo text,label
        for i in $(seq 1100); do echo "$i,खेळ"; done
        echo "a b c a b c a b c a b c a b c a b c a b c a b c a b c a b c,खेळ"
    } > long.csv
    mtok -q -m "$golden/xlm-roberta" --max-tokens 25 -o long.tok long.csv
    run mteach -q -m "$golden/xlm-roberta" -o x.taught long.tok
    assert_fails 'record 1101 has 25 tokens' 'at most 24' '--max-tokens'
}

@test "RoBERTa, XLM-R and CamemBERT: positions after the padding, trained, pruned" {
    local name class
    while read -r name class; do
        learn "$name"
        scores model.tar
        keeps "$class" "\"model_type\": \"$name\"" '"pad_token_id": 1'
        mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
        run mscore -m pruned.tar rows.tok
        assert_status 0
        rm model.tar pruned.tar rows.tok
    done <<'NAMES'
roberta RobertaForSequenceClassification
xlm-roberta XLMRobertaForSequenceClassification
camembert CamembertForSequenceClassification
NAMES
}

@test "ALBERT: trained; one set of tensors for all layers, of which some can go" {
    learn albert
    scores model.tar
    keeps AlbertForSequenceClassification '"embedding_size"' '"num_hidden_groups": 1'
    run mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
    assert_fails "share" "--method layers"
    mprune -q -m model.tar --method layers --keep 50% -o layers.tar
    tar xOf model.tar model.safetensors > all
    tar xOf layers.tar model.safetensors > fewer
    [ "$(wc -c < all)" -eq "$(wc -c < fewer)" ]
    run tar xOf layers.tar config.json
    assert_says '"num_hidden_layers": 2'
    run mscore -m layers.tar rows.tok
    assert_status 0
}

@test "every architecture as int8, from which layers go and which can be trained on" {
    for name in bert distilbert xlm-roberta albert electra mobilebert; do
        learn $name --epochs 8 --lr 5e-3
        mquant -q --to int8 -o int8.tar model.tar
        mscore -q -m model.tar --predict rows.tok | cut -f 1 > before
        mscore -q -m int8.tar --predict rows.tok | cut -f 1 > after
        [ "$(paste before after | awk -F '\t' '$1 == $2' | wc -l)" -ge 46 ]
        mquant -q --to int8 --compensate rows.tok --calibrate rows.tok -o for_rows.tar model.tar
        mscore -q -m for_rows.tar --predict rows.tok | cut -f 1 > after
        [ "$(paste before after | awk -F '\t' '$1 == $2' | wc -l)" -ge 44 ]
        mprune -q -m int8.tar --method layers --keep 50% -o half.tar
        run mscore -q -m half.tar --predict rows.tok
        assert_status 0
        mstudent -q -m half.tar --epochs 1 -o again.tar rows.tok
        run tar xOf again.tar config.json
        assert_says '"torch_dtype": "float32"'
        rm ./*.tar rows.tok
    done
}

@test "a student of another architecture than its teacher's" {
    learn xlm-roberta
    mteach -q -m model.tar -o taught rows.tok
    mstudent -q -m "$golden/xlm-roberta" --shape layers=2,hidden=32,heads=2 --kd alpha=0.9,temperature=2 --epochs 30 \
        --lr 3e-3 --batch-tokens 96 -o student.tar taught
    run tar xOf student.tar config.json
    assert_says '"BertForSequenceClassification"' '"model_type": "bert"'
    scores student.tar
    run mstudent -q -m "$golden/camembert" --kd alpha=0.9,temperature=2 -o x.tar taught
    assert_fails "another tokenizer"
}

@test "a bare encoder: pooler and classifier start at random, and it says so" {
    run learn bert-bare
    assert_status 0
    assert_says "has no pooler and classifier"
}

@test "--pool mean: no pooler, kept in config.json, and through pruning" {
    run learn electra --pool mean --new-head
    assert_status 0
    assert_says "2 tensors of" "classifier.dense.bias" "left out"
    scores model.tar
    keeps ElectraForSequenceClassification '"millet_pool": "mean"'
    run bash -c 'tar xOf model.tar model.safetensors | head -c 20000 | tr "," "\n" | grep -a -c "classifier.dense"'
    [ "$output" -eq 0 ]
    mprune -q -m model.tar --method fisher --keep 70% -o pruned.tar rows.tok
    run mscore -q -m pruned.tar rows.tok
    assert_status 0
    mstudent -q -m model.tar --epochs 1 --lr 1e-6 -o again.tar rows.tok
    scores again.tar
}

@test "--pool: what does not fit is refused" {
    mtok -q -m "$golden/electra" -o rows.tok rows.csv
    run mstudent -q -m "$golden/electra" --pool mean -o x.tar rows.tok
    assert_fails "--new-head"
    run mstudent -q -m "$golden/electra" --pool middle -o x.tar rows.tok
    assert_status 2
    assert_says "neither first nor mean"
    mstudent -q -m "$golden/bert-bare" --pool mean --epochs 1 -o mean.tar rows.tok
    run mstudent -q -m mean.tar --pool first -o x.tar rows.tok
    assert_fails "--pool first" "no pooler"
}

@test "configs that ask for what is not computed are refused by name" {
    mkdir broken
    while IFS='|' read -r model from to text; do
        cp "$golden/$model"/* broken/
        sed -i "s/$from/$to/" broken/config.json
        run mprune -q -m broken --method layers --keep 100% -o x.tar
        assert_fails "$text" config.json
    done <<'CASES'
albert|"num_hidden_groups": 1|"num_hidden_groups": 2|"num_hidden_groups" is 2
mobilebert|"trigram_input": true|"trigram_input": false|"trigram_input" is false
electra|"hidden_act": "gelu"|"hidden_act": "silu"|"hidden_act" is "silu"
distilbert|"model_type": "distilbert"|"model_type": "funnel"|only "bert", "distilbert"
distilbert|"dim": |"hidden_size": |dim
xlm-roberta|"pad_token_id": 1|"pad_token_id": null|pad_token_id
xlm-roberta|"max_position_embeddings": 26|"max_position_embeddings": 2|expected at least 3
xlm-roberta|"max_position_embeddings": 26,|"max_position_embeddings": 1,/;s/"pad_token_id": 1,/|expected at least 3
CASES
}
