/* Ending contexts, and telling those who wait.
 *
 * The end of a context is one word, so it is seen below at once by whoever asks (ambit_ctx_err
 * walks up). Only those who wait have to be told: armed children and callbacks stand in the list of
 * the context they wait for, and the thread that claims the end takes them out one by one, depth
 * first. The way back up is kept in the contexts themselves (next_work), so there is no recursion
 * and no allocation at any depth or width.
 *
 * FIRST CAUSE WINS. A context that is read or cancelled after an ancestor has ended takes the
 * ancestor's cause; if its own deadline came before the time of that end, the deadline is the
 * cause. Whoever finds that out first writes it into the context (settle), so that it does not
 * change. */
#include "ctx/ctx.h"

#include "census/verdict.h"

static ambit_cause deadline_cause(const ambit_ctx *ctx) {
    /* The site is that of the outermost context with this deadline: there it was chosen. */
    const ambit_ctx *chosen = ctx;
    for (const ambit_ctx *above = ctx->head.parent;
         above && ambit__ctx_deadline(above) == ambit__ctx_deadline(ctx);
         above = above->head.parent)
        chosen = above;
    return (ambit_cause){AMBIT_TIMED_OUT, "deadline passed",
                         ambit__load_relaxed(&ambit__ctx_entry(chosen)->site), 0};
}

static const ambit_ctx *nearest_ended(const ambit_ctx *ctx) {
    for (; ctx; ctx = ctx->head.parent) {
        /* Acquire pairs with the release in ambit__ctx_end_locked(). */
        if (ambit__load_acquire(&ctx->head.state)) return ctx;
    }
    return NULL;
}

void ambit__ctx_end_locked(ambit_ctx *ctx, const ambit_cause *cause, int64_t ended_ns) {
    if (ambit__load_relaxed(&ctx->head.state)) return;
    ctx->cause = *cause;
    ctx->ended_ns = ended_ns;
    /* Release pairs with the acquire loads in ambit_ctx_err() and nearest_ended(): who sees the
     * state sees the cause. */
    ambit__store_release(&ctx->head.state, (uint32_t)cause->code);
}

/* What has ended `ctx`, by an ancestor or its deadline at `now_ns`; code AMBIT_OK if nothing has.
 */
static ambit_cause derive(const ambit_ctx *ctx, int64_t now_ns, int64_t *ended_ns) {
    int64_t deadline_ns = ambit__ctx_deadline(ctx);
    const ambit_ctx *ended = nearest_ended(ctx);
    if (ended && (ended == ctx || ended->ended_ns < deadline_ns)) {
        *ended_ns = ended->ended_ns;
        return ended->cause;
    }
    if (ended || now_ns >= deadline_ns) {
        *ended_ns = deadline_ns;
        return deadline_cause(ctx);
    }
    return (ambit_cause){AMBIT_OK, NULL, NULL, 0};
}

/* Writes down what was found, so that it stays. Gives up if the lock is long in coming: then this
 * is a signal handler that interrupted its holder, and the answer holds all the same. */
static void settle(const ambit_ctx *ctx, const ambit_cause *cause, int64_t ended_ns) {
    ambit_ctx *writable = (ambit_ctx *)(uintptr_t)ctx;
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        if (!ambit__exchange_acquire(&writable->lock.locked, 1)) {
            ambit__ctx_end_locked(writable, cause, ended_ns);
            ambit__store_release(&writable->lock.locked, 0);
            return;
        }
    }
}

static ambit_cause settled(const ambit_ctx *ctx, int64_t now_ns) {
    int64_t ended_ns = 0;
    ambit_cause cause = derive(ctx, now_ns, &ended_ns);
    if (cause.code && !ambit__load_acquire(&ctx->head.state)) {
        settle(ctx, &cause, ended_ns);
        cause = derive(ctx, now_ns, &ended_ns);
    }
    return cause;
}

ambit_status ambit__ctx_err_ended(const ambit_ctx *ctx) {
    uint32_t own = ambit__load_acquire(&ctx->head.state);
    return own ? (ambit_status)own : settled(ctx, INT64_MIN).code;
}

ambit_status ambit__ctx_err_deadline(const ambit_ctx *ctx) {
    int64_t deadline_ns = ambit__ctx_deadline(ctx);
    if (ambit__likely(ambit__clock_coarse() < deadline_ns - ambit__clock_lag())) return AMBIT_OK;
    int64_t now_ns = ambit__clock_now();
    return now_ns < deadline_ns ? AMBIT_OK : settled(ctx, now_ns).code;
}

ambit_cause ambit_ctx_cause(const ambit_ctx *ctx) {
    ambit__ctx_check(ctx, "ambit_ctx_cause", NULL);
    int64_t now_ns = ambit__ctx_deadline(ctx) == AMBIT_NEVER ? INT64_MIN : ambit__clock_now();
    return settled(ctx, now_ns);
}

/* ---- Delivery -------------------------------------------------------------------------------- */

void ambit__cancel_run(ambit_cancel *node) {
    unsigned char gone = 0;
    node->gone = &gone;
    node->run(node->ctx, node->argument);
    if (gone) return;
    /* Release pairs with the acquire in ambit_ctx_off_cancel(): what the callback did is done. */
    if (atomic_exchange_explicit(&node->state, AMBIT__NODE_DONE, memory_order_acq_rel) ==
        AMBIT__NODE_AWAITED)
        ambit__unpark(&node->state, AMBIT__ALL);
}

