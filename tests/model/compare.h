// Compares a database, through its public interface, with a model: every key of the model is found,
// and nothing else is. Each function returns true when they agree; else fault_out
// (STORE_FAULT_BYTES) says what was asked, what was expected and what was found.
#ifndef MODEL_COMPARE_H
#define MODEL_COMPARE_H

#include "model/model.h"
#include "strata.h"

// A keyspace and the commit to read it at: `how` carries what is given to the database, `space` and
// `at` are the same for the model. Bounds are taken from `how`.
struct compare {
    strata_db *db;
    const struct model_space *space;
    uint64_t at;
    strata_read how;
};

// Sets keyspace and commit of both sides; no bounds.
void compare_init(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                  const struct model_space *space, uint64_t at);

bool compare_get(const struct compare *c, struct slice key, char *fault_out);
// Every key that the model ever held, by get_many.
bool compare_all_gets(const struct compare *c, char *fault_out);
// A whole scan between the bounds; how->step_budget and how->filter are honoured.
bool compare_scan(const struct compare *c, bool reverse, char *fault_out);
// All versions between the bounds, or of one key.
bool compare_history(const struct compare *c, char *fault_out);
bool compare_history_key(const struct compare *c, struct slice key, char *fault_out);

// Every keyspace at one commit: scans both ways and gets; histories too when `deep`.
bool compare_db(strata_db *db, const struct model *m, uint64_t at, bool deep, char *fault_out);

// Printable form of bytes, cut if long; one of a few static buffers.
const char *compare_text(struct slice s);

#endif
