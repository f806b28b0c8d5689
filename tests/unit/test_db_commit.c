// Commits: batches over several keyspaces, full write buffers, the budget, expiry, writers beside
// each other.
#include "db/db.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OPS 150000

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
};

static void world_open(struct world *w, uint64_t memory_bytes, uint64_t memtable_bytes)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = memory_bytes;
    options.memtable_bytes = memtable_bytes;
    options.keyspace.separation = STRATA_SEPARATION_OFF;
    w->disk = sim_disk_new();
    sim_machine_init(&w->machine, w->disk, 1);
    assert_int_equal(db_open(&w->machine.base, "db", &options, &w->db), STRATA_OK);
}

static void world_close(struct world *w)
{
    assert_int_equal(strata_close(w->db), STRATA_OK);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
}

static strata_rc put_number(struct world *w, uint32_t flags, uint64_t number, size_t value_bytes)
{
    static const char value[4096] = {1};
    char key[32];
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    how.flags = flags;
    snprintf(key, sizeof key, "%016llu", (unsigned long long)number);
    return strata_put(w->db, &how, strata_str(key), (strata_slice){value, value_bytes});
}

// The time under the commit lock must not grow with the square of the batch.
static void keyspaces_that_alternate_in_a_batch(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace *other;
    strata_batch *batch;
    world_open(&w, 256u << 20, 0);
    assert_int_equal(strata_keyspace_create(w.db, "other", NULL, &other), STRATA_OK);
    assert_int_equal(strata_batch_new(w.db, &batch), STRATA_OK);
    for (uint32_t i = 0; i < OPS; i++) {
        assert_int_equal(strata_batch_put(batch, i % 2 == 0 ? NULL : other,
                                          (strata_slice){&i, sizeof i}, strata_str("v")),
                         STRATA_OK);
    }
    double begin = test_seconds();
    assert_int_equal(strata_commit(w.db, NULL, batch, NULL), STRATA_OK);
    assert_true(test_seconds() - begin < 4);
    strata_batch_free(batch);
    world_close(&w);
}

// Nothing is cranked, so nothing is flushed.
static void write_that_must_not_wait_is_busy_when_buffers_are_full(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 8u << 20, 64u << 10);
    strata_rc rc = STRATA_OK;
    uint64_t number = 0;
    while (rc == STRATA_OK && number < 1000) {
        rc = put_number(&w, STRATA_NO_WAIT, number++, 4000);
    }
    assert_int_equal(rc, STRATA_BUSY);
    assert_int_equal(metrics_sum(&w.db->metrics, METRIC_commit_waits), 0);
    assert_int_equal(put_number(&w, 0, number, 4000), STRATA_OK);
    assert_int_equal(metrics_sum(&w.db->metrics, METRIC_commit_waits), 1);
    world_close(&w);
}

static void growing_memtable_takes_memory_from_cached_blocks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 8u << 20, 3u << 20);
    for (uint64_t i = 0; i < 4000; i++) {
        assert_int_equal(put_number(&w, 0, i, 4000), STRATA_OK);
    }
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    strata_iter *it;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    strata_rc rc = strata_iter_first(it);
    while (rc == STRATA_OK) {
        rc = strata_iter_next(it);
    }
    assert_int_equal(rc, STRATA_END);
    strata_iter_close(it);
    size_t cached = atomic_load(&w.db->memory.used[OS_MEMORY_BLOCKS]);
    assert_true(cached > 4u << 20);
    for (uint64_t i = 0; i < 600; i++) {
        assert_int_equal(put_number(&w, 0, i, 4000), STRATA_OK);
        assert_true(os_memory_used(&w.db->memory) <= w.db->memory.budget_bytes);
    }
    assert_true(atomic_load(&w.db->memory.used[OS_MEMORY_BLOCKS]) < cached);
    world_close(&w);
}

// ---- expiry

static int64_t expiry_of(struct world *w, int64_t given)
{
    uint64_t expiry;
    assert_int_equal(db_expiry(w->db, w->db->default_space, given, &expiry), STRATA_OK);
    return (int64_t)expiry;
}

