// Two ways in which deleted keys came back in another store (Badger), with
// their schedules forced on the simulated machine, where nothing but this
// program decides what runs when:
//
//   - The collection of value garbage rewrites a value whose key is deleted and
//   whose tombstone is
//     merged away meanwhile (badger 2286, 2310): the rewrite began when the
//     value was referred to, and ends when nothing knows any more that it was
//     deleted. Here at every step of the rewrite.
//   - A tombstone is taken to a deeper level than the value that it deletes
//   (badger 2143, 2278).
//     Here with every flush and every step of merges looked at, on trees of all
//     shapes.
//
// Keyspaces keep nothing of the past, and nearly all values stand apart.
#include "base/prng.h"
#include "db/db.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 800u
#define KEY_BYTES 700u
#define VALUE_BYTES 4000u
#define STEPS_MOST 4000u

struct trap {
    struct prng random;
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_options options;
    strata_db *db;
    uint32_t present[KEYS]; // number of the write that put it; 0: deleted, or
                            // never put
    uint32_t writes;
    uint64_t looks, rewrites, moved, dropped;
    uint32_t levels;
};

static strata_slice key_of(char *to, uint32_t i)
{
    return (strata_slice){to, (size_t)snprintf(to, 16, "key%03u", i)};
}

static strata_slice value_of(uint8_t *to, uint32_t write)
{
    struct prng fill = {write};
    for (size_t i = 0; i < VALUE_BYTES; i++) {
        to[i] = (uint8_t)prng_next(&fill);
    }
    return (strata_slice){to, VALUE_BYTES};
}

static strata_write quick(void)
{
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    return how;
}

static void put(struct trap *t, uint32_t i)
{
    char key[KEY_BYTES];
    uint8_t value[VALUE_BYTES];
    strata_write how = quick();
    t->present[i] = ++t->writes;
    MUST(strata_put(t->db, &how, key_of(key, i), value_of(value, t->writes)));
}

static void delete_keys(struct trap *t, uint32_t first, uint32_t past)
{
    char begin[KEY_BYTES];
    char end[KEY_BYTES];
    strata_write how = quick();
    if (past == first + 1) {
        MUST(strata_delete(t->db, &how, key_of(begin, first)));
    } else {
        MUST(strata_delete_range(t->db, &how, key_of(begin, first), key_of(end, past)));
    }
    memset(&t->present[first], 0, (past - first) * sizeof t->present[0]);
}

// Every key by a get, and a scan: what is there is right, what is deleted is
// away.
static void look(struct trap *t, const char *when)
{
    static strata_value value = STRATA_VALUE_INIT;
    uint8_t want[VALUE_BYTES];
    char key[KEY_BYTES];
    strata_iter *iter;
    uint32_t shown = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        strata_rc rc = strata_get(t->db, NULL, key_of(key, i), &value);
        shown += t->present[i] != 0;
        if (t->present[i] == 0) {
            EVIDENCE(rc == STRATA_NOT_FOUND, "%s: key %u is back (%s, commit %llu)", when, i,
                     strata_rc_name(rc), (unsigned long long)value.commit);
            continue;
        }
        value_of(want, t->present[i]);
        EVIDENCE(rc == STRATA_OK && value.bytes == VALUE_BYTES &&
                     memcmp(value.data, want, VALUE_BYTES) == 0,
                 "%s: key %u has another value, or none: %s", when, i, strata_rc_name(rc));
    }
    MUST(strata_iter_open(t->db, NULL, &iter));
    for (strata_rc rc = strata_iter_first(iter); rc == STRATA_OK; rc = strata_iter_next(iter)) {
        shown--;
    }
    EVIDENCE(shown == 0, "%s: a scan shows %d keys too few", when, (int)shown);
    strata_iter_close(iter);
    t->looks++;
}

static void open_db(struct trap *t)
{
    MUST(db_open(&t->machine.base, "db", &t->options, &t->db));
}

