#!/usr/bin/env bats
# The manners all six tools share, one loop per row of the table of abuses: full disks, closed descriptors, readers that leave, bad
# options, bad input. Each loop names the tool it fails on.

load helper

tools="mtok mteach mprune mstudent mquant mscore"

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    small_model .
    mteach -q -m model.tar -o data.taught data.tok
}

setup() {
    enter_scratch
    W=$BATS_FILE_TMPDIR
}

# work TOOL: sets `command` to real work that reads standard input and writes standard output, and `input` to what it reads.
work() {
    input=$W/data.tok
    case $1 in
    mtok) command=(mtok -m "$W/vocab.tar") input=$W/data.csv ;;
    mteach) command=(mteach -j 1 -m "$W/model.tar") ;;
    mprune) command=(mprune -j 1 -m "$W/model.tar" --method fisher --keep 75%) ;;
    mstudent) command=(mstudent -j 1 -m "$W/vocab.tar" --shape "layers=1,hidden=16,heads=2,ffn=32" --epochs 1) ;;
    mquant) command=(mquant --to fp16) input=$W/model.tar ;;
    mscore) command=(mscore -j 1 -m "$W/model.tar") ;;
    esac
}

# The same for a tool that must notice damaged input: mtok's text can hold anything, so it decodes a stream here.
work_on_stream() {
    work "$1"
    if [ "$1" = mtok ]; then
        command=(mtok -m "$W/vocab.tar" --decode)
        input=$W/data.tok
    fi
}

# expect TOOL STATUS [TEXT…]: the last `run --separate-stderr` ended so and said so, in messages that begin with the tool's name.
expect() {
    local tool=$1 expected=$2 text
    shift 2
    if [ "$status" -ne "$expected" ]; then
        printf '%s: exit status %s, expected %s; it said:\n%s\n' "$tool" "$status" "$expected" "$stderr" >&2
        return 1
    fi
    for text; do
        case $stderr in
        "$tool: "*"$text"* | *"
$tool: "*"$text"*) ;;
        *)
            printf '%s: expected a message with: %s; it said:\n%s\n' "$tool" "$text" "$stderr" >&2
            return 1
            ;;
        esac
    done
}

# One line is one message: no tool tells a failure in several.
one_line() {
    [ "${#stderr_lines[@]}" -eq 1 ] && return 0
    printf '%s: expected one line, found:\n%s\n' "$1" "$stderr" >&2
    return 1
}

@test "all six tools are there, each with its page and its tests" {
    for t in $tools; do
        [ -x "$MILLET_BIN/$t" ] && [ "$(command -v "$t")" = "$MILLET_BIN/$t" ] || { echo "no $t" >&2; return 1; }
        [ -f "$MILLET_ROOT/man/$t.1" ] || { echo "no page $t.1" >&2; return 1; }
        [ -f "$MILLET_ROOT/tests/$t.bats" ] || { echo "no tests/$t.bats" >&2; return 1; }
    done
}

@test "real work from standard input to standard output" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < "$1" > out' - "$input" "${command[@]}"
        expect "$t" 0
        [ -s out ] || { echo "$t wrote nothing" >&2; return 1; }
    done
}

@test "standard output is /dev/full" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < "$1" > /dev/full' - "$input" "${command[@]}"
        expect "$t" 1 "No space left on device"
        one_line "$t"
    done
}

@test "-o /dev/full" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" -o /dev/full < "$1"' - "$input" "${command[@]}"
        expect "$t" 1 "No space left on device"
    done
}

@test "standard output is closed" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < "$1" >&-' - "$input" "${command[@]}"
        expect "$t" 1 "<stdout>"
    done
}

@test "with standard output closed, files opened later are not written to" {
    for t in $tools; do
        work "$t"
        before=$(cksum < "$input")
        run --separate-stderr bash -c '"${@:2}" "$1" <&- >&-' - "$input" "${command[@]}"
        expect "$t" 1
        [ "$(cksum < "$input")" = "$before" ]
    done
}

