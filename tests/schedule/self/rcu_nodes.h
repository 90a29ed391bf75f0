/* Nodes that readers find by one pointer, for the suites of liburcu's model. */
#ifndef AMBIT_TESTS_SCHEDULE_RCU_NODES_H
#define AMBIT_TESTS_SCHEDULE_RCU_NODES_H

#include <stdatomic.h>
#include <stdlib.h>

#include <urcu/urcu-memb.h>

#include "outcome.h"

typedef struct node {
    int value;
    struct rcu_head head;
} node;

static _Atomic(node *) published;

static inline node *new_node(int value) {
    node *new = malloc(sizeof *new);
    new->value = value;
    return new;
}
static inline node *seen(void) { return atomic_load_explicit(&published, memory_order_acquire); }
static inline node *replace_by(node *new) {
    return atomic_exchange_explicit(&published, new, memory_order_acq_rel);
}
static inline void free_node(struct rcu_head *head) { free((char *)head - offsetof(node, head)); }

static ambit_schedule_thread threads[3];
static inline void run(ambit_schedule_fn *one, ambit_schedule_fn *two, ambit_schedule_fn *three) {
    ambit_schedule_fn *all[3] = {one, two, three};
    for (unsigned i = 0; i < 3; i++)
        if (all[i]) threads[i] = ambit_schedule_spawn(all[i], NULL);
    for (unsigned i = 0; i < 3; i++)
        if (all[i]) ambit_schedule_join(threads[i]);
}

#endif
