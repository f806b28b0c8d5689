// Separated values on their way in, their recovery, and put streams, on the simulated machine.
#include "db/db.h"
#include "lib/alloc_fault.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>

#define LEAST 64u // separate_bytes
#define MIB (1u << 20)

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_options options;
    strata_db *db;
};

static void world_open_machine(struct world *w, uint64_t seed)
{
    sim_machine_init(&w->machine, w->disk, seed);
    assert_int_equal(db_open(&w->machine.base, "db", &w->options, &w->db), STRATA_OK);
}

static void world_open(struct world *w)
{
    *w = (struct world){.disk = sim_disk_new()};
    w->options = (strata_options)STRATA_OPTIONS_INIT;
    w->options.flags = STRATA_OPEN_CREATE;
    w->options.memory_bytes = 16u << 20;
    w->options.keyspace.separate_bytes = LEAST;
    world_open_machine(w, 1);
}

static void world_end(struct world *w)
{
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
}

static void world_close(struct world *w)
{
    assert_int_equal(strata_close(w->db), STRATA_OK);
    world_end(w);
}

static void world_reopen(struct world *w)
{
    assert_int_equal(strata_close(w->db), STRATA_OK);
    sim_machine_release(&w->machine);
    world_open_machine(w, 2);
}

// What a crash leaves, opened on a machine of its own.
static strata_rc open_survivor(struct sim_disk *disk, const strata_options *options,
                               struct world *out)
{
    *out = (struct world){.disk = disk, .options = *options};
    sim_machine_init(&out->machine, disk, 3);
    return db_open(&out->machine.base, "db", &out->options, &out->db);
}

static const char *value_bytes_of(uint64_t number, size_t bytes)
{
    static char *memory;
    static size_t capacity;
    if (bytes > capacity) {
        capacity = bytes;
        memory = test_resize(memory, capacity, 1);
    }
    struct prng rng = {number * 77 + bytes};
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = prng_next(&rng);
        memcpy(memory + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
    return memory;
}

static strata_slice value_of(uint64_t number, size_t bytes)
{
    return (strata_slice){value_bytes_of(number, bytes), bytes};
}

static strata_slice key_of(uint64_t number)
{
    static char key[8][32];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(key[turn], sizeof key[turn], "key %04llu", (unsigned long long)number);
    return strata_str(key[turn]);
}

static void put(struct world *w, uint64_t number, size_t bytes)
{
    assert_int_equal(strata_put(w->db, NULL, key_of(number), value_of(number, bytes)), STRATA_OK);
}

static void expect_in(strata_db *db, strata_keyspace *space, uint64_t number, size_t bytes)
{
    strata_value v = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    how.keyspace = space;
    assert_int_equal(strata_get(db, &how, key_of(number), &v), STRATA_OK);
    assert_int_equal(v.bytes, bytes);
    assert_memory_equal(v.data, value_bytes_of(number, bytes), bytes);
    strata_value_release(&v);
}

static void expect(const struct world *w, uint64_t number, size_t bytes)
{
    expect_in(w->db, NULL, number, bytes);
}

static void expect_none(const struct world *w, uint64_t number)
{
    strata_value v = STRATA_VALUE_INIT;
    assert_int_equal(strata_get(w->db, NULL, key_of(number), &v), STRATA_NOT_FOUND);
    strata_value_release(&v);
}

static bool is_value_file(const char *name)
{
    enum file_kind kind;
    uint64_t number;
    return file_name_parse(name, &kind, &number) && kind == FILE_VALUE;
}

static size_t value_files(const struct world *w)
{
    struct sim_dir *dir = sim_disk_dir(w->disk, "db", false);
    assert_non_null(dir);
    size_t count = 0;
    for (size_t i = 0; i < dir->current.count; i++) {
        count += is_value_file(dir->current.entries[i].name);
    }
    return count;
}

static uint32_t active_files(const struct world *w)
{
    return generation_value_files(w->db->commit.active);
}

// ---- where values go

static void only_long_values_are_separated(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, LEAST - 1);
    put(&w, 2, 0);
    assert_int_equal(value_files(&w), 0);
    put(&w, 3, LEAST);
    put(&w, 4, 5000);
    put(&w, 5, 3 * MIB + 5);
    assert_int_equal(value_files(&w), 1);
    assert_true(atomic_load(&w.db->commit.active->bytes) < 300000);
    for (int i = 0; i < 3; i++) {
        expect(&w, 1, LEAST - 1);
        expect(&w, 2, 0);
        expect(&w, 3, LEAST);
        expect(&w, 4, 5000);
        expect(&w, 5, 3 * MIB + 5);
        if (i == 0) {
            world_reopen(&w); // from the log
        } else if (i == 1) {
            assert_int_equal(strata_flush(w.db), STRATA_OK);
            assert_int_equal(active_files(&w), 0);
            assert_int_equal(w.db->edit.catalog->value_file_count, 1);
        }
    }
    world_reopen(&w);
    expect(&w, 5, 3 * MIB + 5);
    assert_int_equal(value_files(&w), 1);
    assert_int_equal(strata_check(w.db), STRATA_OK);
    world_close(&w);
}

