/* Shards: when a context gets them, and how its keepers are counted. shard.h has the proof. */
#include "ctx/ctx.h"

/* So many turns of two threads within that time are a busy context; so many collisions as well. */
enum { TURNS = 64, COLLISIONS = 8 };
#define TURNS_WITHIN_NS (20 * AMBIT_MILLISECOND)
#define BIAS (UINT64_C(1) << 32)

static ambit__spin free_lock = {AMBIT__RANKED(AMBIT__RANK_SHARDS)};
static ambit__shards *free_shards AMBIT__GUARDED_BY(free_lock);

/* ---- Coming and going ------------------------------------------------------------------------ */

static ambit__shards *take_block(void) {
    ambit__spin_lock(&free_lock);
    ambit__shards *block = free_shards;
    if (block) free_shards = block->next_free;
    ambit__spin_unlock(&free_lock);
    return block ? block : ambit__allocate_zero(sizeof *block, 64);
}

static void give_block(ambit__shards *block) {
    ambit__spin_lock(&free_lock);
    block->next_free = free_shards;
    free_shards = block;
    ambit__spin_unlock(&free_lock);
}

/* Without memory, or a kernel without the barrier, the context stays as it is: slower, not wrong. */
static void give_shards(ambit_ctx *ctx) {
    if (ambit__load_relaxed(&ctx->head.order_children) || ambit__load_relaxed(&ctx->lists)) return;
    static _Atomic(bool) refused; /* the kernel need not be asked again. Relaxed: a hint */
    if (ambit__load_relaxed(&refused)) return;
    if (!ambit__heavy_barrier_works()) {
        ambit__store_relaxed(&refused, true);
        return;
    }
    ambit__shards *block = take_block();
    if (!block) return;
    for (unsigned i = 0; i < AMBIT__SHARDS; i++)
        AMBIT__RANK_SET(&block->shard[i].list.lock, AMBIT__RANK_CTX);
    ambit__spin_lock(&ctx->waiting.lock);
    /* Not after its end: a deliverer, who has ended it under this lock, knows all lists. */
    bool wanted = !ambit__load_relaxed(&ctx->head.state) && !ambit__load_relaxed(&ctx->lists);
    if (wanted) {
        ambit__store_relaxed(&ctx->unusual, true);
        ambit__add_relaxed(&ctx->keepers, BIAS);
        /* Releases pair with the acquires in ambit__ctx_list(), ambit__ctx_list_of() and
         * ambit__ctx_keep(). */
        ambit__store_release(&ctx->lists, block);
        ambit__store_release(&ctx->head.shards, block);
    }
    ambit__spin_unlock(&ctx->waiting.lock);
    if (!wanted) give_block(block);
}

void ambit__ctx_free_shards(ambit_ctx *ctx) {
    ambit__shards *block = ambit__load_relaxed(&ctx->lists);
    if (!block) return;
    for (unsigned i = 0; i < AMBIT__SHARDS; i++) ambit__store_relaxed(&block->shard[i].cell, 0);
    ambit__store_relaxed(&ctx->lists, NULL);
    give_block(block);
}

/* ---- Keepers --------------------------------------------------------------------------------- */

void ambit__ctx_note_turn(ambit_ctx *ctx, ambit__thread *self) {
    /* Relaxed, all of it: a hint, and a turn that is lost is made up for by the next. */
    ambit__store_relaxed(&ctx->last_keeper, self->index);
    uint32_t turns = ambit__load_relaxed(&ctx->turns) + 1;
    ambit__store_relaxed(&ctx->turns, turns);
    if (ambit__likely(turns % TURNS)) return;
    int64_t now_ns = ambit__clock_coarse();
    int64_t since_ns = ambit__load_relaxed(&ctx->turns_since_ns);
    ambit__store_relaxed(&ctx->turns_since_ns, now_ns);
    if (now_ns - since_ns < TURNS_WITHIN_NS) give_shards(ctx);
}

static int64_t idle_cell(const ambit__shards *shards, unsigned index) {
    bool gone = false;
    for (unsigned attempt = 0;; attempt++) {
        /* C2; acquire pairs with T3: what that thread did with the context is done. */
        int64_t cell = ambit__load_acquire(&shards->shard[index].cell);
        /* In a child of fork(): the thread was inside at that moment, and did not come along.
         * One that has ended since is known to be gone before its last cell is read. */
        if (!(cell & 1) || gone) return cell & ~INT64_C(1);
        gone = !ambit__thread_is_alive(index);
        ambit__backoff(attempt);
    }
}

static int64_t sum_cells(const ambit__shards *shards) {
    int64_t sum = 0;
    for (unsigned i = 0; i < AMBIT__SHARDS; i++) sum += idle_cell(shards, i) / 2;
    return sum;
}

void ambit__ctx_fold(ambit_ctx *ctx) {
    /* Relaxed: give_shards() stores it under `waiting.lock` before the end, and this thread has passed
     * through that lock after the end. */
    ambit__shards *shards = ambit__load_relaxed(&ctx->head.shards);
    if (ambit__likely(!shards)) return;
    ambit__store_relaxed(&ctx->head.shards, NULL); /* C1 */
    ambit__heavy_barrier();
    uint64_t sum = (uint64_t)sum_cells(shards);
    /* C3. Relaxed: the owner's own share is still in the count, so nobody finds it zero before this
     * thread's unkeep, and that orders; see leave(). */
    ambit__add_relaxed(&ctx->keepers, sum - BIAS);
}

uint64_t ambit__ctx_keepers(const ambit_ctx *ctx) {
    int64_t count = (int32_t)(uint32_t)ambit__load_relaxed(&ctx->keepers);
    const ambit__shards *shards = ambit__load_acquire(&ctx->head.shards);
    for (unsigned i = 0; shards && i < AMBIT__SHARDS; i++)
        count += ambit__load_relaxed(&shards->shard[i].cell) / 2;
    return count > 0 ? (uint64_t)count : 0;
}

/* ---- Lists ----------------------------------------------------------------------------------- */

AMBIT__UNCHECKED void ambit__list_lock_contended(ambit_ctx *ctx, ambit__list *list) {
    /* Relaxed: a hint. */
    if (ambit__add_relaxed(&list->contended, 1) >= COLLISIONS && list == &ctx->waiting)
        give_shards(ctx);
    ambit__spin_lock(&list->lock);
}
