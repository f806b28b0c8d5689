// A keyspace without a database around it, for tests of flushes and merges: a memtable and a
// catalog over a simulated disk, random commits, and a list of all that was written, with which
// every key is compared at every commit.
//
// Faults end the running cmocka test.
#ifndef LIB_COMPACT_WORLD_H
#define LIB_COMPACT_WORLD_H

#include "base/prng.h"
#include "compact/compact.h"
#include "sim/sim_machine.h"

#define COMPACT_WORLD_KEYS 36u
#define COMPACT_WORLD_SNAPSHOTS_MAX 16u

struct compact_version {
    uint64_t commit, end;
    uint8_t kind;
};

struct compact_versions {
    struct compact_version *list;
    size_t count, capacity;
};

struct compact_world {
    struct prng random;
    struct sim_disk *disk;
    struct sim_machine machine;
    char path[64]; // of a real directory; empty: on the simulated machine
    struct os_dir *dir;
    struct os_memory memory;
    struct cache *cache;
    struct os_file_cache *files;
    struct catalog *catalog;
    struct compact_env env;
    struct memtable *memtable;
    uint64_t commit, next_file, next_run;
    bool retain_all;
    // Writes go to this many keys that follow each other, others after every flush, and delete
    // less; 0: to all keys. So blocks of different runs lie beside each other.
    uint32_t cluster_keys;
    uint32_t cluster;  // the first of them
    uint64_t verified; // files with lower numbers are
    uint64_t snapshots[COMPACT_WORLD_SNAPSHOTS_MAX];
    uint32_t snapshot_count;
    uint64_t installs, installs_tried, moved, passed, handed, ejected, receipts, fail_install_at;
    bool stopping;
    bool faults; // an edit may fail to apply
    char keys[COMPACT_WORLD_KEYS][32];
    struct compact_versions naive[COMPACT_WORLD_KEYS];
    uint64_t ejected_run; // of the live merge in work
};

void compact_world_open(struct compact_world *w, uint64_t seed, bool retain_all);
// In a fresh real directory: the simulated machine cannot do without an allocation that a test
// fails.
void compact_world_open_real(struct compact_world *w, uint64_t seed);
// Expects that no table file is there that the catalog does not name.
void compact_world_close(struct compact_world *w);

uint32_t compact_world_below(struct compact_world *w, uint32_t n);
const struct catalog_space *compact_world_space(const struct compact_world *w);
void compact_world_write(struct compact_world *w);                         // one random commit
void compact_world_put(struct compact_world *w, uint32_t k, bool deletes); // one key, one commit
void compact_world_flush(struct compact_world *w);
// As far as it comes; the memtable stays.
strata_rc compact_world_try_flush(struct compact_world *w);

uint32_t compact_world_files(struct compact_world *w); // tables in the directory
// Removes the table files that the catalog does not name.
void compact_world_remove_strays(struct compact_world *w);
void compact_world_expect_no_stray_files(struct compact_world *w);
// Reads memtable and trees whole: every key at every commit that is kept, every version somewhere
// exactly once when all are kept, and what must hold inside of each run.
void compact_world_check(struct compact_world *w);

#endif
