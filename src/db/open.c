// Opening and closing.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <unistd.h>

#define DESCRIPTORS_KEPT 16 // of the process's: for log, manifest, lock and what the program opens
#define TABLES_OPEN_LEAST 4
#define MIB (1024ull * 1024)
#define MEMORY_LEAST (8 * MIB)
#define MEMORY_DEFAULT_MOST (256 * MIB)
#define MEMTABLE_LEAST (64 * 1024ull)
#define MEMTABLE_DEFAULT_MOST (64 * MIB)
#define SEGMENT_LEAST (16 * 1024ull)
#define SEGMENT_MOST (1024 * MIB)
#define SEGMENT_DEFAULT (64 * MIB)
#define SEGMENT_FIRST (256 * 1024ull)
// With more separated values than this in the log only, a close flushes: the next open would have
// to write their files anew.
#define CLOSE_VALUE_BYTES (8 * MIB)

// ---- options

static strata_rc out_of_range(const char *option, uint64_t given, uint64_t least, uint64_t most)
{
    return fail(STRATA_INVALID, "option %s is %llu; it must be %llu to %llu (0: the default)",
                option, (unsigned long long)given, (unsigned long long)least,
                (unsigned long long)most);
}

static strata_rc resolve_u64(const char *name, uint64_t *value, uint64_t fallback, uint64_t least,
                             uint64_t most)
{
    if (*value == 0) {
        *value = fallback;
    } else if (*value < least || *value > most) {
        return out_of_range(name, *value, least, most);
    }
    return STRATA_OK;
}

static strata_rc resolve_u32(const char *name, uint32_t *value, uint32_t fallback, uint32_t least,
                             uint32_t most)
{
    uint64_t wide = *value;
    strata_rc rc = resolve_u64(name, &wide, fallback, least, most);
    *value = (uint32_t)wide;
    return rc;
}

static uint64_t memory_default(void)
{
    uint64_t eighth = os_memory_machine_bytes() / 8;
    uint64_t bytes = eighth < MEMORY_DEFAULT_MOST ? eighth : MEMORY_DEFAULT_MOST;
    return bytes < MEMORY_LEAST ? MEMORY_LEAST : bytes;
}

static strata_rc resolve_flags(const strata_options *o)
{
    const uint32_t known = STRATA_OPEN_CREATE | STRATA_OPEN_NEW | STRATA_OPEN_READ_ONLY;
    if ((o->flags & ~known) != 0) {
        return fail(STRATA_INVALID, "option flags has unknown bits 0x%x", o->flags & ~known);
    }
    if ((o->flags & STRATA_OPEN_NEW) != 0 && (o->flags & STRATA_OPEN_CREATE) == 0) {
        return fail(STRATA_INVALID, "STRATA_OPEN_NEW needs STRATA_OPEN_CREATE");
    }
    if ((o->flags & STRATA_OPEN_READ_ONLY) != 0 && (o->flags & STRATA_OPEN_CREATE) != 0) {
        return fail(STRATA_INVALID, "STRATA_OPEN_READ_ONLY and STRATA_OPEN_CREATE exclude each "
                                    "other");
    }
    if ((unsigned)o->log_append > STRATA_LOG_PWRITE) {
        return fail(STRATA_INVALID, "option log_append is %d, which is no strata_log_append",
                    (int)o->log_append);
    }
    return STRATA_OK;
}

