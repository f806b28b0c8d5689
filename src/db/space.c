// Where a keyspace's bytes are, by cause, and what its bound allows: sums over the catalog, taken
// after every change of trees under mu.lock. What is done about them is in space_jobs.c; the rules
// are in shape/shape_space.h.
#include "db/db.h"

#include "base/fail.h"

#define SEAL_BYTES_UNBOUND (256ull << 20)

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t table_file_bytes(const struct tree *t)
{
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                bytes += table_meta(run->tables[i])->bytes;
            }
        }
    }
    return bytes;
}

struct value_use {
    uint64_t stored, live, history;
};

static struct value_use value_use_of(const struct catalog *c, const struct value_meta *m)
{
    struct value_use u = {0, 0, 0};
    for (uint32_t i = 0; i < m->logical_count; i++) {
        const struct catalog_value *v = catalog_value_find(c, m->logicals[i].file);
        u.stored += m->logicals[i].raw_bytes;
        if (v != NULL) {
            u.live += v->live_bytes;
            u.history += v->history_bytes;
        }
    }
    return u;
}

struct shape_value_file space_value_file(const struct catalog *c, const struct value_file *f)
{
    const struct value_meta *m = value_file_meta(f);
    struct value_use u = value_use_of(c, m);
    return (struct shape_value_file){m->file, m->bytes, u.stored, u.live + u.history};
}

static void add_value_file(const struct catalog *c, const struct value_file *f,
                           struct space_sums *sums)
{
    const struct value_meta *m = value_file_meta(f);
    struct value_use u = value_use_of(c, m);
    uint64_t used = u.live + u.history;
    struct shape_value_file file = {m->file, m->bytes, u.stored, used};
    uint64_t dead = shape_dead_bytes(&file);
    uint64_t history =
        used == 0 ? 0 : (uint64_t)((double)(m->bytes - dead) * (double)u.history / (double)used);
    sums->value_file_count++;
    sums->value_file_bytes += m->bytes;
    sums->dead_value_bytes += dead;
    sums->history_value_bytes += history;
    sums->live_value_bytes += m->bytes - dead - history;
}

// Up to which commit superseded versions are let go, once merges meet them.
static uint64_t going_upto(const struct strata_keyspace *space, const struct catalog_space *in)
{
    if (in->options.retention == STRATA_RETENTION_NONE ||
        in->options.retention == STRATA_RETENTION_VERSIONS) {
        return UINT64_MAX;
    }
    return atomic_load_explicit(&space->floor, memory_order_relaxed);
}

static void finish_sums(strata_db *db, const struct catalog_space *in,
                        struct strata_keyspace *space)
{
    struct space_sums *s = &space->sums;
    s->live_table_bytes = table_file_bytes(in->live);
    s->history_table_bytes = table_file_bytes(in->history);
    s->delete_bytes = shape_delete_bytes(in->live);
    s->superseded = shape_superseded_of(in->live, going_upto(space, in));
    // Of a table that was narrowed the tree counts the part that it still shows; the file is there
    // as a whole.
    s->superseded.table_bytes += minus(s->live_table_bytes, in->live->bytes);
    // The tree counts values before compression, the files after it.
    if (s->superseded.value_bytes > s->live_value_bytes) {
        s->superseded.value_bytes = s->live_value_bytes;
    }
    struct shape_needed needed = {
        minus(s->live_table_bytes, s->superseded.table_bytes) + s->history_table_bytes,
        s->live_value_bytes - s->superseded.value_bytes + s->history_value_bytes};
    s->budget = shape_budget_of(in->options.space_bound_percent, &needed,
                                db->options.memtable_bytes, DB_MERGE_SLICE_BYTES);
    if (s->budget.slice_bytes < space->shape_live.table_bytes) {
        s->budget.slice_bytes = space->shape_live.table_bytes;
    }
    s->excess_bytes = s->superseded.table_bytes + s->superseded.value_bytes + s->dead_value_bytes;
}

