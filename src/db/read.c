// Point reads (architecture, sections 5 and 10). One hash; memtables newest first, then the runs of
// the live tree newest first; the first candidate at or before the commit is the answer, unless
// something newer was passed over and the commit lies below the greatest end in history: then the
// history tree is asked too and the newest candidate wins.
//
// Inside an epoch nothing blocks. When a block is cold the view is pinned, the epoch is left for
// the read, and the lookup goes on with the pinned block. A separated value is read after the
// epoch, from a file that is referred to.
//
// A put whose expiry has passed is absence, and hides what is older: it is judged last.
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

// ---- values

enum { VALUE_BUFFER = 0, VALUE_CAPACITY = 1 };

// Makes room in the value's own buffer.
static inline strata_rc value_reserve(strata_value *v, size_t bytes)
{
    size_t capacity = (size_t)(uintptr_t)v->owner[VALUE_CAPACITY];
    if (bytes > capacity || v->owner[VALUE_BUFFER] == NULL) {
        size_t wanted = bytes + bytes / 4 + 64;
        void *buffer = alloc_array(wanted, 1);
        if (buffer == NULL) {
            return alloc_failed("a value", wanted);
        }
        free(v->owner[VALUE_BUFFER]);
        v->owner[VALUE_BUFFER] = buffer;
        // The capacity travels in a pointer-sized private member.
        v->owner[VALUE_CAPACITY] = (void *)(uintptr_t)wanted; // NOLINT(performance-no-int-to-ptr)
    }
    return STRATA_OK;
}

static inline void value_set(strata_value *v, size_t bytes, uint64_t commit)
{
    v->data = v->owner[VALUE_BUFFER];
    v->bytes = bytes;
    v->commit = commit;
}

static inline void value_set_none(strata_value *v)
{
    v->data = NULL;
    v->bytes = 0;
    v->commit = 0;
}

strata_rc value_assign(strata_value *v, struct slice bytes, uint64_t commit)
{
    strata_rc rc = value_reserve(v, bytes.bytes);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (bytes.bytes != 0) {
        memcpy(v->owner[VALUE_BUFFER], bytes.data, bytes.bytes);
    }
    value_set(v, bytes.bytes, commit);
    return STRATA_OK;
}

// ---- one lookup

struct getter {
    strata_db *db;
    const struct read_at *at;
    struct view *view;
    bool fixed;    // the view is given and pinned for all lookups
    bool pinned;   // the view is: the lookup has left its first epoch once
    bool now;      // expiry is judged by the present, else by the commit's time
    bool has_time; // by which expiry is judged:
    int64_t time_s;
    struct cache_block *blocks[2]; // pinned for the present candidates
    uint32_t block_count;
    uint8_t *kept; // the present candidate's value, copied; or NULL
    struct table_stats_delta delta;
    uint32_t loads;
    struct kv_lookup lookup;
    struct value_file *file; // of a separated value that was found, with a reference; or NULL
    struct kv_value_ref ref;
};

static void getter_init(struct getter *g, strata_db *db, const struct read_at *at)
{
    g->db = db;
    g->at = at;
    g->fixed = false;
    g->pinned = false;
    g->now = at->commit == STRATA_NOW;
    g->has_time = false;
    g->block_count = 0;
    g->kept = NULL; // only with a pinned view or blocks
    g->delta = (struct table_stats_delta){0};
    g->loads = 0;
    g->file = NULL;
}

