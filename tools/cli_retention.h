// Retention as people write it: "all", "none", a number of versions ("3"), or an age ("7d").
#ifndef TOOLS_CLI_RETENTION_H
#define TOOLS_CLI_RETENTION_H

#include "tools/cli_args.h"
#include "tools/cli_time.h"

// Sets the members of `options` that say what is kept. False when the text is none of the forms.
bool retention_parse(const char *text, strata_keyspace_options *options);
void retention_format(const strata_keyspace_options *options, char text_out[TIME_TEXT_BYTES]);

// "every version", "the last 3 versions of each key", ...
void retention_describe(const strata_keyspace_options *options, struct text *text);

#endif
