// Inside of the toy store: its records and its values, shared by store_toy.c and toy_record.c.
//
// log-N: records; each begins at a multiple of 8, after a sync at a multiple of 512:
//   u32 bytes of what follows, u32 count of operations, u64 commit,
//   u64 checksum over the rest of the record, seeded with N, i64 time
//   operations: u8 kind, u8 keyspace, u16 key bytes, u32 value bytes, i64 expiry, key, value
// val-N: values of TOY_APART_BYTES or more, one behind the other; the log has a struct toy_place in
// the place of the value. CURRENT: N in decimal.
#ifndef MODEL_TOY_H
#define MODEL_TOY_H

#include "model/store.h"

enum { TOY_HEAD_BYTES = 32, TOY_OP_HEAD_BYTES = 16, TOY_APART_BYTES = 64 };

// Kinds of operations beside those of the model.
enum toy_kind {
    TOY_CREATE = 9, // the keyspace named `key`
    TOY_DROP = 10,
    TOY_APART = 11, // a put whose value is a toy_place
    TOY_GONE = 12,  // something that was trimmed
    TOY_ALTER = 13, // value: a model_policy. A record of its own, no commit
    TOY_FLOOR = 14  // value: a u64. The same
};

struct toy_place {
    uint64_t offset;
    uint64_t bytes;
    uint64_t sum;
};

struct toy {
    struct store base; // first
    struct model *model;
    struct os_machine *machine;
    struct os_dir *dir;
    struct os_file *log;
    struct os_file *values;
    uint64_t number;
    uint64_t tail;        // of the log
    uint64_t values_tail; // of the values
    uint64_t floors[MODEL_SPACES_MAX];
    struct model_policy policy; // of keyspaces when they are made
    int bug;
    bool sync_owed;
    bool broken;
    uint8_t *record;
    size_t record_bytes;
    uint32_t record_ops;
    // While a log is read: the bytes of its values.
    uint8_t *read_values;
    size_t read_values_bytes;
};

struct toy_op {
    int kind;
    size_t space;
    struct slice key, value;
    int64_t expires_us;
};

static inline uint64_t toy_round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

void toy_record_begin(struct toy *t);
void toy_record_add(struct toy *t, const struct toy_op *op);
void toy_record_end(struct toy *t, uint64_t commit, int64_t time_us);
// Decodes one operation; returns its bytes, 0 when it does not fit.
size_t toy_decode(const uint8_t *p, size_t left, struct toy_op *op_out);
// The value of a TOY_APART from read_values; false when it is not what was written.
bool toy_value(const struct toy *t, const struct toy_op *op, struct slice *value_out);
// The bytes of the valid record at `at` that comes next, or 0.
size_t toy_record_check(const struct toy *t, const uint8_t *log, size_t bytes, size_t at);
// Applies a record to the memory. A bad operation ends it: the record is torn.
void toy_record_apply(struct toy *t, const uint8_t *record, size_t bytes);
uint64_t toy_record_commit(const uint8_t *record);
int64_t toy_record_time(const uint8_t *record);
// Sums of values, of their own kind: a value proves nothing about a record.
uint64_t toy_value_sum(struct slice value);

#endif
