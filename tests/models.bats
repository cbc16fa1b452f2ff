#!/usr/bin/env bats
# Models as they come from elsewhere: PyTorch's files, shards, and all that may be wrong with them.

load helper

golden=$BATS_TEST_DIRNAME/golden

# st: a sharded model; bin: the same in pytorch_model.bin; l.tok: three texts.
setup() {
    enter_scratch
    cp -r "$golden/models/bert-sharded" st
    rm st/golden.safetensors
    mkdir bin
    cp st/config.json st/vocab.txt st/tokenizer_config.json bin
    cp "$golden/torch/model-zip.bin" bin/pytorch_model.bin
    printf 'text,label\nमुंबई a,खेळ\nb c,राजकारण\nपुणे,आरोग्य\n' > l.csv
    mtok -q -m st -o l.tok l.csv
}

# predicts MODEL: the same as the safetensors files.
predicts() {
    mscore -q --predict -m st l.tok > expected
    run mscore -q --predict -m "$1" l.tok
    assert_status 0
    [ "$output" = "$(cat expected)" ]
}

# refused TEXT…: mscore takes the model "bad" as an error that says so.
refused() {
    run mscore -q --predict -m bad l.tok
    assert_fails "mscore: bad: " "$@"
}

# bad_config KEY VALUE: "bad" is st with this value in config.json.
bad_config() {
    rm -rf bad
    cp -r st bad
    sed -i "s/^  \"$1\": .*[^,]\(,\?\)\$/  \"$1\": $2\1/" bad/config.json
    grep -qF "\"$1\": $2" bad/config.json
}

