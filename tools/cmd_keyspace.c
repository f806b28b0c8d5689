// strata keyspace list, create, alter, drop.
//
// One table of fields says for each option of a keyspace how it is read, shown and bounded, and
// whether it can be changed later.
#include "tools/commands.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_retention.h"
#include "tools/cli_session.h"

static const char *const SHAPES[] = {"default", "lazy", "leveled"};
static const char *const COMPRESSIONS[] = {"default", "none", "lz4", "zstd"};
static const char *const SEPARATIONS[] = {"default", "on", "off"};
static const char *const ACTIONS[] = {"list", "create", "alter", "drop"};
enum { ACTION_LIST, ACTION_CREATE, ACTION_ALTER, ACTION_DROP, ACTION_COUNT };

enum field_kind {
    FIELD_CHOICE,  // an enum
    FIELD_NUMBER,  // uint32_t
    FIELD_BYTES,   // uint32_t with a unit
    FIELD_FILTER,  // filter_bits and filter_off
    FIELD_RETAIN,  // the three members of retention
    FIELD_EXPIRES, // expire_seconds
};

struct field {
    enum cli_option option;
    enum field_kind kind;
    size_t offset;
    uint64_t least, most;     // of numbers
    const char *const *words; // of choices, by the number of the enum
    int word_count;
    bool live; // keyspace alter changes it
};

#define MEMBER(name, what) .offset = offsetof(strata_keyspace_options, name), .kind = FIELD_##what
#define RANGE(from, to) .least = (from), .most = (to)
#define WORDS(list) .words = (list), .word_count = (int)(sizeof(list) / sizeof(list)[0])

static const struct field fields[] = {
    {OPT_SHAPE, MEMBER(shape, CHOICE), WORDS(SHAPES)},
    {OPT_COMPRESSION, MEMBER(compression, CHOICE), WORDS(COMPRESSIONS)},
    {OPT_FILTER_BITS, MEMBER(filter_bits, FILTER), RANGE(0, 32)},
    {OPT_BLOCK_BYTES, MEMBER(block_bytes, BYTES), RANGE(1024, 65536)},
    {OPT_HISTORY_BLOCK_BYTES, MEMBER(history_block_bytes, BYTES), RANGE(1024, 262144)},
    {OPT_LEVEL0_RUNS, MEMBER(level0_runs_max, NUMBER), RANGE(4, 256)},
    {OPT_SIZE_RATIO, MEMBER(size_ratio, NUMBER), RANGE(2, 64)},
    {OPT_SEPARATION, MEMBER(separation, CHOICE), WORDS(SEPARATIONS), .live = true},
    {OPT_SEPARATE_BYTES, MEMBER(separate_bytes, BYTES), RANGE(64, 1048576), .live = true},
    {OPT_VALUE_COMPRESSION, MEMBER(value_compression, CHOICE), WORDS(COMPRESSIONS), .live = true},
    {OPT_RETAIN, MEMBER(retention, RETAIN), .live = true},
    {OPT_EXPIRE_AFTER, MEMBER(expire_seconds, EXPIRES), .live = true},
    {OPT_SPACE_BOUND, MEMBER(space_bound_percent, NUMBER), RANGE(110, 1000), .live = true},
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

// Enums and numbers alike have four bytes.
_Static_assert(sizeof(strata_shape) == sizeof(uint32_t), "an enum has four bytes");

static uint32_t field_get(const strata_keyspace_options *options, const struct field *field)
{
    uint32_t number;
    memcpy(&number, (const char *)options + field->offset, sizeof number);
    return number;
}

static void field_set(strata_keyspace_options *options, const struct field *field, uint32_t number)
{
    memcpy((char *)options + field->offset, &number, sizeof number);
}

// ---------------------------------------------------------------------------------------------
// Showing

// The value of a field as the option's argument; words and lengths of time are text.
static void field_format(const strata_keyspace_options *options, const struct field *field,
                         char text_out[TIME_TEXT_BYTES])
{
    uint32_t number = field_get(options, field);
    switch (field->kind) {
    case FIELD_CHOICE:
        snprintf(text_out, TIME_TEXT_BYTES, "%s",
                 number < (uint32_t)field->word_count ? field->words[number] : "?");
        return;
    case FIELD_FILTER:
        snprintf(text_out, TIME_TEXT_BYTES, "%u", options->filter_off ? 0 : number);
        return;
    case FIELD_RETAIN:
        retention_format(options, text_out);
        return;
    case FIELD_EXPIRES:
        if (number == 0) {
            snprintf(text_out, TIME_TEXT_BYTES, "never");
        } else {
            time_format_duration(number, text_out);
        }
        return;
    case FIELD_NUMBER:
    case FIELD_BYTES:
        break;
    }
    snprintf(text_out, TIME_TEXT_BYTES, "%u", number);
}

static bool field_is_number(const struct field *field)
{
    return field->kind == FIELD_NUMBER || field->kind == FIELD_BYTES || field->kind == FIELD_FILTER;
}

struct keyspace_list {
    const struct cli_args *args;
    struct text line;
};

static void append_json_options(struct text *line, const strata_keyspace_options *options)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        char value[TIME_TEXT_BYTES];
        const char *quote = field_is_number(&fields[i]) ? "" : "\"";
        field_format(options, &fields[i], value);
        text_append_str(line, ",\"");
        for (const char *c = cli_options[fields[i].option].name; *c != '\0'; c++) {
            text_append(line, *c == '-' ? "_" : c, 1);
        }
        text_append_format(line, "\":%s%s%s", quote, value, quote);
    }
    text_append_str(line, "}\n");
}

