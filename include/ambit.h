/* ambit: concurrency safety for C servers. This header includes the core. */
#ifndef AMBIT_H
#define AMBIT_H

#define AMBIT_VERSION "0.1.0"

#include "ambit/bug.h"
#include "ambit/census.h"
#include "ambit/clock.h"
#include "ambit/ctx.h"
#include "ambit/memory.h"
#include "ambit/pool.h"
#include "ambit/site.h"
#include "ambit/status.h"
#include "ambit/timer.h"

#endif
