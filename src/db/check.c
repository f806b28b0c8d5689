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

struct use_check {
    const struct catalog_value *value;
    uint64_t ordinals;
};

static strata_rc check_ordinals(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    struct use_check *c = ctx;
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < chunks && rc == STRATA_OK; i++) {
        bool holds = false;
        rc = value_file_holds(c->value->in, c->value->file, ordinal + i, &holds);
        if (rc == STRATA_OK && !holds) {
            rc = fail(STRATA_CORRUPT, "value file %llu does not hold ordinal %u of %llu",
                      (unsigned long long)value_file_meta(c->value->in)->file, ordinal + i,
                      (unsigned long long)c->value->file);
        }
    }
    c->ordinals += chunks;
    return rc;
}

// I8: what the table refers to in value files is there, and counted.
static strata_rc check_uses(const struct view *v, const struct view_space *s, struct table *t)
{
    const struct table_meta *m = table_meta(t);
    strata_rc rc = STRATA_OK;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->use_count && rc == STRATA_OK; i++) {
        const struct table_value_use *use = &m->uses[i];
        struct use_check c = {catalog_value_find(v->catalog, use->file), 0};
        bytes += use->bytes;
        if (c.value == NULL || value_file_meta(c.value->in)->keyspace != s->keyspace->number) {
            rc = fail(STRATA_CORRUPT, "table %llu refers to value file %llu, which is not there",
                      (unsigned long long)m->file, (unsigned long long)use->file);
        } else {
            rc = table_value_ordinals(t, use->file, check_ordinals, &c);
        }
        if (rc == STRATA_OK && c.ordinals != use->records) {
            rc = fail(STRATA_CORRUPT, "table %llu lists %llu values of file %llu, but counts %llu",
                      (unsigned long long)m->file, (unsigned long long)c.ordinals,
                      (unsigned long long)use->file, (unsigned long long)use->records);
        }
    }
    if (rc == STRATA_OK && bytes != m->value_bytes) {
        rc = fail(STRATA_CORRUPT, "table %llu refers to %llu bytes of values, but counts %llu",
                  (unsigned long long)m->file, (unsigned long long)bytes,
                  (unsigned long long)m->value_bytes);
    }
    return rc == STRATA_OK ? rc : broken(rc, 8, s->keyspace);
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
                if (rc == STRATA_OK) {
                    rc = check_uses(v, s, run->tables[i]);
                }
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
// a newer range delete of its own run. I7: intervals of history do not end before they begin. I11:
// marks of what was trimmed stand in history alone, and hold nothing.
static strata_rc check_entry(struct order_check *c, const struct kv_entry *e)
{
    const struct source *source = &c->sources.list[c->merge.source];
    bool again = slice_equal(kv_key(e), buffer_slice(&c->key));
    if (e->kind == KV_FLOOR && (source->rank != SOURCE_RANK_HISTORY || e->value_bytes != 0)) {
        return broken(fail(STRATA_CORRUPT,
                           "a mark of trimmed versions, commit %llu, in a live "
                           "source or with a value",
                           (unsigned long long)e->commit),
                      11, c->space->keyspace);
    }
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

static uint64_t tree_uses(const struct tree *t, uint64_t logical)
{
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                const struct table_meta *m = table_meta(run->tables[i]);
                for (uint32_t u = 0; u < m->use_count; u++) {
                    bytes += m->uses[u].file == logical ? m->uses[u].bytes : 0;
                }
            }
        }
    }
    return bytes;
}

// I9: what the catalog says is used of a value file is the sum over the tables, and no more than
// what the file holds.
static strata_rc check_value_sums(const struct view *v)
{
    const struct catalog *c = v->catalog;
    for (uint32_t i = 0; i < c->value_count; i++) {
        const struct catalog_value *value = &c->values[i];
        uint64_t live = 0;
        uint64_t history = 0;
        for (uint32_t s = 0; s < c->space_count; s++) {
            live += tree_uses(c->spaces[s].live, value->file);
            history += tree_uses(c->spaces[s].history, value->file);
        }
        if (live != value->live_uses || history != value->history_uses ||
            value->live_bytes + value->history_bytes > value->stored_bytes ||
            value->live_bytes > live || value->history_bytes > history) {
            return fail(STRATA_INTERNAL,
                        "invariant I9: of %llu bytes in value file %llu live trees refer to %llu "
                        "and history trees to %llu; counted are %llu and %llu",
                        (unsigned long long)value->stored_bytes, (unsigned long long)value->file,
                        (unsigned long long)live, (unsigned long long)history,
                        (unsigned long long)value->live_uses,
                        (unsigned long long)value->history_uses);
        }
    }
    return STRATA_OK;
}

// I10: the durable floor is no later than what is flushed, and readers were told of it before.
static strata_rc check_floor(const struct view *v, const struct view_space *s)
{
    uint64_t published = atomic_load_explicit(&s->keyspace->floor, memory_order_acquire);
    if (s->floor > v->catalog->flushed_commit || s->floor > published) {
        return broken(
            fail(STRATA_INTERNAL, "the floor is %llu, but %llu is flushed and %llu was published",
                 (unsigned long long)s->floor, (unsigned long long)v->catalog->flushed_commit,
                 (unsigned long long)published),
            10, s->keyspace);
    }
    return STRATA_OK;
}

strata_rc db_check(strata_db *db)
{
    uint64_t visible;
    strata_rc rc = STRATA_OK;
    struct view *v = view_pin(db, &visible);
    rc = check_value_sums(v);
    for (uint32_t i = 0; i < v->space_count && rc == STRATA_OK; i++) {
        const struct view_space *s = &v->spaces[i];
        if (s->keyspace == NULL) {
            continue;
        }
        rc = check_structure(v, s);
        if (rc == STRATA_OK) {
            rc = check_floor(v, s);
        }
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
