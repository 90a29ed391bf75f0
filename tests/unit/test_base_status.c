/* Every status has a text of its own, and so has what is none. */
#include "suite.h"

#include <string.h>

static const ambit_status all[] = {AMBIT_OK,     AMBIT_EXISTS,   AMBIT_CANCELLED, AMBIT_TIMED_OUT,
                                   AMBIT_BUSY,   AMBIT_EMEMORY,  AMBIT_EBUDGET,   AMBIT_ETHREAD,
                                   AMBIT_EFILES, AMBIT_EINVALID, AMBIT_EWRITE};
enum { COUNT = sizeof all / sizeof all[0] };

static void every_status_has_a_text_of_its_own(void **state) {
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        const char *text = ambit_strerror(all[i]);
        assert_true(text && *text);
        assert_string_not_equal(text, "not a status of ambit");
        for (int k = 0; k < i; k++) assert_string_not_equal(text, ambit_strerror(all[k]));
    }
}

static void every_other_number_says_that_it_is_none(void **state) {
    (void)state;
    for (int number = -300; number < 300; number++) {
        bool known = false;
        for (int i = 0; i < COUNT; i++) known |= (int)all[i] == number;
        const char *text = ambit_strerror((ambit_status)number);
        assert_int_equal(strcmp(text, "not a status of ambit") == 0, !known);
    }
}

/* What programs have stored or sent; a change here breaks them. */
static void values_stay_as_they_are(void **state) {
    (void)state;
    static const int values[] = {0, 1, 2, 3, 4, 64, 65, 66, 67, 68, 69};
    assert_int_equal(COUNT, sizeof values / sizeof values[0]);
    for (int i = 0; i < COUNT; i++) assert_int_equal(all[i], values[i]);
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_text_of_its_own),
        cmocka_unit_test(every_other_number_says_that_it_is_none),
        cmocka_unit_test(values_stay_as_they_are),
    };
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
