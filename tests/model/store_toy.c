// A store of a few hundred lines: the subject on which the crash tests prove that they catch what
// they are for. Its memory is a model; on disk it has one log and one file of values (model/toy.h),
// named by CURRENT. Compaction writes both anew and leaves out what retention lets go.
#include "model/toy.h"

#include "base/fail.h"
#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>

const char *toy_bug_name(enum toy_bug bug)
{
    static const char *const names[TOY_BUGS] = {
        "correct",         "no_sync",       "ack_first",     "no_dir_sync",
        "no_current_sync", "torn_batch",    "hole",          "trust_tail",
        "unlink_first",    "shared_sector", "value_no_sync", "value_unchecked",
        "value_left_out",  "key_rewritten", "expiry_lost",   "floor_lost",
        "trim_early",
    };
    return bug < TOY_BUGS ? names[bug] : "?";
}

static void file_name(char *to, const char *kind, uint64_t number)
{
    snprintf(to, 32, "%s-%llu", kind, (unsigned long long)number);
}

static int64_t toy_now(const struct toy *t)
{
    int64_t now = t->machine->clock->wall_us(t->machine->clock);
    int64_t newest = t->model->newest == 0 ? 0 : t->model->times[t->model->newest];
    return now > newest ? now : newest;
}

// ---- writing

static strata_rc sync_log(struct toy *t)
{
    t->sync_owed = false;
    strata_rc rc = STRATA_OK;
    if (t->bug != TOY_SHARED_SECTOR) {
        t->tail = toy_round_up(t->tail, 512);
        t->values_tail = toy_round_up(t->values_tail, 512);
    }
    if (t->bug != TOY_VALUE_NO_SYNC) {
        rc = os_file_sync(t->values, true);
    }
    if (rc == STRATA_OK) {
        rc = os_file_sync(t->log, true);
    }
    if (rc != STRATA_OK) {
        t->broken = true;
        return fail(STRATA_UNKNOWN_OUTCOME, "the log was not synced");
    }
    return STRATA_OK;
}

// Writes the record at the tail of `log`.
static strata_rc write_record(struct toy *t, struct os_file *log, uint64_t *tail)
{
    strata_rc rc = os_file_write(log, *tail, t->record, t->record_bytes);
    *tail = toy_round_up(*tail + t->record_bytes, 8);
    return rc;
}

static strata_rc append_record(struct toy *t, strata_durability durability)
{
    if (t->sync_owed) {
        strata_rc late = sync_log(t);
        if (late != STRATA_OK) {
            return late;
        }
    }
    strata_rc rc = write_record(t, t->log, &t->tail);
    if (rc != STRATA_OK) {
        t->broken = true;
        return rc;
    }
    if (durability != STRATA_SYNC || t->bug == TOY_NO_SYNC) {
        return STRATA_OK;
    }
    if (t->bug == TOY_ACK_FIRST) {
        t->sync_owed = true;
        return STRATA_OK;
    }
    return sync_log(t);
}

static strata_rc usable(const struct toy *t)
{
    return t->broken ? fail(STRATA_READ_ONLY, "an earlier write failed") : STRATA_OK;
}

// Puts a value into a file of values.
static strata_rc store_value(struct os_file *values, uint64_t *tail, struct slice value,
                             struct toy_place *place_out)
{
    *place_out = (struct toy_place){*tail, value.bytes, toy_value_sum(value)};
    strata_rc rc = os_file_write(values, *tail, value.data, value.bytes);
    *tail += value.bytes;
    return rc;
}

static strata_rc toy_commit(struct store *s, const struct model *m, const struct model_op *ops,
                            size_t count, strata_durability durability, bool streamed,
                            uint64_t *commit_out)
{
    struct toy *t = (struct toy *)s;
    (void)m;
    (void)streamed;
    strata_rc rc = usable(t);
    toy_record_begin(t);
    for (size_t i = 0; i < count && rc == STRATA_OK; i++) {
        struct toy_place place;
        struct toy_op op = {(int)ops[i].kind, ops[i].space, ops[i].key, ops[i].value,
                            ops[i].expires_us};
        if (op.kind == MODEL_PUT && op.value.bytes >= TOY_APART_BYTES) {
            op.kind = TOY_APART;
            rc = store_value(t->values, &t->values_tail, op.value, &place);
            op.value = slice_of(&place, sizeof place);
        }
        toy_record_add(t, &op);
    }
    if (rc != STRATA_OK) {
        t->broken = true;
        return rc;
    }
    int64_t now = toy_now(t);
    toy_record_end(t, t->model->newest + 1, now);
    rc = append_record(t, durability);
    if (rc == STRATA_OK || rc == STRATA_UNKNOWN_OUTCOME) {
        model_commit(t->model, ops, count);
        model_set_time(t->model, now);
    }
    *commit_out = t->model->newest;
    return rc;
}

