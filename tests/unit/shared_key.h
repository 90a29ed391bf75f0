/* A key that two source files of a suite share. */
#ifndef AMBIT_TESTS_SHARED_KEY_H
#define AMBIT_TESTS_SHARED_KEY_H

#include "ambit.h"

struct shared_value {
    int number;
    double precise;
};
AMBIT_KEY_DECLARE(shared_value_key, struct shared_value);

#endif
