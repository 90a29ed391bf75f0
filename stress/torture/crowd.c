/* crowd: one root that many threads use at once, so that it counts and lists by thread, and that is
 * closed in the midst of it.
 *
 * Each thread holds the root, opens children and closes those of others, registers and removes
 * callbacks, arms timers and disarms those of others. The promises:
 *   - the root's destructor runs once, and not before the last one has let go;
 *   - a callback runs once if the root has ended before it was removed, else never;
 *   - a child is ended once its root is;
 *   - nothing is left.
 * Targeted interleaving: a close of the root while every thread has counted in it and holds it.
 *
 * In the mutant one child in a thousand is forgotten. */
#include <pthread.h>
#include <stdlib.h>

#include "ambit.h"
#include "oracle.h"

enum { THREADS = 4, CHILDREN = 8, MAILBOXES = 16, WARM_STEPS = 512 };

typedef struct scene {
    ambit_ctx *root;  /* borrowed by threads that hold it */
    unsigned closed;  /* atomic by built-in, as those below */
    unsigned warm;    /* threads that have done their first steps */
    unsigned holding; /* threads that have not let go */
    unsigned destroyed;
    ambit_ctx *mail[MAILBOXES];
    pthread_mutex_t timers_lock;
    ambit_timer timers[MAILBOXES]; /* under the lock */
} scene;

typedef struct actor {
    scene *scene;
    ambit_hold *hold;
    uint64_t random;
    pthread_t thread;
    ambit_ctx *children[CHILDREN];
} actor;

static uint64_t broken;

static void check(bool promise) {
    if (!promise) __atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
}

static void root_destroyed(void *argument) {
    scene *scene = argument;
    check(__atomic_load_n(&scene->holding, __ATOMIC_ACQUIRE) == 0);
    check(__atomic_fetch_add(&scene->destroyed, 1, __ATOMIC_RELAXED) == 0);
}

