// What retention lets go, as pure functions of the floor and the registered commits (architecture,
// section 8).
#include "compact/compact.h"

#include "base/mutant.h"

#include <stdlib.h>

// Index of the first registered commit >= `commit`.
static size_t trim_first_from(const struct compact_trim *t, uint64_t commit)
{
    size_t low = 0;
    size_t high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->commits[middle] < commit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool compact_trim_registered(const struct compact_trim *t, uint64_t begin, uint64_t end)
{
    size_t first = trim_first_from(t, begin);
    return first < t->count && t->commits[first] < end;
}

bool compact_trim_keeps(const struct compact_trim *t, uint64_t begin, uint64_t end, uint64_t expiry)
{
    if (begin > t->floor) {
        return true; // what began after the floor is somebody's present
    }
    bool expired = expiry != 0 && (int64_t)expiry <= t->floor_time_us;
    if (end > t->floor && !expired) {
        return true;
    }
    size_t first = trim_first_from(t, begin);
    return first < t->count && t->commits[first] < end &&
           (expiry == 0 || t->times_us[first] < (int64_t)expiry);
}

bool compact_trim_expired(const struct compact_trim *t, uint64_t begin, uint64_t expiry)
{
    if (expiry == 0 || begin > t->floor || (int64_t)expiry > t->floor_time_us) {
        return false;
    }
    size_t first = trim_first_from(t, begin);
    return first == t->count || t->times_us[first] >= (int64_t)expiry || MUTANT(72);
}

void compact_trim_release(struct compact_trim *t)
{
    free(t->commits);
    free(t->times_us);
    *t = (struct compact_trim){0};
}
