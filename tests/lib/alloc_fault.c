#include "lib/alloc_fault.h"

#include <stdbool.h>
#include <stddef.h>

static _Thread_local struct {
    uint64_t good;
    uint64_t failing;
    uint64_t failed;
    uint64_t paused;
} plan;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void alloc_fault_arm(uint64_t good, uint64_t failing)
{
    plan.good = good;
    plan.failing = failing;
    plan.failed = 0;
}

uint64_t alloc_fault_disarm(void)
{
    plan.failing = 0;
    return plan.failed;
}

uint64_t alloc_fault_failed(void)
{
    return plan.failed;
}

void alloc_fault_pause(void)
{
    plan.paused++;
}

void alloc_fault_resume(void)
{
    plan.paused--;
}

static bool alloc_fault_now(void)
{
    if (plan.failing == 0 || plan.paused > 0) {
        return false;
    }
    if (plan.good > 0) {
        plan.good--;
        return false;
    }
    plan.failing--;
    plan.failed++;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return alloc_fault_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return alloc_fault_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return alloc_fault_now() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return alloc_fault_now() ? NULL : __real_aligned_alloc(alignment, bytes);
}
