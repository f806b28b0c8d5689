// Values apart, retention and expiry: a large value goes in and out piece by piece, old versions
// are let go, and a session ceases to be.
//
//   04_values [DIRECTORY]     the database; default: "films.db" here
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <strata.h>

#define PIECE_BYTES ((size_t)256 * 1024)
#define PIECES 64

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

// Writes 16 MiB without ever holding more than a piece of them.
static void store_film(strata_db *db, const char *name, unsigned char *piece)
{
    strata_put_stream *stream;
    must(strata_put_begin(db, NULL, strata_str(name), &stream));
    for (int i = 0; i < PIECES; i++) {
        memset(piece, i, PIECE_BYTES);
        must(strata_put_append(stream, piece, PIECE_BYTES));
    }
    must(strata_put_finish(stream)); // one commit; nothing was visible before
}

// Reads it back in pieces of another size.
static void watch_film(strata_db *db, const char *name, unsigned char *piece)
{
    strata_value_reader *reader;
    strata_rc rc = strata_value_open(db, NULL, strata_str(name), &reader);
    check(rc == STRATA_OK, "the film is gone");
    uint64_t bytes = strata_value_reader_bytes(reader);
    uint64_t at = 0;
    while (at < bytes) {
        size_t got;
        must(strata_value_read(reader, at, piece, PIECE_BYTES / 3, &got));
        check(piece[0] == at / PIECE_BYTES, "another scene was expected");
        at += got;
    }
    strata_value_close(reader);
    printf("%s: %llu bytes, read piece by piece\n", name, (unsigned long long)bytes);
}

// Keeps the present only, and shows that an older commit is refused rather than answered wrongly.
static void forget_the_past(strata_db *db)
{
    uint64_t first = 0;
    strata_write how = STRATA_WRITE_INIT;
    how.commit_out = &first;
    must(strata_put(db, &how, strata_str("title"), strata_str("working title")));
    must(strata_put(db, NULL, strata_str("title"), strata_str("final title")));

    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    change.retention = STRATA_RETENTION_NONE;
    must(strata_keyspace_alter(db, NULL, &change));
    must(strata_compact(db, NULL, NULL, NULL)); // at once; background work does it in time

    strata_read read = STRATA_READ_INIT;
    read.as_of = first;
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(db, &read, strata_str("title"), &value);
    check(rc == STRATA_TRIMMED, "the past is still there");
    uint64_t oldest;
    must(strata_oldest_commit(db, NULL, &oldest));
    printf("commit %llu can no longer be read; the oldest is %llu\n", (unsigned long long)first,
           (unsigned long long)oldest);
    strata_value_release(&value);
}

static void let_a_session_expire(strata_db *db)
{
    strata_write how = STRATA_WRITE_INIT;
    how.expires_unix_us = ((int64_t)time(NULL) + 1) * 1000000;
    strata_value value = STRATA_VALUE_INIT;
    must(strata_put(db, &how, strata_str("session"), strata_str("token")));
    (void)nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 100000000}, NULL);
    check(strata_get(db, NULL, strata_str("session"), &value) == STRATA_NOT_FOUND,
          "the session is still there");
    printf("the session has expired\n");
    strata_value_release(&value);
}

int main(int argc, char **argv)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 16 << 20;
    unsigned char *piece = malloc(PIECE_BYTES);
    check(piece != NULL, "no memory");
    strata_db *db;
    must(strata_open(argc > 1 ? argv[1] : "films.db", &options, &db));
    store_film(db, "film", piece);
    watch_film(db, "film", piece);
    forget_the_past(db);
    let_a_session_expire(db);

    strata_space space;
    must(strata_space_of(db, NULL, &space));
    printf("%llu bytes live, %llu on disk, the bound is %llu\n",
           (unsigned long long)space.live_bytes, (unsigned long long)space.disk_bytes,
           (unsigned long long)space.bound_bytes);
    check(space.disk_bytes <= space.bound_bytes, "more than the bound allows");
    free(piece);
    must(strata_close(db));
    return 0;
}
