/* Values and memory in every size: budgets to the byte, sizes that overflow, alignment, many keys,
 * shadowing, and readers beside a writer. */
#include "ctxs.h"

enum { MANY = 300 };
static ambit_key many[MANY];
AMBIT_KEY(number, int);
AMBIT_KEY(text, char);

static ambit_key *many_keys(void) {
    for (int i = 0; i < MANY; i++) many[i] = (ambit_key){"one of many", sizeof(int), 4};
    return many;
}

/* ---- Set once -------------------------------------------------------------------------------- */

static void a_second_put_says_exists_and_changes_nothing(void **state) {
    (void)state;
    int one = 1, two = 2;
    size_t bytes = 0;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_put(ctx, &number, &one));
    assert_int_equal(ambit_ctx_put(ctx, &number, &two), AMBIT_EXISTS);
    assert_int_equal(ambit_ctx_own(ctx, &number, &two, 4, free), AMBIT_EXISTS); /* not freed */
    assert_int_equal(ambit_ctx_put_bytes(ctx, &number.key, "longer text", 12), AMBIT_EXISTS);
    assert_int_equal(*(const int *)ambit_ctx_get_bytes(ctx, &number.key, &bytes), 1);
    assert_int_equal(bytes, sizeof one);
    assert_int_equal(ambit_ctx_bytes(ctx), sizeof one);
    ambit_ctx_budget_set(ctx, 0); /* a used key is told before a full budget */
    assert_int_equal(ambit_ctx_put(ctx, &number, &two), AMBIT_EXISTS);
    ambit_ctx_close(&ctx);
}

static void put_copies_and_own_keeps_the_pointer(void **state) {
    (void)state;
    int copied = 1, kept = 2;
    AMBIT_KEY(kept_key, int);
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_put(ctx, &number, &copied));
    assert_ok(ambit_ctx_own(ctx, &kept_key, &kept, 100, NULL)); /* nothing to call at the end */
    copied = kept = 9;
    assert_int_equal(*ambit_ctx_get(ctx, &number), 1);
    assert_ptr_equal(ambit_ctx_get(ctx, &kept_key), &kept);
    assert_int_equal(ambit_ctx_bytes(ctx), sizeof copied + 100);
    ambit_ctx_close(&ctx);
}

static void a_value_of_no_bytes_is_a_value(void **state) {
    (void)state;
    size_t bytes = 99;
    AMBIT_KEY(nothing, char);
    ambit_ctx *ctx = open_child(ambit_background());
    assert_null(ambit_ctx_get_bytes(ctx, &text.key, &bytes));
    assert_int_equal(bytes, 0);
    ambit_ctx_budget_set(ctx, 0); /* it costs nothing */
    assert_ok(ambit_ctx_put_bytes(ctx, &text.key, NULL, 0));
    assert_int_equal(ambit_ctx_put_bytes(ctx, &text.key, NULL, 0), AMBIT_EXISTS);
    bytes = 99;
    assert_non_null(ambit_ctx_get_bytes(ctx, &text.key, &bytes));
    assert_int_equal(bytes, 0);
    assert_ok(ambit_ctx_own_pointer(ctx, &nothing.key, NULL, 0, NULL)); /* NULL is kept, too */
    assert_null(ambit_ctx_get(ctx, &nothing));
    assert_int_equal(ambit_ctx_own_pointer(ctx, &nothing.key, &bytes, 0, NULL), AMBIT_EXISTS);
    assert_int_equal(ambit_ctx_bytes(ctx), 0);
    ambit_ctx_close(&ctx);
}

