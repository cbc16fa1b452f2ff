#!/usr/bin/env bats
# mtok: text to tokens and back, vocabularies, audits.

load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    labelled_rows 200 > data.csv
    mtok -q --learn 200 -o vocab.tar data.csv
    mkdir vocab bare
    tar xf vocab.tar -C vocab
    cp "$MILLET_ROOT/tests/golden/tokenizer/vocab.txt" bare
    echo '{"do_lower_case": false}' > bare/tokenizer_config.json
}

setup() {
    enter_scratch
    W=$BATS_FILE_TMPDIR
    V=$W/vocab.tar
}

@test "golden ids of the shared vocabulary, all texts" {
    need_shared data/vocab
    mtok -q -m "$shared" --format jsonl --text text --max-tokens 100000 --ids "$shared/golden.jsonl" > ids
    sed -E 's/.*"ids": ?\[([0-9, ]*)\].*/\1/; s/, ?/ /g' "$shared/golden.jsonl" > expected
    [ "$(wc -l < ids)" -eq 1248 ]
    assert_same ids expected
}

@test "golden ids of our own, through a directory of tokenizer files" {
    for lower in true false; do
        for strip in true false null; do
            echo "{\"do_lower_case\": $lower, \"strip_accents\": $strip}" > config
            cp -r "$W/bare" "m-$lower-$strip"
            cp config "m-$lower-$strip/tokenizer_config.json"
            mtok -q -m "m-$lower-$strip" --ids "$MILLET_ROOT/tests/golden/tokenizer/texts.jsonl" > ids
            assert_same ids "$MILLET_ROOT/tests/golden/tokenizer/lower-$lower-strip-$strip.ids"
        done
    done
}

@test "a directory, a tar and a compressed tar of a model, and standard input, are one" {
    gzip -c "$V" > v.tar.gz
    mtok -m "$V" --ids "$W/data.csv" > a
    for m in "$W/vocab" v.tar.gz; do
        mtok -m "$m" --ids "$W/data.csv" > b
        assert_same a b
    done
    mtok -m - --ids "$W/data.csv" < "$V" > b
    assert_same a b
}

@test "a model from a pipe with a name, which can be opened only once" {
    mtok -m "$V" "$W/data.csv" > a
    mtok -m "$W/bare" --ids "$W/data.csv" > a.ids
    mkfifo model
    cat "$V" > model &
    timeout 20 mtok -m model "$W/data.csv" > b
    wait
    mtok -m "$V" --decode a > a.text
    mtok -m "$V" --decode b > b.text
    assert_same a.text b.text
    tar cf bare.tar -C "$W/bare" .
    mtok -m - --ids "$W/data.csv" < bare.tar > b.ids # without config.json
    assert_same a.ids b.ids
}

@test "a model without a tokenizer: named once" {
    mkdir none
    echo '{"model_type": "bert"}' > none/config.json
    run --separate-stderr mtok -m none --ids "$W/data.csv"
    assert_status 1
    assert_says 'mtok: none: has no tokenizer: neither tokenizer.json nor vocab.txt'
}

@test "the same bytes with any number of threads, from a file and from a pipe" {
    for i in {1..60}; do tail -n +2 "$W/data.csv"; done | sed '1i text,label' > big.csv # six parts
    [ "$(wc -l < big.csv)" -gt 8192 ]
    mtok -j 1 -m "$V" --keep-text big.csv > 1
    for j in 2 3 8; do
        mtok -j "$j" -m "$V" --keep-text big.csv > 2
        assert_same 1 2
        mtok -j "$j" -m "$V" --ids big.csv > ids.$j
    done
    assert_same ids.2 ids.8
    cat big.csv | mtok -j 2 -m "$V" --keep-text > 2
    assert_same 1 2
    mtok -m "$V" --keep-text -o 2 big.csv
    assert_same 1 2
    run tar tf 1
    [ "$output" = "$(printf 'stream.json\npart-00000000.safetensors\npart-00000001.safetensors\npart-00000002.safetensors\npart-00000003.safetensors\npart-00000004.safetensors\npart-00000005.safetensors\nend.json')" ]
}

