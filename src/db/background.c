// Background work: one task flushes sealed generations in order, a few workers merge runs, and a
// ticker syncs what was committed without waiting. Every step is bounded, so that tests can crank
// the tasks in any order that a seed gives.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <string.h>

#define TICK_NS 50000000u
#define TICKS_PER_LOOK 20u // how often floors by age are looked at

static bool env_stopping(void *ctx)
{
    const strata_db *db = ctx;
    return atomic_load_explicit(&db->stopping, memory_order_relaxed);
}

struct compact_env db_compact_env(strata_db *db)
{
    return (struct compact_env){.tables = db->tables,
                                .incarnation = db->incarnation,
                                .new_file_number = db_new_file_number,
                                .new_run_number = db_new_run_number,
                                .install = db_install,
                                .commit_time = times_of,
                                .trim = db_trim,
                                .value_file = db_value_file,
                                .stopping = env_stopping,
                                .ctx = db};
}

void background_failed(strata_db *db, strata_rc rc)
{
    if (atomic_load_explicit(&db->stopping, memory_order_relaxed) && rc == STRATA_BUSY) {
        return;
    }
    metrics_add(&db->metrics, METRIC_background_errors, 1);
    db_emit(db, EVENT_job_failed, (uint64_t)(int64_t)rc, 0, 0, fail_text());
    if (rc != STRATA_NO_SPACE && rc != STRATA_NO_MEMORY) {
        db_fail(db, rc);
        db_emit_error(db);
        return;
    }
    os_mutex_lock(&db->mu.lock);
    db->mu.retry_error = rc;
    strncpy(db->mu.retry_text, fail_text(), sizeof db->mu.retry_text - 1);
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
}

void background_succeeded(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    db->mu.retry_error = STRATA_OK;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
}

// ---- flush

// The sources of a generation: one for each keyspace that it holds anything for.
static strata_rc flush_sources(strata_db *db, const struct generation *g, struct catalog *catalog,
                               struct flush_source **sources_out, size_t *count_out)
{
    struct flush_source *sources = alloc_array(g->capacity, sizeof *sources);
    size_t count = 0;
    if (sources == NULL) {
        return alloc_failed("a flush", g->capacity * sizeof *sources);
    }
    for (uint32_t i = 0; i < g->capacity; i++) {
        struct memtable *m = generation_memtable(g, i);
        if (m == NULL || memtable_is_empty(m)) {
            continue;
        }
        const struct catalog_space *space = catalog_space_find(catalog, db->spaces[i]->number);
        if (space != NULL) {
            sources[count++] = (struct flush_source){space, m};
        }
    }
    *sources_out = sources;
    *count_out = count;
    return STRATA_OK;
}

strata_rc db_flush_begin(strata_db *db, const struct compact_env *env, struct generation *g,
                         struct catalog *catalog, struct flush **flush_out)
{
    struct flush_source *sources = NULL;
    size_t count = 0;
    struct edit base = {0};
    strata_rc rc = flush_sources(db, g, catalog, &sources, &count);
    if (rc == STRATA_OK) {
        rc = times_into_edit(db, catalog->flushed_commit, g->sealed_commit, &base);
    }
    if (rc == STRATA_OK) {
        rc = values_into_edit(db, g, &base);
    }
    if (rc == STRATA_OK) {
        rc = flush_new(env, sources, count, g->sealed_commit, db->options.memtable_bytes, &base,
                       flush_out);
    }
    edit_release(&base);
    free(sources);
    return rc;
}

// Begins the flush of the oldest sealed generation. STRATA_END when there is none.
static strata_rc flush_begin(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    bool idle = db->mu.sealed_count == 0 || db->mu.error != STRATA_OK ||
                atomic_load_explicit(&db->stopping, memory_order_relaxed);
    struct generation *g = idle ? NULL : db->mu.sealed[0];
    db->mu.flush_running = !idle;
    if (idle) {
        os_cond_wake_all(&db->mu.changed);
    }
    os_mutex_unlock(&db->mu.lock);
    if (idle) {
        return STRATA_END;
    }
    // Before the trees are held, for it takes long, and who holds a tree holds files that leave.
    strata_rc rc = values_finish(db, g);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->mu.lock);
    rc = catalog_trees(db->edit.catalog, &db->flush_catalog);
    os_mutex_unlock(&db->mu.lock);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct compact_env env = db_compact_env(db);
    env.trim = db_trim_flush;
    db->flush_began_ns = db->machine->clock->monotonic_ns(db->machine->clock);
    db->flush_commit = g->sealed_commit;
    db_emit(db, EVENT_flush_begin, db->flush_commit, 0, 0, NULL);
    return db_flush_begin(db, &env, g, db->flush_catalog, &db->flush);
}

