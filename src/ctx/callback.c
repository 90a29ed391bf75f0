/* Waiting for the end of a context: callbacks, and on top of them blocked threads and descriptors.
 */
#include "ctx/ctx.h"

#include "base/file.h"
#include <errno.h>
#include <unistd.h>

static void check_node(const ambit_cancel *node, const ambit_site *site) {
    uint32_t state = ambit__load_relaxed(&node->state);
    if (ambit__unlikely(state == AMBIT__NODE_LISTED || state == AMBIT__NODE_RUNNING ||
                        state == AMBIT__NODE_AWAITED))
        ambit__bug("ambit_ctx_on_cancel", "expected a node that is free, found it registered", site,
                   node->site);
}

/* Registers the node; false if the context has ended. */
static bool enlist(ambit_ctx *ctx, ambit_cancel *node) {
    ambit__spin_lock(&ctx->lock);
    bool lives = !ambit__load_relaxed(&ctx->head.state);
    if (lives) ambit__list_push(ctx, node);
    ambit__spin_unlock(&ctx->lock);
    return lives;
}

ambit_status ambit_ctx_on_cancel_at(ambit_ctx *ctx, ambit_cancel *node, ambit_cancel_fn *run,
                                    void *argument, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_on_cancel", site);
    check_node(node, site);
    node->run = run;
    node->argument = argument;
    node->ctx = ctx;
    node->site = site;
    if (ambit__ctx_is_background(ctx)) { /* it does not end */
        ambit__store_relaxed(&node->state, AMBIT__NODE_IDLE);
        return AMBIT_OK;
    }
    ambit_status status = ambit_ctx_err(ctx);
    if (!status) {
        status = ambit__ctx_arm(ctx);
        if (status) return status;
        if (enlist(ctx, node)) return AMBIT_OK;
        status = ambit_ctx_err(ctx);
    }
    node->thread = ambit__thread_id();
    ambit__store_relaxed(&node->state, AMBIT__NODE_RUNNING);
    ambit__cancel_run(node);
    return status;
}

/* Waits for a callback that runs on another thread. */
static void wait_until_done(ambit_cancel *node) {
    for (;;) {
        uint32_t state = AMBIT__NODE_RUNNING;
        /* Acquire pairs with the exchange in ambit__cancel_run(): what the callback did is seen. */
        (void)ambit__swap_acq_rel(&node->state, &state, AMBIT__NODE_AWAITED);
        if (ambit__load_acquire(&node->state) == AMBIT__NODE_DONE) return;
        ambit__park_until(&node->state, AMBIT__NODE_AWAITED, AMBIT_NEVER);
    }
}

ambit_removal ambit_ctx_off_cancel(ambit_ctx *ctx, ambit_cancel *node) {
    if (ambit__ctx_is_background(ctx)) return AMBIT_REMOVED;
    ambit__spin_lock(&ctx->lock);
    uint32_t state = ambit__load_acquire(&node->state);
    if (state == AMBIT__NODE_LISTED) ambit__list_remove(ctx, node);
    bool running = state == AMBIT__NODE_RUNNING || state == AMBIT__NODE_AWAITED;
    bool here = running && node->thread == ambit__thread_id();
    ambit__spin_unlock(&ctx->lock);
    if (here) {
        /* The node may be freed from here on: ambit__cancel_run() must not come back to it. Not so
         * if another thread waits for the callback: that one keeps the node until it is woken. */
        unsigned char *gone = node->gone;
        uint32_t running_here = AMBIT__NODE_RUNNING;
        if (ambit__swap_acq_rel(&node->state, &running_here, AMBIT__NODE_DONE)) *gone = 1;
        return AMBIT_RUNNING_HERE;
    }
    if (running) wait_until_done(node);
    return running || state == AMBIT__NODE_DONE ? AMBIT_ALREADY_RAN : AMBIT_REMOVED;
}

/* ---- Blocked threads ------------------------------------------------------------------------- */

static void wake(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    _Atomic(uint32_t) *word = argument;
    /* Release pairs with the acquire in sleep_until(). */
    ambit__store_release(word, 1);
    ambit__unpark(word, 1);
}

static ambit_status sleep_until(ambit_ctx *ctx, int64_t time_ns, const char *function) {
    _Atomic(uint32_t) word = 0;
    ambit_cancel node = {0};
    ambit__ctx_check(ctx, function, NULL);
    ambit_status status = ambit_ctx_on_cancel(ctx, &node, wake, &word);
    if (status) return status;
    while (!ambit__load_acquire(&word) && ambit__clock_now() < time_ns)
        (void)ambit__park_until(&word, 0, time_ns);
    (void)ambit_ctx_off_cancel(ctx, &node); /* after it nobody knows of this stack */
    return ambit_ctx_err(ctx);
}

ambit_status ambit_ctx_sleep_until(ambit_ctx *ctx, int64_t time_ns) {
    return sleep_until(ctx, time_ns, "ambit_ctx_sleep_until");
}

ambit_status ambit_ctx_sleep(ambit_ctx *ctx, int64_t duration_ns) {
    int64_t time_ns;
    ambit__ctx_check(ctx, "ambit_ctx_sleep", NULL);
    if (duration_ns <= 0) return ambit_ctx_err(ctx);
    if (__builtin_add_overflow(ambit__clock_now(), duration_ns, &time_ns)) time_ns = AMBIT_NEVER;
    return sleep_until(ctx, time_ns, "ambit_ctx_sleep");
}

ambit_status ambit_ctx_wait(ambit_ctx *ctx) {
    return sleep_until(ctx, AMBIT_NEVER, "ambit_ctx_wait");
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* After a fork both processes have the descriptor: only the one that made it writes. */
static void make_readable(ambit_ctx *ctx, void *process) {
    uint64_t one = 1;
    if ((intptr_t)process != getpid()) return;
    while (write(ctx->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* Sets the context's descriptor unless another thread did; returns the one that stands. */
static int adopt_fd(ambit_ctx *ctx, int fd) {
    ambit__spin_lock(&ctx->lock);
    int standing = ctx->event_fd;
    if (standing < 0 && fd >= 0) ctx->event_fd = fd;
    ambit__spin_unlock(&ctx->lock);
    return standing;
}

ambit_status ambit_ctx_fd_at(ambit_ctx *ctx, int *out, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_fd", site);
    *out = -1;
    if (ambit__ctx_is_background(ctx)) return AMBIT_EINVALID;
    int fd = adopt_fd(ctx, -1);
    if (fd < 0) {
        ambit_status status = ambit__ctx_arm(ctx);
        if (status) return status;
        int made = ambit__eventfd();
        if (made < 0) return AMBIT_EFILES;
        fd = adopt_fd(ctx, made);
        if (fd >= 0) {
            (void)close(made);
        } else {
            fd = made;
            ambit__store_relaxed(&ctx->fd_node.state, AMBIT__NODE_IDLE);
            /* Armed already, so it is listed, or has run: nothing is left to fail. */
            void *process = (void *)(intptr_t)getpid();
            ambit_status listed =
                ambit_ctx_on_cancel_at(ctx, &ctx->fd_node, make_readable, process, site);
            (void)listed;
        }
    }
    *out = fd;
    return AMBIT_OK;
}
