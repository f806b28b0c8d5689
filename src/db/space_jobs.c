// The task that gives space back without merging: tables that leave unread, and value files that
// are rewritten or just leave. One job at a time, in bounded steps. The task runs whenever trees or
// generations have changed, looks for a job until there is none, and then sleeps: every job that it
// installs takes files out that no later look finds again.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"

// ---- tables that leave unread

// May there be a table that nothing of must stay? Cheap, and never a false no.
static bool may_excise(const struct catalog_space *in)
{
    bool trims = in->options.retention != STRATA_RETENTION_ALL || in->floor > 0;
    if (trims && in->history->run_count > 0) {
        return true;
    }
    for (uint32_t l = 0; trims && l < in->live->level_count; l++) {
        for (uint32_t r = 0; r < in->live->levels[l].count; r++) {
            if (in->live->levels[l].runs[r]->range_fragments > 0) {
                return true;
            }
        }
    }
    return false;
}

// Begins to look: no merge begins until excise_end, so what is not claimed now stays so. False when
// an explicit compaction is at work. Gives the claims and the catalog that they belong to.
static bool excise_begin(strata_db *db, uint64_t runs[DB_CLAIMS_MAX], struct shape_claims *claims,
                         struct catalog **catalog_out)
{
    os_mutex_lock(&db->mu.lock);
    bool may = db->mu.compacting == 0;
    if (may) {
        db->mu.excising = true;
        *claims = (struct shape_claims){runs, background_claims_locked(db, runs, DB_CLAIMS_MAX)};
        *catalog_out = db->edit.catalog;
        catalog_ref(*catalog_out);
    }
    os_mutex_unlock(&db->mu.lock);
    return may;
}

static void excise_end(strata_db *db, struct catalog *catalog)
{
    os_mutex_lock(&db->mu.lock);
    db->mu.excising = false;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
    catalog_unref(catalog);
    background_schedule_merges(db); // those that found nothing because of us
}

// STRATA_END: there is nothing in this keyspace.
static strata_rc excise_space(strata_db *db, const struct catalog_space *in,
                              const struct shape_claims *claims)
{
    struct compact_trim trim;
    struct edit e = {0};
    uint64_t bytes = 0;
    strata_rc rc = db_trim(db, in->number, &trim);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = compact_excise(&trim, in, claims, &e, &bytes);
    if (rc == STRATA_OK && bytes == 0) {
        rc = STRATA_END;
    }
    if (rc == STRATA_OK) {
        rc = db_install(db, &e);
    }
    if (rc == STRATA_OK) {
        metrics_add(&db->metrics, METRIC_excises, 1);
        metrics_add(&db->metrics, METRIC_excised_bytes, bytes);
        db_emit(db, EVENT_excise, in->number, bytes, 0, NULL);
    }
    edit_release(&e);
    compact_trim_release(&trim);
    return rc;
}

// STRATA_END: nothing leaves unread.
static strata_rc excise(strata_db *db)
{
    uint64_t runs[DB_CLAIMS_MAX];
    struct shape_claims claims;
    struct catalog *catalog;
    if (!excise_begin(db, runs, &claims, &catalog)) {
        return STRATA_END;
    }
    strata_rc rc = STRATA_END;
    for (uint32_t i = 0; rc == STRATA_END && i < catalog->space_count; i++) {
        if (may_excise(&catalog->spaces[i])) {
            rc = excise_space(db, &catalog->spaces[i], &claims);
        }
    }
    excise_end(db, catalog);
    return rc;
}

// ---- value files

struct found_victims {
    struct strata_keyspace *space;
    uint64_t files[SHAPE_VICTIMS_MAX];
    size_t count;
    uint64_t dead_bytes;
};

// The keyspace's value files, by number; returns how many.
static size_t list_files(const struct catalog *c, uint64_t keyspace, struct shape_value_file *to)
{
    size_t count = 0;
    for (uint32_t i = 0; i < c->value_file_count; i++) {
        if (value_file_meta(c->value_files[i])->keyspace == keyspace) {
            to[count++] = space_value_file(c, c->value_files[i]);
        }
    }
    return count;
}

