#include "kv/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

// A source over an array of entries. Each window is a copy of its own in fresh memory, freed at the
// next seek or refill, so that a use of bytes that are gone is seen by AddressSanitizer.
struct array_cursor {
    struct kv_cursor base;
    const struct kv_entry *entries; // ascending
    size_t count;
    size_t window_max;
    size_t next; // in the order of movement
    bool backward;
    struct kv_entry *window;
    uint8_t *bytes;
    size_t refills;
    size_t fail_at; // the refill that fails; 0: none
    int *closed;
};

static strata_rc array_refill(struct kv_cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)c;
    free(a->window);
    free(a->bytes);
    a->window = NULL;
    a->bytes = NULL;
    c->at = c->end = NULL;
    if (++a->refills == a->fail_at) {
        return STRATA_IO;
    }
    size_t left = a->backward ? a->next : a->count - a->next;
    size_t n = left < a->window_max ? left : a->window_max;
    if (n == 0) {
        return STRATA_END;
    }
    a->window = calloc(n, sizeof *a->window);
    a->bytes = malloc(n * 64);
    assert_non_null(a->window);
    assert_non_null(a->bytes);
    for (size_t i = 0; i < n; i++) {
        const struct kv_entry *from = &a->entries[a->backward ? --a->next : a->next++];
        assert_true(from->key_bytes <= 64);
        a->window[i] = *from;
        memcpy(a->bytes + i * 64, from->key, from->key_bytes);
        a->window[i].key = a->bytes + i * 64;
        a->window[i].head = slice_head(kv_key(from), c->head_skip);
    }
    c->at = a->window;
    c->end = a->window + n;
    return STRATA_OK;
}

static strata_rc array_seek(struct kv_cursor *c, struct slice key, bool backward)
{
    struct array_cursor *a = (struct array_cursor *)c;
    a->backward = backward;
    a->next = 0;
    while (key.data != NULL && a->next < a->count &&
           slice_compare(kv_key(&a->entries[a->next]), key) < 0) {
        a->next++;
    }
    if (key.data == NULL && backward) {
        a->next = a->count;
    }
    return array_refill(c);
}

static void array_close(struct kv_cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)c;
    free(a->window);
    free(a->bytes);
    if (a->closed != NULL) {
        ++*a->closed;
    }
    free(a);
}

static const struct kv_cursor_ops array_ops = {array_seek, array_refill, array_close};

static struct array_cursor *array_open(const struct kv_entry *entries, size_t count, size_t window)
{
    struct array_cursor *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->base.ops = &array_ops;
    a->entries = entries;
    a->count = count;
    a->window_max = window;
    return a;
}

#define SOURCES_MAX 20
#define ENTRIES_MAX 60

// A random set of sources and what they hold, sorted in the order of the merge.
struct world {
    struct prng random;
    uint32_t sources;
    size_t skip;
    uint8_t keys[SOURCES_MAX][ENTRIES_MAX][40];
    struct kv_entry entries[SOURCES_MAX][ENTRIES_MAX];
    size_t counts[SOURCES_MAX];
    struct kv_merge merge;
};

static int compare_entries(const void *a, const void *b)
{
    const struct kv_entry *x = a;
    const struct kv_entry *y = b;
    int order = slice_compare(kv_key(x), kv_key(y));
    if (order != 0) {
        return order;
    }
    return x->commit > y->commit ? -1 : x->commit < y->commit;
}

// Styles: 0 few bytes; 1 a long shared prefix; 2 heads that tie; 3 heads of all ones; 4 clustered.
static size_t make_key(struct world *w, unsigned style, uint32_t source, uint8_t to[40])
{
    size_t n = w->skip;
    memset(to, 'p', 40);
    if (style == 1) {
        n += 20;
    } else if (style == 2) {
        n += 8;
    } else if (style == 3) {
        memset(to + n, 0xff, 12);
        n += (size_t)prng_below(&w->random, 13);
        return n == 0 ? 1 : n;
    } else if (style == 4) {
        to[n++] = (uint8_t)('a' + (source + prng_below(&w->random, 2)) % 8);
    }
    size_t tail = 1 + (size_t)prng_below(&w->random, 3);
    for (size_t i = 0; i < tail; i++) {
        to[n++] = (uint8_t)prng_below(&w->random, 4);
    }
    return n;
}

