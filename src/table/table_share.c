// How much of a table lies in a range of keys: for estimates of what range deletes cover.
#include "table/table_file.h"

double table_share(const struct table *t, struct slice lower, struct slice upper)
{
    const struct index *ix = &t->file->index;
    if (ix->count == 0) {
        return 0;
    }
    if (slice_compare(lower, t->meta.lower) < 0) {
        lower = t->meta.lower;
    }
    if (slice_compare(upper, t->meta.upper) > 0) {
        upper = t->meta.upper;
    }
    if (slice_compare(lower, upper) >= 0) {
        return 0;
    }
    // Two keys in one block are taken to be half a block apart.
    uint32_t first = index_find(ix, t->meta.lower, UINT64_MAX);
    uint32_t end = index_find(ix, t->meta.upper, UINT64_MAX);
    uint32_t from = index_find(ix, lower, UINT64_MAX);
    uint32_t to = index_find(ix, upper, UINT64_MAX);
    double all = end > first ? end - first + 1 : 1;
    double part = to > from ? to - from : 0.5;
    bool whole = slice_equal(lower, t->meta.lower) && slice_equal(upper, t->meta.upper);
    return whole ? 1 : part / all;
}
