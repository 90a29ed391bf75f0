/* The check of the order of locks: how many of each rank this thread holds. */
#include "base/rank.h"

#ifdef AMBIT_TESTING
#include <stdio.h>
#include <string.h>

#include "base/bug.h"

static _Thread_local uint8_t held[AMBIT__RANK_CLOCK + 1];

void ambit__rank_wants(ambit__rank rank) {
    if (rank == AMBIT__RANK_NONE) return;
    unsigned lowest = rank == AMBIT__RANK_CTX ? rank + 1u : rank;
    for (unsigned other = lowest; other <= AMBIT__RANK_CLOCK; other++) {
        if (!held[other]) continue;
        static _Thread_local char text[96];
        (void)snprintf(text, sizeof text,
                       "expected locks in the order of their ranks, found %u wanted after %u",
                       (unsigned)rank, other);
        ambit__bug("lock", text, NULL, NULL);
    }
}

void ambit__rank_took(ambit__rank rank) { held[rank]++; }
void ambit__rank_gave(ambit__rank rank) {
    if (held[rank]) held[rank]--; /* forgotten, if it was taken before a fork */
}

void ambit__rank_forget(void) { memset(held, 0, sizeof held); }
#else
typedef int ambit__rank_is_empty; /* ISO C has no empty file */
#endif