@test "pytorch_model.bin gives the predictions of safetensors: zip layout, the old one, shards, tars" {
    predicts bin
    tar -czf bin.tar.gz -C bin .
    predicts bin.tar.gz
    tar -cf bin.tar bin
    predicts - < bin.tar
    cp "$golden/torch/model-old.bin" bin/pytorch_model.bin
    predicts bin
    rm bin/pytorch_model.bin
    cp "$golden"/torch-shards/* bin
    predicts bin
}

@test "a student of pytorch_model.bin is that of safetensors, bit for bit, and mquant reads it" {
    for model in st bin; do
        mstudent -q -j 1 -m $model --epochs 1 l.tok | tar xOf - model.safetensors > $model.student
        mquant -q --to fp16 $model | tar xOf - model.safetensors > $model.half
    done
    assert_same st.student bin.student
    # position_ids, a buffer that only the .bin has, is passed on or left out; the weights are the same
    mquant -q --to fp16 bin > half.tar
    mscore -q --predict -m half.tar l.tok > a
    mquant -q --to fp16 st > half.tar
    mscore -q --predict -m half.tar l.tok > b
    assert_same a b
}

@test "where both are, safetensors is read" {
    cp st/model* bin
    echo nonsense > bin/pytorch_model.bin
    predicts bin
}

@test "hostile pickles are refused, and nothing of them is run" {
    mv bin bad
    for name in system eval stack-global; do
        cp "$golden/torch/hostile-$name.bin" bad/pytorch_model.bin
        refused "pytorch_model.bin: " "nothing of it was run"
    done
    [ ! -e pwned ]
    cp "$golden/torch/hostile-lfs.bin" bad/pytorch_model.bin
    refused "git lfs pull"
    cp "$golden/torch/hostile-bomb-pickle.bin" bad/pytorch_model.bin
    refused "83886080 bytes"
}

@test "a compressed zip whose members unpack to more than they say is refused" {
    mv bin bad
    cp "$golden/torch/hostile-bomb-storage.bin" bad/pytorch_model.bin
    refused "unpacks to more than its 16 bytes"
}

@test "shards that are missing, cut short or not where the index says" {
    cp -r st bad
    rm bad/model-00003*
    refused "model.safetensors.index.json: its weights are in 3 files" "model-00003-of-00003.safetensors is missing"
    head -c 5000 st/model-00003-of-00003.safetensors > bad/model-00003-of-00003.safetensors
    refused "model-00003-of-00003.safetensors: " "cut short"
    head -c 50 st/model-00003-of-00003.safetensors > bad/model-00003-of-00003.safetensors
    refused "model-00003-of-00003.safetensors: " "cut short"
    cp st/model-00003-of-00003.safetensors bad
    sed -i 's/"bert.pooler.dense.bias"/"bert.pooler.dense.bas"/' bad/model.safetensors.index.json
    refused 'holds tensor "bert.pooler.dense.bas", but no file does'
    echo '{"weight_map": {"a": 3}}' > bad/model.safetensors.index.json
    refused 'index.json: the file of tensor "a" is not a string'
    for index in '{}' '{"weight_map": {}}' '{"weight_map": []}'; do
        echo "$index" > bad/model.safetensors.index.json
        refused 'index.json: has no "weight_map" object'
    done
    echo '{' > bad/model.safetensors.index.json
    refused "index.json:" "not valid JSON"
    rm bad/model.safetensors.index.json
    refused "no weights" "it has: config.json, model-00001-of-00003.safetensors"
}

@test "shards of pytorch_model.bin that are missing or cut short" {
    mv bin bad
    rm bad/pytorch_model.bin
    cp "$golden"/torch-shards/* bad
    head -c 5000 "$golden/torch-shards/pytorch_model-00002-of-00003.bin" > bad/pytorch_model-00002-of-00003.bin
    refused "pytorch_model-00002-of-00003.bin: is a damaged zip file, or is cut short"
    rm bad/pytorch_model-00002-of-00003.bin
    refused "pytorch_model.bin.index.json: " "pytorch_model-00002-of-00003.bin is missing"
}

@test "config.json: missing keys, wrong types, sizes that its weights contradict" {
    for key in hidden_size num_hidden_layers num_attention_heads vocab_size max_position_embeddings; do
        rm -rf bad
        cp -r st bad
        sed -i "s/\"$key\"/\"not_$key\"/" bad/config.json
        refused "config.json: key \"$key\" is missing"
        bad_config $key '"x"'
        refused "config.json: \"$key\" is a string; expected a whole number"
        bad_config $key -1
        least=1
        [ $key != num_hidden_layers ] || least=0 # an embedding bag
        refused "config.json: \"$key\" is -1; expected $least to "
    done
    bad_config hidden_size 17
    refused '"hidden_size" 17 is not a multiple of "num_attention_heads" 2'
    bad_config hidden_size 32
    refused "word_embeddings" "[52, 16]" "[52, 32]" 'by "vocab_size" and "hidden_size" of config.json'
    bad_config vocab_size 51
    refused "word_embeddings" "[52, 16]" "[51, 16]"
    bad_config max_position_embeddings 25
    refused "position_embeddings" "[24, 16]" "[25, 16]" '"max_position_embeddings"'
    bad_config num_hidden_layers 3
    refused "encoder.layer.2" 'config.json has "num_hidden_layers" 3'
    bad_config hidden_act '"gelu_python"'
    predicts bad
    bad_config hidden_act '"swish"'
    refused '"hidden_act" is "swish"'
    sed -i '/"model_type"/d' bad/config.json
    refused 'config.json: key "model_type" is missing; "bert", '
    bad_config model_type '"gpt2"'
    refused '"model_type" is "gpt2"'
    rm bad/config.json
    refused "has no config.json; it has: model-00001"
}

@test "a tokenizer whose ids exceed the embedding is refused with both numbers" {
    cp -r st bad
    seq 1 200 >> bad/vocab.txt
    run mtok -q -m bad -o out.tok l.csv
    assert_fails "mtok: bad: " "ids up to 251" '"vocab_size" 52'
    [ ! -e out.tok ]
    # made with the tokenizer and labels alone, refused by who has the embedding
    mkdir files # no weights, no size
    cp bad/vocab.txt bad/tokenizer_config.json files
    sed 's/"vocab_size"/"not_vocab_size"/' bad/config.json > files/config.json
    printf 'text,label\n150 170 200,खेळ\n' > big.csv
    mtok -q -m files -o big.tok big.csv
    run mscore -q -m bad big.tok
    assert_fails "record 1" "token id 201" "52"
    run mteach -q -m bad -o out.tok big.tok
    assert_fails "record 1" "token id 201" "52"
    run mstudent -q -m bad -o out.tar big.tok
    assert_fails "record 1" "token id 201" "52"
    [ ! -e out.tok ] && [ ! -e out.tar ]
}

@test "outputs that config.json does not name are not given the names of another number of labels" {
    cp -r st bad
    sed -i '/"id2label"/,/}/d; /"label2id"/,/}/d' bad/config.json
    printf 'text,label\na,x\n' > one.csv
    mtok -q -m bad -o one.tok one.csv
    run mscore -q --predict -m bad one.tok
    assert_fails "one.tok: has 1 labels, but bad gives" "id2label"
}
