/* What every suite starts with: cmocka, the library, and a way to catch a bug report. */
#ifndef AMBIT_TESTS_SUITE_H
#define AMBIT_TESTS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ambit.h"

#define assert_ok(status) assert_int_equal((status), AMBIT_OK)

/* Runs `statement`, which must be stopped as a bug; leaves the report in suite_bug. */
static ambit_bug suite_bug;
static jmp_buf suite_jump;
static inline void suite_catch(const ambit_bug *bug, void *user) {
    (void)user;
    suite_bug = *bug;
    longjmp(suite_jump, 1);
}
#define assert_stops(statement)                                                                    \
    do {                                                                                           \
        ambit_bug_hook_set(suite_catch, NULL);                                                     \
        if (!setjmp(suite_jump)) {                                                                 \
            statement;                                                                             \
            fail_msg("not stopped: %s", #statement);                                               \
        }                                                                                          \
        ambit_bug_hook_set(NULL, NULL);                                                            \
    } while (0)

static inline ambit_ctx *open_child(ambit_ctx *parent) {
    ambit_ctx *ctx = NULL;
    assert_ok(ambit_ctx_open(parent, &ctx));
    return ctx;
}

#endif