// The value of the present candidate may lie in a cached block that only this epoch keeps: before
// the epoch ends it is copied.
static strata_rc keep_candidate(struct getter *g)
{
    struct kv_entry *e = &g->lookup.entry;
    bool has_value = g->lookup.found && (e->kind == KV_PUT || e->kind == KV_PUT_SEPARATED);
    if (!has_value || (g->kept != NULL && e->value == g->kept)) {
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
    if (!g->pinned && !g->fixed) {
        view_ref(g->view);
    }
    g->pinned = true;
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
// range delete: a batch may delete a range and put into it. A floor beats range deletes, which are
// live's: one that is newer than the floor's begin was superseded by a version inside of it.
static bool is_newer(const struct kv_lookup *one, const struct kv_lookup *best)
{
    if (!best->found || one->entry.commit > best->entry.commit) {
        return true;
    }
    if (one->entry.kind == KV_FLOOR && best->entry.kind == KV_RANGE_DELETE) {
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

// In the epoch: the answer is no plain value. Takes the file of a separated one.
static strata_rc take_answer(struct getter *g)
{
    const struct kv_entry *e = &g->lookup.entry;
    if (!g->lookup.found) {
        return STRATA_NOT_FOUND;
    }
    if (e->kind == KV_FLOOR && !MUTANT(77)) {
        return fail(STRATA_TRIMMED, "the version of the key at commit %llu is not kept any more",
                    (unsigned long long)g->lookup.at);
    }
    if (e->kind != KV_PUT_SEPARATED) {
        return STRATA_NOT_FOUND;
    }
    strata_rc rc = kv_value_ref_decode(kv_value(e), &g->ref);
    return rc == STRATA_OK ? view_value_file(g->view, g->ref.file, &g->file) : rc;
}

// A read as of a commit that the view does not hold whole any more.
static strata_rc check_floor(const struct getter *g)
{
    uint32_t slot = g->at->space->slot;
    uint64_t floor = slot < g->view->space_count ? g->view->spaces[slot].floor : 0;
    if (g->now || g->at->registered || g->at->commit >= floor || MUTANT(79)) {
        return STRATA_OK;
    }
    return fail(STRATA_TRIMMED, "commit %llu lies before %llu, the oldest that is kept",
                (unsigned long long)g->at->commit, (unsigned long long)floor);
}

// STRATA_NOT_FOUND when the value that was found has expired. Out of the epoch.
static strata_rc judge_expiry(struct getter *g)
{
    if (!g->has_time) {
        g->time_s = g->now || MUTANT(78) ? db_now_s(g->db) : time_of_commit_s(g->db, g->at->commit);
        g->has_time = true;
    }
    if (!is_expired(g->lookup.entry.expiry, g->time_s)) {
        return STRATA_OK;
    }
    value_file_unref(g->file);
    g->file = NULL;
    return STRATA_NOT_FOUND;
}

// Out of the epoch.
static void let_go(struct getter *g)
{
    while (g->block_count > 0) {
        cache_unpin(g->db->cache, g->blocks[--g->block_count]);
    }
    if (g->pinned && !g->fixed) {
        view_unref(g->db, g->view);
    }
    g->pinned = false;
    free(g->kept);
    g->kept = NULL;
}

// STRATA_OK with the value in *out, or with g->file set when it is to be read there.
static strata_rc getter_run(struct getter *g, struct slice key, uint64_t hash, strata_value *out)
{
    struct kv_lookup *l = &g->lookup;
    uint64_t visible = 0; // a given view comes with a commit
    strata_rc rc = STRATA_OK;
    l->key = key;
    l->hash = hash;
    l->at = g->at->commit;
    l->skipped = false;
    l->found = false;
    os_epoch_enter();
    if (!g->fixed) {
        g->view = view_load(g->db, &visible);
    }
    if (l->at == STRATA_NOW) {
        l->at = visible;
    } else {
        rc = check_floor(g);
    }
    rc = rc == STRATA_OK ? ask_all(g) : rc;
    if (__builtin_expect(rc == STRATA_OK && l->found && l->entry.kind == KV_PUT, 1)) {
        rc = value_assign(out, kv_value(&l->entry), l->entry.commit);
    } else if (rc == STRATA_OK) {
        rc = take_answer(g);
    }
    os_epoch_leave();
    if (g->block_count > 0 || g->pinned) {
        let_go(g);
    }
    if (rc == STRATA_OK && l->entry.expiry != 0) {
        rc = judge_expiry(g);
    }
    if (rc != STRATA_OK) {
        value_set_none(out);
    }
    return rc;
}

// Reads the separated value that was found.
static strata_rc read_separated(struct getter *g, strata_value *out)
{
    strata_rc rc = value_reserve(out, g->ref.bytes);
    if (rc == STRATA_OK) {
        rc = value_file_read(g->file, &g->ref, 0, out->owner[VALUE_BUFFER], g->ref.bytes);
    }
    value_file_unref(g->file);
    g->file = NULL;
    if (rc == STRATA_OK) {
        value_set(out, g->ref.bytes, g->lookup.entry.commit);
    } else {
        value_set_none(out);
    }
    return rc;
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
    getter_init(&g, db, at);
    strata_rc rc = getter_run(&g, key, hash_key(key), value_out);
    if (g.file != NULL) {
        rc = read_separated(&g, value_out);
    }
    count_gets(&g, 1, rc == STRATA_OK);
    return rc;
}

strata_rc db_find_value(strata_db *db, const struct read_at *at, struct slice key,
                        struct value_found *out)
{
    struct getter g;
    getter_init(&g, db, at);
    strata_rc rc = getter_run(&g, key, hash_key(key), &out->value);
    out->file = g.file;
    if (g.file != NULL) {
        out->ref = g.ref;
    }
    out->commit = rc == STRATA_OK ? g.lookup.entry.commit : 0;
    count_gets(&g, 1, rc == STRATA_OK);
    return rc;
}

// ---- many at once

// Asks for the memory that the lookups of a group will touch first, all at once.
static void prefetch_group(const struct view *v, uint32_t slot, const strata_slice *keys,
                           uint64_t *hashes, size_t count)
{
    os_epoch_enter();
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

// The keys of a group, and those of their values that are separated and still to be read.
struct group {
    const strata_slice *keys;
    strata_value *values;
    strata_rc *rcs;
    size_t count;
    struct value_read reads[GET_MANY_GROUP];
    size_t places[GET_MANY_GROUP]; // of each read: which key
    uint64_t commits[GET_MANY_GROUP];
    size_t read_count;
};

static void read_group(struct group *p)
{
    if (p->read_count == 0) {
        return;
    }
    strata_rc first = value_read_many(p->reads, p->read_count);
    (void)first; // the outcome of each read stands with it
    for (size_t i = 0; i < p->read_count; i++) {
        size_t k = p->places[i];
        value_file_unref(p->reads[i].file);
        p->rcs[k] = p->reads[i].rc;
        if (p->rcs[k] == STRATA_OK) {
            value_set(&p->values[k], p->reads[i].ref.bytes, p->commits[i]);
        } else {
            value_set_none(&p->values[k]);
        }
    }
}

static void get_group(struct getter *g, struct group *p)
{
    uint64_t hashes[GET_MANY_GROUP];
    prefetch_group(g->view, g->at->space->slot, p->keys, hashes, p->count);
    for (size_t k = 0; k < p->count; k++) {
        struct slice key = slice_of(p->keys[k].data, p->keys[k].bytes);
        p->rcs[k] = getter_run(g, key, hashes[k], &p->values[k]);
        if (g->file == NULL) {
            continue;
        }
        p->rcs[k] = value_reserve(&p->values[k], g->ref.bytes);
        if (p->rcs[k] == STRATA_OK) {
            p->places[p->read_count] = k;
            p->commits[p->read_count] = g->lookup.entry.commit;
            p->reads[p->read_count++] = (struct value_read){.file = g->file,
                                                            .ref = g->ref,
                                                            .to = p->values[k].owner[VALUE_BUFFER],
                                                            .rc = STRATA_NO_MEMORY};
        } else {
            value_file_unref(g->file);
            value_set_none(&p->values[k]);
        }
        g->file = NULL;
    }
    read_group(p);
}

strata_rc db_get_many(strata_db *db, const struct read_at *given, size_t count,
                      const strata_slice *keys, strata_value *values_out, strata_rc *rc_out)
{
    struct getter g;
    struct read_at at = *given;
    uint64_t visible;
    uint64_t found = 0;
    strata_rc worst = STRATA_OK;
    getter_init(&g, db, given);
    // One commit and one view for all of them: a later view need not hold that commit whole.
    g.view = view_pin(db, &visible);
    g.fixed = true;
    g.at = &at;
    at.commit = g.now ? visible : at.commit;
    for (size_t begin = 0; begin < count; begin += GET_MANY_GROUP) {
        struct group p;
        p.keys = keys + begin;
        p.values = values_out + begin;
        p.rcs = rc_out + begin;
        p.count = count - begin < GET_MANY_GROUP ? count - begin : GET_MANY_GROUP;
        p.read_count = 0;
        get_group(&g, &p);
        for (size_t k = 0; k < p.count; k++) {
            found += p.rcs[k] == STRATA_OK;
            worst = worst == STRATA_OK && p.rcs[k] < 0 ? p.rcs[k] : worst;
        }
    }
    view_unref(db, g.view);
    count_gets(&g, count, found);
    return worst;
}
