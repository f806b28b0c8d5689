// Tables against a plain sorted list: what goes in comes out, by every way of asking.
#include "unit/table_fixture.h"

#include "kv/value_ref.h"

#define LIST_MAX 4000

struct list {
    struct kv_entry entries[LIST_MAX];
    size_t count;
    uint8_t *bytes;
    size_t used, capacity;
};

enum key_style {
    KEYS_BINARY,
    KEYS_SHORT,
    KEYS_LONG_PREFIX,
    KEYS_DECIMAL,
    KEYS_TWO_GROUPS,
    KEY_STYLES
};

static size_t make_key(struct prng *r, enum key_style style, uint8_t *to)
{
    size_t bytes = 0;
    switch (style) {
    case KEYS_SHORT: // many prefixes of each other, and zeros
        bytes = 1 + prng_below(r, 6);
        for (size_t i = 0; i < bytes; i++) {
            to[i] = prng_one_in(r, 2) ? 0 : (uint8_t)(prng_below(r, 3) * 127);
        }
        return bytes;
    case KEYS_LONG_PREFIX:
        memset(to, 'p', 200);
        bytes = 200 + prng_below(r, 12);
        for (size_t i = 200; i < bytes; i++) {
            to[i] = (uint8_t)prng_below(r, 3);
        }
        return bytes;
    case KEYS_DECIMAL:
        return (size_t)snprintf((char *)to, 32, "%016llu",
                                (unsigned long long)prng_below(r, 1000000));
    case KEYS_TWO_GROUPS: // equal heads in index and blocks
        memset(to, prng_one_in(r, 2) ? 'a' : 'b', 40);
        for (size_t i = 40; i < 44; i++) {
            to[i] = (uint8_t)prng_below(r, 6);
        }
        return 44;
    default:
        bytes = 1 + prng_below(r, 40);
        for (size_t i = 0; i < bytes; i++) {
            to[i] = (uint8_t)prng_next(r);
        }
        return bytes;
    }
}

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

static const uint8_t *list_copy(struct list *l, const void *from, size_t bytes)
{
    assert_true(l->used + bytes <= l->capacity);
    memcpy(l->bytes + l->used, from, bytes);
    l->used += bytes;
    return l->bytes + l->used - bytes;
}

// Random entries; in history keys have several versions whose intervals do not overlap.
static void list_init(struct list *l, struct prng *r, enum key_style style, bool history,
                      size_t count)
{
    l->capacity = LIST_MAX * 1024;
    l->bytes = malloc(l->capacity);
    l->used = 0;
    l->count = 0;
    assert_non_null(l->bytes);
    uint8_t key[300];
    uint8_t value[600];
    bool alike = prng_one_in(r, 2); // values of one size, no kinds, no expiry
    while (l->count < count) {
        size_t key_bytes = make_key(r, style, key);
        struct kv_entry *e = &l->entries[l->count++];
        size_t value_bytes = alike                ? 20
                             : prng_one_in(r, 20) ? prng_below(r, 600)
                                                  : prng_below(r, 30);
        for (size_t i = 0; i < value_bytes; i++) {
            value[i] = (uint8_t)(prng_one_in(r, 2) ? 'v' : prng_next(r));
        }
        *e = (struct kv_entry){
            .key = list_copy(l, key, key_bytes),
            .value = list_copy(l, value, value_bytes),
            .key_bytes = (uint32_t)key_bytes,
            .value_bytes = (uint32_t)value_bytes,
            .commit = 1 + prng_below(r, prng_one_in(r, 4) ? UINT64_MAX / 4 : 1000),
            .expiry = !alike && prng_one_in(r, 5) ? prng_next(r) | 1 : 0,
            .kind = KV_PUT,
        };
        if (!alike && prng_one_in(r, 5)) {
            e->kind = history && prng_one_in(r, 3) ? KV_FLOOR : KV_DELETE;
            e->value_bytes = 0;
        } else if (!alike && prng_one_in(r, 3)) {
            struct kv_value_ref ref = {1 + prng_below(r, 4), (uint32_t)l->count, 5000};
            uint8_t raw[KV_VALUE_REF_BYTES_MAX];
            e->kind = KV_PUT_SEPARATED;
            e->value_bytes = kv_value_ref_encode(&ref, raw);
            e->value = list_copy(l, raw, e->value_bytes);
        }
        while (history && l->count < count && prng_one_in(r, 2)) {
            l->entries[l->count] = *e;
            l->entries[l->count].commit = 1 + prng_below(r, 100000);
            e = &l->entries[l->count++];
        }
    }
    qsort(l->entries, l->count, sizeof l->entries[0], compare_entries);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct kv_entry e = l->entries[i];
        struct kv_entry *last = kept == 0 ? NULL : &l->entries[kept - 1];
        bool same = last != NULL && slice_equal(kv_key(last), kv_key(&e));
        if (same && (!history || last->commit == e.commit)) {
            continue;
        }
        if (history) {
            uint64_t limit = same ? last->commit : e.commit + 5000;
            e.end = prng_one_in(r, 4) ? e.commit : e.commit + prng_below(r, limit - e.commit + 1);
        }
        l->entries[kept++] = e;
    }
    l->count = kept;
}

