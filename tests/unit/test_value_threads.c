// Threads that append, read and sync one value file on the real disk, while it is finished and
// after.
#include "unit/value_world.h"

#include "os/file_posix.h"

#include <stdatomic.h>
#include <unistd.h>

#define WRITERS 3
#define READERS 2
#define VALUES 600

struct shared {
    struct world w;
    struct value_file *file;
    struct value_place places[VALUES];
    atomic_bool there[VALUES]; // released by the writer, acquired by readers
    _Atomic uint64_t next;     // value to be written
    _Atomic uint64_t reads;
    _Atomic uint64_t synced;
    _Atomic uint64_t wrong;
    atomic_bool stop;
};

static size_t bytes_of(uint64_t n)
{
    return n % 97 == 5 ? KV_VALUE_CHUNK_BYTES + 1000 : n % 31 == 4 ? 100000 : 1 + n % 3000;
}

static void *write_values(void *ctx)
{
    struct shared *s = ctx;
    for (uint64_t n; (n = atomic_fetch_add(&s->next, 1)) < VALUES;) {
        uint8_t *v = value_bytes(n, bytes_of(n));
        strata_rc rc = value_file_append(
            s->file, slice_of(v, bytes_of(n)),
            n % 2 == 0 ? STRATA_COMPRESSION_NONE : STRATA_COMPRESSION_LZ4, &s->places[n]);
        free(v);
        if (rc != STRATA_OK) {
            atomic_fetch_add(&s->wrong, 1);
            continue;
        }
        atomic_store_explicit(&s->there[n], true, memory_order_release);
        if (n % 16 == 0) {
            if (value_file_sync(s->file) != STRATA_OK) {
                atomic_fetch_add(&s->wrong, 1);
            }
            atomic_fetch_add(&s->synced, 1);
        }
    }
    return NULL;
}

static bool read_value(struct shared *s, uint64_t n)
{
    const struct kv_value_ref *ref = &s->places[n].ref;
    uint8_t *got = malloc(ref->bytes);
    uint8_t *v = value_bytes(n, ref->bytes);
    strata_rc rc =
        got == NULL ? STRATA_NO_MEMORY : value_file_read(s->file, ref, 0, got, ref->bytes);
    bool right = rc == STRATA_OK && memcmp(got, v, ref->bytes) == 0;
    free(got);
    free(v);
    return right;
}

static void *read_values(void *ctx)
{
    struct shared *s = ctx;
    struct prng rng = {(uint64_t)(uintptr_t)&rng};
    while (!atomic_load(&s->stop)) {
        uint64_t n = prng_below(&rng, VALUES);
        if (atomic_load_explicit(&s->there[n], memory_order_acquire)) {
            atomic_fetch_add(read_value(s, n) ? &s->reads : &s->wrong, 1);
        }
        if (n % 50 == 0) {
            cache_shrink(s->w.env.cache, s->w.memory.budget_bytes);
        }
    }
    return NULL;
}

static void *sync_values(void *ctx)
{
    struct shared *s = ctx;
    while (!atomic_load(&s->stop)) {
        if (value_file_sync(s->file) != STRATA_OK) {
            atomic_fetch_add(&s->wrong, 1);
        }
        usleep(200);
    }
    return NULL;
}

static void threads_append_read_sync_and_finish(void **state)
{
    (void)state;
    static struct shared s;
    struct os_thread writers[WRITERS], readers[READERS], syncer;
    struct os_dir *dir;
    char path[] = "/tmp/strata-value-XXXXXX";
    assert_non_null(mkdtemp(path));
    assert_int_equal(os_dir_open_posix(path, false, &dir), STRATA_OK);
    world_env(&s.w, dir, 64 << 20);
    s.file = world_new(&s.w, 3);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(os_thread_start(&writers[i], "writer", write_values, &s), STRATA_OK);
    }
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(os_thread_start(&readers[i], "reader", read_values, &s), STRATA_OK);
    }
    assert_int_equal(os_thread_start(&syncer, "syncer", sync_values, &s), STRATA_OK);
    for (int i = 0; i < WRITERS; i++) {
        os_thread_join(&writers[i]);
    }
    assert_int_equal(value_file_finish(s.file), STRATA_OK);
    uint64_t before = atomic_load(&s.reads);
    for (int i = 0; i < 5000 && atomic_load(&s.reads) < before + 300; i++) {
        usleep(1000);
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++) {
        os_thread_join(&readers[i]);
    }
    os_thread_join(&syncer);
    assert_int_equal(atomic_load(&s.wrong), 0);
    assert_true(atomic_load(&s.reads) >= before + 300);
    for (uint64_t n = 0; n < VALUES; n++) {
        check(s.file, &s.places[n].ref, n);
    }
    s.file = world_reopen(&s.w, s.file);
    struct faults faults = {0};
    assert_int_equal(value_file_verify(s.file, count_fault, count_visit, &faults), STRATA_OK);
    assert_true(faults.visited > VALUES);
    value_file_delete_at_close(s.file);
    value_file_unref(s.file);
    world_env_release(&s.w);
    os_dir_close(dir);
    assert_int_equal(rmdir(path), 0);
}

// A file of two finished ones, made while they are read.
static void a_rewrite_disturbs_no_reader(void **state)
{
    (void)state;
    static struct shared s;
    struct os_thread readers[READERS];
    struct os_dir *dir;
    char path[] = "/tmp/strata-value-XXXXXX";
    assert_non_null(mkdtemp(path));
    assert_int_equal(os_dir_open_posix(path, false, &dir), STRATA_OK);
    world_env(&s.w, dir, 64 << 20);
    s.file = world_new(&s.w, 3);
    write_values(&s);
    assert_int_equal(atomic_load(&s.wrong), 0);
    assert_int_equal(value_file_finish(s.file), STRATA_OK);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(os_thread_start(&readers[i], "reader", read_values, &s), STRATA_OK);
    }
    for (uint64_t round = 0; round < 3; round++) {
        struct value_writer *w;
        struct value_file *to;
        assert_int_equal(value_writer_new(&s.w.env, 10 + round, WORLD_KEYSPACE, 6, &w), STRATA_OK);
        for (uint64_t n = round; n < VALUES; n += 3) {
            const struct kv_value_ref *ref = &s.places[n].ref;
            if (n + 30 < VALUES) {
                const struct kv_value_ref *ahead = &s.places[n + 30].ref;
                value_writer_will_copy(w, s.file, 3, ahead->ordinal, kv_value_chunks(ahead->bytes));
            }
            assert_int_equal(
                value_writer_copy(w, s.file, 3, ref->ordinal, kv_value_chunks(ref->bytes)),
                STRATA_OK);
        }
        assert_int_equal(value_writer_finish(w, &to), STRATA_OK);
        for (uint64_t n = round; n < VALUES; n += 3) {
            check(to, &s.places[n].ref, n);
        }
        value_file_delete_at_close(to);
        value_file_unref(to);
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++) {
        os_thread_join(&readers[i]);
    }
    assert_int_equal(atomic_load(&s.wrong), 0);
    value_file_delete_at_close(s.file);
    value_file_unref(s.file);
    world_env_release(&s.w);
    os_dir_close(dir);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_append_read_sync_and_finish),
        cmocka_unit_test(a_rewrite_disturbs_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
