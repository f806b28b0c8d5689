// Damage at rest: random work is closed, then one file is damaged, and the database is opened. The
// damage must be noticed, by a typed error, or change no answer: never other data than the model
// has, never an abort. Every run has one damage: a flipped bit, a sector of zeros, of garbage or of
// another place, a cut, a file that is gone, or the bytes of another file.
//
// Stated limit: nothing but the newest segment of the log itself says that it was there. When it is
// gone as a whole, the database is what it was before it.
#include "base/fail.h"
#include "lib/test_lib.h"
#include "model/config.h"
#include "model/scenario.h"
#include "model/store.h"
#include "sim/sim_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAMAGES_PER_SEED 3000u

enum damage { FLIP, ZERO_SECTOR, GARBAGE_SECTOR, STALE_SECTOR, CUT, GONE, OTHER_FILE, DAMAGES };

static const char *const damage_names[DAMAGES] = {
    "a flipped bit", "a sector of zeros", "a sector of garbage", "a sector of another place",
    "a cut",         "a missing file",    "another file's bytes"};

struct golden {
    struct sim_disk *disk; // of the closed database
    struct model *model;
    struct store_config store;
    struct config config;
    uint64_t newest;
    int64_t wall_us; // when it was closed
    uint64_t noticed;
};

// ---- the work

static void golden_step(struct sim_machine *m, struct store *store, struct model *model,
                        const strata_keyspace_options *keyspace, const struct step *step)
{
    uint64_t commit = 0;
    strata_rc rc = STRATA_OK;
    char name[MODEL_NAME_BYTES];
    snprintf(name, sizeof name, "%s",
             step->kind == STEP_SPACE_DROP ? model->spaces[step->space].name : step->name);
    step_apply(step, model, keyspace, m->wall_us);
    switch (step->kind) {
    case STEP_COMMIT:
        rc = store_strata.commit(store, model, step->ops, step->op_count, step->durability,
                                 step->streamed, &commit);
        break;
    case STEP_SPACE_CREATE:
        rc = store_strata.space_create(store, name);
        break;
    case STEP_SPACE_DROP:
        rc = store_strata.space_drop(store, name);
        break;
    case STEP_FLUSH:
        rc = store_strata.flush(store);
        break;
    case STEP_COMPACT:
    case STEP_COMPACT_VALUES:
        rc = store_strata.compact(store, step->kind == STEP_COMPACT_VALUES);
        break;
    case STEP_ALTER:
        rc = store_strata.space_alter(store, model->spaces[step->space].name, &step->change);
        break;
    case STEP_CLOCK:
        sim_machine_step_clock(m, (int64_t)step->seconds * 1000000, step->seconds * 1000000000);
        break;
    default:
        sim_machine_crank(m, 20);
        break;
    }
    if (rc == STRATA_OK && step_commits(step)) {
        model_set_time(model, store_strata.time_of(store, model->newest));
    }
    model_advance(model, m->wall_us);
    if (rc != STRATA_OK) {
        test_fatal("a step: %d, %s", (int)rc, fail_text());
    }
}

static void golden_make(struct golden *g, uint64_t seed, uint64_t steps)
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_machine m;
    struct scenario scenario;
    struct step step = {.bytes = NULL};
    struct store *store;
    config_make(seed, &g->config);
    g->store = (struct store_config){.options = g->config.options};
    g->model = model_new();
    sim_machine_init(&m, disk, seed);
    m.map_is_bad = g->config.map_is_bad;
    scenario_init(&scenario, seed);
    if (store_strata.open(&m.base, &g->store, &store) != STRATA_OK) {
        test_fatal("open: %s", fail_text());
    }
    while (g->model->newest < store_strata.newest(store)) {
        model_commit_nothing(g->model);
        model_set_time(g->model, m.wall_us);
    }
    model_set_policy(g->model, 0, model_policy_of(&g->config.options.keyspace), m.wall_us);
    for (uint64_t i = 0; i < steps; i++) {
        scenario_next(&scenario, g->model, m.wall_us, &step);
        golden_step(&m, store, g->model, &g->config.options.keyspace, &step);
    }
    if (store_strata.close(store) != STRATA_OK) {
        test_fatal("close: %s", fail_text());
    }
    g->newest = g->model->newest;
    g->wall_us = m.wall_us;
    g->disk = sim_disk_survive(disk, SIM_SURVIVE_EVERYTHING, 0);
    step_release(&step);
    sim_machine_release(&m);
    sim_disk_free(disk);
}

// ---- the damage

// A place in what the file uses: preallocated zeros at its end are of no interest.
static uint64_t random_place(const struct sim_inode *inode, struct prng *random)
{
    const struct sim_bytes *b = inode->current;
    size_t used = b->bytes;
    while (used > 1 && b->data[used - 1] == 0) {
        used--;
    }
    return used == 0 ? 0 : prng_below(random, used);
}

static void replace_sector(struct sim_disk *disk, struct sim_inode *inode, enum damage damage,
                           struct prng *random)
{
    uint8_t sector[SIM_SECTOR_BYTES] = {0};
    uint64_t at = random_place(inode, random) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    uint64_t from = random_place(inode, random) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    size_t bytes = inode->current->bytes - (size_t)at;
    bytes = bytes < sizeof sector ? bytes : sizeof sector;
    for (size_t i = 0; i < bytes; i++) {
        if (damage == GARBAGE_SECTOR) {
            sector[i] = (uint8_t)prng_next(random);
        } else if (damage == STALE_SECTOR && from + i < inode->current->bytes) {
            sector[i] = inode->current->data[from + i];
        }
    }
    sim_inode_write(disk, inode, at, sector, bytes);
}

