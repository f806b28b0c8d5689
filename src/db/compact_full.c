// The full compaction that a user asks for: in the caller's thread, step by step, with progress,
// while automatic merges stand back and flushes go on.
#include "db/db.h"

#include "base/fail.h"

#define FULL_ROUNDS_MAX 8u // of up to 64 runs each, far more than the bounds of levels allow

struct full_compaction {
    bool values;    // separated values are written anew
    bool rewritten; // the last run of the tree in work was, when it has to be
    bool (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    uint64_t done, total; // bytes
};

static uint64_t bytes_of(strata_db *db, const struct strata_keyspace *only, bool values)
{
    uint64_t bytes = 0;
    os_mutex_lock(&db->mu.lock);
    const struct catalog *catalog = db->edit.catalog;
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        const struct catalog_space *in = &catalog->spaces[i];
        if (only == NULL || only->number == in->number) {
            bytes += in->live->bytes + in->history->bytes;
            bytes += values ? in->live->value_bytes + in->history->value_bytes : 0;
        }
    }
    os_mutex_unlock(&db->mu.lock);
    return bytes;
}

static strata_rc run_merge(strata_db *db, struct merge *merge, struct full_compaction *full)
{
    bool done = false;
    uint64_t before = full->done;
    while (!done) {
        strata_rc rc = merge_step(merge, &done);
        if (rc != STRATA_OK) {
            return rc;
        }
        full->done = before + merge_progress(merge)->bytes_read;
        if (full->total < full->done) {
            full->total = full->done;
        }
        if (full->progress != NULL && !full->progress(full->ctx, full->done, full->total)) {
            return fail(STRATA_BUSY, "the compaction was stopped; what it finished stays");
        }
    }
    full->done = before + merge_bytes_total(merge);
    merge_count(db, merge);
    return STRATA_OK;
}

// One merge of everything in one tree, or of as many runs as one merge takes. *more_out says
// whether there was anything to merge.
static strata_rc compact_once(strata_db *db, struct strata_keyspace *space, bool history,
                              struct full_compaction *full, bool *more_out)
{
    struct shape_claims none = {NULL, 0};
    struct shape_job job;
    const struct shape *shape = history ? &space->shape_history : &space->shape_live;
    os_mutex_lock(&db->mu.lock);
    struct catalog *catalog = db->edit.catalog;
    catalog_ref(catalog);
    uint64_t slice_bytes = space->sums.budget.slice_bytes;
    os_mutex_unlock(&db->mu.lock);
    const struct catalog_space *in = catalog_space_find(catalog, space->number);
    strata_rc rc = STRATA_OK;
    *more_out = false;
    if (in != NULL) {
        struct tree *tree = history ? in->history : in->live;
        // One run of history may hold what retention has let go since it was written.
        bool trims = history && in->options.retention != STRATA_RETENTION_ALL;
        bool values = full->values && !full->rewritten;
        bool rewrite = values || (trims && !full->rewritten);
        if (shape_pick_full(tree, shape, &none, rewrite, &job)) {
            *more_out = true;
            struct compact_env env = db_compact_env(db);
            struct merge *merge = NULL;
            rc = merge_new(&env, in, history, tree, &job, shape, slice_bytes, &merge);
            full->rewritten = full->rewritten || job.to_last;
            if (rc == STRATA_OK && values && job.to_last) {
                merge_rewrite_values(merge);
            }
            if (rc == STRATA_OK) {
                rc = run_merge(db, merge, full);
            }
            merge_free(merge);
        }
    }
    catalog_unref(catalog);
    os_epoch_collect();
    return rc;
}

static strata_rc compact_tree(strata_db *db, struct strata_keyspace *space, bool history,
                              struct full_compaction *full)
{
    bool more = true;
    strata_rc rc = STRATA_OK;
    full->rewritten = false;
    // Flushes go on meanwhile and may add a run each time: the rounds are bounded.
    for (uint32_t round = 0; rc == STRATA_OK && more && round < FULL_ROUNDS_MAX; round++) {
        rc = compact_once(db, space, history, full, &more);
    }
    return rc;
}

static strata_rc compact_space(strata_db *db, struct strata_keyspace *space,
                               struct full_compaction *full)
{
    if (atomic_load_explicit(&space->dropped, memory_order_acquire)) {
        return STRATA_OK;
    }
    strata_rc rc = compact_tree(db, space, false, full);
    if (rc == STRATA_OK) {
        rc = compact_tree(db, space, true, full);
    }
    return rc;
}

// Waits until no automatic merge runs and none begins; mu.compacting counts us.
static void hold_merges_back(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    db->mu.compacting++;
    while (db->mu.merges_running > 0 || db->mu.full_running || db->mu.excising) {
        db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
    }
    db->mu.full_running = true;
    os_mutex_unlock(&db->mu.lock);
}

static void let_merges_go(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    db->mu.compacting--;
    db->mu.full_running = false;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
    background_schedule(db);
}

// Waits until the old value files have left, and what is garbage in others is within its budget.
static strata_rc wait_for_space(strata_db *db)
{
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&db->mu.lock);
    uint64_t sleeps = db->mu.space_sleeps;
    while (rc == STRATA_OK && db->mu.space_sleeps == sleeps &&
           (db->mu.space_running || atomic_load(&db->space_pending))) {
        rc = db_sticky_error_locked(db);
        if (rc == STRATA_OK && db->mu.retry_error != STRATA_OK) {
            rc = fail(db->mu.retry_error, "%s", db->mu.retry_text);
        }
        if (rc == STRATA_OK) {
            db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
        }
    }
    os_mutex_unlock(&db->mu.lock);
    return rc;
}

strata_rc db_compact(strata_db *db, struct strata_keyspace *space, bool values,
                     bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    struct full_compaction full = {.progress = progress, .ctx = ctx, .values = values};
    strata_rc rc = db_flush(db);
    if (rc != STRATA_OK) {
        return rc;
    }
    hold_merges_back(db);
    full.total = bytes_of(db, space, values);
    uint32_t count = atomic_load_explicit(&db->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < count && rc == STRATA_OK; i++) {
        if (space == NULL || space == db->spaces[i]) {
            rc = compact_space(db, db->spaces[i], &full);
        }
    }
    let_merges_go(db);
    return rc == STRATA_OK ? wait_for_space(db) : rc;
}
