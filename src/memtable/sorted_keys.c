#include "memtable/sorted_keys.h"

#include "base/alloc.h"
#include "base/assert.h"

// A new run is merged with those that are at most this many times as large.
#define SORTED_FACTOR 8u

void sorted_keys_init(struct sorted_keys *s)
{
    memset(s, 0, sizeof *s);
    atomic_init(&s->newest, NULL);
    atomic_init(&s->count, 0);
    atomic_init(&s->bytes, 0);
    os_mutex_init(&s->mu.lock);
}

static size_t sorted_run_bytes(size_t count)
{
    return sizeof(struct sorted_run) + count * sizeof(struct sorted_entry) +
           count / SORTED_FENCE * sizeof(uint64_t);
}

// Fence i is the head of the last entry of the i-th full group.
static uint64_t *sorted_run_fences(struct sorted_run *run)
{
    return (uint64_t *)(void *)(run->entries + run->count);
}

static void sorted_run_fence(struct sorted_run *run)
{
    uint64_t *fences = sorted_run_fences(run);
    for (size_t i = 0; i < run->count / SORTED_FENCE; i++) {
        fences[i] = run->entries[i * SORTED_FENCE + SORTED_FENCE - 1].head;
    }
}

static struct sorted_run *sorted_run_new(struct sorted_keys *s, size_t count)
{
    if (count > SIZE_MAX / 2 / sizeof(struct sorted_entry)) {
        return NULL;
    }
    struct sorted_run *run = alloc_array(1, sorted_run_bytes(count));
    if (run != NULL) {
        run->references = 1;
        run->count = count;
        run->skip = 0;
        atomic_fetch_add_explicit(&s->bytes, sorted_run_bytes(count), memory_order_relaxed);
    }
    return run;
}

static void sorted_run_unref_locked(struct sorted_keys *s, struct sorted_run *run)
{
    if (run == NULL) {
        return;
    }
    ASSERT(run->references > 0);
    run->references--;
    if (run->references == 0) {
        atomic_fetch_sub_explicit(&s->bytes, sorted_run_bytes(run->count), memory_order_relaxed);
        free(run);
    }
}

void sorted_keys_release(struct sorted_keys *s)
{
    for (size_t i = 0; i < s->mu.view.count; i++) {
        ASSERT(s->mu.view.runs[i]->references == 1);
        sorted_run_unref_locked(s, s->mu.view.runs[i]);
    }
    os_mutex_release(&s->mu.lock);
}

void sorted_keys_add(struct sorted_keys *s, struct memtable_key *key)
{
    key->created_before = atomic_load_explicit(&s->newest, memory_order_relaxed);
    size_t count = atomic_load_explicit(&s->count, memory_order_relaxed);
    atomic_store_explicit(&s->count, count + 1, memory_order_relaxed);
    // Pairs with the acquire in sorted_absorb_locked: who sees the key sees the links behind it,
    // and a count that includes it.
    atomic_store_explicit(&s->newest, key, memory_order_release);
}

// Bytes that `key` shares with the first `most` of `any`.
static size_t sorted_shared(const struct memtable_key *any, const struct memtable_key *key,
                            size_t most)
{
    if (key->key_bytes >= most && memcmp(any->key, key->key, most) == 0) {
        return most;
    }
    return slice_shared(slice_of(any->key, most), record_key(key));
}

// The keys that follow the absorbed ones, as a sorted run; NULL in *run_out when there are none.
// Lowers the view's skip to what the new keys share with the others.
static strata_rc sorted_collect_locked(struct sorted_keys *s, const struct memtable_key *newest,
                                       struct sorted_run **run_out)
{
    *run_out = NULL;
    if (newest == s->mu.absorbed) {
        return STRATA_OK;
    }
    // An upper bound: keys may have been added since `newest` was loaded.
    size_t room = atomic_load_explicit(&s->count, memory_order_relaxed) - s->mu.absorbed_count;
    struct sorted_run *run = sorted_run_new(s, room);
    struct sorted_entry *scratch = alloc_array(room, sizeof *scratch);
    if (run == NULL || scratch == NULL) {
        sorted_run_unref_locked(s, run);
        free(scratch);
        return alloc_failed("sorted keys of a memtable", 2 * sorted_run_bytes(room));
    }
    const struct memtable_key *any = s->mu.view.any == NULL ? newest : s->mu.view.any;
    size_t skip = s->mu.view.any == NULL ? newest->key_bytes : s->mu.view.skip;
    size_t count = 0;
    size_t heads_from = 0; // entries before this one have a head after more bytes than `skip`
    for (const struct memtable_key *k = newest; k != s->mu.absorbed; k = k->created_before) {
        size_t shared = sorted_shared(any, k, skip);
        if (shared < skip) {
            skip = shared;
            heads_from = count;
        }
        ASSERT(count < room);
        run->entries[count] = (struct sorted_entry){slice_head(record_key(k), skip), k};
        count++;
    }
    for (size_t i = 0; i < heads_from; i++) {
        run->entries[i].head = slice_head(record_key(run->entries[i].key), skip);
    }
    sorted_entries_sort(run->entries, scratch, count);
    free(scratch);
    atomic_fetch_sub_explicit(&s->bytes, sorted_run_bytes(room) - sorted_run_bytes(count),
                              memory_order_relaxed);
    run->count = count;
    run->skip = skip;
    sorted_run_fence(run);
    *run_out = run;
    return STRATA_OK;
}

static uint64_t sorted_head_after(const struct sorted_run *run, size_t index, size_t skip)
{
    const struct sorted_entry *e = &run->entries[index];
    return run->skip == skip ? e->head : slice_head(record_key(e->key), skip);
}