// A record of one operation that is no write of keys.
static strata_rc append_one(struct toy *t, struct toy_op op, bool is_commit)
{
    strata_rc rc = usable(t);
    if (rc != STRATA_OK) {
        return rc;
    }
    toy_record_begin(t);
    toy_record_add(t, &op);
    toy_record_end(t, t->model->newest + (is_commit ? 1 : 0), toy_now(t));
    rc = append_record(t, STRATA_SYNC);
    if (rc == STRATA_OK) {
        toy_record_apply(t, t->record, t->record_bytes);
    }
    return rc;
}

static strata_rc toy_space_create(struct store *s, const char *name)
{
    struct toy_op op = {TOY_CREATE, 0, slice_of(name, strlen(name)), slice_of(NULL, 0), 0};
    return append_one((struct toy *)s, op, true);
}

static strata_rc toy_space_drop(struct store *s, const char *name)
{
    struct toy *t = (struct toy *)s;
    size_t space = model_space_named(t->model, name, t->model->newest);
    struct toy_op op = {TOY_DROP, space, slice_of(NULL, 0), slice_of(NULL, 0), 0};
    return append_one(t, op, true);
}

static strata_rc toy_space_alter(struct store *s, const char *name,
                                 const strata_keyspace_options *change)
{
    struct toy *t = (struct toy *)s;
    size_t space = model_space_named(t->model, name, t->model->newest);
    if (change->retention == STRATA_RETENTION_DEFAULT) {
        return usable(t);
    }
    struct model_policy policy = model_policy_of(change);
    struct toy_op op = {TOY_ALTER, space, slice_of(NULL, 0), slice_of(&policy, sizeof policy), 0};
    return append_one(t, op, false);
}

static strata_rc toy_sync(struct store *s)
{
    struct toy *t = (struct toy *)s;
    strata_rc rc = usable(t);
    return rc != STRATA_OK || t->bug == TOY_NO_SYNC ? rc : sync_log(t);
}

// ---- writing log and values anew

