#include "kv/batch.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "base/reader.h"

// ---- encoding

static uint8_t *batch_encode_prefixed(uint8_t *to, struct slice s)
{
    to = varint_encode(to, s.bytes);
    if (s.bytes != 0) {
        memcpy(to, s.data, s.bytes);
    }
    return to + s.bytes;
}

size_t batch_op_bytes_max(const struct batch_op *op)
{
    // Kind, keyspace, the four numbers of a place in a value file, expiry and a length: the most
    // that any operation has.
    return 1 + 7 * VARINT_BYTES_MAX + op->key.bytes + op->value.bytes;
}

uint8_t *batch_encode(uint8_t *to, const struct batch_op *op)
{
    *to++ = (uint8_t)op->kind;
    to = varint_encode(to, op->keyspace);
    switch (op->kind) {
    case BATCH_PUT_EXPIRING:
        to = varint_encode(to, op->expiry);
        // Fall through.
    case BATCH_PUT:
    case BATCH_RANGE_DELETE:
    case BATCH_KEYSPACE_CREATE:
        to = batch_encode_prefixed(to, op->key);
        return batch_encode_prefixed(to, op->value);
    case BATCH_DELETE:
        return batch_encode_prefixed(to, op->key);
    case BATCH_PUT_SEPARATED:
        ASSERT(op->value.bytes == 0 && op->ref.bytes != 0);
        to = varint_encode(to, op->ref.file);
        to = varint_encode(to, op->ref.ordinal);
        to = varint_encode(to, op->ref.bytes);
        to = varint_encode(to, op->value_offset);
        to = varint_encode(to, op->expiry);
        return batch_encode_prefixed(to, op->key);
    case BATCH_KEYSPACE_DROP:
        break;
    }
    return to;
}

strata_rc batch_append(struct buffer *b, const struct batch_op *op)
{
    strata_rc rc = buffer_reserve(b, batch_op_bytes_max(op));
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *end = batch_encode(b->data + b->bytes, op);
    ASSERT((size_t)(end - (b->data + b->bytes)) <= batch_op_bytes_max(op));
    b->bytes = (size_t)(end - b->data);
    return STRATA_OK;
}

// ---- decoding

static bool batch_key_is_legal(struct slice key)
{
    return key.bytes >= 1 && key.bytes <= KV_KEY_BYTES_MAX;
}

static bool batch_expiry_is_legal(uint64_t expiry)
{
    return expiry <= INT64_MAX;
}

static bool batch_decode_separated(struct reader *r, struct batch_op *op)
{
    uint64_t file = reader_varint(r);
    uint64_t ordinal = reader_varint(r);
    uint64_t bytes = reader_varint(r);
    op->value_offset = reader_varint(r);
    op->expiry = reader_varint(r);
    op->key = reader_prefixed(r);
    if (r->bad || file == 0 || bytes == 0 || bytes > KV_VALUE_BYTES_MAX || ordinal > UINT32_MAX ||
        ordinal + kv_value_chunks(bytes) > UINT32_MAX || op->value_offset > INT64_MAX) {
        return false;
    }
    op->ref = (struct kv_value_ref){file, (uint32_t)ordinal, (uint32_t)bytes};
    return batch_expiry_is_legal(op->expiry) && batch_key_is_legal(op->key);
}

// Decodes what follows kind and keyspace. False for malformed bytes.
static bool batch_decode_body(struct reader *r, struct batch_op *op)
{
    switch (op->kind) {
    case BATCH_PUT_EXPIRING:
        op->expiry = reader_varint(r);
        // Fall through.
    case BATCH_PUT:
        op->key = reader_prefixed(r);
        op->value = reader_prefixed(r);
        return !r->bad && batch_key_is_legal(op->key) && op->value.bytes <= KV_VALUE_BYTES_MAX &&
               batch_expiry_is_legal(op->expiry);
    case BATCH_DELETE:
        op->key = reader_prefixed(r);
        return !r->bad && batch_key_is_legal(op->key);
    case BATCH_RANGE_DELETE:
        op->key = reader_prefixed(r);
        op->value = reader_prefixed(r);
        return !r->bad && op->key.bytes <= KV_KEY_BYTES_MAX && batch_key_is_legal(op->value) &&
               slice_compare(op->key, op->value) < 0;
    case BATCH_KEYSPACE_CREATE:
        op->key = reader_prefixed(r);
        op->value = reader_prefixed(r);
        return !r->bad && op->key.bytes != 0;
    case BATCH_PUT_SEPARATED:
        return batch_decode_separated(r, op);
    case BATCH_KEYSPACE_DROP:
        break;
    }
    return !r->bad;
}