static void batch_of_many_keyspaces_is_one_commit(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    enum { SPACES = 90 };
    strata_keyspace *spaces[SPACES];
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    options.separate_bytes = LEAST;
    strata_batch *batch;
    assert_int_equal(strata_batch_new(w.db, &batch), STRATA_OK);
    for (uint64_t i = 0; i < SPACES; i++) {
        char name[16];
        snprintf(name, sizeof name, "space %llu", (unsigned long long)i);
        assert_int_equal(strata_keyspace_create(w.db, name, &options, &spaces[i]), STRATA_OK);
        assert_int_equal(strata_batch_put(batch, spaces[i], key_of(1), value_of(99, 400)),
                         STRATA_OK);
        assert_int_equal(strata_batch_put(batch, spaces[i], key_of(1), value_of(1, 300 + i)),
                         STRATA_OK);
        assert_int_equal(strata_batch_put(batch, spaces[i], key_of(2), value_of(2, 20)), STRATA_OK);
    }
    uint64_t before = strata_newest_commit(w.db);
    assert_int_equal(strata_commit(w.db, NULL, batch, NULL), STRATA_OK);
    assert_int_equal(strata_newest_commit(w.db), before + 1);
    strata_batch_free(batch);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < SPACES; i++) {
            expect_in(w.db, spaces[i], 1, 300 + i);
            expect_in(w.db, spaces[i], 2, 20);
        }
        assert_int_equal(strata_flush(w.db), STRATA_OK);
    }
    world_close(&w);
}

static void more_keyspaces_than_a_generation_has_places(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    enum { SPACES = 80 };
    strata_keyspace *spaces[SPACES];
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    options.separate_bytes = LEAST;
    strata_write how = STRATA_WRITE_INIT;
    for (uint64_t i = 0; i < SPACES; i++) {
        char name[16];
        snprintf(name, sizeof name, "space %llu", (unsigned long long)i);
        assert_int_equal(strata_keyspace_create(w.db, name, &options, &spaces[i]), STRATA_OK);
        how.keyspace = spaces[i];
        assert_int_equal(strata_put(w.db, &how, key_of(i), value_of(i, 200)), STRATA_OK);
    }
    assert_true(active_files(&w) < SPACES);
    for (uint64_t i = 0; i < SPACES; i++) {
        expect_in(w.db, spaces[i], i, 200);
    }
    world_close(&w);
}

static void generation_with_many_value_bytes_is_sealed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    atomic_store(&w.db->seal_value_bytes, 100000);
    for (uint64_t i = 0; i < 40; i++) {
        put(&w, i, 10000);
        assert_true(atomic_load(&w.db->commit.active->value_bytes) <= 110000);
    }
    assert_int_equal(metrics_sum(&w.db->metrics, METRIC_seals), 4);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    for (uint64_t i = 0; i < 40; i++) {
        expect(&w, i, 10000);
    }
    world_close(&w);
}

