// The value files of a catalog in the making, for catalog.c. The order of the calls is that of the
// declarations.
#ifndef MANIFEST_CATALOG_VALUES_H
#define MANIFEST_CATALOG_VALUES_H

#include "manifest/manifest.h"

// Takes over what `old` has, with room for what the edit adds.
strata_rc catalog_values_copy(struct catalog *c, const struct catalog *old,
                              const struct edit *e) STRATA_MUST_CHECK;
// Value files leave and come; opens those that are not open.
strata_rc catalog_values_change(struct catalog *c, const struct edit *e,
                                const struct table_env *env) STRATA_MUST_CHECK;
// A table comes into a tree of the catalog, or leaves it.
strata_rc catalog_values_count(struct catalog *c, const struct table_meta *m, bool history,
                               bool comes) STRATA_MUST_CHECK;
// All tables are counted: nothing may refer to a logical file that has left.
strata_rc catalog_values_settle(struct catalog *c) STRATA_MUST_CHECK;
void catalog_values_drop(struct catalog *c, uint64_t keyspace);
void catalog_values_release(struct catalog *c);

// The physical file, or NULL.
struct value_file *catalog_value_file(const struct catalog *c, uint64_t file);

#endif
