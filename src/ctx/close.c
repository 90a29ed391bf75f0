/* Closing and holding.
 *
 * The common close finds that nobody else keeps the context and nobody waits for it: then it ends
 * without a lock. Everything else goes the long way: cancel, wait for callbacks, give up the
 * owner's share. The last keeper runs the destructors. */
#include "ctx/ctx.h"

#include <string.h>
#include <unistd.h>

static bool is_closed(const ambit_ctx *ctx) {
    return ambit__load_relaxed(&ambit__ctx_entry(ctx)->marks) & AMBIT__MARK_CLOSED;
}

static void mark_closed(ambit_ctx *ctx) {
    ambit__ctx_show_closed(ctx, ambit__clock_coarse());
    /* Release pairs with the acquire in the check's judge(): what is marked has its time. */
    (void)ambit__or_release(&ambit__ctx_entry(ctx)->marks, AMBIT__MARK_CLOSED);
}

/* Ended first, so that the destructors find it so. */
static void run_deferred(ambit_ctx *ctx) {
    ambit__store_relaxed(&ctx->destroying, true);
    /* There is nobody to be told. A destructor may have it armed, and the parent end just then: that
     * one finds it claimed and lets it be, else it would still be telling what is freed below. */
    ctx->claimed = true;
    if (!ambit_ctx_err(ctx)) { /* else it, an ancestor or the deadline came first */
        /* Nobody else knows it. A child that a destructor opens takes this cause, whatever its
         * deadline. */
        ambit_cause cause = {AMBIT_CANCELLED, "closed", ambit__load_relaxed(&ctx->closed_site), 0};
        ambit__ctx_end_locked(ctx, &cause, INT64_MIN);
    }
    ambit__ctx_run_deferred(ctx);
    /* Given away by one of them: then it is a zombie, as any that is closed and kept. */
    if (ambit__unlikely(ambit__load_relaxed(&ctx->keepers) != 1) && !is_closed(ctx)) {
        ambit__store_relaxed(&ctx->unusual, true); /* claimed */
        mark_closed(ctx);
    }
    ambit__store_relaxed(&ctx->destroying, false);
}

/* What few contexts have. */
static void scrub(ambit_ctx *ctx) {
    /* Once more, while what it is linked to is kept: it may have been armed from below, or by a
     * holder, after its close, and its timer may be firing right now. */
    (void)ambit__ctx_disarm(ctx);
    if (ctx->event_fd_plus_one) (void)close(ctx->event_fd_plus_one - 1);
    ctx->event_fd_plus_one = 0;
    ambit__ctx_free_shards(ctx);
    ambit__store_relaxed(&ctx->armed, AMBIT__UNARMED);
    ambit__store_relaxed(&ctx->second, NULL);
    ambit__store_relaxed(&ctx->fd_node.state, AMBIT__NODE_IDLE);
    ambit__store_relaxed(&ctx->unusual, false);
    ctx->claimed = ctx->close_pending = false;
    ambit__store_relaxed(&ctx->head.order_children, 0);
}

/* Makes it as clean as open() expects it, and gives it back. */
static void give_back(ambit_ctx *ctx, ambit__thread *self) {
    struct ambit__ctx_head *head = &ctx->head;
    if (ambit__unlikely(ambit__load_relaxed(&ctx->unusual))) scrub(ctx);
    for (ambit__block *block; ambit__unlikely((block = ctx->blocks) != NULL);) {
        ctx->blocks = block->next;
        ambit__release(block, block->bytes, AMBIT__GRANULE);
    }
    ctx->filling = NULL;
    head->free_bytes = head->free_end = head->block_top = NULL;
    /* For those who wrongly go on with it: it has ended, and there is nothing in it. */
    ambit__store_relaxed(&head->state, AMBIT_CANCELLED);
    ambit__store_relaxed(&head->origin, NULL);
    if (ambit__load_relaxed(&head->value_count)) {
        ambit__store_relaxed(&head->value_count, 0);
        head->more = NULL;
        memset((void *)head->hints, 0, sizeof head->hints); /* no reader is left */
    }
    ambit__slab_put(&ambit__slab_ctx, AMBIT_KIND_CTX, self, ambit__ctx_entry(ctx));
}

