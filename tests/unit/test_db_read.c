// Point reads whose blocks come and go, on the simulated machine.
#include "db/db.h"
#include "os/epoch.h"
#include "sim/sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
};

static void world_open(struct world *w)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
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

static void put(struct world *w, const char *key, const char *value)
{
    assert_int_equal(strata_put(w->db, NULL, strata_str(key), strata_str(value)), STRATA_OK);
}

// Everything in the cache that nobody has pinned goes, and its memory too.
static void empty_cache_at_reads(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)m;
    struct world *w = ctx;
    if (e->op == SIM_OP_READ) {
        cache_shrink(w->db->cache, SIZE_MAX);
        cache_shrink(w->db->cache, SIZE_MAX);
        os_epoch_collect();
    }
}

// The candidate from the live tree lies in a cached block when a cold block of history must be
// read, outside of the epoch.
static void candidate_outlives_its_block(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, "k", "first");
    put(&w, "k", "second, the one that is read");
    put(&w, "a", "first");
    put(&w, "a", "second");
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    put(&w, "k", "newest");

    strata_value v = STRATA_VALUE_INIT;
    assert_int_equal(strata_get(w.db, NULL, strata_str("a"), &v), STRATA_OK); // loads the block
    w.machine.observe = empty_cache_at_reads;
    w.machine.observe_ctx = &w;
    strata_read how = STRATA_READ_INIT;
    how.as_of = 2;
    assert_int_equal(strata_get(w.db, &how, strata_str("k"), &v), STRATA_OK);
    w.machine.observe = NULL;
    assert_int_equal(v.commit, 2);
    assert_int_equal(v.bytes, strlen("second, the one that is read"));
    assert_memory_equal(v.data, "second, the one that is read", v.bytes);
    strata_value_release(&v);
    world_close(&w);
}

static void snapshot_of_another_database_is_invalid(void **state)
{
    (void)state;
    struct world one, two;
    world_open(&one);
    world_open(&two);
    put(&two, "k", "v");
    strata_snapshot *snapshot;
    assert_int_equal(strata_snapshot_take(two.db, &snapshot), STRATA_OK);
    strata_value v = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    how.snapshot = snapshot;
    assert_int_equal(strata_get(one.db, &how, strata_str("k"), &v), STRATA_INVALID);
    assert_int_equal(strata_get(two.db, &how, strata_str("k"), &v), STRATA_OK);
    strata_value_release(&v);
    strata_snapshot_release(snapshot);
    world_close(&one);
    world_close(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidate_outlives_its_block),
        cmocka_unit_test(snapshot_of_another_database_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
