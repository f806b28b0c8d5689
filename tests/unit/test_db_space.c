// Background work that gives space back, on the simulated machine: what it does, and that it ends.
#include "base/prng.h"
#include "db/db.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define KEYS 200u
#define VALUE_BYTES 4000u

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_options options;
    strata_db *db;
    struct prng random;
    uint32_t last[KEYS]; // the stamp of each key's value; 0: none
    uint32_t stamp;
};

static void open_database(struct world *w)
{
    assert_int_equal(db_open(&w->machine.base, "db", &w->options, &w->db), STRATA_OK);
}

static int world_set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->disk = sim_disk_new();
    sim_machine_init(&w->machine, w->disk, 1);
    w->random.state = 3;
    w->options = (strata_options)STRATA_OPTIONS_INIT;
    w->options.flags = STRATA_OPEN_CREATE;
    w->options.memory_bytes = 8u << 20;
    w->options.memtable_bytes = 64u << 10;
    w->options.keyspace.retention = STRATA_RETENTION_NONE;
    open_database(w);
    *state = w;
    return 0;
}

static int world_tear_down(void **state)
{
    struct world *w = *state;
    assert_int_equal(strata_close(w->db), STRATA_OK);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
    free(w);
    return 0;
}

static void settle(struct world *w)
{
    assert_int_equal(strata_flush(w->db), STRATA_OK);
    assert_int_equal(strata_wait_idle(w->db), STRATA_OK);
}

static strata_slice key_of(char to[8], uint32_t i)
{
    snprintf(to, 8, "k%05u", i);
    return (strata_slice){to, 6};
}

static void fill(uint8_t *value, uint32_t stamp)
{
    struct prng r = {.state = stamp};
    for (uint32_t i = 0; i < VALUE_BYTES; i += 4) {
        uint32_t word = (uint32_t)prng_next(&r);
        memcpy(value + i, &word, 4);
    }
}

static uint64_t put(struct world *w, uint32_t i)
{
    char key[8];
    uint8_t value[VALUE_BYTES];
    uint64_t commit;
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    how.commit_out = &commit;
    fill(value, ++w->stamp);
    w->last[i] = w->stamp;
    assert_int_equal(strata_put(w->db, &how, key_of(key, i), (strata_slice){value, VALUE_BYTES}),
                     STRATA_OK);
    return commit;
}

static void overwrite(struct world *w, uint32_t times)
{
    for (uint32_t i = 0; i < times * KEYS; i++) {
        put(w, i < KEYS ? i : (uint32_t)prng_below(&w->random, KEYS));
    }
}

static void expect_read(struct world *w, const strata_read *how, uint32_t i, uint32_t stamp)
{
    char key[8];
    uint8_t want[VALUE_BYTES];
    strata_value v = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(w->db, how, key_of(key, i), &v);
    assert_int_equal(rc, stamp == 0 ? STRATA_NOT_FOUND : STRATA_OK);
    if (stamp != 0) {
        fill(want, stamp);
        assert_int_equal(v.bytes, VALUE_BYTES);
        assert_memory_equal(v.data, want, VALUE_BYTES);
    }
    strata_value_release(&v);
}

static void expect_present(struct world *w)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        expect_read(w, NULL, i, w->last[i]);
    }
    assert_int_equal(strata_check(w->db), STRATA_OK);
}

static strata_space space_of(struct world *w)
{
    strata_space s;
    assert_int_equal(strata_space_of(w->db, NULL, &s), STRATA_OK);
    assert_true(s.table_bytes + s.value_bytes ==
                s.live_bytes + s.history_bytes + s.superseded_bytes + s.dead_value_bytes);
    assert_true(s.disk_bytes == s.table_bytes + s.value_bytes + s.log_bytes);
    assert_true(s.delete_bytes <= s.superseded_bytes);
    return s;
}

static uint64_t metric(struct world *w, enum metric which)
{
    return metrics_sum(&w->db->metrics, which);
}

static void alter(struct world *w, strata_keyspace_options o)
{
    o.struct_bytes = sizeof o;
    assert_int_equal(strata_keyspace_alter(w->db, NULL, &o), STRATA_OK);
}

static void overwritten_values_are_given_back(void **state)
{
    struct world *w = *state;
    overwrite(w, 10);
    settle(w);
    strata_space s = space_of(w);
    assert_true(metric(w, METRIC_value_rewrites) > 0);
    assert_in_range(s.live_bytes, (uint64_t)KEYS * VALUE_BYTES,
                    (uint64_t)KEYS * VALUE_BYTES * 11 / 10);
    assert_true(s.disk_bytes <= s.bound_bytes);
    assert_int_equal(s.debt_bytes, 0);
    expect_present(w);
}

static void idle_background_work_sleeps(void **state)
{
    struct world *w = *state;
    overwrite(w, 4);
    settle(w);
    sim_machine_crank(&w->machine, 10000);
    uint64_t sleeps = w->db->mu.space_sleeps;
    uint64_t edits = metric(w, METRIC_edits);
    assert_int_equal(sim_machine_crank(&w->machine, 10000), 0);
    // Asked to look again it finds nothing again.
    background_schedule(w->db);
    assert_in_range(sim_machine_crank(&w->machine, 10000), 1, 16);
    assert_int_equal(w->db->mu.space_sleeps, sleeps + 1);
    assert_int_equal(metric(w, METRIC_edits), edits);
}

