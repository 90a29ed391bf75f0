/* Opening contexts: nothing shared is written but the parent's count of keepers, and the background
 * has none. */
#include "ctx/ctx.h"

#include <stddef.h>

static void inspect(const ambit__entry *entry, ambit__facts *facts) {
    const ambit_ctx *ctx = (const ambit_ctx *)(const void *)entry;
    facts->deadline_ns = ambit_ctx_deadline_ns(ctx);
    facts->closed_ns = ambit__load_relaxed(&ctx->closed_ns);
    facts->closed = ambit__load_relaxed(&ctx->closed_site);
    facts->keeps = ambit__load_relaxed(&ctx->head.origin);
    facts->keeps_too = ambit__load_relaxed(&ctx->second);
    /* Acquire pairs with the release in deliver_callback(). */
    facts->callback_since_ns = ambit__load_acquire(&ctx->callback_since_ns);
    facts->callback = ambit__load_relaxed(&ctx->callback_site);
    facts->depth = ambit__load_relaxed(&ctx->head.depth) & ~AMBIT__DEPTH_MERGED;
    uint64_t keepers = ambit__ctx_keepers(ctx);
    bool closed = ambit__load_relaxed(&entry->marks) & AMBIT__MARK_CLOSED;
    facts->keepers = closed || !keepers ? keepers : keepers - 1; /* without the owner */
}

ambit__slab ambit__slab_ctx = {AMBIT__SLAB_LOCK, .kind = AMBIT_KIND_CTX,
                               .object_bytes = AMBIT__CTX_BYTES, .inspect = inspect};

/* 608 bytes in eight values, rounded up, and a destructor for each. */
_Static_assert(AMBIT__CTX_HEADER + 640 + 8 * 16 <= AMBIT__CTX_BYTES, "eight small values fit");
_Static_assert(AMBIT__CTX_BYTES % 64 == 0 && AMBIT__CTX_BYTES / 64 % 2 == 1, "spread over sets");
_Static_assert(offsetof(struct ambit__ctx_head, free_bytes) == 64,
               "what children read stands apart from what the owner writes");

ambit_ctx ambit__ctx_background = {
    .head = {.deadline_ns = AMBIT_NEVER, .budget_bytes = 1024 * 1024}};

ambit_ctx *ambit_background(void) { return &ambit__ctx_background; }

void ambit_ctx_default_budget_set(size_t bytes) {
    ambit__store_relaxed(&ambit__ctx_background.head.budget_bytes, bytes);
}

void ambit__ctx_check_failed(const ambit_ctx *ctx, const char *function, const ambit_site *site) {
    if (!ctx) ambit__bug(function, "expected a context, found NULL", site, NULL);
    if (ambit__ctx_is_background(ctx)) return;
    ambit__bug(function, "expected an open context, found one that was closed and given back", site,
               ambit__load_relaxed(&ctx->closed_site));
}

/* A child of `origin` that ends with `parent`, which is the same or the background. What is not
 * written here is as give_back() and a new chunk leave it. */
static inline ambit_ctx *fresh(ambit_ctx *parent, ambit_ctx *origin, int64_t deadline_ns,
                               int64_t now_ns, const ambit_site *site) {
    ambit__thread *self = ambit__thread_self();
    ambit_ctx *ctx = self ? ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, self) : NULL;
    if (ambit__unlikely(!ctx)) return NULL;
    struct ambit__ctx_head *head = &ctx->head;
    int64_t limit_ns = ambit__ctx_deadline(parent);
    bool below = !ambit__ctx_is_background(origin);
    ambit__ctx_keep(origin, self);
    ambit__store_relaxed(&head->state, 0);
    ambit__store_relaxed(&head->depth, ambit__load_relaxed(&parent->head.depth) + 1);
    ambit__store_relaxed(&head->deadline_ns, deadline_ns < limit_ns ? deadline_ns : limit_ns);
    head->parent = ambit__ctx_is_background(parent) ? NULL : parent;
    ambit__store_relaxed(&head->origin, below ? origin : NULL);
    head->free_bytes = (unsigned char *)ctx + AMBIT__CTX_HEADER;
    head->free_end = head->block_top = (unsigned char *)ctx + AMBIT__CTX_BYTES;
    ambit__store_relaxed(&head->budget_bytes, ambit__load_relaxed(&origin->head.budget_bytes));
    ambit__store_relaxed(&ctx->keepers, 1);
    AMBIT__RANK_SET(&ctx->waiting.lock, AMBIT__RANK_CTX);
    ambit__slab_born(&head->entry, site, now_ns);
    return ctx;
}

