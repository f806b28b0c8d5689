// Edits in memory: filling and releasing. (Folding: edit_fold.c; bytes: edit_format.c.)
//
// Ownership: an edit owns the names and metas it holds and a reference to each open table and value
// file it was given. A function that fails leaves the edit as it was.
#include "manifest/manifest.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <inttypes.h>

#define SECOND_US 1000000

void edit_release(struct edit *e)
{
    for (size_t i = 0; i < e->table_count; i++) {
        if (e->tables[i].add) {
            table_meta_release(&e->tables[i].meta);
        }
        table_unref(e->tables[i].table);
    }
    for (size_t i = 0; i < e->value_count; i++) {
        value_meta_release(&e->values[i].meta);
        value_file_unref(e->values[i].open);
    }
    for (size_t i = 0; i < e->space_count; i++) {
        free(e->spaces[i].name);
    }
    free(e->tables);
    free(e->values);
    free(e->floors);
    free(e->spaces);
    free(e->seconds);
    *e = (struct edit){0};
}

// Makes room for one more element of `bytes` bytes in a growing array.
static strata_rc edit_grow(void **items, size_t *capacity, size_t count, size_t bytes)
{
    ASSERT(count <= *capacity);
    if (count < *capacity) {
        return STRATA_OK;
    }
    size_t wider = *capacity < 8 ? 8 : *capacity + *capacity / 2;
    void *moved = alloc_resize(*items, wider, bytes);
    if (moved == NULL) {
        return alloc_failed("an edit", wider * bytes);
    }
    *items = moved;
    *capacity = wider;
    return STRATA_OK;
}

static strata_rc edit_next_table(struct edit *e, struct edit_table **at_out)
{
    void *tables = e->tables;
    strata_rc rc = edit_grow(&tables, &e->table_capacity, e->table_count, sizeof *e->tables);
    e->tables = tables;
    if (rc == STRATA_OK) {
        *at_out = &e->tables[e->table_count];
        **at_out = (struct edit_table){0};
    }
    return rc;
}

