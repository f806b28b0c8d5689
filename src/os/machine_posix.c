#include "os/machine.h"

#include "base/assert.h"
#include "os/file_posix.h"

#include <sys/resource.h>

static strata_rc machine_posix_open_dir(struct os_machine *m, const char *path, bool create,
                                        struct os_dir **dir_out)
{
    (void)m;
    ASSERT(path != NULL);
    return os_dir_open_posix(path, create, dir_out);
}

static strata_rc machine_posix_new_executor(struct os_machine *m, uint32_t threads,
                                            struct os_executor **executor_out)
{
    (void)m;
    return os_executor_posix_new(threads, executor_out);
}

static uint64_t machine_posix_descriptors_max(struct os_machine *m)
{
    (void)m;
    struct rlimit limit;
    int error = getrlimit(RLIMIT_NOFILE, &limit);
    ASSERT(error == 0);
    return error != 0 || limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

static struct os_machine machine_posix = {
    .open_dir = machine_posix_open_dir,
    .new_executor = machine_posix_new_executor,
    .descriptors_max = machine_posix_descriptors_max,
    .has_threads = true,
};

static void machine_posix_set_clock(void)
{
    machine_posix.clock = os_clock_posix();
}

struct os_machine *os_machine_posix(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, machine_posix_set_clock);
    return &machine_posix;
}
