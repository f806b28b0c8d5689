// Runs a script on a simulated machine beside the model.
#include "db/db.h"
#include "lib/test_lib.h"
#include "model/compare.h"
#include "model/features.h"
#include "model/script.h"
#include "model/store.h"
#include "model/walker.h"
#include "sim/sim_machine.h"

#include <stdlib.h>

#define BATCH_MAX 16
#define VALUE_MAX 1600000u
#define BATCH_VALUE_MAX 4096u
#define KEY_MAX 320
#define SECOND_US 1000000

struct player {
    const struct config *config;
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
    struct model *model;
    uint64_t synced; // the last commit that a crash may not lose
    int64_t op_began_us;
    struct {
        strata_snapshot *handle; // NULL: not taken
        uint64_t commit;
    } snapshots[SCRIPT_SLOTS];
    struct walker walkers[SCRIPT_SLOTS];
    struct {
        strata_value_reader *handle; // NULL: closed
        struct slice value;          // a copy of what it must give
    } readers[SCRIPT_SLOTS];
    uint8_t key[KEY_MAX], key_too[KEY_MAX];
    char fault[STORE_FAULT_BYTES]; // empty: all agrees so far
};

static bool failed(struct player *p, const char *what, strata_rc rc)
{
    if (rc != STRATA_OK && p->fault[0] == '\0') {
        snprintf(p->fault, sizeof p->fault, "%s: %d, %.400s", what, (int)rc,
                 rc < 0 ? strata_error_text() : "");
    }
    return p->fault[0] != '\0';
}

// ---- names, keys, values

static const char *space_name(uint64_t i)
{
    static const char *const names[SCRIPT_SPACES] = {"default", "accounts", "b", "zoo"};
    return names[i % SCRIPT_SPACES];
}

// Keys of many lengths with long shared prefixes, and bytes of every kind.
static struct slice make_key(uint8_t *to, uint64_t number)
{
    uint64_t n = number % SCRIPT_KEYS;
    char text[32];
    size_t bytes = (size_t)snprintf(text, sizeof text, "%03llu", (unsigned long long)n);
    size_t used = 0;
    if (n % 4 == 1) {
        memset(to, 'p', 40);
        used = 40;
    }
    memcpy(to + used, text, bytes);
    used += bytes;
    if (n % 5 == 2) {
        to[used++] = 0;
        to[used++] = 0xff;
    }
    if (n % 23 == 7) {
        memset(to + used, 'x', 250);
        used += 250;
    }
    return slice_of(to, used);
}

static struct slice make_value(uint8_t *to, uint64_t bytes, uint64_t seed, size_t most)
{
    size_t n = (size_t)(bytes % (most + 1));
    struct prng random = {seed};
    uint64_t range = seed % 3 == 0 ? 256 : 1 + seed % 5; // some compress, some do not
    size_t i = 0;
    for (; i < n && i < 1000; i++) {
        to[i] = (uint8_t)('a' + prng_below(&random, range));
    }
    for (; i < n; i += 8) {
        uint64_t word = seed % 3 == 0 ? prng_next(&random) : seed;
        memcpy(to + i, &word, n - i < 8 ? n - i : 8);
    }
    return slice_of(to, n);
}

// As strata_write.expires_unix_us.
static int64_t make_expiry(const struct player *p, uint64_t n)
{
    if (!ENGINE_EXPIRES || n == 0) {
        return 0;
    }
    int64_t now = p->machine.wall_us;
    return n == 1 ? STRATA_NEVER : n == 2 ? now - SECOND_US : now + (int64_t)(n % 5000) * SECOND_US;
}

static strata_slice to_public(struct slice s)
{
    return (strata_slice){s.data, s.bytes};
}

// The handle and the model's index of a keyspace; false when it is not there.
static bool find_space(struct player *p, uint64_t i, strata_keyspace **keyspace_out,
                       size_t *space_out)
{
    *space_out = model_space_named(p->model, space_name(i), p->model->newest);
    *keyspace_out = NULL;
    strata_rc rc = strata_keyspace_open(p->db, space_name(i), keyspace_out);
    if (*space_out == SIZE_MAX) {
        failed(p, "keyspace_open of one that is not there",
               rc == STRATA_NOT_FOUND ? STRATA_OK
               : rc == STRATA_OK      ? STRATA_INTERNAL
                                      : rc);
        return false;
    }
    return !failed(p, "keyspace_open", rc);
}

