// The workload, defined once for every engine: what the keys and values are, and the rows of the
// table in the order in which one process runs them.
//
// A key is the decimal text of a number, 16 digits. A value is 100 bytes: the key's number in 8
// bytes, 42 random bytes, then the same 50 again, so that it is half compressible. Every read
// checks the number in the value.
#ifndef PEERS_WORKLOAD_H
#define PEERS_WORKLOAD_H

#include "peer.h"

enum row {
    ROW_FILLSEQ,
    ROW_FILLRANDOM,
    ROW_READRANDOM_FRESH,
    ROW_READRANDOM,
    ROW_READMISSING,
    ROW_GET_MANY,
    ROW_READSEQ,
    ROW_SEEK10,
    ROW_COMPACT,
    ROW_READRANDOM_COMPACTED,
    ROW_READSEQ_COMPACTED,
    ROW_OVERWRITE,
    ROW_COUNT
};

struct row_info {
    const char *name;
    const char *what;
    bool writes; // what the engine leaves to do in the background counts too
};
extern const struct row_info row_infos[ROW_COUNT];

// Nanoseconds an operation.
struct row_result {
    double ops; // 0: the row was not run
    double wall;
    double cpu;         // of all threads, until the last operation returned; right after a fill,
                        // of the calling thread
    double cpu_settled; // of all threads, until background work was done; rows that write
};

struct block_result {
    struct row_result rows[ROW_COUNT];
    double disk_bytes;      // after the random fill, settled
    double anonymous_bytes; // after the reads
    double peak_bytes;      // resident, files that are mapped included
    double others;          // share of the machine that other processes had; the driver's
    bool disturbed;         // after the last try; the driver's
};

struct workload {
    const struct peer *peer;
    struct peer_setup setup;
    uint64_t keys;
    const char *dir;       // where directories are made and removed
    uint32_t rows;         // bit set of the rows to run; the fills that they need run anyway
    uint64_t repeat;       // times the operations of each read
    const char *perf_fifo; // enable and disable are written here around each row, or NULL
};

void workload_run(const struct workload *w, struct block_result *result_out);

// What making a key and a value costs the driver itself, in ns.
double workload_driver_ns(uint64_t keys);

#endif
