// Point reads (architecture, sections 5 and 10). One hash; memtables newest first, then the runs of
// the live tree newest first; the first candidate at or before the commit is the answer, unless
// something newer was passed over and the commit lies below the greatest end in history: then the
// history tree is asked too and the newest candidate wins.
//
// Inside an epoch nothing blocks. When a block is cold the view is pinned, the epoch is left for
// the read, and the lookup goes on with the pinned block.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mutant.h"

#define GET_MANY_GROUP 16u

strata_rc read_resolve(strata_db *db, const strata_read *how, struct read_at *at_out)
{
    *at_out = (struct read_at){.commit = STRATA_NOW, .keep_blocks = true};
    if (how == NULL) {
        return space_resolve(db, NULL, &at_out->space);
    }
    if (how->struct_bytes != sizeof *how) {
        return fail(STRATA_INVALID,
                    "strata_read.struct_bytes is %zu, this library has %zu: begin with "
                    "STRATA_READ_INIT",
                    how->struct_bytes, sizeof *how);
    }
    at_out->keep_blocks = !how->cache_bypass;
    bool as_of = how->as_of != 0 && how->as_of != STRATA_NOW;
    if ((how->snapshot != NULL) + as_of + how->as_of_zero > 1) {
        return fail(STRATA_INVALID, "give one of snapshot, as_of and as_of_zero");
    }
    if (how->snapshot != NULL && snapshot_db(how->snapshot) != db) {
        return fail(STRATA_INVALID, "the snapshot belongs to another database");
    }
    if (how->as_of_zero) {
        at_out->commit = 0;
    } else if (how->snapshot != NULL) {
        at_out->commit = snapshot_commit(how->snapshot);
        at_out->registered = true;
    } else if (as_of) {
        uint64_t newest = atomic_load_explicit(&db->visible, memory_order_acquire);
        if (how->as_of > newest) {
            return fail(STRATA_INVALID, "as_of %llu lies beyond the newest commit, %llu",
                        (unsigned long long)how->as_of, (unsigned long long)newest);
        }
        at_out->commit = how->as_of - MUTANT(32);
    }
    return space_resolve(db, how->keyspace, &at_out->space);
}

strata_rc read_register(strata_db *db, const struct read_at *at, struct registration *r)
{
    if (at->registered) {
        register_commit_again(db, at->commit, r);
        return STRATA_OK;
    }
    return register_commit(db, at->space, at->commit, r);
}

int64_t read_time_s(strata_db *db, const struct read_at *at)
{
    return at->commit == STRATA_NOW ? db_now_s(db) : time_of_commit_s(db, at->commit);
}

// ---- values

enum { VALUE_BUFFER = 0, VALUE_CAPACITY = 1 };

strata_rc value_assign(strata_value *v, struct slice bytes, uint64_t commit)
{
    size_t capacity = (size_t)(uintptr_t)v->owner[VALUE_CAPACITY];
    if (bytes.bytes > capacity || v->owner[VALUE_BUFFER] == NULL) {
        size_t wanted = bytes.bytes + bytes.bytes / 4 + 64;
        void *buffer = alloc_array(wanted, 1);
        if (buffer == NULL) {
            return alloc_failed("a value", wanted);
        }
        free(v->owner[VALUE_BUFFER]);
        v->owner[VALUE_BUFFER] = buffer;
        // The capacity travels in a pointer-sized private member.
        v->owner[VALUE_CAPACITY] = (void *)(uintptr_t)wanted; // NOLINT(performance-no-int-to-ptr)
    }
    if (bytes.bytes != 0) {
        memcpy(v->owner[VALUE_BUFFER], bytes.data, bytes.bytes);
    }
    v->data = v->owner[VALUE_BUFFER];
    v->bytes = bytes.bytes;
    v->commit = commit;
    return STRATA_OK;
}

// ---- one lookup

struct getter {
    strata_db *db;
    const struct read_at *at;
    struct view *view;
    bool pinned;                   // the view is: the lookup has left its first epoch once
    struct cache_block *blocks[2]; // pinned for the present candidates
    uint32_t block_count;
    uint8_t *kept; // the present candidate's value, copied; or NULL
    struct table_stats_delta delta;
    uint32_t loads;
    struct kv_lookup lookup;
};

// The value of the present candidate may lie in a cached block that only this epoch keeps: before
// the epoch ends it is copied.
static strata_rc keep_candidate(struct getter *g)
{
    struct kv_entry *e = &g->lookup.entry;
    if (!g->lookup.found || e->kind != KV_PUT || (g->kept != NULL && e->value == g->kept)) {
        return STRATA_OK;
    }
    uint8_t *copy = alloc_array((size_t)e->value_bytes + 1, 1);
    if (copy == NULL) {
        return alloc_failed("a value", e->value_bytes);
    }
    if (e->value_bytes > 0) {
        memcpy(copy, e->value, e->value_bytes);
    }
    free(g->kept);
    g->kept = copy;
    e->value = copy;
    return STRATA_OK;
}

