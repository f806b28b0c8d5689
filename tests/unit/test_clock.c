#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static void wall_clock_is_unix_time_in_microseconds(void **state)
{
    (void)state;
    struct os_clock *c = os_clock_posix();
    int64_t before = (int64_t)time(NULL);
    int64_t now = c->wall_us(c);
    int64_t after = (int64_t)time(NULL);
    // time() may be one tick of the kernel behind.
    assert_true(now >= before * 1000000);
    assert_true(now < (after + 2) * 1000000);
}

static void monotonic_clock_moves_with_sleep(void **state)
{
    (void)state;
    struct os_clock *c = os_clock_posix();
    uint64_t before = c->monotonic_ns(c);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    uint64_t passed = c->monotonic_ns(c) - before;
    assert_true(passed >= 5000000);
    assert_true(passed < 5000000000u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_clock_is_unix_time_in_microseconds),
        cmocka_unit_test(monotonic_clock_moves_with_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