// NOLINTNEXTLINE(readability-function-size): the place of a table, told once
strata_rc edit_add_table(struct edit *e, uint64_t keyspace, bool history, uint32_t level,
                         uint64_t run, const struct table_meta *meta, struct table *table)
{
    ASSERT(level < TREE_LEVELS_MAX);
    struct edit_table *at;
    strata_rc rc = edit_next_table(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = table_meta_copy(meta, &at->meta);
    if (rc != STRATA_OK) {
        return rc;
    }
    at->add = true;
    at->keyspace = keyspace;
    at->history = history;
    at->level = level;
    at->run = run;
    at->file = meta->file;
    at->table = table;
    if (table != NULL) {
        table_ref(table);
    }
    e->table_count++;
    return STRATA_OK;
}

strata_rc edit_remove_table(struct edit *e, uint64_t keyspace, bool history, uint64_t file)
{
    struct edit_table *at;
    strata_rc rc = edit_next_table(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    at->keyspace = keyspace;
    at->history = history;
    at->file = file;
    e->table_count++;
    return STRATA_OK;
}

static strata_rc edit_next_space(struct edit *e, struct edit_space **at_out)
{
    void *spaces = e->spaces;
    strata_rc rc = edit_grow(&spaces, &e->space_capacity, e->space_count, sizeof *e->spaces);
    e->spaces = spaces;
    if (rc == STRATA_OK) {
        *at_out = &e->spaces[e->space_count];
        **at_out = (struct edit_space){0};
    }
    return rc;
}

strata_rc edit_create_space(struct edit *e, uint64_t number, const char *name,
                            const strata_keyspace_options *options, uint64_t commit)
{
    ASSERT(name[0] != '\0');
    struct edit_space *at;
    strata_rc rc = edit_next_space(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    size_t bytes = strlen(name) + 1;
    at->name = alloc_array(bytes, 1);
    if (at->name == NULL) {
        return alloc_failed("a keyspace's name", bytes);
    }
    memcpy(at->name, name, bytes);
    at->number = number;
    at->options = *options;
    at->commit = commit;
    e->space_count++;
    return STRATA_OK;
}

strata_rc edit_drop_space(struct edit *e, uint64_t number, uint64_t commit)
{
    struct edit_space *at;
    strata_rc rc = edit_next_space(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    at->drop = true;
    at->number = number;
    at->commit = commit;
    e->space_count++;
    return STRATA_OK;
}

strata_rc edit_alter_space(struct edit *e, uint64_t number, const strata_keyspace_options *options)
{
    ASSERT(options->struct_bytes == sizeof *options);
    struct edit_space *at;
    strata_rc rc = edit_next_space(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    at->alter = true;
    at->number = number;
    at->options = *options;
    e->space_count++;
    return STRATA_OK;
}

strata_rc edit_set_floor(struct edit *e, uint64_t keyspace, uint64_t floor)
{
    void *floors = e->floors;
    strata_rc rc = edit_grow(&floors, &e->floor_capacity, e->floor_count, sizeof *e->floors);
    e->floors = floors;
    if (rc == STRATA_OK) {
        e->floors[e->floor_count++] = (struct edit_floor){keyspace, floor};
    }
    return rc;
}

static strata_rc edit_next_value(struct edit *e, struct edit_value **at_out)
{
    void *values = e->values;
    strata_rc rc = edit_grow(&values, &e->value_capacity, e->value_count, sizeof *e->values);
    e->values = values;
    if (rc == STRATA_OK) {
        *at_out = &e->values[e->value_count];
        **at_out = (struct edit_value){0};
    }
    return rc;
}

strata_rc edit_add_value_file(struct edit *e, const struct value_meta *meta,
                              struct value_file *file)
{
    struct edit_value *at;
    strata_rc rc = edit_next_value(e, &at);
    if (rc == STRATA_OK) {
        rc = value_meta_copy(meta, &at->meta);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    at->add = true;
    at->keyspace = meta->keyspace;
    at->file = meta->file;
    at->open = file;
    if (file != NULL) {
        value_file_ref(file);
    }
    e->value_count++;
    return STRATA_OK;
}

strata_rc edit_remove_value_file(struct edit *e, uint64_t keyspace, uint64_t file)
{
    struct edit_value *at;
    strata_rc rc = edit_next_value(e, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    at->keyspace = keyspace;
    at->file = file;
    e->value_count++;
    return STRATA_OK;
}

// ---- keyspaces that are gone

static void leave_out_tables(struct edit *e, const struct catalog *catalog)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->table_count; i++) {
        struct edit_table *t = &e->tables[i];
        if (catalog_space_find(catalog, t->keyspace) != NULL) {
            e->tables[kept++] = *t;
            continue;
        }
        if (t->add && t->table != NULL) {
            table_delete_at_close(t->table);
        }
        table_meta_release(&t->meta);
        table_unref(t->table);
    }
    e->table_count = kept;
}

static void leave_out_values(struct edit *e, const struct catalog *catalog)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->value_count; i++) {
        struct edit_value *v = &e->values[i];
        if (catalog_space_find(catalog, v->keyspace) != NULL) {
            e->values[kept++] = *v;
            continue;
        }
        if (v->add && v->open != NULL) {
            value_file_delete_at_close(v->open);
        }
        value_meta_release(&v->meta);
        value_file_unref(v->open);
    }
    e->value_count = kept;
}

void edit_leave_out_dropped(struct edit *e, const struct catalog *catalog)
{
    leave_out_tables(e, catalog);
    leave_out_values(e, catalog);
    size_t kept = 0;
    for (size_t i = 0; i < e->floor_count; i++) {
        if (catalog_space_find(catalog, e->floors[i].keyspace) != NULL) {
            e->floors[kept++] = e->floors[i];
        }
    }
    e->floor_count = kept;
}

// ---- seconds

static int64_t clock_second(int64_t us)
{
    int64_t second = us / SECOND_US;
    return us % SECOND_US < 0 ? second - 1 : second;
}

bool commit_second_merge(struct commit_second *last, const struct commit_second *next)
{
    if (clock_second(last->first_time_us) != clock_second(next->first_time_us)) {
        return false;
    }
    if (next->last_time_us > last->last_time_us) {
        last->last_time_us = next->last_time_us;
    }
    return true;
}

strata_rc edit_add_second(struct edit *e, const struct commit_second *second)
{
    ASSERT(second->first_time_us <= second->last_time_us);
    if (e->second_count > 0) {
        struct commit_second *last = &e->seconds[e->second_count - 1];
        ASSERT(last->first_commit <= second->first_commit);
        if (commit_second_merge(last, second)) {
            return STRATA_OK;
        }
    }
    void *seconds = e->seconds;
    strata_rc rc = edit_grow(&seconds, &e->second_capacity, e->second_count, sizeof *e->seconds);
    e->seconds = seconds;
    if (rc == STRATA_OK) {
        e->seconds[e->second_count++] = *second;
    }
    return rc;
}
