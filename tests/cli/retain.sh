# Retention: what is kept, what a change puts out of reach, and what a read of it says.
for i in 1 2 3 4 5; do
    expect 0 put db key "version $i"
done
expect 0 put db other thing
expect 0 retain db
has_out 'default	keeps every version; the whole past can be read'
expect 0 retain db --json
is_out '{"keyspace":"default","retain":"all","oldest_commit":0}'
expect 0 keyspace create db ages --retain 7d
expect 0 keyspace create db few --retain 3
expect 0 keyspace create db present --retain none
expect 2 keyspace create db wrong --retain 0
expect 2 keyspace create db wrong --retain often
has_err 'it must be all, none, a number of versions (3) or an age (7d)'
expect 0 keyspace list db
has_out 'retain=7d'
has_out 'retain=3 '
has_out 'retain=none'
expect 0 retain db
has_out 'ages	keeps every commit of the last 7d'
has_out 'few	keeps the last 3 versions of each key'
has_out 'present	keeps the present only'
expect 0 retain db few --json
has_out '{"keyspace":"few","retain":"3","oldest_commit":'
expect 0 retain db --keyspace few --json
has_out '{"keyspace":"few","retain":"3","oldest_commit":'
expect 2 retain db few --keyspace few
expect 2 retain db nowhere
expect 2 retain db --all --none
expect 2 retain db --versions 0
expect 2 retain db --age 0s
expect 2 retain db --age 7
expect 2 retain db --age 7x
expect 4 retain nowhere

# a change says what it does, and asks nothing
expect 0 retain db --age 2h </dev/null
has_err 'nothing becomes unreadable now'
has_out 'keeps every commit of the last 2h'
expect 0 retain db --versions 2
has_err 'all but the last 2 versions of each key become unreadable'
expect 0 compact db
expect 0 history db key
check 'two versions are left' [ "$(wc -l <out.txt)" -eq 2 ]
expect 0 get db key
is_out 'version 5'
expect 0 get db key --as-of 4
is_out 'version 4'
expect 4 get db key --as-of 2
has_err 'not kept any more'
has_err 'strata retain db shows and changes what is kept'
check 'nothing on standard output' [ -z "$out" ]

expect 0 put db key "version 6"
newest=$("$STRATA" stats db | awk '$1 == "newest_commit" { print $2 }')
expect 0 retain db --none
has_err "what was before commit $newest ("
has_err 'becomes unreadable'
expect 0 compact db
expect 0 retain db
has_out "the oldest commit that can be read is $newest ("
expect 4 get db key --as-of 3
has_err "the oldest commit that can be read is $newest ("
expect 4 scan db --as-of 3
has_err "the oldest commit that can be read is $newest ("
expect 4 history db key --as-of 3
has_err "the oldest commit that can be read is $newest ("
expect 4 export db copy --as-of 3
expect 0 get db key --as-of "$newest"
is_out 'version 6'
expect 0 get db key
is_out 'version 6'

# what was let go does not come back
expect 0 retain db --all
has_err 'what was let go before does not come back'
has_out 'keeps every version'
expect 4 get db key --as-of 3
expect 0 put db key "version 7"
expect 0 get db key --as-of "$newest"
is_out 'version 6'
expect 0 check db
expect 0 verify db
