#include "unit/table_fixture.h"

#include "table/block.h"

// A payload as the cache holds it: behind a section header, aligned, with padding behind it.
struct image {
    uint8_t *bytes;
    uint64_t count;
};

static struct image image_of(const struct kv_entry *entries, uint32_t count, bool history)
{
    struct buffer out = {0};
    assert_int_equal(block_encode(&out, entries, count, history), STRATA_OK);
    struct image im = {NULL, SECTION_HEADER_BYTES + out.bytes};
    im.bytes = aligned_alloc(64, (size_t)(im.count + CACHE_PADDING + 63) / 64 * 64);
    assert_non_null(im.bytes);
    memset(im.bytes, 0, SECTION_HEADER_BYTES);
    memcpy(im.bytes + SECTION_HEADER_BYTES, out.data, out.bytes);
    memset(im.bytes + im.count, 0, CACHE_PADDING);
    buffer_release(&out);
    return im;
}

static void plain_entries_are_uniform_rows(void **state)
{
    (void)state;
    static char keys[40][17];
    struct kv_entry entries[40];
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof keys[i], "%016u", i * 37);
        entries[i] = entry_of(slice_of(keys[i], 16), text_slice("value"), 1000 + i);
    }
    struct image im = image_of(entries, 40, false);
    assert_int_equal(block_check(im.bytes, im.count), STRATA_OK);
    struct block b;
    block_view(&b, im.bytes, im.count);
    assert_int_equal(b.flags, BLOCK_UNIFORM);
    assert_int_equal(b.prefix_bytes, 12);
    assert_int_equal(b.commit_bytes, 1);
    // Head, commit and value: nothing else.
    assert_int_equal(im.count, SECTION_HEADER_BYTES + BLOCK_HEAD_BYTES + 12 + 40 * (4 + 1 + 5));
    for (uint32_t i = 0; i < 40; i++) {
        bool same;
        assert_int_equal(block_find(&b, kv_key(&entries[i]), UINT64_MAX, &same), i);
        assert_true(same);
        assert_int_equal(block_find(&b, slice_of(keys[i], 15), UINT64_MAX, &same), i);
        assert_false(same);
        assert_int_equal(block_key_bytes(&b, i), 16);
    }
    assert_int_equal(block_seek(&b, text_slice("0"), UINT64_MAX), 0);
    assert_int_equal(block_seek(&b, text_slice("1"), UINT64_MAX), 40);
    free(im.bytes);
}

static void versions_of_one_key_are_found_by_commit(void **state)
{
    (void)state;
    struct kv_entry entries[100];
    for (uint32_t i = 0; i < 100; i++) {
        entries[i] = entry_of(text_slice("the key"), text_slice("v"), 1000 - i * 10);
        entries[i].end = entries[i].commit + 10;
    }
    struct image im = image_of(entries, 100, true);
    struct block b;
    block_view(&b, im.bytes, im.count);
    assert_int_equal(b.prefix_bytes, 7);
    for (uint64_t at = 0; at < 1100; at++) {
        uint32_t expected = 0;
        while (expected < 100 && entries[expected].commit > at) {
            expected++;
        }
        bool same;
        assert_int_equal(block_find(&b, text_slice("the key"), at, &same), expected);
        assert_int_equal(same, expected < 100);
    }
    assert_int_equal(block_seek(&b, text_slice("the key "), UINT64_MAX), 100);
    assert_int_equal(block_seek(&b, text_slice("the ke"), UINT64_MAX), 0);
    free(im.bytes);
}

static void commits_up_to_the_greatest_fit(void **state)
{
    (void)state;
    struct kv_entry entries[3] = {
        entry_of(text_slice("a"), text_slice(""), 0),
        entry_of(text_slice("b"), text_slice(""), UINT64_MAX - 1),
        entry_of(text_slice("c"), text_slice(""), 1),
    };
    entries[0].end = UINT64_MAX;
    entries[1].end = UINT64_MAX - 1;
    entries[2].end = 2;
    struct image im = image_of(entries, 3, true);
    assert_int_equal(block_check(im.bytes, im.count), STRATA_OK);
    struct block b;
    block_view(&b, im.bytes, im.count);
    for (uint32_t i = 0; i < 3; i++) {
        struct kv_entry e;
        block_entry(&b, i, &e);
        assert_int_equal(e.commit, entries[i].commit);
        assert_int_equal(e.end, entries[i].end);
        assert_int_equal(e.value_bytes, 0);
    }
    free(im.bytes);
}

