// A small seeded generator (splitmix64, Steele et al. 2014): the only randomness in the engine and
// its tests, so that one seed repeats a run.
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

static inline uint64_t prng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t prng_next(struct prng *p)
{
    p->state += 0x9e3779b97f4a7c15u;
    return prng_mix(p->state);
}

__extension__ typedef unsigned __int128 prng_wide;

// A number in [0, bound); bound > 0. The bias of 2^-32 does not matter here.
static inline uint64_t prng_below(struct prng *p, uint64_t bound)
{
    return (uint64_t)(((prng_wide)prng_next(p) * bound) >> 64);
}

// True once in `n` times.
static inline int prng_one_in(struct prng *p, uint64_t n)
{
    return prng_below(p, n) == 0;
}

#endif
