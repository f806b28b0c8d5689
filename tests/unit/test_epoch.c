// Epochs: nothing is freed under a reader, everything is freed in the end.
#include "os/epoch.h"

#include "base/alloc.h"
#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct thing {
    struct os_retired retired;
    uint64_t a;
    uint64_t b; // always ~a
};

static atomic_uint things_freed;

static void thing_free(struct os_retired *self)
{
    struct thing *t = (struct thing *)self;
    t->a = 1;
    t->b = 1;
    free(t);
    atomic_fetch_add(&things_freed, 1);
}

static struct thing *thing_new(uint64_t a)
{
    struct thing *t = alloc_array(1, sizeof *t);
    assert_non_null(t);
    t->a = a;
    t->b = ~a;
    return t;
}

static int setup(void **state)
{
    (void)state;
    os_epoch_drain();
    atomic_store(&things_freed, 0);
    return 0;
}

static void without_readers_collect_frees(void **state)
{
    (void)state;
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    assert_int_equal(atomic_load(&things_freed), 0);
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 1);
}

static void retire_frees_when_many_wait(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        os_epoch_retire(&thing_new(i)->retired, thing_free);
    }
    assert_true(atomic_load(&things_freed) > 900);
    os_epoch_drain();
    assert_int_equal(atomic_load(&things_freed), 1000);
}

struct parked_reader {
    struct os_thread thread;
    struct os_mutex lock;
    struct os_cond changed;
    unsigned nested;
    bool inside;
    bool may_leave;
};

static void *park(void *ctx)
{
    struct parked_reader *r = ctx;
    for (unsigned i = 0; i < r->nested; i++) {
        os_epoch_enter();
    }
    // Leaving an inner section must not end the outer one.
    for (unsigned i = 1; i < r->nested; i++) {
        os_epoch_leave();
    }
    os_mutex_lock(&r->lock);
    r->inside = true;
    os_cond_wake_all(&r->changed);
    while (!r->may_leave) {
        os_cond_wait(&r->changed, &r->lock);
    }
    os_mutex_unlock(&r->lock);
    os_epoch_leave();
    return NULL;
}

static void park_start(struct parked_reader *r, unsigned nested)
{
    *r = (struct parked_reader){.nested = nested};
    os_mutex_init(&r->lock);
    os_cond_init(&r->changed);
    assert_int_equal(os_thread_start(&r->thread, "reader", park, r), STRATA_OK);
    os_mutex_lock(&r->lock);
    while (!r->inside) {
        os_cond_wait(&r->changed, &r->lock);
    }
    os_mutex_unlock(&r->lock);
}

static void park_stop(struct parked_reader *r)
{
    os_mutex_lock(&r->lock);
    r->may_leave = true;
    os_cond_wake_all(&r->changed);
    os_mutex_unlock(&r->lock);
    os_thread_join(&r->thread);
    os_cond_release(&r->changed);
    os_mutex_release(&r->lock);
}

static void reader_that_entered_before_holds_everything(void **state)
{
    (void)state;
    struct parked_reader reader;
    park_start(&reader, 1);
    for (uint64_t i = 0; i < 100; i++) {
        os_epoch_retire(&thing_new(i)->retired, thing_free);
    }
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 0);
    park_stop(&reader);
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 100);
}

static void reader_that_entered_after_holds_nothing(void **state)
{
    (void)state;
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    struct parked_reader reader;
    park_start(&reader, 1);
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 1);
    park_stop(&reader);
}

static void inner_leave_does_not_end_the_outer_section(void **state)
{
    (void)state;
    struct parked_reader reader;
    park_start(&reader, 3);
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 0);
    park_stop(&reader);
    os_epoch_drain();
    assert_int_equal(atomic_load(&things_freed), 1);
}

static void *drain_in_thread(void *ctx)
{
    (void)ctx;
    os_epoch_drain();
    return NULL;
}

static void drain_waits_for_a_reader(void **state)
{
    (void)state;
    struct parked_reader reader;
    park_start(&reader, 1);
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    struct os_thread drainer;
    assert_int_equal(os_thread_start(&drainer, "drainer", drain_in_thread, NULL), STRATA_OK);
    usleep(20000);
    assert_int_equal(atomic_load(&things_freed), 0);
    park_stop(&reader);
    os_thread_join(&drainer);
    assert_int_equal(atomic_load(&things_freed), 1);
}

static void thing_free_retiring_another(struct os_retired *self)
{
    thing_free(self);
    os_epoch_retire(&thing_new(2)->retired, thing_free);
}

static void free_function_may_retire(void **state)
{
    (void)state;
    os_epoch_retire(&thing_new(1)->retired, thing_free_retiring_another);
    os_epoch_drain();
    os_epoch_drain();
    assert_int_equal(atomic_load(&things_freed), 2);
}

static void *enter_once(void *ctx)
{
    (void)ctx;
    os_epoch_enter();
    os_epoch_leave();
    return NULL;
}

