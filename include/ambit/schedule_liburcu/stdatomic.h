/* The compiler's header, for tests under the controlled scheduler: to ThreadSanitizer's runtime clang does not say
 * which exchanges are weak, and may fail for nothing. So whether they do is asked here. gcc tells them apart. */
#ifndef AMBIT_SCHEDULE_STDATOMIC_H
#define AMBIT_SCHEDULE_STDATOMIC_H
#include_next <stdatomic.h>

#if defined(__clang__) && !defined(__cplusplus)
/* Reads the object into `expected`, and says that the exchange is not made; or does nothing, and it is to be. */
_Bool ambit__schedule_weak_fails(const volatile void *object, void *expected, unsigned bytes,
                                 int failure_order);

#define __c11_atomic_compare_exchange_weak(object, expected, desired, order, failure_order)        \
    __extension__({                                                                                \
        __auto_type ambit__object = (object);                                                      \
        __auto_type ambit__expected = (expected);                                                  \
        __typeof__(*ambit__expected) ambit__desired = (desired);                                   \
        !ambit__schedule_weak_fails(ambit__object, ambit__expected, sizeof *ambit__expected,       \
                                    failure_order) &&                                              \
            __c11_atomic_compare_exchange_weak(ambit__object, ambit__expected, ambit__desired,     \
                                               order, failure_order);                              \
    })
#endif
#endif
