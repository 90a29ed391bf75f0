/* What begins, and ends, with each schedule: in one place, in the order that the parts need. */
#include <stdio.h>

#include "schedule/inside.h"

bool ambit__keeping;

void ambit__reset_all(void) {
    ambit__schedule_number++;
    ambit__threads_reset();
    ambit__objects_reset();
    ambit__shadow_reset();
    ambit__arena_reset();
    ambit__history_reset();
    ambit__futex_reset();
    ambit__descriptors_reset();
    ambit__rcu_reset();
}

void ambit__undo_all(void) {
    ambit__shadow_undo();
    ambit__descriptors_reset(); /* the last schedule's would stay open */
}

void ambit__keep_all(void) {
    ambit__threads_keep();
    ambit__objects_keep();
    ambit__shadow_keep();
    ambit__arena_keep();
    ambit__descriptors_keep();
    ambit__rcu_keep();
}

void ambit__forget_all(void) {
    ambit__shadow_forget();
    ambit__arena_forget();
    ambit__atfork_forget();
    ambit__threads_forget();
    ambit__objects_forget();
    ambit__descriptors_forget();
    ambit__rcu_forget();
}

void ambit__look_for_leaks(void) {
    const void *site;
    size_t bytes;
    unsigned blocks;
    if (!ambit__arena_find_leak(&site, &bytes, &blocks)) return;
    ambit__found.failure = AMBIT_SCHEDULE_LEAK;
    ambit__found.site = site;
    (void)snprintf(
        ambit__found.message, sizeof ambit__found.message,
        "leak: %u block%s of the heap, %zu bytes in all, that nothing points to at the end", blocks,
        blocks == 1 ? "" : "s", bytes);
}
