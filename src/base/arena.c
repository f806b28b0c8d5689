#include "base/arena.h"

#include "base/alloc.h"

struct arena_chunk {
    struct arena_chunk *next;
    uint64_t align;
    uint8_t data[];
};

void arena_init(struct arena *a, size_t chunk_bytes)
{
    *a = (struct arena){.chunk_bytes = chunk_bytes};
}

void arena_release(struct arena *a)
{
    struct arena_chunk *chunk = a->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    arena_init(a, a->chunk_bytes);
}

static struct arena_chunk *chunk_new(struct arena *a, size_t bytes)
{
    struct arena_chunk *chunk = alloc_array(1, sizeof *chunk + bytes);
    if (chunk == NULL) {
        return NULL;
    }
    a->reserved_bytes += sizeof *chunk + bytes;
    return chunk;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    bytes = bytes == 0 ? 8 : (bytes + 7) & ~(size_t)7;
    if (bytes <= (size_t)(a->end - a->at)) {
        void *p = a->at;
        a->at += bytes;
        return p;
    }
    // A large piece gets a chunk of its own, behind the one being filled.
    bool own = bytes > a->chunk_bytes / 4;
    struct arena_chunk *chunk = chunk_new(a, own ? bytes : a->chunk_bytes);
    if (chunk == NULL) {
        return NULL;
    }
    if (own && a->chunks != NULL) {
        chunk->next = a->chunks->next;
        a->chunks->next = chunk;
        return chunk->data;
    }
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->at = chunk->data + bytes;
    a->end = chunk->data + (own ? bytes : a->chunk_bytes);
    return chunk->data;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    uint8_t *to = arena_alloc(a, s.bytes);
    if (to != NULL && s.bytes != 0) {
        memcpy(to, s.data, s.bytes);
    }
    return slice_of(to, to == NULL ? 0 : s.bytes);
}
