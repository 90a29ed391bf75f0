/* src/census/watcher.c: the thread that checks, started and stopped by others and by its own hook. */
#include <ambit/schedule.h>

#include "base/clock.h"
#include "census/verdict.h"
#include "ctx/ctx.h"

AMBIT_SCHEDULE_COVERS("census/watcher.c")

static _Atomic(unsigned) hooks;
static bool stopped; /* no hook runs after */

/* Stops the watcher, and thinks better of it. */
static void stop_and_start(const ambit_verdict *verdict, void *user) {
    (void)verdict;
    (void)user;
    ambit_schedule_assert(!stopped);
    ambit__add_relaxed(&hooks, 1);
    ambit_watcher_stop();
    ambit_schedule_assert(!ambit_watcher_start((3600 * AMBIT_SECOND), stop_and_start, NULL));
}

static void have_an_old_object(void *argument) {
    (void)argument;
    static ambit_ctx *ctx;
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    ambit_schedule_assert(!ambit_ctx_open(ambit_background(), &ctx));
}

/* A start that has found it about to end doesn't wait for its next check. */
AMBIT_SCHEDULE_TEST_WITH(start_waits_for_the_hook_alone, .before = have_an_old_object,
                         .cxx20_release_sequences = true) {
    int64_t begin_ns = ambit_clock_now_ns();
    ambit_schedule_assert(!ambit_watcher_start(AMBIT_MILLISECOND, stop_and_start, NULL));
    while (!ambit__load_relaxed(&hooks)) ambit_schedule_yield();
    ambit_schedule_assert(!ambit_watcher_start((3600 * AMBIT_SECOND), stop_and_start, NULL));
    ambit_watcher_stop();
    ambit_schedule_assert(ambit_clock_now_ns() - begin_ns < (3600 * AMBIT_SECOND) / 2);
}

/* A stop waits for the hook, and nothing of it runs after. */
AMBIT_SCHEDULE_TEST_WITH(stop_waits_for_the_hook, .before = have_an_old_object,
                         .cxx20_release_sequences = true) {
    ambit_schedule_assert(!ambit_watcher_start(AMBIT_MILLISECOND, stop_and_start, NULL));
    if (ambit_schedule_choose(2))
        while (!ambit__load_relaxed(&hooks)) ambit_schedule_yield();
    ambit_watcher_stop();
    stopped = true;
}
