// Clocks, keys, values, and the order in which keys come: the same for every engine.
//
// A key is the decimal text of a number, 16 digits. A value is its key's number in 8 bytes, then
// random bytes up to half of its size, then the same half again, so that it is half compressible.
#ifndef VALUES_MEASURE_H
#define VALUES_MEASURE_H

#include "engine.h"

double wall_now(void); // seconds
uint64_t wall_ns(void);
double cpu_now(void); // seconds of every thread of this process
void sleep_seconds(double seconds);

void make_key(char *key, uint64_t number);
// `round` makes another value for the same key.
void make_value(char *value, size_t bytes, uint64_t number, uint64_t round);

// A permutation of 0 .. count-1; free it.
uint32_t *make_order(uint32_t count, uint64_t seed);

// Memory of its own that may be shared with a child process.
void *shared_memory(size_t bytes);

#endif
