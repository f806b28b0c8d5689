#include "unit/test_wal_world.h"

#include "lib/alloc_fault.h"

#include <errno.h>
#include <unistd.h>

static void new_log_is_on_disk_when_open_returns(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world->flushed = 41;
        world_open(world);
        struct wal_recovery recovery;
        assert_int_equal(world_recover_after(world, SIM_SURVIVE_NOTHING, 1, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 41);
        assert_int_equal(recovery.incarnation_max, 1);
        assert_int_equal(wal_synced_commit(world->w), 41);
        world_free(world);
    }
}

static void append_survives_the_death_of_the_process(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world_open(world);
        struct wal_recovery recovery;
        for (int i = 0; i < 100; i++) {
            world_append(world, (uint32_t)i * 10);
            assert_int_equal(world_recover_after(world, SIM_SURVIVE_EVERYTHING, 1, &recovery),
                             STRATA_OK);
            assert_int_equal(recovery.last_commit, world->commit);
        }
        assert_int_equal(wal_synced_commit(world->w), 0);
        world_free(world);
    }
}

static void record_too_large_for_any_segment_has_its_own(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world_open(world);
        world_append(world, 10);
        world_append(world, 199999);
        world_append(world, 10);
        world_append(world, 199999);
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 4);
        struct wal_stats stats;
        wal_stats(world->w, &stats);
        assert_int_equal(stats.records, 4);
        assert_true(stats.live_bytes > 400000 && stats.live_bytes < 500000);
        assert_int_equal(stats.mapped, mapped != 0);
        // A segment of that size is not kept for later.
        world->flushed = 4;
        world_append(world, 10);
        world_append(world, 30000);
        assert_int_equal(wal_retire(world->w, 5), STRATA_OK);
        wal_stats(world->w, &stats);
        assert_true(stats.held_bytes < 150000);
        world_free(world);
    }
}

static void record_exactly_as_long_as_the_room_fits(void **state)
{
    (void)state;
    for (uint32_t bytes = 4000; bytes < 4100; bytes++) {
        struct world *world = world_new(true);
        world_open(world);
        world_append(world, bytes); // 4,048 fill the one page of the segment
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 1);
        world_append(world, bytes);
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 2);
        world_free(world);
    }
}

static struct sim_fault fault(uint32_t ops, uint64_t index, bool sticky, int error)
{
    return (struct sim_fault){
        .ops = ops, .index = index, .sticky = sticky, .error = error, .sync_model = SIM_SYNC_KEEPS};
}

static void failed_append_leaves_nothing(void **state)
{
    (void)state;
    // 0: an error at once; else so many bytes are written before it.
    static const size_t shorts[] = {0, 1, 31, 32, 60, 131, 132};
    for (size_t i = 0; i < sizeof shorts / sizeof shorts[0]; i++) {
        struct world *world = world_new(false);
        world->config.segment_bytes_first = 32768;
        world_open(world);
        world_append(world, 100);
        world_sync(world);
        world_append(world, 100);
        if (shorts[i] != 0) {
            struct sim_fault cut = fault(SIM_OP_BIT(SIM_OP_WRITE), 0, false, 0);
            cut.short_bytes = shorts[i];
            sim_machine_fail(&world->machine, cut);
            sim_machine_fail(&world->machine, fault(SIM_OP_BIT(SIM_OP_WRITE), 1, false, EIO));
        } else {
            sim_machine_fail(&world->machine, fault(SIM_OP_BIT(SIM_OP_WRITE), 0, false, ENOSPC));
        }
        strata_rc rc = world_try_append(world, 100);
        if (rc == STRATA_OK) {
            assert_int_equal(shorts[i], 132); // all of it was written by the first call
            world_free(world);
            continue;
        }
        assert_int_equal(rc, shorts[i] == 0 ? STRATA_NO_SPACE : STRATA_IO);
        sim_machine_heal(&world->machine);
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 2);
        // The number is used again, with other bytes, in another segment.
        world->generation++;
        world_append(world, 90);
        world_append(world, 50);
        for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
            assert_int_equal(world_recover_after(world, (enum sim_survive)policy, 3, &recovery),
                             STRATA_OK);
            assert_true(recovery.last_commit >= 1 && recovery.last_commit <= 4);
        }
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, 4);
        assert_int_equal(recovery.segments, 2);
        world_free(world);
    }
}

