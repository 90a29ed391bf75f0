#include "census/walk.h"

#include "base/memory.h"
#include "base/park.h"

static ambit__spin lock = {AMBIT__RANKED(AMBIT__RANK_WALKS)};
static uint32_t walks AMBIT__GUARDED_BY(lock);
static ambit__retired *waiting AMBIT__GUARDED_BY(lock);

static void release_all(ambit__retired *list) {
    while (list) {
        ambit__retired *next = list->next;
        ambit__release(list->memory, list->bytes, list->alignment);
        list = next;
    }
}

void ambit__walk_begin(void) {
    ambit__spin_lock(&lock);
    walks++;
    ambit__spin_unlock(&lock);
}

void ambit__walk_end(void) {
    ambit__retired *list = NULL;
    ambit__spin_lock(&lock);
    if (!--walks) {
        list = waiting;
        waiting = NULL;
    }
    ambit__spin_unlock(&lock);
    release_all(list);
}

void ambit__walk_release(ambit__retired *retired) {
    retired->next = NULL;
    ambit__spin_lock(&lock);
    if (walks) {
        retired->next = waiting;
        waiting = retired;
        retired = NULL;
    }
    ambit__spin_unlock(&lock);
    release_all(retired);
}

/* What waits is released when the next walk ends. */
AMBIT__UNCHECKED void ambit__walks_forked(uint32_t go_on) {
    walks = go_on;
    ambit__spin_reset(&lock);
}
