/* The fast half of a pool: a get and a put that find the thread's magazine neither empty nor full. pool.h
 * is the manual; nothing here is to be used by its own name.
 *
 * WHO MAY TOUCH A MAGAZINE. Its owner, without a lock; and anyone who has the pool's lock and has sent
 * the owner away, as trimming does (a visitor):
 *
 *     the owner                                     the visitor, with the pool's lock
 *     A1  inside = 1                                V1  slot = NULL
 *         (light barrier)                               (heavy barrier)
 *     A2  slot? uses it (acquire)                   V2  waits until not inside (acquire)
 *         NULL? inside = 0, and on to the lock          uses the magazine
 *     A3  inside = 0 (release)                      V3  slot = the magazine (release)
 *
 * Dekker's algorithm with membarrier(2), as in base/bias.h: if A1 came before the heavy barrier, V2 sees
 * it and waits; if after, A2 sees V1. A3 with V2, and V3 with A2 or the lock, order what they did.
 * `inside` belongs to the thread and not to a magazine, which saves an address; between A1 and A3 there
 * is no call. */
#ifndef AMBIT_POOL_INLINE_H
#define AMBIT_POOL_INLINE_H

#include "ambit/entry.h"
#include "ambit/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AMBIT__POOLS_FAST                                                                          \
    64 /* open pools with magazines; what is opened beyond uses its depot only */
#ifndef AMBIT__MAGAZINE_ITEMS /* the controlled scheduler's build has a few */
#define AMBIT__MAGAZINE_ITEMS 64
#endif

/* In front of each object. */
typedef struct ambit__object {
    ambit__entry entry; /* its site is NULL while it is free; `bytes` are the pool's, constant */
    ambit_pool *pool;   /* constant */
    AMBIT__ATOMIC(const ambit_site *) put_site; /* where it was put last */
    AMBIT__ATOMIC(struct ambit__tie *) tie;     /* to the context that it goes back with */
    uintptr_t place;                            /* in the pool's roster; constant */
} __attribute__((aligned(64))) ambit__object;

typedef struct ambit__magazine {
    AMBIT__ATOMIC(uint32_t) count; /* read by anyone */
    uint32_t capacity;             /* constant; at most AMBIT__MAGAZINE_ITEMS */
    AMBIT__ATOMIC(uint64_t) gets;  /* by its owner; read by anyone */
    ambit__object *items[AMBIT__MAGAZINE_ITEMS];
} ambit__magazine;

typedef struct ambit__pool_local {
    AMBIT__ATOMIC(uint32_t) inside;
    AMBIT__ATOMIC(ambit__magazine *)
    magazines[AMBIT__POOLS_FAST + 1]; /* the last is NULL for ever */
} ambit__pool_local;
extern __thread ambit__pool_local ambit__pools_of_thread __attribute__((tls_model("initial-exec")));

/* The first fields of a pool: its magazines' index for either call; AMBIT__POOLS_FAST, whose slot is NULL
 * for ever, where that has to go the long way. */
struct ambit__pool_head {
    AMBIT__ATOMIC(uint32_t) get_index;
    AMBIT__ATOMIC(uint32_t) put_index;
};

#if defined(__SANITIZE_ADDRESS__)
#define AMBIT__UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define AMBIT__UNDER_ASAN 1
#endif
#endif
/* With AddressSanitizer a free object is poisoned by the put, which is then always careful. */
#ifdef AMBIT__UNDER_ASAN
#include <sanitizer/asan_interface.h>
#define AMBIT__POISONS 1
#define AMBIT__POISON(memory, bytes) __asan_poison_memory_region((memory), (bytes))
#define AMBIT__UNPOISON(memory, bytes) __asan_unpoison_memory_region((memory), (bytes))
#else
#define AMBIT__POISONS 0
#define AMBIT__POISON(memory, bytes) ((void)0)
#define AMBIT__UNPOISON(memory, bytes) ((void)0)
#endif

