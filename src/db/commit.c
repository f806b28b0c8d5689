// Commits: under commit.lock a batch takes the next number, is appended to the log, applied to the
// active memtables and published, in that order, so visibility follows the commit order by
// construction and a memtable has one writer at a time. What takes long (decoding, admission, the
// sync) happens outside of the lock.
#include "db/commit.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mutant.h"

// The way of a commit of values beside their keys is one function: each call counts there.
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define OPS_ON_STACK 8u
#define ENCODING_ON_STACK 1024u
#define LOG_CHECK_COMMITS 256u // how often the size of the log is looked at
#define SECOND_US 1000000ll
// What the value files of a generation may hold: its garbage is not known before its flush.
#define GENERATION_VALUE_BYTES_MAX (256ull << 20)
#define GENERATION_VALUE_MEMTABLES 4u // or so many memtables, if that is more

uint64_t db_batch_bytes_max(const strata_db *db)
{
    return db->memory.budget_bytes / 4;
}

strata_rc db_memtable_for(strata_db *db, struct generation *g, struct strata_keyspace *space,
                          struct memtable **memtable_out)
{
    ASSERT(space->slot < g->capacity);
    struct memtable *m = atomic_load_explicit(&g->memtables[space->slot], memory_order_relaxed);
    if (m == NULL) {
        strata_rc rc = memtable_new(&db->memtables, &m);
        if (rc != STRATA_OK) {
            return rc;
        }
        size_t bytes = memtable_bytes(m);
        os_memory_charge(&db->memory, OS_MEMORY_MEMTABLES, bytes);
        atomic_fetch_add_explicit(&g->bytes, bytes, memory_order_relaxed);
        // Release: pairs with the acquire load in generation_memtable().
        atomic_store_explicit(&g->memtables[space->slot], m, memory_order_release);
    }
    *memtable_out = m;
    return STRATA_OK;
}

static bool op_is_data(const struct batch_op *op)
{
    return op->kind == BATCH_PUT || op->kind == BATCH_DELETE || op->kind == BATCH_RANGE_DELETE ||
           op->kind == BATCH_PUT_EXPIRING || op->kind == BATCH_PUT_SEPARATED;
}

// What the memtable keeps as the value of the op, at most.
static size_t op_value_bytes_max(const struct batch_op *op)
{
    return op->kind == BATCH_PUT_SEPARATED ? KV_VALUE_REF_BYTES_MAX : op->value.bytes;
}

// Charges what the memtable grew by, and makes room for it among the cached blocks.
static void charge_growth(strata_db *db, struct generation *g, const struct memtable *m,
                          size_t before)
{
    size_t after = memtable_bytes(m);
    if (after > before) {
        os_memory_charge(&db->memory, OS_MEMORY_MEMTABLES, after - before);
        atomic_fetch_add_explicit(&g->bytes, after - before, memory_order_relaxed);
        cache_shrink(db->cache, 1);
    }
}

// The least number of a keyspace above `above` in the ops; UINT64_MAX when there is none.
static uint64_t next_keyspace_of(const struct batch_op *ops, uint32_t count, uint64_t above)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].keyspace > above && ops[i].keyspace < least) {
            least = ops[i].keyspace;
        }
    }
    return least;
}

strata_rc db_reserve_ops(strata_db *db, struct generation *g, const struct batch_op *ops,
                         uint32_t count)
{
    uint64_t number = next_keyspace_of(ops, count, 0);
    while (number != UINT64_MAX) {
        size_t total_ops = 0;
        size_t total_bytes = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (ops[i].keyspace == number) {
                total_ops++;
                total_bytes += ops[i].key.bytes + op_value_bytes_max(&ops[i]);
            }
        }
        struct memtable *m = NULL;
        strata_rc rc = db_memtable_for(db, g, space_by_number(db, number), &m);
        if (rc == STRATA_OK) {
            size_t before = memtable_bytes(m);
            rc = memtable_reserve(m, total_ops, total_bytes);
            charge_growth(db, g, m, before);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
        number = count == 1 ? UINT64_MAX : next_keyspace_of(ops, count, number);
    }
    return STRATA_OK;
}

static void apply_op(struct memtable *m, const struct batch_op *op, uint64_t hash, uint64_t commit)
{
    if (op->kind == BATCH_RANGE_DELETE) {
        memtable_delete_range(m, op->key, op->value, commit);
        return;
    }
    struct kv_entry e = {.key = op->key.data,
                         .key_bytes = (uint32_t)op->key.bytes,
                         .value = op->value.data,
                         .value_bytes = (uint32_t)op->value.bytes,
                         .commit = commit,
                         .expiry = op->expiry,
                         .kind = op->kind == BATCH_DELETE ? KV_DELETE : KV_PUT};
    uint8_t reference[KV_VALUE_REF_BYTES_MAX];
    if (op->kind == BATCH_PUT_SEPARATED) {
        e.kind = KV_PUT_SEPARATED;
        e.value = reference;
        e.value_bytes = kv_value_ref_encode(&op->ref, reference);
    }
    memtable_add(m, &e, hash);
}

