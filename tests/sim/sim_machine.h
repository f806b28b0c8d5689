// A simulated machine: os_machine over a sim_disk, with a clock that is set, an executor that is
// cranked by hand, faults on demand, and a hook before every change (a crash boundary).
//
// Everything that happens is a function of the seed and of the calls; `trace` is a hash of the
// calls and their results, equal for equal runs. One thread.
#ifndef SIM_SIM_MACHINE_H
#define SIM_SIM_MACHINE_H

#include "base/prng.h"
#include "os/machine.h"
#include "sim/sim_disk.h"

enum sim_op {
    SIM_OP_OPEN,
    SIM_OP_READ,
    SIM_OP_WRITE,
    SIM_OP_SYNC,
    SIM_OP_TRUNCATE,
    SIM_OP_SIZE,
    SIM_OP_CLOSE,
    SIM_OP_MAP,
    SIM_OP_STORE, // cannot fail
    SIM_OP_CREATE,
    SIM_OP_RENAME,
    SIM_OP_UNLINK,
    SIM_OP_LIST,
    SIM_OP_DIR_SYNC,
    SIM_OP_LOCK,
    SIM_OP_SPACE,
    SIM_OP_OPEN_DIR,
    SIM_OPS
};

#define SIM_OP_BIT(op) (1u << (op))
#define SIM_OP_ANY ((1u << SIM_OPS) - 1)
#define SIM_FAULTS_MAX 8

const char *sim_op_name(enum sim_op op);

// A call as hooks see it.
struct sim_event {
    enum sim_op op;
    const char *name; // of the file; of a rename, the old one; "" for the directory
    const char *to;   // the new name of a rename, else ""
    uint64_t offset;
    size_t bytes;
};

// Fails matching calls: the one with number `index` (from 0), with `sticky` also all later ones;
// or, when one_in > 0, each with that chance.
struct sim_fault {
    uint32_t ops;     // SIM_OP_BIT of each kind
    const char *glob; // of the file's name; NULL: all
    uint64_t index;
    uint64_t one_in;
    bool sticky;
    int error;          // a positive errno; 0: the transfer is cut short instead
    size_t short_bytes; // bytes transferred when error is 0
    enum sim_sync_failure sync_model;
    uint64_t seen, fired; // counters
};

struct sim_lock {
    char key[330];
    enum os_lock_mode mode;
    size_t holders;
};

struct sim_executor;

struct sim_machine {
    struct os_machine base; // first: the engine's view
    struct os_clock clock;
    struct sim_disk *disk; // the caller's
    struct prng random;    // order of tasks, places of faults
    int64_t wall_us;
    uint64_t monotonic_ns;
    uint64_t calls;      // all calls
    uint64_t boundaries; // calls that change the disk
    uint64_t trace;
    bool dead;       // crashed: every call is EIO and changes nothing
    bool map_is_bad; // os_fs_facts says that mappings are not good here
    uint64_t stuck;  // waits with nothing to run, in a row
    uint64_t steps;  // steps of tasks that ran
    char label[256]; // printed when a run gets stuck; says how to repeat it
    // Called before each change, when not NULL.
    void (*boundary)(void *ctx, struct sim_machine *m, const struct sim_event *e);
    void *boundary_ctx;
    // Called before every call, when not NULL: assertions about order ("no unlink before ...").
    void (*observe)(void *ctx, struct sim_machine *m, const struct sim_event *e);
    void *observe_ctx;
    struct sim_fault faults[SIM_FAULTS_MAX];
    size_t fault_count;
    bool faults_off; // for a while: calls neither fail nor count
    struct sim_lock locks[8];
    size_t lock_count;
    struct sim_executor *executors;
};

// The machine must outlive every handle. The disk stays the caller's.
void sim_machine_init(struct sim_machine *m, struct sim_disk *disk, uint64_t seed);
// Closes nothing: handles must be closed before.
void sim_machine_release(struct sim_machine *m);

// Adds a rule; the counters are readable through the result.
struct sim_fault *sim_machine_fail(struct sim_machine *m, struct sim_fault rule);
void sim_machine_heal(struct sim_machine *m); // drops all rules
uint64_t sim_machine_faults_fired(const struct sim_machine *m);

// Runs up to `steps` steps of queued tasks, the next one by the seed. Returns how many ran.
uint64_t sim_machine_crank(struct sim_machine *m, uint64_t steps);
void sim_machine_step_clock(struct sim_machine *m, int64_t wall_us, uint64_t monotonic_ns);

// Shared by the parts of the machine.
// Counts and traces a call. Returns 0, or the negative errno it must fail with; *cut_inout shrinks
// when the transfer is to be cut short. *rule_out (may be NULL) is the rule that fired.
int sim_machine_call(struct sim_machine *m, const struct sim_event *e, size_t *cut_inout,
                     struct sim_fault **rule_out);
void sim_machine_traced(struct sim_machine *m, uint64_t value);
strata_rc sim_executor_new(struct os_machine *machine, uint32_t threads,
                           struct os_executor **executor_out);
int sim_file_new(struct sim_machine *m, struct sim_inode *inode, const char *name, bool writable,
                 struct os_file **file_out);

#endif
