// Commits of separated values: the values are stored outside of commit.lock, then the batch is
// encoded anew with references in their place. When a seal came between, all of it is done again;
// after a few such tries the values are stored with commit.lock held, so that none can come.
#include "db/commit.h"

#include "base/assert.h"
#include "base/fail.h"

#define STORES_OUTSIDE_MAX 3u // then commit.lock is held
#define STORES_MAX 8u         // then the values stay beside their keys
// Of one batch: so that its value files always fit into one generation.
#define BATCH_SPACES_MAX 32u
#define BATCH_SEPARATED_BYTES_MAX (1ull << 30)
// The least that db_keyspace_options allow for separate_bytes: shorter values are not looked at.
#define SEPARATE_BYTES_LEAST 64u
// From this length on a value gets a file of its own, and is stored only once.
#define OWN_FILE_BYTES (16u << 20)

// ---- what is separated

struct separation {
    uint64_t spaces[BATCH_SPACES_MAX];
    uint32_t space_count;
    uint64_t bytes;
};

static bool separation_takes(struct separation *s, uint64_t keyspace, size_t bytes)
{
    uint32_t i = 0;
    while (i < s->space_count && s->spaces[i] != keyspace) {
        i++;
    }
    if (i == BATCH_SPACES_MAX || s->bytes + bytes > BATCH_SEPARATED_BYTES_MAX) {
        return false;
    }
    if (i == s->space_count) {
        s->spaces[s->space_count++] = keyspace;
    }
    s->bytes += bytes;
    return true;
}

static bool is_long(strata_db *db, const struct batch_op *op)
{
    if ((op->kind != BATCH_PUT && op->kind != BATCH_PUT_EXPIRING) ||
        op->value.bytes < SEPARATE_BYTES_LEAST) {
        return false;
    }
    const struct strata_keyspace *space = space_by_number(db, op->keyspace);
    uint32_t least =
        space == NULL ? 0 : atomic_load_explicit(&space->separate_bytes, memory_order_relaxed);
    return least != 0 && op->value.bytes >= least;
}

bool separate_ops(strata_db *db, struct batch_op *ops, uint32_t count)
{
    struct separation s;
    s.space_count = 0;
    s.bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_long(db, &ops[i]) && separation_takes(&s, ops[i].keyspace, ops[i].value.bytes)) {
            ops[i].kind = BATCH_PUT_SEPARATED;
        }
    }
    return s.bytes != 0;
}

// The ops as they were; their values are still at hand.
static void unite_ops(struct batch_op *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].kind == BATCH_PUT_SEPARATED) {
            ops[i].kind = ops[i].expiry == 0 ? BATCH_PUT : BATCH_PUT_EXPIRING;
        }
    }
}

// ---- storing

// A batch of which some values are separated.
struct separated {
    strata_db *db;
    const strata_write *how;
    struct batch_op *ops;
    uint32_t count;
    struct buffer payload; // the ops encoded, with references
    uint64_t seals;        // for which the values are stored; 0: none is
    uint64_t commit;
};

// Stores the values of the separated ops. STRATA_YIELD: a seal came between, or is needed, since
// there is no place for another value file (*places_out is false).
static strata_rc store_ops(struct separated *s, bool *places_out)
{
    s->seals = 0;
    *places_out = true;
    for (uint32_t i = 0; i < s->count; i++) {
        struct batch_op *op = &s->ops[i];
        if (op->kind != BATCH_PUT_SEPARATED) {
            continue;
        }
        struct strata_keyspace *space = space_by_number(s->db, op->keyspace);
        if (atomic_load_explicit(&space->dropped, memory_order_acquire)) {
            return fail(STRATA_INVALID, "operation %u of the batch names a dropped keyspace", i);
        }
        struct value_placed placed;
        strata_rc rc = values_store(s->db, space, op->value, &placed);
        *places_out = rc != STRATA_YIELD;
        bool first = s->seals == 0;
        bool same = s->seals == placed.seals;
        s->seals = placed.seals;
        if (rc != STRATA_OK) {
            return rc;
        }
        if (!first && !same) {
            return STRATA_YIELD;
        }
        op->ref = placed.place.ref;
        op->value_offset = placed.place.offset;
    }
    return STRATA_OK;
}

