package main

import (
	"context"
	"time"
)

var root, _ = context.WithCancel(context.Background())

var rows = append([]row{
	{"open-close", openClose, nil, 1},
	{"open-close-deadline", openCloseDeadline, nil, 1},
	{"open-close-deadline-100k", openCloseDeadline, setUpPending, 1},
	{"own-8", own8, nil, 1},
	{"err-depth-1", err, setUpDepth(1), 1},
	{"err-depth-5", err, setUpDepth(5), 1},
	{"err-deadline", err, setUpDeadline, 1},
	{"value-1", lookUp(1), setUpValues(1), 1},
	{"value-5", lookUp(5), setUpValues(5), 5},
	{"value-10", lookUp(10), setUpValues(10), 10},
	{"request", request, nil, 1},
	{"cancel-1k", cancelChildren(1000), nil, 1000},
	{"cancel-100k", cancelChildren(100000), nil, 100000},
	{"timer-arm-disarm", armDisarm, setUpPending, 1},
	{"timer-rearm", rearm, setUpSameTimeout, 1},
}, newerRows...)

// ---- Open and close

func openClose(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		_, cancel := context.WithCancel(root)
		cancel()
	}
}

func openCloseDeadline(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		_, cancel := context.WithTimeout(root, timeout)
		cancel()
	}
}

// ---- Owned values: eight pieces of the heap, left to the collector

type values struct {
	a *[16]byte
	b *[24]byte
	c *[32]byte
	d *[48]byte
	e *[64]byte
	f *[96]byte
	g *[128]byte
	h *[200]byte
}

// Without a context around them: Go has no scope that owns memory.
func own8(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		kept[t.index].value = &values{new([16]byte), new([24]byte), new([32]byte), new([48]byte),
			new([64]byte), new([96]byte), new([128]byte), new([200]byte)}
	}
}

// ---- Reading a live context

func setUpDepth(depth int) func(t *thread) {
	return func(t *thread) {
		ctx := root
		for at := 1; at < depth; at++ {
			ctx, _ = context.WithCancel(ctx)
		}
		t.own = ctx
	}
}

func setUpDeadline(t *thread) { t.own, _ = context.WithTimeout(context.Background(), timeout) }

func err(t *thread, iterations uint64) {
	ctx := t.own.(context.Context)
	for ; iterations > 0; iterations-- {
		require(ctx.Err() == nil, "the context lives")
	}
}

// ---- Looking values up: each of them in turn

type key int

func withValues(ctx context.Context, count int, value any) context.Context {
	for k := 0; k < count; k++ {
		ctx = context.WithValue(ctx, key(k), value)
	}
	return ctx
}

func setUpValues(count int) func(t *thread) {
	return func(t *thread) { t.own = withValues(root, count, t) }
}

func lookUp(count int) func(t *thread, iterations uint64) {
	return func(t *thread, iterations uint64) {
		ctx := t.own.(context.Context)
		for ; iterations > 0; iterations-- {
			for k := 0; k < count; k++ {
				kept[t.index].value = ctx.Value(key(k))
			}
		}
	}
}

// ---- A whole request

func request(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		ctx, cancel := context.WithTimeout(root, timeout)
		ctx = withValues(ctx, 3, t)
		for k := 0; k < 10; k++ {
			require(ctx.Err() == nil, "the context lives")
		}
		for k := 0; k < 3; k++ {
			kept[t.index].value = ctx.Value(key(k))
		}
		cancel()
	}
}

// ---- Cancellation

func cancelChildren(count int) func(t *thread, iterations uint64) {
	return func(t *thread, iterations uint64) {
		for ; iterations > 0; iterations-- {
			parent, cancel := context.WithCancel(context.Background())
			var last context.Context
			for k := 0; k < count; k++ {
				last, _ = context.WithCancel(parent)
			}
			cancel()
			require(last.Err() != nil, "the children are cancelled")
		}
	}
}

// ---- Timers

func fire() { require(false, "no timer of a bench fires") }

var timers [maxThreads][]*time.Timer

func arm(t *thread, after func() time.Duration) {
	for k := 0; k < pending; k++ {
		timers[t.index] = append(timers[t.index], time.AfterFunc(after(), fire))
	}
}

func setUpPending(t *thread) { arm(t, t.randomTime) }

func setUpSameTimeout(t *thread) { arm(t, func() time.Duration { return timeout }) }

func armDisarm(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		require(time.AfterFunc(timeout, fire).Stop(), "it was armed")
	}
}

func rearm(t *thread, iterations uint64) {
	own := timers[t.index]
	for ; iterations > 0; iterations-- {
		require(own[t.randomIndex()].Reset(timeout), "it was armed")
	}
}