static void list_release(struct list *l)
{
    free(l->bytes);
}

static void write_list(struct world *w, const struct list *l, uint64_t file,
                       const struct table_options *o, struct table_meta *meta)
{
    struct table_writer *writer;
    assert_int_equal(table_writer_new(&w->dir.base, file, o, &writer), STRATA_OK);
    for (size_t i = 0; i < l->count; i++) {
        const struct kv_entry *e = &l->entries[i];
        assert_int_equal(table_writer_add(writer, e, hash_key(kv_key(e))), STRATA_OK);
    }
    assert_int_equal(table_writer_entries(writer), l->count);
    assert_int_equal(table_writer_finish(writer, meta), STRATA_OK);
}

static void assert_entry(const struct kv_entry *found, const struct kv_entry *expected)
{
    assert_true(slice_equal(kv_key(found), kv_key(expected)));
    assert_true(slice_equal(kv_value(found), kv_value(expected)));
    assert_int_equal(found->commit, expected->commit);
    assert_int_equal(found->end, expected->end);
    assert_int_equal(found->expiry, expected->expiry);
    assert_int_equal(found->kind, expected->kind);
}

// A lookup as the engine makes it, loading what is cold.
static enum table_answer ask(struct table *t, struct kv_lookup *lookup, struct cache_block **pinned)
{
    bool history = table_meta(t)->history;
    struct table_stats_delta delta = {0};
    uint32_t cold;
    *pinned = NULL;
    os_epoch_enter();
    enum table_answer answer = history ? table_get_interval(t, lookup, &cold, &delta)
                                       : table_get(t, lookup, &cold, &delta);
    os_epoch_leave();
    if (answer == TABLE_COLD) {
        assert_int_equal(table_load(t, cold, true, pinned), STRATA_OK);
        answer =
            history ? table_get_interval_in(t, *pinned, lookup) : table_get_in(t, *pinned, lookup);
    }
    return answer;
}

static void check_lookup(struct world *w, struct table *t, const struct list *l, struct slice key,
                         uint64_t at, struct slice lower, struct slice upper)
{
    const struct kv_entry *expected = NULL;
    bool skipped = false;
    bool inside = slice_compare(key, lower) >= 0 && slice_compare(key, upper) < 0;
    for (size_t i = 0; inside && i < l->count; i++) {
        const struct kv_entry *e = &l->entries[i];
        if (!slice_equal(kv_key(e), key)) {
            continue;
        }
        if (table_meta(t)->history) {
            expected = e->commit <= at && at < e->end ? e : expected;
        } else {
            expected = e->commit <= at ? e : NULL;
            skipped = e->commit > at;
        }
    }
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = at};
    struct cache_block *pinned;
    enum table_answer answer = ask(t, &lookup, &pinned);
    assert_int_equal(answer, expected != NULL ? TABLE_FOUND : TABLE_ABSENT);
    assert_int_equal(lookup.found, expected != NULL);
    if (skipped) {
        assert_true(lookup.skipped);
    }
    if (expected != NULL) {
        assert_false(lookup.skipped);
        assert_entry(&lookup.entry, expected);
    }
    if (pinned != NULL) {
        cache_unpin(w->cache, pinned);
    }
}

