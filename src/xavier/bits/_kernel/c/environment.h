/* The floating-point environment of the stream: round to nearest, denormals kept.
 *
 * Other libraries change these modes for their thread (torch.set_flush_denormal), and a thread
 * inherits those of the one that started it. So each thread that draws takes the standard modes
 * and puts back what it found. The loops are reached through pointers only, so that the
 * compiler cannot move their arithmetic across these calls.
 */
#ifndef XAVIER_ENVIRONMENT_H
#define XAVIER_ENVIRONMENT_H

#if defined(__SSE2__) || defined(_M_X64)

#include <immintrin.h>

typedef unsigned Environment;

static inline Environment take_standard_environment(void) {
    Environment found = _mm_getcsr();
    _mm_setcsr(0x1F80); /* all exceptions masked, to nearest, neither FTZ nor DAZ */
    return found;
}

static inline void put_back(Environment found) {
    _mm_setcsr(found);
}

#elif defined(__aarch64__) && defined(__GNUC__)

#include <stdint.h>

typedef uint64_t Environment;

static inline Environment take_standard_environment(void) {
    Environment found;
    __asm__ volatile("mrs %0, fpcr" : "=r"(found));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0)); /* to nearest, nothing flushed */
    return found;
}

static inline void put_back(Environment found) {
    __asm__ volatile("msr fpcr, %0" : : "r"(found));
}

#else

#include <fenv.h>

typedef fenv_t Environment;

static inline Environment take_standard_environment(void) {
    Environment found;
    fegetenv(&found);
    fesetenv(FE_DFL_ENV);
    return found;
}

static inline void put_back(Environment found) {
    fesetenv(&found);
}

#endif
#endif
