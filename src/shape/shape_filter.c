// Filter bits over levels (N. Dayan, M. Athanassoulis, S. Idreos, "Monkey", SIGMOD 2017): for a
// given sum of bits, the sum of false positives is least when each is proportional to its level's
// entries. A filter of b bits a key has about exp(-b ln(2)^2) false positives, so a level that is
// size_ratio times smaller gets ln(size_ratio) / ln(2)^2 = log2(size_ratio) / ln(2) bits more.
#include "shape/shape.h"

#include "base/assert.h"

// More buys nothing: a filter's line of 512 bits is shared by ever fewer keys.
#define BITS_GREATEST 20

// log2 of n >= 1, by repeated squaring, to 16 binary places.
static double log2_of(uint32_t n)
{
    double whole = 0, step = 0.5, fraction = 0, x = n;
    while (x >= 2) {
        x /= 2;
        whole++;
    }
    for (int i = 0; i < 16; i++, step /= 2) {
        x *= x;
        if (x >= 2) {
            x /= 2;
            fraction += step;
        }
    }
    return whole + fraction;
}

uint32_t shape_filter_bits(uint32_t bits, uint32_t level, uint32_t levels, uint32_t size_ratio)
{
    ASSERT(size_ratio >= 2);
    if (bits == 0) {
        return 0;
    }
    uint32_t up = level + 1 < levels ? levels - 1 - level : 0; // levels above the last
    double per_level = log2_of(size_ratio) * 1.4426950408889634;
    // The average over entries is what was asked for: the last level gives what the upper ones get.
    double share = 1, shares = 0, extra = 0;
    for (uint32_t i = 0; i < levels && i < TREE_LEVELS_MAX; i++, share /= size_ratio) {
        shares += share;
        extra += share * i * per_level;
    }
    double here = bits - (shares > 0 ? extra / shares : 0) + up * per_level;
    uint32_t greatest = bits > BITS_GREATEST ? bits : BITS_GREATEST;
    if (here < 1) {
        return 1;
    }
    return here > greatest ? greatest : (uint32_t)(here + 0.5);
}
