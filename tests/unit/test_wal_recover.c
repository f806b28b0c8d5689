#include "unit/test_wal_world.h"

#include "base/hash.h"

// ---- whole logs

static void empty_directory_is_an_empty_log(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct wal_recovery recovery;
    world->flushed = 12;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, 12);
    assert_int_equal(recovery.segments, 0);
    assert_int_equal(recovery.incarnation_max, 0);
    world_free(world);
}

static void named_log_that_is_gone_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct wal_recovery recovery;
    world->first = 3;
    assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
    world_free(world);
}

static void records_of_every_size_come_back(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world->config.segment_bytes_max = 1u << 20;
        world->config.segment_bytes_first = 1u << 20;
        world_open(world);
        for (uint32_t bytes = 0; bytes < 300; bytes++) {
            world_append(world, bytes);
        }
        for (uint32_t bytes = 3900; bytes < 4200; bytes += 3) {
            world_append(world, bytes);
        }
        for (uint32_t bytes = 8000; bytes < 8200; bytes += 7) {
            world_append(world, bytes);
        }
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, world->commit);
        assert_int_equal(recovery.last_time_us, world->commit * 10);
        assert_int_equal(recovery.segments, 1);
        assert_int_equal(recovery.incarnation_max, 1);
        assert_int_equal(recovery.cut_bytes, 0);
        world_free(world);
    }
}

static void segments_follow_each_other(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct world *world = world_new(mapped != 0);
        world_open(world);
        for (int i = 0; i < 600; i++) {
            world_append(world, (uint32_t)(i * 37 % 900));
            if (i % 50 == 0) {
                world_sync(world);
            }
        }
        world_append(world, 100000); // in a segment of its own size
        world_append(world, 10);
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, world->commit);
        assert_true(recovery.segments > 8);
        assert_int_equal(wal_close(world->w), STRATA_OK);
        world->w = NULL;
        // From any flushed commit, also when what is below it is no longer there.
        for (world->flushed = 0; world->flushed <= world->commit; world->flushed += 13) {
            assert_int_equal(world_recover(world, &recovery), STRATA_OK);
            assert_int_equal(recovery.last_commit, world->commit);
        }
        world_free(world);
    }
}

static strata_rc refuse_third(void *ctx, const struct wal_record *record)
{
    int *calls = ctx;
    ++*calls;
    return record->commit == 3 ? STRATA_NO_MEMORY : STRATA_OK;
}

static void error_of_apply_ends_recovery(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    for (int i = 0; i < 5; i++) {
        world_append(world, 10);
    }
    int calls = 0;
    struct wal_recovery recovery;
    assert_int_equal(wal_recover(world->dir, 0, 0, refuse_third, &calls, &recovery),
                     STRATA_NO_MEMORY);
    assert_int_equal(calls, 3);
    world_free(world);
}

struct lacking {
    uint64_t commit; // that cannot be applied
    uint64_t last;   // that was
};

static strata_rc lack_one(void *ctx, const struct wal_record *record)
{
    struct lacking *l = ctx;
    assert_int_equal(record->commit, l->last + 1);
    if (record->commit == l->commit) {
        return fail_at(__FILE__, __LINE__, STRATA_NOT_FOUND, "its value");
    }
    l->last = record->commit;
    return STRATA_OK;
}

// The commit is as if its record were torn: in every segment, and whatever lies behind it.
static void commit_that_lacks_something_is_missing(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    for (int i = 0; i < 120; i++) {
        world_append(world, (uint32_t)(i * 37 % 900));
    }
    assert_true(wal_oldest_segment(world->w) == world->first);
    for (uint64_t commit = 1; commit <= world->commit; commit++) {
        struct lacking l = {.commit = commit};
        struct wal_recovery recovery;
        assert_int_equal(wal_recover(world->dir, 0, world->first, lack_one, &l, &recovery),
                         STRATA_OK);
        assert_int_equal(l.last, commit - 1);
        assert_int_equal(recovery.last_commit, commit - 1);
        assert_int_equal(recovery.records, commit - 1);
        assert_int_equal(recovery.last_time_us, (commit - 1) * 10);
    }
    world_free(world);
}

