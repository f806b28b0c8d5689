// Random work on a simulated machine on which one call fails, or all from one on.
//
// Every call of the store must return; an error must be a typed one; what was acknowledged must be
// there while the store is open, after a reopen, and after a crash.
#ifndef MODEL_FAULT_H
#define MODEL_FAULT_H

#include "model/scenario.h"
#include "model/store.h"
#include "sim/sim_machine.h"

struct fault_config {
    const struct store_ops *ops;
    struct store_config store;
    uint64_t seed;
    uint64_t steps;
    struct sim_fault rule;   // with ENOMEM it counts and fails allocations instead of calls
    bool created_first;      // the rule counts from the end of the first open on
    bool resumes;            // once the fault is over, writes must go on without a reopen
    enum sim_survive policy; // of the crash at the end
    bool map_is_bad;
    bool verbose;
};

struct fault_result {
    uint64_t seen, fired; // calls that matched, and that failed
    uint64_t errors;      // calls of the store that returned an error
    char fault[1024];     // empty: all promises held
};

void fault_run(const struct fault_config *config, struct fault_result *result_out);

#endif