// Where and when an operation reads; false when the keyspace is not there.
static bool find_read(struct player *p, uint64_t space, uint64_t when, struct compare *c)
{
    strata_keyspace *keyspace;
    size_t i;
    if (!find_space(p, space, &keyspace, &i)) {
        return false;
    }
    uint64_t at = p->model->newest;
    strata_snapshot *snapshot = NULL;
    if (when > SCRIPT_SLOTS) {
        // Half of them are among the latest, where most of the versions are.
        uint64_t w = when - SCRIPT_SLOTS - 1;
        at = w % 2 == 0 || at < 40 ? w / 2 % (at + 1) : at - w / 2 % 40;
    } else if (when > 0 && p->snapshots[when - 1].handle != NULL) {
        snapshot = p->snapshots[when - 1].handle;
        at = p->snapshots[when - 1].commit;
    }
    if (when > SCRIPT_SLOTS) {
        compare_init(c, p->db, keyspace, p->model, i, at, p->machine.wall_us);
    } else if (snapshot != NULL) {
        compare_init_snapshot(c, p->db, keyspace, p->model, i, at, snapshot);
    } else {
        compare_init_now(c, p->db, keyspace, p->model, i, p->machine.wall_us);
    }
    return compare_oldest(c, p->fault);
}

// ---- writes

// The time of the newest commit, which must be that of the clock while it was written.
static void note_time(struct player *p)
{
    int64_t time_us = 0;
    int64_t before = p->model->newest < 2 ? 0 : p->model->times[p->model->newest - 1];
    if (failed(p, "commit_time", strata_commit_time(p->db, p->model->newest, &time_us))) {
        return;
    }
    int64_t least = p->op_began_us > before ? p->op_began_us : before;
    int64_t most = p->machine.wall_us > before ? p->machine.wall_us : before;
    if (time_us < least || time_us > most) {
        snprintf(p->fault, sizeof p->fault, "commit %llu has time %lld, expected %lld to %lld",
                 (unsigned long long)p->model->newest, (long long)time_us, (long long)least,
                 (long long)most);
        return;
    }
    model_set_time(p->model, time_us);
}

static void note_commit(struct player *p, const struct script_op *op, strata_rc rc, uint64_t commit)
{
    if (failed(p, "a commit", rc)) {
        return;
    }
    if (commit != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "commit %llu, expected %llu",
                 (unsigned long long)commit, (unsigned long long)p->model->newest);
        return;
    }
    note_time(p);
    if (op->e % 3 == STRATA_SYNC) {
        p->synced = commit;
    }
}

static void do_write(struct player *p, const struct script_op *op)
{
    static uint8_t value_bytes[VALUE_MAX];
    strata_write how = STRATA_WRITE_INIT;
    uint64_t commit = 0;
    size_t space;
    if (!find_space(p, op->a, &how.keyspace, &space)) {
        return;
    }
    how.durability = (strata_durability)(op->e % 3);
    how.commit_out = &commit;
    struct slice key = make_key(p->key, op->b);
    struct model_op write = {MODEL_PUT, space, key, slice_of(NULL, 0), 0};
    strata_rc rc;
    if (op->kind == SCRIPT_PUT) {
        write.value = make_value(value_bytes, op->c, op->d, VALUE_MAX);
        write.expires_us = make_expiry(p, op->e / 3);
        how.expires_unix_us = write.expires_us;
        rc = strata_put(p->db, &how, to_public(key), to_public(write.value));
    } else if (op->kind == SCRIPT_DELETE) {
        write.kind = MODEL_DELETE;
        rc = strata_delete(p->db, &how, to_public(key));
    } else {
        write.kind = MODEL_DELETE_RANGE;
        write.value = make_key(p->key_too, op->c);
        rc = strata_delete_range(p->db, &how, to_public(key), to_public(write.value));
        if (slice_compare(key, write.value) >= 0) {
            failed(p, "an empty range", rc == STRATA_INVALID ? STRATA_OK : STRATA_INTERNAL);
            return;
        }
    }
    model_commit(p->model, &write, 1);
    note_commit(p, op, rc, commit);
}

