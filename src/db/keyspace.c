// Keyspaces: created and dropped by a commit in the log, then listed in the catalog; altered by an
// edit of the catalog.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "kv/batch.h"

#include <string.h>

strata_rc space_resolve(strata_db *db, const strata_keyspace *given,
                        struct strata_keyspace **space_out)
{
    *space_out = NULL;
    struct strata_keyspace *space =
        given == NULL ? db->default_space : (struct strata_keyspace *)(uintptr_t)given;
    if (space == NULL) {
        return fail(STRATA_INVALID, "the keyspace \"default\" was dropped");
    }
    if (space->db != db) {
        return fail(STRATA_INVALID, "the keyspace handle belongs to another database");
    }
    if (atomic_load_explicit(&space->dropped, memory_order_acquire)) {
        return fail(STRATA_INVALID, "keyspace \"%s\" was dropped", space->name);
    }
    *space_out = space;
    return STRATA_OK;
}

static strata_rc too_many_spaces(void)
{
    return fail(STRATA_TOO_LARGE,
                "%u keyspaces were made since the database was opened; open it again",
                DB_SPACES_MAX);
}

// What writers look at, without a lock.
static void space_publish_options(struct strata_keyspace *space, const strata_keyspace_options *o)
{
    uint32_t separate = o->separation == STRATA_SEPARATION_OFF ? 0 : o->separate_bytes;
    uint32_t expire = o->expire_seconds == STRATA_NEVER_SECONDS ? 0 : o->expire_seconds;
    atomic_store_explicit(&space->separate_bytes, separate, memory_order_relaxed);
    atomic_store_explicit(&space->value_compression, (uint32_t)o->value_compression,
                          memory_order_relaxed);
    atomic_store_explicit(&space->expire_seconds, expire, memory_order_relaxed);
}

strata_rc space_adopt_locked(strata_db *db, const struct catalog_space *from,
                             struct strata_keyspace **space_out)
{
    *space_out = NULL;
    uint32_t slot = atomic_load_explicit(&db->space_count, memory_order_relaxed);
    if (slot == DB_SPACES_MAX) {
        return too_many_spaces();
    }
    struct strata_keyspace *space = alloc_zeroed(1, sizeof *space);
    if (space == NULL) {
        return alloc_failed("a keyspace", sizeof *space);
    }
    space->db = db;
    space->number = from->number;
    space->slot = slot;
    strncpy(space->name, from->name, sizeof space->name - 1);
    space->options = from->options;
    space_publish_options(space, &from->options);
    atomic_init(&space->floor, from->floor);
    space->shape_live = shape_live(&from->options, db->options.memtable_bytes);
    space->shape_history = shape_history(&from->options, db->options.memtable_bytes);
    db->spaces[slot] = space;
    // Release: pairs with the acquire loads of space_count.
    atomic_store_explicit(&db->space_count, slot + 1, memory_order_release);
    if (strcmp(space->name, "default") == 0) {
        db->default_space = space;
    }
    *space_out = space;
    return STRATA_OK;
}

struct strata_keyspace *space_by_number(strata_db *db, uint64_t number)
{
    uint32_t count = atomic_load_explicit(&db->space_count, memory_order_acquire);
    // While none was dropped before the last open, number n stands in slot n - 1.
    if (number >= 1 && number <= count && db->spaces[number - 1]->number == number) {
        return db->spaces[number - 1];
    }
    for (uint32_t i = 0; i < count; i++) {
        if (db->spaces[i]->number == number) {
            return db->spaces[i];
        }
    }
    return NULL;
}

static struct strata_keyspace *space_named_locked(strata_db *db, const char *name)
{
    for (uint32_t i = db->space_count; i > 0; i--) {
        struct strata_keyspace *space = db->spaces[i - 1];
        if (!atomic_load_explicit(&space->dropped, memory_order_relaxed) &&
            strcmp(space->name, name) == 0) {
            return space;
        }
    }
    return NULL;
}

