/* Values and the arena.
 *
 * One thread at a time writes; any number read beside it. A slot is filled first and counted after
 * (release), and is never changed again, so a reader needs one acquire load and no lock. The first
 * eight slots and the first bytes stand inside the context. */
#include "ctx/ctx.h"

#include <string.h>

enum { FIRST_BLOCK_BYTES = 4096, BLOCK_ALIGNMENT = 16 };

static size_t used_bytes(const ambit_ctx *ctx) {
    return ambit__load_relaxed(&ambit__ctx_entry(ctx)->bytes);
}

static void charge(ambit_ctx *ctx, size_t bytes) {
    ambit__bump_relaxed(&ambit__ctx_entry(ctx)->bytes, bytes);
}

static bool fits_budget(const ambit_ctx *ctx, size_t bytes) {
    size_t used = used_bytes(ctx);
    return used <= ctx->budget_bytes && bytes <= ctx->budget_bytes - used;
}

/* A new block with room for `bytes`, aligned; the rest of the old one is given up. */
static bool grow(ambit_ctx *ctx, size_t bytes, size_t alignment) {
    size_t size;
    if (__builtin_add_overflow(bytes, sizeof(ambit__block) + alignment, &size)) return false;
    if (size < FIRST_BLOCK_BYTES) size = FIRST_BLOCK_BYTES;
    ambit__block *block = ambit__allocate(size, BLOCK_ALIGNMENT);
    if (!block) return false;
    block->next = ctx->blocks;
    block->bytes = size;
    ctx->blocks = block;
    ctx->free_bytes = (unsigned char *)(block + 1);
    ctx->free_end = (unsigned char *)block + size;
    return true;
}

/* Memory from the arena, without regard to the budget. `alignment` is a power of two. */
static void *carve(ambit_ctx *ctx, size_t bytes, size_t alignment) {
    for (;;) {
        uintptr_t start =
            ((uintptr_t)ctx->free_bytes + alignment - 1) & ~(uintptr_t)(alignment - 1);
        if (ambit__likely(start <= (uintptr_t)ctx->free_end &&
                          bytes <= (uintptr_t)ctx->free_end - start)) {
            ctx->free_bytes = (unsigned char *)start + bytes;
            return (void *)start;
        }
        if (!grow(ctx, bytes, alignment)) return NULL;
    }
}

/* Slot number `index`, which is at most the count; NULL when there is no memory for it. */
static ambit__slot *slot_for(ambit_ctx *ctx, uint32_t index) {
    ambit__slots *slots = &ctx->values;
    for (; index >= AMBIT__INLINE_SLOTS; index -= AMBIT__INLINE_SLOTS) {
        if (!slots->next) {
            ambit__slots *more = carve(ctx, sizeof *more, _Alignof(ambit__slots));
            if (!more) return NULL;
            more->next = NULL;
            slots->next = more;
        }
        slots = slots->next;
    }
    return &slots->slots[index];
}

static const ambit__slot *find_in(const ambit_ctx *ctx, const ambit_key *key) {
    /* Acquire pairs with the release in publish(): what is counted is filled. */
    uint32_t count = ambit__load_acquire(&ctx->value_count);
    for (const ambit__slots *slots = &ctx->values;; slots = slots->next) {
        uint32_t here = count < AMBIT__INLINE_SLOTS ? count : AMBIT__INLINE_SLOTS;
        for (uint32_t i = 0; i < here; i++)
            if (slots->slots[i].key == key) return &slots->slots[i];
        count -= here;
        if (!count) return NULL; /* the writer may be setting `next` right now */
    }
}

static void publish(ambit_ctx *ctx, ambit__slot *slot, const ambit_key *key, const void *value,
                    size_t bytes) {
    *slot = (ambit__slot){key, value, bytes};
    charge(ctx, bytes);
    /* Release pairs with the acquire in find_in(). */
    ambit__bump_release(&ctx->value_count, 1);
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
    if (!fits_budget(ctx, bytes)) return AMBIT_EBUDGET;
    *slot = slot_for(ctx, ambit__load_relaxed(&ctx->value_count));
    return *slot ? AMBIT_OK : AMBIT_EMEMORY;
}