@test "the reader leaves early: killed by SIGPIPE, quietly" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c 'exec 3> >(exit); wait $!
            exec env --default-signal=PIPE "${@:2}" < "$1" >&3' - "$input" "${command[@]}"
        expect "$t" 141
        [ -z "$stderr" ] || { echo "$t said: $stderr" >&2; return 1; }
    done
}

@test "the reader leaves early and SIGPIPE is ignored: a quiet failure" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c 'exec 3> >(exit); wait $!
            trap "" PIPE
            exec "${@:2}" < "$1" >&3' - "$input" "${command[@]}"
        expect "$t" 1
        [ -z "$stderr" ] || { echo "$t said: $stderr" >&2; return 1; }
    done
}

@test "--help: standard output, status 0; on a full disk a failure" {
    for t in $tools; do
        run --separate-stderr "$t" --help
        expect "$t" 0
        [ -z "$stderr" ] && [[ $output == "usage: $t "* ]] || { echo "$t --help: $output" >&2; return 1; }
        run --separate-stderr bash -c "$t --help > /dev/full"
        expect "$t" 1 "No space left on device"
        run --separate-stderr bash -c "$t --help >&-"
        expect "$t" 1 "<stdout>"
        run --separate-stderr bash -c "$t --version > /dev/full"
        expect "$t" 1 "No space left on device"
    done
}

@test "--help and the manual page list the same options" {
    for t in $tools; do
        "$t" --help | awk '/^options:/ { on = 1; next } /^$/ { on = 0 } on && /^  +-/' |
            sed -E 's/^ *(-., )?--([a-z0-9-]+).*/\2/' | sort > help
        awk '/^\.Sh/ { on = /OPTIONS/ } on && /^\.It Fl/' "$MILLET_ROOT/man/$t.1" |
            sed -E 's/.*Fl -([a-z0-9-]+).*/\1/' | sort > page
        [ -s help ]
        diff help page || { echo "$t: --help (<) and page (>) differ" >&2; return 1; }
        "$t" --help | sed -nE 's/^ *-(.), --([a-z0-9-]+).*/\1 \2/p' | sort > help
        awk '/^\.Sh/ { on = /OPTIONS/ } on && /^\.It Fl . , Fl/' "$MILLET_ROOT/man/$t.1" |
            sed -E 's/^\.It Fl (.) , Fl -([a-z0-9-]+).*/\1 \2/' | sort > page
        diff help page || { echo "$t: short options in --help (<) and page (>) differ" >&2; return 1; }
    done
}

@test "--version: name, version, build and devices" {
    for t in $tools; do
        run --separate-stderr "$t" --version
        expect "$t" 0
        [[ $output == "$t $(cat "$MILLET_ROOT/VERSION") (build: "*cpu* ]] || { echo "$output" >&2; return 1; }
    done
}

@test "--version takes less than 10 ms" {
    [[ $(mtok --version) != *sanitized* ]] || skip "sanitizers start slowly"
    # Processor time, which neighbours do not stretch; nothing here waits.
    TIMEFORMAT='%U %S'
    for t in $tools; do
        took=$({ time for _ in {1..20}; do "$t" --version > /dev/null; done; } 2>&1 |
            awk '{ printf "%d", ($1 + $2) / 20 * 1e6 }')
        [ "$took" -lt 10000 ] || { echo "$t --version: $took microseconds" >&2; return 1; }
    done
}

@test "wrong usage: status 2, nothing on standard output" {
    for t in $tools; do
        for bad in --nonsense -Z --help=x -o; do
            run --separate-stderr "$t" "$bad"
            expect "$t" 2 "$t --help"
            [ -z "$output" ] || { echo "$t $bad wrote: $output" >&2; return 1; }
        done
    done
}

