// All paths of the vector searches against the plain definition.
#include "unit/table_fixture.h"

#include "table/search.h"

#define HEADS_MAX 700

static void all_paths_count_alike(void **state)
{
    (void)state;
    struct prng r = {1};
    static uint32_t heads[HEADS_MAX + 16];
    for (int round = 0; round < 2000; round++) {
        uint32_t count = (uint32_t)prng_below(&r, round % 4 == 0 ? HEADS_MAX : 70);
        uint32_t head = 0;
        for (uint32_t i = 0; i < HEADS_MAX + 16; i++) {
            uint32_t step = (uint32_t)prng_below(&r, round % 3 == 0 ? 3 : 60000000);
            head = step > UINT32_MAX - head ? UINT32_MAX : head + step;
            heads[i] = i < count ? head : (uint32_t)prng_next(&r); // behind: anything
        }
        for (int probe = 0; probe < 8; probe++) {
            uint32_t x = probe == 0   ? 0
                         : probe == 1 ? UINT32_MAX
                         : count > 0
                             ? heads[prng_below(&r, count)] + (uint32_t)prng_below(&r, 3) - 1
                             : 5;
            uint32_t expected = 0;
            while (expected < count && heads[expected] < x) {
                expected++;
            }
            for (int path = 0; path < SEARCH_PATHS; path++) {
                const struct search_paths *p = search_path((enum search_path)path);
                if (p != NULL) {
                    assert_int_equal(p->count_below(heads, count, x), expected);
                }
            }
        }
    }
}

static void all_paths_descend_alike(void **state)
{
    (void)state;
    struct prng r = {2};
    static _Alignas(64) uint64_t levels[4][4096 + 8];
    for (int round = 0; round < 300; round++) {
        uint32_t count = 1 + (uint32_t)prng_below(&r, round % 2 == 0 ? 20 : 4000);
        uint64_t head = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t step = prng_below(&r, round % 3 == 0 ? 2 : UINT64_MAX / 2000);
            head = step > UINT64_MAX - head ? UINT64_MAX : head + step;
            levels[0][i] = head;
        }
        struct search_tree tree = {.levels = {levels[0]}, .counts = {count}, .depth = 1};
        while (tree.counts[tree.depth - 1] > SEARCH_NODE) {
            const uint64_t *below = tree.levels[tree.depth - 1];
            uint32_t above = (tree.counts[tree.depth - 1] + SEARCH_NODE - 1) / SEARCH_NODE;
            for (uint32_t i = 0; i < above; i++) {
                levels[tree.depth][i] = below[(size_t)i * SEARCH_NODE];
            }
            tree.levels[tree.depth] = levels[tree.depth];
            tree.counts[tree.depth++] = above;
        }
        for (uint32_t l = 0; l < tree.depth; l++) {
            for (uint32_t i = tree.counts[l]; i % SEARCH_NODE != 0; i++) {
                levels[l][i] = UINT64_MAX;
            }
        }
        for (int probe = 0; probe < 20; probe++) {
            uint64_t x = probe == 0   ? 0
                         : probe == 1 ? UINT64_MAX
                                      : levels[0][prng_below(&r, count)] + prng_below(&r, 3) - 1;
            uint32_t expected = 0;
            while (expected + 1 < count && levels[0][expected + 1] <= x) {
                expected++;
            }
            for (int path = 0; path < SEARCH_PATHS; path++) {
                const struct search_paths *p = search_path((enum search_path)path);
                if (p != NULL) {
                    assert_int_equal(p->tree_find(&tree, x), expected);
                }
            }
        }
    }
}

static void all_paths_test_lines_alike(void **state)
{
    (void)state;
    struct prng r = {3};
    static _Alignas(64) uint8_t line[64];
    uint64_t positive = 0;
    for (int round = 0; round < 20000; round++) {
        uint32_t probes = 1 + (uint32_t)prng_below(&r, 8);
        uint32_t bits = (uint32_t)prng_next(&r);
        for (size_t i = 0; i < sizeof line; i++) {
            line[i] = (uint8_t)(prng_next(&r) | prng_next(&r) | prng_next(&r));
        }
        bool expected = true;
        uint32_t step = bits;
        for (uint32_t j = 0; j < probes; j++, step *= SEARCH_PROBE_STEP) {
            uint32_t bit = step >> 23;
            expected = expected && (line[bit / 8] >> (bit % 8) & 1) != 0;
        }
        positive += expected;
        for (int path = 0; path < SEARCH_PATHS; path++) {
            const struct search_paths *p = search_path((enum search_path)path);
            if (p != NULL) {
                assert_int_equal(p->line_test(line, bits, probes), expected);
            }
        }
    }
    assert_in_range(positive, 5000, 18000); // both answers were tested
}

static void best_path_is_chosen_once(void **state)
{
    (void)state;
    search_use(NULL);
    const struct search_paths *best = search_now();
    assert_non_null(best);
    assert_ptr_equal(search_now(), best);
    search_use(search_path(SEARCH_PORTABLE));
    assert_string_equal(search_now()->name, "portable");
    search_use(NULL);
    assert_ptr_equal(search_now(), best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_paths_count_alike),
        cmocka_unit_test(all_paths_descend_alike),
        cmocka_unit_test(all_paths_test_lines_alike),
        cmocka_unit_test(best_path_is_chosen_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
