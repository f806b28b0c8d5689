// Blocks that go from one table to another as they are.
#include "unit/table_fixture.h"

#include "table/block.h"

#define ENTRIES 600
#define READAHEAD 4096u

// An open table with keys k00000, k00010 ...: some deletes, values that shrink.
struct subject {
    struct world w;
    struct table *table;
    char keys[ENTRIES][16];
    uint8_t values[ENTRIES][64];
    struct kv_entry entries[ENTRIES];
};

static void write_entries(struct world *w, const struct kv_entry *entries, size_t count,
                          uint64_t file, strata_compression how, struct table_meta *meta)
{
    struct table_options o = world_options();
    o.compression = how;
    struct table_writer *writer;
    assert_int_equal(table_writer_new(w->env.dir, file, &o, &writer), STRATA_OK);
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = hash_key(kv_key(&entries[i]));
        assert_int_equal(table_writer_add(writer, &entries[i], hash), STRATA_OK);
    }
    assert_int_equal(table_writer_finish(writer, meta), STRATA_OK);
}

static void subject_init(struct subject *s, strata_compression how)
{
    struct prng r = {.state = 99};
    world_init(&s->w, (size_t)64 << 20);
    for (size_t i = 0; i < ENTRIES; i++) {
        snprintf(s->keys[i], sizeof s->keys[i], "k%05u", (unsigned)i * 10);
        memset(s->values[i], 'v', sizeof s->values[i]);
        s->values[i][i % 64] = (uint8_t)i;
        s->entries[i] =
            entry_of(text_slice(s->keys[i]), slice_of(s->values[i], 20 + prng_below(&r, 40)),
                     1000 + prng_below(&r, 500));
        if (prng_one_in(&r, 40)) {
            s->entries[i].kind = KV_DELETE;
            s->entries[i].value_bytes = 0;
        }
    }
    struct table_meta meta;
    write_entries(&s->w, s->entries, ENTRIES, 1, how, &meta);
    assert_int_equal(table_open(&s->w.env, &meta, &s->table), STRATA_OK);
    table_meta_release(&meta);
}

static void subject_release(struct subject *s)
{
    table_unref(s->table);
    world_release(&s->w);
}

static struct kv_cursor *open_cursor(struct subject *s, struct table **table, bool keep)
{
    struct kv_cursor *c;
    assert_int_equal(run_cursor_open(s->w.cache, table, 1, keep, READAHEAD, &c), STRATA_OK);
    return c;
}

static struct table_writer *open_writer(struct subject *s, strata_compression how)
{
    struct table_options o = world_options();
    o.compression = how;
    struct table_writer *writer;
    assert_int_equal(table_writer_new(s->w.env.dir, 2, &o, &writer), STRATA_OK);
    return writer;
}

static struct mem_content *file_of(struct subject *s, uint64_t number)
{
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_TABLE, number);
    struct mem_content *file = mem_find(&s->w.dir, name);
    assert_non_null(file);
    return file;
}

static void remove_file(struct subject *s, uint64_t number)
{
    assert_int_equal(os_dir_unlink(s->w.env.dir, file_of(s, number)->name), STRATA_OK);
}

static void print_fault(void *ctx, const char *text)
{
    (void)ctx;
    print_error("%s\n", text);
}

// Finishes the table, verifies it, and compares it with one made of single entries.
static void expect_entries(struct subject *s, struct table_writer *writer,
                           const struct kv_entry *entries, size_t count)
{
    struct table_meta meta;
    struct table_meta plain;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    write_entries(&s->w, entries, count, 3, STRATA_COMPRESSION_NONE, &plain);
    assert_true(slice_equal(meta.lower, plain.lower) && slice_equal(meta.upper, plain.upper));
    assert_int_equal(meta.entries, plain.entries);
    assert_int_equal(meta.deletes, plain.deletes);
    assert_int_equal(meta.commit_least, plain.commit_least);
    assert_int_equal(meta.commit_greatest, plain.commit_greatest);
    assert_int_equal(meta.raw_bytes, plain.raw_bytes);
    struct table *t;
    uint64_t blocks;
    assert_int_equal(table_open(&s->w.env, &meta, &t), STRATA_OK);
    assert_int_equal(table_verify(t, print_fault, NULL, &blocks), STRATA_OK);
    struct kv_cursor *c = open_cursor(s, &t, false);
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rc, STRATA_OK);
        assert_true(slice_equal(kv_key(c->at), kv_key(&entries[i])));
        assert_true(slice_equal(kv_value(c->at), kv_value(&entries[i])));
        assert_true(c->at->commit == entries[i].commit && c->at->kind == entries[i].kind);
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    kv_cursor_close(c);
    table_unref(t);
    table_meta_release(&meta);
    table_meta_release(&plain);
    remove_file(s, 2);
    remove_file(s, 3);
}