ambit_status ambit_ctx_put_bytes(ambit_ctx *ctx, const ambit_key *key, const void *value,
                                 size_t bytes) {
    ambit__slot *slot;
    ambit_status status = prepare(ctx, "ambit_ctx_put", key, bytes, &slot);
    if (status) return status;
    size_t alignment = key->alignment ? key->alignment : BLOCK_ALIGNMENT;
    void *copy = carve(ctx, bytes, alignment);
    if (!copy) return AMBIT_EMEMORY;
    if (bytes) memcpy(copy, value, bytes);
    publish(ctx, slot, key, copy, bytes);
    return AMBIT_OK;
}

static ambit__deferred *carve_deferred(ambit_ctx *ctx, void (*run)(void *), void *argument) {
    ambit__deferred *deferred = carve(ctx, sizeof *deferred, _Alignof(ambit__deferred));
    if (deferred) *deferred = (ambit__deferred){ctx->deferred, run, argument};
    return deferred;
}

ambit_status ambit_ctx_own_pointer(ambit_ctx *ctx, const ambit_key *key, void *value, size_t bytes,
                                   void (*destroy)(void *value)) {
    ambit__slot *slot;
    ambit_status status = prepare(ctx, "ambit_ctx_own", key, bytes, &slot);
    if (status) return status;
    if (destroy) {
        ambit__deferred *deferred = carve_deferred(ctx, destroy, value);
        if (!deferred) return AMBIT_EMEMORY;
        ctx->deferred = deferred;
    }
    publish(ctx, slot, key, value, bytes);
    return AMBIT_OK;
}

ambit_status ambit_ctx_defer(ambit_ctx *ctx, void (*run)(void *argument), void *argument) {
    ambit__ctx_check(ctx, "ambit_ctx_defer", NULL);
    if (ambit__ctx_is_background(ctx))
        ambit__bug("ambit_ctx_defer",
                   "expected a context that is closed some day, found the "
                   "background",
                   NULL, NULL);
    if (!fits_budget(ctx, sizeof(ambit__deferred))) return AMBIT_EBUDGET;
    ambit__deferred *deferred = carve_deferred(ctx, run, argument);
    if (!deferred) return AMBIT_EMEMORY;
    ctx->deferred = deferred;
    charge(ctx, sizeof *deferred);
    return AMBIT_OK;
}

void *ambit_ctx_alloc(ambit_ctx *ctx, size_t bytes) {
    ambit__ctx_check(ctx, "ambit_ctx_alloc", NULL);
    if (ambit__ctx_is_background(ctx))
        ambit__bug("ambit_ctx_alloc",
                   "expected a context that is closed some day, found the "
                   "background",
                   NULL, NULL);
    if (!fits_budget(ctx, bytes)) return NULL;
    void *memory = carve(ctx, bytes, 16);
    if (memory) charge(ctx, bytes);
    return memory;
}

const void *ambit_ctx_get_bytes(const ambit_ctx *ctx, const ambit_key *key, size_t *bytes) {
    if (ambit__unlikely(!key))
        ambit__bug("ambit_ctx_get", "expected a key, found NULL", NULL, NULL);
    for (; ctx; ctx = ambit__load_relaxed(&ctx->origin)) {
        const ambit__slot *slot = find_in(ctx, key);
        if (!slot) continue;
        if (bytes) *bytes = slot->bytes;
        return slot->value;
    }
    if (bytes) *bytes = 0;
    return NULL;
}

void ambit_ctx_budget_set(ambit_ctx *ctx, size_t bytes) {
    ambit__ctx_check(ctx, "ambit_ctx_budget_set", NULL);
    ctx->budget_bytes = bytes;
}

size_t ambit_ctx_bytes(const ambit_ctx *ctx) { return used_bytes(ctx); }
