/* unbounded-parameter: an over-long parameter is accepted and kept.
 *
 * The documented bug: a handler copies a parameter of the request into its session, whatever its
 * length. Some megabytes in one parameter, some hundreds of sessions, and the memory is gone.
 *
 * wrong: the peak of the heap scales with the input.
 * right: the copy belongs to the request's context and counts towards its byte budget: what is
 * within it is stored, what is over it is AMBIT_EBUDGET with nothing stored, and the peak is flat.
 *        The budget itself holds beside other requests: each thread's context has its own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { SIZES = 4, SESSIONS = 4, BUDGET = 16 * 1024, FLAT = 64 * 1024 };

static const size_t lengths[SIZES] = {1024, 64 * 1024, 1024 * 1024, 4 * 1024 * 1024};
static char wire[4 * 1024 * 1024]; /* what the socket delivered: not the handler's memory */

static size_t peaks[SESSIONS][SIZES]; /* each thread writes its own row */
static pthread_barrier_t barrier;
static volatile unsigned wrong_answers; /* atomic by built-in */

/* Stores the parameter and measures while it is kept; `kept` says whether it may be. */
#if WRONG
static char *sessions[SESSIONS];

static void keep_parameter(unsigned session, size_t length, size_t *peak) {
    char *copy = malloc(length + 1);
    ORACLE_NEED(copy);
    memcpy(copy, wire, length);
    copy[length] = 0;
    free(sessions[session]);
    sessions[session] = copy;
    pthread_barrier_wait(&barrier);
    *peak = oracle_heap_bytes();
}
#else
AMBIT_KEY(parameter_key, char);

static void keep_parameter(unsigned session, size_t length, size_t *peak) {
    (void)session;
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &ctx));
    ambit_ctx_budget_set(ctx, BUDGET);
    size_t empty = ambit_ctx_bytes(ctx);
    ambit_status status = ambit_ctx_put_bytes(ctx, &parameter_key.key, wire, length);
    pthread_barrier_wait(&barrier);
    *peak = oracle_heap_bytes();
    const char *kept = ambit_ctx_get(ctx, &parameter_key);
    bool right = length < BUDGET
                     ? !status && kept && !memcmp(kept, wire, length)
                     : status == AMBIT_EBUDGET && !kept && ambit_ctx_bytes(ctx) == empty;
    if (!right) __atomic_fetch_add(&wrong_answers, 1, __ATOMIC_RELAXED);
}
#endif

static void *serve(void *argument) {
    unsigned session = (unsigned)(uintptr_t)argument;
    for (unsigned at = 0; at < SIZES; at++) {
        keep_parameter(session, lengths[at], &peaks[session][at]);
        if (lengths[at] > BUDGET) oracle_hit();
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    memset(wire, 'p', sizeof wire);
    ORACLE_NEED(!pthread_barrier_init(&barrier, NULL, SESSIONS));
    pthread_t threads[SESSIONS];
    size_t base = oracle_heap_bytes();
    for (uintptr_t at = 0; at < SESSIONS; at++)
        ORACLE_NEED(!pthread_create(&threads[at], NULL, serve, (void *)at));
    for (unsigned at = 0; at < SESSIONS; at++) pthread_join(threads[at], NULL);
    size_t peak[SIZES] = {0};
    for (unsigned session = 0; session < SESSIONS; session++)
        for (unsigned at = 0; at < SIZES; at++)
            if (peaks[session][at] > peak[at]) peak[at] = peaks[session][at];
    bool scales = true, flat = true;
    for (unsigned at = 1; at < SIZES; at++) {
        if (peak[at] < base + SESSIONS * lengths[at]) scales = false;
        if (peak[at] > peak[0] + FLAT) flat = false;
    }
    unsigned bad = __atomic_load_n(&wrong_answers, __ATOMIC_RELAXED);
    ORACLE_END(WRONG ? scales : flat && !bad,
               "peak heap %zu, %zu, %zu, %zu KiB for %d parameters of 1, 64, 1024, 4096 KiB%s",
               (peak[0] - base) / 1024, (peak[1] - base) / 1024, (peak[2] - base) / 1024,
               (peak[3] - base) / 1024, SESSIONS,
               WRONG  ? ""
               : !bad ? "; each too long one got AMBIT_EBUDGET"
                      : "; and wrong answers");
}
