/* uncancelled-timeout: a timeout context whose cancel is never called.
 *
 * The documented bug: each request arms a timeout and is answered long before it; nobody calls the
 * cancel function. The timer stays armed, and keeps the request, until the deadline has passed: at
 * 1,000 requests a second and 30 s that is 30,000 dead requests at any time.
 *
 * wrong: the plain sorted timer list holds one entry for each answered request; they only go when
 *        the deadlines pass (the list's clock is the half's own, so nobody waits for it).
 * right: closing the scope disarms: while open each is armed, afterwards 0 are armed and 0 are in
 *        the census. No request calls a cancel function. */
#include <pthread.h>
#include <stdlib.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { THREADS = 4, REQUESTS = 250, ALL = THREADS * REQUESTS };

#if WRONG
#define TIMEOUT_NS INT64_C(30000000000)
#define REQUEST_NS INT64_C(1000000)

typedef struct request {
    char body[512];
} request;

typedef struct timer {
    struct timer *next;
    int64_t deadline_ns;
    void (*run)(void *argument);
    void *argument;
} timer;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static timer *soonest, **last = &soonest; /* equal timeouts: appending keeps it sorted */
static int64_t now_ns;
static unsigned armed;

static void expire_request(void *argument) { free(argument); }

/* What the library offers is right: the handle that it gives is for timer_cancel(). */
static timer *timer_arm(int64_t timeout_ns, void (*run)(void *), void *argument) {
    timer *timer = malloc(sizeof *timer);
    ORACLE_NEED(timer);
    pthread_mutex_lock(&lock);
    now_ns += REQUEST_NS;
    *timer = (struct timer){NULL, now_ns + timeout_ns, run, argument};
    *last = timer;
    last = &timer->next;
    armed++;
    pthread_mutex_unlock(&lock);
    return timer;
}

static void run_expired(void) {
    while (soonest && soonest->deadline_ns <= now_ns) {
        timer *timer = soonest;
        soonest = timer->next;
        if (!soonest) last = &soonest;
        armed--;
        timer->run(timer->argument);
        free(timer);
    }
}

static void play_request(void) {
    request *request = calloc(1, sizeof *request);
    ORACLE_NEED(request);
    (void)timer_arm(TIMEOUT_NS, expire_request, request);
    oracle_hit(); /* answered now; who cancels? */
}
#else
static void on_end(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

static unsigned ended;

static uint64_t armed_timers(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats.armed;
}

static void play_request(void) {
    ambit_cancel node; /* below the scope: its memory is there until the close is through */
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    ORACLE_NEED(!ambit_ctx_open_timeout(ambit_background(), 30 * AMBIT_SECOND, &ctx));
    ORACLE_NEED(!ambit_ctx_on_cancel(ctx, &node, on_end, &ended));
    if (armed_timers() > 0) oracle_hit();
}
#endif

static void *serve(void *nothing) {
    for (unsigned n = 0; n < REQUESTS; n++) play_request();
    return nothing;
}

static void serve_all(void) {
    pthread_t threads[THREADS];
    for (unsigned at = 0; at < THREADS; at++)
        ORACLE_NEED(!pthread_create(&threads[at], NULL, serve, NULL));
    for (unsigned at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
#if WRONG
    serve_all();
    run_expired();
    unsigned once = armed;
    serve_all();
    run_expired();
    unsigned twice = armed;
    now_ns += TIMEOUT_NS;
    run_expired();
    ORACLE_END(once == ALL && twice == 2 * ALL && armed == 0,
               "%u, then %u timers armed by answered requests; %u once the deadlines had passed",
               once, twice, armed);
#else
    serve_all();
    uint64_t armed = armed_timers();
    unsigned called = __atomic_load_n(&ended, __ATOMIC_RELAXED);
    ambit_census *census = NULL;
    ORACLE_NEED(!ambit_census_take(&census));
    uint64_t left =
        ambit_census_count(census, AMBIT_KIND_TIMER) + ambit_census_count(census, AMBIT_KIND_CTX);
    ambit_census_free(census);
    ambit_timer_stop();
    ORACLE_END(!armed && !left && called == ALL,
               "%llu timers armed and %llu objects left after %u requests, %u callbacks",
               (unsigned long long)armed, (unsigned long long)left, (unsigned)ALL, called);
#endif
}