// Walks from a seek to the end, or for `steps`, and compares with the list.
static void check_walk(struct kv_cursor *c, const struct list *l, size_t first, size_t last,
                       struct slice key, bool backward, size_t steps)
{
    size_t low = first;
    while (low < last && key.data != NULL && slice_compare(kv_key(&l->entries[low]), key) < 0) {
        low++;
    }
    size_t at = backward ? (key.data == NULL ? last : low) : low;
    strata_rc rc = kv_cursor_seek(c, key, backward);
    while (steps-- > 0) {
        bool more = backward ? at > first : at < last;
        assert_int_equal(rc, more ? STRATA_OK : STRATA_END);
        assert_int_equal(kv_cursor_valid(c), more);
        if (!more) {
            return;
        }
        at = backward ? at - 1 : at;
        assert_entry(c->at, &l->entries[at]);
        assert_int_equal(c->at->head, slice_head(kv_key(c->at), c->head_skip));
        at = backward ? at : at + 1;
        rc = kv_cursor_next(c);
    }
}

struct fault_count {
    int count;
};

static void count_fault(void *ctx, const char *text)
{
    assert_true(text[0] != '\0');
    ((struct fault_count *)ctx)->count++;
}

static void round_trip(uint64_t seed, enum key_style style, bool history, strata_compression how)
{
    struct world w;
    world_init(&w, 64 << 20);
    struct prng r = {seed};
    static struct list l;
    list_init(&l, &r, style, history, 1 + prng_below(&r, 700));
    struct table_options o = world_options();
    o.history = history;
    o.compression = how;
    o.filter_bits = seed % 5 == 0 ? 0 : 10;
    o.block_bytes = prng_one_in(&r, 3) ? 4096 : 256;
    struct table_meta meta;
    write_list(&w, &l, 9, &o, &meta);
    assert_int_equal(meta.entries, l.count);
    assert_int_equal(meta.bytes, mem_find(&w.dir, "000009.table")->bytes);
    struct table *t;
    assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);

    uint64_t blocks;
    struct fault_count faults = {0};
    assert_int_equal(table_verify(t, count_fault, &faults, &blocks), STRATA_OK);
    assert_true(blocks > 0);

    struct kv_cursor *c;
    uint32_t ahead = prng_one_in(&r, 2) ? 0 : 2048;
    assert_int_equal(run_cursor_open(w.cache, &t, 1, prng_one_in(&r, 2), ahead, &c), STRATA_OK);
    c->head_skip = prng_below(&r, 5) * (style == KEYS_LONG_PREFIX ? 50 : 0);
    check_walk(c, &l, 0, l.count, slice_of(NULL, 0), false, SIZE_MAX);
    check_walk(c, &l, 0, l.count, slice_of(NULL, 0), true, SIZE_MAX);
    uint8_t key[300];
    for (size_t i = 0; i < 300; i++) {
        const struct kv_entry *e = &l.entries[prng_below(&r, l.count)];
        struct slice near = kv_key(e);
        if (prng_one_in(&r, 2)) {
            near = slice_of(key, make_key(&r, style, key));
        }
        uint64_t at = prng_one_in(&r, 3) ? UINT64_MAX - 1 : e->commit + prng_below(&r, 3) - 1;
        check_lookup(&w, t, &l, near, at, meta.lower, meta.upper);
        check_walk(c, &l, 0, l.count, near, false, prng_below(&r, 40));
        check_walk(c, &l, 0, l.count, near, true, prng_below(&r, 40));
    }
    kv_cursor_close(c);
    table_unref(t);
    table_meta_release(&meta);
    list_release(&l);
    world_release(&w);
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    static const strata_compression hows[] = {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_LZ4,
                                              STRATA_COMPRESSION_ZSTD};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        round_trip(seed, (enum key_style)(seed % KEY_STYLES), seed % 2 == 0, hows[seed % 3]);
        round_trip(seed + 1000, (enum key_style)(seed % KEY_STYLES), seed % 2 == 1, hows[seed % 3]);
    }
}

