/* Arming: a context is linked to its parent, and its deadline put into the wheel, when the first
 * one waits for its end, and not before.
 *
 * A thread claims the contexts from `ctx` upwards until it meets one that is armed, then arms them
 * from the top down: so an armed context always stands below armed ones. Two threads that claim
 * from below in one chain cannot wait for each other, since each waits only for what is above. */
#include "ctx/ctx.h"

static void drop_after_firing(ambit__timer_node *node) {
    ambit_ctx *ctx = (ambit_ctx *)(void *)((char *)node - offsetof(ambit_ctx, timer));
    ambit__ctx_unkeep(ctx, ambit__thread_self());
}

static void deadline_fired(ambit__timer_node *node) {
    ambit_ctx *ctx = (ambit_ctx *)(void *)((char *)node - offsetof(ambit_ctx, timer));
    ambit_cause cause = {AMBIT_TIMED_OUT, "deadline passed",
                         ambit__load_relaxed(&ambit__ctx_entry(ctx)->site), 0};
    ctx->firing = true;
    (void)ambit__ctx_end(ctx, &cause, ambit__ctx_deadline(ctx));
    ctx->firing = false;
    /* Closed from a callback above: the owner's part is left to this thread, once the timer has let
     * go of the node. */
    if (ctx->close_pending) node->fired = drop_after_firing;
}

bool ambit__ctx_link(ambit_ctx *above, ambit_ctx *ctx, ambit_cancel *link) {
    uint32_t number;
    ambit__list *list = ambit__ctx_list(above, &number);
    link->run = NULL;
    link->ctx = ctx;
    ambit__list_lock(above, list);
    bool lives = !ambit__load_relaxed(&above->head.state);
    if (lives) ambit__list_push(list, link, number);
    ambit__spin_unlock(&list->lock);
    return lives;
}

/* Acquire pairs with the releases in ambit__list_push(), so that the list is known, and in
 * claim_child(): who finds the link taken out finds the deliverer done with it. */
static void unlink_from(ambit_ctx *above, ambit_cancel *link) {
    if (!above || ambit__load_acquire(&link->state) != AMBIT__NODE_LISTED) return;
    ambit__list *list = ambit__ctx_list_of(above, link);
    ambit__spin_lock(&list->lock);
    if (ambit__load_relaxed(&link->state) == AMBIT__NODE_LISTED) {
        ambit__list_remove(list, link);
        ambit__store_relaxed(&link->state, AMBIT__NODE_IDLE);
    }
    ambit__spin_unlock(&list->lock);
}

bool ambit__ctx_disarm(ambit_ctx *ctx) {
    if (ambit__load_relaxed(&ctx->armed) == AMBIT__UNARMED) return false;
    unlink_from(ambit__ctx_parent(ctx), &ctx->link);
    unlink_from(ambit__load_relaxed(&ctx->second), &ctx->second_link);
    return ambit__timer_node_disarm(&ctx->timer) == AMBIT_FIRING_HERE;
}

/* Not if one that it is linked below ends as early. */
static bool needs_timer(const ambit_ctx *ctx) {
    int64_t deadline_ns = ambit__ctx_deadline(ctx);
    const ambit_ctx *second = ambit__load_relaxed(&ctx->second);
    if (!ambit__ctx_has_deadline(ctx)) return false;
    if (second && deadline_ns == ambit__ctx_deadline(second)) return false;
    return !ctx->head.parent || deadline_ns < ambit__ctx_deadline(ctx->head.parent);
}

static ambit_status arm_one(ambit_ctx *ctx) {
    ambit_ctx *parent = ambit__ctx_parent(ctx);
    if (needs_timer(ctx)) {
        ctx->timer.fired = NULL;
        ambit_status status =
            ambit__timer_node_arm(&ctx->timer, ambit__ctx_deadline(ctx), deadline_fired);
        if (status) return status;
    }
    if (parent && !ambit__ctx_link(parent, ctx, &ctx->link)) {
        ambit_cause cause = ambit_ctx_cause(parent);
        (void)ambit__ctx_end(ctx, &cause, ambit__clock_now());
    }
    return AMBIT_OK;
}