static void world_make(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->random.state = seed;
    w->sources = 1 + (uint32_t)prng_below(&w->random, SOURCES_MAX);
    w->skip = prng_one_in(&w->random, 2) ? 0 : (size_t)prng_below(&w->random, 6);
    unsigned style = (unsigned)prng_below(&w->random, 5);
    struct kv_cursor *cursors[SOURCES_MAX];
    for (uint32_t s = 0; s < w->sources; s++) {
        w->counts[s] = (size_t)prng_below(&w->random, ENTRIES_MAX);
        for (size_t i = 0; i < w->counts[s]; i++) {
            struct kv_entry *e = &w->entries[s][i];
            e->key = w->keys[s][i];
            e->key_bytes = (uint32_t)make_key(w, style, s, w->keys[s][i]);
            e->commit = (SOURCES_MAX - s) * 1000 + i;
            e->expiry = s;
        }
        qsort(w->entries[s], w->counts[s], sizeof w->entries[s][0], compare_entries);
        size_t window = 1 + (size_t)prng_below(&w->random, 12);
        cursors[s] = &array_open(w->entries[s], w->counts[s], window)->base;
    }
    assert_int_equal(kv_merge_init(&w->merge, cursors, w->sources, w->skip), STRATA_OK);
}

// The naive merge: of the sources' next entries at or past the place, the first.
struct naive {
    size_t at[SOURCES_MAX]; // entries passed, in the direction
};

static const struct kv_entry *naive_entry(const struct world *w, const struct naive *n, uint32_t s,
                                          bool backward)
{
    if (n->at[s] >= w->counts[s]) {
        return NULL;
    }
    return &w->entries[s][backward ? w->counts[s] - 1 - n->at[s] : n->at[s]];
}

static bool naive_past(const struct kv_entry *e, struct slice key, bool backward)
{
    int order = slice_compare(kv_key(e), key);
    return backward ? order < 0 : order >= 0;
}

static void naive_skip(const struct world *w, struct naive *n, uint32_t s, struct slice key,
                       bool backward)
{
    const struct kv_entry *e = naive_entry(w, n, s, backward);
    while (e != NULL && !naive_past(e, key, backward)) {
        n->at[s]++;
        e = naive_entry(w, n, s, backward);
    }
}

static const struct kv_entry *naive_best(const struct world *w, const struct naive *n,
                                         bool backward, uint32_t *source_out)
{
    const struct kv_entry *best = NULL;
    for (uint32_t s = 0; s < w->sources; s++) {
        const struct kv_entry *e = naive_entry(w, n, s, backward);
        if (e == NULL) {
            continue;
        }
        int order = best == NULL ? -1 : slice_compare(kv_key(e), kv_key(best));
        if (best == NULL || (backward ? order > 0 : order < 0)) {
            best = e;
            *source_out = s;
        }
    }
    return best;
}

static void expect_same(const struct world *w, const struct naive *n, bool backward, strata_rc rc)
{
    uint32_t source = 0;
    const struct kv_entry *e = naive_best(w, n, backward, &source);
    if (e == NULL) {
        assert_int_equal(rc, STRATA_END);
        assert_null(w->merge.entry);
        return;
    }
    assert_int_equal(rc, STRATA_OK);
    assert_int_equal(w->merge.source, source);
    assert_true(slice_equal(kv_key(w->merge.entry), kv_key(e)));
    assert_true(w->merge.entry->commit == e->commit);
    const struct kv_cursor *c = w->merge.cursors[source];
    assert_int_equal(kv_merge_at_window_end(&w->merge), c->end - c->at == 1);
}