void db_apply_ops(strata_db *db, struct generation *g, const struct batch_op *ops, uint32_t count,
                  uint64_t commit)
{
    for (uint32_t i = 0; i < count; i++) {
        if (op_is_data(&ops[i])) {
            struct memtable *m = generation_memtable(g, space_by_number(db, ops[i].keyspace)->slot);
            size_t before = memtable_bytes(m);
            apply_op(m, &ops[i], hash_key(ops[i].key), commit);
            charge_growth(db, g, m, before);
        }
    }
}

static uint64_t generation_value_bytes_max(const strata_db *db)
{
    uint64_t asked = atomic_load_explicit(&db->seal_value_bytes, memory_order_relaxed);
    uint64_t memtables = GENERATION_VALUE_MEMTABLES * db->options.memtable_bytes;
    return asked != 0                               ? asked
           : memtables > GENERATION_VALUE_BYTES_MAX ? memtables
                                                    : GENERATION_VALUE_BYTES_MAX;
}

void commit_seal_values_locked(strata_db *db)
{
    const struct generation *g = db->commit.active;
    uint64_t value_bytes = atomic_load_explicit(&g->value_bytes, memory_order_relaxed);
    if (value_bytes >= generation_value_bytes_max(db) && !db_seal_must_wait(db)) {
        (void)!db_seal_locked(db); // the next commit tries again
    }
}

// Seals when the active generation is full, has no place for a slot, or the log has grown too long.
static ALWAYS_INLINE strata_rc make_room_locked(strata_db *db, const strata_write *how,
                                                uint32_t slot_max)
{
    const struct generation *g = db->commit.active;
    bool full =
        slot_max >= g->capacity || atomic_load_explicit(&g->bytes, memory_order_relaxed) >=
                                       atomic_load_explicit(&db->seal_bytes, memory_order_relaxed);
    uint64_t value_bytes = atomic_load_explicit(&g->value_bytes, memory_order_relaxed);
    if (!full && value_bytes != 0 && value_bytes >= generation_value_bytes_max(db)) {
        full = !generation_is_empty(g);
    }
    if (!full && db->commit.last_commit % LOG_CHECK_COMMITS == 0) {
        struct wal_stats log;
        wal_stats(db->wal, &log);
        full = log.live_bytes > db->options.log_bytes_max;
    }
    if (full && how != NULL && (how->flags & STRATA_NO_WAIT) != 0 && db_seal_must_wait(db)) {
        return fail(STRATA_BUSY, "the write buffers are full; background flushes are behind");
    }
    return full ? db_seal_locked(db) : STRATA_OK;
}

// The record of the next commit; its number and time become the last ones when it is published.
static struct wal_record next_record_locked(strata_db *db, struct slice payload, uint32_t count)
{
    int64_t now = db->machine->clock->wall_us(db->machine->clock);
    if (now < db->commit.last_time_us) {
        now = db->commit.last_time_us;
    }
    return (struct wal_record){
        .commit = db->commit.last_commit + 1, .time_us = now, .count = count, .payload = payload};
}

static void publish_locked(strata_db *db, const struct wal_record *record)
{
    times_add(db, record->commit, record->time_us);
    db->commit.last_commit = record->commit;
    db->commit.last_time_us = record->time_us;
    // Release: a reader that acquires this number in view_load() sees the whole commit.
    atomic_store_explicit(&db->visible, record->commit, memory_order_release);
}

// Checks that every keyspace of the ops can be written; gives the greatest slot.
static ALWAYS_INLINE strata_rc check_spaces_locked(strata_db *db, const struct batch_op *ops,
                                                   uint32_t count, uint32_t *slot_max_out)
{
    uint32_t slot_max = 0;
    uint64_t checked = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].keyspace == checked) {
            continue;
        }
        const struct strata_keyspace *space = space_by_number(db, ops[i].keyspace);
        if (space == NULL || atomic_load_explicit(&space->dropped, memory_order_relaxed)) {
            return fail(STRATA_INVALID, "operation %u of the batch names a dropped keyspace", i);
        }
        slot_max = space->slot > slot_max ? space->slot : slot_max;
        checked = ops[i].keyspace;
    }
    *slot_max_out = slot_max;
    return STRATA_OK;
}