static void synced_commit_that_lacks_something_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    for (int i = 0; i < 60; i++) {
        world_append(world, 100);
    }
    world_sync(world);
    world_append(world, 100); // with the mark
    world_append(world, 100);
    for (uint64_t commit = 1; commit <= world->commit; commit++) {
        struct lacking l = {.commit = commit};
        struct wal_recovery recovery;
        assert_int_equal(wal_recover(world->dir, 0, world->first, lack_one, &l, &recovery),
                         commit <= 60 ? STRATA_CORRUPT : STRATA_OK);
        assert_true(commit > 60 || strstr(fail_text(), "its value") != NULL);
        assert_int_equal(l.last, commit - 1);
    }
    world_free(world);
}

static void log_that_begins_too_late_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->flushed = 10;
    world->commit = 10;
    world_open(world);
    world_append(world, 10);
    world_sync(world);
    world->flushed = 9;
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
    world->first = 0;
    assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
    world_free(world);
}

// ---- torn tails and rot

// Without a mark behind it, a damaged byte cuts the log at the record it is in.
static void any_damaged_byte_of_an_unsynced_tail_cuts_there(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    for (int i = 0; i < 4; i++) {
        world_append(world, (uint32_t)(20 + i));
    }
    uint64_t at = 4096 + 16;
    for (uint64_t commit = 1; commit <= 4; commit++) {
        uint64_t end = at + 32 + world->bytes[commit];
        for (; at < end; at++) {
            struct wal_recovery recovery;
            world_damage(world, world->first, at, 1);
            assert_int_equal(world_recover(world, &recovery), STRATA_OK);
            assert_int_equal(recovery.last_commit, commit - 1);
            world_damage(world, world->first, at, 1);
        }
    }
    world_free(world);
}

static void any_damaged_byte_below_a_mark_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_first = 32768;
    world_open(world);
    world_append(world, 50);
    world_append(world, 5000);
    world_append(world, 50);
    world_sync(world);
    uint64_t end = 4096 + 16 + (32 + 50) + 32 + 5000 + 16 + 32 + 50;
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    for (uint64_t at = 0; at < end; at++) {
        if (at >= 112 && at < 4096) {
            continue; // behind the segment's header
        }
        world_damage(world, world->first, at, 1);
        strata_rc rc = world_recover(world, &recovery);
        if (rc != STRATA_CORRUPT) {
            fail_msg("byte %llu damaged: %d", (unsigned long long)at, rc);
        }
        assert_non_null(strstr(fail_text(), "log"));
        world_damage(world, world->first, at, 1);
    }
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    world_free(world);
}

static void damage_in_a_segment_before_the_mark_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    uint64_t numbers[64];
    size_t count = 0;
    for (int i = 0; i < 200; i++) {
        world_append(world, 300);
        world_sync(world);
        if (count == 0 || numbers[count - 1] != world->number) {
            numbers[count++] = world->number;
        }
    }
    assert_true(count > 4);
    struct wal_recovery recovery;
    for (size_t i = 0; i < count; i++) {
        // The header, the first record; not the newest group, of which no mark speaks yet.
        for (int place = 0; place < 2; place++) {
            uint64_t at = place == 0 ? 30 : 4096 + 70;
            world_damage(world, numbers[i], at, 1);
            assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
            world_damage(world, numbers[i], at, 1);
        }
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_LOG, numbers[i]);
        if (i + 1 < count) {
            assert_int_equal(os_dir_rename(world->dir, name, "away"), STRATA_OK);
            assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
            assert_int_equal(os_dir_rename(world->dir, "away", name), STRATA_OK);
        }
    }
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, world->commit);
    world_free(world);
}

static void file_of_another_length_is_corrupt(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    world_append(world, 10);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    struct wal_recovery recovery;
    struct os_file *file = world_log_file(world, world->first);
    for (uint64_t bytes = 8191; bytes < 8192; bytes--) {
        assert_int_equal(os_file_truncate(file, bytes), STRATA_OK);
        assert_int_equal(world_recover(world, &recovery), STRATA_CORRUPT);
        bytes -= bytes % 512;
    }
    assert_int_equal(os_file_close(file), STRATA_OK);
    world_free(world);
}

