/* Values and the arena: the long way of what ctx_inline.h does in a few instructions.
 *
 * One thread at a time writes; any number read beside it. A slot is filled first and can be found
 * after (release), and is never changed again, so a reader needs one acquire load and no lock. The
 * first eight slots and the first bytes stand inside the context. */
#include "ctx/ctx.h"

#include <string.h>

enum { FIRST_BLOCK_BYTES = 4096, HINT_ELSEWHERE = UINT8_MAX };

/* A new block with room for `bytes`; what is free in the old one is given up. */
static bool grow(ambit_ctx *ctx, size_t bytes) {
    size_t size;
    if (__builtin_add_overflow(bytes, sizeof(ambit__block) + AMBIT__GRANULE - 1, &size))
        return false;
    size &= ~(size_t)(AMBIT__GRANULE - 1);
    if (size < FIRST_BLOCK_BYTES) size = FIRST_BLOCK_BYTES;
    ambit__block *block = ambit__allocate(size, AMBIT__GRANULE);
    if (!block) return false;
    struct ambit__ctx_head *head = &ctx->head;
    *block = (ambit__block){ctx->blocks,      ctx->filling,   size,
                            head->free_bytes, head->free_end, head->block_top};
    ctx->blocks = ctx->filling = block;
    head->free_bytes = (unsigned char *)(block + 1);
    head->free_end = head->block_top = (unsigned char *)block + size;
    return true;
}

/* Memory from the arena, without regard to the budget. */
static void *carve(ambit_ctx *ctx, size_t bytes, size_t alignment) {
    struct ambit__ctx_head *head = &ctx->head;
    for (;;) {
        size_t skip = -(uintptr_t)head->free_bytes & (alignment - 1);
        size_t left = (size_t)(head->free_end - head->free_bytes);
        if (skip <= left && bytes <= left - skip) {
            head->free_bytes += skip;
            return ambit__ctx_take(head, bytes);
        }
        if (bytes > SIZE_MAX - alignment || !grow(ctx, bytes + alignment)) return NULL;
    }
}

/* Slot number `index`, which is at most the count; NULL when there is no memory for it. */
static ambit__slot *slot_for(ambit_ctx *ctx, uint32_t index) {
    if (index < AMBIT__INLINE_SLOTS) return &ctx->head.slots[index];
    ambit__slots **link = &ctx->head.more;
    for (;;) {
        index -= AMBIT__INLINE_SLOTS;
        if (!*link) {
            ambit__slots *more = carve(ctx, sizeof *more, AMBIT__GRANULE);
            if (!more) return NULL;
            more->next = NULL;
            *link = more;
        }
        if (index < AMBIT__INLINE_SLOTS) return &(*link)->slots[index];
        link = &(*link)->next;
    }
}

static const ambit__slot *find_in(const ambit_ctx *ctx, const ambit_key *key) {
    const struct ambit__ctx_head *head = &ctx->head;
    /* Relaxed: it is never 0 again once a key with this hint can be found by the count. */
    if (!ambit__load_relaxed(&head->hints[ambit__key_hint(key)])) return NULL;
    /* Acquire pairs with the releases in publish() and ambit__ctx_publish(). */
    uint32_t count = ambit__load_acquire(&head->value_count);
    const ambit__slot *slots = head->slots;
    const ambit__slots *next = NULL;
    while (count) {
        uint32_t here = count < AMBIT__INLINE_SLOTS ? count : AMBIT__INLINE_SLOTS;
        for (uint32_t i = 0; i < here; i++)
            if (slots[i].key == key) return &slots[i];
        count -= here;
        if (!count) break;
        next = next ? next->next : head->more;
        slots = next->slots;
    }
    return NULL;
}

static void publish(ambit_ctx *ctx, ambit__slot *slot, const ambit_key *key, const void *value,
                    size_t bytes) {
    struct ambit__ctx_head *head = &ctx->head;
    uint32_t index = ambit__load_relaxed(&head->value_count);
    uint8_t hint = index < AMBIT__INLINE_SLOTS ? (uint8_t)(index + 1) : HINT_ELSEWHERE;
    *slot = (ambit__slot){key, value, bytes};
    ambit__ctx_charge(head, bytes);
    /* Releases pair with the acquires in ambit__ctx_get() and find_in(). */
    if (!ambit__load_relaxed(&head->hints[ambit__key_hint(key)]))
        ambit__store_release(&head->hints[ambit__key_hint(key)], hint);
    ambit__store_release(&head->value_count, index + 1);
}

/* Whether a value may be stored: the slot to be filled, or why not. */
static ambit_status prepare(ambit_ctx *ctx, const char *function, const ambit_key *key,
                            size_t bytes, ambit__slot **slot) {
    ambit__ctx_check(ctx, function, NULL);
    if (ambit__unlikely(!key)) ambit__bug(function, "expected a key, found NULL", NULL, NULL);
    if (ambit__unlikely(ambit__ctx_is_background(ctx)))
        ambit__bug(function, "expected a context of the caller's, found the background", NULL,
                   NULL);
    if (find_in(ctx, key)) return AMBIT_EXISTS;
    if (!ambit__ctx_affords(&ctx->head, bytes)) return AMBIT_EBUDGET;
    *slot = slot_for(ctx, ambit__load_relaxed(&ctx->head.value_count));
    return *slot ? AMBIT_OK : AMBIT_EMEMORY;
}

