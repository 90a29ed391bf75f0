/* Programs that nobody has thought of: made from a seed, judged by c11.h, run. Nothing forbidden is seen,
 * and all that is allowed is.
 *
 * LITMUS_PROGRAMS=n makes so many instead of the usual number, LITMUS_SEED=s others. */
#define _GNU_SOURCE
#include <setjmp.h>

#include "c11.h"
#include "litmus.h"

#include <cmocka.h>

enum { PROGRAMS = 100, BATCH = 1000, AT_MOST = 1000000 };

/* xorshift64*: Marsaglia 2003, Vigna 2016. */
static uint64_t state;
HIDDEN static unsigned below(unsigned count) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)((state * 0x2545F4914F6CDD1DULL >> 33) % count);
}

HIDDEN static litmus_operation make_operation(litmus_program *program, unsigned places) {
    static const char kinds[] = "RRRWWWFFAEC";
    litmus_operation made = {.kind = kinds[below(sizeof kinds - 1)],
                             .place = (uint8_t)below(places),
                             .value = (uint8_t)(1 + below(2)),
                             .desired = (uint8_t)(1 + below(2))};
    static const unsigned choices[] = {
        ['R'] = 3, ['W'] = 3, ['A'] = 5, ['E'] = 5, ['C'] = 7, ['F'] = 4};
    unsigned choice = below(choices[(unsigned char)made.kind]);
    if (made.kind == 'F') choice++; /* none at all is dull */
    if (made.kind == 'C') made.value--;
    made.order = litmus_order(made.kind, choice, &made.failure);
    if (made.kind != 'W' && made.kind != 'F') made.reads = (uint8_t)program->reads++;
    return made;
}
HIDDEN static litmus_program make_program(void) {
    litmus_program program = {.threads = 2 + below(2), .finals = true};
    unsigned places = 1 + below(LITMUS_PLACES);
    for (unsigned thread = 0; thread < program.threads; thread++) {
        program.count[thread] = 1 + below(program.threads == 2 ? 4 : 3);
        for (unsigned i = 0; i < program.count[thread]; i++)
            program.operations[thread][i] = make_operation(&program, places);
    }
    return program;
}

/* How many are allowed and not yet seen; complains of what is seen and forbidden. */
static unsigned left_of(const litmus_program *program, const litmus_outcomes *outcomes,
                        unsigned must) {
    unsigned left = 0;
    for (unsigned i = 0; i < outcomes->count; i++) {
        const litmus_outcome *outcome = &outcomes->list[i];
        left += !outcome->seen && (outcome->verdict & must) == must;
        if (outcome->seen && !(outcome->verdict & C11_TOTAL))
            fail_msg("%s: %s: verdict %u, but seen", litmus_show(program).text,
                     litmus_show_outcome(program, outcome->key).text, outcome->verdict);
    }
    return left;
}
static void say_what_is_left(const litmus_program *program, const litmus_outcomes *outcomes,
                             unsigned must) {
    for (unsigned i = 0; i < outcomes->count; i++)
        if (!outcomes->list[i].seen && (outcomes->list[i].verdict & must) == must)
            fail_msg("%s: %s: verdict %u, but never seen", litmus_show(program).text,
                     litmus_show_outcome(program, outcomes->list[i].key).text,
                     outcomes->list[i].verdict);
}

static uint64_t number_from(const char *name, uint64_t usual) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : usual;
}

static void run_random_programs(void) {
    state = number_from("LITMUS_SEED", 1) * 0x9E3779B97F4A7C15ULL;
    uint64_t programs = number_from("LITMUS_PROGRAMS", PROGRAMS), all = 0, shown = 0;
    static litmus_outcomes outcomes;
    for (uint64_t i = 0; i < programs; i++) {
        litmus_program program = make_program();
        outcomes.count = 0;
        c11_outcomes(&program, &outcomes);
        all += outcomes.count;
        ambit_schedule_result result;
        for (uint64_t done = 0; done < AT_MOST; done += BATCH) {
            if (litmus_run(&program, AMBIT_SCHEDULE_RANDOM, BATCH, done + 1, &outcomes, &result))
                fail_msg("%s: %s", litmus_show(&program).text, result.message);
            if (!left_of(&program, &outcomes, C11_TOTAL)) break;
        }
        say_what_is_left(&program, &outcomes, C11_TOTAL);
        for (unsigned j = 0; j < outcomes.count; j++) shown += outcomes.list[j].seen > 0;
    }
    print_message("%" PRIu64 " programs, %" PRIu64 " outcomes, %" PRIu64 " shown\n", programs, all,
                  shown);
}

static void random_programs_show_what_c11_allows(void **unused) {
    (void)unused;
    run_random_programs();
}
static void random_programs_show_what_cxx20_allows(void **unused) {
    (void)unused;
    litmus_cxx20 = true;
    run_random_programs();
    litmus_cxx20 = false;
}

/* Whether a thread reads an object more than twice: the exhaustive strategy takes that for a loop which waits
 * for another's store, and lets the others go first. */
static bool seems_to_wait(const litmus_program *program) {
    for (unsigned thread = 0; thread < program->threads; thread++) {
        unsigned reads[LITMUS_PLACES] = {0};
        for (unsigned i = 0; i < program->count[thread]; i++) {
            const litmus_operation *operation = &program->operations[thread][i];
            bool is_read = operation->kind != 'W' && operation->kind != 'F';
            if (is_read && ++reads[operation->place] > 2) return true;
        }
    }
    return false;
}

static void exhaustion_shows_all_that_needs_no_late_store(void **unused) {
    (void)unused;
    state = number_from("LITMUS_SEED", 1) * 0x9E3779B97F4A7C15ULL;
    uint64_t programs = number_from("LITMUS_PROGRAMS", PROGRAMS), complete = 0;
    static litmus_outcomes outcomes;
    for (uint64_t i = 0; i < programs; i++) {
        litmus_program program = make_program();
        outcomes.count = 0;
        c11_outcomes(&program, &outcomes);
        ambit_schedule_result result;
        if (litmus_run(&program, AMBIT_SCHEDULE_EXHAUSTIVE, 20000, 1, &outcomes, &result))
            fail_msg("%s: %s", litmus_show(&program).text, result.message);
        complete += result.complete;
        (void)left_of(&program, &outcomes, C11_TOTAL);
        if (result.complete && !seems_to_wait(&program))
            say_what_is_left(&program, &outcomes, C11_IN_PLACE);
    }
    print_message("%" PRIu64 " of %" PRIu64 " complete\n", complete, programs);
    assert_true(complete * 10 >= programs * 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_show_what_c11_allows),
        cmocka_unit_test(random_programs_show_what_cxx20_allows),
        cmocka_unit_test(exhaustion_shows_all_that_needs_no_late_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
