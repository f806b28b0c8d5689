// Who may have a database, and where: directories that are none or are forbidden, a second user in
// this process and in another, readers beside each other, and handles that a child process
// inherits. Each refusal is a typed error that names the place or the process, and changes nothing.
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1u << 20)
#define NOBODY 65534u

static strata_db *open_at(const char *path, uint32_t flags)
{
    strata_options o = STRATA_OPTIONS_INIT;
    strata_db *db;
    o.flags = flags;
    o.memory_bytes = 8 * MIB;
    MUST(strata_open(path, &o, &db));
    return db;
}

static strata_db *open_new(const char *path)
{
    return open_at(path, STRATA_OPEN_CREATE);
}

static bool text_says(const char *part)
{
    return strstr(strata_error_text(), part) != NULL;
}

static bool see_keyspace(void *ctx, const strata_keyspace_info *info)
{
    unsigned *count = ctx;
    (*count)++;
    return info->number != 0;
}

static bool see_table(void *ctx, const strata_table_info *info)
{
    unsigned *count = ctx;
    (*count)++;
    return info->entries != 0;
}

// ---- directories

static void directories(const char *path)
{
    strata_db *db;
    strata_options o = STRATA_OPTIONS_INIT;
    char name[600];
    o.memory_bytes = 8 * MIB;
    CASE(strata_open(path, &o, &db), STRATA_NOT_FOUND);
    TRUE(rmdir(path) == 0); // it was left empty
    CASE(strata_open(path, &o, &db), STRATA_NOT_FOUND);
    TRUE(access(path, F_OK) != 0);
    o.flags = STRATA_OPEN_READ_ONLY;
    CASE(strata_open(path, &o, &db), STRATA_NOT_FOUND);
    TRUE(mkdir(path, 0700) == 0);
    CASE(strata_open(path, &o, &db), STRATA_NOT_FOUND);
    CASE(strata_verify(path, NULL, NULL, NULL), STRATA_NOT_FOUND);
    snprintf(name, sizeof name, "%s/file", path);
    int fd = open(name, O_WRONLY | O_CREAT, 0600);
    TRUE(fd >= 0 && write(fd, "text", 4) == 4 && close(fd) == 0);
    for (uint32_t flags = 0; flags <= STRATA_OPEN_READ_ONLY; flags += 2) {
        o.flags = flags == 2 ? STRATA_OPEN_CREATE : flags;
        CASE(strata_open(name, &o, &db), STRATA_INVALID);
        TRUE(text_says("not a directory"));
    }
    CASE(strata_verify(name, NULL, NULL, NULL), STRATA_INVALID);
    struct stat st;
    TRUE(stat(name, &st) == 0 && st.st_size == 4);
    snprintf(name, sizeof name, "%s/file/under", path);
    o.flags = STRATA_OPEN_CREATE;
    CASE(strata_open(name, &o, &db), STRATA_INVALID);
    snprintf(name, sizeof name, "%s/absent/deep", path);
    CASE(strata_open(name, &o, &db), STRATA_NOT_FOUND);
    snprintf(name, sizeof name, "%s/made", path);
    CASE(strata_open(name, &o, &db), STRATA_OK);
    CASE(strata_close(db), STRATA_OK);
    o.flags = STRATA_OPEN_CREATE | STRATA_OPEN_NEW;
    CASE(strata_open(name, &o, &db), STRATA_CONFLICT);
    o.flags = 0;
    CASE(strata_open(name, &o, &db), STRATA_OK);
    CASE(strata_close(db), STRATA_OK);
    CASE(strata_verify(name, NULL, NULL, NULL), STRATA_OK);
    scratch_empty(path);
}