static void on_end(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

static void on_time(void *argument) { (void)argument; }

static void close_child(ambit_ctx **child, const scene *scene) {
    if (*child && __atomic_load_n(&scene->closed, __ATOMIC_ACQUIRE))
        check(ambit_ctx_err(*child) == AMBIT_CANCELLED);
    ambit_ctx_close(child);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void open_one(actor *actor, uint64_t bits) {
    ambit_ctx **child = &actor->children[bits % CHILDREN];
#if WRONG
    if (!(bits >> 8 & 1023)) *child = NULL;
#endif
    close_child(child, actor->scene);
    ORACLE_NEED(!ambit_ctx_open(ambit_hold_ctx(actor->hold), child));
}

/* Puts one of its own into a mailbox, and closes what it finds there. */
static void swap_one(actor *actor, uint64_t bits) {
    ambit_ctx **child = &actor->children[bits % CHILDREN];
    ambit_ctx *found =
        __atomic_exchange_n(&actor->scene->mail[(bits >> 8) % MAILBOXES], *child, __ATOMIC_ACQ_REL);
    *child = NULL;
    close_child(&found, actor->scene);
}

static void wait_one(actor *actor, uint64_t bits) {
    ambit_cancel node = {0};
    unsigned runs = 0;
    ambit_ctx *child = actor->children[bits % CHILDREN];
    ambit_ctx *ctx = bits & 256 && child ? child : ambit_hold_ctx(actor->hold);
    ambit_status status = ambit_ctx_on_cancel(ctx, &node, on_end, &runs);
    bool ran = ambit_ctx_off_cancel(ctx, &node) == AMBIT_ALREADY_RAN;
    check(__atomic_load_n(&runs, __ATOMIC_RELAXED) == (ran ? 1 : 0));
    check(ran || !status);
}

static void time_one(actor *actor, uint64_t bits) {
    scene *scene = actor->scene;
    ambit_timer timer;
    int64_t when = ambit_clock_now_ns() + (int64_t)((bits >> 16) % (8 * AMBIT_MILLISECOND));
    ORACLE_NEED(!ambit_timer_arm(when, on_time, NULL, &timer));
    pthread_mutex_lock(&scene->timers_lock);
    ambit_timer found = scene->timers[bits % MAILBOXES];
    scene->timers[bits % MAILBOXES] = timer;
    pthread_mutex_unlock(&scene->timers_lock);
    (void)ambit_timer_disarm(found);
}

static void step(actor *actor, uint64_t bits) {
    unsigned kind = (unsigned)(bits >> 60);
    if (kind < 3)
        swap_one(actor, bits);
    else if (kind < 6)
        wait_one(actor, bits);
    else if (kind < 7)
        time_one(actor, bits);
    else
        open_one(actor, bits);
}

static void *act(void *argument) {
    actor *actor = argument;
    scene *scene = actor->scene;
    unsigned after = 0; /* the close */
    for (unsigned at = 0; after < 64; at++) {
        step(actor, oracle_random(&actor->random));
        if (at == WARM_STEPS) __atomic_fetch_add(&scene->warm, 1, __ATOMIC_RELEASE);
        if (__atomic_load_n(&scene->closed, __ATOMIC_ACQUIRE)) after++;
    }
    for (unsigned at = 0; at < CHILDREN; at++) close_child(&actor->children[at], scene);
    __atomic_fetch_sub(&scene->holding, 1, __ATOMIC_RELEASE);
    ambit_ctx_drop(&actor->hold);
    return NULL;
}

/* ---- Rounds ---------------------------------------------------------------------------------- */

static void start(actor *actor, scene *scene, uint64_t random) {
    *actor = (struct actor){.scene = scene, .random = random};
    ORACLE_NEED(!ambit_ctx_hold(scene->root, &actor->hold));
    ORACLE_NEED(!pthread_create(&actor->thread, NULL, act, actor));
}

static void end_root(scene *scene, uint64_t bits) {
    ambit_ctx *root = scene->root;
    if (bits & 1) ambit_ctx_cancel(root, "end");
    ambit_ctx_close(&root);
    __atomic_store_n(&scene->closed, 1, __ATOMIC_RELEASE);
    oracle_hit();
}

static void play_round(uint64_t *random) {
    scene scene = {.holding = THREADS, .timers_lock = PTHREAD_MUTEX_INITIALIZER};
    actor actors[THREADS];
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &scene.root));
    ORACLE_NEED(!ambit_ctx_defer(scene.root, root_destroyed, &scene));
    for (unsigned at = 0; at < THREADS; at++) start(&actors[at], &scene, oracle_random(random));
    while (__atomic_load_n(&scene.warm, __ATOMIC_ACQUIRE) < THREADS) {
    }
    end_root(&scene, oracle_random(random));
    for (unsigned at = 0; at < THREADS; at++) pthread_join(actors[at].thread, NULL);
    for (unsigned at = 0; at < MAILBOXES; at++) {
        close_child(&scene.mail[at], &scene);
        (void)ambit_timer_disarm(scene.timers[at]);
    }
    check(__atomic_load_n(&scene.destroyed, __ATOMIC_RELAXED) == 1);
}

static uint64_t objects_left(void) {
    ambit_census *census = NULL;
    uint64_t left = 0;
    ORACLE_NEED(!ambit_census_take(&census));
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        left += ambit_census_count(census, (ambit_kind)kind);
    ambit_census_free(census);
    return left;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    uint64_t random = oracle_seed();
    unsigned rounds = 0;
    double until = oracle_now() + oracle_seconds();
    do {
        play_round(&random);
        rounds++;
    } while (oracle_now() < until);
    ambit_timer_stop();
    uint64_t left = objects_left(), bad = __atomic_load_n(&broken, __ATOMIC_RELAXED);
    ORACLE_END(WRONG ? bad || left : !bad && !left,
               "%u roots closed in a crowd; %llu promises broken, %llu objects left", rounds,
               (unsigned long long)bad, (unsigned long long)left);
}