static void deleting_everything_leaves_no_value_file(void **state)
{
    struct world *w = *state;
    char key[8];
    overwrite(w, 2);
    settle(w);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(strata_delete(w->db, NULL, key_of(key, i)), STRATA_OK);
        w->last[i] = 0;
    }
    settle(w);
    strata_space s = space_of(w);
    assert_int_equal(s.value_bytes, 0);
    assert_true(s.table_bytes <= w->options.memtable_bytes);
    expect_present(w);
}

static void a_range_delete_reads_values_at_its_end_alone(void **state)
{
    struct world *w = *state;
    char begin[8];
    char end[8];
    for (uint32_t i = 0; i < KEYS; i++) {
        put(w, i);
    }
    settle(w);
    uint64_t before = space_of(w).value_bytes;
    uint64_t read = metric(w, METRIC_value_rewrite_bytes_read);
    assert_int_equal(
        strata_delete_range(w->db, NULL, key_of(begin, 0), key_of(end, KEYS - KEYS / 4)),
        STRATA_OK);
    memset(w->last, 0, (KEYS - KEYS / 4) * sizeof w->last[0]);
    settle(w);
    assert_true(space_of(w).value_bytes < before / 2);
    // Of what was deleted nothing; small files of the rest may be joined.
    read = metric(w, METRIC_value_rewrite_bytes_read) - read;
    assert_true(read <= (uint64_t)KEYS / 4 * VALUE_BYTES * 5 / 4);
    expect_present(w);
}

static void what_a_snapshot_needs_is_kept_through_rewrites(void **state)
{
    struct world *w = *state;
    uint32_t then[KEYS];
    strata_snapshot *snapshot;
    overwrite(w, 1);
    memcpy(then, w->last, sizeof then);
    assert_int_equal(strata_snapshot_take(w->db, &snapshot), STRATA_OK);
    overwrite(w, 6);
    settle(w);
    strata_space s = space_of(w);
    assert_true(s.history_bytes >= (uint64_t)KEYS * VALUE_BYTES);
    assert_true(s.disk_bytes <= s.bound_bytes);
    strata_read how = STRATA_READ_INIT;
    how.snapshot = snapshot;
    for (uint32_t i = 0; i < KEYS; i++) {
        expect_read(w, &how, i, then[i]);
    }
    strata_snapshot_release(snapshot);
    put(w, 0); // something that moves the floor
    settle(w);
    assert_int_equal(space_of(w).history_bytes, 0);
    expect_present(w);
}

static void an_idle_iterator_pins_no_files(void **state)
{
    struct world *w = *state;
    strata_iter *it;
    overwrite(w, 1);
    settle(w);
    assert_int_equal(strata_iter_open(w->db, NULL, &it), STRATA_OK);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    uint64_t commit = strata_iter_commit(it);
    overwrite(w, 3);
    settle(w);
    uint32_t seen = 1;
    while (strata_iter_next(it) == STRATA_OK) {
        assert_int_equal(strata_iter_value(it).bytes, VALUE_BYTES);
        seen++;
    }
    assert_int_equal(seen, KEYS);
    assert_true(commit <= strata_newest_commit(w->db));
    strata_iter_close(it);
}

static void age_lets_history_go_as_time_passes(void **state)
{
    struct world *w = *state;
    alter(w,
          (strata_keyspace_options){.retention = STRATA_RETENTION_AGE, .retention_seconds = 1000});
    uint64_t early = 0;
    uint64_t most = 0;
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            early = early == 0 ? put(w, i) : (put(w, i), early);
        }
        sim_machine_step_clock(&w->machine, 100 * SECOND, (uint64_t)(100 * SECOND) * 1000);
        settle(w);
        uint64_t bytes = space_of(w).history_bytes;
        most = bytes > most ? bytes : most;
        if (round == 5) {
            strata_read how = STRATA_READ_INIT;
            how.as_of = early + KEYS;
            assert_true(bytes >= 4ull * KEYS * VALUE_BYTES);
            expect_read(w, &how, 0, KEYS + 1);
        }
    }
    // Ten rounds are within the age; without whole files that leave, half as much again may stay.
    assert_true(most <= 17ull * KEYS * VALUE_BYTES);
    char key[8];
    strata_value v = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    how.as_of = early;
    assert_int_equal(strata_get(w->db, &how, key_of(key, 0), &v), STRATA_TRIMMED);
    strata_value_release(&v);
    sim_machine_step_clock(&w->machine, 2000 * SECOND, (uint64_t)(2000 * SECOND) * 1000);
    settle(w);
    assert_int_equal(space_of(w).history_bytes, 0);
    expect_present(w);
}