static void narrow_tables_show_their_part_only(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        world_init(&w, 64 << 20);
        struct prng r = {seed};
        static struct list l;
        list_init(&l, &r, (enum key_style)(seed % KEY_STYLES), false, 500);
        struct table_options o = world_options();
        struct table_meta meta;
        write_list(&w, &l, 1, &o, &meta);
        struct table *whole;
        assert_int_equal(table_open(&w.env, &meta, &whole), STRATA_OK);
        size_t first = prng_below(&r, l.count / 2);
        size_t middle = first + 1 + prng_below(&r, l.count / 4);
        size_t last = middle + 1 + prng_below(&r, l.count - middle - 1);
        struct slice bounds[3] = {kv_key(&l.entries[first]), kv_key(&l.entries[middle]),
                                  kv_key(&l.entries[last])};
        struct table *parts[2];
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(table_narrow(whole, bounds[i], bounds[i + 1], &parts[i]), STRATA_OK);
        }
        table_unref(whole); // the parts keep the file open
        struct kv_cursor *c;
        assert_int_equal(run_cursor_open(w.cache, parts, 2, true, 0, &c), STRATA_OK);
        check_walk(c, &l, first, last, slice_of(NULL, 0), false, SIZE_MAX);
        check_walk(c, &l, first, last, slice_of(NULL, 0), true, SIZE_MAX);
        for (size_t i = 0; i < 100; i++) {
            struct slice near = kv_key(&l.entries[prng_below(&r, l.count)]);
            check_walk(c, &l, first, last, near, prng_one_in(&r, 2), prng_below(&r, 100));
            check_lookup(&w, parts[0], &l, near, UINT64_MAX, bounds[0], bounds[1]);
        }
        kv_cursor_close(c);
        table_unref(parts[0]);
        table_unref(parts[1]);
        table_meta_release(&meta);
        list_release(&l);
        world_release(&w);
    }
}

static void file_goes_with_the_last_table_when_asked(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->entries[0] = entry_of(text_slice("a"), text_slice("1"), 1);
    l->entries[1] = entry_of(text_slice("b"), text_slice("2"), 2);
    l->count = 2;
    struct table_options o = world_options();
    struct table_meta meta;
    write_list(&w, l, 3, &o, &meta);
    struct table *t;
    struct table *part;
    assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
    assert_int_equal(table_narrow(t, text_slice("b"), meta.upper, &part), STRATA_OK);
    table_ref(t);
    table_unref(t);
    table_delete_at_close(t);
    table_unref(t);
    assert_non_null(mem_find(&w.dir, "000003.table"));
    table_unref(part);
    assert_null(mem_find(&w.dir, "000003.table"));
    table_meta_release(&meta);
    free(l);
    world_release(&w);
}

static void keys_of_all_sizes_and_large_values(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 64 << 20);
    uint8_t *big = malloc(3 << 20);
    assert_non_null(big);
    for (size_t i = 0; i < 3 << 20; i++) {
        big[i] = (uint8_t)(i * i >> 7);
    }
    static struct list l;
    l.count = 0;
    // Keys x, xx, xxx ... so that each is a prefix of the next, up to the longest.
    static uint8_t key[KV_KEY_BYTES_MAX];
    memset(key, 'x', sizeof key);
    const size_t key_sizes[] = {1, 2, 7, 8, 9, 255, 256, 4000, 65534, 65535};
    const size_t value_sizes[] = {0, 1, 5000, 0, 100000, 2 << 20, 3 << 20, 0, 10, 511};
    for (size_t i = 0; i < 10; i++) {
        l.entries[l.count++] =
            entry_of(slice_of(key, key_sizes[i]), slice_of(big, value_sizes[i]), 10 - i);
    }
    const strata_compression hows[] = {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_LZ4,
                                       STRATA_COMPRESSION_ZSTD};
    for (size_t how = 0; how < 3; how++) {
        struct table_options o = world_options();
        o.compression = hows[how];
        struct table_meta meta;
        write_list(&w, &l, 1 + how, &o, &meta);
        struct table *t;
        assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
        struct kv_cursor *c;
        assert_int_equal(run_cursor_open(w.cache, &t, 1, how == 1, 4096, &c), STRATA_OK);
        check_walk(c, &l, 0, l.count, slice_of(NULL, 0), false, SIZE_MAX);
        check_walk(c, &l, 0, l.count, slice_of(NULL, 0), true, SIZE_MAX);
        kv_cursor_close(c);
        for (size_t i = 0; i < l.count; i++) {
            check_lookup(&w, t, &l, kv_key(&l.entries[i]), 100, meta.lower, meta.upper);
        }
        uint64_t blocks;
        struct fault_count faults = {0};
        assert_int_equal(table_verify(t, count_fault, &faults, &blocks), STRATA_OK);
        table_unref(t);
        table_meta_release(&meta);
    }
    free(big);
    world_release(&w);
}

