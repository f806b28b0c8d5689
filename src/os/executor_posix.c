// The executor of the real machine: a few threads over one queue for each priority.
//
// Invariants, all under `mu.lock`:
//   1. A task is in a queue at most once, and never while its step runs: a submit during the step
//      only sets `queued`, and the worker puts it into the queue when the step is over.
//      So no task is ever run by two threads at once, and nothing is lost.
//   2. A task that nobody runs is in a queue exactly when it is `queued`.
//   3. A worker is `idle` only while it waits; whoever wakes it clears the mark. A task that finds
//      no idle worker is found by the first one that ends its step.
#include "os/executor.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>

#define EXECUTOR_THREADS_MAX 64

struct worker {
    struct posix_executor *executor;
    struct os_thread thread;
    struct os_cond wake; // waited for by this worker alone
    bool flush_only;
    bool idle;
    struct os_task *running;
};

struct task_queue {
    struct os_task *first;
    struct os_task *last;
};

struct posix_executor {
    struct os_executor executor;
    struct {
        struct os_mutex lock;
        struct os_cond task_over; // for retire
        uint32_t retiring;        // threads that wait for it
        bool closing;
        struct task_queue queues[OS_PRIORITIES];
    } mu;
    uint32_t worker_count;
    struct worker workers[];
};

static struct posix_executor *posix_executor_of(struct os_executor *e)
{
    return (struct posix_executor *)e;
}

// ---- queues

static void task_append_locked(struct posix_executor *e, struct os_task *task)
{
    ASSERT(task->queued);
    struct task_queue *queue = &e->mu.queues[task->priority];
    task->next = NULL;
    if (queue->last == NULL) {
        queue->first = task;
    } else {
        queue->last->next = task;
    }
    queue->last = task;
}

static struct os_task *task_take_locked(struct posix_executor *e, const struct worker *w)
{
    int priorities = w->flush_only ? OS_PRIORITY_FLUSH + 1 : OS_PRIORITIES;
    for (int i = 0; i < priorities; i++) {
        struct task_queue *queue = &e->mu.queues[i];
        struct os_task *task = queue->first;
        if (task != NULL) {
            queue->first = task->next;
            if (queue->first == NULL) {
                queue->last = NULL;
            }
            ASSERT(task->queued);
            task->next = NULL;
            task->queued = false;
            return task;
        }
    }
    return NULL;
}

static bool task_running_locked(const struct posix_executor *e, const struct os_task *task)
{
    for (uint32_t i = 0; i < e->worker_count; i++) {
        if (e->workers[i].running == task) {
            return true;
        }
    }
    return false;
}

static void worker_wake_locked(struct posix_executor *e, enum os_priority priority)
{
    for (uint32_t i = 0; i < e->worker_count; i++) {
        struct worker *w = &e->workers[i];
        if (w->idle && (priority == OS_PRIORITY_FLUSH || !w->flush_only)) {
            w->idle = false;
            os_cond_wake_all(&w->wake);
            return;
        }
    }
}

// ---- workers

static void task_run_locked(struct posix_executor *e, struct worker *w, struct os_task *task)
{
    w->running = task;
    os_mutex_unlock(&e->mu.lock);
    bool more = task->step(task);
    os_mutex_lock(&e->mu.lock);
    w->running = NULL;
    if (more || task->queued) {
        task->queued = true;
        task_append_locked(e, task);
        // This worker looks into the queues next, so nobody needs to be woken, but when it would
        // put this flush before a merge that waits, while a worker for flushes is idle.
        if (task->priority == OS_PRIORITY_FLUSH && !w->flush_only &&
            e->mu.queues[OS_PRIORITY_MERGE].first != NULL && e->workers[0].idle) {
            worker_wake_locked(e, OS_PRIORITY_FLUSH);
        }
    } else if (e->mu.retiring > 0) {
        os_cond_wake_all(&e->mu.task_over);
    }
}

