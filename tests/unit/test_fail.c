#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// cmocka has a macro of this name too.
#undef fail
#include "base/fail.h"

static void the_text_is_formatted_and_the_code_returned(void **state)
{
    (void)state;
    assert_int_equal(fail(STRATA_CORRUPT, "block %d of %s", 7, "file"), STRATA_CORRUPT);
    assert_string_equal(fail_text(), "block 7 of file");
}

static void context_is_put_before_the_text(void **state)
{
    (void)state;
    strata_rc rc = fail(STRATA_CORRUPT, "bad checksum");
    rc = fail_in(rc, "block %d", 3);
    assert_int_equal(fail_in(rc, "000007.table"), STRATA_CORRUPT);
    assert_string_equal(fail_text(), "000007.table: block 3: bad checksum");
}

static void a_text_may_be_made_of_the_last_text(void **state)
{
    (void)state;
    assert_int_equal(fail(STRATA_IO, "disk gone"), STRATA_IO);
    assert_int_equal(fail(STRATA_READ_ONLY, "read-only since: %s", fail_text()), STRATA_READ_ONLY);
    assert_string_equal(fail_text(), "read-only since: disk gone");
    assert_int_equal(fail_in(STRATA_READ_ONLY, "again %s", fail_text()), STRATA_READ_ONLY);
    assert_string_equal(fail_text(),
                        "again read-only since: disk gone: read-only since: disk gone");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(fail(STRATA_IO, "%s", longer), STRATA_IO);
    assert_int_equal(strlen(fail_text()), 511);
    assert_int_equal(fail_in(STRATA_IO, "%s", longer), STRATA_IO);
    assert_int_equal(strlen(fail_text()), 511);
    fail_restore(longer);
    assert_int_equal(strlen(fail_text()), 511);
    longer[512] = '\0';
    fail_restore(longer);
    assert_int_equal(strlen(fail_text()), 511);
    longer[511] = '\0';
    fail_restore(longer);
    assert_string_equal(fail_text(), longer);
}

static void system_errors_have_their_codes(void **state)
{
    (void)state;
    assert_int_equal(fail_errno(ENOSPC, "write", "000001.log"), STRATA_NO_SPACE);
    assert_int_equal(fail_errno(EDQUOT, "write", "000001.log"), STRATA_NO_SPACE);
    assert_int_equal(fail_errno(ENOMEM, "map", "000001.log"), STRATA_NO_MEMORY);
    assert_int_equal(fail_errno(EIO, "sync", "000001.log"), STRATA_IO);
    assert_string_equal(fail_text(), "sync 000001.log: Input/output error");
}

static void a_text_from_another_thread_can_be_restored(void **state)
{
    (void)state;
    fail_restore("born elsewhere");
    assert_string_equal(fail_text(), "born elsewhere");
    fail_restore(fail_text());
    assert_string_equal(fail_text(), "born elsewhere");
}

static void *fail_in_a_thread(void *ctx)
{
    bool *empty = ctx;
    *empty = fail_text()[0] == '\0';
    (void)fail(STRATA_IO, "of the thread");
    return NULL;
}

static void every_thread_has_its_own_text(void **state)
{
    (void)state;
    pthread_t thread;
    bool empty = false;
    (void)fail(STRATA_IO, "of the first");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, &empty), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(empty);
    assert_string_equal(fail_text(), "of the first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_formatted_and_the_code_returned),
        cmocka_unit_test(context_is_put_before_the_text),
        cmocka_unit_test(a_text_may_be_made_of_the_last_text),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(system_errors_have_their_codes),
        cmocka_unit_test(a_text_from_another_thread_can_be_restored),
        cmocka_unit_test(every_thread_has_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
