#include "unit/test_wal_world.h"

#include "os/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

static void synced_commits_survive_everything(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world_open(world);
        for (int i = 0; i < 40; i++) {
            world_append(world, (uint32_t)(i * 50));
            world_append(world, 20);
            uint64_t synced = world->commit;
            world_sync(world);
            assert_int_equal(wal_synced_commit(world->w), synced);
            world_append(world, 33);
            for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
                struct wal_recovery recovery;
                assert_int_equal(world_recover_after(world, (enum sim_survive)policy,
                                                     (uint64_t)i * 7 + 1, &recovery),
                                 STRATA_OK);
                assert_in_range(recovery.last_commit, synced, world->commit);
            }
        }
        world_free(world);
    }
}

static void sync_of_what_is_synced_costs_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    world_append(world, 10);
    world_append(world, 10);
    world_sync(world);
    struct wal_stats before, after;
    wal_stats(world->w, &before);
    world_sync(world);
    assert_int_equal(wal_sync(world->w, 1), STRATA_OK);
    wal_stats(world->w, &after);
    assert_int_equal(before.syncs, after.syncs);
    world_free(world);
}

// In every crash after the sync, no page with acknowledged records is written any more.
static void next_record_after_a_sync_is_in_a_new_page(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_first = 32768;
    world_open(world);
    static uint8_t before[32768], after[32768];
    struct os_file *file = world_log_file(world, world->first);
    for (int i = 0; i < 5; i++) {
        world_append(world, 100);
        world_sync(world);
        assert_int_equal(os_file_read(file, 0, before, sizeof before), STRATA_OK);
        world_append(world, 100);
        assert_int_equal(os_file_read(file, 0, after, sizeof after), STRATA_OK);
        uint64_t first_change = 0;
        while (before[first_change] == after[first_change]) {
            first_change++;
        }
        assert_int_equal(first_change / 4096, i + 2);
    }
    assert_int_equal(os_file_close(file), STRATA_OK);
    world_free(world);
}

static void failed_sync_ends_the_log(void **state)
{
    (void)state;
    for (int model = 0; model < SIM_SYNC_FAILURES; model++) {
        for (int mapped = 0; mapped < 2; mapped++) {
            struct world *world = world_new(mapped != 0);
            world_open(world);
            world_append(world, 10);
            world_sync(world);
            world_append(world, 10);
            sim_machine_fail(&world->machine,
                             (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_SYNC),
                                                .error = EIO,
                                                .sync_model = (enum sim_sync_failure)model});
            assert_int_equal(wal_sync(world->w, 2), STRATA_UNKNOWN_OUTCOME);
            sim_machine_heal(&world->machine);
            assert_int_equal(wal_sync(world->w, 2), STRATA_UNKNOWN_OUTCOME);
            assert_non_null(strstr(fail_text(), "failed sync"));
            assert_int_equal(wal_tick(world->w), STRATA_UNKNOWN_OUTCOME);
            assert_int_equal(wal_retire(world->w, 1), STRATA_UNKNOWN_OUTCOME);
            assert_int_equal(world_try_append(world, 10), STRATA_READ_ONLY);
            assert_int_equal(wal_synced_commit(world->w), 1);
            for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
                struct wal_recovery recovery;
                assert_int_equal(world_recover_after(world, (enum sim_survive)policy, 5, &recovery),
                                 STRATA_OK);
                assert_in_range(recovery.last_commit, 1, 2);
            }
            assert_int_equal(wal_close(world->w), STRATA_UNKNOWN_OUTCOME);
            world->w = NULL;
            world_free(world);
        }
    }
}

static void tick_syncs_then_marks(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_first = 32768;
    world_open(world);
    world_append(world, 10);
    assert_int_equal(wal_tick(world->w), STRATA_OK);
    assert_int_equal(wal_synced_commit(world->w), 1);
    struct wal_stats first, second, third;
    wal_stats(world->w, &first);
    assert_int_equal(wal_tick(world->w), STRATA_OK); // idle: the mark
    wal_stats(world->w, &second);
    assert_true(second.appended_bytes > first.appended_bytes);
    assert_int_equal(second.syncs, first.syncs + 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(wal_tick(world->w), STRATA_OK); // nothing new to say
    }
    wal_stats(world->w, &third);
    assert_int_equal(third.appended_bytes, second.appended_bytes);
    assert_int_equal(third.syncs, second.syncs);
    // The mark is on disk: the commit cannot be lost unseen.
    world_damage(world, world->first, 4096 + 20, 1);
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
    world_free(world);
}

