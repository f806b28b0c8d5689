// The presets, and what a tree owes to its shape.
//
// Level 0 takes the flushes: 4 of them in runs and in bytes. Every deeper level holds size_ratio
// times the bytes of the one above. Lazy leveling keeps up to 4 runs on every level but the deepest
// in use and one run there: an entry is written about once a level and size_ratio / 2 times on the
// last, and the last holds all but a size_ratio-th of the data, in one run. Leveling keeps one run
// on every level but 0. History is tiered: it is read seldom and holds what nobody overwrites, so
// that merging it more than once a level would buy nothing.
#include "shape/shape.h"

#include "base/assert.h"

#define LEVEL0_MEMTABLES 4
#define UPPER_RUNS_MAX 4
#define HISTORY_RUNS_MAX 8
#define TABLE_BYTES_LEAST (1u << 20)
#define TABLE_BYTES_GREATEST (64u << 20)

static uint64_t saturated_product(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

// Levels whose bytes grow by the ratio from `level0_bytes`.
static struct shape shape_levels(uint64_t level0_bytes, uint32_t size_ratio, uint32_t level0_runs,
                                 uint32_t runs)
{
    struct shape s = {.level_count = TREE_LEVELS_MAX, .size_ratio = size_ratio};
    uint64_t bytes = level0_bytes;
    for (uint32_t i = 0; i < TREE_LEVELS_MAX; i++) {
        s.levels[i].runs_max = i == 0 ? level0_runs : runs;
        s.levels[i].bytes_max = bytes;
        bytes = saturated_product(bytes, size_ratio);
    }
    return s;
}

static uint64_t table_bytes_for(uint64_t bytes)
{
    if (bytes < TABLE_BYTES_LEAST) {
        return TABLE_BYTES_LEAST;
    }
    return bytes > TABLE_BYTES_GREATEST ? TABLE_BYTES_GREATEST : bytes;
}

struct shape shape_live(const strata_keyspace_options *options, uint64_t memtable_bytes)
{
    ASSERT(options->size_ratio >= 2 && memtable_bytes > 0);
    uint32_t runs = options->shape == STRATA_SHAPE_LEVELED ? 1 : UPPER_RUNS_MAX;
    struct shape s = shape_levels(saturated_product(memtable_bytes, LEVEL0_MEMTABLES),
                                  options->size_ratio, UPPER_RUNS_MAX, runs);
    s.last_runs_max = 1;
    s.level0_runs_max = options->level0_runs_max;
    s.table_bytes = table_bytes_for(memtable_bytes / 2);
    return s;
}

struct shape shape_history(const strata_keyspace_options *options, uint64_t memtable_bytes)
{
    ASSERT(options->size_ratio >= 2 && memtable_bytes > 0);
    struct shape s = shape_levels(saturated_product(memtable_bytes, HISTORY_RUNS_MAX),
                                  HISTORY_RUNS_MAX, HISTORY_RUNS_MAX, HISTORY_RUNS_MAX);
    s.last_runs_max = HISTORY_RUNS_MAX;
    s.level0_runs_max = options->level0_runs_max;
    s.table_bytes = table_bytes_for(memtable_bytes);
    return s;
}

struct shape_level shape_level_at(const struct shape *s, uint32_t level)
{
    ASSERT(s->level_count > 0 && s->level_count <= TREE_LEVELS_MAX);
    if (level < s->level_count) {
        return s->levels[level];
    }
    struct shape_level l = s->levels[s->level_count - 1];
    for (uint32_t i = s->level_count; i <= level; i++) {
        l.bytes_max = saturated_product(l.bytes_max, s->size_ratio);
    }
    return l;
}

uint32_t shape_last_level(const struct tree *t)
{
    return t->level_count <= 2 ? 1 : t->level_count - 1;
}

uint32_t shape_runs_max(const struct tree *t, const struct shape *s, uint32_t level)
{
    uint32_t runs_max = level > 0 && level >= shape_last_level(t)
                            ? s->last_runs_max
                            : shape_level_at(s, level).runs_max;
    return runs_max == 0 ? 1 : runs_max;
}

double shape_fullness(const struct tree *t, const struct shape *s, uint32_t level)
{
    const struct level *l = &t->levels[level];
    double by_runs = (double)l->count / shape_runs_max(t, s, level);
    uint64_t bytes_max = shape_level_at(s, level).bytes_max;
    double by_bytes = (double)l->bytes / (double)(bytes_max == 0 ? 1 : bytes_max);
    return by_runs > by_bytes ? by_runs : by_bytes;
}

bool shape_level_small(const struct tree *t, const struct shape *s, uint32_t level)
{
    const struct level *l = &t->levels[level];
    if (level >= shape_last_level(t) || l->count < 2) {
        return false;
    }
    return shape_runs_max(t, s, level + 1) == 1 &&
           l->bytes <= shape_level_at(s, level).bytes_max / 4 &&
           l->bytes <= t->levels[level + 1].bytes / 4;
}

uint64_t shape_debt_bytes(const struct tree *tree, const struct shape *shape)
{
    // From the top down: what a full level holds is merged into the next, which may be full for it.
    uint64_t debt = 0, carried = 0;
    uint32_t last = shape_last_level(tree);
    for (uint32_t level = 0; level <= last; level++) {
        const struct level *l = &tree->levels[level];
        uint32_t runs_max = shape_runs_max(tree, shape, level);
        uint64_t bytes = l->bytes + carried;
        uint32_t runs = l->count + (carried > 0 ? 1 : 0);
        if (carried > 0 && l->count > 0 && runs_max == 1) {
            debt += bytes;
            runs = 1;
        }
        carried = 0;
        bool too_many = runs > runs_max;
        bool too_large = bytes > shape_level_at(shape, level).bytes_max;
        if (!too_many && !too_large) {
            continue;
        }
        bool stays = level == last || (runs_max == 1 && !too_large) ||
                     (!too_large && shape_level_small(tree, shape, level));
        bool into = !stays && shape_runs_max(tree, shape, level + 1) == 1 &&
                    tree->levels[level + 1].count > 0;
        // What goes into the next level's run is counted there; a single run moves unread.
        debt += runs > 1 && !into ? bytes : 0;
        carried = stays ? 0 : bytes;
    }
    return debt;
}
