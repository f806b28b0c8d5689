#include "unit/table_fixture.h"

#include "table/index.h"

#define SEPARATORS_MAX 300

struct separator {
    uint8_t key[24];
    size_t bytes;
    uint64_t commit;
};

static int compare_to(const struct separator *s, struct slice key, uint64_t at)
{
    int order = slice_compare(slice_of(s->key, s->bytes), key);
    return order != 0 ? order : s->commit > at ? -1 : s->commit < at;
}

static int compare_separators(const void *a, const void *b)
{
    const struct separator *y = b;
    return compare_to(a, slice_of(y->key, y->bytes), y->commit);
}

static void random_separator(struct prng *r, size_t prefix, bool commits, struct separator *s)
{
    s->bytes = prefix + prng_below(r, 13);
    for (size_t i = 0; i < s->bytes; i++) {
        s->key[i] = i < prefix ? 'p' : (uint8_t)(prng_below(r, 3) * 127);
    }
    s->commit = commits && prng_one_in(r, 2) ? prng_below(r, 10) : UINT64_MAX;
}

static void find_agrees_with_the_definition(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct prng r = {seed};
        struct separator s[SEPARATORS_MAX];
        size_t prefix = prng_below(&r, 11);
        bool commits = seed % 2 == 0;
        size_t count = 1 + prng_below(&r, SEPARATORS_MAX - 1);
        for (size_t i = 0; i < count; i++) {
            random_separator(&r, prefix, commits, &s[i]);
        }
        qsort(s, count, sizeof s[0], compare_separators);
        struct index_builder ib = {0};
        for (size_t i = 0; i < count; i++) {
            struct index_block b = {.image_bytes = 10 + i, .raw_bytes = 5, .count = 1};
            assert_int_equal(index_add(&ib, slice_of(s[i].key, s[i].bytes), s[i].commit, &b),
                             STRATA_OK);
        }
        struct buffer payload = {0};
        assert_int_equal(index_encode(&ib, &payload), STRATA_OK);
        struct index ix;
        assert_int_equal(index_open(&ix, buffer_slice(&payload)), STRATA_OK);
        assert_int_equal(ix.count, count);
        assert_int_equal(ix.offsets[1], 10);
        for (int i = 0; i < 300; i++) {
            struct separator target;
            random_separator(&r, prng_one_in(&r, 4) ? prng_below(&r, 11) : prefix, true, &target);
            if (prng_one_in(&r, 3)) {
                target = s[prng_below(&r, count)];
            }
            struct slice key = slice_of(target.key, target.bytes);
            size_t expected = 0;
            while (expected + 1 < count && compare_to(&s[expected + 1], key, target.commit) <= 0) {
                expected++;
            }
            for (int path = 0; path < SEARCH_PATHS; path++) {
                if (search_path((enum search_path)path) != NULL) {
                    search_use(search_path((enum search_path)path));
                    // Equal separators do not occur in tables; any of them will do here.
                    uint32_t found = index_find(&ix, key, target.commit);
                    assert_int_equal(compare_separators(&s[found], &s[expected]), 0);
                }
            }
        }
        search_use(NULL);
        index_release(&ix);
        buffer_release(&payload);
        index_builder_release(&ib);
    }
}

static void malformed_payload_is_refused(void **state)
{
    (void)state;
    struct index_builder ib = {0};
    const char *keys[] = {"apple", "apricot", "banana"};
    for (size_t i = 0; i < 3; i++) {
        struct index_block b = {.image_bytes = 100, .raw_bytes = 68, .count = 3, .deletes = 1};
        assert_int_equal(index_add(&ib, text_slice(keys[i]), UINT64_MAX, &b), STRATA_OK);
    }
    struct buffer payload = {0};
    assert_int_equal(index_encode(&ib, &payload), STRATA_OK);
    struct index ix;
    for (size_t bytes = 0; bytes < payload.bytes; bytes++) {
        // A copy of the exact size, so that a read behind it is seen.
        uint8_t *cut = malloc(bytes + 1);
        assert_non_null(cut);
        memcpy(cut, payload.data, bytes);
        assert_int_equal(index_open(&ix, slice_of(cut, bytes)), STRATA_CORRUPT);
        free(cut);
    }
    for (size_t i = 0; i < payload.bytes * 8; i++) {
        payload.data[i / 8] = (uint8_t)(payload.data[i / 8] ^ 1u << (i % 8));
        strata_rc rc = index_open(&ix, buffer_slice(&payload));
        assert_true(rc == STRATA_OK || rc == STRATA_CORRUPT || rc == STRATA_VERSION);
        if (rc == STRATA_OK) {
            assert_true(index_find(&ix, text_slice("apr"), UINT64_MAX) < ix.count);
            index_release(&ix);
        }
        payload.data[i / 8] = (uint8_t)(payload.data[i / 8] ^ 1u << (i % 8));
    }
    buffer_release(&payload);
    index_builder_release(&ib);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_agrees_with_the_definition),
        cmocka_unit_test(malformed_payload_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