@test "numbers that are none, or out of range, are refused with the range" {
    for t in $tools; do
        "$t" --help | grep -q -- '--threads' || continue
        for bad in 0 -1 x 1x 99999999999999999999 ''; do
            run --separate-stderr "$t" -j "$bad"
            expect "$t" 2 "expected 1 to"
        done
        MILLET_THREADS=none run --separate-stderr "$t" -m x x
        expect "$t" 2 MILLET_THREADS
    done
}

@test "empty standard input" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < /dev/null > out' - "$input" "${command[@]}"
        expect "$t" 1 "<stdin>"
        [[ $stderr == *empty* ]] || { echo "$t: $stderr" >&2; return 1; }
        run --separate-stderr bash -c ': | "${@:2}" > out' - "$input" "${command[@]}"
        expect "$t" 1 "<stdin>"
    done
}

@test "standard input is a directory" {
    for t in $tools; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < / > out' - "$input" "${command[@]}"
        expect "$t" 1 "<stdin>"
        [[ $stderr == *"irectory"* ]] || { echo "$t: $stderr" >&2; return 1; }
    done
}

@test "input of another kind: neither a stream nor a model" {
    for t in $tools; do
        work_on_stream "$t"
        for junk in "GIF89a, surely" "$(printf 'text,label\none,two\n')"; do
            run --separate-stderr bash -c 'printf %s "$1" | "${@:2}" > out' - "$junk" "${command[@]}"
            expect "$t" 1 "<stdin>"
        done
    done
    # A model where records are expected, and records where a model is.
    for t in mteach mprune mstudent mscore; do
        work "$t"
        run --separate-stderr bash -c '"${@:2}" < "$1" > out' - "$W/model.tar" "${command[@]}"
        expect "$t" 1 "<stdin>"
    done
    run --separate-stderr bash -c 'mquant --to fp16 < "$1" > out' - "$W/data.tok"
    expect mquant 1 "<stdin>"
}

@test "truncated input, from a file and from a pipe: no output under its name" {
    for t in $tools; do
        work_on_stream "$t"
        size=$(wc -c < "$input")
        for keep in 1 511 512 700 $((size / 3)) $((size / 2)) $((size * 9 / 10)); do
            head -c "$keep" "$input" > cut
            run --separate-stderr "${command[@]}" -o out cut
            expect "$t" 1 cut
            run --separate-stderr bash -c 'head -c "$2" "$1" | "${@:3}" -o out' - "$input" "$keep" "${command[@]}"
            expect "$t" 1 "<stdin>"
            [ ! -e out ] || { echo "$t left output from $keep bytes" >&2; return 1; }
        done
    done
}

@test "a record stream cut at any block is refused" {
    labelled_rows 6 > few.csv
    mtok -m "$W/vocab.tar" -o few.tok few.csv
    end=$(tar tRf few.tok | sed -n 's/^block \([0-9]*\): end.json$/\1/p')
    # After end.json and its content (two blocks and the padding) only the end marks follow.
    for ((block = 0; block < end + 2; block++)); do
        head -c "$((block * 512))" few.tok > cut
        run --separate-stderr mscore -m "$W/model.tar" cut
        expect mscore 1 cut
        [ -z "$output" ] || { echo "$block blocks: $output" >&2; return 1; }
    done
}

@test "a model cut at any member is refused" {
    while read -r _ block name; do
        for at in "${block%:}" "$((${block%:} + 1))"; do
            head -c "$((at * 512))" "$W/model.tar" > cut
            run --separate-stderr mquant --to fp16 -o out cut
            expect mquant 1 cut
            run --separate-stderr mscore -m cut "$W/data.tok"
            expect mscore 1 cut
            [ ! -e out ] || { echo "mquant took a model cut before $name" >&2; return 1; }
        done
    done < <(tar tRf "$W/model.tar" | grep -v '^block [0-9]*: \*\*')
}