static void a_block_of_puts_holds_nothing_else(void **state)
{
    (void)state;
    struct kv_entry entries[2];
    entries[0] = entry_of(text_slice("a"), text_slice("reference"), 7);
    entries[0].kind = KV_PUT_SEPARATED;
    entries[1] = entry_of(text_slice("b"), text_slice("value"), 8);
    struct image im = image_of(entries, 2, false);
    struct block b;
    block_view(&b, im.bytes, im.count);
    assert_int_equal(b.flags & (BLOCK_KINDS | BLOCK_PUTS), BLOCK_KINDS | BLOCK_PUTS);
    assert_int_equal(block_check(im.bytes, im.count), STRATA_OK);
    uint8_t *kind = (uint8_t *)(uintptr_t)b.rows + b.commit_bytes; // of the first row
    assert_int_equal(*kind, KV_PUT_SEPARATED);
    static const struct {
        uint8_t kind;
        strata_rc rc;
    } cases[] = {{KV_PUT, STRATA_OK},
                 {KV_DELETE, STRATA_CORRUPT},
                 {KV_FLOOR, STRATA_CORRUPT},
                 {KV_RANGE_DELETE, STRATA_VERSION},
                 {6, STRATA_VERSION}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        *kind = cases[i].kind;
        assert_int_equal(block_check(im.bytes, im.count), cases[i].rc);
    }
    free(im.bytes);
}

static void a_floor_is_of_history_and_has_no_value(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct kv_entry e = entry_of(text_slice("a"), slice_of("v", which == 2), 7);
        e.kind = KV_FLOOR;
        e.end = which == 1 ? 0 : 9;
        struct image im = image_of(&e, 1, which != 1);
        assert_int_equal(block_check(im.bytes, im.count), which == 0 ? STRATA_OK : STRATA_CORRUPT);
        free(im.bytes);
    }
}

// Everything a reader does with a block that was accepted; the sanitizers watch.
static void use_block(const struct image *im, const struct kv_entry *entries, uint32_t count)
{
    struct block b;
    block_view(&b, im->bytes, im->count);
    struct kv_entry window[64];
    for (uint32_t from = 0; from < b.count; from += 64) {
        uint32_t n = b.count - from < 64 ? b.count - from : 64;
        uint8_t *keys = malloc(block_window_bytes(&b, from, n));
        assert_non_null(keys);
        block_window(&b, from, n, from % 128 == 0, 3, window, keys);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(window[i].value >= im->bytes);
            assert_true(window[i].value + window[i].value_bytes <= im->bytes + im->count);
        }
        free(keys);
    }
    for (uint32_t i = 0; i < count; i++) {
        assert_true(block_seek(&b, kv_key(&entries[i]), entries[i].commit) <= b.count);
    }
}

static void every_flipped_bit_is_refused_or_harmless(void **state)
{
    (void)state;
    struct prng r = {11};
    for (int round = 0; round < 8; round++) {
        struct kv_entry entries[12];
        static char keys[12][40];
        for (uint32_t i = 0; i < 12; i++) {
            int bytes = snprintf(keys[i], sizeof keys[i], "shared%02u%.*s", i,
                                 round % 2 == 0 ? 6 : (int)prng_below(&r, 20),
                                 "abcdefghijklmnopqrstuvwxyz");
            entries[i] = entry_of(slice_of(keys[i], (size_t)bytes), text_slice("value"), 100 + i);
            entries[i].value_bytes = round < 2 ? 5 : (uint32_t)prng_below(&r, 6);
            entries[i].expiry = round == 3 ? 5 : 0;
            entries[i].kind = round >= 4 && i % 3 == 0 ? KV_DELETE : KV_PUT;
            if (round >= 6) {
                entries[i].kind = i % 2 == 0 ? KV_PUT_SEPARATED : KV_PUT;
            }
            entries[i].end = round % 2 == 1 ? 200 : 0;
        }
        struct image im = image_of(entries, 12, round % 2 == 1);
        assert_int_equal(block_check(im.bytes, im.count), STRATA_OK);
        use_block(&im, entries, 12);
        uint32_t refused = 0;
        for (uint64_t bit = SECTION_HEADER_BYTES * 8; bit < im.count * 8; bit++) {
            im.bytes[bit / 8] = (uint8_t)(im.bytes[bit / 8] ^ 1u << (bit % 8));
            strata_rc rc = block_check(im.bytes, im.count);
            assert_true(rc == STRATA_OK || rc == STRATA_CORRUPT || rc == STRATA_VERSION);
            refused += rc != STRATA_OK;
            if (rc == STRATA_OK) {
                use_block(&im, entries, 12);
            }
            im.bytes[bit / 8] = (uint8_t)(im.bytes[bit / 8] ^ 1u << (bit % 8));
        }
        assert_true(refused > 50);
        for (uint64_t bytes = 0; bytes < im.count; bytes++) {
            strata_rc rc = block_check(im.bytes, bytes);
            if (rc == STRATA_OK) { // cut inside of the last value
                use_block(&(struct image){im.bytes, bytes}, entries, 12);
            }
        }
        free(im.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_entries_are_uniform_rows),
        cmocka_unit_test(versions_of_one_key_are_found_by_commit),
        cmocka_unit_test(commits_up_to_the_greatest_fit),
        cmocka_unit_test(a_block_of_puts_holds_nothing_else),
        cmocka_unit_test(a_floor_is_of_history_and_has_no_value),
        cmocka_unit_test(every_flipped_bit_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