// Runs `body` in a process of its own, and adds its cases.
static void in_child(void (*body)(void *ctx), void *ctx)
{
    int ends[2];
    uint64_t more = 0;
    EVIDENCE(pipe(ends) == 0, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    EVIDENCE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        evidence_cases = 0;
        test_watchdog(20);
        body(ctx);
        _exit(write(ends[1], &evidence_cases, sizeof evidence_cases) ==
                      (ssize_t)sizeof evidence_cases
                  ? 0
                  : 1);
    }
    close(ends[1]);
    bool told = read(ends[0], &more, sizeof more) == (ssize_t)sizeof more;
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    EVIDENCE(told && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is 0x%x",
             (unsigned)status);
    evidence_cases += more;
}

static void as_nobody(void *ctx)
{
    const char *path = ctx;
    strata_db *db;
    strata_options o = STRATA_OPTIONS_INIT;
    char name[600];
    if (getuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
        printf("skipped: root cannot become another user here\n");
        return;
    }
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 8 * MIB;
    const char *const closed[] = {"unwritable", "unwritable/new", "closed", "closed/new"};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", path, closed[i]);
        CASE(strata_open(name, &o, &db), STRATA_IO);
        TRUE(text_says(name) && text_says("ermission"));
    }
    // Another's database may be read when its files may be.
    snprintf(name, sizeof name, "%s/database", path);
    CASE(strata_open(name, &o, &db), STRATA_IO);
    TRUE(text_says("ermission"));
}

static void permissions(const char *path)
{
    char name[600];
    chmod(path, 0755);
    snprintf(name, sizeof name, "%s/database", path);
    strata_db *db = open_new(name);
    MUST(strata_put(db, NULL, strata_str("k"), strata_str("v")));
    MUST(strata_close(db));
    chmod(name, 0);
    snprintf(name, sizeof name, "%s/unwritable", path);
    TRUE(mkdir(name, 0555) == 0);
    snprintf(name, sizeof name, "%s/closed", path);
    TRUE(mkdir(name, 0) == 0);
    in_child(as_nobody, (void *)(uintptr_t)path);
    const char *const all[] = {"unwritable", "closed", "database"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s/%s", path, all[i]);
        TRUE(chmod(name, 0700) == 0);
        TRUE(i == 2 || rmdir(name) == 0); // nothing was put in
    }
    db = open_at(name, 0);
    MUST(strata_close(db));
    scratch_empty(path);
}

// ---- two users

static void other_process_opens(void *ctx)
{
    const char *path = ctx;
    strata_db *db;
    strata_options o = STRATA_OPTIONS_INIT;
    char holder[40];
    snprintf(holder, sizeof holder, "process %ld", (long)getppid());
    CASE(strata_open(path, &o, &db), STRATA_LOCKED);
    TRUE(text_says(holder) && text_says(path));
    o.flags = STRATA_OPEN_READ_ONLY;
    CASE(strata_open(path, &o, &db), STRATA_LOCKED);
    TRUE(text_says(holder));
    CASE(strata_verify(path, NULL, NULL, NULL), STRATA_LOCKED);
}

// In a program of its own: a child made by fork has the parent's locks in its memory.
static int other_program(const char *path, const char *holder)
{
    strata_db *db;
    strata_options o = STRATA_OPTIONS_INIT;
    CASE(strata_open(path, &o, &db), STRATA_LOCKED);
    TRUE(text_says(holder) && text_says(path));
    o.flags = STRATA_OPEN_READ_ONLY;
    CASE(strata_open(path, &o, &db), STRATA_LOCKED);
    TRUE(text_says(holder));
    CASE(strata_verify(path, NULL, NULL, NULL), STRATA_LOCKED);
    return 0;
}

static void exec_other(void *ctx)
{
    char holder[40];
    snprintf(holder, sizeof holder, "process %ld", (long)getppid());
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "t_api", "--other", (const char *)ctx, holder, (char *)NULL);
        _exit(9);
    }
    int status = 0;
    TRUE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

struct handles {
    strata_db *db;
    strata_keyspace *space;
    strata_batch *batch;
    strata_iter *iter;
    strata_snapshot *snapshot;
    strata_history *history;
};