static void append_options(struct text *line, const strata_keyspace_options *options)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        char value[TIME_TEXT_BYTES];
        field_format(options, &fields[i], value);
        text_append_format(line, "%c%s=%s", i == 0 ? '\t' : ' ', cli_options[fields[i].option].name,
                           value);
    }
    text_append_str(line, "\n");
}

static bool list_one(void *ctx, const strata_keyspace_info *info)
{
    struct keyspace_list *list = ctx;
    strata_slice name = strata_str(info->name);
    if (args_has(list->args, OPT_JSON)) {
        text_append_str(&list->line, "{\"name\":");
        text_append_json(&list->line, name);
        text_append_format(&list->line, ",\"number\":%llu", (unsigned long long)info->number);
        append_json_options(&list->line, &info->options);
    } else {
        text_append_escaped(&list->line, name);
        append_options(&list->line, &info->options);
    }
    return out_text(&list->line);
}

static int keyspace_list(const struct cli_args *args, strata_db *db)
{
    struct keyspace_list list = {.args = args};
    strata_rc rc = strata_keyspace_list(db, list_one, &list);
    text_release(&list.line);
    return out_end(rc == STRATA_OK ? CLI_OK : cli_failed(rc));
}

// ---------------------------------------------------------------------------------------------
// Creating and altering

static int take_choice(const struct cli_args *args, const struct field *field, uint32_t *number_out)
{
    // The options that can be altered have no word for the default: it is one of the others.
    int first = field->live ? 1 : 0;
    int index = 0;
    int code =
        args_choice(args, field->option, field->words + first, field->word_count - first, &index);
    *number_out = (uint32_t)(index + first);
    return code;
}

static int take_expires(const struct cli_args *args, const struct field *field,
                        uint32_t *number_out)
{
    uint64_t seconds = 0;
    if (strcmp(args->option[field->option], "never") == 0) {
        *number_out = STRATA_NEVER_SECONDS;
        return CLI_OK;
    }
    int code = args_duration(args, field->option, STRATA_NEVER_SECONDS - 1, &seconds);
    *number_out = (uint32_t)seconds;
    return code;
}

// Sets the member of one field, whose option was given.
static int take_field(const struct cli_args *args, const struct field *field,
                      strata_keyspace_options *options)
{
    uint64_t large = 0;
    uint32_t number = 0;
    int code = CLI_OK;
    switch (field->kind) {
    case FIELD_CHOICE:
        code = take_choice(args, field, &number);
        break;
    case FIELD_EXPIRES:
        code = take_expires(args, field, &number);
        break;
    case FIELD_RETAIN:
        if (!retention_parse(args->option[field->option], options)) {
            return args_usage(args,
                              "--retain %s: it must be all, none, a number of versions (3) "
                              "or an age (7d)",
                              args->option[field->option]);
        }
        return CLI_OK;
    case FIELD_BYTES:
        code = args_bytes(args, field->option, field->least, field->most, &large);
        number = (uint32_t)large;
        break;
    case FIELD_NUMBER:
    case FIELD_FILTER:
        code = args_number(args, field->option, field->least, field->most, &large);
        number = (uint32_t)large;
        options->filter_off = options->filter_off || (field->kind == FIELD_FILTER && large == 0);
        break;
    }
    field_set(options, field, number);
    return code;
}

