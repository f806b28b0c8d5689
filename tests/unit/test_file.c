// The wrappers, over ops that do what a script says.
#include "os/file.h"

#include "base/fail.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define DISK_BYTES 64

// Each transfer moves at most `most` bytes; the first `interrupts` calls are interrupted; from
// offset `fault_at` on, transfers fail with `error` (0: make no progress).
static struct script {
    uint8_t disk[DISK_BYTES];
    size_t most;
    int interrupts;
    uint64_t fault_at;
    int error;
    int calls;
    int closes;
} script;

static int setup(void **state)
{
    (void)state;
    script = (struct script){.most = 3, .fault_at = UINT64_MAX};
    for (size_t i = 0; i < DISK_BYTES; i++) {
        script.disk[i] = (uint8_t)i;
    }
    return 0;
}

static int interrupted(void)
{
    script.calls++;
    return script.interrupts > 0 && script.interrupts-- > 0 ? -EINTR : 0;
}

static int transfer(uint64_t offset, size_t bytes, size_t *now_out)
{
    if (interrupted() != 0) {
        return -EINTR;
    }
    if (offset >= script.fault_at) {
        return -script.error;
    }
    size_t left = offset < DISK_BYTES ? DISK_BYTES - (size_t)offset : 0;
    size_t now = bytes < script.most ? bytes : script.most;
    *now_out = now < left ? now : left;
    return 0;
}

static int script_pread(struct os_file *f, uint64_t offset, void *to, size_t bytes, size_t *done)
{
    (void)f;
    int error = transfer(offset, bytes, done);
    if (error == 0 && *done > 0) {
        memcpy(to, script.disk + offset, *done);
    }
    return error;
}

static int script_pwrite(struct os_file *f, uint64_t offset, const void *from, size_t bytes,
                         size_t *done)
{
    (void)f;
    int error = transfer(offset, bytes, done);
    if (error == 0 && *done > 0) {
        memcpy(script.disk + offset, from, *done);
    }
    return error;
}

static int script_result(void)
{
    return interrupted() != 0 ? -EINTR : -script.error;
}

static int script_sync(struct os_file *f, bool data_only)
{
    (void)f;
    (void)data_only;
    return script_result();
}

static int script_truncate(struct os_file *f, uint64_t bytes)
{
    (void)f;
    (void)bytes;
    return script_result();
}

static int script_size(struct os_file *f, uint64_t *bytes_out)
{
    (void)f;
    *bytes_out = DISK_BYTES;
    return -script.error;
}

static int script_close(struct os_file *f)
{
    script.closes++;
    memset(f, 0xee, sizeof *f); // as if freed
    return -script.error;
}

static int script_map(struct os_file *f, size_t bytes, struct os_map **map_out)
{
    (void)f;
    (void)bytes;
    *map_out = (struct os_map *)&script; // not to be seen by the caller
    return -script.error;
}

static const struct os_file_ops script_ops = {
    .pread = script_pread,
    .pwrite = script_pwrite,
    .sync = script_sync,
    .truncate = script_truncate,
    .size = script_size,
    .close = script_close,
    .map = script_map,
};

static struct os_file script_file(void)
{
    return (struct os_file){.ops = &script_ops, .name = "000007.log"};
}

static void text_has(const char *part)
{
    if (strstr(fail_text(), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, fail_text());
    }
}

// ---- transfers

static void short_reads_are_continued(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    script.interrupts = 2;
    assert_int_equal(os_file_read(&f, 10, to, sizeof to), STRATA_OK);
    assert_memory_equal(to, script.disk + 10, sizeof to);
    assert_int_equal(script.calls, 2 + 7);
}

static void read_of_nothing_does_nothing(void **state)
{
    (void)state;
    struct os_file f = script_file();
    assert_int_equal(os_file_read(&f, 10, NULL, 0), STRATA_OK);
    assert_int_equal(os_file_write(&f, 10, NULL, 0), STRATA_OK);
    assert_int_equal(script.calls, 0);
}

static void read_past_the_end_is_corrupt(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    assert_int_equal(os_file_read(&f, 50, to, sizeof to), STRATA_CORRUPT);
    text_has("000007.log");
    text_has("offset 50");
    text_has("14 found");
}

static void read_at_an_absurd_offset_is_corrupt(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    assert_int_equal(os_file_read(&f, UINT64_MAX - 4, to, sizeof to), STRATA_CORRUPT);
    assert_int_equal(os_file_read(&f, INT64_MAX - 4, to, sizeof to), STRATA_CORRUPT);
    assert_int_equal(script.calls, 0);
}

static void read_some_stops_at_the_end(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    size_t done = 99;
    assert_int_equal(os_file_read_some(&f, 50, to, sizeof to, &done), STRATA_OK);
    assert_int_equal(done, 14);
    assert_int_equal(os_file_read_some(&f, 64, to, sizeof to, &done), STRATA_OK);
    assert_int_equal(done, 0);
}

