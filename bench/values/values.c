// What the stages share.
#include "values.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("values_bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void in_child(void (*run)(void *ctx), void *ctx)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        die("cannot fork");
    }
    if (child == 0) {
        run(ctx);
        (void)fflush(stdout);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        die("a measurement failed");
    }
}

void fresh_dir(const struct plan *plan, const struct engine *engine, char *path, size_t path_bytes)
{
    (void)snprintf(path, path_bytes, "%s/%s.db", plan->dir, engine->name);
    disk_remove_dir(path);
    if (mkdir(path, 0777) != 0) {
        die("cannot make %s", path);
    }
}

void load_run(const struct plan *plan, const struct engine *engine, struct engine_db *db,
              const char *dir, struct load_result *result_out)
{
    char key[KEY_BYTES];
    char *value = malloc(plan->value_bytes);
    uint32_t *order = make_order(plan->count, 7);
    if (value == NULL) {
        die("out of memory");
    }
    make_value(value, plan->value_bytes, 0, 0);
    disk_sync(plan->dir);
    struct disk_counters start = disk_counters_now(&plan->disk);
    uint64_t process = disk_process_written();
    double cpu = cpu_now();
    double begun = wall_now();
    for (uint32_t i = 0; i < plan->count; i++) {
        make_key(key, order[i]);
        make_value(value, plan->value_bytes, order[i], 0);
        engine->put(db, key, value, plan->value_bytes);
    }
    result_out->put_seconds = wall_now() - begun;
    engine->settle(db);
    engine->sync(db);
    disk_sync(plan->dir);
    result_out->idle_seconds = wall_now() - begun;
    result_out->cpu_seconds = cpu_now() - cpu;
    result_out->written_bytes = disk_counters_since(&plan->disk, &start).written_bytes;
    result_out->process_bytes = disk_process_written() - process;
    result_out->disk_bytes = disk_use_of(dir).bytes;
    free(order);
    free(value);
}

// ---------------------------------------------------------------------------------------------
// fio

#define FIO_FILE "fio.tmp"

// Runs fio and returns a field of its terse output, counted from 1.
static double fio_field(const struct plan *plan, const char *arguments, int field)
{
    char command[4096];
    (void)snprintf(command, sizeof(command),
                   "fio --name=values --filename='%s/%s' --direct=1 --ioengine=libaio"
                   " --minimal %s",
                   plan->dir, FIO_FILE, arguments);
    FILE *pipe = popen(command, "r");
    char line[65536] = "";
    if (pipe == NULL || fgets(line, sizeof(line), pipe) == NULL || pclose(pipe) != 0) {
        die("fio failed: %s", command);
    }
    const char *at = line;
    for (int i = 1; i < field && at != NULL; i++) {
        at = strchr(at, ';');
        at = at != NULL ? at + 1 : NULL;
    }
    return at != NULL ? atof(at) : 0;
}

void fio_lay_out(const struct plan *plan, uint64_t bytes)
{
    char arguments[256];
    (void)snprintf(arguments, sizeof(arguments), "--rw=write --bs=1M --iodepth=4 --size=%llu",
                   (unsigned long long)(bytes >> 20 << 20));
    (void)fio_field(plan, arguments, 1);
}

double fio_read(const struct plan *plan, bool sequential, size_t block, unsigned depth)
{
    char arguments[256];
    (void)snprintf(arguments, sizeof(arguments),
                   "--rw=%s --bs=%zu --iodepth=%u --time_based --runtime=8 --norandommap=1",
                   sequential ? "read" : "randread", block, depth);
    return fio_field(plan, arguments, 7) * 1024; // read bandwidth in KiB a second
}

void fio_remove(const struct plan *plan)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", plan->dir, FIO_FILE);
    (void)unlink(path);
}