// ---- range deletes

static void range_deletes_and_points_answer_together(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct table_options o = world_options();
    struct table_writer *writer;
    assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
    const uint64_t stack[] = {20, 10};
    struct range_fragment f = {text_slice("c"), text_slice("f"), stack, 2};
    assert_int_equal(table_writer_add_range(writer, &f), STRATA_OK);
    const char *keys[] = {"b", "d", "e"};
    const uint64_t commits[] = {5, 20, 30}; // d: in the same commit as the range delete
    for (size_t i = 0; i < 3; i++) {
        struct kv_entry e = entry_of(text_slice(keys[i]), text_slice("v"), commits[i]);
        assert_int_equal(table_writer_add(writer, &e, hash_key(kv_key(&e))), STRATA_OK);
    }
    struct table_meta meta;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    assert_true(slice_equal(meta.lower, text_slice("b")));
    assert_true(slice_equal(meta.upper, text_slice("f")));
    assert_int_equal(meta.commit_least, 5);
    assert_int_equal(meta.commit_greatest, 30);
    struct table *t;
    assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
    assert_int_equal(range_dels_count(table_range_dels(t)), 1);

    static const struct {
        const char *key;
        uint64_t at;
        enum table_answer answer;
        uint8_t kind;
        uint64_t commit;
        bool skipped;
    } cases[] = {
        {"b", 100, TABLE_FOUND, KV_PUT, 5, false},
        {"b", 4, TABLE_ABSENT, 0, 0, true},
        {"c", 100, TABLE_FOUND, KV_RANGE_DELETE, 20, false}, // the filter does not hide it
        {"c", 15, TABLE_FOUND, KV_RANGE_DELETE, 10, true},
        {"c", 5, TABLE_ABSENT, 0, 0, true},
        {"d", 100, TABLE_FOUND, KV_PUT, 20, false},
        {"d", 19, TABLE_FOUND, KV_RANGE_DELETE, 10, true},
        {"e", 30, TABLE_FOUND, KV_PUT, 30, false},
        {"e", 29, TABLE_FOUND, KV_RANGE_DELETE, 20, true},
        {"f", 100, TABLE_ABSENT, 0, 0, false},
        {"a", 100, TABLE_ABSENT, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice key = text_slice(cases[i].key);
        struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = cases[i].at};
        struct cache_block *pinned;
        assert_int_equal(ask(t, &lookup, &pinned), cases[i].answer);
        assert_int_equal(lookup.skipped, cases[i].skipped);
        assert_int_equal(lookup.found, cases[i].answer == TABLE_FOUND);
        if (lookup.found) {
            assert_int_equal(lookup.entry.kind, cases[i].kind);
            assert_int_equal(lookup.entry.commit, cases[i].commit);
        }
        if (pinned != NULL) {
            cache_unpin(w.cache, pinned);
        }
    }
    table_unref(t);
    table_meta_release(&meta);
    world_release(&w);
}

