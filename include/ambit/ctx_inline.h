/* The inside of a context as far as the fast calls need it: they are inline and cost a few
 * instructions. ctx.h is the manual; nothing here is to be used by its own name. */
#ifndef AMBIT_CTX_INLINE_H
#define AMBIT_CTX_INLINE_H

#include "ambit/ctx.h"
#include "ambit/entry.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AMBIT__INLINE_SLOTS 8
#define AMBIT__HINTS 32
#define AMBIT__GRANULE 16 /* the arena's alignment; everything in it is a multiple long */

typedef struct ambit__slot {
    const ambit_key *key;
    const void *value;
    size_t bytes;
} ambit__slot;

typedef struct ambit__deferred {
    void (*run)(void *argument);
    void *argument;
} ambit__deferred;

/* The first fields of every context. A context that was given back has no arena and no values, so
 * that an inline call on it takes the long way, which stops; its state is that it has ended. */
struct ambit__ctx_head {
    /* read by everyone below */
    ambit__entry entry;
    AMBIT__ATOMIC(uint32_t) state; /* 0 while it lives, then its ambit_status, for good */
    AMBIT__ATOMIC(uint32_t) depth;
    AMBIT__ATOMIC(int64_t) deadline_ns; /* the earliest on the way to the root; constant */
    const ambit_ctx *parent;            /* for cancellation; NULL under the background; constant */
    AMBIT__ATOMIC(struct ambit__shards *) shards; /* counts keepers by thread; NULL: `keepers` */

    /* Externally serialised: arena, budget and values. The arena's block is filled from both ends:
     * memory from below, and a stack of destructors that grows down from its top, so that neither
     * waits for what the other has just stored. */
    unsigned char *free_bytes, *free_end; /* multiples of the granule */
    unsigned char *block_top;
    AMBIT__ATOMIC(size_t) deferred_bytes; /* of the destructors, in all blocks */
    AMBIT__ATOMIC(ambit_ctx *) origin;    /* where values are looked up next, and what it keeps */
    AMBIT__ATOMIC(uint32_t) value_count;
    AMBIT__ATOMIC(uint32_t) order_children;
    AMBIT__ATOMIC(size_t) budget_bytes; /* what children inherit */
    struct ambit__slots *more;          /* slots from the ninth on */

    /* Where a key may be: 0 for nowhere in this context, i + 1 for slot i below, more for anywhere.
     * The first key of a hint keeps it. */
    AMBIT__ATOMIC(uint8_t) hints[AMBIT__HINTS];
    ambit__slot slots[AMBIT__INLINE_SLOTS];
};

AMBIT__INLINE struct ambit__ctx_head *ambit__head_of(const ambit_ctx *ctx) {
    return (struct ambit__ctx_head *)(uintptr_t)ctx;
}

/* ---- State ----------------------------------------------------------------------------------- */

ambit_status ambit__ctx_err_deadline(const ambit_ctx *ctx);
ambit_status ambit__ctx_err_ended(const ambit_ctx *ctx);

static inline ambit_status ambit_ctx_err(const ambit_ctx *ctx) {
    const struct ambit__ctx_head *own = ambit__head_of(ctx);
    const struct ambit__ctx_head *at = own;
    do {
        /* Relaxed: who finds an end goes on to where it is loaded again, with acquire. */
        if (__builtin_expect(AMBIT__LOAD_RELAXED(&at->state) != 0, 0))
            return ambit__ctx_err_ended(ctx);
        at = ambit__head_of(at->parent);
    } while (at);
    /* Relaxed: it was written before the context was handed to anyone. */
    if (AMBIT__LOAD_RELAXED(&own->deadline_ns) == AMBIT_NEVER) return AMBIT_OK;
    return ambit__ctx_err_deadline(ctx);
}

/* ---- Arena ----------------------------------------------------------------------------------- */

void *ambit__ctx_alloc(ambit_ctx *ctx, size_t bytes);
ambit_status ambit__ctx_defer(ambit_ctx *ctx, void (*run)(void *argument), void *argument);

