# Values apart: streams of any size in flat memory, what stats and tree say, compact --values.
head -c 3000 /dev/urandom >middle
head -c 5000000 /dev/urandom >large
: >empty
for value in middle large empty; do
    expect 0 put db $value --file $value
    expect 0 get db $value --raw
    check "$value comes back" cmp -s out.txt $value
    expect 0 get db $value --output copy
    is_out ''
    check "$value is written to a file" cmp -s copy $value
done
expect 0 put db piped - <large
expect 0 get db piped --raw
check 'a large value from standard input' cmp -s out.txt large
expect 0 get db piped --output -
check 'the output may be standard output' cmp -s out.txt large
expect 0 get db 6d6964646c65 --hex
check 'as hex digits' [ "$out" = "$(od -An -v -tx1 middle | tr -d ' \n')" ]
expect 0 get db large --json
has_out '"commit":2'

# what goes wrong changes nothing
expect 4 put db bad --file no/such/file
expect 1 get db bad
expect 4 put db bad --file .
has_err 'cannot read .'
expect 1 get db bad
expect 4 get db large --output no/such/file
has_err 'cannot write no/such/file'
expect 2 get db large --output copy --json
expect 1 get db nothing --output nothing.file
check 'a key without a value makes no file' [ ! -e nothing.file ]
said='standard output that is full'
cases=$((cases + 1))
"$STRATA" get db large --raw >/dev/full 2>err.txt && fault 'exit code 0'
err=$(cat err.txt)
has_err 'incomplete'
truncate -s 4294967296 too_long
expect 2 put db bad --file too_long
has_err 'at most 4 GiB - 1'
rm -f too_long
expect 1 get db bad

# an older version of a large value
expect 0 put db large short
expect 0 get db large
is_out short
expect 0 get db large --as-of 2 --raw
check 'as of then it was large' cmp -s out.txt large

# options of keyspaces
expect 0 keyspace create db apart --separation on --separate-bytes 64 --value-compression zstd \
    --space-bound 200
expect 0 keyspace list db
has_out 'separation=on separate-bytes=64 value-compression=zstd retain=all expire-after=never space-bound=200'
expect 0 keyspace list db --json
has_out '"separation":"on","separate_bytes":64,"value_compression":"zstd","retain":"all","expire_after":"never","space_bound":200}'
expect 0 keyspace create db beside --separation off
expect 0 keyspace alter db apart --separate-bytes 512 --space-bound 150
expect 0 keyspace list db
has_out 'separation=on separate-bytes=512 value-compression=zstd'
has_out 'separation=off'
expect 2 keyspace alter db apart --shape leveled
has_err 'fixed when a keyspace is created'
expect 2 keyspace alter db apart
expect 2 keyspace alter db apart --separation default
expect 2 keyspace alter db apart --separate-bytes 1
expect 2 keyspace alter db apart --space-bound 100
expect 2 keyspace list db --space-bound 200
expect 1 keyspace alter db nowhere --separation off
has_err 'there is no keyspace "nowhere"'

# space by cause
expect 0 compact db
expect 0 stats db
has_out 'space of default'
has_out 'space of apart'
has_out 'dead value'
has_out 'newest_commit'
expect 0 stats db --keyspace apart --json
check 'one line of space' [ "$(grep -c '"live_bytes":' out.txt)" -eq 1 ]
has_out '{"keyspace":"apart","live_bytes":'
expect 0 stats db --keyspace default --json
live=$(sed -n 's/.*"live_bytes":\([0-9]*\).*/\1/p' out.txt)
value=$(sed -n 's/.*"value_bytes":\([0-9]*\).*/\1/p' out.txt)
disk=$(sed -n 's/.*"disk_bytes":\([0-9]*\).*/\1/p' out.txt)
check "value files have $value bytes: the values are apart" [ "$value" -ge 10000000 ]
check "$disk bytes on disk hold them" [ "$disk" -ge "$value" ]
check "$live live bytes count values" [ "$live" -ge 5000000 ]
expect 0 tree db
has_out 'values'

# scans print separated values, and compact --values leaves everything as it was
for i in $(seq 1 200); do
    printf 'key%03d\t%s\n' "$i" "$(printf "%01000d" "$i")"
done >in.txt
expect 0 import db in.txt --keyspace apart
"$STRATA" scan db --keyspace apart >before.txt
expect 0 compact db --values --keyspace apart
expect 0 compact db --values
expect 0 scan db --keyspace apart
check 'a scan prints the same' cmp -s out.txt before.txt
check 'and what was put in' cmp -s out.txt in.txt
expect 0 get db large --as-of 2 --raw
check 'the old version is there' cmp -s out.txt large
expect 0 check db
expect 0 verify db
has_out ' 0 faults'

# damage of a value is noticed by verify, and by the read that needs it
expect 0 put rot key --file large
expect 0 compact rot
file=$(ls -S rot | head -n 1)
offset=$(($(wc -c <"rot/$file") / 2))
byte=$(od -An -tu1 -j $offset -N 1 "rot/$file" | tr -d ' ')
printf "\\$(printf %03o $(((byte + 1) % 256)))" |
    dd of="rot/$file" bs=1 seek=$offset conv=notrunc 2>/dev/null
expect 3 get rot key --raw
has_err "$file"
expect 3 verify rot