static strata_rc name_check(const char *name)
{
    if (name == NULL || name[0] == '\0') {
        return fail(STRATA_INVALID, "a keyspace's name must have at least 1 byte");
    }
    if (strlen(name) > STRATA_KEYSPACE_NAME_BYTES_MAX) {
        return fail(STRATA_TOO_LARGE, "a keyspace's name of %zu bytes is over %d", strlen(name),
                    STRATA_KEYSPACE_NAME_BYTES_MAX);
    }
    return STRATA_OK;
}

strata_rc db_keyspace_open(strata_db *db, const char *name, struct strata_keyspace **space_out)
{
    *space_out = NULL;
    strata_rc rc = name_check(name);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->mu.lock);
    *space_out = space_named_locked(db, name);
    os_mutex_unlock(&db->mu.lock);
    if (*space_out == NULL) {
        return fail(STRATA_NOT_FOUND, "there is no keyspace \"%s\"", name);
    }
    return STRATA_OK;
}

// Begins an operation on keyspaces: finds the keyspace `name` (NULL: there is none) with
// commit.lock and edit.lock held. They are taken in this order because a writer may hold
// commit.lock while it waits for a flush, whose end needs edit.lock.
static strata_rc space_op_begin(strata_db *db, const char *name, struct strata_keyspace **space_out)
{
    os_mutex_lock(&db->commit.lock);
    os_mutex_lock(&db->edit.lock);
    os_mutex_lock(&db->mu.lock);
    *space_out = space_named_locked(db, name);
    os_mutex_unlock(&db->mu.lock);
    return db_writable(db); // it may have failed while we waited for the locks
}

// Appends the commit of one keyspace operation, gives commit.lock back, and syncs; edit.lock held.
static strata_rc log_space_op(strata_db *db, const struct batch_op *op, uint64_t *commit_out)
{
    struct buffer ops = {0};
    strata_rc rc = batch_append(&ops, op);
    if (rc == STRATA_OK) {
        rc = db_commit_space_locked(db, buffer_slice(&ops), commit_out);
    }
    os_mutex_unlock(&db->commit.lock);
    if (rc == STRATA_OK) {
        rc = wal_sync(db->wal, *commit_out);
        if (rc != STRATA_OK) {
            db_fail(db, rc);
        }
    }
    buffer_release(&ops);
    return rc;
}

strata_rc db_keyspace_create(strata_db *db, const char *name,
                             const strata_keyspace_options *options,
                             struct strata_keyspace **space_out)
{
    *space_out = NULL;
    strata_keyspace_options resolved;
    struct buffer encoded = {0};
    struct edit e = {0};
    strata_rc rc = name_check(name);
    if (rc == STRATA_OK) {
        rc = keyspace_options_resolve(options, &resolved);
    }
    if (rc == STRATA_OK) {
        rc = shape_bound_check(&resolved);
    }
    if (rc == STRATA_OK) {
        rc = keyspace_options_encode(&resolved, &encoded);
    }
    if (rc == STRATA_OK) {
        rc = db_writable(db);
    }
    if (rc != STRATA_OK) {
        buffer_release(&encoded);
        return rc;
    }
    struct strata_keyspace *there;
    rc = space_op_begin(db, name, &there);
    uint64_t number = db->next_keyspace;
    uint64_t commit = 0;
    if (rc == STRATA_OK && there != NULL) {
        rc = fail(STRATA_CONFLICT, "keyspace \"%s\" exists already", name);
    }
    if (rc == STRATA_OK && db->space_count == DB_SPACES_MAX) {
        rc = too_many_spaces(); // before anything is written
    }
    if (rc != STRATA_OK) {
        os_mutex_unlock(&db->commit.lock);
        goto done;
    }
    struct batch_op op = {.kind = BATCH_KEYSPACE_CREATE,
                          .keyspace = number,
                          .key = slice_of(name, strlen(name)),
                          .value = buffer_slice(&encoded)};
    rc = log_space_op(db, &op, &commit);
    if (rc != STRATA_OK) {
        goto done;
    }
    // The commit stands: from here on an error leaves the database read-only, and recovery makes
    // the keyspace from the log.
    db->next_keyspace = number + 1;
    rc = edit_create_space(&e, number, name, &resolved, commit);
    if (rc == STRATA_OK) {
        rc = db_install_edit_locked(db, &e);
    }
    if (rc != STRATA_OK) {
        db_fail(db, rc);
        goto done;
    }
    os_mutex_lock(&db->mu.lock);
    *space_out = space_named_locked(db, name);
    os_mutex_unlock(&db->mu.lock);
done:
    os_mutex_unlock(&db->edit.lock);
    os_epoch_collect();
    edit_release(&e);
    buffer_release(&encoded);
    return rc;
}

