#include "base/file.h"

#include <sys/eventfd.h>

#include "base/fault.h"

int ambit__eventfd(void) {
    if (ambit__fault_hit(AMBIT__FAULT_FILES)) return -1;
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}
