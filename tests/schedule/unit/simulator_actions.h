/* What the programs' actions are to the world: what they wait for, what they announce, and what
 * they do. */
#ifndef AMBIT_TESTS_SIMULATOR_ACTIONS_H
#define AMBIT_TESTS_SIMULATOR_ACTIONS_H

/* ---- Announced ------------------------------------------------------------------------------- */

static inline bool is_unlocked(void *argument) { return world.owner[*(const int *)argument] == 0; }
static inline bool is_woken(void *argument) { return ((const simulated_thread *)argument)->woken; }
static inline bool are_ended(void *argument) {
    for (unsigned i = 0; i < world.program->threads; i++)
        if (&world.threads[i] != argument && !world.threads[i].ended) return false;
    return true;
}

static inline int which_ended(void) {
    int mask = 0;
    for (unsigned i = 0; i < world.program->threads; i++)
        if (world.threads[i].ended) mask |= 1 << i;
    return mask;
}
static inline bool is_any_ended(void *argument) {
    (void)argument;
    return which_ended() != 0;
}

static inline const action *action_of(unsigned thread) {
    return &world.program->actions[thread][world.threads[thread].next];
}

/* To the next action that is a step; what is none is done at once. */
static inline void skip_to_step(unsigned index) {
    simulated_thread *thread = &world.threads[index];
    for (;; thread->next++) {
        const action *next = action_of(index);
        if (next->kind == SKIP && thread->reg == 0)
            thread->next += (unsigned)next->value;
        else if (next->kind == SKIP_UNLESS_ZERO && thread->reg != 0)
            thread->next += (unsigned)next->value;
        else if (next->kind == CHOOSE)
            thread->regs =
                mixed(thread->regs, (uint64_t)(thread->reg = (int)world_decide(
                                                   AMBIT__DECIDE_USER, (unsigned)next->value, 0)));
        else if (next->kind == FAIL_IF && thread->reg == next->value)
            simulated_fail(next->variable == 2 ? AMBIT_SCHEDULE_MISUSE : AMBIT_SCHEDULE_ASSERTION,
                           next->variable ? NULL : (const void *)next, NULL, "failed");
        else if (next->kind == UNLOCK && world.owner[next->variable] != (int)index + 1)
            continue; /* no step: it was not got */
        else if (next->kind != SKIP && next->kind != SKIP_UNLESS_ZERO && next->kind != FAIL_IF)
            break;
    }
}

/* What it waits for, if it does. */
static inline void wait_for(const action *next, simulated_thread *thread) {
    ambit__operation *operation = &thread->operation;
    if (next->kind == LOCK) {
        operation->ready = is_unlocked;
        operation->argument = (void *)(uintptr_t)&next->variable;
        operation->waits_for = "mutex";
    }
    if ((next->kind == WAIT || next->kind == WAIT_SPURIOUS) && !thread->waiting) {
        operation->kind = AMBIT__OP_LOAD;
        operation->name = "compare";
    } else if (next->kind == WAIT || next->kind == WAIT_SPURIOUS) {
        operation->ready = is_woken;
        operation->argument = thread;
        operation->spurious = next->kind == WAIT_SPURIOUS;
    }
    if (next->kind == JOIN_ALL) {
        operation->ready = are_ended;
        operation->argument = thread;
    }
    if (next->kind == JOIN_ANY || next->kind == POLL_ANY) {
        operation->ready = is_any_ended;
        operation->argument = thread;
        operation->waits_for = "any";
    }
}

static inline void announce(unsigned index) {
    simulated_thread *thread = &world.threads[index];
    skip_to_step(index);
    const action *next = action_of(index);
    static const ambit__operation_kind kinds[] = {[LOAD] = AMBIT__OP_LOAD,
                                                  [STORE] = AMBIT__OP_STORE,
                                                  [ADD] = AMBIT__OP_EXCHANGE,
                                                  [LOAD_SC] = AMBIT__OP_LOAD,
                                                  [STORE_SC] = AMBIT__OP_STORE,
                                                  [FENCE_SC] = AMBIT__OP_FENCE,
                                                  [LOCK] = AMBIT__OP_LOCK,
                                                  [UNLOCK] = AMBIT__OP_UNLOCK,
                                                  [TRY_LOCK] = AMBIT__OP_TRY_LOCK,
                                                  [WAIT] = AMBIT__OP_WAIT,
                                                  [WAIT_SPURIOUS] = AMBIT__OP_WAIT,
                                                  [WAKE] = AMBIT__OP_WAKE,
                                                  [SPIN] = AMBIT__OP_LOAD,
                                                  [JOIN_ALL] = AMBIT__OP_JOIN,
                                                  [JOIN_ANY] = AMBIT__OP_JOIN,
                                                  [POLL_ANY] = AMBIT__OP_WAIT,
                                                  [YIELD] = AMBIT__OP_YIELD,
                                                  [ADD_WEAKLY] = AMBIT__OP_COMPARE_EXCHANGE,
                                                  [END] = AMBIT__OP_EXIT};
    ambit__operation *operation = &thread->operation;
    *operation = (ambit__operation){.kind = kinds[next->kind],
                                    .thread = (uint8_t)index,
                                    .size = 4,
                                    .address = world.objects[next->variable],
                                    .deadline_ns = AMBIT__FOREVER};
    operation->writes = next->kind == ADD_WEAKLY || next->kind == STORE || next->kind == ADD ||
                        next->kind == STORE_SC;
    if (next->kind == LOAD_SC || next->kind == STORE_SC || next->kind == FENCE_SC)
        operation->order = AMBIT__SEQ_CST;
    if (next->kind == FENCE_SC) operation->address = NULL;
    if (next->kind == END || next->kind == JOIN_ALL || next->kind == JOIN_ANY)
        operation->address = &simulated_threads[index];
    wait_for(next, thread);
    simulated_threads[index].next = operation;
}