// A put in pieces; one in five is given up, half of them in the middle.
static void do_stream(struct player *p, const struct script_op *op)
{
    static uint8_t value_bytes[VALUE_MAX];
    strata_write how = STRATA_WRITE_INIT;
    strata_put_stream *stream = NULL;
    uint64_t commit = 0;
    size_t space;
    if (!ENGINE_STREAMS || !find_space(p, op->a, &how.keyspace, &space)) {
        return;
    }
    struct slice key = make_key(p->key, op->b);
    struct slice value = make_value(value_bytes, op->c, op->d, VALUE_MAX);
    struct prng random = {op->d};
    struct model_op write = {MODEL_PUT, space, key, value, make_expiry(p, op->e / 3)};
    bool aborted = op->d % 5 == 0;
    size_t stop = aborted ? value.bytes / 2 : value.bytes;
    how.durability = (strata_durability)(op->e % 3);
    how.commit_out = &commit;
    how.expires_unix_us = write.expires_us;
    if (failed(p, "put_begin", strata_put_begin(p->db, &how, to_public(key), &stream))) {
        return;
    }
    for (size_t at = 0; at < stop && p->fault[0] == '\0';) {
        size_t piece = 1 + (size_t)prng_below(&random, prng_one_in(&random, 3) ? 2000000 : 3000);
        piece = piece < stop - at ? piece : stop - at;
        failed(p, "put_append", strata_put_append(stream, value.data + at, piece));
        at += piece;
        if (prng_one_in(&random, 4)) {
            sim_machine_crank(&p->machine, 5);
        }
    }
    if (aborted || p->fault[0] != '\0') {
        strata_put_abort(stream);
        return;
    }
    strata_rc rc = strata_put_finish(stream);
    model_commit(p->model, &write, 1);
    note_commit(p, op, rc, commit);
}

// One operation of a batch, put into both; false when its keyspace is not there.
static bool add_to_batch(struct player *p, strata_batch *batch, struct prng *random, uint64_t keys,
                         uint8_t *bytes, struct model_op *out)
{
    strata_keyspace *keyspace;
    uint64_t where = prng_one_in(random, 2) ? prng_below(random, SCRIPT_SPACES) : 0;
    uint64_t n = prng_below(random, keys);
    uint64_t x = prng_below(random, 10);
    uint64_t length =
        prng_one_in(random, 8) ? prng_below(random, BATCH_VALUE_MAX) : prng_below(random, 300);
    uint64_t seed = prng_next(random);
    size_t space;
    if (!find_space(p, where, &keyspace, &space)) {
        return false;
    }
    struct slice key = make_key(bytes, n);
    struct slice more = x < 8 ? make_value(bytes + KEY_MAX, length, seed, BATCH_VALUE_MAX)
                              : make_key(bytes + KEY_MAX, n + 1 + length % 9);
    int64_t expires_us = seed % 8 == 0 ? make_expiry(p, seed % 1000) : 0;
    strata_rc rc;
    enum model_kind kind = MODEL_DELETE;
    if (x < 6 && ENGINE_EXPIRES && expires_us != 0) {
        kind = MODEL_PUT;
        rc =
            strata_batch_put_expiring(batch, keyspace, to_public(key), to_public(more), expires_us);
    } else if (x < 6) {
        kind = MODEL_PUT;
        rc = strata_batch_put(batch, keyspace, to_public(key), to_public(more));
    } else if (x < 8 || slice_compare(key, more) >= 0) {
        rc = strata_batch_delete(batch, keyspace, to_public(key));
        more = slice_of(NULL, 0);
    } else {
        kind = MODEL_DELETE_RANGE;
        rc = strata_batch_delete_range(batch, keyspace, to_public(key), to_public(more));
    }
    *out = (struct model_op){kind, space, key, more, expires_us};
    return !failed(p, "filling a batch", rc);
}

