/* Whose errno it is. The C library writes errno by the register, and says where it is by the word at FS:0,
 * which may be another thread's head while that is borrowed: see host.c, which keeps one for each thread. */
#include <stddef.h>

#include "schedule/header.h"

ambit__header *ambit__host_header;
static int none;
int *ambit__host_error = &none;

int *__wrap___errno_location(void);
int *__real___errno_location(void);

static void *identity(void) {
    void *self = NULL;
#ifdef __x86_64__
    __asm__("movq %%fs:16, %0" : "=r"(self));
#endif
    return self;
}

int *__wrap___errno_location(void) {
    bool runner = ambit__host_header && identity() == ambit__host_header->self;
    return runner ? ambit__host_error : __real___errno_location();
}

void ambit__host_header_is(ambit__header *header) {
    ambit__host_header = NULL;
    ambit__host_error = __real___errno_location();
    ambit__host_header = header;
}
