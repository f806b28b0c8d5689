#include "os/thread.h"

#include "os/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct shared {
    struct os_mutex lock;
    struct os_cond changed;
    int turn;
    int sum;
};

static void shared_init(struct shared *s)
{
    memset(s, 0, sizeof *s);
    os_mutex_init(&s->lock);
    os_cond_init(&s->changed);
}

static void shared_release(struct shared *s)
{
    os_cond_release(&s->changed);
    os_mutex_release(&s->lock);
}

static void *take_odd_turns(void *ctx)
{
    struct shared *s = ctx;
    os_mutex_lock(&s->lock);
    while (s->turn < 1000) {
        if (s->turn % 2 == 1) {
            s->sum += s->turn++;
            os_cond_wake_all(&s->changed);
        } else {
            os_cond_wait(&s->changed, &s->lock);
        }
    }
    os_mutex_unlock(&s->lock);
    return NULL;
}

static void waits_end_with_wakes(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    struct os_thread t;
    assert_int_equal(os_thread_start(&t, "turns", take_odd_turns, &s), STRATA_OK);
    os_mutex_lock(&s.lock);
    while (s.turn < 1000) {
        if (s.turn % 2 == 0) {
            s.sum += s.turn++;
            os_cond_wake_all(&s.changed);
        } else {
            os_cond_wait(&s.changed, &s.lock);
        }
    }
    os_mutex_unlock(&s.lock);
    os_thread_join(&t);
    assert_int_equal(s.sum, 999 * 1000 / 2);
    shared_release(&s);
}

static void wait_without_wake_ends_in_time(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    struct os_clock *clock = os_clock_posix();
    uint64_t start = clock->monotonic_ns(clock);
    os_mutex_lock(&s.lock);
    while (os_cond_wait_for(&s.changed, &s.lock, 20000000)) {
    }
    os_mutex_unlock(&s.lock);
    uint64_t passed = clock->monotonic_ns(clock) - start;
    assert_true(passed >= 20000000);
    assert_true(passed < 5000000000u);
    shared_release(&s);
}

static void *wake(void *ctx)
{
    struct shared *s = ctx;
    os_mutex_lock(&s->lock);
    s->turn = 1;
    os_cond_wake_all(&s->changed);
    os_mutex_unlock(&s->lock);
    return NULL;
}

static void wait_for_longest_time_ends_with_a_wake(void **state)
{
    (void)state;
    struct shared s;
    shared_init(&s);
    struct os_thread t;
    os_mutex_lock(&s.lock);
    assert_int_equal(os_thread_start(&t, "wake", wake, &s), STRATA_OK);
    while (s.turn == 0) {
        assert_true(os_cond_wait_for(&s.changed, &s.lock, UINT64_MAX));
    }
    os_mutex_unlock(&s.lock);
    os_thread_join(&t);
    shared_release(&s);
}

static void *report_mask(void *ctx)
{
    pthread_sigmask(SIG_SETMASK, NULL, ctx);
    return NULL;
}

static void threads_leave_signals_to_the_program(void **state)
{
    (void)state;
    sigset_t before;
    sigset_t inside;
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    struct os_thread t;
    assert_int_equal(os_thread_start(&t, "a name that is far too long", report_mask, &inside),
                     STRATA_OK);
    os_thread_join(&t);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&inside, SIGINT), 1);
    assert_int_equal(sigismember(&inside, SIGTERM), 1);
    assert_int_equal(sigismember(&inside, SIGUSR1), 1);
    assert_int_equal(sigismember(&inside, SIGSEGV), 0);
    assert_int_equal(sigismember(&after, SIGINT), sigismember(&before, SIGINT));
    assert_int_equal(sigismember(&after, SIGUSR1), sigismember(&before, SIGUSR1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_end_with_wakes),
        cmocka_unit_test(wait_without_wake_ends_in_time),
        cmocka_unit_test(wait_for_longest_time_ends_with_a_wake),
        cmocka_unit_test(threads_leave_signals_to_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