static void failed_read_names_the_place(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    script.fault_at = 16;
    script.error = EIO;
    assert_int_equal(os_file_read(&f, 10, to, sizeof to), STRATA_IO);
    text_has("read 14 bytes at offset 16 of 000007.log");
}

static void short_writes_are_continued(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.interrupts = 2;
    assert_int_equal(os_file_write(&f, 10, "abcdefghij", 10), STRATA_OK);
    assert_memory_equal(script.disk + 10, "abcdefghij", 10);
    assert_int_equal(script.disk[9], 9);
    assert_int_equal(script.disk[20], 20);
}

static void write_without_progress_is_an_error(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.fault_at = 13;
    script.error = 0;
    assert_int_equal(os_file_write(&f, 10, "abcdefghij", 10), STRATA_IO);
    text_has("offset 13 of 000007.log");
}

static void full_disk_is_no_space(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.fault_at = 13;
    script.error = ENOSPC;
    assert_int_equal(os_file_write(&f, 10, "abcdefghij", 10), STRATA_NO_SPACE);
    text_has("write 7 bytes at offset 13 of 000007.log");
}

static void endless_interrupts_are_an_error(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint8_t to[20];
    script.interrupts = INT32_MAX;
    assert_int_equal(os_file_write(&f, 10, "abc", 3), STRATA_IO);
    assert_int_equal(os_file_read(&f, 10, to, 3), STRATA_IO);
    assert_int_equal(os_file_sync(&f, true), STRATA_IO);
    assert_int_equal(os_file_truncate(&f, 1), STRATA_IO);
}

// ---- the rest

static void interrupted_sync_and_truncate_are_resumed(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.interrupts = 2;
    assert_int_equal(os_file_sync(&f, true), STRATA_OK);
    assert_int_equal(script.calls, 3);
    script.interrupts = 2;
    assert_int_equal(os_file_truncate(&f, 5), STRATA_OK);
}

static void failed_sync_is_not_repeated(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.error = EIO;
    assert_int_equal(os_file_sync(&f, true), STRATA_IO);
    assert_int_equal(script.calls, 1);
    text_has("sync 000007.log");
}

static void failed_map_gives_no_map(void **state)
{
    (void)state;
    struct os_file f = script_file();
    struct os_map *map = NULL;
    script.error = ENOMEM;
    assert_int_equal(os_file_map(&f, 64, &map), STRATA_NO_MEMORY);
    assert_null(map);
}

static void failed_size_and_truncate_are_errors(void **state)
{
    (void)state;
    struct os_file f = script_file();
    uint64_t bytes = 1;
    assert_int_equal(os_file_size(&f, &bytes), STRATA_OK);
    assert_int_equal(bytes, DISK_BYTES);
    script.error = EIO;
    assert_int_equal(os_file_size(&f, &bytes), STRATA_IO);
    assert_int_equal(os_file_truncate(&f, 5), STRATA_IO);
    text_has("truncate to 5 bytes 000007.log");
}

static void failed_close_still_names_the_file(void **state)
{
    (void)state;
    struct os_file f = script_file();
    script.error = EIO;
    assert_int_equal(os_file_close(&f), STRATA_IO);
    assert_int_equal(script.closes, 1);
    text_has("close 000007.log");
    assert_int_equal(os_file_close(NULL), STRATA_OK);
}

// ---- directories

static int script_open(struct os_dir *d, const char *name, unsigned flags,
                       struct os_file **file_out)
{
    (void)d;
    (void)name;
    (void)flags;
    *file_out = NULL;
    return script_result();
}

static int script_rename(struct os_dir *d, const char *from, const char *to)
{
    (void)d;
    (void)from;
    (void)to;
    return -script.error;
}

static int script_unlink(struct os_dir *d, const char *name)
{
    (void)d;
    (void)name;
    return -script.error;
}

static int script_lock(struct os_dir *d, const char *name, enum os_lock_mode mode, char *holder)
{
    (void)d;
    (void)name;
    (void)mode;
    snprintf(holder, 64, "process 4711");
    return -script.error;
}

static int script_dir_sync(struct os_dir *d)
{
    (void)d;
    return script_result();
}

static int script_space(struct os_dir *d, uint64_t *free_bytes_out)
{
    (void)d;
    *free_bytes_out = 5;
    return -script.error;
}

static const struct os_dir_ops script_dir_ops = {
    .open = script_open,
    .rename = script_rename,
    .unlink = script_unlink,
    .lock = script_lock,
    .sync = script_dir_sync,
    .space = script_space,
};

static struct os_dir script_dir = {.ops = &script_dir_ops, .path = "/data/shop"};

static void missing_file_is_not_found_only_when_asked(void **state)
{
    (void)state;
    struct os_file *f = NULL;
    fail_restore("untouched");
    script.error = ENOENT;
    assert_int_equal(os_file_open_if_there(&script_dir, "CURRENT", OS_OPEN_READ, &f),
                     STRATA_NOT_FOUND);
    assert_string_equal(fail_text(), "untouched");
    assert_int_equal(os_file_open(&script_dir, "CURRENT", OS_OPEN_READ, &f), STRATA_IO);
    text_has("open /data/shop/CURRENT: No such file");
    assert_null(f);
}

