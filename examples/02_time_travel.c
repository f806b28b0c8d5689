// Time: every version of every key stays readable, by commit number or by the clock.
//
//   02_time_travel [DIRECTORY]     the database; default: "prices.db" here
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <strata.h>

// Ends the program unless the call went well; a real one would pass the code on.
static void must(strata_rc rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", strata_rc_name(rc), strata_error_text());
        exit(1);
    }
}

static void check(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "unexpected: %s\n", what);
        exit(1);
    }
}

static uint64_t set_price(strata_db *db, const char *item, const char *price)
{
    uint64_t commit;
    strata_write how = STRATA_WRITE_INIT;
    how.commit_out = &commit;
    must(strata_put(db, &how, strata_str(item), strata_str(price)));
    return commit;
}

// Prints the whole map as it was at a commit, and returns how many entries it had.
static int print_as_of(strata_db *db, uint64_t commit)
{
    strata_read how = STRATA_READ_INIT;
    how.as_of = commit;
    strata_iter *iter;
    must(strata_iter_open(db, &how, &iter));
    printf("as of commit %llu:\n", (unsigned long long)commit);
    int count = 0;
    strata_rc rc = strata_iter_first(iter);
    for (; rc == STRATA_OK; rc = strata_iter_next(iter)) {
        strata_slice key = strata_iter_key(iter);
        strata_slice value = strata_iter_value(iter);
        printf("  %.*s costs %.*s\n", (int)key.bytes, (const char *)key.data, (int)value.bytes,
               (const char *)value.data);
        count++;
    }
    must(rc);
    strata_iter_close(iter);
    return count;
}

// Prints the versions of one key, newest first, and returns how many there were.
static int print_history(strata_db *db, const char *item)
{
    strata_history *history;
    must(strata_history_open_key(db, NULL, strata_str(item), &history));
    printf("history of %s:\n", item);
    int count = 0;
    strata_version_info version;
    strata_rc rc = strata_history_next(history, &version);
    for (; rc == STRATA_OK; rc = strata_history_next(history, &version)) {
        printf("  commit %llu: %s %.*s\n", (unsigned long long)version.commit,
               version.kind == STRATA_VERSION_PUT ? "put" : "delete", (int)version.value.bytes,
               (const char *)version.value.data);
        count++;
    }
    must(rc);
    strata_history_close(history);
    return count;
}

int main(int argc, char **argv)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE | STRATA_OPEN_NEW;
    strata_db *db;
    must(strata_open(argc > 1 ? argv[1] : "prices.db", &options, &db));

    uint64_t monday = set_price(db, "bread", "2.00");
    set_price(db, "milk", "1.10");
    uint64_t tuesday = set_price(db, "bread", "2.20");
    must(strata_delete(db, NULL, strata_str("milk")));

    // A delete ends the present of a key, not its past.
    check(print_as_of(db, monday) == 1, "one entry at the first commit");
    check(print_as_of(db, tuesday) == 2, "two entries at the third commit");
    check(print_as_of(db, strata_newest_commit(db)) == 1, "one entry now");
    check(print_history(db, "bread") == 2, "two versions of bread");
    check(print_history(db, "milk") == 2, "a put and a delete of milk");

    // A commit knows its time, and a time its commit.
    int64_t unix_us;
    uint64_t commit;
    must(strata_commit_time(db, tuesday, &unix_us));
    must(strata_commit_at_time(db, unix_us, &commit));
    check(commit >= tuesday, "the commit at its own time");

    // A snapshot holds one commit while the world goes on.
    strata_snapshot *snapshot;
    must(strata_snapshot_take(db, &snapshot));
    set_price(db, "bread", "2.50");
    strata_read how = STRATA_READ_INIT;
    how.snapshot = snapshot;
    strata_value value = STRATA_VALUE_INIT;
    must(strata_get(db, &how, strata_str("bread"), &value));
    check(value.bytes == 4 && memcmp(value.data, "2.20", 4) == 0, "the price in the snapshot");
    strata_value_release(&value);
    strata_snapshot_release(snapshot);
    must(strata_close(db));
    return 0;
}
