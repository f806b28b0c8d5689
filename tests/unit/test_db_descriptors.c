// A database of many tables and a process that may have few descriptors.
#include "strata.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SPACES 70
#define KEYS 5
#define LIMIT_MOST 64

// Ends a child process with a sentence.
#define CHILD_CHECK(c)                                                                             \
    do {                                                                                           \
        if (!(c)) {                                                                                \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #c, strata_error_text());               \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static strata_slice key_of(char buffer[32], unsigned space, unsigned key)
{
    int bytes = snprintf(buffer, 32, "space %u key %u", space, key);
    return (strata_slice){buffer, (size_t)bytes};
}

static void space_name(char buffer[32], unsigned space)
{
    snprintf(buffer, 32, "space %u", space);
}

static strata_rc open_space(strata_db *db, unsigned space, strata_keyspace **space_out)
{
    char name[32];
    space_name(name, space);
    return strata_keyspace_open(db, name, space_out);
}

static strata_rc write_round(strata_db *db, unsigned space, const char *value)
{
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    strata_rc rc = open_space(db, space, &how.keyspace);
    for (unsigned key = 0; key < KEYS && rc == STRATA_OK; key++) {
        char buffer[32];
        rc = strata_put(db, &how, key_of(buffer, space, key), (strata_slice){value, strlen(value)});
    }
    return rc;
}

// A tree of one table for each keyspace, and one for its history.
static void make_database(char path[64])
{
    // What matters here costs many syncs on a disk.
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 64, "%s/strata-descriptors-XXXXXX", parent);
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memtable_bytes = 64 * 1024;
    strata_db *db;
    assert_int_equal(strata_open(path, &options, &db), STRATA_OK);
    for (unsigned i = 0; i < SPACES; i++) {
        char name[32];
        strata_keyspace *space;
        space_name(name, i);
        assert_int_equal(strata_keyspace_create(db, name, NULL, &space), STRATA_OK);
    }
    const char *const values[] = {"first", "second"};
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < SPACES; i++) {
            assert_int_equal(write_round(db, i, values[round]), STRATA_OK);
        }
    }
    assert_int_equal(strata_flush(db), STRATA_OK);
    assert_int_equal(strata_close(db), STRATA_OK);
}

static void remove_database(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of ours
}

static bool count_table(void *ctx, const strata_table_info *info)
{
    (void)info;
    ++*(unsigned *)ctx;
    return true;
}

static void close_inherited(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        (void)close(fd);
    }
}

// How many descriptors of tables the process has, whose limit is at most LIMIT_MOST. Needs no
// descriptor itself.
static unsigned tables_open(void)
{
    unsigned count = 0;
    for (int fd = 3; fd < LIMIT_MOST; fd++) {
        char link[64];
        char target[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(link, target, sizeof target - 1);
        if (bytes > 0) {
            target[bytes] = '\0';
            count += strstr(target, ".table") != NULL;
        }
    }
    return count;
}

static strata_db *open_limited(const char *path, uint32_t flags)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = flags;
    options.open_files_max = 16;
    options.memtable_bytes = 64 * 1024;
    strata_db *db;
    CHILD_CHECK(strata_open(path, &options, &db) == STRATA_OK);
    return db;
}

// Reads all, each key of all keyspaces in turn and without keeping blocks, so that every read
// needs its table's descriptor.
static void read_all(strata_db *db, const char *value, unsigned open_most)
{
    strata_keyspace *spaces[SPACES];
    strata_value got = STRATA_VALUE_INIT;
    for (unsigned i = 0; i < SPACES; i++) {
        CHILD_CHECK(open_space(db, i, &spaces[i]) == STRATA_OK);
    }
    for (unsigned key = 0; key < KEYS; key++) {
        for (unsigned i = 0; i < SPACES; i++) {
            char buffer[32];
            strata_read how = STRATA_READ_INIT;
            how.keyspace = spaces[i];
            how.cache_bypass = true;
            CHILD_CHECK(strata_get(db, &how, key_of(buffer, i, key), &got) == STRATA_OK);
            CHILD_CHECK(got.bytes == strlen(value) && memcmp(got.data, value, got.bytes) == 0);
        }
        CHILD_CHECK(tables_open() <= open_most);
    }
    strata_value_release(&got);
}

// Every version, through iterators of all keyspaces that stand at once.
static void read_versions(strata_db *db)
{
    strata_history *histories[SPACES];
    for (unsigned i = 0; i < SPACES; i++) {
        strata_read how = STRATA_READ_INIT;
        CHILD_CHECK(open_space(db, i, &how.keyspace) == STRATA_OK);
        CHILD_CHECK(strata_history_open(db, &how, &histories[i]) == STRATA_OK);
    }
    for (unsigned n = 0; n < 2 * KEYS; n++) {
        for (unsigned i = 0; i < SPACES; i++) {
            strata_version_info version;
            CHILD_CHECK(strata_history_next(histories[i], &version) == STRATA_OK);
            const char *value = n % 2 == 0 ? "second" : "first";
            CHILD_CHECK(version.value.bytes == strlen(value) &&
                        memcmp(version.value.data, value, version.value.bytes) == 0);
        }
    }
    for (unsigned i = 0; i < SPACES; i++) {
        strata_version_info version;
        CHILD_CHECK(strata_history_next(histories[i], &version) == STRATA_END);
        strata_history_close(histories[i]);
    }
}