// One pass over the world: seek somewhere, walk, now and then skip the current source.
static void world_walk(struct world *w, bool backward, bool from_key, bool skips)
{
    uint8_t bytes[40];
    struct slice key = {0};
    struct naive n = {0};
    if (from_key) {
        key = slice_of(bytes, make_key(w, 0, 0, bytes));
        for (uint32_t s = 0; s < w->sources; s++) {
            naive_skip(w, &n, s, key, backward);
        }
    }
    strata_rc rc = kv_merge_seek(&w->merge, key, backward);
    expect_same(w, &n, backward, rc);
    while (rc == STRATA_OK) {
        uint32_t s = w->merge.source;
        if (skips && prng_one_in(&w->random, 4)) {
            key = slice_of(bytes, make_key(w, (unsigned)prng_below(&w->random, 5), 0, bytes));
            naive_skip(w, &n, s, key, backward);
            rc = kv_merge_skip_source(&w->merge, key);
            expect_same(w, &n, backward, rc);
            if (rc != STRATA_OK) {
                break;
            }
            s = w->merge.source;
        }
        n.at[s]++;
        rc = kv_merge_next(&w->merge);
        expect_same(w, &n, backward, rc);
    }
}

static void random_sources_come_out_sorted(void **state)
{
    (void)state;
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        world_make(w, seed);
        world_walk(w, false, false, false);
        world_walk(w, true, false, false);
        world_walk(w, false, true, false);
        world_walk(w, true, true, true);
        world_walk(w, false, true, true);
        kv_merge_release(&w->merge);
    }
    free(w);
}

static struct kv_entry entry_of(const char *key, uint64_t commit)
{
    return (struct kv_entry){
        .key = (const uint8_t *)key, .key_bytes = (uint32_t)strlen(key), .commit = commit};
}

static void no_source_is_an_empty_stream(void **state)
{
    (void)state;
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, NULL, 0, 0), STRATA_OK);
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), false), STRATA_END);
    assert_null(m.entry);
    kv_merge_release(&m);
}

static void empty_sources_are_an_empty_stream(void **state)
{
    (void)state;
    struct kv_cursor *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = &array_open(NULL, 0, 4)->base;
    }
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 3, 0), STRATA_OK);
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), false), STRATA_END);
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), true), STRATA_END);
    kv_merge_release(&m);
}

static void heads_that_tie_go_to_the_whole_key(void **state)
{
    (void)state;
    struct kv_entry a[] = {entry_of("prefix00b", 9), entry_of("prefix00d", 8)};
    struct kv_entry b[] = {entry_of("prefix00a", 7), entry_of("prefix00c", 6),
                           entry_of("prefix00d", 5)};
    struct kv_cursor *c[] = {&array_open(a, 2, 8)->base, &array_open(b, 3, 8)->base};
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 2, 0), STRATA_OK);
    uint64_t expected[] = {7, 9, 6, 8, 5};
    strata_rc rc = kv_merge_seek(&m, slice_of(NULL, 0), false);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(rc, STRATA_OK);
        assert_true(m.entry->commit == expected[i]);
        rc = kv_merge_next(&m);
    }
    assert_int_equal(rc, STRATA_END);
    kv_merge_release(&m);
}

static void by_commit_the_newest_of_a_key_comes_first(void **state)
{
    (void)state;
    struct kv_entry a[] = {entry_of("k", 6), entry_of("k", 2), entry_of("z", 1)};
    struct kv_entry b[] = {entry_of("k", 9), entry_of("k", 4), entry_of("k", 3)};
    struct kv_cursor *c[] = {&array_open(a, 3, 2)->base, &array_open(b, 3, 1)->base};
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 2, 0), STRATA_OK);
    m.by_commit = true;
    uint64_t expected[] = {9, 6, 4, 3, 2, 1};
    for (int backward = 0; backward < 2; backward++) {
        strata_rc rc = kv_merge_seek(&m, slice_of(NULL, 0), backward != 0);
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(rc, STRATA_OK);
            assert_true(m.entry->commit == expected[backward != 0 ? 5 - i : i]);
            rc = kv_merge_next(&m);
        }
        assert_int_equal(rc, STRATA_END);
    }
    kv_merge_release(&m);
}

