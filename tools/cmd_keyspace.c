// strata keyspace list, create, drop.
#include "tools/commands.h"

#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"

static const char *const SHAPES[] = {"default", "lazy", "leveled"};
static const char *const COMPRESSIONS[] = {"default", "none", "lz4", "zstd"};
static const char *const ACTIONS[] = {"list", "create", "drop"};
enum { ACTION_LIST, ACTION_CREATE, ACTION_DROP, ACTION_COUNT };

#define OPTIONS_OF_CREATE                                                                          \
    (OPT_BIT(OPT_SHAPE) | OPT_BIT(OPT_COMPRESSION) | OPT_BIT(OPT_FILTER_BITS) |                    \
     OPT_BIT(OPT_BLOCK_BYTES) | OPT_BIT(OPT_HISTORY_BLOCK_BYTES) | OPT_BIT(OPT_LEVEL0_RUNS) |      \
     OPT_BIT(OPT_SIZE_RATIO))

struct keyspace_list {
    const struct cli_args *args;
    struct text line;
};

static void append_options(struct text *line, const strata_keyspace_options *o, bool json)
{
    const char *shape = (unsigned)o->shape < 3 ? SHAPES[o->shape] : "?";
    const char *compression = (unsigned)o->compression < 4 ? COMPRESSIONS[o->compression] : "?";
    text_append_format(line,
                       json ? ",\"shape\":\"%s\",\"compression\":\"%s\",\"filter_bits\":%u,"
                              "\"block_bytes\":%u,\"history_block_bytes\":%u,\"level0_runs\":%u,"
                              "\"size_ratio\":%u}\n"
                            : "\tshape=%s compression=%s filter-bits=%u block-bytes=%u "
                              "history-block-bytes=%u level0-runs=%u size-ratio=%u\n",
                       shape, compression, o->filter_off ? 0 : o->filter_bits, o->block_bytes,
                       o->history_block_bytes, o->level0_runs_max, o->size_ratio);
}

static bool list_one(void *ctx, const strata_keyspace_info *info)
{
    struct keyspace_list *list = ctx;
    bool json = args_has(list->args, OPT_JSON);
    strata_slice name = strata_str(info->name);
    if (json) {
        text_append_str(&list->line, "{\"name\":");
        text_append_json(&list->line, name);
        text_append_format(&list->line, ",\"number\":%llu", (unsigned long long)info->number);
    } else {
        text_append_escaped(&list->line, name);
    }
    append_options(&list->line, &info->options, json);
    return out_text(&list->line);
}

static int keyspace_list(const struct cli_args *args, strata_db *db)
{
    struct keyspace_list list = {.args = args};
    strata_rc rc = strata_keyspace_list(db, list_one, &list);
    text_release(&list.line);
    return out_end(rc == STRATA_OK ? CLI_OK : cli_failed(rc));
}

static int take_u32(const struct cli_args *args, enum cli_option option, uint64_t least,
                    uint64_t most, uint32_t *number_out)
{
    uint64_t number = *number_out;
    int code = args_bytes(args, option, least, most, &number);
    *number_out = (uint32_t)number;
    return code;
}

static int take_options(const struct cli_args *args, strata_keyspace_options *options)
{
    int shape = 0;
    int compression = 0;
    uint64_t filter_bits = 0;
    int code = args_choice(args, OPT_SHAPE, SHAPES, 3, &shape);
    if (code == CLI_OK) {
        code = args_choice(args, OPT_COMPRESSION, COMPRESSIONS, 4, &compression);
    }
    if (code == CLI_OK) {
        code = args_number(args, OPT_FILTER_BITS, 0, 32, &filter_bits);
    }
    if (code == CLI_OK) {
        code = take_u32(args, OPT_BLOCK_BYTES, 1024, 65536, &options->block_bytes);
    }
    if (code == CLI_OK) {
        code = take_u32(args, OPT_HISTORY_BLOCK_BYTES, 1024, 262144, &options->history_block_bytes);
    }
    if (code == CLI_OK) {
        code = take_u32(args, OPT_LEVEL0_RUNS, 4, 256, &options->level0_runs_max);
    }
    if (code == CLI_OK) {
        code = take_u32(args, OPT_SIZE_RATIO, 2, 64, &options->size_ratio);
    }
    options->shape = (strata_shape)shape;
    options->compression = (strata_compression)compression;
    options->filter_bits = (uint32_t)filter_bits;
    options->filter_off = args_has(args, OPT_FILTER_BITS) && filter_bits == 0;
    return code;
}

static int keyspace_change(const struct cli_args *args, strata_db *db, int action, const char *name)
{
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_rc rc;
    if (action == ACTION_CREATE) {
        int code = take_options(args, &options);
        if (code != CLI_OK) {
            return code;
        }
        strata_keyspace *keyspace;
        rc = strata_keyspace_create(db, name, &options, &keyspace);
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
    return args_usage(args, "\"%s\" is none of list, create, drop", args->operand[0]);
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
    for (int i = 0; action != ACTION_CREATE && i < OPT_COUNT; i++) {
        if ((OPTIONS_OF_CREATE & OPT_BIT(i)) != 0 && args_has(args, (enum cli_option)i)) {
            return args_usage(args, "--%s goes with keyspace create only", cli_options[i].name);
        }
    }
    struct cli_args opened = *args;
    opened.operand[0] = args->operand[directory];
    struct session session;
    code = session_open(&session, &opened, action == ACTION_LIST ? SESSION_READ : SESSION_WRITE);
    if (code != CLI_OK) {
        return code;
    }
    code = action == ACTION_LIST ? keyspace_list(args, session.db)
                                 : keyspace_change(args, session.db, action, name);
    return session_close(&session, code);
}