static void flush_end(strata_db *db)
{
    if (db->flush != NULL) {
        const struct compact_progress *p = flush_progress(db->flush);
        metrics_add(&db->metrics, METRIC_flush_bytes_written, p->bytes_written);
        metrics_add(&db->metrics, METRIC_versions_ejected, p->ejected);
    }
    flush_free(db->flush);
    db->flush = NULL;
    catalog_unref(db->flush_catalog);
    db->flush_catalog = NULL;
    os_mutex_lock(&db->mu.lock);
    db->mu.flush_running = false;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
}

static bool flush_task_step(struct os_task *task)
{
    strata_db *db = (strata_db *)((char *)task - offsetof(strata_db, flush_task));
    strata_rc rc = STRATA_OK;
    bool done = false;
    if (db->flush == NULL) {
        rc = flush_begin(db);
        if (rc == STRATA_END) {
            return false;
        }
    }
    if (rc == STRATA_OK) {
        rc = flush_step(db->flush, &done);
    }
    if (rc != STRATA_OK) {
        background_failed(db, rc);
        flush_end(db);
        return false;
    }
    if (done) {
        uint64_t now = db->machine->clock->monotonic_ns(db->machine->clock);
        metrics_add(&db->metrics, METRIC_flushes, 1);
        db_emit(db, EVENT_flush_end, db->flush_commit, flush_progress(db->flush)->bytes_written,
                (now - db->flush_began_ns) / 1000, NULL);
        flush_end(db);
        background_succeeded(db);
    }
    return true;
}

// ---- merges

size_t background_claims_locked(const strata_db *db, uint64_t *runs, size_t capacity)
{
    size_t count = 0;
    for (uint32_t i = 0; i < db->worker_count; i++) {
        const struct merge_worker *w = &db->workers[i];
        for (uint32_t j = 0; j < w->claim_count && count < capacity; j++) {
            runs[count++] = w->claims[j];
        }
    }
    return count;
}

struct found_job {
    const struct catalog_space *in;
    struct strata_keyspace *space;
    bool history;
    bool for_space; // it gives space back or ends deletes
    struct shape_job job;
};

// Takes the job when it is more overdue than what was found before.
static void found_take(struct found_job *found, const struct found_job *candidate)
{
    if (found->in == NULL || candidate->job.score > found->job.score) {
        *found = *candidate;
    }
}

// The most overdue job over all trees; mu.lock held.
static bool find_job_locked(strata_db *db, struct found_job *found)
{
    uint64_t runs[DB_CLAIMS_MAX];
    struct shape_claims claims = {runs, 0};
    claims.count = background_claims_locked(db, runs, DB_CLAIMS_MAX);
    const struct catalog *catalog = db->edit.catalog;
    found->in = NULL;
    for (uint32_t i = 0; !db->mu.excising && i < catalog->space_count; i++) {
        const struct catalog_space *in = &catalog->spaces[i];
        struct strata_keyspace *space = space_by_number(db, in->number);
        for (int history = 0; space != NULL && history < 2; history++) {
            struct found_job c = {.in = in, .space = space, .history = history != 0};
            if (shape_pick(history ? in->history : in->live,
                           history ? &space->shape_history : &space->shape_live, &claims, &c.job)) {
                found_take(found, &c);
            }
            c.for_space = true;
            if (space_find_merge_locked(in, space, history != 0, &claims, &c.job)) {
                found_take(found, &c);
            }
        }
    }
    return found->in != NULL;
}

static bool background_halted_locked(const strata_db *db)
{
    return db->mu.error != STRATA_OK || db->mu.compacting > 0 ||
           atomic_load_explicit(&db->stopping, memory_order_relaxed);
}

// Looks for a job and begins it. STRATA_END when there is none.
static strata_rc merge_begin(struct merge_worker *w)
{
    strata_db *db = w->db;
    struct found_job found;
    os_mutex_lock(&db->mu.lock);
    bool any = !background_halted_locked(db) && find_job_locked(db, &found);
    struct catalog *catalog = NULL;
    uint64_t slice_bytes = 0;
    if (any) {
        catalog = db->edit.catalog;
        catalog_ref(catalog);
        w->claim_count = found.job.input_count;
        for (uint32_t i = 0; i < found.job.input_count; i++) {
            w->claims[i] = found.job.inputs[i]->number;
        }
        w->keyspace = found.space;
        slice_bytes = found.space->sums.budget.slice_bytes;
        if (found.for_space && found.history) {
            space_merge_begun_locked(found.space, found.in->history, &found.job);
        }
        db->mu.merges_running++;
    }
    os_mutex_unlock(&db->mu.lock);
    if (!any) {
        return STRATA_END;
    }
    struct compact_env env = db_compact_env(db);
    db_emit(db, EVENT_merge_begin, found.space->number, found.history, found.job.input_count, NULL);
    metrics_add(&db->metrics, METRIC_space_merges, found.for_space);
    w->began_ns = db->machine->clock->monotonic_ns(db->machine->clock);
    strata_rc rc = merge_new(&env, found.in, found.history,
                             found.history ? found.in->history : found.in->live, &found.job,
                             found.history ? &found.space->shape_history : &found.space->shape_live,
                             slice_bytes, &w->merge);
    catalog_unref(catalog);
    if (rc == STRATA_OK && merge_ejected_run(w->merge) != 0) {
        // The run grows slice by slice: no history merge may take it for its own output meanwhile.
        os_mutex_lock(&db->mu.lock);
        w->claims[w->claim_count++] = merge_ejected_run(w->merge);
        os_mutex_unlock(&db->mu.lock);
    }
    return rc;
}

