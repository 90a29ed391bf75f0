/* The roster: a place for each object of a pool, in leaves, by which walks find it; and beside the
 * places the cells of the depot. */
#include "pool/pool.h"

#include "base/memory.h"

enum { PLACES = AMBIT__LEAF_PLACES };
#define FULL (UINT64_MAX >> (64 - PLACES))
#define LEAF_ALIGNMENT 64 /* a place is its leaf's address plus its number */

static ambit__leaf *leaf_of(uintptr_t place) {
    return (ambit__leaf *)(place & ~(uintptr_t)(LEAF_ALIGNMENT - 1));
}
static unsigned index_of(uintptr_t place) { return (unsigned)(place % LEAF_ALIGNMENT); }

/* ---- Places ---------------------------------------------------------------------------------- */

static void append(ambit_pool *pool, ambit__leaf *leaf) {
    leaf->previous = pool->last_leaf;
    leaf->number = leaf->previous ? leaf->previous->number + 1 : 0;
    if (leaf->previous)
        leaf->previous->next = leaf;
    else
        pool->leaves = pool->top = leaf;
    pool->last_leaf = pool->free_leaf = leaf;
}

static ambit__leaf *leaf_with_room(ambit_pool *pool) {
    ambit__leaf *leaf = pool->free_leaf;
    while (leaf && leaf->taken == FULL) leaf = leaf->next;
    if (leaf) pool->free_leaf = leaf;
    return leaf;
}

static uintptr_t take_from(ambit_pool *pool, ambit__leaf *leaf) {
    unsigned index = (unsigned)__builtin_ctzll(~leaf->taken);
    leaf->taken |= UINT64_C(1) << index;
    pool->objects++;
    return (uintptr_t)leaf + index;
}

bool ambit__roster_take(ambit_pool *pool, uintptr_t *place) {
    ambit__leaf *fresh = NULL;
    for (;;) {
        ambit__spin_lock(&pool->lock);
        ambit__leaf *leaf = leaf_with_room(pool);
        if (!leaf && fresh) {
            append(pool, leaf = fresh);
            fresh = NULL;
        }
        if (leaf) *place = take_from(pool, leaf);
        ambit__spin_unlock(&pool->lock);
        if (leaf) break;
        fresh = ambit__allocate_zero(sizeof *fresh, LEAF_ALIGNMENT);
        if (!fresh) return false;
    }
    ambit__release(fresh, sizeof *fresh, LEAF_ALIGNMENT);
    return true;
}

void ambit__roster_set(ambit_pool *pool, uintptr_t place, ambit__object *object) {
    ambit__spin_lock(&pool->lock);
    leaf_of(place)->places[index_of(place)] = object;
    ambit__spin_unlock(&pool->lock);
}

/* The last leaf if it and the one before are empty: then there are cells enough without it. */
static ambit__leaf *cut_last(ambit_pool *pool) {
    ambit__leaf *last = pool->last_leaf;
    ambit__leaf *before = last->previous;
    if (!before || last->taken || before->taken) return NULL;
    if (pool->top == last) {
        if (pool->top_cell) return NULL;
        pool->top = before;
        pool->top_cell = PLACES;
    }
    before->next = NULL;
    pool->last_leaf = before;
    if (pool->free_leaf == last) pool->free_leaf = before;
    return last;
}

static void release_leaf(ambit__leaf *leaf) {
    leaf->retired = (ambit__retired){NULL, leaf, sizeof *leaf, LEAF_ALIGNMENT};
    ambit__walk_release(&leaf->retired);
}

void ambit__roster_give_back(ambit_pool *pool, uintptr_t place) {
    ambit__leaf *leaf = leaf_of(place);
    ambit__spin_lock(&pool->lock);
    leaf->places[index_of(place)] = NULL;
    leaf->taken &= ~(UINT64_C(1) << index_of(place));
    if (leaf->number < pool->free_leaf->number) pool->free_leaf = leaf;
    pool->objects--;
    ambit__leaf *cut = cut_last(pool);
    ambit__spin_unlock(&pool->lock);
    if (cut) release_leaf(cut);
}

/* A leaf that is cut off meanwhile is still there, empty, and the last one. */
void ambit__roster_walk(ambit_pool *pool, void (*visit)(ambit__object *object, void *argument),
                        void *argument) {
    ambit__object *seen[PLACES];
    ambit__spin_lock(&pool->lock);
    ambit__leaf *leaf = pool->leaves;
    while (leaf) {
        unsigned count = 0;
        for (unsigned i = 0; i < PLACES; i++)
            if (leaf->places[i]) seen[count++] = leaf->places[i];
        leaf = leaf->next;
        ambit__spin_unlock(&pool->lock);
        for (unsigned i = 0; i < count; i++) visit(seen[i], argument);
        ambit__spin_lock(&pool->lock);
    }
    ambit__spin_unlock(&pool->lock);
}

void ambit__roster_release(ambit_pool *pool) {
    ambit__spin_lock(&pool->lock);
    ambit__leaf *leaf = pool->leaves;
    pool->leaves = pool->last_leaf = pool->free_leaf = pool->top = NULL;
    pool->top_cell = 0;
    ambit__spin_unlock(&pool->lock);
    while (leaf) {
        ambit__leaf *next = leaf->next;
        release_leaf(leaf);
        leaf = next;
    }
}

/* ---- Cells ----------------------------------------------------------------------------------- */

void ambit__depot_push(ambit_pool *pool, ambit__object *object) {
    if (pool->top_cell == PLACES) {
        pool->top = pool->top->next;
        pool->top_cell = 0;
    }
    pool->top->cells[pool->top_cell++] = object;
    pool->depot++;
}

ambit__object *ambit__depot_pop(ambit_pool *pool) {
    if (!pool->depot) return NULL;
    if (!pool->top_cell) {
        pool->top = pool->top->previous;
        pool->top_cell = PLACES;
    }
    if (--pool->depot < pool->lowest) pool->lowest = pool->depot;
    return pool->top->cells[--pool->top_cell];
}

/* ---- After a fork ---------------------------------------------------------------------------- */

/* What another thread was about to put into quarantine, or had just taken out of it, is lost with that
 * thread: it may be half destroyed, and there may be no room. */
static void keep_forked(ambit_pool *pool, ambit__object *object) {
    uint32_t marks = ambit__load_relaxed(&object->entry.marks);
    if (!(marks & AMBIT__POOL_MARK_PUT))
        ambit__depot_push(pool, object);
    else if (marks & AMBIT__POOL_MARK_RESTS && pool->rest_count < pool->options.quarantine)
        pool->quarantine[pool->rest_count++] = object;
}

/* Whatever a thread that did not come along was doing: what has no site is free, and what had not got
 * its place or had lost it is not there. */
static void count_leaf(ambit_pool *pool, ambit__leaf *leaf) {
    leaf->taken = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        ambit__object *object = leaf->places[i];
        if (!object) continue;
        leaf->taken |= UINT64_C(1) << i;
        pool->objects++;
        if (ambit__load_relaxed(&object->entry.site)) continue;
        keep_forked(pool, object);
    }
    pool->last_leaf = leaf;
}

AMBIT__UNCHECKED void ambit__roster_forked(ambit_pool *pool) {
    pool->top = pool->free_leaf = pool->leaves;
    pool->top_cell = pool->depot = pool->objects = 0;
    pool->rest_first = pool->rest_count = 0;
    for (ambit__leaf *leaf = pool->leaves; leaf; leaf = leaf->next) count_leaf(pool, leaf);
    pool->lowest = pool->lowest_before = pool->surplus = 0;
}
