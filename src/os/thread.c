#include "os/thread.h"

#include "base/assert.h"
#include "base/fail.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define NS_PER_SECOND 1000000000ull

void os_mutex_init(struct os_mutex *m)
{
    int error = pthread_mutex_init(&m->raw, NULL);
    ASSERT(error == 0);
}

void os_mutex_release(struct os_mutex *m)
{
    int error = pthread_mutex_destroy(&m->raw);
    ASSERT(error == 0);
}

void os_cond_init(struct os_cond *c)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    ASSERT(error == 0);
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    ASSERT(error == 0);
    error = pthread_cond_init(&c->raw, &attributes);
    ASSERT(error == 0);
    pthread_condattr_destroy(&attributes);
}

void os_cond_release(struct os_cond *c)
{
    int error = pthread_cond_destroy(&c->raw);
    ASSERT(error == 0);
}

void os_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    int error = pthread_cond_wait(&c->raw, &m->raw);
    ASSERT(error == 0);
}

bool os_cond_wait_for(struct os_cond *c, struct os_mutex *m, uint64_t wait_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    // At most 2^64 ns = 585 years are added, which a 64-bit time_t holds.
    uint64_t ns = (uint64_t)until.tv_nsec + wait_ns % NS_PER_SECOND;
    until.tv_sec += (time_t)(wait_ns / NS_PER_SECOND + ns / NS_PER_SECOND);
    until.tv_nsec = (long)(ns % NS_PER_SECOND);
    int error = pthread_cond_timedwait(&c->raw, &m->raw, &until);
    ASSERT(error == 0 || error == ETIMEDOUT);
    return error == 0;
}

void os_cond_wake_all(struct os_cond *c)
{
    int error = pthread_cond_broadcast(&c->raw);
    ASSERT(error == 0);
}

strata_rc os_thread_start(struct os_thread *t, const char *name, void *(*run)(void *ctx), void *ctx)
{
    ASSERT(run != NULL);
    // A new thread inherits the mask of its maker: the program's signals stay with its own threads.
    // The four that a thread raises by its own fault stay open, for the program's crash handlers.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&t->raw, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return fail_errno(error, "start thread", name);
    }
    // For people only: names longer than 15 bytes are refused, and that does no harm.
    (void)pthread_setname_np(t->raw, name);
    return STRATA_OK;
}

void os_thread_join(struct os_thread *t)
{
    int error = pthread_join(t->raw, NULL);
    ASSERT(error == 0);
}
