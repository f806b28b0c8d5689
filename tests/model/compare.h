// Compares a database, through its public interface, with a model: every key of the model is found,
// and nothing else is. Each function returns true when they agree; else fault_out
// (STORE_FAULT_BYTES) says what was asked, what was expected and what was found.
#ifndef MODEL_COMPARE_H
#define MODEL_COMPARE_H

#include "model/model.h"
#include "strata.h"

// A keyspace and the commit to read it at: `how` carries what is given to the database, `space` and
// `at` are the same for the model. Bounds are taken from `how`.
//
// A read may be STRATA_TRIMMED when retention so far allows it for this commit (and, with
// RETENTION_VERSIONS, this key); the other answers must be the model's all the same. A read at the
// present or at a snapshot may not.
struct compare {
    strata_db *db;
    const struct model *model;
    const struct model_space *space;
    uint64_t at;
    int64_t time_us; // by which expiry is judged, a whole second
    uint64_t floor;  // reads as of an older commit may be STRATA_TRIMMED
    bool registered; // at the present or at a snapshot: never STRATA_TRIMMED
    // When not NULL: gets as of an older commit were STRATA_TRIMMED because of the floor, and must
    // be for ever.
    uint64_t *trimmed_below;
    strata_read how;
};

// A read of the model's keyspace `space` at commit `at`; no bounds. `wall_us` is what the clock of
// the database's machine says.
void compare_init(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                  const struct model *m, size_t space, uint64_t at, int64_t wall_us);
// The same at the newest commit, now.
void compare_init_now(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                      const struct model *m, size_t space, int64_t wall_us);
// As compare_init, at a snapshot of that commit.
void compare_init_snapshot(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                           const struct model *m, size_t space, uint64_t at,
                           strata_snapshot *snapshot);
// The version that the database must show, or NULL.
const struct model_version *compare_value(const struct compare *c, const struct model_key *key);
// Is STRATA_TRIMMED a right answer for the key, or (NULL) for a scan of all between the bounds?
bool compare_may_be_trimmed(const struct compare *c, const struct model_key *key);
// Asks strata_oldest_commit, which may not be above the floor, and holds the database to it.
bool compare_oldest(struct compare *c, char *fault_out);

bool compare_get(const struct compare *c, struct slice key, char *fault_out);
// Every key that the model ever held, by get_many.
bool compare_all_gets(const struct compare *c, char *fault_out);
// A whole scan between the bounds; how->step_budget and how->filter are honoured.
bool compare_scan(const struct compare *c, bool reverse, char *fault_out);
// All versions between the bounds, or of one key.
bool compare_history(const struct compare *c, char *fault_out);
bool compare_history_key(const struct compare *c, struct slice key, char *fault_out);

// Every keyspace at one commit: scans both ways and gets; histories too when `deep`.
bool compare_db(strata_db *db, const struct model *m, uint64_t at, int64_t wall_us, bool deep,
                char *fault_out);

// Printable form of bytes, cut if long; one of a few static buffers.
const char *compare_text(struct slice s);

#endif
