// strata_verify: every byte of a database that nobody has open. Writes nothing.
#include "db/verify.h"

#include "base/alloc.h"
#include "base/fail.h"

#define VERIFY_FILES_MAX 64u

void verify_fault(void *ctx, const char *text)
{
    struct verifier *v = ctx;
    v->report->faults++;
    if (v->fault != NULL) {
        v->fault(v->ctx, text);
    }
}

strata_rc verify_note(struct verifier *v, strata_rc rc)
{
    if (rc == STRATA_CORRUPT || rc == STRATA_VERSION) {
        verify_fault(v, fail_text());
        return STRATA_OK;
    }
    return rc;
}

static strata_rc verify_tree(struct verifier *v, const struct tree *t)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                uint64_t blocks = 0;
                strata_rc rc = table_verify(run->tables[i], verify_fault, v, &blocks);
                v->report->files++;
                v->report->blocks += blocks;
                v->report->bytes += table_meta(run->tables[i])->bytes;
                if (rc == STRATA_OK || rc == STRATA_CORRUPT) {
                    rc = verify_references(v, run->tables[i]);
                }
                if (rc != STRATA_OK) {
                    return rc;
                }
            }
        }
    }
    strata_rc rc = tree_check(t);
    if (rc != STRATA_OK) {
        verify_fault(v, fail_text());
    }
    return STRATA_OK;
}

static strata_rc verify_record(void *ctx, const struct wal_record *record)
{
    struct verifier *v = ctx;
    strata_rc rc = verify_logged_values(v, record);
    if (rc == STRATA_OK) {
        v->report->records++;
        v->report->bytes += record->payload.bytes;
    }
    return rc;
}

static strata_rc verify_all(struct verifier *v, const struct table_env *env)
{
    struct catalog *catalog = NULL;
    uint64_t manifest;
    strata_rc rc = manifest_load(env, &catalog, &manifest);
    if (rc == STRATA_NOT_FOUND) {
        return fail(rc, "%s holds no database", env->dir->path);
    }
    if (rc != STRATA_OK) {
        return verify_note(v, rc);
    }
    v->report->files++;
    v->env = (struct value_env){env->dir, env->cache, env->memory, env->files};
    v->catalog = catalog;
    rc = verify_value_files(v);
    for (uint32_t i = 0; i < catalog->space_count && rc == STRATA_OK; i++) {
        rc = verify_tree(v, catalog->spaces[i].live);
        if (rc == STRATA_OK) {
            rc = verify_tree(v, catalog->spaces[i].history);
        }
    }
    if (rc == STRATA_OK) {
        struct wal_recovery found;
        rc = wal_recover(env->dir, catalog->flushed_commit, catalog->log_first_segment,
                         verify_record, v, &found);
        v->report->files += found.segments;
        if (rc == STRATA_OK) {
            rc = db_compare_log(env->dir, catalog, catalog->edits, &found);
        }
        rc = verify_note(v, rc);
    }
    verify_release(v);
    catalog_unref(catalog);
    return rc;
}

strata_rc db_verify(struct os_machine *machine, const char *path,
                    void (*fault)(void *ctx, const char *text), void *ctx,
                    strata_verify_report *report_out)
{
    struct verifier v = {.fault = fault, .ctx = ctx, .report = report_out};
    struct os_memory memory;
    struct cache *cache = NULL;
    struct os_dir *dir = NULL;
    struct os_file_cache *files = NULL;
    *report_out = (strata_verify_report){0};
    os_memory_init(&memory, 64u << 20);
    strata_rc rc = machine->open_dir(machine, path, false, &dir);
    if (rc == STRATA_NOT_FOUND) {
        return fail(rc, "there is no directory %s", path);
    }
    if (rc == STRATA_OK) {
        rc = os_dir_lock(dir, "LOCK", OS_LOCK_SHARED);
    }
    if (rc == STRATA_OK) {
        rc = cache_new(&memory, &cache);
    }
    if (rc == STRATA_OK) {
        rc = db_file_cache_new(machine, dir, VERIFY_FILES_MAX, &files);
    }
    if (rc == STRATA_OK) {
        struct table_env env = {dir, cache, &memory, files};
        rc = verify_all(&v, &env);
    }
    os_epoch_drain();
    if (cache != NULL) {
        cache_free(cache);
    }
    os_file_cache_free(files);
    os_dir_close(dir);
    if (rc == STRATA_OK && report_out->faults > 0) {
        rc =
            fail(STRATA_CORRUPT, "%llu faults in %s", (unsigned long long)report_out->faults, path);
    }
    return rc;
}
