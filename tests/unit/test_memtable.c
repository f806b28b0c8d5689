// The memtable against a plain array of everything that was written, at every commit.
#include "memtable/memtable.h"

#include "base/endian.h"
#include "base/hash.h"
#include "base/prng.h"
#include "lib/alloc_fault.h"
#include "os/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MODEL_MOST 4000
#define KEY_MOST 40

// One version, as the model keeps it.
struct written {
    uint8_t key[KEY_MOST];
    size_t key_bytes;
    uint64_t commit;
    uint64_t expiry;
    uint8_t kind;
    uint8_t value[16];
    size_t value_bytes;
};

struct model {
    struct memtable *memtable;
    struct written *points; // in the order of writing
    size_t point_count;
    struct range_del *ranges;
    size_t range_count;
    uint64_t commit;
    uint64_t hash_mask; // to make hashes collide
};

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

static struct slice written_key(const struct written *w)
{
    return slice_of(w->key, w->key_bytes);
}

static void model_init(struct model *d, uint64_t hash_mask)
{
    *d = (struct model){.hash_mask = hash_mask};
    d->points = calloc(MODEL_MOST, sizeof *d->points);
    d->ranges = calloc(MODEL_MOST, sizeof *d->ranges);
    assert_true(d->points != NULL && d->ranges != NULL);
    assert_int_equal(memtable_new(NULL, &d->memtable), STRATA_OK);
}

static void model_release(struct model *d)
{
    assert_int_equal(memtable_check(d->memtable), STRATA_OK);
    assert_int_equal(memtable_count(d->memtable), d->point_count + d->range_count);
    memtable_free(d->memtable);
    for (size_t i = 0; i < d->range_count; i++) {
        free((void *)(uintptr_t)d->ranges[i].begin.data);
        free((void *)(uintptr_t)d->ranges[i].end.data);
    }
    free(d->points);
    free(d->ranges);
}

static struct slice slice_copy(struct slice s)
{
    uint8_t *copy = malloc(s.bytes + 1);
    assert_non_null(copy);
    memcpy(copy, s.data, s.bytes);
    return slice_of(copy, s.bytes);
}

static struct kv_entry entry_of(struct slice key, struct slice value, uint64_t commit)
{
    return (struct kv_entry){
        .key = key.data,
        .key_bytes = (uint32_t)key.bytes,
        .value = value.data,
        .value_bytes = (uint32_t)value.bytes,
        .commit = commit,
        .kind = KV_PUT,
    };
}

static void model_add(struct model *d, struct slice key, struct prng *p)
{
    struct written *w = &d->points[d->point_count];
    assert_true(d->point_count < MODEL_MOST);
    memcpy(w->key, key.data, key.bytes);
    w->key_bytes = key.bytes;
    w->commit = d->commit;
    w->kind = prng_one_in(p, 4) ? KV_DELETE : KV_PUT;
    w->expiry = prng_one_in(p, 3) ? 1 + prng_below(p, 1000) : 0;
    w->value_bytes = w->kind == KV_DELETE ? 0 : prng_below(p, sizeof w->value);
    for (size_t i = 0; i < w->value_bytes; i++) {
        w->value[i] = (uint8_t)prng_next(p);
    }
    struct kv_entry e = entry_of(key, slice_of(w->value, w->value_bytes), w->commit);
    e.kind = w->kind;
    e.expiry = w->expiry;
    assert_int_equal(memtable_reserve(d->memtable, 1, key.bytes + w->value_bytes), STRATA_OK);
    memtable_add(d->memtable, &e, hash_key(key) & d->hash_mask);
    d->point_count++;
}

static void model_delete_range(struct model *d, struct slice begin, struct slice end)
{
    assert_int_equal(memtable_reserve(d->memtable, 1, begin.bytes + end.bytes), STRATA_OK);
    memtable_delete_range(d->memtable, begin, end, d->commit);
    d->ranges[d->range_count++] = (struct range_del){slice_copy(begin), slice_copy(end), d->commit};
}

