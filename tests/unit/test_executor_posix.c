// The executor with real threads: order, submitting from a step, retiring, no task twice at once.
#include "os/executor.h"

#include "base/fail.h"
#include "lib/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct os_executor *new_executor(uint32_t threads)
{
    struct os_executor *e = NULL;
    assert_int_equal(os_executor_posix_new(threads, &e), STRATA_OK);
    assert_non_null(e);
    return e;
}

// A door that a step waits at until the test opens it.
struct door {
    struct os_mutex lock;
    struct os_cond changed;
    bool open;
    int reached;
};

static void door_init(struct door *d)
{
    memset(d, 0, sizeof *d);
    os_mutex_init(&d->lock);
    os_cond_init(&d->changed);
}

static void door_release(struct door *d)
{
    os_cond_release(&d->changed);
    os_mutex_release(&d->lock);
}

static void door_pass(struct door *d)
{
    os_mutex_lock(&d->lock);
    d->reached++;
    os_cond_wake_all(&d->changed);
    while (!d->open) {
        os_cond_wait(&d->changed, &d->lock);
    }
    os_mutex_unlock(&d->lock);
}

static void door_wait_reached(struct os_executor *e, struct door *d, int reached)
{
    os_mutex_lock(&d->lock);
    while (d->reached < reached) {
        e->wait(e, &d->changed, &d->lock);
    }
    os_mutex_unlock(&d->lock);
}

static void door_open(struct door *d)
{
    os_mutex_lock(&d->lock);
    d->open = true;
    os_cond_wake_all(&d->changed);
    os_mutex_unlock(&d->lock);
}

// A task that writes its letter, and has `steps` steps.
struct letter_task {
    struct os_task task;
    char letter;
    int steps;
    char *text; // written by one worker at a time
};

static bool letter_step(struct os_task *task)
{
    struct letter_task *t = (struct letter_task *)task;
    size_t length = strlen(t->text);
    t->text[length] = t->letter;
    t->text[length + 1] = '\0';
    return --t->steps > 0;
}

struct door_task {
    struct os_task task;
    struct door *door;
    atomic_int runs;
};

static bool door_step(struct os_task *task)
{
    struct door_task *t = (struct door_task *)task;
    atomic_fetch_add(&t->runs, 1);
    door_pass(t->door);
    return false;
}

// While the only worker stands at a door, tasks are queued; their order is then fixed.
static void flushes_run_before_merges_and_steps_take_turns(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(1);
    struct door door;
    door_init(&door);
    char text[32] = "";
    struct door_task blocker = {.task.step = door_step, .door = &door};
    struct letter_task a = {{.step = letter_step, .priority = OS_PRIORITY_MERGE}, 'a', 2, text};
    struct letter_task b = {{.step = letter_step, .priority = OS_PRIORITY_MERGE}, 'b', 3, text};
    struct letter_task f = {{.step = letter_step, .priority = OS_PRIORITY_FLUSH}, 'F', 2, text};
    e->submit(e, &blocker.task);
    door_wait_reached(e, &door, 1);
    e->submit(e, &a.task);
    e->submit(e, &b.task);
    e->submit(e, &f.task);
    door_open(&door);
    e->retire(e, &a.task);
    e->retire(e, &b.task);
    e->retire(e, &f.task);
    assert_string_equal(text, "FFababb");
    e->close(e);
    door_release(&door);
}

static void second_submit_of_a_queued_task_does_nothing(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(1);
    struct door door;
    door_init(&door);
    char text[32] = "";
    struct door_task blocker = {.task.step = door_step, .door = &door};
    struct letter_task a = {{.step = letter_step, .priority = OS_PRIORITY_MERGE}, 'a', 1, text};
    e->submit(e, &blocker.task);
    door_wait_reached(e, &door, 1);
    e->submit(e, &a.task);
    e->submit(e, &a.task);
    door_open(&door);
    e->retire(e, &a.task);
    assert_string_equal(text, "a");
    e->close(e);
    door_release(&door);
}

struct again_task {
    struct os_task task;
    struct os_executor *executor;
    int left;
    int runs;
};

static bool again_step(struct os_task *task)
{
    struct again_task *t = (struct again_task *)task;
    t->runs++;
    if (t->left > 0) {
        t->left--;
        t->executor->submit(t->executor, task);
    }
    return false;
}

static void submit_from_its_own_step_runs_it_again(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct os_executor *e = new_executor(threads);
        struct again_task t = {.task = {.step = again_step, .priority = OS_PRIORITY_MERGE},
                               .executor = e,
                               .left = 100};
        e->submit(e, &t.task);
        e->retire(e, &t.task);
        assert_int_equal(t.runs, 101);
        e->close(e);
    }
}

static void submit_while_another_thread_runs_it_is_not_lost(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(3);
    struct door door;
    door_init(&door);
    struct door_task t = {.task = {.step = door_step, .priority = OS_PRIORITY_MERGE},
                          .door = &door};
    e->submit(e, &t.task);
    door_wait_reached(e, &door, 1);
    e->submit(e, &t.task);
    usleep(2000);
    assert_int_equal(atomic_load(&t.runs), 1); // not by an idle thread meanwhile
    door_open(&door);
    e->retire(e, &t.task);
    assert_int_equal(atomic_load(&t.runs), 2);
    e->close(e);
    door_release(&door);
}