static void what_is_not_a_regular_file_is_corrupt(void **state)
{
    (void)state;
    struct os_file *f = NULL;
    script.error = EISDIR;
    assert_int_equal(os_file_open_if_there(&script_dir, "CURRENT", OS_OPEN_READ, &f),
                     STRATA_CORRUPT);
    script.error = ELOOP;
    assert_int_equal(os_file_open(&script_dir, "CURRENT", OS_OPEN_READ, &f), STRATA_CORRUPT);
    text_has("/data/shop/CURRENT: not a regular file");
}

static void unlink_of_a_missing_file_is_success(void **state)
{
    (void)state;
    script.error = ENOENT;
    assert_int_equal(os_dir_unlink(&script_dir, "000007.log"), STRATA_OK);
    script.error = EACCES;
    assert_int_equal(os_dir_unlink(&script_dir, "000007.log"), STRATA_IO);
    text_has("remove /data/shop/000007.log");
}

static void failed_rename_names_both(void **state)
{
    (void)state;
    script.error = EIO;
    assert_int_equal(os_dir_rename(&script_dir, "CURRENT.new", "CURRENT"), STRATA_IO);
    text_has("rename CURRENT.new to /data/shop/CURRENT");
}

static void held_lock_names_the_holder(void **state)
{
    (void)state;
    script.error = EWOULDBLOCK;
    assert_int_equal(os_dir_lock(&script_dir, "LOCK", OS_LOCK_SHARED), STRATA_LOCKED);
    text_has("/data/shop is in use by process 4711");
    script.error = ENOENT;
    assert_int_equal(os_dir_lock(&script_dir, "LOCK", OS_LOCK_SHARED), STRATA_NOT_FOUND);
    text_has("/data/shop has no file LOCK");
    assert_int_equal(os_dir_lock(&script_dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_IO);
    script.error = 0;
    assert_int_equal(os_dir_lock(&script_dir, "LOCK", OS_LOCK_SHARED), STRATA_OK);
}

static void failed_directory_sync_is_not_repeated(void **state)
{
    (void)state;
    uint64_t free_bytes;
    script.interrupts = 1;
    assert_int_equal(os_dir_sync(&script_dir), STRATA_OK);
    script.error = EIO;
    script.calls = 0;
    assert_int_equal(os_dir_sync(&script_dir), STRATA_IO);
    assert_int_equal(script.calls, 1);
    assert_int_equal(os_dir_space(&script_dir, &free_bytes), STRATA_IO);
    os_dir_close(NULL);
}

// ---- mapped stores

static size_t told_offset;

static void tell(struct os_map *map, size_t offset, const void *from, size_t bytes)
{
    assert_int_equal(map->base[offset], 0); // before the store
    assert_memory_equal(from, "xyz", bytes);
    told_offset = offset;
}

static void store_is_told_before_it_is_made(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    struct os_map map = {.base = bytes, .bytes = sizeof bytes, .before_store = tell};
    os_map_store(&map, 5, "xyz", 3);
    assert_int_equal(told_offset, 5);
    assert_memory_equal(bytes + 5, "xyz", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(short_reads_are_continued, setup),
        cmocka_unit_test_setup(read_of_nothing_does_nothing, setup),
        cmocka_unit_test_setup(read_past_the_end_is_corrupt, setup),
        cmocka_unit_test_setup(read_at_an_absurd_offset_is_corrupt, setup),
        cmocka_unit_test_setup(read_some_stops_at_the_end, setup),
        cmocka_unit_test_setup(failed_read_names_the_place, setup),
        cmocka_unit_test_setup(short_writes_are_continued, setup),
        cmocka_unit_test_setup(write_without_progress_is_an_error, setup),
        cmocka_unit_test_setup(full_disk_is_no_space, setup),
        cmocka_unit_test_setup(endless_interrupts_are_an_error, setup),
        cmocka_unit_test_setup(interrupted_sync_and_truncate_are_resumed, setup),
        cmocka_unit_test_setup(failed_sync_is_not_repeated, setup),
        cmocka_unit_test_setup(failed_map_gives_no_map, setup),
        cmocka_unit_test_setup(failed_size_and_truncate_are_errors, setup),
        cmocka_unit_test_setup(failed_close_still_names_the_file, setup),
        cmocka_unit_test_setup(missing_file_is_not_found_only_when_asked, setup),
        cmocka_unit_test_setup(what_is_not_a_regular_file_is_corrupt, setup),
        cmocka_unit_test_setup(unlink_of_a_missing_file_is_success, setup),
        cmocka_unit_test_setup(failed_rename_names_both, setup),
        cmocka_unit_test_setup(held_lock_names_the_holder, setup),
        cmocka_unit_test_setup(failed_directory_sync_is_not_repeated, setup),
        cmocka_unit_test_setup(store_is_told_before_it_is_made, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