static void expiry_is_rounded_up_to_a_second(void **state)
{
    (void)state;
    struct world w;
    uint64_t expiry;
    world_open(&w, 8u << 20, 0);
    int64_t now = 1700000000000000;
    w.machine.wall_us = now + 1;
    assert_true(expiry_of(&w, 0) == 0);
    assert_true(expiry_of(&w, STRATA_NEVER) == 0);
    assert_true(expiry_of(&w, 1) == 1000000); // in the past
    assert_true(expiry_of(&w, 1000000) == 1000000);
    assert_true(expiry_of(&w, 1000001) == 2000000);
    assert_true(expiry_of(&w, INT64_MAX - 1) == 0); // no second of it can be named
    assert_int_equal(db_expiry(w.db, w.db->default_space, -1, &expiry), STRATA_INVALID);
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    change.expire_seconds = 10;
    assert_int_equal(strata_keyspace_alter(w.db, NULL, &change), STRATA_OK);
    w.machine.wall_us = now + 1;
    int64_t least = expiry_of(&w, 0) - 10000000; // never less than ten seconds
    assert_true(least >= now + 1 && least <= now + 2000000 && least % 1000000 == 0);
    assert_true(expiry_of(&w, STRATA_NEVER) == 0);
    assert_true(expiry_of(&w, now) == now);
    change.expire_seconds = STRATA_NEVER_SECONDS;
    assert_int_equal(strata_keyspace_alter(w.db, NULL, &change), STRATA_OK);
    assert_true(expiry_of(&w, 0) == 0);
    world_close(&w);
}

// ---- writers beside each other

#define WRITERS 3
#define WRITES 1500u

struct writer {
    strata_db *db;
    uint32_t number;
    pthread_t thread;
};

static strata_slice written(char *key, char *value, uint32_t writer, uint32_t i)
{
    size_t bytes = (i * 37u + writer) % 3000;
    snprintf(key, 32, "%u/%06u", writer, i);
    for (size_t at = 0; at < bytes; at++) {
        value[at] = (char)(at * 7 + i * 31 + writer);
    }
    return (strata_slice){value, bytes};
}

static void *write_values(void *ctx)
{
    struct writer *r = ctx;
    char key[2][32];
    char value[2][4096];
    strata_batch *batch;
    MUST(strata_batch_new(r->db, &batch));
    for (uint32_t i = 0; i < WRITES; i += 2) {
        strata_write how = STRATA_WRITE_INIT;
        how.durability = i % 64 == 0 ? STRATA_SYNC : STRATA_SYNC_NONE;
        strata_slice a = written(key[0], value[0], r->number, i);
        strata_slice b = written(key[1], value[1], r->number, i + 1);
        if (i % 10 < 4) {
            strata_batch_reset(batch);
            MUST(strata_batch_put(batch, NULL, strata_str(key[0]), a));
            MUST(strata_batch_put(batch, NULL, strata_str(key[1]), b));
            MUST(strata_commit(r->db, &how, batch, NULL));
        } else {
            MUST(strata_put(r->db, &how, strata_str(key[0]), a));
            MUST(strata_put(r->db, &how, strata_str(key[1]), b));
        }
    }
    strata_batch_free(batch);
    return NULL;
}

static void separated_values_of_many_writers_meet_seals(void **state)
{
    (void)state;
    strata_options options = STRATA_OPTIONS_INIT;
    struct writer writers[WRITERS];
    strata_db *db;
    char *path = scratch_new(NULL);
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 16u << 20;
    options.memtable_bytes = 64u << 10;
    options.keyspace.separate_bytes = 256;
    MUST(strata_open(path, &options, &db));
    test_watchdog(60);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.db = db, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_values, &writers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        os_mutex_lock(&db->commit.lock);
        MUST(db_seal_locked(db));
        os_mutex_unlock(&db->commit.lock);
        MUST(strata_sync(db));
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    }
    for (int round = 0; round < 2; round++) {
        for (uint32_t n = 0; n < WRITERS * WRITES; n++) {
            char key[32];
            char value[4096];
            strata_value got = STRATA_VALUE_INIT;
            strata_slice want = written(key, value, n / WRITES, n % WRITES);
            MUST(strata_get(db, NULL, strata_str(key), &got));
            assert_int_equal(got.bytes, want.bytes);
            assert_true(want.bytes == 0 || memcmp(got.data, want.data, want.bytes) == 0);
            strata_value_release(&got);
        }
        MUST(strata_check(db));
        MUST(strata_close(db));
        if (round == 0) {
            MUST(strata_open(path, &options, &db));
        }
    }
    test_watchdog(0);
    scratch_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyspaces_that_alternate_in_a_batch),
        cmocka_unit_test(write_that_must_not_wait_is_busy_when_buffers_are_full),
        cmocka_unit_test(growing_memtable_takes_memory_from_cached_blocks),
        cmocka_unit_test(expiry_is_rounded_up_to_a_second),
        cmocka_unit_test(separated_values_of_many_writers_meet_seals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
