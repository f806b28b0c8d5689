# A million lines from a pipe, in flat memory: what the process holds besides files (the mapped log
# is one) stays under the budget and 64 MiB. AddressSanitizer keeps freed memory: not with it.
if ldd "$STRATA" | grep -q libasan; then
    cases=$((cases + 1))
    return
fi
awk 'BEGIN { srand(7)
    for (i = 1; i <= 1000000; i++)
        printf "key%09d\tline %d, of about a hundred bytes, as the lines of a log are: %040d\n",
            int(rand() * 1e9), i, i }' | "$STRATA" import db - --memory 32M >out.txt 2>err.txt &
import=$!
most=0
while kill -0 $import 2>/dev/null; do
    anonymous=$(sed -n 's/^RssAnon:[ \t]*\([0-9]*\) kB/\1/p' /proc/$import/status 2>/dev/null)
    [ "${anonymous:-0}" -le $most ] || most=$anonymous
    sleep 0.05
done
wait $import
code=$?
said='import of a million lines from a pipe'
check "$said: exit code 0, not $code" [ $code -eq 0 ]
check "$said: was seen running" [ $most -gt 0 ]
check "$said: $most KiB of anonymous memory" [ $most -le 98304 ]
out=$(cat out.txt)
has_out '1000000 records, 0 bad lines'
echo "        import of a million lines: at most $most KiB of anonymous memory, budget 32 MiB"