// Damages one file and says which.
static enum damage damage_one(struct sim_disk *disk, struct prng *random, char *name_out)
{
    static const enum damage choice[] = {FLIP, FLIP,         FLIP,           FLIP,
                                         FLIP, ZERO_SECTOR,  GARBAGE_SECTOR, CUT,
                                         GONE, STALE_SECTOR, OTHER_FILE};
    enum damage damage = choice[prng_below(random, sizeof choice / sizeof choice[0])];
    struct sim_dir *dir = sim_disk_dir(disk, "db", false);
    const struct sim_entry *entry = &dir->current.entries[prng_below(random, dir->current.count)];
    const struct sim_entry *other = &dir->current.entries[prng_below(random, dir->current.count)];
    struct sim_inode *inode = entry->inode;
    snprintf(name_out, SIM_NAME_BYTES, "%s", entry->name);
    if (inode->current->bytes == 0) {
        damage = GONE;
    }
    if (damage == FLIP) {
        uint64_t at = random_place(inode, random);
        uint8_t byte = (uint8_t)(inode->current->data[at] ^ (1u << prng_below(random, 8)));
        sim_inode_write(disk, inode, at, &byte, 1);
    } else if (damage == CUT) {
        sim_inode_truncate(disk, inode, random_place(inode, random));
    } else if (damage == GONE) {
        sim_dir_unlink(disk, dir, entry->name);
    } else if (damage == OTHER_FILE) {
        size_t bytes = other->inode->current->bytes;
        uint8_t *copy = test_alloc(bytes, 1);
        if (bytes > 0) {
            memcpy(copy, other->inode->current->data, bytes);
        }
        sim_inode_truncate(disk, inode, 0);
        if (bytes > 0) {
            sim_inode_write(disk, inode, 0, copy, bytes);
        }
        free(copy);
    } else {
        replace_sector(disk, inode, damage, random);
    }
    return damage;
}

// ---- looking

// Empty: the damage was noticed or changed nothing.
static void look(struct golden *g, struct sim_disk *disk, uint64_t seed, bool may_be_older,
                 char *fault_out)
{
    struct sim_machine m;
    struct store *store;
    char text[STORE_FAULT_BYTES] = {0};
    sim_machine_init(&m, disk, seed);
    m.map_is_bad = g->config.map_is_bad;
    m.wall_us = g->wall_us;
    strata_rc rc = store_strata.open(&m.base, &g->store, &store);
    if (rc != STRATA_OK) {
        g->noticed++;
        if (rc != STRATA_CORRUPT && rc != STRATA_VERSION) {
            snprintf(fault_out, STORE_FAULT_BYTES, "open: %d, %.400s", (int)rc, fail_text());
        }
        sim_machine_release(&m);
        return;
    }
    uint64_t newest = store_strata.newest(store);
    if (newest != g->newest && (!may_be_older || newest > g->newest)) {
        snprintf(fault_out, STORE_FAULT_BYTES, "opened at commit %llu instead of %llu",
                 (unsigned long long)newest, (unsigned long long)g->newest);
    } else if (!store_strata.agrees(store, g->model, newest, true, text)) {
        g->noticed++;
        if (strstr(text, " -6") == NULL) { // STRATA_CORRUPT
            snprintf(fault_out, STORE_FAULT_BYTES, "%s", text);
        }
    }
    (void)store_strata.close(store);
    sim_machine_release(&m);
}

static bool rot(const struct test_options *o, uint64_t seed, uint64_t *cases, uint64_t *noticed)
{
    struct golden g = {.newest = 0};
    char fault[STORE_FAULT_BYTES] = {0};
    golden_make(&g, seed, o->ops > 0 ? o->ops : 50);
    for (uint64_t i = 0; i < DAMAGES_PER_SEED && fault[0] == '\0' && !test_time_is_up(o); i++) {
        if (o->boundary != UINT64_MAX && o->boundary != i) {
            continue;
        }
        struct prng random = {prng_mix(seed * 1000003 + i)};
        char name[SIM_NAME_BYTES];
        test_watchdog(30);
        test_label("repeat with --seed %llu --boundary %llu", (unsigned long long)seed,
                   (unsigned long long)i);
        struct sim_disk *disk = sim_disk_survive(g.disk, SIM_SURVIVE_EVERYTHING, 0);
        enum damage damage = damage_one(disk, &random, name);
        bool whole = damage == GONE || damage == OTHER_FILE || damage == CUT;
        look(&g, disk, seed, whole && strstr(name, ".log") != NULL, fault);
        sim_disk_free(disk);
        ++*cases;
        if (fault[0] != '\0') {
            printf("FAILED: --seed %llu --boundary %llu (%s, %s): %s\n%s\n",
                   (unsigned long long)seed, (unsigned long long)i, name, damage_names[damage],
                   fault, config_text(seed));
        }
    }
    *noticed += g.noticed;
    model_free(g.model);
    sim_disk_free(g.disk);
    return fault[0] == '\0';
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : o.seconds > 0 ? UINT64_MAX : 2;
    uint64_t cases = 0;
    uint64_t noticed = 0;
    for (uint64_t seed = o.seed; seed - o.seed < count && !test_time_is_up(&o); seed++) {
        if (!rot(&o, seed, &cases, &noticed)) {
            return 1;
        }
    }
    printf("seed %llu: %llu damaged databases, noticed in %llu\n", (unsigned long long)o.seed,
           (unsigned long long)cases, (unsigned long long)noticed);
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