ambit_status ambit_ctx_put_bytes(ambit_ctx *ctx, const ambit_key *key, const void *value,
                                 size_t bytes) {
    ambit__slot *slot;
    if (key && ambit__ctx_put_inside(ctx, key, value, bytes, key->alignment)) return AMBIT_OK;
    ambit_status status = prepare(ctx, "ambit_ctx_put", key, bytes, &slot);
    if (status) return status;
    size_t alignment = key->alignment > AMBIT__GRANULE ? key->alignment : AMBIT__GRANULE;
    void *copy = carve(ctx, bytes, alignment);
    if (!copy) return AMBIT_EMEMORY;
    if (bytes) memcpy(copy, value, bytes);
    publish(ctx, slot, key, copy, bytes);
    return AMBIT_OK;
}

static bool push_deferred(ambit_ctx *ctx, void (*run)(void *), void *argument) {
    const struct ambit__ctx_head *head = &ctx->head;
    if ((size_t)(head->free_end - head->free_bytes) < sizeof(ambit__deferred) &&
        !grow(ctx, sizeof(ambit__deferred)))
        return false;
    ambit__ctx_push_deferred(&ctx->head, run, argument);
    return true;
}

/* Goes back to what was filled before; false if that is all. */
static bool leave_block(ambit_ctx *ctx) {
    struct ambit__ctx_head *head = &ctx->head;
    ambit__block *block = ctx->filling;
    if (!block) return false;
    ctx->filling = block->below;
    head->free_bytes = block->free_bytes;
    head->free_end = block->free_end;
    head->block_top = block->block_top;
    return true;
}

/* Runs those of this block, each taken out first, until none is left or one has deferred more. */
static void run_block(ambit_ctx *ctx) {
    struct ambit__ctx_head *head = &ctx->head;
    unsigned char *at = head->free_end;
    size_t bytes = ambit__load_relaxed(&head->deferred_bytes);
    while (at != head->block_top) {
        ambit__deferred deferred = *(ambit__deferred *)(void *)at;
        head->free_end = at += sizeof deferred;
        ambit__store_relaxed(&head->deferred_bytes, bytes -= sizeof deferred);
        deferred.run(deferred.argument);
        if (ambit__unlikely(head->free_end != at)) return;
    }
}

void ambit__ctx_run_deferred(ambit_ctx *ctx) {
    do {
        while (ctx->head.free_end != ctx->head.block_top) run_block(ctx);
    } while (leave_block(ctx));
}

ambit_status ambit_ctx_own_pointer(ambit_ctx *ctx, const ambit_key *key, void *value, size_t bytes,
                                   void (*destroy)(void *value)) {
    ambit__slot *slot;
    ambit_status status = prepare(ctx, "ambit_ctx_own", key, bytes, &slot);
    if (status) return status;
    if (destroy && !push_deferred(ctx, destroy, value)) return AMBIT_EMEMORY;
    publish(ctx, slot, key, value, bytes);
    return AMBIT_OK;
}

/* Stops unless it is a context that is closed some day. */
static void check_owned(const ambit_ctx *ctx, const char *function) {
    ambit__ctx_check(ctx, function, NULL);
    if (ambit__ctx_is_background(ctx))
        ambit__bug(function, "expected a context that is closed some day, found the background",
                   NULL, NULL);
}

ambit_status ambit__ctx_defer(ambit_ctx *ctx, void (*run)(void *argument), void *argument) {
    check_owned(ctx, "ambit_ctx_defer");
    if (!run) ambit__bug("ambit_ctx_defer", "expected a function, found NULL", NULL, NULL);
    if (!ambit__ctx_affords(&ctx->head, sizeof(ambit__deferred))) return AMBIT_EBUDGET;
    return push_deferred(ctx, run, argument) ? AMBIT_OK : AMBIT_EMEMORY;
}

void *ambit__ctx_alloc(ambit_ctx *ctx, size_t bytes) {
    check_owned(ctx, "ambit_ctx_alloc");
    if (!ambit__ctx_affords(&ctx->head, bytes)) return NULL;
    void *memory = carve(ctx, bytes, AMBIT__GRANULE);
    if (memory) ambit__ctx_charge(&ctx->head, bytes);
    return memory;
}

static const ambit__slot *find(const ambit_ctx *ctx, const ambit_key *key) {
    if (ambit__unlikely(!key))
        ambit__bug("ambit_ctx_get", "expected a key, found NULL", NULL, NULL);
    ambit__ctx_check(ctx, "ambit_ctx_get", NULL);
    for (; ctx; ctx = ambit__load_relaxed(&ctx->head.origin)) {
        const ambit__slot *slot = find_in(ctx, key);
        if (slot) return slot;
    }
    return NULL;
}

const void *ambit_ctx_get_bytes(const ambit_ctx *ctx, const ambit_key *key, size_t *bytes) {
    const ambit__slot *slot = ctx ? ambit__ctx_slot(ctx, key) : NULL;
    if (ambit__unlikely(!slot)) slot = find(ctx, key);
    if (bytes) *bytes = slot ? slot->bytes : 0;
    return slot ? slot->value : NULL;
}

void ambit_ctx_budget_set(ambit_ctx *ctx, size_t bytes) {
    ambit__ctx_check(ctx, "ambit_ctx_budget_set", NULL);
    ambit__store_relaxed(&ctx->head.budget_bytes, bytes);
}

size_t ambit_ctx_bytes(const ambit_ctx *ctx) { return ambit__ctx_used_bytes(&ctx->head); }
