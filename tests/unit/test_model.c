// The model against answers worked out by hand.
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

static struct model_op put(const char *key, const char *value)
{
    return (struct model_op){MODEL_PUT, 0, text(key), text(value), 0};
}

static struct model_op del(const char *key)
{
    return (struct model_op){MODEL_DELETE, 0, text(key), slice_of(NULL, 0), 0};
}

static struct model_op del_range(const char *begin, const char *end)
{
    return (struct model_op){MODEL_DELETE_RANGE, 0, text(begin), text(end), 0};
}

static void assert_value(const struct model *m, const char *key, uint64_t at, const char *value)
{
    const struct model_version *v = model_get(&m->spaces[0], text(key), at, 0);
    if (value == NULL) {
        assert_null(v);
    } else {
        assert_non_null(v);
        assert_true(slice_equal(v->value, text(value)));
    }
}

static void reads_as_of_each_commit(void **state)
{
    (void)state;
    struct model *m = model_new();
    model_commit(m, &(struct model_op[]){put("a", "1")}[0], 1);
    model_commit(m, &(struct model_op[]){put("a", "2")}[0], 1);
    model_commit(m, &(struct model_op[]){del("a")}[0], 1);
    model_commit(m, &(struct model_op[]){put("a", "4")}[0], 1);
    model_commit(m, &(struct model_op[]){del_range("a", "b")}[0], 1);
    assert_value(m, "a", 0, NULL);
    assert_value(m, "a", 1, "1");
    assert_value(m, "a", 2, "2");
    assert_value(m, "a", 3, NULL);
    assert_value(m, "a", 4, "4");
    assert_value(m, "a", 5, NULL);
    model_free(m);
}

static void last_operation_of_a_batch_wins(void **state)
{
    (void)state;
    struct model *m = model_new();
    struct model_op ops[] = {put("a", "1"), put("b", "1"), del_range("a", "c"), put("b", "2")};
    assert_int_equal(model_commit(m, ops, 4), 1);
    assert_value(m, "a", 1, NULL);
    assert_value(m, "b", 1, "2");
    model_free(m);
}

static void end_of_a_range_is_not_in_it(void **state)
{
    (void)state;
    struct model *m = model_new();
    struct model_op ops[] = {put("a", "1"), put("b", "1")};
    struct model_op range = del_range("a", "b");
    model_commit(m, ops, 2);
    model_commit(m, &range, 1);
    assert_value(m, "a", 2, NULL);
    assert_value(m, "b", 2, "1");
    model_free(m);
}

static void cut_forgets_newer_commits(void **state)
{
    (void)state;
    struct model *m = model_new();
    struct model_op one = put("a", "1");
    struct model_op two = put("a", "2");
    struct model_op range = del_range("a", "z");
    model_commit(m, &one, 1);
    model_commit(m, &two, 1);
    model_space_create(m, "other");
    model_space_drop(m, 1);
    model_commit(m, &range, 1);
    model_cut(m, 3);
    assert_int_equal(m->newest, 3);
    assert_true(model_space_is_there(m, 1, 3));
    assert_value(m, "a", 3, "2");
    model_cut(m, 1);
    assert_int_equal(m->space_count, 1);
    assert_value(m, "a", 1, "1");
    model_free(m);
}

static void dropped_name_can_come_back(void **state)
{
    (void)state;
    struct model *m = model_new();
    model_space_create(m, "x");
    model_space_drop(m, 1);
    model_space_create(m, "x");
    assert_int_equal(model_space_named(m, "x", 1), 1);
    assert_int_equal(model_space_named(m, "x", 2), SIZE_MAX);
    assert_int_equal(model_space_named(m, "x", 3), 2);
    model_free(m);
}

static void history_shows_what_ended_what(void **state)
{
    (void)state;
    struct model *m = model_new();
    struct model_op ops[] = {put("a", "1"), del_range("a", "b"), del_range("a", "b"), put("a", "4"),
                             del("a")};
    for (size_t i = 0; i < 5; i++) {
        model_commit(m, &ops[i], 1);
    }
    struct model_seen *seen = NULL;
    size_t count = model_history(&m->spaces[0], &m->spaces[0].keys[0], 5, &seen);
    assert_int_equal(count, 5);
    static const uint64_t commits[] = {5, 4, 3, 2, 1};
    static const uint64_t ends[] = {0, 5, 4, 3, 2};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(seen[i].commit, commits[i]);
        assert_int_equal(seen[i].end, ends[i]);
        assert_int_equal(seen[i].optional, i == 2); // the second range delete ended nothing
    }
    free(seen);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_as_of_each_commit),
        cmocka_unit_test(last_operation_of_a_batch_wins),
        cmocka_unit_test(end_of_a_range_is_not_in_it),
        cmocka_unit_test(cut_forgets_newer_commits),
        cmocka_unit_test(dropped_name_can_come_back),
        cmocka_unit_test(history_shows_what_ended_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
