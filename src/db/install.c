// Installing an edit: durable in the manifest first, then the next catalog and view are published,
// then files that left may go.
#include "db/db.h"

#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

// Takes the generations off the list that the edit made durable; mu.lock held. They are
// unreferenced by the caller once the lock is free.
static uint32_t pop_flushed_locked(strata_db *db, uint64_t flushed_commit,
                                   struct generation *popped[DB_SEALED_MAX + 1])
{
    uint32_t count = 0;
    while (count < db->mu.sealed_count && db->mu.sealed[count]->sealed_commit <= flushed_commit) {
        popped[count] = db->mu.sealed[count];
        count++;
    }
    db->mu.sealed_count -= count;
    memmove(db->mu.sealed, db->mu.sealed + count, db->mu.sealed_count * sizeof db->mu.sealed[0]);
    return count;
}

// Publishes the catalog; on an error nothing has changed. edit.lock held.
static strata_rc publish_catalog(strata_db *db, struct catalog *next)
{
    struct generation *popped[DB_SEALED_MAX + 1];
    struct generation *before[DB_SEALED_MAX + 1];
    struct view *view = NULL;
    struct view *view_before = NULL;
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&db->mu.lock);
    uint32_t sealed_before = db->mu.sealed_count;
    memcpy(before, db->mu.sealed, sizeof before);
    for (uint32_t i = 0; i < next->space_count && rc == STRATA_OK; i++) {
        struct strata_keyspace *space = space_by_number(db, next->spaces[i].number);
        if (space == NULL) {
            rc = space_adopt_locked(db, &next->spaces[i], &space);
        }
    }
    uint32_t popped_count = pop_flushed_locked(db, next->flushed_commit, popped);
    if (rc == STRATA_OK) {
        rc = view_build_locked(db, next, &view);
    }
    struct catalog *old = db->edit.catalog;
    if (rc == STRATA_OK) {
        db->edit.catalog = next;
        view_before = view_publish_locked(db, view);
        space_update_locked(db);
        admission_update_locked(db);
        os_cond_wake_all(&db->mu.changed);
    } else {
        db->mu.sealed_count = sealed_before;
        memcpy(db->mu.sealed, before, sizeof before);
        popped_count = 0;
    }
    os_mutex_unlock(&db->mu.lock);
    view_retire(view_before);
    for (uint32_t i = 0; i < popped_count; i++) {
        generation_unref(popped[i], &db->memory);
    }
    if (rc == STRATA_OK) {
        catalog_unref(old);
    }
    return rc;
}

// With these nothing of an edit is on disk, and the job can be done again.
static bool passes_by_itself(strata_rc rc)
{
    return rc == STRATA_NO_SPACE || rc == STRATA_NO_MEMORY;
}

// Did CURRENT never begin to name another manifest than `number`?
static bool manifest_still_counts(strata_db *db, uint64_t number)
{
    uint64_t current;
    return manifest_current(db->dir, &current) == STRATA_OK && current == number;
}

// Starts a new manifest when the present one has grown long. Not doing so is no error.
static strata_rc rewrite_manifest(strata_db *db)
{
    if (manifest_bytes(db->edit.manifest) < DB_MANIFEST_BYTES_MAX + 2 * db->manifest_first_bytes) {
        return STRATA_OK;
    }
    uint64_t old = manifest_number(db->edit.manifest);
    uint64_t number = db_new_file_number(db);
    char name[FILE_NAME_BYTES];
    struct manifest *fresh;
    strata_rc rc = manifest_new(db->dir, number, db->edit.catalog, &fresh);
    if (passes_by_itself(rc) && manifest_still_counts(db, old)) {
        // The present one grows on, and the next edit tries again. What the disk has no room for
        // goes; if that fails, with the next open.
        file_name_make(name, FILE_MANIFEST, number);
        (void)!os_dir_unlink(db->dir, name);
        return STRATA_OK;
    }
    if (rc != STRATA_OK) {
        return rc; // both files stay: the caller turns read-only
    }
    rc = manifest_close(db->edit.manifest);
    db->edit.manifest = fresh;
    db->manifest_first_bytes = manifest_bytes(fresh);
    if (rc == STRATA_OK) {
        file_name_make(name, FILE_MANIFEST, old);
        rc = os_dir_unlink(db->dir, name);
    }
    return rc;
}

strata_rc db_install_edit_locked(strata_db *db, struct edit *e)
{
    struct catalog *before = db->edit.catalog;
    struct catalog *next = NULL;
    uint64_t flushed_before = before->flushed_commit;
    edit_leave_out_dropped(e, before);
    e->next_file = atomic_load(&db->next_file);
    e->next_run = atomic_load(&db->next_run);
    e->next_keyspace = db->next_keyspace;
    strata_rc rc = catalog_apply(before, e, &db->tables, &next);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (MUTANT(30) && next->flushed_commit > flushed_before) {
        (void)(wal_retire(db->wal, next->flushed_commit) == STRATA_OK);
    }
    rc = manifest_append(db->edit.manifest, e);
    if (rc != STRATA_OK) {
        if (!passes_by_itself(rc)) {
            // Whether the edit is on disk is not known: nothing of it is shown, nothing that either
            // outcome names is deleted, and nothing more is appended.
            db_fail(db, rc);
        }
        catalog_unref(next);
        return rc;
    }
    metrics_add(&db->metrics, METRIC_edits, 1);
    catalog_ref(before);
    uint64_t flushed = next->flushed_commit;
    rc = publish_catalog(db, next);
    if (rc != STRATA_OK) {
        // Only a new open can put that right.
        rc = db_fail(db, fail_in(STRATA_READ_ONLY, "an edit is durable, but cannot be shown"));
        catalog_unref(next);
        catalog_unref(before);
        return rc;
    }
    edit_committed(e, before);
    catalog_unref(before);
    wal_note_edits(db->wal, db->edit.catalog->edits);
    if (flushed > flushed_before) {
        times_thin(db, flushed);
        rc = wal_retire(db->wal, flushed);
    }
    if (rc == STRATA_OK) {
        rc = rewrite_manifest(db);
    }
    if (rc != STRATA_OK) {
        db_fail(db, rc);
    }
    // The edit itself is in force; what went wrong behind it has made the database read-only.
    return STRATA_OK;
}

strata_rc db_install(void *ctx, struct edit *e)
{
    strata_db *db = ctx;
    os_mutex_lock(&db->edit.lock);
    strata_rc rc = db_writable(db);
    if (rc == STRATA_OK) {
        rc = db_install_edit_locked(db, e);
    }
    os_mutex_unlock(&db->edit.lock);
    os_epoch_collect();
    if (rc == STRATA_OK) { // what failed is tried again by the ticker, not at once
        background_schedule(db);
    }
    return rc;
}
