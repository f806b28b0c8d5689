// The hand-cranked executor: tasks wait in a list until somebody cranks the machine or waits, and
// the seed says which goes next. A step that waits runs other tasks inside itself, never itself.
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <stdlib.h>

#define STUCK_MAX 100000
#define RETIRE_STEPS_MAX 1000000

struct sim_executor {
    struct os_executor base; // first
    struct sim_machine *machine;
    struct os_task **tasks; // queued, oldest first
    size_t count, capacity;
    struct os_task **running; // innermost last
    size_t running_count, running_capacity;
    struct sim_executor *next;
};

static bool is_running(const struct sim_executor *e, const struct os_task *task)
{
    for (size_t i = 0; i < e->running_count; i++) {
        if (e->running[i] == task) {
            return true;
        }
    }
    return false;
}

static void run_task(struct sim_executor *e, size_t index)
{
    struct os_task *task = e->tasks[index];
    for (size_t i = index; i + 1 < e->count; i++) {
        e->tasks[i] = e->tasks[i + 1];
    }
    e->count--;
    task->queued = false;
    test_grow((void **)&e->running, &e->running_capacity, e->running_count,
              sizeof(struct os_task *));
    e->running[e->running_count++] = task;
    e->machine->steps++;
    bool more = task->step(task);
    e->running_count--;
    if (more) {
        e->base.submit(&e->base, task);
    }
}

// Runs one queued task that is not running already. False when there is none.
static bool crank_one(struct sim_executor *e)
{
    size_t ready = 0;
    for (size_t i = 0; i < e->count; i++) {
        ready += is_running(e, e->tasks[i]) ? 0 : 1;
    }
    if (ready == 0) {
        return false;
    }
    size_t pick = (size_t)prng_below(&e->machine->random, ready);
    for (size_t i = 0; i < e->count; i++) {
        if (!is_running(e, e->tasks[i]) && pick-- == 0) {
            run_task(e, i);
            return true;
        }
    }
    return false;
}

static void executor_submit(struct os_executor *base, struct os_task *task)
{
    struct sim_executor *e = (struct sim_executor *)base;
    if (task->queued) {
        return;
    }
    task->queued = true;
    test_grow((void **)&e->tasks, &e->capacity, e->count, sizeof(struct os_task *));
    e->tasks[e->count++] = task;
}

static void executor_wait(struct os_executor *base, struct os_cond *c, struct os_mutex *m)
{
    struct sim_executor *e = (struct sim_executor *)base;
    (void)c;
    os_mutex_unlock(m);
    if (crank_one(e)) {
        e->machine->stuck = 0;
    } else {
        sim_machine_step_clock(e->machine, 1000, 1000000);
        if (++e->machine->stuck > STUCK_MAX) {
            test_fatal("stuck: a wait has nothing to run; %s", e->machine->label);
        }
    }
    os_mutex_lock(m);
}

static void executor_retire(struct os_executor *base, struct os_task *task)
{
    struct sim_executor *e = (struct sim_executor *)base;
    uint64_t steps = 0;
    while (task->queued) {
        for (size_t i = 0; i < e->count; i++) {
            if (e->tasks[i] == task) {
                run_task(e, i);
                break;
            }
        }
        if (++steps > RETIRE_STEPS_MAX) {
            test_fatal("a task that is retired goes on for ever; %s", e->machine->label);
        }
    }
    if (is_running(e, task)) {
        test_fatal("a task is retired inside its own step; %s", e->machine->label);
    }
}

static void executor_close(struct os_executor *base)
{
    struct sim_executor *e = (struct sim_executor *)base;
    if (e->count > 0 || e->running_count > 0) {
        test_fatal("an executor is closed with tasks in it; %s", e->machine->label);
    }
    struct sim_executor **link = &e->machine->executors;
    while (*link != e) {
        link = &(*link)->next;
    }
    *link = e->next;
    free(e->tasks);
    free(e->running);
    free(e);
}

strata_rc sim_executor_new(struct os_machine *machine, uint32_t threads,
                           struct os_executor **executor_out)
{
    (void)threads;
    struct sim_machine *m = (struct sim_machine *)machine;
    struct sim_executor *e = test_alloc(1, sizeof *e);
    e->base = (struct os_executor){executor_submit, executor_wait, executor_retire, executor_close};
    e->machine = m;
    e->next = m->executors;
    m->executors = e;
    *executor_out = &e->base;
    return STRATA_OK;
}

uint64_t sim_machine_crank(struct sim_machine *m, uint64_t steps)
{
    uint64_t ran = 0;
    bool progress = true;
    while (ran < steps && progress) {
        progress = false;
        for (struct sim_executor *e = m->executors; e != NULL && ran < steps; e = e->next) {
            if (crank_one(e)) {
                ran++;
                progress = true;
            }
        }
    }
    return ran;
}