static void log_of_another_format_is_refused(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    struct os_file *file = world_log_file(world, world->first);
    uint8_t header[112];
    assert_int_equal(os_file_read(file, 0, header, sizeof header), STRATA_OK);
    header[16] = 1;
    // The check covers what follows it, seeded with the magic, in every format.
    uint64_t magic;
    memcpy(&magic, header + 8, 8);
    uint64_t check = checksum64(magic, header + 8, sizeof header - 8);
    memcpy(header, &check, 8);
    assert_int_equal(os_file_write(file, 0, header, sizeof header), STRATA_OK);
    assert_int_equal(os_file_close(file), STRATA_OK);
    struct wal_recovery recovery;
    assert_int_equal(world_recover(world, &recovery), STRATA_VERSION);
    world_free(world);
}

static void edits_in_marks_are_found(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_first = 32768;
    world_open(world);
    struct wal_recovery recovery;
    wal_note_edits(world->w, 17);
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.edits_marked, 0);
    world_append(world, 10);
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.edits_marked, 17);
    wal_note_edits(world->w, 18);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.edits_marked, 18);
    world_free(world);
}

// ---- logs of several opens

static void unfinished_newer_log_hides_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world_open(world);
    for (int i = 0; i < 20; i++) {
        world_append(world, 100);
    }
    world_sync(world);
    uint64_t first = world->first;
    assert_int_equal(wal_close(world->w), STRATA_OK);
    // The next open writes some of the tail into its log and is cut off.
    uint64_t last = world->commit;
    world->commit = 0;
    world->config.incarnation = 2;
    world_open(world);
    world_append(world, 100);
    world_append(world, 100);
    world_sync(world);
    uint64_t second = world->first;
    world->commit = last;
    struct wal_recovery recovery;
    world->first = first;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, last);
    assert_int_equal(recovery.incarnation_max, 2);
    // Once the open has completed it is the newer one that counts.
    world->first = second;
    assert_int_equal(world_recover(world, &recovery), STRATA_OK);
    assert_int_equal(recovery.last_commit, 2);
    world_free(world);
}

static void spare_with_old_records_brings_nothing_back(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.segment_bytes_first = 16384;
    world->config.segment_bytes_max = 16384;
    world_open(world);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 20; i++) {
            world_append(world, 180); // old and new records line up
        }
        world_sync(world);
        world->flushed = world->commit;
        assert_int_equal(wal_retire(world->w, world->flushed), STRATA_OK);
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        assert_int_equal(recovery.last_commit, world->commit);
    }
    struct wal_stats stats;
    wal_stats(world->w, &stats);
    assert_true(stats.segments_recycled > 10);
    assert_true(stats.segments_created < 10);
    world_free(world);
}

// ---- crashes

struct crash {
    struct world *world;
    struct prng rng;
    uint64_t acked;  // synced and acknowledged
    uint64_t states; // tried
    uint64_t every;
    bool choose; // keep the next survivor, for the next generation
    struct sim_disk *chosen;
    uint64_t chosen_first, chosen_flushed, chosen_last;
};

static void crash_boundary(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)m;
    (void)e;
    struct crash *c = ctx;
    if (!prng_one_in(&c->rng, c->every)) {
        return;
    }
    struct wal_recovery recovery;
    enum sim_survive policy = (enum sim_survive)prng_below(&c->rng, SIM_SURVIVE_POLICIES);
    uint64_t seed = prng_next(&c->rng);
    strata_rc rc = world_recover_after(c->world, policy, seed, &recovery);
    c->states++;
    if (rc != STRATA_OK || recovery.last_commit < c->acked ||
        recovery.last_commit > c->world->commit) {
        fail_msg("%s, seed %llu, before %s of %s: rc %d (%s), last %llu, acknowledged %llu of %llu",
                 sim_survive_name(policy), (unsigned long long)seed, sim_op_name(e->op), e->name,
                 rc, fail_text(), (unsigned long long)recovery.last_commit,
                 (unsigned long long)c->acked, (unsigned long long)c->world->commit);
    }
    if (c->choose && prng_one_in(&c->rng, 20)) {
        sim_disk_free(c->chosen);
        c->chosen = sim_disk_survive(c->world->disk, policy, seed);
        c->chosen_first = c->world->first;
        c->chosen_flushed = c->world->flushed;
        c->chosen_last = recovery.last_commit;
        c->choose = false;
    }
}