/* A context may be told of its end, or closed, while it is being armed: by its owner's close, if a
 * child below is what arms it, or by any cancel. Who does that disarms it, but may have looked
 * before it was linked; then it is undone here. One of the two sees the other, because both pass
 * through `waiting.lock`: who claims or closes it does so under it and looks at the links after,
 * this looks under it after linking.
 * A state alone is not enough: a mere reader may have set it (settle), and then the link and the
 * timer are what still brings the end to those who wait. Nor does this wait for the timer, should it
 * be firing: on_cancel does not block. Who frees the context disarms it once more, and waits. */
void ambit__ctx_disarm_if_ended(ambit_ctx *ctx) {
    ambit__spin_lock(&ctx->waiting.lock);
    bool claimed = ctx->claimed;
    bool destroying = ambit__load_relaxed(&ctx->destroying);
    uint32_t marks = ambit__load_relaxed(&ambit__ctx_entry(ctx)->marks);
    ambit__spin_unlock(&ctx->waiting.lock);
    if (!claimed && !destroying && !(marks & AMBIT__MARK_CLOSED)) return;
    unlink_from(ambit__ctx_parent(ctx), &ctx->link);
    unlink_from(ambit__load_relaxed(&ctx->second), &ctx->second_link);
    ambit__timer_node_disarm_armed(&ctx->timer);
}

/* Claims from `ctx` upwards; returns the topmost claimed, from which next_arm leads down to `ctx`.
 * NULL: all are armed.
 *
 * Who finds one armed, here or elsewhere, looks without acquire: nothing is read of what arming it
 * has written, and no end is missed. Before ARMED is stored, ambit__ctx_link() has held the lock of
 * the list above. An end from there that takes this lock later, in deliver_and_unlock(), finds the
 * link. One that had it before was found by ambit__ctx_link(), and arm_one() has ended the context
 * under `waiting.lock`, which who found it armed takes next. An end that begins after ARMED was
 * seen is the former: were it the latter, it would happen before the store of ARMED, and that would
 * have been seen before it happened. */
static ambit_ctx *claim_chain(ambit_ctx *ctx) {
    ambit_ctx *claimed = NULL;
    unsigned attempt = 0;
    while (ctx) {
        uint32_t armed = AMBIT__UNARMED;
        /* Acquire pairs with the release in ambit__ctx_arm_unchecked(): where another one failed to
         * arm it, this one writes the same links and timer. */
        if (ambit__swap_acquire(&ctx->armed, &armed, AMBIT__ARMING)) {
            ambit__store_relaxed(&ctx->unusual, true);
            ctx->next_arm = claimed;
            claimed = ctx;
            ctx = ambit__ctx_parent(ctx);
        } else if (ambit__load_relaxed(&ctx->armed) == AMBIT__ARMED) {
            break;
        } else {
            ambit__backoff(attempt++);
        }
    }
    return claimed;
}

ambit_status ambit__ctx_arm_unchecked(ambit_ctx *ctx, bool *fresh) {
    *fresh = false;
    if (ambit__likely(ambit__load_relaxed(&ctx->armed) == AMBIT__ARMED)) return AMBIT_OK;
    if (ambit__ctx_is_background(ctx)) return AMBIT_OK;
    ambit_status status = AMBIT_OK;
    for (ambit_ctx *at = claim_chain(ctx), *below; at; at = below) {
        below = at->next_arm;
        if (!status) {
            status = arm_one(at);
            *fresh = !status && at == ctx;
            if (!status && at != ctx) ambit__ctx_disarm_if_ended(at);
        }
        /* Release pairs with the acquire in claim_chain(). */
        ambit__store_release(&at->armed, status ? AMBIT__UNARMED : AMBIT__ARMED);
    }
    return status;
}

ambit_status ambit__ctx_arm(ambit_ctx *ctx) {
    bool fresh;
    ambit_status status = ambit__ctx_arm_unchecked(ctx, &fresh);
    if (fresh) ambit__ctx_disarm_if_ended(ctx);
    return status;
}