// ---- a seal in between

struct sealer {
    struct world *w;
    uint32_t times;
    uint64_t number; // of keys that make the generation worth a seal
};

// Whatever writes into a value file meets a seal first, unless it holds the lock.
static void seal_before_values(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct sealer *s = ctx;
    if (e->op != SIM_OP_WRITE || !is_value_file(e->name) || e->offset == 0 || s->times == 0 ||
        pthread_mutex_trylock(&s->w->db->commit.lock.raw) != 0) {
        return;
    }
    pthread_mutex_unlock(&s->w->db->commit.lock.raw);
    s->times--;
    m->observe = NULL;
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE; // a sync would wait for the write that is under way
    assert_int_equal(strata_put(s->w->db, &how, key_of(s->number++), strata_str("short")),
                     STRATA_OK);
    os_mutex_lock(&s->w->db->commit.lock);
    assert_int_equal(db_seal_locked(s->w->db), STRATA_OK);
    os_mutex_unlock(&s->w->db->commit.lock);
    m->observe = seal_before_values;
}

static void value_of_a_sealed_generation_is_stored_again(void **state)
{
    (void)state;
    for (uint32_t times = 1; times < 6; times++) {
        struct world w;
        world_open(&w);
        struct sealer s = {&w, times, 1000};
        w.machine.observe_ctx = &s;
        w.machine.observe = seal_before_values;
        put(&w, 1, 500);
        w.machine.observe = NULL;
        assert_int_equal(s.times, times <= 3 ? 0 : times - 3);
        expect(&w, 1, 500);
        assert_int_equal(strata_flush(w.db), STRATA_OK);
        strata_batch *batch;
        assert_int_equal(strata_batch_new(w.db, &batch), STRATA_OK);
        for (uint64_t i = 2; i < 6; i++) {
            assert_int_equal(strata_batch_put(batch, NULL, key_of(i), value_of(i, 700)), STRATA_OK);
        }
        s.times = times;
        w.machine.observe = seal_before_values;
        assert_int_equal(strata_commit(w.db, NULL, batch, NULL), STRATA_OK);
        w.machine.observe = NULL;
        strata_batch_free(batch);
        for (int round = 0; round < 2; round++) {
            for (uint64_t i = 2; i < 6; i++) {
                expect(&w, i, 700);
            }
            assert_int_equal(strata_flush(w.db), STRATA_OK);
        }
        world_reopen(&w);
        expect(&w, 1, 500);
        expect(&w, 5, 700);
        assert_int_equal(strata_check(w.db), STRATA_OK);
        world_close(&w);
    }
}

// ---- faults

static void failed_value_file_is_left_and_the_next_is_used(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 500);
    // More files than a generation takes, before any commit that would make it worth a flush.
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    for (uint64_t i = 0; i < 150; i++) {
        sim_machine_fail(&w.machine, (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_WRITE),
                                                        .glob = "*.value",
                                                        .index = 1,
                                                        .error = ENOSPC});
        strata_rc rc = strata_put(w.db, NULL, key_of(2), value_of(2, 500));
        assert_true(rc == STRATA_NO_SPACE);
        sim_machine_heal(&w.machine);
    }
    expect_none(&w, 2);
    put(&w, 2, 500);
    expect(&w, 2, 500);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    assert_int_equal(strata_wait_idle(w.db), STRATA_OK);
    assert_int_equal(value_files(&w), 2);
    world_reopen(&w);
    expect(&w, 1, 500);
    expect(&w, 2, 500);
    world_close(&w);
}

static void failed_sync_of_values_is_one_of_the_commit(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 500);
    sim_machine_fail(
        &w.machine,
        (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_SYNC), .glob = "*.value", .error = EIO});
    assert_int_equal(strata_put(w.db, NULL, key_of(2), value_of(2, 500)), STRATA_UNKNOWN_OUTCOME);
    sim_machine_heal(&w.machine);
    assert_int_equal(strata_put(w.db, NULL, key_of(3), value_of(3, 5)), STRATA_READ_ONLY);
    expect(&w, 1, 500);
    assert_int_equal(strata_close(w.db), STRATA_UNKNOWN_OUTCOME);
    sim_machine_release(&w.machine);
    world_open_machine(&w, 2);
    expect(&w, 1, 500);
    world_close(&w);
}

