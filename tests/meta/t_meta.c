// The metamorphic test: the same random operations on many configurations, each compared with the
// model at every step (model/script.h). A script that fails is made small, printed, and kept in a
// file from which the program runs it again:
//
//   t_meta --script FILE --policy CONFIGURATION
//
// Every run has a process of its own, so that an abort or a hang is a failure like any other.
#include "lib/test_lib.h"
#include "model/script.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN_SECONDS_MAX 20u
#define SHRINK_SECONDS_MAX 60.0

// In the child: what goes wrong is written to the pipe.
static void run_child(const struct script *s, uint64_t number, int pipe_end)
{
    char fault[SCRIPT_FAULT_BYTES] = {0};
    struct config config;
    config_make(number, &config);
    alarm(RUN_SECONDS_MAX);
    bool same = script_run(s, &config, fault);
    if (!same) {
        ssize_t put = write(pipe_end, fault, strlen(fault));
        (void)put;
    }
    close(pipe_end);
    fflush(NULL);
    _exit(same ? 0 : 1);
}

// True when the script agrees with the model on the configuration.
static bool run_once(const struct script *s, uint64_t number, char *fault_out)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) {
        test_fatal("pipe: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child < 0) {
        test_fatal("fork: %s", strerror(errno));
    }
    if (child == 0) {
        close(ends[0]);
        run_child(s, number, ends[1]);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], fault_out + used, SCRIPT_FAULT_BYTES - 1 - used)) > 0) {
        used += (size_t)got;
    }
    fault_out[used] = '\0';
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return true;
    }
    if (used == 0) {
        snprintf(fault_out, SCRIPT_FAULT_BYTES, "the process ended with %s %d",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return false;
}

// A copy without operations [from, from + count).
static void copy_without(const struct script *s, size_t from, size_t count, struct script *to)
{
    to->ops = test_alloc(s->count, sizeof(struct script_op));
    to->capacity = s->count;
    to->count = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (i < from || i >= from + count) {
            to->ops[to->count++] = s->ops[i];
        }
    }
}

// Takes out operations while the script still fails: halves, then quarters, down to single ones.
static void shrink(struct script *s, uint64_t number)
{
    char fault[SCRIPT_FAULT_BYTES];
    double start = test_seconds();
    size_t chunk = s->count / 2;
    while (chunk > 0 && test_seconds() - start < SHRINK_SECONDS_MAX) {
        bool smaller = false;
        for (size_t from = 0; from < s->count && test_seconds() - start < SHRINK_SECONDS_MAX;) {
            struct script less;
            copy_without(s, from, chunk, &less);
            if (less.count > 0 && !run_once(&less, number, fault)) {
                script_release(s);
                *s = less;
                smaller = true;
            } else {
                script_release(&less);
                from += chunk;
            }
        }
        chunk = smaller && chunk == 1 ? 1 : chunk / 2;
    }
}

// The plainest configuration on which the script still fails.
static uint64_t shrink_config(const struct script *s, uint64_t number)
{
    char fault[SCRIPT_FAULT_BYTES];
    for (uint64_t plain = 0; plain < number % CONFIG_COUNT && plain < 8; plain++) {
        if (!run_once(s, plain, fault)) {
            return plain;
        }
    }
    return number;
}

static void report(struct script *s, uint64_t seed, uint64_t number, const char *fault)
{
    char path[200];
    char last[SCRIPT_FAULT_BYTES];
    size_t count = s->count;
    printf("FAILED: --seed %llu --ops %zu --policy %llu: %s\n%s\n", (unsigned long long)seed, count,
           (unsigned long long)number, fault, config_text(number));
    fflush(stdout);
    shrink(s, number);
    number = shrink_config(s, number);
    run_once(s, number, last);
    const char *place = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/t_meta_%llu.script", place == NULL ? "/tmp" : place,
             (unsigned long long)seed);
    FILE *to = fopen(path, "w");
    if (to != NULL) {
        script_print(s, to);
        fclose(to);
    }
    printf("made small: %zu operations: %s\n%s\nrepeat with --script %s --policy %llu\n", s->count,
           last, config_text(number), path, (unsigned long long)number);
    script_print(s, stdout);
}

static int run_file(const struct test_options *o)
{
    char fault[SCRIPT_FAULT_BYTES] = {0};
    struct script s = {.ops = NULL};
    struct config config;
    FILE *from = fopen(o->script, "r");
    if (from == NULL) {
        test_fatal("%s: %s", o->script, strerror(errno));
    }
    script_read(&s, from);
    fclose(from);
    config_make(o->policy < 0 ? 0 : (uint64_t)o->policy, &config);
    bool same = script_run(&s, &config, fault);
    printf("%s\ncases: %zu\n", same ? "agrees" : fault, s.count);
    script_release(&s);
    return same ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    if (o.script != NULL) {
        return run_file(&o);
    }
    uint64_t count = o.count > 0 ? o.count : o.seconds > 0 ? UINT64_MAX : 3;
    uint64_t ops = o.ops > 0 ? o.ops : 1000;
    uint64_t cases = 0;
    uint64_t until = o.until > 0 ? o.until : UINT64_MAX;
    for (uint64_t seed = o.seed; seed - o.seed < count && cases < until && !test_time_is_up(&o);
         seed++) {
        struct script s = {.ops = NULL};
        script_make(&s, seed, ops);
        for (uint64_t n = 0; n < CONFIG_COUNT && !test_time_is_up(&o); n++) {
            char fault[SCRIPT_FAULT_BYTES];
            uint64_t number = o.policy >= 0 ? (uint64_t)o.policy : n;
            test_label("repeat with --seed %llu --ops %llu --policy %llu", (unsigned long long)seed,
                       (unsigned long long)ops, (unsigned long long)number);
            if (!run_once(&s, number, fault)) {
                report(&s, seed, number, fault);
                script_release(&s);
                return 1;
            }
            cases += s.count;
            if (o.policy >= 0) {
                break;
            }
        }
        script_release(&s);
    }
    printf("seed %llu, %llu operations on each of %u configurations\n", (unsigned long long)o.seed,
           (unsigned long long)ops, CONFIG_COUNT);
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
