// What the manifest keeps of a table: copying and releasing it.
#include "base/alloc.h"
#include "table/table.h"

strata_rc table_meta_copy(const struct table_meta *from, struct table_meta *to_out)
{
    // Both bounds share one allocation, which begins with the lower one.
    uint8_t *bytes = alloc_array(from->lower.bytes + from->upper.bytes, 1);
    if (bytes == NULL) {
        return alloc_failed("the bounds of a table", from->lower.bytes + from->upper.bytes);
    }
    if (from->lower.bytes != 0) {
        memcpy(bytes, from->lower.data, from->lower.bytes);
    }
    if (from->upper.bytes != 0) {
        memcpy(bytes + from->lower.bytes, from->upper.data, from->upper.bytes);
    }
    struct table_value_use *uses = NULL;
    if (from->use_count != 0) {
        uses = alloc_array(from->use_count, sizeof *uses);
        if (uses == NULL) {
            free(bytes);
            return alloc_failed("what a table refers to", from->use_count * sizeof *uses);
        }
        memcpy(uses, from->uses, from->use_count * sizeof *uses);
    }
    *to_out = *from;
    to_out->uses = uses;
    to_out->lower = slice_of(bytes, from->lower.bytes);
    to_out->upper = slice_of(bytes + from->lower.bytes, from->upper.bytes);
    return STRATA_OK;
}

void table_meta_release(struct table_meta *m)
{
    // The cast takes back the const under which the struct lends its own memory.
    free((void *)(uintptr_t)m->lower.data);
    free(m->uses);
    *m = (struct table_meta){0};
}