strata_rc db_options_resolve(const strata_options *given, strata_options *out)
{
    strata_options o = STRATA_OPTIONS_INIT;
    if (given != NULL && given->struct_bytes != sizeof o) {
        return fail(STRATA_INVALID,
                    "strata_options.struct_bytes is %zu, this library has %zu: begin with "
                    "STRATA_OPTIONS_INIT",
                    given->struct_bytes, sizeof o);
    }
    if (given != NULL) {
        o = *given;
    }
    if (o.keyspace.struct_bytes == 0) {
        o.keyspace.struct_bytes = sizeof o.keyspace; // zeroed: the size of the whole was checked
    }
    strata_keyspace_options keyspace;
    strata_rc rc = resolve_flags(&o);
    if (rc == STRATA_OK) {
        // What the machine has is asked for only when it matters: that reads a file or more.
        uint64_t fallback = o.memory_bytes == 0 ? memory_default() : 0;
        rc = resolve_u64("memory_bytes", &o.memory_bytes, fallback, MEMORY_LEAST, UINT64_MAX / 4);
    }
    if (rc == STRATA_OK) {
        uint64_t memtable = o.memory_bytes / 8;
        memtable = memtable < MEMTABLE_DEFAULT_MOST ? memtable : MEMTABLE_DEFAULT_MOST;
        rc = resolve_u64("memtable_bytes", &o.memtable_bytes, memtable, MEMTABLE_LEAST,
                         o.memory_bytes / 2);
    }
    if (rc == STRATA_OK) {
        rc = resolve_u32("background_threads", &o.background_threads, 2, 1, 64);
    }
    if (rc == STRATA_OK) {
        rc = resolve_u32("open_files_max", &o.open_files_max, 512, 16, UINT32_MAX);
    }
    if (rc == STRATA_OK) {
        rc = resolve_u64("log_segment_bytes", &o.log_segment_bytes, SEGMENT_DEFAULT, SEGMENT_LEAST,
                         SEGMENT_MOST);
    }
    if (rc == STRATA_OK && (o.log_segment_bytes & (o.log_segment_bytes - 1)) != 0) {
        rc = fail(STRATA_INVALID, "option log_segment_bytes is %llu; it must be a power of two",
                  (unsigned long long)o.log_segment_bytes);
    }
    if (rc == STRATA_OK) {
        rc = resolve_u64("log_bytes_max", &o.log_bytes_max, 4 * o.log_segment_bytes,
                         o.log_segment_bytes, UINT64_MAX / 4);
    }
    if (rc == STRATA_OK) {
        rc = keyspace_options_resolve(&o.keyspace, &keyspace);
    }
    if (rc == STRATA_OK) {
        rc = shape_bound_check(&keyspace);
    }
    if (rc == STRATA_OK) {
        o.keyspace = keyspace;
        *out = o;
    }
    return rc;
}

// ---- the handle

static void db_init(strata_db *db, struct os_machine *machine, const strata_options *options)
{
    db->magic = DB_MAGIC;
    db->pid = getpid();
    db->forks = db_forks();
    db->machine = machine;
    db->options = *options;
    db->read_only = (options->flags & STRATA_OPEN_READ_ONLY) != 0;
    os_mutex_init(&db->commit.lock);
    os_mutex_init(&db->edit.lock);
    os_mutex_init(&db->mu.lock);
    os_mutex_init(&db->times.lock);
    os_mutex_init(&db->values.lock);
    os_cond_init(&db->values.changed);
    os_mutex_init(&db->readers.lock);
    os_cond_init(&db->mu.changed);
    os_cond_init(&db->mu.tick);
    os_memory_init(&db->memory, options->memory_bytes);
    memtable_pool_init(&db->memtables, &db->memory, options->memtable_bytes);
    atomic_init(&db->next_file, 1);
    atomic_init(&db->seal_bytes, options->memtable_bytes);
    atomic_init(&db->next_run, 1);
    db->next_keyspace = 1;
    db->values.seals = 1;
}