static ALWAYS_INLINE strata_rc commit_batch_locked(strata_db *db, const strata_write *how,
                                                   const struct incoming *in, uint64_t *commit_out)
{
    uint32_t slot_max = 0;
    strata_rc rc = check_spaces_locked(db, in->ops, in->kept, &slot_max);
    if (rc == STRATA_OK) {
        rc = make_room_locked(db, how, slot_max);
    }
    if (rc == STRATA_OK && in->own != NULL) {
        rc = values_make_place_locked(db);
    }
    if (rc == STRATA_OK && in->seals != 0 && in->seals != db->values.seals && !MUTANT(51)) {
        return STRATA_YIELD;
    }
    if (rc == STRATA_OK) {
        rc = db_reserve_ops(db, db->commit.active, in->ops, in->kept);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    struct wal_record record = next_record_locked(db, in->payload, in->count);
    rc = wal_append(db->wal, &record);
    if (rc == STRATA_OK) {
        if (in->own != NULL) {
            values_attach_locked(db, in->own);
        }
        db_apply_ops(db, db->commit.active, in->ops, in->kept, record.commit);
        publish_locked(db, &record);
        *commit_out = record.commit;
    }
    return rc;
}

strata_rc commit_locked(strata_db *db, const strata_write *how, const struct incoming *in,
                        uint64_t *commit_out)
{
    return commit_batch_locked(db, how, in, commit_out);
}

strata_rc db_commit_space_locked(strata_db *db, struct slice ops, uint64_t *commit_out)
{
    const uint8_t *at = ops.data;
    struct batch_op op;
    strata_rc rc = batch_decode(&at, ops.data + ops.bytes, &op);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct wal_record record = next_record_locked(db, ops, 1);
    rc = wal_append(db->wal, &record);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (op.kind == BATCH_KEYSPACE_DROP) {
        struct strata_keyspace *space = space_by_number(db, op.keyspace);
        ASSERT(space != NULL);
        // Release: pairs with the acquire load in space_resolve().
        atomic_store_explicit(&space->dropped, true, memory_order_release);
    }
    publish_locked(db, &record);
    *commit_out = record.commit;
    return STRATA_OK;
}

// The ticker is to sync the commit. Relaxed: a tick that misses it is followed by another.
static void promise(strata_db *db, uint64_t commit)
{
    uint64_t before = atomic_load_explicit(&db->promised, memory_order_relaxed);
    while (before < commit &&
           !atomic_compare_exchange_weak_explicit(&db->promised, &before, commit,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

static ALWAYS_INLINE strata_rc finish(strata_db *db, const strata_write *how, uint64_t commit,
                                      size_t bytes)
{
    metrics_add(&db->metrics, METRIC_commits, 1);
    metrics_add(&db->metrics, METRIC_commit_bytes, bytes);
    if (how != NULL && how->commit_out != NULL) {
        *how->commit_out = commit;
    }
    if (MUTANT(20) || (how != NULL && how->durability != STRATA_SYNC)) {
        if (how != NULL && how->durability == STRATA_SYNC_BACKGROUND) {
            promise(db, commit);
        }
        return STRATA_OK;
    }
    strata_rc rc = wal_sync(db->wal, commit);
    return rc == STRATA_OK ? STRATA_OK : db_fail(db, rc);
}

strata_rc commit_finish(strata_db *db, const strata_write *how, uint64_t commit, size_t bytes)
{
    return finish(db, how, commit, bytes);
}

static strata_rc commit_ops(strata_db *db, const strata_write *how, const struct incoming *in,
                            uint64_t *commit_out)
{
    strata_rc rc = db_admit(db, how, in->payload.bytes);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->commit.lock);
    rc = commit_batch_locked(db, how, in, commit_out);
    os_mutex_unlock(&db->commit.lock);
    return rc == STRATA_OK ? finish(db, how, *commit_out, in->payload.bytes) : rc;
}

strata_rc db_commit(strata_db *db, const strata_write *how, struct slice ops, uint32_t count,
                    uint64_t *commit_out)
{
    struct batch_op on_stack[OPS_ON_STACK];
    struct batch_op *decoded = on_stack;
    uint64_t commit = 0;
    uint32_t kept = 0;
    strata_rc rc = db_writable(db);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (ops.bytes > db_batch_bytes_max(db)) {
        return fail(STRATA_TOO_LARGE,
                    "the batch has %zu bytes; a batch may have %llu (a quarter of memory_bytes)",
                    ops.bytes, (unsigned long long)db_batch_bytes_max(db));
    }
    if (count > OPS_ON_STACK) {
        decoded = alloc_array(count, sizeof *decoded);
        if (decoded == NULL) {
            return alloc_failed("a batch", count * sizeof *decoded);
        }
    }
    rc = batch_normalise(ops, count, decoded, &kept);
    if (rc == STRATA_OK && separate_ops(db, decoded, kept)) {
        rc = commit_separated(db, how, decoded, kept, &commit);
    } else if (rc == STRATA_OK) {
        struct incoming in = {.payload = ops, .count = count, .kept = kept, .ops = decoded};
        rc = commit_ops(db, how, &in, &commit);
    }
    if (commit_out != NULL) {
        *commit_out = commit;
    }
    if (decoded != on_stack) {
        free(decoded);
    }
    return rc;
}

strata_rc db_expiry(strata_db *db, const struct strata_keyspace *space, int64_t given,
                    uint64_t *expiry_out)
{
    uint32_t seconds = atomic_load_explicit(&space->expire_seconds, memory_order_relaxed);
    *expiry_out = 0;
    if (given < 0) {
        return fail(STRATA_INVALID, "an expiry of %lld lies before 1970", (long long)given);
    }
    if (given == STRATA_NEVER || (given == 0 && seconds == 0)) {
        return STRATA_OK;
    }
    int64_t at = given;
    if (given == 0) {
        at = db_now_us(db) + (int64_t)seconds * SECOND_US;
    }
    // Up to a whole second: what is said to live so long does. Beyond the end of time is never.
    if (at <= INT64_MAX - SECOND_US) {
        *expiry_out = (uint64_t)((at + SECOND_US - 1) / SECOND_US * SECOND_US);
    }
    return STRATA_OK;
}

// 0 stands for no limit: it becomes the greatest number.
static inline bool value_is_separated(const struct strata_keyspace *space, size_t bytes)
{
    uint32_t least = atomic_load_explicit(&space->separate_bytes, memory_order_relaxed);
    return bytes > (uint32_t)(least - 1);
}

// Neither separated nor expiring: the short way of db_commit_one.
static inline bool put_is_plain(const strata_write *how, const struct strata_keyspace *space,
                                size_t bytes)
{
    return (how == NULL || how->expires_unix_us == 0) && !value_is_separated(space, bytes) &&
           atomic_load_explicit(&space->expire_seconds, memory_order_relaxed) == 0;
}

// The expiry of a put that is not plain.
static strata_rc put_of(strata_db *db, const strata_write *how, struct strata_keyspace *space,
                        struct batch_op *op)
{
    strata_rc rc = db_expiry(db, space, how == NULL ? 0 : how->expires_unix_us, &op->expiry);
    op->kind = op->expiry == 0 ? BATCH_PUT : BATCH_PUT_EXPIRING;
    return rc;
}

strata_rc db_commit_one(strata_db *db, const strata_write *how, enum kv_kind kind, struct slice key,
                        struct slice value)
{
    struct strata_keyspace *space;
    uint64_t commit = 0;
    uint8_t on_stack[ENCODING_ON_STACK];
    uint8_t *encoded = on_stack;
    strata_rc rc = space_resolve(db, how == NULL ? NULL : how->keyspace, &space);
    if (rc == STRATA_OK) {
        rc = db_writable(db);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    // The kinds of points and range deletes have the same numbers in batches.
    struct batch_op op = {
        .kind = (enum batch_kind)kind, .keyspace = space->number, .key = key, .value = value};
    if (kind == KV_PUT && __builtin_expect(!put_is_plain(how, space, value.bytes), 0)) {
        rc = put_of(db, how, space, &op);
        if (rc != STRATA_OK || value_is_separated(space, value.bytes)) {
            return rc == STRATA_OK ? commit_long_value(db, how, space, &op, &commit) : rc;
        }
    }
    size_t bytes_max = batch_op_bytes_max(&op);
    if (bytes_max > db_batch_bytes_max(db)) {
        return fail(STRATA_TOO_LARGE,
                    "key and value have %zu bytes; a commit may have %llu (a quarter of "
                    "memory_bytes)",
                    key.bytes + value.bytes, (unsigned long long)db_batch_bytes_max(db));
    }
    if (bytes_max > sizeof on_stack) {
        encoded = alloc_array(bytes_max, 1);
        if (encoded == NULL) {
            return alloc_failed("a commit", bytes_max);
        }
    }
    size_t bytes = (size_t)(batch_encode(encoded, &op) - encoded);
    struct incoming in = {.payload = slice_of(encoded, bytes), .count = 1, .kept = 1, .ops = &op};
    rc = commit_ops(db, how, &in, &commit);
    if (encoded != on_stack) {
        free(encoded);
    }
    return rc;
}

strata_rc db_sync(strata_db *db)
{
    strata_rc rc = db_writable(db);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = wal_sync(db->wal, atomic_load_explicit(&db->visible, memory_order_acquire));
    return rc == STRATA_OK ? STRATA_OK : db_fail(db, rc);
}