/* One keeper less; true if it was the last. */
static bool leave(ambit_ctx *ctx) {
    /* Acquire pairs with the release half of the others' subtraction: what each did with the
     * context is done before the last one frees it. Who is alone needs no locked instruction,
     * since only a keeper can make another. */
    return ambit__load_acquire(&ctx->keepers) == 1 || ambit__sub_acq_rel(&ctx->keepers, 1) == 1;
}

/* The same for what a freed context kept, which may count by thread. */
static bool leave_origin(ambit_ctx *ctx, ambit__thread *self) {
    ambit__shards *shards = ambit__load_acquire(&ctx->head.shards);
    if (shards && ambit__ctx_count_by_thread(ctx, shards, self, -1)) return false;
    return leave(ctx);
}

/* Frees what nobody keeps, and then what only that kept, without recursion. */
static void free_chain(ambit_ctx *ctx, ambit__thread *self) {
    ctx->next_work = NULL;
    while (ctx) {
        ambit_ctx *rest = ctx->next_work;
        if (ambit__load_relaxed(&ctx->head.deferred_bytes)) {
            /* The last share stands while destructors run. If one of them has given the context
             * away, to a hold or a child, that one frees it. */
            ambit__store_relaxed(&ctx->keepers, 1);
            run_deferred(ctx);
            if (!leave(ctx)) {
                ctx = rest;
                continue;
            }
            /* Neither armed nor given away: only this thread knows, and scrub() has nothing to do. */
            if (!ambit__load_relaxed(&ctx->unusual)) ctx->claimed = false;
        }
        ambit_ctx *origin = ambit__load_relaxed(&ctx->head.origin);
        ambit_ctx *second = ambit__load_relaxed(&ctx->second);
        give_back(ctx, self);
        if (origin && leave_origin(origin, self)) {
            origin->next_work = rest;
            rest = origin;
        }
        if (ambit__unlikely(second != NULL) && leave_origin(second, self)) {
            second->next_work = rest;
            rest = second;
        }
        ctx = rest;
    }
}

/* The same for the most frequent case, in a few instructions. */
static void free_alone(ambit_ctx *ctx, ambit__thread *self) {
    if (ambit__load_relaxed(&ctx->head.deferred_bytes) || ambit__load_relaxed(&ctx->second)) {
        free_chain(ctx, self);
        return;
    }
    ambit_ctx *origin = ambit__load_relaxed(&ctx->head.origin);
    give_back(ctx, self);
    if (origin && leave_origin(origin, self)) free_chain(origin, self);
}

void ambit__ctx_unkeep(ambit_ctx *ctx, ambit__thread *self) {
    if (!ambit__ctx_is_background(ctx) && leave_origin(ctx, self)) free_chain(ctx, self);
}

static void check_close(const ambit_ctx *ctx, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_close", site);
    if (ambit__ctx_is_background(ctx))
        ambit__bug("ambit_ctx_close", "expected a context of the caller's, found the background",
                   site, NULL);
    if (is_closed(ctx) || ambit__load_relaxed(&ctx->destroying))
        ambit__bug("ambit_ctx_close", "expected an open context, found one closed already", site,
                   ambit__load_relaxed(&ctx->closed_site));
    for (const ambit_binding *at = ambit__innermost_binding; at; at = at->outer)
        if (at->ctx == ctx)
            ambit__bug(
                "ambit_ctx_close",
                "expected a context that no block is bound to, found it bound to this thread", site,
                at->site);
}

static void close_shared(ambit_ctx *ctx, const ambit_site *site) {
    mark_closed(ctx);
    ambit_cause cause = {AMBIT_CANCELLED, "closed", site, 0};
    /* The coarse clock may be before a deadline, its own or a child's, that has passed. It will do
     * if there is none, and for what has ended already. */
    bool coarse = ambit__load_relaxed(&ctx->head.state) ||
                  (!ambit__ctx_has_deadline(ctx) && ambit__load_relaxed(&ctx->keepers) == 1);
    int64_t now_ns = coarse ? ambit__load_relaxed(&ctx->closed_ns) : ambit__clock_now();
    bool here = !ambit__ctx_end(ctx, &cause, now_ns) && ambit__ctx_wait_delivered(ctx);
    here |= ambit__ctx_disarm(ctx);
    ambit__ctx_fold(ctx);
    if (here)
        ctx->close_pending = true; /* its delivery, further down this stack, does the rest */
    else
        ambit__ctx_unkeep(ctx, ambit__thread_self());
}