static void keys_are_told_apart_by_address_alone(void **state) {
    (void)state;
    static const ambit_key twin[2] = {{"twin", 4, 4}, {"twin", 4, 4}};
    int one = 1, two = 2;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_put_bytes(ctx, &twin[0], &one, sizeof one));
    assert_null(ambit_ctx_get_bytes(ctx, &twin[1], NULL));
    assert_ok(ambit_ctx_put_bytes(ctx, &twin[1], &two, sizeof two));
    assert_int_equal(*(const int *)ambit_ctx_get_bytes(ctx, &twin[0], NULL), 1);
    assert_int_equal(*(const int *)ambit_ctx_get_bytes(ctx, &twin[1], NULL), 2);
    ambit_ctx_close(&ctx);
}

static void after_a_cancel_values_are_still_put_and_found(void **state) {
    (void)state;
    int one = 1, two = 2;
    ambit_ctx *ctx = open_child(ambit_background()), *child = open_child(ctx);
    assert_ok(ambit_ctx_put(ctx, &number, &one));
    ambit_ctx_cancel(ctx, NULL);
    assert_ok(ambit_ctx_put(child, &number, &two));
    assert_ok(ambit_ctx_put_bytes(ctx, &text.key, "late", 5));
    assert_non_null(ambit_ctx_alloc(ctx, 100));
    assert_int_equal(*ambit_ctx_get(ctx, &number), 1);
    assert_int_equal(*ambit_ctx_get(child, &number), 2);
    assert_string_equal(ambit_ctx_get(child, &text), "late");
    ambit_ctx_close(&child);
    ambit_ctx_close(&ctx);
}

/* ---- Many, and deep -------------------------------------------------------------------------- */

/* Eight stand inside the context; blocks of eight follow. Checked at each count. */
static void up_to_three_hundred_keys_are_found_at_every_count(void **state) {
    (void)state;
    ambit_key *keys = many_keys();
    ambit_ctx *ctx = open_child(ambit_background());
    for (int count = 0; count < MANY; count++) {
        must(!ambit_ctx_put_bytes(ctx, &keys[count], &count, sizeof count));
        must(ambit_ctx_put_bytes(ctx, &keys[count / 2], &count, sizeof count) == AMBIT_EXISTS);
        for (int i = 0; i < MANY; i++) {
            const int *value = ambit_ctx_get_bytes(ctx, &keys[i], NULL);
            must(i <= count ? value && *value == i : !value);
        }
    }
    assert_int_equal(ambit_ctx_bytes(ctx), MANY * sizeof(int));
    ambit_ctx_close(&ctx);
}

static void the_nearest_shadows_down_a_deep_chain(void **state) {
    (void)state;
    enum { DEPTH = 400 };
    ambit_key *keys = many_keys();
    ambit_ctx *chain[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        chain[i] = open_child(i ? chain[i - 1] : ambit_background());
        if (i % 50 == 0) must(!ambit_ctx_put(chain[i], &number, &i));
        if (i == 0) must(!ambit_ctx_put_bytes(chain[i], &keys[1], &i, sizeof i));
    }
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(*ambit_ctx_get(chain[i], &number), i / 50 * 50);
        assert_non_null(ambit_ctx_get_bytes(chain[i], &keys[1], NULL));
        assert_null(ambit_ctx_get_bytes(chain[i], &keys[2], NULL));
    }
    for (int i = DEPTH; i--;) ambit_ctx_close(&chain[i]);
}

/* ---- Budgets --------------------------------------------------------------------------------- */

