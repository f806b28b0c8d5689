// What jobs are told of retention, on the simulated machine: floors, clocks, registered commits.
#include "db/db.h"
#include "lib/alloc_fault.h"
#include "sim/sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_options options;
    strata_db *db;
    unsigned held; // events "clock_held"
};

static void on_event(void *ctx, const strata_event *event)
{
    struct world *w = ctx;
    w->held += strcmp(event->name, "clock_held") == 0;
}

static void open_database(struct world *w)
{
    assert_int_equal(db_open(&w->machine.base, "db", &w->options, &w->db), STRATA_OK);
}

static void reopen(struct world *w)
{
    assert_int_equal(strata_close(w->db), STRATA_OK);
    open_database(w);
}

static int world_set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->disk = sim_disk_new();
    sim_machine_init(&w->machine, w->disk, 1);
    w->options = (strata_options)STRATA_OPTIONS_INIT;
    w->options.flags = STRATA_OPEN_CREATE;
    w->options.event = on_event;
    w->options.event_ctx = w;
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

static void pass(struct world *w, int64_t us)
{
    sim_machine_step_clock(&w->machine, us, (uint64_t)us * 1000);
}

static void retain(struct world *w, strata_retention retention, uint32_t number)
{
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = retention;
    o.retention_versions = retention == STRATA_RETENTION_VERSIONS ? number : 0;
    o.retention_seconds = retention == STRATA_RETENTION_AGE ? number : 0;
    assert_int_equal(strata_keyspace_alter(w->db, NULL, &o), STRATA_OK);
}

// A commit of a second of its own; returns its number.
static uint64_t put(struct world *w)
{
    uint64_t commit;
    strata_write how = STRATA_WRITE_INIT;
    how.commit_out = &commit;
    pass(w, SECOND);
    assert_int_equal(strata_put(w->db, &how, strata_str("k"), strata_str("v")), STRATA_OK);
    return commit;
}

static uint64_t put_and_flush(struct world *w)
{
    uint64_t commit = put(w);
    assert_int_equal(strata_flush(w->db), STRATA_OK);
    return commit;
}

// Asks as a job would.
static struct compact_trim trim(struct world *w)
{
    struct compact_trim t;
    assert_int_equal(db_trim(w->db, 1, &t), STRATA_OK);
    return t;
}

static uint64_t floor_of(struct world *w)
{
    struct compact_trim t = trim(w);
    uint64_t floor = t.floor;
    compact_trim_release(&t);
    return floor;
}

static uint64_t oldest(struct world *w)
{
    uint64_t commit;
    assert_int_equal(db_oldest_commit(w->db, NULL, &commit), STRATA_OK);
    return commit;
}

static void everything_is_kept_at_first(void **state)
{
    struct world *w = *state;
    put_and_flush(w);
    struct compact_trim t = trim(w);
    assert_int_equal(t.floor, 0);
    assert_int_equal(t.versions, 0);
    assert_int_equal(t.count, 0);
    compact_trim_release(&t);
    assert_int_equal(oldest(w), 0);
}

static void without_retention_the_floor_is_what_is_flushed(void **state)
{
    struct world *w = *state;
    put(w);
    uint64_t flushed = put_and_flush(w);
    int64_t time = w->machine.wall_us;
    uint64_t newest = put(w);
    assert_true(newest > flushed);
    retain(w, STRATA_RETENTION_NONE, 0);
    struct compact_trim t = trim(w);
    assert_int_equal(t.floor, flushed);
    assert_true(t.floor_time_us == time - time % SECOND);
    compact_trim_release(&t);
    assert_int_equal(oldest(w), flushed);
    // The flush may let go what ended in its own memtables.
    w->db->flush_commit = newest;
    assert_int_equal(db_trim_flush(w->db, 1, &t), STRATA_OK);
    assert_int_equal(t.floor, newest);
    compact_trim_release(&t);
    // Others may not yet, though readers were told.
    assert_int_equal(oldest(w), newest);
    assert_int_equal(floor_of(w), flushed);
}

static void floors_never_fall(void **state)
{
    struct world *w = *state;
    retain(w, STRATA_RETENTION_NONE, 0);
    uint64_t flushed = put_and_flush(w);
    assert_int_equal(floor_of(w), flushed);
    retain(w, STRATA_RETENTION_ALL, 0);
    put_and_flush(w);
    assert_int_equal(floor_of(w), flushed);
    assert_int_equal(oldest(w), flushed);
}

static void age_counts_back_from_now(void **state)
{
    struct world *w = *state;
    uint64_t first = put_and_flush(w);
    for (int i = 0; i < 9; i++) {
        put_and_flush(w);
    }
    retain(w, STRATA_RETENTION_AGE, 7);
    assert_in_range(floor_of(w), first + 1, first + 2);
    uint64_t before = floor_of(w);
    pass(w, 3 * SECOND);
    assert_int_equal(floor_of(w), before + 3);
    // What is not flushed is not let go, however old.
    uint64_t newest = put(w);
    pass(w, 100 * SECOND);
    assert_int_equal(floor_of(w), newest - 1);
    // Further than a clock that goes back it does not fall.
    w->machine.wall_us -= 90 * SECOND;
    assert_int_equal(floor_of(w), newest - 1);
}

