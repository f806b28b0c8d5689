#include "measure.h"

#include "base/prng.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define POOL_BYTES (4u << 20)

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("values_bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t wall_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

double wall_now(void)
{
    return (double)wall_ns() / 1e9;
}

double cpu_now(void)
{
    return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

void sleep_seconds(double seconds)
{
    time_t whole = (time_t)seconds;
    (void)nanosleep(&(struct timespec){whole, (long)((seconds - (double)whole) * 1e9)}, NULL);
}

void make_key(char *key, uint64_t number)
{
    for (int i = KEY_BYTES - 1; i >= 0; i--) {
        key[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

void make_value(char *value, size_t bytes, uint64_t number, uint64_t round)
{
    static uint64_t pool[POOL_BYTES / 8];
    if (pool[0] == 0) {
        struct prng prng = {1};
        for (size_t i = 0; i < POOL_BYTES / 8; i++) {
            pool[i] = prng_next(&prng) | 1;
        }
    }
    size_t half = bytes / 2;
    uint64_t at = prng_mix(number * 31 + round) % (POOL_BYTES / 8 - (half + 7) / 8);
    memcpy(value, &pool[at], half);
    memcpy(value, &number, sizeof(number));
    memcpy(value + half, value, bytes - half <= half ? bytes - half : half);
}

uint32_t *make_order(uint32_t count, uint64_t seed)
{
    uint32_t *order = malloc((count + 1) * sizeof(*order));
    if (order == NULL) {
        die("out of memory");
    }
    struct prng prng = {seed};
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(&prng, i);
        uint32_t swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
    return order;
}

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        die("out of memory");
    }
    return memory;
}