static void begin(struct trap *t, uint64_t seed, bool separates)
{
    *t = (struct trap){.random = {prng_mix(seed)}};
    t->options = (strata_options)STRATA_OPTIONS_INIT;
    t->options.flags = STRATA_OPEN_CREATE;
    t->options.memory_bytes = 8 << 20;
    t->options.memtable_bytes = 64 << 10;
    t->options.keyspace.separation = separates ? STRATA_SEPARATION_ON : STRATA_SEPARATION_OFF;
    t->options.keyspace.separate_bytes = 64;
    t->options.keyspace.retention = STRATA_RETENTION_NONE;
    t->options.keyspace.space_bound_percent = 1000;
    t->options.keyspace.shape = (strata_shape)(1 + seed % 2);
    t->options.keyspace.size_ratio = 2 + (uint32_t)(seed % 3);
    t->options.keyspace.level0_runs_max = 4;
    t->disk = sim_disk_new();
    sim_machine_init(&t->machine, t->disk, seed);
    open_db(t);
}

static void end(struct trap *t)
{
    MUST(strata_check(t->db));
    MUST(strata_close(t->db));
    open_db(t);
    look(t, "after a reopen");
    MUST(strata_compact(t->db, NULL, NULL, NULL));
    look(t, "after the last compaction");
    MUST(strata_check(t->db));
    MUST(strata_close(t->db));
    sim_machine_release(&t->machine);
    sim_disk_free(t->disk);
}

// ---- a value rewrite over a tombstone that goes

// The physical value files of the present catalog.
static size_t value_files(struct trap *t, struct catalog **catalog_out, uint64_t *files_out,
                          size_t most)
{
    size_t count = 0;
    os_mutex_lock(&t->db->mu.lock);
    struct catalog *c = t->db->edit.catalog;
    catalog_ref(c);
    os_mutex_unlock(&t->db->mu.lock);
    for (uint32_t i = 0; i < c->value_file_count && count < most; i++) {
        files_out[count++] = value_file_meta(c->value_files[i])->file;
    }
    *catalog_out = c;
    return count;
}

static uint64_t entries_in_trees(struct trap *t)
{
    uint64_t entries = 0;
    struct catalog *c;
    uint64_t unused[1];
    value_files(t, &c, unused, 0);
    for (uint32_t s = 0; s < c->space_count; s++) {
        struct tree *trees[2] = {c->spaces[s].live, c->spaces[s].history};
        for (int h = 0; h < 2; h++) {
            for (uint32_t l = 0; l < trees[h]->level_count; l++) {
                for (uint32_t r = 0; r < trees[h]->levels[l].count; r++) {
                    const struct run *run = trees[h]->levels[l].runs[r];
                    for (uint32_t i = 0; i < run->count; i++) {
                        entries += table_meta(run->tables[i])->entries;
                    }
                }
            }
        }
    }
    catalog_unref(c);
    return entries;
}

static bool space_task_rests(struct os_task *task)
{
    strata_db *db = (strata_db *)(void *)((char *)task - offsetof(strata_db, space_task));
    atomic_store(&db->space_pending, false);
    return false;
}

// The database's own rewrites stand back while one is stepped here.
static void hold_rewrites(struct trap *t, bool held)
{
    static bool (*step)(struct os_task * task);
    MUST(strata_wait_idle(t->db));
    if (held) {
        step = t->db->space_task.step;
    }
    t->db->space_task.step = held ? space_task_rests : step;
    background_schedule(t->db);
}

// How many steps the rewrite went; the deletes come after `before` of them.
static uint64_t rewrite_over_deletes(struct trap *t, uint64_t before, bool by_range, bool reopen)
{
    uint64_t files[64];
    struct catalog *catalog = NULL;
    struct value_rewrite *rewrite = NULL;
    struct compact_env env = db_compact_env(t->db);
    bool done = false;
    uint64_t steps = 0;
    hold_rewrites(t, true);
    size_t count = value_files(t, &catalog, files, 64);
    EVIDENCE(count > 0, "no value files");
    MUST(value_rewrite_new(&env, catalog, files, count, &rewrite));
    for (; steps < before && !done; steps++) {
        MUST(value_rewrite_step(rewrite, &done));
    }
    // The values are deleted, and so are, by a full merge, the tombstones.
    if (by_range) {
        delete_keys(t, 0, KEYS);
    }
    for (uint32_t i = 0; i < KEYS && !by_range; i++) {
        delete_keys(t, i, i + 1);
    }
    MUST(strata_flush(t->db));
    MUST(strata_compact(t->db, NULL, NULL, NULL));
    look(t, "the tombstones are merged away");
    EVIDENCE(entries_in_trees(t) == 0, "%llu entries are left in the trees",
             (unsigned long long)entries_in_trees(t));
    while (!done) {
        MUST(value_rewrite_step(rewrite, &done));
        look(t, "in the rewrite");
        steps++;
        EVIDENCE(steps < STEPS_MOST, "a rewrite without an end");
    }
    value_rewrite_free(rewrite);
    hold_rewrites(t, false);
    catalog_unref(catalog);
    look(t, "after the rewrite");
    t->rewrites++;
    if (reopen) {
        MUST(strata_close(t->db));
        open_db(t);
        look(t, "after the rewrite and a reopen");
    }
    put(t, 3);
    MUST(strata_flush(t->db));
    look(t, "one is put again");
    return steps;
}