static void do_batch(struct player *p, const struct script_op *op)
{
    static uint8_t bytes[BATCH_MAX][KEY_MAX + BATCH_VALUE_MAX];
    struct model_op ops[BATCH_MAX];
    strata_batch *batch = NULL;
    strata_write how = STRATA_WRITE_INIT;
    uint64_t commit = 0;
    size_t count = 0;
    struct prng random = {op->c};
    if (failed(p, "batch_new", strata_batch_new(p->db, &batch))) {
        return;
    }
    for (uint64_t i = 0; i < op->b && i < BATCH_MAX; i++) {
        count +=
            add_to_batch(p, batch, &random, op->d % SCRIPT_KEYS + 1, bytes[i], &ops[count]) ? 1 : 0;
    }
    how.durability = (strata_durability)(op->e % 3);
    if (count == 0) {
        strata_rc empty = strata_commit(p->db, &how, batch, &commit);
        failed(p, "an empty batch", empty == STRATA_INVALID ? STRATA_OK : STRATA_INTERNAL);
    } else {
        strata_rc rc = strata_commit(p->db, &how, batch, &commit);
        model_commit(p->model, ops, count);
        note_commit(p, op, rc, commit);
    }
    strata_batch_free(batch);
}

// ---- reads

static void do_get(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (find_read(p, op->a, op->e, &c)) {
        compare_get(&c, make_key(p->key, op->b), p->fault);
    }
}

static void do_get_many(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (find_read(p, op->a, op->e, &c)) {
        compare_all_gets(&c, p->fault);
    }
}

static bool show_some(void *ctx, strata_slice key, strata_slice value)
{
    (void)ctx;
    const uint8_t *k = key.data;
    return (k[key.bytes - 1] + value.bytes) % 3 != 0;
}

static void set_flags(struct compare *c, uint64_t flags, struct slice lower, struct slice upper)
{
    if ((flags & 1) != 0) {
        c->how.lower = to_public(lower);
    }
    if ((flags & 2) != 0) {
        c->how.upper = to_public(upper);
    }
    if ((flags & 12) == 12) {
        c->how.filter = show_some;
    }
    if ((flags & 48) == 48) {
        c->how.step_budget = 1 + (flags >> 10) % 5;
    }
    c->how.cache_bypass = (flags & 64) != 0;
}

// Bounds the right way round: an interval that ends before it begins is not asked for.
static bool set_bounds(struct player *p, struct compare *c, const struct script_op *op)
{
    struct slice lower = make_key(p->key, op->b);
    struct slice upper = make_key(p->key_too, op->c);
    bool turned = slice_compare(lower, upper) > 0;
    set_flags(c, op->d, turned ? upper : lower, turned ? lower : upper);
    return true;
}

static void do_scan(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (find_read(p, op->a, op->e, &c) && set_bounds(p, &c, op)) {
        compare_scan(&c, (op->d & 128) != 0, p->fault);
    }
}

static void do_history(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (!find_read(p, op->a, op->e, &c)) {
        return;
    }
    if (op->kind == SCRIPT_KEY_HISTORY) {
        compare_history_key(&c, make_key(p->key, op->b), p->fault);
    } else if (set_bounds(p, &c, op)) {
        c.how.filter = NULL;
        c.how.step_budget = 0;
        compare_history(&c, p->fault);
    }
}

static void do_walk(struct player *p, const struct script_op *op)
{
    struct compare c;
    struct walker w;
    if (!find_read(p, op->a, op->e, &c)) {
        return;
    }
    struct prng random = {op->c};
    struct script_op bounds = *op;
    bounds.b = prng_next(&random);
    bounds.c = prng_next(&random);
    set_bounds(p, &c, &bounds);
    if (!walker_open(&w, &c, p->fault)) {
        return;
    }
    for (uint64_t i = 0; i < op->b && p->fault[0] == '\0'; i++) {
        static const enum walker_move moves[] = {
            WALKER_FIRST, WALKER_LAST, WALKER_SEEK, WALKER_SEEK_BEFORE, WALKER_NEXT,
            WALKER_PREV,  WALKER_NEXT, WALKER_PREV, WALKER_NEXT,        WALKER_PREV,
        };
        enum walker_move move = moves[prng_below(&random, sizeof moves / sizeof moves[0])];
        walker_move(&w, move, make_key(p->key, prng_next(&random)), p->fault);
    }
    walker_close(&w);
}

// ---- handles that live across operations