// Every handle of the parent is refused, and nothing hangs.
static void child_uses_handles(void *ctx)
{
    struct handles *h = ctx;
    strata_slice k = strata_str("k");
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc;
    strata_version_info version;
    strata_snapshot *snapshot;
    strata_keyspace *space;
    size_t count;
    unsigned seen = 0;
    CASE(strata_put(h->db, NULL, k, k), STRATA_INVALID);
    TRUE(text_says("fork"));
    CASE(strata_delete(h->db, NULL, k), STRATA_INVALID);
    CASE(strata_delete_range(h->db, NULL, k, strata_str("l")), STRATA_INVALID);
    CASE(strata_batch_put(h->batch, h->space, k, k), STRATA_INVALID);
    CASE(strata_commit(h->db, NULL, h->batch, NULL), STRATA_INVALID);
    CASE(strata_get(h->db, NULL, k, &value), STRATA_INVALID);
    CASE(strata_get_many(h->db, NULL, 1, &k, &value, &rc), STRATA_INVALID);
    CASE(strata_iter_first(h->iter), STRATA_INVALID);
    CASE(strata_iter_last(h->iter), STRATA_INVALID);
    CASE(strata_iter_seek(h->iter, k), STRATA_INVALID);
    CASE(strata_iter_next(h->iter), STRATA_INVALID);
    CASE(strata_iter_prev(h->iter), STRATA_INVALID);
    CASE(strata_iter_resume(h->iter), STRATA_INVALID);
    CASE(strata_history_next(h->history, &version), STRATA_INVALID);
    CASE(strata_snapshot_take(h->db, &snapshot), STRATA_INVALID);
    CASE(strata_keyspace_create(h->db, "c", NULL, &space), STRATA_INVALID);
    CASE(strata_keyspace_drop(h->db, "space"), STRATA_INVALID);
    CASE(strata_keyspace_list(h->db, see_keyspace, &seen), STRATA_INVALID);
    CASE(strata_flush(h->db), STRATA_INVALID);
    CASE(strata_compact(h->db, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_sync(h->db), STRATA_INVALID);
    CASE(strata_wait_idle(h->db), STRATA_INVALID);
    CASE(strata_check(h->db), STRATA_INVALID);
    CASE(strata_stats(h->db, NULL, 0, &count), STRATA_INVALID);
    CASE(strata_tree(h->db, see_table, &seen), STRATA_INVALID);
    TRUE(strata_newest_commit(h->db) == 0);
    strata_iter_close(h->iter);
    strata_history_close(h->history);
    strata_snapshot_release(h->snapshot);
    CASE(strata_close(h->db), STRATA_INVALID);
}

static void after_fork(const char *path)
{
    struct handles h;
    strata_value value = STRATA_VALUE_INIT;
    h.db = open_new(path);
    MUST(strata_put(h.db, NULL, strata_str("k"), strata_str("v")));
    MUST(strata_keyspace_create(h.db, "space", NULL, &h.space));
    MUST(strata_batch_new(h.db, &h.batch));
    MUST(strata_iter_open(h.db, NULL, &h.iter));
    MUST(strata_iter_first(h.iter));
    MUST(strata_snapshot_take(h.db, &h.snapshot));
    MUST(strata_history_open(h.db, NULL, &h.history));
    in_child(child_uses_handles, &h);
    in_child(other_process_opens, (void *)(uintptr_t)path);
    // The parent goes on.
    CASE(strata_get(h.db, NULL, strata_str("k"), &value), STRATA_OK);
    CASE(strata_iter_next(h.iter), STRATA_END);
    CASE(strata_put(h.db, NULL, strata_str("k2"), strata_str("v")), STRATA_OK);
    strata_value_release(&value);
    strata_iter_close(h.iter);
    strata_snapshot_release(h.snapshot);
    strata_history_close(h.history);
    strata_batch_free(h.batch);
    CASE(strata_check(h.db), STRATA_OK);
    CASE(strata_close(h.db), STRATA_OK);
    scratch_empty(path);
}

// Sizes and times of all files, as one number.
static uint64_t print_of(const char *path)
{
    uint64_t print = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char name[1024];
        struct stat st;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && stat(name, &st) == 0) {
            print += (uint64_t)st.st_size * 31 + st.st_ino * 7 + (uint64_t)st.st_mtim.tv_sec +
                     (uint64_t)st.st_mtim.tv_nsec;
        }
    }
    closedir(dir);
    return print;
}

