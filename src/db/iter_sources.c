#include "db/iter_sources.h"

#include "base/alloc.h"
#include "base/assert.h"

#define READAHEAD_BYTES 0u // a scan begins block by block

// The bytes that all keys between the least and the greatest bound of the trees share.
static size_t shared_prefix(const struct tree *const *trees, size_t tree_count)
{
    struct slice first = {0};
    size_t shared = SIZE_MAX;
    for (size_t i = 0; i < tree_count; i++) {
        for (uint32_t l = 0; l < trees[i]->level_count; l++) {
            for (uint32_t r = 0; r < trees[i]->levels[l].count; r++) {
                const struct run *run = trees[i]->levels[l].runs[r];
                struct slice lower = table_meta(run->tables[0])->lower;
                struct slice upper = table_meta(run->tables[run->count - 1])->upper;
                if (first.data == NULL) {
                    first = lower;
                }
                size_t a = slice_shared(first, lower);
                size_t b = slice_shared(first, upper);
                shared = a < shared ? a : shared;
                shared = b < shared ? b : shared;
            }
        }
    }
    return shared == SIZE_MAX ? 0 : shared;
}

static void add_ranges(struct sources *s, uint32_t rank, const struct range_dels *dels,
                       const struct run *run)
{
    s->ranges[s->range_count++] = (struct range_source){.rank = rank, .dels = dels, .run = run};
}

static strata_rc open_run(strata_db *db, struct sources *s, const struct run *run, bool keep,
                          uint32_t rank)
{
    struct kv_cursor *cursor;
    strata_rc rc =
        run_cursor_open(db->cache, run->tables, run->count, keep, READAHEAD_BYTES, &cursor);
    if (rc == STRATA_OK) {
        s->list[s->count++] = (struct source){cursor, rank, false};
    }
    return rc;
}

static strata_rc open_tree(strata_db *db, struct sources *s, const struct tree *tree, bool keep,
                           uint32_t *rank)
{
    strata_rc rc = STRATA_OK;
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count && rc == STRATA_OK; r++) {
            const struct run *run = tree->levels[l].runs[r];
            bool live = *rank != SOURCE_RANK_HISTORY;
            rc = open_run(db, s, run, keep, *rank);
            if (rc == STRATA_OK && live && run->range_fragments > 0) {
                add_ranges(s, *rank, NULL, run);
            }
            *rank += live ? 1 : 0;
        }
    }
    return rc;
}

static strata_rc open_memtables(struct sources *s, const struct view *view, uint32_t slot,
                                uint64_t at, uint32_t *rank)
{
    for (uint32_t i = 0; i < view->generation_count; i++, ++*rank) {
        struct memtable *m = generation_memtable(view->generations[i], slot);
        if (m == NULL || memtable_is_empty(m)) {
            continue;
        }
        struct kv_cursor *cursor;
        strata_rc rc = memtable_cursor_open(m, at, &cursor);
        if (rc != STRATA_OK) {
            return rc;
        }
        s->list[s->count++] = (struct source){cursor, *rank, true};
        const struct range_dels *dels;
        rc = memtable_range_dels(m, &dels);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (range_dels_count(dels) > 0) {
            add_ranges(s, *rank, dels, NULL);
        }
    }
    return STRATA_OK;
}

strata_rc sources_open(strata_db *db, struct view *view, const struct read_at *at,
                       bool all_versions, struct sources *s)
{
    ASSERT(at->commit != STRATA_NOW && at->space->slot < view->space_count);
    const struct view_space *space = &view->spaces[at->space->slot];
    const struct tree *trees[2] = {space->live, space->history};
    *s = (struct sources){0};
    s->history = all_versions || at->commit < space->history->end_greatest;
    size_t most = view->generation_count + space->live->run_count + space->history->run_count;
    s->list = alloc_array(most, sizeof *s->list);
    s->ranges = alloc_array(most, sizeof *s->ranges);
    uint32_t rank = 0;
    strata_rc rc = STRATA_OK;
    if (s->list == NULL || s->ranges == NULL) {
        rc = alloc_failed("an iterator", most * sizeof *s->list);
    }
    if (rc == STRATA_OK) {
        rc = open_memtables(s, view, at->space->slot, at->commit, &rank);
    }
    if (rc == STRATA_OK) {
        // Memtables do not tell their bounds: with one in play heads begin at the first byte.
        s->head_skip = s->count == 0 ? shared_prefix(trees, s->history ? 2 : 1) : 0;
        rc = open_tree(db, s, space->live, at->keep_blocks, &rank);
    }
    if (rc == STRATA_OK && s->history) {
        rank = SOURCE_RANK_HISTORY;
        rc = open_tree(db, s, space->history, at->keep_blocks, &rank);
    }
    if (rc != STRATA_OK) {
        sources_release(s, true);
    }
    return rc;
}

