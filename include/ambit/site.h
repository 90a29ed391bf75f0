/* Where in the caller's program something was opened, held, armed or closed.
 *
 * A site is a static object that a macro plants at the line of the call; objects point at it, so
 * that naming the line costs one store. A library that is unloaded with dlclose while something it
 * opened is alive takes its sites with it: close first, or link with -z nodelete. */
#ifndef AMBIT_SITE_H
#define AMBIT_SITE_H

#include <stdint.h>

typedef struct ambit_site {
    const char *file;
    const char *function;
    uint32_t line;
} ambit_site;

/* The address of a static site for this line. An expression, in C and in C++, inside a function. */
#define AMBIT_HERE                                                                                 \
    (__extension__({                                                                               \
        static const ambit_site ambit_site_here_ = {__FILE__, __func__, __LINE__};                 \
        &ambit_site_here_;                                                                         \
    }))

#endif