/* What the budget counts. Relaxed, here and below: one thread writes, and others may read any of
 * the values. */
AMBIT__INLINE size_t ambit__ctx_used_bytes(const struct ambit__ctx_head *head) {
    return (size_t)AMBIT__LOAD_RELAXED(&head->entry.bytes) +
           AMBIT__LOAD_RELAXED(&head->deferred_bytes);
}

/* True if the budget has `charged` bytes left. It may have been lowered below what is in use. */
AMBIT__INLINE int ambit__ctx_affords(const struct ambit__ctx_head *head, size_t charged) {
    size_t used = ambit__ctx_used_bytes(head);
    size_t budget = AMBIT__LOAD_RELAXED(&head->budget_bytes);
    return used <= budget && charged <= budget - used;
}

/* True if the arena's block has `bytes` left and the budget `charged`. */
AMBIT__INLINE int ambit__ctx_fits(const struct ambit__ctx_head *head, size_t bytes,
                                  size_t charged) {
    return bytes <= (size_t)(head->free_end - head->free_bytes) &&
           ambit__ctx_affords(head, charged);
}

AMBIT__INLINE void ambit__ctx_charge(struct ambit__ctx_head *head, size_t bytes) {
    /* Release pairs with the acquires of walks: see ambit__slab_born(). */
    AMBIT__STORE_RELEASE(&head->entry.bytes, AMBIT__LOAD_RELAXED(&head->entry.bytes) + bytes);
}

/* After ambit__ctx_fits(): takes `bytes`. */
AMBIT__INLINE void *ambit__ctx_take(struct ambit__ctx_head *head, size_t bytes) {
    unsigned char *start = head->free_bytes;
    head->free_bytes = start + ((bytes + AMBIT__GRANULE - 1) & ~(size_t)(AMBIT__GRANULE - 1));
    return start;
}

static inline void *ambit_ctx_alloc(ambit_ctx *ctx, size_t bytes) {
    struct ambit__ctx_head *head = ambit__head_of(ctx);
    if (__builtin_expect(!ctx || !head->free_bytes || !ambit__ctx_fits(head, bytes, bytes), 0))
        return ambit__ctx_alloc(ctx, bytes);
    ambit__ctx_charge(head, bytes);
    return ambit__ctx_take(head, bytes);
}

/* After ambit__ctx_fits() with the size of one. */
AMBIT__INLINE void ambit__ctx_push_deferred(struct ambit__ctx_head *head, void (*run)(void *),
                                            void *argument) {
    head->free_end -= sizeof(ambit__deferred);
    ambit__deferred *deferred = (ambit__deferred *)(void *)head->free_end;
    deferred->run = run;
    deferred->argument = argument;
    AMBIT__STORE_RELAXED(&head->deferred_bytes,
                         AMBIT__LOAD_RELAXED(&head->deferred_bytes) + sizeof(ambit__deferred));
}

