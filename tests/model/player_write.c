// The writes of a script.
#include "lib/test_lib.h"
#include "model/player.h"

#define BATCH_MAX 16
#define BATCH_VALUE_MAX 4096u

void player_write(struct player *p, const struct script_op *op)
{
    static uint8_t value_bytes[PLAYER_VALUE_MAX];
    strata_write how = STRATA_WRITE_INIT;
    uint64_t commit = 0;
    size_t space;
    if (!player_find_space(p, op->a, &how.keyspace, &space)) {
        return;
    }
    how.durability = (strata_durability)(op->e % 3);
    how.commit_out = &commit;
    struct slice key = player_key(p->key, op->b);
    struct model_op write = {MODEL_PUT, space, key, slice_of(NULL, 0), 0};
    strata_rc rc;
    if (op->kind == SCRIPT_PUT) {
        write.value = player_value(value_bytes, op->c, op->d, PLAYER_VALUE_MAX);
        write.expires_us = player_expiry(p, op->e / 3);
        how.expires_unix_us = write.expires_us;
        rc = strata_put(p->db, &how, player_public(key), player_public(write.value));
    } else if (op->kind == SCRIPT_DELETE) {
        write.kind = MODEL_DELETE;
        rc = strata_delete(p->db, &how, player_public(key));
    } else {
        write.kind = MODEL_DELETE_RANGE;
        write.value = player_key(p->key_too, op->c);
        rc = strata_delete_range(p->db, &how, player_public(key), player_public(write.value));
        if (slice_compare(key, write.value) >= 0) {
            player_failed(p, "an empty range", rc == STRATA_INVALID ? STRATA_OK : STRATA_INTERNAL);
            return;
        }
    }
    model_commit(p->model, &write, 1);
    player_note_commit(p, op, rc, commit);
}

// A put in pieces; one in five is given up, half of them in the middle.
void player_stream(struct player *p, const struct script_op *op)
{
    static uint8_t value_bytes[PLAYER_VALUE_MAX];
    strata_write how = STRATA_WRITE_INIT;
    strata_put_stream *stream = NULL;
    uint64_t commit = 0;
    size_t space;
    if (!player_find_space(p, op->a, &how.keyspace, &space)) {
        return;
    }
    struct slice key = player_key(p->key, op->b);
    struct slice value = player_value(value_bytes, op->c, op->d, PLAYER_VALUE_MAX);
    struct prng random = {op->d};
    struct model_op write = {MODEL_PUT, space, key, value, player_expiry(p, op->e / 3)};
    bool aborted = op->d % 5 == 0;
    size_t stop = aborted ? value.bytes / 2 : value.bytes;
    how.durability = (strata_durability)(op->e % 3);
    how.commit_out = &commit;
    how.expires_unix_us = write.expires_us;
    if (player_failed(p, "put_begin", strata_put_begin(p->db, &how, player_public(key), &stream))) {
        return;
    }
    for (size_t at = 0; at < stop && p->fault[0] == '\0';) {
        size_t piece = 1 + (size_t)prng_below(&random, prng_one_in(&random, 3) ? 2000000 : 3000);
        piece = piece < stop - at ? piece : stop - at;
        player_failed(p, "put_append", strata_put_append(stream, value.data + at, piece));
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
    player_note_commit(p, op, rc, commit);
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
    if (!player_find_space(p, where, &keyspace, &space)) {
        return false;
    }
    struct slice key = player_key(bytes, n);
    struct slice more = x < 8 ? player_value(bytes + PLAYER_KEY_MAX, length, seed, BATCH_VALUE_MAX)
                              : player_key(bytes + PLAYER_KEY_MAX, n + 1 + length % 9);
    int64_t expires_us = seed % 8 == 0 ? player_expiry(p, seed % 1000) : 0;
    strata_rc rc;
    enum model_kind kind = MODEL_DELETE;
    if (x < 6 && expires_us != 0) {
        kind = MODEL_PUT;
        rc = strata_batch_put_expiring(batch, keyspace, player_public(key), player_public(more),
                                       expires_us);
    } else if (x < 6) {
        kind = MODEL_PUT;
        rc = strata_batch_put(batch, keyspace, player_public(key), player_public(more));
    } else if (x < 8 || slice_compare(key, more) >= 0) {
        rc = strata_batch_delete(batch, keyspace, player_public(key));
        more = slice_of(NULL, 0);
    } else {
        kind = MODEL_DELETE_RANGE;
        rc = strata_batch_delete_range(batch, keyspace, player_public(key), player_public(more));
    }
    *out = (struct model_op){kind, space, key, more, expires_us};
    return !player_failed(p, "filling a batch", rc);
}

void player_batch(struct player *p, const struct script_op *op)
{
    static uint8_t bytes[BATCH_MAX][PLAYER_KEY_MAX + BATCH_VALUE_MAX];
    struct model_op ops[BATCH_MAX];
    strata_batch *batch = NULL;
    strata_write how = STRATA_WRITE_INIT;
    uint64_t commit = 0;
    size_t count = 0;
    struct prng random = {op->c};
    if (player_failed(p, "batch_new", strata_batch_new(p->db, &batch))) {
        return;
    }
    for (uint64_t i = 0; i < op->b && i < BATCH_MAX; i++) {
        count +=
            add_to_batch(p, batch, &random, op->d % SCRIPT_KEYS + 1, bytes[i], &ops[count]) ? 1 : 0;
    }
    how.durability = (strata_durability)(op->e % 3);
    if (count == 0) {
        strata_rc empty = strata_commit(p->db, &how, batch, &commit);
        player_failed(p, "an empty batch", empty == STRATA_INVALID ? STRATA_OK : STRATA_INTERNAL);
    } else {
        strata_rc rc = strata_commit(p->db, &how, batch, &commit);
        model_commit(p->model, ops, count);
        player_note_commit(p, op, rc, commit);
    }
    strata_batch_free(batch);
}
