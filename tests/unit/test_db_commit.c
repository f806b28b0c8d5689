// Commits: batches over several keyspaces, full write buffers, the budget.
#include "db/db.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyspaces_that_alternate_in_a_batch),
        cmocka_unit_test(write_that_must_not_wait_is_busy_when_buffers_are_full),
        cmocka_unit_test(growing_memtable_takes_memory_from_cached_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
