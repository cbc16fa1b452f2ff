#!/usr/bin/env bash
# kills.sh [-j THREADS] [N [MODEL STREAM]]: end training N times (20) at random moments, by SIGKILL and SIGTERM in turns, go
# on from the checkpoint, and compare what comes out with a run that was never ended: bytes, history and log included.
#
# Of mstudent (distillation with dev; together with an n-gram part; masked language model) and of mprune --method movement
# with distillation. Methods without checkpoints (fisher, second-order) are ended, too: nothing may lie under the name of
# the output, and the next run must give the same bytes. Without MODEL and STREAM (with labels, n-grams and logits: mtok
# --ngrams | mteach) small ones are made. Moments are drawn over the whole length of a run; SEED=n draws others.
# Prints a line a run; exit status 1 where something differs. A minute or two with the small model.

set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=${MILLET_BIN:-$here/../bin}:$PATH
export LC_ALL=C.UTF-8
threads=2
[ "${1:-}" != -j ] || { threads=$2; shift 2; }
kills=${1:-20}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
RANDOM=${SEED:-1}
bad=0

# shellcheck disable=SC2317 # called by helper.bash, which is made for bats
bats_require_minimum_version() { :; }
export BATS_TEST_DIRNAME=$here
# shellcheck source-path=SCRIPTDIR source=helper.bash
. "$here/helper.bash"

if [ $# -ge 3 ]; then
    model=$(realpath "$2")
    stream=$(realpath "$3")
    cd "$room" || exit 2
else
    cd "$room" || exit 2
    small_model . 2> said || { cat said >&2; exit 2; }
    labelled_rows 900 | mtok -q -m model.tar --ngrams | mteach -q -m model.tar -o taught || exit 2
    model=$room/model.tar stream=$room/taught
fi

# end_after SECONDS SIGNAL COMMAND…: whether the signal found it running; its exit status is in $code.
end_after() {
    local pid alive=1
    "${@:3}" 2> said &
    pid=$!
    sleep "$1"
    kill "-$2" "$pid" 2> /dev/null || alive=0
    wait "$pid" 2> /dev/null
    code=$?
    [ $alive = 1 ] && { [ $code = 137 ] || [ $code = 143 ]; }
}

complain() {
    echo "FAILED: $*" >&2
    [ ! -s said ] || sed 's/^/    /' said >&2
    bad=$((bad + 1))
}

# Under the name of the output there is nothing, or, where the signal came after the last write, all.
none_or_whole() {
    [ ! -e part ] || cmp -s whole part || complain "$1: half a model"
}

# The log without what depends on the clock.
steps_of() {
    sed 's/,"tokens_per_s".*/}/' "$1"
}

# moment LENGTH: seconds, uniform in 0 to LENGTH.
moment() {
    awk -v r="$RANDOM" -v t="$1" 'BEGIN { printf "%.3f", t * r / 32768 }'
}

# whole COMMAND…: the run that is never ended, to $room/whole; how long it takes is in $took.
whole() {
    local began
    rm -f log
    began=$(date +%s.%N)
    "$@" -o whole || { complain "$*"; return 1; }
    took=$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.3f", b - a }')
}

# survives NAME COMMAND…: with --log and checkpoints. Each start is ended at a moment within a quarter of the whole run, so
# that the ends fall everywhere in it; when a run arrives it is compared, and another begun, until N were ended.
survives() {
    local name=$1 done=0 arrived=0 starts=0 signal fine=$bad
    shift
    whole "$@" --log log || return
    mv log whole.log
    rm -f part part.ck log
    while [ $done -lt "$kills" ] || [ $arrived = 0 ]; do
        starts=$((starts + 1))
        [ $starts -le $((kills * 10 + 10)) ] || { complain "$name does not arrive"; return; }
        signal=$([ $((done % 2)) = 0 ] && echo KILL || echo TERM)
        if [ $done -lt "$kills" ]; then
            end_after "$(moment "$(awk -v t="$took" 'BEGIN { print t / 4 }')")" "$signal" "$@" --log log \
                --checkpoint part.ck --checkpoint-every 2 --resume -o part
        else
            "$@" --log log --checkpoint part.ck --resume -o part 2> said
            code=$?
            false
        fi && { done=$((done + 1)); none_or_whole "$name"; continue; }
        [ $code = 0 ] || { complain "$name: exit status $code"; return; }
        arrived=$((arrived + 1))
        cmp whole part || complain "$name: other bytes"
        cmp <(steps_of whole.log) <(steps_of log) || complain "$name: another log"
        [ ! -e part.ck ] || complain "$name: the checkpoint is still there"
        rm -f part part.ck log
    done
    [ "$bad" != "$fine" ] || echo "$name: a run takes $took s; ended $done times, arrived $arrived times, the same bytes and log"
}

# begins_anew NAME COMMAND…: without checkpoints.
begins_anew() {
    local name=$1 i done=0 fine=$bad
    shift
    whole "$@" || return
    for ((i = 0; i < kills; i++)); do
        rm -f part
        end_after "$(moment "$took")" "$([ $((i % 2)) = 0 ] && echo KILL || echo TERM)" "$@" -o part && {
            done=$((done + 1))
            none_or_whole "$name"
        }
    done
    if ! "$@" -o part || ! cmp whole part; then complain "$name: other bytes"; fi
    [ "$bad" != "$fine" ] || echo "$name: a run takes $took s; ended $done times of $kills, nothing under its name; then the same bytes"
}

train=(-q -j "$threads" --batch-tokens 512)
kd="alpha=0.9,temperature=2"
survives "mstudent --kd" mstudent -m "$model" "${train[@]}" --kd $kd --epochs 6 --dev "$stream" "$stream"
survives "mstudent --ngram=together" mstudent -m "$model" "${train[@]}" --ngram=together --epochs 3 "$stream"
survives "mstudent --mlm" mstudent -m "$model" "${train[@]}" --mlm --epochs 3 "$stream"
survives "mprune movement --kd" mprune -m "$model" "${train[@]}" --method movement --keep 40% --block 8x8 --kd $kd \
    --epochs 6 --dev "$stream" "$stream"
survives "mprune movement filled" mprune -m "$model" "${train[@]}" --method movement --variant filled --keep 50% --block 8x8 \
    --epochs 3 "$stream"
for method in fisher second-order; do
    begins_anew "mprune $method" mprune -q -j "$threads" -m "$model" --method $method --keep 50% "$stream"
done
[ $bad = 0 ]
