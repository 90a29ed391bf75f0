/* The wheel by itself, beside a model: what is due and when, over every level and to both ends of
 * time. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "timer/slots.h"

enum { MANY = 2000 };
#define TICK_NS (INT64_C(1) << AMBIT__TICK_BITS)

static ambit__wheel wheel;
static ambit__timer_node nodes[MANY];
static bool inside[MANY];         /* the model: armed and not taken from the due list yet */
static int64_t inserted_at[MANY]; /* the wheel's tick then: what is due comes with the next one */
static int inside_count;
static uint64_t seed;

static uint64_t next_random(void) { /* xorshift64 */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed;
}
/* Of every magnitude alike: 1 ns to about `bits` bits. */
static int64_t random_span(unsigned bits) {
    return (int64_t)(next_random() & ((UINT64_C(1) << (1 + next_random() % bits)) - 1));
}
/* At most INT64_MAX. */
static int64_t later(int64_t time_ns, int64_t span_ns) {
    int64_t sum_ns;
    return __builtin_add_overflow(time_ns, span_ns, &sum_ns) ? INT64_MAX : sum_ns;
}

static void begin(int64_t now_ns) {
    ambit__wheel_init(&wheel, now_ns);
    memset(inside, 0, sizeof inside);
    inside_count = 0;
    seed = UINT64_C(88172645463325252);
}
static void insert(int at, int64_t deadline_ns) {
    nodes[at].deadline_ns = deadline_ns;
    inside[at] = true;
    inside_count++;
    inserted_at[at] = wheel.tick;
    int64_t tick = ambit__wheel_insert(&wheel, &nodes[at]);
    assert_true(tick > wheel.tick); /* the service looks when it has something to do */
}
static void take_out(int at) {
    ambit__wheel_remove(&wheel, &nodes[at]);
    inside[at] = false;
    inside_count--;
}
static bool is_due(int at) { return nodes[at].slot == AMBIT__SLOT_DUE; }

/* A tick begins at each multiple, below zero as well; the first one not before the time. */
static bool tick_has_begun(int64_t deadline_ns, int64_t now_ns) {
    int64_t begun_ns = now_ns - ((now_ns % TICK_NS) + TICK_NS) % TICK_NS;
    if (now_ns < INT64_MIN + TICK_NS) begun_ns = INT64_MIN;
    return deadline_ns <= begun_ns;
}

/* What is on the due list is what the model says, for nodes armed before the tick of `now_ns`. */
static void due_is_right(int64_t now_ns) {
    assert_int_equal(ambit__wheel_armed(&wheel), inside_count);
    for (int at = 0; at < MANY; at++) {
        if (!inside[at]) continue;
        if (is_due(at)) assert_true(nodes[at].deadline_ns <= now_ns); /* none is early */
        if (wheel.tick > inserted_at[at] && tick_has_begun(nodes[at].deadline_ns, now_ns))
            assert_true(is_due(at)); /* nor late */
    }
}
static void take_due(void) {
    while (wheel.due.next != &wheel.due)
        take_out((int)(ambit__timer_node_of(wheel.due.next) - nodes));
}
static void empty_at_last(void) {
    take_due();
    for (int at = 0; at < MANY; at++)
        if (inside[at]) take_out(at);
    assert_int_equal(ambit__wheel_armed(&wheel), 0);
    for (int level = 0; level < AMBIT__LEVELS; level++) assert_true(wheel.used[level] == 0);
    assert_true(ambit__wheel_next(&wheel) == AMBIT__TICK_NEVER);
}

static const int64_t starts_ns[] = {0,
                                    1,
                                    TICK_NS - 1,
                                    INT64_C(63) * TICK_NS,
                                    INT64_C(4095) * TICK_NS + 1,
                                    INT64_C(1) << 40,
                                    (INT64_C(1) << 24) * TICK_NS - 1,
                                    INT64_C(1) << 60,
                                    -1,
                                    -5 * TICK_NS,
                                    -(INT64_C(1) << 50)};
#define STARTS (sizeof starts_ns / sizeof starts_ns[0])

/* ---- One node, each level -------------------------------------------------------------------- */

/* Follows ambit__wheel_next() until the node is due; returns how many looks that took. */
static int looks_until_due(int at) {
    int looks = 0;
    while (!is_due(at)) {
        int64_t tick = ambit__wheel_next(&wheel);
        assert_true(tick != AMBIT__TICK_NEVER);
        int64_t begin_ns = ambit__tick_ns(tick);
        ambit__wheel_advance(&wheel, begin_ns - 1);
        assert_false(is_due(at) && nodes[at].deadline_ns > begin_ns - 1);
        ambit__wheel_advance(&wheel, begin_ns);
        looks++;
    }
    return looks;
}
static void node_of_every_level_comes_down_and_is_due_at_its_tick(void **state) {
    (void)state;
    unsigned levels_seen = 0;
    for (size_t start = 0; start < STARTS; start++) {
        for (unsigned shift = 0; shift < 42; shift++) {
            for (int64_t off = -1; off <= 1; off++) {
                int64_t span_ns = (INT64_C(1) << shift) * TICK_NS;
                if (starts_ns[start] > INT64_MAX - 2 * span_ns) continue;
                begin(starts_ns[start]);
                insert(0, starts_ns[start] + span_ns + off);
                levels_seen |= 1u << nodes[0].slot / AMBIT__SLOTS;
                assert_in_range(looks_until_due(0), 1, AMBIT__LEVELS);
                int64_t due_ns = ambit__tick_ns(wheel.tick);
                assert_true(due_ns >= nodes[0].deadline_ns);
                assert_true(due_ns - nodes[0].deadline_ns < TICK_NS);
                empty_at_last();
            }
        }
    }
    assert_int_equal(levels_seen, (1u << AMBIT__LEVELS) - 1);
}

