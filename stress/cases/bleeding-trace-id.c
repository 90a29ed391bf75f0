/* bleeding-trace-id: a thread-local trace id is not cleared when a handler fails.
 *
 * The documented bug: the id is set at the start of a request and cleared at its end; a handler
 * that fails returns early, past the line that clears it. The thread is reused, and a request that
 * brings no id is logged under the id of the failed one.
 *
 * wrong: log lines with another request's id, at least one for each failure that such a request
 *        follows.
 * right: the id is a value of the request's context, bound to the thread for a block that unbinds
 *        however it is left: 0 such lines. */
#include <pthread.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { THREADS = 2, REQUESTS = 200, NO_ID = 0 };

typedef struct request {
    uint64_t trace_id; /* NO_ID: the client sent none */
    bool fails;
} request;

static unsigned foreign_lines; /* atomic by built-in */

#if WRONG
static _Thread_local uint64_t trace_id;
static uint64_t trace_of_thread(void) { return trace_id; }
#else
AMBIT_KEY(trace_key, uint64_t);
static uint64_t trace_of_thread(void) {
    ambit_ctx *ctx = ambit_ctx_current();
    const uint64_t *id = ctx ? ambit_ctx_get(ctx, &trace_key) : NULL;
    return id ? *id : NO_ID;
}
#endif

/* Writes the log's line; here it only looks whose id it would print. */
ORACLE_NAMED static void log_line(const request *request) {
    if (trace_of_thread() != request->trace_id)
        __atomic_fetch_add(&foreign_lines, 1, __ATOMIC_RELAXED);
}

#if WRONG
static int handle(const request *request) {
    if (request->trace_id != NO_ID) trace_id = request->trace_id;
    log_line(request);
    if (request->fails) return -1; /* and the id stays */
    trace_id = NO_ID;
    return 0;
}
#else
static int handle(const request *request) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &ctx));
    if (request->trace_id != NO_ID)
        ORACLE_NEED(!ambit_ctx_put(ctx, &trace_key, &request->trace_id));
    AMBIT_WITH(ctx) {
        log_line(request);
        if (request->fails) return -1;
    }
    return 0;
}
#endif

static void *serve(void *argument) {
    uint64_t random = oracle_seed() + (uintptr_t)argument;
    bool stale = false; /* whether a variable of the thread would hold another's id by now */
    for (unsigned n = 0; n < REQUESTS; n++) {
        uint64_t bits = oracle_random(&random);
        request request = {(bits & 1) ? (bits >> 8) | 1 : NO_ID, !(bits & 6)};
        if (stale && request.trace_id == NO_ID) oracle_hit();
        stale = handle(&request) && (stale || request.trace_id != NO_ID);
    }
    return NULL;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    pthread_t threads[THREADS];
    for (uintptr_t at = 0; at < THREADS; at++)
        ORACLE_NEED(!pthread_create(&threads[at], NULL, serve, (void *)at));
    for (unsigned at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
    unsigned lines = __atomic_load_n(&foreign_lines, __ATOMIC_RELAXED);
    ORACLE_END(WRONG ? lines > 0 : lines == 0, "%u of %u log lines with another request's id",
               lines, THREADS * REQUESTS);
}