static void values_are_on_disk_before_the_commit_is(void **state)
{
    (void)state;
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        struct world w;
        struct world after;
        world_open(&w);
        put(&w, 1, 700);
        strata_write how = STRATA_WRITE_INIT;
        how.durability = STRATA_SYNC_NONE;
        assert_int_equal(strata_put(w.db, &how, key_of(2), value_of(2, 700)), STRATA_OK);
        struct sim_disk *left = sim_disk_survive(w.disk, (enum sim_survive)policy, 5);
        assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
        expect(&after, 1, 700);
        world_close(&after);
        assert_int_equal(strata_sync(w.db), STRATA_OK);
        left = sim_disk_survive(w.disk, (enum sim_survive)policy, 6);
        assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
        expect(&after, 1, 700);
        expect(&after, 2, 700);
        world_close(&after);
        world_close(&w);
    }
}

static void allocations_that_fail_undo_the_put(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 500);
    strata_batch *batch;
    assert_int_equal(strata_batch_new(w.db, &batch), STRATA_OK);
    for (int which = 0; which < 3; which++) {
        uint64_t n = 0;
        for (;; n++) {
            uint64_t number = 100 + n;
            uint64_t newest = strata_newest_commit(w.db);
            strata_slice value = value_of(number, which == 2 ? 17 * MIB : 600);
            strata_batch_reset(batch);
            assert_int_equal(strata_batch_put(batch, NULL, key_of(number), value),
                             which == 2 ? STRATA_TOO_LARGE : STRATA_OK);
            alloc_fault_arm(n, 1);
            strata_rc rc = which == 1 ? strata_commit(w.db, NULL, batch, NULL)
                                      : strata_put(w.db, NULL, key_of(number), value);
            bool failed = alloc_fault_disarm() != 0;
            assert_true(rc == STRATA_OK || (failed && rc == STRATA_NO_MEMORY));
            assert_int_equal(strata_newest_commit(w.db), newest + (rc == STRATA_OK));
            if (rc == STRATA_OK) {
                expect(&w, number, value.bytes);
            }
            if (!failed) {
                break;
            }
        }
        assert_true(n > 0 || which == 0);
        assert_int_equal(strata_flush(w.db), STRATA_OK);
    }
    strata_batch_free(batch);
    world_reopen(&w);
    expect(&w, 1, 500);
    world_close(&w);
}

// ---- crashes

#define CRASH_STATES_MAX 4000u

struct crash {
    struct world *w;
    struct sim_disk *disks[CRASH_STATES_MAX];
    uint64_t synced[CRASH_STATES_MAX];
    size_t count;
    uint64_t acked; // commits that must survive
    uint64_t seed;
};

static void collect_survivors(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct crash *c = ctx;
    (void)m;
    (void)e;
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES && c->count < CRASH_STATES_MAX; policy++) {
        c->disks[c->count] = sim_disk_survive(c->w->disk, (enum sim_survive)policy, ++c->seed);
        c->synced[c->count++] = c->acked;
    }
}

static size_t crash_bytes(uint64_t commit)
{
    return commit % 5 == 4 ? 20 : (size_t)(commit % 3 == 2 ? 9000 : 100 + commit);
}

// Opens every state twice: what is there is a prefix of the commits, with all of their values, and
// no less than what was acknowledged.
static void look_at_survivors(struct crash *c, uint64_t tried)
{
    for (size_t i = 0; i < c->count; i++) {
        for (int round = 0; round < 2; round++) {
            struct world after;
            strata_options options = c->w->options;
            if (round == 0 && i % 3 == 0) {
                options.flags = STRATA_OPEN_READ_ONLY;
            }
            assert_int_equal(open_survivor(c->disks[i], &options, &after), STRATA_OK);
            uint64_t newest = strata_newest_commit(after.db);
            assert_in_range(newest, c->synced[i], tried);
            for (uint64_t commit = 1; commit <= tried; commit++) {
                if (commit <= newest) {
                    expect(&after, commit, crash_bytes(commit));
                } else {
                    expect_none(&after, commit);
                }
            }
            if (round == 1) {
                world_close(&after);
            } else {
                assert_int_equal(strata_close(after.db), STRATA_OK);
                sim_machine_release(&after.machine);
            }
        }
    }
    c->count = 0;
}

