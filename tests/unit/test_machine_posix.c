#include "os/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool run_once(struct os_task *task)
{
    (void)task;
    return false;
}

static void real_machine_has_everything(void **state)
{
    (void)state;
    struct os_machine *m = os_machine_posix();
    assert_ptr_equal(m, os_machine_posix());
    assert_true(m->clock->wall_us(m->clock) > 0);
    assert_true(m->has_threads);

    struct os_executor *e = NULL;
    struct os_task task = {.step = run_once};
    assert_int_equal(m->new_executor(m, 2, &e), STRATA_OK);
    e->submit(e, &task);
    e->retire(e, &task);
    e->close(e);

    struct os_dir *d = NULL;
    assert_int_equal(m->open_dir(m, "/tmp", false, &d), STRATA_OK);
    os_dir_close(d);
    assert_int_equal(m->open_dir(m, "/tmp/strata/is/not/here", false, &d), STRATA_NOT_FOUND);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_machine_has_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
