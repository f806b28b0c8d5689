# put, get, delete, delete-range, scan, history from a shell.
expect 0 put db sky blue
is_out 'commit 1'
has_err 'created the database db'
expect 0 put db sky red
is_out 'commit 2'
check 'only the first put creates' [ -z "$err" ]
expect 0 get db sky
is_out red
expect 0 get db sky --as-of 1
is_out blue
expect 0 get --as-of=1 db sky
is_out blue
expect 0 get db sky --json
is_out '{"key":"sky","value":"red","commit":2}'
expect 0 get db sky --raw
check 'raw has no newline' [ "$(wc -c <out.txt)" -eq 3 ]
expect 2 get db sky --hex
expect 0 get db 736b79 --hex
is_out 726564
expect 1 get db nothing
has_err 'has no value'
check 'nothing on standard output' [ -z "$out" ]
expect 0 delete db nothing
is_out 'commit 3'
expect 0 delete db sky --json
is_out '{"commit":4}'
expect 1 get db sky
expect 0 get db sky --as-of 3
is_out red
expect 1 get db sky --as-of 0
expect 2 get db sky --as-of 5
has_err 'the newest commit is 4'

# history: newest first, and exit 1 for a key that never was
expect 0 history db sky
check 'four versions: delete, put, put' [ "$(cut -f 3 out.txt | tr '\n' ' ')" = 'delete put put ' ]
check 'commits' [ "$(cut -f 1 out.txt | tr '\n' ' ')" = '4 2 1 ' ]
expect 0 history db sky --limit 2 --width 2
check 'two lines' [ "$(wc -l <out.txt)" -eq 2 ]
has_out 're...'
expect 0 history db sky --as-of 1
check 'one line' [ "$(wc -l <out.txt)" -eq 1 ]
expect 0 history db sky --json
has_out '"kind":"delete"'
expect 1 history db never

# time: what history prints is understood by --as-of
expect 0 put db clock one
time=$("$STRATA" history db clock | cut -f 2)
sleep 1.1
expect 0 put db clock two
expect 0 get db clock --as-of "$time"
is_out one
expect 0 get db clock --as-of "@$(date +%s)"
expect 1 get db clock --as-of '@1000000000'
expect 1 get db clock --as-of 2001-09-09
expect 2 get db clock --as-of 2999-01-01T00:00:00Z
has_err 'in the future'
expect 2 get db clock --as-of yesterday
expect 2 get db clock --as-of 2001-13-01
expect 2 get db clock --as-of ''

# scan
for key in a b c d e; do expect 0 put s "$key" "v$key"; done
expect 0 scan s
is_out "$(printf 'a\tva\nb\tvb\nc\tvc\nd\tvd\ne\tve')"
expect 0 scan s --from b --to d
is_out "$(printf 'b\tvb\nc\tvc')"
expect 0 scan s --from b --limit 1
is_out "$(printf 'b\tvb')"
expect 0 scan s --reverse --limit 2
is_out "$(printf 'e\tve\nd\tvd')"
expect 0 scan s --from b --to d --reverse
is_out "$(printf 'c\tvc\nb\tvb')"
expect 0 scan s --as-of 2
is_out "$(printf 'a\tva\nb\tvb')"
expect 0 scan s --as-of 0
is_out ''
expect 0 scan s --from x
is_out ''
expect 0 scan s --from d --to b
is_out ''
expect 0 scan s --limit 0
is_out ''
expect 0 scan s --prefix c --json
is_out '{"key":"c","value":"vc","commit":3}'
expect 0 scan s --hex --from 64 --to 65
is_out "$(printf '64\t7664')"
expect 2 scan s --prefix c --from a

# delete-range
expect 0 delete-range s b d
is_out 'commit 6'
expect 0 scan s
is_out "$(printf 'a\tva\nd\tvd\ne\tve')"
expect 0 history s c
check 'a range delete is a version' [ "$(cut -f 3 out.txt | tr '\n' ' ')" = 'delete-range put ' ]
expect 0 delete-range s --prefix e
expect 0 delete-range s --from a --to b
expect 0 scan s
is_out "$(printf 'd\tvd')"
expect 2 delete-range s
expect 2 delete-range s d a
expect 2 delete-range s a

# values from files and standard input, byte for byte
printf 'x\0y\n' >value.bin
expect 0 put s file --file value.bin
expect 0 get s file --raw
check 'the bytes of the file' cmp -s out.txt value.bin
expect 0 put s stdin - <value.bin
expect 0 get s stdin --raw
check 'the bytes of standard input' cmp -s out.txt value.bin
expect 0 put s empty ''
expect 0 get s empty --raw
check 'an empty value is a value' [ ! -s out.txt ]
expect 0 put s -- -key --value
expect 0 get s -- -key
is_out '--value'
expect 2 put s k v --file value.bin
expect 4 put s k --file absent
has_err 'cannot open absent'