static void crash_at_every_change_leaves_a_prefix_with_its_values(void **state)
{
    (void)state;
    struct world w;
    static struct crash c;
    world_open(&w);
    c = (struct crash){.w = &w};
    for (uint64_t commit = 1; commit <= 14; commit++) {
        strata_write how = STRATA_WRITE_INIT;
        how.durability = commit % 4 == 0 ? STRATA_SYNC : STRATA_SYNC_NONE;
        w.machine.boundary = collect_survivors;
        w.machine.boundary_ctx = &c;
        strata_slice value = value_of(commit, crash_bytes(commit));
        assert_int_equal(strata_put(w.db, &how, key_of(commit), value), STRATA_OK);
        if (how.durability == STRATA_SYNC) {
            c.acked = commit;
        }
        if (commit == 9) {
            assert_int_equal(strata_flush(w.db), STRATA_OK);
        }
        w.machine.boundary = NULL;
        look_at_survivors(&c, commit);
    }
    world_close(&w);
}

// ---- recovery

static void damage(struct world *w, const char *suffix, uint64_t offset)
{
    struct sim_dir *dir = sim_disk_dir(w->disk, "db", false);
    for (size_t i = 0; i < dir->current.count; i++) {
        const char *name = dir->current.entries[i].name;
        if (strstr(name, suffix) != NULL) {
            struct sim_inode *inode = dir->current.entries[i].inode;
            uint8_t byte = (uint8_t)~inode->current->data[offset];
            sim_inode_write(w->disk, inode, offset, &byte, 1);
        }
    }
}

static void synced_value_that_is_damaged_is_corrupt(void **state)
{
    (void)state;
    struct world w;
    struct world after;
    world_open(&w);
    put(&w, 1, 700);
    put(&w, 2, 700); // its record says that commit 1 was synced
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_EVERYTHING, 1);
    after.disk = left;
    damage(&after, ".value", 512 + 300);
    strata_rc rc = open_survivor(left, &w.options, &after);
    assert_int_equal(rc, STRATA_CORRUPT);
    assert_non_null(strstr(strata_error_text(), "value"));
    world_end(&after);
    world_close(&w);
}

static void value_file_that_is_gone_is_corrupt(void **state)
{
    (void)state;
    struct world w;
    struct world after;
    world_open(&w);
    put(&w, 1, 700);
    put(&w, 2, 700);
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_EVERYTHING, 1);
    struct sim_dir *dir = sim_disk_dir(left, "db", false);
    for (size_t i = 0; i < dir->current.count; i++) {
        if (is_value_file(dir->current.entries[i].name)) {
            sim_dir_unlink(left, dir, dir->current.entries[i].name);
            break;
        }
    }
    assert_int_equal(open_survivor(left, &w.options, &after), STRATA_CORRUPT);
    world_end(&after);
    world_close(&w);
}