void merge_count(strata_db *db, const struct merge *merge)
{
    const struct compact_progress *p = merge_progress(merge);
    metrics_add(&db->metrics, METRIC_merges, 1);
    metrics_add(&db->metrics, METRIC_merge_bytes_read, p->bytes_read);
    metrics_add(&db->metrics, METRIC_merge_bytes_written, p->bytes_written);
    metrics_add(&db->metrics, METRIC_versions_ejected, p->ejected);
    metrics_add(&db->metrics, METRIC_deletes_dropped, p->dropped);
    metrics_add(&db->metrics, METRIC_tables_moved, p->tables_moved);
    metrics_add(&db->metrics, METRIC_blocks_passed, p->blocks_passed);
    metrics_add(&db->metrics, METRIC_blocks_handed, p->blocks_handed);
}

static void merge_end(struct merge_worker *w)
{
    strata_db *db = w->db;
    if (w->merge != NULL) {
        const struct compact_progress *p = merge_progress(w->merge);
        db_emit(db, EVENT_merge_end, w->keyspace->number, p->bytes_read, p->bytes_written, NULL);
        merge_count(db, w->merge);
        uint64_t took = db->machine->clock->monotonic_ns(db->machine->clock) - w->began_ns;
        uint64_t bytes = merge_progress(w->merge)->bytes_read;
        if (took > 1000000 && bytes > (1u << 20)) {
            // A moving average; races between workers only lose one sample.
            uint64_t rate = (uint64_t)((double)bytes * 1e9 / (double)took);
            uint64_t old = atomic_load(&db->merge_rate);
            atomic_store(&db->merge_rate, old == 0 ? rate : (3 * old + rate) / 4);
        }
    }
    merge_free(w->merge);
    w->merge = NULL;
    // Views from before keep the files that have left.
    db_reseat_idle(db);
    os_mutex_lock(&db->mu.lock);
    w->claim_count = 0;
    db->mu.merges_running--;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
}

static bool merge_task_step(struct os_task *task)
{
    struct merge_worker *w = (struct merge_worker *)task; // its first member
    strata_db *db = w->db;
    strata_rc rc = STRATA_OK;
    bool done = false;
    if (w->merge == NULL) {
        rc = merge_begin(w);
        if (rc == STRATA_END) {
            return false;
        }
    }
    if (rc == STRATA_OK) {
        bool dropped = atomic_load_explicit(&w->keyspace->dropped, memory_order_relaxed);
        rc = dropped ? STRATA_OK : merge_step(w->merge, &done);
        done = done || dropped;
    }
    if (rc != STRATA_OK) {
        background_failed(db, rc);
        merge_end(w);
        return false;
    }
    if (done) {
        merge_end(w);
        background_succeeded(db);
        background_schedule(db);
    }
    return true;
}

// ---- the ticker

// Syncs the log when commits wait for it, and once when writing has paused: then the rest of it is
// synced too and the log gets its idle mark. A stream of commits that asked for no sync gets none.
static strata_rc tick_log(strata_db *db, uint64_t *seen)
{
    uint64_t newest = atomic_load_explicit(&db->visible, memory_order_relaxed);
    bool paused = newest == *seen;
    *seen = newest;
    bool owed =
        atomic_load_explicit(&db->promised, memory_order_relaxed) > wal_synced_commit(db->wal);
    return owed || paused ? wal_tick(db->wal) : STRATA_OK;
}

// Does time alone let anything go?
static bool time_passes(strata_db *db)
{
    bool passes = false;
    os_mutex_lock(&db->mu.lock);
    const struct catalog *catalog = db->edit.catalog;
    for (uint32_t i = 0; !passes && i < catalog->space_count; i++) {
        passes = catalog->spaces[i].options.retention == STRATA_RETENTION_AGE;
    }
    os_mutex_unlock(&db->mu.lock);
    return passes;
}

