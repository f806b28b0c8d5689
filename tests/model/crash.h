// A run of random work on a simulated machine that is crashed at every change of the disk.
//
// Before each change (a boundary), and for each survival policy, what a crash would leave becomes a
// disk of its own, on which the store is opened and must hold exactly a prefix of the commits: at
// least up to the last one acknowledged as synced, at most up to the one under way. One recovery in
// eight is crashed as well, and must then recover to the same commit.
#ifndef MODEL_CRASH_H
#define MODEL_CRASH_H

#include "model/scenario.h"
#include "model/store.h"
#include "sim/sim_machine.h"

struct crash_config {
    const struct store_ops *ops;
    struct store_config store;
    uint64_t seed;
    uint64_t steps;
    uint64_t only_boundary; // UINT64_MAX: all
    int only_policy;        // -1: all
    bool map_is_bad;
    bool verbose;
    bool (*stop)(void *ctx); // asked between steps; may be NULL
    void *stop_ctx;
};

struct crash_result {
    uint64_t boundaries; // of the work
    uint64_t states;     // crash states looked at
    uint64_t distinct;   // of them, with bytes that no other of the process's runs had
    uint64_t nested;     // crashed again in recovery
    uint64_t trace;      // of the machine: equal for equal runs
    char fault[1024];    // empty: all promises held
};

void crash_run(const struct crash_config *config, struct crash_result *result_out);

// Error codes that an injected fault may lead to.
bool crash_rc_is_typed(strata_rc rc);

#endif