static void retired_segments_go_and_the_rest_stays(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_max = 16384;
    world_open(world);
    assert_int_equal(wal_oldest_segment(world->w), world->first);
    struct wal_stats stats;
    for (int i = 0; i < 400; i++) {
        world_append(world, 500);
        if (i % 40 == 39) {
            world->flushed = world->commit - 10;
            assert_int_equal(wal_retire(world->w, world->flushed), STRATA_OK);
            wal_stats(world->w, &stats);
            assert_true(stats.live_bytes <= 3 * 16384);
            assert_true(stats.held_bytes <= stats.live_bytes + 3 * 16384);
            struct wal_recovery recovery;
            assert_int_equal(world_recover(world, &recovery), STRATA_OK);
            assert_int_equal(recovery.last_commit, world->commit);
            assert_int_equal(world_recover_after(world, SIM_SURVIVE_NOTHING, 1, &recovery),
                             STRATA_OK);
            assert_true(recovery.last_commit >= world->flushed);
        }
    }
    assert_true(wal_oldest_segment(world->w) > world->first);
    assert_true(stats.segments_recycled > 5);
    // What is flushed counts as synced.
    assert_true(wal_synced_commit(world->w) >= world->flushed);
    world_free(world);
}

// ---- what the records refer to

static struct {
    const struct world *world;
    uint64_t calls;
    uint64_t covered; // the newest commit at the last call
    strata_rc rc;
} before;

static strata_rc note_sync(void *ctx)
{
    assert_ptr_equal(ctx, before.world);
    before.calls++;
    before.covered = before.world->commit;
    return before.rc == STRATA_OK ? STRATA_OK
                                  : fail_at(__FILE__, __LINE__, before.rc, "the disk of values");
}

static struct world *world_with_values(void)
{
    struct world *world = world_new(true);
    world->config.before_sync = note_sync;
    memset(&before, 0, sizeof before);
    before.world = world;
    world_open(world);
    return world;
}

// Whatever makes a commit count as synced has asked for its values first.
static void every_claim_of_a_synced_commit_comes_after_its_values(void **state)
{
    (void)state;
    struct world *world = world_with_values();
    assert_int_equal(before.calls, 0);
    for (int i = 0; i < 300; i++) {
        uint64_t calls = before.calls;
        world_append(world, 300); // also into new segments
        assert_int_equal(before.calls, calls);
        if (i % 7 == 0) {
            world_sync(world);
            assert_int_equal(before.calls, calls + 1);
        } else if (i % 11 == 0) {
            assert_int_equal(wal_tick(world->w), STRATA_OK);
        } else if (i % 60 == 0) {
            world->flushed = world->commit - 5;
            assert_int_equal(wal_retire(world->w, world->flushed), STRATA_OK);
        }
        uint64_t claimed = wal_synced_commit(world->w);
        assert_true(claimed <= before.covered || claimed <= world->flushed);
    }
    uint64_t calls = before.calls;
    world_sync(world);
    world_sync(world);
    assert_int_equal(before.calls, calls + 1);
    world_append(world, 10);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    assert_int_equal(before.covered, world->commit);
    world->w = NULL;
    world_free(world);
}

static void values_that_cannot_be_synced_end_the_log(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct world *world = world_with_values();
        world_append(world, 10);
        world_sync(world);
        world_append(world, 10);
        before.rc = STRATA_IO;
        struct wal_stats first, second;
        wal_stats(world->w, &first);
        if (how == 0) {
            assert_int_equal(wal_sync(world->w, 2), STRATA_UNKNOWN_OUTCOME);
        } else if (how == 1) {
            assert_int_equal(wal_tick(world->w), STRATA_UNKNOWN_OUTCOME);
        } else {
            assert_int_equal(wal_close(world->w), STRATA_UNKNOWN_OUTCOME);
            world->w = NULL;
            world_free(world);
            continue;
        }
        assert_non_null(strstr(fail_text(), "the disk of values"));
        wal_stats(world->w, &second);
        assert_int_equal(first.syncs, second.syncs);
        assert_int_equal(wal_synced_commit(world->w), 1);
        before.rc = STRATA_OK;
        uint64_t calls = before.calls;
        assert_int_equal(wal_sync(world->w, 2), STRATA_UNKNOWN_OUTCOME);
        assert_int_equal(before.calls, calls);
        assert_int_equal(world_try_append(world, 10), STRATA_READ_ONLY);
        world_free(world);
    }
}

// ---- threads

#define THREAD_APPENDS 3000

struct crowd {
    struct wal *w;
    pthread_mutex_t commit_lock;
    uint64_t commit;
    _Atomic bool stop;
    _Atomic uint64_t number;
    _Atomic uint64_t waits;
};

static uint64_t crowd_number(void *ctx)
{
    struct crowd *crowd = ctx;
    return atomic_fetch_add(&crowd->number, 1) + 1;
}