// Keys of several shapes: few and many, with long common prefixes, prefixes of one another.
static size_t random_key(struct prng *p, unsigned shape, uint8_t key[KEY_MOST])
{
    uint64_t n = prng_below(p, 300);
    switch (shape) {
    case 0: // 8 random bytes and 8 more
        n = prng_mix(n);
        memcpy(key, &n, 8);
        memset(key + 8, '0', 8);
        return 16;
    case 1: // decimal with a long common prefix
        return (size_t)snprintf((char *)key, KEY_MOST, "a/long/common/prefix/%06u", (unsigned)n);
    case 2: // short, of 0 and 1 bytes, prefixes of one another
        for (size_t i = 0; i < KEY_MOST; i++) {
            key[i] = (uint8_t)prng_below(p, 2);
        }
        return 1 + prng_below(p, 9);
    default: // groups whose first bytes are equal far beyond a head
        return (size_t)snprintf((char *)key, KEY_MOST, "%c/group/of/keys/%c/%u", 'a' + (int)(n % 3),
                                'x' + (int)(n % 2), (unsigned)n);
    }
}

static const struct written *model_point(const struct model *d, struct slice key, uint64_t at,
                                         bool *skipped)
{
    const struct written *newest = NULL;
    for (size_t i = 0; i < d->point_count; i++) {
        if (slice_equal(written_key(&d->points[i]), key)) {
            if (d->points[i].commit > at) {
                *skipped = true;
            } else {
                newest = &d->points[i];
            }
        }
    }
    return newest;
}

static uint64_t model_range(const struct model *d, struct slice key, uint64_t at, bool *skipped)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < d->range_count; i++) {
        const struct range_del *r = &d->ranges[i];
        if (slice_compare(r->begin, key) <= 0 && slice_compare(key, r->end) < 0) {
            if (r->commit > at) {
                *skipped = true;
            } else {
                newest = r->commit > newest ? r->commit : newest;
            }
        }
    }
    return newest;
}

static void check_entry(const struct kv_entry *e, const struct written *w)
{
    assert_true(slice_equal(kv_key(e), written_key(w)));
    assert_true(slice_equal(kv_value(e), slice_of(w->value, w->value_bytes)));
    assert_int_equal(e->commit, w->commit);
    assert_int_equal(e->kind, w->kind);
    assert_int_equal(e->expiry, w->expiry);
    assert_int_equal(e->end, 0);
}

static void check_get(const struct model *d, struct slice key, uint64_t at)
{
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key) & d->hash_mask, .at = at};
    bool skipped = false;
    const struct written *point = model_point(d, key, at, &skipped);
    uint64_t deleted = model_range(d, key, at, &skipped);
    memtable_prefetch(d->memtable, lookup.hash);
    bool found = memtable_get(d->memtable, &lookup);
    assert_int_equal(found, point != NULL || deleted > 0);
    assert_int_equal(lookup.found, found);
    assert_int_equal(lookup.skipped, skipped);
    if (found && point != NULL && point->commit >= deleted) {
        check_entry(&lookup.entry, point);
    } else if (found) {
        assert_int_equal(lookup.entry.kind, KV_RANGE_DELETE);
        assert_int_equal(lookup.entry.commit, deleted);
        assert_true(slice_equal(kv_key(&lookup.entry), key));
    }
}

static int compare_written(const void *a, const void *b)
{
    const struct written *left = *(const struct written *const *)a;
    const struct written *right = *(const struct written *const *)b;
    int order = slice_compare(written_key(left), written_key(right));
    if (order != 0) {
        return order;
    }
    return left->commit > right->commit ? -1 : left->commit < right->commit;
}

// Every version with commit <= at, in order.
static const struct written **model_sorted(const struct model *d, uint64_t at, size_t *count_out)
{
    const struct written **sorted = calloc(d->point_count + 1, sizeof *sorted);
    assert_non_null(sorted);
    size_t count = 0;
    for (size_t i = 0; i < d->point_count; i++) {
        if (d->points[i].commit <= at) {
            sorted[count++] = &d->points[i];
        }
    }
    qsort(sorted, count, sizeof *sorted, compare_written);
    *count_out = count;
    return sorted;
}