static bool starts_block(const struct kv_cursor *c)
{
    return kv_cursor_valid(c) && c->at == c->block_first;
}

// Copies the table: two blocks of three as they are, the entries of the third one by one.
static void pass_and_rewrite(struct kv_cursor *c, struct table_writer *writer)
{
    uint32_t number = 0;
    uint32_t passed = 0;
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        if (starts_block(c) && number++ % 3 != 0) {
            struct run_block b;
            struct table_raw_block raw;
            assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
            assert_int_equal(run_cursor_raw_block(c, &raw), STRATA_OK);
            assert_non_null(raw.image);
            assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
            assert_int_equal(table_writer_block_bytes(writer), 0);
            run_cursor_skip_block(c);
            passed++;
        } else {
            uint64_t hash = hash_key(kv_key(c->at));
            assert_int_equal(table_writer_add(writer, c->at, hash), STRATA_OK);
        }
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    assert_true(passed > 20);
}

static void blocks_pass_between_tables_of_any_compression(void **state)
{
    (void)state;
    static const strata_compression all[] = {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_LZ4,
                                             STRATA_COMPRESSION_ZSTD};
    for (size_t from = 0; from < 3; from++) {
        for (size_t to = 0; to < 3; to++) {
            struct subject s;
            subject_init(&s, all[from]);
            // The second time the blocks come out of the cache.
            for (int round = 0; round < 2; round++) {
                struct kv_cursor *c = open_cursor(&s, &s.table, true);
                struct table_writer *writer = open_writer(&s, all[to]);
                pass_and_rewrite(c, writer);
                kv_cursor_close(c);
                expect_entries(&s, writer, s.entries, ENTRIES);
            }
            subject_release(&s);
        }
    }
}

// The first block of the subject, under a cursor.
static void first_block(struct subject *s, struct kv_cursor **c, struct table_raw_block *raw)
{
    *c = open_cursor(s, &s->table, false);
    assert_int_equal(kv_cursor_seek(*c, slice_of(NULL, 0), false), STRATA_OK);
    assert_true(starts_block(*c));
    assert_int_equal(run_cursor_raw_block(*c, raw), STRATA_OK);
}

static strata_rc add_alone(struct subject *s, const struct table_raw_block *raw,
                           strata_compression how)
{
    struct table_writer *writer = open_writer(s, how);
    strata_rc rc = table_writer_add_block(writer, raw);
    table_writer_abandon(writer);
    return rc;
}