static void *crowd_writer(void *ctx)
{
    struct crowd *crowd = ctx;
    uint8_t payload[200] = {0};
    while (true) {
        pthread_mutex_lock(&crowd->commit_lock);
        uint64_t commit = crowd->commit + 1;
        if (commit > THREAD_APPENDS) {
            pthread_mutex_unlock(&crowd->commit_lock);
            return NULL;
        }
        struct wal_record record = {
            .commit = commit, .time_us = 1, .count = 1, .payload = slice_of(payload, commit % 200)};
        assert_int_equal(wal_append(crowd->w, &record), STRATA_OK);
        crowd->commit = commit;
        pthread_mutex_unlock(&crowd->commit_lock);
        if (commit % 8 == 0) {
            assert_int_equal(wal_sync(crowd->w, commit), STRATA_OK);
            assert_true(wal_synced_commit(crowd->w) >= commit);
            atomic_fetch_add(&crowd->waits, 1);
        }
    }
}

static void *crowd_background(void *ctx)
{
    struct crowd *crowd = ctx;
    while (!atomic_load(&crowd->stop)) {
        assert_int_equal(wal_tick(crowd->w), STRATA_OK);
        wal_note_edits(crowd->w, 3);
        assert_int_equal(wal_retire(crowd->w, wal_synced_commit(crowd->w) / 2), STRATA_OK);
        struct wal_stats stats;
        wal_stats(crowd->w, &stats);
        assert_true(wal_oldest_segment(crowd->w) > 0);
        usleep(300);
    }
    return NULL;
}

static strata_rc crowd_apply(void *ctx, const struct wal_record *record)
{
    uint64_t *last = ctx;
    assert_int_equal(record->commit, *last + 1);
    assert_int_equal(record->payload.bytes, record->commit % 200);
    *last = record->commit;
    return STRATA_OK;
}

static void crowd_run(bool mapped)
{
    char path[] = "/tmp/strata-wal-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct os_machine *machine = os_machine_posix();
    struct os_dir *dir;
    struct os_executor *executor;
    assert_int_equal(machine->open_dir(machine, path, false, &dir), STRATA_OK);
    assert_int_equal(machine->new_executor(machine, 1, &executor), STRATA_OK);
    struct crowd crowd = {.commit_lock = PTHREAD_MUTEX_INITIALIZER};
    struct wal_config config = {.dir = dir,
                                .executor = executor,
                                .clock = machine->clock,
                                .incarnation = 1,
                                .mapped = mapped,
                                .segment_bytes_first = 8192,
                                .segment_bytes_max = 65536,
                                .new_file_number = crowd_number,
                                .ctx = &crowd};
    assert_int_equal(wal_open(&config, 1, &crowd.w), STRATA_OK);
    uint64_t first = wal_oldest_segment(crowd.w);
    pthread_t writers[4], background;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, crowd_writer, &crowd), 0);
    }
    assert_int_equal(pthread_create(&background, NULL, crowd_background, &crowd), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&crowd.stop, true);
    pthread_join(background, NULL);
    struct wal_stats stats;
    wal_stats(crowd.w, &stats);
    assert_int_equal(stats.records, THREAD_APPENDS);
    assert_int_equal(crowd.waits, THREAD_APPENDS / 8);
    assert_int_equal(wal_close(crowd.w), STRATA_OK);
    executor->close(executor);
    uint64_t last = THREAD_APPENDS / 2;
    struct wal_recovery recovery;
    assert_int_equal(wal_recover(dir, last, first, crowd_apply, &last, &recovery), STRATA_OK);
    assert_int_equal(last, THREAD_APPENDS);
    for (uint64_t number = 1; number <= crowd.number; number++) {
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_LOG, number);
        assert_int_equal(os_dir_unlink(dir, name), STRATA_OK);
    }
    os_dir_close(dir);
    assert_int_equal(rmdir(path), 0);
}

static void threads_share_syncs(void **state)
{
    (void)state;
    crowd_run(true);
    crowd_run(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_commits_survive_everything),
        cmocka_unit_test(sync_of_what_is_synced_costs_nothing),
        cmocka_unit_test(next_record_after_a_sync_is_in_a_new_page),
        cmocka_unit_test(failed_sync_ends_the_log),
        cmocka_unit_test(tick_syncs_then_marks),
        cmocka_unit_test(retired_segments_go_and_the_rest_stays),
        cmocka_unit_test(every_claim_of_a_synced_commit_comes_after_its_values),
        cmocka_unit_test(values_that_cannot_be_synced_end_the_log),
        cmocka_unit_test(threads_share_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
