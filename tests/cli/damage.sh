# Damaged files of each kind: exit code 3, a sentence that names the file, and nothing is changed.

# flip FILE OFFSET: changes one byte.
flip()
{
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\$(printf %o $(((byte + 1) % 256)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# print of everything in a directory
print_of()
{
    (cd "$1" && ls -l && cat -- * | cksum)
}

# refuses DIR FILE COMMAND...: the command ends with 3, names the file and changes nothing.
refuses()
{
    directory=$1 file=$2
    shift 2
    before=$(print_of "$directory")
    expect 3 "$@"
    said="strata $*, with $(basename "$file") damaged"
    case $out$err in *"$(basename "$file")"*) ;; *) fault 'the file is not named' ;; esac
    cases=$((cases + 1))
    [ "$before" = "$(print_of "$directory")" ] || fault 'something was changed'
    cases=$((cases + 1))
}

seq 1 20000 | awk '{ printf "key%06d\tvalue %d %d\n", $1, $1 * 7919, $1 * 104729 }' >in.txt
expect 0 import good in.txt
expect 0 compact good
expect 0 put good zebra last
expect 0 verify good
table=$(ls -S good | grep '\.table$' | head -n 1)
manifest=$(ls good | grep '\.manifest$')
log=$(ls good | grep '\.log$' | tail -n 1)

# A table: reads of what is damaged fail, and so does verify.
rm -rf db && cp -r good db
flip "db/$table" 5000
refuses db "$table" export db
refuses db "$table" verify db
has_out 'fault: '
refuses db "$table" check db
rm -rf db && cp -r good db
truncate -s -100 "db/$table"
refuses db "$table" verify db
refuses db "$table" get db key000001
rm -rf db && cp -r good db
rm "db/$table"
refuses db "$table" verify db
refuses db "$table" get db key000001

# The manifest.
rm -rf db && cp -r good db
flip "db/$manifest" 20
refuses db "$manifest" get db key000001
refuses db "$manifest" verify db
rm -rf db && cp -r good db
rm "db/$manifest"
refuses db "$manifest" get db key000001
refuses db "$manifest" verify db

# CURRENT.
rm -rf db && cp -r good db
printf 'nonsense\n' >db/CURRENT
refuses db CURRENT get db key000001
refuses db CURRENT put db k v
refuses db CURRENT verify db
: >db/CURRENT
refuses db CURRENT get db key000001
rm db/CURRENT
refuses db CURRENT get db key000001
refuses db CURRENT put db k v

# The log: its head, which was on disk before anything was acknowledged.
rm -rf db && cp -r good db
flip "db/$log" 3
refuses db "$log" get db zebra
refuses db "$log" verify db
rm -rf db && cp -r good db
rm "db/$log"
refuses db "$log" get db zebra
