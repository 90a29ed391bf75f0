/* The model of liburcu, one for each of its flavours. In a schedule only; `site` is where the
 * program called from. */
#ifndef AMBIT_SCHEDULE_RCU_H
#define AMBIT_SCHEDULE_RCU_H

#include "schedule/inside.h"

typedef enum ambit__model_flavour {
    AMBIT__RCU_MEMB,
    AMBIT__RCU_MB,
    AMBIT__RCU_SIGNAL,
    AMBIT__RCU_QSBR, /* a thread is inside from one quiescent state to the next */
    AMBIT__RCU_BP,   /* threads register themselves */
    AMBIT__RCU_FLAVOURS
} ambit__model_flavour;

void ambit__model_register(ambit__model_flavour flavour, const void *site);
void ambit__model_unregister(ambit__model_flavour flavour, const void *site);
void ambit__model_read_lock(ambit__model_flavour flavour, const void *site);
void ambit__model_read_unlock(ambit__model_flavour flavour, const void *site);
bool ambit__model_is_inside(ambit__model_flavour flavour);
void ambit__model_quiescent(ambit__model_flavour flavour, const void *site);
void ambit__model_online(ambit__model_flavour flavour, bool online, const void *site);
void ambit__model_synchronize(ambit__model_flavour flavour, const void *site);

/* What the worker calls after a grace period: `run_head(head)`, whose `head_bytes` are lent until
 * then and may not be lent twice; or, without a head, `run(argument)`. */
struct rcu_head;
typedef struct ambit__model_work {
    struct rcu_head *head;
    size_t head_bytes;
    void (*run_head)(struct rcu_head *head);
    void (*run)(void *argument);
    void *argument;
} ambit__model_work;
void ambit__model_call(ambit__model_flavour flavour, const ambit__model_work *work,
                       const void *site);
/* Waits for all calls so far. `name` is the function. */
void ambit__model_barrier(ambit__model_flavour flavour, const char *name, const void *site);
/* The worker's pthread_t; 0 if there has been no call yet. */
unsigned long ambit__model_worker(ambit__model_flavour flavour);

/* rcu_liburcu.c: whether this thread, which ends, has used read sections that the headers put
 * inline, where no model can see them. */
bool ambit__model_was_inlined(void);
extern const char ambit__model_inlined_text[];

#endif