/* Takes the end of a context upon this thread, under its lock. */
static void claim_locked(ambit_ctx *ctx) {
    ctx->claimed = true;
    ambit__store_relaxed(&ctx->deliverer, ambit__thread_id());
}

/* What the end undoes at once, without a lock held. */
static void disarm(ambit_ctx *ctx) {
    if (ambit__load_relaxed(&ctx->armed) == AMBIT__UNARMED) return;
    ambit__ctx_unlink(ctx);
    (void)ambit__timer_node_disarm(&ctx->timer);
}

/* Under the lock of `ctx`, which the thread delivers: claims an armed child out of its list. */
static ambit_ctx *claim_child_locked(ambit_ctx *ctx, ambit_ctx *child) {
    ambit_ctx *claimed = NULL;
    ambit__spin_lock(&child->lock);
    if (!child->claimed) {
        int64_t ended_ns;
        bool by_deadline = ctx->ended_ns >= ambit__ctx_deadline(child);
        ambit_cause cause = by_deadline ? deadline_cause(child) : ctx->cause;
        ended_ns = by_deadline ? ambit__ctx_deadline(child) : ctx->ended_ns;
        ambit__ctx_end_locked(child, &cause, ended_ns);
        claim_locked(child);
        child->next_work = ctx;
        claimed = child;
    }
    ambit__spin_unlock(&child->lock);
    return claimed;
}

/* Under the lock: the delivery is through. Unlocks. The memory may be gone right after, so this is
 * the last touch; ambit__ctx_wait_delivered() takes the lock once more before it lets anyone free.
 */
static void finish_and_unlock(ambit_ctx *ctx) AMBIT__RELEASES(ctx->lock);
static void finish_and_unlock(ambit_ctx *ctx) {
    bool close_here = ctx->close_pending && !ctx->firing;
    ambit__store_relaxed(&ctx->deliverer, 0);
    ambit__spin_unlock(&ctx->lock);
    ambit__unpark(&ctx->deliverer, AMBIT__ALL);
    if (close_here) ambit__ctx_unkeep(ctx);
}

static void run_callback_and_unlock(ambit_ctx *ctx, ambit_cancel *node) AMBIT__RELEASES(ctx->lock);
static void run_callback_and_unlock(ambit_ctx *ctx, ambit_cancel *node) {
    ambit__store_relaxed(&node->state, AMBIT__NODE_RUNNING);
    node->thread = ambit__thread_id();
    ambit__spin_unlock(&ctx->lock);
    const ambit_site *site = node->site; /* the callback may free the node */
    int64_t began_ns = ambit__clock_coarse();
    ambit__store_relaxed(&ctx->callback_site, site);
    ambit__store_relaxed(&ctx->callback_since_ns, began_ns);
    ambit__cancel_run(node);
    ambit__store_relaxed(&ctx->callback_since_ns, 0);
    ambit__verdict_callback_ended(ambit__ctx_entry(ctx), site, began_ns);
}

/* One step on `ctx`: a callback run, a child claimed, or the end. Returns where to go on. */
static ambit_ctx *deliver_step(ambit_ctx *ctx) {
    ambit__spin_lock(&ctx->lock);
    ambit_cancel *node = ctx->first;
    if (!node) {
        ambit_ctx *next = ctx->next_work;
        finish_and_unlock(ctx);
        return next;
    }
    ambit__list_remove(ctx, node);
    if (node->run) {
        run_callback_and_unlock(ctx, node);
        return ctx;
    }
    ambit_ctx *child = claim_child_locked(ctx, node->ctx);
    ambit__spin_unlock(&ctx->lock);
    if (!child) return ctx;
    disarm(child);
    return child;
}

/* Tells all that wait on `top`, which this thread has claimed, and everything below it. */
static void deliver(ambit_ctx *top) {
    top->next_work = NULL;
    disarm(top);
    for (ambit_ctx *ctx = top; ctx;) ctx = deliver_step(ctx);
}

void ambit__ctx_end(ambit_ctx *ctx, const ambit_cause *cause, int64_t now_ns) {
    int64_t ended_ns = now_ns;
    ambit_cause found = derive(ctx, now_ns, &ended_ns);
    bool mine = false;
    ambit__spin_lock(&ctx->lock);
    ambit__ctx_end_locked(ctx, found.code ? &found : cause, ended_ns);
    if (!ctx->claimed) {
        claim_locked(ctx);
        mine = true;
    }
    ambit__spin_unlock(&ctx->lock);
    if (mine) deliver(ctx);
}

bool ambit__ctx_wait_delivered(ambit_ctx *ctx) {
    for (;;) {
        ambit__spin_lock(&ctx->lock);
        uint32_t deliverer = ambit__load_relaxed(&ctx->deliverer);
        ambit__spin_unlock(&ctx->lock);
        if (!deliverer) return false;
        if (deliverer == ambit__thread_id()) return true;
        ambit__park_until(&ctx->deliverer, deliverer, AMBIT_NEVER);
    }
}

void ambit_ctx_cancel_at(ambit_ctx *ctx, const char *text, int64_t value, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_cancel", site);
    if (ambit__unlikely(ambit__ctx_is_background(ctx)))
        ambit__bug("ambit_ctx_cancel", "expected a context of the caller's, found the background",
                   site, NULL);
    ambit_cause cause = {AMBIT_CANCELLED, text ? text : "cancelled", site, value};
    ambit__ctx_end(ctx, &cause, ambit__clock_now());
}