strata_rc db_keyspace_drop(strata_db *db, const char *name)
{
    strata_rc rc = name_check(name);
    if (rc == STRATA_OK) {
        rc = db_writable(db);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    struct edit e = {0};
    struct strata_keyspace *space;
    rc = space_op_begin(db, name, &space);
    if (rc == STRATA_OK && space == NULL) {
        rc = fail(STRATA_NOT_FOUND, "there is no keyspace \"%s\"", name);
    } else if (rc == STRATA_OK && space == db->default_space) {
        rc = fail(STRATA_INVALID, "the keyspace \"default\" cannot be dropped");
    }
    if (rc != STRATA_OK) {
        os_mutex_unlock(&db->commit.lock);
        goto done;
    }
    struct batch_op op = {.kind = BATCH_KEYSPACE_DROP, .keyspace = space->number};
    uint64_t commit = 0;
    rc = log_space_op(db, &op, &commit);
    if (rc != STRATA_OK) {
        goto done;
    }
    rc = edit_drop_space(&e, space->number, commit);
    if (rc == STRATA_OK) {
        rc = db_install_edit_locked(db, &e);
    }
    if (rc != STRATA_OK) {
        db_fail(db, rc);
    }
done:
    os_mutex_unlock(&db->edit.lock);
    os_epoch_collect();
    edit_release(&e);
    return rc;
}

strata_rc db_keyspace_alter(strata_db *db, struct strata_keyspace *space,
                            const strata_keyspace_options *change)
{
    strata_keyspace_options altered;
    struct edit e = {0};
    os_mutex_lock(&db->edit.lock);
    strata_rc rc = db_writable(db);
    if (rc == STRATA_OK && atomic_load_explicit(&space->dropped, memory_order_acquire)) {
        rc = fail(STRATA_INVALID, "keyspace \"%s\" was dropped", space->name);
    }
    if (rc == STRATA_OK) {
        rc = keyspace_options_alter(&space->options, change, &altered);
    }
    if (rc == STRATA_OK) {
        rc = shape_bound_check(&altered);
    }
    if (rc == STRATA_OK) {
        rc = edit_alter_space(&e, space->number, &altered);
    }
    if (rc == STRATA_OK) {
        rc = db_install_edit_locked(db, &e);
    }
    if (rc == STRATA_OK) {
        // Both locks guard the options: whoever has one of them may read them.
        os_mutex_lock(&db->mu.lock);
        space->options = altered;
        os_mutex_unlock(&db->mu.lock);
        space_publish_options(space, &altered);
    }
    os_mutex_unlock(&db->edit.lock);
    os_epoch_collect();
    edit_release(&e);
    if (rc == STRATA_OK) {
        background_schedule(db);
    }
    return rc;
}

strata_rc db_keyspace_list(strata_db *db,
                           bool (*visit)(void *ctx, const strata_keyspace_info *info), void *ctx)
{
    os_mutex_lock(&db->mu.lock);
    uint32_t count = 0;
    strata_keyspace_info *infos = alloc_array(db->space_count, sizeof *infos);
    for (uint32_t i = 0; infos != NULL && i < db->space_count; i++) {
        const struct strata_keyspace *space = db->spaces[i];
        if (atomic_load_explicit(&space->dropped, memory_order_relaxed)) {
            continue;
        }
        uint32_t at = count++;
        while (at > 0 && strcmp(infos[at - 1].name, space->name) > 0) {
            infos[at] = infos[at - 1];
            at--;
        }
        infos[at].number = space->number;
        memcpy(infos[at].name, space->name, sizeof infos[at].name);
        infos[at].options = space->options;
    }
    os_mutex_unlock(&db->mu.lock);
    if (infos == NULL) {
        return alloc_failed("the list of keyspaces", 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!visit(ctx, &infos[i])) {
            break;
        }
    }
    free(infos);
    return STRATA_OK;
}
