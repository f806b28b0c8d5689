// What the parts of strata_verify share.
#ifndef DB_VERIFY_H
#define DB_VERIFY_H

#include "db/db.h"

struct verifier {
    void (*fault)(void *ctx, const char *text);
    void *ctx;
    strata_verify_report *report;
    struct value_env env;
    const struct catalog *catalog;
    // Value files that the log refers to and the catalog does not name.
    struct generation_value *files;
    uint32_t file_count, file_capacity;
    struct batch_op *ops;
    uint32_t ops_capacity;
};

// Counts and reports a fault; `ctx` is the verifier.
void verify_fault(void *ctx, const char *text);
// A fault is counted and the rest goes on; any other error ends the verification.
strata_rc verify_note(struct verifier *v, strata_rc rc) STRATA_MUST_CHECK;

// verify_values.c

// Every value file of the catalog.
strata_rc verify_value_files(struct verifier *v) STRATA_MUST_CHECK;
// That the values which the table refers to are in them.
strata_rc verify_references(struct verifier *v, struct table *t) STRATA_MUST_CHECK;
// That the values which the record refers to are there. STRATA_NOT_FOUND: recovery would end before
// it.
strata_rc verify_logged_values(struct verifier *v,
                               const struct wal_record *record) STRATA_MUST_CHECK;
void verify_release(struct verifier *v);

#endif
