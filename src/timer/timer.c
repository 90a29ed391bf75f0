/* Public timers: a node in a slab object, named by a handle with its generation. */
#include <stddef.h>

#include "base/bug.h"
#include "base/clock.h"
#include "census/slab.h"
#include "timer/service.h"

struct ambit__timer_entry {
    ambit__entry entry;
    ambit__timer_node node;
    ambit_timer_fn *run;
    void *argument;
} __attribute__((aligned(64)));

static void inspect(const ambit__entry *entry, ambit__facts *facts) {
    (void)entry;
    facts->deadline_ns = AMBIT_NEVER; /* it fires by itself: being late is not its owner's fault */
}

ambit__slab ambit__slab_timer = {AMBIT__SLAB_LOCK, .kind = AMBIT_KIND_TIMER,
                                 .object_bytes = sizeof(struct ambit__timer_entry),
                                 .inspect = inspect};

static struct ambit__timer_entry *entry_of(ambit__timer_node *node) {
    return (struct ambit__timer_entry *)(void *)((char *)node -
                                                 offsetof(struct ambit__timer_entry, node));
}

static void fire(ambit__timer_node *node) {
    struct ambit__timer_entry *timer = entry_of(node);
    timer->run(timer->argument);
}

static void give_back(ambit__timer_node *node) {
    ambit__slab_put(&ambit__slab_timer, AMBIT_KIND_TIMER, ambit__thread_self(),
                    &entry_of(node)->entry);
}

ambit_status ambit_timer_arm_at(int64_t deadline_ns, ambit_timer_fn *run, void *argument,
                                ambit_timer *out, const ambit_site *site) {
    if (ambit__unlikely(!run))
        ambit__bug("ambit_timer_arm", "expected a function, found NULL", site, NULL);
    *out = (ambit_timer){NULL, 0};
    ambit__thread *self = ambit__thread_self();
    struct ambit__timer_entry *timer =
        self ? ambit__slab_get(&ambit__slab_timer, AMBIT_KIND_TIMER, self) : NULL;
    if (!timer) return AMBIT_EMEMORY;
    timer->run = run;
    timer->argument = argument;
    timer->node.fired = give_back;
    ambit_timer handle = {timer, timer->node.generation};
    ambit__slab_born(&timer->entry, site, ambit__clock_coarse());
    ambit_status status = ambit__timer_arm(self, &timer->node, deadline_ns, fire);
    if (status)
        give_back(&timer->node);
    else
        *out = handle;
    return status;
}

ambit_disarm ambit_timer_disarm(ambit_timer timer) {
    if (!timer.entry) return AMBIT_FIRED;
    ambit_disarm found = ambit__timer_disarm(&timer.entry->node, false, timer.generation);
    if (found == AMBIT_DISARMED) give_back(&timer.entry->node);
    return found;
}

int ambit_timer_reset(ambit_timer timer, int64_t deadline_ns) {
    return timer.entry && ambit__timer_reset(&timer.entry->node, timer.generation, deadline_ns);
}
