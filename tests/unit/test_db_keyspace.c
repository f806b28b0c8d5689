// Creating, dropping and altering keyspaces, also while others write.
#include "lib/test_lib.h"
#include "strata.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WRITERS 3

struct writers {
    strata_db *db;
    _Atomic bool stop;
};

static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] != '.') {
            char name[512];
            snprintf(name, sizeof name, "%s/%s", path, d->d_name);
            assert_int_equal(unlink(name), 0);
        }
    }
    closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

static void *write_until_stopped(void *ctx)
{
    struct writers *w = ctx;
    static const char value[2048];
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    for (uint64_t i = 0; !atomic_load(&w->stop); i++) {
        char key[32];
        snprintf(key, sizeof key, "%08llu", (unsigned long long)(i % 1000));
        strata_rc rc =
            strata_put(w->db, &how, strata_str(key), (strata_slice){value, sizeof value});
        if (rc != STRATA_OK) {
            test_fatal("put: %s", strata_error_text());
        }
    }
    return NULL;
}

// Writers wait with the commit lock held for a flush whose end needs the edit lock: whoever takes
// both must take the commit lock first.
static void keyspaces_come_and_go_while_writers_wait_for_flushes(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-keyspace-XXXXXX";
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
    options.memtable_bytes = 64u << 10;
    struct writers w = {0};
    assert_int_equal(strata_open(path, &options, &w.db), STRATA_OK);
    pthread_t threads[WRITERS];
    test_watchdog(30);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_until_stopped, &w), 0);
    }
    for (int i = 0; i < 20; i++) {
        strata_keyspace *keyspace;
        assert_int_equal(strata_keyspace_create(w.db, "other", NULL, &keyspace), STRATA_OK);
        assert_int_equal(strata_keyspace_create(w.db, "other", NULL, &keyspace), STRATA_CONFLICT);
        assert_int_equal(strata_keyspace_drop(w.db, "other"), STRATA_OK);
        assert_int_equal(strata_keyspace_drop(w.db, "other"), STRATA_NOT_FOUND);
    }
    atomic_store(&w.stop, true);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    test_watchdog(0);
    assert_int_equal(strata_close(w.db), STRATA_OK);
    remove_directory(path);
}

static bool copy_options(void *ctx, const strata_keyspace_info *info)
{
    strata_keyspace_options *options = ctx;
    *options = info->options;
    return false; // "default" is the first
}

static strata_keyspace_options options_now(strata_db *db)
{
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    assert_int_equal(strata_keyspace_list(db, copy_options, &options), STRATA_OK);
    return options;
}

static void altered_options_are_in_force_and_stay(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-keyspace-XXXXXX";
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
    strata_db *db;
    assert_int_equal(strata_open(path, &options, &db), STRATA_OK);
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    change.separate_bytes = 100;
    change.expire_seconds = 3600;
    assert_int_equal(strata_keyspace_alter(db, NULL, &change), STRATA_OK);
    change = (strata_keyspace_options)STRATA_KEYSPACE_OPTIONS_INIT;
    change.space_bound_percent = 200; // the others stay as they are
    assert_int_equal(strata_keyspace_alter(db, NULL, &change), STRATA_OK);
    change.space_bound_percent = 0;
    change.size_ratio = 4;
    assert_int_equal(strata_keyspace_alter(db, NULL, &change), STRATA_INVALID);
    for (int round = 0; round < 2; round++) {
        strata_keyspace_options now = options_now(db);
        assert_int_equal(now.separate_bytes, 100);
        assert_int_equal(now.expire_seconds, 3600);
        assert_int_equal(now.space_bound_percent, 200);
        assert_int_equal(now.size_ratio, 8);
        assert_int_equal(strata_close(db), STRATA_OK);
        options.flags = round == 0 ? 0 : STRATA_OPEN_READ_ONLY;
        assert_int_equal(strata_open(path, &options, &db), STRATA_OK);
    }
    change = (strata_keyspace_options)STRATA_KEYSPACE_OPTIONS_INIT;
    assert_int_equal(strata_keyspace_alter(db, NULL, &change), STRATA_READ_ONLY);
    assert_int_equal(strata_close(db), STRATA_OK);
    remove_directory(path);
}

static void options_change_while_writers_write(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-keyspace-XXXXXX";
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
    options.memtable_bytes = 64u << 10;
    struct writers w = {0};
    assert_int_equal(strata_open(path, &options, &w.db), STRATA_OK);
    pthread_t threads[WRITERS];
    test_watchdog(30);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_until_stopped, &w), 0);
    }
    for (uint32_t i = 0; i < 40; i++) {
        strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
        change.separation = i % 3 == 0 ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
        change.separate_bytes = i % 2 == 0 ? 64 : 4096;
        change.value_compression = (strata_compression)(i % 4);
        change.expire_seconds = i % 5 == 0 ? 3600 : STRATA_NEVER_SECONDS;
        assert_int_equal(strata_keyspace_alter(w.db, NULL, &change), STRATA_OK);
        assert_true(options_now(w.db).separation == change.separation);
    }
    atomic_store(&w.stop, true);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    test_watchdog(0);
    for (uint64_t i = 0; i < 1000; i++) {
        char key[32];
        strata_value v = STRATA_VALUE_INIT;
        snprintf(key, sizeof key, "%08llu", (unsigned long long)i);
        strata_rc rc = strata_get(w.db, NULL, strata_str(key), &v);
        assert_true(rc == STRATA_NOT_FOUND || (rc == STRATA_OK && v.bytes == 2048));
        strata_value_release(&v);
    }
    assert_int_equal(strata_check(w.db), STRATA_OK);
    assert_int_equal(strata_close(w.db), STRATA_OK);
    remove_directory(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(altered_options_are_in_force_and_stay),
        cmocka_unit_test(options_change_while_writers_write),
        cmocka_unit_test(keyspaces_come_and_go_while_writers_wait_for_flushes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
