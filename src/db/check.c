// strata_check: the invariants of the trees of one moment, each with the number that it has in
// docs/invariants.md. Every block is read; nothing is changed and nobody is held up.
#include "db/iter_sources.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "kv/merge.h"

#include <stdio.h>

// The thread's error text, as the failure of invariant `number`.
static strata_rc broken(strata_rc rc, unsigned number, const struct strata_keyspace *space)
{
    return fail_in(rc, "invariant I%u, keyspace \"%s\"", number, space->name);
}

// I1: the structure of the trees. I2: that of the memtables.
static strata_rc check_structure(const struct view *v, const struct view_space *s)
{
    strata_rc rc = tree_check(s->live);
    if (rc == STRATA_OK) {
        rc = tree_check(s->history);
    }
    if (rc != STRATA_OK) {
        return broken(rc, 1, s->keyspace);
    }
    for (uint32_t i = 0; i < v->generation_count; i++) {
        struct memtable *m = generation_memtable(v->generations[i], s->keyspace->slot);
        // The newest is being written; its structure is checked when it is sealed.
        if (m != NULL && i > 0) {
            rc = memtable_check(m);
            if (rc != STRATA_OK) {
                return broken(rc, 2, s->keyspace);
            }
        }
    }
    return STRATA_OK;
}

struct first_fault {
    char text[512];
};

static void keep_first_fault(void *ctx, const char *text)
{
    struct first_fault *first = ctx;
    if (first->text[0] == '\0') {
        snprintf(first->text, sizeof first->text, "%s", text);
    }
}

// I3: every byte of the table. I4: it holds only commits that are flushed.
static strata_rc check_table(const struct view *v, const struct view_space *s, struct table *t)
{
    uint64_t blocks;
    uint64_t flushed = v->catalog->flushed_commit;
    const struct table_meta *m = table_meta(t);
    struct first_fault first = {{0}};
    strata_rc rc = table_verify(t, keep_first_fault, &first, &blocks);
    if (rc != STRATA_OK) {
        if (first.text[0] != '\0') {
            fail_restore(first.text);
        }
        return broken(rc, 3, s->keyspace);
    }
    if (m->commit_greatest > flushed || m->end_greatest > flushed) {
        rc = fail(STRATA_INTERNAL,
                  "table %llu holds commit %llu, end %llu, but only %llu is flushed",
                  (unsigned long long)m->file, (unsigned long long)m->commit_greatest,
                  (unsigned long long)m->end_greatest, (unsigned long long)flushed);
        return broken(rc, 4, s->keyspace);
    }
    return STRATA_OK;
}

static strata_rc check_tables(const struct view *v, const struct view_space *s,
                              const struct tree *tree)
{
    strata_rc rc = STRATA_OK;
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count; r++) {
            const struct run *run = tree->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count && rc == STRATA_OK; i++) {
                rc = check_table(v, s, run->tables[i]);
            }
        }
    }
    return rc;
}

struct order_check {
    struct sources sources;
    struct kv_merge merge;
    const struct view_space *space;
    struct buffer key;
    uint64_t last_commit; // of the live entry before, of the same key
    uint32_t last_rank;
};

// I5: for a key, newer sources hold newer commits, and a run holds it once. I6: no point lies under
// a newer range delete of its own run. I7: intervals of history do not end before they begin.
static strata_rc check_entry(struct order_check *c, const struct kv_entry *e)
{
    const struct source *source = &c->sources.list[c->merge.source];
    bool again = slice_equal(kv_key(e), buffer_slice(&c->key));
    if (source->rank == SOURCE_RANK_HISTORY) {
        if (e->end < e->commit || e->commit == 0) {
            return broken(fail(STRATA_CORRUPT, "a version has the interval [%llu, %llu)",
                               (unsigned long long)e->commit, (unsigned long long)e->end),
                          7, c->space->keyspace);
        }
        return STRATA_OK;
    }
    if (again && c->last_commit != 0 &&
        (e->commit >= c->last_commit || (!source->stable && source->rank == c->last_rank))) {
        return broken(fail(STRATA_CORRUPT,
                           "commit %llu of a key lies behind commit %llu in an older source",
                           (unsigned long long)e->commit, (unsigned long long)c->last_commit),
                      5, c->space->keyspace);
    }
    for (uint32_t i = 0; i < c->sources.range_count; i++) {
        struct range_source *r = &c->sources.ranges[i];
        if (r->rank == source->rank && r->run != NULL) {
            range_source_ask(r, kv_key(e), UINT64_MAX);
            if (r->newest > e->commit) {
                return broken(fail(STRATA_CORRUPT,
                                   "commit %llu of a key lies under range delete %llu of its run",
                                   (unsigned long long)e->commit, (unsigned long long)r->newest),
                              6, c->space->keyspace);
            }
        }
    }
    c->last_commit = e->commit;
    c->last_rank = source->rank;
    return STRATA_OK;
}

static strata_rc walk(struct order_check *c)
{
    strata_rc rc = kv_merge_seek(&c->merge, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        const struct kv_entry *e = c->merge.entry;
        if (!slice_equal(kv_key(e), buffer_slice(&c->key))) {
            buffer_clear(&c->key);
            c->last_commit = 0;
            rc = buffer_append(&c->key, e->key, e->key_bytes);
        }
        if (rc == STRATA_OK) {
            rc = check_entry(c, e);
        }
        if (rc == STRATA_OK) {
            rc = kv_merge_next(&c->merge);
        }
    }
    return rc == STRATA_END ? STRATA_OK : rc;
}

static strata_rc check_order(strata_db *db, struct view *v, const struct view_space *s,
                             uint64_t visible)
{
    struct order_check c = {.space = s};
    struct read_at at = {.space = s->keyspace, .commit = visible};
    strata_rc rc = sources_open(db, v, &at, true, &c.sources);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct kv_cursor **cursors = alloc_array(c.sources.count, sizeof(struct kv_cursor *));
    if (cursors == NULL) {
        sources_release(&c.sources, true);
        return alloc_failed("a check", c.sources.count * sizeof *cursors);
    }
    for (uint32_t i = 0; i < c.sources.count; i++) {
        cursors[i] = c.sources.list[i].cursor;
    }
    rc = kv_merge_init(&c.merge, cursors, c.sources.count, c.sources.head_skip);
    if (rc == STRATA_OK) {
        rc = walk(&c);
    }
    kv_merge_release(&c.merge);
    sources_release(&c.sources, false);
    free(cursors);
    buffer_release(&c.key);
    return rc;
}

strata_rc db_check(strata_db *db)
{
    uint64_t visible;
    strata_rc rc = STRATA_OK;
    struct view *v = view_pin(db, &visible);
    for (uint32_t i = 0; i < v->space_count && rc == STRATA_OK; i++) {
        const struct view_space *s = &v->spaces[i];
        if (s->keyspace == NULL) {
            continue;
        }
        rc = check_structure(v, s);
        if (rc == STRATA_OK) {
            rc = check_tables(v, s, s->live);
        }
        if (rc == STRATA_OK) {
            rc = check_tables(v, s, s->history);
        }
        if (rc == STRATA_OK) {
            rc = check_order(db, v, s, visible);
        }
    }
    view_unref(db, v);
    return rc;
}
