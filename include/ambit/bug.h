/* What happens when the program itself is wrong.
 *
 * Closing twice, using after close, dropping too often: these can only come from a bug in the
 * caller. ambit writes one message that names the call, what it expected, what it found and both
 * sites, hands it to the hook if there is one, and calls abort(). The checks are part of every
 * build. */
#ifndef AMBIT_BUG_H
#define AMBIT_BUG_H

#include "ambit/site.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ambit_bug {
    const char *function;     /* the public call that found it */
    const char *message;      /* what was expected and what was found, one line */
    const ambit_site *site;   /* where the wrong call was made; NULL if not known */
    const ambit_site *before; /* the earlier call it collides with; NULL if there is none */
} ambit_bug;

typedef void ambit_bug_hook(const ambit_bug *bug, void *user);

/* Sets the hook that is called before abort(), NULL for none. The hook may end the thread's work by
 * longjmp (tests do); if it returns, abort() follows.
 * Thread: any, but set it before other threads run. Blocks: no. Cannot fail. */
void ambit_bug_hook_set(ambit_bug_hook *hook, void *user);

#ifdef __cplusplus
}
#endif
#endif