// Leaves the epoch, loads the block, and comes back into an epoch with it.
static strata_rc load_cold(struct getter *g, struct table *t, uint32_t block,
                           struct cache_block **block_out)
{
    strata_rc rc = keep_candidate(g);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (!g->pinned) {
        view_ref(g->view);
        g->pinned = true;
    }
    os_epoch_leave();
    rc = table_load(t, block, g->at->keep_blocks, block_out);
    os_epoch_enter();
    g->loads++;
    return rc;
}

// Asks one table; STRATA_OK whether it had something or not.
static strata_rc ask_table(struct getter *g, struct table *t, bool history,
                           struct kv_lookup *lookup)
{
    uint32_t cold;
    enum table_answer answer = history ? table_get_interval(t, lookup, &cold, &g->delta)
                                       : table_get(t, lookup, &cold, &g->delta);
    while (answer == TABLE_COLD) {
        struct cache_block *b;
        strata_rc rc = load_cold(g, t, cold, &b);
        if (rc != STRATA_OK) {
            return rc;
        }
        answer = history ? table_get_interval_in(t, b, lookup) : table_get_in(t, b, lookup);
        if (answer == TABLE_FOUND && g->block_count < 2) {
            g->blocks[g->block_count++] = b; // the answer points into it
        } else {
            ASSERT(answer != TABLE_FOUND);
            cache_unpin(g->db->cache, b);
        }
    }
    return STRATA_OK;
}

static strata_rc ask_live(struct getter *g, const struct tree *tree)
{
    for (uint32_t l = 0; l < tree->level_count; l++) {
        const struct level *level = &tree->levels[l];
        for (uint32_t r = 0; r < level->count; r++) {
            struct table *t = run_find(level->runs[r], g->lookup.key);
            if (t == NULL) {
                continue;
            }
            strata_rc rc = ask_table(g, t, false, &g->lookup);
            if (rc != STRATA_OK || g->lookup.found) {
                return rc;
            }
        }
    }
    return STRATA_OK;
}

// Does the point that `one` found beat what `best` has? At equal commits a point is newer than a
// range delete: a batch may delete a range and put into it.
static bool is_newer(const struct kv_lookup *one, const struct kv_lookup *best)
{
    if (!best->found || one->entry.commit > best->entry.commit) {
        return true;
    }
    return one->entry.commit == best->entry.commit && best->entry.kind == KV_RANGE_DELETE &&
           !MUTANT(26);
}

// The newest version in history whose interval holds the commit, if it is newer than the candidate.
// Several runs may hold one; the greatest begin of all decides.
static strata_rc ask_history(struct getter *g, const struct tree *tree)
{
    for (uint32_t l = 0; l < tree->level_count; l++) {
        const struct level *level = &tree->levels[l];
        for (uint32_t r = 0; r < level->count; r++) {
            struct table *t = run_find(level->runs[r], g->lookup.key);
            if (t == NULL || table_meta(t)->end_greatest <= g->lookup.at ||
                table_meta(t)->commit_least > g->lookup.at) {
                continue;
            }
            struct kv_lookup one = g->lookup;
            uint32_t blocks = g->block_count;
            one.found = false;
            if (blocks == 2) { // the block of a candidate that lost already
                cache_unpin(g->db->cache, g->blocks[0]);
                g->blocks[0] = g->blocks[1];
                g->block_count = blocks = 1;
            }
            strata_rc rc = ask_table(g, t, true, &one);
            if (rc != STRATA_OK) {
                return rc;
            }
            bool wins = one.found && is_newer(&one, &g->lookup);
            if (wins) {
                g->lookup.found = true;
                g->lookup.entry = one.entry;
            } else if (g->block_count > blocks) {
                cache_unpin(g->db->cache, g->blocks[--g->block_count]);
            }
        }
    }
    return STRATA_OK;
}

static strata_rc ask_all(struct getter *g)
{
    uint32_t slot = g->at->space->slot;
    const struct view *v = g->view;
    for (uint32_t i = 0; i < v->generation_count && !g->lookup.found; i++) {
        const struct memtable *m = generation_memtable(v->generations[i], slot);
        if (m != NULL) {
            memtable_get(m, &g->lookup);
        }
    }
    const struct view_space *space = slot < v->space_count ? &v->spaces[slot] : NULL;
    if (space == NULL || space->keyspace == NULL) {
        return STRATA_OK;
    }
    strata_rc rc = g->lookup.found ? STRATA_OK : ask_live(g, space->live);
    bool certain = g->lookup.found && (!g->lookup.skipped || MUTANT(25));
    if (rc == STRATA_OK && !certain && g->lookup.at < space->history->end_greatest) {
        metrics_add(&g->db->metrics, METRIC_gets_history, 1);
        rc = ask_history(g, space->history);
    }
    return rc;
}

