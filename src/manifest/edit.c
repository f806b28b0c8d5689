// Edits in memory: filling, folding, releasing.
//
// Ownership: an edit owns the names and metas it holds and a reference to each open table it was
// given. A function that fails leaves the edit as it was; only a failed fold leaves one that is
// good for nothing but its release.
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
    for (size_t i = 0; i < e->space_count; i++) {
        free(e->spaces[i].name);
    }
    free(e->tables);
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

// ---- folding

static strata_rc fold_spaces_created(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->space_count; i++) {
        const struct edit_space *from = &next->spaces[i];
        if (from->drop) {
            continue;
        }
        for (size_t k = 0; k < e->space_count; k++) {
            if (e->spaces[k].number == from->number || strcmp(e->spaces[k].name, from->name) == 0) {
                return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " '%s' is created twice",
                            from->number, from->name);
            }
        }
        strata_rc rc = edit_create_space(e, from->number, from->name, &from->options, from->commit);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static void fold_take_table(struct edit *e, size_t index)
{
    table_meta_release(&e->tables[index].meta);
    table_unref(e->tables[index].table);
    e->table_count--;
    // The order of the tables says nothing.
    e->tables[index] = e->tables[e->table_count];
}

static strata_rc fold_spaces_dropped(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->space_count; i++) {
        if (!next->spaces[i].drop) {
            continue;
        }
        uint64_t number = next->spaces[i].number;
        size_t at = 0;
        while (at < e->space_count && e->spaces[at].number != number) {
            at++;
        }
        if (at == e->space_count) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " is dropped but not there", number);
        }
        free(e->spaces[at].name);
        e->space_count--;
        memmove(&e->spaces[at], &e->spaces[at + 1], (e->space_count - at) * sizeof *e->spaces);
        for (size_t k = e->table_count; k-- > 0;) {
            if (e->tables[k].keyspace == number) {
                fold_take_table(e, k);
            }
        }
    }
    return STRATA_OK;
}

static strata_rc fold_tables(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->table_count; i++) {
        const struct edit_table *from = &next->tables[i];
        bool found = from->add;
        // Files that leave came lately, as a rule: from the end.
        for (size_t k = from->add ? 0 : e->table_count; k-- > 0;) {
            if (e->tables[k].file == from->file && e->tables[k].keyspace == from->keyspace &&
                e->tables[k].history == from->history) {
                fold_take_table(e, k);
                found = true;
            }
        }
        if (!found) {
            return fail(STRATA_CORRUPT,
                        "table %" PRIu64 " of keyspace %" PRIu64 " is removed but not there",
                        from->file, from->keyspace);
        }
    }
    for (size_t i = 0; i < next->table_count; i++) {
        const struct edit_table *from = &next->tables[i];
        if (!from->add) {
            continue;
        }
        size_t at = 0;
        while (at < e->space_count && e->spaces[at].number != from->keyspace) {
            at++;
        }
        if (at == e->space_count) {
            return fail(STRATA_CORRUPT,
                        "table %" PRIu64 " belongs to keyspace %" PRIu64 ", which is not there",
                        from->file, from->keyspace);
        }
        strata_rc rc = edit_add_table(e, from->keyspace, from->history, from->level, from->run,
                                      &from->meta, from->table);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc fold_seconds(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->second_count; i++) {
        const struct commit_second *second = &next->seconds[i];
        if (e->second_count > 0 &&
            e->seconds[e->second_count - 1].first_commit > second->first_commit) {
            return fail(STRATA_CORRUPT, "the second of commit %" PRIu64 " is out of order",
                        second->first_commit);
        }
        strata_rc rc = edit_add_second(e, second);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static void raise_to(uint64_t *number, uint64_t least)
{
    if (*number < least) {
        *number = least;
    }
}

// The numbers of an edit, and those that its parts imply.
static strata_rc fold_numbers(struct edit *e, const struct edit *next)
{
    if (next->flushed_commit != 0 && next->flushed_commit < e->flushed_commit) {
        return fail(STRATA_CORRUPT, "the flushed commit goes back from %" PRIu64 " to %" PRIu64,
                    e->flushed_commit, next->flushed_commit);
    }
    raise_to(&e->flushed_commit, next->flushed_commit);
    if (next->log_first_segment != 0) {
        e->log_first_segment = next->log_first_segment;
    }
    raise_to(&e->next_file, next->next_file);
    raise_to(&e->next_run, next->next_run);
    raise_to(&e->next_keyspace, next->next_keyspace);
    raise_to(&e->incarnation, next->incarnation);
    for (size_t i = 0; i < next->table_count; i++) {
        if (next->tables[i].add) {
            raise_to(&e->next_file, next->tables[i].file + 1);
            raise_to(&e->next_run, next->tables[i].run + 1);
        }
    }
    for (size_t i = 0; i < next->space_count; i++) {
        raise_to(&e->next_keyspace, next->spaces[i].number + 1);
    }
    return STRATA_OK;
}

strata_rc edit_fold(struct edit *e, const struct edit *next)
{
    if (e->snapshot_end && next->snapshot_end) {
        return fail(STRATA_CORRUPT, "a second snapshot behind the first");
    }
    strata_rc rc = fold_spaces_created(e, next);
    if (rc == STRATA_OK) {
        rc = fold_tables(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_spaces_dropped(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_seconds(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_numbers(e, next);
    }
    if (rc == STRATA_OK) {
        e->edits = e->snapshot_end ? e->edits + 1 : next->edits;
        e->snapshot_end = e->snapshot_end || next->snapshot_end;
    }
    return rc;
}