static uint64_t trap_of_value_gc(uint64_t seed, uint64_t *rewrites)
{
    uint64_t looks = 0;
    uint64_t steps = 1;
    for (uint64_t before = 0; before <= steps; before++) {
        for (uint64_t variant = 0; variant < 4; variant++) {
            struct trap t;
            begin(&t, seed, true);
            test_watchdog(30);
            for (int round = 0; round < 3; round++) {
                for (uint32_t i = 0; i < KEYS; i++) {
                    put(&t, i);
                }
                MUST(strata_flush(t.db));
            }
            steps = rewrite_over_deletes(&t, before, variant % 2 == 1, variant >= 2);
            end(&t);
            looks += t.looks;
            *rewrites += t.rewrites;
        }
    }
    return looks;
}

// ---- a tombstone below its value

static void some_writes(struct trap *t)
{
    // Mostly in a stretch of keys, so that some runs overlap nothing and move
    // unread.
    uint32_t first = (uint32_t)prng_below(&t->random, KEYS);
    uint32_t width = 1 + (uint32_t)prng_below(&t->random, 12);
    for (uint32_t i = first; i < first + width && i < KEYS; i++) {
        uint64_t x = prng_below(&t->random, 10);
        if (x < 5) {
            put(t, i);
        } else if (x < 8) {
            delete_keys(t, i, i + 1);
        } else if (x < 9) {
            uint32_t past = i + 1 + (uint32_t)prng_below(&t->random, 4);
            delete_keys(t, i, past < KEYS ? past : KEYS);
        }
    }
}

static void trap_of_levels(uint64_t seed, struct trap *t)
{
    begin(t, seed, seed / 2 % 2 == 0);
    for (int round = 0; round < 120; round++) {
        test_watchdog(30);
        some_writes(t);
        if (!prng_one_in(&t->random, 4)) {
            MUST(strata_flush(t->db));
            look(t, "after a flush");
        }
        uint64_t steps = prng_below(&t->random, 3);
        for (uint64_t i = 0; i < steps && sim_machine_crank(&t->machine, 1) > 0; i++) {
            look(t, "after a step of background work");
        }
    }
    os_mutex_lock(&t->db->mu.lock);
    t->levels = t->db->edit.catalog->spaces[0].live->level_count;
    os_mutex_unlock(&t->db->mu.lock);
    t->moved = metric_of(t->db, "tables_moved");
    t->dropped = metric_of(t->db, "deletes_dropped");
    end(t);
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : 16;
    uint64_t cases = 0;
    uint64_t rewrites = 0;
    uint64_t moved = 0;
    uint64_t dropped = 0;
    for (uint64_t seed = o.seed; seed - o.seed < count && !test_time_is_up(&o); seed++) {
        struct trap t;
        test_label("repeat with --seed %llu --count 1", (unsigned long long)seed);
        if (seed - o.seed < 3) {
            cases += trap_of_value_gc(seed, &rewrites);
        }
        trap_of_levels(seed, &t);
        cases += t.looks;
        moved += t.moved;
        dropped += t.dropped;
    }
    printf("%llu value rewrites over tombstones that went; %llu tables moved "
           "unread and %llu "
           "deletes ended, with a look after every step\n",
           (unsigned long long)rewrites, (unsigned long long)moved, (unsigned long long)dropped);
    EVIDENCE(rewrites > 0 && moved > 0 && dropped > 0, "the schedules did not happen");
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
