// Real files: what is opened, what is refused, and who has the lock.
#include "os/file_posix.h"

#include "base/fail.h"
#include "lib/alloc_fault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CREATE (OS_OPEN_WRITE | OS_OPEN_CREATE)

static char root[64];
static struct os_dir *dir;

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/strata_file_XXXXXX");
    if (mkdtemp(root) == NULL) {
        return -1;
    }
    return os_dir_open_posix(root, false, &dir) == STRATA_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os_dir_close(dir);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void text_has(const char *part)
{
    if (strstr(fail_text(), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, fail_text());
    }
}

static struct os_file *open_file(const char *name, unsigned flags)
{
    struct os_file *f = NULL;
    strata_rc rc = os_file_open(dir, name, flags, &f);
    if (rc != STRATA_OK) {
        fail_msg("%s", fail_text());
    }
    return f;
}

static void make_file(const char *name, const char *content)
{
    struct os_file *f = open_file(name, CREATE | OS_OPEN_TRUNCATE);
    assert_int_equal(os_file_write(f, 0, content, strlen(content)), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

// ---- files

static void written_bytes_are_read_back(void **state)
{
    (void)state;
    struct os_file *f = open_file("a", CREATE);
    uint64_t bytes = 99;
    assert_int_equal(os_file_size(f, &bytes), STRATA_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(os_file_write(f, 5, "hello", 5), STRATA_OK);
    assert_int_equal(os_file_sync(f, true), STRATA_OK);
    assert_int_equal(os_file_sync(f, false), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(os_dir_sync(dir), STRATA_OK);

    f = open_file("a", OS_OPEN_READ);
    char to[10];
    assert_int_equal(os_file_read(f, 0, to, 10), STRATA_OK);
    assert_memory_equal(to, "\0\0\0\0\0hello", 10);
    assert_int_equal(os_file_read(f, 1, to, 10), STRATA_CORRUPT);
    text_has("a ends too early");
    assert_int_equal(os_file_write(f, 0, "x", 1), STRATA_IO); // opened for reading
    assert_int_equal(os_file_close(f), STRATA_OK);

    f = open_file("a", OS_OPEN_WRITE);
    assert_int_equal(os_file_truncate(f, 7), STRATA_OK);
    assert_int_equal(os_file_size(f, &bytes), STRATA_OK);
    assert_int_equal(bytes, 7);
    assert_int_equal(os_file_close(f), STRATA_OK);
    f = open_file("a", CREATE | OS_OPEN_TRUNCATE);
    assert_int_equal(os_file_size(f, &bytes), STRATA_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void what_was_told_of_is_read_as_it_is(void **state)
{
    (void)state;
    struct os_file *f = open_file("a", CREATE);
    static uint8_t bytes[100000];
    uint8_t got[5000];
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(os_file_write(f, 0, bytes, sizeof bytes), STRATA_OK);
    assert_int_equal(os_file_sync(f, true), STRATA_OK);
    os_file_will_read(f, 70000, sizeof got);
    os_file_will_read(f, 99999, 5000);
    os_file_will_read(f, UINT64_MAX, UINT64_MAX);
    assert_int_equal(os_file_read(f, 70000, got, sizeof got), STRATA_OK);
    assert_memory_equal(got, bytes, sizeof got);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void missing_file_is_not_found(void **state)
{
    (void)state;
    struct os_file *f = NULL;
    assert_int_equal(os_file_open_if_there(dir, "a", OS_OPEN_READ, &f), STRATA_NOT_FOUND);
    assert_int_equal(os_file_open(dir, "a", OS_OPEN_WRITE, &f), STRATA_IO);
    assert_null(f);
}

static void exclusive_create_of_a_file_that_is_there_fails(void **state)
{
    (void)state;
    make_file("a", "kept");
    struct os_file *f = NULL;
    assert_int_equal(os_file_open(dir, "a", CREATE | OS_OPEN_EXCLUSIVE | OS_OPEN_TRUNCATE, &f),
                     STRATA_IO);
    assert_null(f);
    text_has("File exists");
    f = open_file("a", OS_OPEN_READ);
    uint64_t bytes = 0;
    assert_int_equal(os_file_size(f, &bytes), STRATA_OK);
    assert_int_equal(bytes, 4);
    assert_int_equal(os_file_close(f), STRATA_OK);
    f = open_file("b", CREATE | OS_OPEN_EXCLUSIVE);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void link_is_refused(void **state)
{
    (void)state;
    make_file("target", "secret");
    assert_int_equal(symlink("target", path_of("link")), 0);
    assert_int_equal(symlink("nowhere", path_of("dangling")), 0);
    struct os_file *f = NULL;
    assert_int_equal(os_file_open(dir, "link", OS_OPEN_READ, &f), STRATA_CORRUPT);
    assert_int_equal(os_file_open(dir, "link", CREATE | OS_OPEN_TRUNCATE, &f), STRATA_CORRUPT);
    text_has("not a regular file");
    assert_int_equal(os_file_open(dir, "dangling", CREATE, &f), STRATA_CORRUPT);
    assert_int_equal(access(path_of("nowhere"), F_OK), -1);
    struct stat status;
    assert_int_equal(stat(path_of("target"), &status), 0);
    assert_int_equal(status.st_size, 6);
}

static void directory_and_pipe_in_place_of_a_file_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of("d"), 0700), 0);
    assert_int_equal(mkfifo(path_of("p"), 0600), 0);
    struct os_file *f = NULL;
    assert_int_equal(os_file_open(dir, "d", OS_OPEN_READ, &f), STRATA_CORRUPT);
    assert_int_equal(os_file_open(dir, "d", CREATE, &f), STRATA_CORRUPT);
    alarm(10); // opening a pipe would wait for its other end
    assert_int_equal(os_file_open(dir, "p", OS_OPEN_READ, &f), STRATA_CORRUPT);
    assert_int_equal(os_file_open(dir, "p", OS_OPEN_WRITE, &f), STRATA_CORRUPT);
    alarm(0);
    assert_null(f);
}

static void name_with_a_slash_is_refused(void **state)
{
    (void)state;
    struct os_file *f = NULL;
    assert_int_equal(os_file_open(dir, "../strata_escaped", CREATE, &f), STRATA_IO);
    assert_int_equal(os_file_open(dir, "..", OS_OPEN_READ, &f), STRATA_IO);
    assert_int_equal(os_file_open(dir, "", OS_OPEN_READ, &f), STRATA_IO);
    assert_int_equal(os_dir_unlink(dir, "x/y"), STRATA_IO);
    assert_int_equal(os_dir_rename(dir, "x", "/tmp/y"), STRATA_IO);
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 07777;
}

static void modes_do_not_depend_on_the_umask(void **state)
{
    (void)state;
    static const mode_t umasks[] = {0, 022, 0277};
    for (size_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%zu", i);
        mode_t before = umask(umasks[i]);
        struct os_file *f = open_file(name, CREATE);
        assert_int_equal(os_file_close(f), STRATA_OK);
        snprintf(name, sizeof name, "d%zu", i);
        struct os_dir *d = NULL;
        strata_rc rc = os_dir_open_posix(path_of(name), true, &d);
        umask(before);
        assert_int_equal(rc, STRATA_OK);
        assert_int_equal(mode_of(path_of(name)), 0700);
        os_dir_close(d);
        snprintf(name, sizeof name, "f%zu", i);
        assert_int_equal(mode_of(path_of(name)), 0600);
    }
}

static void mode_of_a_file_that_was_there_is_kept(void **state)
{
    (void)state;
    make_file("a", "x");
    assert_int_equal(chmod(path_of("a"), 0640), 0);
    struct os_file *f = open_file("a", CREATE);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(mode_of(path_of("a")), 0640);
}

// In a process of its own, since it closes the standard streams.
static void standard_descriptors_are_never_used(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int fd = 0; fd < 20; fd++) {
            close(fd); // what the test program inherited is not looked at
        }
        struct os_dir *d = NULL;
        struct os_file *f = NULL;
        bool good = os_dir_open_posix(root, false, &d) == STRATA_OK &&
                    os_file_open(d, "a", CREATE, &f) == STRATA_OK &&
                    os_dir_lock(d, "LOCK", OS_LOCK_EXCLUSIVE) == STRATA_OK;
        for (int fd = 0; fd < 3; fd++) {
            good = good && fcntl(fd, F_GETFD) == -1;
        }
        for (int fd = 3; fd < 20; fd++) {
            int flags = fcntl(fd, F_GETFD);
            good = good && (flags == -1 || (flags & FD_CLOEXEC) != 0);
        }
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// The limit on file size cuts a write short, and then refuses it.
static void write_that_is_cut_short_is_an_error(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = 10000, .rlim_max = 10000};
        static char bytes[16384];
        struct os_file *f = NULL;
        bool good =
            setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
            os_file_open(dir, "a", CREATE, &f) == STRATA_OK &&
            os_file_write(f, 0, bytes, sizeof bytes) == STRATA_IO &&
            strstr(fail_text(), "write 6384 bytes at offset 10000 of a: File too large") != NULL;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void device_in_place_of_a_file_is_refused(void **state)
{
    (void)state;
    struct os_dir *dev = NULL;
    struct os_file *f = NULL;
    assert_int_equal(os_dir_open_posix("/dev", false, &dev), STRATA_OK);
    assert_int_equal(os_file_open(dev, "null", OS_OPEN_WRITE, &f), STRATA_CORRUPT);
    os_dir_close(dev);
}

// ---- mappings

static void mapped_stores_are_in_the_file(void **state)
{
    (void)state;
    char zeros[8192] = {0};
    struct os_file *f = open_file("log", CREATE);
    struct os_map *map = NULL;
    assert_int_equal(os_file_map(f, sizeof zeros, &map), STRATA_IO); // longer than the file
    assert_null(map);
    assert_int_equal(os_file_write(f, 0, zeros, sizeof zeros), STRATA_OK);
    assert_int_equal(os_file_map(f, sizeof zeros, &map), STRATA_OK);
    os_map_store(map, 4094, "abcd", 4);
    assert_int_equal(os_file_sync(f, true), STRATA_OK);
    char to[4];
    assert_int_equal(os_file_read(f, 4094, to, 4), STRATA_OK);
    assert_memory_equal(to, "abcd", 4);
    map->close(map);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

// ---- memory

static strata_rc open_map_and_close(void)
{
    struct os_dir *d = NULL;
    struct os_file *f = NULL;
    struct os_map *map = NULL;
    strata_rc rc = os_dir_open_posix(root, false, &d);
    if (rc == STRATA_OK) {
        rc = os_file_open(d, "a", OS_OPEN_WRITE, &f);
    }
    if (rc == STRATA_OK) {
        rc = os_file_map(f, 5, &map);
    }
    if (map != NULL) {
        map->close(map);
    }
    strata_rc closed = os_file_close(f);
    os_dir_close(d);
    return rc == STRATA_OK ? closed : rc;
}

static void no_memory_is_an_error_everywhere(void **state)
{
    (void)state;
    make_file("a", "12345");
    uint64_t good = 0;
    for (;; good++) {
        alloc_fault_arm(good, 1);
        strata_rc rc = open_map_and_close();
        if (alloc_fault_disarm() == 0) {
            assert_int_equal(rc, STRATA_OK);
            break;
        }
        assert_int_equal(rc, STRATA_NO_MEMORY);
    }
    assert_int_equal(good, 3); // a directory, a file and a map
}

// ---- directories

struct listing {
    int regular;
    int other;
    int limit;
};

static bool count_entry(void *ctx, const char *name, bool regular)
{
    struct listing *l = ctx;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    if (regular) {
        l->regular++;
    } else {
        l->other++;
    }
    return --l->limit != 0;
}

static void list_tells_files_from_the_rest(void **state)
{
    (void)state;
    make_file("a", "");
    make_file("b", "");
    assert_int_equal(mkdir(path_of("d"), 0700), 0);
    assert_int_equal(symlink("a", path_of("l")), 0);
    for (int round = 0; round < 2; round++) { // a second listing begins at the beginning
        struct listing l = {0};
        assert_int_equal(os_dir_list(dir, count_entry, &l), STRATA_OK);
        assert_int_equal(l.regular, 2);
        assert_int_equal(l.other, 2);
    }
    struct listing l = {.limit = 3};
    assert_int_equal(os_dir_list(dir, count_entry, &l), STRATA_OK);
    assert_int_equal(l.regular + l.other, 3);
}

static void rename_replaces_and_unlink_removes(void **state)
{
    (void)state;
    make_file("CURRENT", "old");
    make_file("CURRENT.new", "new!");
    assert_int_equal(os_dir_rename(dir, "CURRENT.new", "CURRENT"), STRATA_OK);
    assert_int_equal(os_dir_rename(dir, "CURRENT.new", "CURRENT"), STRATA_IO);
    text_has("rename CURRENT.new to");
    struct os_file *f = open_file("CURRENT", OS_OPEN_READ);
    char to[4];
    assert_int_equal(os_file_read(f, 0, to, 4), STRATA_OK);
    assert_memory_equal(to, "new!", 4);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(os_dir_unlink(dir, "CURRENT"), STRATA_OK);
    assert_int_equal(access(path_of("CURRENT"), F_OK), -1);
    assert_int_equal(os_dir_unlink(dir, "CURRENT"), STRATA_OK); // not there
}

static void directory_is_made_only_when_asked(void **state)
{
    (void)state;
    struct os_dir *d = NULL;
    char path[80];
    snprintf(path, sizeof path, "%s/new", root);
    assert_int_equal(os_dir_open_posix(path, false, &d), STRATA_NOT_FOUND);
    assert_null(d);
    assert_int_equal(os_dir_open_posix(path, true, &d), STRATA_OK);
    os_dir_close(d);
    assert_int_equal(os_dir_open_posix(path, true, &d), STRATA_OK);
    os_dir_close(d);
    snprintf(path, sizeof path, "%s/no/parent", root);
    assert_int_equal(os_dir_open_posix(path, true, &d), STRATA_NOT_FOUND);
    make_file("file", "");
    snprintf(path, sizeof path, "%s/file", root);
    assert_int_equal(os_dir_open_posix(path, true, &d), STRATA_INVALID);
    assert_int_equal(os_dir_open_posix(path, false, &d), STRATA_INVALID);
    text_has("/file is not a directory");
    assert_null(d);
}

static void space_and_facts_are_told(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_int_equal(os_dir_space(dir, &bytes), STRATA_OK);
    assert_true(bytes > 0);
    struct os_fs_facts facts;
    os_dir_facts(dir, &facts);
    assert_true(facts.kind[0] != '\0');
    struct os_dir *proc = NULL;
    assert_int_equal(os_dir_open_posix("/proc", false, &proc), STRATA_OK);
    os_dir_facts(proc, &facts);
    assert_string_equal(facts.kind, "0x9fa0");
    assert_false(facts.map_is_good);
    os_dir_close(proc);
    if (access("/dev/shm", W_OK) == 0) {
        struct os_dir *shm = NULL;
        assert_int_equal(os_dir_open_posix("/dev/shm", false, &shm), STRATA_OK);
        os_dir_facts(shm, &facts);
        assert_string_equal(facts.kind, "tmpfs");
        assert_true(facts.map_is_good);
        os_dir_close(shm);
    }
}

// ---- locks

// What a process of its own gets when it asks for the lock: the code, and whether the text names
// us.
static bool other_process_gets(enum os_lock_mode mode, strata_rc expected, const char *part)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        // By exec, since a child of fork would inherit the table and the descriptors.
        char number[12];
        char text[64];
        snprintf(number, sizeof number, "%d", mode);
        snprintf(text, sizeof text, "%d", expected);
        execl("/proc/self/exe", "ask", "--ask", root, number, text, part, (char *)NULL);
        _exit(99);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

static int ask(char **arguments)
{
    struct os_dir *d = NULL;
    if (os_dir_open_posix(arguments[2], false, &d) != STRATA_OK) {
        return 3;
    }
    strata_rc rc = os_dir_lock(d, "LOCK", (enum os_lock_mode)atoi(arguments[3]));
    bool good =
        rc == atoi(arguments[4]) && (rc == STRATA_OK || strstr(fail_text(), arguments[5]) != NULL);
    os_dir_close(d);
    return good ? 0 : 1;
}

static void exclusive_lock_keeps_everybody_out(void **state)
{
    (void)state;
    char self[48];
    snprintf(self, sizeof self, "process %d", (int)getpid());
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, self));
    assert_true(other_process_gets(OS_LOCK_SHARED, STRATA_LOCKED, self));
    struct os_dir *again = NULL;
    assert_int_equal(os_dir_open_posix(root, false, &again), STRATA_OK);
    assert_int_equal(os_dir_lock(again, "LOCK", OS_LOCK_SHARED), STRATA_LOCKED);
    snprintf(self, sizeof self, "this process (%d)", (int)getpid());
    text_has(self);
    os_dir_close(again);
    // Nothing of that dropped the lock.
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, "process"));
}

static void closing_another_descriptor_keeps_the_lock(void **state)
{
    (void)state;
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    int fd = open(path_of("LOCK"), O_RDWR);
    assert_true(fd >= 0);
    close(fd);
    struct os_file *f = open_file("LOCK", OS_OPEN_READ);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_true(other_process_gets(OS_LOCK_SHARED, STRATA_LOCKED, "process"));
}

static void lock_is_free_after_close_and_its_file_stays(void **state)
{
    (void)state;
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    os_dir_close(dir);
    assert_int_equal(access(path_of("LOCK"), F_OK), 0);
    assert_int_equal(os_dir_open_posix(root, false, &dir), STRATA_OK);
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_OK, ""));
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
}

