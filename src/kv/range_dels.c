// Fragmenting by a sweep over the sorted boundaries of the range deletes. Between two neighbouring
// boundaries the set of covering commits does not change: where it is not empty, it is a fragment.
//
// Memory of the one allocation: struct range_dels | fragments | commits | bytes of the boundaries,
// each boundary once. Neighbouring stacks share commits where they can: a stack that only lost its
// oldest or newest commits is a part of the one before, and one that only gained newer commits is
// that one, extended to the front. So ranges that slide or nest take linear space.
#include "kv/range_dels.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdlib.h>

struct range_dels {
    size_t count;
    size_t bytes;
    struct range_fragment fragments[];
};

// Where a range delete begins or ends.
struct range_boundary {
    struct slice key;
    uint64_t commit;
    bool is_begin;
};

// A commit that covers the place of the sweep, by `refs` range deletes.
struct range_active {
    uint64_t commit;
    size_t refs;
};

// A fragment while commits may still move: `stack_end` counts from the end of the commits.
struct range_piece {
    size_t boundary; // its begin is this boundary's key, its end the next different one
    size_t stack_end;
    size_t count;
};

struct range_sweep {
    struct range_boundary *boundaries; // sorted by key
    size_t boundary_count;
    struct range_active *active; // newest first
    size_t active_count;
    struct range_piece *pieces;
    size_t piece_count;
    // Filled from the back to the front, so that a stack can be extended by newer commits.
    uint64_t *commits;
    size_t commits_capacity;
    size_t commits_count;
};

static int range_boundary_compare(const void *a, const void *b)
{
    const struct range_boundary *left = a;
    const struct range_boundary *right = b;
    return slice_compare(left->key, right->key);
}