static void crash_work(struct crash *c, uint64_t ops)
{
    struct world *world = c->world;
    for (uint64_t i = 0; i < ops && world->commit + 2 < WORLD_COMMITS_MAX; i++) {
        switch (prng_below(&c->rng, 16)) {
        case 0:
        case 1:
        case 2:
            world_sync(world);
            c->acked = world->commit;
            break;
        case 3:
            assert_int_equal(wal_tick(world->w), STRATA_OK);
            break;
        case 4:
            if (prng_one_in(&c->rng, 3)) {
                uint64_t span = world->commit - world->flushed;
                world->flushed += prng_below(&c->rng, span + 1);
                c->acked = c->acked > world->flushed ? c->acked : world->flushed;
                assert_int_equal(wal_retire(world->w, world->flushed), STRATA_OK);
            }
            break;
        case 5:
            wal_note_edits(world->w, i);
            sim_machine_crank(&world->machine, 2);
            break;
        case 6:
            world_append(world, (uint32_t)prng_below(&c->rng, 6000));
            break;
        case 7:
            if (prng_one_in(&c->rng, 8)) {
                world_append(world, 20000 + (uint32_t)prng_below(&c->rng, 20000));
            }
            break;
        default:
            world_append(world, (uint32_t)prng_below(&c->rng, 300));
            break;
        }
    }
}

// What an open of the database does with the log: the tail goes into a new one, which then counts.
static strata_rc crash_carry(void *ctx, const struct wal_record *record)
{
    struct crash *c = ctx;
    return wal_append(c->world->w, record);
}

static void crash_remove_old(struct crash *c, uint64_t below)
{
    for (uint64_t number = 1; number < below; number++) {
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_LOG, number);
        assert_int_equal(os_dir_unlink(c->world->dir, name), STRATA_OK);
    }
}

static void crash_generation(struct crash *c, bool mapped)
{
    struct world *world = c->world;
    world->generation++;
    struct sim_disk *disk = c->chosen;
    c->chosen = NULL;
    world_end(world);
    world->first = c->chosen_first;
    world->flushed = c->chosen_flushed;
    world_begin_on(world, disk, mapped);
    world->config.executor = prng_one_in(&c->rng, 2) ? world->executor : NULL;
    world->machine.boundary = crash_boundary;
    world->machine.boundary_ctx = c;
    c->acked = c->acked < c->chosen_last ? c->acked : c->chosen_last;
    world->commit = c->chosen_last;
    c->acked = c->chosen_last;
    c->choose = true;

    // From here on a crash must give back the same commits again.
    assert_int_equal(wal_open(&world->config, world->flushed + 1, &world->w), STRATA_OK);
    struct wal_recovery recovery;
    assert_int_equal(
        wal_recover(world->dir, world->flushed, world->first, crash_carry, c, &recovery),
        STRATA_OK);
    assert_int_equal(recovery.last_commit, world->commit);
    world_sync(world);
    world->first = wal_oldest_segment(world->w);
    crash_remove_old(c, world->first);
    crash_work(c, 60);
    if (prng_one_in(&c->rng, 4)) {
        assert_int_equal(wal_close(world->w), STRATA_OK);
    } else {
        wal_abandon(world->w);
    }
    world->w = NULL;
    if (c->chosen == NULL) {
        c->chosen = sim_disk_survive(world->disk, SIM_SURVIVE_EVERYTHING, 0);
        c->chosen_first = world->first;
        c->chosen_flushed = world->flushed;
        c->chosen_last = world->commit;
    }
    world->machine.boundary = NULL;
}

