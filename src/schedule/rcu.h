/* The model of liburcu, one for each of its flavours. In a schedule only; `site` is where the program
 * called from. */
#ifndef AMBIT_SCHEDULE_RCU_H
#define AMBIT_SCHEDULE_RCU_H

#include "schedule/inside.h"

typedef enum ambit__rcu_flavour {
    AMBIT__RCU_MEMB,
    AMBIT__RCU_MB,
    AMBIT__RCU_SIGNAL,
    AMBIT__RCU_QSBR, /* a thread is inside from one quiescent state to the next */
    AMBIT__RCU_BP,   /* threads register themselves */
    AMBIT__RCU_FLAVOURS
} ambit__rcu_flavour;

void ambit__rcu_register(ambit__rcu_flavour flavour, const void *site);
void ambit__rcu_unregister(ambit__rcu_flavour flavour, const void *site);
void ambit__rcu_read_lock_at(ambit__rcu_flavour flavour, const void *site);
void ambit__rcu_read_unlock_at(ambit__rcu_flavour flavour, const void *site);
bool ambit__rcu_is_inside(ambit__rcu_flavour flavour);
void ambit__rcu_quiescent(ambit__rcu_flavour flavour, const void *site);
void ambit__rcu_online(ambit__rcu_flavour flavour, bool online, const void *site);
void ambit__rcu_synchronize_at(ambit__rcu_flavour flavour, const void *site);

/* What the worker calls after a grace period: `run_head(head)`, whose `head_bytes` are lent until then and
 * may not be lent twice; or, without a head, `run(argument)`. */
struct rcu_head;
typedef struct ambit__rcu_work {
    struct rcu_head *head;
    size_t head_bytes;
    void (*run_head)(struct rcu_head *head);
    void (*run)(void *argument);
    void *argument;
} ambit__rcu_work;
void ambit__rcu_call_at(ambit__rcu_flavour flavour, const ambit__rcu_work *work, const void *site);
/* Waits for all calls so far. `name` is the function. */
void ambit__rcu_barrier_at(ambit__rcu_flavour flavour, const char *name, const void *site);
/* The worker's pthread_t; 0 if there has been no call yet. */
unsigned long ambit__rcu_worker(ambit__rcu_flavour flavour);

/* rcu_liburcu.c: whether this thread, which ends, has used read sections that the headers put inline,
 * where no model can see them. */
bool ambit__rcu_was_inlined(void);
extern const char ambit__rcu_inlined_text[];

#endif
