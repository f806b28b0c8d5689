// Trees of runs of open tables: immutable, counted, made from one another by lists of changes.
//
// Invariants, checked by tree_check:
//   1. levels[level_count - 1] has a run, unless level_count is 0; deeper levels are empty.
//   2. The runs of a level stand in falling order of their numbers; none is without a table.
//   3. The tables of a run have lower < upper each, stand in key order and do not overlap.
//   4. The sums of bytes, entries, deletes, range fragments, value bytes and runs, and the greatest
//      ends and commits, are those of the tables.
//
// Thread rule: a tree and its runs never change once made; any thread may read them while somebody
// holds a reference. Counts: an increment needs no ordering (the caller holds a reference already);
// the decrement is acquire and release, so that whoever frees sees every earlier use.
#include "manifest/tree.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <inttypes.h>

// The changes in the order in which they are looked up.
struct change_lists {
    uint64_t *removed; // files, ascending
    bool *found;       // for each of them
    size_t removed_count;
    const struct tree_change **added; // by level, then run descending, then lower bound
    size_t added_count;
};

static void run_unref(struct run *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        table_unref(r->tables[i]);
    }
    free(r->tables);
    free(r->upper_heads);
    free(r);
}

strata_rc tree_new_empty(struct tree **tree_out)
{
    *tree_out = NULL;
    struct tree *t = alloc_zeroed(1, sizeof *t);
    if (t == NULL) {
        return alloc_failed("a tree", sizeof *t);
    }
    atomic_init(&t->refs, 1);
    *tree_out = t;
    return STRATA_OK;
}

void tree_ref(struct tree *t)
{
    uint64_t before = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    (void)before;
}

void tree_unref(struct tree *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < TREE_LEVELS_MAX; i++) {
        for (uint32_t k = 0; k < t->levels[i].count; k++) {
            run_unref(t->levels[i].runs[k]);
        }
        free(t->levels[i].runs);
    }
    free(t);
}

// ---- the changes, sorted

static int file_order(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static int run_order(const struct tree_change *x, const struct tree_change *y)
{
    if (x->level != y->level) {
        return x->level < y->level ? -1 : 1;
    }
    return x->run > y->run ? -1 : x->run < y->run;
}

static int change_order(const void *a, const void *b)
{
    const struct tree_change *x = *(const struct tree_change *const *)a;
    const struct tree_change *y = *(const struct tree_change *const *)b;
    int order = run_order(x, y);
    if (order != 0) {
        return order;
    }
    return slice_compare(table_meta(x->table)->lower, table_meta(y->table)->lower);
}

static void change_lists_release(struct change_lists *l)
{
    free(l->removed);
    free(l->found);
    free(l->added);
}

static strata_rc change_lists_init(struct change_lists *l, const struct tree_change *changes,
                                   size_t count)
{
    *l = (struct change_lists){0};
    l->removed = alloc_array(count, sizeof *l->removed);
    l->found = alloc_zeroed(count, sizeof *l->found);
    l->added = alloc_array(count, sizeof *l->added);
    if (l->removed == NULL || l->found == NULL || l->added == NULL) {
        change_lists_release(l);
        return alloc_failed("changes of a tree", count * sizeof(void *));
    }
    for (size_t i = 0; i < count; i++) {
        if (!changes[i].add) {
            l->removed[l->removed_count++] = changes[i].file;
            continue;
        }
        ASSERT(changes[i].table != NULL);
        if (changes[i].level >= TREE_LEVELS_MAX) {
            strata_rc rc =
                fail(STRATA_CORRUPT, "table %" PRIu64 " on level %" PRIu32 ", the deepest is %d",
                     table_meta(changes[i].table)->file, changes[i].level, TREE_LEVELS_MAX - 1);
            change_lists_release(l);
            return rc;
        }
        l->added[l->added_count++] = &changes[i];
    }
    qsort(l->removed, l->removed_count, sizeof *l->removed, file_order);
    qsort(l->added, l->added_count, sizeof(struct tree_change *), change_order);
    return STRATA_OK;
}

// Is the file to be removed? Notes that it was found.
static bool change_lists_removes(struct change_lists *l, uint64_t file)
{
    size_t low = 0, high = l->removed_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->removed[middle] < file) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == l->removed_count || l->removed[low] != file) {
        return false;
    }
    l->found[low] = true;
    return true;
}

