// One storage engine under the driver: the least that measuring values needs, over the engine's own
// C interface. Errors end the program: a measurement with a failed call has no result.
#ifndef VALUES_ENGINE_H
#define VALUES_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define KEY_BYTES 16

// What is the same for every engine.
struct engine_setup {
    uint64_t memory_bytes;       // write buffers and cache together
    uint64_t write_buffer_bytes; // a write buffer is sealed at this size; there may be two
    int background_threads;
    uint32_t separate_bytes; // values of so many bytes or more stand apart; 0: none do
    bool present_only;       // what is overwritten may go: strata keeps versions otherwise
};

// What strata says of its own disk use; zero where an engine does not say it.
struct engine_space {
    uint64_t disk_bytes;
    uint64_t bound_bytes;
};

struct engine_db; // each adapter's own

struct engine {
    const char *name;
    void (*describe)(const struct engine_setup *setup, FILE *out);
    // Creates the database when the directory holds none.
    struct engine_db *(*open)(const char *dir, const struct engine_setup *setup);
    void (*close)(struct engine_db *db);
    // Acknowledged without a sync; survives the death of the process.
    void (*put)(struct engine_db *db, const char *key, const char *value, size_t bytes);
    // False when there is no such key; else its value's first 8 bytes and its size.
    bool (*get)(struct engine_db *db, const char *key, uint64_t *stamp_out, size_t *bytes_out);
    // Visits up to `limit` entries from `from` (NULL: the first) on. Returns how many there were;
    // *sum_out is the sum of the first 8 bytes of their values.
    uint64_t (*scan)(struct engine_db *db, const char *from, uint64_t limit, uint64_t *sum_out);
    // Waits until the engine says that its background work is done.
    void (*settle)(struct engine_db *db);
    // Puts all that was acknowledged on disk.
    void (*sync)(struct engine_db *db);
    // Writes values anew in the order of keys. NULL: the engine cannot.
    void (*gather)(struct engine_db *db);
    struct engine_space (*space)(struct engine_db *db);
};

extern const struct engine engine_strata;
extern const struct engine engine_rocksdb;
extern const struct engine engine_blobdb; // RocksDB with its values in blob files

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline uint64_t engine_stamp(const void *value)
{
    uint64_t stamp;
    __builtin_memcpy(&stamp, value, sizeof(stamp));
    return stamp;
}

#endif