static void do_snapshot(struct player *p, uint64_t slot)
{
    uint64_t i = slot % SCRIPT_SLOTS;
    if (p->snapshots[i].handle != NULL) {
        strata_snapshot_release(p->snapshots[i].handle);
        p->snapshots[i].handle = NULL;
        return;
    }
    if (failed(p, "snapshot_take", strata_snapshot_take(p->db, &p->snapshots[i].handle))) {
        p->snapshots[i].handle = NULL;
        return;
    }
    p->snapshots[i].commit = strata_snapshot_commit(p->snapshots[i].handle);
    if (p->snapshots[i].commit != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "a snapshot at commit %llu, newest is %llu",
                 (unsigned long long)p->snapshots[i].commit, (unsigned long long)p->model->newest);
    }
}

static void do_iter(struct player *p, const struct script_op *op)
{
    struct walker *w = &p->walkers[op->a % SCRIPT_SLOTS];
    struct compare c;
    if (w->iter != NULL) {
        walker_close(w);
    } else if (find_read(p, op->e, 0, &c) && walker_open(w, &c, p->fault)) {
        walker_move(w, WALKER_SEEK, make_key(p->key, op->b), p->fault);
    }
}

static void do_step(struct player *p, const struct script_op *op)
{
    struct walker *w = &p->walkers[op->a % SCRIPT_SLOTS];
    for (uint64_t i = 0; i < op->b % 12 && w->iter != NULL && p->fault[0] == '\0'; i++) {
        walker_move(w, op->c % 2 == 0 ? WALKER_NEXT : WALKER_PREV, slice_of(NULL, 0), p->fault);
    }
}

static void close_reader(struct player *p, size_t i)
{
    if (ENGINE_READERS && p->readers[i].handle != NULL) {
        strata_value_close(p->readers[i].handle);
        free((void *)(uintptr_t)p->readers[i].value.data);
        p->readers[i].handle = NULL;
    }
}

// Opens a reader on a key's present value; the model says whether there is one.
static void open_reader(struct player *p, const struct script_op *op, size_t i)
{
    struct compare c;
    struct slice key = make_key(p->key, op->b);
    if (!find_read(p, op->e, 0, &c)) {
        return;
    }
    const struct model_version *want = model_get(c.space, key, c.at, c.time_us);
    strata_rc rc = strata_value_open(p->db, &c.how, to_public(key), &p->readers[i].handle);
    if (want == NULL) {
        failed(p, "value_open of a key without a value",
               rc == STRATA_NOT_FOUND ? STRATA_OK
               : rc == STRATA_OK      ? STRATA_INTERNAL
                                      : rc);
        return;
    }
    if (failed(p, "value_open", rc)) {
        p->readers[i].handle = NULL;
        return;
    }
    uint8_t *copy = test_alloc(want->value.bytes + 1, 1);
    if (want->value.bytes > 0) {
        memcpy(copy, want->value.data, want->value.bytes);
    }
    p->readers[i].value = slice_of(copy, want->value.bytes);
    if (strata_value_reader_bytes(p->readers[i].handle) != want->value.bytes ||
        strata_value_reader_commit(p->readers[i].handle) != want->commit) {
        snprintf(p->fault, sizeof p->fault, "a value reader of %llu bytes at commit %llu",
                 (unsigned long long)strata_value_reader_bytes(p->readers[i].handle),
                 (unsigned long long)strata_value_reader_commit(p->readers[i].handle));
    }
}

static void read_pieces(struct player *p, const struct script_op *op, size_t i)
{
    static uint8_t piece[VALUE_MAX];
    struct slice value = p->readers[i].value;
    struct prng random = {op->d};
    for (int n = 0; n < 3; n++) {
        size_t got = 0;
        size_t at = (size_t)prng_below(&random, value.bytes + 1);
        size_t bytes = (size_t)prng_below(&random, n == 0 ? VALUE_MAX : 5000);
        size_t want = bytes < value.bytes - at ? bytes : value.bytes - at;
        if (failed(p, "value_read",
                   strata_value_read(p->readers[i].handle, at, piece, bytes, &got))) {
            return;
        }
        if (got != want || (want > 0 && memcmp(piece, value.data + at, want) != 0)) {
            snprintf(p->fault, sizeof p->fault, "value_read at %zu: %zu bytes, expected %zu%s", at,
                     got, want, got == want ? ", other bytes" : "");
            return;
        }
    }
}

