#include "unit/table_fixture.h"

#include "os/thread.h"

#define FILES_MAX 80

// A directory in memory that counts its open files and may have no more than some.
struct counted {
    struct mem_dir dir;
    struct os_dir_ops ops;
    struct os_file_cache *cache;
    char names[FILES_MAX][24];
    struct os_cached_file files[FILES_MAX];
    size_t count;
};

static struct {
    struct os_mutex lock;
    const struct os_dir_ops *dir;
    const struct os_file_ops *file;
    struct os_file_ops counting;
    uint64_t open, most, allowed;
    int error; // of an open over `allowed`
} system_files;

static int counting_close(struct os_file *f)
{
    os_mutex_lock(&system_files.lock);
    system_files.open--;
    os_mutex_unlock(&system_files.lock);
    return system_files.file->close(f);
}

static int counting_open(struct os_dir *d, const char *name, unsigned flags,
                         struct os_file **file_out)
{
    os_mutex_lock(&system_files.lock);
    bool room = system_files.open < system_files.allowed;
    int error = room ? system_files.dir->open(d, name, flags, file_out) : -system_files.error;
    if (error == 0) {
        (*file_out)->ops = &system_files.counting;
        system_files.open++;
        system_files.most =
            system_files.open > system_files.most ? system_files.open : system_files.most;
    }
    os_mutex_unlock(&system_files.lock);
    return error;
}

// `count` files; the first byte of each is its number.
static void counted_open(struct counted *x, size_t count, size_t limit)
{
    *x = (struct counted){.count = count};
    mem_dir_init(&x->dir);
    for (size_t i = 0; i < count; i++) {
        struct os_file *f;
        uint8_t byte = (uint8_t)i;
        snprintf(x->names[i], sizeof x->names[i], "%u.file", (unsigned)i);
        unsigned flags = OS_OPEN_WRITE | OS_OPEN_CREATE;
        assert_int_equal(os_file_open(&x->dir.base, x->names[i], flags, &f), STRATA_OK);
        assert_int_equal(os_file_write(f, 0, &byte, 1), STRATA_OK);
        system_files.file = f->ops;
        assert_int_equal(os_file_close(f), STRATA_OK);
        os_cached_file_init(&x->files[i], x->names[i], 1, OS_OPEN_READ);
    }
    os_mutex_init(&system_files.lock);
    system_files.dir = x->dir.base.ops;
    system_files.counting = *system_files.file;
    system_files.counting.close = counting_close;
    system_files.open = 0;
    system_files.most = 0;
    system_files.allowed = UINT64_MAX;
    system_files.error = EMFILE;
    x->ops = *x->dir.base.ops;
    x->ops.open = counting_open;
    x->dir.base.ops = &x->ops;
    assert_int_equal(os_file_cache_new(&x->dir.base, limit, &x->cache), STRATA_OK);
}

static void counted_close(struct counted *x)
{
    for (size_t i = 0; i < x->count; i++) {
        os_cached_file_drop(x->cache, &x->files[i]);
    }
    assert_int_equal(system_files.open, 0);
    os_file_cache_free(x->cache);
    os_mutex_release(&system_files.lock);
    mem_dir_release(&x->dir);
}

static struct os_file_cache_stats stats_of(const struct counted *x)
{
    struct os_file_cache_stats stats;
    os_file_cache_stats(x->cache, &stats);
    return stats;
}

static struct os_file *lease(struct counted *x, size_t i)
{
    struct os_file *f = NULL;
    assert_int_equal(os_cached_file_lease(x->cache, &x->files[i], &f), STRATA_OK);
    uint8_t byte = 255;
    assert_int_equal(os_file_read(f, 0, &byte, 1), STRATA_OK);
    assert_int_equal(byte, i);
    return f;
}

static void read_one(struct counted *x, size_t i)
{
    (void)lease(x, i);
    os_cached_file_return(x->cache, &x->files[i]);
}

static void file_is_opened_once_while_there_is_room(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 3, 3);
    assert_int_equal(system_files.open, 0);
    struct os_file *first = lease(&x, 0);
    assert_ptr_equal(lease(&x, 0), first);
    os_cached_file_return(x.cache, &x.files[0]);
    os_cached_file_return(x.cache, &x.files[0]);
    for (size_t i = 0; i < 30; i++) {
        read_one(&x, i % 3);
    }
    assert_int_equal(stats_of(&x).opens, 3);
    assert_int_equal(stats_of(&x).evictions, 0);
    assert_int_equal(system_files.open, 3);
    counted_close(&x);
}

static void limit_holds_while_files_come_and_go(void **state)
{
    (void)state;
    for (size_t limit = 1; limit <= 9; limit += 2) {
        struct counted x;
        counted_open(&x, 40, limit);
        struct prng p = {.state = limit};
        for (size_t i = 0; i < 2000; i++) {
            read_one(&x, prng_below(&p, 40));
        }
        assert_int_equal(system_files.most, limit);
        assert_int_equal(stats_of(&x).open, limit);
        assert_int_equal(stats_of(&x).opens, stats_of(&x).evictions + limit);
        counted_close(&x);
    }
}

static void file_that_is_used_stays_open(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 40, 4);
    for (size_t i = 0; i < 400; i++) {
        read_one(&x, 0);
        read_one(&x, 1 + i % 39);
    }
    // Each of the others was opened each time it was read; file 0 hardly ever again.
    assert_in_range(stats_of(&x).opens, 400, 405);
    counted_close(&x);
}