@test "labels of a pipe without a model's labels are collected in a first pass and sorted" {
    mtok -m "$W/bare" < "$W/data.csv" > s.tok
    run tar xOf s.tok stream.json
    assert_says '"film"' '"money"' '"sport"'
    [ "$(tr -d ' \n' <<< "$output" | grep -o '\["film","money","sport"\]')" ]
}

@test "--new-labels: the labels of the data, for a new classifier" {
    sed 's/,film$/,cinema/' "$W/data.csv" > new.csv
    run mtok -m "$V" -o out new.csv
    assert_fails --new-labels
    mtok -m "$V" --new-labels -o out new.csv
    run bash -c "tar xOf out stream.json | tr -d ' \n'"
    assert_says '"labels":["cinema","money","sport"]' '"--new-labels"'
    run mtok -m "$V" --new-labels --ids new.csv
    assert_status 2
}

@test "a model's labels decide; an unknown one is named with its line, or skipped" {
    sed '5s/,.*/,Foo/' "$W/data.csv" > bad.csv
    run mtok -m "$V" -o out bad.csv
    assert_fails 'bad.csv:5: label "Foo" is not one of the model'"'"'s 3 labels (film, money, sport)' --skip-bad
    [ ! -e out ]
    run mtok -m "$V" --skip-bad -o out bad.csv
    assert_status 0
    assert_says '1 bad rows were skipped'
    run bash -c "tar xOf out end.json | tr -d ' '"
    assert_says '"records":199'
}

@test "place holders for labels give way to the labels of the data, unless these use them" {
    cp -r "$W/vocab" generic
    echo '{"model_type": "bert", "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}' > generic/config.json
    rm -f generic/millet.json
    mtok -m generic "$W/data.csv" > a.tok
    run bash -c "tar xOf a.tok stream.json | tr -d ' \n'"
    assert_says '["film","money","sport"]'
    printf 'text,label\na,LABEL_1\n' | mtok -q -m generic > b.tok
    run bash -c "tar xOf b.tok stream.json | tr -d ' \n'"
    assert_says '["LABEL_0","LABEL_1"]'
}

@test "a row with too few cells is named; --skip-bad goes on" {
    printf 'text,label\na,film\nb\nc,money\n' > few.csv
    run mtok -m "$V" --ids few.csv
    assert_fails 'few.csv:3: the row has 1 cell, but column 2 is the label'
    run mtok -q -m "$V" --ids --skip-bad few.csv
    assert_status 0
    [ "${#lines[@]}" -eq 2 ]
}

@test "a failure reaches the next tool of the pipe" {
    printf 'text,label\na,film\n"open,money\n' > open.csv
    run bash -c "mtok -m '$V' open.csv 2>/dev/null | mtok -m '$V' --decode"
    assert_fails 'open.csv:3: a quoted cell of the row that begins here never ends'
    run bash -c "mtok -m nowhere open.csv 2>/dev/null | mtok -m '$V' --decode"
    assert_fails nowhere
}

@test "stray headers are left out and counted" {
    cat "$W/data.csv" "$W/data.csv" > twice.csv
    run mtok -m "$V" -o out twice.csv
    assert_status 0
    assert_says '1 stray header rows'
    run bash -c "tar xOf out end.json | tr -d ' '"
    assert_says '"records":400'
}

@test "the formats give the same records" {
    tail -n +2 "$W/data.csv" > rows
    mtok -q -m "$V" --ids "$W/data.csv" > csv
    sed 's/,/\t/' "$W/data.csv" > d.tsv
    sed -E 's/(.*),(.*)/{"label": "\2", "text": "\1"}/' rows > d.jsonl
    sed -E 's/(.*),(.*)/__label__\2 \1/' rows > d.txt
    cut -d, -f1 rows > plain
    for file in d.tsv d.jsonl d.txt plain; do
        mtok -q -m "$V" --ids "$file" > ids
        assert_same csv ids
        mtok -q -m "$V" --ids < "$file" > ids
        assert_same csv ids
    done
    mtok -q -m "$V" --ids --format csv --text 1 --label 2 rows > ids
    assert_same csv ids
    mtok -m "$V" "$W/data.csv" | tar xOf - part-00000000.safetensors > 1
    mtok -m "$V" d.txt | tar xOf - part-00000000.safetensors > 2
    assert_same 1 2
}