static void *ticker_run(void *ctx)
{
    strata_db *db = ctx;
    uint64_t seen = 0;
    uint64_t ticks = 0;
    os_mutex_lock(&db->mu.lock);
    while (!atomic_load_explicit(&db->stopping, memory_order_relaxed)) {
        os_cond_wait_for(&db->mu.tick, &db->mu.lock, TICK_NS);
        bool retry = db->mu.retry_error != STRATA_OK;
        db->mu.retry_error = STRATA_OK;
        os_mutex_unlock(&db->mu.lock);
        // Also when the database is read-only by an error: commits before it are to be synced.
        strata_rc rc = tick_log(db, &seen);
        if (rc != STRATA_OK) {
            db_fail(db, rc);
        }
        db_emit_error(db);
        db_seal_if_wanted(db);
        if (++ticks % TICKS_PER_LOOK == 0) {
            memtable_pool_trim(&db->memtables);
        }
        if (retry || (ticks % TICKS_PER_LOOK == 0 && time_passes(db))) {
            background_schedule(db);
        }
        os_mutex_lock(&db->mu.lock);
    }
    os_mutex_unlock(&db->mu.lock);
    return NULL;
}

// ---- all of it

void background_schedule_merges(strata_db *db)
{
    if (db->read_only || atomic_load_explicit(&db->stopping, memory_order_relaxed)) {
        return;
    }
    for (uint32_t i = 0; i < db->worker_count; i++) {
        db->executor->submit(db->executor, &db->workers[i].task);
    }
}

void background_schedule(strata_db *db)
{
    if (db->read_only || atomic_load_explicit(&db->stopping, memory_order_relaxed)) {
        return;
    }
    db->executor->submit(db->executor, &db->flush_task);
    background_schedule_merges(db);
    if (db->worker_count > 0) { // else they were not started
        // Before it is submitted: who waits for idleness must not miss it.
        atomic_store(&db->space_pending, true);
        db->executor->submit(db->executor, &db->space_task);
    }
}

strata_rc background_start(strata_db *db)
{
    db->flush_task = (struct os_task){.step = flush_task_step, .priority = OS_PRIORITY_FLUSH};
    uint32_t workers = db->options.background_threads > 1 ? db->options.background_threads - 1 : 1;
    db->worker_count = workers < DB_MERGE_WORKERS_MAX ? workers : DB_MERGE_WORKERS_MAX;
    for (uint32_t i = 0; i < db->worker_count; i++) {
        db->workers[i] = (struct merge_worker){
            .task = {.step = merge_task_step, .priority = OS_PRIORITY_MERGE}, .db = db};
    }
    db->space_task = (struct os_task){.step = space_task_step, .priority = OS_PRIORITY_MERGE};
    retention_init(db);
    if (db->machine->has_threads) {
        strata_rc rc = os_thread_start(&db->ticker, "strata-ticker", ticker_run, db);
        if (rc != STRATA_OK) {
            return rc;
        }
        db->mu.ticking = true;
    }
    background_schedule(db);
    return STRATA_OK;
}

void background_stop(strata_db *db)
{
    atomic_store_explicit(&db->stopping, true, memory_order_relaxed);
    if (db->mu.ticking) {
        os_mutex_lock(&db->mu.lock);
        os_cond_wake_all(&db->mu.tick);
        os_mutex_unlock(&db->mu.lock);
        os_thread_join(&db->ticker);
        db->mu.ticking = false;
    }
    if (db->worker_count == 0) {
        return;
    }
    db->executor->retire(db->executor, &db->flush_task);
    for (uint32_t i = 0; i < db->worker_count; i++) {
        db->executor->retire(db->executor, &db->workers[i].task);
        if (db->workers[i].merge != NULL) {
            merge_end(&db->workers[i]);
        }
    }
    db->executor->retire(db->executor, &db->space_task);
    space_stop(db);
    if (db->flush != NULL) {
        flush_end(db);
    }
}

strata_rc db_wait_idle(strata_db *db)
{
    strata_rc rc = STRATA_OK;
    if (db->read_only) {
        return STRATA_OK;
    }
    background_schedule(db);
    os_mutex_lock(&db->mu.lock);
    for (;;) {
        struct found_job found;
        rc = db_sticky_error_locked(db);
        if (rc != STRATA_OK) {
            break;
        }
        if (db->mu.retry_error != STRATA_OK) {
            rc = fail(db->mu.retry_error, "%s", db->mu.retry_text);
            break;
        }
        bool jobs = db->mu.flush_running || db->mu.merges_running > 0 || db->mu.space_running ||
                    atomic_load(&db->space_pending);
        if (!jobs && db->mu.sealed_count == 0 && !find_job_locked(db, &found)) {
            break;
        }
        if (!jobs) {
            db->executor->submit(db->executor, &db->flush_task);
            background_schedule_merges(db);
        }
        db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
    }
    os_mutex_unlock(&db->mu.lock);
    return rc;
}
