// Readers whose views are taken at any moment, while writers overwrite what they read and
// background work flushes, merges, trims and rewrites. Every commit gives all keys the same
// version, so whoever reads at one commit sees one version.
#include "db/db.h"
#include "lib/test_lib.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define KEYS 150
#define READERS 3

struct shared {
    strata_db *db;
    _Atomic bool stop;
    _Atomic uint64_t scans;
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

static void require(strata_rc rc, const char *what)
{
    if (rc < 0) {
        test_fatal("%s: %s: %s", what, strata_rc_name(rc), strata_error_text());
    }
}

// Every third value is long.
static size_t bytes_of(int key)
{
    return key % 3 == 0 ? 3000 : 40;
}

static void write_all(strata_db *db, uint64_t version)
{
    strata_batch *batch;
    require(strata_batch_new(db, &batch), "batch_new");
    for (int k = 0; k < KEYS; k++) {
        char key[16];
        uint8_t value[3000];
        snprintf(key, sizeof key, "key%05d", k);
        memset(value, (int)(version & 0xff), sizeof value);
        memcpy(value, &version, sizeof version);
        require(strata_batch_put(batch, NULL, strata_str(key), (strata_slice){value, bytes_of(k)}),
                "batch_put");
    }
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    require(strata_commit(db, &how, batch, NULL), "commit");
    strata_batch_free(batch);
}

static void *write_until_stopped(void *ctx)
{
    struct shared *s = ctx;
    for (uint64_t version = 2; !atomic_load(&s->stop); version++) {
        write_all(s->db, version);
        if (version % 40 == 0) {
            require(strata_flush(s->db), "flush");
        }
        usleep(200);
    }
    return NULL;
}

static void *take_until_stopped(void *ctx)
{
    struct shared *s = ctx;
    while (!atomic_load(&s->stop)) {
        db_reseat_idle(s->db);
        usleep(100);
    }
    return NULL;
}

// The version of the value; the whole value says the same.
static uint64_t version_of(strata_slice value, int key)
{
    uint64_t version;
    if (value.bytes != bytes_of(key)) {
        test_fatal("key %d has a value of %zu bytes", key, value.bytes);
    }
    memcpy(&version, value.data, sizeof version);
    const uint8_t *bytes = value.data;
    for (size_t i = sizeof version; i < value.bytes; i++) {
        if (bytes[i] != (version & 0xff)) {
            test_fatal("key %d: byte %zu of version %llu is wrong", key, i,
                       (unsigned long long)version);
        }
    }
    return version;
}

static void scan(struct shared *s, bool backward, bool ask, bool rest)
{
    strata_iter *it;
    uint64_t commit = 0;
    uint64_t version = 0;
    int count = 0;
    require(strata_iter_open(s->db, NULL, &it), "iter_open");
    strata_rc rc = backward ? strata_iter_last(it) : strata_iter_first(it);
    for (; rc == STRATA_OK; rc = backward ? strata_iter_prev(it) : strata_iter_next(it)) {
        int key = backward ? KEYS - 1 - count : count;
        if (rest && count % 50 == 7) {
            usleep(300); // nothing of the iterator runs: its view may go
        }
        if (commit != 0 && strata_iter_commit(it) != commit) {
            test_fatal("key %d of commit %llu among those of %llu", key,
                       (unsigned long long)strata_iter_commit(it), (unsigned long long)commit);
        }
        commit = strata_iter_commit(it);
        if (ask) {
            strata_slice value = strata_iter_value(it);
            require(strata_iter_value_error(it), "iter_value");
            uint64_t now = version_of(value, key);
            if (version != 0 && now != version) {
                test_fatal("two versions in one scan");
            }
            version = now;
        }
        count++;
    }
    require(rc, "iter_next");
    if (count != KEYS) {
        test_fatal("a scan of %d keys", count);
    }
    strata_iter_close(it);
}

static void read_history(struct shared *s)
{
    strata_history *h;
    strata_version_info v;
    strata_rc rc;
    uint64_t newer = 0;
    require(strata_history_open_key(s->db, NULL, strata_str("key00003"), &h), "history_open");
    while ((rc = strata_history_next(h, &v)) == STRATA_OK) {
        if (newer != 0 && (v.commit >= newer || v.end != newer)) {
            test_fatal("version %llu ends at %llu, and follows %llu", (unsigned long long)v.commit,
                       (unsigned long long)v.end, (unsigned long long)newer);
        }
        (void)version_of(v.value, 3);
        newer = v.commit;
        usleep(50);
    }
    require(rc, "history_next");
    if (newer == 0) {
        test_fatal("no version of a key");
    }
    strata_history_close(h);
}

static void *read_until_stopped(void *ctx)
{
    struct shared *s = ctx;
    for (unsigned i = 0; !atomic_load(&s->stop); i++) {
        scan(s, i % 2 == 1, i % 3 != 0, i % 4 != 0);
        if (i % 5 == 0) {
            read_history(s);
        }
        atomic_fetch_add(&s->scans, 1);
    }
    return NULL;
}

static void run(strata_retention retention)
{
    char path[] = "/tmp/strata-readers-XXXXXX";
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
    options.memtable_bytes = 256u << 10;
    options.keyspace.retention = retention;
    struct shared s = {0};
    assert_int_equal(strata_open(path, &options, &s.db), STRATA_OK);
    write_all(s.db, 1);
    pthread_t threads[READERS + 2];
    test_watchdog(60);
    assert_int_equal(pthread_create(&threads[0], NULL, write_until_stopped, &s), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, take_until_stopped, &s), 0);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[2 + i], NULL, read_until_stopped, &s), 0);
    }
    sleep(1);
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS + 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(atomic_load(&s.scans) > 0);
    assert_int_equal(strata_close(s.db), STRATA_OK);
    remove_directory(path);
}

static void with_every_version_kept(void **state)
{
    (void)state;
    run(STRATA_RETENTION_ALL);
}

static void with_nothing_kept_but_what_is_registered(void **state)
{
    (void)state;
    run(STRATA_RETENTION_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_every_version_kept),
        cmocka_unit_test(with_nothing_kept_but_what_is_registered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
