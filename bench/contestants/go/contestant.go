// Go's own context and timers. The same command line and the same way of measuring as
// contestant.h; the collector's work is Go's clean-up, and is inside.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	batchTime   = 50 * time.Microsecond
	warmUpShare = 10

	pending    = 100000
	soonestMS  = 10000
	latestMS   = 50000
	timeout    = 30 * time.Second
	maxThreads = 64
)

type thread struct {
	index  int
	random uint64
	own    any
}

// One row of work; see bench_row in contestant.h.
type row struct {
	name       string
	run        func(t *thread, iterations uint64)
	setUp      func(t *thread)
	operations uint64
}

func (t *thread) next() uint64 {
	x := t.random
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	t.random = x
	return x
}

func (t *thread) randomIndex() int { return int(t.next() % pending) }
func (t *thread) randomTime() time.Duration {
	return time.Duration(soonestMS+t.next()%(latestMS-soonestMS)) * time.Millisecond
}

// Where results go, so that they are needed: a line of the cache for each thread.
var kept [maxThreads]struct {
	value any
	_     [112]byte
}

func require(holds bool, what string) {
	if !holds {
		fmt.Fprintln(os.Stderr, what, "does not hold")
		os.Exit(1)
	}
}

// Runs for the time, and from then on until the other goroutines have their time in as well.
func work(r *row, t *thread, wanted time.Duration, done *int32, threads int) (time.Duration, uint64) {
	begun := time.Now()
	var before, now time.Duration
	var iterations uint64
	batch, counted := uint64(1), false
	for !counted || atomic.LoadInt32(done) < int32(threads) {
		r.run(t, batch)
		iterations += batch
		now = time.Since(begun)
		if now-before < batchTime {
			batch *= 2
		}
		before = now
		if !counted && now >= wanted {
			counted = true
			atomic.AddInt32(done, 1)
		}
	}
	return now, iterations
}

// How long the threads of this process were ready and had no processor, in nanoseconds.
func waited() (sum float64) {
	tasks, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			one, _ := strconv.ParseFloat(fields[1], 64)
			sum += one
		}
	}
	return sum
}

// How long the threads of this process ran, in nanoseconds.
func ran() float64 {
	var usage syscall.Rusage
	require(syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil, "the process knows its time")
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

func measure(r *row, threads int, wanted time.Duration) (ns, waitedPart float64) {
	var ready, warmed, ended sync.WaitGroup
	var warm, finished int32
	var waitedBefore, ranBefore float64
	elapsed, iterations := make([]time.Duration, threads), make([]uint64, threads)
	ready.Add(threads)
	warmed.Add(threads)
	ended.Add(threads)
	for i := 0; i < threads; i++ {
		go func(i int) {
			defer ended.Done()
			t := &thread{index: i, random: 0x9e3779b97f4a7c15 * uint64(i+1)}
			if r.setUp != nil {
				r.setUp(t)
			}
			ready.Done()
			ready.Wait()
			work(r, t, wanted/warmUpShare, &warm, threads)
			if i == 0 {
				waitedBefore, ranBefore = waited(), ran()
			}
			warmed.Done()
			warmed.Wait()
			elapsed[i], iterations[i] = work(r, t, wanted, &finished, threads)
		}(i)
	}
	ended.Wait()
	lost, run := waited()-waitedBefore, ran()-ranBefore
	var time, operations float64
	for i := range elapsed {
		time += float64(elapsed[i].Nanoseconds())
		operations += float64(iterations[i] * r.operations)
	}
	// Go's threads also wait for each other, and several at once for the same processor. What ran was
	// not lost, whoever waited meanwhile.
	lost = math.Max(0, math.Min(lost, time-run))
	if threads > 1 {
		return time / operations, lost / time
	}
	return (time - lost) / operations, lost / time
}

func main() {
	list := flag.Bool("list", false, "the rows it can run, one a line")
	about := flag.Bool("about", false, "what it is, with its version")
	name := flag.String("row", "", "the row to run")
	threads := flag.Int("threads", 1, "goroutines that run it at once, and GOMAXPROCS")
	milliseconds := flag.Int("milliseconds", 200, "for how long")
	flag.Parse()
	if *about {
		fmt.Println("Go", runtime.Version()[len("go"):])
		return
	}
	for i := range rows {
		if *list {
			fmt.Println(rows[i].name)
		} else if rows[i].name == *name && *threads >= 1 && *threads <= maxThreads {
			runtime.GOMAXPROCS(*threads)
			ns, waitedPart := measure(&rows[i], *threads, time.Duration(*milliseconds)*time.Millisecond)
			fmt.Printf("%.4f %.4f\n", ns, waitedPart)
			return
		}
	}
	if !*list {
		fmt.Fprintln(os.Stderr, "no such row:", *name)
		os.Exit(2)
	}
}
