#!/usr/bin/env bats
# mquant: formats, sizes, what it refuses, and that the int8 model still answers.

load helper

setup_file() {
    small_model "$BATS_FILE_TMPDIR"
    cd "$BATS_FILE_TMPDIR"
    mprune -q -j 1 -m model.tar --method fisher --keep 60% -o pruned.tar data.tok
}

# logits MODEL: what mteach says of data.tok, as bytes of the part.
logits() {
    mteach -q -j 1 -m "$1" data.tok | tar xOf - part-00000000.safetensors
}

setup() {
    enter_scratch
    ln -s "$BATS_FILE_TMPDIR"/*.t?? .
}

bytes() {
    stat -Lc %s "$1"
}

@test "fp16 and bf16 halve a model, int8 makes it smaller still" {
    for format in fp32 fp16 bf16 int8; do
        mquant -q --to $format -o $format.tar model.tar
    done
    tar xOf model.tar model.safetensors > fp32.weights
    for format in fp16 bf16 int8; do tar xOf $format.tar model.safetensors > $format.weights; done
    [ $(($(bytes fp16.weights) * 100)) -lt $(($(bytes fp32.weights) * 60)) ]
    [ $(($(bytes bf16.weights) * 100)) -lt $(($(bytes fp32.weights) * 60)) ]
    [ "$(bytes int8.weights)" -lt "$(bytes fp16.weights)" ]
    [ "$(bytes int8.tar)" -lt "$(bytes fp16.tar)" ]
    [ "$(bytes fp16.tar)" -lt "$(bytes fp32.tar)" ]
}

@test "config.json and millet.json name the format" {
    mquant -q --to bf16 -o bf16.tar model.tar
    run tar xOf bf16.tar config.json
    assert_says '"torch_dtype": "bfloat16"'
    mquant -q --to int8 -o int8.tar bf16.tar
    run tar xOf int8.tar millet.json
    assert_says '"format": "int8"'
    mquant -q --to fp32 -o fp32.tar int8.tar
    run tar xOf fp32.tar config.json
    assert_says '"torch_dtype": "float32"'
    [[ $output != *quantization_config* ]]
}

@test "int8 says that it is rotated, keeps its codes through fp32, and cannot be made narrower" {
    mquant -q --to int8 -o int8.tar model.tar
    run tar xOf int8.tar config.json
    assert_says '"quant_method": "millet-int8-rotated"'
    mquant -q --to fp32 int8.tar | mquant -q --to int8 -o again.tar
    mscore -q -j 1 -m int8.tar --predict data.tok > a
    mscore -q -j 1 -m again.tar --predict data.tok > b
    assert_same a b
    run mstudent -q -j 1 -m int8.tar --hidden 16 --epochs 1 -o x.tar data.tok
    assert_fails 'rotated' 'mquant --to fp32'
    [ ! -e x.tar ]
}

@test "a student of a model in another format is fp32, and its config.json says so" {
    for format in bf16 int8; do
        mquant -q --to $format model.tar | mstudent -q -j 1 -m - --epochs 1 -o again.tar data.tok
        run tar xOf again.tar config.json
        assert_says '"torch_dtype": "float32"'
        [[ $output != *quantization_config* ]]
    done
}

@test "what was done to a model is told after other things are done to it" {
    mquant -q --dense pruned.tar | mquant -q --to fp16 -o half.tar
    run tar xOf half.tar millet.json
    assert_says '"format": "fp16"' '"dense": {' '"pruned": {'
    mprune -q -m half.tar --method layers --keep 50% | mquant -q --to onnx -o onnx.tar
    run tar xOf onnx.tar millet.json
    assert_says '"format": "onnx"' '"dense": {' '"before": {'
}

@test "the history grows by one stage, the tokenizer stays as it was" {
    mquant -q --to int8 -o int8.tar model.tar
    run tar xOf int8.tar millet.json
    assert_says '"program": "mstudent"' '"program": "mquant"'
    tar xOf model.tar vocab.txt > before
    tar xOf int8.tar vocab.txt > after
    assert_same before after
}

@test "fp32 to fp32 changes no answer, the second time no byte of the weights" {
    mquant -q --to fp32 -o same.tar model.tar
    mscore -q -j 1 -m model.tar --predict data.tok > before
    mscore -q -j 1 -m same.tar --predict data.tok > after
    assert_same before after
    tar xOf same.tar model.safetensors > before
    mquant -q --to fp32 same.tar | tar xOf - model.safetensors > after
    assert_same before after
}

@test "the int8 model gives nearly the predictions of the fp32 model" {
    mscore -q -j 1 -m model.tar --predict data.tok | cut -f 1 > expected
    for format in fp16 bf16 int8; do
        mquant -q --to $format -o $format.tar model.tar
        mscore -q -j 1 -m $format.tar --predict data.tok | cut -f 1 > found
        [ "$(wc -l < found)" -eq 60 ]
        different=$(paste expected found | awk '$1 != $2' | wc -l)
        [ "$different" -le 4 ]
    done
}

@test "the same bytes twice, into a file and into a pipe" {
    mquant -q --to int8 -o one.tar model.tar
    mquant -q --to int8 model.tar | cat > two.tar
    assert_same one.tar two.tar
}

@test "a directory, a pipe and a compressed tar are models too" {
    mkdir dir
    tar xf model.tar -C dir
    gzip -c model.tar > model.tar.gz
    mquant -q --to int8 -o expected.tar model.tar
    tar xOf expected.tar model.safetensors > expected
    mquant -q --to int8 dir | tar xOf - model.safetensors > found
    assert_same expected found
    mquant -q --to int8 model.tar.gz | tar xOf - model.safetensors > found
    assert_same expected found
    mquant -q --to int8 < model.tar | tar xOf - model.safetensors > found
    assert_same expected found
    # shellcheck disable=SC2002 # a real pipe
    cat model.tar | mquant -q --to int8 - | tar xOf - model.safetensors > found
    assert_same expected found
}

@test "a note says the sizes; -q is silent" {
    run --separate-stderr mquant --to int8 -o x.tar model.tar
    assert_status 0
    assert_says 'mquant: int8:' 'MB' '% of the size'
    [ -z "$output" ]
    run mquant -q --to int8 -o x.tar model.tar
    assert_status 0
    [ -z "$output" ]
}

@test "mistakes in the command line: status 2, nothing on standard output" {
    run --separate-stderr mquant model.tar
    assert_status 2
    assert_says '--to is missing'
    [ -z "$output" ]
    run --separate-stderr mquant --to int4 model.tar
    assert_status 2
    assert_says '"int4" is not fp32, fp16, bf16, int8 or onnx'
    [ -z "$output" ]
    run --separate-stderr mquant --dense --to fp16 model.tar
    assert_status 2
    assert_says '--dense and --to are two runs'
    run --separate-stderr mquant --to int8 model.tar vocab.tar
    assert_status 2
    assert_says '2 models given'
    run --separate-stderr mquant --to int8 --seed 1 model.tar
    assert_status 2
    assert_says '--seed needs --budget'
    for option in --device=cpu --threads=1; do
        run --separate-stderr mquant --to int8 $option model.tar
        assert_status 2
        assert_says "${option%=*} needs --on"
    done
    cp -L model.tar own.tar
    run --separate-stderr mquant --to int8 -o own.tar own.tar
    assert_status 2
    assert_says 'both input and output'
    assert_same own.tar model.tar
}

@test "a model without weights is refused" {
    run mquant --to int8 -o x.tar vocab.tar
    assert_fails 'vocab.tar: the model has no weights'
    [ ! -e x.tar ]
}

@test "what is no model is refused, and nothing appears under the final name" {
    : > empty
    head -c 3000 /dev/zero | tr '\0' x > junk
    mkdir nothing
    head -c "$(($(bytes model.tar) / 2))" model.tar > half.tar
    for input in empty junk nothing half.tar nosuch; do
        run mquant --to int8 -o x.tar "$input"
        assert_fails "mquant: " "$input"
        [ ! -e x.tar ]
    done
    run bash -c 'mquant --to int8 -o x.tar < empty'
    assert_fails 'mquant: <stdin>'
    run mquant --to int8 -o x.tar data.tok
    assert_fails 'data.tok'
    [ ! -e x.tar ]
}

@test "a flipped byte in the weights is noticed" {
    cp -L model.tar bad.tar
    chmod u+w bad.tar
    at=$(($(bytes bad.tar) / 2))
    byte=$(od -An -tu1 -j $at -N 1 bad.tar)
    # shellcheck disable=SC2059 # an octal escape
    printf "\\$(printf %o $((byte ^ 255)))" | dd of=bad.tar bs=1 seek=$at conv=notrunc status=none
    run mquant --to int8 -o x.tar bad.tar
    assert_fails 'bad.tar'
    [ ! -e x.tar ]
}

@test "in a pipe the last tool shows the first cause" {
    run bash -c 'mquant -q --to fp16 nosuch 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mquant failed: ' 'nosuch'
    run bash -c 'mquant -q --to fp16 -o - nosuch 2>/dev/null | mquant -q --to int8 > x.tar'
    assert_fails 'mquant failed: ' 'nosuch'
}

@test "a full disk is a failure with a message" {
    [ -c /dev/full ] || skip "no /dev/full"
    run bash -c 'mquant -q --to int8 model.tar > /dev/full'
    assert_fails 'No space left'
}

@test "--dense pads a pruned model and says what it cost; the predictions stay" {
    run --separate-stderr mquant --dense -o dense.tar pruned.tar
    assert_status 0
    assert_says 'mquant: dense:' 'of zeros added:' 'weights ->' 'MB'
    [ -z "$output" ]
    mscore -q -j 1 -m pruned.tar --predict data.tok > before
    mscore -q -j 1 -m dense.tar --predict data.tok > after
    run awk -F '\t' 'NR == FNR { label[NR] = $1; p[NR] = $2; next }
        $1 != label[FNR] || $2 - p[FNR] > 2e-6 || p[FNR] - $2 > 2e-6 { print FNR }' before after
    assert_status 0
    [ -z "$output" ] && [ "$(wc -l < after)" -eq 60 ]
    run tar xOf dense.tar millet.json
    assert_says '"dense": {' '"zeros": ' '"pruned": {' '"--dense"'
    [ "$(bytes dense.tar)" -gt "$(bytes pruned.tar)" ]
}

@test "--dense has nothing to do where the class holds the shape, and says so" {
    run --separate-stderr mquant --dense -o dense.tar model.tar
    assert_status 0
    assert_says 'nothing was added'
    mquant -q --to fp32 model.tar | tar xOf - model.safetensors > before
    tar xOf dense.tar model.safetensors > after
    assert_same before after
}

@test "--dense and --to onnx refuse an int8 model and name the remedy" {
    mquant -q --to int8 -o int8.tar pruned.tar
    for how in --dense '--to=onnx'; do
        run mquant $how -o x.tar int8.tar
        assert_fails 'int8.tar: tensor ' 'mquant --to fp32'
        [ ! -e x.tar ]
        run bash -c 'mquant -q --to fp32 int8.tar | mquant -q "$1" -o y.tar' - $how
        assert_status 0
    done
}

@test "--to onnx writes a directory: model.onnx, config.json and the tokenizer" {
    run --separate-stderr mquant --to onnx -o onnx.tar pruned.tar
    assert_status 0
    assert_says 'mquant: onnx:' 'nodes' 'weights' 'MB'
    run tar tf onnx.tar
    assert_says config.json vocab.txt model.onnx millet.json
    [[ $output != *safetensors* ]]
    mquant --to onnx pruned.tar 2> /dev/null | cat > piped.tar
    assert_same onnx.tar piped.tar
    run tar xOf onnx.tar millet.json
    assert_says '"format": "onnx"' '"pruned": {' '"model.onnx": {'
    run mscore -m onnx.tar data.tok
    assert_fails 'onnx.tar: the weights are in model.onnx' 'take the model'
}

@test "a full disk in the middle of model.onnx is a failure with a message" {
    [ -c /dev/full ] || skip "no /dev/full"
    run bash -c 'mquant -q --to onnx model.tar > /dev/full'
    assert_fails 'No space left'
}

# onnx_logits MODEL.onnx FILE: do ONNX Runtime's logits of the ids in FILE equal those in FILE, one by one and in padded batches?
onnx_logits() {
    "$python" - "$1" "$2" << 'END'
import sys
import numpy as np, onnxruntime, safetensors.numpy
try:
    import onnx
    onnx.checker.check_model(sys.argv[1], full_check=True)
except ImportError:
    pass
part = safetensors.numpy.load(open(sys.argv[2], "rb").read())
edge, n = part["offsets"], len(part["offsets"]) - 1
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
worst = 0.0
for batch in 1, 7:
    for first in range(0, n, batch):
        last = min(first + batch, n)
        length = int(max(edge[first + 1 : last + 1] - edge[first:last]))
        # Padding of other ids than 0: the mask alone must count.
        ids = np.full((last - first, length), 5, np.int64)
        mask = np.zeros((last - first, length), np.int64)
        for i in range(first, last):
            k = edge[i + 1] - edge[i]
            ids[i - first, :k], mask[i - first, :k] = part["ids"][edge[i] : edge[i + 1]], 1
        found = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        worst = max(worst, float(np.abs(found - part["logits"][first:last]).max()))
print(n, "texts", worst)
sys.exit(not worst < 1e-4)
END
}

need_onnxruntime() {
    python=${MILLET_PYTHON:-python3}
    "$python" -c 'import numpy, onnxruntime, safetensors' 2> /dev/null ||
        skip "no Python with numpy, onnxruntime and safetensors"
}

@test "ONNX Runtime computes our logits, padded batches included" {
    need_onnxruntime
    mkdir mean
    tar xf pruned.tar -C mean
    rm mean/millet.json # its checksums are of the config as it was
    sed -i 's/^{/{ "millet_pool": "mean",/' mean/config.json
    tar cf mean.tar -C mean .
    for model in model pruned mean; do
        mkdir -p $model
        mquant -q --to onnx $model.tar | tar xf - -C $model
        logits $model.tar > $model.part
        run onnx_logits $model/model.onnx $model.part
        assert_status 0
        assert_says '60 texts'
    done
}

@test "ONNX Runtime computes the logits of transformers for every architecture" {
    need_onnxruntime
    for dir in "$MILLET_ROOT"/tests/golden/models/*; do
        name=${dir##*/}
        [ "$name" != bert-bare ] || continue # no classifier
        mkdir "$name"
        mquant -q --to onnx "$dir" | tar xf - -C "$name"
        echo "$name" >&2
        run onnx_logits "$name/model.onnx" "$dir/golden.safetensors"
        assert_status 0
        assert_says ' texts '
        echo "$output" >&2
    done
}
