// Records of the toy store.
#include "base/hash.h"
#include "lib/test_lib.h"
#include "model/toy.h"

#include <stdlib.h>

void toy_record_begin(struct toy *t)
{
    t->record_bytes = TOY_HEAD_BYTES;
    t->record_ops = 0;
    t->record = test_resize(t->record, TOY_HEAD_BYTES, 1);
}

void toy_record_add(struct toy *t, const struct toy_op *op)
{
    size_t bytes = TOY_OP_HEAD_BYTES + op->key.bytes + op->value.bytes;
    t->record = test_resize(t->record, t->record_bytes + bytes, 1);
    uint8_t *p = t->record + t->record_bytes;
    uint16_t key_bytes = (uint16_t)op->key.bytes;
    uint32_t value_bytes = (uint32_t)op->value.bytes;
    p[0] = (uint8_t)op->kind;
    p[1] = (uint8_t)op->space;
    memcpy(p + 2, &key_bytes, 2);
    memcpy(p + 4, &value_bytes, 4);
    memcpy(p + 8, &op->expires_us, 8);
    if (op->key.bytes > 0) {
        memcpy(p + TOY_OP_HEAD_BYTES, op->key.data, op->key.bytes);
    }
    if (op->value.bytes > 0) {
        memcpy(p + TOY_OP_HEAD_BYTES + op->key.bytes, op->value.data, op->value.bytes);
    }
    t->record_bytes += bytes;
    t->record_ops++;
}

static uint64_t record_sum(const struct toy *t, const uint8_t *record, size_t bytes)
{
    return checksum64_two(t->number, slice_of(record, 16), slice_of(record + 24, bytes - 24));
}

void toy_record_end(struct toy *t, uint64_t commit, int64_t time_us)
{
    uint32_t rest = (uint32_t)(t->record_bytes - 4);
    memcpy(t->record, &rest, 4);
    memcpy(t->record + 4, &t->record_ops, 4);
    memcpy(t->record + 8, &commit, 8);
    memcpy(t->record + 24, &time_us, 8);
    uint64_t sum = record_sum(t, t->record, t->record_bytes);
    memcpy(t->record + 16, &sum, 8);
}

uint64_t toy_record_commit(const uint8_t *record)
{
    uint64_t commit;
    memcpy(&commit, record + 8, 8);
    return commit;
}

int64_t toy_record_time(const uint8_t *record)
{
    int64_t time_us;
    memcpy(&time_us, record + 24, 8);
    return time_us;
}

size_t toy_decode(const uint8_t *p, size_t left, struct toy_op *op_out)
{
    uint16_t key_bytes;
    uint32_t value_bytes;
    if (left < TOY_OP_HEAD_BYTES) {
        return 0;
    }
    memcpy(&key_bytes, p + 2, 2);
    memcpy(&value_bytes, p + 4, 4);
    if (p[0] == 0 || value_bytes > left ||
        TOY_OP_HEAD_BYTES + (size_t)key_bytes + value_bytes > left) {
        return 0;
    }
    op_out->kind = p[0];
    op_out->space = p[1];
    memcpy(&op_out->expires_us, p + 8, 8);
    op_out->key = slice_of(p + TOY_OP_HEAD_BYTES, key_bytes);
    op_out->value = slice_of(p + TOY_OP_HEAD_BYTES + key_bytes, value_bytes);
    return TOY_OP_HEAD_BYTES + (size_t)key_bytes + value_bytes;
}

uint64_t toy_value_sum(struct slice value)
{
    return checksum64(77, value.data, value.bytes);
}

bool toy_value(const struct toy *t, const struct toy_op *op, struct slice *value_out)
{
    static const uint8_t nothing[1];
    struct toy_place place;
    if (op->value.bytes != sizeof place) {
        return false;
    }
    memcpy(&place, op->value.data, sizeof place);
    bool there =
        place.offset <= t->read_values_bytes && place.bytes <= t->read_values_bytes - place.offset;
    *value_out =
        there ? slice_of(t->read_values + place.offset, place.bytes) : slice_of(nothing, 0);
    return there && place.sum == toy_value_sum(*value_out);
}

