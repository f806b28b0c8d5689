// What a compaction that is asked for lets go, also of trees that are one run already.
#include "unit/db_world.h"

static void wait_until(struct world *w, int64_t us)
{
    sim_machine_step_clock(&w->machine, us - w->machine.wall_us, 0);
}

static void compact(struct world *w)
{
    assert_int_equal(strata_compact(w->db, NULL, NULL, NULL), STRATA_OK);
    assert_int_equal(strata_wait_idle(w->db), STRATA_OK);
}

static void alter(struct world *w, strata_retention retention, uint32_t versions)
{
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    change.retention = retention;
    change.retention_versions = versions;
    assert_int_equal(strata_keyspace_alter(w->db, NULL, &change), STRATA_OK);
}

// Live and history are one run each.
static void fill(struct world *w)
{
    world_open(w, NULL);
    put(w, "a", "1");
    put(w, "a", "2");
    put(w, "a", "3");
    put(w, "b", "4");
    delete_key(w, "b"); // 5
    put(w, "b", "6");
    compact(w);
    compact(w);
}

static void expect_trimmed(struct world *w, uint64_t at, const char *key)
{
    strata_read how = read_as_of(at);
    strata_value value = {0};
    assert_int_equal(strata_get(w->db, &how, strata_str(key), &value), STRATA_TRIMMED);
    strata_value_release(&value);
}

static void expect_at(struct world *w, uint64_t at, const char *key, const char *expected)
{
    strata_read how = read_as_of(at);
    expect_get(w, &how, key, expected);
}

static void old_versions_go_when_retention_changes(void **state)
{
    (void)state;
    struct world w;
    fill(&w);
    expect_at(&w, 1, "a", "1");
    alter(&w, STRATA_RETENTION_VERSIONS, 2);
    expect_at(&w, 1, "a", "1");
    compact(&w);
    expect_trimmed(&w, 1, "a");
    expect_at(&w, 2, "a", "2");
    expect_at(&w, 3, "a", "3");
    expect_at(&w, 4, "b", "4");
    expect_at(&w, 5, "b", NULL);
    expect_at(&w, 3, "b", NULL); // it was not there yet
    alter(&w, STRATA_RETENTION_VERSIONS, 1);
    compact(&w);
    expect_trimmed(&w, 1, "a");
    expect_trimmed(&w, 2, "a");
    expect_trimmed(&w, 4, "b");
    expect_at(&w, 3, "a", "3");
    expect_get(&w, NULL, "a", "3");
    expect_get(&w, NULL, "b", "6");
    world_close(&w);
}

static void history_goes_when_nothing_is_retained(void **state)
{
    (void)state;
    struct world w;
    fill(&w);
    strata_snapshot *snapshot;
    strata_read how = STRATA_READ_INIT;
    assert_int_equal(strata_snapshot_take(w.db, &snapshot), STRATA_OK);
    how.snapshot = snapshot;
    put(&w, "a", "7");
    put(&w, "a", "8");
    alter(&w, STRATA_RETENTION_NONE, 0);
    compact(&w);
    expect_trimmed(&w, 1, "a");
    expect_get(&w, &how, "a", "3");
    expect_get(&w, NULL, "a", "8");
    strata_snapshot_release(snapshot);
    compact(&w);
    const struct catalog_space *in = catalog_space_find(w.db->edit.catalog, 1);
    assert_non_null(in);
    assert_int_equal(in->history->run_count, 0);
    world_close(&w);
}

static void expired_values_go(void **state)
{
    (void)state;
    struct world w;
    fill(&w);
    alter(&w, STRATA_RETENTION_NONE, 0);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    strata_write how = STRATA_WRITE_INIT;
    how.expires_unix_us = start + 5 * SECOND;
    assert_int_equal(strata_put(w.db, &how, strata_str("c"), strata_str("expires")), STRATA_OK);
    compact(&w);
    expect_get(&w, NULL, "c", "expires");
    wait_until(&w, start + 6 * SECOND);
    put(&w, "d", "later"); // the floor's time is that of a commit
    compact(&w);
    compact(&w);
    const struct catalog_space *in = catalog_space_find(w.db->edit.catalog, 1);
    assert_non_null(in);
    const struct level *last = &in->live->levels[in->live->level_count - 1];
    assert_int_equal(last->runs[0]->entries, 3);
    expect_get(&w, NULL, "c", NULL);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_versions_go_when_retention_changes),
        cmocka_unit_test(history_goes_when_nothing_is_retained),
        cmocka_unit_test(expired_values_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