// The cursor's entries from the seek on, passing over those that are newer than `at`, are exactly
// the model's.
static void check_walk(struct kv_cursor *c, const struct written **sorted, size_t count,
                       struct slice seek, bool backward, uint64_t at)
{
    size_t first = 0; // entries with a key < seek
    while (seek.data != NULL && first < count &&
           slice_compare(written_key(sorted[first]), seek) < 0) {
        first++;
    }
    if (seek.data == NULL && backward) {
        first = count;
    }
    size_t left = backward ? first : count - first;
    strata_rc rc = kv_cursor_seek(c, seek, backward);
    size_t i = backward ? first - 1 : first;
    while (rc == STRATA_OK) {
        assert_true(kv_cursor_valid(c));
        if (c->at->commit <= at) {
            assert_true(left > 0);
            check_entry(c->at, sorted[i]);
            assert_int_equal(c->at->head, slice_head(kv_key(c->at), c->head_skip));
            left--;
            i += backward ? (size_t)-1 : 1;
        }
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    assert_int_equal(left, 0);
    assert_false(kv_cursor_valid(c));
}

static void check_cursor(const struct model *d, struct kv_cursor *c, uint64_t at, struct prng *p,
                         unsigned shape)
{
    size_t count;
    const struct written **sorted = model_sorted(d, at, &count);
    check_walk(c, sorted, count, slice_of(NULL, 0), false, at);
    check_walk(c, sorted, count, slice_of(NULL, 0), true, at);
    for (int i = 0; i < 3; i++) {
        uint8_t key[KEY_MOST];
        size_t bytes = random_key(p, shape, key);
        bytes -= prng_below(p, bytes);
        if (prng_one_in(p, 3)) {
            key[prng_below(p, bytes)] ^= (uint8_t)prng_next(p); // before or behind all keys, maybe
        }
        check_walk(c, sorted, count, slice_of(key, bytes), prng_one_in(p, 2), at);
    }
    free(sorted);
}

static void check_all(const struct model *d, struct prng *p, unsigned shape)
{
    uint8_t key[KEY_MOST];
    assert_int_equal(memtable_check(d->memtable), STRATA_OK);
    for (int i = 0; i < 12; i++) {
        size_t bytes = random_key(p, shape, key);
        check_get(d, slice_of(key, bytes), prng_below(p, d->commit + 2));
    }
    for (int i = 0; i < 2; i++) {
        uint64_t at = prng_below(p, d->commit + 2);
        struct kv_cursor *c;
        assert_int_equal(memtable_cursor_open(d->memtable, at, &c), STRATA_OK);
        c->head_skip = prng_below(p, 3) == 0 && shape == 1 ? 10 : 0;
        check_cursor(d, c, at, p, shape);
        kv_cursor_close(c);
    }
    const struct range_dels *dels;
    assert_int_equal(memtable_range_dels(d->memtable, &dels), STRATA_OK);
    for (int i = 0; i < 12; i++) {
        uint64_t at = prng_below(p, d->commit + 2);
        struct slice k = slice_of(key, random_key(p, shape, key));
        const struct range_fragment *f = range_dels_cover(dels, k);
        bool newer = false;
        bool newer_expected = false;
        uint64_t expected = model_range(d, k, at, &newer_expected);
        assert_int_equal(f == NULL ? 0 : range_fragment_newest(f, at, &newer), expected);
        assert_int_equal(newer, newer_expected);
    }
}

// One commit of up to `most` operations, each key at most once.
static void model_commit(struct model *d, struct prng *p, unsigned shape, size_t most)
{
    size_t first = d->point_count;
    size_t count = 1 + prng_below(p, most);
    d->commit += 1 + prng_below(p, 2);
    for (size_t i = 0; i < count && d->point_count < MODEL_MOST; i++) {
        uint8_t key[KEY_MOST];
        uint8_t end[KEY_MOST];
        struct slice k = slice_of(key, random_key(p, shape, key));
        if (prng_one_in(p, 20)) {
            struct slice e = slice_of(end, random_key(p, shape, end));
            if (slice_compare(k, e) < 0) {
                model_delete_range(d, k, e);
            }
            continue;
        }
        bool again = false;
        for (size_t j = first; j < d->point_count; j++) {
            again = again || slice_equal(written_key(&d->points[j]), k);
        }
        if (!again) {
            model_add(d, k, p);
        }
    }
}

static void run_model(unsigned shape, uint64_t hash_mask, uint64_t seed)
{
    struct prng p = {seed};
    struct model d;
    model_init(&d, hash_mask);
    // Kept open while the writer goes on: it shows its commit, whatever comes later.
    struct kv_cursor *old = NULL;
    uint64_t old_at = 0;
    while (d.point_count < 1200) {
        model_commit(&d, &p, shape, 40);
        if (prng_one_in(&p, 3)) {
            check_all(&d, &p, shape);
        }
        if (old != NULL && prng_one_in(&p, 8)) {
            check_cursor(&d, old, old_at, &p, shape);
            kv_cursor_close(old);
            old = NULL;
        }
        if (old == NULL) {
            old_at = d.commit;
            assert_int_equal(memtable_cursor_open(d.memtable, old_at, &old), STRATA_OK);
        }
    }
    check_all(&d, &p, shape);
    kv_cursor_close(old);
    model_release(&d);
}

static void random_operations_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned shape = 0; shape < 4; shape++) {
        for (uint64_t seed = 1; seed <= 2; seed++) {
            run_model(shape, UINT64_MAX, seed);
        }
    }
}

