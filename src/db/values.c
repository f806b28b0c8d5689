// Separated values on their way in, and where they are found.
//
// A value is stored before its commit has a number, outside of commit.lock, in the present value
// file of its keyspace, which belongs to the active generation. When that generation is sealed
// before the commit is applied, the value is stored again: what memtables of one generation refer
// to lies in its own value files, which its flush hands to the catalog together with the tables.
// What was stored and is not referred to is garbage, as the rest of a file will be one day.
//
// A large value, or one that comes in pieces, gets a value file of its own, which joins whatever
// generation is active when the value is committed.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

static struct value_env value_env_of(const strata_db *db)
{
    return (struct value_env){db->tables.dir, db->tables.cache, db->tables.memory,
                              db->tables.files};
}

strata_rc values_new_file(strata_db *db, uint64_t keyspace, uint64_t *number_out,
                          struct value_file **file_out)
{
    struct value_env env = value_env_of(db);
    *number_out = db_new_file_number(db);
    return value_file_new(&env, *number_out, keyspace, db->incarnation, file_out);
}

static strata_rc generation_value_room(struct generation *g)
{
    if (g->value_files == NULL) {
        g->value_files = alloc_array(DB_GENERATION_VALUE_FILES_MAX, sizeof *g->value_files);
        if (g->value_files == NULL) {
            return alloc_failed("the value files of a generation",
                                DB_GENERATION_VALUE_FILES_MAX * sizeof *g->value_files);
        }
        g->value_file_capacity = DB_GENERATION_VALUE_FILES_MAX;
    }
    return STRATA_OK;
}

// The last place is for a file that is made for one value (values_attach_locked): that takes it
// under commit.lock, all others are taken under values.lock alone.
static uint32_t generation_places_left(const struct generation *g)
{
    uint32_t most = g->value_files == NULL ? DB_GENERATION_VALUE_FILES_MAX : g->value_file_capacity;
    return most - atomic_load_explicit(&g->value_file_count, memory_order_relaxed);
}

// Takes over the reference to the file; there is room.
static void generation_add_value_file(struct generation *g, uint64_t number, uint64_t keyspace,
                                      struct value_file *file)
{
    uint32_t count = atomic_load_explicit(&g->value_file_count, memory_order_relaxed);
    ASSERT(count < g->value_file_capacity);
    g->value_files[count] = (struct generation_value){number, keyspace, file};
    // Release: pairs with the acquire load in generation_value_files().
    atomic_store_explicit(&g->value_file_count, count + 1, memory_order_release);
}

uint32_t generation_value_files(const struct generation *g)
{
    // Pairs with the release store in generation_add_value_file().
    return atomic_load_explicit(&g->value_file_count, memory_order_acquire);
}

void generation_release_values(struct generation *g)
{
    uint32_t count = generation_value_files(g);
    for (uint32_t i = 0; i < count; i++) {
        value_file_unref(g->value_files[i].file);
    }
    free(g->value_files);
}

// ---- storing

// The keyspace's value file for the next value, a new one if need be. STRATA_YIELD when the
// generation has no place for another.
static strata_rc present_file_locked(strata_db *db, struct generation *g,
                                     struct strata_keyspace *space)
{
    if (space->value_file != NULL && !value_file_is_full(space->value_file)) {
        return STRATA_OK;
    }
    if (generation_places_left(g) <= 1) {
        return STRATA_YIELD;
    }
    struct value_file *fresh;
    uint64_t number;
    strata_rc rc = generation_value_room(g);
    if (rc == STRATA_OK) {
        rc = values_new_file(db, space->number, &number, &fresh);
    }
    if (rc == STRATA_OK) {
        generation_add_value_file(g, number, space->number, fresh);
        space->value_file = fresh;
    }
    return rc;
}

static void store_ended(strata_db *db, struct generation *g)
{
    os_mutex_lock(&db->values.lock);
    ASSERT(g->stores > 0);
    g->stores--;
    if (g->stores == 0) {
        os_cond_wake_all(&db->values.changed);
    }
    os_mutex_unlock(&db->values.lock);
    generation_unref(g, &db->memory);
}

static strata_rc store_once(strata_db *db, struct strata_keyspace *space, struct slice value,
                            struct value_placed *placed_out)
{
    strata_compression compression =
        (strata_compression)atomic_load_explicit(&space->value_compression, memory_order_relaxed);
    os_mutex_lock(&db->values.lock);
    struct generation *g = db->commit.active;
    placed_out->seals = db->values.seals;
    strata_rc rc = present_file_locked(db, g, space);
    struct value_file *file = space->value_file;
    if (rc == STRATA_OK) {
        value_file_ref(file);
        generation_ref(g);
        g->stores++;
    }
    os_mutex_unlock(&db->values.lock);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = value_file_append(file, value, compression, &placed_out->place);
    if (rc == STRATA_OK) {
        atomic_fetch_add_explicit(&g->value_bytes, value.bytes, memory_order_relaxed);
    }
    store_ended(db, g);
    value_file_unref(file);
    return rc;
}

strata_rc values_store(strata_db *db, struct strata_keyspace *space, struct slice value,
                       struct value_placed *placed_out)
{
    strata_rc rc;
    do {
        rc = store_once(db, space, value, placed_out);
    } while (rc == STRATA_BUSY); // that file took no more; it says that it is full
    return rc;
}

