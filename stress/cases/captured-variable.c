/* captured-variable: middleware keeps a request's variable where the next request's thread sees it.
 *
 * The documented bug: the middleware learns who the user is and leaves it in a variable that it
 * shares with the handlers (a captured variable, a static, a field of the server). The next request
 * overwrites it while the handler of the first is still at work: one user is shown another's data.
 *
 * wrong: ThreadSanitizer reports the race of authenticate() and show_account(), and requests see
 *        another's user.
 * right: the user is a value of the request's context, which goes to the worker with the request:
 *        no report, 0 requests see another's user. */
#include <pthread.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { REQUESTS = 32 };

typedef struct request {
    uint32_t number;
    uint64_t user; /* what the client is, to compare with */
#if !WRONG
    ambit_ctx *ctx;
#endif
} request;

/* The queue from the accepting thread to the worker: properly locked, in both halves. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static request *queue[REQUESTS];
static unsigned head, tail;

static volatile unsigned foreign_users; /* of the worker only */

#if WRONG
static uint64_t current_user;

ORACLE_NAMED static void authenticate(request *request) { current_user = request->user; }

ORACLE_NAMED static uint64_t show_account(const request *request) {
    (void)request;
    return current_user;
}
#else
AMBIT_KEY(user_key, uint64_t);

ORACLE_NAMED static void authenticate(request *request) {
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &request->ctx));
    ORACLE_NEED(!ambit_ctx_put(request->ctx, &user_key, &request->user));
}

ORACLE_NAMED static uint64_t show_account(const request *request) {
    return *ambit_ctx_get(request->ctx, &user_key);
}
#endif

static void push(request *request) {
    pthread_mutex_lock(&lock);
    queue[tail++] = request;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&lock);
}

static request *pop(void) {
    pthread_mutex_lock(&lock);
    while (head == tail) pthread_cond_wait(&filled, &lock);
    request *first = queue[head++];
    pthread_mutex_unlock(&lock);
    return first;
}

/* The order: the worker answers request n when the middleware of n + 1 has run, and that is not
 * handed on before the answer. Steps: 2n + 1 "n is authenticated", 2n "n - 1 is answered". */
static void *worker(void *nothing) {
    for (unsigned done = 0; done < REQUESTS; done++) {
        request *request = pop();
        oracle_wait(2 * request->number + 3);
        if (request->number + 1 < REQUESTS) oracle_hit();
        if (show_account(request) != request->user) foreign_users++;
        oracle_reach(2 * request->number + 4);
#if !WRONG
        ambit_ctx_close(&request->ctx);
#endif
    }
    return nothing;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    oracle_expect_race("authenticate", "show_account");
    uint64_t random = oracle_seed();
    static request requests[REQUESTS];
    pthread_t thread;
    ORACLE_NEED(!pthread_create(&thread, NULL, worker, NULL));
    for (uint32_t n = 0; n < REQUESTS; n++) {
        requests[n].number = n;
        requests[n].user = oracle_random(&random);
        authenticate(&requests[n]);
        oracle_reach(2 * n + 1);
        if (n) oracle_wait(2 * n + 2);
        push(&requests[n]);
    }
    oracle_reach(2 * REQUESTS + 1); /* nobody comes after the last */
    pthread_join(thread, NULL);
    unsigned seen = foreign_users;
    ORACLE_END(WRONG ? seen > 0 : seen == 0, "%u of %u requests saw another's user", seen,
               REQUESTS);
}
