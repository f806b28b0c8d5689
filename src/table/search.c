#include "table/search.h"

#include "base/assert.h"
#include "base/endian.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define SEARCH_X86 1
#endif

_Atomic(const struct search_paths *) search_in_use;

// Arrays longer than this are halved before they are counted through.
#define COUNT_MAX 64u

// Halves [0, count) until at most COUNT_MAX heads are left that the answer depends on; returns the
// first of them, all before which are < x.
static inline uint32_t narrow(const uint32_t *heads, uint32_t *count, uint32_t x)
{
    uint32_t base = 0;
    uint32_t left = *count;
    while (left > COUNT_MAX) {
        uint32_t half = left / 2;
        base += heads[base + half - 1] < x ? half : 0;
        left -= half;
    }
    *count = left;
    return base;
}

// ---- portable

static uint32_t count_below_portable(const uint32_t *heads, uint32_t count, uint32_t x)
{
    uint32_t base = 0;
    while (count > 1) {
        uint32_t half = count / 2;
        base += heads[base + half - 1] < x ? half : 0;
        count -= half;
    }
    return count == 0 ? 0 : base + (heads[base] < x ? 1 : 0);
}

// The child of node `at` on `level` to go to, given how many heads of the node are <= x.
static inline uint32_t tree_step(const struct search_tree *t, uint32_t level, uint32_t at,
                                 uint32_t below)
{
    uint32_t next = at * SEARCH_NODE + (below == 0 ? 0 : below - 1);
    uint32_t last = t->counts[level] - 1;
    return next < last ? next : last; // the padding is >= x for no x but the greatest
}

static uint32_t tree_find_portable(const struct search_tree *t, uint64_t x)
{
    uint32_t at = 0;
    for (uint32_t level = t->depth; level-- > 0;) {
        const uint64_t *node = t->levels[level] + (size_t)at * SEARCH_NODE;
        uint32_t below = 0;
        for (uint32_t i = 0; i < SEARCH_NODE; i++) {
            below += node[i] <= x;
        }
        at = tree_step(t, level, at, below);
    }
    return at;
}

static bool line_test_portable(const uint8_t *line, uint32_t bits, uint32_t probes)
{
    uint32_t missing = 0;
    for (uint32_t j = 0; j < probes; j++) {
        uint32_t bit = bits >> 23;
        missing |= ~(load_u32(line + bit / 32 * 4) >> (bit % 32));
        bits *= SEARCH_PROBE_STEP;
    }
    return (missing & 1) == 0;
}

static const struct search_paths portable_paths = {
    .name = "portable",
    .count_below = count_below_portable,
    .tree_find = tree_find_portable,
    .line_test = line_test_portable,
};

#ifdef SEARCH_X86

// Powers of SEARCH_PROBE_STEP.
#define PROBE_STEPS                                                                                \
    1, (int)0x9e3779b9u, (int)0xe35e67b1u, (int)0x734297e9u, (int)0x35fbe861u, (int)0xdeb7c719u,   \
        (int)0x0448b211u, (int)0x3459b749u

// ---- AVX2

#define AVX2 __attribute__((target("avx2,popcnt")))

AVX2 static uint32_t count_below_avx2(const uint32_t *heads, uint32_t count, uint32_t x)
{
    uint32_t base = narrow(heads, &count, x);
    const uint32_t *from = heads + base;
    // AVX2 compares signed: both sides get their top bit turned.
    const __m256i turn = _mm256_set1_epi32((int)0x80000000u);
    const __m256i v = _mm256_xor_si256(_mm256_set1_epi32((int)x), turn);
    uint32_t below = 0;
    for (uint32_t i = 0; i < count; i += 8) {
        __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        __m256i less = _mm256_cmpgt_epi32(v, _mm256_xor_si256(h, turn));
        uint32_t mask = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(less));
        uint32_t left = count - i;
        mask &= left >= 8 ? 0xffu : (1u << left) - 1;
        below += (uint32_t)__builtin_popcount(mask);
    }
    return base + below;
}

AVX2 static uint32_t tree_find_avx2(const struct search_tree *t, uint64_t x)
{
    const __m256i turn = _mm256_set1_epi64x(INT64_MIN);
    const __m256i v = _mm256_xor_si256(_mm256_set1_epi64x((long long)x), turn);
    uint32_t at = 0;
    for (uint32_t level = t->depth; level-- > 0;) {
        const __m256i *node =
            (const __m256i *)(const void *)(t->levels[level] + (size_t)at * SEARCH_NODE);
        __m256i above0 = _mm256_cmpgt_epi64(_mm256_xor_si256(_mm256_load_si256(node), turn), v);
        __m256i above1 = _mm256_cmpgt_epi64(_mm256_xor_si256(_mm256_load_si256(node + 1), turn), v);
        uint32_t above = (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(above0)) |
                         (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(above1)) << 4;
        at = tree_step(t, level, at, SEARCH_NODE - (uint32_t)__builtin_popcount(above));
    }
    return at;
}