static void do_reader(struct player *p, const struct script_op *op)
{
    size_t i = op->a % SCRIPT_SLOTS;
    if (!ENGINE_READERS) {
        return;
    }
    if (p->readers[i].handle == NULL) {
        open_reader(p, op, i);
    } else {
        read_pieces(p, op, i);
        if (op->d % 3 == 0) {
            close_reader(p, i);
        }
    }
}

// True when there was any.
static bool close_handles(struct player *p)
{
    bool any = false;
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        any = any || p->walkers[i].iter != NULL || p->snapshots[i].handle != NULL;
        walker_close(&p->walkers[i]);
        close_reader(p, i);
        strata_snapshot_release(p->snapshots[i].handle);
        p->snapshots[i].handle = NULL;
    }
    return any;
}

static bool handles_are_open(const struct player *p)
{
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        if (p->walkers[i].iter != NULL || p->snapshots[i].handle != NULL ||
            p->readers[i].handle != NULL) {
            return true;
        }
    }
    return false;
}

// ---- keyspaces

static void do_create(struct player *p, const struct script_op *op)
{
    strata_keyspace *keyspace = NULL;
    const char *name = space_name(op->a);
    bool there = model_space_named(p->model, name, p->model->newest) != SIZE_MAX;
    if (!there && p->model->space_count == MODEL_SPACES_MAX) {
        return;
    }
    strata_keyspace_options options = config_keyspace(p->config->number, op->a % SCRIPT_SPACES);
    strata_rc rc = strata_keyspace_create(p->db, name, &options, &keyspace);
    if (there) {
        failed(p, "creating a keyspace twice",
               rc == STRATA_CONFLICT ? STRATA_OK
               : rc == STRATA_OK     ? STRATA_INTERNAL
                                     : rc);
        return;
    }
    model_space_create(p->model, name);
    model_set_policy(p->model, p->model->space_count - 1, model_policy_of(&options),
                     p->machine.wall_us);
    note_commit(p, &(struct script_op){.e = STRATA_SYNC}, rc, strata_newest_commit(p->db));
}

static void do_drop(struct player *p, const struct script_op *op)
{
    const char *name = space_name(op->a);
    size_t space = model_space_named(p->model, name, p->model->newest);
    if (strcmp(name, "default") == 0) {
        return;
    }
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        if (space != SIZE_MAX && p->walkers[i].c.space == &p->model->spaces[space]) {
            walker_close(&p->walkers[i]);
        }
    }
    strata_rc rc = strata_keyspace_drop(p->db, name);
    if (space == SIZE_MAX) {
        failed(p, "dropping what is not there",
               rc == STRATA_NOT_FOUND ? STRATA_OK
               : rc == STRATA_OK      ? STRATA_INTERNAL
                                      : rc);
        return;
    }
    model_space_drop(p->model, space);
    note_commit(p, &(struct script_op){.e = STRATA_SYNC}, rc, strata_newest_commit(p->db));
}

// Changes one of the live options.
static void do_alter(struct player *p, const struct script_op *op)
{
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace *keyspace;
    size_t space;
    if (!ENGINE_ALTERS || !find_space(p, op->a, &keyspace, &space)) {
        return;
    }
    static const uint32_t thresholds[] = {64, 100, 500, 4000};
    struct model_policy policy = p->model->spaces[space].policy;
    if (op->b < 2) {
        o.separation = op->c % 4 == 0 ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
        o.separate_bytes = thresholds[op->c / 4 % 4];
    } else if (op->b == 2) {
        o.value_compression = (strata_compression)(1 + op->c % 3);
    } else if (op->b == 3) {
        o.space_bound_percent = 110 + (uint32_t)(op->c % 100);
    } else if (op->b == 4 && ENGINE_EXPIRES) {
        o.expire_seconds = op->c % 2 == 0 ? STRATA_NEVER_SECONDS : 1 + (uint32_t)(op->c % 3000);
        policy.expire_seconds = op->c % 2 == 0 ? 0 : o.expire_seconds;
    } else if (ENGINE_TRIMS) {
        o.retention = (strata_retention)(1 + op->c % 4);
        o.retention_versions = 1 + (uint32_t)(op->c / 4 % 4);
        o.retention_seconds = 1 + (uint32_t)(op->c / 4 % 4000);
        policy.retention = o.retention;
        policy.versions = o.retention_versions;
        policy.age_seconds = o.retention_seconds;
    }
    if (!failed(p, "alter", strata_keyspace_alter(p->db, keyspace, &o))) {
        model_set_policy(p->model, space, policy, p->machine.wall_us);
    }
}

