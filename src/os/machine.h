// Everything nondeterministic that a database touches, in one struct: the real machine, or the
// simulated one of the tests.
#ifndef OS_MACHINE_H
#define OS_MACHINE_H

#include "os/clock.h"
#include "os/executor.h"
#include "os/file.h"

struct os_machine {
    // Opens directory `path`; with `create` makes it (mode 0700, parents must exist).
    // STRATA_NOT_FOUND when it is not there, STRATA_INVALID when it is not a directory.
    strata_rc (*open_dir)(struct os_machine *m, const char *path, bool create,
                          struct os_dir **dir_out);
    struct os_clock *clock;
    // A new executor, which the database closes.
    strata_rc (*new_executor)(struct os_machine *m, uint32_t threads,
                              struct os_executor **executor_out);
    // How many descriptors this process may have open now, UINT64_MAX for any number. NULL: the
    // machine has no such limit.
    uint64_t (*descriptors_max)(struct os_machine *m);
    // True on the real machine: the database may sleep and start threads of its own. A simulated
    // machine runs everything in the threads of its test.
    bool has_threads;
};

// The real one: static, any number of databases.
struct os_machine *os_machine_posix(void);

#endif