static void write_nothing(strata_db *db)
{
    strata_slice k = strata_str("k");
    strata_keyspace *space;
    strata_batch *batch;
    MUST(strata_batch_new(db, &batch));
    MUST(strata_batch_put(batch, NULL, k, k));
    CASE(strata_put(db, NULL, k, k), STRATA_READ_ONLY);
    CASE(strata_delete(db, NULL, k), STRATA_READ_ONLY);
    CASE(strata_delete_range(db, NULL, k, strata_str("l")), STRATA_READ_ONLY);
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_READ_ONLY);
    CASE(strata_keyspace_create(db, "c", NULL, &space), STRATA_READ_ONLY);
    CASE(strata_keyspace_drop(db, "space"), STRATA_READ_ONLY);
    CASE(strata_flush(db), STRATA_READ_ONLY);
    CASE(strata_compact(db, NULL, NULL, NULL), STRATA_READ_ONLY);
    strata_batch_free(batch);
}

static void two_users(const char *path)
{
    strata_db *db = open_new(path);
    strata_db *second;
    strata_keyspace *space;
    strata_value value = STRATA_VALUE_INIT;
    strata_options o = STRATA_OPTIONS_INIT;
    char holder[40];
    snprintf(holder, sizeof holder, "this process (%ld)", (long)getpid());
    CASE(strata_open(path, &o, &second), STRATA_LOCKED);
    TRUE(second == NULL && text_says(holder));
    o.flags = STRATA_OPEN_READ_ONLY;
    CASE(strata_open(path, &o, &second), STRATA_LOCKED);
    TRUE(text_says(holder));
    CASE(strata_verify(path, NULL, NULL, NULL), STRATA_LOCKED);
    in_child(exec_other, (void *)(uintptr_t)path);
    CASE(strata_put(db, NULL, strata_str("k"), strata_str("v")), STRATA_OK);
    CASE(strata_keyspace_create(db, "space", NULL, &space), STRATA_OK);
    CASE(strata_close(db), STRATA_OK);

    uint64_t before = print_of(path);
    CASE(strata_open(path, &o, &db), STRATA_OK);
    CASE(strata_open(path, &o, &second), STRATA_OK); // readers share
    o.flags = 0;
    strata_db *third;
    CASE(strata_open(path, &o, &third), STRATA_LOCKED);
    CASE(strata_get(db, NULL, strata_str("k"), &value), STRATA_OK);
    CASE(strata_get(second, NULL, strata_str("k"), &value), STRATA_OK);
    write_nothing(db);
    CASE(strata_check(db), STRATA_OK);
    CASE(strata_close(db), STRATA_OK);
    CASE(strata_open(path, &o, &third), STRATA_LOCKED);
    CASE(strata_close(second), STRATA_OK);
    TRUE(print_of(path) == before);
    CASE(strata_open(path, &o, &db), STRATA_OK);
    CASE(strata_close(db), STRATA_OK);
    strata_value_release(&value);
    scratch_empty(path);
}

int main(int argc, char **argv)
{
    struct test_options o;
    if (argc == 4 && strcmp(argv[1], "--other") == 0) {
        return other_program(argv[2], argv[3]);
    }
    test_options_parse(&o, argc, argv);
    test_watchdog(100);
    char *path = scratch_new(NULL);
    directories(path);
    permissions(path);
    two_users(path);
    after_fork(path);
    scratch_remove(path);
    printf("cases: %llu\n", (unsigned long long)evidence_cases);
    return 0;
}