void *ambit__pool_get(ambit_pool *pool, const ambit_site *site);
void ambit__pool_put(ambit_pool *pool, void *memory, const ambit_site *site);
/* The rest of a put whose object has no site any more; still inside. */
void ambit__pool_put_rest(ambit__object *object);

AMBIT__INLINE const struct ambit__pool_head *ambit__pool_head_of(const ambit_pool *pool) {
    return (const struct ambit__pool_head *)(const void *)pool;
}

AMBIT__INLINE void *ambit_pool_get_at(ambit_pool *pool, const ambit_site *site) {
    if (__builtin_expect(!pool, 0)) return ambit__pool_get(pool, site);
    AMBIT__STORE_RELAXED(&ambit__pools_of_thread.inside, 1); /* A1 */
    AMBIT__LIGHT_BARRIER();
    uint32_t index = AMBIT__LOAD_RELAXED(&ambit__pool_head_of(pool)->get_index);
    ambit__magazine *magazine =
        AMBIT__LOAD_ACQUIRE(&ambit__pools_of_thread.magazines[index]); /* A2 */
    int64_t now_ns = AMBIT__LOAD_RELAXED(&ambit__stamp.now_ns);
    if (__builtin_expect(!magazine || !now_ns, 0)) return ambit__pool_get(pool, site);
    uint32_t count = AMBIT__LOAD_RELAXED(&magazine->count);
    if (__builtin_expect(!count, 0)) return ambit__pool_get(pool, site);
    ambit__object *object = magazine->items[count - 1];
    if (__builtin_expect(AMBIT__LOAD_RELAXED(&object->entry.site) != NULL, 0))
        return ambit__pool_get(pool, site);
    AMBIT__STORE_RELAXED(&magazine->count, count - 1);
    AMBIT__STORE_RELAXED(&magazine->gets, AMBIT__LOAD_RELAXED(&magazine->gets) + 1);
    AMBIT__STORE_RELEASE(&ambit__pools_of_thread.inside, 0); /* A3 */
    /* The birth, then the site, both released, for walks: see ambit__slab_born(). The rest stays from
     * life to life, or is cleared by the put. */
    AMBIT__STORE_RELEASE(&object->entry.birth_ns, now_ns);
    AMBIT__STORE_RELEASE(&object->entry.site, site);
    AMBIT__UNPOISON(object + 1, AMBIT__LOAD_RELAXED(&object->entry.bytes));
    return object + 1;
}

AMBIT__INLINE void ambit_pool_put_at(ambit_pool *pool, void *memory, const ambit_site *site) {
    if (__builtin_expect(!memory, 0)) return;
    ambit__object *object = (ambit__object *)memory - 1;
    if (__builtin_expect(object->pool != pool || !AMBIT__LOAD_RELAXED(&object->entry.site), 0)) {
        ambit__pool_put(pool, memory, site);
        return;
    }
    AMBIT__STORE_RELAXED(&object->put_site, site);
    AMBIT__STORE_RELAXED(&object->entry.site, NULL);
    AMBIT__STORE_RELAXED(&ambit__pools_of_thread.inside, 1); /* A1 */
    /* Also between the site and the marks: see ambit__slab_put(). */
    AMBIT__LIGHT_BARRIER();
    uint32_t index = AMBIT__LOAD_RELAXED(&ambit__pool_head_of(pool)->put_index);
    ambit__magazine *magazine =
        AMBIT__LOAD_ACQUIRE(&ambit__pools_of_thread.magazines[index]); /* A2 */
    if (__builtin_expect(!magazine || AMBIT__LOAD_RELAXED(&object->entry.marks), 0)) {
        ambit__pool_put_rest(object);
        return;
    }
    uint32_t count = AMBIT__LOAD_RELAXED(&magazine->count);
    if (__builtin_expect(count == magazine->capacity, 0)) {
        ambit__pool_put_rest(object);
        return;
    }
    magazine->items[count] = object;
    AMBIT__STORE_RELAXED(&magazine->count, count + 1);
    AMBIT__STORE_RELEASE(&ambit__pools_of_thread.inside, 0); /* A3 */
}

#ifdef __cplusplus
}
#endif
#endif