strata_rc batch_decode(const uint8_t **at, const uint8_t *end, struct batch_op *op_out)
{
    ASSERT(*at < end);
    struct reader r = {*at, end, false};
    uint8_t kind = reader_u8(&r);
    *op_out = (struct batch_op){.kind = (enum batch_kind)kind, .keyspace = reader_varint(&r)};
    bool known = (kind >= BATCH_PUT && kind <= BATCH_PUT_SEPARATED) ||
                 (kind >= BATCH_PUT_EXPIRING && kind <= BATCH_KEYSPACE_DROP);
    if (!known) {
        return fail(STRATA_VERSION, "batch: operation of unknown kind %u", kind);
    }
    if (!batch_decode_body(&r, op_out)) {
        return fail(STRATA_CORRUPT,
                    "batch: malformed operation of kind %u, %zu bytes before the end", kind,
                    (size_t)(end - *at));
    }
    *at = r.at;
    return STRATA_OK;
}

// ---- normalising

// Up to this many operations are compared pairwise: no allocation, and faster than hashing.
#define BATCH_PAIRWISE_MAX 32u

static bool batch_is_point(const struct batch_op *op)
{
    return op->kind == BATCH_PUT || op->kind == BATCH_DELETE || op->kind == BATCH_PUT_EXPIRING ||
           op->kind == BATCH_PUT_SEPARATED;
}

// Order of places in all keyspaces.
static int batch_place_compare(uint64_t keyspace_a, struct slice a, uint64_t keyspace_b,
                               struct slice b)
{
    if (keyspace_a != keyspace_b) {
        return keyspace_a < keyspace_b ? -1 : 1;
    }
    return slice_compare(a, b);
}

static bool batch_covers(const struct batch_op *later, const struct batch_op *point)
{
    if (later->keyspace != point->keyspace) {
        return false;
    }
    if (later->kind == BATCH_RANGE_DELETE) {
        return slice_compare(later->key, point->key) <= 0 &&
               slice_compare(point->key, later->value) < 0;
    }
    return batch_is_point(later) && slice_equal(later->key, point->key);
}

static uint32_t batch_normalise_pairwise(struct batch_op *ops, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool covered = false;
        if (batch_is_point(&ops[i])) {
            for (uint32_t j = i + 1; j < count && !covered; j++) {
                covered = batch_covers(&ops[j], &ops[i]);
            }
        }
        if (!covered) {
            ops[kept++] = ops[i];
        }
    }
    return kept;
}

// The range deletes of a batch as a step function: between two neighbouring bounds, which of them
// is the last in the batch.
struct batch_bound {
    uint64_t keyspace;
    struct slice key;
    uint32_t last; // index of the last range delete over [this bound, the next), plus 1; 0: none
    uint32_t next; // while building: where the next bound without a `last` may be
};

struct batch_ranges {
    struct batch_bound *bounds; // sorted, all different
    uint32_t count;
};

static int batch_bound_compare(const void *a, const void *b)
{
    const struct batch_bound *x = a;
    const struct batch_bound *y = b;
    return batch_place_compare(x->keyspace, x->key, y->keyspace, y->key);
}

// How many bounds are at or before the place.
static uint32_t batch_ranges_rank(const struct batch_ranges *r, uint64_t keyspace, struct slice key)
{
    uint32_t low = 0;
    uint32_t high = r->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct batch_bound *b = &r->bounds[middle];
        if (batch_place_compare(b->keyspace, b->key, keyspace, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// The first bound at or after `at` that has no `last` yet; paths are halved on the way.
static uint32_t batch_ranges_unset(struct batch_ranges *r, uint32_t at)
{
    while (at < r->count && r->bounds[at].next != at) {
        uint32_t next = r->bounds[at].next;
        if (next < r->count) {
            r->bounds[at].next = r->bounds[next].next;
        }
        at = next;
    }
    return at;
}

// `bounds` has room for two of each range delete.
static void batch_ranges_build(struct batch_ranges *r, const struct batch_op *ops, uint32_t count)
{
    uint32_t filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].kind == BATCH_RANGE_DELETE) {
            r->bounds[filled++] = (struct batch_bound){ops[i].keyspace, ops[i].key, 0, 0};
            r->bounds[filled++] = (struct batch_bound){ops[i].keyspace, ops[i].value, 0, 0};
        }
    }
    r->count = 0;
    if (filled == 0) {
        return;
    }
    qsort(r->bounds, filled, sizeof *r->bounds, batch_bound_compare);
    for (uint32_t i = 0; i < filled; i++) {
        if (i == 0 || batch_bound_compare(&r->bounds[i], &r->bounds[r->count - 1]) != 0) {
            r->bounds[r->count] = r->bounds[i];
            r->bounds[r->count].next = r->count;
            r->count++;
        }
    }
    // The last range delete first: what is set stays set.
    for (uint32_t i = count; i-- > 0;) {
        if (ops[i].kind != BATCH_RANGE_DELETE) {
            continue;
        }
        uint32_t at = batch_ranges_rank(r, ops[i].keyspace, ops[i].key) - 1;
        uint32_t end = batch_ranges_rank(r, ops[i].keyspace, ops[i].value) - 1;
        for (at = batch_ranges_unset(r, at); at < end; at = batch_ranges_unset(r, at)) {
            r->bounds[at].last = i + 1;
            r->bounds[at].next = at + 1;
        }
    }
}

