# import: formats, bad lines, interruption and resuming.

# text, byte for byte both ways
i=0
while [ $i -lt 200 ]; do
    printf 'k%03d' $i
    head -c $((i % 37)) /dev/urandom | od -An -v -tx1 | tr -d ' \n'
    printf '\t'
    head -c $((i * 7 % 501)) /dev/urandom | od -An -v -tx1 | tr -d ' \n'
    printf '\n'
    i=$((i + 1))
done | sed 's/^k\([0-9]*\)/6b\1/' | awk -F '\t' 'length($1) % 2 == 1 { $1 = $1 "0" } { print $1 "\t" $2 }' >random.hex
expect 0 import a random.hex --hex
has_out '200 records, 0 bad lines'
expect 0 export a
cp out.txt a.text
expect 0 import b a.text
expect 0 export b
check 'text is byte-exact' cmp -s out.txt a.text
expect 0 export b --hex
sort random.hex >sorted.hex
check 'hex is byte-exact' cmp -s out.txt sorted.hex
expect 0 export b --json
cp out.txt b.jsonl
expect 0 import c b.jsonl --key key --value value
expect 0 export c
check 'JSON lines are byte-exact' cmp -s out.txt a.text
printf 'a\\tb\\n\\\\\\x00\t\\xFF\n' >escaped.txt
expect 0 import e escaped.txt
expect 0 export e --hex
is_out "$(printf '6109620a5c00\tff')"

# CSV as RFC 4180 has it
printf 'id,name,note\r\n1,"a ""quoted"" name","two\r\nlines, a comma"\r\n2,plain,\r\n' >x.csv
expect 0 import csv x.csv --key id
expect 0 get csv 2
is_out '2,plain,'
expect 0 import csv x.csv --key name --value note --keyspace default
expect 0 get csv 'a "quoted" name'
is_out "$(printf 'two\r\nlines, a comma')"
expect 2 import csv x.csv --key absent
has_err 'no column is named "absent"'
printf 'id,v\n1,2\n1,2,3\n4,"open\n' >bad.csv
expect 0 import csvbad bad.csv --on-bad skip
has_err 'line 3: 3 fields where the header has 2'
has_err 'line 4: a quote that is not closed'
has_out '1 records, 2 bad lines'
printf 'id\tv\n1\ttwo words\n' >x.tsv
expect 0 import tsv x.tsv --key id --value v
expect 0 get tsv 1
is_out 'two words'
: >empty.csv
expect 4 import csvempty empty.csv
check 'a header that is missing creates nothing' [ ! -e csvempty ]

# JSON lines
printf '{"id":"a","n":1}\n{"id":7,"n":{"x":[1, 2]}}\n\nnonsense\n[1]\n{"n":2}\n' >x.jsonl
expect 0 import json x.jsonl --key id --value n --on-bad skip
has_err 'line 4: no JSON'
has_err 'line 5: '
has_err 'line 6: no field "id"'
has_out '2 records, 3 bad lines'
expect 0 get json 7
is_out '{"x":[1,2]}'
expect 2 import json x.jsonl
has_err '--key'

# bad lines: stop is the default, and says where to go on
printf 'a\t1\nb\t2\nno tab\nc\t3\n\\q\t4\n\t5\n' >bad.txt
expect 4 import bad bad.txt
has_err 'line 3: no tab'
has_err '--skip 2'
has_out '2 records'
expect 0 scan bad
is_out "$(printf 'a\t1\nb\t2')"
expect 0 import bad bad.txt --skip 3 --on-bad skip
has_err 'line 5: the key has a backslash'
has_err 'line 6: the key is empty'
expect 0 scan bad
is_out "$(printf 'a\t1\nb\t2\nc\t3')"
expect 2 import bad bad.txt --skip 99
has_err 'only 6 lines'
expect 2 import bad bad.txt --skip 1 --resume
expect 4 import bad absent.txt
expect 4 import bad .
expect 2 import bad bad.txt --format xml
expect 2 import bad bad.txt --key id