// Many generations are in the log: their files become one generation's, or are flushed on the way.
static void log_with_many_value_files_is_recovered(void **state)
{
    (void)state;
    for (int small = 0; small < 2; small++) {
        struct world w;
        struct world after;
        world_open(&w);
        enum { SPACES = 70 };
        strata_keyspace *spaces[SPACES];
        strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
        options.separate_bytes = LEAST;
        strata_write how = STRATA_WRITE_INIT;
        for (uint64_t i = 0; i < SPACES; i++) {
            char name[16];
            snprintf(name, sizeof name, "space %llu", (unsigned long long)i);
            assert_int_equal(strata_keyspace_create(w.db, name, &options, &spaces[i]), STRATA_OK);
        }
        for (uint64_t i = 0; i < 3 * SPACES; i++) {
            how.keyspace = spaces[i % SPACES];
            assert_int_equal(strata_put(w.db, &how, key_of(i), value_of(i, 200)), STRATA_OK);
            assert_int_equal(strata_put(w.db, &how, key_of(10000 + i), value_of(i, 60)), STRATA_OK);
        }
        assert_true(w.db->mu.sealed_count >= 3);
        w.options.memtable_bytes = small ? 64u << 10 : 0;
        struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_NOTHING, 1);
        for (int round = 0; round < 3; round++) {
            assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
            for (uint64_t i = 0; i < 3 * SPACES; i++) {
                char name[16];
                strata_keyspace *space;
                snprintf(name, sizeof name, "space %llu", (unsigned long long)(i % SPACES));
                assert_int_equal(strata_keyspace_open(after.db, name, &space), STRATA_OK);
                expect_in(after.db, space, i, 200);
            }
            assert_int_equal(strata_put(after.db, NULL, key_of(77), value_of(77, 300)), STRATA_OK);
            if (round == 1) {
                assert_int_equal(strata_flush(after.db), STRATA_OK);
                assert_int_equal(strata_check(after.db), STRATA_OK);
            }
            assert_int_equal(strata_close(after.db), STRATA_OK);
            sim_machine_release(&after.machine);
        }
        sim_disk_free(left);
        world_close(&w);
    }
}

static void dropped_keyspace_takes_its_values_along(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 700);
    strata_keyspace *space;
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    options.separate_bytes = LEAST;
    assert_int_equal(strata_keyspace_create(w.db, "other", &options, &space), STRATA_OK);
    strata_write how = STRATA_WRITE_INIT;
    how.keyspace = space;
    assert_int_equal(strata_put(w.db, &how, key_of(2), value_of(2, 700)), STRATA_OK);
    assert_int_equal(strata_keyspace_drop(w.db, "other"), STRATA_OK);
    assert_int_equal(strata_put(w.db, &how, key_of(3), value_of(3, 700)), STRATA_INVALID);
    assert_int_equal(value_files(&w), 2);
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_EVERYTHING, 1);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    assert_int_equal(strata_wait_idle(w.db), STRATA_OK);
    assert_int_equal(value_files(&w), 1);
    expect(&w, 1, 700);
    world_close(&w);
    assert_int_equal(open_survivor(left, &w.options, &w), STRATA_OK);
    assert_int_equal(value_files(&w), 1);
    expect(&w, 1, 700);
    world_close(&w);
}

static void read_only_open_reads_unfinished_files_and_writes_nothing(void **state)
{
    (void)state;
    struct world w;
    struct world after;
    world_open(&w);
    for (uint64_t i = 0; i < 20; i++) {
        put(&w, i, 700);
    }
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_EVERYTHING, 1);
    strata_options options = w.options;
    options.flags = STRATA_OPEN_READ_ONLY;
    assert_int_equal(open_survivor(left, &options, &after), STRATA_OK);
    for (uint64_t i = 0; i < 20; i++) {
        expect(&after, i, 700);
    }
    assert_int_equal(after.machine.boundaries, 0);
    assert_int_equal(strata_put(after.db, NULL, key_of(1), value_of(1, 700)), STRATA_READ_ONLY);
    strata_put_stream *stream;
    assert_int_equal(strata_put_begin(after.db, NULL, key_of(1), &stream), STRATA_READ_ONLY);
    world_close(&after);
    world_close(&w);
}

// ---- files of their own

