/* The order in which ambit's locks are taken: from the top of this list to its end. A thread that has
 * one may take those below it, and no other; contexts' lists also one after another, a parent's
 * before its child's. Checked in test builds; in others a rank costs nothing. */
#ifndef AMBIT_BASE_RANK_H
#define AMBIT_BASE_RANK_H

#include <stdint.h>

typedef enum ambit__rank {
    AMBIT__RANK_NONE = 0,    /* not checked: the locks of tests */
    AMBIT__RANK_CHECK,       /* census/check.c: one check at a time, the program's hook included */
    AMBIT__RANK_WATCHER,     /* census/watcher.c: start and stop */
    AMBIT__RANK_WATCHER_SET, /* its period and hook */
    AMBIT__RANK_TIMER,       /* timer/service.c: start, stop, a new wheel */
    AMBIT__RANK_RCU,         /* base/rcu.c: start */
    AMBIT__RANK_CTX,         /* ctx/shard.h: a list of those who wait */
    AMBIT__RANK_WHEEL,       /* timer/slots.h */
    AMBIT__RANK_SHARDS,      /* ctx/shard.c: free ones */
    AMBIT__RANK_POOLS,       /* pool/open.c: all pools */
    AMBIT__RANK_POOL,        /* pool/pool.h: one of them */
    AMBIT__RANK_TIES,        /* pool/tie.c */
    AMBIT__RANK_WALKS,       /* census/walk.c */
    AMBIT__RANK_MARKS,       /* census/check.c: reports and returns */
    AMBIT__RANK_SLOW,        /* census/slow.c */
    AMBIT__RANK_SLAB,        /* census/slab.c */
    AMBIT__RANK_STACKS,      /* census/stack.c */
    AMBIT__RANK_REGISTRY,    /* base/thread.c */
    AMBIT__RANK_CLOCK        /* base/clock.c */
} ambit__rank;

#ifdef AMBIT_TESTING
/* This thread is about to wait for the lock: stops if it has one that comes after it. */
void ambit__rank_wants(ambit__rank rank);
/* It has it; it has given it back. */
void ambit__rank_took(ambit__rank rank);
void ambit__rank_gave(ambit__rank rank);
/* In a child of fork(), where locks are opened whoever had them. */
void ambit__rank_forget(void);
#define AMBIT__RANKED(name) .rank = (name)
#define AMBIT__RANK_SET(lock, name) ((void)((lock)->rank = (name)))
#else
#define ambit__rank_wants(rank) ((void)0)
#define ambit__rank_took(rank) ((void)0)
#define ambit__rank_gave(rank) ((void)0)
#define ambit__rank_forget() ((void)0)
#define AMBIT__RANKED(name)
#define AMBIT__RANK_SET(lock, name) ((void)(lock))
#endif

#endif
