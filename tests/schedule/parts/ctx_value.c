/* include/ambit/ctx_inline.h, src/ctx/value.c: values are put on one thread and read on others beside it, without
 * a lock: what is found is whole, and what was found stays.
 *
 * Slots and values are plain memory: a reader that comes too early has a race. */
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ambit/ctx_inline.h:ambit__ctx_publish ambit/ctx_inline.h:ambit__ctx_slot "
                      "ctx/value.c")

/* Compilers keep C++20's rule of release sequences, whatever the language. */
#define AFTER_CHOOSE_KEYS .before = choose_keys, .cxx20_release_sequences = true

struct wide {
    _Alignas(64) int number;
};
AMBIT_KEY(wide_key, struct wide);

/* Keys of numbers: 0 and `twin` have one hint, the others up to MANY other ones. */
enum { KEYS = 64, MANY = 10 };
static const ambit_key keys[KEYS] = {[0 ... KEYS - 1] = {"number", sizeof(int), _Alignof(int)}};
static unsigned many[MANY], twin;

static void choose_keys(void *argument) {
    unsigned count = 0, hint = ambit__key_hint(&keys[0]);
    muster(argument);
    many[count++] = 0;
    for (unsigned i = 1; i < KEYS; i++) {
        if (ambit__key_hint(&keys[i]) == hint)
            twin = i;
        else if (count < MANY)
            many[count++] = i;
    }
    ambit_schedule_assert(twin && count == MANY);
}

static ambit_ctx *ctx, *child;

static void put(unsigned key) {
    const int number = (int)key + 100;
    ambit_schedule_assert(!ambit__ctx_put(ctx, &keys[key], &number, sizeof number, _Alignof(int)));
}
static const int *get_at(unsigned key) { return ambit__ctx_get(ctx, &keys[key]); }
/* Whether it is there; then it is what was put. */
static bool get(const ambit_ctx *of, unsigned key) {
    const int *number = ambit__ctx_get(of, &keys[key]);
    if (number) ambit_schedule_assert(*number == (int)key + 100);
    return number != NULL;
}
static void get_twice(const ambit_ctx *of, unsigned key) {
    bool there = get(of, key);
    ambit_schedule_assert(get(of, key) || !there);
}

static void open_it(void) {
    be(0);
    ctx = open_below(ambit_background());
}
static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }

static void finish(ambit_schedule_thread reader) {
    ambit_schedule_join(reader);
    end(ctx);
}

/* ---- The short way --------------------------------------------------------------------------- */

static void read_first(void) { get_twice(ctx, many[0]); }
static void read_both(void) {
    bool second = get(ctx, many[1]);
    ambit_schedule_assert(get(ctx, many[0]) || !second); /* it was put before */
}

AMBIT_SCHEDULE_TEST_WITH(a_value_is_whole, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_first);
    put(many[0]);
    ambit_schedule_assert(get(ctx, many[0]));
    finish(reader);
}

AMBIT_SCHEDULE_TEST_WITH(values_come_in_order, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_both);
    put(many[0]);
    put(many[1]);
    finish(reader);
}

AMBIT_SCHEDULE_TEST_WITH(every_schedule_of_one_value, AFTER_CHOOSE_KEYS,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .schedules = 200000) {
    open_it();
    ambit_schedule_thread reader = start(1, read_first);
    put(many[0]);
    ambit_schedule_join(reader);
    ambit_schedule_assert(get(ctx, many[0]));
}

/* ---- The long way ---------------------------------------------------------------------------- */

static void read_twin(void) { get_twice(ctx, twin); }

/* Another's hint leads to it: it is looked for in all slots, also those that are just being filled. */
AMBIT_SCHEDULE_TEST_WITH(a_key_with_anothers_hint, AFTER_CHOOSE_KEYS) {
    open_it();
    put(0);
    ambit_schedule_thread reader = start(1, read_twin);
    put(many[1]);
    put(twin);
    ambit_schedule_assert(get(ctx, twin));
    finish(reader);
}

