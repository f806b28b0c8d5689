// Memory from the heap, with overflow-checked sizes. Every call may return NULL; callers answer
// with alloc_failed(). (Tests fail chosen allocations by wrapping malloc, calloc, realloc and
// aligned_alloc at link time.)
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include "base/fail.h"
#include "strata.h"

#include <stddef.h>
#include <stdlib.h>

// malloc, calloc and realloc of count * bytes; NULL on overflow. A size of 0 allocates 1 byte.
void *alloc_array(size_t count, size_t bytes);
void *alloc_zeroed(size_t count, size_t bytes);
void *alloc_resize(void *old, size_t count, size_t bytes);
// `bytes` is rounded up to the alignment, a power of two. Freed with free().
void *alloc_aligned(size_t alignment, size_t bytes);

// STRATA_NO_MEMORY with a text that says what the memory was for.
static inline strata_rc alloc_failed(const char *purpose, size_t bytes)
{
    return fail(STRATA_NO_MEMORY, "no memory for %s (%zu bytes)", purpose, bytes);
}

#endif