static void readers_share_and_keep_writers_out(void **state)
{
    (void)state;
    struct os_dir *other = NULL;
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_SHARED), STRATA_NOT_FOUND); // yet
    make_file("LOCK", "");
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_SHARED), STRATA_OK);
    assert_int_equal(os_dir_open_posix(root, false, &other), STRATA_OK);
    assert_int_equal(os_dir_lock(other, "LOCK", OS_LOCK_SHARED), STRATA_OK);
    assert_true(other_process_gets(OS_LOCK_SHARED, STRATA_OK, ""));
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, "another process"));
    os_dir_close(other);
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, "another process"));
}

static void number_of_a_dead_process_is_not_named(void **state)
{
    (void)state;
    pid_t dead = fork();
    assert_true(dead >= 0);
    if (dead == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(dead, NULL, 0), dead);
    char number[16];
    snprintf(number, sizeof number, "%d\n", (int)dead);
    make_file("LOCK", number);
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_SHARED), STRATA_OK);
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, "another process"));
}

static void child_of_fork_cannot_take_or_drop_the_lock(void **state)
{
    (void)state;
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    char parent[32];
    snprintf(parent, sizeof parent, "process %d", (int)getpid());
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct os_dir *d = NULL;
        bool good = os_dir_open_posix(root, false, &d) == STRATA_OK &&
                    os_dir_lock(d, "LOCK", OS_LOCK_EXCLUSIVE) == STRATA_LOCKED &&
                    strstr(fail_text(), parent) != NULL;
        os_dir_close(d);
        os_dir_close(dir);
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(other_process_gets(OS_LOCK_EXCLUSIVE, STRATA_LOCKED, parent));
}

