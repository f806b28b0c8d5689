// The value files of a catalog, and what its tables refer to in them.
//
// Invariants: physical files stand by number, logical ones too; a logical file is in exactly one
// physical file, of the same keyspace as every table that refers to it. live_uses and history_uses
// are the sums of table_meta.uses over the tables of all live and all history trees; they are kept
// from catalog to catalog by adding what comes and taking off what leaves.
//
// While a catalog is made a logical file may be in none: its physical file has left, and either
// another one comes with it or nothing refers to it any more (catalog_values_settle).
//
// Thread rule: as catalog.c.
#include "manifest/catalog_values.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <inttypes.h>

// Index of the first logical file whose number is not less.
static uint32_t value_index(const struct catalog *c, uint64_t logical)
{
    uint32_t low = 0, high = c->value_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->values[middle].file < logical) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct catalog_value *value_find(const struct catalog *c, uint64_t logical)
{
    uint32_t index = value_index(c, logical);
    bool there = index < c->value_count && c->values[index].file == logical;
    return there ? &c->values[index] : NULL;
}

const struct catalog_value *catalog_value_find(const struct catalog *c, uint64_t logical)
{
    return value_find(c, logical);
}

// Index of the first physical file whose number is not less.
static uint32_t file_index(const struct catalog *c, uint64_t file)
{
    uint32_t low = 0, high = c->value_file_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (value_file_meta(c->value_files[middle])->file < file) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct value_file *catalog_value_file(const struct catalog *c, uint64_t file)
{
    uint32_t index = file_index(c, file);
    bool there =
        index < c->value_file_count && value_file_meta(c->value_files[index])->file == file;
    return there ? c->value_files[index] : NULL;
}

strata_rc catalog_values_copy(struct catalog *c, const struct catalog *old, const struct edit *e)
{
    size_t files = old->value_file_count;
    size_t values = old->value_count;
    for (size_t i = 0; i < e->value_count; i++) {
        files += e->values[i].add;
        values += e->values[i].add ? e->values[i].meta.logical_count : 0;
    }
    if (files == 0) {
        return STRATA_OK;
    }
    c->value_files = alloc_array(files, sizeof(struct value_file *));
    c->values = alloc_array(values, sizeof *c->values);
    if (c->value_files == NULL || c->values == NULL || files > UINT32_MAX || values > UINT32_MAX) {
        return alloc_failed("value files",
                            files * sizeof(struct value_file *) + values * sizeof *c->values);
    }
    for (uint32_t i = 0; i < old->value_file_count; i++) {
        c->value_files[i] = old->value_files[i];
        value_file_ref(c->value_files[i]);
    }
    c->value_file_count = old->value_file_count;
    if (old->value_count > 0) {
        memcpy(c->values, old->values, old->value_count * sizeof *c->values);
    }
    c->value_count = old->value_count;
    return STRATA_OK;
}

// ---- files

static void files_take_out(struct catalog *c, uint32_t index)
{
    value_file_unref(c->value_files[index]);
    c->value_file_count--;
    memmove(&c->value_files[index], &c->value_files[index + 1],
            (c->value_file_count - index) * sizeof(struct value_file *));
}

static strata_rc files_leave(struct catalog *c, const struct edit_value *v)
{
    struct value_file *f = catalog_value_file(c, v->file);
    if (f == NULL || value_file_meta(f)->keyspace != v->keyspace) {
        return fail(STRATA_CORRUPT,
                    "value file %" PRIu64 " of keyspace %" PRIu64 " is removed but not there",
                    v->file, v->keyspace);
    }
    const struct value_meta *m = value_file_meta(f);
    for (uint32_t i = 0; i < m->logical_count; i++) {
        struct catalog_value *value = value_find(c, m->logicals[i].file);
        ASSERT(value != NULL && value->in == f);
        value->in = NULL;
        value->stored_bytes = 0;
    }
    files_take_out(c, file_index(c, v->file));
    return STRATA_OK;
}

// The logical file is in `f`; there is room for it.
static strata_rc logical_comes(struct catalog *c, struct value_file *f,
                               const struct value_logical *l)
{
    uint32_t index = value_index(c, l->file);
    struct catalog_value *at = &c->values[index];
    if (index == c->value_count || at->file != l->file) {
        memmove(at + 1, at, (c->value_count - index) * sizeof *at);
        *at = (struct catalog_value){.file = l->file};
        c->value_count++;
    } else if (at->in != NULL) {
        return fail(STRATA_CORRUPT,
                    "logical value file %" PRIu64 " is in file %" PRIu64 " and in file %" PRIu64,
                    l->file, value_file_meta(at->in)->file, value_file_meta(f)->file);
    }
    at->in = f;
    at->stored_bytes = l->raw_bytes;
    return STRATA_OK;
}

static strata_rc files_come(struct catalog *c, const struct edit_value *v,
                            const struct table_env *env)
{
    struct value_file *f = v->open;
    if (catalog_space_find(c, v->keyspace) == NULL) {
        return fail(STRATA_CORRUPT,
                    "value file %" PRIu64 " belongs to keyspace %" PRIu64 ", which is not there",
                    v->file, v->keyspace);
    }
    uint32_t index = file_index(c, v->file);
    if (catalog_value_file(c, v->file) != NULL) {
        return fail(STRATA_CORRUPT, "value file %" PRIu64 " is added but there already", v->file);
    }
    if (f != NULL) {
        value_file_ref(f);
    } else {
        struct value_env values = {0};
        if (env != NULL) {
            values = (struct value_env){env->dir, env->cache, env->memory, env->files};
        }
        strata_rc rc = value_file_open(&values, &v->meta, &f);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    ASSERT(value_file_meta(f)->file == v->file);
    memmove(&c->value_files[index + 1], &c->value_files[index],
            (c->value_file_count - index) * sizeof(struct value_file *));
    c->value_files[index] = f;
    c->value_file_count++;
    strata_rc rc = STRATA_OK;
    const struct value_meta *m = value_file_meta(f);
    for (uint32_t i = 0; rc == STRATA_OK && i < m->logical_count; i++) {
        rc = logical_comes(c, f, &m->logicals[i]);
    }
    return rc;
}

strata_rc catalog_values_change(struct catalog *c, const struct edit *e,
                                const struct table_env *env)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < e->value_count; i++) {
        if (!e->values[i].add) {
            rc = files_leave(c, &e->values[i]);
        }
    }
    for (size_t i = 0; rc == STRATA_OK && i < e->value_count; i++) {
        if (e->values[i].add) {
            rc = files_come(c, &e->values[i], env);
        }
    }
    return rc;
}

