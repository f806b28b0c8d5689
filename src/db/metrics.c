#include "db/metrics.h"

static _Atomic unsigned next_stripe;
static _Thread_local unsigned my_stripe; // 0: not chosen yet, else the stripe + 1

unsigned metrics_stripe(void)
{
    if (__builtin_expect(my_stripe == 0, 0)) {
        my_stripe =
            atomic_fetch_add_explicit(&next_stripe, 1, memory_order_relaxed) % METRICS_STRIPES + 1;
    }
    return my_stripe - 1;
}

uint64_t metrics_sum(const struct metrics *m, enum metric which)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < METRICS_STRIPES; i++) {
        sum += atomic_load_explicit(&m->stripes[i].values[which], memory_order_relaxed);
    }
    return sum;
}