static void one_source_ahead_is_drained_from_its_window(void **state)
{
    (void)state;
    struct kv_entry a[] = {entry_of("a", 9), entry_of("b", 8), entry_of("c", 7), entry_of("d", 6)};
    struct kv_entry b[] = {entry_of("z", 5)};
    struct kv_cursor *c[] = {&array_open(a, 4, 8)->base, &array_open(b, 1, 8)->base};
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 2, 0), STRATA_OK);
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), false), STRATA_OK);
    assert_int_equal(kv_merge_next(&m), STRATA_OK); // played: the runner-up is known from here on
    assert_true(m.challenger_rank == slice_head(slice_of("z", 1), 0));
    kv_merge_release(&m);
}

static void the_runner_up_is_the_next_key_of_the_others(void **state)
{
    (void)state;
    struct kv_entry a[] = {entry_of("a", 9), entry_of("d", 8)};
    struct kv_entry b[] = {entry_of("c", 5), entry_of("e", 4)};
    struct kv_entry d[] = {entry_of("b", 3)};
    static const char *const expected[2][5] = {{"b", "c", "d", "e", NULL},
                                               {"d", "c", "b", "a", NULL}};
    struct kv_cursor *c[] = {&array_open(a, 2, 8)->base, &array_open(b, 2, 1)->base,
                             &array_open(d, 1, 8)->base};
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 3, 0), STRATA_OK);
    for (int backward = 0; backward < 2; backward++) {
        strata_rc rc = kv_merge_seek(&m, slice_of(NULL, 0), backward != 0);
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(rc, STRATA_OK);
            const struct kv_entry *e = kv_merge_runner_up(&m);
            const char *key = expected[backward][i];
            assert_true((e == NULL) == (key == NULL));
            assert_true(e == NULL || slice_equal(kv_key(e), slice_of(key, 1)));
            rc = kv_merge_next(&m);
        }
        assert_int_equal(rc, STRATA_END);
    }
    kv_merge_release(&m);
}

static void an_error_of_a_source_ends_the_merge(void **state)
{
    (void)state;
    struct kv_entry a[] = {entry_of("a", 9), entry_of("b", 8)};
    struct kv_entry b[] = {entry_of("c", 5)};
    int closed = 0;
    struct array_cursor *x = array_open(a, 2, 1);
    struct array_cursor *y = array_open(b, 1, 1);
    x->fail_at = 2;
    x->closed = y->closed = &closed;
    struct kv_cursor *c[] = {&x->base, &y->base};
    struct kv_merge m;
    assert_int_equal(kv_merge_init(&m, c, 2, 0), STRATA_OK);
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), false), STRATA_OK);
    assert_int_equal(kv_merge_next(&m), STRATA_IO);
    assert_null(m.entry);
    // A seek begins anew.
    assert_int_equal(kv_merge_seek(&m, slice_of(NULL, 0), false), STRATA_OK);
    assert_true(m.entry->commit == 9);
    kv_merge_release(&m);
    assert_int_equal(closed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sources_come_out_sorted),
        cmocka_unit_test(no_source_is_an_empty_stream),
        cmocka_unit_test(empty_sources_are_an_empty_stream),
        cmocka_unit_test(heads_that_tie_go_to_the_whole_key),
        cmocka_unit_test(by_commit_the_newest_of_a_key_comes_first),
        cmocka_unit_test(one_source_ahead_is_drained_from_its_window),
        cmocka_unit_test(the_runner_up_is_the_next_key_of_the_others),
        cmocka_unit_test(an_error_of_a_source_ends_the_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
