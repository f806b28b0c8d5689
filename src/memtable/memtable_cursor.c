// The cursor of a memtable: a merge of the few runs of sorted keys that were there when it was
// opened, and behind each key the chain of its versions.
//
// Keys of different runs are different, so the merge compares keys only. It goes on in one run, by
// one comparison a key, while that run's head is less than the least head of the others.
//
// A key's versions newer than `at` are left out. Forwards the chain is followed; backwards, where
// the oldest comes first, a version is found by its depth, and each window walks its own part.
#include "base/alloc.h"
#include "base/assert.h"
#include "memtable/memtable_impl.h"

#define CURSOR_WINDOW_FIRST 8u
#define CURSOR_WINDOW_MOST 64u
// Keys ahead of the current one that are brought closer.
#define CURSOR_PREFETCH 12u

// What a run still has to give.
struct memtable_source {
    // Of the next key, after the view's skip; inverted for backward, so that the least is next.
    uint64_t order;
    const struct sorted_run *run;
    size_t next; // index of the next entry, forward; backward: one more than it
};

struct memtable_cursor {
    struct kv_cursor base;
    struct memtable *memtable;
    uint64_t at;
    bool backward;
    bool refilled; // since the last seek
    size_t window; // entries that the next fill makes at most
    // The key whose versions are being handed out, when `left` > 0.
    const struct memtable_key *key;
    const struct memtable_version *version; // forward: the next; backward: the newest <= at
    uint64_t left;
    uint64_t rival; // the least order of the sources but the first
    size_t source_count;
    struct memtable_source sources[SORTED_RUNS_MAX]; // the first gives the next key
    struct sorted_view view;
    struct kv_entry entries[CURSOR_WINDOW_MOST];
};

static const struct memtable_key *memtable_source_key(const struct memtable_source *s,
                                                      bool backward)
{
    return s->run->entries[backward ? s->next - 1 : s->next].key;
}

static bool memtable_source_ended(const struct memtable_source *s, bool backward)
{
    return s->next == (backward ? 0 : s->run->count);
}

static void memtable_source_load(struct memtable_source *s, size_t skip, bool backward)
{
    const struct sorted_entry *e = &s->run->entries[backward ? s->next - 1 : s->next];
    uint64_t head = s->run->skip == skip ? e->head : slice_head(record_key(e->key), skip);
    s->order = backward ? ~head : head;
}

// Forced inline: gcc 12 takes a function that only prefetches for one without effects and drops its
// calls. The second line is that of the first version, for keys of usual length.
static inline __attribute__((always_inline)) void memtable_key_prefetch(
    const struct memtable_key *key)
{
    __builtin_prefetch(key);
    __builtin_prefetch((const uint8_t *)key + 56);
}

static inline __attribute__((always_inline)) void memtable_source_prefetch(
    const struct memtable_source *s, size_t distance, bool backward)
{
    if (backward) {
        if (s->next > distance) {
            memtable_key_prefetch(s->run->entries[s->next - 1 - distance].key);
        }
    } else if (s->run->count - s->next > distance) {
        memtable_key_prefetch(s->run->entries[s->next + distance].key);
    }
}

// Does a's key come before b's, in the direction of the cursor?
static bool memtable_source_before(const struct memtable_source *a, const struct memtable_source *b,
                                   bool backward)
{
    if (a->order != b->order) {
        return a->order < b->order;
    }
    int order = slice_compare(record_key(memtable_source_key(a, backward)),
                              record_key(memtable_source_key(b, backward)));
    return backward ? order > 0 : order < 0;
}

// Puts the source with the next key first.
static void memtable_cursor_rank(struct memtable_cursor *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->source_count; i++) {
        if (memtable_source_before(&c->sources[i], &c->sources[best], c->backward)) {
            best = i;
        }
    }
    struct memtable_source first = c->sources[best];
    c->sources[best] = c->sources[0];
    c->sources[0] = first;
    c->rival = UINT64_MAX;
    for (size_t i = 1; i < c->source_count; i++) {
        c->rival = c->sources[i].order < c->rival ? c->sources[i].order : c->rival;
    }
}

// Takes the next key off its source; there is one.
static const struct memtable_key *memtable_cursor_pop(struct memtable_cursor *c)
{
    struct memtable_source *s = &c->sources[0];
    const struct memtable_key *key = memtable_source_key(s, c->backward);
    s->next += c->backward ? (size_t)-1 : 1;
    if (memtable_source_ended(s, c->backward)) {
        c->source_count--;
        *s = c->sources[c->source_count];
        memtable_cursor_rank(c);
        return key;
    }
    if (c->window > CURSOR_WINDOW_FIRST) {
        memtable_source_prefetch(s, CURSOR_PREFETCH, c->backward);
    }
    memtable_source_load(s, c->view.skip, c->backward);
    if (c->source_count > 1 && s->order >= c->rival) {
        memtable_cursor_rank(c);
    }
    return key;
}