// ---- runs

// Puts the next table, in key order, into a run that has room; takes a reference.
static strata_rc run_push(struct run *r, struct table *t)
{
    const struct table_meta *meta = table_meta(t);
    if (slice_compare(meta->lower, meta->upper) >= 0) {
        return fail(STRATA_CORRUPT, "table %" PRIu64 " has bounds that hold no key", meta->file);
    }
    if (r->count > 0) {
        const struct table_meta *before = table_meta(r->tables[r->count - 1]);
        if (slice_compare(before->upper, meta->lower) > 0) {
            return fail(STRATA_CORRUPT,
                        "tables %" PRIu64 " and %" PRIu64 " of run %" PRIu64 " overlap",
                        before->file, meta->file, r->number);
        }
    }
    table_ref(t);
    r->upper_heads[r->count] = slice_head(meta->upper, 0);
    r->tables[r->count++] = t;
    r->bytes += meta->bytes;
    r->entries += meta->entries;
    r->deletes += meta->deletes;
    r->range_fragments += meta->range_fragments;
    r->value_bytes += meta->value_bytes;
    return STRATA_OK;
}

static strata_rc run_new(uint64_t number, size_t capacity, struct run **run_out)
{
    struct run *r = alloc_zeroed(1, sizeof *r);
    if (r != NULL) {
        atomic_init(&r->refs, 1);
        r->number = number;
        r->tables = alloc_array(capacity, sizeof(struct table *));
        r->upper_heads = alloc_array(capacity, sizeof(uint64_t));
    }
    if (r == NULL || r->tables == NULL || r->upper_heads == NULL || capacity > UINT32_MAX) {
        run_unref(r);
        return alloc_failed("a run", capacity * sizeof(struct table *));
    }
    *run_out = r;
    return STRATA_OK;
}

// The run that `old` (NULL: none) becomes with the `added_count` additions that are its own, in key
// order. *run_out is `old` itself when nothing changes and NULL when no table is left.
static strata_rc run_apply(struct run *old, struct change_lists *l,
                           const struct tree_change *const *added, size_t added_count,
                           struct run **run_out)
{
    *run_out = NULL;
    size_t kept_count = 0;
    uint32_t old_count = old == NULL ? 0 : old->count;
    for (uint32_t i = 0; i < old_count; i++) {
        kept_count += !change_lists_removes(l, table_meta(old->tables[i])->file);
    }
    if (old != NULL && kept_count == old_count && added_count == 0) {
        atomic_fetch_add_explicit(&old->refs, 1, memory_order_relaxed);
        *run_out = old;
        return STRATA_OK;
    }
    if (kept_count + added_count == 0) {
        return STRATA_OK;
    }
    struct run *r = NULL;
    strata_rc rc = run_new(old != NULL ? old->number : added[0]->run, kept_count + added_count, &r);
    uint32_t from_old = 0;
    size_t from_added = 0;
    while (rc == STRATA_OK && (from_old < old_count || from_added < added_count)) {
        struct table *t = from_old < old_count ? old->tables[from_old] : NULL;
        if (t != NULL && change_lists_removes(l, table_meta(t)->file)) {
            from_old++;
            continue;
        }
        struct table *other = from_added < added_count ? added[from_added]->table : NULL;
        if (t == NULL ||
            (other != NULL && slice_compare(table_meta(other)->lower, table_meta(t)->lower) < 0)) {
            t = other;
            from_added++;
        } else {
            from_old++;
        }
        rc = run_push(r, t);
        if (rc != STRATA_OK) {
            run_unref(r);
        }
    }
    if (rc == STRATA_OK) {
        *run_out = r;
    }
    return rc;
}

// ---- the tree

static void tree_count(struct tree *t, uint32_t level, const struct run *r)
{
    t->levels[level].bytes += r->bytes;
    t->levels[level].value_bytes += r->value_bytes;
    t->bytes += r->bytes;
    t->value_bytes += r->value_bytes;
    t->run_count++;
    t->level_count = level + 1;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct table_meta *meta = table_meta(r->tables[i]);
        if (meta->end_greatest > t->end_greatest) {
            t->end_greatest = meta->end_greatest;
        }
        if (meta->commit_greatest > t->commit_greatest) {
            t->commit_greatest = meta->commit_greatest;
        }
    }
}