static void *worker_main(void *ctx)
{
    struct worker *w = ctx;
    struct posix_executor *e = w->executor;
    os_mutex_lock(&e->mu.lock);
    while (!e->mu.closing) {
        struct os_task *task = task_take_locked(e, w);
        if (task != NULL) {
            task_run_locked(e, w, task);
            continue;
        }
        w->idle = true;
        os_cond_wait(&w->wake, &e->mu.lock);
        w->idle = false;
    }
    os_mutex_unlock(&e->mu.lock);
    return NULL;
}

// ---- the interface

static void posix_executor_submit(struct os_executor *executor, struct os_task *task)
{
    ASSERT(task->step != NULL && task->priority < OS_PRIORITIES);
    struct posix_executor *e = posix_executor_of(executor);
    os_mutex_lock(&e->mu.lock);
    ASSERT(!e->mu.closing);
    if (!task->queued) {
        task->queued = true;
        if (!task_running_locked(e, task)) {
            task_append_locked(e, task);
            worker_wake_locked(e, task->priority);
        }
    }
    os_mutex_unlock(&e->mu.lock);
}

static void posix_executor_wait(struct os_executor *executor, struct os_cond *c, struct os_mutex *m)
{
    (void)executor;
    os_cond_wait(c, m);
}

static void posix_executor_retire(struct os_executor *executor, struct os_task *task)
{
    struct posix_executor *e = posix_executor_of(executor);
    os_mutex_lock(&e->mu.lock);
    e->mu.retiring++;
    while (task->queued || task_running_locked(e, task)) {
        os_cond_wait(&e->mu.task_over, &e->mu.lock);
    }
    e->mu.retiring--;
    os_mutex_unlock(&e->mu.lock);
}

static void posix_executor_close(struct os_executor *executor)
{
    struct posix_executor *e = posix_executor_of(executor);
    os_mutex_lock(&e->mu.lock);
    e->mu.closing = true;
    for (uint32_t i = 0; i < e->worker_count; i++) {
        os_cond_wake_all(&e->workers[i].wake);
    }
    os_mutex_unlock(&e->mu.lock);
    for (uint32_t i = 0; i < e->worker_count; i++) {
        os_thread_join(&e->workers[i].thread);
        os_cond_release(&e->workers[i].wake);
    }
    for (int i = 0; i < OS_PRIORITIES; i++) {
        ASSERT(e->mu.queues[i].first == NULL);
    }
    os_cond_release(&e->mu.task_over);
    os_mutex_release(&e->mu.lock);
    free(e);
}

strata_rc os_executor_posix_new(uint32_t threads, struct os_executor **executor_out)
{
    ASSERT(threads > 0 && threads <= EXECUTOR_THREADS_MAX);
    *executor_out = NULL;
    size_t bytes = sizeof(struct posix_executor) + threads * sizeof(struct worker);
    struct posix_executor *e = alloc_zeroed(1, bytes);
    if (e == NULL) {
        return alloc_failed("an executor", bytes);
    }
    e->executor.submit = posix_executor_submit;
    e->executor.wait = posix_executor_wait;
    e->executor.retire = posix_executor_retire;
    e->executor.close = posix_executor_close;
    os_mutex_init(&e->mu.lock);
    os_cond_init(&e->mu.task_over);

    strata_rc rc = STRATA_OK;
    // Held while threads are started: a worker that looks at the others must see how many there
    // are.
    os_mutex_lock(&e->mu.lock);
    for (uint32_t i = 0; i < threads && rc == STRATA_OK; i++) {
        struct worker *w = &e->workers[i];
        w->executor = e;
        w->flush_only = i == 0 && threads > 1;
        os_cond_init(&w->wake);
        char name[32];
        snprintf(name, sizeof name, "strata-%u", i);
        rc = os_thread_start(&w->thread, name, worker_main, w);
        if (rc == STRATA_OK) {
            e->worker_count++;
        } else {
            os_cond_release(&w->wake);
        }
    }
    os_mutex_unlock(&e->mu.lock);
    if (rc != STRATA_OK) {
        posix_executor_close(&e->executor);
        return rc;
    }
    *executor_out = &e->executor;
    return STRATA_OK;
}
