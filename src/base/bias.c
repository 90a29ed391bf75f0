#include "base/bias.h"

enum { NO, YES, ALWAYS };

void ambit__bias_init(ambit__bias *bias) {
    ambit__store_relaxed(&bias->inside, 0);
    ambit__store_relaxed(&bias->visited, ambit__heavy_barrier_works() ? NO : ALWAYS);
    ambit__spin_reset(&bias->lock);
}

AMBIT__UNCHECKED void ambit__bias_lock_visitor(ambit__bias *bias) {
    ambit__spin_lock(&bias->lock); /* V1 */
    /* Visited before: that visitor has waited, and since then the owner takes `lock` as well. */
    if (ambit__load_relaxed(&bias->visited)) return;
    ambit__store_relaxed(&bias->visited, YES); /* V2 */
    ambit__heavy_barrier();
    /* V3; acquire pairs with the release at O3. */
    for (unsigned attempt = 0; ambit__load_acquire(&bias->inside);) ambit__backoff(attempt++);
}

AMBIT__UNCHECKED void ambit__bias_unlock_visitor(ambit__bias *bias, bool stays) {
    /* V4; release pairs with the acquire at O2. */
    if (!stays && ambit__load_relaxed(&bias->visited) != ALWAYS)
        ambit__store_release(&bias->visited, NO);
    ambit__spin_unlock(&bias->lock);
}
