// A log-only store of two hundred lines: the subject on which the crash tests prove that they catch
// what they are for. Its memory is a model; its file is one log, named by CURRENT.
//
// log-N: records; each begins at a multiple of 8, after a sync at a multiple of 512:
//   u32 bytes of what follows, u32 count of operations, u64 commit,
//   u64 checksum over the rest of the record, seeded with N
//   operations: u8 kind, u8 keyspace, u16 key bytes, u32 value bytes, key, value
// Kinds: those of the model, and 9: the keyspace named `key` is created, 10: keyspace is dropped.
// CURRENT: N in decimal.
#include "base/fail.h"
#include "base/hash.h"
#include "lib/test_lib.h"
#include "model/store.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEAD_BYTES = 24, OP_HEAD_BYTES = 8, KIND_CREATE = 9, KIND_DROP = 10 };

struct toy {
    struct store base; // first
    struct model *model;
    struct os_dir *dir;
    struct os_file *log;
    uint64_t log_number;
    uint64_t tail;
    int bug;
    bool sync_owed;
    bool broken;
    uint8_t *record;
    size_t record_bytes;
};

const char *toy_bug_name(enum toy_bug bug)
{
    static const char *const names[TOY_BUGS] = {
        "correct",    "no_sync", "ack_first",  "no_dir_sync",  "no_current_sync",
        "torn_batch", "hole",    "trust_tail", "unlink_first", "shared_sector",
    };
    return bug < TOY_BUGS ? names[bug] : "?";
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static void log_name(char *to, uint64_t number)
{
    snprintf(to, 32, "log-%llu", (unsigned long long)number);
}

// ---- records

static void record_begin(struct toy *t)
{
    t->record_bytes = HEAD_BYTES;
    t->record = test_resize(t->record, HEAD_BYTES, 1);
}

static void record_add(struct toy *t, int kind, size_t space, struct slice key, struct slice value)
{
    size_t bytes = OP_HEAD_BYTES + key.bytes + value.bytes;
    t->record = test_resize(t->record, t->record_bytes + bytes, 1);
    uint8_t *p = t->record + t->record_bytes;
    uint16_t key_bytes = (uint16_t)key.bytes;
    uint32_t value_bytes = (uint32_t)value.bytes;
    p[0] = (uint8_t)kind;
    p[1] = (uint8_t)space;
    memcpy(p + 2, &key_bytes, 2);
    memcpy(p + 4, &value_bytes, 4);
    if (key.bytes > 0) {
        memcpy(p + OP_HEAD_BYTES, key.data, key.bytes);
    }
    if (value.bytes > 0) {
        memcpy(p + OP_HEAD_BYTES + key.bytes, value.data, value.bytes);
    }
    t->record_bytes += bytes;
}

static uint64_t record_sum(const struct toy *t, const uint8_t *record, size_t bytes)
{
    return checksum64_two(t->log_number, slice_of(record, 16), slice_of(record + 24, bytes - 24));
}

static void record_end(struct toy *t, uint32_t count, uint64_t commit)
{
    uint32_t rest = (uint32_t)(t->record_bytes - 4);
    memcpy(t->record, &rest, 4);
    memcpy(t->record + 4, &count, 4);
    memcpy(t->record + 8, &commit, 8);
    uint64_t sum = record_sum(t, t->record, t->record_bytes);
    memcpy(t->record + 16, &sum, 8);
}

// Decodes one operation; returns its bytes, 0 when it does not fit.
static size_t decode_op(const uint8_t *p, size_t left, struct model_op *op_out, int *kind_out)
{
    uint16_t key_bytes;
    uint32_t value_bytes;
    if (left < OP_HEAD_BYTES) {
        return 0;
    }
    memcpy(&key_bytes, p + 2, 2);
    memcpy(&value_bytes, p + 4, 4);
    if (value_bytes > left || OP_HEAD_BYTES + (size_t)key_bytes + value_bytes > left) {
        return 0;
    }
    *kind_out = p[0];
    op_out->kind = (enum model_kind)p[0];
    op_out->space = p[1];
    op_out->key = slice_of(p + OP_HEAD_BYTES, key_bytes);
    op_out->value = slice_of(p + OP_HEAD_BYTES + key_bytes, value_bytes);
    return OP_HEAD_BYTES + (size_t)key_bytes + value_bytes;
}

// Applies a record's operations to the memory. A bad one ends it: the record is torn.
static void record_apply(struct toy *t, const uint8_t *record, size_t bytes)
{
    struct model_op *ops = test_alloc(bytes / OP_HEAD_BYTES + 1, sizeof *ops);
    size_t count = 0;
    int kind = 0;
    size_t used;
    for (size_t at = HEAD_BYTES; at < bytes; at += used) {
        used = decode_op(record + at, bytes - at, &ops[count], &kind);
        if (used == 0 || kind == 0) {
            break;
        }
        count++;
        if (kind == KIND_CREATE || kind == KIND_DROP) {
            break;
        }
    }
    if (count > 0 && kind == KIND_CREATE) {
        char name[MODEL_NAME_BYTES] = {0};
        memcpy(name, ops[0].key.data, ops[0].key.bytes);
        model_space_create(t->model, name);
    } else if (count > 0 && kind == KIND_DROP) {
        model_space_drop(t->model, ops[0].space);
    } else {
        model_commit(t->model, ops, count);
    }
    free(ops);
}

// The bytes of the valid record at `at` that holds the next commit, or 0.
static size_t record_check(const struct toy *t, const uint8_t *log, size_t bytes, size_t at)
{
    uint32_t rest;
    uint64_t commit;
    uint64_t sum;
    if (at > bytes || bytes - at < HEAD_BYTES) {
        return 0;
    }
    memcpy(&rest, log + at, 4);
    memcpy(&commit, log + at + 8, 8);
    memcpy(&sum, log + at + 16, 8);
    if (rest < HEAD_BYTES - 4 || rest > bytes - at - 4) {
        return 0;
    }
    if (t->bug != TOY_TORN_BATCH && sum != record_sum(t, log + at, (size_t)rest + 4)) {
        return 0;
    }
    bool next = commit == t->model->newest + 1;
    bool later = t->bug == TOY_HOLE && commit > t->model->newest;
    return next || later ? (size_t)rest + 4 : 0;
}

// ---- writing

static strata_rc sync_log(struct toy *t)
{
    t->sync_owed = false;
    if (t->bug != TOY_SHARED_SECTOR) {
        t->tail = round_up(t->tail, 512);
    }
    strata_rc rc = os_file_sync(t->log, true);
    if (rc != STRATA_OK) {
        t->broken = true;
        return fail(STRATA_UNKNOWN_OUTCOME, "the log was not synced");
    }
    return STRATA_OK;
}

static strata_rc append_record(struct toy *t, strata_durability durability)
{
    if (t->broken) {
        return fail(STRATA_READ_ONLY, "an earlier write failed");
    }
    if (t->sync_owed) {
        strata_rc late = sync_log(t);
        if (late != STRATA_OK) {
            return late;
        }
    }
    strata_rc rc = os_file_write(t->log, t->tail, t->record, t->record_bytes);
    if (rc != STRATA_OK) {
        t->broken = true;
        return rc;
    }
    t->tail = round_up(t->tail + t->record_bytes, 8);
    record_apply(t, t->record, t->record_bytes);
    if (durability != STRATA_SYNC || t->bug == TOY_NO_SYNC) {
        return STRATA_OK;
    }
    if (t->bug == TOY_ACK_FIRST) {
        t->sync_owed = true;
        return STRATA_OK;
    }
    return sync_log(t);
}

static strata_rc toy_commit(struct store *s, const struct model *m, const struct model_op *ops,
                            size_t count, strata_durability durability, bool streamed,
                            uint64_t *commit_out)
{
    struct toy *t = (struct toy *)s;
    (void)m;
    (void)streamed;
    record_begin(t);
    for (size_t i = 0; i < count; i++) {
        record_add(t, (int)ops[i].kind, ops[i].space, ops[i].key, ops[i].value);
    }
    record_end(t, (uint32_t)count, t->model->newest + 1);
    strata_rc rc = append_record(t, durability);
    *commit_out = t->model->newest;
    return rc;
}

static strata_rc toy_space_create(struct store *s, const char *name)
{
    struct toy *t = (struct toy *)s;
    record_begin(t);
    record_add(t, KIND_CREATE, 0, slice_of(name, strlen(name)), slice_of(NULL, 0));
    record_end(t, 1, t->model->newest + 1);
    return append_record(t, STRATA_SYNC);
}

static strata_rc toy_space_drop(struct store *s, const char *name)
{
    struct toy *t = (struct toy *)s;
    size_t space = model_space_named(t->model, name, t->model->newest);
    record_begin(t);
    record_add(t, KIND_DROP, space, slice_of(NULL, 0), slice_of(NULL, 0));
    record_end(t, 1, t->model->newest + 1);
    return append_record(t, STRATA_SYNC);
}

static strata_rc toy_sync(struct store *s)
{
    struct toy *t = (struct toy *)s;
    if (t->broken) {
        return fail(STRATA_READ_ONLY, "an earlier write failed");
    }
    return t->bug == TOY_NO_SYNC ? STRATA_OK : sync_log(t);
}

// ---- rewriting the log

static strata_rc write_current(struct toy *t)
{
    struct os_file *f = NULL;
    char text[24];
    int bytes = snprintf(text, sizeof text, "%llu", (unsigned long long)t->log_number);
    strata_rc rc =
        os_file_open(t->dir, "CURRENT.new", OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_TRUNCATE, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = os_file_write(f, 0, text, (size_t)bytes);
    if (rc == STRATA_OK && t->bug != TOY_NO_CURRENT_SYNC) {
        rc = os_file_sync(f, false);
    }
    strata_rc closed = os_file_close(f);
    rc = rc == STRATA_OK ? closed : rc;
    if (rc == STRATA_OK && t->bug != TOY_NO_DIR_SYNC) {
        rc = os_dir_sync(t->dir); // the new log's name, before CURRENT says it
    }
    if (rc == STRATA_OK) {
        rc = os_dir_rename(t->dir, "CURRENT.new", "CURRENT");
    }
    if (rc == STRATA_OK && t->bug != TOY_UNLINK_FIRST && t->bug != TOY_NO_DIR_SYNC) {
        rc = os_dir_sync(t->dir);
    }
    return rc;
}

// Copies the accepted records of `bytes` bytes of log into a new log under the next number, and
// trusts that one.
static strata_rc rewrite(struct toy *t, const uint8_t *log, const size_t *at, size_t count)
{
    char old[32];
    char name[32];
    struct os_file *f = NULL;
    uint64_t old_number = t->log_number;
    log_name(old, old_number);
    t->log_number++;
    log_name(name, t->log_number);
    strata_rc rc =
        os_file_open(t->dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_TRUNCATE, &f);
    uint64_t tail = 0;
    for (size_t i = 0; i < count && rc == STRATA_OK; i++) {
        uint32_t rest;
        memcpy(&rest, log + at[i], 4);
        uint8_t *copy = test_alloc((size_t)rest + 4, 1);
        memcpy(copy, log + at[i], (size_t)rest + 4);
        uint64_t sum = record_sum(t, copy, (size_t)rest + 4);
        memcpy(copy + 16, &sum, 8);
        rc = os_file_write(f, tail, copy, (size_t)rest + 4);
        tail = round_up(tail + rest + 4, 8);
        free(copy);
    }
    if (rc == STRATA_OK && t->bug != TOY_TRUST_TAIL) {
        rc = os_file_sync(f, false);
    }
    if (rc == STRATA_OK) {
        rc = write_current(t);
    }
    if (rc != STRATA_OK) {
        os_file_close(f);
        t->log_number = old_number;
        t->broken = true;
        return rc;
    }
    os_file_close(t->log);
    t->log = f;
    t->tail = round_up(tail, 512);
    return old_number == 0 ? STRATA_OK : os_dir_unlink(t->dir, old);
}

// Reads the log `number`, applies what it accepts, and rewrites it.
static strata_rc recover(struct toy *t, uint64_t number)
{
    char name[32];
    uint64_t size = 0;
    log_name(name, number);
    t->log_number = number;
    strata_rc rc = os_file_open(t->dir, name, OS_OPEN_WRITE, &t->log);
    if (rc == STRATA_OK) {
        rc = os_file_size(t->log, &size);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *log = test_alloc((size_t)size, 1);
    size_t *at = test_alloc((size_t)size / HEAD_BYTES + 1, sizeof *at);
    size_t count = 0;
    rc = size == 0 ? STRATA_OK : os_file_read(t->log, 0, log, (size_t)size);
    for (size_t p = 0; p < size && rc == STRATA_OK;) {
        size_t bytes = record_check(t, log, (size_t)size, p);
        if (bytes > 0) {
            record_apply(t, log + p, bytes);
            at[count++] = p;
            p = (size_t)round_up(p + bytes, 8);
        } else if (p % 512 != 0) {
            p = (size_t)round_up(p, 512);
        } else if (t->bug == TOY_HOLE) {
            p += 512;
        } else {
            break;
        }
    }
    if (rc == STRATA_OK) {
        rc = rewrite(t, log, at, count);
    }
    free(at);
    free(log);
    return rc;
}

static strata_rc toy_space_alter(struct store *s, const char *name,
                                 const strata_keyspace_options *change)
{
    (void)s;
    (void)name;
    (void)change;
    return STRATA_OK;
}

static int64_t toy_time_of(struct store *s, uint64_t commit)
{
    return ((struct toy *)s)->model->times[commit];
}

static strata_rc toy_compact(struct store *s, bool values)
{
    (void)values;
    struct toy *t = (struct toy *)s;
    strata_rc rc = toy_sync(s);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct model *old = t->model;
    os_file_close(t->log);
    t->log = NULL;
    t->model = model_new();
    rc = recover(t, t->log_number);
    if (rc != STRATA_OK) {
        model_free(t->model);
        t->model = old;
        t->broken = true;
        return rc;
    }
    model_free(old);
    return STRATA_OK;
}

// ---- life

static strata_rc toy_close(struct store *s)
{
    struct toy *t = (struct toy *)s;
    strata_rc rc = STRATA_OK;
    if (t->log != NULL && !t->broken && t->bug != TOY_NO_SYNC) {
        rc = sync_log(t);
    }
    os_file_close(t->log);
    os_dir_close(t->dir);
    model_free(t->model);
    free(t->record);
    free(t);
    return rc;
}

static strata_rc read_current(struct toy *t, uint64_t *number_out)
{
    struct os_file *f = NULL;
    char text[24] = {0};
    size_t bytes = 0;
    strata_rc rc = os_file_open_if_there(t->dir, "CURRENT", OS_OPEN_READ, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = os_file_read_some(f, 0, text, sizeof text - 1, &bytes);
    os_file_close(f);
    *number_out = strtoull(text, NULL, 10);
    if (rc == STRATA_OK && *number_out == 0) {
        rc = fail(STRATA_CORRUPT, "CURRENT holds no number");
    }
    return rc;
}

static strata_rc toy_open(struct os_machine *machine, const struct store_config *config,
                          struct store **store_out)
{
    struct toy *t = test_alloc(1, sizeof *t);
    uint64_t number = 0;
    t->base.ops = &store_toy;
    t->bug = config->toy_bug;
    t->model = model_new();
    *store_out = NULL;
    strata_rc rc = machine->open_dir(machine, "db", true, &t->dir);
    if (rc == STRATA_OK) {
        rc = os_dir_lock(t->dir, "LOCK", OS_LOCK_EXCLUSIVE);
    }
    if (rc == STRATA_OK) {
        rc = read_current(t, &number);
        rc = rc == STRATA_OK          ? recover(t, number)
             : rc == STRATA_NOT_FOUND ? rewrite(t, NULL, NULL, 0)
                                      : rc;
    }
    if (rc != STRATA_OK) {
        t->broken = true;
        toy_close(&t->base);
        return rc;
    }
    *store_out = &t->base;
    return STRATA_OK;
}

static uint64_t toy_newest(struct store *s)
{
    return ((struct toy *)s)->model->newest;
}

static strata_rc toy_check(struct store *s)
{
    (void)s;
    return STRATA_OK;
}

static bool toy_agrees(struct store *s, const struct model *m, uint64_t at, bool deep,
                       char *fault_out)
{
    const struct model *own = ((struct toy *)s)->model;
    (void)deep;
    for (size_t i = 0; i < m->space_count && m->spaces[i].created <= at; i++) {
        const struct model_space *space = &m->spaces[i];
        if (model_space_is_there(m, i, at) != model_space_is_there(own, i, at)) {
            snprintf(fault_out, STORE_FAULT_BYTES, "keyspace %s is there or not", space->name);
            return false;
        }
        size_t shown = 0;
        for (size_t k = 0; k < space->key_count; k++) {
            const struct model_key *key = &space->keys[k];
            const struct model_version *want = model_value_at(space, key, at, 0);
            const struct model_version *got = model_get(&own->spaces[i], key->key, at, 0);
            shown += want == NULL ? 0 : 1;
            if ((want == NULL) != (got == NULL) ||
                (want != NULL && !slice_equal(want->value, got->value))) {
                snprintf(fault_out, STORE_FAULT_BYTES, "key %.*s differs at commit %llu",
                         (int)key->key.bytes, (const char *)key->key.data, (unsigned long long)at);
                return false;
            }
        }
        for (size_t k = 0; k < own->spaces[i].key_count; k++) {
            const struct model_key *key = &own->spaces[i].keys[k];
            shown -= model_value_at(&own->spaces[i], key, at, 0) == NULL ? 0 : 1;
        }
        if (shown != 0) {
            snprintf(fault_out, STORE_FAULT_BYTES, "keyspace %s has other keys", space->name);
            return false;
        }
    }
    return true;
}

const struct store_ops store_toy = {
    .name = "toy",
    .open = toy_open,
    .close = toy_close,
    .commit = toy_commit,
    .space_create = toy_space_create,
    .space_drop = toy_space_drop,
    .space_alter = toy_space_alter,
    .sync = toy_sync,
    .flush = toy_sync,
    .compact = toy_compact,
    .check = toy_check,
    .newest = toy_newest,
    .time_of = toy_time_of,
    .agrees = toy_agrees,
};
