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

static void commit_at(struct model *m, const char *key, int64_t seconds, int64_t expires_us)
{
    struct model_op op = put(key, "v");
    op.expires_us = expires_us;
    model_commit(m, &op, 1);
    model_set_time(m, seconds * 1000000);
}

static bool has_value(const struct model *m, const char *key, uint64_t at, int64_t seconds)
{
    return model_get(&m->spaces[0], text(key), at, seconds * 1000000) != NULL;
}

static void value_is_gone_from_the_second_of_its_expiry_on(void **state)
{
    (void)state;
    struct model *m = model_new();
    commit_at(m, "a", 10, 0);
    commit_at(m, "a", 20, 30000001); // rounded up: 31 seconds
    assert_true(has_value(m, "a", 2, 30));
    assert_false(has_value(m, "a", 2, 31));
    assert_true(has_value(m, "a", 1, 31));
    assert_int_equal(model_now_s(m, 5), 20000000);
    assert_int_equal(model_now_s(m, 45999999), 45000000);
    model_free(m);
}

static void default_expiry_counts_from_the_commit(void **state)
{
    (void)state;
    struct model *m = model_new();
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_ALL, 0, 0, 5}, 0);
    struct model_op op = put("a", "v");
    model_commit(m, &op, 1);
    model_set_time(m, 10500000);
    assert_true(has_value(m, "a", 1, 15));
    assert_false(has_value(m, "a", 1, 16));
    op.expires_us = STRATA_NEVER;
    model_commit(m, &op, 1);
    model_set_time(m, 10500000);
    assert_true(has_value(m, "a", 2, 100));
    model_free(m);
}

static void floor_follows_the_policies_that_were_in_force(void **state)
{
    (void)state;
    struct model *m = model_new();
    for (int64_t i = 1; i <= 10; i++) {
        commit_at(m, "a", i * 10, 0);
    }
    assert_int_equal(model_floor(m, 0, 1000000000), 0);
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_AGE, 0, 60, 0}, 100000000);
    assert_int_equal(model_floor(m, 0, 100000000), 4);
    assert_int_equal(model_floor(m, 0, 109999999), 4);
    assert_int_equal(model_floor(m, 0, 110000000), 5);
    // What was allowed once stays allowed.
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_ALL, 0, 0, 0}, 110000000);
    assert_int_equal(model_floor(m, 0, 900000000), 5);
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_NONE, 0, 0, 0}, 110000000);
    assert_int_equal(model_floor(m, 0, 0), 10);
    model_cut(m, 3);
    assert_int_equal(model_floor(m, 0, 0), 3);
    model_free(m);
}

static void only_versions_beyond_the_last_n_may_be_forgotten(void **state)
{
    (void)state;
    struct model *m = model_new();
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_VERSIONS, 2, 0, 0}, 0);
    commit_at(m, "b", 1, 0);
    commit_at(m, "a", 1, 0); // commit 2
    commit_at(m, "a", 1, 0);
    struct model_space *s = &m->spaces[0];
    assert_false(model_may_forget(m, s, &s->keys[0], 2, false));
    struct model_op range = del_range("a", "b");
    model_commit(m, &range, 1); // 4
    assert_true(model_may_forget(m, s, &s->keys[0], 2, false));
    assert_false(model_may_forget(m, s, &s->keys[0], 3, false));
    assert_false(model_may_forget(m, s, &s->keys[0], 1, false)); // it was not there yet
    assert_false(model_may_forget(m, s, &s->keys[1], 1, false));
    assert_false(model_may_forget(m, s, &s->keys[0], 4, true));
    assert_true(model_may_forget(m, s, &s->keys[0], 3, true));
    // Under another policy no more is forgotten, and no less.
    model_set_policy(m, 0, (struct model_policy){STRATA_RETENTION_ALL, 0, 0, 0}, 0);
    commit_at(m, "a", 1, 0);
    commit_at(m, "a", 1, 0);
    assert_true(model_may_forget(m, s, &s->keys[0], 2, false));
    assert_false(model_may_forget(m, s, &s->keys[0], 3, false));
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
        cmocka_unit_test(value_is_gone_from_the_second_of_its_expiry_on),
        cmocka_unit_test(default_expiry_counts_from_the_commit),
        cmocka_unit_test(floor_follows_the_policies_that_were_in_force),
        cmocka_unit_test(only_versions_beyond_the_last_n_may_be_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