/* The ninth: its slot stands in the arena. */
static void read_ninth(void) { get_twice(ctx, many[8]); }
AMBIT_SCHEDULE_TEST_WITH(more_than_stand_inside, AFTER_CHOOSE_KEYS) {
    open_it();
    for (unsigned i = 0; i < 8; i++) put(many[i]);
    ambit_schedule_thread reader = start(1, read_ninth);
    put(many[8]);
    ambit_schedule_assert(get(ctx, many[8]));
    finish(reader);
}

/* The tenth has the hint that the ninth has left everywhere. */
static void read_tenth(void) {
    get_twice(ctx, many[9]);
    get_twice(ctx, twin);
}
AMBIT_SCHEDULE_TEST_WITH(two_more_than_stand_inside, AFTER_CHOOSE_KEYS) {
    open_it();
    for (unsigned i = 0; i < 8; i++) put(many[i]);
    ambit_schedule_thread reader = start(1, read_tenth);
    put(many[8]);
    put(many[9]);
    put(twin);
    ambit_schedule_assert(get(ctx, many[9]) && get(ctx, twin));
    finish(reader);
}

/* An alignment that the short way does not know. */
static void read_wide(void) {
    const struct wide *wide = ambit_ctx_get(ctx, &wide_key);
    if (wide) ambit_schedule_assert(wide->number == 7);
}
AMBIT_SCHEDULE_TEST_WITH(a_value_of_another_alignment, AFTER_CHOOSE_KEYS) {
    static const struct wide wide = {.number = 7};
    open_it();
    ambit_schedule_thread reader = start(1, read_wide);
    ambit_schedule_assert(!ambit_ctx_put(ctx, &wide_key, &wide));
    ambit_schedule_assert(ambit_ctx_put(ctx, &wide_key, &wide) == AMBIT_EXISTS);
    finish(reader);
}

/* One that is too large for what is inside. */
typedef struct large {
    int number[700];
} large;
AMBIT_KEY(large_key, large);
static void read_large(void) {
    const large *found = ambit_ctx_get(ctx, &large_key);
    if (found) ambit_schedule_assert(found->number[0] == 7 && found->number[699] == 8);
}
AMBIT_SCHEDULE_TEST_WITH(a_value_in_a_block_of_its_own, AFTER_CHOOSE_KEYS) {
    static large value;
    value.number[0] = 7;
    value.number[699] = 8;
    open_it();
    ambit_schedule_thread reader = start(1, read_large);
    ambit_schedule_assert(!ambit_ctx_put(ctx, &large_key, &value));
    finish(reader);
}

/* Owned, not copied; and what is destroyed is not found any more by anyone. */
static int owned_number, destroyed;
AMBIT_KEY(owned_key, int);
static void destroy(void *value) { destroyed = *(int *)value; }
static void read_owned(void) {
    const int *found = ambit_ctx_get(ctx, &owned_key);
    if (found) ambit_schedule_assert(found == &owned_number && *found == 9);
}
AMBIT_SCHEDULE_TEST_WITH(a_value_that_is_owned, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_owned);
    owned_number = 9;
    ambit_schedule_assert(
        !ambit_ctx_own(ctx, &owned_key, &owned_number, sizeof owned_number, destroy));
    ambit_schedule_assert(!destroyed);
    finish(reader);
    ambit_schedule_assert(destroyed == 9);
}

/* The long way, since another's key has the hint. */
static void read_owned_twin(void) {
    size_t bytes;
    const int *found = ambit_ctx_get_bytes(ctx, &keys[twin], &bytes);
    if (found) ambit_schedule_assert(found == &owned_number && *found == 9);
    ambit_schedule_assert(bytes == (found ? sizeof owned_number : 0));
}
AMBIT_SCHEDULE_TEST_WITH(an_owned_value_with_anothers_hint, AFTER_CHOOSE_KEYS) {
    open_it();
    put(0);
    ambit_schedule_thread reader = start(1, read_owned_twin);
    owned_number = 9;
    ambit_schedule_assert(
        !ambit_ctx_own_pointer(ctx, &keys[twin], &owned_number, sizeof owned_number, destroy));
    ambit_schedule_assert(!destroyed);
    finish(reader);
    ambit_schedule_assert(destroyed == 9);
}

/* ---- Beside the arena ------------------------------------------------------------------------ */

