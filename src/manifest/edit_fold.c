// The replay of a manifest without opening tables: edits folded into one that is always what one
// snapshot edit of the present state would be: creations of keyspaces with their present options,
// additions of tables and value files, and floors.
//
// A fold that fails leaves an edit that is good for nothing but its release.
#include "manifest/manifest.h"

#include "base/alloc.h"
#include "base/fail.h"

#include <inttypes.h>

// The keyspace of the folded edit, or NULL.
static struct edit_space *fold_space(struct edit *e, uint64_t number)
{
    for (size_t i = 0; i < e->space_count; i++) {
        if (e->spaces[i].number == number) {
            return &e->spaces[i];
        }
    }
    return NULL;
}

// STRATA_CORRUPT unless the keyspace is there. `what` and `file`: what belongs to it.
static strata_rc fold_needs_space(struct edit *e, uint64_t number, const char *what, uint64_t file)
{
    return fold_space(e, number) != NULL
               ? STRATA_OK
               : fail(STRATA_CORRUPT,
                      "%s %" PRIu64 " belongs to keyspace %" PRIu64 ", which is not there", what,
                      file, number);
}

static strata_rc fold_spaces_created(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->space_count; i++) {
        const struct edit_space *from = &next->spaces[i];
        if (from->drop || from->alter) {
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

static strata_rc fold_spaces_altered(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->space_count; i++) {
        if (!next->spaces[i].alter) {
            continue;
        }
        struct edit_space *space = fold_space(e, next->spaces[i].number);
        if (space == NULL) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " is altered but not there",
                        next->spaces[i].number);
        }
        space->options = next->spaces[i].options;
    }
    return STRATA_OK;
}

static void fold_take_value(struct edit *e, size_t index)
{
    value_meta_release(&e->values[index].meta);
    value_file_unref(e->values[index].open);
    e->value_count--;
    // The order of the value files says nothing.
    e->values[index] = e->values[e->value_count];
}

static strata_rc fold_values(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->value_count; i++) {
        const struct edit_value *from = &next->values[i];
        if (from->add) {
            continue;
        }
        size_t at = 0;
        while (at < e->value_count && e->values[at].file != from->file) {
            at++;
        }
        if (at == e->value_count || e->values[at].keyspace != from->keyspace) {
            return fail(STRATA_CORRUPT,
                        "value file %" PRIu64 " of keyspace %" PRIu64 " is removed but not there",
                        from->file, from->keyspace);
        }
        fold_take_value(e, at);
    }
    for (size_t i = 0; i < next->value_count; i++) {
        const struct edit_value *from = &next->values[i];
        if (!from->add) {
            continue;
        }
        strata_rc rc = fold_needs_space(e, from->keyspace, "value file", from->file);
        if (rc == STRATA_OK) {
            rc = edit_add_value_file(e, &from->meta, from->open);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc fold_floors(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->floor_count; i++) {
        const struct edit_floor *from = &next->floors[i];
        size_t at = 0;
        while (at < e->floor_count && e->floors[at].keyspace != from->keyspace) {
            at++;
        }
        strata_rc rc = fold_needs_space(e, from->keyspace, "floor", from->floor);
        if (rc == STRATA_OK && at == e->floor_count) {
            rc = edit_set_floor(e, from->keyspace, from->floor);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
        if (e->floors[at].floor < from->floor) {
            e->floors[at].floor = from->floor;
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

// Takes out everything that belongs to the keyspace.
static void fold_empty_space(struct edit *e, uint64_t number)
{
    for (size_t k = e->table_count; k-- > 0;) {
        if (e->tables[k].keyspace == number) {
            fold_take_table(e, k);
        }
    }
    for (size_t k = e->value_count; k-- > 0;) {
        if (e->values[k].keyspace == number) {
            fold_take_value(e, k);
        }
    }
    for (size_t k = e->floor_count; k-- > 0;) {
        if (e->floors[k].keyspace == number) {
            e->floors[k] = e->floors[--e->floor_count];
        }
    }
}

static strata_rc fold_spaces_dropped(struct edit *e, const struct edit *next)
{
    for (size_t i = 0; i < next->space_count; i++) {
        if (!next->spaces[i].drop) {
            continue;
        }
        uint64_t number = next->spaces[i].number;
        struct edit_space *space = fold_space(e, number);
        if (space == NULL) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " is dropped but not there", number);
        }
        free(space->name);
        e->space_count--;
        size_t behind = e->space_count - (size_t)(space - e->spaces);
        memmove(space, space + 1, behind * sizeof *space);
        fold_empty_space(e, number);
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
        strata_rc rc = fold_needs_space(e, from->keyspace, "table", from->file);
        if (rc == STRATA_OK) {
            rc = edit_add_table(e, from->keyspace, from->history, from->level, from->run,
                                &from->meta, from->table);
        }
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
    for (size_t i = 0; i < next->value_count; i++) {
        if (next->values[i].add) {
            raise_to(&e->next_file, next->values[i].file + 1);
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
        rc = fold_spaces_altered(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_values(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_tables(e, next);
    }
    if (rc == STRATA_OK) {
        rc = fold_floors(e, next);
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
