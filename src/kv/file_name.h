// Names of the files of a database directory: made and parsed in one place, so that a name that
// does not parse exactly is never touched.
//
//   CURRENT            the number of the manifest, as text and a newline
//   LOCK               taken by whoever has the directory open
//   NNNNNN.manifest    NNNNNN.log    NNNNNN.table    NNNNNN.value    decimal, at least six digits,
//   NNNNNN.tmp         no more zeros in front than that needs; numbers are never reused
#ifndef KV_FILE_NAME_H
#define KV_FILE_NAME_H

#include "base/slice.h"

enum file_kind {
    FILE_CURRENT = 1,
    FILE_LOCK,
    FILE_MANIFEST,
    FILE_LOG,
    FILE_TABLE,
    FILE_VALUE,
    FILE_TMP,
};

#define FILE_NAME_BYTES 32

// Writes the name with its NUL. `number` is not looked at for CURRENT and LOCK.
void file_name_make(char to[FILE_NAME_BYTES], enum file_kind kind, uint64_t number);
// True when `name` is exactly a name that file_name_make gives.
bool file_name_parse(const char *name, enum file_kind *kind_out, uint64_t *number_out);

#endif