# a line over the limit is a bad line
{ printf 'a\t1\n'; head -c 3000000 /dev/zero | tr '\0' x; printf '\nb\t2\n'; } >long.txt
expect 0 import long long.txt --on-bad skip --line-max 1M
has_err 'line 2: longer than'
expect 0 scan long
is_out "$(printf 'a\t1\nb\t2')"
expect 0 import long long.txt --on-bad skip --line-max 20
has_out '2 records, 1 bad'

# a value that the memory budget has no room for is a bad line too; a large one is a commit
{ printf 'a\t1\nbig\t'; head -c 3000000 /dev/zero | tr '\0' x; printf '\nb\t2\n'; } >large.txt
expect 4 import large large.txt --memory 8M
has_err 'line 2: '
has_err '--skip 1'
expect 0 import large large.txt --memory 8M --on-bad skip
expect 0 scan large
is_out "$(printf 'a\t1\nb\t2')"
expect 0 import large large.txt
expect 0 export large
sort large.txt >large.sorted
check 'a value of 3 MB' cmp -s out.txt large.sorted

# the last line needs no line end, and the end of all output is the commit
printf 'a\t1\nb\t2' | { "$STRATA" import last - >out.txt 2>err.txt; }
check 'commit comes last' [ "$(tail -n 1 out.txt)" = 'commit 2' ] || cat out.txt
expect 0 get last b
is_out 2

# Ctrl-C while lines come slowly
mkfifo pipe
for signal in INT TERM; do
    # A shell lets its background jobs ignore SIGINT; env gives it back.
    env --default-signal=INT "$STRATA" import "stop$signal" pipe >out.txt 2>err.txt &
    importer=$!
    exec 3>pipe
    printf 'a\t1\nb\t2\nc\t' >&3
    wait_for [ -e "stop$signal/CURRENT" ]
    sleep 1
    kill -$signal $importer
    wait $importer
    code=$?
    exec 3>&-
    out=$(cat out.txt) err=$(cat err.txt) said="import ended by SIG$signal"
    check "$said: exit code 4, not $code" [ $code -eq 4 ]
    has_err 'the last line committed is 2'
    has_err '--skip 2'
    has_out '2 records'
done
printf 'a\tchanged\nb\tchanged\nc\t3\n' >pipe &
expect 0 import stopINT pipe --resume
has_err 'going on after line 2'
expect 0 scan stopINT
is_out "$(printf 'a\t1\nb\t2\nc\t3')"
printf 'a\tchanged\nb\tchanged\nc\t3\n' >pipe &
expect 0 import stopTERM pipe --skip 2
expect 0 scan stopTERM
is_out "$(printf 'a\t1\nb\t2\nc\t3')"

# a kill: what was committed is known
awk 'BEGIN { for (i = 1; i <= 200000; i++) printf "key%07d\tvalue of line %d\n", i, i }' >many.txt
for round in 1 2 3; do
    rm -rf killed
    { cat many.txt; sleep 5; } | "$STRATA" import killed - --name many >out.txt 2>err.txt &
    wait_for [ -e killed/CURRENT ]
    sleep 0.$((round * 2))
    importer=$(fuser killed/LOCK 2>/dev/null | tr -d ' ')
    [ -n "$importer" ] || importer=$(sh -c 'for p in /proc/[0-9]*; do
        [ "$(readlink "$p/exe")" = "$(readlink -f "$STRATA")" ] &&
            tr "\0" " " <"$p/cmdline" | grep -q "import killed" && basename "$p"; done; :')
    kill -9 $importer
    wait
    expect 0 export killed
    lines=$(wc -l <out.txt)
    head -n "$lines" many.txt >expected.txt
    said="killed after $lines lines"
    check "$said: the lines are the first ones" cmp -s out.txt expected.txt
    expect 0 import killed many.txt --name many --resume
    [ "$lines" -eq 0 ] || has_err "going on after line $lines"
    expect 0 export killed
    check "$said: all lines are there after --resume" cmp -s out.txt many.txt
done
expect 0 import killed many.txt --name many --resume
has_out '0 records'
expect 0 check killed