static void colliding_hashes_agree_with_the_model(void **state)
{
    (void)state;
    run_model(0, 7, 3);
    run_model(1, (uint64_t)0xffff << 48, 4);
    run_model(2, 0, 5);
}

static void empty_memtable_answers_nothing(void **state)
{
    (void)state;
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    assert_true(memtable_is_empty(m));
    assert_true(memtable_bytes(m) < 4096);
    struct kv_lookup lookup = {.key = text("a"), .hash = hash_key(text("a")), .at = 9};
    assert_false(memtable_get(m, &lookup));
    assert_false(lookup.skipped);
    struct kv_cursor *c;
    assert_int_equal(memtable_cursor_open(m, 9, &c), STRATA_OK);
    assert_false(kv_cursor_valid(c));
    assert_int_equal(kv_cursor_seek(c, text("a"), false), STRATA_END);
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), true), STRATA_END);
    assert_false(kv_cursor_valid(c));
    kv_cursor_close(c);
    const struct range_dels *dels;
    assert_int_equal(memtable_range_dels(m, &dels), STRATA_OK);
    assert_null(dels);
    assert_int_equal(memtable_check(m), STRATA_OK);
    memtable_free(m);
    memtable_free(NULL);
}

static void add_one(struct memtable *m, struct slice key, struct slice value, uint64_t commit)
{
    struct kv_entry e = entry_of(key, value, commit);
    assert_int_equal(memtable_reserve(m, 1, key.bytes + value.bytes), STRATA_OK);
    memtable_add(m, &e, hash_key(key));
}

static void point_is_newer_than_a_range_delete_of_its_commit(void **state)
{
    (void)state;
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    add_one(m, text("b"), text("old"), 1);
    assert_int_equal(memtable_reserve(m, 1, 2), STRATA_OK);
    memtable_delete_range(m, text("a"), text("c"), 2);
    add_one(m, text("b"), text("new"), 2);
    struct kv_lookup lookup = {.key = text("b"), .hash = hash_key(text("b")), .at = 2};
    assert_true(memtable_get(m, &lookup));
    assert_int_equal(lookup.entry.kind, KV_PUT);
    assert_int_equal(lookup.entry.commit, 2);
    assert_false(lookup.skipped);
    lookup = (struct kv_lookup){.key = text("bb"), .hash = hash_key(text("bb")), .at = 1};
    assert_false(memtable_get(m, &lookup));
    assert_true(lookup.skipped);
    memtable_free(m);
}