strata_rc values_make_place_locked(strata_db *db)
{
    if (generation_places_left(db->commit.active) == 0) {
        strata_rc rc = db_seal_locked(db);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    os_mutex_lock(&db->values.lock);
    strata_rc rc = generation_value_room(db->commit.active);
    os_mutex_unlock(&db->values.lock);
    return rc;
}

void values_attach_locked(strata_db *db, const struct value_own *own)
{
    struct generation *g = db->commit.active;
    value_file_ref(own->file);
    os_mutex_lock(&db->values.lock);
    generation_add_value_file(g, own->number, own->keyspace, own->file);
    os_mutex_unlock(&db->values.lock);
    atomic_fetch_add_explicit(&g->value_bytes, own->bytes, memory_order_relaxed);
}

void values_switch_locked(strata_db *db)
{
    uint32_t count = atomic_load_explicit(&db->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        db->spaces[i]->value_file = NULL;
    }
    db->values.seals++;
}

void values_discard(struct generation *g)
{
    uint32_t count = generation_value_files(g);
    for (uint32_t i = 0; i < count; i++) {
        value_file_delete_at_close(g->value_files[i].file);
    }
}

// ---- to disk

// References to the files of a generation that are being written.
static uint32_t collect_unfinished(const struct generation *g, struct value_file **to)
{
    uint32_t count = generation_value_files(g);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct value_file *file = g->value_files[i].file;
        if (!value_file_is_finished(file)) {
            ASSERT(taken < DB_GENERATION_VALUE_FILES_MAX);
            value_file_ref(file);
            to[taken++] = file;
        }
    }
    return taken;
}

strata_rc values_sync(void *ctx)
{
    strata_db *db = ctx;
    struct value_file *files[(DB_SEALED_MAX + 2) * DB_GENERATION_VALUE_FILES_MAX];
    uint32_t count = 0;
    os_mutex_lock(&db->mu.lock);
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        count += collect_unfinished(db->mu.sealed[i], files + count);
    }
    if (db->commit.active != NULL) {
        count += collect_unfinished(db->commit.active, files + count);
    }
    os_mutex_unlock(&db->mu.lock);
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (rc == STRATA_OK) {
            rc = value_file_sync(files[i]);
        }
        value_file_unref(files[i]);
    }
    return rc;
}

static bool space_is_gone(strata_db *db, uint64_t number)
{
    const struct strata_keyspace *space = space_by_number(db, number);
    return space == NULL || atomic_load_explicit(&space->dropped, memory_order_acquire);
}

static bool holds_values(const struct value_meta *meta)
{
    return meta->logical_count > 0 && meta->logicals[0].records > 0;
}

strata_rc values_finish(strata_db *db, struct generation *g)
{
    os_mutex_lock(&db->values.lock);
    while (g->stores > 0) { // of writers that will find it sealed
        os_cond_wait(&db->values.changed, &db->values.lock);
    }
    os_mutex_unlock(&db->values.lock);
    uint32_t count = generation_value_files(g);
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < count && rc == STRATA_OK; i++) {
        if (!space_is_gone(db, g->value_files[i].keyspace)) {
            rc = value_file_finish(g->value_files[i].file);
        }
    }
    return rc;
}

strata_rc values_into_edit(strata_db *db, struct generation *g, struct edit *e)
{
    strata_rc rc = values_finish(db, g);
    uint32_t count = generation_value_files(g);
    for (uint32_t i = 0; i < count && rc == STRATA_OK; i++) {
        struct value_file *file = g->value_files[i].file;
        // A keyspace that is there now was there when its files were finished.
        bool gone = space_is_gone(db, g->value_files[i].keyspace);
        if (!gone && holds_values(value_file_meta(file))) {
            rc = edit_add_value_file(e, value_file_meta(file), file);
        } else if (db->edit.manifest != NULL) {
            // During recovery the log that names the file still counts; the open removes it.
            value_file_delete_at_close(file);
        }
    }
    return rc;
}

// ---- finding

static bool generation_value_file(const struct generation *g, uint64_t logical,
                                  struct value_file **file_out)
{
    uint32_t count = generation_value_files(g);
    for (uint32_t i = count; i > 0; i--) {
        if (g->value_files[i - 1].number == logical) {
            *file_out = g->value_files[i - 1].file;
            value_file_ref(*file_out);
            return true;
        }
    }
    return false;
}

static strata_rc catalog_value_file(const struct catalog *catalog, uint64_t logical,
                                    struct value_file **file_out)
{
    const struct catalog_value *v = catalog_value_find(catalog, logical);
    if (v == NULL) {
        *file_out = NULL;
        return fail(STRATA_CORRUPT, "value file %llu is referred to, but not there",
                    (unsigned long long)logical);
    }
    *file_out = v->in;
    value_file_ref(*file_out);
    return STRATA_OK;
}

strata_rc view_value_file(const struct view *v, uint64_t logical, struct value_file **file_out)
{
    for (uint32_t i = 0; i < v->generation_count; i++) {
        if (generation_value_file(v->generations[i], logical, file_out)) {
            return STRATA_OK;
        }
    }
    return catalog_value_file(v->catalog, logical, file_out);
}

strata_rc db_value_file(void *ctx, uint64_t logical, struct value_file **file_out)
{
    strata_db *db = ctx;
    if (db->edit.manifest == NULL) { // recovery: nothing is published yet
        return generation_value_file(db->commit.active, logical, file_out)
                   ? STRATA_OK
                   : catalog_value_file(db->edit.catalog, logical, file_out);
    }
    uint64_t visible;
    struct view *v = view_pin(db, &visible);
    strata_rc rc = view_value_file(v, logical, file_out);
    view_unref(db, v);
    return rc;
}
