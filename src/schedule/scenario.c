/* What a scenario calls. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/sync.h"

#define SITE __builtin_return_address(0)

static void must_run(const char *function) {
    if (ambit__self) return;
    (void)fprintf(stderr,
                  "ambit::schedule: %s: expected to be called in a scenario, of "
                  "ambit_schedule_run(), found none under way\n",
                  function);
    abort();
}

ambit_schedule_thread ambit_schedule_spawn(ambit_schedule_fn *run, void *argument) {
    must_run(__func__);
    return (ambit_schedule_thread){ambit__spawn(NULL, run, argument, SITE)->handle};
}

void ambit_schedule_join(ambit_schedule_thread thread) {
    must_run(__func__);
    (void)ambit__thread_join(thread.handle, NULL, AMBIT__FOREVER, AMBIT__CALL(__func__));
}

void ambit__schedule_assert_failed(const char *text, const char *file, int line) {
    if (ambit__self)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, SITE, NULL, "assertion failed: %s", text);
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, text);
    abort();
}

unsigned ambit_schedule_choose(unsigned count) {
    if (!ambit__self || count < 2) return 0;
    if (count > UINT8_MAX)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, SITE, NULL,
                    "ambit_schedule_choose: expected at most %d to choose from, found %u",
                    UINT8_MAX, count);
    unsigned chosen = ambit__decide(AMBIT__DECIDE_USER, count, 0);
    ambit__operation row = {
        .kind = AMBIT__OP_CHOOSE, .site = SITE, .value = chosen, .before = count};
    ambit__tell(&row);
    return chosen;
}

void ambit_schedule_note(const char *format, ...) {
    if (!ambit__recording || !ambit__self) return;
    ambit__operation row = {.kind = AMBIT__OP_NOTE, .site = SITE};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(row.text, sizeof row.text, format, arguments);
    va_end(arguments);
    ambit__tell(&row);
}

void ambit_schedule_yield(void) {
    if (!ambit__self) return;
    ambit__operation operation = {.kind = AMBIT__OP_YIELD, .site = SITE};
    ambit__spin();
    ambit__step(&operation);
}

bool ambit_schedule_is_running(void) { return ambit__self != NULL; }