static bool batch_ranges_cover(const struct batch_ranges *r, const struct batch_op *ops,
                               uint32_t index)
{
    if (r->count == 0) {
        return false;
    }
    uint32_t rank = batch_ranges_rank(r, ops[index].keyspace, ops[index].key);
    return rank != 0 && r->bounds[rank - 1].last > index + 1;
}

// An open-addressing table of the points seen so far, from the last of the batch to the first:
// slot = high half of the hash | index + 1.
struct batch_seen {
    uint64_t *slots;
    uint64_t mask;
};

// True when a later point has the same key; else the point is noted.
static bool batch_seen_or_note(struct batch_seen *seen, const struct batch_op *ops, uint32_t index)
{
    const struct batch_op *op = &ops[index];
    uint64_t hash = hash_key(op->key) ^ (op->keyspace * 0x9e3779b97f4a7c15u);
    uint64_t tag = hash >> 32 << 32;
    uint64_t at = hash & seen->mask;
    while (seen->slots[at] != 0) {
        uint64_t slot = seen->slots[at];
        if ((slot ^ tag) >> 32 == 0) {
            const struct batch_op *later = &ops[(uint32_t)slot - 1];
            if (later->keyspace == op->keyspace && slice_equal(later->key, op->key)) {
                return true;
            }
        }
        at = (at + 1) & seen->mask;
    }
    seen->slots[at] = tag | (index + 1);
    return false;
}

// Finds what is covered, then closes the gaps.
static uint32_t batch_drop_covered(struct batch_op *ops, uint32_t count, struct batch_seen *seen,
                                   const struct batch_ranges *ranges, uint8_t *covered)
{
    for (uint32_t i = count; i-- > 0;) {
        covered[i] = batch_is_point(&ops[i]) &&
                     (batch_seen_or_note(seen, ops, i) || batch_ranges_cover(ranges, ops, i));
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!covered[i]) {
            ops[kept++] = ops[i];
        }
    }
    return kept;
}

static strata_rc batch_normalise_hashed(struct batch_op *ops, uint32_t count, uint32_t *kept_out)
{
    size_t ranges_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        ranges_count += ops[i].kind == BATCH_RANGE_DELETE;
    }
    size_t slots = 64;
    while (slots < (size_t)count * 2) {
        slots *= 2;
    }
    struct batch_seen seen = {alloc_zeroed(slots, sizeof(uint64_t)), slots - 1};
    struct batch_ranges ranges = {alloc_array(2 * ranges_count, sizeof(struct batch_bound)), 0};
    uint8_t *covered = alloc_array(count, 1);
    strata_rc rc = STRATA_OK;
    if (seen.slots == NULL || ranges.bounds == NULL || covered == NULL) {
        rc = alloc_failed("normalising a batch", slots * sizeof(uint64_t));
        goto done;
    }
    batch_ranges_build(&ranges, ops, count);
    *kept_out = batch_drop_covered(ops, count, &seen, &ranges, covered);
done:
    free(seen.slots);
    free(ranges.bounds);
    free(covered);
    return rc;
}

strata_rc batch_normalise(struct slice bytes, uint32_t count, struct batch_op *ops_out,
                          uint32_t *kept_out)
{
    *kept_out = 0;
    const uint8_t *at = bytes.data;
    const uint8_t *end = bytes.bytes == 0 ? at : at + bytes.bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (at == end) {
            return fail(STRATA_CORRUPT, "batch: %u operations expected, %u found", count, i);
        }
        strata_rc rc = batch_decode(&at, end, &ops_out[i]);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (at != end) {
        return fail(STRATA_CORRUPT, "batch: %zu bytes behind its %u operations", (size_t)(end - at),
                    count);
    }
    if (count > BATCH_PAIRWISE_MAX) {
        return batch_normalise_hashed(ops_out, count, kept_out);
    }
    *kept_out = MUTANT(28) ? count : batch_normalise_pairwise(ops_out, count);
    return STRATA_OK;
}