void space_update_locked(strata_db *db)
{
    const struct catalog *c = db->edit.catalog;
    uint64_t seal = 4 * db->options.memtable_bytes;
    seal = seal < SEAL_BYTES_UNBOUND ? SEAL_BYTES_UNBOUND : seal;
    uint64_t unseen = 0; // in files of generations
    uint64_t needed = 0;
    uint32_t percent = UINT32_MAX; // of keyspaces that let versions go
    if (db->commit.active != NULL) {
        unseen = atomic_load_explicit(&db->commit.active->value_bytes, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        unseen += atomic_load_explicit(&db->mu.sealed[i]->value_bytes, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < c->space_count; i++) {
        struct strata_keyspace *space = space_by_number(db, c->spaces[i].number);
        if (space != NULL) {
            space->sums = (struct space_sums){0};
        }
    }
    for (uint32_t i = 0; i < c->value_file_count; i++) {
        const struct value_file *f = c->value_files[i];
        struct strata_keyspace *space = space_by_number(db, value_file_meta(f)->keyspace);
        if (space != NULL) {
            add_value_file(c, f, &space->sums);
        }
    }
    for (uint32_t i = 0; i < c->space_count; i++) {
        const struct catalog_space *in = &c->spaces[i];
        struct strata_keyspace *space = space_by_number(db, in->number);
        if (space == NULL) {
            continue;
        }
        finish_sums(db, in, space);
        needed += space->sums.live_table_bytes + space->sums.history_table_bytes +
                  space->sums.live_value_bytes + space->sums.history_value_bytes;
        if (in->options.retention == STRATA_RETENTION_ALL) {
            continue;
        }
        percent =
            in->options.space_bound_percent < percent ? in->options.space_bound_percent : percent;
        if (in->options.separation == STRATA_SEPARATION_ON) {
            // Any of what is unseen may be garbage.
            space->sums.excess_bytes += unseen;
            seal = space->sums.budget.seal_bytes < seal ? space->sums.budget.seal_bytes : seal;
        }
    }
    uint64_t memtable = shape_seal_bytes(percent, needed, db->options.memtable_bytes);
    // Relaxed: a commit that misses it seals a little later.
    atomic_store_explicit(&db->seal_value_bytes, seal, memory_order_relaxed);
    atomic_store_explicit(&db->seal_bytes, memtable, memory_order_relaxed);
}

bool space_find_merge_locked(const struct catalog_space *in, struct strata_keyspace *space,
                             bool history, const struct shape_claims *claims,
                             struct shape_job *job_out)
{
    const struct space_sums *s = &space->sums;
    if (!history) {
        return shape_pick_space(in->live, claims, going_upto(space, in), s->budget.superseded_max,
                                job_out);
    }
    if (in->history->run_count == 0 || in->history->run_count > DB_HISTORY_REWRITES) {
        return false;
    }
    struct shape_history_need need = {
        .floor = atomic_load_explicit(&space->floor, memory_order_relaxed),
        .versions =
            in->options.retention == STRATA_RETENTION_VERSIONS ? in->options.retention_versions : 0,
        .slack_percent = in->options.space_bound_percent - 100,
        .live_bytes = s->live_table_bytes + s->live_value_bytes,
        .rewritten = space->history_rewritten,
        .rewritten_count = DB_HISTORY_REWRITES};
    return shape_pick_history(in->history, claims, &need, job_out);
}

static bool tree_has_run(const struct tree *t, uint64_t number)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            if (t->levels[l].runs[r]->number == number) {
                return true;
            }
        }
    }
    return false;
}