// ---- references

strata_rc catalog_values_count(struct catalog *c, const struct table_meta *m, bool history,
                               bool comes)
{
    for (uint32_t i = 0; i < m->use_count; i++) {
        const struct table_value_use *u = &m->uses[i];
        struct catalog_value *value = value_find(c, u->file);
        bool fits =
            value != NULL &&
            (!comes || (value->in != NULL && value_file_meta(value->in)->keyspace == m->keyspace));
        if (!fits) {
            return fail(STRATA_CORRUPT,
                        "table %" PRIu64 " of keyspace %" PRIu64 " refers to value file %" PRIu64
                        ", which is not there",
                        m->file, m->keyspace, u->file);
        }
        uint64_t *sum = history ? &value->history_uses : &value->live_uses;
        // Modulo 2^64: what was added comes off again.
        *sum = comes ? *sum + u->bytes : *sum - u->bytes;
    }
    return STRATA_OK;
}

strata_rc catalog_values_settle(struct catalog *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->value_count; i++) {
        struct catalog_value *v = &c->values[i];
        if (v->in == NULL && (v->live_uses != 0 || v->history_uses != 0)) {
            return fail(STRATA_CORRUPT,
                        "value file %" PRIu64 " has left, but tables refer to it: %" PRIu64
                        " bytes live, %" PRIu64 " in history",
                        v->file, v->live_uses, v->history_uses);
        }
        if (v->in == NULL) {
            continue;
        }
        uint64_t stored = v->stored_bytes;
        v->live_bytes = v->live_uses < stored ? v->live_uses : stored;
        uint64_t rest = stored - v->live_bytes;
        v->history_bytes = v->history_uses < rest ? v->history_uses : rest;
        c->values[kept++] = *v;
    }
    c->value_count = kept;
    return STRATA_OK;
}

// ---- the end

void catalog_values_drop(struct catalog *c, uint64_t keyspace)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->value_count; i++) {
        if (value_file_meta(c->values[i].in)->keyspace != keyspace) {
            c->values[kept++] = c->values[i];
        }
    }
    c->value_count = kept;
    for (uint32_t i = c->value_file_count; i-- > 0;) {
        if (value_file_meta(c->value_files[i])->keyspace == keyspace) {
            files_take_out(c, i);
        }
    }
}

void catalog_values_release(struct catalog *c)
{
    for (uint32_t i = 0; i < c->value_file_count; i++) {
        value_file_unref(c->value_files[i]);
    }
    free(c->value_files);
    free(c->values);
}
