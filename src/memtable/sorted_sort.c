// Sorting keys by their heads: a radix sort over as many leading bytes as it takes to tell most
// heads apart, then a merge sort of what is still equal there.
#include "memtable/sorted_keys.h"

#define SORT_RADIX_LEAST 256u
#define SORT_INSERTION_MOST 12u

static bool sorted_entry_less(const struct sorted_entry *a, const struct sorted_entry *b)
{
    if (a->head != b->head) {
        return a->head < b->head;
    }
    return slice_compare(record_key(a->key), record_key(b->key)) < 0;
}

static void sorted_insertion_sort(struct sorted_entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct sorted_entry moving = entries[i];
        size_t to = i;
        for (; to > 0 && sorted_entry_less(&moving, &entries[to - 1]); to--) {
            entries[to] = entries[to - 1];
        }
        entries[to] = moving;
    }
}

// Recursive halves: the depth is the logarithm of the count.
static void sorted_merge_sort(struct sorted_entry *entries, struct sorted_entry *scratch,
                              size_t count)
{
    if (count <= SORT_INSERTION_MOST) {
        sorted_insertion_sort(entries, count);
        return;
    }
    size_t half = count / 2;
    sorted_merge_sort(entries, scratch, half);
    sorted_merge_sort(entries + half, scratch, count - half);
    if (!sorted_entry_less(&entries[half], &entries[half - 1])) {
        return;
    }
    memcpy(scratch, entries, half * sizeof *entries);
    size_t left = 0;
    size_t right = half;
    size_t to = 0;
    while (left < half && right < count) {
        bool take_right = sorted_entry_less(&entries[right], &scratch[left]);
        entries[to++] = take_right ? entries[right++] : scratch[left++];
    }
    memcpy(entries + to, scratch + left, (half - left) * sizeof *entries);
}

// How many leading bytes of the heads are worth sorting by: enough that as many different values
// are possible as there are entries, with three bits to spare.
static unsigned sorted_radix_bytes(size_t counts[8][256], size_t count)
{
    unsigned bits_wanted = 64u - (unsigned)__builtin_clzll(count) + 3;
    unsigned bits_tenths = 0;
    unsigned bytes = 0;
    while (bytes < 8 && bits_tenths < bits_wanted * 10) {
        size_t distinct = 0;
        for (size_t v = 0; v < 256; v++) {
            distinct += counts[7 - bytes][v] != 0;
        }
        // Tenths of the logarithm of 1, 2, 3-4, 5-8 ...: rounded down, so that one byte too many is
        // sorted rather than one too few.
        unsigned log = 63u - (unsigned)__builtin_clzll(distinct);
        bits_tenths += log * 10;
        bytes++;
    }
    return bytes;
}

// One stable pass by the byte at `shift`; false when all entries have the same byte there.
static bool sorted_radix_pass(const struct sorted_entry *from, struct sorted_entry *to,
                              size_t count, const size_t counts[256], unsigned shift)
{
    size_t starts[256];
    size_t sum = 0;
    for (size_t v = 0; v < 256; v++) {
        if (counts[v] == count) {
            return false;
        }
        starts[v] = sum;
        sum += counts[v];
    }
    for (size_t i = 0; i < count; i++) {
        to[starts[(from[i].head >> shift) & 255]++] = from[i];
    }
    return true;
}

void sorted_entries_sort(struct sorted_entry *entries, struct sorted_entry *scratch, size_t count)
{
    if (count < SORT_RADIX_LEAST) {
        sorted_merge_sort(entries, scratch, count);
        return;
    }
    size_t counts[8][256] = {{0}};
    for (size_t i = 0; i < count; i++) {
        uint64_t head = entries[i].head;
        for (unsigned byte = 0; byte < 8; byte++) {
            counts[byte][(head >> (8 * byte)) & 255]++;
        }
    }
    unsigned bytes = sorted_radix_bytes(counts, count);
    struct sorted_entry *from = entries;
    struct sorted_entry *to = scratch;
    for (unsigned byte = 8 - bytes; byte < 8; byte++) {
        if (sorted_radix_pass(from, to, count, counts[byte], 8 * byte)) {
            struct sorted_entry *swap = from;
            from = to;
            to = swap;
        }
    }
    if (from != entries) {
        memcpy(entries, from, count * sizeof *entries);
    }
    unsigned rest = 64 - 8 * bytes;
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        uint64_t group = rest == 64 ? 0 : entries[i].head >> rest;
        while (end < count && (rest == 64 ? 0 : entries[end].head >> rest) == group) {
            end++;
        }
        if (end - i > 1) {
            sorted_merge_sort(entries + i, scratch, end - i);
        }
        i = end;
    }
}