static strata_rc encode_ops(struct separated *s)
{
    buffer_clear(&s->payload);
    for (uint32_t i = 0; i < s->count; i++) {
        struct batch_op op = s->ops[i];
        if (op.kind == BATCH_PUT_SEPARATED) {
            op.value = slice_of(NULL, 0);
        }
        strata_rc rc = batch_append(&s->payload, &op);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

// The generation that had no place for another value file is sealed, unless it has been meanwhile.
static strata_rc seal_for_places_locked(const struct separated *s)
{
    if (s->db->values.seals != s->seals) {
        return STRATA_OK;
    }
    if (s->how != NULL && (s->how->flags & STRATA_NO_WAIT) != 0 && db_seal_must_wait(s->db)) {
        return fail(STRATA_BUSY, "the write buffers are full; background flushes are behind");
    }
    return db_seal_locked(s->db);
}

// One try; `locked`: commit.lock is held already.
static strata_rc try_separated(struct separated *s, bool locked)
{
    bool places;
    strata_rc rc = store_ops(s, &places);
    if (rc == STRATA_OK) {
        rc = encode_ops(s);
    }
    if (rc != STRATA_OK && places) {
        return rc;
    }
    struct incoming in = {.payload = buffer_slice(&s->payload),
                          .count = s->count,
                          .kept = s->count,
                          .ops = s->ops,
                          .seals = s->seals};
    if (!locked) {
        os_mutex_lock(&s->db->commit.lock);
    }
    if (places) {
        rc = commit_locked(s->db, s->how, &in, &s->commit);
    } else {
        strata_rc seal_rc = seal_for_places_locked(s);
        rc = seal_rc == STRATA_OK ? STRATA_YIELD : seal_rc;
    }
    if (!locked) {
        os_mutex_unlock(&s->db->commit.lock);
    }
    return rc;
}

static size_t bytes_of(const struct batch_op *ops, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += ops[i].key.bytes + ops[i].value.bytes;
    }
    return bytes;
}

strata_rc commit_separated(strata_db *db, const strata_write *how, struct batch_op *ops,
                           uint32_t count, uint64_t *commit_out)
{
    struct separated s = {.db = db, .how = how, .ops = ops, .count = count};
    size_t bytes = bytes_of(ops, count);
    strata_rc rc = db_admit(db, how, bytes);
    bool again = rc == STRATA_OK;
    for (uint32_t tries = 0; again; tries++) {
        bool locked = tries >= STORES_OUTSIDE_MAX;
        if (tries == STORES_MAX) {
            unite_ops(ops, count);
        }
        if (locked) {
            os_mutex_lock(&db->commit.lock);
        }
        rc = try_separated(&s, locked);
        if (locked) {
            os_mutex_unlock(&db->commit.lock);
        }
        again = rc == STRATA_YIELD;
    }
    buffer_release(&s.payload);
    *commit_out = s.commit;
    return rc == STRATA_OK ? commit_finish(db, how, s.commit, bytes) : rc;
}

// ---- a value with a file of its own

strata_rc commit_own_value(strata_db *db, const strata_write *how, const struct batch_op *op,
                           const struct value_own *own, uint64_t *commit_out)
{
    struct buffer payload = {0};
    *commit_out = 0;
    strata_rc rc = batch_append(&payload, op);
    if (rc == STRATA_OK) {
        struct incoming in = {
            .payload = buffer_slice(&payload), .count = 1, .kept = 1, .ops = op, .own = own};
        os_mutex_lock(&db->commit.lock);
        rc = commit_locked(db, how, &in, commit_out);
        if (rc == STRATA_OK) {
            commit_seal_values_locked(db);
        }
        os_mutex_unlock(&db->commit.lock);
    }
    buffer_release(&payload);
    return rc == STRATA_OK ? commit_finish(db, how, *commit_out, op->key.bytes + (size_t)own->bytes)
                           : rc;
}

static strata_rc commit_in_own_file(strata_db *db, const strata_write *how,
                                    struct strata_keyspace *space, const struct batch_op *put,
                                    uint64_t *commit_out)
{
    struct value_own own = {.keyspace = space->number, .bytes = put->value.bytes};
    struct value_place place;
    strata_compression compression =
        (strata_compression)atomic_load_explicit(&space->value_compression, memory_order_relaxed);
    strata_rc rc = db_admit(db, how, put->key.bytes + put->value.bytes);
    if (rc == STRATA_OK) {
        rc = values_new_file(db, space->number, &own.number, &own.file);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = value_file_append(own.file, put->value, compression, &place);
    if (rc == STRATA_OK) {
        rc = value_file_finish_alone(own.file);
    }
    if (rc == STRATA_OK) {
        struct batch_op op = *put;
        op.kind = BATCH_PUT_SEPARATED;
        op.value = slice_of(NULL, 0);
        op.ref = place.ref;
        op.value_offset = place.offset;
        rc = commit_own_value(db, how, &op, &own, commit_out);
    }
    if (*commit_out == 0) {
        value_file_delete_at_close(own.file);
    }
    value_file_unref(own.file);
    return rc;
}

strata_rc commit_long_value(strata_db *db, const strata_write *how, struct strata_keyspace *space,
                            const struct batch_op *put, uint64_t *commit_out)
{
    *commit_out = 0;
    if (put->value.bytes >= OWN_FILE_BYTES) {
        return commit_in_own_file(db, how, space, put, commit_out);
    }
    struct batch_op op = *put;
    op.kind = BATCH_PUT_SEPARATED;
    return commit_separated(db, how, &op, 1, commit_out);
}