// More threads than there are records, one after the other: records are given back.
static void records_of_ended_threads_are_used_again(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct os_thread t;
        assert_int_equal(os_thread_start(&t, "short", enter_once, NULL), STRATA_OK);
        os_thread_join(&t);
    }
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 1);
}

// A thread that was reading when the process forked does not exist in the child.
static void child_is_not_held_up_by_threads_of_its_parent(void **state)
{
    (void)state;
    struct parked_reader reader;
    park_start(&reader, 1);
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(5);
        os_epoch_drain();
        _exit(atomic_load(&things_freed) == 1 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(atomic_load(&things_freed), 0);
    park_stop(&reader);
}

// ---- stress: two writers replace what two readers read

#define STRESS_SLOTS 8
#define STRESS_ROUNDS 20000

static struct {
    _Atomic(struct thing *) slots[STRESS_SLOTS];
    atomic_bool stop;
    atomic_uint torn;
    atomic_uint reads;
} stress;

static void *stress_read(void *ctx)
{
    (void)ctx;
    while (!atomic_load_explicit(&stress.stop, memory_order_relaxed)) {
        os_epoch_enter();
        for (int i = 0; i < STRESS_SLOTS; i++) {
            const struct thing *t = atomic_load_explicit(&stress.slots[i], memory_order_acquire);
            if (t->a != ~t->b) {
                atomic_fetch_add(&stress.torn, 1);
            }
        }
        os_epoch_leave();
        atomic_fetch_add_explicit(&stress.reads, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *stress_write(void *ctx)
{
    uint64_t seed = (uint64_t)(uintptr_t)ctx;
    for (uint64_t i = 0; i < STRESS_ROUNDS; i++) {
        struct thing *fresh = thing_new(seed + i);
        struct thing *old = atomic_exchange(&stress.slots[(seed + i) % STRESS_SLOTS], fresh);
        os_epoch_retire(&old->retired, thing_free);
        if (i % 5000 == 0) {
            os_epoch_drain();
        }
    }
    return NULL;
}

static void readers_never_see_freed_memory(void **state)
{
    (void)state;
    atomic_store(&stress.stop, false);
    atomic_store(&stress.torn, 0);
    for (int i = 0; i < STRESS_SLOTS; i++) {
        atomic_store(&stress.slots[i], thing_new((uint64_t)i));
    }
    struct os_thread threads[4];
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(os_thread_start(&threads[i], "reader", stress_read, NULL), STRATA_OK);
        assert_int_equal(
            os_thread_start(&threads[2 + i], "writer", stress_write, (void *)(i * 977)), STRATA_OK);
    }
    os_thread_join(&threads[2]);
    os_thread_join(&threads[3]);
    atomic_store(&stress.stop, true);
    os_thread_join(&threads[0]);
    os_thread_join(&threads[1]);
    assert_int_equal(atomic_load(&stress.torn), 0);
    assert_true(atomic_load(&stress.reads) > 0);
    for (int i = 0; i < STRESS_SLOTS; i++) {
        os_epoch_retire(&atomic_load(&stress.slots[i])->retired, thing_free);
    }
    os_epoch_drain();
    assert_int_equal(atomic_load(&things_freed), 2 * STRESS_ROUNDS + STRESS_SLOTS);
}

// More readers at once than there are records: the last ones share one.
#define CROWD 1100

static void readers_beyond_the_records_hold_what_they_read(void **state)
{
    (void)state;
    struct parked_reader *crowd = alloc_zeroed(CROWD, sizeof *crowd);
    assert_non_null(crowd);
    for (int i = 0; i < CROWD; i++) {
        park_start(&crowd[i], 2);
    }
    os_epoch_retire(&thing_new(1)->retired, thing_free);
    for (int i = 0; i < CROWD; i++) {
        os_epoch_collect();
        assert_int_equal(atomic_load(&things_freed), 0);
        park_stop(&crowd[i]);
    }
    os_epoch_collect();
    assert_int_equal(atomic_load(&things_freed), 1);
    free(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_readers_collect_frees, setup),
        cmocka_unit_test_setup(retire_frees_when_many_wait, setup),
        cmocka_unit_test_setup(reader_that_entered_before_holds_everything, setup),
        cmocka_unit_test_setup(reader_that_entered_after_holds_nothing, setup),
        cmocka_unit_test_setup(inner_leave_does_not_end_the_outer_section, setup),
        cmocka_unit_test_setup(drain_waits_for_a_reader, setup),
        cmocka_unit_test_setup(free_function_may_retire, setup),
        cmocka_unit_test_setup(records_of_ended_threads_are_used_again, setup),
        cmocka_unit_test_setup(child_is_not_held_up_by_threads_of_its_parent, setup),
        cmocka_unit_test_setup(readers_never_see_freed_memory, setup),
        cmocka_unit_test_setup(readers_beyond_the_records_hold_what_they_read, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
