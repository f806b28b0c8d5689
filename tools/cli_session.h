// A database that a command has open, with the keyspace and the commit its arguments name.
#ifndef TOOLS_CLI_SESSION_H
#define TOOLS_CLI_SESSION_H

#include "tools/cli_args.h"

// The options that session_open and session_read look at.
#define SESSION_OPTIONS (OPT_BIT(OPT_KEYSPACE) | OPT_BIT(OPT_MEMORY) | OPT_BIT(OPT_HELP))

enum session_mode {
    SESSION_READ,  // changes nothing
    SESSION_WRITE, // the database must be there
    SESSION_CREATE // a database that is not there is created, and standard error says so
};

struct session {
    const struct cli_args *args;
    strata_db *db;
    strata_keyspace *keyspace;
    bool created;
};

// Opens operand[0]. Returns an exit code; when it is not CLI_OK nothing is open.
int session_open(struct session *session, const struct cli_args *args, enum session_mode mode);

// Closes, and returns `code`, or another one when only the close failed.
int session_close(struct session *session, int code);

// As cli_failed; where a commit is no longer kept it says what is.
int session_failed(const struct session *session, strata_rc rc);

// What the operands say to read: the keyspace, and the commit of --as-of.
int session_read(const struct session *session, strata_read *read_out);

#endif