static strata_rc getter_run(struct getter *g, struct slice key, uint64_t hash, strata_value *out)
{
    strata_db *db = g->db;
    uint64_t visible;
    os_epoch_enter();
    g->view = view_load(db, &visible);
    g->lookup = (struct kv_lookup){.key = key, .hash = hash, .at = g->at->commit};
    if (g->at->commit == STRATA_NOW) {
        g->lookup.at = visible;
    }
    strata_rc rc = ask_all(g);
    bool found = rc == STRATA_OK && g->lookup.found && g->lookup.entry.kind == KV_PUT;
    if (found) {
        rc = value_assign(out, kv_value(&g->lookup.entry), g->lookup.entry.commit);
    }
    os_epoch_leave();
    while (g->block_count > 0) {
        cache_unpin(db->cache, g->blocks[--g->block_count]);
    }
    if (g->pinned) {
        view_unref(db, g->view);
        g->pinned = false;
        free(g->kept);
        g->kept = NULL;
    }
    if (!found) {
        out->data = NULL;
        out->bytes = 0;
        out->commit = 0;
    }
    return rc == STRATA_OK && !found ? STRATA_NOT_FOUND : rc;
}

static void count_gets(struct getter *g, uint64_t asked, uint64_t found)
{
    struct metrics *m = &g->db->metrics;
    metrics_add(m, METRIC_gets, asked);
    metrics_add(m, METRIC_gets_found, found);
    metrics_add(m, METRIC_filter_negatives, g->delta.filter_negative);
    metrics_add(m, METRIC_filter_positives, g->delta.filter_positive);
    metrics_add(m, METRIC_block_hits, g->delta.block_hits);
    if (g->loads != 0) {
        metrics_add(m, METRIC_block_loads, g->loads);
    }
}

strata_rc db_get(strata_db *db, const struct read_at *at, struct slice key, strata_value *value_out)
{
    struct getter g;
    g.db = db;
    g.at = at;
    g.pinned = false;
    g.block_count = 0;
    g.kept = NULL;
    g.delta = (struct table_stats_delta){0};
    g.loads = 0;
    strata_rc rc = getter_run(&g, key, hash_key(key), value_out);
    count_gets(&g, 1, rc == STRATA_OK);
    return rc;
}

// Asks for the memory that the lookups of a group will touch first, all at once.
static void prefetch_group(strata_db *db, const struct read_at *at, const strata_slice *keys,
                           uint64_t *hashes, size_t count)
{
    uint64_t visible;
    uint32_t slot = at->space->slot;
    os_epoch_enter();
    const struct view *v = view_load(db, &visible);
    for (size_t i = 0; i < count; i++) {
        struct slice key = slice_of(keys[i].data, keys[i].bytes);
        hashes[i] = hash_key(key);
        for (uint32_t g = 0; g < v->generation_count; g++) {
            const struct memtable *m = generation_memtable(v->generations[g], slot);
            if (m != NULL) {
                memtable_prefetch(m, hashes[i]);
            }
        }
        if (slot >= v->space_count || v->spaces[slot].keyspace == NULL) {
            continue;
        }
        const struct tree *tree = v->spaces[slot].live;
        for (uint32_t l = 0; l < tree->level_count; l++) {
            for (uint32_t r = 0; r < tree->levels[l].count; r++) {
                struct table *t = run_find(tree->levels[l].runs[r], key);
                if (t != NULL) {
                    table_prefetch(t, hashes[i]);
                }
            }
        }
    }
    os_epoch_leave();
}

strata_rc db_get_many(strata_db *db, const struct read_at *given, size_t count,
                      const strata_slice *keys, strata_value *values_out, strata_rc *rc_out)
{
    struct getter g = {.db = db};
    struct read_at at = *given;
    uint64_t hashes[GET_MANY_GROUP];
    uint64_t found = 0;
    strata_rc worst = STRATA_OK;
    if (at.commit == STRATA_NOW) { // one commit for all of them
        at.commit = atomic_load_explicit(&db->visible, memory_order_acquire);
    }
    g.at = &at;
    for (size_t begin = 0; begin < count; begin += GET_MANY_GROUP) {
        size_t group = count - begin < GET_MANY_GROUP ? count - begin : GET_MANY_GROUP;
        prefetch_group(db, &at, keys + begin, hashes, group);
        for (size_t i = 0; i < group; i++) {
            size_t k = begin + i;
            rc_out[k] =
                getter_run(&g, slice_of(keys[k].data, keys[k].bytes), hashes[i], &values_out[k]);
            found += rc_out[k] == STRATA_OK;
            worst = worst == STRATA_OK && rc_out[k] < 0 ? rc_out[k] : worst;
        }
    }
    count_gets(&g, count, found);
    return worst;
}
