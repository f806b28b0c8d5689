// One storage engine under the driver: the least that the workload needs, over the engine's own C
// interface. An adapter opens a directory with the options that the setup asks for, and prints
// every option it sets. All adapters do the same work for a call: a read looks at the size of the
// value and at its first eight bytes, and copies nothing that its engine does not copy.
//
// Errors end the program: a benchmark with a failed call has no result.
#ifndef PEERS_PEER_H
#define PEERS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define KEY_BYTES 16
#define VALUE_BYTES 100
#define GET_MANY 16

// What is the same for every engine.
struct peer_setup {
    uint64_t memory_bytes;       // write buffers and cache together
    uint64_t write_buffer_bytes; // a write buffer is sealed at this size; there may be two
    int background_threads;
    int filter_bits; // bits per key
    size_t block_bytes;
};

struct peer_db; // each adapter's own

struct peer {
    const char *name;
    void (*describe)(const struct peer_setup *setup, FILE *out);
    struct peer_db *(*open)(const char *dir, const struct peer_setup *setup);
    void (*close)(struct peer_db *db);
    void (*put)(struct peer_db *db, const char *key, const char *value);
    // False when there is no such key; else *stamp_out is the first eight bytes of its value.
    bool (*get)(struct peer_db *db, const char *key, uint64_t *stamp_out);
    // GET_MANY keys of KEY_BYTES each, one after the other. Returns how many were found; *sum_out
    // is the sum of their stamps.
    size_t (*get_many)(struct peer_db *db, const char *keys, uint64_t *sum_out);
    // Opens an iterator, goes to `from` (NULL: the first key), visits up to `limit` entries and
    // closes it. Returns how many there were; *sum_out is the sum of their stamps.
    uint64_t (*scan)(struct peer_db *db, const char *from, uint64_t limit, uint64_t *sum_out);
    // Waits until the engine says that its background work is done.
    void (*settle)(struct peer_db *db);
    // Merges everything into the last level.
    void (*compact)(struct peer_db *db);
};

extern const struct peer peer_strata;
extern const struct peer peer_rocksdb;
extern const struct peer peer_leveldb;

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

// The first eight bytes of a value, whose size must be VALUE_BYTES.
static inline uint64_t peer_stamp(const void *value, size_t bytes)
{
    if (bytes != VALUE_BYTES) {
        die("a value has %zu bytes", bytes);
    }
    uint64_t stamp;
    __builtin_memcpy(&stamp, value, sizeof(stamp));
    return stamp;
}

#endif