// Frees the handle and everything it holds; the order is that of who uses whom.
static void db_free(strata_db *db)
{
    struct view *view = atomic_exchange(&db->view, NULL);
    view_unref(db, view);
    os_epoch_drain();
    generation_unref(db->commit.active, &db->memory);
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        generation_unref(db->mu.sealed[i], &db->memory);
    }
    catalog_unref(db->edit.catalog);
    if (db->wal != NULL) {
        wal_abandon(db->wal);
    }
    strata_rc ignored = manifest_close(db->edit.manifest);
    (void)ignored; // every edit was synced when it was appended
    if (db->executor != NULL) {
        db->executor->close(db->executor);
    }
    os_epoch_drain();
    if (db->cache != NULL) {
        cache_free(db->cache);
    }
    memtable_pool_release(&db->memtables);
    os_file_cache_free(db->tables.files);
    os_dir_close(db->dir);
    for (uint32_t i = 0; db->spaces != NULL && i < db->space_count; i++) {
        free(db->spaces[i]);
    }
    free(db->spaces);
    free(db->times.seconds);
    os_cond_release(&db->mu.changed);
    os_cond_release(&db->mu.tick);
    os_mutex_release(&db->commit.lock);
    os_mutex_release(&db->edit.lock);
    os_mutex_release(&db->mu.lock);
    os_mutex_release(&db->times.lock);
    os_mutex_release(&db->values.lock);
    os_cond_release(&db->values.changed);
    os_mutex_release(&db->readers.lock);
    db->magic = 0;
    free(db);
}

// ---- steps of an open

strata_rc db_file_cache_new(struct os_machine *machine, struct os_dir *dir, uint32_t most,
                            struct os_file_cache **cache_out)
{
    uint64_t limit = most;
    if (machine->descriptors_max != NULL) {
        uint64_t all = machine->descriptors_max(machine);
        uint64_t room = all > DESCRIPTORS_KEPT ? all - DESCRIPTORS_KEPT : 0;
        limit = limit < room ? limit : room;
    }
    limit = limit < TABLES_OPEN_LEAST ? TABLES_OPEN_LEAST : limit;
    return os_file_cache_new(dir, (size_t)limit, cache_out);
}

static bool is_foreign_name(void *ctx, const char *name, bool regular)
{
    bool *ours = ctx;
    enum file_kind kind;
    uint64_t number;
    *ours = regular && file_name_parse(name, &kind, &number);
    return !*ours;
}

// The lock is a file: not even that is put into a directory that never held a database.
static strata_rc expect_database(const strata_db *db)
{
    bool ours = false;
    strata_rc rc = os_dir_list(db->dir, is_foreign_name, &ours);
    if (rc == STRATA_OK && !ours) {
        rc = fail(STRATA_NOT_FOUND, "%s holds no database", db->dir->path);
    }
    return rc;
}

static strata_rc open_parts(strata_db *db, const char *path)
{
    const strata_options *o = &db->options;
    bool create = (o->flags & STRATA_OPEN_CREATE) != 0;
    db->spaces = alloc_zeroed(DB_SPACES_MAX, sizeof *db->spaces);
    if (db->spaces == NULL) {
        return alloc_failed("keyspaces", DB_SPACES_MAX * sizeof *db->spaces);
    }
    strata_rc rc = db->machine->open_dir(db->machine, path, create, &db->dir);
    if (rc == STRATA_OK && !create) {
        rc = expect_database(db);
    }
    if (rc == STRATA_OK) {
        rc = os_dir_lock(db->dir, "LOCK", db->read_only ? OS_LOCK_SHARED : OS_LOCK_EXCLUSIVE);
    }
    if (rc == STRATA_OK) {
        rc = cache_new(&db->memory, &db->cache);
    }
    if (rc == STRATA_OK) {
        db->tables = (struct table_env){db->dir, db->cache, &db->memory, NULL};
        rc = db_file_cache_new(db->machine, db->dir, o->open_files_max, &db->tables.files);
    }
    if (rc == STRATA_OK) {
        rc = db->machine->new_executor(db->machine, o->background_threads, &db->executor);
    }
    if (rc == STRATA_OK) {
        struct os_fs_facts facts;
        os_dir_facts(db->dir, &facts);
        db->log_mapped = o->log_append == STRATA_LOG_MAPPED ||
                         (o->log_append == STRATA_LOG_AUTO && facts.map_is_good);
        // A small memtable wants small segments too, or a tiny database keeps a large log.
        db->log_segment_bytes_first =
            o->log_segment_bytes < SEGMENT_FIRST ? o->log_segment_bytes : SEGMENT_FIRST;
    }
    return rc;
}

