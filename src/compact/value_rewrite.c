// Collecting garbage in value files: what is still referred to moves to a new physical file, under
// the ordinals that it has. No key is written and no reference changes, so nothing that was deleted
// can come back (architecture, section 7).
//
// What is referred to is what the tables of the catalog at the job's start list. Whatever else can
// refer to a victim refers to a part of that: a merge under way writes references that its inputs
// hold, and those are in the catalog until its slice is installed; memtables refer to files that no
// catalog names yet. So tables that come while the job works need not be asked, and one that leaves
// only makes some of what was copied garbage.
//
// Invariants
//   1. Every run of ordinals that is copied ascends behind the one before and does not touch it:
//      an ordinal is copied once, however many tables list it.
//   2. Until the edit is installed the victims stay as they are. A crash before leaves a file that
//      nothing names, which the next open removes.
//
// In memory are 8 bytes for each run of neighbouring ordinals, charged as that of jobs.
//
// Thread rule: one thread at a time.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "compact/compact.h"

#include <inttypes.h>

#define STEP_BYTES ((uint64_t)1 << 20)
// The device is told of so many runs before they are copied.
#define RUNS_AHEAD 64u

// One logical file of a victim.
struct rewrite_target {
    uint64_t logical;
    struct value_file *from;
    uint32_t step_chunks; // about STEP_BYTES of its chunks
    uint64_t *runs;       // first ordinal << 32 | how many
    size_t count, capacity;
};

enum rewrite_phase { REWRITE_LIST, REWRITE_COPY, REWRITE_FINISH, REWRITE_INSTALL };

struct value_rewrite {
    struct compact_env env;
    struct compact_progress progress;
    struct catalog *catalog; // holds the victims and the tables
    uint64_t keyspace;
    struct value_file **victims;
    size_t victim_count;
    struct rewrite_target *targets; // by logical file
    size_t target_count;
    struct table **tables; // that refer to a target
    size_t table_count;
    size_t charged;

    enum rewrite_phase phase;
    size_t table_at; // the next to be asked
    size_t target_at, run_at;
    size_t run_told;   // the first of the target's runs that the device has not been told of
    uint32_t run_done; // chunks of the run that are copied
    struct value_writer *writer;
    uint64_t writer_bytes;   // so far
    struct value_file *file; // finished
    bool named;              // by an edit that may be durable
};

// ---- the start

static struct value_file *rewrite_find(const struct catalog *c, uint64_t file)
{
    for (uint32_t i = 0; i < c->value_file_count; i++) {
        if (value_file_meta(c->value_files[i])->file == file) {
            return c->value_files[i];
        }
    }
    return NULL;
}

static strata_rc rewrite_take_victims(struct value_rewrite *r, const uint64_t *victims,
                                      size_t count)
{
    r->victims = alloc_array(count, sizeof(struct value_file *));
    if (r->victims == NULL) {
        return alloc_failed("a rewrite of values", count * sizeof(struct value_file *));
    }
    for (size_t i = 0; i < count; i++) {
        struct value_file *f = rewrite_find(r->catalog, victims[i]);
        if (f == NULL) {
            return fail(STRATA_INVALID, "value file %" PRIu64 " is not in the catalog", victims[i]);
        }
        const struct value_meta *m = value_file_meta(f);
        if (i > 0 && m->keyspace != r->keyspace) {
            return fail(STRATA_INVALID, "value files of keyspaces %" PRIu64 " and %" PRIu64,
                        r->keyspace, m->keyspace);
        }
        r->keyspace = m->keyspace;
        r->victims[r->victim_count++] = f;
        r->target_count += m->logical_count;
    }
    return STRATA_OK;
}

static int target_order(const void *a, const void *b)
{
    const struct rewrite_target *x = a;
    const struct rewrite_target *y = b;
    return x->logical < y->logical ? -1 : x->logical > y->logical;
}

