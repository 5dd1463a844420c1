/* Threads that live for one call.
 *
 * No pool: starting and joining a thread took 20 microseconds, a fifth or less of the least work
 * worth sharing (see `_threads.py`), and threads that do not outlive the call cannot be missing
 * in a forked child, be in the way of another pool, or need an end at exit.
 */
#ifndef XAVIER_THREADS_H
#define XAVIER_THREADS_H

#include <stdint.h>

typedef void Work(void *context, int caller); /* `caller` is 1 in the thread that called */

/* Runs `work` in this thread and in up to `threads` - 1 others, and returns when all have
 * returned. There may be fewer, if the system gives no more: `work` must take its share from
 * what is left, with `take`. */
void run_threads(int threads, Work *work, void *context);

/* A number that several threads count up, from zero. */
#if defined(_MSC_VER)
#include <intrin.h>
typedef volatile long long Counter;
static inline uint64_t take(Counter *counter) {
    return (uint64_t)_InterlockedExchangeAdd64(counter, 1);
}
static inline uint64_t counted(Counter *counter) {
    return (uint64_t)*counter;
}
#else
#include <stdatomic.h>
typedef _Atomic uint64_t Counter;
static inline uint64_t take(Counter *counter) {
    return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
static inline uint64_t counted(Counter *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}
#endif

#endif
