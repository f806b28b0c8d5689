#include "os/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void charges_and_refunds_add_up(void **state)
{
    (void)state;
    struct os_memory m;
    os_memory_init(&m, 1000);
    assert_int_equal(os_memory_free_bytes(&m), 1000);
    os_memory_charge(&m, OS_MEMORY_MEMTABLES, 300);
    os_memory_charge(&m, OS_MEMORY_READERS, 200);
    assert_int_equal(os_memory_used(&m), 500);
    assert_int_equal(os_memory_free_bytes(&m), 500);
    os_memory_refund(&m, OS_MEMORY_MEMTABLES, 100);
    assert_int_equal(os_memory_used(&m), 400);
    assert_int_equal(atomic_load(&m.used[OS_MEMORY_MEMTABLES]), 200);
}

static void nothing_is_free_over_the_budget(void **state)
{
    (void)state;
    struct os_memory m;
    os_memory_init(&m, 1000);
    os_memory_charge(&m, OS_MEMORY_JOBS, 1000);
    assert_int_equal(os_memory_free_bytes(&m), 0);
    os_memory_charge(&m, OS_MEMORY_BLOCKS, 5000);
    assert_int_equal(os_memory_free_bytes(&m), 0);
}

// ---- cgroups, imitated in a directory

static char root[] = "/tmp/strata_memory_XXXXXX";
static char groups_path[64];

static void put_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + sizeof root, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root + sizeof root - 7, "XXXXXX");
    if (mkdtemp(root) == NULL) {
        return -1;
    }
    snprintf(groups_path, sizeof groups_path, "%s/groups", root);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void least_limit_of_the_groups_around_counts(void **state)
{
    (void)state;
    put_file("groups", "0::/user/session\n");
    put_file("user/session/memory.max", "max\n");
    assert_true(os_memory_cgroup_bytes(groups_path, root) == UINT64_MAX);
    put_file("user/memory.max", "8388608\n");
    assert_int_equal(os_memory_cgroup_bytes(groups_path, root), 8388608);
    put_file("user/session/memory.max", "4194304\n");
    assert_int_equal(os_memory_cgroup_bytes(groups_path, root), 4194304);
    put_file("memory.max", "1000\n");
    assert_int_equal(os_memory_cgroup_bytes(groups_path, root), 1000);
}

static void group_outside_the_container_is_skipped(void **state)
{
    (void)state;
    put_file("groups", "0::/../../host/group\n");
    put_file("memory.max", "5000\n");
    assert_int_equal(os_memory_cgroup_bytes(groups_path, root), 5000);
}

static void version_1_limit_is_found(void **state)
{
    (void)state;
    put_file("groups", "12:cpu,cpuacct:/box\n5:memory:/box\n0::/\n");
    put_file("memory/box/memory.limit_in_bytes", "7340032\n");
    put_file("box/memory.max", "1\n"); // of a group that the list does not name
    assert_int_equal(os_memory_cgroup_bytes(groups_path, root), 7340032);
}

static void nonsense_is_no_limit(void **state)
{
    (void)state;
    assert_true(os_memory_cgroup_bytes(groups_path, root) == UINT64_MAX);
    put_file("groups", "garbage\n\n:\n::\n0::relative\n0::/\n");
    put_file("memory.max", "12 apples\n");
    assert_true(os_memory_cgroup_bytes(groups_path, root) == UINT64_MAX);
    put_file("memory.max", "99999999999999999999999999\n");
    assert_true(os_memory_cgroup_bytes(groups_path, root) == UINT64_MAX);
    put_file("memory.max", "");
    assert_true(os_memory_cgroup_bytes(groups_path, root) == UINT64_MAX);
}

static void machine_has_some_memory(void **state)
{
    (void)state;
    uint64_t bytes = os_memory_machine_bytes();
    assert_true(bytes >= (1u << 24));
    assert_true(bytes <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(charges_and_refunds_add_up),
        cmocka_unit_test(nothing_is_free_over_the_budget),
        cmocka_unit_test_setup_teardown(least_limit_of_the_groups_around_counts, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(group_outside_the_container_is_skipped, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(version_1_limit_is_found, make_root, remove_root),
        cmocka_unit_test_setup_teardown(nonsense_is_no_limit, make_root, remove_root),
        cmocka_unit_test(machine_has_some_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