// The write is cut one byte before its end, where the file has the right byte already, and the
// wiping fails too: the record of the failed commit stays in the file, whole.
static void failed_append_that_is_whole_in_the_file_stays_away(void **state)
{
    (void)state;
    struct world *world = world_new(false);
    world->config.segment_bytes_first = 32768;
    world_open(world);
    world_append(world, 100);
    struct sim_fault cut = fault(SIM_OP_BIT(SIM_OP_WRITE), 0, false, 0);
    cut.short_bytes = 131;
    sim_machine_fail(&world->machine, cut);
    sim_machine_fail(&world->machine, fault(SIM_OP_BIT(SIM_OP_WRITE), 1, true, EIO));
    assert_int_equal(world_try_append(world, 100), STRATA_IO);
    sim_machine_heal(&world->machine);
    world->generation++;
    world_append(world, 100);
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, 2);
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            assert_int_equal(world_recover_after(world, (enum sim_survive)policy, seed, &recovery),
                             STRATA_OK);
        }
    }
    world_free(world);
}

// Every call of a run fails, once and for good: what is acknowledged stays, and nothing else comes.
static void run_with_faults(bool mapped, uint32_t ops, uint64_t index, bool sticky, bool *fired_out)
{
    struct world *world = world_new(mapped);
    world_open(world);
    struct sim_fault *rule = sim_machine_fail(&world->machine, fault(ops, index, sticky, EIO));
    uint64_t acked = 0;
    bool dead = false;
    for (int i = 0; i < 60; i++) {
        strata_rc rc = world_try_append(world, (uint32_t)(i * 41 % 700));
        if (rc != STRATA_OK) {
            world->generation++;
            assert_int_equal(rc, dead ? STRATA_READ_ONLY : STRATA_IO);
        }
        if (i % 5 == 0) {
            rc = wal_sync(world->w, world->commit);
            assert_true(rc == STRATA_OK || rc == STRATA_UNKNOWN_OUTCOME);
            assert_true(rc != STRATA_OK || !dead);
            dead |= rc != STRATA_OK;
            acked = rc == STRATA_OK ? world->commit : acked;
            assert_true(dead || wal_synced_commit(world->w) >= acked);
        }
        if (i % 7 == 0) {
            rc = wal_tick(world->w);
            dead |= rc == STRATA_UNKNOWN_OUTCOME;
        }
        if (i % 20 == 19) {
            world->flushed = world->commit;
            acked = world->commit;
            rc = wal_retire(world->w, world->flushed);
            dead |= rc == STRATA_UNKNOWN_OUTCOME;
        }
    }
    *fired_out = rule->fired > 0;
    sim_machine_heal(&world->machine);
    struct wal_recovery recovery;
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        if (dead) {
            break; // what a failed sync leaves is tested by the sync tests
        }
        strata_rc rc = world_recover_after(world, (enum sim_survive)policy, index, &recovery);
        assert_int_equal(rc, STRATA_OK);
        assert_true(recovery.last_commit >= acked && recovery.last_commit <= world->commit);
    }
    strata_rc rc = wal_close(world->w);
    assert_int_equal(rc, dead ? STRATA_UNKNOWN_OUTCOME : STRATA_OK);
    world->w = NULL;
    world_free(world);
}

static void any_call_may_fail(void **state)
{
    (void)state;
    static const enum sim_op kinds[] = {SIM_OP_OPEN,   SIM_OP_WRITE,  SIM_OP_SYNC,
                                        SIM_OP_CLOSE,  SIM_OP_MAP,    SIM_OP_CREATE,
                                        SIM_OP_RENAME, SIM_OP_UNLINK, SIM_OP_DIR_SYNC};
    uint64_t runs = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int variant = 0; variant < 4; variant++) {
            bool fired = true;
            for (uint64_t index = 0; fired; index++) {
                run_with_faults(variant % 2 == 1, SIM_OP_BIT(kinds[k]), index, variant >= 2,
                                &fired);
                runs++;
            }
        }
    }
    assert_true(runs > 200);
}

static void open_that_fails_leaves_no_file(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t index = 0; failed; index++) {
        struct world *world = world_new(true);
        sim_machine_fail(&world->machine,
                         fault(SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_SYNC) |
                                   SIM_OP_BIT(SIM_OP_MAP) | SIM_OP_BIT(SIM_OP_DIR_SYNC) |
                                   SIM_OP_BIT(SIM_OP_CREATE),
                               index, false, EIO));
        failed = wal_open(&world->config, 1, &world->w) != STRATA_OK;
        if (failed) {
            world->w = NULL;
            sim_machine_heal(&world->machine);
            struct wal_recovery recovery;
            assert_int_equal(world_recover(world, &recovery), STRATA_OK);
            assert_int_equal(recovery.incarnation_max, 0);
        } else {
            assert_true(index >= 5);
        }
        world_free(world);
    }
}