// Quadratic chains would take minutes here.
static void many_overwrites_of_one_key_are_found_at_every_commit(void **state)
{
    (void)state;
    enum { VERSIONS = 20000 };
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    add_one(m, text("a"), text(""), 1);
    add_one(m, text("z"), text(""), 1);
    for (uint64_t commit = 2; commit <= VERSIONS; commit++) {
        add_one(m, text("key"), slice_of(&commit, sizeof commit), commit);
    }
    for (uint64_t at = 1; at <= VERSIONS; at++) {
        struct kv_lookup lookup = {.key = text("key"), .hash = hash_key(text("key")), .at = at};
        assert_int_equal(memtable_get(m, &lookup), at > 1);
        assert_true(at == 1 || lookup.entry.commit == at);
        assert_int_equal(lookup.skipped, at < VERSIONS);
    }
    struct kv_cursor *c;
    assert_int_equal(memtable_cursor_open(m, VERSIONS / 2, &c), STRATA_OK);
    uint64_t expected = 1;
    assert_int_equal(kv_cursor_seek(c, text("key0"), true), STRATA_OK);
    for (expected = 2; expected <= VERSIONS / 2; expected++) {
        assert_int_equal(c->at->commit, expected);
        assert_int_equal(load_u64(c->at->value), expected);
        assert_int_equal(kv_cursor_next(c), STRATA_OK);
    }
    assert_true(slice_equal(kv_key(c->at), text("a")));
    kv_cursor_close(c);
    assert_int_equal(memtable_check(m), STRATA_OK);
    memtable_free(m);
}

static void many_range_deletes_stay_cheap(void **state)
{
    (void)state;
    enum { RANGES = 10000 };
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    struct prng p = {11};
    for (uint32_t i = 1; i <= RANGES; i++) {
        uint32_t from = (uint32_t)prng_below(&p, RANGES);
        uint32_t begin = __builtin_bswap32(from);
        uint32_t end = __builtin_bswap32(from + 20);
        uint32_t middle = __builtin_bswap32(from + 10);
        assert_int_equal(memtable_reserve(m, 1, 8), STRATA_OK);
        memtable_delete_range(m, slice_of(&begin, 4), slice_of(&end, 4), i);
        struct slice key = slice_of(&middle, 4);
        struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = i};
        assert_true(memtable_get(m, &lookup));
        assert_int_equal(lookup.entry.commit, i);
    }
    const struct range_dels *dels;
    const struct range_dels *again;
    assert_int_equal(memtable_range_dels(m, &dels), STRATA_OK);
    assert_int_equal(memtable_range_dels(m, &again), STRATA_OK);
    assert_ptr_equal(dels, again);
    assert_true(memtable_bytes(m) < (size_t)32 << 20);
    assert_int_equal(memtable_check(m), STRATA_OK);
    memtable_free(m);
}

static void bytes_cover_what_was_written(void **state)
{
    (void)state;
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    static uint8_t value[100000];
    uint8_t key[16] = {0};
    for (uint32_t i = 0; i < 100; i++) {
        store_u32(key, i);
        size_t before = memtable_bytes(m);
        add_one(m, slice_of(key, 16), slice_of(value, sizeof value), i + 1);
        assert_true(memtable_bytes(m) >= before);
    }
    assert_true(memtable_bytes(m) > 100 * sizeof value);
    assert_true(memtable_bytes(m) < 150 * sizeof value);
    struct kv_cursor *c;
    size_t before = memtable_bytes(m);
    assert_int_equal(memtable_cursor_open(m, 100, &c), STRATA_OK);
    assert_true(memtable_bytes(m) > before);
    kv_cursor_close(c);
    memtable_free(m);
}

static void reserve_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct memtable *m;
    for (uint64_t n = 0;; n++) {
        alloc_fault_arm(n, 1);
        strata_rc rc = memtable_new(NULL, &m);
        if (alloc_fault_disarm() == 0) {
            assert_int_equal(rc, STRATA_OK);
            break;
        }
        assert_int_equal(rc, STRATA_NO_MEMORY);
        assert_null(m);
    }
    uint64_t commit = 0;
    for (size_t batch = 1; batch < 3000; batch *= 2) {
        size_t bytes = batch * (4 + 50);
        for (uint64_t n = 0;; n++) {
            alloc_fault_arm(n, 1);
            strata_rc rc = memtable_reserve(m, batch, bytes);
            if (alloc_fault_disarm() == 0) {
                assert_int_equal(rc, STRATA_OK);
                break;
            }
            assert_int_equal(rc, STRATA_NO_MEMORY);
        }
        assert_int_equal(memtable_count(m), commit);
        // Nothing may be allocated now.
        alloc_fault_arm(0, UINT64_MAX);
        static const uint8_t value[50];
        for (size_t i = 0; i < batch; i++) {
            commit++;
            uint32_t key = (uint32_t)commit;
            struct kv_entry e = entry_of(slice_of(&key, 4), slice_of(value, 50), commit);
            memtable_add(m, &e, hash_key(slice_of(&key, 4)));
        }
        assert_int_equal(alloc_fault_disarm(), 0);
    }
    assert_int_equal(memtable_reserve(m, SIZE_MAX / 2, 1), STRATA_NO_MEMORY);
    assert_int_equal(memtable_reserve(m, 1, SIZE_MAX - 16), STRATA_NO_MEMORY);
    assert_int_equal(memtable_check(m), STRATA_OK);
    memtable_free(m);
}

