// Catalogs: the list of what the database consists of, at one moment, with every table open.
//
// Invariants: keyspaces stand by number, numbers and names are unique; every keyspace has both
// trees; next_file, next_run and next_keyspace are above every number that a tree, a value file or
// a keyspace bears; the first commits of the seconds rise; a floor never sinks. (Value files:
// catalog_values.c.)
//
// Thread rule: a catalog never changes once made. Anyone who holds a reference may read it in any
// thread; catalog_apply has one caller at a time.
#include "manifest/manifest.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "manifest/catalog_values.h"

#include <inttypes.h>

strata_rc catalog_new(struct catalog **catalog_out)
{
    *catalog_out = NULL;
    struct catalog *c = alloc_zeroed(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("a catalog", sizeof *c);
    }
    atomic_init(&c->refs, 1);
    c->next_file = 1;
    c->next_run = 1;
    c->next_keyspace = 1;
    *catalog_out = c;
    return STRATA_OK;
}

void catalog_ref(struct catalog *c)
{
    uint64_t before = atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    (void)before;
}

static void catalog_space_release(struct catalog_space *s)
{
    free(s->name);
    tree_unref(s->live);
    tree_unref(s->history);
}

void catalog_unref(struct catalog *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < c->space_count; i++) {
        catalog_space_release(&c->spaces[i]);
    }
    catalog_values_release(c);
    free(c->spaces);
    free(c->seconds);
    free(c);
}