/* ---- Done ------------------------------------------------------------------------------------ */

static inline void see(seen *into, const seen *other) {
    for (int i = 0; i < VARIABLES; i++)
        if (other->at_least[i] > into->at_least[i]) into->at_least[i] = other->at_least[i];
}

static inline void progress(void) {
    for (unsigned i = 0; i < world.program->threads; i++) world.threads[i].spinning = false;
}

static inline void load(simulated_thread *self, const action *of, bool sc) {
    history *at = &world.variables[of->variable];
    int lowest = self->seen.at_least[of->variable];
    if (sc && world.fences.at_least[of->variable] > lowest)
        lowest = world.fences.at_least[of->variable];
    int back = (int)world_decide(AMBIT__DECIDE_READ, (unsigned)(at->count - lowest), 0);
    self->seen.at_least[of->variable] = at->count - 1 - back;
    self->reg = at->values[at->count - 1 - back];
}

static inline void store(simulated_thread *self, int variable, int value) {
    history *at = &world.variables[variable];
    assert_true(at->count < STORES_MOST);
    self->seen.at_least[variable] = at->count;
    at->values[at->count++] = value;
    progress();
}

static inline void wake(const action *of) {
    unsigned found[AMBIT__THREADS], count = 0;
    for (unsigned i = 0; i < world.program->threads; i++)
        if (world.threads[i].waiting && !world.threads[i].woken &&
            action_of(i)->variable == of->variable)
            found[count++] = i;
    if (count) world.threads[found[world_decide(AMBIT__DECIDE_WAKE, count, 0)]].woken = true;
}

static inline void act_lock(simulated_thread *self, unsigned index, int variable) {
    world.owner[variable] = (int)index + 1;
    see(&self->seen, &world.released[variable]);
}

static inline void act_try_lock(simulated_thread *self, unsigned index, int variable) {
    self->reg = world.owner[variable] == 0;
    if (self->reg) act_lock(self, index, variable);
}

static inline void act_unlock(const simulated_thread *self, int variable) {
    world.owner[variable] = 0;
    world.released[variable] = self->seen;
}

static inline void act_add(simulated_thread *self, const action *of) {
    const history *at = &world.variables[of->variable];
    self->reg = at->values[at->count - 1];
    store(self, of->variable, self->reg + of->value);
}

static inline void act_fence(simulated_thread *self) {
    see(&world.fences, &self->seen);
    self->seen = world.fences;
}

/* False: it has begun, and is to be woken. */
static inline bool act_wait(simulated_thread *self) {
    self->waiting = !self->waiting;
    if (self->waiting)
        self->woken = false;
    else
        self->reg = self->woken;
    return !self->waiting;
}

static inline void act_yield(unsigned index) {
    if (world.strategy->demote) world.strategy->demote(index);
}

/* False: the loop goes on. */
static inline bool act_spin(simulated_thread *self, unsigned index, const action *of) {
    const history *at = &world.variables[of->variable];
    self->reg = at->values[at->count - 1];
    self->seen.at_least[of->variable] = at->count - 1;
    if (self->reg == of->value) return true;
    self->spinning = true;
    act_yield(index);
    return false;
}

/* Does the action; false if it is to be done once more. */
static inline bool act(simulated_thread *self, unsigned index, const action *of) {
    switch (of->kind) {
    case LOAD:
    case LOAD_SC:
        load(self, of, of->kind == LOAD_SC);
        return true;
    case STORE:
    case STORE_SC:
        store(self, of->variable, of->value);
        return true;
    case ADD_WEAKLY:
        if (world_decide(AMBIT__DECIDE_WEAK, 2, 0)) return false;
        __attribute__((fallthrough));
    case ADD:
        act_add(self, of);
        return true;
    case FENCE_SC:
        act_fence(self);
        return true;
    case LOCK:
        act_lock(self, index, of->variable);
        return true;
    case TRY_LOCK:
        act_try_lock(self, index, of->variable);
        return true;
    case UNLOCK:
        act_unlock(self, of->variable);
        return true;
    case WAIT:
    case WAIT_SPURIOUS:
        return act_wait(self);
    case WAKE:
        wake(of);
        return true;
    case POLL_ANY:
        self->reg = which_ended();
        return true;
    case YIELD:
        act_yield(index);
        return true;
    case SPIN:
        return act_spin(self, index, of);
    default:
        return true;
    }
}

static inline void perform(unsigned index) {
    simulated_thread *self = &world.threads[index];
    const action *of = action_of(index);
    if (of->kind == END) {
        self->ended = true;
        simulated_threads[index].state = AMBIT__THREAD_ENDED;
        simulated_threads[index].next = NULL;
        return;
    }
    if (act(self, index, of)) {
        self->regs = mixed(self->regs, (uint64_t)self->reg);
        self->next++;
    }
    announce(index);
}

#endif
