// The inside of a memtable, shared by its writer's side (memtable.c) and its cursor
// (memtable_cursor.c).
#ifndef MEMTABLE_MEMTABLE_IMPL_H
#define MEMTABLE_MEMTABLE_IMPL_H

#include "memtable/key_table.h"
#include "memtable/memtable.h"
#include "memtable/memtable_pool.h"
#include "memtable/memtable_ranges.h"
#include "memtable/sorted_keys.h"

struct memtable_chunk {
    struct memtable_chunk *older;
    size_t bytes;
    uint64_t memory[];
};

struct memtable {
    struct key_table keys;
    // Apart from the memtable, because those who only read build in them under their locks.
    struct memtable_ranges *ranges;
    struct sorted_keys *sorted;
    _Atomic size_t bytes; // of what the writer allocates
    _Atomic uint64_t count;
    struct memtable_pool *pool; // or NULL
    // The rest belongs to the writer: records are cut from [at, end) of the newest chunk.
    uint8_t *at;
    uint8_t *end;
    struct memtable_chunk *chunks;
    size_t chunk_bytes; // of the next one
    size_t chunks_bytes;
    uint64_t newest_commit;
};

#endif
