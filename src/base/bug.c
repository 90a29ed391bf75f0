#include "base/bug.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static ambit_bug_hook *hook;
static void *hook_user;

void ambit_bug_hook_set(ambit_bug_hook *given, void *user) {
    hook = given;
    hook_user = user;
}

static int append_site(char *text, size_t size, const char *lead, const ambit_site *site) {
    if (!site) return 0;
    return snprintf(text, size, "%s%s:%u in %s()", lead, site->file, site->line, site->function);
}

void ambit__bug(const char *function, const char *message, const ambit_site *site,
                const ambit_site *before) {
    ambit_bug bug = {function, message, site, before};
    char text[1024];
    size_t length = 0;
    length += (size_t)snprintf(text, sizeof text, "ambit: %s: %s", function, message);
    if (length < sizeof text)
        length += (size_t)append_site(text + length, sizeof text - length, "; here: ", site);
    if (length < sizeof text)
        length += (size_t)append_site(text + length, sizeof text - length, "; before: ", before);
    if (length > sizeof text - 2) length = sizeof text - 2;
    text[length++] = '\n';
    /* One write, so that lines of several threads do not mix. There is nobody to tell if it fails.
     */
    if (write(STDERR_FILENO, text, length) < 0) {
    }
    if (hook) hook(&bug, hook_user);
    abort();
}