/* Memory and destructors come between two values: none of it is another's, and the destructors run once
 * each, the last one first. */
static int torn_down[2], torn_count;
static void tear_down(void *argument) { torn_down[torn_count++] = *(int *)argument; }

AMBIT_SCHEDULE_TEST_WITH(values_stand_beside_memory_and_destructors, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_both);
    int *numbers = NULL;
    put(many[0]);
    ambit_schedule_assert((numbers = ambit_ctx_alloc(ctx, 2 * sizeof *numbers)) != NULL);
    numbers[0] = 1;
    ambit_schedule_assert(!ambit_ctx_defer(ctx, tear_down, &numbers[0]));
    numbers[1] = 2;
    put(many[1]);
    ambit_schedule_assert(!ambit_ctx_defer(ctx, tear_down, &numbers[1]));
    ambit_schedule_assert(get(ctx, many[0]) && get(ctx, many[1]));
    finish(reader);
    ambit_schedule_assert(torn_count == 2 && torn_down[0] == 2 && torn_down[1] == 1);
}

/* The block changes while it is read: what was found in the first one stays there. */
AMBIT_SCHEDULE_TEST_WITH(values_stay_where_a_block_is_left, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_both);
    put(many[0]);
    ambit_schedule_assert(!ambit_ctx_defer(ctx, tear_down, (void *)(uintptr_t)get_at(many[0])));
    unsigned char *memory = ambit_ctx_alloc(ctx, 3000);
    ambit_schedule_assert(memory);
    memory[0] = memory[2999] = 0;
    put(many[1]);
    ambit_schedule_assert(!ambit_ctx_defer(ctx, tear_down, (void *)(uintptr_t)get_at(many[1])));
    finish(reader);
    ambit_schedule_assert(torn_count == 2 && torn_down[0] == (int)many[1] + 100 &&
                          torn_down[1] == (int)many[0] + 100);
}

/* ---- From below ------------------------------------------------------------------------------ */

static void read_below(void) {
    bool second = get(child, many[1]);
    ambit_schedule_assert(get(child, many[0]) || !second);
    get_twice(child, twin);
}
AMBIT_SCHEDULE_TEST_WITH(a_child_reads_what_its_parent_puts, AFTER_CHOOSE_KEYS) {
    open_it();
    child = open_below(ctx);
    ambit_schedule_thread reader = start(1, read_below);
    put(many[0]);
    put(many[1]);
    put(twin);
    ambit_schedule_assert(get(child, twin));
    ambit_schedule_join(reader);
    end(child);
    end(ctx);
}

/* It sees its own first, and the parent's as long as it has none. */
static void read_shadowed(void) {
    const int *first = ambit__ctx_get(child, &keys[0]);
    ambit_schedule_assert(first && (*first == 100 || *first == 1));
    const int *second = ambit__ctx_get(child, &keys[0]);
    ambit_schedule_assert(second && (*second == 1 || *first == 100));
}
AMBIT_SCHEDULE_TEST_WITH(a_child_shadows_its_parents_value, AFTER_CHOOSE_KEYS) {
    const int one = 1;
    open_it();
    put(0);
    child = open_below(ctx);
    ambit_schedule_thread reader = start(1, read_shadowed);
    ambit_schedule_assert(!ambit__ctx_put(child, &keys[0], &one, sizeof one, _Alignof(int)));
    ambit_schedule_join(reader);
    end(child);
    end(ctx);
}

/* What counts what is in use may be asked beside it. */
static void read_bytes(void) {
    size_t bytes = ambit_ctx_bytes(ctx);
    ambit_schedule_assert(bytes == 0 || bytes == 4 || bytes == 8);
}
AMBIT_SCHEDULE_TEST_WITH(bytes_are_counted_beside_it, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread reader = start(1, read_bytes);
    put(many[0]);
    put(many[1]);
    ambit_schedule_assert(ambit_ctx_bytes(ctx) == 8);
    finish(reader);
}