static void range_deletes_need_no_memory_once_reserved(void **state)
{
    (void)state;
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    assert_int_equal(memtable_reserve(m, 200, 400), STRATA_OK);
    alloc_fault_arm(0, UINT64_MAX);
    for (uint64_t i = 1; i <= 200; i++) {
        memtable_delete_range(m, text("b"), text("d"), i);
    }
    assert_true(alloc_fault_disarm() > 0);
    struct kv_lookup lookup = {.key = text("c"), .hash = hash_key(text("c")), .at = 150};
    assert_true(memtable_get(m, &lookup));
    assert_int_equal(lookup.entry.commit, 150);
    assert_true(lookup.skipped);
    const struct range_dels *dels;
    alloc_fault_arm(0, 1);
    assert_int_equal(memtable_range_dels(m, &dels), STRATA_NO_MEMORY);
    alloc_fault_disarm();
    assert_int_equal(memtable_range_dels(m, &dels), STRATA_OK);
    assert_int_equal(range_dels_count(dels), 1);
    memtable_free(m);
}

static void cursor_without_memory_can_be_opened_later(void **state)
{
    (void)state;
    struct memtable *m;
    assert_int_equal(memtable_new(NULL, &m), STRATA_OK);
    uint64_t commit = 0;
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 100 * round + 1; i++) {
            commit++;
            uint64_t key = prng_mix(commit);
            add_one(m, slice_of(&key, 8), text("v"), commit);
        }
        for (uint64_t n = 0;; n++) {
            struct kv_cursor *c = NULL;
            alloc_fault_arm(n, 1);
            strata_rc rc = memtable_cursor_open(m, commit, &c);
            if (alloc_fault_disarm() == 0) {
                assert_int_equal(rc, STRATA_OK);
                uint64_t count = 0;
                rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
                for (; rc == STRATA_OK; rc = kv_cursor_next(c)) {
                    count++;
                }
                assert_int_equal(count, commit);
                kv_cursor_close(c);
                break;
            }
            assert_int_equal(rc, STRATA_NO_MEMORY);
            assert_null(c);
        }
    }
    memtable_free(m);
}

// ---- one writer and three readers

#define SHARED_KEYS 512
#define SHARED_COMMITS 8000

struct shared {
    struct memtable *memtable;
    _Atomic uint64_t published; // release by the writer, acquire by the readers
    uint64_t seed;
    _Atomic uint64_t faults;
};

static struct slice shared_key(uint64_t n, uint8_t key[16])
{
    uint64_t mixed = prng_mix(n + 1);
    memcpy(key, "prefix..", 8);
    memcpy(key + 8, &mixed, 8);
    return slice_of(key, 16);
}

// Commit c writes key c % SHARED_KEYS with value c; every 97th deletes the range of all keys
// instead. The newest commit <= at that wrote the key, or 0.
static uint64_t shared_expected(uint64_t n, uint64_t at)
{
    uint64_t commit = at;
    while (commit > 0 && (commit % SHARED_KEYS != n || commit % 97 == 0)) {
        commit--;
    }
    return commit;
}

static void *shared_writer(void *ctx)
{
    struct shared *s = ctx;
    uint8_t key[16];
    for (uint64_t c = 1; c <= SHARED_COMMITS; c++) {
        if (memtable_reserve(s->memtable, 1, 64) != STRATA_OK) {
            atomic_fetch_add(&s->faults, 1);
            break;
        }
        if (c % 97 == 0) {
            memtable_delete_range(s->memtable, text("a"), text("z"), c);
        } else {
            struct slice k = shared_key(c % SHARED_KEYS, key);
            struct kv_entry e = entry_of(k, slice_of(&c, sizeof c), c);
            memtable_add(s->memtable, &e, hash_key(k));
        }
        atomic_store_explicit(&s->published, c, memory_order_release);
    }
    return NULL;
}

