// Events and metrics: what a program is told while it writes, flushes and closes.
#include "strata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS_MAX 64

struct seen {
    char names[EVENTS_MAX][32];
    size_t count;
    strata_db *db; // asked from inside the callback: no lock may be held
};

static void on_event(void *ctx, const strata_event *event)
{
    struct seen *seen = ctx;
    assert_true(event->unix_us > 0);
    assert_true(strlen(event->help) > 0);
    if (seen->db != NULL && strcmp(event->name, "closing") != 0) {
        size_t count;
        assert_int_equal(strata_stats(seen->db, NULL, 0, &count), STRATA_OK);
        (void)strata_newest_commit(seen->db);
    }
    if (seen->count < EVENTS_MAX) {
        snprintf(seen->names[seen->count++], sizeof seen->names[0], "%s", event->name);
    }
}

static bool was_seen(const struct seen *seen, const char *name)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void remove_database(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of ours
}

static void a_flush_is_announced_between_open_and_close(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-events-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct seen seen = {.count = 0};
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.event = on_event;
    options.event_ctx = &seen;
    strata_db *db;
    assert_int_equal(strata_open(path, &options, &db), STRATA_OK);
    seen.db = db;
    assert_int_equal(strata_put(db, NULL, strata_str("key"), strata_str("value")), STRATA_OK);
    assert_false(was_seen(&seen, "flush_begin"));
    assert_int_equal(strata_flush(db), STRATA_OK);
    assert_int_equal(strata_wait_idle(db), STRATA_OK);
    assert_int_equal(strata_close(db), STRATA_OK);
    assert_string_equal(seen.names[0], "opened");
    assert_true(was_seen(&seen, "flush_begin"));
    assert_true(was_seen(&seen, "flush_end"));
    assert_false(was_seen(&seen, "job_failed"));
    assert_string_equal(seen.names[seen.count - 1], "closing");
    remove_database(path);
}

static void every_metric_has_a_name_of_its_own_and_a_sentence(void **state)
{
    (void)state;
    char path[] = "/tmp/strata-events-XXXXXX";
    assert_non_null(mkdtemp(path));
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    strata_db *db;
    strata_metric metrics[128];
    size_t count = 0;
    assert_int_equal(strata_open(path, &options, &db), STRATA_OK);
    assert_int_equal(strata_put(db, NULL, strata_str("key"), strata_str("value")), STRATA_OK);
    assert_int_equal(strata_stats(db, metrics, 128, &count), STRATA_OK);
    assert_in_range(count, 40, 128);
    uint64_t commits = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(metrics[i].help) > 8);
        assert_true(strlen(metrics[i].unit) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(metrics[i].name, metrics[j].name);
        }
        commits += strcmp(metrics[i].name, "commits") == 0 ? metrics[i].value : 0;
    }
    assert_int_equal(commits, 1);
    assert_int_equal(strata_close(db), STRATA_OK);
    remove_database(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_is_announced_between_open_and_close),
        cmocka_unit_test(every_metric_has_a_name_of_its_own_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