static strata_rc rewrite_take_targets(struct value_rewrite *r)
{
    r->targets = alloc_zeroed(r->target_count, sizeof *r->targets);
    if (r->targets == NULL) {
        return alloc_failed("a rewrite of values", r->target_count * sizeof *r->targets);
    }
    size_t at = 0;
    for (size_t i = 0; i < r->victim_count; i++) {
        const struct value_meta *m = value_file_meta(r->victims[i]);
        for (uint32_t k = 0; k < m->logical_count; k++) {
            const struct value_logical *l = &m->logicals[k];
            uint64_t chunk = l->records == 0 ? 0 : l->raw_bytes / l->records;
            r->targets[at++] = (struct rewrite_target){
                .logical = l->file,
                .from = r->victims[i],
                .step_chunks = (uint32_t)(STEP_BYTES / (chunk < 64 ? 64 : chunk)) + 1,
            };
        }
    }
    if (at > 1) {
        qsort(r->targets, at, sizeof *r->targets, target_order);
    }
    return STRATA_OK;
}

// The target of the logical file, or NULL.
static struct rewrite_target *rewrite_target(const struct value_rewrite *r, uint64_t logical)
{
    size_t low = 0, high = r->target_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->targets[middle].logical < logical) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool there = low < r->target_count && r->targets[low].logical == logical;
    return there ? &r->targets[low] : NULL;
}

static bool rewrite_concerns(const struct value_rewrite *r, const struct table_meta *m)
{
    for (uint32_t i = 0; i < m->use_count; i++) {
        if (rewrite_target(r, m->uses[i].file) != NULL) {
            return true;
        }
    }
    return false;
}

// Takes the tables of the tree that refer to a target into r->tables (NULL: counts them).
static void rewrite_take_tables(struct value_rewrite *r, const struct tree *tree)
{
    for (uint32_t level = 0; level < tree->level_count; level++) {
        for (uint32_t i = 0; i < tree->levels[level].count; i++) {
            const struct run *run = tree->levels[level].runs[i];
            for (uint32_t k = 0; run->value_bytes != 0 && k < run->count; k++) {
                if (!rewrite_concerns(r, table_meta(run->tables[k]))) {
                    continue;
                }
                if (r->tables != NULL) {
                    r->tables[r->table_count] = run->tables[k];
                }
                r->table_count++;
            }
        }
    }
}

static strata_rc rewrite_set_up(struct value_rewrite *r, const uint64_t *victims, size_t count)
{
    strata_rc rc = rewrite_take_victims(r, victims, count);
    if (rc == STRATA_OK) {
        rc = rewrite_take_targets(r);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    const struct catalog_space *space = catalog_space_find(r->catalog, r->keyspace);
    ASSERT(space != NULL);
    rewrite_take_tables(r, space->live);
    rewrite_take_tables(r, space->history);
    r->tables = alloc_array(r->table_count, sizeof(struct table *));
    if (r->tables == NULL) {
        return alloc_failed("a rewrite of values", r->table_count * sizeof(struct table *));
    }
    r->table_count = 0;
    rewrite_take_tables(r, space->live);
    rewrite_take_tables(r, space->history);
    return STRATA_OK;
}

strata_rc value_rewrite_new(const struct compact_env *env, struct catalog *catalog,
                            const uint64_t *victims, size_t count,
                            struct value_rewrite **rewrite_out)
{
    ASSERT(count > 0);
    struct value_rewrite *r = alloc_zeroed(1, sizeof *r);
    if (r == NULL) {
        return alloc_failed("a rewrite of values", sizeof *r);
    }
    r->env = *env;
    r->catalog = catalog;
    catalog_ref(catalog);
    strata_rc rc = rewrite_set_up(r, victims, count);
    if (rc != STRATA_OK) {
        value_rewrite_free(r);
        return rc;
    }
    *rewrite_out = r;
    return STRATA_OK;
}

// ---- what is referred to

// A target whose runs a table's list goes to.
struct rewrite_list {
    struct value_rewrite *rewrite;
    struct rewrite_target *target;
};

static strata_rc rewrite_note(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    const struct rewrite_list *list = ctx;
    struct rewrite_target *t = list->target;
    if (MUTANT(73) && ordinal % 4 == 3) {
        return STRATA_OK;
    }
    if (t->count == t->capacity) {
        size_t capacity = t->capacity == 0 ? 64 : 2 * t->capacity;
        uint64_t *runs = alloc_resize(t->runs, capacity, sizeof *runs);
        if (runs == NULL) {
            return alloc_failed("ordinals of a rewrite", capacity * sizeof *runs);
        }
        size_t more = (capacity - t->capacity) * sizeof *runs;
        os_memory_charge(list->rewrite->env.tables.memory, OS_MEMORY_JOBS, more);
        list->rewrite->charged += more;
        t->runs = runs;
        t->capacity = capacity;
    }
    t->runs[t->count++] = (uint64_t)ordinal << 32 | chunks;
    return STRATA_OK;
}

static strata_rc rewrite_list_table(struct value_rewrite *r, struct table *table)
{
    const struct table_meta *m = table_meta(table);
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; rc == STRATA_OK && i < m->use_count; i++) {
        struct rewrite_list list = {r, rewrite_target(r, m->uses[i].file)};
        if (list.target != NULL) {
            rc = table_value_ordinals(table, m->uses[i].file, rewrite_note, &list);
        }
    }
    return rc;
}

