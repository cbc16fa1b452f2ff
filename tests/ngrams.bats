#!/usr/bin/env bats
# Hashed n-grams in record streams: mtok makes them, all others pass them on.

load helper

setup() {
    enter_scratch
    labelled_rows 40 >rows.csv
    mtok --learn 60 -q rows.csv >vocab.tar
}

# field FILE NAME: its field's dtype and shape in the stream's first part.
field() {
    tar -xOf "$1" part-00000000.safetensors | tail -c +9 | tr -d '\0' | grep -ao "\"$2\":{[^}]*}" | head -1
}

@test "--ngrams: the header says which, the parts carry them, the same bytes with any number of threads" {
    mtok -m vocab.tar -q rows.csv >plain.tok
    mtok -m vocab.tar -q --ngrams -j 1 rows.csv >one.tok
    mtok -m vocab.tar -q --ngrams -j 3 <rows.csv >three.tok
    assert_same one.tok three.tok
    run bash -c 'tar -xOf one.tok stream.json | jq -c .grams,.fields'
    assert_status 0
    assert_says '{"buckets":262144,"chars":[2,5],"words":2}' '"grams","gram_offsets"'
    run field one.tok gram_offsets
    assert_says '"I64"' '[41]'
    run bash -c 'tar -xOf plain.tok stream.json | jq -c .grams'
    assert_says null
    run field plain.tok grams
    [ -z "$output" ]
}

@test "--ngrams=SPEC: what it says, and nonsense is refused with the range" {
    mtok -m vocab.tar -q --ngrams=buckets=1000,chars=3,words=0 rows.csv >few.tok
    run bash -c 'tar -xOf few.tok stream.json | jq -c .grams,.history[-1].arguments'
    assert_says '{"buckets":1000,"chars":[3,3],"words":0}' '--ngrams=buckets=1000,chars=3-3,words=0'
    for bad in 'buckets=3|16' 'chars=2-9|8' 'words=6|5' 'chars=0,words=0|no characters and no words' 'colour=1|is not buckets' 'chars|expected buckets=N'; do
        run mtok -m vocab.tar "--ngrams=${bad%|*}" rows.csv
        assert_status 2
        assert_says --ngrams "${bad#*|}"
    done
    for mode in --ids --decode --audit; do
        run mtok -m vocab.tar --ngrams $mode rows.csv
        assert_status 2
        assert_says "--ngrams and $mode exclude each other"
    done
}

@test "a model that counts n-grams gets its own, without being asked" {
    mkdir model
    tar -xf vocab.tar -C model
    rm model/millet.json
    jq '.millet_ngram = {buckets: 512, chars: [2, 3], words: 1, encoder_gate: 1, ngram_gate: 1}' model/config.json >c.json
    mv c.json model/config.json
    for option in '' --ngrams; do
        run bash -c "mtok -m model -q $option rows.csv | tar -xO stream.json | jq -c .grams"
        assert_status 0
        assert_says '{"buckets":512,"chars":[2,3],"words":1}'
    done
    run bash -c 'mtok -m model -q --ngrams=words=1 rows.csv | tar -xO stream.json | jq -c .grams'
    assert_says '{"buckets":262144,"chars":[2,5],"words":1}'
    jq '.millet_ngram.chars = [3, 2]' model/config.json >c.json
    mv c.json model/config.json
    run mtok -m model -q -o out.tok rows.csv
    assert_fails millet_ngram 'the smaller first'
    [ ! -e out.tok ]
}

@test "streams with other n-grams, or none, do not mix" {
    mtok -m vocab.tar -q rows.csv >plain.tok
    mtok -m vocab.tar -q --ngrams=words=1 rows.csv >one.tok
    mtok -m vocab.tar -q --ngrams rows.csv >two.tok
    cat one.tok two.tok >mixed.tok
    run mtok -m vocab.tar --decode mixed.tok
    assert_fails 'n-grams buckets=262144,chars=2-5,words=2' words=1
    mstudent -m vocab.tar --shape layers=1,hidden=16,heads=2,ffn=32 --epochs 1 -q plain.tok >model.tar
    run bash -c 'mteach -m model.tar -q plain.tok two.tok -o out.tok'
    assert_fails 'two.tok: its records carry n-grams'
    [ ! -e out.tok ]
    mteach -m model.tar -q two.tok two.tok >taught.tok
    run bash -c 'tar -xOf taught.tok stream.json | jq -c .grams'
    assert_says '{"buckets":262144,"chars":[2,5],"words":2}'
    [ -n "$(field taught.tok grams)" ]
    mscore -m model.tar --predict -q two.tok >b
    mscore -m model.tar --predict -q plain.tok >a
    assert_same a b
}

@test "a model that counts n-grams: streams without them are refused, the cache tells texts apart by them" {
    mtok -m vocab.tar -q --ngrams=buckets=4096 rows.csv >grams.tok
    mstudent -q -m vocab.tar --shape ngram -o model.tar grams.tok
    mtok -m vocab.tar -q rows.csv >plain.tok
    for tool in mteach mscore; do
        run $tool -q -m model.tar plain.tok
        assert_fails 'plain.tok: its records carry n-grams none' 'buckets=4096,chars=2-5,words=2' 'mtok -m model.tar'
    done
    # Cut to three tokens most texts look alike, but for their n-grams.
    mtok -m model.tar -q --max-tokens 3 rows.csv >cut.tok
    mteach -q -m model.tar cut.tok >computed
    mteach -q -m model.tar --cache logits.cache cut.tok >first
    mteach -q -m model.tar --cache logits.cache cut.tok >second
    for file in computed first second; do
        mscore -q --predict --top 3 $file >$file.txt
    done
    assert_same computed.txt first.txt
    assert_same computed.txt second.txt
    [ "$(sort -u computed.txt | wc -l)" -gt "$(mtok -q -m model.tar --ids --max-tokens 3 rows.csv | sort -u | wc -l)" ]
    mtok -m model.tar -q rows.csv | mscore -q -m model.tar --predict --top 3 >whole.txt
    assert_same computed.txt whole.txt
}