static void stored_bytes_are_kept_when_the_compression_fits(void **state)
{
    (void)state;
    static const struct {
        strata_compression from, to;
        bool same;
    } cases[] = {
        {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_NONE, true},
        {STRATA_COMPRESSION_LZ4, STRATA_COMPRESSION_LZ4, true},
        {STRATA_COMPRESSION_ZSTD, STRATA_COMPRESSION_LZ4, true},
        {STRATA_COMPRESSION_ZSTD, STRATA_COMPRESSION_ZSTD, true},
        {STRATA_COMPRESSION_LZ4, STRATA_COMPRESSION_ZSTD, false},
        {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_LZ4, false},
        {STRATA_COMPRESSION_LZ4, STRATA_COMPRESSION_NONE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct subject s;
        subject_init(&s, cases[i].from);
        struct kv_cursor *c;
        struct table_raw_block raw;
        first_block(&s, &c, &raw);
        struct table_writer *writer = open_writer(&s, cases[i].to);
        assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
        struct table_meta meta;
        assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
        const struct mem_content *file = file_of(&s, 2);
        size_t rest = (size_t)raw.bytes - 8;
        assert_true((memcmp(file->data + 8, raw.image + 8, rest) == 0) == cases[i].same);
        assert_int_equal(file->data[29], cases[i].same ? raw.image[29] : (int)cases[i].to - 1);
        // Another file: another seed, although the offset is the same.
        assert_true(memcmp(file->data, raw.image, 8) != 0);
        table_meta_release(&meta);
        kv_cursor_close(c);
        subject_release(&s);
    }
}

static void every_flipped_bit_of_a_block_is_detected(void **state)
{
    (void)state;
    static const strata_compression all[] = {STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_LZ4,
                                             STRATA_COMPRESSION_ZSTD};
    for (size_t i = 0; i < 3; i++) {
        struct subject s;
        subject_init(&s, all[i]);
        struct kv_cursor *c;
        struct table_raw_block raw;
        first_block(&s, &c, &raw);
        uint8_t *image = malloc((size_t)raw.bytes);
        assert_non_null(image);
        memcpy(image, raw.image, (size_t)raw.bytes);
        raw.image = image;
        assert_int_equal(add_alone(&s, &raw, all[i]), STRATA_OK);
        for (size_t bit = 0; bit < 8 * (size_t)raw.bytes; bit++) {
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(add_alone(&s, &raw, all[i]), STRATA_CORRUPT);
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(image);
        kv_cursor_close(c);
        subject_release(&s);
    }
}

static void block_of_another_place_is_refused(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_LZ4);
    struct kv_cursor *c;
    struct table_raw_block raw;
    first_block(&s, &c, &raw);
    struct table_raw_block wrong = raw;
    wrong.file++;
    assert_int_equal(add_alone(&s, &wrong, STRATA_COMPRESSION_LZ4), STRATA_CORRUPT);
    wrong = raw;
    wrong.offset = 64;
    assert_int_equal(add_alone(&s, &wrong, STRATA_COMPRESSION_LZ4), STRATA_CORRUPT);
    wrong = raw;
    wrong.bytes--;
    assert_int_equal(add_alone(&s, &wrong, STRATA_COMPRESSION_LZ4), STRATA_CORRUPT);
    wrong = raw;
    wrong.decoded_bytes--;
    assert_int_equal(add_alone(&s, &wrong, STRATA_COMPRESSION_LZ4), STRATA_CORRUPT);
    kv_cursor_close(c);
    subject_release(&s);
}

// The decoded block was in the cache when the file went bad.
static void damage_behind_a_cached_block_is_not_passed_on(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_LZ4);
    struct kv_cursor *c = open_cursor(&s, &s.table, true);
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_OK);
    kv_cursor_close(c);
    file_of(&s, 1)->data[100] ^= 4;
    struct table_raw_block raw;
    first_block(&s, &c, &raw);
    assert_int_equal(add_alone(&s, &raw, STRATA_COMPRESSION_LZ4), STRATA_CORRUPT);
    kv_cursor_close(c);
    subject_release(&s);
}

// A table with all blocks of the subject, open; its blocks are cached where the subject's are.
static struct table *pass_all(struct subject *s, struct table *from, uint64_t file,
                              uint32_t *handed_out)
{
    struct table_options o = world_options();
    struct table_writer *writer;
    assert_int_equal(table_writer_new(s->w.env.dir, file, &o, &writer), STRATA_OK);
    struct kv_cursor *c = open_cursor(s, &from, false);
    bool cached[ENTRIES] = {0};
    uint32_t count = 0;
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        struct table_raw_block raw;
        assert_int_equal(run_cursor_raw_block(c, &raw), STRATA_OK);
        assert_true(raw.table == from && raw.number == count);
        cached[count++] = raw.cached;
        assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
        assert_int_equal(table_writer_blocks(writer), count);
        run_cursor_skip_block(c);
        rc = kv_cursor_next(c);
    }
    kv_cursor_close(c);
    struct table_meta meta;
    struct table *to;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    assert_int_equal(table_open(&s->w.env, &meta, &to), STRATA_OK);
    table_meta_release(&meta);
    *handed_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool handed;
        assert_int_equal(table_hand_over(from, i, to, i, &handed), STRATA_OK);
        assert_true(handed == cached[i]);
        *handed_out += handed;
    }
    return to;
}