void space_merge_begun_locked(struct strata_keyspace *space, const struct tree *history,
                              const struct shape_job *job)
{
    struct shape_rewritten *place = NULL;
    uint64_t run = job->output_run;
    for (uint32_t i = 0; i < DB_HISTORY_REWRITES; i++) {
        struct shape_rewritten *r = &space->history_rewritten[i];
        if (r->run == run) {
            place = r;
            break;
        }
        if (place == NULL && (r->run == 0 || !tree_has_run(history, r->run))) {
            place = r;
        }
    }
    if (run != 0 && place != NULL) {
        *place = (struct shape_rewritten){
            run, atomic_load_explicit(&space->floor, memory_order_relaxed)};
    }
}

// ---- for users

// Adds the value files of the keyspace that no edit has named yet.
static void add_unflushed(const struct generation *g, uint64_t keyspace, strata_space *sum)
{
    uint32_t count = generation_value_files(g);
    for (uint32_t i = 0; i < count; i++) {
        if (g->value_files[i].keyspace == keyspace) {
            uint64_t bytes = value_file_bytes(g->value_files[i].file);
            sum->value_bytes += bytes;
            sum->live_bytes += bytes; // what of them is not is known when they are flushed
        }
    }
}

// Adds a keyspace to the sum; its bound without log and memtable.
static void add_space_locked(strata_db *db, const struct strata_keyspace *space,
                             const struct catalog_space *in, strata_space *sum)
{
    const struct space_sums *s = &space->sums;
    strata_space one = {0};
    uint64_t live = s->live_table_bytes + s->live_value_bytes;
    uint64_t superseded = s->superseded.table_bytes + s->superseded.value_bytes + s->delete_bytes;
    superseded = superseded < live ? superseded : live;
    one.live_bytes = live - superseded;
    one.value_bytes = s->value_file_bytes;
    if (db->commit.active != NULL) {
        add_unflushed(db->commit.active, space->number, &one);
    }
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        add_unflushed(db->mu.sealed[i], space->number, &one);
    }
    one.history_bytes = s->history_table_bytes + s->history_value_bytes;
    sum->live_bytes += one.live_bytes;
    sum->history_bytes += one.history_bytes;
    sum->superseded_bytes += superseded;
    sum->delete_bytes += s->delete_bytes < superseded ? s->delete_bytes : superseded;
    sum->dead_value_bytes += s->dead_value_bytes;
    sum->table_bytes += s->live_table_bytes + s->history_table_bytes;
    sum->value_bytes += one.value_bytes;
    double needed = (double)one.live_bytes + (double)one.history_bytes;
    sum->bound_bytes += (uint64_t)(needed * in->options.space_bound_percent / 100);
    sum->debt_bytes += minus(superseded, s->budget.superseded_max) +
                       minus(s->dead_value_bytes, s->budget.dead_value_max);
}

void space_total(strata_db *db, const struct strata_keyspace *only, strata_space *out)
{
    struct wal_stats log = {.held_bytes = db->log_bytes_found};
    *out = (strata_space){0};
    if (db->wal != NULL) {
        wal_stats(db->wal, &log);
    }
    os_mutex_lock(&db->mu.lock);
    const struct catalog *c = db->edit.catalog;
    for (uint32_t i = 0; i < c->space_count; i++) {
        const struct strata_keyspace *space = space_by_number(db, c->spaces[i].number);
        if (space != NULL && (only == NULL || only == space)) {
            add_space_locked(db, space, &c->spaces[i], out);
        }
    }
    os_mutex_unlock(&db->mu.lock);
    out->log_bytes = log.held_bytes;
    out->memtable_bytes = db->options.memtable_bytes;
    out->disk_bytes = out->table_bytes + out->value_bytes + out->log_bytes;
    out->bound_bytes += out->log_bytes + out->memtable_bytes;
}

strata_rc db_space(strata_db *db, struct strata_keyspace *given, strata_space *out)
{
    struct strata_keyspace *space;
    *out = (strata_space){0};
    strata_rc rc = space_resolve(db, given, &space);
    if (rc == STRATA_OK) {
        space_total(db, space, out);
    }
    return rc;
}
