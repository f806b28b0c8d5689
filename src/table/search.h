// Searching sorted arrays of key heads, and testing one line of a filter: the three inner loops of
// a point read, each in a portable, an AVX2 and an AVX-512 form. The best one that the machine has
// is chosen once, at the first call; all three give the same answers.
//
// Thread rule: everything from any thread.
#ifndef TABLE_SEARCH_H
#define TABLE_SEARCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_NODE 8 // heads a node: one cache line
#define SEARCH_LEVELS_MAX 12

// A static wide tree over `counts[0]` ascending heads: levels[0] holds them all, each level above
// every eighth of the one below. Every level is 64-byte aligned and padded to whole nodes.
struct search_tree {
    const uint64_t *levels[SEARCH_LEVELS_MAX];
    uint32_t counts[SEARCH_LEVELS_MAX];
    uint32_t depth; // levels, at least 1
};

struct search_paths {
    const char *name;
    // How many of the `count` ascending heads are < x. Up to 63 bytes behind the heads are read.
    uint32_t (*count_below)(const uint32_t *heads, uint32_t count, uint32_t x);
    // The last position with a head <= x; 0 when there is none.
    uint32_t (*tree_find)(const struct search_tree *tree, uint64_t x);
    // Are the `probes` (1-8) bits that `bits` chooses all set in the 64-byte aligned line? Bit
    // number j is the top 9 bits of bits * SEARCH_PROBE_STEP^j, modulo 2^32.
    bool (*line_test)(const uint8_t *line, uint32_t bits, uint32_t probes);
};

#define SEARCH_PROBE_STEP 0x9e3779b9u

enum search_path { SEARCH_PORTABLE = 0, SEARCH_AVX2 = 1, SEARCH_AVX512 = 2, SEARCH_PATHS = 3 };

// The path, or NULL when this machine or this build does not have it.
const struct search_paths *search_path(enum search_path path);
// Makes the path the one in use; for tests. NULL: the best.
void search_use(const struct search_paths *paths);
const struct search_paths *search_choose(void);

extern _Atomic(const struct search_paths *) search_in_use; // NULL until the first call

static inline const struct search_paths *search_now(void)
{
    // The tables are constants: nothing to synchronise with.
    const struct search_paths *p = atomic_load_explicit(&search_in_use, memory_order_relaxed);
    return __builtin_expect(p != NULL, 1) ? p : search_choose();
}

#endif
