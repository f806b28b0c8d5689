// What the tests of the log share: a simulated machine with a log on it, commits whose bytes follow
// from their number, and a recovery that compares what comes back.
#ifndef UNIT_TEST_WAL_WORLD_H
#define UNIT_TEST_WAL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#undef fail // also a name of cmocka's
#include <cmocka.h>

#include "kv/file_name.h"
#include "sim/sim_machine.h"
#include "wal/wal.h"

#define WORLD_COMMITS_MAX 4096

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_dir *dir;
    struct os_executor *executor;
    uint64_t number; // of files
    struct wal_config config;
    struct wal *w;
    uint64_t commit;  // the last that was tried
    uint64_t flushed; // what the manifest would say
    uint64_t first;   // the same: the first segment of the log that counts; 0: not known
    uint32_t salt[WORLD_COMMITS_MAX];  // of each commit's bytes
    uint32_t bytes[WORLD_COMMITS_MAX]; // of each commit's payload
    uint32_t generation;
};

static inline uint64_t world_number(void *ctx)
{
    struct world *world = ctx;
    return ++world->number;
}

#define WORLD_BYTES_MAX 200000u

// In memory of its own for what is appended, since a crash may be looked at in the middle of that.
static inline struct slice world_payload(const struct world *world, uint64_t commit, bool append)
{
    static uint8_t memory[2][WORLD_BYTES_MAX];
    uint8_t *bytes = memory[append];
    uint32_t count = world->bytes[commit];
    assert_true(count <= WORLD_BYTES_MAX);
    struct prng rng = {commit * 1000003 + world->salt[commit]};
    for (uint32_t i = 0; i < count; i++) {
        // Many zeros: what a file holds before it is written.
        bytes[i] = i % 8 == 0 ? (uint8_t)prng_next(&rng) : 0;
    }
    return slice_of(bytes, count);
}

static inline struct wal_record world_record(const struct world *world, uint64_t commit,
                                             bool append)
{
    return (struct wal_record){.commit = commit,
                               .time_us = (int64_t)commit * 10,
                               .count = (uint32_t)commit % 7,
                               .payload = world_payload(world, commit, append)};
}

static inline void world_begin_on(struct world *world, struct sim_disk *disk, bool mapped)
{
    world->disk = disk;
    sim_machine_init(&world->machine, disk, 1);
    assert_int_equal(world->machine.base.open_dir(&world->machine.base, "/db", true, &world->dir),
                     STRATA_OK);
    assert_int_equal(world->machine.base.new_executor(&world->machine.base, 1, &world->executor),
                     STRATA_OK);
    world->config = (struct wal_config){
        .dir = world->dir,
        .executor = NULL,
        .clock = &world->machine.clock,
        .incarnation = world->generation + 1,
        .mapped = mapped,
        .segment_bytes_first = 8192,
        .segment_bytes_max = 32768,
        .new_file_number = world_number,
        .ctx = world,
    };
}

static inline struct world *world_new(bool mapped)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world_begin_on(world, sim_disk_new(), mapped);
    return world;
}

static inline void world_open(struct world *world)
{
    assert_int_equal(wal_open(&world->config, world->flushed + 1, &world->w), STRATA_OK);
    world->first = wal_oldest_segment(world->w);
}

// Ends the machine, not the log, which must be closed or abandoned.
static inline void world_end(struct world *world)
{
    world->executor->close(world->executor);
    os_dir_close(world->dir);
    sim_machine_release(&world->machine);
    sim_disk_free(world->disk);
    world->disk = NULL;
}

static inline void world_free(struct world *world)
{
    if (world->w != NULL) {
        wal_abandon(world->w);
    }
    world_end(world);
    free(world);
}