static void large_value_has_a_file_of_its_own(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 700);
    put(&w, 2, 17 * MIB);
    put(&w, 3, 700);
    assert_int_equal(value_files(&w), 2);
    expect(&w, 2, 17 * MIB);
    struct world after; // from the log
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_NOTHING, 1);
    assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
    assert_true(active_files(&after) > 0);
    expect(&after, 2, 17 * MIB);
    world_close(&after);
    world_reopen(&w);
    expect(&w, 2, 17 * MIB);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    expect(&w, 2, 17 * MIB);
    expect(&w, 3, 700);
    // What cannot be committed leaves nothing behind.
    sim_machine_fail(&w.machine, (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_SYNC),
                                                    .glob = "*.value",
                                                    .index = 1,
                                                    .error = ENOSPC});
    assert_true(strata_put(w.db, NULL, key_of(4), value_of(4, 17 * MIB)) != STRATA_OK);
    sim_machine_heal(&w.machine);
    assert_int_equal(value_files(&w), 2);
    world_close(&w);
}

// A recovery writes the files of values anew that are in the log only: a close sees to it that
// there are not many, and what is very large is flushed when it is there.
static void many_values_are_not_left_to_the_next_open(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    put(&w, 1, 700);
    world_reopen(&w);
    assert_int_equal(active_files(&w), 1);
    put(&w, 2, 9 * MIB);
    world_reopen(&w);
    assert_int_equal(active_files(&w), 0);
    assert_true(w.db->edit.catalog->value_file_count >= 1);
    expect(&w, 1, 700);
    expect(&w, 2, 9 * MIB);
    atomic_store(&w.db->seal_value_bytes, 16 * MIB);
    put(&w, 3, 17 * MIB);
    assert_int_equal(active_files(&w), 0);
    expect(&w, 3, 17 * MIB);
    world_close(&w);
}

static void stream(struct world *w, const strata_write *how, uint64_t number, size_t bytes,
                   size_t piece)
{
    strata_put_stream *s;
    assert_int_equal(strata_put_begin(w->db, how, key_of(number), &s), STRATA_OK);
    const char *data = value_bytes_of(number, bytes);
    for (size_t at = 0; at < bytes; at += piece) {
        size_t now = bytes - at < piece ? bytes - at : piece;
        assert_int_equal(strata_put_append(s, data + at, now), STRATA_OK);
    }
    uint64_t newest = strata_newest_commit(w->db);
    expect_none(w, number);
    assert_int_equal(strata_put_finish(s), STRATA_OK);
    assert_int_equal(strata_newest_commit(w->db), newest + 1);
}

static void streams_of_every_length(void **state)
{
    (void)state;
    static const struct {
        size_t bytes, piece;
    } all[] = {{0, 1},
               {1, 1},
               {63, 7},
               {64, 64},
               {5000, 333},
               {MIB - 1, 4096},
               {MIB, MIB},
               {MIB + 1, 100000},
               {2 * MIB, 65536},
               {3 * MIB + 17, 3 * MIB + 17},
               {5 * MIB - 1, 1234567}};
    struct world w;
    world_open(&w);
    strata_keyspace_options off = STRATA_KEYSPACE_OPTIONS_INIT;
    off.separation = STRATA_SEPARATION_OFF;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            stream(&w, NULL, 100 * (uint64_t)round + i, all[i].bytes, all[i].piece);
        }
        size_t files = value_files(&w);
        assert_int_equal(files, round == 0 ? 5 : 9); // one for the short ones, four of their own
        assert_int_equal(strata_keyspace_alter(w.db, NULL, &off), STRATA_OK);
    }
    struct world after; // from the log
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_NOTHING, 1);
    assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        expect(&after, i, all[i].bytes);
        expect(&after, 100 + i, all[i].bytes);
    }
    world_close(&after);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            expect(&w, i, all[i].bytes);
            expect(&w, 100 + i, all[i].bytes);
        }
        if (round == 0) {
            world_reopen(&w);
        } else if (round == 1) {
            assert_int_equal(strata_flush(w.db), STRATA_OK);
        }
    }
    assert_int_equal(strata_check(w.db), STRATA_OK);
    world_close(&w);
}

