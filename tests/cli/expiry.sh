# Expiry: values that cease to be.
expect 0 put db soon gone --expires-in 2s
expect 0 put db late stays --expires-in 1h30m
expect 0 put db at there --expires-at "@$(($(date +%s) + 3600))"
expect 0 put db always here
commit=$(cut -d ' ' -f 2 out.txt)
for key in soon late at always; do
    expect 0 get db $key
done
expect 2 put db bad value --expires-in 0s
expect 2 put db bad value --expires-in soon
expect 2 put db bad value --expires-in 90
expect 2 put db bad value --expires-at 17
expect 2 put db bad value --expires-at 2001-01-01
has_err 'is in the past'
expect 2 put db bad value --expires-in 1h --expires-at @4102444800
expect 2 delete db soon --expires-in 1h
expect 1 get db bad

sleep 3.1
expect 1 get db soon
expect 0 get db soon --as-of "$commit"
is_out gone
expect 0 scan db
is_out "$(printf 'always\there\nat\tthere\nlate\tstays')"
expect 0 compact db
expect 1 get db soon
expect 0 get db late
is_out stays

# a keyspace says how long its values live; a put may say otherwise
expect 0 keyspace create db brief --expire-after 2s
expect 0 keyspace list db
has_out 'expire-after=2s'
expect 0 put db short value --keyspace brief
expect 0 put db long value --keyspace brief --expires-in 1h
expect 0 put db ever value --keyspace brief --expires-in never
expect 0 get db short --keyspace brief
expect 0 put db file --file db/CURRENT --keyspace brief --expires-at never
sleep 3.1
expect 0 scan db --keyspace brief
check 'three are left' [ "$(cut -f 1 out.txt | tr '\n' ' ')" = 'ever file long ' ]
expect 0 keyspace alter db brief --expire-after never
expect 0 keyspace list db
has_out 'expire-after=never'
expect 0 put db short value --keyspace brief
sleep 2.1
expect 0 get db short --keyspace brief
expect 2 keyspace alter db brief --expire-after 0s
expect 2 keyspace alter db brief --expire-after often
expect 0 check db
