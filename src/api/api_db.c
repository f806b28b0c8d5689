// strata.h: outcomes, opening, keyspaces, maintenance and insight.
#include "api/api_check.h"
#include "base/fail.h"
#include "db/db.h"

#include <string.h>

const char *strata_rc_name(strata_rc rc)
{
    switch (rc) {
#define NAME(code)                                                                                 \
    case code:                                                                                     \
        return #code
        NAME(STRATA_OK);
        NAME(STRATA_NOT_FOUND);
        NAME(STRATA_END);
        NAME(STRATA_YIELD);
        NAME(STRATA_INVALID);
        NAME(STRATA_TOO_LARGE);
        NAME(STRATA_NO_MEMORY);
        NAME(STRATA_IO);
        NAME(STRATA_NO_SPACE);
        NAME(STRATA_CORRUPT);
        NAME(STRATA_LOCKED);
        NAME(STRATA_BUSY);
        NAME(STRATA_CONFLICT);
        NAME(STRATA_TRIMMED);
        NAME(STRATA_READ_ONLY);
        NAME(STRATA_UNKNOWN_OUTCOME);
        NAME(STRATA_VERSION);
        NAME(STRATA_UNSUPPORTED);
        NAME(STRATA_INTERNAL);
#undef NAME
    }
    return "an unknown strata_rc";
}

const char *strata_error_text(void)
{
    return fail_text();
}

const char *strata_version(void)
{
    return STRATA_VERSION_TEXT;
}

strata_slice strata_str(const char *text)
{
    return (strata_slice){text, text == NULL ? 0 : strlen(text)};
}

strata_rc strata_open(const char *path, const strata_options *options, strata_db **db_out)
{
    if (db_out == NULL) {
        return api_null("strata_open", "db_out");
    }
    *db_out = NULL;
    if (path == NULL || path[0] == '\0') {
        return fail(STRATA_INVALID, "strata_open: the path is empty");
    }
    return db_open(os_machine_posix(), path, options, db_out);
}

strata_rc strata_close(strata_db *db)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_close(db) : rc;
}

strata_rc strata_keyspace_create(strata_db *db, const char *name,
                                 const strata_keyspace_options *options,
                                 strata_keyspace **keyspace_out)
{
    if (keyspace_out == NULL) {
        return api_null("strata_keyspace_create", "keyspace_out");
    }
    *keyspace_out = NULL;
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_keyspace_create(db, name, options, keyspace_out) : rc;
}

strata_rc strata_keyspace_open(strata_db *db, const char *name, strata_keyspace **keyspace_out)
{
    if (keyspace_out == NULL) {
        return api_null("strata_keyspace_open", "keyspace_out");
    }
    *keyspace_out = NULL;
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_keyspace_open(db, name, keyspace_out) : rc;
}

strata_rc strata_keyspace_alter(strata_db *db, strata_keyspace *keyspace,
                                const strata_keyspace_options *options)
{
    struct strata_keyspace *space;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && options == NULL) {
        rc = api_null("strata_keyspace_alter", "options");
    }
    if (rc == STRATA_OK) {
        rc = space_resolve(db, keyspace, &space);
    }
    return rc == STRATA_OK ? db_keyspace_alter(db, space, options) : rc;
}

strata_rc strata_keyspace_drop(strata_db *db, const char *name)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_keyspace_drop(db, name) : rc;
}

strata_rc strata_keyspace_list(strata_db *db,
                               bool (*visit)(void *ctx, const strata_keyspace_info *info),
                               void *ctx)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && visit == NULL) {
        rc = api_null("strata_keyspace_list", "visit");
    }
    return rc == STRATA_OK ? db_keyspace_list(db, visit, ctx) : rc;
}

strata_rc strata_flush(strata_db *db)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_flush(db) : rc;
}

strata_rc strata_sync(strata_db *db)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_sync(db) : rc;
}

static strata_rc compact(strata_db *db, strata_keyspace *keyspace, bool values,
                         bool (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total),
                         void *ctx)
{
    struct strata_keyspace *space = NULL;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && keyspace != NULL) {
        rc = space_resolve(db, keyspace, &space);
    }
    return rc == STRATA_OK ? db_compact(db, space, values, progress, ctx) : rc;
}

strata_rc strata_compact(strata_db *db, strata_keyspace *keyspace,
                         bool (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total),
                         void *ctx)
{
    return compact(db, keyspace, false, progress, ctx);
}

strata_rc strata_compact_values(strata_db *db, strata_keyspace *keyspace,
                                bool (*progress)(void *ctx, uint64_t bytes_done,
                                                 uint64_t bytes_total),
                                void *ctx)
{
    return compact(db, keyspace, true, progress, ctx);
}

strata_rc strata_space_of(strata_db *db, strata_keyspace *keyspace, strata_space *space_out)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && space_out == NULL) {
        rc = api_null("strata_space_of", "space_out");
    }
    return rc == STRATA_OK ? db_space(db, keyspace, space_out) : rc;
}

strata_rc strata_wait_idle(strata_db *db)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_wait_idle(db) : rc;
}

strata_rc strata_stats(strata_db *db, strata_metric *metrics_out, size_t capacity,
                       size_t *count_out)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && count_out == NULL) {
        rc = api_null("strata_stats", "count_out");
    }
    if (rc == STRATA_OK && metrics_out == NULL && capacity > 0) {
        rc = api_null("strata_stats", "metrics_out");
    }
    return rc == STRATA_OK ? db_stats(db, metrics_out, capacity, count_out) : rc;
}

strata_rc strata_tree(strata_db *db, bool (*visit)(void *ctx, const strata_table_info *info),
                      void *ctx)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && visit == NULL) {
        rc = api_null("strata_tree", "visit");
    }
    return rc == STRATA_OK ? db_tree(db, visit, ctx) : rc;
}

strata_rc strata_check(strata_db *db)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? db_check(db) : rc;
}

strata_rc strata_verify(const char *path, void (*fault)(void *ctx, const char *text), void *ctx,
                        strata_verify_report *report_out)
{
    strata_verify_report report;
    if (path == NULL || path[0] == '\0') {
        return fail(STRATA_INVALID, "strata_verify: the path is empty");
    }
    return db_verify(os_machine_posix(), path, fault, ctx,
                     report_out == NULL ? &report : report_out);
}