static void cached_blocks_are_handed_over(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct cache_block *b;
    for (uint32_t i = 3; i < 9; i++) {
        assert_int_equal(table_load(s.table, i, true, &b), STRATA_OK);
        cache_unpin(s.w.cache, b);
    }
    // Over two tables: what was handed over is a block like any other.
    uint32_t handed;
    struct table *second = pass_all(&s, s.table, 2, &handed);
    assert_int_equal(handed, 6);
    struct table *third = pass_all(&s, second, 3, &handed);
    assert_int_equal(handed, 6);
    uint64_t reads = s.w.dir.reads;
    for (uint32_t i = 0; i < 12; i++) {
        bool cached = i >= 3 && i < 9;
        assert_int_equal(table_load(third, i, false, &b), STRATA_OK);
        assert_true((s.w.dir.reads == reads) == cached);
        reads = s.w.dir.reads;
        struct cache_block *same;
        assert_int_equal(table_load(s.table, i, false, &same), STRATA_OK);
        reads = s.w.dir.reads;
        assert_true(b->bytes == same->bytes);
        assert_memory_equal(b->data + 32, same->data + 32, (size_t)b->bytes - 32);
        cache_unpin(s.w.cache, same);
        cache_unpin(s.w.cache, b);
    }
    uint64_t blocks;
    assert_int_equal(table_verify(third, print_fault, NULL, &blocks), STRATA_OK);
    table_unref(third);
    table_unref(second);
    subject_release(&s);
}

static void block_without_its_image_is_compressed_anew(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_LZ4);
    struct kv_cursor *c;
    struct table_raw_block raw;
    first_block(&s, &c, &raw);
    raw.image = NULL;
    struct block view;
    block_view(&view, raw.decoded, raw.decoded_bytes);
    struct table_writer *writer = open_writer(&s, STRATA_COMPRESSION_LZ4);
    assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
    expect_entries(&s, writer, s.entries, view.count);
    kv_cursor_close(c);
    subject_release(&s);
}

static void block_out_of_order_is_refused(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct kv_cursor *c;
    struct table_raw_block raw;
    first_block(&s, &c, &raw);
    struct run_block b;
    assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
    assert_true(b.entries > 2);

    struct table_writer *writer = open_writer(&s, STRATA_COMPRESSION_NONE);
    assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
    assert_int_equal(table_writer_add_block(writer, &raw), STRATA_INTERNAL);
    assert_int_equal(table_writer_add(writer, &s.entries[ENTRIES - 1], 1), STRATA_INTERNAL);
    table_writer_abandon(writer);

    // Behind the first key of the block; and the block's own first key.
    for (size_t i = 0; i < 2; i++) {
        writer = open_writer(&s, STRATA_COMPRESSION_NONE);
        assert_int_equal(table_writer_add(writer, &s.entries[i], 1), STRATA_OK);
        assert_int_equal(table_writer_add_block(writer, &raw), STRATA_INTERNAL);
        table_writer_abandon(writer);
    }

    writer = open_writer(&s, STRATA_COMPRESSION_NONE);
    assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
    assert_int_equal(table_writer_add(writer, &s.entries[b.entries - 1], 1), STRATA_INTERNAL);
    table_writer_abandon(writer);
    kv_cursor_close(c);
    subject_release(&s);
}

