#include "timer/stamp.h"

#include "base/clock.h"
#include "timer/wheel.h"

#ifndef AMBIT__STAMP_RENEWALS /* the controlled scheduler's build has a few */
#define AMBIT__STAMP_RENEWALS 10
#endif
#define PERIOD_NS (100 * AMBIT_MILLISECOND)

static ambit__timer_node node;
static _Atomic(uint32_t)
    renewing; /* the node is armed, or about to be; that thread has what follows */
static uint32_t left;

static void rest(void) {
    ambit__stamp_set(0);
    /* Release pairs with the acquire in ambit__stamp_wake(): the node is idle, and `left` is the next
     * one's. */
    ambit__store_release(&renewing, 0);
}

static void renew(ambit__timer_node *unused) {
    (void)unused;
    ambit__stamp_set(left ? ambit__clock_coarse() : 0);
}

static void arm(void) {
    if (!left || ambit__timer_node_arm(&node, ambit__clock_now() + PERIOD_NS, renew)) rest();
}

/* The node is idle again. */
static void renewed(ambit__timer_node *unused) {
    (void)unused;
    if (left) left--;
    arm();
}

int64_t ambit__stamp_wake(void) {
    int64_t now_ns = ambit__clock_coarse();
    if (ambit__clock_is_custom() || ambit__load_relaxed(&renewing) ||
        ambit__exchange_acquire(&renewing, 1))
        return now_ns;
    left = AMBIT__STAMP_RENEWALS;
    node.fired = renewed;
    ambit__stamp_set(now_ns);
    arm();
    return now_ns;
}

void ambit__stamp_stop(void) { ambit__stamp_set(0); }

void ambit__stamp_renewal_forked(void) {
    ambit__stamp_forked();
    node = (ambit__timer_node){.wheel = NULL};
    ambit__store_relaxed(&renewing, 0);
}