AVX2 static bool line_test_avx2(const uint8_t *line, uint32_t bits, uint32_t probes)
{
    const __m256i steps = _mm256_setr_epi32(PROBE_STEPS);
    __m256i bit = _mm256_srli_epi32(_mm256_mullo_epi32(_mm256_set1_epi32((int)bits), steps), 23);
    __m256i word = _mm256_srli_epi32(bit, 5);
    const __m256i *halves = (const __m256i *)(const void *)line;
    __m256i low = _mm256_permutevar8x32_epi32(_mm256_load_si256(halves), word);
    __m256i high = _mm256_permutevar8x32_epi32(_mm256_load_si256(halves + 1), word);
    // Bit 3 of the word's number says which half it is in.
    __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(word, 28));
    __m256i words = _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), upper));
    // Shifts the wanted bit to the sign.
    __m256i shift =
        _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_and_si256(bit, _mm256_set1_epi32(31)));
    __m256i signs = _mm256_sllv_epi32(words, shift);
    uint32_t set = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(signs));
    uint32_t wanted = (1u << probes) - 1;
    return (set & wanted) == wanted;
}

static const struct search_paths avx2_paths = {
    .name = "AVX2",
    .count_below = count_below_avx2,
    .tree_find = tree_find_avx2,
    .line_test = line_test_avx2,
};

// ---- AVX-512

#define AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,popcnt")))

AVX512 static uint32_t count_below_avx512(const uint32_t *heads, uint32_t count, uint32_t x)
{
    uint32_t base = narrow(heads, &count, x);
    const uint32_t *from = heads + base;
    const __m512i v = _mm512_set1_epi32((int)x);
    uint32_t below = 0;
    for (uint32_t i = 0; i < count; i += 16) {
        uint32_t left = count - i;
        __mmask16 live = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
        __m512i h = _mm512_maskz_loadu_epi32(live, from + i);
        below += (uint32_t)__builtin_popcount(_mm512_mask_cmplt_epu32_mask(live, h, v));
    }
    return base + below;
}

AVX512 static uint32_t tree_find_avx512(const struct search_tree *t, uint64_t x)
{
    const __m512i v = _mm512_set1_epi64((long long)x);
    uint32_t at = 0;
    for (uint32_t level = t->depth; level-- > 0;) {
        __m512i node = _mm512_load_si512(t->levels[level] + (size_t)at * SEARCH_NODE);
        uint32_t below = (uint32_t)__builtin_popcount(_mm512_cmple_epu64_mask(node, v));
        at = tree_step(t, level, at, below);
    }
    return at;
}

AVX512 static bool line_test_avx512(const uint8_t *line, uint32_t bits, uint32_t probes)
{
    const __m256i steps = _mm256_setr_epi32(PROBE_STEPS);
    __m256i bit = _mm256_srli_epi32(_mm256_mullo_epi32(_mm256_set1_epi32((int)bits), steps), 23);
    __m512i word = _mm512_zextsi256_si512(_mm256_srli_epi32(bit, 5));
    __m256i words = _mm512_castsi512_si256(_mm512_permutexvar_epi32(word, _mm512_load_si512(line)));
    __m256i wanted =
        _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_and_si256(bit, _mm256_set1_epi32(31)));
    uint32_t missing = _mm256_testn_epi32_mask(words, wanted);
    return (missing & ((1u << probes) - 1)) == 0;
}

static const struct search_paths avx512_paths = {
    .name = "AVX-512",
    .count_below = count_below_avx512,
    .tree_find = tree_find_avx512,
    .line_test = line_test_avx512,
};

#endif

// ---- the choice

const struct search_paths *search_path(enum search_path path)
{
#ifdef SEARCH_X86
    __builtin_cpu_init();
    if (path == SEARCH_AVX512 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
        return &avx512_paths;
    }
    if (path == SEARCH_AVX2 && __builtin_cpu_supports("avx2")) {
        return &avx2_paths;
    }
#endif
    return path == SEARCH_PORTABLE ? &portable_paths : NULL;
}

void search_use(const struct search_paths *paths)
{
    atomic_store_explicit(&search_in_use, paths, memory_order_relaxed);
}

const struct search_paths *search_choose(void)
{
    const struct search_paths *best = NULL;
    for (int path = SEARCH_PATHS; best == NULL && path-- > 0;) {
        best = search_path((enum search_path)path);
    }
    ASSERT(best != NULL);
    search_use(best);
    return best;
}