static void a_budget_holds_to_the_byte_for_every_call(void **state) {
    (void)state;
    char bytes[100] = {0};
    ambit_ctx *ctx = open_child(ambit_background());
    static int kept;
    ambit_ctx_budget_set(ctx, 0);
    assert_int_equal(ambit_ctx_put(ctx, &text, bytes), AMBIT_EBUDGET);
    assert_int_equal(ambit_ctx_own(ctx, &number, &kept, 1, NULL), AMBIT_EBUDGET);
    assert_int_equal(ambit_ctx_defer(ctx, free, NULL), AMBIT_EBUDGET);
    assert_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(ambit_ctx_bytes(ctx), 0);
    ambit_ctx_budget_set(ctx, 100);
    assert_int_equal(ambit_ctx_put_bytes(ctx, &text.key, bytes, 101), AMBIT_EBUDGET);
    assert_ok(ambit_ctx_put_bytes(ctx, &text.key, bytes, 99)); /* the key was not used up */
    assert_int_equal(ambit_ctx_own(ctx, &number, &kept, 2, NULL), AMBIT_EBUDGET);
    assert_ok(ambit_ctx_own(ctx, &number, &kept, 1, NULL));
    assert_int_equal(ambit_ctx_bytes(ctx), 100);
    assert_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(ambit_ctx_defer(ctx, free, NULL), AMBIT_EBUDGET);
    size_t before = ambit_ctx_bytes(ctx);
    ambit_ctx_budget_set(ctx, 1000);
    assert_ok(ambit_ctx_defer(ctx, free, NULL));
    size_t deferred = ambit_ctx_bytes(ctx) - before;
    assert_true(deferred > 0 && deferred < 100);
    ambit_ctx_budget_set(ctx, ambit_ctx_bytes(ctx) + deferred - 1);
    assert_int_equal(ambit_ctx_defer(ctx, free, NULL), AMBIT_EBUDGET); /* one byte short */
    ambit_ctx_budget_set(ctx, ambit_ctx_bytes(ctx) + deferred);
    assert_ok(ambit_ctx_defer(ctx, free, NULL));
    ambit_ctx_close(&ctx);
}

static void a_lowered_budget_only_stops_more(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    unsigned char *memory = ambit_ctx_alloc(ctx, 5000);
    assert_non_null(memory);
    ambit_ctx_budget_set(ctx, 10);
    memset(memory, 1, 5000); /* what there is stays */
    assert_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(ambit_ctx_bytes(ctx), 5000);
    ambit_ctx_budget_set(ctx, 5001);
    assert_non_null(ambit_ctx_alloc(ctx, 1));
    assert_null(ambit_ctx_alloc(ctx, 1));
    ambit_ctx_close(&ctx);
}

static void children_inherit_the_number_at_their_opening(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_budget_set(root, 50);
    assert_non_null(ambit_ctx_alloc(root, 50));
    ambit_ctx *child = open_child(root), *grandchild;
    ambit_ctx_budget_set(root, 70); /* too late for the child */
    assert_non_null(ambit_ctx_alloc(child, 50));
    assert_null(ambit_ctx_alloc(child, 1));
    ambit_ctx_budget_set(child, 60);
    grandchild = open_child(child);
    assert_non_null(ambit_ctx_alloc(grandchild, 60));
    assert_null(ambit_ctx_alloc(grandchild, 1));
    assert_int_equal(ambit_ctx_bytes(root), 50); /* a child's bytes are its own */
    ambit_ctx_close(&grandchild);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void the_default_is_a_mebibyte_until_it_is_set(void **state) {
    (void)state;
    ambit_ctx *before = open_child(ambit_background());
    ambit_ctx_default_budget_set(10);
    ambit_ctx *after = open_child(ambit_background());
    assert_non_null(ambit_ctx_alloc(before, 1024 * 1024));
    assert_null(ambit_ctx_alloc(before, 1));
    assert_non_null(ambit_ctx_alloc(after, 10));
    assert_null(ambit_ctx_alloc(after, 1));
    ambit_ctx_default_budget_set(1024 * 1024);
    ambit_ctx_close(&before);
    ambit_ctx_close(&after);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX / 2 + 1};
    int one = 1;
    for (int i = 0; i < 4; i++) {
        ambit_ctx *ctx = open_child(ambit_background());
        assert_non_null(ambit_ctx_alloc(ctx, 3));
        assert_null(ambit_ctx_alloc(ctx, sizes[i]));
        assert_int_equal(ambit_ctx_put_bytes(ctx, &number.key, &one, sizes[i]), AMBIT_EBUDGET);
        assert_int_equal(ambit_ctx_own(ctx, &number, &one, sizes[i], NULL), AMBIT_EBUDGET);
        assert_int_equal(ambit_ctx_bytes(ctx), 3);
        assert_ok(ambit_ctx_put(ctx, &number, &one));
        ambit_ctx_close(&ctx);
    }
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_ctx_budget_set(ctx, SIZE_MAX); /* no budget stands before the arithmetic now */
    assert_null(ambit_ctx_alloc(ctx, SIZE_MAX));
    assert_null(ambit_ctx_alloc(ctx, SIZE_MAX - 8));
    assert_int_equal(ambit_ctx_put_bytes(ctx, &number.key, &one, SIZE_MAX), AMBIT_EMEMORY);
    assert_int_equal(ambit_ctx_bytes(ctx), 0);
    assert_ok(ambit_ctx_own(ctx, &number, &one, SIZE_MAX, NULL)); /* only counted */
    assert_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(ambit_ctx_put(ctx, &text, "x"), AMBIT_EBUDGET);
    assert_int_equal(ambit_ctx_bytes(ctx), SIZE_MAX);
    ambit_ctx_close(&ctx);
}

