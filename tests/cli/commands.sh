# keyspace, stats, tree, check, verify, compact, export.
expect 0 put db k default
expect 0 keyspace create db users --shape leveled --compression zstd --filter-bits 12
expect 4 keyspace create db users
expect 0 put db k users --keyspace users
expect 0 get db k --keyspace users
is_out users
expect 0 get db k
is_out default
expect 0 keyspace list db
has_out 'users'
has_out 'shape=leveled compression=zstd filter-bits=12'
expect 0 keyspace list db --json
has_out '{"name":"default","number":1,'
expect 0 keyspace db list
has_out 'users'
expect 0 keyspace create db scans --filter-bits 0
expect 0 keyspace list db
has_out 'filter-bits=0'
expect 0 keyspace drop db scans
expect 1 keyspace drop db scans
expect 0 scan db --keyspace users
is_out "$(printf 'k\tusers')"

seq 1 3000 | awk '{ printf "key%06d\tvalue %d of some length\n", $1, $1 }' >in.txt
expect 0 import db in.txt
expect 0 tree db
expect 0 compact db --keyspace users
expect 0 compact db
expect 0 tree db
has_out 'live'
has_out 'level'
has_out 'k .. key003000'
expect 0 tree db --tables
has_out 'table '
expect 0 tree db --json
has_out '"tree":"live"'
cases=$((cases + 1))
said='tree in plain ASCII'
LC_ALL=C "$STRATA" tree db | LC_ALL=C grep -q '[^ -~]' && fault 'has other characters'
expect 0 check db
has_out ok
expect 0 check db --json
is_out '{"ok":true}'
expect 0 verify db
has_out ' 0 faults'
expect 0 verify db --json
has_out '"faults":0'
expect 0 stats db
has_out newest_commit
has_out 'bytes'
expect 0 stats db --json
has_out '"name":"newest_commit"'
expect 0 scan db --from key000001 --to key000002
is_out "$(printf 'key000001\tvalue 1 of some length')"

# export gives back what went in, to a file and to standard output
expect 0 export db out.export
is_out ''
expect 0 export db
check 'both exports are the same' cmp -s out.txt out.export
check 'all lines' [ "$(wc -l <out.export)" -eq 3001 ]
expect 4 export db no/such/file
expect 0 export db --as-of 1
is_out "$(printf 'k\tdefault')"

# no colours or drawing in a pipe
cases=$((cases + 1))
said='no escape sequences in a pipe'
{ "$STRATA" tree db; "$STRATA" import db in.txt; "$STRATA" --help; } 2>&1 |
    grep -q "$(printf '\033')" && fault 'there are some'

# one key takes under 1 MiB, and one put writes under 1 MiB
expect 0 put small key value
expect 0 put small key other
kib=$(du -sk small | cut -f 1)
said="a database of one key takes $kib KiB"
check "$said" [ "$kib" -lt 1024 ]
if [ -r /proc/self/io ]; then
    # A shell counts what its children wrote when they have ended.
    written=$(sh -c '"$STRATA" put small key third >/dev/null; cat /proc/$$/io' |
        sed -n 's/^wchar: //p')
    said="one put writes $written bytes"
    check "$said" [ "$written" -lt 1048576 ]
fi