static void merge_never_delays_a_flush(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(2);
    struct door door;
    door_init(&door);
    struct door_task m1 = {.task = {.step = door_step, .priority = OS_PRIORITY_MERGE},
                           .door = &door};
    struct door_task m2 = {.task = {.step = door_step, .priority = OS_PRIORITY_MERGE},
                           .door = &door};
    char text[32] = "";
    struct letter_task f = {{.step = letter_step, .priority = OS_PRIORITY_FLUSH}, 'F', 1, text};
    e->submit(e, &m1.task);
    e->submit(e, &m2.task);
    door_wait_reached(e, &door, 1);
    e->submit(e, &f.task);
    e->retire(e, &f.task); // ends although a merge stands at the door and one waits
    assert_string_equal(text, "F");
    assert_int_equal(atomic_load(&m1.runs) + atomic_load(&m2.runs), 1);
    door_open(&door);
    e->retire(e, &m1.task);
    e->retire(e, &m2.task);
    e->close(e);
    door_release(&door);
}

// ---- many tasks, several submitters

#define TASKS 8
#define SUBMITS 2000

struct crowd_task {
    struct os_task task;
    atomic_int inside;
    atomic_int *overlaps;
    int runs; // unprotected: runs of one task follow each other
    atomic_int demands;
    int served;
};

static bool crowd_step(struct os_task *task)
{
    struct crowd_task *t = (struct crowd_task *)task;
    if (atomic_fetch_add(&t->inside, 1) != 0) {
        atomic_fetch_add(t->overlaps, 1);
    }
    t->runs++;
    t->served = atomic_load(&t->demands);
    atomic_fetch_sub(&t->inside, 1);
    return t->runs % 7 == 0;
}

struct submitter {
    struct os_thread thread;
    struct os_executor *executor;
    struct crowd_task *tasks;
};

static void *submit_all(void *ctx)
{
    struct submitter *s = ctx;
    for (int i = 0; i < SUBMITS; i++) {
        struct crowd_task *t = &s->tasks[i % TASKS];
        atomic_fetch_add(&t->demands, 1);
        s->executor->submit(s->executor, &t->task);
    }
    return NULL;
}

// Every demand is served by a step that began after it, and no task runs twice at once.
static void no_demand_is_lost_and_no_task_overlaps_itself(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(4);
    atomic_int overlaps = 0;
    struct crowd_task tasks[TASKS];
    memset(tasks, 0, sizeof tasks);
    for (int i = 0; i < TASKS; i++) {
        tasks[i].task.step = crowd_step;
        tasks[i].task.priority = i % 2 == 0 ? OS_PRIORITY_FLUSH : OS_PRIORITY_MERGE;
        tasks[i].overlaps = &overlaps;
    }
    struct submitter submitters[3];
    for (int i = 0; i < 3; i++) {
        submitters[i].executor = e;
        submitters[i].tasks = tasks;
        assert_int_equal(
            os_thread_start(&submitters[i].thread, "submit", submit_all, &submitters[i]),
            STRATA_OK);
    }
    for (int i = 0; i < 3; i++) {
        os_thread_join(&submitters[i].thread);
    }
    for (int i = 0; i < TASKS; i++) {
        e->retire(e, &tasks[i].task);
        assert_int_equal(tasks[i].served, atomic_load(&tasks[i].demands));
        assert_true(tasks[i].runs > 0);
    }
    assert_int_equal(atomic_load(&overlaps), 0);
    e->close(e);
}

static void executor_without_memory_is_an_error(void **state)
{
    (void)state;
    struct os_executor *e = NULL;
    alloc_fault_arm(0, 1);
    strata_rc rc = os_executor_posix_new(2, &e);
    assert_int_equal(alloc_fault_disarm(), 1);
    assert_int_equal(rc, STRATA_NO_MEMORY);
    assert_null(e);
}

static void retire_of_a_task_never_submitted_returns(void **state)
{
    (void)state;
    struct os_executor *e = new_executor(2);
    struct again_task t = {.task = {.step = again_step}, .executor = e};
    e->retire(e, &t.task);
    assert_int_equal(t.runs, 0);
    e->close(e);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

// Address space for some threads only, in a process of its own.
static void threads_that_cannot_start_are_an_error(void **state)
{
    (void)state;
#ifdef SANITIZED
    skip(); // the sanitizers reserve more address space than the limit leaves
#endif
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(10);
        struct rlimit limit = {.rlim_cur = 200u << 20, .rlim_max = 200u << 20};
        if (setrlimit(RLIMIT_AS, &limit) != 0) {
            _exit(2);
        }
        struct os_executor *e = NULL;
        strata_rc rc = os_executor_posix_new(64, &e);
        _exit(rc == STRATA_IO && e == NULL && strstr(fail_text(), "strata-") != NULL ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushes_run_before_merges_and_steps_take_turns),
        cmocka_unit_test(second_submit_of_a_queued_task_does_nothing),
        cmocka_unit_test(submit_from_its_own_step_runs_it_again),
        cmocka_unit_test(submit_while_another_thread_runs_it_is_not_lost),
        cmocka_unit_test(merge_never_delays_a_flush),
        cmocka_unit_test(no_demand_is_lost_and_no_task_overlaps_itself),
        cmocka_unit_test(executor_without_memory_is_an_error),
        cmocka_unit_test(retire_of_a_task_never_submitted_returns),
        cmocka_unit_test(threads_that_cannot_start_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
