/* The library takes the place of a sanitizer's runtime. Where that is linked as well, because
 * -fsanitize=thread has reached the linker, both stand in the way of the same calls: then the
 * program says so before main(), and ends. The linker is told to take this file in whatever else it
 * needs. */
#include <stdio.h>
#include <unistd.h>

/* Of the runtimes of ThreadSanitizer, AddressSanitizer and MemorySanitizer; not there: NULL. */
extern char __tsan_get_report_data[] __attribute__((weak));
extern char __asan_report_present[] __attribute__((weak));
extern char __msan_get_track_origins[] __attribute__((weak));

void ambit__schedule_alone(void);
__attribute__((constructor(101))) void ambit__schedule_alone(void) {
    const char *other = __tsan_get_report_data     ? "ThreadSanitizer"
                        : __asan_report_present    ? "AddressSanitizer"
                        : __msan_get_track_origins ? "MemorySanitizer"
                                                   : NULL;
    if (!other) return;
    (void)fprintf(stderr,
                  "ambit::schedule: this program is linked with the runtime of %s as well. Give "
                  "-fsanitize=thread to the compiler only, and no -fsanitize to the linker.\n",
                  other);
    _exit(2);
}
