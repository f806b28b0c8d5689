// Tables without files, for tests of what holds tables: the functions of table/table.h that trees
// and catalogs call, over metas alone. Included once by a test program; it counts what is open and
// notes which files would have been unlinked.
#ifndef UNIT_FAKE_TABLE_H
#define UNIT_FAKE_TABLE_H

#include "table/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct fake_file { // what all references to one file share
    uint64_t number;
    uint64_t refs;
    bool delete_at_close;
};

struct table {
    uint64_t refs;
    struct fake_file *file;
    struct table_meta meta;
    struct range_dels *ranges; // the test's
};

static struct {
    uint64_t open; // tables, narrowed ones too
    uint64_t opens, narrows;
    uint64_t deleted[256];
    size_t deleted_count;
    uint64_t fail_file; // table_open of this file is STRATA_CORRUPT
} fake;

static inline struct table *fake_table_over(struct fake_file *file, const struct table_meta *meta)
{
    struct table *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    if (table_meta_copy(meta, &t->meta) != STRATA_OK) {
        free(t);
        return NULL;
    }
    t->refs = 1;
    t->file = file;
    file->refs++;
    fake.open++;
    return t;
}

strata_rc table_open(const struct table_env *env, const struct table_meta *meta,
                     struct table **table_out)
{
    (void)env;
    *table_out = NULL;
    if (meta->file == fake.fail_file) {
        return STRATA_CORRUPT;
    }
    struct fake_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return STRATA_NO_MEMORY;
    }
    file->number = meta->file;
    *table_out = fake_table_over(file, meta);
    if (*table_out == NULL) {
        free(file);
        return STRATA_NO_MEMORY;
    }
    fake.opens++;
    return STRATA_OK;
}

strata_rc table_narrow(struct table *t, struct slice lower, struct slice upper,
                       struct table **table_out)
{
    struct table_meta meta = t->meta;
    meta.lower = lower;
    meta.upper = upper;
    *table_out = fake_table_over(t->file, &meta);
    if (*table_out == NULL) {
        return STRATA_NO_MEMORY;
    }
    fake.narrows++;
    return STRATA_OK;
}

void table_ref(struct table *t)
{
    t->refs++;
}

void table_unref(struct table *t)
{
    if (t == NULL || --t->refs > 0) {
        return;
    }
    fake.open--;
    if (--t->file->refs == 0) {
        if (t->file->delete_at_close && fake.deleted_count < 256) {
            fake.deleted[fake.deleted_count++] = t->file->number;
        }
        free(t->file);
    }
    table_meta_release(&t->meta);
    free(t);
}

void table_delete_at_close(struct table *t)
{
    t->file->delete_at_close = true;
}

const struct table_meta *table_meta(const struct table *t)
{
    return &t->meta;
}

const struct range_dels *table_range_dels(const struct table *t)
{
    return t->ranges;
}

// Keys are taken to be as many as their first bytes.
double table_share(const struct table *t, struct slice lower, struct slice upper)
{
    double first = lower.data[0] > t->meta.lower.data[0] ? lower.data[0] : t->meta.lower.data[0];
    double end = upper.data[0] < t->meta.upper.data[0] ? upper.data[0] : t->meta.upper.data[0];
    double all = t->meta.upper.data[0] - t->meta.lower.data[0];
    return end > first ? (end - first) / all : 0;
}

// A meta with bounds given as texts (which it borrows), and numbers derived from the file's.
static inline struct table_meta fake_meta(uint64_t file, const char *lower, const char *upper)
{
    return (struct table_meta){
        .file = file,
        .bytes = 100 + file,
        .lower = slice_of(lower, strlen(lower)),
        .upper = slice_of(upper, strlen(upper)),
        .entries = 10 * file,
        .deletes = file,
        .range_fragments = file % 3,
        .commit_least = file,
        .commit_greatest = file + 7,
        .end_greatest = 0,
        .time_least_us = -(int64_t)file,
        .time_greatest_us = (int64_t)file * 1000,
        .raw_bytes = 300 + file,
    };
}

static inline bool fake_was_deleted(uint64_t file)
{
    for (size_t i = 0; i < fake.deleted_count; i++) {
        if (fake.deleted[i] == file) {
            return true;
        }
    }
    return false;
}

#endif
