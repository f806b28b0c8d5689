// Background work: tasks that run in bounded steps. In production a few threads run them; in tests
// one thread cranks them by hand in the order that a seed gives.
//
// A task is a function that does one bounded step and says whether it has more to do. Submitting
// never fails and never allocates: the task's memory belongs to the caller.
#ifndef OS_EXECUTOR_H
#define OS_EXECUTOR_H

#include "os/thread.h"
#include "strata.h"

enum os_priority { OS_PRIORITY_FLUSH = 0, OS_PRIORITY_MERGE = 1, OS_PRIORITIES = 2 };

struct os_task {
    // One step, called without locks held. True: queue me again behind the others.
    bool (*step)(struct os_task *task);
    enum os_priority priority; // flush tasks run before merge tasks
    // Private to the executor.
    struct os_task *next;
    bool queued;
};

struct os_executor {
    // Queues the task; does nothing when it is queued already. A task that is submitted while its
    // step runs is queued again after that step. A task is never run by two threads at once.
    void (*submit)(struct os_executor *e, struct os_task *task);
    // Called with `m` held, in a loop around the condition that is waited for. Production: waits on
    // `c`. Crank: unlocks m, runs a queued task, locks m; when none is queued, returns at once
    // after counting a "stuck" (the test harness fails a run that is stuck too often).
    void (*wait)(struct os_executor *e, struct os_cond *c, struct os_mutex *m);
    // Waits until the task is neither queued nor running; it must not be submitted any more.
    void (*retire)(struct os_executor *e, struct os_task *task);
    void (*close)(struct os_executor *e); // after every task is retired
};

// `threads` worker threads. The first thread takes flush tasks only when there are two or more, so
// that a merge never delays a flush.
strata_rc os_executor_posix_new(uint32_t threads,
                                struct os_executor **executor_out) STRATA_MUST_CHECK;

#endif
