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

/* The next one above, on either side, that ends as early. */
static const ambit_ctx *same_deadline(const ambit_ctx *ctx) {
    const ambit_ctx *parent = ctx->head.parent;
    const ambit_ctx *second = ambit__load_relaxed(&ctx->second);
    if (parent && ambit__ctx_deadline(parent) == ambit__ctx_deadline(ctx)) return parent;
    if (second && ambit__ctx_deadline(second) == ambit__ctx_deadline(ctx)) return second;
    return NULL;
}

static ambit_cause deadline_cause(const ambit_ctx *ctx) {
    /* The site is that of the outermost context with this deadline: there it was chosen. */
    const ambit_ctx *chosen = ctx;
    for (const ambit_ctx *above = ctx; above; above = same_deadline(above)) chosen = above;
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

/* Of the ended ones above a merged context, by either side, the one that ended first. As deep as
 * merged contexts are merged again. */
static const ambit_ctx *first_ended(const ambit_ctx *ctx) {
    if (ambit__likely(!ambit__ctx_is_merged(ctx))) return nearest_ended(ctx);
    const ambit_ctx *first = NULL;
    for (const ambit_ctx *at = ctx; at; at = at->head.parent) {
        bool ended = ambit__load_acquire(&at->head.state);
        /* Relaxed: ambit_ctx_merge_at() stores it before anyone else can know the context, and who
         * goes up to it here has come by it in order, or keeps one below it. */
        const ambit_ctx *second = ambit__load_relaxed(&at->second);
        const ambit_ctx *found = ended ? at : second ? first_ended(second) : NULL;
        if (found && (!first || found->ended_ns < first->ended_ns)) first = found;
        if (ended) break; /* what is above has been weighed when it ended */
    }
    return first;
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
    const ambit_ctx *ended = first_ended(ctx);
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

/* Writes down what was found, so that it stays. */
static void settle(const ambit_ctx *ctx, const ambit_cause *cause, int64_t ended_ns) {
    ambit_ctx *writable = (ambit_ctx *)(uintptr_t)ctx;
    ambit__spin_lock(&writable->waiting.lock);
    ambit__ctx_end_locked(writable, cause, ended_ns);
    ambit__spin_unlock(&writable->waiting.lock);
}

/* The same for ambit_ctx_err(), which a signal handler may call that has interrupted the lock's
 * holder. It waits for another thread that is ending the context right now, since that may be with
 * another cause; who that is stands in `deliverer`. Anyone else who holds the lock for long may be
 * this thread, so it gives up then: the answer holds all the same. */
AMBIT__UNCHECKED static void settle_in_handler(const ambit_ctx *ctx, const ambit_cause *cause,
                                               int64_t ended_ns) {
    ambit_ctx *writable = (ambit_ctx *)(uintptr_t)ctx;
    for (unsigned attempt = 0;; attempt++) {
        if (ambit__spin_try(&writable->waiting.lock)) {
            ambit__ctx_end_locked(writable, cause, ended_ns);
            ambit__spin_unlock(&writable->waiting.lock);
            return;
        }
        uint32_t ender = ambit__load_relaxed(&ctx->deliverer) & ~AMBIT__AWAITED;
        if (ender ? ender == ambit__thread_id() : attempt >= 1000) return;
        if (ender) ambit__backoff(attempt);
    }
}

static ambit_cause settled(const ambit_ctx *ctx, int64_t now_ns, bool handler) {
    int64_t ended_ns = 0;
    ambit_cause cause = derive(ctx, now_ns, &ended_ns);
    if (!cause.code) return cause;
    /* Relaxed: what stands there is acquired below. */
    if (!ambit__load_relaxed(&ctx->head.state))
        (handler ? settle_in_handler : settle)(ctx, &cause, ended_ns);
    return derive(ctx, now_ns, &ended_ns); /* what stands there now: another may have been first */
}

ambit_status ambit__ctx_err_ended(const ambit_ctx *ctx) {
    /* Acquire pairs with the release in ambit__ctx_end_locked(): who hears of an end comes after what was
     * done before it. */
    uint32_t own = ambit__load_acquire(&ctx->head.state);
    return own ? (ambit_status)own : settled(ctx, INT64_MIN, true).code;
}

ambit_status ambit__ctx_err_deadline(const ambit_ctx *ctx) {
    bool reached = ambit__clock_reached(ambit__ctx_deadline(ctx));
    if (ambit__likely(!reached && !ambit__ctx_is_merged(ctx))) return AMBIT_OK;
    /* Reached: that is late enough. */
    return settled(ctx, reached ? ambit__ctx_deadline(ctx) : INT64_MIN, true).code;
}

ambit_cause ambit_ctx_cause(const ambit_ctx *ctx) {
    ambit__ctx_check(ctx, "ambit_ctx_cause", NULL);
    int64_t now_ns = ambit__ctx_has_deadline(ctx) ? ambit__clock_now() : INT64_MIN;
    return settled(ctx, now_ns, false);
}

/* ---- Delivery -------------------------------------------------------------------------------- */

bool ambit__cancel_run(ambit_cancel *node) {
    unsigned char gone = 0;
    node->gone = &gone;
    node->run(node->ctx, node->argument);
    return !gone;
}

bool ambit__cancel_done_locked(ambit_cancel *node) {
    bool awaited = ambit__load_relaxed(&node->state) == AMBIT__NODE_AWAITED;
    /* Release pairs with the acquire in wait_until_done(): what the callback did is done. From here
     * on the node may be gone. */
    ambit__store_release(&node->state, AMBIT__NODE_DONE);
    return awaited;
}

/* Takes the end of a context upon this thread, under `waiting.lock`; before the cause is written,
 * see settle_in_handler(). */
static void claim_locked(ambit_ctx *ctx, uint32_t thread) {
    ctx->claimed = true;
    ambit__store_relaxed(&ctx->unusual, true);
    ctx->next_list = ambit__load_relaxed(&ctx->lists) ? AMBIT__SHARDS : 0;
    ambit__store_relaxed(&ctx->deliverer, thread);
}

/* The list of `ctx` that is being delivered: its shards from the last to the first, then the one
 * that has stood there from the beginning. */
static ambit__list *current_list(ambit_ctx *ctx) {
    if (ambit__likely(!ctx->next_list)) return &ctx->waiting;
    return &ambit__load_relaxed(&ctx->lists)->shard[ctx->next_list - 1].list;
}

/* Under the list's lock: runs the callback at its head, which is taken out, at `*now_ns`, and reads
 * the clock when it is through. Drops the lock and takes it again. */
static void deliver_callback(ambit_ctx *ctx, ambit__list *list, ambit_cancel *node, int64_t *now_ns)
    AMBIT__REQUIRES(&list->lock) {
    ambit__list_remove(list, node);
    ambit__store_relaxed(&node->state, AMBIT__NODE_RUNNING);
    node->thread = ambit__load_relaxed(&ctx->deliverer) & ~AMBIT__AWAITED;
    ambit__spin_unlock(&list->lock);
    const ambit_site *site = node->site; /* the callback may free the node */
    int64_t began_ns = *now_ns;
    ambit__store_relaxed(&ctx->callback_site, site);
    /* Release pairs with the acquire in inspect(): who sees it running sees which one. */
    ambit__store_release(&ctx->callback_since_ns, began_ns);
    bool stays = ambit__cancel_run(node);
    ambit__store_relaxed(&ctx->callback_since_ns, 0);
    *now_ns = ambit__clock_coarse();
    ambit__verdict_callback_ended(ambit__ctx_entry(ctx), site, *now_ns - began_ns);
    ambit__spin_lock(&list->lock);
    if (stays && ambit__cancel_done_locked(node)) {
        ambit__spin_unlock(&list->lock);
        ambit__unpark(&node->state, AMBIT__ALL); /* an address only */
        ambit__spin_lock(&list->lock);
    }
}

/* Under the list's lock: takes out the child at its head, and its end upon this thread unless
 * another has it. Returns it, with its `waiting.lock` held and the list's dropped; or NULL. */
static ambit_ctx *claim_child(ambit_ctx *ctx, ambit__list *list,
                              ambit_cancel *link) AMBIT__UNCHECKED {
    ambit_ctx *child = link->ctx;
    /* In a wide tree every child is far away: have the next one come while this one is told. */
    if (link->next) {
        uintptr_t next = (uintptr_t)link->next - offsetof(ambit_ctx, link);
        __builtin_prefetch((const void *)next, 1);
        __builtin_prefetch((const void *)(next + offsetof(ambit_ctx, waiting)), 1);
        __builtin_prefetch(link->next, 1);
    }
    ambit__list_remove(list, link);
    ambit__spin_lock(&child->waiting.lock);
    bool claimed = child->claimed;
    if (!claimed) {
        int64_t ended_ns = ctx->ended_ns;
        ambit_cause found = derive(child, ctx->ended_ns, &ended_ns);
        claim_locked(child, ambit__load_relaxed(&ctx->deliverer) & ~AMBIT__AWAITED);
        ambit__ctx_end_locked(child, found.code ? &found : &ctx->cause, ended_ns);
        child->next_work = ctx;
    } else {
        ambit__spin_unlock(&child->waiting.lock);
    }
    /* Release pairs with the acquire in unlink_from(): nobody comes to the child by this link any
     * more; if it was claimed here its owner waits for the delivery. */
    ambit__store_release(&link->state, AMBIT__NODE_IDLE);
    if (claimed) return NULL;
    ambit__spin_unlock(&list->lock);
    return child;
}

/* What the end undoes at once. With the lock of `waiting` held, dropped if that is called for.
 * Returns the list to be delivered first, locked. */
static ambit__list *begin(ambit_ctx *ctx) AMBIT__UNCHECKED {
    /* Relaxed, all of it: what this lock does not order was written by a thread that arms the context
     * right now, and that one looks after it whether the context has ended. */
    bool alone = !ambit__load_relaxed(&ctx->second) && !ctx->next_list &&
                 ambit__load_relaxed(&ctx->link.state) != AMBIT__NODE_LISTED &&
                 ambit__load_relaxed(&ctx->timer.state) == AMBIT__TIMER_IDLE;
    if (ambit__likely(alone)) return &ctx->waiting;
    ambit__spin_unlock(&ctx->waiting.lock);
    (void)ambit__ctx_disarm(ctx);
    ambit__list *list = current_list(ctx);
    ambit__spin_lock(&list->lock);
    return list;
}

/* Under `waiting.lock`: the delivery is through. Unlocks, and returns who waits for it to go on. The
 * memory may be gone right after, so this is the last touch; ambit__ctx_wait_delivered() takes the
 * lock once more before it lets anyone free. */
static ambit_ctx *finish_and_unlock(ambit_ctx *ctx, int64_t *now_ns) AMBIT__UNCHECKED {
    bool close_here = ctx->close_pending && !ctx->firing;
    ambit_ctx *next = ctx->next_work;
    uint32_t deliverer = ambit__load_relaxed(&ctx->deliverer);
    ambit__store_relaxed(&ctx->deliverer, 0);
    ambit__spin_unlock(&ctx->waiting.lock);
    if (ambit__unlikely(deliverer & AMBIT__AWAITED)) ambit__unpark(&ctx->deliverer, AMBIT__ALL);
    if (ambit__unlikely(close_here)) {
        ambit__ctx_unkeep(ctx, ambit__thread_self());
        *now_ns = ambit__clock_coarse(); /* destructors may have taken their time */
    }
    return next;
}

/* Tells all that wait on `top`, which this thread has claimed and holds locked, and everything
 * below it. */
static void deliver_and_unlock(ambit_ctx *top) AMBIT__UNCHECKED {
    top->next_work = NULL;
    ambit_ctx *ctx = top;
    ambit__list *list = begin(ctx);
    int64_t now_ns = ambit__clock_coarse(); /* one reading for each callback: its end */
    while (ctx) {
        ambit_cancel *node = list->first;
        if (node && node->run) {
            deliver_callback(ctx, list, node, &now_ns);
            continue;
        }
        if (node) {
            ambit_ctx *child = claim_child(ctx, list, node);
            if (!child) continue;
            ctx = child;
            list = begin(ctx);
            continue;
        }
        if (ctx->next_list) {
            ambit__spin_unlock(&list->lock);
            ctx->next_list--;
        } else {
            ctx = finish_and_unlock(ctx, &now_ns);
            if (!ctx) break;
        }
        list = current_list(ctx);
        ambit__spin_lock(&list->lock);
    }
}

bool ambit__ctx_end(ambit_ctx *ctx, const ambit_cause *cause, int64_t now_ns) AMBIT__UNCHECKED {
    int64_t ended_ns = now_ns;
    ambit_cause found = {AMBIT_OK, NULL, NULL, 0};
    /* Relaxed: if it is set there is nothing to be found out, and once it is set it stays. */
    if (!ambit__load_relaxed(&ctx->head.state)) found = derive(ctx, now_ns, &ended_ns);
    uint32_t thread = ambit__thread_id(); /* outside: the first time it asks the kernel */
    ambit__spin_lock(&ctx->waiting.lock);
    bool mine = !ctx->claimed;
    if (mine) claim_locked(ctx, thread);
    ambit__ctx_end_locked(ctx, found.code ? &found : cause, ended_ns);
    if (mine) {
        deliver_and_unlock(ctx);
        return true;
    }
    bool delivered = !ambit__load_relaxed(&ctx->deliverer);
    ambit__spin_unlock(&ctx->waiting.lock);
    return delivered;
}

bool ambit__ctx_is_delivered(ambit_ctx *ctx) {
    ambit__spin_lock(&ctx->waiting.lock);
    bool delivered = ctx->claimed && !ambit__load_relaxed(&ctx->deliverer);
    ambit__spin_unlock(&ctx->waiting.lock);
    return delivered;
}

bool ambit__ctx_wait_delivered(ambit_ctx *ctx) {
    for (;;) {
        ambit__spin_lock(&ctx->waiting.lock);
        uint32_t deliverer = ambit__load_relaxed(&ctx->deliverer);
        bool here = (deliverer & ~AMBIT__AWAITED) == ambit__thread_id();
        if (deliverer && !here) ambit__store_relaxed(&ctx->deliverer, deliverer | AMBIT__AWAITED);
        ambit__spin_unlock(&ctx->waiting.lock);
        if (!deliverer || here) return here;
        (void)ambit__park_until(&ctx->deliverer, deliverer | AMBIT__AWAITED, AMBIT_NEVER);
    }
}

void ambit_ctx_cancel_at(ambit_ctx *ctx, const char *text, int64_t value, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_cancel", site);
    if (ambit__unlikely(ambit__ctx_is_background(ctx)))
        ambit__bug("ambit_ctx_cancel", "expected a context of the caller's, found the background",
                   site, NULL);
    ambit_cause cause = {AMBIT_CANCELLED, text ? text : "cancelled", site, value};
    (void)ambit__ctx_end(ctx, &cause, ambit__clock_now());
}