static void leases_over_the_limit_work_and_end_under_it(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 30, 4);
    struct os_file *files[30];
    for (size_t i = 0; i < 30; i++) {
        files[i] = lease(&x, i);
    }
    assert_int_equal(system_files.open, 30);
    for (size_t i = 0; i < 30; i++) {
        assert_ptr_equal(lease(&x, i), files[i]); // none was closed
        os_cached_file_return(x.cache, &x.files[i]);
    }
    for (size_t i = 0; i < 30; i++) {
        os_cached_file_return(x.cache, &x.files[i]);
        assert_in_range(system_files.open, 4, i < 26 ? 30 - i : 4);
    }
    assert_int_equal(system_files.open, 4);
    assert_int_equal(stats_of(&x).open, 4);
    counted_close(&x);
}

static void shortage_closes_others_and_tries_again(void **state)
{
    (void)state;
    const int errors[] = {EMFILE, ENFILE};
    for (size_t e = 0; e < 2; e++) {
        struct counted x;
        counted_open(&x, 40, 30);
        system_files.allowed = 10;
        system_files.error = errors[e];
        for (size_t i = 0; i < 400; i++) {
            read_one(&x, i % 40);
        }
        assert_in_range(system_files.most, 10, 10);
        counted_close(&x);
    }
}

static void shortage_with_all_leased_is_an_error(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 4, 30);
    system_files.allowed = 2;
    (void)lease(&x, 0);
    (void)lease(&x, 1);
    struct os_file *f = NULL;
    assert_int_equal(os_cached_file_lease(x.cache, &x.files[2], &f), STRATA_IO);
    assert_null(f);
    assert_non_null(strstr(strata_error_text(), x.names[2]));
    assert_int_equal(stats_of(&x).open, 2);
    os_cached_file_return(x.cache, &x.files[0]);
    read_one(&x, 2);
    os_cached_file_return(x.cache, &x.files[1]);
    // Another error is not answered by closing.
    system_files.error = EACCES;
    assert_int_equal(os_cached_file_lease(x.cache, &x.files[3], &f), STRATA_IO);
    assert_int_equal(system_files.open, 2);
    counted_close(&x);
}

static void another_file_under_the_name_is_corrupt(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 3, 1);
    read_one(&x, 0);
    read_one(&x, 1);
    mem_find(&x.dir, x.names[0])->bytes = 0;
    struct os_file *f = NULL;
    assert_int_equal(os_cached_file_lease(x.cache, &x.files[0], &f), STRATA_CORRUPT);
    assert_non_null(strstr(strata_error_text(), "has 0 bytes, expected 1"));
    assert_int_equal(stats_of(&x).open, system_files.open);
    assert_int_equal(os_dir_unlink(&x.dir.base, x.names[2]), STRATA_OK);
    assert_int_equal(os_cached_file_lease(x.cache, &x.files[2], &f), STRATA_IO);
    read_one(&x, 1);
    counted_close(&x);
}

static void dropped_file_is_closed(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 3, 3);
    for (size_t i = 0; i < 3; i++) {
        read_one(&x, i);
    }
    os_cached_file_drop(x.cache, &x.files[1]);
    assert_int_equal(system_files.open, 2);
    os_cached_file_drop(x.cache, &x.files[1]); // is not open
    assert_int_equal(system_files.open, 2);
    read_one(&x, 1); // may be opened again
    counted_close(&x);
}

// ---- threads

#define THREADS 4

struct leaser {
    struct os_thread thread;
    struct counted *x;
    uint64_t seed, errors, reads;
};

static void *run_leaser(void *ctx)
{
    struct leaser *l = ctx;
    struct prng p = {.state = l->seed};
    for (size_t i = 0; i < 4000; i++) {
        size_t held[3];
        size_t count = 1 + prng_below(&p, 3);
        for (size_t k = 0; k < count; k++) {
            // Most leases go to few files.
            held[k] = prng_one_in(&p, 3) ? prng_below(&p, l->x->count) : prng_below(&p, 4);
            struct os_file *f = NULL;
            uint8_t byte = 255;
            l->errors += os_cached_file_lease(l->x->cache, &l->x->files[held[k]], &f) != STRATA_OK;
            l->errors += os_file_read(f, 0, &byte, 1) != STRATA_OK || byte != held[k];
            l->reads++;
        }
        for (size_t k = 0; k < count; k++) {
            os_cached_file_return(l->x->cache, &l->x->files[held[k]]);
        }
    }
    return NULL;
}

static void threads_share_a_small_cache(void **state)
{
    (void)state;
    struct counted x;
    counted_open(&x, 16, 4);
    struct leaser leasers[THREADS] = {0};
    for (size_t t = 0; t < THREADS; t++) {
        leasers[t].x = &x;
        leasers[t].seed = t + 1;
        assert_int_equal(os_thread_start(&leasers[t].thread, "leaser", run_leaser, &leasers[t]),
                         STRATA_OK);
    }
    for (size_t t = 0; t < THREADS; t++) {
        os_thread_join(&leasers[t].thread);
        assert_int_equal(leasers[t].errors, 0);
        assert_true(leasers[t].reads >= 4000);
    }
    // The leases of all threads at once, and what is being opened or closed beside them.
    assert_in_range(system_files.most, 4, 4 + 4 * THREADS);
    assert_in_range(system_files.open, 1, 4);
    assert_int_equal(stats_of(&x).open, system_files.open);
    assert_true(stats_of(&x).evictions > 0);
    counted_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_is_opened_once_while_there_is_room),
        cmocka_unit_test(limit_holds_while_files_come_and_go),
        cmocka_unit_test(file_that_is_used_stays_open),
        cmocka_unit_test(leases_over_the_limit_work_and_end_under_it),
        cmocka_unit_test(shortage_closes_others_and_tries_again),
        cmocka_unit_test(shortage_with_all_leased_is_an_error),
        cmocka_unit_test(another_file_under_the_name_is_corrupt),
        cmocka_unit_test(dropped_file_is_closed),
        cmocka_unit_test(threads_share_a_small_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