// ---- life

static void start_machine(struct player *p)
{
    int64_t wall_us = p->machine.wall_us;
    sim_machine_init(&p->machine, p->disk, p->config->order_seed);
    p->machine.wall_us = wall_us > p->machine.wall_us ? wall_us : p->machine.wall_us;
    p->machine.map_is_bad = p->config->map_is_bad;
}

static void open_db(struct player *p)
{
    strata_options options = p->config->options;
    options.flags |= STRATA_OPEN_CREATE;
    if (failed(p, "open", db_open(&p->machine.base, "db", &options, &p->db))) {
        p->db = NULL;
    }
}

static void do_reopen(struct player *p)
{
    if (handles_are_open(p)) {
        strata_rc busy = strata_close(p->db);
        if (failed(p, "a close with live handles",
                   busy == STRATA_BUSY ? STRATA_OK : STRATA_INTERNAL)) {
            return;
        }
        close_handles(p);
    }
    strata_rc rc = strata_close(p->db);
    p->db = NULL;
    if (failed(p, "close", rc)) {
        return;
    }
    p->synced = p->model->newest;
    open_db(p);
    if (p->db != NULL && strata_newest_commit(p->db) != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "reopened at commit %llu, closed at %llu",
                 (unsigned long long)strata_newest_commit(p->db),
                 (unsigned long long)p->model->newest);
    }
}

static void do_crash(struct player *p, const struct script_op *op)
{
    p->machine.dead = true;
    close_handles(p);
    (void)strata_close(p->db);
    p->db = NULL;
    sim_machine_release(&p->machine);
    struct sim_disk *left =
        sim_disk_survive(p->disk, (enum sim_survive)(op->a % SIM_SURVIVE_POLICIES), op->c);
    sim_disk_free(p->disk);
    p->disk = left;
    start_machine(p);
    open_db(p);
    if (p->db == NULL) {
        return;
    }
    uint64_t newest = strata_newest_commit(p->db);
    if (newest < p->synced || newest > p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "recovered to commit %llu, synced %llu, newest %llu",
                 (unsigned long long)newest, (unsigned long long)p->synced,
                 (unsigned long long)p->model->newest);
        return;
    }
    model_cut(p->model, newest);
    p->synced = newest;
    compare_db(p->db, p->model, newest, p->machine.wall_us, false, p->fault);
}

static void do_compact(struct player *p, const struct script_op *op)
{
    strata_keyspace *keyspace = NULL;
    size_t space;
    if (op->a < SCRIPT_SPACES && !find_space(p, op->a, &keyspace, &space)) {
        return;
    }
    if (ENGINE_COMPACTS_VALUES && op->kind == SCRIPT_COMPACT_VALUES) {
        failed(p, "compact_values", strata_compact_values(p->db, keyspace, NULL, NULL));
        return;
    }
    failed(p, "compact", strata_compact(p->db, keyspace, NULL, NULL));
}

static void do_upkeep(struct player *p, const struct script_op *op)
{
    switch (op->kind) {
    case SCRIPT_SYNC:
        if (!failed(p, "sync", strata_sync(p->db))) {
            p->synced = p->model->newest;
        }
        break;
    case SCRIPT_FLUSH:
        failed(p, "flush", strata_flush(p->db));
        break;
    case SCRIPT_COMPACT:
    case SCRIPT_COMPACT_VALUES:
        do_compact(p, op);
        break;
    case SCRIPT_CLOCK:
        sim_machine_step_clock(&p->machine, (int64_t)(op->a % 5000) * SECOND_US,
                               op->a % 5000 * 1000000000);
        break;
    case SCRIPT_CRANK:
        sim_machine_crank(&p->machine, op->a * 7 + op->b);
        break;
    case SCRIPT_IDLE:
        failed(p, "wait_idle", strata_wait_idle(p->db));
        break;
    case SCRIPT_CHECK:
        failed(p, "check", strata_check(p->db));
        break;
    case SCRIPT_COMPARE:
        compare_db(p->db, p->model,
                   op->e <= SCRIPT_SLOTS ? p->model->newest : op->e % (p->model->newest + 1),
                   p->machine.wall_us, true, p->fault);
        break;
    case SCRIPT_REOPEN:
        do_reopen(p);
        break;
    case SCRIPT_CRASH:
        do_crash(p, op);
        break;
    default:
        break;
    }
}

