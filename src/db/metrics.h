// The counters of one database: a cache-line-spread array, added to with relaxed atomics. What
// there is to count is defined in metrics.def and nowhere else.
#ifndef DB_METRICS_H
#define DB_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

enum metric {
#define COUNTER(name, unit, help) METRIC_##name,
#define GAUGE(name, unit, help) METRIC_##name,
#define EVENT(name, value1, value2, value3, help)
#include "db/metrics.def"
#undef COUNTER
#undef GAUGE
#undef EVENT
    METRIC_COUNT
};

enum event {
#define COUNTER(name, unit, help)
#define GAUGE(name, unit, help)
#define EVENT(name, value1, value2, value3, help) EVENT_##name,
#include "db/metrics.def"
#undef COUNTER
#undef GAUGE
#undef EVENT
    EVENT_COUNT
};

// Threads add to one of a few copies, so that two cores seldom write to the same line.
#define METRICS_STRIPES 4u

struct metrics {
    struct {
        _Alignas(64) _Atomic uint64_t values[METRIC_COUNT];
    } stripes[METRICS_STRIPES];
};

// The calling thread's stripe.
unsigned metrics_stripe(void);

static inline void metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    // A load and a store instead of a locked add: two threads of one stripe may lose a count now
    // and then, which statistics can bear and the hot path cannot pay for.
    _Atomic uint64_t *at = &m->stripes[metrics_stripe()].values[which];
    uint64_t old = atomic_load_explicit(at, memory_order_relaxed);
    atomic_store_explicit(at, old + n, memory_order_relaxed);
}

uint64_t metrics_sum(const struct metrics *m, enum metric which);

#endif
