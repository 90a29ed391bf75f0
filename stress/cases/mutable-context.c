/* mutable-context: handlers change a struct that they found in the context.
 *
 * The documented bug: a pointer to a struct is put into the request's context, and two handlers of
 * the request run at once; one changes the struct while the other reads it.
 *
 * wrong: ThreadSanitizer reports the race of convert() and charge(), and prices are charged that
 * are half of one currency and half of another. right: the price is a value, put once: a second put
 * is refused (AMBIT_EXISTS), and the handler that wants another price works under a child context
 * of its own, where the new value shadows the old one. (For a change that all handlers are to see,
 * ambit has no record yet; CASES.) */
#include <pthread.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { REQUESTS = 32, EURO = 1, YEN = 2, RATE = 160 };

typedef struct price {
    uint64_t amount;
    uint64_t currency;
} price;

static price offered[REQUESTS]; /* fixed before the handlers start, to compare with */
static volatile unsigned torn;  /* of the charging thread only */
static volatile unsigned not_refused;

/* Steps of request n: 3n + 1 "the conversion has begun", 3n + 2 "it was charged", 3n + 3 "done". */
#if WRONG
typedef struct context {
    price *price;
} context;
static context contexts[REQUESTS];
static price prices[REQUESTS];

ORACLE_NAMED static void convert(context *ctx, uint32_t n) {
    ctx->price->amount *= RATE;
    oracle_reach(3 * n + 1);
    oracle_wait(3 * n + 2);
    ctx->price->currency = YEN;
}

ORACLE_NAMED static price charge(const context *ctx) {
    return (price){ctx->price->amount, ctx->price->currency};
}

static void open_request(uint32_t n) {
    prices[n] = offered[n];
    contexts[n].price = &prices[n];
}
#define CONTEXT(n) (&contexts[n])
#else
AMBIT_KEY(price_key, price);
static ambit_ctx *contexts[REQUESTS];

ORACLE_NAMED static void convert(ambit_ctx *ctx, uint32_t n) {
    price yen = {ambit_ctx_get(ctx, &price_key)->amount * RATE, YEN};
    AMBIT_CTX_SCOPE ambit_ctx *own = NULL;
    ORACLE_NEED(!ambit_ctx_open(ctx, &own));
    if (ambit_ctx_put(ctx, &price_key, &yen) != AMBIT_EXISTS) not_refused++;
    ORACLE_NEED(!ambit_ctx_put(own, &price_key, &yen));
    oracle_reach(3 * n + 1);
    oracle_wait(3 * n + 2);
    ORACLE_NEED(ambit_ctx_get(own, &price_key)->currency == YEN);
}

ORACLE_NAMED static price charge(const ambit_ctx *ctx) { return *ambit_ctx_get(ctx, &price_key); }

static void open_request(uint32_t n) {
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &contexts[n]));
    ORACLE_NEED(!ambit_ctx_put(contexts[n], &price_key, &offered[n]));
}
#define CONTEXT(n) (contexts[n])
#endif

static void *converting_handler(void *nothing) {
    for (uint32_t n = 0; n < REQUESTS; n++) {
        convert(CONTEXT(n), n);
        oracle_reach(3 * n + 3);
    }
    return nothing;
}

static void *charging_handler(void *nothing) {
    for (uint32_t n = 0; n < REQUESTS; n++) {
        oracle_wait(3 * n + 1);
        price charged = charge(CONTEXT(n));
        oracle_hit();
        if (charged.amount != offered[n].amount || charged.currency != offered[n].currency) torn++;
        oracle_reach(3 * n + 2);
        oracle_wait(3 * n + 3);
    }
    return nothing;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    oracle_expect_race("convert", "charge");
    uint64_t random = oracle_seed();
    for (uint32_t n = 0; n < REQUESTS; n++) {
        offered[n] = (price){1 + oracle_random(&random) % 1000, EURO};
        open_request(n);
    }
    pthread_t threads[2];
    ORACLE_NEED(!pthread_create(&threads[0], NULL, converting_handler, NULL));
    ORACLE_NEED(!pthread_create(&threads[1], NULL, charging_handler, NULL));
    for (unsigned at = 0; at < 2; at++) pthread_join(threads[at], NULL);
#if !WRONG
    for (uint32_t n = 0; n < REQUESTS; n++) ambit_ctx_close(&contexts[n]);
#endif
    unsigned seen = torn, accepted = not_refused;
    ORACLE_END(WRONG ? seen > 0 : !seen && !accepted,
               "%u of %u requests were charged half a change%s", seen, REQUESTS,
               WRONG ? "" : ", every second put was refused");
}