static int run_order(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

// Sorts the runs and joins those that overlap or touch: invariant 1.
static void target_join_runs(struct rewrite_target *t)
{
    if (t->count == 0) {
        return;
    }
    qsort(t->runs, t->count, sizeof *t->runs, run_order);
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        uint64_t first = t->runs[i] >> 32;
        uint64_t end = first + (uint32_t)t->runs[i];
        uint64_t last_first = kept == 0 ? 0 : t->runs[kept - 1] >> 32;
        uint64_t last_end = kept == 0 ? 0 : last_first + (uint32_t)t->runs[kept - 1];
        if (kept > 0 && first <= last_end) {
            uint64_t greatest = end > last_end ? end : last_end;
            t->runs[kept - 1] = last_first << 32 | (greatest - last_first);
        } else {
            t->runs[kept++] = t->runs[i];
        }
    }
    t->count = kept;
}

static strata_rc rewrite_list_step(struct value_rewrite *r)
{
    if (r->table_at < r->table_count) {
        return rewrite_list_table(r, r->tables[r->table_at++]);
    }
    bool any = false;
    for (size_t i = 0; i < r->target_count; i++) {
        target_join_runs(&r->targets[i]);
        any = any || r->targets[i].count > 0;
    }
    r->phase = any ? REWRITE_COPY : REWRITE_INSTALL;
    return STRATA_OK;
}

// ---- copying

static struct value_env rewrite_value_env(const struct value_rewrite *r)
{
    const struct table_env *t = &r->env.tables;
    return (struct value_env){t->dir, t->cache, t->memory, t->files};
}

static strata_rc rewrite_open(struct value_rewrite *r)
{
    struct value_env env = rewrite_value_env(r);
    uint64_t number = r->env.new_file_number(r->env.ctx);
    strata_rc rc = value_writer_new(&env, number, r->keyspace, r->env.incarnation, &r->writer);
    if (rc == STRATA_OK) {
        r->writer_bytes = value_writer_bytes(r->writer);
    }
    return rc;
}

// Copies the next chunks of the present run; goes to the next run or target behind it.
static strata_rc rewrite_copy_some(struct value_rewrite *r)
{
    struct rewrite_target *t = &r->targets[r->target_at];
    if (r->run_at == t->count) {
        r->target_at++;
        r->run_at = r->run_told = 0;
        return STRATA_OK;
    }
    for (; r->run_told < t->count && r->run_told < r->run_at + RUNS_AHEAD; r->run_told++) {
        uint64_t run = t->runs[r->run_told];
        value_writer_will_copy(r->writer, t->from, t->logical, (uint32_t)(run >> 32),
                               (uint32_t)run);
    }
    uint32_t first = (uint32_t)(t->runs[r->run_at] >> 32) + r->run_done;
    uint32_t left = (uint32_t)t->runs[r->run_at] - r->run_done;
    uint32_t chunks = left < t->step_chunks ? left : t->step_chunks;
    if (chunks < left) {
        uint32_t next = left - chunks < t->step_chunks ? left - chunks : t->step_chunks;
        value_writer_will_copy(r->writer, t->from, t->logical, first + chunks, next);
    }
    strata_rc rc = value_writer_copy(r->writer, t->from, t->logical, first, chunks);
    if (rc != STRATA_OK) {
        return rc;
    }
    r->progress.entries_in += chunks;
    r->progress.entries_out += chunks;
    r->run_done += chunks;
    if (chunks == left) {
        r->run_at++;
        r->run_done = 0;
    }
    return STRATA_OK;
}

