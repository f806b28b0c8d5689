// Mutexes, conditions and threads: a thin layer over POSIX threads that cannot fail after init.
// As with every condition variable, a wait may end without a wake: wait in a loop.
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include "strata.h"

#include <pthread.h>

struct os_mutex {
    pthread_mutex_t raw;
};

struct os_cond {
    pthread_cond_t raw; // on the monotonic clock
};

void os_mutex_init(struct os_mutex *m);
void os_mutex_release(struct os_mutex *m);

static inline void os_mutex_lock(struct os_mutex *m)
{
    pthread_mutex_lock(&m->raw);
}

static inline void os_mutex_unlock(struct os_mutex *m)
{
    pthread_mutex_unlock(&m->raw);
}

void os_cond_init(struct os_cond *c);
void os_cond_release(struct os_cond *c);
void os_cond_wait(struct os_cond *c, struct os_mutex *m);
// False when `wait_ns` passed without a wake.
bool os_cond_wait_for(struct os_cond *c, struct os_mutex *m, uint64_t wait_ns);
void os_cond_wake_all(struct os_cond *c);

struct os_thread {
    pthread_t raw;
};

// The thread runs with signals blocked, but for those that its own faults raise. `name` (at most 15
// bytes) is what debuggers show. STRATA_IO when the system refuses another thread.
strata_rc os_thread_start(struct os_thread *t, const char *name, void *(*run)(void *ctx),
                          void *ctx) STRATA_MUST_CHECK;
void os_thread_join(struct os_thread *t);

#endif
