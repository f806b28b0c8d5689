#include "os/memory.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CGROUP_PATH_BYTES 4096

void os_memory_init(struct os_memory *m, size_t budget_bytes)
{
    m->budget_bytes = budget_bytes;
    for (int use = 0; use < OS_MEMORY_USES; use++) {
        atomic_init(&m->used[use], 0);
    }
}

// The counters order nothing: relaxed.

void os_memory_charge(struct os_memory *m, enum os_memory_use use, size_t bytes)
{
    ASSERT(use < OS_MEMORY_USES);
    size_t before = atomic_fetch_add_explicit(&m->used[use], bytes, memory_order_relaxed);
    ASSERT(before + bytes >= before);
    (void)before;
}

void os_memory_refund(struct os_memory *m, enum os_memory_use use, size_t bytes)
{
    ASSERT(use < OS_MEMORY_USES);
    size_t before = atomic_fetch_sub_explicit(&m->used[use], bytes, memory_order_relaxed);
    ASSERT(before >= bytes);
    (void)before;
}

size_t os_memory_used(const struct os_memory *m)
{
    size_t total = 0;
    for (int use = 0; use < OS_MEMORY_USES; use++) {
        total += atomic_load_explicit(&m->used[use], memory_order_relaxed);
    }
    return total;
}

size_t os_memory_free_bytes(const struct os_memory *m)
{
    size_t used = os_memory_used(m);
    return used < m->budget_bytes ? m->budget_bytes - used : 0;
}

// The number in a one-line file; UINT64_MAX for "max", anything else, and a file that is not there.
static uint64_t cgroup_read_limit(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    char line[64];
    const char *got = fgets(line, sizeof line, file);
    fclose(file);
    if (got == NULL || line[0] < '0' || line[0] > '9') {
        return UINT64_MAX;
    }
    errno = 0;
    char *end;
    unsigned long long value = strtoull(line, &end, 10);
    if (errno != 0 || (*end != '\n' && *end != '\0')) {
        return UINT64_MAX;
    }
    return value;
}

// The least of the limits of a group and of the groups around it. `group` begins with "/" and is
// cut to nothing. A group that is not to be seen from here (a container) adds no limit.
static uint64_t cgroup_least_limit(const char *mount, char *group, const char *limit_file)
{
    char path[CGROUP_PATH_BYTES + 512];
    uint64_t least = UINT64_MAX;
    for (;;) {
        int bytes = snprintf(path, sizeof path, "%s%s/%s", mount, group, limit_file);
        if (bytes > 0 && (size_t)bytes < sizeof path) {
            uint64_t limit = cgroup_read_limit(path);
            least = limit < least ? limit : least;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

uint64_t os_memory_cgroup_bytes(const char *groups_file, const char *mount)
{
    FILE *file = fopen(groups_file, "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    uint64_t least = UINT64_MAX;
    char line[CGROUP_PATH_BYTES];
    // Lines are NUMBER:CONTROLLERS:GROUP; version 2 has the number 0 and no controllers.
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL || group[1] != '/') {
            continue;
        }
        *group++ = '\0';
        uint64_t limit = UINT64_MAX;
        if (strcmp(line, "0:") == 0) {
            limit = cgroup_least_limit(mount, group, "memory.max");
        } else if (strcmp(controllers, ":memory") == 0) {
            char version1[512];
            snprintf(version1, sizeof version1, "%s/memory", mount);
            limit = cgroup_least_limit(version1, group, "memory.limit_in_bytes");
        }
        least = limit < least ? limit : least;
    }
    fclose(file);
    return least;
}

uint64_t os_memory_machine_bytes(void)
{
    uint64_t machine = UINT64_MAX;
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page_bytes > 0) {
        machine = (uint64_t)pages * (uint64_t)page_bytes;
    }
    uint64_t group = os_memory_cgroup_bytes("/proc/self/cgroup", "/sys/fs/cgroup");
    return group < machine ? group : machine;
}