static void stream_that_does_not_end_leaves_nothing(void **state)
{
    (void)state;
    struct world w;
    struct world after;
    world_open(&w);
    strata_put_stream *s;
    static char piece[MIB];
    assert_int_equal(strata_put_begin(w.db, NULL, key_of(1), &s), STRATA_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(strata_put_append(s, piece, sizeof piece), STRATA_OK);
    }
    assert_int_equal(value_files(&w), 1);
    assert_int_equal(strata_close(w.db), STRATA_BUSY);
    struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_EVERYTHING, 1);
    assert_int_equal(open_survivor(left, &w.options, &after), STRATA_OK);
    assert_int_equal(value_files(&after), 0);
    expect_none(&after, 1);
    world_close(&after);
    strata_put_abort(s);
    assert_int_equal(value_files(&w), 0);
    expect_none(&w, 1);
    world_close(&w);
}

static void stream_that_failed_can_only_be_aborted(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    static char piece[MIB];
    for (int finish = 0; finish < 2; finish++) {
        strata_put_stream *s;
        assert_int_equal(strata_put_begin(w.db, NULL, key_of(1), &s), STRATA_OK);
        assert_int_equal(strata_put_append(s, piece, sizeof piece), STRATA_OK);
        sim_machine_fail(&w.machine, (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_WRITE),
                                                        .glob = "*.value",
                                                        .index = 1,
                                                        .error = ENOSPC});
        assert_int_equal(strata_put_append(s, piece, sizeof piece), STRATA_NO_SPACE);
        sim_machine_heal(&w.machine);
        assert_int_equal(strata_put_append(s, piece, sizeof piece), STRATA_INVALID);
        if (finish) {
            assert_int_equal(strata_put_finish(s), STRATA_INVALID);
        } else {
            strata_put_abort(s);
        }
        assert_int_equal(value_files(&w), 0);
    }
    expect_none(&w, 1);
    world_close(&w);
}

static void stream_of_a_dropped_keyspace_is_refused_at_its_end(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    strata_keyspace *space;
    assert_int_equal(strata_keyspace_create(w.db, "other", NULL, &space), STRATA_OK);
    static char piece[3 * MIB];
    strata_write how = STRATA_WRITE_INIT;
    how.keyspace = space;
    strata_put_stream *s;
    assert_int_equal(strata_put_begin(w.db, &how, key_of(1), &s), STRATA_OK);
    assert_int_equal(strata_put_append(s, piece, sizeof piece), STRATA_OK);
    assert_int_equal(strata_keyspace_drop(w.db, "other"), STRATA_OK);
    assert_int_equal(strata_put_finish(s), STRATA_INVALID);
    assert_int_equal(value_files(&w), 0);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_long_values_are_separated),
        cmocka_unit_test(batch_of_many_keyspaces_is_one_commit),
        cmocka_unit_test(more_keyspaces_than_a_generation_has_places),
        cmocka_unit_test(generation_with_many_value_bytes_is_sealed),
        cmocka_unit_test(value_of_a_sealed_generation_is_stored_again),
        cmocka_unit_test(failed_value_file_is_left_and_the_next_is_used),
        cmocka_unit_test(failed_sync_of_values_is_one_of_the_commit),
        cmocka_unit_test(values_are_on_disk_before_the_commit_is),
        cmocka_unit_test(allocations_that_fail_undo_the_put),
        cmocka_unit_test(crash_at_every_change_leaves_a_prefix_with_its_values),
        cmocka_unit_test(synced_value_that_is_damaged_is_corrupt),
        cmocka_unit_test(value_file_that_is_gone_is_corrupt),
        cmocka_unit_test(log_with_many_value_files_is_recovered),
        cmocka_unit_test(dropped_keyspace_takes_its_values_along),
        cmocka_unit_test(read_only_open_reads_unfinished_files_and_writes_nothing),
        cmocka_unit_test(large_value_has_a_file_of_its_own),
        cmocka_unit_test(many_values_are_not_left_to_the_next_open),
        cmocka_unit_test(streams_of_every_length),
        cmocka_unit_test(stream_that_does_not_end_leaves_nothing),
        cmocka_unit_test(stream_that_failed_can_only_be_aborted),
        cmocka_unit_test(stream_of_a_dropped_keyspace_is_refused_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