static void a_jump_of_the_clock_is_held(void **state)
{
    struct world *w = *state;
    uint64_t old = put_and_flush(w);
    pass(w, 10 * DAY);
    uint64_t recent = put_and_flush(w);
    retain(w, STRATA_RETENTION_AGE, 5 * 86400);
    assert_int_equal(floor_of(w), old);
    assert_int_equal(w->held, 0);
    // The wall clock alone: a year.
    w->machine.wall_us += 365 * DAY;
    assert_int_equal(floor_of(w), old);
    assert_int_equal(floor_of(w), old);
    assert_int_equal(w->held, 1); // once
    // Time that passes counts, beside the one day.
    pass(w, 3 * DAY);
    assert_int_equal(floor_of(w), old);
    pass(w, 2 * DAY);
    assert_int_equal(floor_of(w), recent);
    assert_int_equal(w->held, 1);
}

static void time_goes_on_from_the_newest_commit_after_an_open(void **state)
{
    struct world *w = *state;
    uint64_t old = put_and_flush(w);
    retain(w, STRATA_RETENTION_AGE, 86400 / 2);
    w->machine.wall_us += 100 * DAY; // while it is closed
    reopen(w);
    // A day at once, the rest as it passes.
    assert_int_equal(floor_of(w), old);
    w->held = 0;
    retain(w, STRATA_RETENTION_AGE, 3 * 86400);
    reopen(w);
    assert_int_equal(floor_of(w), oldest(w));
    assert_int_equal(w->held, 1);
}

static void registered_commits_come_with_their_times(void **state)
{
    struct world *w = *state;
    strata_snapshot *snapshots[3];
    int64_t times[3];
    retain(w, STRATA_RETENTION_NONE, 0);
    for (int i = 0; i < 3; i++) {
        put_and_flush(w);
        times[i] = w->machine.wall_us - w->machine.wall_us % SECOND;
        assert_int_equal(strata_snapshot_take(w->db, &snapshots[i]), STRATA_OK);
    }
    put_and_flush(w);
    struct compact_trim t = trim(w);
    assert_int_equal(t.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(t.commits[i], strata_snapshot_commit(snapshots[i]));
        assert_true(t.times_us[i] == times[i]);
    }
    compact_trim_release(&t);
    for (int i = 0; i < 3; i++) {
        strata_snapshot_release(snapshots[i]);
    }
    t = trim(w);
    assert_int_equal(t.count, 0);
    compact_trim_release(&t);
}

static void last_versions_have_no_floor(void **state)
{
    struct world *w = *state;
    strata_snapshot *snapshot;
    put_and_flush(w);
    retain(w, STRATA_RETENTION_VERSIONS, 3);
    assert_int_equal(strata_snapshot_take(w->db, &snapshot), STRATA_OK);
    struct compact_trim t = trim(w);
    assert_int_equal(t.floor, 0);
    assert_int_equal(t.versions, 3);
    assert_int_equal(t.count, 1);
    compact_trim_release(&t);
    strata_snapshot_release(snapshot);
    assert_int_equal(oldest(w), 0);
}

static void a_dropped_keyspace_keeps_nothing_back(void **state)
{
    struct world *w = *state;
    struct compact_trim t;
    assert_int_equal(db_trim(w->db, 77, &t), STRATA_OK);
    assert_int_equal(t.floor, 0);
    assert_null(t.commits);
}

static void every_allocation_fails_once(void **state)
{
    struct world *w = *state;
    strata_snapshot *snapshot;
    retain(w, STRATA_RETENTION_NONE, 0);
    put_and_flush(w);
    assert_int_equal(strata_snapshot_take(w->db, &snapshot), STRATA_OK);
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        struct compact_trim t;
        alloc_fault_arm(n, 1);
        strata_rc rc = db_trim(w->db, 1, &t);
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed > 0 ? STRATA_NO_MEMORY : STRATA_OK);
        assert_int_equal(t.count, failed > 0 ? 0 : 1);
        compact_trim_release(&t);
    }
    strata_snapshot_release(snapshot);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(everything_is_kept_at_first),
        CASE(without_retention_the_floor_is_what_is_flushed),
        CASE(floors_never_fall),
        CASE(age_counts_back_from_now),
        CASE(a_jump_of_the_clock_is_held),
        CASE(time_goes_on_from_the_newest_commit_after_an_open),
        CASE(registered_commits_come_with_their_times),
        CASE(last_versions_have_no_floor),
        CASE(a_dropped_keyspace_keeps_nothing_back),
        CASE(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