static strata_rc write_current(struct toy *t)
{
    struct os_file *f = NULL;
    char text[24];
    int bytes = snprintf(text, sizeof text, "%llu", (unsigned long long)t->number);
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

// What comes of one operation of a record when log and values are written anew. `last`: of the log.
struct rewriting {
    const struct model *full; // the memory before
    struct os_file *log, *values;
    uint64_t tail, values_tail;
    uint64_t floors[MODEL_SPACES_MAX];
    uint64_t left_out;
};

// Did the put of `commit` end by the floor?
static bool is_gone(const struct rewriting *w, const struct toy_op *op, uint64_t commit, int bug)
{
    const struct model_space *s = &w->full->spaces[op->space];
    uint64_t floor = w->floors[op->space];
    if (bug == TOY_TRIM_EARLY && s->policy.retention == STRATA_RETENTION_AGE && floor > 0) {
        floor++;
    }
    if (commit >= floor) {
        return false;
    }
    const struct model_version *now = model_get(s, op->key, floor, 0);
    return now == NULL || now->commit != commit;
}

static strata_rc rewrite_op(struct toy *t, struct rewriting *w, struct toy_op op, uint64_t commit)
{
    struct toy_place place;
    struct slice value;
    strata_rc rc = STRATA_OK;
    bool put = op.kind == MODEL_PUT || op.kind == TOY_APART;
    if (put && is_gone(w, &op, commit, t->bug)) {
        op = (struct toy_op){TOY_GONE, op.space, slice_of(NULL, 0), slice_of(NULL, 0), 0};
    }
    if (op.kind == TOY_APART) {
        toy_value(t, &op, &value);
        rc = store_value(w->values, &w->values_tail, value, &place);
        if (t->bug == TOY_VALUE_LEFT_OUT && w->left_out++ == 2) {
            place.sum++;
        }
        op.value = slice_of(&place, sizeof place);
    }
    op.expires_us = t->bug == TOY_EXPIRY_LOST ? 0 : op.expires_us;
    toy_record_add(t, &op);
    return rc;
}

// The last put apart of a record that somebody deleted since: the bug that writes its key again.
static void rewrite_key(struct toy *t, struct rewriting *w, const struct toy_op *deleted)
{
    struct toy_op op = *deleted;
    struct toy_place place;
    struct slice value;
    if (t->bug == TOY_KEY_REWRITTEN && op.kind == TOY_APART && toy_value(t, &op, &value) &&
        model_get(&w->full->spaces[op.space], op.key, w->full->newest, 0) == NULL) {
        (void)store_value(w->values, &w->values_tail, value, &place);
        op.value = slice_of(&place, sizeof place);
        toy_record_add(t, &op);
    }
}

static strata_rc rewrite_record(struct toy *t, struct rewriting *w, const uint8_t *record,
                                bool last, struct toy_op *deleted)
{
    uint32_t rest;
    struct toy_op op;
    strata_rc rc = STRATA_OK;
    size_t used;
    memcpy(&rest, record, 4);
    size_t bytes = (size_t)rest + 4;
    uint64_t commit = toy_record_commit(record);
    if (bytes > TOY_HEAD_BYTES && record[TOY_HEAD_BYTES] == TOY_FLOOR) {
        return STRATA_OK; // written at the end
    }
    toy_record_begin(t);
    for (size_t at = TOY_HEAD_BYTES; at < bytes && rc == STRATA_OK; at += used) {
        used = toy_decode(record + at, bytes - at, &op);
        if (used == 0) {
            break; // torn, and accepted so
        }
        rc = rewrite_op(t, w, op, commit);
        if (op.kind == TOY_APART) {
            *deleted = op;
        }
    }
    if (last && op.kind != TOY_ALTER && op.kind != TOY_CREATE && op.kind != TOY_DROP) {
        rewrite_key(t, w, deleted);
    }
    toy_record_end(t, commit, toy_record_time(record));
    return rc == STRATA_OK ? write_record(t, w->log, &w->tail) : rc;
}

static strata_rc rewrite_records(struct toy *t, struct rewriting *w, const uint8_t *log,
                                 const size_t *at, size_t count)
{
    strata_rc rc = STRATA_OK;
    struct toy_op deleted = {.kind = 0};
    for (size_t i = 0; i < count && rc == STRATA_OK; i++) {
        rc = rewrite_record(t, w, log + at[i], i + 1 == count, &deleted);
    }
    for (size_t i = 0; i < MODEL_SPACES_MAX && rc == STRATA_OK; i++) {
        if (w->floors[i] != 0 && t->bug != TOY_FLOOR_LOST) {
            struct toy_op op = {TOY_FLOOR, i, slice_of(NULL, 0),
                                slice_of(&w->floors[i], sizeof w->floors[0]), 0};
            toy_record_begin(t);
            toy_record_add(t, &op);
            toy_record_end(t, w->full == NULL ? 0 : w->full->newest, 0);
            rc = write_record(t, w->log, &w->tail);
        }
    }
    return rc;
}

static strata_rc new_file(struct toy *t, const char *kind, struct os_file **file_out)
{
    char name[32];
    file_name(name, kind, t->number);
    return os_file_open(t->dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_TRUNCATE, file_out);
}

// Copies the accepted records, and the values that they refer to, to new files under the next
// number, and trusts those. What the floors let go is left out.
static strata_rc rewrite(struct toy *t, const uint8_t *log, const size_t *at, size_t count,
                         const uint64_t *floors)
{
    struct rewriting w = {.full = t->model};
    uint64_t old_number = t->number;
    char name[32];
    if (floors != NULL) {
        memcpy(w.floors, floors, sizeof w.floors);
    }
    t->number++;
    strata_rc rc = new_file(t, "log", &w.log);
    if (rc == STRATA_OK) {
        rc = new_file(t, "val", &w.values);
    }
    if (rc == STRATA_OK) {
        rc = rewrite_records(t, &w, log, at, count);
    }
    if (rc == STRATA_OK && t->bug != TOY_TRUST_TAIL) {
        rc = os_file_sync(w.values, false);
    }
    if (rc == STRATA_OK && t->bug != TOY_TRUST_TAIL) {
        rc = os_file_sync(w.log, false);
    }
    if (rc == STRATA_OK) {
        rc = write_current(t);
    }
    if (rc != STRATA_OK) {
        os_file_close(w.log);
        os_file_close(w.values);
        t->number = old_number;
        t->broken = true;
        return rc;
    }
    os_file_close(t->log);
    os_file_close(t->values);
    t->log = w.log;
    t->values = w.values;
    t->tail = toy_round_up(w.tail, 512);
    t->values_tail = toy_round_up(w.values_tail, 512);
    if (old_number == 0) {
        return STRATA_OK;
    }
    file_name(name, "log", old_number);
    rc = os_dir_unlink(t->dir, name);
    file_name(name, "val", old_number);
    return rc == STRATA_OK ? os_dir_unlink(t->dir, name) : rc;
}

static strata_rc read_whole(struct toy *t, const char *kind, struct os_file **file_out,
                            uint8_t **bytes_out, size_t *count_out)
{
    char name[32];
    uint64_t size = 0;
    file_name(name, kind, t->number);
    strata_rc rc = os_file_open(t->dir, name, OS_OPEN_WRITE, file_out);
    if (rc == STRATA_OK) {
        rc = os_file_size(*file_out, &size);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    *bytes_out = test_alloc((size_t)size, 1);
    *count_out = (size_t)size;
    return size == 0 ? STRATA_OK : os_file_read(*file_out, 0, *bytes_out, (size_t)size);
}

// Applies what it accepts of a log; at_out: where each record begins.
static size_t replay(struct toy *t, const uint8_t *log, size_t bytes, size_t *at_out)
{
    size_t count = 0;
    for (size_t p = 0; p < bytes;) {
        size_t used = toy_record_check(t, log, bytes, p);
        if (used > 0) {
            toy_record_apply(t, log + p, used);
            at_out[count++] = p;
            p = (size_t)toy_round_up(p + used, 8);
        } else if (p % 512 != 0) {
            p = (size_t)toy_round_up(p, 512);
        } else if (t->bug == TOY_HOLE) {
            p += 512;
        } else {
            break;
        }
    }
    return count;
}

// What the policies let go now.
static void advance_floors(struct toy *t)
{
    int64_t now = toy_now(t);
    for (size_t i = 0; i < t->model->space_count; i++) {
        uint64_t floor = model_floor(t->model, i, now);
        t->floors[i] = floor > t->floors[i] ? floor : t->floors[i];
    }
}

// Reads the present log, applies what it accepts, and writes it anew.
static strata_rc recover(struct toy *t, bool trims)
{
    uint8_t *log = NULL;
    size_t bytes = 0;
    size_t *at = NULL;
    strata_rc rc = read_whole(t, "log", &t->log, &log, &bytes);
    if (rc == STRATA_OK) {
        rc = read_whole(t, "val", &t->values, &t->read_values, &t->read_values_bytes);
    }
    if (rc == STRATA_OK) {
        at = test_alloc(bytes / TOY_HEAD_BYTES + 1, sizeof *at);
        size_t count = replay(t, log, bytes, at);
        if (trims) {
            advance_floors(t);
        }
        rc = rewrite(t, log, at, count, t->floors);
    }
    free(at);
    free(log);
    free(t->read_values);
    t->read_values = NULL;
    t->read_values_bytes = 0;
    return rc;
}

static void close_files(struct toy *t)
{
    os_file_close(t->log);
    os_file_close(t->values);
    t->log = NULL;
    t->values = NULL;
}

static struct model *new_memory(const struct toy *t)
{
    struct model *m = model_new();
    m->spaces[0].policy = t->policy;
    return m;
}

// Reads the present files into a new memory; the old one comes back when that fails.
static strata_rc reload(struct toy *t, bool trims)
{
    struct model *old = t->model;
    close_files(t);
    t->model = new_memory(t);
    strata_rc rc = recover(t, trims);
    if (rc != STRATA_OK) {
        model_free(t->model);
        t->model = old;
        t->broken = true;
        return rc;
    }
    model_free(old);
    return STRATA_OK;
}

// Trims, then reads what is left: what was trimmed too much is missed at once.
static strata_rc toy_compact(struct store *s, bool values)
{
    struct toy *t = (struct toy *)s;
    (void)values;
    strata_rc rc = toy_sync(s);
    if (rc == STRATA_OK) {
        rc = reload(t, true);
    }
    return rc == STRATA_OK ? reload(t, false) : rc;
}

// ---- life

static strata_rc toy_close(struct store *s)
{
    struct toy *t = (struct toy *)s;
    strata_rc rc = STRATA_OK;
    if (t->log != NULL && !t->broken && t->bug != TOY_NO_SYNC) {
        rc = sync_log(t);
    }
    close_files(t);
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
    t->machine = machine;
    t->bug = config->toy_bug;
    t->policy = model_policy_of(&config->options.keyspace);
    t->model = new_memory(t);
    *store_out = NULL;
    strata_rc rc = machine->open_dir(machine, "db", true, &t->dir);
    if (rc == STRATA_OK) {
        rc = os_dir_lock(t->dir, "LOCK", OS_LOCK_EXCLUSIVE);
    }
    if (rc == STRATA_OK) {
        rc = read_current(t, &number);
        t->number = number;
        rc = rc == STRATA_OK          ? recover(t, false)
             : rc == STRATA_NOT_FOUND ? rewrite(t, NULL, NULL, 0, NULL)
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

static int64_t toy_time_of(struct store *s, uint64_t commit)
{
    return ((struct toy *)s)->model->times[commit];
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

static bool key_agrees(const struct model_space *own, const struct model_space *space,
                       const struct model_key *key, uint64_t at, int64_t time_us)
{
    const struct model_version *want = model_value_at(space, key, at, time_us);
    const struct model_version *got = model_get(own, key->key, at, time_us);
    return (want == NULL) == (got == NULL) &&
           (want == NULL || slice_equal(want->value, got->value));
}

static size_t count_shown(const struct model_space *s, uint64_t at, int64_t time_us)
{
    size_t shown = 0;
    for (size_t k = 0; k < s->key_count; k++) {
        shown += model_value_at(s, &s->keys[k], at, time_us) == NULL ? 0 : 1;
    }
    return shown;
}

static bool space_agrees(const struct toy *t, const struct model *m, size_t i, uint64_t at,
                         char *fault_out)
{
    const struct model_space *space = &m->spaces[i];
    const struct model_space *own = &t->model->spaces[i];
    int64_t now = toy_now(t);
    int64_t time_us = at == t->model->newest ? model_now_s(m, now) : model_time_s(m, at);
    if (model_space_is_there(m, i, at) != model_space_is_there(t->model, i, at)) {
        snprintf(fault_out, STORE_FAULT_BYTES, "keyspace %s is there or not", space->name);
        return false;
    }
    if (t->floors[i] > model_floor(m, i, now)) {
        snprintf(fault_out, STORE_FAULT_BYTES, "keyspace %s has floor %llu, allowed are %llu",
                 space->name, (unsigned long long)t->floors[i],
                 (unsigned long long)model_floor(m, i, now));
        return false;
    }
    if (at < t->floors[i]) {
        return true; // trimmed
    }
    for (size_t k = 0; k < space->key_count; k++) {
        if (!key_agrees(own, space, &space->keys[k], at, time_us)) {
            snprintf(fault_out, STORE_FAULT_BYTES, "key %.*s differs at commit %llu",
                     (int)space->keys[k].key.bytes, (const char *)space->keys[k].key.data,
                     (unsigned long long)at);
            return false;
        }
    }
    if (count_shown(space, at, time_us) != count_shown(own, at, time_us)) {
        snprintf(fault_out, STORE_FAULT_BYTES, "keyspace %s has other keys", space->name);
        return false;
    }
    return true;
}

static bool toy_agrees(struct store *s, const struct model *m, uint64_t at, bool deep,
                       char *fault_out)
{
    (void)deep;
    for (size_t i = 0; i < m->space_count && m->spaces[i].created <= at; i++) {
        if (!space_agrees((struct toy *)s, m, i, at, fault_out)) {
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
