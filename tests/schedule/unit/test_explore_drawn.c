/* The exhaustive strategy misses nothing that brute force finds, in programs drawn at random. */
#include "survey.h"

/* ---- Programs drawn at random ---------------------------------------------------------------- */

static uint64_t drawn = 1;
static unsigned draw(unsigned below) {
    drawn = drawn * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)((drawn >> 33) % below);
}

static action draw_action(unsigned variety) {
    action chosen = {LOAD, (int)draw(2), (int)draw(3)};
    switch (draw(variety)) {
    case 0:
    case 1:
        chosen.kind = LOAD;
        break;
    case 2:
    case 3:
        chosen.kind = STORE;
        break;
    case 4:
        chosen.kind = ADD;
        break;
    case 5:
        chosen.kind = SKIP;
        chosen.value = 1;
        break;
    case 6:
        chosen.kind = FENCE_SC;
        break;
    case 7:
        chosen.kind = draw(2) ? LOAD_SC : STORE_SC;
        break;
    case 8:
        chosen.kind = TRY_LOCK;
        chosen.variable += 2;
        break;
    case 9:
        chosen.kind = LOCK;
        chosen.variable += 2;
        break;
    case 10:
    case 11:
        chosen.kind = UNLOCK;
        chosen.variable += 2;
        break;
    case 12:
        chosen.kind = WAKE;
        chosen.variable = 4;
        break;
    case 13:
        chosen.kind = draw(2) ? WAIT : WAIT_SPURIOUS;
        chosen.variable = 4;
        break;
    default:
        chosen.kind = CHOOSE;
        chosen.value = 2;
    }
    return chosen;
}

static void print_program(const program *of) {
    for (unsigned i = 0; i < of->threads; i++) {
        (void)printf("thread %u:", i);
        for (const action *at = of->actions[i]; at->kind != END; at++)
            (void)printf(" {%d %d %d}", at->kind, at->variable, at->value);
        (void)printf("\n");
    }
}

static void draw_program(program *to) {
    memset(to, 0, sizeof *to);
    to->threads = 2 + draw(2);
    unsigned length = to->threads == 2 ? 4 : 3, variety = draw(2) ? 5 : 15;
    for (unsigned i = 0; i < to->threads; i++) {
        unsigned count = 1 + draw(length);
        for (unsigned j = 0; j < count; j++) to->actions[i][j] = draw_action(variety);
        to->actions[i][count] = to->actions[i][count + 1] = (action){END, 0, 0};
    }
}

static void programs_drawn_at_random_are_explored_wholly(void **state) {
    (void)state;
    size_t all_schedules = 0, schedules = 0, repeated = 0, stuck = 0;
    unsigned rounds = getenv("ROUNDS") ? (unsigned)atoi(getenv("ROUNDS")) : 300;
    for (unsigned round = 0; round < rounds; round++) {
        program of;
        draw_program(&of);
        survey all = survey_with(&brute, &of, 4000000);
        survey found = explore(&of, 0);
        stuck += world.stuck;
        if (!set_is_same(&all.outcomes, &found.outcomes) ||
            !set_is_same(&all.traces, &found.traces) ||
            found.schedules - found.repeated != found.traces.count ||
            found.schedules > all.schedules) {
            print_program(&of);
            fail_msg("round %u: %zu traces of %zu, %zu outcomes of %zu, by %zu schedules of %zu, "
                     "%zu of them repeated",
                     round, found.traces.count, all.traces.count, found.outcomes.count,
                     all.outcomes.count, found.schedules, all.schedules, found.repeated);
        }
        all_schedules += all.schedules;
        schedules += found.schedules;
        repeated += found.repeated;
        survey_free(&all);
        survey_free(&found);
    }
    (void)printf("%u programs: %zu schedules instead of %zu, %zu of them known before their end, "
                 "%zu programs got stuck\n",
                 rounds, schedules, all_schedules, repeated, stuck);
    assert_true(stuck > 0); /* else none of that was seen */
    assert_true(repeated < schedules / 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_drawn_at_random_are_explored_wholly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