// Runs `work` in a child that may have `limit` descriptors.
static void run_limited(const char *path, unsigned limit,
                        void (*work)(const char *path, unsigned limit))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close_inherited();
        struct rlimit few = {limit, limit};
        CHILD_CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        work(path, limit);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("the child with %u descriptors ended with status 0x%x", limit, (unsigned)status);
    }
}

static unsigned open_most_at(unsigned limit)
{
    unsigned room = limit < 16 + 4 ? 4 : limit - 16;
    return room < 16 ? room : 16;
}

static void read_and_check(const char *path, unsigned limit)
{
    strata_db *db = open_limited(path, 0);
    unsigned tables = 0;
    CHILD_CHECK(strata_tree(db, count_table, &tables) == STRATA_OK && tables > 60);
    read_all(db, "second", open_most_at(limit));
    read_versions(db);
    CHILD_CHECK(tables_open() <= open_most_at(limit));
    CHILD_CHECK(strata_check(db) == STRATA_OK);
    CHILD_CHECK(strata_close(db) == STRATA_OK);
    strata_verify_report report;
    CHILD_CHECK(strata_verify(path, NULL, NULL, &report) == STRATA_OK);
    CHILD_CHECK(report.faults == 0 && report.files > 60);
}

static void many_tables_are_read_with_few_descriptors(void **state)
{
    (void)state;
    char path[64];
    make_database(path);
    run_limited(path, 32, read_and_check);
    remove_database(path);
}

static void read_only(const char *path, unsigned limit)
{
    strata_db *db = open_limited(path, limit % 2 == 0 ? 0 : STRATA_OPEN_READ_ONLY);
    read_all(db, "second", open_most_at(limit));
    CHILD_CHECK(strata_close(db) == STRATA_OK);
}

static void every_limit_opens_and_reads(void **state)
{
    (void)state;
    char path[64];
    make_database(path);
    for (unsigned limit = 16; limit <= LIMIT_MOST; limit++) {
        run_limited(path, limit, read_only);
    }
    remove_database(path);
}

// Tables come and go while an iterator holds the old ones, whose descriptors are long closed.
static void write_and_merge(const char *path, unsigned limit)
{
    strata_db *db = open_limited(path, 0);
    strata_snapshot *snapshot;
    CHILD_CHECK(strata_snapshot_take(db, &snapshot) == STRATA_OK);
    strata_iter *iters[SPACES];
    for (unsigned i = 0; i < SPACES; i++) {
        strata_read how = STRATA_READ_INIT;
        CHILD_CHECK(open_space(db, i, &how.keyspace) == STRATA_OK);
        CHILD_CHECK(strata_iter_open(db, &how, &iters[i]) == STRATA_OK);
    }
    for (unsigned i = 0; i < SPACES; i++) {
        CHILD_CHECK(write_round(db, i, "third") == STRATA_OK);
    }
    CHILD_CHECK(strata_flush(db) == STRATA_OK);
    CHILD_CHECK(strata_compact(db, NULL, NULL, NULL) == STRATA_OK);
    for (unsigned i = 0; i < SPACES; i++) {
        unsigned count = 0;
        strata_rc rc = strata_iter_first(iters[i]);
        for (; rc == STRATA_OK; rc = strata_iter_next(iters[i])) {
            CHILD_CHECK(strata_iter_value(iters[i]).bytes == strlen("second"));
            count++;
        }
        CHILD_CHECK(rc == STRATA_END && count == KEYS);
        strata_iter_close(iters[i]);
    }
    strata_snapshot_release(snapshot);
    read_all(db, "third", open_most_at(limit));
    CHILD_CHECK(strata_close(db) == STRATA_OK);
}

static unsigned table_files(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        count += strstr(e->d_name, ".table") != NULL;
    }
    closedir(dir);
    return count;
}

static void tables_that_left_stay_readable_and_then_go(void **state)
{
    (void)state;
    char path[64];
    make_database(path);
    run_limited(path, 32, write_and_merge);
    strata_db *db;
    unsigned tables = 0;
    assert_int_equal(strata_open(path, NULL, &db), STRATA_OK);
    assert_int_equal(strata_tree(db, count_table, &tables), STRATA_OK);
    assert_int_equal(table_files(path), tables);
    assert_int_equal(strata_close(db), STRATA_OK);
    remove_database(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_tables_are_read_with_few_descriptors),
        cmocka_unit_test(every_limit_opens_and_reads),
        cmocka_unit_test(tables_that_left_stay_readable_and_then_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