@test "--format must fit, and columns must exist" {
    run mtok -m "$V" --format jsonl --ids "$W/data.csv"
    assert_fails 'data.csv:1: column 1: found' 'expected an object'
    run mtok -m "$V" --text Headline --ids "$W/data.csv"
    assert_fails 'no text column "Headline"' 'the columns are: text, label'
    run mtok -m "$V" --format plain --text text --ids "$W/data.csv"
    assert_fails 'no columns'
}

@test "empty input, a header alone, a missing file, a directory" {
    : > empty.csv
    run mtok -m "$V" --ids empty.csv
    assert_fails 'empty.csv: the input is empty'
    echo text,label > header.csv
    run mtok -m "$V" --ids header.csv
    assert_fails 'no rows'
    run mtok -m "$V" --ids nowhere.csv
    assert_fails 'nowhere.csv' 'No such file'
    run mtok -m "$V" --ids .
    assert_fails 'directory'
}

@test "invalid UTF-8 and empty texts are counted, not refused" {
    printf 'text,label\na\377b,film\n"",money\n' > d.csv
    run mtok -m "$V" --ids d.csv
    assert_status 0
    assert_says '1 invalid UTF-8 sequences' '1 texts are empty' '2 3'
}

@test "--max-tokens cuts texts, keeps the special tokens, and says so" {
    run mtok -m "$V" --ids --max-tokens 4 "$W/data.csv"
    assert_status 0
    assert_says '200 texts were cut'
    [[ ${lines[0]} =~ ^2\ [0-9]+\ [0-9]+\ 3$ || ${lines[1]} =~ ^2\ [0-9]+\ [0-9]+\ 3$ ]]
    run mtok -m "$V" --ids --max-tokens 1 "$W/data.csv"
    assert_fails 'cannot hold the 2 special tokens'
}

@test "--decode gives the words back" {
    cut -d, -f1 "$W/data.csv" | tail -n +2 > plain
    mtok -m "$V" plain | mtok -m "$V" --decode > back
    assert_same plain back
    run bash -c "mtok -m '$W/bare' plain | mtok -m '$V' --decode"
    assert_fails 'another tokenizer'
}

@test "--learn: special tokens first, labels in the config, the same bytes twice" {
    mtok --learn 200 "$W/data.csv" > again.tar
    tar xOf "$V" vocab.txt > v1
    tar xOf again.tar vocab.txt > v2
    assert_same v1 v2
    cat "$W/data.csv" | mtok --learn 200 > again.tar
    assert_same "$V" again.tar
    [ "$(head -5 v1 | tr '\n' ' ')" = "[PAD] [UNK] [CLS] [SEP] [MASK] " ]
    [ "$(sort v1 | uniq -d | wc -l)" -eq 0 ]
    run bash -c "tar xOf '$V' config.json | tr -d ' \n'"
    assert_says '"model_type":"bert"' "\"vocab_size\":$(wc -l < v1)" '"id2label":{"0":"film","1":"money","2":"sport"}' \
        '"label2id":{"film":0,"money":1,"sport":2}'
    run bash -c "tar xOf '$V' tokenizer_config.json | tr -d ' \n'"
    assert_says '"do_lower_case":false' '"strip_accents":false'
}

@test "--learn --lower learns lower case; too little text is an error" {
    printf 'Ab AB ab\nÉa éa\n' | mtok --learn 50 --lower > low.tar
    run tar xOf low.tar vocab.txt
    assert_says ab ea
    run bash -c "tar xOf low.tar vocab.txt | tail -n +6 | grep -c '[A-Z]'"
    [ "$output" = 0 ]
    run bash -c 'echo ab | mtok --learn 50'
    assert_status 1
    assert_says 'nothing to learn'
}

