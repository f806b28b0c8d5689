// A keyspace without a database around it, for tests of flushes and merges: a memtable and a
// catalog over a simulated disk, random commits, and a list of all that was written, with which
// every key is compared at every commit that the keyspace's floor, as it is in the catalog, or a
// registered commit keeps.
//
// Faults end the running cmocka test.
#ifndef LIB_COMPACT_WORLD_H
#define LIB_COMPACT_WORLD_H

#include "base/prng.h"
#include "compact/compact.h"
#include "sim/sim_machine.h"

#define COMPACT_WORLD_KEYS 36u
#define COMPACT_WORLD_SNAPSHOTS_MAX 16u
#define COMPACT_WORLD_COMMIT_US 250000 // between two commits
#define COMPACT_WORLD_AGE_COMMITS 25u  // that retention by age keeps

enum compact_world_retention {
    COMPACT_WORLD_ALL,
    COMPACT_WORLD_NONE,
    COMPACT_WORLD_AGE,
    COMPACT_WORLD_VERSIONS
};

struct compact_version {
    uint64_t commit, end;
    uint64_t expiry;
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
    struct value_file *values; // that the memtable refers to; NULL: none yet
    uint64_t values_number;
    uint64_t commit, next_file, next_run;
    uint64_t separated;       // values that the last check met
    uint64_t inline_greatest; // size of those that were not
    enum compact_world_retention retention;
    uint32_t versions; // with retention by count
    bool expiring;     // puts of compact_world_put expire, some of the random ones do
    // Writes go to this many keys that follow each other, others after every flush, and delete
    // less; 0: to all keys. So blocks of different runs lie beside each other.
    uint32_t cluster_keys;
    uint32_t cluster;  // the first of them
    uint64_t verified; // files with lower numbers are
    uint64_t snapshots[COMPACT_WORLD_SNAPSHOTS_MAX];
    uint32_t snapshot_count;
    uint64_t installs, installs_tried, fail_install_at;
    struct compact_progress sums; // of the jobs that were done
    uint64_t trimmed;             // reads that were, in checks
    bool stopping;
    bool faults; // an edit may fail to apply
    char keys[COMPACT_WORLD_KEYS][32];
    struct compact_versions naive[COMPACT_WORLD_KEYS];
    uint64_t ejected_run; // of the live merge in work
};

// Retention keeps all, or nothing.
void compact_world_open(struct compact_world *w, uint64_t seed, bool retain_all);
// What separation and compression the keyspace's values are to have from here on. Values have less
// than 400 bytes.
void compact_world_alter(struct compact_world *w, strata_separation separation, uint32_t bytes,
                         strata_compression compression);
// In a fresh real directory: the simulated machine cannot do without an allocation that a test
// fails.
void compact_world_open_real(struct compact_world *w, uint64_t seed);
// Expects that no table file is there that the catalog does not name.
void compact_world_close(struct compact_world *w);

uint32_t compact_world_below(struct compact_world *w, uint32_t n);
const struct catalog_space *compact_world_space(const struct compact_world *w);
void compact_world_write(struct compact_world *w);                         // one random commit
void compact_world_put(struct compact_world *w, uint32_t k, bool deletes); // one key, one commit
void compact_world_delete_range(struct compact_world *w, uint32_t begin, uint32_t end);
void compact_world_flush(struct compact_world *w);
// As far as it comes; the memtable stays.
strata_rc compact_world_try_flush(struct compact_world *w);

void compact_world_snapshot(struct compact_world *w); // registers the newest commit, if it can
// Installs what compact_excise says; returns how many tables left. `claims` may be NULL.
uint64_t compact_world_excise(struct compact_world *w, const struct shape_claims *claims);
// Merges every run of a tree into one on its last level. What is left of the progress is zeroed
// when there is nothing to do.
void compact_world_merge_full(struct compact_world *w, bool history, bool rewrite_values);
void compact_world_count(struct compact_world *w, const struct compact_progress *p);

uint32_t compact_world_files(struct compact_world *w); // tables in the directory
// Removes the table and value files that the catalog does not name.
void compact_world_remove_strays(struct compact_world *w);
void compact_world_expect_no_stray_files(struct compact_world *w);
// Reads memtable and trees whole: every key at every commit that is kept, every version somewhere
// exactly once when all are kept, and what must hold inside of each run.
void compact_world_check(struct compact_world *w);

#endif