// Fills one level of the new tree: the runs of the old one and those that the additions begin,
// merged by falling number.
static strata_rc level_apply(struct tree *t, uint32_t level, const struct level *old,
                             struct change_lists *l, size_t *added_at)
{
    size_t end = *added_at;
    while (end < l->added_count && l->added[end]->level == level) {
        end++;
    }
    size_t capacity = old->count + (end - *added_at);
    if (capacity == 0) {
        return STRATA_OK;
    }
    struct level *to = &t->levels[level];
    to->runs = alloc_array(capacity, sizeof(struct run *));
    if (to->runs == NULL) {
        return alloc_failed("a level", capacity * sizeof(struct run *));
    }
    uint32_t from_old = 0;
    while (from_old < old->count || *added_at < end) {
        struct run *was = from_old < old->count ? old->runs[from_old] : NULL;
        uint64_t next_number = *added_at < end ? l->added[*added_at]->run : 0;
        if (was != NULL && (*added_at == end || was->number >= next_number)) {
            from_old++;
        } else {
            was = NULL;
        }
        uint64_t number = was != NULL ? was->number : next_number;
        size_t first = *added_at;
        while (*added_at < end && l->added[*added_at]->run == number) {
            (*added_at)++;
        }
        struct run *r;
        strata_rc rc = run_apply(was, l, l->added + first, *added_at - first, &r);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (r != NULL) {
            to->runs[to->count++] = r;
            tree_count(t, level, r);
        }
    }
    return STRATA_OK;
}

strata_rc tree_apply(const struct tree *old, const struct tree_change *changes, size_t count,
                     struct tree **tree_out)
{
    *tree_out = NULL;
    struct tree *t = NULL;
    struct change_lists l;
    strata_rc rc = change_lists_init(&l, changes, count);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = tree_new_empty(&t);
    size_t added_at = 0;
    for (uint32_t level = 0; rc == STRATA_OK && level < TREE_LEVELS_MAX; level++) {
        rc = level_apply(t, level, &old->levels[level], &l, &added_at);
    }
    if (rc != STRATA_OK) {
        goto done;
    }
    ASSERT(added_at == l.added_count);
    for (size_t i = 0; i < l.removed_count; i++) {
        // Of equal files the first was noted.
        if (!l.found[i] && (i == 0 || l.removed[i] != l.removed[i - 1])) {
            rc = fail(STRATA_CORRUPT, "table %" PRIu64 " is to be removed but is not in the tree",
                      l.removed[i]);
            goto done;
        }
    }
    ASSERT_SLOW(tree_check(t) == STRATA_OK);
    *tree_out = t;
    t = NULL;
done:
    tree_unref(t);
    change_lists_release(&l);
    return rc;
}

// Does the run stand in this level, unchanged?
static bool level_shares(const struct level *l, const struct run *r)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->runs[i] == r) {
            return true;
        }
    }
    return false;
}

strata_rc tree_visit_removed(const struct tree *old, const struct tree *next,
                             const struct tree_change *changes, size_t count,
                             strata_rc (*visit)(void *ctx, const struct table *t), void *ctx)
{
    struct change_lists l;
    strata_rc rc = change_lists_init(&l, changes, count);
    if (rc != STRATA_OK) {
        return rc;
    }
    for (uint32_t level = 0; l.removed_count > 0 && level < old->level_count; level++) {
        for (uint32_t i = 0; i < old->levels[level].count; i++) {
            const struct run *r = old->levels[level].runs[i];
            uint32_t tables = level_shares(&next->levels[level], r) ? 0 : r->count;
            for (uint32_t k = 0; rc == STRATA_OK && k < tables; k++) {
                if (change_lists_removes(&l, table_meta(r->tables[k])->file)) {
                    rc = visit(ctx, r->tables[k]);
                }
            }
        }
    }
    change_lists_release(&l);
    return rc;
}

// ---- searches