// Index of the first keyspace whose number is not less.
static uint32_t catalog_space_index(const struct catalog *c, uint64_t number)
{
    uint32_t low = 0, high = c->space_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->spaces[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct catalog_space *catalog_space_find(const struct catalog *c, uint64_t number)
{
    uint32_t index = catalog_space_index(c, number);
    bool there = index < c->space_count && c->spaces[index].number == number;
    return there ? &c->spaces[index] : NULL;
}

const struct catalog_space *catalog_space_named(const struct catalog *c, const char *name)
{
    for (uint32_t i = 0; i < c->space_count; i++) {
        if (strcmp(c->spaces[i].name, name) == 0) {
            return &c->spaces[i];
        }
    }
    return NULL;
}

// ---- the next catalog: keyspaces

// Adds a keyspace at its place; there is room. Takes references to the trees (NULL: new empty
// ones).
static strata_rc catalog_add_space(struct catalog *c, const struct catalog_space *from)
{
    size_t name_bytes = strlen(from->name) + 1;
    struct catalog_space s = *from;
    s.name = alloc_array(name_bytes, 1);
    if (s.name == NULL) {
        return alloc_failed("a keyspace's name", name_bytes);
    }
    memcpy(s.name, from->name, name_bytes);
    strata_rc rc = STRATA_OK;
    if (s.live == NULL) {
        rc = tree_new_empty(&s.live);
    } else {
        tree_ref(s.live);
    }
    if (s.history != NULL) {
        tree_ref(s.history);
    } else if (rc == STRATA_OK) {
        rc = tree_new_empty(&s.history);
    }
    if (rc != STRATA_OK) {
        catalog_space_release(&s);
        return rc;
    }
    uint32_t index = catalog_space_index(c, s.number);
    memmove(&c->spaces[index + 1], &c->spaces[index], (c->space_count - index) * sizeof *c->spaces);
    c->spaces[index] = s;
    c->space_count++;
    return STRATA_OK;
}

strata_rc catalog_trees(const struct catalog *c, struct catalog **trees_out)
{
    struct catalog *t;
    *trees_out = NULL;
    strata_rc rc = catalog_new(&t);
    if (rc != STRATA_OK) {
        return rc;
    }
    t->flushed_commit = c->flushed_commit;
    t->spaces = alloc_array(c->space_count, sizeof *t->spaces);
    if (t->spaces == NULL) {
        rc = alloc_failed("keyspaces", c->space_count * sizeof *t->spaces);
    }
    for (uint32_t i = 0; i < c->space_count && rc == STRATA_OK; i++) {
        rc = catalog_add_space(t, &c->spaces[i]);
    }
    if (rc != STRATA_OK) {
        catalog_unref(t);
        return rc;
    }
    *trees_out = t;
    return STRATA_OK;
}

static strata_rc catalog_copy_spaces(struct catalog *c, const struct catalog *old,
                                     const struct edit *e)
{
    size_t capacity = (size_t)old->space_count + e->space_count;
    c->spaces = alloc_array(capacity, sizeof *c->spaces);
    if (c->spaces == NULL || capacity > UINT32_MAX) {
        return alloc_failed("keyspaces", capacity * sizeof *c->spaces);
    }
    for (uint32_t i = 0; i < old->space_count; i++) {
        strata_rc rc = catalog_add_space(c, &old->spaces[i]);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    for (size_t i = 0; i < e->space_count; i++) {
        const struct edit_space *from = &e->spaces[i];
        if (from->drop || from->alter) {
            continue;
        }
        if (catalog_space_find(c, from->number) != NULL ||
            catalog_space_named(c, from->name) != NULL) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " '%s' is created twice", from->number,
                        from->name);
        }
        struct catalog_space space = {
            .number = from->number,
            .name = from->name,
            .options = from->options,
            .created_commit = from->commit,
        };
        strata_rc rc = catalog_add_space(c, &space);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

// The keyspace, which may still be changed, or NULL.
static struct catalog_space *catalog_space_at(struct catalog *c, uint64_t number)
{
    uint32_t index = catalog_space_index(c, number);
    bool there = index < c->space_count && c->spaces[index].number == number;
    return there ? &c->spaces[index] : NULL;
}

static strata_rc catalog_alter_spaces(struct catalog *c, const struct edit *e)
{
    for (size_t i = 0; i < e->space_count; i++) {
        if (!e->spaces[i].alter) {
            continue;
        }
        struct catalog_space *space = catalog_space_at(c, e->spaces[i].number);
        if (space == NULL) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " is altered but not there",
                        e->spaces[i].number);
        }
        space->options = e->spaces[i].options;
    }
    return STRATA_OK;
}

static strata_rc catalog_raise_floors(struct catalog *c, const struct edit *e)
{
    for (size_t i = 0; i < e->floor_count; i++) {
        const struct edit_floor *f = &e->floors[i];
        struct catalog_space *space = catalog_space_at(c, f->keyspace);
        if (space == NULL) {
            return fail(STRATA_CORRUPT,
                        "floor %" PRIu64 " belongs to keyspace %" PRIu64 ", which is not there",
                        f->floor, f->keyspace);
        }
        space->floor = f->floor > space->floor ? f->floor : space->floor;
    }
    return STRATA_OK;
}

static strata_rc catalog_drop_spaces(struct catalog *c, const struct edit *e)
{
    for (size_t i = 0; i < e->space_count; i++) {
        if (!e->spaces[i].drop) {
            continue;
        }
        uint32_t index = catalog_space_index(c, e->spaces[i].number);
        if (index == c->space_count || c->spaces[index].number != e->spaces[i].number) {
            return fail(STRATA_CORRUPT, "keyspace %" PRIu64 " is dropped but not there",
                        e->spaces[i].number);
        }
        catalog_values_drop(c, e->spaces[i].number);
        catalog_space_release(&c->spaces[index]);
        c->space_count--;
        memmove(&c->spaces[index], &c->spaces[index + 1],
                (c->space_count - index) * sizeof *c->spaces);
    }
    return STRATA_OK;
}

// ---- the next catalog: tables

// The open table of the tree that is the file, and whose bounds hold those of `meta` when `within`.
static struct table *tree_table(const struct tree *t, uint64_t file,
                                const struct table_meta *within)
{
    for (uint32_t level = 0; level < t->level_count; level++) {
        for (uint32_t i = 0; i < t->levels[level].count; i++) {
            const struct run *r = t->levels[level].runs[i];
            for (uint32_t k = 0; k < r->count; k++) {
                const struct table_meta *meta = table_meta(r->tables[k]);
                if (meta->file == file &&
                    (within == NULL || (slice_compare(meta->lower, within->lower) <= 0 &&
                                        slice_compare(meta->upper, within->upper) >= 0))) {
                    return r->tables[k];
                }
            }
        }
    }
    return NULL;
}

// A reference to the table that an addition stands for: the job's, one that is open already (moved
// or narrowed), or a newly opened one.
static strata_rc catalog_table(const struct catalog *old, const struct edit_table *add,
                               const struct table_env *env, struct table **table_out)
{
    *table_out = add->table;
    if (add->table != NULL) {
        table_ref(add->table);
        return STRATA_OK;
    }
    const struct catalog_space *space = catalog_space_find(old, add->keyspace);
    struct table *open = NULL;
    if (space != NULL) {
        open = tree_table(space->live, add->file, &add->meta);
        if (open == NULL) {
            open = tree_table(space->history, add->file, &add->meta);
        }
    }
    if (open == NULL) {
        return table_open(env, &add->meta, table_out);
    }
    const struct table_meta *meta = table_meta(open);
    if (slice_equal(meta->lower, add->meta.lower) && slice_equal(meta->upper, add->meta.upper)) {
        table_ref(open);
        *table_out = open;
        return STRATA_OK;
    }
    return table_narrow(open, add->meta.lower, add->meta.upper, table_out);
}

// A catalog in the making, and the tree of it whose tables come and leave.
struct table_count {
    struct catalog *catalog;
    bool history;
};

static strata_rc catalog_table_left(void *ctx, const struct table *t)
{
    const struct table_count *to = ctx;
    return catalog_values_count(to->catalog, table_meta(t), to->history, false);
}

// Keeps the sums of what tables refer to in value files.
static strata_rc catalog_count_tables(struct catalog *c, bool history, const struct tree *before,
                                      const struct tree *after, const struct tree_change *changes,
                                      size_t count)
{
    struct table_count to = {c, history};
    strata_rc rc = STRATA_OK;
    if (before->value_bytes != 0) {
        rc = tree_visit_removed(before, after, changes, count, catalog_table_left, &to);
    }
    for (size_t i = 0; rc == STRATA_OK && i < count; i++) {
        if (changes[i].add) {
            rc = catalog_values_count(c, table_meta(changes[i].table), history, true);
        }
    }
    return rc;
}

// Applies changes of one tree of `c`: `group` holds them all.
static strata_rc catalog_change_tree(struct catalog *c, struct tree **tree,
                                     const struct catalog *old,
                                     const struct edit_table *const *group, size_t count,
                                     const struct table_env *env)
{
    struct tree *next = NULL;
    size_t made = 0;
    strata_rc rc = STRATA_OK;
    struct tree_change *changes = alloc_zeroed(count, sizeof *changes);
    if (changes == NULL) {
        return alloc_failed("changes of a tree", count * sizeof *changes);
    }
    for (; made < count; made++) {
        const struct edit_table *from = group[made];
        struct tree_change *to = &changes[made];
        *to = (struct tree_change){.add = from->add, .file = from->file};
        if (from->add) {
            to->level = from->level;
            to->run = from->run;
            rc = catalog_table(old, from, env, &to->table);
            if (rc != STRATA_OK) {
                goto done;
            }
        }
    }
    rc = tree_apply(*tree, changes, count, &next);
    if (rc == STRATA_OK) {
        rc = catalog_count_tables(c, group[0]->history, *tree, next, changes, count);
        tree_unref(*tree);
        *tree = next;
    }
done:
    for (size_t i = 0; i < made; i++) {
        table_unref(changes[i].table);
    }
    free(changes);
    return rc;
}

static int group_order(const void *a, const void *b)
{
    const struct edit_table *x = *(const struct edit_table *const *)a;
    const struct edit_table *y = *(const struct edit_table *const *)b;
    if (x->keyspace != y->keyspace) {
        return x->keyspace < y->keyspace ? -1 : 1;
    }
    return (int)x->history - (int)y->history;
}

static strata_rc catalog_change_tables(struct catalog *c, const struct catalog *old,
                                       const struct edit *e, const struct table_env *env)
{
    const struct edit_table **sorted = alloc_array(e->table_count, sizeof *sorted);
    if (sorted == NULL) {
        return alloc_failed("an edit", e->table_count * sizeof *sorted);
    }
    for (size_t i = 0; i < e->table_count; i++) {
        sorted[i] = &e->tables[i];
    }
    qsort(sorted, e->table_count, sizeof(struct edit_table *), group_order);
    strata_rc rc = STRATA_OK;
    for (size_t first = 0, end; rc == STRATA_OK && first < e->table_count; first = end) {
        const struct edit_table *head = sorted[first];
        end = first + 1;
        while (end < e->table_count && group_order(&head, &sorted[end]) == 0) {
            end++;
        }
        uint32_t index = catalog_space_index(c, head->keyspace);
        if (index == c->space_count || c->spaces[index].number != head->keyspace) {
            rc = fail(STRATA_CORRUPT,
                      "table %" PRIu64 " belongs to keyspace %" PRIu64 ", which is not there",
                      head->file, head->keyspace);
            break;
        }
        struct catalog_space *space = &c->spaces[index];
        rc = catalog_change_tree(c, head->history ? &space->history : &space->live, old,
                                 sorted + first, end - first, env);
        if (rc == STRATA_CORRUPT) {
            rc = fail_in(rc, "%s tree of keyspace '%s'", head->history ? "history" : "live",
                         space->name);
        }
    }
    free(sorted);
    return rc;
}

// ---- the next catalog: numbers and seconds

static void catalog_raise(uint64_t *number, uint64_t least)
{
    if (*number < least) {
        *number = least;
    }
}

static strata_rc catalog_change_numbers(struct catalog *c, const struct catalog *old,
                                        const struct edit *e)
{
    c->edits = e->snapshot_end ? e->edits : old->edits + 1;
    c->incarnation = old->incarnation;
    c->next_file = old->next_file;
    c->next_run = old->next_run;
    c->next_keyspace = old->next_keyspace;
    c->flushed_commit = old->flushed_commit;
    c->log_first_segment =
        e->log_first_segment != 0 ? e->log_first_segment : old->log_first_segment;
    if (e->flushed_commit != 0 && e->flushed_commit < old->flushed_commit) {
        return fail(STRATA_CORRUPT, "the flushed commit goes back from %" PRIu64 " to %" PRIu64,
                    old->flushed_commit, e->flushed_commit);
    }
    catalog_raise(&c->flushed_commit, e->flushed_commit);
    catalog_raise(&c->incarnation, e->incarnation);
    catalog_raise(&c->next_file, e->next_file);
    catalog_raise(&c->next_run, e->next_run);
    catalog_raise(&c->next_keyspace, e->next_keyspace);
    for (size_t i = 0; i < e->table_count; i++) {
        if (e->tables[i].add) {
            catalog_raise(&c->next_file, e->tables[i].file + 1);
            catalog_raise(&c->next_run, e->tables[i].run + 1);
        }
    }
    for (size_t i = 0; i < e->value_count; i++) {
        if (e->values[i].add) {
            catalog_raise(&c->next_file, e->values[i].file + 1);
        }
    }
    for (size_t i = 0; i < e->space_count; i++) {
        catalog_raise(&c->next_keyspace, e->spaces[i].number + 1);
    }
    return STRATA_OK;
}

static strata_rc catalog_change_seconds(struct catalog *c, const struct catalog *old,
                                        const struct edit *e)
{
    size_t capacity = old->second_count + e->second_count;
    if (capacity == 0) {
        return STRATA_OK;
    }
    c->seconds = alloc_array(capacity, sizeof *c->seconds);
    if (c->seconds == NULL) {
        return alloc_failed("the times of commits", capacity * sizeof *c->seconds);
    }
    if (old->second_count > 0) {
        memcpy(c->seconds, old->seconds, old->second_count * sizeof *c->seconds);
    }
    c->second_count = old->second_count;
    for (size_t i = 0; i < e->second_count; i++) {
        const struct commit_second *next = &e->seconds[i];
        struct commit_second *last = c->second_count > 0 ? &c->seconds[c->second_count - 1] : NULL;
        if (last != NULL && last->first_commit > next->first_commit) {
            return fail(STRATA_CORRUPT, "the second of commit %" PRIu64 " is out of order",
                        next->first_commit);
        }
        if (last == NULL || !commit_second_merge(last, next)) {
            c->seconds[c->second_count++] = *next;
        }
    }
    return STRATA_OK;
}

strata_rc catalog_apply(struct catalog *old, const struct edit *e, const struct table_env *env,
                        struct catalog **catalog_out)
{
    struct catalog *c;
    strata_rc rc = catalog_new(&c);
    *catalog_out = NULL;
    if (rc == STRATA_OK) {
        rc = catalog_change_numbers(c, old, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_copy_spaces(c, old, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_alter_spaces(c, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_raise_floors(c, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_values_copy(c, old, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_values_change(c, e, env);
    }
    if (rc == STRATA_OK) {
        rc = catalog_change_tables(c, old, e, env);
    }
    if (rc == STRATA_OK) {
        rc = catalog_values_settle(c);
    }
    if (rc == STRATA_OK) {
        rc = catalog_drop_spaces(c, e);
    }
    if (rc == STRATA_OK) {
        rc = catalog_change_seconds(c, old, e);
    }
    if (rc != STRATA_OK) {
        catalog_unref(c);
        return rc;
    }
    *catalog_out = c;
    return STRATA_OK;
}

// ---- the files that die

static bool edit_adds_file(const struct edit *e, uint64_t file)
{
    for (size_t i = 0; i < e->table_count; i++) {
        if (e->tables[i].add && e->tables[i].file == file) {
            return true;
        }
    }
    return false;
}

static bool edit_adds_value_file(const struct edit *e, uint64_t file)
{
    for (size_t i = 0; i < e->value_count; i++) {
        if (e->values[i].add && e->values[i].file == file) {
            return true;
        }
    }
    return false;
}

static void tree_delete_files(const struct tree *t)
{
    for (uint32_t level = 0; level < t->level_count; level++) {
        for (uint32_t i = 0; i < t->levels[level].count; i++) {
            const struct run *r = t->levels[level].runs[i];
            for (uint32_t k = 0; k < r->count; k++) {
                table_delete_at_close(r->tables[k]);
            }
        }
    }
}

static void space_delete_value_files(const struct catalog *c, uint64_t keyspace)
{
    for (uint32_t i = 0; i < c->value_file_count; i++) {
        if (value_file_meta(c->value_files[i])->keyspace == keyspace) {
            value_file_delete_at_close(c->value_files[i]);
        }
    }
}

void edit_committed(const struct edit *e, const struct catalog *before)
{
    for (size_t i = 0; i < e->table_count; i++) {
        const struct edit_table *left = &e->tables[i];
        const struct catalog_space *space = catalog_space_find(before, left->keyspace);
        if (left->add || space == NULL || edit_adds_file(e, left->file)) {
            continue;
        }
        struct table *t =
            tree_table(left->history ? space->history : space->live, left->file, NULL);
        ASSERT(t != NULL);
        table_delete_at_close(t);
    }
    for (size_t i = 0; i < e->value_count; i++) {
        struct value_file *f = catalog_value_file(before, e->values[i].file);
        if (!e->values[i].add && f != NULL && !edit_adds_value_file(e, e->values[i].file)) {
            value_file_delete_at_close(f);
        }
    }
    for (size_t i = 0; i < e->space_count; i++) {
        const struct catalog_space *space = catalog_space_find(before, e->spaces[i].number);
        if (e->spaces[i].drop && space != NULL) {
            tree_delete_files(space->live);
            tree_delete_files(space->history);
            space_delete_value_files(before, space->number);
        }
    }
}
