// The one memory budget of a database: a counter that every holder of memory charges. It does not
// allocate; it says whether an allocation may be made.
#ifndef OS_MEMORY_H
#define OS_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum os_memory_use {
    OS_MEMORY_MEMTABLES,
    OS_MEMORY_BLOCKS,  // cached blocks and filters
    OS_MEMORY_INDEXES, // index sections
    OS_MEMORY_JOBS,    // buffers of flushes and merges
    OS_MEMORY_READERS, // iterators and pinned values
    OS_MEMORY_USES
};

struct os_memory {
    size_t budget_bytes;
    _Atomic size_t used[OS_MEMORY_USES];
};

void os_memory_init(struct os_memory *m, size_t budget_bytes);
// Counts without asking; for holders that check os_memory_free_bytes themselves.
void os_memory_charge(struct os_memory *m, enum os_memory_use use, size_t bytes);
void os_memory_refund(struct os_memory *m, enum os_memory_use use, size_t bytes);
size_t os_memory_used(const struct os_memory *m);
// budget - used, 0 when over.
size_t os_memory_free_bytes(const struct os_memory *m);

// What the machine, or the cgroup this process is in, has: the lesser. UINT64_MAX when unknown.
uint64_t os_memory_machine_bytes(void);

// The part of it that is the cgroup's limit (version 2 or 1, with all groups around it), read from
// `groups_file` (/proc/self/cgroup) and the files under `mount` (/sys/fs/cgroup). UINT64_MAX for no
// limit.
uint64_t os_memory_cgroup_bytes(const char *groups_file, const char *mount);

#endif
