// Value files without files, for tests of what holds them: the functions of value/value.h that
// edits and catalogs call, over metas alone. Included once by a test program; it counts what is
// open and notes which files would have been unlinked.
#ifndef UNIT_FAKE_VALUE_H
#define UNIT_FAKE_VALUE_H

#include "value/value.h"

#include <stdlib.h>
#include <string.h>

struct value_file {
    uint64_t refs;
    bool delete_at_close;
    struct value_meta meta;
};

static struct {
    uint64_t open, opens;
    uint64_t deleted[64];
    size_t deleted_count;
    uint64_t fail_file; // value_file_open of this file is STRATA_CORRUPT
} fake_values;

strata_rc value_meta_copy(const struct value_meta *from, struct value_meta *to_out)
{
    *to_out = *from;
    size_t bytes = from->logical_count * sizeof *from->logicals;
    to_out->logicals = malloc(bytes + 1);
    if (to_out->logicals == NULL) {
        *to_out = (struct value_meta){0};
        return STRATA_NO_MEMORY;
    }
    memcpy(to_out->logicals, from->logicals, bytes);
    return STRATA_OK;
}

void value_meta_release(struct value_meta *m)
{
    free(m->logicals);
    *m = (struct value_meta){0};
}

strata_rc value_file_open(const struct value_env *env, const struct value_meta *meta,
                          struct value_file **file_out)
{
    (void)env;
    *file_out = NULL;
    if (meta->file == fake_values.fail_file) {
        return STRATA_CORRUPT;
    }
    struct value_file *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return STRATA_NO_MEMORY;
    }
    if (value_meta_copy(meta, &f->meta) != STRATA_OK) {
        free(f);
        return STRATA_NO_MEMORY;
    }
    f->refs = 1;
    fake_values.open++;
    fake_values.opens++;
    *file_out = f;
    return STRATA_OK;
}

const struct value_meta *value_file_meta(const struct value_file *f)
{
    return &f->meta;
}

void value_file_ref(struct value_file *f)
{
    f->refs++;
}

void value_file_unref(struct value_file *f)
{
    if (f == NULL || --f->refs > 0) {
        return;
    }
    if (f->delete_at_close && fake_values.deleted_count < 64) {
        fake_values.deleted[fake_values.deleted_count++] = f->meta.file;
    }
    fake_values.open--;
    value_meta_release(&f->meta);
    free(f);
}

void value_file_delete_at_close(struct value_file *f)
{
    f->delete_at_close = true;
}

static inline bool fake_value_was_deleted(uint64_t file)
{
    for (size_t i = 0; i < fake_values.deleted_count; i++) {
        if (fake_values.deleted[i] == file) {
            return true;
        }
    }
    return false;
}

// A physical file of a keyspace that holds the logical file `first`, and `second` unless it is 0,
// each with 10 values of 1000 bytes in all. `logicals` is borrowed.
static inline struct value_meta fake_value_meta(uint64_t file, uint64_t keyspace,
                                                struct value_logical logicals[2], uint64_t first,
                                                uint64_t second)
{
    logicals[0] = (struct value_logical){first, 10, 1000};
    logicals[1] = (struct value_logical){second, 10, 1000};
    return (struct value_meta){.file = file,
                               .bytes = 2000 + file,
                               .keyspace = keyspace,
                               .logicals = logicals,
                               .logical_count = second == 0 ? 1 : 2};
}

#endif
