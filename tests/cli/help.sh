# The help of each command comes from one table; the manual page names every command and option.
page=$here/../../docs/man/strata.1
expect 0 --help
for command in $(sed -n 's/^  \([a-z-]*\)  *.*/\1/p' out.txt); do
    expect 0 $command --help
    has_out "usage: strata $command"
    check "the manual page has the command $command" grep -q "^\.It Cm $command" "$page"
    for option in $(sed -n 's/^  --\([a-z0-9-]*\).*/\1/p' out.txt); do
        check "the manual page has --$option" grep -q "Fl -$option\( \|\$\)" "$page"
    done
done
expect 2 nonsense