static bool values_are_good(const struct toy *t, const uint8_t *record, size_t bytes)
{
    struct toy_op op;
    struct slice value;
    size_t used;
    for (size_t at = TOY_HEAD_BYTES; at < bytes; at += used) {
        used = toy_decode(record + at, bytes - at, &op);
        if (used == 0 || (op.kind == TOY_APART && !toy_value(t, &op, &value))) {
            return false;
        }
    }
    return true;
}

size_t toy_record_check(const struct toy *t, const uint8_t *log, size_t bytes, size_t at)
{
    uint32_t rest;
    uint64_t sum;
    if (at > bytes || bytes - at < TOY_HEAD_BYTES) {
        return 0;
    }
    memcpy(&rest, log + at, 4);
    memcpy(&sum, log + at + 16, 8);
    if (rest < TOY_HEAD_BYTES - 4 || rest > bytes - at - 4) {
        return 0;
    }
    size_t whole = (size_t)rest + 4;
    if (t->bug != TOY_TORN_BATCH && sum != record_sum(t, log + at, whole)) {
        return 0;
    }
    if (t->bug != TOY_VALUE_UNCHECKED && t->bug != TOY_TORN_BATCH &&
        !values_are_good(t, log + at, whole)) {
        return 0;
    }
    uint64_t commit = toy_record_commit(log + at);
    uint64_t newest = t->model->newest;
    bool is_commit = whole > TOY_HEAD_BYTES && log[at + TOY_HEAD_BYTES] < TOY_ALTER;
    bool next = commit == newest + (is_commit ? 1 : 0);
    bool later = t->bug == TOY_HOLE && commit > newest;
    return next || later ? whole : 0;
}

static void apply_note(struct toy *t, const struct toy_op *op)
{
    if (op->kind == TOY_ALTER) {
        struct model_policy policy;
        memcpy(&policy, op->value.data, sizeof policy);
        t->model->spaces[op->space].policy = policy;
    } else {
        memcpy(&t->floors[op->space], op->value.data, sizeof t->floors[0]);
    }
}

// The operation as the memory takes it.
static struct model_op to_model(const struct toy *t, const struct toy_op *op)
{
    struct model_op out = {(enum model_kind)op->kind, op->space, op->key, op->value,
                           op->expires_us};
    if (op->kind == TOY_APART) {
        out.kind = MODEL_PUT;
        toy_value(t, op, &out.value);
    }
    return out;
}

void toy_record_apply(struct toy *t, const uint8_t *record, size_t bytes)
{
    struct model_op *ops = test_alloc(bytes / TOY_OP_HEAD_BYTES + 1, sizeof *ops);
    struct toy_op op = {.kind = 0};
    size_t count = 0;
    size_t used;
    for (size_t at = TOY_HEAD_BYTES; at < bytes; at += used) {
        used = toy_decode(record + at, bytes - at, &op);
        if (used == 0) {
            break;
        }
        if (op.kind <= MODEL_DELETE_RANGE || op.kind == TOY_APART) {
            ops[count++] = to_model(t, &op);
        }
    }
    if (op.kind == TOY_ALTER || op.kind == TOY_FLOOR) {
        apply_note(t, &op);
        free(ops);
        return;
    }
    if (op.kind == TOY_CREATE) {
        char name[MODEL_NAME_BYTES] = {0};
        memcpy(name, op.key.data, op.key.bytes);
        model_space_create(t->model, name);
        t->model->spaces[t->model->space_count - 1].policy = t->policy;
    } else if (op.kind == TOY_DROP) {
        model_space_drop(t->model, op.space);
    } else {
        model_commit(t->model, ops, count);
    }
    model_set_time(t->model, toy_record_time(record));
    free(ops);
}