// The place of `commit` among the active ones: the first that is not newer.
static size_t range_active_find(const struct range_sweep *s, uint64_t commit)
{
    size_t low = 0;
    size_t high = s->active_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->active[middle].commit > commit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void range_sweep_step(struct range_sweep *s, const struct range_boundary *b)
{
    size_t at = range_active_find(s, b->commit);
    bool present = at < s->active_count && s->active[at].commit == b->commit;
    struct range_active *place = s->active + at;
    if (b->is_begin) {
        if (!present) {
            memmove(place + 1, place, (s->active_count - at) * sizeof *place);
            *place = (struct range_active){b->commit, 0};
            s->active_count++;
        }
        place->refs++;
        return;
    }
    ASSERT(present && place->refs > 0);
    place->refs--;
    if (place->refs == 0) {
        s->active_count--;
        memmove(place, place + 1, (s->active_count - at) * sizeof *place);
    }
}

// The stored commit that is the index-th of those that lie `end` from the back.
static uint64_t range_stored(const struct range_sweep *s, size_t end, size_t index)
{
    return s->commits[s->commits_capacity - end + index];
}

// Makes room for `more` commits in front of the stored ones.
static strata_rc range_commits_reserve(struct range_sweep *s, size_t more)
{
    if (more <= s->commits_capacity - s->commits_count) {
        return STRATA_OK;
    }
    size_t capacity = (s->commits_count + more) * 2;
    uint64_t *grown = alloc_array(capacity, sizeof *grown);
    if (grown == NULL) {
        return alloc_failed("range deletes", capacity * sizeof *grown);
    }
    if (s->commits_count > 0) {
        memcpy(grown + (capacity - s->commits_count),
               s->commits + (s->commits_capacity - s->commits_count),
               s->commits_count * sizeof *grown);
    }
    free(s->commits);
    s->commits = grown;
    s->commits_capacity = capacity;
    return STRATA_OK;
}

// True when the active commits are `*newer_out` commits that are newer than the piece's, followed
// by a part of the piece's stack without holes that starts at its `*first_out`-th commit.
static bool range_shares(const struct range_sweep *s, const struct range_piece *last,
                         size_t *newer_out, size_t *first_out)
{
    size_t newer = 0;
    uint64_t newest_stored = range_stored(s, last->stack_end, 0);
    while (newer < s->active_count && s->active[newer].commit > newest_stored) {
        newer++;
    }
    size_t shared = s->active_count - newer;
    size_t first = 0;
    while (shared > 0 && first < last->count &&
           range_stored(s, last->stack_end, first) != s->active[newer].commit) {
        first++;
    }
    // A stack can be extended only when nothing lies in front of it.
    if (shared == 0 || shared > last->count - first ||
        (newer > 0 && (first > 0 || last->stack_end != s->commits_count))) {
        return false;
    }
    for (size_t i = 0; i < shared; i++) {
        if (range_stored(s, last->stack_end, first + i) != s->active[newer + i].commit) {
            return false;
        }
    }
    *newer_out = newer;
    *first_out = first;
    return true;
}

static strata_rc range_sweep_emit(struct range_sweep *s, size_t boundary)
{
    size_t more = s->active_count;
    size_t first = 0;
    const struct range_piece *last = s->piece_count == 0 ? NULL : s->pieces + s->piece_count - 1;
    bool shares = last != NULL && range_shares(s, last, &more, &first);
    strata_rc rc = range_commits_reserve(s, more);
    if (rc != STRATA_OK) {
        return rc;
    }
    size_t stack_end = shares && more == 0 ? last->stack_end - first : s->commits_count + more;
    s->commits_count += more;
    for (size_t i = 0; i < more; i++) {
        s->commits[s->commits_capacity - s->commits_count + i] = s->active[i].commit;
    }
    s->pieces[s->piece_count] = (struct range_piece){boundary, stack_end, s->active_count};
    s->piece_count++;
    return STRATA_OK;
}

static strata_rc range_sweep_run(struct range_sweep *s)
{
    size_t i = 0;
    while (i < s->boundary_count) {
        struct slice key = s->boundaries[i].key;
        size_t first = i;
        for (; i < s->boundary_count && slice_equal(s->boundaries[i].key, key); i++) {
            range_sweep_step(s, s->boundaries + i);
        }
        if (s->active_count > 0) {
            strata_rc rc = range_sweep_emit(s, first);
            if (rc != STRATA_OK) {
                return rc;
            }
        }
    }
    ASSERT(s->active_count == 0);
    return STRATA_OK;
}

// Copies the distinct boundary keys to `to`, and lets all boundaries point there.
static void range_keys_move(struct range_sweep *s, uint8_t *to)
{
    struct slice stored = slice_of(NULL, 0);
    for (size_t i = 0; i < s->boundary_count; i++) {
        struct slice key = s->boundaries[i].key;
        if (i == 0 || !slice_equal(key, stored)) {
            if (key.bytes > 0) {
                memcpy(to, key.data, key.bytes);
            }
            stored = slice_of(to, key.bytes);
            to += key.bytes;
        }
        s->boundaries[i].key = stored;
    }
}

static size_t range_keys_bytes(const struct range_sweep *s)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->boundary_count; i++) {
        struct slice key = s->boundaries[i].key;
        if (i == 0 || !slice_equal(key, s->boundaries[i - 1].key)) {
            bytes += key.bytes;
        }
    }
    return bytes;
}

