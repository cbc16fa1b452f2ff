#!/usr/bin/env bats
# The EXAMPLES of the manual pages are run, and the demo at a reduced size.

load helper

# A scratch directory with the files that the pages speak of.
setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world
    export XDG_CACHE_HOME=$BATS_FILE_TMPDIR/cache # not the user's own
    mkdir "$WORLD"
    cd "$WORLD"
    awk 'BEGIN {
        split("sport goal match team ball|politics vote party law seat|health doctor fever clinic diet", topic, "|")
        for (f = 1; f <= 3; f++) {
            file = f == 1 ? "train.csv" : f == 2 ? "dev.csv" : "test.csv"
            print "text,label" > file
            for (i = 0; i < (f == 1 ? 90 : 24); i++) {
                n = split(topic[i % 3 + 1], w, " ")
                print w[2 + (i + f) % 4] " the " w[2 + int(i / 3) % 4] " of " w[2 + int(i / 7) % 4] "," w[1] > file
            }
        }
        print "text,label\ngood match,sport;asia\nno news," > "tags.csv"
        print "the match and the ball\nthe doctor of the clinic" > "lines.txt"
    }'
    mtok -q --learn 120 -o vocabulary.tar train.csv
    for part in train dev test; do mtok -q -m vocabulary.tar -o $part.tok $part.csv; done
    # Wide enough that most of its time is heads and neurons: mprune(1) asks for a speed.
    mstudent -q -m vocabulary.tar --shape layers=2,hidden=64,heads=4,ffn=1024 --epochs 2 -o teacher.tar train.tok
    mkdir teacher
    tar xf teacher.tar -C teacher
    mteach -q -m teacher.tar -o train.taught train.tok
    mquant -q --to int8 -o student.tar teacher.tar
}

run_page() {
    cp -r "$WORLD" "$BATS_TEST_TMPDIR/page"
    cd "$BATS_TEST_TMPDIR/page"
    awk -f "$BATS_TEST_DIRNAME/man-examples.awk" "$BATS_TEST_DIRNAME/../man/$1" >commands
    [ -s commands ]
    run bash -euo pipefail commands
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "examples of millet(7) run" { run_page millet.7; }
@test "examples of mtok(1) run" { run_page mtok.1; }
@test "examples of mteach(1) run" { run_page mteach.1; }
@test "examples of mprune(1) run" { run_page mprune.1; }
@test "examples of mstudent(1) run" { run_page mstudent.1; }
@test "examples of mquant(1) run" { run_page mquant.1; }
@test "examples of mscore(1) run" { run_page mscore.1; }

@test "the demo, at a reduced size, prints its table" {
    [ -r /usr/share/unicode/emoji/emoji-test.txt ] || skip "unicode-data is not installed"
    [ -r /usr/share/unicode/cldr/common/annotations/mr.xml ] || skip "unicode-cldr-core is not installed"
    run env MILLET_DEMO_EPOCHS=1 sh "$BATS_TEST_DIRNAME/../examples/emoji-demo.sh" "$BATS_TEST_TMPDIR/demo"
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c 'teacher, 6 x 256' <<<"$output")" -ge 1 ]
    awk -F '\t' 'NR == 1 { n = NF } NR > 1 && NR < 6 && NF != n { exit 1 } END { exit NR < 5 }' \
        "$BATS_TEST_TMPDIR/demo/table.tsv"
}

@test "paper-table.sh: rows as asked, every cell there, and what is done is not done again" {
    cp -r "$WORLD" page && cd page
    script=$BATS_TEST_DIRNAME/../examples/paper-table.sh
    run --separate-stderr env MILLET_ROWS='teacher|int8|prune50|teacher-ngram|fisher36-ens|fisher30-kd|fisher30-kd-ngram*' MILLET_EPOCHS=1 MILLET_WATTS=10 \
        "$script" teacher.tar train.csv dev.csv test.csv table
    echo "$output" "$stderr"
    [ "$status" -eq 0 ]
    awk -F '\t' 'NR == 1 { n = NF } NF != n || $2 == "" || $12 == "" { exit 1 } END { exit NR != 9 }' table/table.tsv
    [ "$(grep -c '^| ' table/table.md)" -eq 9 ]
    run --separate-stderr env MILLET_ROWS='int8' MILLET_EPOCHS=1 "$script" teacher.tar train.csv dev.csv test.csv table
    [ "$status" -eq 0 ]
    [ "$(grep -c 'done before' <<<"$stderr")" -ge 8 ]
    run --separate-stderr env MILLET_ROWS='teacher' MILLET_WORDS=lines.txt "$script" teacher.tar train.csv dev.csv test.csv words
    [ "$status" -eq 0 ]
    [[ $stderr == *"--vocab-from full-words.tok --vocab-from more-words.tok"* ]]
    [ -s words/teacher.row ]
}

@test "best-student.sh: a student is chosen on dev and measured on test, or none and why" {
    cp -r "$WORLD" page && cd page
    script=$BATS_TEST_DIRNAME/../examples/best-student.sh
    run env MILLET_WORK=best "$script" --margin 40 --minutes 5 --test test.csv -o best.tar teacher.tar train.csv dev.csv
    echo "$output"
    [ "$status" -eq 0 ]
    [ -s best.tar ]
    [[ "$output" == *"not worse than the teacher by more than 40 points"* ]]
    [[ "$output" == *"on test.csv, which chose nothing"* ]]
    run env MILLET_WORK=none "$script" --margin 0.1 --minutes 0 -o none.tar teacher.tar train.csv dev.csv
    [ "$status" -eq 1 ]
    [ ! -e none.tar ]
    [[ "$output" == *"no student was proven"* ]]
}

@test "konkani-data.sh: all sentences of an expression on one side, none twice, cells kept" {
    awk 'BEGIN {
        print "Id,Expression,Sentence,Idiom,Metaphor,Split"
        for (i = 1; i <= 300; i++) {
            e = int(i / 3)
            printf "%d,%s,%s,%s,,Train\n", i, e % 2 ? "e" e : (i % 3 ? " e" e " " : "e" e),
                i == 7 ? "\"seven, \"\"s7 e2\"\"\"" : "s" i " e" e, i % 3 ? "Yes" : "No"
        }
        print "301,e100,s1 e0,Yes,Yes,Test"
        print "302,e100,s302 e100,No,,Train,,*"
    }' >set.csv
    run "$MILLET_ROOT/examples/konkani-data.sh" set.csv split
    assert_status 0
    assert_says "1 sentences that occurred before were left out"
    [ "$(cat split/*.csv | grep -vc '^text,label$')" -eq 301 ]
    grep -Fx '"seven, ""s7 e2""",idiom' split/*.csv
    grep -Fxh 's302 e100,literal' split/*.csv
    for side in train dev test; do
        grep -o 'e[0-9]*\("""\)\?,[il]' split/$side.csv | tr -cd 'e0-9\n' | sort -u >$side
        [ -s $side ]
    done
    [ -z "$(sort train dev test | uniq -d)" ]
    [ "$(wc -l <train)" -gt "$(cat dev test | wc -l)" ]
    "$MILLET_ROOT/examples/konkani-data.sh" set.csv again
    diff -r split again
    run "$MILLET_ROOT/examples/konkani-data.sh" split/train.csv other
    assert_fails "train.csv, line 1: fewer than six columns"
    [ ! -e other/train.csv ]
}