static void foreign_file_under_the_next_name_is_left_alone(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct os_file *file;
    assert_int_equal(os_file_open(world->dir, "000001.log", OS_OPEN_WRITE | OS_OPEN_CREATE, &file),
                     STRATA_OK);
    assert_int_equal(os_file_write(file, 0, "mine", 4), STRATA_OK);
    world_open(world);
    assert_int_equal(world->first, 2);
    world_append(world, 10);
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, 1);
    uint64_t bytes;
    assert_int_equal(os_file_size(file, &bytes), STRATA_OK);
    assert_int_equal(bytes, 4);
    assert_int_equal(os_file_close(file), STRATA_OK);
    world_free(world);
}

static void record_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    struct wal_record record = {.commit = 1, .payload = slice_of("", ((size_t)1 << 40) + 1)};
    assert_int_equal(wal_append(world->w, &record), STRATA_TOO_LARGE);
    world_append(world, 1);
    world_free(world);
}

static uint64_t plain_number(void *ctx)
{
    return ++*(uint64_t *)ctx;
}

static strata_rc apply_nothing(void *ctx, const struct wal_record *record)
{
    *(uint64_t *)ctx = record->commit;
    return STRATA_OK;
}

// One life of a log of a few records; a call that finds no memory is made again.
static void life_of_a_log(struct os_dir *dir, bool mapped, uint64_t *number)
{
    static uint8_t payload[9000];
    struct wal_config config = {.dir = dir,
                                .clock = os_clock_posix(),
                                .incarnation = 1,
                                .mapped = mapped,
                                .segment_bytes_first = 8192,
                                .segment_bytes_max = 16384,
                                .new_file_number = plain_number,
                                .ctx = number};
    struct wal *w;
    strata_rc rc;
    while ((rc = wal_open(&config, 1, &w)) != STRATA_OK) {
        assert_int_equal(rc, STRATA_NO_MEMORY);
    }
    uint64_t first = wal_oldest_segment(w);
    for (uint64_t commit = 1; commit <= 8; commit++) {
        struct wal_record record = {commit, 1, 1,
                                    slice_of(payload, commit * 1500 % sizeof payload)};
        while ((rc = wal_append(w, &record)) != STRATA_OK) {
            assert_int_equal(rc, STRATA_NO_MEMORY);
        }
    }
    assert_int_equal(wal_sync(w, 8), STRATA_OK);
    assert_int_equal(wal_retire(w, 3), STRATA_OK);
    assert_int_equal(wal_close(w), STRATA_OK);
    struct wal_recovery recovery;
    uint64_t last = 0;
    while ((rc = wal_recover(dir, 3, first, apply_nothing, &last, &recovery)) != STRATA_OK) {
        assert_int_equal(rc, STRATA_NO_MEMORY);
    }
    assert_int_equal(last, 8);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-wal-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct os_machine *machine = os_machine_posix();
    struct os_dir *dir;
    assert_int_equal(machine->open_dir(machine, path, false, &dir), STRATA_OK);
    for (int mapped = 0; mapped < 2; mapped++) {
        uint64_t failed = 1;
        for (uint64_t good = 0; failed != 0; good++) {
            uint64_t number = 0;
            alloc_fault_arm(good, 1);
            life_of_a_log(dir, mapped != 0, &number);
            failed = alloc_fault_disarm();
            for (uint64_t i = 1; i <= number; i++) {
                char name[FILE_NAME_BYTES];
                file_name_make(name, FILE_LOG, i);
                assert_int_equal(os_dir_unlink(dir, name), STRATA_OK);
            }
            assert_true(failed == 0 || good < 1000);
        }
    }
    os_dir_close(dir);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_log_is_on_disk_when_open_returns),
        cmocka_unit_test(append_survives_the_death_of_the_process),
        cmocka_unit_test(record_too_large_for_any_segment_has_its_own),
        cmocka_unit_test(record_exactly_as_long_as_the_room_fits),
        cmocka_unit_test(failed_append_leaves_nothing),
        cmocka_unit_test(failed_append_that_is_whole_in_the_file_stays_away),
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(open_that_fails_leaves_no_file),
        cmocka_unit_test(foreign_file_under_the_next_name_is_left_alone),
        cmocka_unit_test(record_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