/* ---- Many, beside the model ------------------------------------------------------------------ */

static void due_nodes_are_those_of_the_model(void **state) {
    (void)state;
    for (size_t start = 0; start < STARTS; start++) {
        int64_t now_ns = starts_ns[start];
        begin(now_ns);
        seed += start;
        for (int step = 0; step < 300; step++) {
            for (int i = 0; i < 20; i++) {
                int at = (int)(next_random() % MANY);
                if (inside[at])
                    take_out(at); /* from a slot, or from the due list */
                else
                    insert(at, later(now_ns, random_span(60)));
            }
            now_ns = later(now_ns, random_span(step % 10 ? 40 : 56));
            ambit__wheel_advance(&wheel, now_ns);
            due_is_right(now_ns);
            if (step % 3 == 0) take_due();
        }
        empty_at_last();
    }
}

static void many_nodes_cost_a_few_looks_each(void **state) {
    (void)state;
    begin(starts_ns[3]);
    for (int at = 0; at < MANY; at++) insert(at, later(starts_ns[3], random_span(60)));
    int looks = 0;
    while (inside_count > 0) {
        int64_t tick = ambit__wheel_next(&wheel);
        ambit__wheel_advance(&wheel, ambit__tick_ns(tick));
        assert_true(wheel.tick == tick);
        due_is_right(ambit__tick_ns(tick));
        take_due();
        looks++;
    }
    assert_in_range(looks, 1, MANY * AMBIT__LEVELS);
    empty_at_last();
}

static void one_leap_over_all_levels_makes_all_due(void **state) {
    (void)state;
    begin(0);
    for (int at = 0; at < MANY; at++) insert(at, random_span(62));
    ambit__wheel_advance(&wheel, INT64_MAX);
    for (int at = 0; at < MANY; at++) assert_true(is_due(at));
    empty_at_last();
}

/* ---- Both ends of time ----------------------------------------------------------------------- */

static void deadlines_at_both_ends_of_time_have_their_place(void **state) {
    (void)state;
    static const int64_t ends_ns[] = {INT64_MIN, INT64_MIN + 1,       -1000001,      -1,       0, 1,
                                      1000001,   INT64_MAX - 1000001, INT64_MAX - 1, INT64_MAX};
    enum { ENDS = sizeof ends_ns / sizeof ends_ns[0] };
    begin(INT64_MIN);
    for (int at = 0; at < ENDS; at++) insert(at, ends_ns[at]);
    for (int at = 0; at < ENDS; at++) {
        ambit__wheel_advance(&wheel, ends_ns[at]);
        due_is_right(ends_ns[at]);
    }
    for (int at = 0; at < 7; at++) assert_true(is_due(at)); /* at the other end of time */
    assert_false(is_due(ENDS - 1));                         /* never */
    empty_at_last();
}

static void times_below_zero_are_like_others(void **state) {
    (void)state;
    const int64_t hour_ns = 3433227 * TICK_NS; /* about */
    begin(-2 * hour_ns);
    insert(0, -hour_ns);
    insert(1, -1);
    insert(2, hour_ns);
    ambit__wheel_advance(&wheel, -hour_ns - 1);
    assert_false(is_due(0));
    ambit__wheel_advance(&wheel, -hour_ns);
    assert_true(is_due(0) && !is_due(1));
    ambit__wheel_advance(&wheel, 0);
    assert_true(is_due(1) && !is_due(2));
    ambit__wheel_advance(&wheel, hour_ns);
    assert_true(is_due(2));
    empty_at_last();
}

/* ---- Another clock --------------------------------------------------------------------------- */

static void wheel_set_by_another_clock_places_all_anew(void **state) {
    (void)state;
    for (size_t from = 0; from < STARTS; from++) {
        for (size_t to = 0; to < STARTS; to++) {
            begin(starts_ns[from]);
            for (int at = 0; at < 200; at++)
                insert(at, later(starts_ns[from], random_span(50) + 2000000));
            ambit__wheel_move(&wheel, starts_ns[to]);
            for (int at = 0; at < 200; at++) inserted_at[at] = wheel.tick;
            int64_t now_ns = starts_ns[to];
            for (int step = 0; step < 20; step++) {
                now_ns = later(now_ns, 2000000 + random_span(50));
                ambit__wheel_advance(&wheel, now_ns);
                due_is_right(now_ns);
            }
            empty_at_last();
        }
    }
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_of_every_level_comes_down_and_is_due_at_its_tick),
        cmocka_unit_test(due_nodes_are_those_of_the_model),
        cmocka_unit_test(many_nodes_cost_a_few_looks_each),
        cmocka_unit_test(one_leap_over_all_levels_makes_all_due),
        cmocka_unit_test(deadlines_at_both_ends_of_time_have_their_place),
        cmocka_unit_test(times_below_zero_are_like_others),
        cmocka_unit_test(wheel_set_by_another_clock_places_all_anew),
    };
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
