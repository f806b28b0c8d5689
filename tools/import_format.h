// What a record of an input file says: its key and its value.
//
//   text   key<TAB>value, escaped as export prints them (or, with hex, as hex digits)
//   csv    fields as RFC 4180 has them; the first record names the columns
//   tsv    fields between tabs, nothing escaped; the first line names the columns
//   jsonl  a JSON object on each line
//
// Without a name for the value, the value is the whole record as it stands in the file.
#ifndef TOOLS_IMPORT_FORMAT_H
#define TOOLS_IMPORT_FORMAT_H

#include "tools/cli_text.h"

enum format_kind { FORMAT_TEXT, FORMAT_CSV, FORMAT_TSV, FORMAT_JSONL, FORMAT_COUNT };
extern const char *const format_names[FORMAT_COUNT];

struct format {
    enum format_kind kind;
    bool hex;               // of FORMAT_TEXT
    const char *key_name;   // NULL: the first column
    const char *value_name; // NULL: the whole record
    // set by format_header
    size_t columns;
    size_t key_column;
    size_t value_column;
    char problem[200]; // what is wrong with the record, after a function returned false
};

// By the end of the file's name.
enum format_kind format_of_path(const char *path);

bool format_has_header(const struct format *format);
bool format_header(struct format *format, strata_slice record);

// Replaces *key and *value. A record that is empty is true with an empty key: not a record.
bool format_record(struct format *format, strata_slice record, struct text *key,
                   struct text *value);

#endif
