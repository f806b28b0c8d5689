#include "base/assert.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// Runs `body` in a child process, since a broken ASSERT is remembered for the life of its process;
// gives the child's wait status.
static int status_of_child(int (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(99);
        }
        _exit(body());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int true_conditions_change_nothing_body(void)
{
    int calls = 0;
    ASSERT(++calls == 1);
    ASSERT_SLOW(calls == 1);
    return calls == 1 && assert_broken() == NULL ? 0 : 1;
}

static void true_conditions_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(true_conditions_change_nothing_body), 0);
}

static int a_false_condition_body(void)
{
    int three = 3;
    ASSERT(three == 4);
    ASSERT(three == 5);
    const char *broken = assert_broken();
    if (broken == NULL || strstr(broken, "three == 4") == NULL) {
        return 1; // the first one is the one to tell
    }
    return strstr(broken, "test_assert.c:") == NULL ? 2 : 0;
}

static void a_false_condition_aborts_in_debug_and_is_recorded_in_release(void **state)
{
    (void)state;
    int status = status_of_child(a_false_condition_body);
#ifdef STRATA_DEBUG
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
#else
    assert_int_equal(status, 0);
#endif
}

static int a_slow_false_condition_body(void)
{
    ASSERT_SLOW(getpid() == 0);
    return assert_broken() == NULL ? 0 : 1;
}

static void slow_checks_are_made_in_debug_only(void **state)
{
    (void)state;
    int status = status_of_child(a_slow_false_condition_body);
#ifdef STRATA_DEBUG
    assert_true(WIFSIGNALED(status));
#else
    assert_int_equal(status, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_conditions_change_nothing),
        cmocka_unit_test(a_false_condition_aborts_in_debug_and_is_recorded_in_release),
        cmocka_unit_test(slow_checks_are_made_in_debug_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