static int take_options(const struct cli_args *args, int action, strata_keyspace_options *options)
{
    int given = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const struct field *field = &fields[i];
        const char *name = cli_options[field->option].name;
        if (!args_has(args, field->option)) {
            continue;
        }
        if (action == ACTION_ALTER && !field->live) {
            return args_usage(args, "--%s is fixed when a keyspace is created", name);
        }
        if (action != ACTION_CREATE && action != ACTION_ALTER) {
            return args_usage(args, "--%s goes with keyspace create%s only", name,
                              field->live ? " and alter" : "");
        }
        int code = take_field(args, field, options);
        if (code != CLI_OK) {
            return code;
        }
        given++;
    }
    if (action == ACTION_CREATE && options->expire_seconds == STRATA_NEVER_SECONDS) {
        options->expire_seconds = 0;
    }
    if (action == ACTION_ALTER && given == 0) {
        return args_usage(args, "say what to change, e.g. --separation off");
    }
    return CLI_OK;
}

static int keyspace_alter(const struct cli_args *args, strata_db *db, const char *name,
                          const strata_keyspace_options *options)
{
    strata_keyspace *keyspace;
    strata_rc rc = strata_keyspace_open(db, name, &keyspace);
    if (rc == STRATA_NOT_FOUND) {
        return cli_problem(CLI_NOT_FOUND,
                           "there is no keyspace \"%s\"; strata keyspace list %s "
                           "shows those that are there",
                           name, args->operand[0]);
    }
    if (rc == STRATA_OK) {
        rc = strata_keyspace_alter(db, keyspace, options);
    }
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

static int keyspace_change(const struct cli_args *args, strata_db *db, int action, const char *name,
                           const strata_keyspace_options *options)
{
    strata_keyspace *keyspace;
    strata_rc rc;
    if (action == ACTION_ALTER) {
        return keyspace_alter(args, db, name, options);
    }
    if (action == ACTION_CREATE) {
        rc = strata_keyspace_create(db, name, options, &keyspace);
    } else {
        rc = strata_keyspace_drop(db, name);
    }
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

// Which of the first two operands names the action; the other one is the directory.
static int take_action(const struct cli_args *args, int *action_out, int *directory_out)
{
    for (int operand = 0; operand < 2; operand++) {
        for (int action = 0; action < ACTION_COUNT; action++) {
            if (strcmp(args->operand[operand], ACTIONS[action]) == 0) {
                *action_out = action;
                *directory_out = 1 - operand;
                return CLI_OK;
            }
        }
    }
    return args_usage(args, "\"%s\" is none of list, create, alter, drop", args->operand[0]);
}

int cmd_keyspace(const struct cli_args *args)
{
    int action = ACTION_LIST;
    int directory = 1;
    int code = take_action(args, &action, &directory);
    if (code != CLI_OK) {
        return code;
    }
    const char *name = args->operand[2];
    if ((name != NULL) != (action != ACTION_LIST)) {
        return args_usage(args, action == ACTION_LIST ? "list takes no name"
                                                      : "the name of the keyspace is missing");
    }
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    code = take_options(args, action, &options);
    if (code != CLI_OK) {
        return code;
    }
    struct cli_args opened = *args;
    opened.operand[0] = args->operand[directory];
    struct session session;
    code = session_open(&session, &opened, action == ACTION_LIST ? SESSION_READ : SESSION_WRITE);
    if (code != CLI_OK) {
        return code;
    }
    code = action == ACTION_LIST ? keyspace_list(args, session.db)
                                 : keyspace_change(&opened, session.db, action, name, &options);
    return session_close(&session, code);
}
