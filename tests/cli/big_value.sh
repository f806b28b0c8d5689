# A value of a GiB goes in and comes out within a budget of 32 MiB: what the process holds besides
# files stays under the budget and 64 MiB. AddressSanitizer keeps freed memory: a smaller value then,
# and no look at the memory.
bytes=1073741824
limit=98304
if ldd "$STRATA" | grep -q libasan; then
    bytes=33554432
    limit=999999999
fi

# watched WHAT COMMAND...: runs it in the background and looks at its anonymous memory, in KiB.
watched()
{
    what=$1
    shift
    "$@" >out.txt 2>err.txt &
    pid=$!
    most=0
    while kill -0 $pid 2>/dev/null; do
        anonymous=$(sed -n 's/^RssAnon:[ \t]*\([0-9]*\) kB/\1/p' /proc/$pid/status 2>/dev/null)
        [ "${anonymous:-0}" -le $most ] || most=$anonymous
        sleep 0.02
    done
    wait $pid
    code=$?
    err=$(cat err.txt)
    check "$what: exit code 0, not $code" [ $code -eq 0 ]
    check "$what: was seen running" [ $most -gt 0 ]
    check "$what: $most KiB of anonymous memory" [ $most -le $limit ]
    echo "        $what of $bytes bytes: at most $most KiB of anonymous memory, budget 32 MiB"
}

# Its bytes differ everywhere: a piece in the wrong place would show.
seq 1 200000000 | head -c $bytes >big
watched 'put --file' "$STRATA" put db big --file big --memory 32M
check 'it is commit 1' [ "$(cat out.txt)" = 'commit 1' ]
watched 'get --output' "$STRATA" get db big --output copy --memory 32M
check 'the same bytes come out' cmp -s copy big
rm -f copy
cases=$((cases + 1))
said='get through a pipe'
"$STRATA" get db big --raw --memory 32M | cmp -s - big || fault 'other bytes'
rm -rf big db
