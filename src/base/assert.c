#include "base/assert.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static char broken_text[256];
static atomic_int broken_state; // 0 none, 1 being written, 2 readable

void assert_failed(const char *condition, const char *file, int line)
{
#ifdef STRATA_DEBUG
    fprintf(stderr, "strata: %s:%d: ASSERT(%s) does not hold\n", file, line, condition);
    abort();
#else
    int expected = 0;
    if (atomic_compare_exchange_strong(&broken_state, &expected, 1)) {
        snprintf(broken_text, sizeof broken_text, "%s:%d: ASSERT(%s) does not hold", file, line,
                 condition);
        // Pairs with the acquire load in assert_broken().
        atomic_store_explicit(&broken_state, 2, memory_order_release);
    }
#endif
}

const char *assert_broken(void)
{
    if (atomic_load_explicit(&broken_state, memory_order_acquire) == 2) {
        return broken_text;
    }
    return NULL;
}
