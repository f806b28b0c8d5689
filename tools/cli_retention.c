// Retention as text.
#include "tools/cli_retention.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool retention_parse(const char *text, strata_keyspace_options *options)
{
    if (strcmp(text, "all") == 0 || strcmp(text, "none") == 0) {
        options->retention = text[0] == 'a' ? STRATA_RETENTION_ALL : STRATA_RETENTION_NONE;
        return true;
    }
    if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text)) {
        errno = 0;
        unsigned long long versions = strtoull(text, NULL, 10);
        options->retention = STRATA_RETENTION_VERSIONS;
        options->retention_versions = (uint32_t)versions;
        return errno == 0 && versions > 0 && versions <= UINT32_MAX;
    }
    uint64_t seconds;
    if (!time_parse_duration(text, UINT32_MAX, &seconds) || seconds == 0) {
        return false;
    }
    options->retention = STRATA_RETENTION_AGE;
    options->retention_seconds = (uint32_t)seconds;
    return true;
}

void retention_format(const strata_keyspace_options *options, char text_out[TIME_TEXT_BYTES])
{
    switch (options->retention) {
    case STRATA_RETENTION_DEFAULT:
    case STRATA_RETENTION_ALL:
        snprintf(text_out, TIME_TEXT_BYTES, "all");
        return;
    case STRATA_RETENTION_VERSIONS:
        snprintf(text_out, TIME_TEXT_BYTES, "%u", options->retention_versions);
        return;
    case STRATA_RETENTION_AGE:
        time_format_duration(options->retention_seconds, text_out);
        return;
    case STRATA_RETENTION_NONE:
        snprintf(text_out, TIME_TEXT_BYTES, "none");
        return;
    }
    snprintf(text_out, TIME_TEXT_BYTES, "?");
}

void retention_describe(const strata_keyspace_options *options, struct text *text)
{
    char length[TIME_TEXT_BYTES];
    switch (options->retention) {
    case STRATA_RETENTION_VERSIONS:
        if (options->retention_versions == 1) {
            text_append_str(text, "the last version of each key");
        } else {
            text_append_format(text, "the last %u versions of each key",
                               options->retention_versions);
        }
        return;
    case STRATA_RETENTION_AGE:
        time_format_duration(options->retention_seconds, length);
        text_append_format(text, "every commit of the last %s", length);
        return;
    case STRATA_RETENTION_NONE:
        text_append_str(text, "the present only");
        return;
    case STRATA_RETENTION_DEFAULT:
    case STRATA_RETENTION_ALL:
        break;
    }
    text_append_str(text, "every version");
}