uint32_t run_find_from(const struct run *r, struct slice key)
{
    if (key.data == NULL) {
        return 0;
    }
    // Heads decide all but ties: the answer is at or behind the first head that is not less.
    uint64_t head = slice_head(key, 0);
    uint32_t low = 0, high = r->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t upper_head = r->upper_heads[middle];
        bool below =
            upper_head < head ||
            (upper_head == head && slice_compare(table_meta(r->tables[middle])->upper, key) <= 0);
        if (below) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct table *run_find(const struct run *r, struct slice key)
{
    ASSERT(key.data != NULL);
    uint32_t index = run_find_from(r, key);
    if (index == r->count) {
        return NULL;
    }
    struct table *t = r->tables[index];
    return slice_compare(table_meta(t)->lower, key) <= 0 ? t : NULL;
}

bool run_overlaps(const struct run *r, struct slice lower, struct slice upper)
{
    uint32_t index = run_find_from(r, lower);
    if (index == r->count) {
        return false;
    }
    return upper.data == NULL || slice_compare(table_meta(r->tables[index])->lower, upper) < 0;
}

// ---- the check

static strata_rc run_check(const struct run *r, uint32_t level)
{
    struct run sums = {0};
    if (r->count == 0) {
        return fail(STRATA_INTERNAL, "run %" PRIu64 " on level %" PRIu32 " has no tables",
                    r->number, level);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        const struct table_meta *meta = table_meta(r->tables[i]);
        bool holds_keys = slice_compare(meta->lower, meta->upper) < 0;
        bool in_order =
            i == 0 || slice_compare(table_meta(r->tables[i - 1])->upper, meta->lower) <= 0;
        if (!holds_keys || !in_order || r->upper_heads[i] != slice_head(meta->upper, 0)) {
            return fail(STRATA_INTERNAL,
                        "table %" PRIu64 " of run %" PRIu64 " on level %" PRIu32
                        " has bounds that are empty or overlap the table before",
                        meta->file, r->number, level);
        }
        sums.bytes += meta->bytes;
        sums.entries += meta->entries;
        sums.deletes += meta->deletes;
        sums.range_fragments += meta->range_fragments;
        sums.value_bytes += meta->value_bytes;
    }
    if (sums.bytes != r->bytes || sums.entries != r->entries || sums.deletes != r->deletes ||
        sums.range_fragments != r->range_fragments || sums.value_bytes != r->value_bytes) {
        return fail(STRATA_INTERNAL,
                    "run %" PRIu64 " on level %" PRIu32 " says %" PRIu64 " bytes and %" PRIu64
                    " entries, its tables %" PRIu64 " and %" PRIu64,
                    r->number, level, r->bytes, r->entries, sums.bytes, sums.entries);
    }
    return STRATA_OK;
}

static strata_rc level_check(const struct tree *t, uint32_t level)
{
    const struct level *l = &t->levels[level];
    uint64_t bytes = 0, value_bytes = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct run *r = l->runs[i];
        if (i > 0 && l->runs[i - 1]->number <= r->number) {
            return fail(STRATA_INTERNAL,
                        "run %" PRIu64 " on level %" PRIu32 " stands before run %" PRIu64,
                        l->runs[i - 1]->number, level, r->number);
        }
        strata_rc rc = run_check(r, level);
        if (rc != STRATA_OK) {
            return rc;
        }
        bytes += r->bytes;
        value_bytes += r->value_bytes;
    }
    if (bytes != l->bytes || value_bytes != l->value_bytes) {
        return fail(STRATA_INTERNAL, "level %" PRIu32 " says %" PRIu64 " bytes, its runs %" PRIu64,
                    level, l->bytes, bytes);
    }
    return STRATA_OK;
}

strata_rc tree_check(const struct tree *t)
{
    struct tree sums = {0};
    for (uint32_t level = 0; level < TREE_LEVELS_MAX; level++) {
        strata_rc rc = level_check(t, level);
        if (rc != STRATA_OK) {
            return rc;
        }
        for (uint32_t i = 0; i < t->levels[level].count; i++) {
            tree_count(&sums, level, t->levels[level].runs[i]);
        }
    }
    if (sums.level_count != t->level_count || sums.run_count != t->run_count ||
        sums.bytes != t->bytes || sums.value_bytes != t->value_bytes ||
        sums.end_greatest != t->end_greatest || sums.commit_greatest != t->commit_greatest) {
        return fail(STRATA_INTERNAL,
                    "a tree says %" PRIu32 " levels, %" PRIu32 " runs, %" PRIu64
                    " bytes; there are %" PRIu32 ", %" PRIu32 " and %" PRIu64,
                    t->level_count, t->run_count, t->bytes, sums.level_count, sums.run_count,
                    sums.bytes);
    }
    return STRATA_OK;
}
