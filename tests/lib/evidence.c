#include "lib/evidence.h"

#include "lib/test_lib.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void evidence_failed(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr);
    fprintf(stderr, "FAILED %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n  error text: %s\n", strata_error_text());
    funlockfile(stderr);
    va_end(args);
    fflush(stdout);
    test_print_label();
    _exit(1);
}

uint64_t evidence_cases;

void evidence_case(strata_rc got, strata_rc want, const char *call, const char *file, int line)
{
    evidence_cases++;
    if (got != want) {
        evidence_failed(file, line, "%s is %s, not %s", call, strata_rc_name(got),
                        strata_rc_name(want));
    }
    if (got < 0 && strlen(strata_error_text()) < 10) {
        evidence_failed(file, line, "%s says nothing that helps", call);
    }
}

char *scratch_new(const char *base)
{
    const char *given = getenv("TMPDIR");
    char path[512];
    if (base == NULL) {
        base = given != NULL && given[0] != '\0' ? given : "/tmp";
    }
    snprintf(path, sizeof path, "%s/strata_XXXXXX", base);
    if (mkdtemp(path) == NULL) {
        test_fatal("no scratch directory in %s", base);
    }
    return test_strdup(path);
}

void scratch_empty(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char name[1024];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (lstat(name, &st) == 0 && S_ISDIR(st.st_mode)) {
            scratch_empty(name);
            rmdir(name);
        } else {
            unlink(name);
        }
    }
    closedir(dir);
}

void scratch_remove(char *path)
{
    if (path != NULL) {
        scratch_empty(path);
        rmdir(path);
        free(path);
    }
}

double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double median_of(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count == 0 ? 0 : (values[(count - 1) / 2] + values[count / 2]) / 2;
}

uint64_t metric_of(strata_db *db, const char *name)
{
    strata_metric metrics[256];
    size_t count;
    MUST(strata_stats(db, metrics, 256, &count));
    for (size_t i = 0; i < count && i < 256; i++) {
        if (strcmp(metrics[i].name, name) == 0) {
            return metrics[i].value;
        }
    }
    test_fatal("there is no metric %s", name);
}