// The next files to rewrite, of the keyspace that is furthest over its budget. Sets the count to 0
// when there are none.
static strata_rc find_victims(strata_db *db, const struct catalog *c, struct found_victims *found)
{
    double worst = -1;
    found->count = 0;
    struct shape_value_file *files = alloc_array(c->value_file_count, sizeof *files);
    if (files == NULL) {
        return c->value_file_count == 0 ? STRATA_OK : alloc_failed("value files", 0);
    }
    for (uint32_t i = 0; i < c->space_count; i++) {
        struct strata_keyspace *space = space_by_number(db, c->spaces[i].number);
        if (space == NULL) {
            continue;
        }
        size_t count = list_files(c, space->number, files);
        os_mutex_lock(&db->mu.lock);
        struct shape_value_need need = {space->sums.budget.dead_value_max,
                                        space->sums.budget.slice_bytes};
        os_mutex_unlock(&db->mu.lock);
        uint64_t victims[SHAPE_VICTIMS_MAX];
        size_t picked = shape_pick_values(files, count, &need, victims);
        uint64_t dead = 0;
        for (size_t f = 0; f < count; f++) {
            dead += shape_dead_bytes(&files[f]);
        }
        double over = (double)dead / (double)(need.dead_max + 1);
        if (picked > 0 && over > worst) {
            worst = over;
            found->space = space;
            found->count = picked;
            found->dead_bytes = dead;
            memcpy(found->files, victims, picked * sizeof victims[0]);
        }
    }
    free(files);
    return STRATA_OK;
}

// STRATA_END: no value file is to be rewritten.
static strata_rc rewrite_begin(strata_db *db)
{
    struct found_victims found;
    os_mutex_lock(&db->mu.lock);
    struct catalog *catalog = db->edit.catalog;
    catalog_ref(catalog);
    os_mutex_unlock(&db->mu.lock);
    strata_rc rc = find_victims(db, catalog, &found);
    if (rc == STRATA_OK && found.count == 0) {
        rc = STRATA_END;
    }
    if (rc == STRATA_OK) {
        struct compact_env env = db_compact_env(db);
        db_emit(db, EVENT_value_rewrite_begin, found.space->number, found.count, found.dead_bytes,
                NULL);
        db->rewrite_space = found.space;
        rc = value_rewrite_new(&env, catalog, found.files, found.count, &db->rewrite);
    }
    catalog_unref(catalog);
    return rc;
}

static void rewrite_end(strata_db *db)
{
    const struct compact_progress *p = value_rewrite_progress(db->rewrite);
    metrics_add(&db->metrics, METRIC_value_rewrites, 1);
    metrics_add(&db->metrics, METRIC_value_rewrite_bytes_read, p->bytes_read);
    metrics_add(&db->metrics, METRIC_value_rewrite_bytes_written, p->bytes_written);
    db_emit(db, EVENT_value_rewrite_end, db->rewrite_space->number, p->bytes_read, p->bytes_written,
            NULL);
    value_rewrite_free(db->rewrite);
    db->rewrite = NULL;
    db->rewrite_space = NULL;
    // Old views keep the files that have left.
    db_reseat_idle(db);
    os_epoch_collect();
}

// ---- the task

// False when there is nothing to begin: the database is read-only or stops.
static bool space_begin(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    // Before anything is looked at: what changes from now on submits the task again.
    atomic_store(&db->space_pending, false);
    bool may =
        db->mu.error == STRATA_OK && !atomic_load_explicit(&db->stopping, memory_order_relaxed);
    db->mu.space_running = may;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
    return may;
}

static void space_sleep(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    db->mu.space_running = false;
    db->mu.space_sleeps++;
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
}

// One step: STRATA_END when there is nothing to do any more.
static strata_rc space_step(strata_db *db)
{
    bool done = false;
    if (db->rewrite == NULL) {
        strata_rc rc = excise(db);
        if (rc != STRATA_END) {
            db_reseat_idle(db);
            os_epoch_collect();
            return rc;
        }
        return rewrite_begin(db);
    }
    strata_rc rc = value_rewrite_step(db->rewrite, &done);
    if (rc == STRATA_OK && done) {
        rewrite_end(db);
    }
    return rc;
}

bool space_task_step(struct os_task *task)
{
    strata_db *db = (strata_db *)((char *)task - offsetof(strata_db, space_task));
    if (db->rewrite == NULL && !space_begin(db)) {
        return false;
    }
    strata_rc rc = space_step(db);
    if (rc == STRATA_OK) {
        if (db->rewrite == NULL) {
            background_succeeded(db);
        }
        return true;
    }
    if (rc != STRATA_END) {
        background_failed(db, rc);
        space_stop(db);
    }
    space_sleep(db);
    return false;
}

void space_stop(strata_db *db)
{
    value_rewrite_free(db->rewrite);
    db->rewrite = NULL;
    db->rewrite_space = NULL;
}
