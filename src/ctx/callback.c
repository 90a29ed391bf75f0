/* Waiting for the end of a context: callbacks, and on top of them blocked threads and descriptors.
 */
#include "ctx/ctx.h"

#include "base/file.h"
#include <errno.h>
#include <unistd.h>

static void check_node(const ambit_cancel *node, ambit_cancel_fn *run, const ambit_site *site) {
    if (ambit__unlikely(!node || !run))
        ambit__bug("ambit_ctx_on_cancel", "expected a node and a function, found NULL", site, NULL);
    uint32_t state = ambit__load_relaxed(&node->state);
    if (ambit__unlikely(state == AMBIT__NODE_LISTED || state == AMBIT__NODE_RUNNING ||
                        state == AMBIT__NODE_AWAITED))
        ambit__bug("ambit_ctx_on_cancel", "expected a node that is free, found it registered", site,
                   node->site);
}

/* Registers the node; false if the context has ended. */
static bool enlist(ambit_ctx *ctx, ambit_cancel *node, bool fresh) {
    uint32_t number;
    ambit__list *list = ambit__ctx_list(ctx, &number);
    ambit__list_lock(ctx, list);
    bool lives = !ambit__load_relaxed(&ctx->head.state);
    if (lives) ambit__list_push(list, node, number);
    ambit__spin_unlock(&list->lock);
    /* The look at the state that arming still owes: that was it, if this was the lock for it. */
    if (ambit__unlikely(fresh && (!lives || number))) ambit__ctx_disarm_if_ended(ctx);
    return lives;
}

/* On this thread: the context has ended already. */
static void run_at_once(ambit_ctx *ctx, ambit_cancel *node) {
    node->thread = ambit__thread_id();
    /* Relaxed: before it has run its callback nobody else can know that it was registered, so whoever
     * takes it back learns of it from the callback, and comes after this. */
    ambit__store_relaxed(&node->state, AMBIT__NODE_RUNNING);
    if (!ambit__cancel_run(node)) return;
    /* Should the callback have closed the context: its lock is there, whatever the memory is now. */
    ambit__spin_lock(&ctx->waiting.lock);
    bool awaited = ambit__cancel_done_locked(node);
    ambit__spin_unlock(&ctx->waiting.lock);
    if (awaited) ambit__unpark(&node->state, AMBIT__ALL);
}

ambit_status ambit_ctx_on_cancel_at(ambit_ctx *ctx, ambit_cancel *node, ambit_cancel_fn *run,
                                    void *argument, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_on_cancel", site);
    check_node(node, run, site);
    node->run = run;
    node->argument = argument;
    node->ctx = ctx;
    node->site = site;
    node->shard = 0;
    ambit__store_relaxed(&node->state, AMBIT__NODE_IDLE);
    if (ambit__ctx_is_background(ctx)) return AMBIT_OK; /* it does not end */
    ambit_status status = ambit_ctx_err(ctx);
    if (!status) {
        bool fresh = false;
        /* Relaxed: nothing of what arming has written is read by it, see claim_chain(). */
        if (ambit__unlikely(ambit__load_relaxed(&ctx->armed) != AMBIT__ARMED)) {
            status = ambit__ctx_arm_unchecked(ctx, &fresh);
            if (status) return status;
        }
        if (enlist(ctx, node, fresh)) return AMBIT_OK;
        status = ambit_ctx_err(ctx);
    }
    run_at_once(ctx, node);
    return status;
}

/* Waits for a callback that runs on another thread; AWAITED was set. */
static void wait_until_done(ambit_cancel *node) {
    /* Acquire pairs with the release in ambit__cancel_done_locked(): what the callback did is
     * seen. */
    while (ambit__load_acquire(&node->state) != AMBIT__NODE_DONE)
        (void)ambit__park_until(&node->state, AMBIT__NODE_AWAITED, AMBIT_NEVER);
}

