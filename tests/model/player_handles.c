// The operations of a script on handles that live across operations: snapshots, iterators, value
// readers.
#include "lib/test_lib.h"
#include "model/player.h"

#include <stdlib.h>

void player_snapshot(struct player *p, const struct script_op *op)
{
    uint64_t i = op->a % SCRIPT_SLOTS;
    if (p->snapshots[i].handle != NULL) {
        strata_snapshot_release(p->snapshots[i].handle);
        p->snapshots[i].handle = NULL;
        return;
    }
    if (player_failed(p, "snapshot_take", strata_snapshot_take(p->db, &p->snapshots[i].handle))) {
        p->snapshots[i].handle = NULL;
        return;
    }
    p->snapshots[i].commit = strata_snapshot_commit(p->snapshots[i].handle);
    if (p->snapshots[i].commit != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "a snapshot at commit %llu, newest is %llu",
                 (unsigned long long)p->snapshots[i].commit, (unsigned long long)p->model->newest);
    }
}

void player_iter(struct player *p, const struct script_op *op)
{
    struct walker *w = &p->walkers[op->a % SCRIPT_SLOTS];
    struct compare c;
    if (w->iter != NULL) {
        walker_close(w);
    } else if (player_find_read(p, op->e, 0, &c) && walker_open(w, &c, p->fault)) {
        walker_move(w, WALKER_SEEK, player_key(p->key, op->b), p->fault);
    }
}

void player_step(struct player *p, const struct script_op *op)
{
    struct walker *w = &p->walkers[op->a % SCRIPT_SLOTS];
    for (uint64_t i = 0; i < op->b % 12 && w->iter != NULL && p->fault[0] == '\0'; i++) {
        walker_note_time(w, model_now_s(p->model, p->machine.wall_us));
        walker_move(w, op->c % 2 == 0 ? WALKER_NEXT : WALKER_PREV, slice_of(NULL, 0), p->fault);
    }
}

static void close_reader(struct player *p, size_t i)
{
    if (p->readers[i].handle != NULL) {
        strata_value_close(p->readers[i].handle);
        free((void *)(uintptr_t)p->readers[i].value.data);
        p->readers[i].handle = NULL;
    }
}

// Opens a reader on a key's present value; the model says whether there is one.
static void open_reader(struct player *p, const struct script_op *op, size_t i)
{
    struct compare c;
    struct slice key = player_key(p->key, op->b);
    if (!player_find_read(p, op->e, 0, &c)) {
        return;
    }
    const struct model_version *want = model_get(c.space, key, c.at, c.time_us);
    strata_rc rc = strata_value_open(p->db, &c.how, player_public(key), &p->readers[i].handle);
    if (want == NULL) {
        player_failed(p, "value_open of a key without a value",
                      rc == STRATA_NOT_FOUND ? STRATA_OK
                      : rc == STRATA_OK      ? STRATA_INTERNAL
                                             : rc);
        return;
    }
    if (player_failed(p, "value_open", rc)) {
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
    static uint8_t piece[PLAYER_VALUE_MAX];
    struct slice value = p->readers[i].value;
    struct prng random = {op->d};
    for (int n = 0; n < 3; n++) {
        size_t got = 0;
        size_t at = (size_t)prng_below(&random, value.bytes + 1);
        size_t bytes = (size_t)prng_below(&random, n == 0 ? PLAYER_VALUE_MAX : 5000);
        size_t want = bytes < value.bytes - at ? bytes : value.bytes - at;
        if (player_failed(p, "value_read",
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

void player_reader(struct player *p, const struct script_op *op)
{
    size_t i = op->a % SCRIPT_SLOTS;
    if (p->readers[i].handle == NULL) {
        open_reader(p, op, i);
    } else {
        read_pieces(p, op, i);
        if (op->d % 3 == 0) {
            close_reader(p, i);
        }
    }
}

void player_close_handles(struct player *p)
{
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        walker_close(&p->walkers[i]);
        close_reader(p, i);
        strata_snapshot_release(p->snapshots[i].handle);
        p->snapshots[i].handle = NULL;
    }
}

bool player_handles_are_open(const struct player *p)
{
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        if (p->walkers[i].iter != NULL || p->snapshots[i].handle != NULL ||
            p->readers[i].handle != NULL) {
            return true;
        }
    }
    return false;
}