// Merges a and b into `to`, with heads after `skip` bytes.
static void sorted_merge_into(struct sorted_run *to, const struct sorted_run *a,
                              const struct sorted_run *b, size_t skip)
{
    size_t i = 0;
    size_t j = 0;
    struct sorted_entry *out = to->entries;
    to->skip = skip;
    struct sorted_entry left = {sorted_head_after(a, 0, skip), a->entries[0].key};
    struct sorted_entry right = {sorted_head_after(b, 0, skip), b->entries[0].key};
    for (;;) {
        bool take_left = left.head < right.head;
        if (left.head == right.head) {
            take_left = slice_compare(record_key(left.key), record_key(right.key)) < 0;
        }
        if (take_left) {
            *out++ = left;
            i++;
            if (i == a->count) {
                break;
            }
            left = (struct sorted_entry){sorted_head_after(a, i, skip), a->entries[i].key};
        } else {
            *out++ = right;
            j++;
            if (j == b->count) {
                break;
            }
            right = (struct sorted_entry){sorted_head_after(b, j, skip), b->entries[j].key};
        }
    }
    for (; i < a->count; i++) {
        *out++ = (struct sorted_entry){sorted_head_after(a, i, skip), a->entries[i].key};
    }
    for (; j < b->count; j++) {
        *out++ = (struct sorted_entry){sorted_head_after(b, j, skip), b->entries[j].key};
    }
    ASSERT(out == to->entries + to->count);
    sorted_run_fence(to);
}

// Takes what was added since the last time into the runs. Changes nothing when it fails.
static strata_rc sorted_absorb_locked(struct sorted_keys *s)
{
    const struct memtable_key *newest = atomic_load_explicit(&s->newest, memory_order_acquire);
    struct sorted_view *view = &s->mu.view;
    struct sorted_run *run;
    strata_rc rc = sorted_collect_locked(s, newest, &run);
    if (rc != STRATA_OK || run == NULL) {
        return rc;
    }
    size_t added = run->count;
    size_t kept = view->count;
    while (kept > 0 &&
           (kept == SORTED_RUNS_MAX || view->runs[kept - 1]->count / SORTED_FACTOR < run->count)) {
        const struct sorted_run *older = view->runs[kept - 1];
        struct sorted_run *merged = sorted_run_new(s, older->count + run->count);
        if (merged == NULL) {
            sorted_run_unref_locked(s, run);
            return alloc_failed("sorted keys of a memtable", sorted_run_bytes(older->count));
        }
        sorted_merge_into(merged, older, run, run->skip);
        sorted_run_unref_locked(s, run);
        run = merged;
        kept--;
    }
    while (view->count > kept) {
        view->count--;
        sorted_run_unref_locked(s, view->runs[view->count]);
    }
    view->runs[kept] = run;
    view->count = kept + 1;
    view->skip = run->skip;
    if (view->any == NULL) {
        view->any = newest;
    }
    s->mu.absorbed = newest;
    s->mu.absorbed_count += added;
    return STRATA_OK;
}

strata_rc sorted_keys_open(struct sorted_keys *s, struct sorted_view *view_out)
{
    os_mutex_lock(&s->mu.lock);
    strata_rc rc = sorted_absorb_locked(s);
    if (rc == STRATA_OK) {
        *view_out = s->mu.view;
        for (size_t i = 0; i < view_out->count; i++) {
            view_out->runs[i]->references++;
        }
    }
    os_mutex_unlock(&s->mu.lock);
    return rc;
}

void sorted_keys_close(struct sorted_keys *s, struct sorted_view *view)
{
    os_mutex_lock(&s->mu.lock);
    for (size_t i = 0; i < view->count; i++) {
        sorted_run_unref_locked(s, view->runs[i]);
    }
    os_mutex_unlock(&s->mu.lock);
    view->count = 0;
}

// How many of the fences are less than `head`.
static size_t sorted_fences_below(const uint64_t *fences, size_t count, uint64_t head)
{
    const uint64_t *base = fences;
    while (count > 1) {
        size_t half = count / 2;
        base = base[half - 1] < head ? base + half : base;
        count -= half;
    }
    return (size_t)(base - fences) + (count == 1 && *base < head ? 1 : 0);
}

// Index of the first entry with a head >= `head`.
static size_t sorted_heads_below(const struct sorted_run *run, uint64_t head)
{
    const uint64_t *fences = (const uint64_t *)(const void *)(run->entries + run->count);
    size_t fence = sorted_fences_below(fences, run->count / SORTED_FENCE, head);
    size_t low = fence * SORTED_FENCE;
    size_t end = run->count - low < SORTED_FENCE ? run->count : low + SORTED_FENCE;
    for (size_t i = low; i < end; i += 4) {
        __builtin_prefetch(&run->entries[i]);
    }
    size_t below = low;
    for (size_t i = low; i < end; i++) {
        below += run->entries[i].head < head ? 1 : 0;
    }
    return below;
}

size_t sorted_run_find(const struct sorted_run *run, const struct memtable_key *any,
                       struct slice key)
{
    size_t shared = key.bytes < run->skip ? key.bytes : run->skip;
    int order = shared == 0 ? 0 : memcmp(key.data, any->key, shared);
    if (order != 0 || key.bytes < run->skip) {
        return order > 0 ? run->count : 0;
    }
    uint64_t head = slice_head(key, run->skip);
    size_t low = sorted_heads_below(run, head);
    // Among equal heads the whole keys decide.
    size_t high = low;
    size_t step = 1;
    while (high < run->count && run->entries[high].head == head) {
        high = run->count - high < step ? run->count : high + step;
        step *= 2;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct sorted_entry *e = &run->entries[middle];
        if (e->head == head && slice_compare(record_key(e->key), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
