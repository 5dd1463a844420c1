#include "instructions.h"

extern const Loops loops_baseline; /* SSE2 on x86-64, NEON on 64-bit ARM */

#if defined(HAVE_AVX)

extern const Loops loops_avx2, loops_avx512;

#if defined(_MSC_VER) && !defined(__clang__)

#include <immintrin.h>
#include <intrin.h>

/* Bits 5, 16, 17, 30 and 31 of EBX in leaf 7; the system must save the registers too. */
static int has(int leaf7_bits, unsigned saved) {
    int r[4];
    __cpuid(r, 0);
    if (r[0] < 7) return 0;
    __cpuid(r, 1);
    if (!(r[2] & 1 << 27) || (_xgetbv(0) & saved) != saved) return 0;
    __cpuidex(r, 7, 0);
    return (r[1] & leaf7_bits) == leaf7_bits;
}

static int has_avx2(void) {
    return has(1 << 5, 0x6);
}

static int has_avx512(void) {
    return has(1 << 16 | 1 << 17 | 1 << 30 | (int)(1u << 31), 0xE6);
}

#else

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

#endif

int loops_count(void) {
    return !has_avx2() ? 1 : !has_avx512() ? 2 : 3;
}

const Loops *loops_at(int n) {
    return n == 2 ? &loops_avx512 : n == 1 ? &loops_avx2 : &loops_baseline;
}

#else

int loops_count(void) {
    return 1;
}

const Loops *loops_at(int n) {
    (void)n;
    return &loops_baseline;
}

#endif