// The catalog of what is there, or of a new database.
static strata_rc open_catalog(strata_db *db, bool *fresh_out)
{
    uint64_t number_max;
    uint64_t manifest;
    bool data;
    *fresh_out = false;
    strata_rc rc = db_scan_directory(db, &number_max, &data);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = manifest_load(&db->tables, &db->edit.catalog, &manifest);
    if (rc == STRATA_OK && (db->options.flags & STRATA_OPEN_NEW) != 0) {
        return fail(STRATA_CONFLICT, "%s holds a database already", db->dir->path);
    }
    if (rc == STRATA_NOT_FOUND) {
        if (data) {
            return fail(STRATA_CORRUPT,
                        "%s holds logs or tables but no CURRENT: it was a database; "
                        "restore CURRENT or salvage it",
                        db->dir->path);
        }
        if ((db->options.flags & STRATA_OPEN_CREATE) == 0) {
            return fail(STRATA_NOT_FOUND, "%s holds no database", db->dir->path);
        }
        *fresh_out = true;
        rc = catalog_new(&db->edit.catalog);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    const struct catalog *c = db->edit.catalog;
    atomic_store(&db->next_file, c->next_file > number_max + 1 ? c->next_file : number_max + 1);
    atomic_store(&db->next_run, c->next_run);
    db->next_keyspace = c->next_keyspace;
    db->incarnation = c->incarnation + 1;
    return times_init(db, c);
}

// A new database: the keyspace "default" and a manifest, before there is any log. So a directory
// with logs or tables but without CURRENT is never just a creation that was cut short.
static strata_rc open_fresh(strata_db *db)
{
    struct edit e = {.next_keyspace = 2};
    struct catalog *next;
    struct manifest *manifest;
    strata_rc rc = edit_create_space(&e, 1, "default", &db->options.keyspace, 0);
    if (rc == STRATA_OK) {
        rc = catalog_apply(db->edit.catalog, &e, &db->tables, &next);
    }
    edit_release(&e);
    if (rc != STRATA_OK) {
        return rc;
    }
    catalog_unref(db->edit.catalog);
    db->edit.catalog = next;
    db->next_keyspace = 2;
    rc = manifest_new(db->dir, db_new_file_number(db), next, &manifest);
    return rc == STRATA_OK ? manifest_close(manifest) : rc;
}

static strata_rc open_spaces(strata_db *db, bool fresh)
{
    strata_rc rc = fresh ? open_fresh(db) : STRATA_OK;
    for (uint32_t i = 0; rc == STRATA_OK && i < db->edit.catalog->space_count; i++) {
        struct strata_keyspace *space;
        rc = space_adopt_locked(db, &db->edit.catalog->spaces[i], &space);
    }
    return rc;
}

// The new manifest: from here on the new log and whatever recovery flushed are the database.
static strata_rc open_manifest(strata_db *db)
{
    struct edit e = {.incarnation = db->incarnation,
                     .log_first_segment = wal_oldest_segment(db->wal),
                     .next_run = atomic_load(&db->next_run),
                     .next_keyspace = db->next_keyspace};
    uint64_t number = db_new_file_number(db);
    e.next_file = atomic_load(&db->next_file);
    struct catalog *next;
    strata_rc rc = catalog_apply(db->edit.catalog, &e, &db->tables, &next);
    if (rc != STRATA_OK) {
        return rc;
    }
    catalog_unref(db->edit.catalog);
    db->edit.catalog = next;
    rc = manifest_new(db->dir, number, next, &db->edit.manifest);
    if (rc == STRATA_OK) {
        db->manifest_first_bytes = manifest_bytes(db->edit.manifest);
        wal_note_edits(db->wal, next->edits);
        rc = db_remove_obsolete(db);
    }
    return rc;
}

static strata_rc open_publish(strata_db *db)
{
    struct view *view;
    os_mutex_lock(&db->mu.lock);
    strata_rc rc = view_build_locked(db, db->edit.catalog, &view);
    if (rc == STRATA_OK) {
        struct view *none = view_publish_locked(db, view);
        ASSERT(none == NULL);
        (void)none;
        space_update_locked(db);
        admission_update_locked(db);
    }
    os_mutex_unlock(&db->mu.lock);
    atomic_store(&db->visible, db->commit.last_commit);
    return rc;
}

static strata_rc open_all(strata_db *db, const char *path)
{
    bool fresh;
    strata_rc rc = open_parts(db, path);
    if (rc == STRATA_OK) {
        rc = open_catalog(db, &fresh);
    }
    if (rc == STRATA_OK) {
        rc = open_spaces(db, fresh);
    }
    if (rc == STRATA_OK) {
        rc = db_recover(db);
    }
    if (rc == STRATA_OK) {
        rc = db->read_only ? db_log_bytes(db, &db->log_bytes_found) : open_manifest(db);
    }
    if (rc == STRATA_OK) {
        rc = open_publish(db);
    }
    if (rc == STRATA_OK && !db->read_only) {
        rc = background_start(db);
    }
    return rc;
}

strata_rc db_open(struct os_machine *machine, const char *path, const strata_options *options,
                  strata_db **db_out)
{
    *db_out = NULL;
    strata_options resolved;
    strata_rc rc = db_options_resolve(options, &resolved);
    if (rc != STRATA_OK) {
        return rc;
    }
    strata_db *db = alloc_aligned(64, sizeof *db);
    if (db == NULL) {
        return alloc_failed("a database handle", sizeof *db);
    }
    memset(db, 0, sizeof *db);
    db_init(db, machine, &resolved);
    rc = open_all(db, path);
    if (rc != STRATA_OK) {
        background_stop(db);
        db_free(db);
        return rc;
    }
    db_emit(db, EVENT_opened, db->commit.last_commit,
            metrics_sum(&db->metrics, METRIC_recovered_commits),
            metrics_sum(&db->metrics, METRIC_recovered_cut_bytes), NULL);
    *db_out = db;
    return STRATA_OK;
}

static uint32_t streams_open(strata_db *db)
{
    os_mutex_lock(&db->values.lock);
    uint32_t streams = db->values.streams;
    os_mutex_unlock(&db->values.lock);
    return streams;
}

static uint64_t unflushed_value_bytes(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    uint64_t bytes = db->commit.active == NULL ? 0 : atomic_load(&db->commit.active->value_bytes);
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        bytes += atomic_load(&db->mu.sealed[i]->value_bytes);
    }
    os_mutex_unlock(&db->mu.lock);
    return bytes;
}

strata_rc db_close(strata_db *db)
{
    uint32_t readers = registered_count(db);
    uint32_t streams = streams_open(db);
    if (streams > 0) {
        return fail(STRATA_BUSY, "%u put streams are still open", streams);
    }
    if (readers > 0) {
        return fail(STRATA_BUSY, "%u iterators, readers or snapshots are still alive", readers);
    }
    if (!db->read_only && unflushed_value_bytes(db) > CLOSE_VALUE_BYTES) {
        (void)!db_flush(db); // what is not flushed is in the log
    }
    background_stop(db);
    db_emit_error(db);
    db_emit(db, EVENT_closing, atomic_load(&db->visible), 0, 0, NULL);
    strata_rc rc = STRATA_OK;
    if (db->wal != NULL && db->mu.error == STRATA_OK) {
        rc = wal_close(db->wal);
        db->wal = NULL;
    } else if (db->wal != NULL) {
        // Read-only after an error: what was committed in the background before is synced still.
        rc = wal_sync(db->wal, db->commit.last_commit);
    }
    db_free(db);
    return rc;
}
