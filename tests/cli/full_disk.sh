# A disk that is full: told, nothing lost that was said to be there, and usable when there is room.
# Needs a file system of its own, so it runs as root only.
mkdir small
if ! mount -t tmpfs -o size=12M tmpfs small 2>/dev/null; then
    cases=$((cases + 1))
    return
fi
trap 'umount "$(pwd)/small"' EXIT
awk 'BEGIN { for (i = 1; i <= 400000; i++)
    printf "key%07d\tvalue %d of some length that fills a disk\n", i, i * 104729 }' >in.txt
expect 4 import small/db in.txt
has_err 'No space left on device'
has_err 'free some space'
line=$(sed -n 's/.*last line committed is \([0-9]*\);.*/\1/p' err.txt)
check 'some lines were committed' [ "${line:-0}" -gt 0 ]
expect 0 export small/db
head -n "$line" in.txt >expected.txt
check 'all lines up to that one are there, and no others' cmp -s out.txt expected.txt
check 'there is room again' mount -o remount,size=200M small
expect 0 import small/db in.txt --resume
has_err "going on after line $line"
expect 0 export small/db
check 'all lines are there' cmp -s out.txt in.txt
expect 0 check small/db
umount small
trap - EXIT