static strata_rc range_sweep_pack(struct range_sweep *s, struct range_dels **dels_out)
{
    size_t head_bytes = sizeof(struct range_dels) + s->piece_count * sizeof(struct range_fragment);
    size_t commit_bytes = s->commits_count * sizeof *s->commits;
    size_t bytes = head_bytes + commit_bytes + range_keys_bytes(s);
    struct range_dels *d = alloc_array(1, bytes);
    if (d == NULL) {
        return alloc_failed("range deletes", bytes);
    }
    d->count = s->piece_count;
    d->bytes = bytes;
    uint64_t *commits = (uint64_t *)(void *)((uint8_t *)d + head_bytes);
    if (s->commits_count > 0) {
        memcpy(commits, s->commits + (s->commits_capacity - s->commits_count), commit_bytes);
    }
    range_keys_move(s, (uint8_t *)d + head_bytes + commit_bytes);
    for (size_t i = 0; i < s->piece_count; i++) {
        const struct range_piece *piece = s->pieces + i;
        struct slice begin = s->boundaries[piece->boundary].key;
        size_t next = piece->boundary + 1;
        while (s->boundaries[next].key.data == begin.data) {
            next++;
        }
        d->fragments[i] = (struct range_fragment){
            .begin = begin,
            .end = s->boundaries[next].key,
            .commits = commits + (s->commits_count - piece->stack_end),
            .count = (uint32_t)piece->count,
        };
    }
    *dels_out = d;
    return STRATA_OK;
}

strata_rc range_dels_build(const struct range_del *list, size_t count, struct range_dels **dels_out)
{
    struct range_sweep s = {.boundary_count = 2 * count};
    strata_rc rc = STRATA_NO_MEMORY;
    *dels_out = NULL;
    s.boundaries = alloc_array(s.boundary_count, sizeof *s.boundaries);
    s.active = alloc_array(count, sizeof *s.active);
    s.pieces = alloc_array(s.boundary_count, sizeof *s.pieces);
    if (s.boundaries == NULL || s.active == NULL || s.pieces == NULL) {
        rc = alloc_failed("range deletes", s.boundary_count * sizeof *s.boundaries);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        ASSERT(slice_compare(list[i].begin, list[i].end) < 0);
        s.boundaries[2 * i] = (struct range_boundary){list[i].begin, list[i].commit, true};
        s.boundaries[2 * i + 1] = (struct range_boundary){list[i].end, list[i].commit, false};
    }
    qsort(s.boundaries, s.boundary_count, sizeof *s.boundaries, range_boundary_compare);
    rc = range_sweep_run(&s);
    if (rc == STRATA_OK) {
        rc = range_sweep_pack(&s, dels_out);
    }
done:
    free(s.boundaries);
    free(s.active);
    free(s.pieces);
    free(s.commits);
    return rc;
}

void range_dels_free(struct range_dels *d)
{
    free(d);
}

size_t range_dels_count(const struct range_dels *d)
{
    return d == NULL ? 0 : d->count;
}

const struct range_fragment *range_dels_at(const struct range_dels *d, size_t index)
{
    ASSERT(index < range_dels_count(d));
    return d->fragments + index;
}

size_t range_dels_find(const struct range_dels *d, struct slice key)
{
    size_t low = 0;
    size_t high = range_dels_count(d);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(d->fragments[middle].end, key) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const struct range_fragment *range_dels_cover(const struct range_dels *d, struct slice key)
{
    size_t index = range_dels_find(d, key);
    if (index == range_dels_count(d) || slice_compare(d->fragments[index].begin, key) > 0) {
        return NULL;
    }
    return d->fragments + index;
}

bool range_dels_overlap(const struct range_dels *d, struct slice lower, struct slice upper)
{
    size_t index = range_dels_find(d, lower);
    if (index == range_dels_count(d)) {
        return false;
    }
    return upper.data == NULL || slice_compare(d->fragments[index].begin, upper) < 0;
}

size_t range_dels_bytes(const struct range_dels *d)
{
    return d == NULL ? 0 : d->bytes;
}

uint64_t range_fragment_newest(const struct range_fragment *f, uint64_t at, bool *newer_out)
{
    ASSERT(f->count > 0);
    if (f->commits[0] <= at) {
        return f->commits[0];
    }
    *newer_out = true;
    size_t low = 0; // commits before `low` are > at, from `high` on <= at
    size_t high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->commits[middle] > at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < f->count ? f->commits[low] : 0;
}