/* ---- Alignment ------------------------------------------------------------------------------- */

struct line {
    _Alignas(64) unsigned char bytes[64];
};
struct page {
    _Alignas(4096) unsigned char bytes[4096];
};
static void values_are_aligned_as_their_type_asks(void **state) {
    (void)state;
    AMBIT_KEY(line_key, struct line);
    AMBIT_KEY(page_key, struct page);
    AMBIT_KEY(double_key, long double);
    struct line line;
    struct page *page = aligned_alloc(4096, sizeof *page);
    long double precise = 1.5L;
    memset(&line, 7, sizeof line);
    memset(page, 9, sizeof *page);
    for (size_t lead = 0; lead < 70; lead += 3) { /* from wherever the arena stands */
        ambit_ctx *ctx = open_child(ambit_background());
        for (size_t i = 0; i < lead; i++) assert_ok(ambit_ctx_put_bytes(ctx, &many[i], "x", 1));
        assert_ok(ambit_ctx_put(ctx, &line_key, &line));
        assert_ok(ambit_ctx_put(ctx, &page_key, page));
        assert_ok(ambit_ctx_put(ctx, &double_key, &precise));
        assert_int_equal((uintptr_t)ambit_ctx_get(ctx, &line_key) % 64, 0);
        assert_int_equal((uintptr_t)ambit_ctx_get(ctx, &page_key) % 4096, 0);
        assert_int_equal((uintptr_t)ambit_ctx_get(ctx, &double_key) % _Alignof(long double), 0);
        assert_memory_equal(ambit_ctx_get(ctx, &line_key), &line, sizeof line);
        assert_memory_equal(ambit_ctx_get(ctx, &page_key), page, sizeof *page);
        assert_true(*ambit_ctx_get(ctx, &double_key) == precise);
        assert_int_equal(ambit_ctx_bytes(ctx), lead + sizeof line + sizeof *page + sizeof precise);
        ambit_ctx_close(&ctx);
    }
    free(page);
}

static void alloc_gives_sixteen_whatever_came_before(void **state) {
    (void)state;
    ambit_key *keys = many_keys();
    ambit_ctx *ctx = open_child(ambit_background());
    unsigned char *last = NULL;
    for (int i = 0; i < MANY; i++) {
        size_t size = (size_t)(i * 37 % 200);
        unsigned char *memory = ambit_ctx_alloc(ctx, size);
        must(memory && (uintptr_t)memory % 16 == 0);
        memset(memory, i, size);
        must(!ambit_ctx_put_bytes(ctx, &keys[i], &i, 1 + (size_t)i % 4));
        must(last != memory || size == 0);
        last = memory;
    }
    for (int i = 0; i < MANY; i++) /* nothing was written over */
        must(*(const unsigned char *)ambit_ctx_get_bytes(ctx, &keys[i], NULL) == (i & 255));
    ambit_ctx_close(&ctx);
}