# flip FILE OFFSET: one bit of the byte there.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "\\x$(printf %02x $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "a flipped bit in any member of a record stream is noticed" {
    while read -r _ block name; do
        size=$(tar xOf "$W/data.taught" "$name" | wc -c)
        for at in 0 $((size / 3)) $((size / 2)) $((size - 2)); do
            cp "$W/data.taught" damaged
            flip damaged $(((${block%:} + 1) * 512 + at))
            for t in mteach mscore mstudent; do
                work "$t"
                run --separate-stderr "${command[@]}" -o out damaged
                expect "$t" 1 damaged
                [ ! -e out ]
            done
        done
    done < <(tar tRf "$W/data.taught" | grep -v '^block [0-9]*: \*\*')
}

@test "a flipped bit in any member of a model is noticed" {
    while read -r _ block name; do
        size=$(tar xOf "$W/model.tar" "$name" | wc -c)
        for at in 0 $((size / 3)) $((size / 2)) $((size - 2)); do
            cp "$W/model.tar" damaged
            flip damaged $(((${block%:} + 1) * 512 + at))
            run --separate-stderr mquant --to fp16 -o out damaged
            expect mquant 1 damaged
            [ ! -e out ] || { echo "mquant: $name, byte $at" >&2; return 1; }
        done
    done < <(tar tRf "$W/model.tar" | grep -v '^block [0-9]*: \*\*')
}

@test "binary data is not written to a terminal, and streams are not read from one" {
    command -v script || skip "no script(1)"
    for t in $tools; do
        work "$t"
        if [ "$t" != mscore ]; then
            run script -qec "${command[*]} $input" /dev/null < /dev/null
            [ "$status" -eq 1 ] && [[ $output == "$t: <stdout>"*terminal* ]] ||
                { echo "$t to a terminal: $status $output" >&2; return 1; }
        fi
        if [ "$t" != mtok ]; then
            run script -qec "${command[*]} > out" /dev/null
            [ "$status" -eq 1 ] && [[ $output == *"$t: <stdin>"*terminal* ]] ||
                { echo "$t from a terminal: $status $output" >&2; return 1; }
        fi
    done
}

@test "the same file as input and output is refused" {
    for t in $tools; do
        work "$t"
        cp "$input" same
        before=$(cksum < same)
        run --separate-stderr "${command[@]}" -o same same
        expect "$t" 2 "both input and output"
        run --separate-stderr bash -c '"$@" -o same < same' - "${command[@]}"
        expect "$t" 2 "both input and output"
        run --separate-stderr bash -c '"$@" same >> same' - "${command[@]}"
        expect "$t" 2 "both input and output"
        [ "$(cksum < same)" = "$before" ]
    done
}

@test "a file that is not there is named" {
    for t in $tools; do
        work "$t"
        run --separate-stderr "${command[@]}" nowhere/file
        expect "$t" 1 "nowhere/file"
        [ "$t" = mquant ] && continue
        run --separate-stderr "${command[@]/#$W\/*.tar/nowhere/model}" "$input"
        expect "$t" 1 "nowhere/model"
    done
}

@test "file and pipe give the same bytes, twice" {
    for t in mtok mteach mprune mstudent mquant; do
        work "$t"
        "${command[@]}" < "$input" > a
        "${command[@]}" < "$input" | cat > b
        assert_same a b || { echo "$t: file and pipe differ" >&2; return 1; }
        cat "$input" | "${command[@]}" > b
        tar tf b > b.names
        tar tf a > a.names
        assert_same a.names b.names
    done
}

@test "a failing producer is what the last tool of a pipe tells" {
    run --separate-stderr bash -c 'printf "text,label\nx\n" | mtok -m "$1" --format csv --text nosuch 2> /dev/null |
        mteach -m "$2" 2> /dev/null | mscore' - "$W/vocab.tar" "$W/model.tar"
    expect mscore 1 "mtok" "nosuch"
}

