// Registered commits and the floor, on the simulated machine.
#include "unit/db_world.h"

static void copy_is_ascending_and_names_each_commit_once(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    strata_snapshot *s[4];
    for (int i = 0; i < 4; i++) {
        if (i != 2) { // two snapshots share a commit
            put(&w, "k", "v");
        }
        assert_int_equal(strata_snapshot_take(w.db, &s[i]), STRATA_OK);
    }
    uint64_t *commits;
    size_t count;
    assert_int_equal(registered_copy(w.db, &commits, &count), STRATA_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(commits[i], i + 1);
    }
    free(commits);
    assert_int_equal(registered_count(w.db), 4);
    strata_snapshot_release(s[1]); // out of the middle, then the ends
    strata_snapshot_release(s[3]);
    strata_snapshot_release(s[0]);
    assert_int_equal(registered_copy(w.db, &commits, &count), STRATA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(commits[0], 2);
    free(commits);
    strata_snapshot_release(s[2]);
    assert_int_equal(registered_copy(w.db, &commits, &count), STRATA_OK);
    assert_int_equal(count, 0);
    assert_null(commits);
    world_close(&w);
}

static void close_is_busy_while_anything_is_registered(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    put(&w, "k", "v");
    strata_iter *it;
    strata_history *h;
    strata_value_reader *r;
    strata_snapshot *s;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    assert_int_equal(strata_close(w.db), STRATA_BUSY);
    strata_iter_close(it);
    assert_int_equal(strata_history_open(w.db, NULL, &h), STRATA_OK);
    assert_int_equal(strata_close(w.db), STRATA_BUSY);
    strata_history_close(h);
    assert_int_equal(strata_value_open(w.db, NULL, strata_str("k"), &r), STRATA_OK);
    assert_int_equal(strata_close(w.db), STRATA_BUSY);
    strata_value_close(r);
    assert_int_equal(strata_snapshot_take(w.db, &s), STRATA_OK);
    assert_int_equal(strata_close(w.db), STRATA_BUSY);
    strata_snapshot_release(s);
    world_close(&w);
}

static void below_a_published_floor_nobody_registers(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    for (int i = 0; i < 5; i++) {
        put(&w, "k", "v");
    }
    strata_snapshot *s;
    assert_int_equal(strata_snapshot_take(w.db, &s), STRATA_OK); // at 5
    put(&w, "k", "v");
    put(&w, "k", "newest");
    atomic_store(&w.db->default_space->floor, 6);
    strata_iter *it;
    strata_history *h;
    strata_value_reader *r;
    for (uint64_t commit = 0; commit <= 7; commit++) {
        strata_read how = read_as_of(commit);
        how.as_of_zero = commit == 0;
        strata_rc expected = commit < 6 ? STRATA_TRIMMED : STRATA_OK;
        assert_int_equal(strata_iter_open(w.db, &how, &it), expected);
        strata_iter_close(it);
        assert_int_equal(strata_history_open(w.db, &how, &h), expected);
        strata_history_close(h);
        assert_int_equal(strata_value_open(w.db, &how, strata_str("k"), &r), expected);
        strata_value_close(r);
    }
    // What is registered already may be read, and registered again.
    strata_read how = STRATA_READ_INIT;
    how.snapshot = s;
    assert_int_equal(strata_iter_open(w.db, &how, &it), STRATA_OK);
    strata_snapshot_release(s);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    assert_int_equal(strata_iter_commit(it), 5);
    strata_iter_close(it);
    assert_int_equal(strata_snapshot_take(w.db, &s), STRATA_OK);
    assert_int_equal(strata_snapshot_commit(s), 7);
    strata_snapshot_release(s);
    assert_int_equal(registered_count(w.db), 0);
    world_close(&w);
}

// A crash may lose the commits that a floor was computed from: the newest that is left is readable.
static void floor_above_the_newest_commit_does_not_stop_reads_now(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    put(&w, "k", "v");
    atomic_store(&w.db->default_space->floor, 9);
    strata_iter *it;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    strata_iter_close(it);
    strata_snapshot *s;
    assert_int_equal(strata_snapshot_take(w.db, &s), STRATA_OK);
    assert_int_equal(strata_snapshot_commit(s), 1);
    strata_snapshot_release(s);
    world_close(&w);
}

static void second_of_a_commit_never_changes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    int64_t start = (w.machine.wall_us / SECOND + 10) * SECOND;
    // Just before and just behind the turn of a second, closer than a moment.
    sim_machine_step_clock(&w.machine, start - 300 - w.machine.wall_us, 0);
    put(&w, "a", "1");
    sim_machine_step_clock(&w.machine, 200, 0);
    put(&w, "b", "1");
    sim_machine_step_clock(&w.machine, 200, 0);
    put(&w, "c", "1");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(time_of_commit_s(w.db, 1), start - SECOND);
        assert_int_equal(time_of_commit_s(w.db, 2), start - SECOND);
        assert_int_equal(time_of_commit_s(w.db, 3), start);
        assert_int_equal(strata_flush(w.db), STRATA_OK);
    }
    assert_int_equal(time_of_commit_s(w.db, 0), 0);
    assert_int_equal(db_now_s(w.db), start);
    sim_machine_step_clock(&w.machine, -100 * SECOND, 0); // the newest commit's time is the floor
    assert_int_equal(db_now_s(w.db), start);
    sim_machine_step_clock(&w.machine, 105 * SECOND, 0);
    assert_int_equal(db_now_s(w.db), start + 5 * SECOND);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_is_ascending_and_names_each_commit_once),
        cmocka_unit_test(close_is_busy_while_anything_is_registered),
        cmocka_unit_test(below_a_published_floor_nobody_registers),
        cmocka_unit_test(floor_above_the_newest_commit_does_not_stop_reads_now),
        cmocka_unit_test(second_of_a_commit_never_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