/* So does the census: some of the three, never a mixture. */
static void take_census(void) {
    ambit_census *census;
    ambit_schedule_assert(!ambit_census_take(&census));
    uint64_t bytes = ambit_census_bytes(census, AMBIT_KIND_CTX);
    ambit_schedule_assert(ambit_census_count(census, AMBIT_KIND_CTX) == 1);
    ambit_schedule_assert(bytes == 0 || bytes == 4 || bytes == 104);
    ambit_census_free(census);
}
AMBIT_SCHEDULE_TEST_WITH(a_census_is_taken_beside_it, AFTER_CHOOSE_KEYS) {
    open_it();
    ambit_schedule_thread walker = start(1, take_census);
    put(many[0]);
    ambit_schedule_assert(ambit_ctx_alloc(ctx, 100));
    finish(walker);
}

/* ---- Beyond the owner ------------------------------------------------------------------------ */

/* Who holds it reads on after the close, and the destructor, which writes to the value, comes after the
 * last one: on the thread that closes or on the one that drops. */
static ambit_hold *hold;
static void spoil(void *value) {
    *(int *)value = 0;
    destroyed++;
}
static void read_held(void) {
    const ambit_ctx *held = ambit_hold_ctx(hold);
    const int *found = ambit_ctx_get(held, &owned_key);
    ambit_schedule_assert(found && *found == 9);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(a_holder_reads_on_after_the_close, AFTER_CHOOSE_KEYS) {
    open_it();
    owned_number = 9;
    ambit_schedule_assert(
        !ambit_ctx_own(ctx, &owned_key, &owned_number, sizeof owned_number, spoil));
    hold = hold_of(ctx);
    ambit_schedule_thread reader = start(1, read_held);
    end(ctx);
    ambit_schedule_join(reader);
    ambit_schedule_assert(destroyed == 1 && owned_number == 0);
}

/* A detached one reads what its origin gets and outlives it. */
static void read_detached(void) {
    bool second = get(child, many[1]);
    ambit_schedule_assert(get(child, many[0]) || !second);
    ambit_schedule_assert(get(child, many[2])); /* it was there before */
    end(child);
}
AMBIT_SCHEDULE_TEST_WITH(a_detached_one_reads_its_origins_values, AFTER_CHOOSE_KEYS) {
    open_it();
    put(many[2]);
    ambit_schedule_assert(
        !ambit_ctx_detach(ctx, ambit__clock_now() + 1000 * AMBIT_MILLISECOND, &child));
    ambit_schedule_thread reader = start(1, read_detached);
    put(many[0]);
    put(many[1]);
    end(ctx);
    ambit_schedule_join(reader);
}

/* Its memory is another's after that, who finds nothing in it: no reader is left, and none of what it
 * read is cleared too early. */
static void read_and_drop(void) {
    ambit_schedule_assert(get(ambit_hold_ctx(hold), many[0]));
    ambit_schedule_assert(!get(ambit_hold_ctx(hold), twin));
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_begins_empty, AFTER_CHOOSE_KEYS) {
    open_it();
    put(many[0]);
    hold = hold_of(ctx);
    ambit_schedule_thread reader = start(1, read_and_drop);
    end(ctx);
    open_it();
    ambit_schedule_assert(!get(ctx, many[0]) && !ambit_ctx_bytes(ctx));
    put(many[0]);
    put(twin);
    finish(reader);
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Who sees that it has ended sees what was done before that. */
static int result;
static void read_result(void) {
    if (ambit_ctx_err(child)) ambit_schedule_assert(result == 5);
}
AMBIT_SCHEDULE_TEST_WITH(who_sees_the_end_sees_what_came_before, AFTER_CHOOSE_KEYS) {
    open_it();
    child = open_below(ctx);
    ambit_schedule_thread reader = start(1, read_result);
    result = 5;
    ambit_ctx_cancel(child, NULL);
    ambit_schedule_join(reader);
    end(child);
    end(ctx);
}
AMBIT_SCHEDULE_TEST_WITH(who_sees_the_parents_end_sees_what_came_before, AFTER_CHOOSE_KEYS) {
    open_it();
    child = open_below(ctx);
    ambit_schedule_thread reader = start(1, read_result);
    result = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(ambit_ctx_err(child) == AMBIT_CANCELLED);
    ambit_schedule_join(reader);
    end(child);
    end(ctx);
}
