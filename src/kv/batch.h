// The encoding of a batch: what a caller fills is what the log stores and what replay applies.
//
//   batch := op*            (the count, commit and time stand in the log record's header)
//   op    := kind u8 | keyspace varint | body
//   body  := KV_PUT            key prefixed | value prefixed
//            KV_DELETE         key prefixed
//            KV_RANGE_DELETE   begin prefixed | end prefixed
//            BATCH_PUT_EXPIRING   expiry varint (us) | key prefixed | value prefixed
//            BATCH_PUT_SEPARATED  value file varint | ordinal varint | bytes varint |
//                                 offset varint | expiry varint (0: never) | key prefixed
//            BATCH_KEYSPACE_CREATE  name prefixed | options prefixed
//            BATCH_KEYSPACE_DROP    (nothing)
//   "prefixed" is a varint length and that many bytes. `keyspace` is the number of the keyspace
//   that the op is in, or that it creates or drops.
//
// The offset of a separated value is where its first chunk lies in the file that was written on the
// way in: recovery finds unfinished value files by it. Nothing else may use it: a rewrite moves
// values. A decoder that meets another kind answers STRATA_VERSION.
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "base/buffer.h"
#include "kv/entry.h"
#include "kv/value_ref.h"

enum batch_kind {
    BATCH_PUT = KV_PUT,
    BATCH_DELETE = KV_DELETE,
    BATCH_RANGE_DELETE = KV_RANGE_DELETE,
    BATCH_PUT_SEPARATED = KV_PUT_SEPARATED,
    BATCH_PUT_EXPIRING = 16,
    BATCH_KEYSPACE_CREATE = 17,
    BATCH_KEYSPACE_DROP = 18,
};

struct batch_op {
    enum batch_kind kind;
    uint64_t keyspace;
    struct slice key;   // or begin of a range delete, or name of a keyspace
    struct slice value; // or end of a range delete, or options of a keyspace
    uint64_t expiry;
    struct kv_value_ref ref; // BATCH_PUT_SEPARATED, with `value` empty
    uint64_t value_offset;   // the same
};

// Appends one op. The caller has checked lengths.
strata_rc batch_append(struct buffer *b, const struct batch_op *op) STRATA_MUST_CHECK;
// Greatest size of the op's encoding, to reserve before.
size_t batch_op_bytes_max(const struct batch_op *op);
// Encodes into memory of at least batch_op_bytes_max bytes; returns the byte after it.
uint8_t *batch_encode(uint8_t *to, const struct batch_op *op);

// The least an op can have: whoever allocates by a count from disk checks it against the bytes.
#define BATCH_OP_BYTES_MIN 2u

// Decodes the op at *at, which is before `end`, and moves *at behind it. Slices point into the
// bytes. STRATA_CORRUPT for malformed bytes, a key of 0 or over 65,535 bytes (the begin of a range
// may be empty), a range with begin >= end, a value too long, an expiry beyond INT64_MAX, a place
// in a value file that cannot be.
strata_rc batch_decode(const uint8_t **at, const uint8_t *end,
                       struct batch_op *op_out) STRATA_MUST_CHECK;

// Decodes a whole batch of `count` ops into ops_out (room for count), normalised: a point that a
// later op of the batch covers (the same key again, or a range delete over it) is left out, so that
// what remains can be applied in any order (architecture, section 2). *kept_out is how many remain,
// in the order of the batch. Used by commit and by replay alike. STRATA_CORRUPT as for
// batch_decode, and unless the bytes are exactly `count` ops. Allocates only for many ops; time is
// linear in the ops, times the logarithm of the number of range deletes.
strata_rc batch_normalise(struct slice bytes, uint32_t count, struct batch_op *ops_out,
                          uint32_t *kept_out) STRATA_MUST_CHECK;

#endif