@test "-o over a file that exists replaces it whole, or leaves it when the work fails" {
    for t in mtok mteach mprune mstudent mquant; do
        work "$t"
        printf old > out
        run --separate-stderr bash -c '"${@:2}" -o out < "$1"' - "$input" "${command[@]}"
        expect "$t" 0
        [ "$(wc -c < out)" -gt 1000 ]
        printf old > out
        work_on_stream "$t"
        head -c 3000 "$input" > cut
        run --separate-stderr "${command[@]}" -o out cut
        expect "$t" 1
        [ "$(cat out)" = old ]
    done
}

@test "options: abbreviated, in one word, glued, after operands, ended by --" {
    cp "$W/data.tok" ./-x
    mteach -m "$W/model.tar" -o a "$W/data.tok"
    mteach --mod "$W/model.tar" -qj1 --out=b -- -x
    mteach "$W/data.tok" -m"$W/model.tar" --threads 2 -vqo c
    for s in b c; do
        [ "$(tar xOf a part-00000000.safetensors | cksum)" = "$(tar xOf $s part-00000000.safetensors | cksum)" ]
    done
    run --separate-stderr mteach --ver
    expect mteach 2 "--ver is ambiguous"
    run --separate-stderr mteach --quiet=yes
    expect mteach 2 "--quiet takes no argument"
    run --separate-stderr mteach -qZ
    expect mteach 2 "unknown option -Z"
}

@test "SIGUSR1 asks for one line of progress" {
    labelled_rows 3000 > big.csv
    mtok -q -m "$W/vocab.tar" -o big.tok big.csv
    mstudent -j 1 -m "$W/vocab.tar" --shape layers=2,hidden=64,heads=2,ffn=128 --epochs 50 -o out big.tok 2> said &
    pid=$!
    # Before the tool has its handler the signal would end it: bit 9 of the signals caught.
    for _ in {1..100}; do
        caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$pid/status")
        [ $((0x${caught: -4} & 0x200)) -eq 0 ] || break
        sleep 0.05
    done
    for _ in {1..100}; do
        sleep 0.1
        kill -USR1 "$pid" 2> /dev/null || break
        [ ! -s said ] || break
    done
    kill "$pid" 2> /dev/null || :
    wait "$pid" || :
    grep -q '^mstudent: .* [0-9]*/[0-9]* ' said
    [ ! -e out ]
}

@test "--progress tells lines to a file; -q hides progress and notes, never errors" {
    labelled_rows 3000 > big.csv
    mtok -q -m "$W/vocab.tar" -o big.tok big.csv
    long=(mstudent -j 1 -m "$W/vocab.tar" --shape "layers=2,hidden=64,heads=2,ffn=128" --epochs 50 -o out)
    "${long[@]}" --progress big.tok 2> said &
    loud=$!
    "${long[@]}" --progress -q big.tok 2> hidden &
    quiet=$!
    for _ in {1..200}; do
        [ ! -s said ] || break
        sleep 0.1
    done
    kill -KILL "$loud" "$quiet" 2> /dev/null || :
    wait "$loud" "$quiet" || :
    grep -q '^mstudent: .* [0-9]*/[0-9]* ' said
    [ ! -s hidden ]
    for t in $tools; do
        work "$t"
        run --separate-stderr "${command[@]}" -q nowhere/file
        expect "$t" 1 nowhere/file
        one_line "$t"
    done
}

@test "a device that is not there is refused by name, also when the environment names it" {
    for t in $tools; do
        "$t" --help | grep -q -- '--device' || continue
        work "$t"
        [ "$t" != mquant ] || command=(mquant --budget 1 --on "$W/data.tok") # else it runs no model
        run --separate-stderr "${command[@]}" --device nosuch "$input" -o out
        expect "$t" 1 nosuch
        MILLET_DEVICE=nosuch run --separate-stderr "${command[@]}" "$input" -o out
        expect "$t" 1 nosuch
        [ ! -e out ] || { echo "$t left output" >&2; return 1; }
    done
}
