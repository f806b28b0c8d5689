# Wrong usage and wrong directories: an exit code and a sentence that helps, and nothing is changed.
expect 0 put db k v

expect 2
has_err 'usage: strata COMMAND'
expect 0 --version
has_out 'strata 0.'
expect 0 --help
has_out 'put'
expect 2 frobnicate db
has_err 'strata --help'
for command in put get delete delete-range scan history keyspace import export stats tree check \
    verify compact; do
    expect 0 $command --help
    has_out "usage: strata $command"
    expect 0 help $command
    expect 2 $command
    has_err 'missing'
    expect 2 $command --frobnicate db
    has_err 'no option --frobnicate'
    expect 2 $command -x db
    has_err 'unknown option -x'
done
expect 2 get db k extra
has_err 'too many'
expect 2 get db k --as-of
has_err 'needs a value'
expect 2 get db k --json --json
has_err 'twice'
expect 2 get db k --json=yes
has_err 'takes no value'
expect 2 scan db --limit many
has_err 'must be a number'
expect 2 scan db --limit -1
expect 2 get db k --memory lots
expect 2 get db k --memory 1K
expect 2 get db k --memory 99999999999999999999
expect 2 history db k --width 0
expect 2 keyspace frob db
expect 2 keyspace create db
expect 2 keyspace list db name
expect 2 keyspace create db x --shape round
has_err 'default, lazy, leveled'
expect 2 keyspace create db x --filter-bits 33
expect 2 keyspace create db x --block-bytes 1
expect 2 keyspace drop db x --shape lazy
expect 2 get db k --keyspace absent
has_err 'no keyspace "absent"'
expect 2 get '' k

# keys
expect 2 put db '' v
has_err '1 to 65535'
expect 2 delete db ''
expect 2 get db ''
long=$(head -c 65535 /dev/zero | tr '\0' k)
expect 0 put db "$long" v
expect 0 get db "$long"
is_out v
expect 2 put db "${long}k" v
has_err '65536 bytes'
expect 2 get db "${long}k"
expect 2 delete db "${long}k"
expect 0 delete db "$long"
expect 2 delete-range db '' b

# directories
echo text >file
expect 4 get absent k
has_err 'no database in absent'
for command in stats tree check verify scan compact; do expect 4 $command absent; done
expect 4 delete absent k
expect 4 delete-range absent a b
expect 4 history absent k
expect 4 keyspace list absent
expect 4 put absent k v --keyspace users
expect 4 import absent file --on-bad skip --keyspace users
check 'nothing else creates' [ ! -e absent ]
mkdir empty
expect 4 get empty k
has_err 'no database in empty'
check 'an empty directory stays empty' [ -z "$(ls -A empty)" ]
echo text >file
for command in get put delete; do
    value=
    [ $command != put ] || value=v
    expect 2 $command file k $value
    has_err 'not a directory'
done
expect 2 verify file
check 'the file is as it was' [ "$(cat file)" = text ]
mkdir foreign
echo text >foreign/notes
expect 0 put foreign k v
check 'a file that is not ours stays' [ "$(cat foreign/notes)" = text ]

# a directory without permission
mkdir -m 555 closed
chmod 755 .
cp -r db readable
chmod -R a+rX readable
chmod 755 "$(pwd)"
strata=$STRATA
run_as_other "$strata" put closed k v >out.txt 2>err.txt
check 'no permission is exit code 4' [ $? -eq 4 ]
check 'no permission has a sentence' grep -qi 'permission denied' err.txt
chmod 000 closed
run_as_other "$strata" get closed k >out.txt 2>err.txt
check 'no permission to look is exit code 4' [ $? -eq 4 ]
chmod 755 closed

# a second process
mkfifo pipe
"$STRATA" import db pipe >import.txt 2>&1 &
importer=$!
exec 3>pipe
printf 'x\ty\n' >&3
wait_for sh -c "ls -l /proc/$importer/fd | grep -q db/LOCK"
expect 4 put db k2 v
has_err "$importer"
has_err 'in use'
expect 4 get db k
has_err "$importer"
exec 3>&-
wait $importer
check 'the import ended well' [ $? -eq 0 ]
expect 0 get db x
is_out y

# the reader of a pipe goes away
for i in 1 2 3 4 5 6 7 8; do printf 'key%d\t%0100000d\n' $i 0; done >big.txt
expect 0 import db big.txt
cases=$((cases + 1))
{ "$STRATA" scan db 2>err.txt; echo $? >code.txt; } | head -c 10 >/dev/null
said='scan to a closed pipe'
[ "$(cat code.txt)" -eq 0 ] && [ ! -s err.txt ] || fault "exit code $(cat code.txt)"
if [ -w /dev/full ]; then
    cases=$((cases + 1))
    said='scan to a full disk'
    "$STRATA" scan db >/dev/full 2>err.txt
    [ $? -eq 4 ] && grep -q 'cannot write the output' err.txt || fault 'not told'
fi
