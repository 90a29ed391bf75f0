/* The current context of a thread: a stack of bindings that stand in the blocks themselves. */
#include "ctx/ctx.h"

_Thread_local ambit_binding *ambit__innermost_binding;

ambit_ctx *ambit_ctx_current(void) {
    return ambit__innermost_binding ? ambit__innermost_binding->ctx : NULL;
}

ambit_binding *ambit_ctx_bind(ambit_binding *binding) {
    ambit__ctx_check(binding->ctx, "AMBIT_WITH", binding->site);
    binding->outer = ambit__innermost_binding;
    ambit__innermost_binding = binding;
    return binding;
}

void ambit_ctx_unbind(ambit_binding *binding) {
    if (ambit__innermost_binding != binding)
        ambit__bug("AMBIT_WITH", "expected the innermost block to end first, found another",
                   binding->site, ambit__innermost_binding ? ambit__innermost_binding->site : NULL);
    ambit__innermost_binding = binding->outer;
}
