/* escaped-object: a request's object is assigned to a global.
 *
 * The documented bug: a handler leaves a pointer to its request's object in a global ("the latest
 * order", for a status page). The request ends and frees the object; the next reader of the
 * global reads freed memory.
 *
 * wrong: AddressSanitizer stops a heap-use-after-free in read_latest().
 * right: what is published is a hold on the context that owns the object: the object outlives its
 *        users, each reader copies the value out, the hold is exchanged when the next is published.
 *        The reader runs after the request has closed and reads its value intact; in the end 0
 *        contexts, holds and bytes are left, and each object was destroyed once. (A handle
 *        that turns NULL by itself, a weak one, is not in ambit yet.) */
#include <pthread.h>
#include <stdlib.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { REQUESTS = 16 };

typedef struct order {
    uint64_t number;
    uint64_t check; /* ~number */
} order;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the global itself is well locked */
static volatile unsigned wrong_reads;                    /* of the reader only */

static order *order_new(uint64_t number) {
    order *order = malloc(sizeof *order);
    ORACLE_NEED(order);
    order->number = number;
    order->check = ~number;
    return order;
}

#if WRONG
static order *latest;

ORACLE_NAMED static order read_latest(void) {
    pthread_mutex_lock(&lock);
    order copy = {latest->number, latest->check};
    pthread_mutex_unlock(&lock);
    return copy;
}

static void play_request(uint64_t number) {
    order *order = order_new(number);
    pthread_mutex_lock(&lock);
    latest = order;
    pthread_mutex_unlock(&lock);
    free(order); /* the request is over; the global still points at it */
}
#else
AMBIT_KEY(order_key, order);
static ambit_hold *latest;
static unsigned destroyed; /* by whoever drops last, under no lock of ours: atomic */

static void order_free(void *order) {
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
    free(order);
}

ORACLE_NAMED static order read_latest(void) {
    pthread_mutex_lock(&lock);
    order copy = *ambit_ctx_get(ambit_hold_ctx(latest), &order_key);
    pthread_mutex_unlock(&lock);
    return copy;
}

static void publish(ambit_hold *hold) {
    pthread_mutex_lock(&lock);
    ambit_hold *before = latest;
    latest = hold;
    pthread_mutex_unlock(&lock);
    ambit_ctx_drop(&before);
}

static void play_request(uint64_t number) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    ambit_hold *hold = NULL;
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &ctx));
    ORACLE_NEED(!ambit_ctx_own(ctx, &order_key, order_new(number), sizeof(order), order_free));
    ORACLE_NEED(!ambit_ctx_hold(ctx, &hold));
    publish(hold);
}

/* All objects of all kinds, and the bytes that contexts own. */
static uint64_t left_over(void) {
    ambit_census *census = NULL;
    ORACLE_NEED(!ambit_census_take(&census));
    uint64_t left = ambit_census_bytes(census, AMBIT_KIND_CTX);
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        left += ambit_census_count(census, (ambit_kind)kind);
    ambit_census_free(census);
    return left;
}
#endif

/* Steps of request n: 2n + 1 "the request is over", 2n + 2 "the global was read". */
static void *status_page(void *nothing) {
    for (uint32_t n = 0; n < REQUESTS; n++) {
        oracle_wait(2 * n + 1);
        oracle_hit();
        order copy = read_latest();
        if (copy.number != n || copy.check != ~copy.number) wrong_reads++;
        oracle_reach(2 * n + 2);
    }
    return nothing;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    oracle_expect_address_error("heap-use-after-free", "read_latest");
    pthread_t reader;
    ORACLE_NEED(!pthread_create(&reader, NULL, status_page, NULL));
    for (uint32_t n = 0; n < REQUESTS; n++) {
        play_request(n);
        oracle_reach(2 * n + 1);
        oracle_wait(2 * n + 2);
    }
    pthread_join(reader, NULL);
#if WRONG
    ORACLE_END(false, "%u reads of freed memory went unseen", (unsigned)wrong_reads);
#else
    publish(NULL);
    uint64_t left = left_over();
    unsigned bad = wrong_reads, gone = __atomic_load_n(&destroyed, __ATOMIC_RELAXED);
    ORACLE_END(!bad && !left && gone == REQUESTS,
               "%u wrong reads after close, %llu bytes and objects retained, %u of %u destroyed",
               bad, (unsigned long long)left, gone, REQUESTS);
#endif
}