ambit_removal ambit_ctx_off_cancel(ambit_ctx *ctx, ambit_cancel *node) {
    ambit__ctx_check(ctx, "ambit_ctx_off_cancel", NULL);
    if (ambit__ctx_is_background(ctx)) return AMBIT_REMOVED;
    ambit__list *list = ambit__ctx_list_of(ctx, node);
    ambit__spin_lock(&list->lock);
    /* Relaxed: the lock orders it, but for run_at_once(), see there. */
    uint32_t state = ambit__load_relaxed(&node->state);
    bool running = state == AMBIT__NODE_RUNNING || state == AMBIT__NODE_AWAITED;
    bool here = running && node->thread == ambit__thread_id();
    if (state == AMBIT__NODE_LISTED) {
        ambit__list_remove(list, node);
        ambit__store_relaxed(&node->state, AMBIT__NODE_IDLE);
    } else if (running && !here) {
        ambit__store_relaxed(&node->state, AMBIT__NODE_AWAITED);
    } else if (state == AMBIT__NODE_RUNNING) {
        /* The node may be freed once this returns: ambit__cancel_run() must not come back to it. Not
         * so if another thread waits for the callback: that one keeps the node until it is woken. */
        *node->gone = 1;
        ambit__store_relaxed(&node->state, AMBIT__NODE_DONE);
    }
    ambit__spin_unlock(&list->lock);
    if (here) return AMBIT_RUNNING_HERE;
    if (running) wait_until_done(node);
    return running || state == AMBIT__NODE_DONE ? AMBIT_ALREADY_RAN : AMBIT_REMOVED;
}

/* ---- Blocked threads ------------------------------------------------------------------------- */

static void wake(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    _Atomic(uint32_t) *word = argument;
    /* Relaxed: it only says that there is no more to wait for; sleep_until() then meets this callback
     * in ambit_ctx_off_cancel(), which orders it. */
    ambit__store_relaxed(word, 1);
    ambit__unpark(word, 1);
}

static ambit_status sleep_until(ambit_ctx *ctx, int64_t time_ns, const char *function) {
    _Atomic(uint32_t) word = 0;
    ambit_cancel node = {0};
    ambit__ctx_check(ctx, function, NULL);
    ambit_status status = ambit_ctx_on_cancel(ctx, &node, wake, &word);
    if (status) return status;
    while (!ambit__load_relaxed(&word) && ambit__clock_now() < time_ns)
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

/* In a child of fork() the descriptor is still that of the parent, who must not be woken. */
static bool has_fd(const ambit_ctx *ctx) {
    return ctx->event_fd_plus_one && ctx->fd_epoch == ambit__process_epoch();
}

static void make_readable(ambit_ctx *ctx, void *argument) {
    (void)argument;
    uint64_t one = 1;
    ambit__spin_lock(&ctx->waiting.lock); /* a child of fork() may just be replacing it */
    int fd = has_fd(ctx) ? ctx->event_fd_plus_one - 1 : -1;
    ambit__spin_unlock(&ctx->waiting.lock);
    while (fd >= 0 && write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* Sets the context's descriptor unless there is one; returns the one that stands. `*inherited` is
 * what a parent process has left, which is replaced. */
static int adopt_fd(ambit_ctx *ctx, int fd, int *inherited) {
    *inherited = -1;
    ambit__spin_lock(&ctx->waiting.lock);
    int standing = has_fd(ctx) ? ctx->event_fd_plus_one - 1 : -1;
    if (standing < 0 && fd >= 0) {
        *inherited = ctx->event_fd_plus_one - 1;
        ctx->event_fd_plus_one = fd + 1;
        ctx->fd_epoch = ambit__process_epoch();
    }
    ambit__spin_unlock(&ctx->waiting.lock);
    return standing;
}

/* Has a new descriptor made readable. Armed already, so the node is listed, or has run: nothing is
 * left to fail. Where a parent process had one, its node is in place, or has run without effect. */
static void watch_for_fd(ambit_ctx *ctx, bool inherited, const ambit_site *site) {
    /* Relaxed: a callback that did not find the descriptor has held the lock before adopt_fd() did,
     * which therefore orders what is seen here; one that did has made it readable. */
    uint32_t state = ambit__load_relaxed(&ctx->fd_node.state);
    if (inherited && state == AMBIT__NODE_LISTED) return;
    if (inherited && state != AMBIT__NODE_IDLE) {
        make_readable(ctx, NULL);
        return;
    }
    ambit_status listed = ambit_ctx_on_cancel_at(ctx, &ctx->fd_node, make_readable, NULL, site);
    (void)listed;
}

ambit_status ambit_ctx_fd_at(ambit_ctx *ctx, int *out, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_fd", site);
    *out = -1;
    if (ambit__ctx_is_background(ctx)) return AMBIT_EINVALID;
    int inherited;
    int fd = adopt_fd(ctx, -1, &inherited);
    if (fd < 0) {
        ambit_status status = ambit__ctx_arm(ctx);
        if (status) return status;
        int made = ambit__eventfd();
        if (made < 0) return AMBIT_EFILES;
        fd = adopt_fd(ctx, made, &inherited);
        if (inherited >= 0) (void)close(inherited);
        if (fd >= 0) {
            (void)close(made);
        } else {
            fd = made;
            watch_for_fd(ctx, inherited >= 0, site);
        }
    }
    *out = fd;
    return AMBIT_OK;
}