static inline ambit_status open_child(ambit_ctx *parent, int64_t deadline_ns, int64_t now_ns,
                                      ambit_ctx **out, const ambit_site *site) {
    *out = NULL;
    ambit_ctx *ctx = fresh(parent, parent, deadline_ns, now_ns, site);
    if (ambit__unlikely(!ctx)) return AMBIT_EMEMORY;
    if (ambit__unlikely(ambit__load_relaxed(&parent->head.order_children))) {
        ambit_status status = ambit__ctx_arm(ctx);
        if (status) {
            ambit_ctx_close_at(&ctx, site);
            return status;
        }
    }
    *out = ctx;
    return AMBIT_OK;
}

ambit_status ambit_ctx_open_at(ambit_ctx *parent, int64_t deadline_ns, ambit_ctx **out,
                               const ambit_site *site) {
    ambit__ctx_check(parent, "ambit_ctx_open", site);
    return open_child(parent, deadline_ns, ambit__clock_coarse(), out, site);
}

ambit_status ambit_ctx_open_timeout_at(ambit_ctx *parent, int64_t timeout_ns, ambit_ctx **out,
                                       const ambit_site *site) {
    ambit__ctx_check(parent, "ambit_ctx_open_timeout", site);
    int64_t coarse_ns = ambit__clock_coarse();
    if (timeout_ns < 0) timeout_ns = 0;
    int64_t from_ns =
        timeout_ns >= 10 * AMBIT_SECOND ? coarse_ns + ambit__clock_lag() : ambit__clock_now();
    int64_t deadline_ns;
    if (__builtin_add_overflow(from_ns, timeout_ns, &deadline_ns)) deadline_ns = AMBIT_NEVER;
    return open_child(parent, deadline_ns, coarse_ns, out, site);
}

ambit_status ambit_ctx_detach_at(ambit_ctx *origin, int64_t deadline_ns, ambit_ctx **out,
                                 const ambit_site *site) {
    ambit__ctx_check(origin, "ambit_ctx_detach", site);
    *out = NULL;
    if (deadline_ns == AMBIT_NEVER) return AMBIT_EINVALID;
    ambit_ctx *ctx =
        fresh(&ambit__ctx_background, origin, deadline_ns, ambit__clock_coarse(), site);
    if (!ctx) return AMBIT_EMEMORY;
    *out = ctx;
    return AMBIT_OK;
}

/* Arms the new context below both; what has ended meanwhile ends it. */
static ambit_status join(ambit_ctx *ctx, ambit_ctx *other) {
    ambit_status status = ambit__ctx_arm(other);
    if (status) return status;
    ambit__ctx_keep(other, ambit__thread_self());
    ambit__store_relaxed(&ctx->unusual, true);
    /* Relaxed: nobody else knows the context before it is linked, under a lock, or handed on. */
    ambit__store_relaxed(&ctx->second, other);
    status = ambit__ctx_arm(ctx);
    if (!status && !ambit__ctx_link(other, ctx, &ctx->second_link)) {
        ambit_cause cause = ambit_ctx_cause(other);
        (void)ambit__ctx_end(ctx, &cause, ambit__clock_now());
    }
    return status;
}

ambit_status ambit_ctx_merge_at(ambit_ctx *parent, ambit_ctx *other, ambit_ctx **out,
                                const ambit_site *site) {
    ambit__ctx_check(parent, "ambit_ctx_merge", site);
    ambit__ctx_check(other, "ambit_ctx_merge", site);
    bool joins = !ambit__ctx_is_background(other);
    int64_t deadline_ns = ambit__ctx_deadline(other);
    if (joins && deadline_ns == AMBIT_NEVER) deadline_ns = AMBIT__MERGED_NEVER;
    ambit_ctx *ctx;
    ambit_status status = open_child(parent, deadline_ns, ambit__clock_coarse(), out, site);
    if (status || !joins) return status;
    ctx = *out;
    *out = NULL;
    ambit__store_relaxed(&ctx->head.depth,
                         ambit__load_relaxed(&ctx->head.depth) | AMBIT__DEPTH_MERGED);
    status = join(ctx, other);
    if (status)
        ambit_ctx_close_at(&ctx, site);
    else
        *out = ctx;
    return status;
}

void ambit_ctx_order_children(ambit_ctx *ctx) {
    ambit__ctx_check(ctx, "ambit_ctx_order_children", NULL);
    if (ambit__ctx_is_background(ctx))
        ambit__bug("ambit_ctx_order_children",
                   "expected a context of the caller's, found the background", NULL, NULL);
    ambit__store_relaxed(&ctx->unusual, true);
    ambit__store_relaxed(&ctx->head.order_children, 1);
}

void ambit_ctx_mark_long_lived(ambit_ctx *ctx) {
    ambit__ctx_check(ctx, "ambit_ctx_mark_long_lived", NULL);
    ambit__or_relaxed(&ambit__ctx_entry(ctx)->marks, AMBIT__MARK_LONG_LIVED);
}

int64_t ambit_ctx_deadline_ns(const ambit_ctx *ctx) {
    return ambit__ctx_has_deadline(ctx) ? ambit__ctx_deadline(ctx) : AMBIT_NEVER;
}
