// The keys of a memtable in order, sorted when a cursor asks.
//
// The writer only links each new key to the one before it. A cursor that opens takes the keys
// created since the last one, sorts them into a run, and merges it with the runs that are not much
// larger: runs grow geometrically, so a cursor sees few of them, and a key is moved a logarithmic
// number of times.
//
// A run is an array of (head, key), the head taken after the bytes that all keys of the memtable
// shared when the run was made; behind it lie the heads of every 16th entry once more, so that a
// search stays in few cache lines. Runs never change and are counted by the cursors that use them.
//
// Thread rule: one writer calls sorted_keys_add and takes no lock; the rest takes the lock inside.
#ifndef MEMTABLE_SORTED_KEYS_H
#define MEMTABLE_SORTED_KEYS_H

#include "memtable/record.h"
#include "os/thread.h"

#define SORTED_RUNS_MAX 16
#define SORTED_FENCE 16u // entries from one fence to the next

struct sorted_entry {
    uint64_t head;
    const struct memtable_key *key;
};

struct sorted_run {
    size_t references; // under the lock
    size_t count;
    size_t skip;                   // heads are taken after this many bytes
    struct sorted_entry entries[]; // then count / SORTED_FENCE heads
};

// The runs at a moment.
struct sorted_view {
    const struct memtable_key *any; // a key that shares `skip` bytes with all of the run; or NULL
    size_t skip;                    // the least of the runs
    size_t count;
    struct sorted_run *runs[SORTED_RUNS_MAX];
};

struct sorted_keys {
    // Stored with release by sorted_keys_add, loaded with acquire by sorted_keys_open.
    const struct memtable_key *_Atomic newest;
    _Atomic size_t count; // stored before `newest`
    _Atomic size_t bytes; // of the runs
    struct {
        struct os_mutex lock;
        const struct memtable_key *absorbed; // the newest key in the runs
        size_t absorbed_count;
        struct sorted_view view; // counts one reference of each run; sizes descend
    } mu;
};

void sorted_keys_init(struct sorted_keys *s);
void sorted_keys_release(struct sorted_keys *s);
void sorted_keys_add(struct sorted_keys *s, struct memtable_key *key);

// The runs that hold every key created before the call, counted until sorted_keys_close.
strata_rc sorted_keys_open(struct sorted_keys *s, struct sorted_view *view_out) STRATA_MUST_CHECK;
void sorted_keys_close(struct sorted_keys *s, struct sorted_view *view);

// Index of the first entry with a key >= `key`; the count when there is none. `any` is the view's.
size_t sorted_run_find(const struct sorted_run *run, const struct memtable_key *any,
                       struct slice key);

// Sorts entries whose heads are taken after `skip` shared bytes; scratch has room for as many.
void sorted_entries_sort(struct sorted_entry *entries, struct sorted_entry *scratch, size_t count);

#endif
