/* The watcher: a thread that checks for verdicts, if somebody asks for it. */
#include <stddef.h>

#include "base/clock.h"
#include "base/park.h"
#include "base/thread.h"
#include "census/verdict.h"

/* Start and stop. */
static ambit__mutex life = {AMBIT__RANKED(AMBIT__RANK_WATCHER)};
static ambit__worker worker; /* under `life` */
static bool worker_started;  /* under `life`: to be joined */
/* The three below. */
static ambit__mutex settings = {AMBIT__RANKED(AMBIT__RANK_WATCHER_SET)};
static int64_t period_ns;
static ambit_verdict_hook *hook;
static void *hook_user;
static _Atomic(uint32_t) bell;        /* rung when something changed */
static _Atomic(uint32_t) stop_wanted; /* by another thread, which waits, holding `life` */
static _Atomic(uint32_t) stop_asked;  /* from inside the hook */
static _Atomic(uint32_t) watcher_thread;

static bool is_watcher(void) { return ambit__load_relaxed(&watcher_thread) == ambit__thread_id(); }

static void ring(void) {
    /* Release pairs with the acquire in watch(): what changed is seen. */
    ambit__add_release(&bell, 1);
    ambit__unpark(&bell, 1);
}

static void watch(void *unused) {
    (void)unused;
    ambit__store_relaxed(&watcher_thread, ambit__thread_id());
    for (;;) {
        /* Acquire pairs with the release in ring(). The bell is rung after each change, and so all else
         * here is relaxed: what is missed now is seen with the next ring, and a thread that ends is
         * joined. */
        uint32_t rung = ambit__load_acquire(&bell);
        if (ambit__load_relaxed(&stop_wanted) || ambit__load_relaxed(&stop_asked)) break;
        ambit__mutex_lock(&settings);
        int64_t until_ns = ambit__clock_now() + period_ns;
        ambit_verdict_hook *given_hook = hook;
        void *given_user = hook_user;
        ambit__mutex_unlock(&settings);
        while (ambit__load_relaxed(&bell) == rung && ambit__park_until(&bell, rung, until_ns)) {
        }
        if (ambit__load_relaxed(&bell) == rung) (void)ambit_verdict_check(given_hook, given_user);
    }
    ambit__store_relaxed(&watcher_thread, 0);
}

static void set(int64_t given_period_ns, ambit_verdict_hook *given_hook, void *user) {
    ambit__mutex_lock(&settings);
    period_ns = given_period_ns;
    hook = given_hook;
    hook_user = user;
    ambit__mutex_unlock(&settings);
}

/* With `life` held. */
static ambit_status start_thread(void) {
    if (worker_started && ambit__load_relaxed(&stop_asked)) {
        /* Its hook has asked it to end, and may think better of it; this is final. */
        ambit__store_relaxed(&stop_wanted, 1);
        ring(); /* its hook may have started it again, and it have gone to sleep */
        ambit__worker_join(&worker);
        worker_started = false;
    }
    if (worker_started) return AMBIT_OK;
    ambit__store_relaxed(&stop_wanted, 0);
    ambit__store_relaxed(&stop_asked, 0);
    ambit_status status = ambit__worker_start(&worker, "ambit-watcher", watch, NULL);
    worker_started = !status;
    return status;
}

ambit_status ambit_watcher_start(int64_t given_period_ns, ambit_verdict_hook *given_hook,
                                 void *user) {
    ambit_status status = AMBIT_OK;
    if (given_period_ns < AMBIT_MILLISECOND || given_period_ns > INT64_MAX / 4 || !given_hook)
        return AMBIT_EINVALID;
    ambit__census_ready();
    if (is_watcher()) {
        /* From inside the hook, so it runs. Without `life`, whose holder may be waiting for us. */
        set(given_period_ns, given_hook, user);
        ambit__store_relaxed(&stop_asked, 0);
        return AMBIT_OK;
    }
    ambit__mutex_lock(&life);
    set(given_period_ns, given_hook, user);
    status = start_thread();
    ambit__mutex_unlock(&life);
    ring();
    return status;
}

void ambit_watcher_stop(void) {
    if (is_watcher()) {
        ambit__store_relaxed(&stop_asked, 1);
        return;
    }
    ambit__mutex_lock(&life);
    if (worker_started) {
        ambit__store_relaxed(&stop_wanted, 1);
        ring();
        ambit__worker_join(&worker);
        worker_started = false;
    }
    ambit__mutex_unlock(&life);
}

/* There is no watcher in the child, unless its hook has forked. */
void ambit__watcher_forked(void) {
    ambit__store_relaxed(&settings.state, 0);
    ambit__store_relaxed(&life.state, 0);
    if (is_watcher()) return;
    worker_started = false;
    ambit__store_relaxed(&watcher_thread, 0);
}
