// Write admission.
//
// Four things can be owed: sealed memtables, runs on level 0, bytes of merges, and space on disk.
// Each is a fraction between the point where it begins to matter (0) and the bound (1); the
// greatest counts. A write of b bytes is then held up for
//
//   8 * fraction^2 * b / rate
//
// where rate is the measured speed of background work. Background work writes an entry about 8
// times before it rests, so at the bound writers are held to what the background can sustain, and
// at a third of the way to what it takes in at once. The square makes the first step small: a
// backlog that is worked off quickly costs nearly nothing, and throughput falls smoothly, not in a
// cliff. Space counts threefold and goes on to grow dearer beyond its bound: there writers get less
// than any background takes, so that it falls again.
#include "shape/shape.h"

#include "base/assert.h"

#define REWRITES 8.0
#define RATE_UNKNOWN (64.0 * 1024 * 1024) // bytes a second, until something was measured
#define RATE_LEAST (1024.0 * 1024)
#define DEBT_FRACTION_MAX 2.0 // debt has no hard bound, but its price has
#define SPACE_WEIGHT 3.0
#define SPACE_OWED_MAX 8.0
#define DELAY_NS_MAX 1e9

// How far `value` is from `soft` (0) to `hard` (1).
static double fraction_of(uint64_t value, uint64_t soft, uint64_t hard)
{
    if (value <= soft || hard <= soft) {
        return 0;
    }
    return (double)(value - soft) / (double)(hard - soft);
}

uint64_t shape_delay(const struct shape_pressure *p, uint64_t bytes)
{
    if (p->sealed_memtables_max > 0 && p->sealed_memtables >= p->sealed_memtables_max) {
        return UINT64_MAX;
    }
    if (p->level0_runs_max > 0 && p->level0_runs >= p->level0_runs_max) {
        return UINT64_MAX;
    }
    // One sealed memtable is being flushed: that is the normal state under load.
    double owed = fraction_of(p->sealed_memtables, 1, p->sealed_memtables_max);
    double runs = fraction_of(p->level0_runs, p->level0_runs_soft, p->level0_runs_max);
    double debt = fraction_of(p->debt_bytes, p->debt_bytes_soft, 2 * p->debt_bytes_soft);
    debt = debt > DEBT_FRACTION_MAX ? DEBT_FRACTION_MAX : debt;
    double space = SPACE_WEIGHT * fraction_of(p->excess_bytes, p->excess_soft, p->excess_hard);
    space = space > SPACE_OWED_MAX ? SPACE_OWED_MAX : space;
    owed = owed > runs ? owed : runs;
    owed = owed > space ? owed : space;
    owed = owed > debt ? owed : debt;
    double rate = p->bytes_per_second == 0 ? RATE_UNKNOWN : (double)p->bytes_per_second;
    rate = rate < RATE_LEAST ? RATE_LEAST : rate;
    double ns = REWRITES * owed * owed * (double)bytes / rate * 1e9;
    ASSERT(ns >= 0);
    return (uint64_t)(ns < DELAY_NS_MAX ? ns : DELAY_NS_MAX);
}
