// The two clocks, as an interface so that tests can set them.
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

struct os_clock {
    int64_t (*wall_us)(struct os_clock *c);       // Unix time
    uint64_t (*monotonic_ns)(struct os_clock *c); // from an arbitrary moment
};

struct os_clock *os_clock_posix(void);

#endif
