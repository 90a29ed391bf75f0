/* Borrowing: an object that goes back when a context's destructors run.
 *
 * A tie lies in the context's arena and has a destructor there. Whoever takes the object out of it gives
 * it back: the destructor, or a put before. A tie that a put has emptied is used again. */
#include "pool/pool.h"

/* Its `free` is pushed to by anyone who puts, and popped by the one thread that may borrow: so what is
 * popped cannot have been popped and pushed meanwhile, and the swap is safe (Treiber's stack with one
 * taker). */
struct ties {
    ambit_ctx *ctx;
    _Atomic(struct ambit__tie *) free;
};

struct ambit__tie {
    _Atomic(ambit__object *) object; /* NULL: nothing to give back */
    struct ties *ties;
    struct ambit__tie *next_free;
};

AMBIT_KEY(ties_key, struct ties);

/* Of this context and not of an ancestor. NULL if there is no room. */
static struct ties *ties_of(ambit_ctx *ctx) {
    const struct ties *found = ambit_ctx_get(ctx, &ties_key);
    if (found && found->ctx == ctx) return (struct ties *)(uintptr_t)found;
    struct ties fresh = {ctx, NULL};
    if (ambit_ctx_put(ctx, &ties_key, &fresh)) return NULL;
    return (struct ties *)(uintptr_t)ambit_ctx_get(ctx, &ties_key);
}

static void push_free(struct ambit__tie *tie) {
    struct ties *ties = tie->ties;
    struct ambit__tie *first = ambit__load_relaxed(&ties->free);
    do {
        tie->next_free = first;
        /* Release pairs with the acquire in pop_free(). */
    } while (!ambit__swap_release(&ties->free, &first, tie));
}

static struct ambit__tie *pop_free(struct ties *ties) {
    for (;;) {
        /* Acquire pairs with the release in push_free(): `next_free` is read here. */
        struct ambit__tie *first = ambit__load_acquire(&ties->free);
        if (!first || ambit__swap_relaxed(&ties->free, &first, first->next_free)) return first;
    }
}

static void untie(ambit__object *object) {
    ambit__store_relaxed(&object->tie, NULL);
    (void)ambit__and_relaxed(&object->entry.marks, ~AMBIT__POOL_MARK_TIED);
}

/* The destructor. */
static void give_back(void *argument) {
    struct ambit__tie *tie = argument;
    /* Relaxed, all that is done to `object`: who puts what another has borrowed comes after that by what
     * has handed it on, and the end of the context comes after all that was put before. */
    ambit__object *object = ambit__exchange_relaxed(&tie->object, NULL);
    if (!object) return;
    untie(object);
    ambit_pool_put_at(object->pool, ambit__object_memory(object),
                      ambit__load_relaxed(&object->entry.site));
}

bool ambit__tie_cut(ambit__object *object) {
    struct ambit__tie *tie = ambit__load_relaxed(&object->tie);
    if (!ambit__exchange_relaxed(&tie->object, NULL)) return false;
    untie(object);
    push_free(tie);
    return true;
}

static struct ambit__tie *new_tie(ambit_ctx *ctx, struct ties *ties) {
    struct ambit__tie *tie = ambit_ctx_alloc(ctx, sizeof *tie);
    if (!tie) return NULL;
    *tie = (struct ambit__tie){.ties = ties};
    return ambit_ctx_defer(ctx, give_back, tie) ? NULL : tie;
}

void *ambit_pool_borrow_at(ambit_pool *pool, ambit_ctx *ctx, const ambit_site *site) {
    ambit__pool_check(pool, "ambit_pool_borrow", site);
    struct ties *ties = ties_of(ctx);
    struct ambit__tie *tie = ties ? pop_free(ties) : NULL;
    if (ties && !tie) tie = new_tie(ctx, ties);
    if (!tie) return NULL;
    void *memory = ambit_pool_get_at(pool, site);
    if (!memory) {
        push_free(tie);
        return NULL;
    }
    ambit__object *object = (ambit__object *)memory - 1;
    ambit__store_relaxed(&object->tie, tie);
    (void)ambit__or_relaxed(&object->entry.marks, AMBIT__POOL_MARK_TIED);
    ambit__store_relaxed(&tie->object, object);
    return memory;
}