static void child_that_lives_on_does_not_keep_the_lock(void **state)
{
    (void)state;
    assert_int_equal(os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20);
        pause();
        _exit(0);
    }
    os_dir_close(dir);
    assert_int_equal(os_dir_open_posix(root, false, &dir), STRATA_OK);
    strata_rc rc = os_dir_lock(dir, "LOCK", OS_LOCK_EXCLUSIVE);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(rc, STRATA_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int count, char **arguments)
{
    if (count == 6 && strcmp(arguments[1], "--ask") == 0) {
        return ask(arguments);
    }
    const struct CMUnitTest tests[] = {
        CASE(written_bytes_are_read_back),
        CASE(what_was_told_of_is_read_as_it_is),
        CASE(missing_file_is_not_found),
        CASE(exclusive_create_of_a_file_that_is_there_fails),
        CASE(link_is_refused),
        CASE(directory_and_pipe_in_place_of_a_file_are_refused),
        CASE(name_with_a_slash_is_refused),
        CASE(modes_do_not_depend_on_the_umask),
        CASE(mode_of_a_file_that_was_there_is_kept),
        CASE(standard_descriptors_are_never_used),
        CASE(write_that_is_cut_short_is_an_error),
        CASE(device_in_place_of_a_file_is_refused),
        CASE(mapped_stores_are_in_the_file),
        CASE(no_memory_is_an_error_everywhere),
        CASE(list_tells_files_from_the_rest),
        CASE(rename_replaces_and_unlink_removes),
        CASE(directory_is_made_only_when_asked),
        CASE(space_and_facts_are_told),
        CASE(exclusive_lock_keeps_everybody_out),
        CASE(closing_another_descriptor_keeps_the_lock),
        CASE(lock_is_free_after_close_and_its_file_stays),
        CASE(readers_share_and_keep_writers_out),
        CASE(number_of_a_dead_process_is_not_named),
        CASE(child_of_fork_cannot_take_or_drop_the_lock),
        CASE(child_that_lives_on_does_not_keep_the_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