static strata_rc rewrite_copy_step(struct value_rewrite *r)
{
    strata_rc rc = r->writer == NULL ? rewrite_open(r) : STRATA_OK;
    uint64_t before = r->writer_bytes;
    while (rc == STRATA_OK && r->target_at < r->target_count &&
           r->writer_bytes - before < STEP_BYTES) {
        rc = rewrite_copy_some(r);
        r->writer_bytes = value_writer_bytes(r->writer);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    r->progress.bytes_read += r->writer_bytes - before;
    r->progress.bytes_written += r->writer_bytes - before;
    if (r->target_at == r->target_count) {
        r->phase = REWRITE_FINISH;
    }
    return STRATA_OK;
}

static strata_rc rewrite_finish_step(struct value_rewrite *r)
{
    struct value_writer *writer = r->writer;
    r->writer = NULL;
    strata_rc rc = value_writer_finish(writer, &r->file);
    if (rc == STRATA_OK) {
        r->progress.bytes_written = value_file_meta(r->file)->bytes;
        rc = os_dir_sync(r->env.tables.dir);
    }
    if (rc == STRATA_OK) {
        r->phase = REWRITE_INSTALL;
    }
    return rc;
}

static strata_rc rewrite_install_step(struct value_rewrite *r, bool *done_out)
{
    struct edit e = {0};
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < r->victim_count; i++) {
        rc = edit_remove_value_file(&e, r->keyspace, value_file_meta(r->victims[i])->file);
    }
    if (rc == STRATA_OK && r->file != NULL) {
        rc = edit_add_value_file(&e, value_file_meta(r->file), r->file);
    }
    if (rc == STRATA_OK) {
        rc = r->env.install(r->env.ctx, &e);
        r->named = rc != STRATA_NO_SPACE && rc != STRATA_NO_MEMORY;
        *done_out = rc == STRATA_OK;
    }
    edit_release(&e);
    return rc;
}

strata_rc value_rewrite_step(struct value_rewrite *r, bool *done_out)
{
    *done_out = false;
    if (r->env.stopping(r->env.ctx)) {
        return fail(STRATA_BUSY, "a rewrite of values was stopped");
    }
    switch (r->phase) {
    case REWRITE_LIST:
        return rewrite_list_step(r);
    case REWRITE_COPY:
        return rewrite_copy_step(r);
    case REWRITE_FINISH:
        ASSERT(r->writer != NULL); // else it failed, and can only be freed
        return rewrite_finish_step(r);
    default:
        return rewrite_install_step(r, done_out);
    }
}

const struct compact_progress *value_rewrite_progress(const struct value_rewrite *r)
{
    return &r->progress;
}

void value_rewrite_free(struct value_rewrite *r)
{
    if (r == NULL) {
        return;
    }
    value_writer_abandon(r->writer);
    if (r->file != NULL && !r->named) {
        value_file_delete_at_close(r->file);
    }
    value_file_unref(r->file);
    for (size_t i = 0; r->targets != NULL && i < r->target_count; i++) {
        free(r->targets[i].runs);
    }
    os_memory_refund(r->env.tables.memory, OS_MEMORY_JOBS, r->charged);
    free(r->targets);
    free(r->tables);
    free(r->victims);
    catalog_unref(r->catalog);
    free(r);
}