static void history_table_takes_no_block(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct kv_cursor *c;
    struct table_raw_block raw;
    first_block(&s, &c, &raw);
    struct table_options o = world_options();
    o.history = true;
    struct table_writer *writer;
    assert_int_equal(table_writer_new(s.w.env.dir, 2, &o, &writer), STRATA_OK);
    assert_int_equal(table_writer_add_block(writer, &raw), STRATA_INVALID);
    table_writer_abandon(writer);
    kv_cursor_close(c);
    subject_release(&s);
}

static void block_that_straddles_a_bound_is_not_offered(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    // What is offered between any two bounds lies between them, and nothing is missed.
    for (size_t from = 0; from < 40; from++) {
        struct table *t;
        struct slice lower = kv_key(&s.entries[from]);
        struct slice upper = kv_key(&s.entries[from + 40]);
        assert_int_equal(table_narrow(s.table, lower, upper, &t), STRATA_OK);
        struct kv_cursor *c = open_cursor(&s, &t, false);
        size_t at = from;
        size_t blocks = 0;
        strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
        while (rc == STRATA_OK) {
            assert_true(slice_equal(kv_key(c->at), kv_key(&s.entries[at])));
            at++;
            if (starts_block(c)) {
                struct run_block b;
                assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
                assert_true(at - 1 + b.entries <= from + 40);
                assert_true(slice_equal(b.last_key, kv_key(&s.entries[at - 2 + b.entries])));
                at += b.entries - 1;
                run_cursor_skip_block(c);
                blocks++;
            }
            rc = kv_cursor_next(c);
        }
        assert_int_equal(rc, STRATA_END);
        assert_int_equal(at, from + 40);
        assert_true(blocks >= 3);
        kv_cursor_close(c);
        table_unref(t);
    }
    subject_release(&s);
}

static void blocks_are_offered_forward_and_at_their_first_entry_only(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct kv_cursor *c = open_cursor(&s, &s.table, false);
    assert_int_equal(kv_cursor_seek(c, kv_key(&s.entries[1]), false), STRATA_OK);
    assert_false(starts_block(c));
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_OK);
    assert_true(starts_block(c));
    assert_int_equal(kv_cursor_next(c), STRATA_OK);
    assert_false(starts_block(c));
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), true);
    while (rc == STRATA_OK) {
        assert_false(starts_block(c));
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    kv_cursor_close(c);
    subject_release(&s);
}

static void blocks_before_a_key_are_counted(void **state)
{
    (void)state;
    struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct kv_cursor *c = open_cursor(&s, &s.table, false);
    assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_OK);
    uint32_t all = run_cursor_blocks_before(c, slice_of(NULL, 0));
    assert_true(all > 50);
    assert_int_equal(run_cursor_blocks_before(c, kv_key(&s.entries[0])), 0);
    struct run_block b;
    assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
    assert_int_equal(run_cursor_blocks_before(c, b.last_key), 0);
    assert_int_equal(run_cursor_blocks_before(c, kv_key(&s.entries[b.entries])), 1);
    run_cursor_skip_block(c);
    assert_int_equal(kv_cursor_next(c), STRATA_OK);
    assert_int_equal(run_cursor_blocks_before(c, slice_of(NULL, 0)), all - 1);
    assert_int_equal(run_cursor_blocks_before(c, kv_key(&s.entries[0])), 0);
    kv_cursor_close(c);
    subject_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_pass_between_tables_of_any_compression),
        cmocka_unit_test(stored_bytes_are_kept_when_the_compression_fits),
        cmocka_unit_test(every_flipped_bit_of_a_block_is_detected),
        cmocka_unit_test(block_of_another_place_is_refused),
        cmocka_unit_test(damage_behind_a_cached_block_is_not_passed_on),
        cmocka_unit_test(cached_blocks_are_handed_over),
        cmocka_unit_test(block_without_its_image_is_compressed_anew),
        cmocka_unit_test(block_out_of_order_is_refused),
        cmocka_unit_test(history_table_takes_no_block),
        cmocka_unit_test(block_that_straddles_a_bound_is_not_offered),
        cmocka_unit_test(blocks_are_offered_forward_and_at_their_first_entry_only),
        cmocka_unit_test(blocks_before_a_key_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
