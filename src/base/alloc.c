#include "base/alloc.h"

#include <stdint.h>

static size_t product(size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        return SIZE_MAX;
    }
    return total == 0 ? 1 : total;
}

void *alloc_array(size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    return total == SIZE_MAX ? NULL : malloc(total);
}

void *alloc_zeroed(size_t count, size_t bytes)
{
    return product(count, bytes) == SIZE_MAX ? NULL : calloc(count == 0 ? 1 : count, bytes);
}

void *alloc_resize(void *old, size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    return total == SIZE_MAX ? NULL : realloc(old, total);
}

void *alloc_aligned(size_t alignment, size_t bytes)
{
    size_t rounded;
    if (__builtin_add_overflow(bytes, alignment - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(alignment - 1);
    return aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}