@test "--learn --algorithm unigram: the same bytes with any number of threads and order of rows" {
    text=$BATS_TEST_DIRNAME/golden/tokenizer-learn/text.txt
    mtok --learn 400 --algorithm unigram -j 1 "$text" > 1.tar
    mtok --learn 400 --algorithm unigram -j 3 -o 3.tar "$text"
    assert_same 1.tar 3.tar
    sort -r "$text" | mtok --learn 400 --algorithm unigram > sorted.tar
    assert_same 1.tar sorted.tar
    mtok --learn 300 --algorithm unigram "$W/data.csv" > labelled.tar
    run bash -c "tar xOf labelled.tar config.json | tr -d ' \n'"
    assert_says '"model_type":"bert"' '"pad_token_id":1' '"label2id":{"film":0,"money":1,"sport":2}'
    run bash -c "tar xOf 1.tar tokenizer.json | tr -d ' \n'"
    assert_says '"normalizer":{"type":"NFKC"}' '"type":"Unigram"' '"unk_id":3' '[["<s>",0.0],["<pad>",0.0],["</s>",0.0],["<unk>",0.0],["<mask>",0.0],'
}

@test "--learn --algorithm unigram: ids as Hugging Face gives them with what is learnt" {
    golden=$BATS_TEST_DIRNAME/golden/tokenizer-learn
    mtok -q --learn 400 --algorithm unigram --format plain -o learnt.tar "$golden/text.txt"
    mtok -q -m learnt.tar --ids --format plain "$golden/text.txt" > ids
    mtok -q -m learnt.tar --ids --format jsonl --max-tokens 100000 "$golden/hard.jsonl" >> ids
    assert_same "$golden/ids" ids
}

@test "byte-level BPE: ids as Hugging Face's, from tokenizer.json and from vocab.json + merges.txt" {
    golden=$BATS_TEST_DIRNAME/golden/tokenizer-bpe
    for kind in roberta roberta-files modernbert; do
        mtok -q -m "$golden/$kind" --ids --format jsonl --max-tokens 100000 "$golden/texts.jsonl" > ids
        assert_same "$golden/$kind.ids" ids
    done
}

@test "--learn --algorithm unigram says what it cannot do" {
    run mtok --learn 20 --algorithm unigram -o out "$BATS_TEST_DIRNAME/golden/tokenizer-learn/text.txt"
    assert_status 0 # the most frequent 15 characters
    run bash -c 'echo ab | mtok --learn 50 --algorithm unigram'
    assert_status 1
    assert_says 'no character occurs 2 times in the 1 rows: there is nothing to learn from'
    run bash -c ': | mtok --learn 50 --algorithm unigram'
    assert_status 1
    for bad in "--algorithm unigram -m $V" "--learn 50 --algorithm bpe" "--learn 50 --algorithm unigram --lower" \
        "--audit --algorithm unigram"; do
        # shellcheck disable=SC2086 # words are meant
        run --separate-stderr mtok $bad < /dev/null
        assert_status 2
        [ -z "$output" ]
    done
}

@test "--audit finds every kind of defect and says where" {
    {
        printf 'text,label\none two,x\none two,x\nthree,x\nthree,y\ntext,label\n"  ",x\nfour,\n'
        printf 'рдорд░рд╛,x\nfi\377ve,x\nsix seven eight nine,x\nshort\n'
    } > a.csv
    printf 'text,label\none two,x\n' > b.csv
    run mtok --audit --max-tokens 3 a.csv b.csv
    assert_status 0
    assert_says 'exact duplicates within a file: 2' 'a.csv:3	as a.csv:2' 'stands in an earlier file: 1' \
        'b.csv:2	as a.csv:2' 'two labels: 1' 'a.csv:5	as a.csv:4	y, there x' 'stray header rows inside the data: 1' \
        'a.csv:6' 'empty texts: 1' 'rows without a label: 1' 'a.csv:9	CP866' 'invalid UTF-8: 1' 'a.csv:11	4 words' \
        'cannot be read (too few cells, broken JSON): 1' 'a.csv:12' 'labels with few rows: 2 of 2'
    run mtok --audit --json --max-tokens 3 a.csv b.csv
    assert_status 0
    assert_says '"stray_headers"' '"mojibake"' '"note": "CP866"'
    run mtok --audit -m "$V" --max-tokens 5 a.csv
    assert_status 0
    assert_says tokens
}

