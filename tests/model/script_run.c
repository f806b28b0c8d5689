// Runs a script on a simulated machine beside the model.
#include "db/db.h"
#include "lib/test_lib.h"
#include "model/player.h"

#include <stdlib.h>

static void start_machine(struct player *p)
{
    int64_t wall_us = p->machine.wall_us;
    sim_machine_init(&p->machine, p->disk, p->config->order_seed);
    p->machine.wall_us = wall_us > p->machine.wall_us ? wall_us : p->machine.wall_us;
    p->machine.map_is_bad = p->config->map_is_bad;
}

static void open_db(struct player *p)
{
    strata_options options = p->config->options;
    options.flags |= STRATA_OPEN_CREATE;
    if (player_failed(p, "open", db_open(&p->machine.base, "db", &options, &p->db))) {
        p->db = NULL;
    }
}

// ---- files

static bool tree_has(const struct tree *t, uint64_t file)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                if (table_meta(run->tables[i])->file == file) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool catalog_has(const struct catalog *c, enum file_kind kind, uint64_t file)
{
    for (uint32_t i = 0; kind == FILE_VALUE && i < c->value_file_count; i++) {
        if (value_file_meta(c->value_files[i])->file == file) {
            return true;
        }
    }
    for (uint32_t i = 0; kind == FILE_TABLE && i < c->space_count; i++) {
        if (tree_has(c->spaces[i].live, file) || tree_has(c->spaces[i].history, file)) {
            return true;
        }
    }
    return false;
}

static bool generation_has(const struct generation *g, uint64_t file)
{
    for (uint32_t i = 0; g != NULL && i < generation_value_files(g); i++) {
        if (g->value_files[i].number == file) {
            return true;
        }
    }
    return false;
}

// An open leaves no table and no value file behind that nothing refers to.
static void check_files(struct player *p)
{
    const struct sim_dir *dir = sim_disk_dir(p->disk, "db", false);
    for (size_t i = 0; i < dir->current.count && p->fault[0] == '\0'; i++) {
        enum file_kind kind;
        uint64_t number;
        const char *name = dir->current.entries[i].name;
        if (!file_name_parse(name, &kind, &number) || (kind != FILE_TABLE && kind != FILE_VALUE)) {
            continue;
        }
        bool used = catalog_has(p->db->edit.catalog, kind, number) ||
                    (kind == FILE_VALUE && generation_has(p->db->commit.active, number));
        for (uint32_t s = 0; s < p->db->mu.sealed_count && !used; s++) {
            used = kind == FILE_VALUE && generation_has(p->db->mu.sealed[s], number);
        }
        if (!used) {
            snprintf(p->fault, sizeof p->fault, "%s is left and nothing refers to it", name);
        }
    }
}

static void do_reopen(struct player *p)
{
    if (player_handles_are_open(p)) {
        strata_rc busy = strata_close(p->db);
        if (player_failed(p, "a close with live handles",
                          busy == STRATA_BUSY ? STRATA_OK : STRATA_INTERNAL)) {
            return;
        }
        player_close_handles(p);
    }
    strata_rc rc = strata_close(p->db);
    p->db = NULL;
    if (player_failed(p, "close", rc)) {
        return;
    }
    p->synced = p->model->newest;
    open_db(p);
    if (p->db != NULL && strata_newest_commit(p->db) != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "reopened at commit %llu, closed at %llu",
                 (unsigned long long)strata_newest_commit(p->db),
                 (unsigned long long)p->model->newest);
    } else if (p->db != NULL) {
        check_files(p);
    }
}

static void do_crash(struct player *p, const struct script_op *op)
{
    p->machine.dead = true;
    player_close_handles(p);
    (void)strata_close(p->db);
    p->db = NULL;
    sim_machine_release(&p->machine);
    struct sim_disk *left =
        sim_disk_survive(p->disk, (enum sim_survive)(op->a % SIM_SURVIVE_POLICIES), op->c);
    sim_disk_free(p->disk);
    p->disk = left;
    start_machine(p);
    open_db(p);
    if (p->db == NULL) {
        return;
    }
    uint64_t newest = strata_newest_commit(p->db);
    if (newest < p->synced || newest > p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "recovered to commit %llu, synced %llu, newest %llu",
                 (unsigned long long)newest, (unsigned long long)p->synced,
                 (unsigned long long)p->model->newest);
        return;
    }
    model_cut(p->model, newest);
    p->synced = newest;
    check_files(p);
    compare_db(p->db, p->model, newest, p->machine.wall_us, false, p->fault);
}

static void do_compact(struct player *p, const struct script_op *op)
{
    strata_keyspace *keyspace = NULL;
    size_t space;
    if (op->a < SCRIPT_SPACES && !player_find_space(p, op->a, &keyspace, &space)) {
        return;
    }
    if (op->kind == SCRIPT_COMPACT_VALUES) {
        player_failed(p, "compact_values", strata_compact_values(p->db, keyspace, NULL, NULL));
        return;
    }
    player_failed(p, "compact", strata_compact(p->db, keyspace, NULL, NULL));
}