static void crash_generations(bool mapped, uint64_t seed, int generations)
{
    struct crash c = {.world = world_new(mapped), .rng = {seed}, .every = 8};
    struct world *world = c.world;
    world_open(world);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    c.chosen = sim_disk_survive(world->disk, SIM_SURVIVE_EVERYTHING, 0);
    c.chosen_first = world->first;
    for (int i = 0; i < generations && world->commit < WORLD_COMMITS_MAX - 100; i++) {
        crash_generation(&c, mapped);
    }
    sim_disk_free(c.chosen);
    world_free(world);
}

static void crashes_leave_a_prefix_with_all_that_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        crash_generations(seed % 2 == 0, seed, 12);
    }
}

// Every mixture of the sectors of three small records: 2^6 states at the end of each.
static void every_mixture_of_sectors_is_a_prefix(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    world->config.incarnation = 2;
    world_open(world);
    world_append(world, 400);
    world_sync(world);
    struct os_file *file = world_log_file(world, world->first);
    static uint8_t before[4096], after[4096], mixed[4096];
    assert_int_equal(os_file_read(file, 4096, before, sizeof before), STRATA_OK);
    assert_int_equal(os_file_close(file), STRATA_OK);
    assert_int_equal(wal_close(world->w), STRATA_OK);
    world->w = NULL;
    world_free(world);

    world = world_new(true);
    world_open(world);
    for (int i = 0; i < 4; i++) {
        world_append(world, 700);
    }
    file = world_log_file(world, world->first);
    assert_int_equal(os_file_read(file, 4096, after, sizeof after), STRATA_OK);
    for (unsigned mask = 0; mask < 256; mask++) {
        uint64_t whole = 0; // leading sectors that are there
        while (whole < 8 && (mask >> whole & 1) != 0) {
            whole++;
        }
        for (unsigned sector = 0; sector < 8; sector++) {
            if ((mask >> sector & 1) != 0) {
                memcpy(mixed + 512 * sector, after + 512 * sector, 512);
            } else {
                // Another log's page, record boundaries and all.
                memcpy(mixed + 512 * sector, before + 512 * sector, 512);
            }
        }
        assert_int_equal(os_file_write(file, 4096, mixed, sizeof mixed), STRATA_OK);
        struct wal_recovery recovery;
        assert_int_equal(world_recover(world, &recovery), STRATA_OK);
        uint64_t expected = whole == 8 ? 4 : (whole * 512 > 16 ? (whole * 512 - 16) / 732 : 0);
        assert_int_equal(recovery.last_commit, expected);
    }
    assert_int_equal(os_file_close(file), STRATA_OK);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_directory_is_an_empty_log),
        cmocka_unit_test(named_log_that_is_gone_is_corrupt),
        cmocka_unit_test(records_of_every_size_come_back),
        cmocka_unit_test(segments_follow_each_other),
        cmocka_unit_test(error_of_apply_ends_recovery),
        cmocka_unit_test(commit_that_lacks_something_is_missing),
        cmocka_unit_test(synced_commit_that_lacks_something_is_corrupt),
        cmocka_unit_test(log_that_begins_too_late_is_corrupt),
        cmocka_unit_test(any_damaged_byte_of_an_unsynced_tail_cuts_there),
        cmocka_unit_test(any_damaged_byte_below_a_mark_is_corrupt),
        cmocka_unit_test(damage_in_a_segment_before_the_mark_is_corrupt),
        cmocka_unit_test(file_of_another_length_is_corrupt),
        cmocka_unit_test(log_of_another_format_is_refused),
        cmocka_unit_test(edits_in_marks_are_found),
        cmocka_unit_test(unfinished_newer_log_hides_nothing),
        cmocka_unit_test(spare_with_old_records_brings_nothing_back),
        cmocka_unit_test(every_mixture_of_sectors_is_a_prefix),
        cmocka_unit_test(crashes_leave_a_prefix_with_all_that_was_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