// Goes to the next key with a version to hand out; false at the end.
static bool memtable_cursor_next_key(struct memtable_cursor *c)
{
    while (c->source_count > 0) {
        const struct memtable_key *key = memtable_cursor_pop(c);
        const struct memtable_version *v = version_at(record_newest(key), c->at);
        if (v != NULL) {
            c->key = key;
            c->version = v;
            c->left = version_chain(v).depth + 1;
            return true;
        }
    }
    return false;
}

// Writes the next `count` versions of the key, no more than are left.
static void memtable_cursor_emit(struct memtable_cursor *c, struct kv_entry *to, size_t count)
{
    uint64_t head = slice_head(record_key(c->key), c->base.head_skip);
    const struct memtable_version *v = c->version;
    if (c->backward) {
        uint64_t depth = version_chain(v).depth + 1 - c->left; // of the oldest in this part
        v = version_at_depth(v, depth + count - 1);
    }
    for (size_t i = 0; i < count; i++) {
        ASSERT(v != NULL);
        struct kv_entry *e = c->backward ? &to[count - 1 - i] : &to[i];
        e->head = head;
        e->key = c->key->key;
        e->key_bytes = c->key->key_bytes;
        version_fill_entry(v, e);
        v = version_chain(v).older;
    }
    c->left -= count;
    if (!c->backward) {
        c->version = v;
    }
}

static strata_rc memtable_cursor_fill(struct memtable_cursor *c)
{
    size_t count = 0;
    if (c->source_count > 0 && c->window == CURSOR_WINDOW_FIRST) {
        for (size_t i = 0; i < CURSOR_WINDOW_FIRST; i++) {
            memtable_source_prefetch(&c->sources[0], i, c->backward);
        }
    }
    while (count < c->window && (c->left > 0 || memtable_cursor_next_key(c))) {
        size_t part = c->window - count;
        if (c->left < part) {
            part = (size_t)c->left;
        }
        memtable_cursor_emit(c, c->entries + count, part);
        count += part;
    }
    c->base.at = c->entries;
    c->base.end = c->entries + count;
    return count > 0 ? STRATA_OK : STRATA_END;
}

static strata_rc memtable_cursor_seek(struct kv_cursor *base, struct slice key, bool backward)
{
    struct memtable_cursor *c = (struct memtable_cursor *)base;
    c->backward = backward;
    c->window = CURSOR_WINDOW_FIRST;
    c->refilled = false;
    c->left = 0;
    c->source_count = 0;
    for (size_t i = 0; i < c->view.count; i++) {
        const struct sorted_run *run = c->view.runs[i];
        struct memtable_source s = {.run = run, .next = backward ? run->count : 0};
        if (key.data != NULL) {
            s.next = sorted_run_find(run, c->view.any, key);
        }
        if (memtable_source_ended(&s, backward)) {
            continue;
        }
        memtable_source_prefetch(&s, 0, backward);
        memtable_source_load(&s, c->view.skip, backward);
        c->sources[c->source_count++] = s;
    }
    if (c->source_count > 0) {
        memtable_cursor_rank(c);
    }
    return memtable_cursor_fill(c);
}

static strata_rc memtable_cursor_refill(struct kv_cursor *base)
{
    struct memtable_cursor *c = (struct memtable_cursor *)base;
    // Two small windows, then larger ones: most scans are short.
    if (c->refilled && c->window < CURSOR_WINDOW_MOST) {
        c->window *= 2;
    }
    c->refilled = true;
    return memtable_cursor_fill(c);
}

static void memtable_cursor_close(struct kv_cursor *base)
{
    struct memtable_cursor *c = (struct memtable_cursor *)base;
    sorted_keys_close(c->memtable->sorted, &c->view);
    free(c);
}

strata_rc memtable_cursor_open(struct memtable *m, uint64_t at, struct kv_cursor **cursor_out)
{
    static const struct kv_cursor_ops ops = {
        .seek = memtable_cursor_seek,
        .refill = memtable_cursor_refill,
        .close = memtable_cursor_close,
    };
    *cursor_out = NULL;
    struct memtable_cursor *c = alloc_array(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("cursor of a memtable", sizeof *c);
    }
    memset(c, 0, offsetof(struct memtable_cursor, entries));
    c->base.ops = &ops;
    c->base.at = c->entries;
    c->base.end = c->entries;
    c->memtable = m;
    c->at = at;
    c->window = CURSOR_WINDOW_FIRST;
    strata_rc rc = sorted_keys_open(m->sorted, &c->view);
    if (rc != STRATA_OK) {
        free(c);
        return rc;
    }
    *cursor_out = &c->base;
    return STRATA_OK;
}