static void do_upkeep(struct player *p, const struct script_op *op)
{
    switch (op->kind) {
    case SCRIPT_SYNC:
        if (!player_failed(p, "sync", strata_sync(p->db))) {
            p->synced = p->model->newest;
        }
        break;
    case SCRIPT_FLUSH:
        player_failed(p, "flush", strata_flush(p->db));
        break;
    case SCRIPT_COMPACT:
    case SCRIPT_COMPACT_VALUES:
        do_compact(p, op);
        break;
    case SCRIPT_CLOCK:
        sim_machine_step_clock(&p->machine, (int64_t)(op->a % 5000) * PLAYER_SECOND_US,
                               op->a % 5000 * 1000000000);
        break;
    case SCRIPT_CRANK:
        sim_machine_crank(&p->machine, op->a * 7 + op->b);
        break;
    case SCRIPT_IDLE:
        player_failed(p, "wait_idle", strata_wait_idle(p->db));
        break;
    case SCRIPT_CHECK:
        player_failed(p, "check", strata_check(p->db));
        break;
    case SCRIPT_COMPARE:
        compare_db(p->db, p->model,
                   op->e <= SCRIPT_SLOTS ? p->model->newest : op->e % (p->model->newest + 1),
                   p->machine.wall_us, true, p->fault);
        break;
    case SCRIPT_REOPEN:
        do_reopen(p);
        break;
    case SCRIPT_CRASH:
        do_crash(p, op);
        break;
    default:
        break;
    }
}

static void do_op(struct player *p, const struct script_op *op)
{
    switch (op->kind) {
    case SCRIPT_PUT:
    case SCRIPT_DELETE:
    case SCRIPT_RANGE:
        player_write(p, op);
        break;
    case SCRIPT_BATCH:
        player_batch(p, op);
        break;
    case SCRIPT_GET:
        player_get(p, op);
        break;
    case SCRIPT_GET_MANY:
        player_get_many(p, op);
        break;
    case SCRIPT_SCAN:
        player_scan(p, op);
        break;
    case SCRIPT_WALK:
        player_walk(p, op);
        break;
    case SCRIPT_HISTORY:
    case SCRIPT_KEY_HISTORY:
        player_history(p, op);
        break;
    case SCRIPT_SNAPSHOT:
        player_snapshot(p, op);
        break;
    case SCRIPT_ITER:
        player_iter(p, op);
        break;
    case SCRIPT_STEP:
        player_step(p, op);
        break;
    case SCRIPT_CREATE:
        player_create(p, op);
        break;
    case SCRIPT_DROP:
        player_drop(p, op);
        break;
    case SCRIPT_STREAM:
        player_stream(p, op);
        break;
    case SCRIPT_READER:
        player_reader(p, op);
        break;
    case SCRIPT_ALTER:
        player_alter(p, op);
        break;
    default:
        do_upkeep(p, op);
        break;
    }
}

static void end_run(struct player *p)
{
    if (p->db != NULL && p->fault[0] == '\0') {
        player_close_handles(p);
        if (compare_db(p->db, p->model, p->model->newest, p->machine.wall_us, true, p->fault)) {
            player_failed(p, "the check at the end", strata_check(p->db));
        }
    }
    if (p->db != NULL) {
        player_close_handles(p);
        player_failed(p, "the last close", strata_close(p->db));
    }
    const char *broken = sim_disk_check(p->disk);
    if (broken != NULL && p->fault[0] == '\0') {
        snprintf(p->fault, sizeof p->fault, "%s", broken);
    }
    if (p->fault[0] == '\0') {
        sim_machine_release(&p->machine);
    }
    model_free(p->model);
    sim_disk_free(p->disk);
}

bool script_run(const struct script *s, const struct config *config, char *fault_out)
{
    struct player *p = test_alloc(1, sizeof *p);
    size_t i = 0;
    p->config = config;
    p->disk = sim_disk_new();
    p->model = model_new();
    start_machine(p);
    open_db(p);
    while (p->db != NULL && p->model->newest < strata_newest_commit(p->db)) {
        model_commit_nothing(p->model);
        model_set_time(p->model, p->machine.wall_us);
    }
    model_set_policy(p->model, 0, model_policy_of(&config->options.keyspace), p->machine.wall_us);
    for (; i < s->count && p->db != NULL && p->fault[0] == '\0'; i++) {
        // Nothing that is asked about whole seconds comes near the end of one.
        if (p->machine.wall_us % PLAYER_SECOND_US > PLAYER_SECOND_US / 2) {
            sim_machine_step_clock(&p->machine,
                                   PLAYER_SECOND_US - p->machine.wall_us % PLAYER_SECOND_US + 1000,
                                   PLAYER_SECOND_US * 1000);
        }
        p->op_began_us = p->machine.wall_us;
        do_op(p, &s->ops[i]);
        sim_machine_crank(&p->machine, config->crank_steps);
        model_advance(p->model, p->machine.wall_us);
    }
    size_t at = i == 0 ? 0 : i - 1;
    end_run(p);
    bool same = p->fault[0] == '\0';
    snprintf(fault_out, SCRIPT_FAULT_BYTES, "operation %zu of %zu (%s): %s", at + 1, s->count,
             at < s->count ? script_kind_name(s->ops[at].kind) : "open", p->fault);
    free(p);
    return same;
}