void ambit_ctx_close_at(ambit_ctx **pointer, const ambit_site *site) {
    ambit_ctx *ctx = *pointer;
    *pointer = NULL;
    if (ambit__unlikely(!ctx)) return;
    check_close(ctx, site);
    ambit__ctx_show_closed_site(ctx, site);
    /* Acquire pairs with the release half of leave(): alone means that all others are done. Nobody
     * can come anew, since only a keeper can make one. */
    bool alone = ambit__load_acquire(&ctx->keepers) == 1;
    if (ambit__likely(alone && ambit__load_relaxed(&ctx->armed) == AMBIT__UNARMED)) {
        free_alone(ctx, ambit__thread_self());
    } else if (alone && ambit__ctx_is_delivered(ctx)) {
        (void)ambit__ctx_disarm(ctx);
        free_chain(ctx, ambit__thread_self());
    } else {
        close_shared(ctx, site);
    }
}

/* ---- Holds ----------------------------------------------------------------------------------- */

static void inspect(const ambit__entry *entry, ambit__facts *facts) {
    const ambit_hold *hold = (const ambit_hold *)(const void *)entry;
    facts->deadline_ns = AMBIT_NEVER;
    /* Acquire pairs with the release in ambit_ctx_hold_at(), and with that of the depot's link,
     * which stands in the same place: who reads what another one keeps finds that the site of
     * this one has gone. */
    facts->keeps = ambit__load_acquire(&hold->ctx);
}

ambit__slab ambit__slab_hold = {AMBIT__SLAB_LOCK, .kind = AMBIT_KIND_HOLD,
                                .object_bytes = sizeof(struct ambit_hold), .inspect = inspect};
_Static_assert(sizeof(struct ambit_hold) == 64, "a hold is one cache line");

ambit_status ambit_ctx_hold_at(ambit_ctx *ctx, ambit_hold **out, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_hold", site);
    *out = NULL;
    ambit__thread *self = ambit__thread_self();
    ambit_hold *hold = self ? ambit__slab_get(&ambit__slab_hold, AMBIT_KIND_HOLD, self) : NULL;
    if (!hold) return AMBIT_EMEMORY;
    ambit__ctx_keep(ctx, self);
    ambit__store_release(&hold->ctx, ctx); /* pairs with the acquire in inspect() */
    ambit__slab_born(&hold->entry, site, ambit__clock_coarse());
    *out = hold;
    return AMBIT_OK;
}

static void check_hold(const ambit_hold *hold, const char *function, const ambit_site *site) {
    if (!hold) ambit__bug(function, "expected a hold, found NULL", site, NULL);
    if (!ambit__load_relaxed(&hold->entry.site))
        ambit__bug(function, "expected a hold, found one that was dropped", site,
                   ambit__load_relaxed(&hold->dropped_site));
}

ambit_ctx *ambit_hold_ctx(const ambit_hold *hold) {
    check_hold(hold, "ambit_hold_ctx", NULL);
    return ambit__load_relaxed(&hold->ctx);
}

void ambit_ctx_drop_at(ambit_hold **pointer, const ambit_site *site) {
    ambit_hold *hold = *pointer;
    *pointer = NULL;
    if (!hold) return;
    check_hold(hold, "ambit_ctx_drop", site);
    ambit_ctx *ctx = ambit__load_relaxed(&hold->ctx);
    ambit__store_relaxed(&hold->dropped_site, site);
    ambit__thread *self = ambit__thread_self();
    ambit__slab_put(&ambit__slab_hold, AMBIT_KIND_HOLD, self, &hold->entry);
    ambit__ctx_unkeep(ctx, self);
}
