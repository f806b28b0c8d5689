// What the stages share: how large the measurement is, on what, and with which engines.
#ifndef VALUES_VALUES_H
#define VALUES_VALUES_H

#include "disk.h"
#include "engine.h"
#include "measure.h"

#define ENGINES_MAX 3

struct plan {
    const char *dir; // for databases and scratch files
    uint64_t bytes;  // of keys and values that a load gives
    size_t value_bytes;
    uint32_t count; // keys
    unsigned depth; // requests in flight of the device's own random reads
    struct engine_setup setup;
    const struct engine *engines[ENGINES_MAX];
    size_t engine_count;
    struct disk disk;
};

// Each prints its figures as Markdown on standard output.
void stage_load(const struct plan *plan);
void stage_bound(const struct plan *plan);
void stage_reads(const struct plan *plan);
void stage_sizes(const struct plan *plan);

// Runs in a child process, so that its memory and its processor time are its own.
void in_child(void (*run)(void *ctx), void *ctx);

// The directory of an engine's database, emptied.
void fresh_dir(const struct plan *plan, const struct engine *engine, char *path, size_t path_bytes);

// A load from empty: every key once, in random order.
struct load_result {
    double put_seconds;  // the last put has returned
    double idle_seconds; // and background work is done and all is on disk
    double cpu_seconds;  // of the process, until then
    uint64_t written_bytes;
    uint64_t process_bytes;
    uint64_t disk_bytes;
};
void load_run(const struct plan *plan, const struct engine *engine, struct engine_db *db,
              const char *dir, struct load_result *result_out);

// What the device does by itself, with direct I/O by fio, on a file in `dir`.
void fio_lay_out(const struct plan *plan, uint64_t bytes);
// Bytes a second of reads: random ones of `block` bytes with `depth` in flight, or in sequence.
double fio_read(const struct plan *plan, bool sequential, size_t block, unsigned depth);
void fio_remove(const struct plan *plan);

void note(const char *format, ...) __attribute__((format(printf, 1, 2))); // on standard error

#define MIB (1024.0 * 1024.0)

#endif