static void table_of_range_deletes_only(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct table_options o = world_options();
    struct table_writer *writer;
    assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
    const uint64_t commit = 9;
    struct range_fragment f = {text_slice("c"), text_slice("f"), &commit, 1};
    assert_int_equal(table_writer_add_range(writer, &f), STRATA_OK);
    struct table_meta meta;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    struct table *t;
    assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
    struct slice key = text_slice("d");
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = 9};
    struct cache_block *pinned;
    assert_int_equal(ask(t, &lookup, &pinned), TABLE_FOUND);
    struct kv_cursor *c;
    assert_int_equal(run_cursor_open(w.cache, &t, 1, true, 0, &c), STRATA_OK);
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_END);
    assert_int_equal(kv_cursor_seek(c, key, true), STRATA_END);
    kv_cursor_close(c);
    uint64_t blocks;
    struct fault_count faults = {0};
    assert_int_equal(table_verify(t, count_fault, &faults, &blocks), STRATA_OK);
    assert_int_equal(blocks, 0);
    table_unref(t);
    table_meta_release(&meta);
    world_release(&w);
}

// ---- refusals

static void writer_refuses_what_is_out_of_order(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    for (int which = 0; which < 5; which++) {
        struct table_options o = world_options();
        o.history = which >= 2;
        struct table_writer *writer;
        assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
        struct kv_entry e = entry_of(text_slice("bb"), text_slice("v"), 10);
        e.end = o.history ? 20 : 0;
        assert_int_equal(table_writer_add(writer, &e, 0), STRATA_OK);
        switch (which) {
        case 0: // live: the key again
            e.commit = 5;
            break;
        case 1: // a lesser key
            e.key_bytes = 1;
            break;
        case 2: // a newer version behind an older
            e.commit = 11;
            break;
        case 3: // intervals that overlap
            e.commit = 5;
            e.end = 11;
            break;
        default: // an end before its begin
            e.key = (const uint8_t *)"cc";
            e.end = 9;
        }
        assert_int_equal(table_writer_add(writer, &e, 0), STRATA_INTERNAL);
        struct table_meta meta;
        assert_int_equal(table_writer_finish(writer, &meta), STRATA_INTERNAL);
        assert_null(mem_find(&w.dir, "000001.table"));
    }
    world_release(&w);
}

static void empty_table_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct table_options o = world_options();
    struct table_writer *writer;
    struct table_meta meta;
    assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_INVALID);
    assert_null(mem_find(&w.dir, "000001.table"));
    world_release(&w);
}

static void full_disk_leaves_no_file(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct table_options o = world_options();
    struct table_writer *writer;
    struct table_meta meta;
    assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
    struct kv_entry e = entry_of(text_slice("bb"), text_slice("v"), 10);
    assert_int_equal(table_writer_add(writer, &e, 0), STRATA_OK);
    w.dir.writes_until_error = 1;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_NO_SPACE);
    assert_null(mem_find(&w.dir, "000001.table"));
    world_release(&w);
}

static void failed_read_ends_the_cursor(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 64 << 20);
    struct prng r = {5};
    static struct list l;
    list_init(&l, &r, KEYS_DECIMAL, false, 500);
    struct table_options o = world_options();
    struct table_meta meta;
    write_list(&w, &l, 1, &o, &meta);
    struct table *t;
    assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
    struct kv_cursor *c;
    assert_int_equal(run_cursor_open(w.cache, &t, 1, true, 0, &c), STRATA_OK);
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_OK);
    w.dir.reads_until_error = 2;
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK) {
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_IO);
    assert_false(kv_cursor_valid(c));
    assert_int_equal(kv_cursor_next(c), STRATA_END);
    assert_false(kv_cursor_valid(c));
    check_walk(c, &l, 0, l.count, slice_of(NULL, 0), false, SIZE_MAX);
    kv_cursor_close(c);
    table_unref(t);
    table_meta_release(&meta);
    list_release(&l);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(narrow_tables_show_their_part_only),
        cmocka_unit_test(file_goes_with_the_last_table_when_asked),
        cmocka_unit_test(keys_of_all_sizes_and_large_values),
        cmocka_unit_test(range_deletes_and_points_answer_together),
        cmocka_unit_test(table_of_range_deletes_only),
        cmocka_unit_test(writer_refuses_what_is_out_of_order),
        cmocka_unit_test(empty_table_is_refused),
        cmocka_unit_test(full_disk_leaves_no_file),
        cmocka_unit_test(failed_read_ends_the_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