/* A value chain that grows in a loop is a known leak elsewhere (juicefs#5665, go#68923): here a
 * context that comes and goes gives all of it back. */
static void what_contexts_take_they_give_back(void **state) {
    (void)state;
    ambit_key *keys = many_keys();
    ambit_memory_stats before = {0}, after;
    for (int round = 0; round < 200; round++) {
        if (round == 10) ambit_memory_stats_read(&before);
        ambit_ctx *ctx = open_child(ambit_background());
        for (int i = 0; i < 40; i++) must(!ambit_ctx_put_bytes(ctx, &keys[i], &i, sizeof i));
        must(ambit_ctx_alloc(ctx, 100000) && ambit_ctx_alloc(ctx, 3));
        ambit_ctx_close(&ctx);
    }
    ambit_memory_stats_read(&after);
    assert_int_equal(after.live_bytes, before.live_bytes);
}

/* ---- Readers beside a writer ----------------------------------------------------------------- */

struct reading {
    ambit_ctx *ctx, *below;
    _Atomic(int) stop, reads;
};
static void *read_all(void *argument) {
    struct reading *reading = argument;
    int known = 0;
    while (!atomic_load(&reading->stop)) {
        for (int i = 0; i < MANY; i++) {
            size_t bytes = 0;
            const int *value = ambit_ctx_get_bytes(reading->below, &many[i], &bytes);
            if (value) must(*value == i && bytes == sizeof(int)); /* whole, once it is seen */
            if (i < known) must(value);                           /* and it stays */
            if (value && i == known) known++;
        }
        must(ambit_ctx_bytes(reading->ctx) <= MANY * sizeof(int));
        atomic_fetch_add(&reading->reads, 1);
    }
    return NULL;
}
static void readers_see_whole_values_beside_a_writer(void **state) {
    (void)state;
    ambit_key *keys = many_keys();
    for (int round = 0; round < 10; round++) {
        struct reading reading = {.ctx = open_child(ambit_background())};
        reading.below = open_child(reading.ctx);
        pthread_t readers[2] = {start(read_all, &reading), start(read_all, &reading)};
        must(comes_to(&reading.reads, 2));
        for (int i = 0; i < MANY; i++)
            assert_ok(ambit_ctx_put_bytes(reading.ctx, &keys[i], &i, sizeof i));
        must(comes_to(&reading.reads, atomic_load(&reading.reads) + 2));
        atomic_store(&reading.stop, 1);
        join(readers[0]);
        join(readers[1]);
        ambit_ctx_close(&reading.below);
        ambit_ctx_close(&reading.ctx);
    }
}

static const struct CMUnitTest tests[] = {
    CASE(a_second_put_says_exists_and_changes_nothing),
    CASE(put_copies_and_own_keeps_the_pointer),
    CASE(a_value_of_no_bytes_is_a_value),
    CASE(keys_are_told_apart_by_address_alone),
    CASE(after_a_cancel_values_are_still_put_and_found),
    CASE(up_to_three_hundred_keys_are_found_at_every_count),
    CASE(the_nearest_shadows_down_a_deep_chain),
    CASE(a_budget_holds_to_the_byte_for_every_call),
    CASE(a_lowered_budget_only_stops_more),
    CASE(children_inherit_the_number_at_their_opening),
    CASE(the_default_is_a_mebibyte_until_it_is_set),
    CASE(sizes_that_overflow_are_refused),
    CASE(values_are_aligned_as_their_type_asks),
    CASE(alloc_gives_sixteen_whatever_came_before),
    CASE(what_contexts_take_they_give_back),
    CASE(readers_see_whole_values_beside_a_writer),
};
RUN(tests);