@test "--audit on MahaNews finds what is known of it" {
    need_shared data/mahanews
    run mtok --audit "$shared"/Marathi_SHC_{Valid,Test}.csv
    assert_status 0
    assert_says 'stray header rows inside the data: 22' '11 in ' 'Manoranjan: 747 rows, 38 distinct texts' \
        'stands in an earlier file: 407' 'encoded again: 281' 'Fashion	481	8.7%	480	0	271' 'Travel	189	3.4%	187	0	10'
    run mtok --audit "$shared/lpc_train.csv"
    assert_status 0
}

@test "modes and options that do not go together are refused" {
    for bad in "--ids --decode" "--learn 9 x" "--learn 100 -m $V" "--lower -m $V" "--json -m $V" \
        "--ids --keep-text -m $V" "--decode --text a -m $V" "--learn 100 --max-tokens 5" "--audit --skip-bad" \
        "--format xml -m $V" "--max-tokens 0 -m $V" "" "-m $V -m $V" "-m - -"; do
        # shellcheck disable=SC2086 # words are meant
        run --separate-stderr mtok $bad < /dev/null
        assert_status 2
        [ -z "$output" ]
    done
}

@test "a tokenizer that Millet does not know is refused by name" {
    cp -r "$W/bare" other
    echo '{"tokenizer_class": "AlbertTokenizer"}' > other/tokenizer_config.json
    run mtok -m other --ids "$W/data.csv"
    assert_fails AlbertTokenizer WordPiece Unigram
    mkdir nothing
    echo '{}' > nothing/tokenizer_config.json
    run mtok -m nothing --ids "$W/data.csv"
    assert_fails vocab.txt
}

# pipeline NORMALIZER PRE_TOKENIZER POST_PROCESSOR DECODER MODEL: the tokenizer.json in p, each part JSON.
pipeline() {
    mkdir -p p
    echo '{"tokenizer_class": "PreTrainedTokenizerFast"}' > p/tokenizer_config.json
    printf '{"added_tokens": [], "normalizer": %s, "pre_tokenizer": %s, "post_processor": %s, "decoder": %s, "model": %s}' \
        "$@" > p/tokenizer.json
}

@test "what a tokenizer.json holds and Millet does not know is refused: the file, the part, its name" {
    word='{"type": "WordPiece", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2}}'
    bpe='"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]'
    typed='{"SpecialToken": {"id": "u", "type_id": 1}}'
    echo a > a.txt
    pipeline null null null null "$word"
    run mtok -m p --ids a.txt
    assert_status 0
    [ "$output" = 1 ]
    table=(
        '{"type": "Unheard"}|null|null|null|'"$word"'|normalizer: "Unheard" is not known'
        '{"type": "Replace", "pattern": {"Regex": "x+"}, "content": ""}|null|null|null|'"$word"'|normalizer: Replace with the regular expression "x+"'
        'null|{"type": "UnicodeScripts"}|null|null|'"$word"'|pre_tokenizer: "UnicodeScripts" is not known'
        'null|{"type": "Split", "pattern": {"Regex": "[0-9]"}, "behavior": "Isolated"}|null|null|'"$word"'|pre_tokenizer: Split with the regular expression "[0-9]"'
        'null|{"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "Odd"}]}|null|null|'"$word"'|pre_tokenizer: "Odd" is not known'
        'null|null|{"type": "Other"}|null|'"$word"'|post_processor "Other" is not known'
        'null|null|{"type": "TemplateProcessing", "single": ['"$typed"', {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"u": {"id": "u", "ids": [0]}}}|null|'"$word"'|post_processor: item 0 of "single" has another token type than 0'
        'null|null|null|{"type": "CTC"}|'"$word"'|decoder: "CTC" is not known'
        'null|null|null|null|{"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0}}|the model is of type "WordLevel"'
        'null|null|null|null|{'"$bpe"', "dropout": 0.1}|"dropout" is set'
        'null|null|null|null|{'"$bpe"', "continuing_subword_prefix": "##"}|"continuing_subword_prefix" is set'
        'null|null|null|null|{'"$bpe"', "end_of_word_suffix": "</w>"}|"end_of_word_suffix" is set'
        'null|null|null|null|{"type": "WordPiece", "unk_token": "u", "vocab": {"u": 0, "a": 2}}|vocab: no token has the id 1'
        'null|null|null|null|{"type": "WordPiece", "unk_token": "u", "vocab": {"u": 0, "a": 0}}|token id 0 has two texts: "u" and "a"'
        'null|null|null|null|{"type": "Unigram", "unk_id": 0, "vocab": [["u", 0], ["a", 1e999]]}|the score 1e999 is not a finite number'
    )
    for line in "${table[@]}"; do
        IFS='|' read -r normalizer pre post decoder model message <<< "$line"
        pipeline "$normalizer" "$pre" "$post" "$decoder" "$model"
        run mtok -m p --ids a.txt
        assert_fails 'mtok: p: tokenizer.json: ' "$message"
        [ "${#lines[@]}" -eq 1 ]
    done
}

