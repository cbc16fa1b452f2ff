# helper.bash: `load helper` at the top of every .bats file.
#
# The tools under test come first in PATH, so an installed mtok is never tested; each test works in a directory of its own.
# shellcheck shell=bash

if [ -z "${MILLET_BIN:-}" ]; then
    MILLET_BIN=$(cd "$BATS_TEST_DIRNAME/../bin" && pwd)
fi
export MILLET_BIN
MILLET_ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd) # the repository: examples/, man/
export MILLET_ROOT
PATH=$MILLET_BIN:$PATH
export PATH LC_ALL=C.UTF-8
unset MILLET_DEVICE MILLET_THREADS

bats_require_minimum_version 1.5.0

# A file's own setup() replaces this one; it then calls enter_scratch itself.
setup() {
    enter_scratch
}

enter_scratch() {
    cd "$BATS_TEST_TMPDIR" || return 1
}

# assert_status N: the last `run` ended with N. Shows what it said when not.
assert_status() {
    [ "$status" -eq "$1" ] && return 0
    printf 'exit status %s, expected %s; output:\n%s\n%s\n' "$status" "$1" "$output" "${stderr:-}" >&2
    return 1
}

# assert_says TEXT…: the last run's output (with --separate-stderr, its stderr too) contains each text.
assert_says() {
    local text
    for text; do
        case $output${stderr:-} in
        *"$text"*) ;;
        *)
            printf 'expected to find: %s\noutput:\n%s\n%s\n' "$text" "$output" "${stderr:-}" >&2
            return 1
            ;;
        esac
    done
}

# assert_fails TEXT…: exit status 1 and one message that contains each text.
assert_fails() {
    assert_status 1 && assert_says "$@"
}

# assert_same FILE FILE: equal bytes.
assert_same() {
    cmp -- "$1" "$2" >&2
}

# need_shared PATH: skip without ../shared/PATH; otherwise its absolute path is in $shared.
need_shared() {
    shared=$MILLET_ROOT/../shared/$1
    [ -e "$shared" ] || shared=${MILLET_SHARED:-/nonexistent}/$1
    [ -e "$shared" ] || skip "no $1 in ../shared"
}

# labelled_rows N: N CSV rows "text,label" of made-up words in three classes that a small model can tell apart.
labelled_rows() {
    awk -v n="$1" 'BEGIN {
        print "text,label"
        split("राजा शहर पाणी घर झाड", common, " ")
        split("क्रिकेट सामना खेळाडू धाव", word0, " ")
        split("बाजार शेअर बँक पैसा", word1, " ")
        split("चित्रपट गाणे अभिनेता नाटक", word2, " ")
        state = 12345
        for (i = 0; i < n; i++) {
            class = i % 3
            line = ""
            words = 3 + i % 5
            for (w = 0; w < words; w++) {
                state = state * 16807 % 2147483647 # exact in a double
                k = int(state / 1024)
                if (k % 3 == 0) token = common[1 + int(k / 3) % 5]
                else if (class == 0) token = word0[1 + int(k / 3) % 4]
                else if (class == 1) token = word1[1 + int(k / 3) % 4]
                else token = word2[1 + int(k / 3) % 4]
                line = line (w ? " " : "") token
            }
            printf "%s %d,%s\n", line, i, class == 0 ? "sport" : class == 1 ? "money" : "film"
        }
    }'
}

# small_model DIR: in DIR make data.csv, vocab.tar (a model without weights), data.tok and model.tar (2 layers, trained a
# little): what most tests of the later tools need, in about a second. For setup_file.
small_model() {
    labelled_rows 60 > "$1/data.csv" &&
        mtok --learn 150 -o "$1/vocab.tar" "$1/data.csv" &&
        mtok -m "$1/vocab.tar" -o "$1/data.tok" "$1/data.csv" &&
        mstudent -q -j 1 -m "$1/vocab.tar" --shape layers=2,hidden=32,heads=2,ffn=64 --epochs 1 \
            -o "$1/model.tar" "$1/data.tok"
}
