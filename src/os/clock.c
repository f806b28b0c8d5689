#include "os/clock.h"

#include "base/assert.h"

#include <time.h>

static int64_t clock_wall_us(struct os_clock *c)
{
    (void)c;
    struct timespec now;
    int error = clock_gettime(CLOCK_REALTIME, &now);
    ASSERT(error == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t clock_monotonic_ns(struct os_clock *c)
{
    (void)c;
    struct timespec now;
    int error = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(error == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct os_clock *os_clock_posix(void)
{
    static struct os_clock posix_clock = {
        .wall_us = clock_wall_us,
        .monotonic_ns = clock_monotonic_ns,
    };
    return &posix_clock;
}