@test "each kind of tokenizer: cut at the end, and turned back to text" {
    golden=$MILLET_ROOT/tests/golden/tokenizers
    printf '{"text": "राजा घर, a b."}\n{"text": "a\\u0000b"}\n' > t.jsonl
    while IFS='|' read -r kind cut second; do
        mtok -q -m "$golden/$kind" --max-tokens 4 --ids t.jsonl > ids
        [ "$(head -1 ids)" = "$cut" ]
        mtok -q -m "$golden/$kind" t.jsonl | mtok -m "$golden/$kind" --decode > decoded
        printf 'राजा घर, a b.\n%b\n' "$second" > expected
        assert_same decoded expected
    done <<- 'END'
	wordpiece-cased|2 612 1726 3|ab
	unigram-xlmr|0 4 207 2|ab
	bpe-roberta|0 261 112 2|a\0b
	END
}

@test "a SentencePiece model in place of tokenizer.json" {
    golden=$MILLET_ROOT/tests/golden/tokenizers
    mkdir spm
    cp "$golden/model-file-xlmr/sentencepiece.bpe.model" spm
    run mtok -m spm --ids "$W/data.csv"
    assert_fails 'a SentencePiece model needs its tokenizer_class'
    echo '{"model_type": "xlm-roberta"}' > spm/config.json
    mtok -q -m spm --ids "$golden/texts.jsonl" > ids
    assert_same ids "$golden/model-file-xlmr/ids"
    head -c 5000 "$golden/model-file-xlmr/sentencepiece.bpe.model" > spm/sentencepiece.bpe.model
    run mtok -m spm --ids "$W/data.csv"
    assert_fails 'spm: sentencepiece.bpe.model: the field at byte 4995 of 5000 is cut off'
}

@test "memory does not grow with the input" {
    [[ $(mtok --version) != *sanitized* ]] || skip "sanitizers need their own memory"
    for i in {1..100}; do tail -n +2 "$W/data.csv"; done | sed '1i text,label' > small.csv
    for i in {1..20}; do cat small.csv; done > large.csv # through pipes: pages of a mapped file would count
    small=$(cat small.csv | mtok -v -j 2 -m "$V" --ids 2>&1 > /dev/null | sed -nE 's/.*at most ([0-9]+) MB.*/\1/p')
    large=$(cat large.csv | mtok -v -j 2 -m "$V" --ids 2>&1 > /dev/null | sed -nE 's/.*at most ([0-9]+) MB.*/\1/p')
    [ "$large" -le $((small + 8)) ] || { echo "$small MB, then $large MB" >&2; return 1; }
}