static void last_versions_stay_few(void **state)
{
    struct world *w = *state;
    alter(w, (strata_keyspace_options){.retention = STRATA_RETENTION_VERSIONS,
                                       .retention_versions = 2});
    uint64_t most = 0;
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            put(w, i);
        }
        settle(w);
        uint64_t bytes = space_of(w).history_bytes;
        most = bytes > most ? bytes : most;
    }
    assert_true(space_of(w).history_bytes >= (uint64_t)KEYS * VALUE_BYTES / 2);
    assert_true(most <= 5ull * KEYS * VALUE_BYTES);
    expect_present(w);
}

static void altering_retention_is_followed_at_once(void **state)
{
    struct world *w = *state;
    alter(w, (strata_keyspace_options){.retention = STRATA_RETENTION_ALL});
    overwrite(w, 5);
    settle(w);
    assert_true(space_of(w).history_bytes > 3ull * KEYS * VALUE_BYTES);
    alter(w, (strata_keyspace_options){.retention = STRATA_RETENTION_NONE});
    settle(w);
    assert_int_equal(space_of(w).history_bytes, 0);
    assert_true(space_of(w).value_bytes < 2ull * KEYS * VALUE_BYTES);
    expect_present(w);
}

static void a_keyspace_dropped_in_the_middle_of_a_rewrite(void **state)
{
    struct world *w = *state;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace *other;
    uint8_t value[VALUE_BYTES];
    char key[8];
    strata_write how = STRATA_WRITE_INIT;
    for (uint32_t steps = 0; steps < 40; steps++) {
        o.retention = STRATA_RETENTION_NONE;
        assert_int_equal(strata_keyspace_create(w->db, "other", &o, &other), STRATA_OK);
        how.keyspace = other;
        for (uint32_t i = 0; i < 400; i++) {
            fill(value, i + 1);
            assert_int_equal(strata_put(w->db, &how, key_of(key, i * 7 % 50),
                                        (strata_slice){value, VALUE_BYTES}),
                             STRATA_OK);
        }
        assert_int_equal(strata_flush(w->db), STRATA_OK);
        sim_machine_crank(&w->machine, steps);
        assert_int_equal(strata_keyspace_drop(w->db, "other"), STRATA_OK);
        settle(w);
        strata_space s;
        space_total(w->db, NULL, &s);
        assert_int_equal(s.value_bytes, 0);
    }
    expect_present(w);
}

static void a_full_disk_in_a_rewrite_passes(void **state)
{
    struct world *w = *state;
    overwrite(w, 3);
    assert_int_equal(strata_flush(w->db), STRATA_OK);
    struct sim_fault full = {.ops = SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_CREATE),
                             .glob = "*.value",
                             .sticky = true,
                             .error = ENOSPC};
    sim_machine_fail(&w->machine, full);
    strata_rc rc = strata_wait_idle(w->db);
    assert_true(rc == STRATA_OK || rc == STRATA_NO_SPACE);
    sim_machine_heal(&w->machine);
    w->db->mu.retry_error = STRATA_OK; // as the ticker does
    settle(w);
    assert_true(space_of(w).disk_bytes <= space_of(w).bound_bytes);
    overwrite(w, 1);
    expect_present(w);
}

static void compacted_values_are_the_same(void **state)
{
    struct world *w = *state;
    overwrite(w, 3);
    settle(w);
    assert_int_equal(strata_compact_values(w->db, NULL, NULL, NULL), STRATA_OK);
    strata_space s = space_of(w);
    assert_int_equal(s.dead_value_bytes, 0);
    assert_true(s.value_bytes < (uint64_t)KEYS * VALUE_BYTES * 11 / 10);
    expect_present(w);
}

static void a_bound_that_the_shape_cannot_keep_is_refused(void **state)
{
    struct world *w = *state;
    strata_keyspace *other;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = STRATA_RETENTION_NONE;
    o.size_ratio = 2;
    assert_int_equal(strata_keyspace_create(w->db, "other", &o, &other), STRATA_INVALID);
    assert_non_null(strstr(strata_error_text(), "needs 200"));
    o.retention = STRATA_RETENTION_ALL;
    assert_int_equal(strata_keyspace_create(w->db, "other", &o, &other), STRATA_OK);
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    change.retention = STRATA_RETENTION_NONE;
    assert_int_equal(strata_keyspace_alter(w->db, other, &change), STRATA_INVALID);
    change.space_bound_percent = 200;
    assert_int_equal(strata_keyspace_alter(w->db, other, &change), STRATA_OK);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(overwritten_values_are_given_back),
        CASE(idle_background_work_sleeps),
        CASE(deleting_everything_leaves_no_value_file),
        CASE(a_range_delete_reads_values_at_its_end_alone),
        CASE(what_a_snapshot_needs_is_kept_through_rewrites),
        CASE(an_idle_iterator_pins_no_files),
        CASE(age_lets_history_go_as_time_passes),
        CASE(last_versions_stay_few),
        CASE(altering_retention_is_followed_at_once),
        CASE(a_keyspace_dropped_in_the_middle_of_a_rewrite),
        CASE(a_full_disk_in_a_rewrite_passes),
        CASE(compacted_values_are_the_same),
        CASE(a_bound_that_the_shape_cannot_keep_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
