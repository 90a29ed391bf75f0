/* The memory of the controlled scheduler is C11's: what C11 allows is shown, what it forbids never is.
 *
 * Each row is a program with every choice of orders. c11.h says which outcomes are allowed; the letters
 * of the row say it again for its weak outcome, as it stands in the literature, so that the two check
 * each other: all relaxed, acquire and release, sequentially consistent. A is allowed, F forbidden, L
 * allowed by C11 but only if a read is executed before a write that precedes it, T allowed but only
 * if what is sequentially consistent has another order than that of execution. L and T are what the
 * model cannot show; these must never be seen either, lest the manual's list of them be wrong.
 *
 * LITMUS=table prints the table for the manual, LITMUS=all that of all choices. */
#define _GNU_SOURCE
#include <setjmp.h>

#include "c11.h"
#include "litmus.h"

#include <cmocka.h>

typedef struct family {
    const char *name, *text, *groups, *weak, *letters;
    bool finals;
} family;

static const family rows[] = {
    /* Two threads, two objects. */
    {"message passing", "Wx1 Wy1|Ry Rx", "ab|cd", "10", "AFF", false},
    {"store buffering", "Wx1 Ry|Wy1 Rx", "ab|cd", "00", "AAF", false},
    {"load buffering", "Rx Wy1|Ry Wx1", "ab|cd", "11", "LFF", false},
    {"2+2W", "Wx1 Wy2|Wy1 Wx2", "ab|cd", "110", "AAF", true},
    {"R", "Wx1 Wy1|Wy2 Rx", "ab|cd", "0120", "AAF", true},
    {"S", "Wx2 Wy1|Ry Wx1", "ab|cd", "1210", "AFF", true},
    /* Three and four threads. */
    {"IRIW", "Wx1|Wy1|Rx Ry|Ry Rx", "a|a|bc|bc", "1010", "AAF", false},
    {"WRC", "Wx1|Rx Wy1|Ry Rx", "a|bc|bd", "110", "AFF", false},
    {"RWC", "Wx1|Rx Ry|Wy1 Rx", "a|bc|ad", "100", "AAF", false},
    {"ISA2", "Wx1 Wy1|Ry Wz1|Rz Rx", "ab|cb|cd", "110", "AFF", false},
    {"W+RWC", "Wx1 Wy1|Ry Rz|Wz1 Rx", "ab|cd|bd", "100", "AAF", false},
    {"3.SB", "Wx1 Ry|Wy1 Rz|Wz1 Rx", "ab|ab|ab", "000", "AAF", false},
    {"3.LB", "Rx Wy1|Ry Wz1|Rz Wx1", "ab|ab|ab", "111", "LFF", false},
    /* One object. */
    {"CoRR", "Wx1|Rx Rx", "a|bc", "10", "FFF", false},
    {"CoRR, two readers", "Wx1|Wx2|Rx Rx|Rx Rx", "a|a|bb|bb", "1221", "FFF", false},
    {"CoWW", "Wx1 Wx2|Rx Rx", "ab|cc", "00100", "FFF", true},
    {"CoRW", "Rx Wx1|Wx2", "ab|c", "2200", "FFF", true},
    {"CoWR", "Wx1 Rx|Wx2", "ab|c", "2100", "FFF", true},
    /* Fences. */
    {"message passing, fences", "Wx1 F Wy1|Ry F Rx", "-a-|-b-", "10", "AFF", false},
    {"message passing, fence of the writer", "Wx1 F Wy1|Ry Rx", "-a-|b-", "10", "AFF", false},
    {"message passing, fence of the reader", "Wx1 Wy1|Ry F Rx", "-a|-b-", "10", "AFF", false},
    {"store buffering, fences", "Wx1 F Ry|Wy1 F Rx", "-a-|-b-", "00", "AAF", false},
    {"store buffering, one fence", "Wx1 F Ry|Wy1 Rx", "-a-|bc", "00", "AAF", false},
    {"load buffering, fences", "Rx F Wy1|Ry F Wx1", "-a-|-b-", "11", "LFF", false},
    {"2+2W, fences", "Wx1 F Wy2|Wy1 F Wx2", "-a-|-b-", "110", "AAF", true},
    {"2+2W, one fence", "Wx1 F Wy2|Wy1 Wx2", "-a-|bc", "110", "AAF", true},
    {"R, fences", "Wx1 F Wy1|Wy2 F Rx", "-a-|-b-", "0120", "AAF", true},
    {"IRIW, fences", "Wx1|Wy1|Rx F Ry|Ry F Rx", "a|a|-b-|-b-", "1010", "AAF", false},
    {"RWC, fences", "Wx1|Rx F Ry|Wy1 F Rx", "a|-b-|-c-", "100", "AAF", false},
    /* Release sequences: by the same thread, by read-modify-writes; and what breaks them. */
    {"release sequence, own store", "Wx1 Wy1 Wy2|Ry Rx", "-a-|b-", "20", "AFF", false},
    {"release sequence, other's change", "Wx1 Wy1|Ay1|Ry Rx", "-a|b|c-", "120", "AFF", false},
    {"release sequence, other's exchange", "Wx1 Wy1|Cy12|Ry Rx", "-a|b|c-", "120", "AFF", false},
    {"release sequence, own store behind a change", "Wx1 Wy1 Wy3|Ay1|Ry Rx", "-a-|-|b-", "130",
     "AFF", false},
    {"release sequence, a fence's", "Wx1 F Wy1|Ay1|Ry Rx", "-a-|-|b-", "120", "AFF", false},
    {"no sequence, other's store", "Wx1 Wy1|Wy2|Ry Rx", "-a|-|b-", "20", "AAA", false},
    {"broken sequence", "Wx1 Wy1 Wy2|Wy3|Ry Rx", "-a-|-|b-", "20", "AAA", false},
    /* Read-modify-writes. */
    {"two additions", "Ax1|Ax1", "a|b", "00100", "FFF", true},
    {"three additions", "Ax1|Ax1|Ax1", "a|a|b", "001", "FFF", false},
    {"addition and store", "Ax1|Wx3", "a|b", "0100", "FFF", true},
    {"exchanges of one value", "Cx01|Cx02", "a|b", "00", "FFF", false},
    {"store buffering, changes read", "Wx1 Ay0|Wy1 Ax0", "ab|ab", "00", "AAF", false},
    {"exchange acquires", "Wx1 Wy1|Cy12 Rx", "-a|b-", "10", "AFF", false},
    {"store buffering, exchanges", "Ex1 Ry|Ey1 Rx", "ab|ab", "0000", "AAF", false},
    {"store buffering, common change", "Wx1 Az0 Ry|Wy1 Az0 Rx", "-a-|-a-", "0000", "AFF", false},
    {"failed exchange sees an old value", "Wx1 Wy1|Ry Cx12", "ab|cd", "10", "AFF", false},
    {"failed exchange acquires", "Wx1 Wy1|Cy23 Rx", "-a|b-", "10", "AFF", false},
    /* What the axioms allow to hardware that fences SC stores and loads lightly. */
    {"Z6.U", "Wx1 Wy1|Ay1 Ry|Wy3 Rx", "SR|S-|SS", "130", "TTT", false},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* ---- One choice of orders -------------------------------------------------------------------- */

enum { BATCH = 500, AT_MOST = 60000 };

static const char *show_all, *show_table;

static char letter_of(unsigned verdict) {
    if (!(verdict & C11_ALLOWED)) return 'F';
    if (!(verdict & C11_IN_TURN)) return 'L';
    return verdict & C11_TOTAL ? 'A' : 'T';
}
static const char *words_of(unsigned verdict) {
    switch (letter_of(verdict)) {
    case 'F':
        return "forbidden";
    case 'A':
        return "allowed";
    case 'L':
        return "allowed; not shown: needs a read before its turn";
    default:
        return "allowed; not shown: needs an SC order that is not that of execution";
    }
}

static void print_row(const char *name, const litmus_program *program,
                      const litmus_outcome *outcome, uint64_t schedules) {
    printf("| %s | `%s` | %s | %s | %" PRIu64 " of %" PRIu64 " |\n", name,
           litmus_show(program).text, litmus_show_outcome(program, outcome->key).text,
           words_of(outcome->verdict), outcome->seen, schedules);
}

HIDDEN static bool all_are_seen(const litmus_outcomes *outcomes, unsigned verdict) {
    for (unsigned i = 0; i < outcomes->count; i++)
        if ((outcomes->list[i].verdict & verdict) == verdict && !outcomes->list[i].seen)
            return false;
    return true;
}

static void check(const char *name, const litmus_program *program, const litmus_outcomes *outcomes,
                  unsigned must, const char *how, uint64_t schedules) {
    for (unsigned i = 0; i < outcomes->count; i++) {
        const litmus_outcome *outcome = &outcomes->list[i];
        bool never = letter_of(outcome->verdict) != 'A';
        if (never ? !outcome->seen : outcome->seen || (outcome->verdict & must) != must) continue;
        fail_msg("%s: %s: %s: %s, seen %" PRIu64 " of %" PRIu64 " times (%s)", name,
                 litmus_show(program).text, litmus_show_outcome(program, outcome->key).text,
                 words_of(outcome->verdict), outcome->seen, schedules, how);
    }
}

static void run_clean(const litmus_program *program, ambit_schedule_strategy strategy,
                      uint64_t schedules, uint64_t seed, litmus_outcomes *seen,
                      ambit_schedule_result *result) {
    if (litmus_run(program, strategy, schedules, seed, seen, result))
        fail_msg("%s: %s", litmus_show(program).text, result->message);
}

/* Runs until all that is allowed was seen. Counts are in `outcomes`; returns the schedules that it took. */
static uint64_t run_random(const litmus_program *program, litmus_outcomes *outcomes) {
    ambit_schedule_result result;
    uint64_t done = 0;
    do {
        run_clean(program, AMBIT_SCHEDULE_RANDOM, BATCH, done + 1, outcomes, &result);
        done += BATCH;
    } while (done < AT_MOST && (show_table || !all_are_seen(outcomes, C11_TOTAL)) &&
             !(show_table && done >= 10000 && all_are_seen(outcomes, C11_TOTAL)));
    return done;
}

static litmus_outcomes outcomes_of(const litmus_program *program) {
    litmus_outcomes outcomes = {.count = 0};
    c11_outcomes(program, &outcomes);
    return outcomes;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* The choices of one level: relaxed, acquire and release, sequentially consistent. */
static litmus_program at_level(const family *row, unsigned level) {
    litmus_program program = litmus_parse(row->text, row->groups, row->finals);
    unsigned choices[26] = {0};
    for (unsigned thread = 0; thread < program.threads; thread++)
        for (unsigned i = 0; i < program.count[thread]; i++) {
            const litmus_operation *operation = &program.operations[thread][i];
            bool both = operation->kind != 'R' && operation->kind != 'W';
            static const unsigned of_one[] = {0, 1, 2}, of_both[] = {0, 3, 4},
                                  of_exchange[] = {0, 3, 5};
            const unsigned *of = operation->kind == 'C' ? of_exchange : both ? of_both : of_one;
            if (operation->group >= 'a') choices[operation->group - 'a'] = of[level];
        }
    litmus_choose(&program, choices);
    return program;
}

/* The axioms as coded say what is known of the weak outcomes; and those are as often seen as they should. */
static void weak_outcome_is_as_known(void **state) {
    const family *row = *state;
    for (unsigned level = 0; level < 3; level++) {
        litmus_program program = at_level(row, level);
        litmus_outcomes outcomes = outcomes_of(&program);
        litmus_outcome *weak = litmus_outcome_of(&outcomes, litmus_key(row->weak));
        if (letter_of(weak->verdict) != row->letters[level])
            fail_msg("%s: %s: %s is %s", row->name, litmus_show(&program).text,
                     litmus_show_outcome(&program, weak->key).text, words_of(weak->verdict));
        uint64_t schedules = run_random(&program, &outcomes);
        check(row->name, &program, &outcomes, C11_TOTAL, "random", schedules);
        if (show_table)
            print_row(row->name, &program, litmus_outcome_of(&outcomes, weak->key), schedules);
        if (!strpbrk(row->groups, "abcdef")) break;
    }
}

static void every_order_shows_what_is_allowed(void **state) {
    const family *row = *state;
    litmus_program program = at_level(row, 0);
    unsigned choices[26] = {0};
    do {
        litmus_outcomes outcomes = outcomes_of(&program);
        uint64_t schedules = run_random(&program, &outcomes);
        check(row->name, &program, &outcomes, C11_TOTAL, "random", schedules);
        if (show_all)
            for (unsigned i = 0; i < outcomes.count; i++)
                print_row(row->name, &program, &outcomes.list[i], schedules);
    } while (litmus_next(&program, choices));
}

/* The other strategies see nothing else; the exhaustive one all that needs no store behind another's. */
static void other_strategies_agree(void **state) {
    const family *row = *state;
    for (unsigned level = 0; level < 3; level++) {
        litmus_program program = at_level(row, level);
        ambit_schedule_result result;
        litmus_outcomes outcomes = outcomes_of(&program);
        run_clean(&program, AMBIT_SCHEDULE_MIXED, 1000, 1, &outcomes, &result);
        check(row->name, &program, &outcomes, C11_ALLOWED << 8, "mixed", 1000);

        outcomes = outcomes_of(&program);
        run_clean(&program, AMBIT_SCHEDULE_EXHAUSTIVE, 100000, 1, &outcomes, &result);
        assert_true(result.complete);
        check(row->name, &program, &outcomes, C11_IN_PLACE, "exhaustive", result.schedules);
    }
}

/* Sequential consistency only: no weak outcome is left, whatever the orders. */
static void strong_memory_shows_no_weak_outcome(void **state) {
    const family *row = *state;
    litmus_program program = at_level(row, 0), sequential = at_level(row, 2);
    litmus_outcomes outcomes = outcomes_of(&sequential);
    litmus_playing = &program;
    litmus_seen = &outcomes;
    ambit_schedule_options options = {.name = row->name,
                                      .schedules = 2000,
                                      .strategy = AMBIT_SCHEDULE_RANDOM,
                                      .strong_memory = true};
    assert_int_equal(ambit_schedule_run(litmus_scenario, &options), 0);
    if (row->letters[2] == 'F')
        assert_int_equal(litmus_outcome_of(&outcomes, litmus_key(row->weak))->seen, 0);
}

/* C++20's release sequences are shorter: the own store no longer continues one, changes do. */
static void own_store_ends_sequence_in_cxx20(void **state) {
    (void)state;
    for (unsigned i = 0; i < ROWS; i++) {
        if (!strstr(rows[i].name, "sequence")) continue;
        bool own = strstr(rows[i].name, "own store") != NULL;
        litmus_program program = at_level(&rows[i], 1);
        litmus_cxx20 = true;
        litmus_outcomes outcomes = outcomes_of(&program);
        unsigned verdict = litmus_outcome_of(&outcomes, litmus_key(rows[i].weak))->verdict;
        uint64_t schedules = run_random(&program, &outcomes);
        litmus_cxx20 = false;
        assert_int_equal(letter_of(verdict), own ? 'A' : rows[i].letters[1]);
        check(rows[i].name, &program, &outcomes, C11_TOTAL, "C++20", schedules);
    }
}

static void axioms_agree(void **state) {
    const family *row = *state;
    for (unsigned level = 0; level < 3; level++) {
        litmus_program program = at_level(row, level);
        litmus_outcomes outcomes = outcomes_of(&program);
        unsigned verdict = litmus_outcome_of(&outcomes, litmus_key(row->weak))->verdict;
        if (letter_of(verdict) != row->letters[level])
            fail_msg("%s: %s: is %c", row->name, litmus_show(&program).text, letter_of(verdict));
    }
}

int main(void) {
    const char *wish = getenv("LITMUS");
    show_all = wish && !strcmp(wish, "all") ? wish : NULL;
    show_table = wish && !strcmp(wish, "table") ? wish : NULL;
    if (show_table) {
        printf("| program | orders | outcome | C11 | seen |\n| --- | --- | --- | --- | --- |\n");
        for (unsigned i = 0; i < ROWS; i++) {
            void *of = (void *)(uintptr_t)&rows[i];
            weak_outcome_is_as_known(&of);
        }
        return 0;
    }
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } kinds[] = {{"axioms", axioms_agree},
                 {"weak", weak_outcome_is_as_known},
                 {"orders", every_order_shows_what_is_allowed},
                 {"strategies", other_strategies_agree},
                 {"strong", strong_memory_shows_no_weak_outcome}};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    static struct CMUnitTest tests[KINDS * ROWS + 1];
    static char names[KINDS * ROWS][80];
    for (unsigned kind = 0, at = 0; kind < KINDS; kind++)
        for (unsigned i = 0; i < ROWS; i++, at++) {
            (void)snprintf(names[at], sizeof names[at], "%s: %s", kinds[kind].name, rows[i].name);
            family *of = (family *)(uintptr_t)&rows[i];
            tests[at] = (struct CMUnitTest){names[at], kinds[kind].test, NULL, NULL, of};
        }
    tests[KINDS * ROWS] = (struct CMUnitTest)cmocka_unit_test(own_store_ends_sequence_in_cxx20);
    const char *only = getenv("LITMUS_ONLY");
    if (only) cmocka_set_test_filter(only);
    return _cmocka_run_group_tests("litmus", tests, KINDS * ROWS + 1, NULL, NULL);
}
