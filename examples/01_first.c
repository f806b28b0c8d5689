// The first program: write a value, write another over it, read both.
//
//   01_first [DIRECTORY]     the database; default: "sky.db" here
#include <stdio.h>
#include <string.h>

#include <strata.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", strata_error_text());
    return 1;
}

// The example checks itself: prints the value, and whether it is the expected one.
static int show(const char *what, const strata_value *value, const char *expected)
{
    printf("%s: %.*s\n", what, (int)value->bytes, (const char *)value->data);
    return value->bytes != strlen(expected) || memcmp(value->data, expected, value->bytes) != 0;
}

int main(int argc, char **argv)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    strata_db *db;
    if (strata_open(argc > 1 ? argv[1] : "sky.db", &options, &db) != STRATA_OK) {
        return failed();
    }

    // A commit is on disk when the call returns, and has a number.
    strata_slice key = strata_str("sky");
    uint64_t first;
    strata_write write = STRATA_WRITE_INIT;
    write.commit_out = &first;
    if (strata_put(db, &write, key, strata_str("blue")) != STRATA_OK ||
        strata_put(db, NULL, key, strata_str("red")) != STRATA_OK) {
        return failed();
    }

    // A read sees the newest commit, or the one it asks for.
    strata_value value = STRATA_VALUE_INIT;
    strata_read then = STRATA_READ_INIT;
    then.as_of = first;
    if (strata_get(db, NULL, key, &value) != STRATA_OK || show("now", &value, "red") != 0) {
        return failed();
    }
    if (strata_get(db, &then, key, &value) != STRATA_OK || show("then", &value, "blue") != 0) {
        return failed();
    }
    strata_value_release(&value);
    return strata_close(db) == STRATA_OK ? 0 : failed();
}
