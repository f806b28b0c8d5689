#include "unit/test_wal_world.h"

#include <errno.h>

static struct world *world_with_executor(void)
{
    struct world *world = world_new(true);
    world->config.executor = world->executor;
    world->config.segment_bytes_first = 16384;
    world->config.segment_bytes_max = 1u << 20;
    world_open(world);
    return world;
}

static uint64_t segments_created(struct world *world)
{
    struct wal_stats stats;
    wal_stats(world->w, &stats);
    return stats.segments_created;
}

static void crank(struct world *world)
{
    while (sim_machine_crank(&world->machine, 1) != 0) {
    }
}

static void next_segment_is_ready_before_it_is_needed(void **state)
{
    (void)state;
    struct world *world = world_with_executor();
    world_append(world, 3000);
    crank(world);
    assert_int_equal(segments_created(world), 1); // not yet half full
    world_append(world, 6000);
    crank(world);
    assert_int_equal(segments_created(world), 2);
    uint64_t boundaries = world->machine.boundaries;
    world_append(world, 9000); // does not fit
    assert_int_equal(segments_created(world), 2);
    // Stores only: of the header, the record, and two or three page headers.
    assert_in_range(world->machine.boundaries - boundaries, 3, 10);
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.segments, 2);
    crank(world);
    world_free(world);
}

static void segments_double_up_to_the_greatest(void **state)
{
    (void)state;
    struct world *world = world_with_executor();
    for (int i = 0; i < 900; i++) {
        world_append(world, 4000);
        crank(world);
    }
    struct wal_stats stats;
    wal_stats(world->w, &stats);
    // 16 KiB + 32 + ... + 512 KiB, then 1 MiB each.
    assert_int_equal(stats.live_bytes % (1u << 20), 1048576 - 16384);
    assert_in_range(stats.live_bytes, 3500000, 6 << 20);
    world_free(world);
}

static void append_takes_over_what_is_half_made(void **state)
{
    (void)state;
    struct world *world = world_with_executor();
    // Segments of 1 MiB are made in four steps.
    while (segments_created(world) < 7) {
        world_append(world, 4000);
        crank(world);
    }
    uint64_t created = segments_created(world);
    while (segments_created(world) == created) {
        world_append(world, 4000);
        sim_machine_crank(&world->machine, 1);
        sim_machine_crank(&world->machine, prng_below(&world->machine.random, 2));
        if (prng_one_in(&world->machine.random, 10)) {
            world_append(world, 150000);
        }
    }
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, world->commit);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    world_free(world);
}

static void close_leaves_no_file_without_records(void **state)
{
    (void)state;
    struct world *world = world_with_executor();
    world_append(world, 3000);
    world_append(world, 4500);
    crank(world); // the second segment is ready
    assert_int_equal(segments_created(world), 2);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, 2);
    assert_int_equal(sim_disk_dir(world->disk, "/db", false)->current.count, 1);
    world_free(world);
}

static void failure_ahead_is_reported_only_when_it_matters(void **state)
{
    (void)state;
    struct world *world = world_with_executor();
    world_append(world, 3000);
    sim_machine_fail(
        &world->machine,
        (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_WRITE), .sticky = true, .error = ENOSPC});
    world_append(world, 4000);
    crank(world);
    world_append(world, 200); // there is room in the first segment
    assert_int_equal(world_try_append(world, 9000), STRATA_NO_SPACE);
    assert_int_equal(world_try_append(world, 9000), STRATA_NO_SPACE);
    world_append(world, 200); // a smaller one still fits
    sim_machine_heal(&world->machine);
    world_append(world, 9000); // space is back
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, world->commit);
    crank(world);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_segment_is_ready_before_it_is_needed),
        cmocka_unit_test(segments_double_up_to_the_greatest),
        cmocka_unit_test(append_takes_over_what_is_half_made),
        cmocka_unit_test(close_leaves_no_file_without_records),
        cmocka_unit_test(failure_ahead_is_reported_only_when_it_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