void sources_release(struct sources *s, bool cursors_too)
{
    for (uint32_t i = 0; cursors_too && i < s->count; i++) {
        kv_cursor_close(s->list[i].cursor);
    }
    free(s->list);
    free(s->ranges);
    *s = (struct sources){0};
}

static struct slice later(struct slice a, struct slice b)
{
    return a.data == NULL || (b.data != NULL && slice_compare(a, b) < 0) ? b : a;
}

static struct slice earlier(struct slice a, struct slice b)
{
    return a.data == NULL || (b.data != NULL && slice_compare(b, a) < 0) ? b : a;
}

// Finds the piece within one set of fragments, cut to [lower, upper) (data NULL: unbounded).
static void ask_dels(struct range_source *r, const struct range_dels *d, struct slice key,
                     uint64_t at)
{
    size_t index = range_dels_find(d, key);
    if (index > 0) {
        r->lower = later(r->lower, range_dels_at(d, index - 1)->end);
    }
    if (index == range_dels_count(d)) {
        return;
    }
    const struct range_fragment *f = range_dels_at(d, index);
    if (slice_compare(f->begin, key) > 0) {
        r->upper = earlier(r->upper, f->begin);
        return;
    }
    bool newer = false;
    r->lower = later(r->lower, f->begin);
    r->upper = earlier(r->upper, f->end);
    r->newest = range_fragment_newest(f, at, &newer);
}

void range_source_ask(struct range_source *r, struct slice key, uint64_t at)
{
    r->known = true;
    r->newest = 0;
    r->lower = r->upper = slice_of(NULL, 0);
    if (r->dels != NULL) {
        ask_dels(r, r->dels, key, at);
        return;
    }
    uint32_t index = run_find_from(r->run, key);
    if (index > 0) {
        r->lower = table_meta(r->run->tables[index - 1])->upper;
    }
    if (index == r->run->count) {
        return;
    }
    const struct table_meta *meta = table_meta(r->run->tables[index]);
    if (slice_compare(key, meta->lower) < 0) {
        r->upper = meta->lower;
        return;
    }
    r->lower = meta->lower;
    r->upper = meta->upper;
    ask_dels(r, table_range_dels(r->run->tables[index]), key, at);
}

uint64_t sources_cover(struct sources *s, struct slice key, uint64_t at,
                       const struct range_source **by_out)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < s->range_count; i++) {
        struct range_source *r = &s->ranges[i];
        bool inside = r->known && (r->lower.data == NULL || slice_compare(r->lower, key) <= 0) &&
                      (r->upper.data == NULL || slice_compare(key, r->upper) < 0);
        if (!inside) {
            range_source_ask(r, key, at);
        }
        if (r->newest > newest) {
            newest = r->newest;
            *by_out = r;
        }
    }
    return newest;
}

uint64_t sources_range_after(const struct sources *s, struct slice key, uint64_t above)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < s->range_count; i++) {
        const struct range_source *r = &s->ranges[i];
        const struct range_dels *dels = r->dels;
        if (r->run != NULL) {
            struct table *t = run_find(r->run, key);
            dels = t == NULL ? NULL : table_range_dels(t);
        }
        const struct range_fragment *f = range_dels_cover(dels, key);
        for (uint32_t c = f == NULL ? 0 : f->count; c > 0; c--) {
            uint64_t commit = f->commits[c - 1]; // oldest first
            if (commit > above) {
                oldest = commit < oldest ? commit : oldest;
                break;
            }
        }
    }
    return oldest;
}