static inline ambit_status ambit_ctx_defer(ambit_ctx *ctx, void (*run)(void *argument),
                                           void *argument) {
    struct ambit__ctx_head *head = ambit__head_of(ctx);
    if (__builtin_expect(
            !ctx || !run ||
                !ambit__ctx_fits(head, sizeof(ambit__deferred), sizeof(ambit__deferred)),
            0))
        return ambit__ctx_defer(ctx, run, argument);
    ambit__ctx_push_deferred(head, run, argument);
    return AMBIT_OK;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Keys that stand side by side, 24 or 32 bytes apart, get hints of their own. */
AMBIT__INLINE unsigned ambit__key_hint(const ambit_key *key) {
    uintptr_t address = (uintptr_t)key;
    return (unsigned)((address >> 3) + (address >> 5)) % AMBIT__HINTS;
}

/* True if the next slot is inside and the key surely not there yet. */
AMBIT__INLINE int ambit__ctx_is_new(const struct ambit__ctx_head *head, const ambit_key *key) {
    return head->free_bytes && AMBIT__LOAD_RELAXED(&head->value_count) < AMBIT__INLINE_SLOTS &&
           !AMBIT__LOAD_RELAXED(&head->hints[ambit__key_hint(key)]);
}

/* Puts a value into the next slot inside. */
AMBIT__INLINE void ambit__ctx_publish(struct ambit__ctx_head *head, const ambit_key *key,
                                      const void *value, size_t bytes) {
    uint32_t index = AMBIT__LOAD_RELAXED(&head->value_count);
    ambit__slot *slot = &head->slots[index];
    slot->key = key;
    slot->value = value;
    slot->bytes = bytes;
    /* Release pairs with the acquire in ambit__ctx_get(), and that of the count with the one in
     * find_in(): what can be found is filled. */
    AMBIT__STORE_RELEASE(&head->hints[ambit__key_hint(key)], (uint8_t)(index + 1));
    AMBIT__STORE_RELEASE(&head->value_count, index + 1);
}

/* True if that was all; false: the long way knows what to do. */
AMBIT__INLINE int ambit__ctx_put_inside(ambit_ctx *ctx, const ambit_key *key, const void *value,
                                        size_t bytes, size_t alignment) {
    struct ambit__ctx_head *head = ambit__head_of(ctx);
    if (__builtin_expect(!ctx || !key || alignment > AMBIT__GRANULE ||
                             !ambit__ctx_is_new(head, key) || !ambit__ctx_fits(head, bytes, bytes),
                         0))
        return 0;
    ambit__ctx_charge(head, bytes);
    void *copy = ambit__ctx_take(head, bytes);
    if (bytes) __builtin_memcpy(copy, value, bytes);
    ambit__ctx_publish(head, key, copy, bytes);
    return 1;
}

AMBIT_MUST_CHECK AMBIT__INLINE ambit_status ambit__ctx_put(ambit_ctx *ctx, const ambit_key *key,
                                                           const void *value, size_t bytes,
                                                           size_t alignment) {
    if (__builtin_expect(ambit__ctx_put_inside(ctx, key, value, bytes, alignment), 1))
        return AMBIT_OK;
    return ambit_ctx_put_bytes(ctx, key, value, bytes);
}

AMBIT_MUST_CHECK AMBIT__INLINE ambit_status ambit__ctx_own(ambit_ctx *ctx, const ambit_key *key,
                                                           void *value, size_t bytes,
                                                           void (*destroy)(void *value)) {
    struct ambit__ctx_head *head = ambit__head_of(ctx);
    if (__builtin_expect(!ctx || !key || !ambit__ctx_is_new(head, key) ||
                             !ambit__ctx_fits(head, sizeof(ambit__deferred), bytes),
                         0))
        return ambit_ctx_own_pointer(ctx, key, value, bytes, destroy);
    if (destroy) ambit__ctx_push_deferred(head, destroy, value);
    ambit__ctx_charge(head, bytes);
    ambit__ctx_publish(head, key, value, bytes);
    return AMBIT_OK;
}

/* The slot if the key's hint leads to it, else NULL. */
AMBIT__INLINE const ambit__slot *ambit__ctx_slot(const ambit_ctx *ctx, const ambit_key *key) {
    const struct ambit__ctx_head *head = ambit__head_of(ctx);
    /* Acquire pairs with the release in ambit__ctx_publish(). */
    unsigned index = AMBIT__LOAD_ACQUIRE(&head->hints[ambit__key_hint(key)]) - 1u;
    if (__builtin_expect(index < AMBIT__INLINE_SLOTS && head->slots[index].key == key, 1))
        return &head->slots[index];
    return NULL;
}

AMBIT__INLINE const void *ambit__ctx_get(const ambit_ctx *ctx, const ambit_key *key) {
    const ambit__slot *slot = ctx ? ambit__ctx_slot(ctx, key) : NULL;
    return __builtin_expect(slot != NULL, 1) ? slot->value : ambit_ctx_get_bytes(ctx, key, NULL);
}

#ifdef __cplusplus
}
#endif
#endif