static void do_op(struct player *p, const struct script_op *op)
{
    switch (op->kind) {
    case SCRIPT_PUT:
    case SCRIPT_DELETE:
    case SCRIPT_RANGE:
        do_write(p, op);
        break;
    case SCRIPT_BATCH:
        do_batch(p, op);
        break;
    case SCRIPT_GET:
        do_get(p, op);
        break;
    case SCRIPT_GET_MANY:
        do_get_many(p, op);
        break;
    case SCRIPT_SCAN:
        do_scan(p, op);
        break;
    case SCRIPT_WALK:
        do_walk(p, op);
        break;
    case SCRIPT_HISTORY:
    case SCRIPT_KEY_HISTORY:
        do_history(p, op);
        break;
    case SCRIPT_SNAPSHOT:
        do_snapshot(p, op->a);
        break;
    case SCRIPT_ITER:
        do_iter(p, op);
        break;
    case SCRIPT_STEP:
        do_step(p, op);
        break;
    case SCRIPT_CREATE:
        do_create(p, op);
        break;
    case SCRIPT_DROP:
        do_drop(p, op);
        break;
    case SCRIPT_STREAM:
        do_stream(p, op);
        break;
    case SCRIPT_READER:
        do_reader(p, op);
        break;
    case SCRIPT_ALTER:
        do_alter(p, op);
        break;
    default:
        do_upkeep(p, op);
        break;
    }
}

static void end_run(struct player *p)
{
    if (p->db != NULL && p->fault[0] == '\0') {
        close_handles(p);
        if (compare_db(p->db, p->model, p->model->newest, p->machine.wall_us, true, p->fault)) {
            failed(p, "the check at the end", strata_check(p->db));
        }
    }
    if (p->db != NULL) {
        close_handles(p);
        failed(p, "the last close", strata_close(p->db));
    }
    const char *broken = sim_disk_check(p->disk);
    if (broken != NULL && p->fault[0] == '\0') {
        snprintf(p->fault, sizeof p->fault, "%s", broken);
    }
    if (p->fault[0] == '\0') {
        sim_machine_release(&p->machine);
    }
    model_free(p->model);
    sim_disk_free(p->disk);
}

bool script_run(const struct script *s, const struct config *config, char *fault_out)
{
    struct player *p = test_alloc(1, sizeof *p);
    size_t i = 0;
    p->config = config;
    p->disk = sim_disk_new();
    p->model = model_new();
    start_machine(p);
    open_db(p);
    while (p->db != NULL && p->model->newest < strata_newest_commit(p->db)) {
        model_commit_nothing(p->model);
        model_set_time(p->model, p->machine.wall_us);
    }
    model_set_policy(p->model, 0, model_policy_of(&config->options.keyspace), p->machine.wall_us);
    for (; i < s->count && p->db != NULL && p->fault[0] == '\0'; i++) {
        // Nothing that is asked about whole seconds comes near the end of one.
        if (p->machine.wall_us % SECOND_US > SECOND_US / 2) {
            sim_machine_step_clock(&p->machine, SECOND_US - p->machine.wall_us % SECOND_US,
                                   SECOND_US * 1000);
        }
        p->op_began_us = p->machine.wall_us;
        do_op(p, &s->ops[i]);
        sim_machine_crank(&p->machine, config->crank_steps);
        model_advance(p->model, p->machine.wall_us);
    }
    size_t at = i == 0 ? 0 : i - 1;
    end_run(p);
    bool same = p->fault[0] == '\0';
    snprintf(fault_out, SCRIPT_FAULT_BYTES, "operation %zu of %zu (%s): %s", at + 1, s->count,
             at < s->count ? script_kind_name(s->ops[at].kind) : "open", p->fault);
    free(p);
    return same;
}
