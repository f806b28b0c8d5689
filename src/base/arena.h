// Bump allocation in chunks, freed whole: the lifetime of a job. Not thread-safe.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; // newest first
    uint8_t *at;
    uint8_t *end;
    size_t chunk_bytes;
    size_t reserved_bytes; // held from the heap
};

// Chunks of `chunk_bytes`; allocates nothing yet.
void arena_init(struct arena *a, size_t chunk_bytes);
void arena_release(struct arena *a);
// 8-byte aligned memory, or NULL when there is none. A size of 0 allocates 8 bytes.
void *arena_alloc(struct arena *a, size_t bytes);
// A copy of s in the arena; data is NULL only when there is no memory.
struct slice arena_copy(struct arena *a, struct slice s);

#endif