static bool shared_get_is_right(struct shared *s, uint64_t n, uint64_t at)
{
    uint8_t key[16];
    struct slice k = shared_key(n, key);
    struct kv_lookup lookup = {.key = k, .hash = hash_key(k), .at = at};
    bool found = memtable_get(s->memtable, &lookup);
    uint64_t deleted = at - at % 97;
    uint64_t point = shared_expected(n, at);
    uint64_t expected = point > deleted ? point : deleted;
    if (expected == 0) {
        return !found;
    }
    return found && lookup.entry.commit == expected &&
           (lookup.entry.kind == KV_RANGE_DELETE) == (expected == deleted);
}

// Every key has each of its commits up to `at`, in order.
static bool shared_walk_is_right(struct shared *s, uint64_t at, bool backward)
{
    struct kv_cursor *c;
    if (memtable_cursor_open(s->memtable, at, &c) != STRATA_OK) {
        return false;
    }
    uint64_t count = 0;
    bool right = true;
    struct slice last_key = slice_of(NULL, 0);
    uint64_t last_commit = 0;
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), backward);
    for (; rc == STRATA_OK; rc = kv_cursor_next(c)) {
        const struct kv_entry *e = c->at;
        if (e->commit > at) {
            continue;
        }
        int order = last_key.data == NULL ? -1 : slice_compare(last_key, kv_key(e));
        if (order == 0) {
            order = last_commit > e->commit ? -1 : 1;
        }
        right = right && (last_key.data == NULL || (order < 0) == !backward) &&
                load_u64(e->value) == e->commit;
        last_key = kv_key(e); // memtable bytes outlive the window
        last_commit = e->commit;
        count++;
    }
    kv_cursor_close(c);
    return right && rc == STRATA_END && count == at - at / 97;
}

static void *shared_reader(void *ctx)
{
    struct shared *s = ctx;
    struct prng p = {__atomic_fetch_add(&s->seed, 1, __ATOMIC_RELAXED)};
    uint64_t newest = 0;
    while (newest < SHARED_COMMITS && atomic_load(&s->faults) == 0) {
        newest = atomic_load_explicit(&s->published, memory_order_acquire);
        uint64_t at = prng_one_in(&p, 2) ? newest : prng_below(&p, newest + 1);
        bool right = true;
        for (int i = 0; i < 200; i++) {
            right = right && shared_get_is_right(s, prng_below(&p, SHARED_KEYS), at);
        }
        right = right && shared_walk_is_right(s, at, prng_one_in(&p, 2));
        const struct range_dels *dels;
        right = right && memtable_range_dels(s->memtable, &dels) == STRATA_OK &&
                memtable_check(s->memtable) == STRATA_OK;
        if (!right) {
            atomic_fetch_add(&s->faults, 1);
        }
    }
    return NULL;
}

static void readers_are_right_while_a_writer_goes_on(void **state)
{
    (void)state;
    struct shared s = {.seed = 1};
    assert_int_equal(memtable_new(NULL, &s.memtable), STRATA_OK);
    struct os_thread threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            os_thread_start(&threads[i], "memtable", i == 0 ? shared_writer : shared_reader, &s),
            STRATA_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(s.faults, 0);
    assert_int_equal(memtable_count(s.memtable), SHARED_COMMITS);
    memtable_free(s.memtable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_memtable_answers_nothing),
        cmocka_unit_test(point_is_newer_than_a_range_delete_of_its_commit),
        cmocka_unit_test(random_operations_agree_with_the_model),
        cmocka_unit_test(colliding_hashes_agree_with_the_model),
        cmocka_unit_test(many_overwrites_of_one_key_are_found_at_every_commit),
        cmocka_unit_test(many_range_deletes_stay_cheap),
        cmocka_unit_test(bytes_cover_what_was_written),
        cmocka_unit_test(reserve_without_memory_changes_nothing),
        cmocka_unit_test(range_deletes_need_no_memory_once_reserved),
        cmocka_unit_test(cursor_without_memory_can_be_opened_later),
        cmocka_unit_test(readers_are_right_while_a_writer_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
