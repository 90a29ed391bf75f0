/* Closing and holding.
 *
 * The common close finds that nobody else keeps the context and nobody waits for it: then it ends
 * without a lock. Everything else goes the long way: cancel, wait for callbacks, give up the
 * owner's share. The last keeper runs the destructors. */
#include "ctx/ctx.h"

#include <unistd.h>

void ambit__ctx_keep(ambit_ctx *ctx) {
    if (ambit__ctx_is_background(ctx)) return;
    /* Relaxed: the caller is kept itself, so the count cannot be zero, and nothing is read by it.
     */
    ambit__add_relaxed(&ctx->keepers, 1);
}

static void run_deferred(ambit_ctx *ctx) {
    if (!ctx->deferred) return;
    if (!ambit__load_relaxed(&ctx->head.state)) {
        ambit_cause cause = {AMBIT_CANCELLED, "closed", ambit__load_relaxed(&ctx->closed_site), 0};
        ambit__ctx_end_locked(ctx, &cause, ambit__clock_coarse());
    }
    for (ambit__deferred *deferred; (deferred = ctx->deferred);) {
        ctx->deferred = deferred->next; /* first, since it may defer more */
        deferred->run(deferred->argument);
    }
}

static void free_memory(ambit_ctx *ctx) {
    for (ambit__block *block; (block = ctx->blocks);) {
        ctx->blocks = block->next;
        ambit__release(block, block->bytes, 16);
    }
    if (ctx->event_fd >= 0) (void)close(ctx->event_fd);
    ambit__slab_put(&ambit__slab_ctx, ambit__thread_self(), ambit__ctx_entry(ctx));
}

/* One keeper less; true if it was the last. */
static bool leave(ambit_ctx *ctx) {
    /* Acquire-release pairs with itself in the other keepers: what each did with the context is
     * done before the last one frees it. */
    return ctx && ambit__sub_acq_rel(&ctx->keepers, 1) == 1;
}

/* Frees what nobody keeps, and then what only that kept, without recursion. */
static void free_chain(ambit_ctx *ctx) {
    ctx->next_work = NULL;
    while (ctx) {
        ambit_ctx *rest = ctx->next_work;
        run_deferred(ctx);
        ambit_ctx *origin = ambit__load_relaxed(&ctx->origin);
        ambit_ctx *second = ambit__load_relaxed(&ctx->second);
        free_memory(ctx);
        if (leave(origin)) {
            origin->next_work = rest;
            rest = origin;
        }
        if (leave(second)) {
            second->next_work = rest;
            rest = second;
        }
        ctx = rest;
    }
}

void ambit__ctx_unkeep(ambit_ctx *ctx) {
    if (!ambit__ctx_is_background(ctx) && leave(ctx)) free_chain(ctx);
}

static void check_close(const ambit_ctx *ctx, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_close", site);
    if (ambit__ctx_is_background(ctx))
        ambit__bug("ambit_ctx_close", "expected a context of the caller's, found the background",
                   site, NULL);
    if (ambit__load_relaxed(&ambit__ctx_entry(ctx)->marks) & AMBIT__MARK_CLOSED)
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
    int64_t now_ns = ambit__clock_coarse();
    ambit__store_relaxed(&ctx->closed_ns, now_ns);
    /* Release pairs with the acquire in the check's judge(): what is marked has its time. */
    (void)ambit__or_acq_rel(&ambit__ctx_entry(ctx)->marks, AMBIT__MARK_CLOSED);
    ambit_cause cause = {AMBIT_CANCELLED, "closed", site, 0};
    ambit__ctx_end(ctx, &cause, now_ns);
    bool here = ambit__ctx_wait_delivered(ctx);
    ambit__ctx_unlink(ctx);
    here |= ambit__timer_node_disarm(&ctx->timer) == AMBIT_FIRING_HERE;
    if (here)
        ctx->close_pending = true; /* its delivery, further down this stack, does the rest */
    else
        ambit__ctx_unkeep(ctx);
}

void ambit_ctx_close_at(ambit_ctx **pointer, const ambit_site *site) {
    ambit_ctx *ctx = *pointer;
    *pointer = NULL;
    if (ambit__unlikely(!ctx)) return;
    check_close(ctx, site);
    ambit__store_relaxed(&ctx->closed_site, site);
    /* Acquire pairs with the release half of leave(): alone means that all others are done. Nobody
     * can come anew, since only a keeper can make one. */
    if (ambit__likely(ambit__load_acquire(&ctx->keepers) == 1 &&
                      ambit__load_relaxed(&ctx->armed) == AMBIT__UNARMED))
        free_chain(ctx);
    else
        close_shared(ctx, site);
}

/* ---- Holds ----------------------------------------------------------------------------------- */

static void inspect(const ambit__entry *entry, ambit__facts *facts) {
    const ambit_hold *hold = (const ambit_hold *)(const void *)entry;
    facts->deadline_ns = AMBIT_NEVER;
    facts->keeps = ambit__load_relaxed(&hold->ctx);
}

ambit__slab ambit__slab_hold = {
    .kind = AMBIT_KIND_HOLD, .object_bytes = sizeof(struct ambit_hold), .inspect = inspect};
_Static_assert(sizeof(struct ambit_hold) == 64, "a hold is one cache line");

ambit_status ambit_ctx_hold_at(ambit_ctx *ctx, ambit_hold **out, const ambit_site *site) {
    ambit__ctx_check(ctx, "ambit_ctx_hold", site);
    *out = NULL;
    ambit__thread *self = ambit__thread_self();
    ambit_hold *hold = self ? ambit__slab_get(&ambit__slab_hold, self) : NULL;
    if (!hold) return AMBIT_EMEMORY;
    ambit__ctx_keep(ctx);
    ambit__store_relaxed(&hold->ctx, ctx);
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
    ambit__slab_put(&ambit__slab_hold, ambit__thread_self(), &hold->entry);
    ambit__ctx_unkeep(ctx);
}
