/* retained-value: a heavy value in a context that is never cancelled because its task never ends.
 *
 * The documented bug: a request starts a task that waits for something that does not come. The task
 * keeps the request's context, and that keeps the heavy value: every answered request leaves
 * its bytes behind. A leak checker is silent, since all of it is still reachable.
 *
 * wrong: the bytes held after each batch of answered requests grow by at least the batch's values.
 * right: closing the request's scope cancels the task's wait; owned bytes are 0 and the heap is
 * back at its base after each batch. And a leak that is planted is named: site, age and bytes. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "oracle.h"
#if !WRONG
#include "ambit.h"
#endif

enum { BATCHES = 3, REQUESTS = 8, VALUE_BYTES = 256 * 1024 };

static _Thread_local volatile unsigned char first_byte; /* the result of the task's work */

static unsigned char *heavy_new(void) {
    unsigned char *heavy = malloc(VALUE_BYTES);
    ORACLE_NEED(heavy);
    memset(heavy, 'v', VALUE_BYTES);
    return heavy;
}

#if WRONG
typedef struct context {
    uint32_t number;
    unsigned char *heavy;
    pthread_mutex_t lock;
    pthread_cond_t event;
    int happened;
} context;

/* Waits for an event that nobody sends, with a context that nobody cancels. */
static void *task(void *argument) {
    context *ctx = argument;
    pthread_mutex_lock(&ctx->lock);
    first_byte = ctx->heavy[0];
    oracle_hit();
    oracle_reach(ctx->number);
    while (!ctx->happened) pthread_cond_wait(&ctx->event, &ctx->lock);
    pthread_mutex_unlock(&ctx->lock);
    free(ctx->heavy);
    free(ctx);
    return NULL;
}

static void play_batch(uint32_t batch) {
    for (uint32_t n = 1; n <= REQUESTS; n++) {
        context *ctx = calloc(1, sizeof *ctx);
        ORACLE_NEED(ctx);
        ctx->number = batch * REQUESTS + n;
        ctx->heavy = heavy_new();
        pthread_mutex_init(&ctx->lock, NULL);
        pthread_cond_init(&ctx->event, NULL);
        pthread_t thread;
        uint32_t number = ctx->number; /* the context is the task's from here */
        ORACLE_NEED(!pthread_create(&thread, NULL, task, ctx));
        pthread_detach(thread);
        oracle_wait(number);
    }
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    size_t base = oracle_heap_bytes(), before = base;
    bool grows = true;
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        play_batch(batch);
        size_t now = oracle_heap_bytes();
        if (now < before + REQUESTS * (size_t)VALUE_BYTES) grows = false;
        before = now;
    }
    ORACLE_END(grows, "%zu KiB held after %d answered requests, growing in each of %d batches",
               (before - base) / 1024, BATCHES * REQUESTS, BATCHES);
}
#else
AMBIT_KEY(heavy_key, unsigned char);

static void *task(void *argument) {
    AMBIT_HOLD_SCOPE ambit_hold *hold = argument;
    ambit_ctx *ctx = ambit_hold_ctx(hold);
    first_byte = *ambit_ctx_get(ctx, &heavy_key);
    oracle_hit();
    ambit_status ended = ambit_ctx_wait(ctx);
    ORACLE_NEED(ended == AMBIT_CANCELLED);
    return NULL;
}

static void play_request(pthread_t *thread) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    ambit_hold *hold = NULL;
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &ctx));
    ORACLE_NEED(!ambit_ctx_own(ctx, &heavy_key, heavy_new(), VALUE_BYTES, free));
    ORACLE_NEED(!ambit_ctx_hold(ctx, &hold));
    ORACLE_NEED(!pthread_create(thread, NULL, task, hold));
}

static uint64_t owned_bytes(void) {
    ambit_census *census = NULL;
    ORACLE_NEED(!ambit_census_take(&census));
    uint64_t bytes = ambit_census_bytes(census, AMBIT_KIND_CTX);
    ambit_census_free(census);
    return bytes;
}

typedef struct named {
    unsigned right, other;
    unsigned line;
    int64_t age_ns;
    uint64_t bytes;
} named;

static void on_verdict(const ambit_verdict *verdict, void *user) {
    named *named = user;
    if (verdict->kind == AMBIT_VERDICT_OLD && !strcmp(verdict->site->function, "plant_leak")) {
        named->right++;
        named->line = verdict->site->line;
        named->age_ns = verdict->age_ns;
        named->bytes = verdict->bytes;
    } else {
        named->other++;
    }
}

static ambit_ctx *plant_leak(void) {
    ambit_ctx *leaked = NULL;
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &leaked));
    ORACLE_NEED(!ambit_ctx_own(leaked, &heavy_key, heavy_new(), VALUE_BYTES, free));
    return leaked;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    size_t base = 0, highest = 0;
    uint64_t owned = 0;
    for (unsigned batch = 0; batch <= BATCHES; batch++) { /* the first warms the slabs up */
        pthread_t threads[REQUESTS];
        for (unsigned n = 0; n < REQUESTS; n++) play_request(&threads[n]);
        for (unsigned n = 0; n < REQUESTS; n++) pthread_join(threads[n], NULL);
        size_t now = oracle_heap_bytes();
        if (!batch) base = now;
        if (now > highest) highest = now;
        owned += owned_bytes();
    }
    named named = {0};
    ambit_ctx *leaked = plant_leak();
    nanosleep(&(struct timespec){0, 50000000}, NULL); /* lets it grow old */
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 10 * AMBIT_MILLISECOND);
    ambit_verdict_check(on_verdict, &named);
    ambit_ctx_close(&leaked);
    bool told = named.right == 1 && !named.other && named.bytes >= VALUE_BYTES &&
                named.age_ns > 10 * AMBIT_MILLISECOND && named.line;
    ORACLE_END(
        !owned && highest < base + VALUE_BYTES && told,
        "%llu bytes owned and heap +%zu after each batch; the planted leak %s (line %u, %lld ms, "
        "%llu bytes)",
        (unsigned long long)owned, highest - base, told ? "was named" : "was NOT named", named.line,
        (long long)(named.age_ns / AMBIT_MILLISECOND), (unsigned long long)named.bytes);
}
#endif