static inline strata_rc world_try_append(struct world *world, uint32_t bytes)
{
    uint64_t commit = world->commit + 1;
    assert_true(commit < WORLD_COMMITS_MAX);
    world->bytes[commit] = bytes;
    world->salt[commit] = world->generation;
    world->commit = commit;
    struct wal_record record = world_record(world, commit, true);
    strata_rc rc = wal_append(world->w, &record);
    if (rc != STRATA_OK) {
        world->commit--;
    }
    return rc;
}

static inline void world_append(struct world *world, uint32_t bytes)
{
    assert_int_equal(world_try_append(world, bytes), STRATA_OK);
}

static inline void world_sync(struct world *world)
{
    assert_int_equal(wal_sync(world->w, world->commit), STRATA_OK);
}

struct world_seen {
    const struct world *world;
    uint64_t next;
    bool wrong;
};

static inline strata_rc world_apply(void *ctx, const struct wal_record *record)
{
    struct world_seen *seen = ctx;
    bool known = record->commit <= seen->world->commit;
    struct wal_record expected = world_record(seen->world, known ? record->commit : 0, false);
    if (!known || record->commit != seen->next || record->count != expected.count ||
        record->time_us != expected.time_us || !slice_equal(record->payload, expected.payload)) {
        fprintf(stderr, "commit %llu, expected %llu, %zu bytes, expected %zu\n",
                (unsigned long long)record->commit, (unsigned long long)seen->next,
                record->payload.bytes, expected.payload.bytes);
        seen->wrong = true;
    }
    seen->next++;
    return STRATA_OK;
}

// Recovers from `dir`; what is applied must be what was appended.
static inline strata_rc world_recover_dir(struct world *world, struct os_dir *dir,
                                          struct wal_recovery *recovery_out)
{
    struct world_seen seen = {world, world->flushed + 1, false};
    strata_rc rc = wal_recover(dir, world->flushed, world->first, world_apply, &seen, recovery_out);
    if (seen.wrong) {
        fail_msg("a commit came back changed, at most %llu", (unsigned long long)seen.next);
    }
    if (rc == STRATA_OK) {
        assert_int_equal(recovery_out->last_commit, seen.next - 1);
        assert_int_equal(recovery_out->records, seen.next - 1 - world->flushed);
    }
    return rc;
}

static inline strata_rc world_recover(struct world *world, struct wal_recovery *recovery_out)
{
    return world_recover_dir(world, world->dir, recovery_out);
}

// Recovers what a crash leaves of the disk.
static inline strata_rc world_recover_after(struct world *world, enum sim_survive policy,
                                            uint64_t seed, struct wal_recovery *recovery_out)
{
    struct sim_machine machine;
    struct os_dir *dir;
    struct sim_disk *left = sim_disk_survive(world->disk, policy, seed);
    sim_machine_init(&machine, left, 1);
    assert_int_equal(machine.base.open_dir(&machine.base, "/db", true, &dir), STRATA_OK);
    strata_rc rc = world_recover_dir(world, dir, recovery_out);
    os_dir_close(dir);
    sim_machine_release(&machine);
    sim_disk_free(left);
    return rc;
}

static inline struct os_file *world_log_file(struct world *world, uint64_t number)
{
    char name[FILE_NAME_BYTES];
    struct os_file *file;
    file_name_make(name, FILE_LOG, number);
    assert_int_equal(os_file_open(world->dir, name, OS_OPEN_WRITE, &file), STRATA_OK);
    return file;
}

// Inverts `bytes` bytes of a log file.
static inline void world_damage(struct world *world, uint64_t number, uint64_t offset, size_t bytes)
{
    struct os_file *file = world_log_file(world, number);
    for (size_t i = 0; i < bytes; i++) {
        uint8_t b;
        assert_int_equal(os_file_read(file, offset + i, &b, 1), STRATA_OK);
        b = (uint8_t)~b;
        assert_int_equal(os_file_write(file, offset + i, &b, 1), STRATA_OK);
    }
    assert_int_equal(os_file_close(file), STRATA_OK);
}

#endif
