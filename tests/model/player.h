// A script on its way: what the parts of the runner share. script_run.c: the life of the database
// and the order of operations; player.c: keys, values, keyspaces; player_write.c, player_read.c,
// player_handles.c: the operations.
#ifndef MODEL_PLAYER_H
#define MODEL_PLAYER_H

#include "model/script.h"
#include "model/store.h"
#include "model/walker.h"
#include "sim/sim_machine.h"

#define PLAYER_VALUE_MAX 1600000u
#define PLAYER_KEY_MAX 320
#define PLAYER_SECOND_US 1000000

struct player {
    const struct config *config;
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
    struct model *model;
    uint64_t synced; // the last commit that a crash may not lose
    int64_t op_began_us;
    uint64_t trimmed_below[MODEL_SPACES_MAX]; // as in struct compare
    struct {
        strata_snapshot *handle; // NULL: not taken
        uint64_t commit;
    } snapshots[SCRIPT_SLOTS];
    struct walker walkers[SCRIPT_SLOTS];
    struct {
        strata_value_reader *handle; // NULL: closed
        struct slice value;          // a copy of what it must give
    } readers[SCRIPT_SLOTS];
    uint8_t key[PLAYER_KEY_MAX], key_too[PLAYER_KEY_MAX];
    char fault[STORE_FAULT_BYTES]; // empty: all agrees so far
};

// True when something is wrong by now; notes the first fault.
bool player_failed(struct player *p, const char *what, strata_rc rc);
const char *player_space_name(uint64_t i);
// Keys of many lengths with long shared prefixes, and bytes of every kind.
struct slice player_key(uint8_t *to, uint64_t number);
struct slice player_value(uint8_t *to, uint64_t bytes, uint64_t seed, size_t most);
// As strata_write.expires_unix_us.
int64_t player_expiry(const struct player *p, uint64_t n);
strata_slice player_public(struct slice s);
// The handle and the model's index of a keyspace; false when it is not there.
bool player_find_space(struct player *p, uint64_t i, strata_keyspace **keyspace_out,
                       size_t *space_out);
// Where and when an operation reads; false when the keyspace is not there.
bool player_find_read(struct player *p, uint64_t space, uint64_t when, struct compare *c);
// The newest commit of the model was acknowledged as `commit`; op->e says with which durability.
void player_note_commit(struct player *p, const struct script_op *op, strata_rc rc,
                        uint64_t commit);
// Closes what is open of iterators, snapshots and readers.
void player_close_handles(struct player *p);
bool player_handles_are_open(const struct player *p);

void player_write(struct player *p, const struct script_op *op);
void player_stream(struct player *p, const struct script_op *op);
void player_batch(struct player *p, const struct script_op *op);
void player_get(struct player *p, const struct script_op *op);
void player_get_many(struct player *p, const struct script_op *op);
void player_scan(struct player *p, const struct script_op *op);
void player_history(struct player *p, const struct script_op *op);
void player_walk(struct player *p, const struct script_op *op);
void player_snapshot(struct player *p, const struct script_op *op);
void player_iter(struct player *p, const struct script_op *op);
void player_step(struct player *p, const struct script_op *op);
void player_reader(struct player *p, const struct script_op *op);
void player_create(struct player *p, const struct script_op *op);
void player_drop(struct player *p, const struct script_op *op);
void player_alter(struct player *p, const struct script_op *op);

#endif
